"""Rows to rankings: the formats, the grouping, what is rejected and why, streams."""

import json
import random
import subprocess
import sys
from collections import Counter

import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.data import grouping, readers
from plaudit.data.grouping import PromptsSeen
from plaudit.data.parse import BELOW_ZERO
from plaudit.data.prompts import stream_prompts
from plaudit.data.rankings import Ranking
from plaudit.data.readers import Rankings, load_rankings
from plaudit.data.rows import find_sources
from plaudit.data.tasks import Tasks
from plaudit.errors import PlauditError


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def content(ranking):
    return ranking.prompt, list(ranking.completions), list(ranking.ranks)


def reasons(rankings):
    return [(item.line, item.reason) for item in rankings.rejected]


def answers(*rows):
    return [{"prompt": prompt, "answer": answer, "rank": rank} for prompt, answer, rank in rows]


def pair(prompt, chosen, rejected, **more):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


GOOD = answers(("p", "a", 1), ("p", "b", 2))

# ------------------------------------------------------------------------------------ the formats


@pytest.mark.parametrize(
    ("rows", "format"),
    [
        ([{"Question ": "p", " ANSWER": a, "Rank": r} for a, r in (("x", 1), ("y", 5))], "ranked"),
        ([{"query": "p", "output": a, "score": s} for a, s in (("x", 9.5), ("y", 1))], "scored"),
        ([{"input": "p", "text": a, "rating": s} for a, s in (("x", "3"), ("y", "1"))], "scored"),
        ([{"prompt": "p", "completions": ["x", "y"], "ranks": [3, 7]}], "ranked lists"),
        ([{"prompt": "p", "responses": ["x", "y"], "scores": [0.5, 0.1]}], "scored lists"),
        ([{"prompt": "p", "completion": ["x", "y"], "rank": [3, 7]}], "ranked lists"),
        ([pair("p", "x", "y")], "pairs"),
    ],
)
def test_formats_say_the_same(tmp_path, rows, format):
    rankings = load_rankings(jsonl(tmp_path / "a.jsonl", rows))
    assert rankings.format == format
    assert [content(one) for one in rankings] == [("p", ["x", "y"], [0, 1])]


def test_columns_are_told_and_can_be_named(tmp_path):
    path = jsonl(
        tmp_path / "a.jsonl", [{"Q": "p", "answer": a, "place": i} for i, a in enumerate("xy")]
    )
    with pytest.raises(PlauditError, match=r"the prompt .* and the rank .*found: Q, answer, place"):
        load_rankings(path)
    rankings = load_rankings(path, columns={"prompt": "q", "rank": "place"})
    assert rankings.columns == {"prompt": "Q", "completion": "answer", "rank": "place"}
    with pytest.raises(PlauditError, match="no column 'nope' to take as prompt"):
        load_rankings(path, columns={"prompt": "nope"})
    with pytest.raises(PlauditError, match="'promt' is no column known"):
        load_rankings(path, columns={"promt": "q"})


