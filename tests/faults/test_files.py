"""The short form of `long_files.py`: the same cases, some of them."""

import os
import tempfile
from pathlib import Path

import pytest

from faults import files

SEED = 0
CASES = 60
TABLES = ("parquet", "arrow", "feather")


@pytest.fixture(scope="module", autouse=True)
def _models(tmp_path_factory):
    """The tiny models that cases are made of, without ONNX Runtime, which takes its time."""
    folder = tmp_path_factory.mktemp("models")
    before = os.environ.get("PLAUDIT_FAULTS_MODELS")
    os.environ["PLAUDIT_FAULTS_MODELS"] = str(files.make_models(folder, exports=("pt",)))
    files.models.cache_clear()
    files.scorer.cache_clear()
    yield
    files.models.cache_clear()
    files.scorer.cache_clear()
    if before is None:
        del os.environ["PLAUDIT_FAULTS_MODELS"]


def test_a_fuzzed_file_is_read_or_refused_with_a_reason():
    wrong, seen = [], set()
    for number in range(CASES):
        with tempfile.TemporaryDirectory() as folder:
            case = files.draw_case(SEED, number, Path(folder))
            seen.add(case.kind)
            for way, ended in files.read(case):
                if ended not in ("read", "refused"):
                    wrong.append((number, case.kind, way, ended))
    assert not wrong
    assert seen >= {"csv", "jsonl", "xlsx", "parquet", "labels", "rewards", "model folder"}


def test_a_case_can_be_drawn_again(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    for number in range(6):
        one, two = (files.draw_case(7, number, tmp_path / name) for name in ("one", "two"))
        assert (one.kind, one.done, one.ways) == (two.kind, two.done, two.ways)
        if one.path.is_file() and one.kind != "xlsx":  # which says when it was written
            assert one.path.read_bytes() == two.path.read_bytes()


def test_a_lost_row_is_seen(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": "a"}\n')
    whole = [{"prompt": "a"}, {"prompt": "b"}]
    case = files.Case(path, "jsonl", "lines", ["rows"], whole)
    [(_, ended)] = files.read(case)
    assert ended.startswith("AssertionError: a row is lost: {'prompt': 'b'}")
