"""Rankings to files of pairs and back."""

import csv
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.data.pairs import write_pairs
from plaudit.data.rankings import Ranking
from plaudit.data.readers import Rankings, load_rankings
from plaudit.errors import PlauditError

SUFFIXES = [
    kind + packing for kind in ("csv", "tsv", "jsonl", "parquet") for packing in ("", ".gz", ".zst")
]
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=10)
WORDS = TEXT.filter(str.strip)


def message(role, content):
    return {"role": role, "content": content}


@st.composite
def some_rankings(draw, texts):
    prompts = draw(st.lists(WORDS, min_size=1, max_size=4, unique=True))
    some = []
    for prompt in prompts:
        k = draw(st.integers(2, 4))
        completions = draw(st.lists(WORDS, min_size=k, max_size=k, unique=True))
        ranks = draw(
            st.lists(st.integers(0, 2), min_size=k, max_size=k).filter(lambda r: len(set(r)) > 1)
        )
        some.append(
            Ranking(
                prompt if texts else [message("user", prompt)],
                completions if texts else [[message("assistant", text)] for text in completions],
                ranks,
                margin=draw(st.none() | st.floats(-5, 5)),
                weight=draw(st.just(1.0) | st.floats(0, 5)),
                category=draw(st.none() | WORDS),
                annotator=draw(st.none() | WORDS),
            )
        )
    return some


def preferences(rankings):
    """What the rankings say, pair by pair, in order."""
    return [
        (
            *(one.prompt, one.completions[i], one.completions[j]),
            *(one.category, one.margin, one.weight, one.annotator),
        )
        for one in rankings
        for i, j in one.pairs()
    ]


@settings(max_examples=200, deadline=None)
@given(some=st.booleans().flatmap(some_rankings), suffix=st.sampled_from(SUFFIXES))
def test_what_is_written_reads_back_the_same(tmp_path_factory, some, suffix):
    path = tmp_path_factory.mktemp("pairs") / f"pairs.{suffix}"
    expected = preferences(some)
    assert write_pairs(some, path) == len(expected)
    back = load_rankings(path, strict=True)
    assert back.format == "pairs"
    assert preferences(back) == expected


def test_rows_in_the_data_s_order_as_the_csv_module_reads_them(tmp_path):
    ranking = Ranking("p, q", ['"a"', "b\nc", "d"], [1, 0, 1], categories=["x", None, "z"])
    assert write_pairs([ranking], tmp_path / "a.csv") == 2
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["prompt", "chosen", "rejected", "category"],
            ["p, q", "b\nc", '"a"', "x"],
            ["p, q", "b\nc", "d", "z"],
        ]


def test_only_columns_that_say_something(tmp_path):
    write_pairs([Ranking("p", ["a", "b"], [0, 1])], tmp_path / "a.jsonl")
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {
        "prompt": "p",
        "chosen": "a",
        "rejected": "b",
    }


@pytest.mark.parametrize("suffix", ["csv.gz", "jsonl", "parquet"])
@pytest.mark.parametrize("streaming", [False, True])
def test_ranked_file_to_pairs(tmp_path, suffix, streaming):
    source = tmp_path / "a.csv"
    source.write_text(
        "prompt,answer,rank,category\np,a,1,\np,b,2,vague\np,c,2,rude\nq,a,2,odd\nq,b,1,\n"
    )
    rankings = load_rankings(source, streaming=streaming)
    assert write_pairs(rankings, tmp_path / f"b.{suffix}") == 3
    assert [
        (one.prompt, *one.completions, one.category)
        for one in load_rankings(tmp_path / f"b.{suffix}")
    ] == [("p", "a", "b", "vague"), ("p", "a", "c", "rude"), ("q", "b", "a", "odd")]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("kind", ["strings", "streamed strings", "messages"])
def test_implicit_prompts_read_back_the_same(tmp_path, suffix, kind):
    rows = [("same", "other"), ("the cat sat", "the cat slept")]
    if kind == "messages":
        rows = [tuple([message("assistant", text)] for text in pair) for pair in rows]
    source = tmp_path / "a.jsonl"
    source.write_text("".join(json.dumps({"chosen": a, "rejected": b}) + "\n" for a, b in rows))
    rankings = load_rankings(source, streaming=kind.startswith("streamed"))
    assert any(not one.prompt for one in rankings)
    write_pairs(rankings, tmp_path / f"b.{suffix}")
    assert preferences(load_rankings(tmp_path / f"b.{suffix}")) == preferences(rankings)


def test_streamed_pairs_with_ratings_may_have_no_prompt_column(tmp_path):
    row = {"chosen": "same", "rejected": "other", "score_chosen": 2, "score_rejected": 1}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    rankings = load_rankings(tmp_path / "a.jsonl", streaming=True)
    assert rankings.format == "annotated pairs"
    assert write_pairs(rankings, tmp_path / "b.jsonl") == 1
    assert preferences(load_rankings(tmp_path / "b.jsonl")) == preferences(rankings)


def test_messages_with_more_in_them_keep_it_in_json(tmp_path):
    turn = {"role": "assistant", "content": "a", "name": "Ann"}
    parts = {"role": "assistant", "content": "b", "tool_calls": [{"name": "sum"}]}
    some = Rankings.from_list([Ranking([message("user", "p")], [[turn], [parts]], [0, 1])])
    for suffix in ("jsonl", "csv"):
        write_pairs(some, tmp_path / f"a.{suffix}")
        assert preferences(load_rankings(tmp_path / f"a.{suffix}")) == preferences(some)
    with pytest.raises(PlauditError, match=r"a\.parquet: .*write \.jsonl"):
        write_pairs(some, tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("ranking", "name"),
    [
        (Ranking("p", ["a\0", "b"], [0, 1]), "a.csv"),
        (Ranking('[{"role": "user", "content": "x"}]', ["a", "b"], [0, 1]), "a.tsv"),
        (Ranking("", ["the cat sat", "the cat slept"], [0, 1]), "a.jsonl"),
        (Ranking("p", ["a", "b"], [0, 1]), "a.xlsx"),
        (Ranking("p", ["a", "b"], [0, 1]), "a.json"),
    ],
)
def test_what_cannot_be_held_is_refused_and_nothing_is_left(tmp_path, ranking, name):
    with pytest.raises(PlauditError, match=name):
        write_pairs([Ranking("o", ["a", "b"], [0, 1]), ranking], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_equal_data_makes_equal_files(tmp_path):
    for name in ("a.csv.gz", "a.jsonl.zst"):
        write_pairs([Ranking("p", ["a", "b"], [0, 1])], tmp_path / name)
        first = (tmp_path / name).read_bytes()
        write_pairs([Ranking("p", ["a", "b"], [0, 1])], tmp_path / name)
        assert (tmp_path / name).read_bytes() == first