def test_lists_and_messages_in_csv_are_json(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('prompt,answers,ranks\np,"[""x"", ""y, z""]","[2, 1]"\np2,"[""x""","[2, 1]"\n')
    rankings = load_rankings(path, max_rejected=1)
    assert content(rankings[0]) == ("p", ["x", "y, z"], [1, 0])
    assert reasons(rankings) == [(3, "the completions are not a JSON list")]
    path.write_text(
        'prompt,chosen,rejected\nHi,"[{""role"": ""assistant"", ""content"": ""a""}]",b\n'
    )
    assert content(load_rankings(path)[0]) == (
        [{"role": "user", "content": "Hi"}],
        [[{"role": "assistant", "content": "a"}], [{"role": "assistant", "content": "b"}]],
        [0, 1],
    )


def test_pairs_without_a_prompt(tmp_path):
    turns = [{"role": "user", "content": "q"}]
    a, b = ({"role": "assistant", "content": text} for text in "ab")
    path = jsonl(
        tmp_path / "a.jsonl",
        [
            {"chosen": [*turns, a], "rejected": [*turns, b]},
            {"chosen": "the cat sat", "rejected": "the cat slept"},
        ],
    )
    assert [content(one) for one in load_rankings(path)] == [
        (turns, [[a], [b]], [0, 1]),
        ("the cat", [" sat", " slept"], [0, 1]),
    ]


def test_extras_of_ranked_rows(tmp_path):
    rows = [
        {**row, "category": c, "model": m, "weight": w, "margin": g}
        for row, c, m, w, g in zip(
            answers(("p", "a", 1), ("p", "b", 2), ("q", "a", 1), ("q", "b", 2)),
            ["good", "vague", "same", "same"],
            ["m1", None, None, None],
            [1, 3, None, None],
            [0.5, None, None, None],
            strict=True,
        )
    ]
    p, q = load_rankings(jsonl(tmp_path / "a.jsonl", rows))
    assert (p.category, p.categories, p.models) == (None, ["good", "vague"], ["m1", None])
    assert (p.weight, p.margin) == (2.0, 0.5)
    assert (q.category, q.categories, q.models) == ("same", ["same", "same"], None)
    assert (q.weight, q.margin) == (1.0, None)
    assert p.origin == f"{tmp_path}/a.jsonl:1"


def test_extras_of_pairs(tmp_path):
    rows = [pair("p", "a", "b", margin="1.5", weight=2, category="tone", model=["m", "n"])]
    [one] = load_rankings(jsonl(tmp_path / "a.jsonl", rows))
    assert (one.margin, one.weight, one.category, one.categories) == (1.5, 2.0, "tone", None)
    assert one.models == ["m", "n"]


def test_files_of_different_formats_are_not_mixed(tmp_path):
    jsonl(tmp_path / "a.jsonl", GOOD)
    jsonl(tmp_path / "b.jsonl", [pair("p", "a", "b")])
    with pytest.raises(PlauditError, match=r"a\.jsonl holds ranked but .*b\.jsonl holds pairs"):
        load_rankings(tmp_path)


def test_folder_of_the_datasets_library(tmp_path):
    data = Dataset.from_list([pair("p", "a", "b"), pair("q", "a", "")])
    data.save_to_disk(tmp_path / "one")
    DatasetDict(train=data, test=data.select([0])).save_to_disk(tmp_path / "two")
    one = load_rankings(tmp_path / "one", max_rejected=1)
    assert [content(ranking) for ranking in one] == [("p", ["a", "b"], [0, 1])]
    assert reasons(one) == [(2, "the rejected is blank")]
    assert one[0].origin == f"{tmp_path}/one, row 1"
    assert load_rankings(tmp_path / "two", split="test").rows_read == 1
    assert sum(1 for _ in load_rankings(tmp_path / "two", streaming=True, max_rejected=1)) == 1
    with pytest.raises(PlauditError, match=r"no split 'dev'.*train, test"):
        load_rankings(tmp_path / "two", split="dev")


def test_hub_that_cannot_be_reached(tmp_path):
    # In a process of its own: the libraries read the setting when they are imported.
    program = (
        "from plaudit.data.readers import load_rankings\n"
        "from plaudit.errors import PlauditError\n"
        "try:\n    load_rankings('no-such-org/no-such-data')\n"
        "except PlauditError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": ""},
    )
    assert "no-such-org/no-such-data:split=train: no such file here" in done.stdout
    assert "unset it, or download the data set and give its folder" in done.stdout
    assert done.stdout.count("\n") == 1


# ----------------------------------------------------------------------------------- the grouping

ROWS = st.lists(
    st.tuples(st.sampled_from("pqr"), st.sampled_from("abcd"), st.integers(0, 2)), max_size=14
)


