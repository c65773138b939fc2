"""Features come back as they were put, whoever else writes, whenever somebody is killed."""

import os
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plaudit import PlauditError
from plaudit.model.feature_cache import DATA, INDEX, RECORD, FeatureCache, default_folder

R = RECORD.itemsize
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


@pytest.mark.parametrize("lost", [0, 1, R - 1, R])
@pytest.mark.parametrize("garbage", [0, 7, 1000])
def test_a_kill_costs_no_more_than_what_was_being_written(tmp_path, lost, garbage):
    """Data come before their record, so a kill leaves data without one, or a part of a record."""
    cache = FeatureCache(tmp_path, A, 10**6)
    cache.put({name(1): feature(1)})
    cache.put({name(2): feature(2)})
    with open(tmp_path / A / INDEX, "r+b") as file:
        file.truncate(2 * R - lost)
    with open(tmp_path / A / DATA, "ab") as file:
        file.write(b"\xff" * garbage)
    again = FeatureCache(tmp_path, A, 10**6)
    assert torch.equal(again.get(name(1)), feature(1))
    assert (name(2) in again) == (lost == 0)
    again.put({name(2): feature(2), name(3): feature(3)})
    for reader in (again, FeatureCache(tmp_path, A, 10**6)):
        for number in (1, 2, 3):
            assert torch.equal(reader.get(name(number)), feature(number))


SPOILERS = {
    "cut": lambda data: os.truncate(data, feature(1).nbytes + 5),
    "emptied": lambda data: os.truncate(data, 0),
    "deleted": lambda data: data.unlink(),
    "garbled": lambda data: data.write_bytes(data.read_bytes()[:-1] + b"?"),
    "zeroed": lambda data: data.write_bytes(bytes(data.stat().st_size)),
}


@pytest.mark.parametrize("reopened", [True, False])
@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_of_spoilt_data_nothing_wrong_is_read(tmp_path, spoil, reopened):
    cache = FeatureCache(tmp_path, A, 10**6)
    cache.put({name(n): feature(n) for n in (1, 2)})
    spoil(tmp_path / A / DATA)
    if reopened:
        cache = FeatureCache(tmp_path, A, 10**6)
    cache.put({name(n): feature(n) for n in (3, 4)})
    for number in (1, 2, 3, 4):
        read = cache.get(name(number))
        assert read is None or torch.equal(read, feature(number))
    cache.put({name(n): feature(n) for n in (1, 2, 3, 4)})
    for reader in (cache, FeatureCache(tmp_path, A, 10**6)):
        read = [reader.get(name(n)) for n in (1, 2, 3, 4)]
        if reopened or spoil is not SPOILERS["deleted"]:  # whoever has it open writes on unseen
            assert all(torch.equal(r, feature(n)) for n, r in enumerate(read, start=1))
        assert all(r is None or torch.equal(r, feature(n)) for n, r in enumerate(read, start=1))
    assert (tmp_path / A / INDEX).stat().st_size == 4 * R


@given(place=st.integers(0, 2 * R - 1), byte=st.integers(0, 255))
def test_a_spoilt_index_loses_features_and_garbles_none(tmp_path_factory, place, byte):
    folder = tmp_path_factory.mktemp("cache")
    FeatureCache(folder, A, 10**6).put({name(n): feature(n) for n in (1, 2)})
    with open(folder / A / INDEX, "r+b") as file:
        file.seek(place)
        file.write(bytes([byte]))
    cache = FeatureCache(folder, A, 10**6)
    for number in (1, 2):
        read = cache.get(name(number))
        assert read is None or torch.equal(read, feature(number))
    cache.put({name(n): feature(n) for n in (1, 2)})
    assert all(torch.equal(cache.get(name(n)), feature(n)) for n in (1, 2))


def test_a_full_disk_loses_nothing_of_what_was_kept(tmp_path):
    """The system's bound on the size of a file stands for a disk that has no more room."""
    resource = pytest.importorskip("resource")  # not on Windows
    cache = FeatureCache(tmp_path, A, 10**6)
    cache.put({name(1): feature(1)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * feature(1).nbytes, before[1]))
    try:
        with pytest.raises(PlauditError, match=r"features_cache: .* cannot be written: File too"):
            cache.put({name(n): feature(n) for n in range(2, 9)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert cache.size() == feature(1).nbytes + R
    assert cache.put({name(2): feature(2)})
    assert all(torch.equal(cache.get(name(n)), feature(n)) for n in (1, 2))


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
    assert cache.size() == 240 * (feature(0).nbytes + R)  # nothing twice


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


def test_what_others_put_there_stays(tmp_path):
    """Whatever its name looks like."""
    theirs = [tmp_path / B / "thesis.txt", tmp_path / ("d" * 32) / "data", tmp_path / "notes"]
    for file in theirs:
        file.parent.mkdir(exist_ok=True)
        file.write_text("of years" * 100)
    linked = tmp_path.with_name(f"{tmp_path.name}-linked")
    linked.mkdir()
    (linked / DATA).write_text("of years" * 100)
    (tmp_path / C).symlink_to(linked)
    cache = FeatureCache(tmp_path, A, 400)
    assert cache.put({name(n): feature(n) for n in range(3)})  # it counts only what is its own
    assert not cache.put({name(3): feature(3)})
    assert all(file.read_text() for file in [*theirs, linked / DATA])


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PlauditError, match=r"features_cache: .*file cannot be written"):
        FeatureCache(tmp_path / "file", A, 1000)


def test_the_default_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "plaudit" / "features"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder().expanduser() == tmp_path / ".cache" / "plaudit" / "features"


def test_without_a_home_folder_it_says_so(tmp_path):
    with pytest.raises(PlauditError, match="features_cache: ~nobody-of-this-name/x is in no home"):
        FeatureCache("~nobody-of-this-name/x", A, 1000)
