"""What the inspection counts, against numbers worked out by hand and by numpy."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.data.inspection import format_inspection, inspect_rankings
from plaudit.data.rankings import Ranking
from plaudit.data.readers import load_rankings

ROWS = [
    # prompt, answer, rank, category, model
    ("short", "a long answer", 1, "good", "m1"),
    ("short", "wrong", 2, "vague", "m2"),
    ("short", "wrong", 3, "vague", "m2"),  # contradicts the row before
    ("short", "dull!", 2, "vague", "m2"),
    ("short", "bad", 4, "rude", ""),
    ("short", "bad", 4, "rude", ""),  # a duplicate
    ("prompt 2", "bad", 1, "good", "m1"),
    ("prompt 2", "worse", 2, "rude", "m1"),
    ("prompt 2", "worst", 2, "rude", "m1"),
    ("lonely", "x", 1, "", ""),
    ("lonely", "", 1, "", ""),
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.jsonl"
    names = ("prompt", "answer", "rank", "category", "model")
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("streaming", [False, True])
def test_counts(file, streaming):
    report = inspect_rankings(load_rankings(file, max_rejected=1, streaming=streaming))
    assert json.loads(json.dumps(report)) == report
    assert (report["rows"], report["rankings"], report["prompts"]) == (11, 2, 2)
    assert (report["completions"], report["pairs"]) == (6, 5)
    assert report["completions_per_ranking"] == {"3": 2}
    assert report["ties"] == {"rankings": 1, "pairs": 1}
    # "a long answer" is longer than two, "dull!" than "bad"; "bad" is shorter than two.
    assert report["longer_is_better"] == 3 / 5
    assert report["duplicates"] == {
        "prompts_in_several_rankings": 0,
        "completions_under_several_prompts": 1,
        "repeated_pairs": 0,
    }
    assert report["contradictions"] == 2
    assert {reason: told["rows"] for reason, told in report["rejected"].items()} == {
        "contradiction": 2,
        "duplicate": 1,
        "the completion is blank": 1,
        "only one completion for this prompt": 1,
    }
    assert report["rejected"]["contradiction"]["examples"] == [f"{file}:2", f"{file}:3"]
    assert report["categories"] == {"good": 2, "rude": 3, "vague": 1}
    assert report["models"] == {"m1": 4, "m2": 1}


def test_repeated_prompts_and_pairs():
    some = [Ranking("p", ["a", "b"], [0, 1], category="c")] * 3 + [Ranking("q", ["a", "b"], [0, 1])]
    report = inspect_rankings(some)
    assert (report["rankings"], report["prompts"]) == (4, 2)
    assert report["duplicates"] == {
        "prompts_in_several_rankings": 1,
        "completions_under_several_prompts": 2,
        "repeated_pairs": 2,
    }
    assert report["longer_is_better"] == 0.5
    assert report["categories"] == {"c": 3}


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_lengths_are_those_of_numpy(lengths):
    report = inspect_rankings([Ranking("p" * n, ["a", "b"], [0, 1]) for n in lengths])
    assert report["prompt_characters"] == {
        name: np.quantile(lengths, share, method="inverted_cdf")
        for name, share in (("median", 0.5), ("p95", 0.95), ("max", 1.0))
    }


def test_text_names_what_matters(file):
    text = format_inspection(inspect_rankings(load_rankings(file, max_rejected=1)))
    for said in (str(file), "completion from 'answer'", "60.0%", "2 × contradiction", f"{file}:2"):
        assert said in text
    assert "1 pairs in 1 rankings" in text


def test_stream_with_prompts_that_come_back(tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_text("prompt,answer,rank\np,a,1\np,b,2\nq,a,1\nq,b,2\np,c,1\np,d,2\n")
    report = inspect_rankings(load_rankings(path, streaming=True))
    assert report["prompts_not_adjacent"] == 1
    assert report["duplicates"]["prompts_in_several_rankings"] == 1
    assert "sort the file by prompt" in format_inspection(report)
    capsys.readouterr()