def by_brute_force(rows):
    """Prompt → {completion: rank} and the number of rows used, straight from the rules."""
    rankings, used = {}, 0
    for prompt in dict.fromkeys(row[0] for row in rows):
        ranks = {}
        for _, answer, rank in (row for row in rows if row[0] == prompt):
            ranks.setdefault(answer, []).append(rank)
        kept = {answer: all_[0] for answer, all_ in ranks.items() if len(set(all_)) == 1}
        if len(set(kept.values())) > 1:
            rankings[prompt] = kept
            used += len(kept)
    return rankings, used


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, shuffled=st.booleans())
def test_grouping_equals_brute_force(tmp_path_factory, rows, shuffled):
    if not shuffled:  # adjacent, so that a stream must give the same
        rows = sorted(rows, key=lambda row: row[0])
    expected, used = by_brute_force(rows)
    path = jsonl(tmp_path_factory.mktemp("group") / "a.jsonl", answers(*rows))
    if not expected:
        with pytest.raises(PlauditError, match="empty" if not rows else "nothing usable"):
            load_rankings(path, max_rejected=1)
        return
    eager = load_rankings(path, max_rejected=1)
    assert list(expected) == [one.prompt for one in eager]
    for one in eager:
        ranks = expected[one.prompt]
        dense = sorted(set(ranks.values()))
        assert list(one.completions) == list(ranks)
        assert list(one.ranks) == [dense.index(rank) for rank in ranks.values()]
    assert sum(eager.rejected_by_reason.values()) == len(rows) - used
    assert eager.rows_read == len(rows)
    if not shuffled:
        stream = load_rankings(path, max_rejected=1, streaming=True)
        assert [content(one) for one in stream] == [content(one) for one in eager]
        assert stream.rejected_by_reason == eager.rejected_by_reason
        assert stream.prompts_not_adjacent == 0


def test_prompt_is_grouped_over_files(tmp_path):
    jsonl(tmp_path / "a.jsonl", GOOD[:1])
    jsonl(tmp_path / "b.jsonl", GOOD[1:])
    for streaming in (False, True):
        [one] = load_rankings(tmp_path, streaming=streaming)
        assert content(one) == ("p", ["a", "b"], [0, 1])


# ------------------------------------------------------------------------------- what is rejected


TIED = "all completions of this prompt are tied"
LIST = "a list, but not of messages with role and content"
TWICE = grouping.CONTRADICTION


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (answers(("q", "a", 1)), [(3, "only one completion for this prompt")]),
        (answers(("q", "a", 1), ("q", "b", 1)), [(3, TIED), (4, TIED)]),
        (answers(("p", "c", "nan")), [(3, "the rank is not a finite number: nan")]),
        (answers(("p", " ", 1)), [(3, "the completion is blank")]),
        (answers((None, "c", 1)), [(3, "the prompt is missing")]),
        (answers((["x"], "c", 1)), [(3, f"the prompt is not text: {LIST}")]),
        (answers(("p", "a", 1)), [(3, grouping.DUPLICATE)]),
        (answers(("p", "c", 3), ("p", "a", 3)), [(1, TWICE), (4, TWICE)]),
    ],
)  # fmt: skip
def test_bad_ranked_rows(tmp_path, rows, expected):
    path = jsonl(tmp_path / "a.jsonl", GOOD + rows)
    rankings = load_rankings(path, max_rejected=1)
    assert reasons(rankings) == expected
    assert [one.prompt for one in rankings] == ["p"]
    assert rankings.rejected[-1].row == rows[-1]


@pytest.mark.parametrize("streaming", [False, True])
def test_bad_pairs(tmp_path, streaming):
    rows = [
        pair("p", "a", "b"),
        pair("p", "a", "a"),
        pair("p", "b", "a"),
        pair("q", "b", "a"),
        pair("q", "b", "a"),
    ]
    rankings = load_rankings(jsonl(tmp_path / "a.jsonl", rows), max_rejected=1, streaming=streaming)
    kept = [one.origin.rpartition(":")[2] for one in rankings]
    contradiction = grouping.CONTRADICTION_OF_PAIRS
    if streaming:  # the row that came first is gone already
        assert kept == ["1", "4", "5"]
        assert reasons(rankings) == [(2, grouping.SAME), (3, contradiction)]
    else:
        assert kept == ["4", "5"]  # the same preference twice is no contradiction
        assert reasons(rankings) == [(1, contradiction), (2, grouping.SAME), (3, contradiction)]


