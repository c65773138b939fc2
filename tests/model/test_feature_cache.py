"""Features come back as they were put, whoever else writes, whenever somebody is killed."""

import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plaudit import PlauditError
from plaudit.model.feature_cache import FeatureCache, default_folder

A, B, C = "a" * 32, "b" * 32, "c" * 32


def name(number):
    return number.to_bytes(16, "big")


def feature(number, rows=3, width=8, dtype=torch.float32):
    """What belongs to a number, and to no other."""
    generator = torch.Generator().manual_seed(number)
    return torch.randn(rows, width, generator=generator).to(dtype)


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@given(
    batches=st.lists(
        st.dictionaries(
            st.integers(0, 20),
            st.tuples(st.integers(1, 5), st.sampled_from([torch.float32, torch.bfloat16])),
            max_size=4,
        ),
        max_size=5,
    )
)
def test_what_is_put_first_is_read_by_all(tmp_path_factory, batches):
    folder = tmp_path_factory.mktemp("cache")
    cache, other = FeatureCache(folder, A, 10**6), FeatureCache(folder, A, 10**6)
    expected = {}
    for batch in batches:
        features = {name(n): feature(n, rows, dtype=dtype) for n, (rows, dtype) in batch.items()}
        assert cache.put(features)
        expected = features | expected  # what is there is not written again
    for reader in (cache, other, FeatureCache(folder, A, 10**6)):
        for key, value in expected.items():
            read = reader.get(key)
            assert read.dtype == value.dtype
            assert torch.equal(read, value)
        assert reader.get(name(99)) is None
    assert FeatureCache(folder, B, 10**6).get(name(0)) is None


@pytest.mark.parametrize("lost", [0, 1, 31, 32])
@pytest.mark.parametrize("garbage", [0, 7, 1000])
def test_a_kill_costs_no_more_than_what_was_being_written(tmp_path, lost, garbage):
    """Data come before their record, so a kill leaves data without one, or a part of a record."""
    cache = FeatureCache(tmp_path, A, 10**6)
    cache.put({name(1): feature(1)})
    cache.put({name(2): feature(2)})
    with open(tmp_path / A / "index", "r+b") as file:
        file.truncate(2 * 32 - lost)
    with open(tmp_path / A / "data", "ab") as file:
        file.write(b"\xff" * garbage)
    again = FeatureCache(tmp_path, A, 10**6)
    assert torch.equal(again.get(name(1)), feature(1))
    assert (name(2) in again) == (lost == 0)
    again.put({name(2): feature(2), name(3): feature(3)})
    for reader in (again, FeatureCache(tmp_path, A, 10**6)):
        for number in (1, 2, 3):
            assert torch.equal(reader.get(name(number)), feature(number))


def test_data_that_somebody_cut_are_computed_anew(tmp_path):
    cache = FeatureCache(tmp_path, A, 10**6)
    cache.put({name(1): feature(1), name(2): feature(2)})
    with open(tmp_path / A / "data", "r+b") as file:
        file.truncate(feature(1).nbytes + 5)
    assert torch.equal(cache.get(name(1)), feature(1))
    assert cache.get(name(2)) is None


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from test_feature_cache import *
cache = FeatureCache(sys.argv[2], A, 10**7)
for start in range(int(sys.argv[3]), int(sys.argv[4]), 3):
    cache.put({name(n): feature(n) for n in range(start, start + 3)})
    print(start, flush=True)
"""


def writer(folder, first, last):
    here = __file__.rsplit("/", 1)[0]
    command = [sys.executable, "-c", WRITER, here, str(folder), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_two_processes_write_at_once(tmp_path):
    writers = [writer(tmp_path, 0, 150), writer(tmp_path, 90, 240)]
    assert [w.communicate() and w.returncode for w in writers] == [0, 0]
    cache = FeatureCache(tmp_path, A, 10**7)
    assert len(cache) == 240
    assert all(torch.equal(cache.get(name(n)), feature(n)) for n in range(240))
    assert cache.size() == 240 * (feature(0).nbytes + 32)  # nothing twice


def test_killed_while_writing(tmp_path):
    process = writer(tmp_path, 0, 10**6)
    for _ in range(20):
        process.stdout.readline()
    process.kill()
    process.communicate()
    cache = FeatureCache(tmp_path, A, 10**7)
    assert len(cache) >= 20 * 3
    assert all(torch.equal(cache.get(name(n)), feature(n)) for n in range(len(cache)))


def test_the_key_used_longest_ago_goes_first(tmp_path):
    bound = 1000
    for key in (A, B):
        cache = FeatureCache(tmp_path, key, bound)
        assert cache.put({name(n): feature(n) for n in range(3)})
        cache.close()
        time.sleep(0.02)
    FeatureCache(tmp_path, A, bound).close()  # used, so B is older now
    cache = FeatureCache(tmp_path, C, bound)
    assert cache.put({name(n): feature(n) for n in range(3)})
    assert size(tmp_path) <= bound
    assert name(0) in FeatureCache(tmp_path, A, bound)
    assert not (tmp_path / B).exists()


def test_a_key_in_use_stays_and_the_bound_holds(tmp_path):
    used = FeatureCache(tmp_path, A, 1000)
    used.put({name(n): feature(n) for n in range(5)})
    cache = FeatureCache(tmp_path, B, 1000)
    assert not cache.put({name(n): feature(n) for n in range(5)})
    assert size(tmp_path) <= 1000
    assert [name(n) in cache for n in range(5)] == [True, True, False, False, False]
    assert all(torch.equal(used.get(name(n)), feature(n)) for n in range(5))


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PlauditError, match=r"features_cache: .*file cannot be written"):
        FeatureCache(tmp_path / "file", A, 1000)


def test_the_default_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "plaudit" / "features"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "plaudit" / "features"
