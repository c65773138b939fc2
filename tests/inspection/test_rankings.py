"""What the inspection counts, against numbers worked out by hand and by numpy."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from plaudit.data.rankings import Ranking
from plaudit.data.readers import load_rankings
from plaudit.evaluation.agreement import agreement
from plaudit.inspection.advice import format_inspection
from plaudit.inspection.rankings import inspect_rankings

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
    assert "1 pair in 1 ranking" in text


def test_stream_with_prompts_that_come_back(tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_text("prompt,answer,rank\np,a,1\np,b,2\nq,a,1\nq,b,2\np,c,1\np,d,2\n")
    report = inspect_rankings(load_rankings(path, streaming=True))
    assert report["prompts_not_adjacent"] == 1
    assert report["duplicates"]["prompts_in_several_rankings"] == 1
    assert "sort the file by prompt" in format_inspection(report)
    capsys.readouterr()


# ---- what a doctor would ask ----

SENTENCE = "A bond is a loan that pays interest until the whole sum is paid back in the end"


def test_skew_of_lengths_is_that_of_scipy():
    chance = np.random.default_rng(0)
    lengths = chance.integers(1, 200, (40, 2))
    names = ["a" if i % 3 else "b" for i in range(40)]
    some = [
        Ranking(f"p{i}", ["x" * n, "y" * m], [0, 1], category=names[i])
        for i, (n, m) in enumerate(lengths)
    ]
    skew = inspect_rankings(some)["length_skew"]
    difference = lengths[:, 0] - lengths[:, 1]
    logs = np.log1p(lengths)
    assert skew["pairs"] == 40
    assert skew["mean_difference"] == pytest.approx(difference.mean())
    assert skew["median_difference"] == np.median(difference)
    # The paired t statistic is Cohen's d times the root of the number of pairs.
    t = stats.ttest_rel(logs[:, 0], logs[:, 1]).statistic
    assert skew["effect_size"] == pytest.approx(t / np.sqrt(40))
    of_b = difference[np.array(names) == "b"]
    assert list(skew["by_category"]) == ["a", "b"]
    assert skew["by_category"]["b"]["mean_difference"] == pytest.approx(of_b.mean())
    assert skew["by_category"]["b"]["pairs"] == len(of_b)


def test_a_completions_category_is_that_of_its_pairs():
    ranking = Ranking("p", ["abc", "ab", "a"], [0, 1, 2], categories=["good", "vague", "rude"])
    skew = inspect_rankings([ranking])["length_skew"]["by_category"]
    assert {name: one["pairs"] for name, one in skew.items()} == {"rude": 2, "vague": 1}


def test_near_duplicates_with_their_places(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [
        ("How does a bond pay interest, and when?", SENTENCE, "No idea."),
        ("How does a bond pay interest, and when", "Each year.", "Ask a bank."),
        ("Why is the sky blue?", SENTENCE.upper(), SENTENCE),
    ]
    names = ("prompt", "chosen", "rejected")
    path.write_text("".join(json.dumps(dict(zip(names, r, strict=True))) + "\n" for r in rows))
    near = inspect_rankings(load_rankings(path))["near_duplicates"]
    assert (near["prompts"]["texts"], near["prompts"]["groups"]) == (2, 1)
    assert [one["at"] for one in near["prompts"]["examples"][0]] == [f"{path}:1", f"{path}:2"]
    assert (near["completions"]["texts"], near["completions"]["groups"]) == (2, 1)
    assert near["pairs"] == 1
    assert near["pair_examples"][0]["at"] == f"{path}:3"


def test_all_groups_of_near_prompts_are_in_the_report_with_what_differs_in_them():
    """Dialogues that begin alike are told by their last question, long texts by where they part."""
    opening = [
        {"role": "user", "content": "Hello, can you help me with something that I must write?"},
        {"role": "assistant", "content": "Of course, I can help you with that. What is it about?"},
    ]
    rankings = []
    for n, topic in enumerate(["bonds", "loans", "taxes", "rents"]):
        for end in ("", "?"):
            ask = {"role": "user", "content": f"Write an essay of five pages on {topic}{end}"}
            origin = f"a.jsonl:{len(rankings) + 1}"
            answers = [f"{topic} a{n}", f"{topic} b{n}"]
            prompt = [{"role": "system", "content": topic}, *opening, ask]
            rankings.append(Ranking(prompt, answers, [0, 1], origin=origin))
    long = "What does the author of the following paragraph on the history of taxes say about it "
    for end in ("then, if anything", "then if anything"):
        rankings.append(Ranking(long + end, ["c", "d"], [0, 1], origin=f"b.csv:{len(rankings)}"))
    near = inspect_rankings(rankings)["near_duplicates"]["prompts"]
    places = {place for group in near["places"] for place in group}
    assert len(places) == near["texts"] == 10
    assert len(near["places"]) == near["groups"]
    assert ["b.csv:8", "b.csv:9"] in near["places"]
    of_dialogues = [one["text"] for group in near["examples"] for one in group if "a." in one["at"]]
    assert all(text.startswith("Write an essay of five pages on") for text in of_dialogues)
    [parted] = inspect_rankings(rankings[-2:])["near_duplicates"]["prompts"]["examples"]
    assert [one["text"].endswith("then, if anything") for one in parted] == [True, False]
    assert all(one["text"].startswith("…") for one in parted)


def test_prompts_that_splits_share():
    def pairs(*prompts):
        return [
            Ranking(p, ["a", "b"], [0, 1], origin=f"{p[:3]}:{i}") for i, p in enumerate(prompts)
        ]

    near = "How does a bond pay interest, and when"
    splits = {
        "validation": pairs("Why is it so?", "Other"),
        "test": pairs("Why is it so?", near.upper() + "?"),
    }
    report = inspect_rankings(pairs("Why is it so?", near), splits)
    told = {(s["first"], s["second"]): s for s in report["shared_prompts"]}
    counts = {names: (s["prompts"], s["same"], s["nearly_the_same"]) for names, s in told.items()}
    assert counts == {
        ("the data", "validation"): (2, 1, 0),
        ("the data", "test"): (2, 1, 1),
        ("validation", "test"): (2, 1, 0),
    }
    assert told["the data", "test"]["examples"][1] == {
        "text": near.upper() + "?", "at": "HOW:1", "like": near, "like_at": "How:1",
    }  # fmt: skip
    assert (report["prompts"], report["near_duplicates"]["prompts"]["texts"]) == (2, 0)


def test_contradictions_and_cycles_between_rankings(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [
        {"prompt": "p", "chosen": a, "rejected": b} for a, b in (("A", "B"), ("B", "C"), ("C", "A"))
    ]
    rows.append({"prompt": "q", "chosen": "C", "rejected": "B"})  # of another prompt
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cycles = inspect_rankings(load_rankings(path))["cycles"]
    assert cycles == {
        "contradictions": 0, "cycles": 1, "prompts": 1, "pairs": 3,
        "examples": [
            {
                "prompt": "p", "completions": ["A", "B", "C"],
                "at": [f"{path}:1", f"{path}:2", f"{path}:3"],
            }
        ],
    }  # fmt: skip
    lists = [
        {"prompt": "p", "completions": ["A", "B", "C"], "ranks": r} for r in ([1, 2, 2], [2, 1, 2])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in lists))
    report = inspect_rankings(load_rankings(path))
    # A over B and B over A; that C ties with either says nothing against it.
    assert (report["cycles"]["contradictions"], report["cycles"]["cycles"]) == (1, 0)
    assert (report["cycles"]["pairs"], report["contradictions"]) == (2, 0)


def test_annotators_who_disagree_are_measured_and_contradict_nobody():
    """Of the pairs that two judged, by hand: Ada and Bob agree on one of two, all three on half."""
    said = [("Ada", "AB"), ("Bob", "BA"), ("Ada", "CD"), ("Bob", "CD"), ("Bob", "EF")]
    some = [
        Ranking("p", list(pair), [0, 1], annotator=name, origin=f"a.csv:{n}")
        for n, (name, pair) in enumerate(said)
    ]
    report = inspect_rankings(some)
    assert json.loads(json.dumps(report)) == report
    assert report["cycles"]["pairs"] == report["duplicates"]["repeated_pairs"] == 0
    found = report["annotators"]
    assert (found["number"], found["agreement"]["pairs"], found["agreement"]["labels"]) == (2, 2, 4)
    assert found["agreement"]["agreement"]["value"] == 1 / 2
    assert found["agreement"] == agreement(some)
    assert "Two labels of one pair agree in 50.0 %" in format_inspection(report)

    again = inspect_rankings([*some, some[0], Ranking("p", ["B", "A"], [0, 1], annotator="Ada")])
    assert again["cycles"]["pairs"] == 3  # A over B twice, and B over A
    assert again["cycles"]["examples"][0]["prompt"] == "p"
    assert again["duplicates"]["repeated_pairs"] == 1
    assert again["annotators"] == found
    alone = inspect_rankings(some[4:])["annotators"]
    assert alone == {"number": 1, "agreement": None}
    assert inspect_rankings([Ranking("p", ["A", "B"], [0, 1])])["annotators"] is None


def endless(number, marked):
    """Rankings whose best is a sentence, with a full stop in the first `marked` of them."""
    return [
        Ranking(f"p{i}", [f"{SENTENCE}, that is all of it {i}" + "." * (i < marked), "no"], [0, 1])
        for i in range(number)
    ]


def test_a_missing_full_stop_counts_where_most_texts_have_one():
    truncated = inspect_rankings(endless(20, 18))["truncated"]
    assert truncated["signs"]["stops in mid-sentence"] == 2
    assert (truncated["completions"], truncated["share_of_best"], truncated["share_of_worst"]) == (
        2, 0.1, 0,
    )  # fmt: skip
    assert truncated["examples"]["stops in mid-sentence"][0]["text"].endswith("all of it 18")
    assert inspect_rankings(endless(20, 12))["truncated"]["completions"] == 0


def test_many_of_exactly_the_greatest_length_are_a_limit():
    def rankings(longest):
        lengths = [300] * longest + list(range(150, 200))
        return [
            Ranking(f"p{i}", [f"{i:03}" + "x" * (n - 4) + ".", "no"], [0, 1])
            for i, n in enumerate(lengths)
        ]

    sign = "exactly as long as the longest"
    assert inspect_rankings(rankings(12))["truncated"]["signs"][sign] == 12
    assert inspect_rankings(rankings(5))["truncated"]["signs"][sign] == 0
    # The same text many times is no limit.
    same = [Ranking(f"p{i}", ["x" * 300 + ".", "no"], [0, 1]) for i in range(50)]
    assert inspect_rankings(same)["truncated"]["signs"][sign] == 0


def test_refusals_by_standing():
    no = "I'm sorry, but I can't help with that."
    some = [
        Ranking("p1", ["Yes.", no, "As an AI, no."], [0, 1, 2]),
        Ranking("p2", [no, "x"], [0, 1]),
    ]
    refused = inspect_rankings(some)["refused"]
    assert refused["signs"] == {"says that it cannot help": 2, "speaks of itself as an AI": 1}
    assert (refused["completions"], refused["share"]) == (3, 0.6)
    assert (refused["share_of_best"], refused["share_of_worst"]) == (0.5, 0.5)


@pytest.mark.parametrize("streaming", [False, True])
def test_the_same_is_said_of_a_stream(tmp_path, streaming):
    path = tmp_path / "a.csv"
    rows = "".join(f"What is {i // 2}?,answer {i % 2} to {i // 2},{i % 2}\n" for i in range(200))
    path.write_text("prompt,answer,rank\n" + rows)
    report = inspect_rankings(load_rankings(path, streaming=streaming))
    held = inspect_rankings(list(load_rankings(path)))
    for name in ("length_skew", "near_duplicates", "truncated", "refused", "cycles", "ties"):
        assert report[name] == held[name]