def test_faults_inside_a_list_cost_the_completion_not_the_row(tmp_path):
    rows = [
        {"prompt": "p", "answers": ["a", "b", "a", "c", "b"], "ranks": [1, 2, 1, 3, 3]},
        {"prompt": "q", "answers": ["a", "b"], "ranks": [1]},
        {"prompt": "r", "answers": ["a", "a"], "ranks": [1, 2]},
    ]
    rankings = load_rankings(jsonl(tmp_path / "a.jsonl", rows), max_rejected=0.7)
    assert [content(one) for one in rankings] == [("p", ["a", "c"], [0, 1])]
    assert [item.line for item in rankings.rejected] == [1, 1, 1, 2, 3, 3, 3]
    assert rankings.rejected[0].row["completion"] in ("a", "b")


def test_strict_stops_at_the_first(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [*GOOD, *answers(("p", "", 1), ("p", None, 1))])
    with pytest.raises(PlauditError, match=r"a\.jsonl:3: the completion is blank"):
        load_rankings(path, strict=True)


def test_a_refusal_shows_shares_that_fit_its_counts_and_the_values_nobody_knows(tmp_path):
    winners = ["a"] * 25 + ["tie"] * 7 + ["left"] * 4 + ["right", "right", "x", "y"]
    rows = [
        {"prompt": f"p{i}", "response_a": "yes", "response_b": "no", "winner": winner}
        for i, winner in enumerate(winners)
    ]
    path = jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(PlauditError) as raised:
        load_rankings(path)
    assert str(raised.value) == (
        f"{path}: 20% of the rows cannot be used (8 of 40), more than the 10% allowed. Of 40 rows, "
        "15 rejected: 8 × the winner has a value that is not known "
        f"(first at {path}:33, 4 × 'left', 2 × 'right', 1 × 'x', …); 7 × all completions of this "
        f"prompt are tied (first at {path}:26). Ties are no fault, and do not count. Mend them, or "
        "allow it with --max-rejected 0.2"
    )
    assert len(load_rankings(path, max_rejected=0.2)) == 25  # what it says can be done


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        ([["p", "a", -1], ["p", "b", 1], ["q", "a", 1], ["q", "b", 2]], 1),
        ([["p", "a", "-1,5"], ["p", "b", "1,5"], ["q", "a", "1,0"], ["q", "b", "2,0"]], 1),
        ([["p", "a", 0], ["p", "b", 1]], 0),
    ],
)
def test_a_rank_below_0_is_remarked(tmp_path, rows, count):
    """−1 may stand for “not ranked”, and is the best rank of all."""
    written = [";".join(map(str, row)) for row in (["prompt", "answer", "rank"], *rows)]
    (tmp_path / "a.csv").write_text("\n".join(written))
    found = load_rankings(tmp_path / "a.csv")
    assert found.notes == Counter({BELOW_ZERO: 1} if count else {})
    assert found[0].ranks == [0, 1]


def test_what_is_noticed_of_rows_is_said_once_for_a_file(tmp_path, capsys):
    path = jsonl(tmp_path / "a.jsonl", answers(("p", "a", -1), ("p", "b", 1)))
    said = f"{path}: 1 × {BELOW_ZERO}\n"
    load_rankings(path)
    assert capsys.readouterr().err == said
    stream = load_rankings(path, streaming=True)
    for _ in range(3):
        assert len([*stream]) == 1
    assert capsys.readouterr().err == said


def test_scores_below_0_are_not_remarked():
    rows = [{"prompt": "p", "completions": ["a", "b"], "scores": [-1.5, 2.0]}]
    assert not load_rankings(rows).notes


@pytest.mark.parametrize(("bad", "of"), [(1, 3), (1, 7), (14, 100), (29, 100), (57, 100), (7, 60)])
def test_the_share_that_a_refusal_proposes_suffices(tmp_path, bad, of):
    rows = [pair(f"p{i}", "a", "b" if i >= bad else "a") for i in range(of)]
    path = jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(PlauditError, match=r"--max-rejected 0\.\d\d?$") as raised:
        load_rankings(path)
    proposed = float(str(raised.value).rpartition(" ")[2])
    assert len(load_rankings(path, max_rejected=proposed)) == of - bad
    assert proposed < bad / of + 0.01


def test_a_record_that_is_no_text_says_what_it_is(tmp_path):
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    rows = [{"chosen": {"conversations": turns}, "rejected": {"conversations": turns}}]
    with pytest.raises(PlauditError, match=r"1 × a record of conversations \(give what is in conv"):
        load_rankings(jsonl(tmp_path / "a.jsonl", rows))


def test_too_many_rejected(tmp_path):
    rows = [pair(f"p{i}", "a", "b" if i >= 11 else "a") for i in range(100)]
    path = jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(
        PlauditError, match=r"11% .* 11 × chosen equals rejected .*--max-rejected 0\.11$"
    ):
        load_rankings(path)
    assert len(load_rankings(path, max_rejected=0.11)) == 89
    with pytest.raises(PlauditError, match="it is a share"):
        load_rankings(path, max_rejected=11)


def test_duplicates_do_not_count_as_rejected(tmp_path):
    rankings = load_rankings(jsonl(tmp_path / "a.jsonl", GOOD * 20))
    assert rankings.rejected_by_reason == {"duplicate": 38}
    assert len(rankings) == 1


def test_stream_stops_before_its_end_when_too_many_are_rejected(tmp_path):
    rows = [pair(f"p{i}", "a", "b" if i % 5 else "a") for i in range(5_000)]
    stream = load_rankings(jsonl(tmp_path / "a.jsonl", rows), streaming=True)
    with pytest.raises(PlauditError, match=r"20\.1% of the rows"):
        list(stream)
    assert stream.rows_read == 1_001


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "the file is empty"),
        ("a.jsonl", "\n \n", "the file is empty"),
        ("a.json", "[]", "the file is empty"),
        ("a.csv", "prompt,answer,rank\n", "has a header and no rows"),
        ("a.jsonl", "{\n{\n", r"nothing usable .*2 rows rejected.*a\.jsonl:1: broken JSON"),
        ("a.csv", "prompt,answer,rank\np,a\nq\n", "100% of the rows cannot be used"),
        ("a.csv", "prompt,prompt,answer,rank\np,q,a,1\n", "two columns are called 'prompt'"),
        ("a.csv", "prompt,chosen\np,a\n", "no column for the rejected"),
        ("a.csv", 'p"x\n"y\n', "no column for the prompt|cannot be read"),
    ],
)
def test_nothing_to_read(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    for streaming in (False, True):
        with pytest.raises(PlauditError, match=message) as raised:
            list(load_rankings(tmp_path / name, streaming=streaming))
        assert "\n" not in str(raised.value)
        assert str(tmp_path / name) in str(raised.value)


def ranked_and_scored(scores, prompts=10):
    return [
        {"prompt": f"p{i}", "answer": f"a{j}", "rank": j + 1, "score": score}
        for i in range(prompts)
        for j, score in enumerate(scores)
    ]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_rank_and_a_score_that_contradict_each_other_are_rejected(tmp_path, streaming):
    rows = [*ranked_and_scored([0.9, 0.5, 0.5]), *answers(("q", "a", 1), ("q", "b", 2))]
    rows[-2] |= {"score": 0.2}
    rows[-1] |= {"score": 0.3}
    rankings = load_rankings(jsonl(tmp_path / "a.jsonl", rows), streaming=streaming)
    kept = list(rankings)
    assert [content(ranking) for ranking in kept[:1]] == [("p0", ["a0", "a1", "a2"], [0, 1, 2])]
    assert (len(kept), list(kept[0].ratings)) == (10, [0.9, 0.5, 0.5])
    kind = "rank and score contradict each other (name the one that is right, --columns rank=rank "
    reason = f"{kind}or --columns score=score): the better completion is rated 0.2, the worse 0.3"
    assert reasons(rankings) == [(31, reason), (32, reason)]


def test_a_file_whose_ranks_and_scores_are_opposite_waits_for_the_users_word(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", ranked_and_scored([1, 2, 3]))
    with pytest.raises(PlauditError, match=r"rank=rank or --columns score=score"):
        load_rankings(path)
    by_rank = load_rankings(path, columns={"rank": "rank"})
    by_score = load_rankings(path, columns={"score": "score"})
    assert (by_rank[0].ranks, by_score[0].ranks) == ([0, 1, 2], [2, 1, 0])
    assert (by_rank.better, by_score.better) == ("the lowest rank", "the highest score")


@pytest.mark.parametrize("scores", [["", 2, 1], ["good", "bad", "bad"], [3, 3, 3]])
def test_a_score_beside_a_rank_that_says_nothing_of_the_order_rejects_nothing(tmp_path, scores):
    rankings = load_rankings(jsonl(tmp_path / "a.jsonl", ranked_and_scored(scores)))
    assert (len(rankings), rankings.rejected) == (10, [])


def test_ratings_beside_lists_and_pairs_must_not_contradict_them(tmp_path):
    both = {"completions": ["a", "b"], "ranks": [1, 2]}
    lists = [{"prompt": "p", **both, "scores": [2, 1]}, {"prompt": "q", **both, "scores": [1, 2]}]
    rated = [(2, 1), (1, 1), (1, 2)]
    pairs = [
        pair(f"p{n}", "a", "b", chosen_rating=a, rejected_rating=b)
        for n, (a, b) in enumerate(rated)
    ]
    for rows, left, told in ((lists, 1, "ranks"), (pairs, 2, "chosen")):
        path = jsonl(tmp_path / "a.jsonl", rows)
        rankings = load_rankings(path, max_rejected=1)
        assert (len(rankings), [line for line, _ in reasons(rankings)]) == (left, [len(rows)])
        assert len(load_rankings(path, columns={told: told})) == len(rows)


def test_a_column_that_stands_twice_is_refused_by_whoever_reads_it(tmp_path):
    (tmp_path / "a.csv").write_text("Prompt,prompt,answer,rank\np,q,a,1\n")
    [source] = find_sources(tmp_path / "a.csv")
    for read in (load_rankings, lambda file: [*stream_prompts(file)], lambda _: Tasks(source, {})):
        with pytest.raises(PlauditError, match=r"two columns are called '[Pp]rompt'"):
            read(tmp_path / "a.csv")
    # A row that names its columns late costs itself.
    rows = [*answers(*(("p", f"a{n}", n) for n in range(101)))]
    late = {"prompt": "p", "Prompt": "q", "answer": "b", "rank": 200}
    rankings = load_rankings(jsonl(tmp_path / "a.jsonl", [*rows, late]))
    assert [item.reason for item in rankings.rejected] == [
        "ambiguous columns: two columns are called 'prompt' (prompt)"
    ]


def test_rejected_rows_can_be_written(tmp_path):
    rows = [*GOOD, *answers(("p", float("nan"), 1)), *answers(("p", "c", [float("inf"), {"x": 1}]))]
    path = jsonl(tmp_path / "a.jsonl", rows)
    with path.open("ab") as file:
        file.write(b'{"prompt": "caf\xe9"}\n')
    for streaming in (False, True):
        rankings = load_rankings(path, max_rejected=1, streaming=streaming)
        assert rankings.write_rejected(tmp_path / "rejected.jsonl") == 3
        written = [json.loads(line) for line in (tmp_path / "rejected.jsonl").open()]
        assert [row["line"] for row in written] == [3, 4, 5]
        assert written[0]["row"] == {"prompt": "p", "answer": "nan", "rank": 1}
        assert written[2] == {
            "file": str(path),
            "line": 5,
            "reason": "undecodable bytes: not UTF-8; give --encoding cp1252 if it is that, or save "
            "it as UTF-8",
            "row": '{"prompt": "caf\ufffd"}',
        }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = ["prompt", "chosen", "rejected", "answer", "answers", "rank", "ranks", "score", "category",
         "model", "margin", "weight"]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8), max_size=5),
    streaming=st.booleans(),
)
def test_rows_of_anything_never_raise_anything_else(tmp_path_factory, rows, streaming):
    folder = tmp_path_factory.mktemp("any")
    path = jsonl(folder / "a.jsonl", [pair("p", "a", "b"), *rows])
    rankings = load_rankings(path, max_rejected=1, streaming=streaming)
    found = list(rankings)
    assert all(len(one.completions) == 2 for one in found)
    assert len(found) + sum(rankings.rejected_by_reason.values()) == len(rows) + 1
    assert rankings.write_rejected(folder / "r.jsonl") == len(rows) + 1 - len(found)
    # And where rows are ranked lists, or single answers.
    for first in ({"prompt": "p", "answers": ["a", "b"], "ranks": [0, 1]}, GOOD[0]):
        try:
            list(load_rankings(jsonl(path, [first, *rows]), max_rejected=1, streaming=streaming))
        except PlauditError as error:
            assert "nothing usable" in str(error) or "column" in str(error)  # noqa: PT017


# ---------------------------------------------------------------------------------------- streams


def test_stream_can_be_read_again_and_has_no_length(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [*GOOD, *answers(("q", "", 1))])
    stream = load_rankings(path, streaming=True, max_rejected=1)
    assert stream.streaming
    assert list(stream) == list(stream) == list(load_rankings(path, max_rejected=1))
    assert (stream.rows_read, stream.rejected_by_reason) == (3, {"the completion is blank": 1})
    with pytest.raises(TypeError):
        len(stream)
    with pytest.raises(TypeError):
        stream[0]


def test_stream_by_itself_from_a_size_on(tmp_path, monkeypatch, capsys):
    path = jsonl(tmp_path / "a.jsonl", GOOD)
    monkeypatch.setattr(readers, "STREAMED_FROM", 10)
    assert load_rankings(path).streaming
    assert "streaming it from disk" in capsys.readouterr().err
    assert not load_rankings(path, streaming=False).streaming


def test_prompts_that_come_back_in_a_stream_are_told(tmp_path, capsys):
    rows = [
        row
        for n in (0, 2)
        for prompt in "pqr"
        for row in answers((prompt, f"a{n}", n), (prompt, f"b{n}", n + 1))
    ]
    path = jsonl(tmp_path / "a.jsonl", rows)
    stream = load_rankings(path, streaming=True)
    assert [one.prompt for one in stream] == list("pqrpqr")
    assert stream.prompts_not_adjacent == 3
    assert "sort the file by prompt" in capsys.readouterr().err
    # Where nothing is adjacent nothing is left, and the message says why.
    lone = [
        row for rank in (0, 1) for prompt in "pqr" for row in answers((prompt, f"a{rank}", rank))
    ]
    with pytest.raises(PlauditError, match=r"only one completion.* sort the file by prompt"):
        list(load_rankings(jsonl(path, lone), streaming=True))
    assert len(load_rankings(path)) == 3


def test_prompts_seen_forgets_none_and_invents_few():
    seen = PromptsSeen()
    assert sum(seen.before(f"prompt {i}") for i in range(20_000)) <= 1
    assert all(seen.before(f"prompt {i}") for i in range(20_000))


MEASURE = """
import resource, sys
from plaudit.data.readers import load_rankings
count = sum(1 for _ in load_rankings(sys.argv[1], streaming=True, max_rejected=1))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_of_a_stream_does_not_grow_with_the_file(tmp_path):
    noise = random.Random(0).randbytes(2_000).hex()
    peaks = []
    for rows in (1_000, 16_000):  # 4 MB and 64 MB, a tenth of it rejected
        path = tmp_path / f"{rows}.jsonl"
        with path.open("w") as file:
            for i in range(rows):
                chosen = "" if i % 10 == 0 else f"{i}"
                file.write(json.dumps(pair(f"{noise}{i}", chosen, f"not {i}")) + "\n")
        command = [sys.executable, "-c", MEASURE, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        count, peak = map(int, done.stdout.split())
        assert count == rows * 9 // 10
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 16_000  # KiB


# ---------------------------------------------------------------------------------- from a program


def test_from_list():
    rankings = Rankings.from_list(
        [
            Ranking("p", ["a", "b", "c"], [10, 30, 10]),
            Ranking("q", ["a", "b"], [1, 1]),
            Ranking("r", [[{"role": "assistant", "content": "a"}], "b"], [0, 1]),
        ]
    )
    assert [list(one.ranks) for one in rankings] == [[0, 1, 0], [0, 1]]
    assert rankings[1].prompt == [{"role": "user", "content": "r"}]
    assert reasons(rankings) == [(2, "all completions of this prompt are tied")]
    with pytest.raises(PlauditError, match="record 1: 2 completions but 1 ranks"):
        Rankings.from_list([Ranking("p", ["a", "b"], [1])])
    with pytest.raises(PlauditError, match="record 1: 2 completions but 1 ratings"):
        Rankings.from_list([Ranking("p", ["a", "b"], [0, 1], ratings=[3.0])])
    with pytest.raises(PlauditError, match="not a finite number"):
        Rankings.from_list([Ranking("p", ["a", "b"], [1, float("nan")])])


def test_ties_are_no_fault_of_the_data(tmp_path):
    rows = [{"prompt": f"p{i}", "completion": c, "rank": 1} for i in range(5) for c in "ab"]
    rows += [{"prompt": "q", "completion": c, "rank": r} for r, c in enumerate("ab")]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rankings = load_rankings(path)
    assert len(rankings) == 1
    assert "tied" in rankings.summary()


def test_too_many_undecodable_rows_stop_with_the_encoding_they_may_be_in(tmp_path):
    path = tmp_path / "a.csv"
    rows = "".join(f"Übung {i},gut,schlecht\n" for i in range(5))
    path.write_bytes(("prompt,chosen,rejected\n" + rows).encode("cp1252"))
    with pytest.raises(PlauditError, match=r"Give --encoding cp1252 if it is that"):
        load_rankings(path)


def test_labels_without_a_counterpart_are_named_for_what_they_are():
    rows = [{"prompt": f"p{i}", "completion": "a", "label": True} for i in range(5)]
    with pytest.raises(PlauditError, match="as KTO has them, make a ranking where one prompt has"):
        load_rankings(rows)


@pytest.mark.parametrize(("name", "order"), [("ranks", [1, 2]), ("scores", [2, 1])])
@pytest.mark.parametrize("absent", [{}, {"nothing": None}, {"nothing": ""}])
def test_a_list_without_its_order_costs_only_its_row(name, order, absent):
    given = {"prompt": "p", "completions": ["a", "b"], name: order}
    without = {"prompt": "q", "completions": ["a", "b"]} | dict.fromkeys(
        [name] if absent else [], absent.get("nothing")
    )
    found = load_rankings([given, without], max_rejected=1)
    assert [ranking.prompt for ranking in found] == ["p"]
    [rejected] = found.rejected
    assert "missing" in rejected.reason
