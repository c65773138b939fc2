"""What the inspection advises: nothing for clean data, and the weightiest finding first."""

import numpy as np
import pytest

from plaudit.data.rankings import Ranking
from plaudit.data.readers import load_rankings
from plaudit.inspection.advice import advise, format_inspection, verdict
from plaudit.inspection.rankings import inspect_rankings
from plaudit.model.base_models import EMBEDDED, load_config, locate
from plaudit.training import checks

WORDS = ("loan", "share", "bond", "fund", "rate", "yield", "stock", "price", "trade", "market")


def clean(number=60):
    """Rankings with nothing wrong: different texts, whole sentences, lengths by chance."""
    chance = np.random.default_rng(0)

    def text(length):
        return " ".join(chance.choice(WORDS, length)) + "."

    return [
        Ranking(text(12), [text(n), text(m)], [0, 1], origin=f"data.csv:{i}")
        for i, (n, m) in enumerate(chance.permuted([[20, 40]] * number, axis=1))
    ]


def test_clean_data_get_a_clean_bill():
    report = inspect_rankings(clean(), {"test.csv": clean(70)[60:]})
    assert advise(report) == []
    assert "nothing: no fault found that is looked for\n" in format_inspection(report)
    assert format_inspection(report).endswith("verdict: ready to train on\n  plaudit train DATA")


REFUSED = "I'm sorry, but I can't help with that."
FIRST = clean()[0]


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ([Ranking(FIRST.prompt, FIRST.completions[::-1], [0, 1])], "contradict each other"),
        ([FIRST], "1 pair is given more than once"),
        ([Ranking("a", [REFUSED, "A loan."], [0, 1])], "of the best completions look refused"),
        ([Ranking(p, [f"{p} loan and the", "A loan."], [0, 1]) for p in "abc"], "look cut off"),
        (
            [Ranking(FIRST.prompt + "..", ["A loan to a state.", "None."], [0, 1])],
            "2 prompts are nearly the same as another (1 group)",
        ),
        (
            [Ranking("a", ["Yes, a bond is a loan.", "Yes, a bond is a loan!"], [0, 1])],
            "the completions of 1 pair are nearly the same",
        ),
        (
            [Ranking(f"what {w}", [f"{w} " * 9 + ".", f"{w}."], [0, 1]) for w in WORDS] * 5,
            "the longer completion is the better one in",
        ),
        ([Ranking("a", ["a"], [0])], "rows cannot be used"),
    ],
)
def test_each_fault_has_its_advice(added, said):
    report = inspect_rankings(clean() + added)
    assert any(said in one.finding for one in advise(report))
    assert said in format_inspection(report)


@pytest.mark.parametrize(
    ("faulty", "tied", "said"),
    [
        (1, 0, "1 row with a fault of its own, rejected above"),
        (1, 5, "1 row with a fault of its own, rejected above"),
        (2, 0, "2 rows with faults of their own, rejected above"),
    ],
)
def test_few_rows_that_are_rejected_are_told_where_nothing_is_to_mend(faulty, tied, said):
    bad = [Ranking("a", ["a"], [0])] * faulty + [Ranking("b", ["a", "b"], [0, 0])] * tied
    text = format_inspection(inspect_rankings(clean(300) + bad))
    assert f"nothing: no fault found that is looked for but {said}\n" in text


def test_a_rank_below_0_is_to_be_known():
    rows = [
        {"prompt": one.prompt, "completions": one.completions, "ranks": [1, 2]} for one in clean()
    ]
    rows[7]["ranks"] = [-1, 2]
    told = verdict(inspect_rankings(load_rankings(rows)))["text"]
    assert told.startswith("ready to train on; know that in 1 row a rank is below 0: see that it ")


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ([Ranking("a", ["a bond.", "a loan."], [0, 0])] * 3, "completions are all tied"),
        (
            [Ranking(f"what {w}", [f"{w} " * 9 + ".", f"{w}."], [0, 1]) for w in WORDS] * 5,
            "the longer completion is the better one in",
        ),
    ],
)
def test_what_is_no_fault_is_not_called_to_be_mended(added, said):
    report = inspect_rankings(clean() + added)
    told = verdict(report)
    assert told["text"].startswith("ready to train on; know that ")
    assert said in told["text"]
    assert told["command"] == "plaudit train DATA"
    text = format_inspection(report)
    assert "what to mend\n  nothing" in text
    assert said in text.partition("what to know\n")[2]
    faults = [Ranking("a", ["a"], [0])] * 2
    mended = verdict(inspect_rankings([*clean(), *added, *faults]))
    assert mended["text"].startswith("mend first: 2 of")


def ends(cut_best, cut_worst, cut):
    """Clean pairs, with `cut` for the full stop of the best of some and of the worst of others."""
    pairs = clean(120)
    for one in pairs[:cut_best]:
        one.completions[0] = one.completions[0].rstrip(".") + cut
    for one in pairs[len(pairs) - cut_worst :]:
        one.completions[1] = one.completions[1].rstrip(".") + cut
    return pairs


@pytest.mark.parametrize(
    ("cut_best", "cut_worst", "cut", "told"),
    [
        (2, 2, " and the", "ready to train on; know that 1.7% of the completions look cut off"),
        (0, 4, " and the", "ready to train on; know that 1.7% of the completions look cut off"),
        (0, 12, " and the", "mend first: 5.0% of the completions look cut off"),
        (12, 0, " and the", "mend first: 5.0% of the completions look cut off"),
        (15, 15, " and the", "mend first: 12.5% of the completions look cut off"),
        (2, 2, "", "ready to train on"),
        (15, 15, "", "ready to train on"),
        (0, 12, "", "mend first: 5.0% of the completions look cut off"),
    ],
)
def test_cut_off_is_to_be_mended_where_it_goes_with_the_labels_or_is_frequent(
    cut_best, cut_worst, cut, told
):
    report = inspect_rankings(ends(cut_best, cut_worst, cut))
    about = [one for one in advise(report) if "cut off" in one.finding]
    assert report["truncated"]["completions"] == cut_best + cut_worst
    assert [one.mend for one in about] == (["mend" in told] if "cut off" in told else [])
    if cut_best != cut_worst and "mend" in told:
        worse = "worse" if cut_worst > cut_best else "better"
        assert about[0].advice.endswith(f"the model learns that no end is {worse}")
    assert verdict(report)["text"].startswith(told)


def test_a_refusal_that_loses_is_no_fault():
    report = inspect_rankings([*clean(), Ranking("a", ["A loan.", REFUSED], [0, 1])])
    assert report["refused"]["completions"] == 1
    assert advise(report) == []


def test_the_weightiest_comes_first():
    cut_off = [Ranking(f"{w}?", [f"{w} and the", f"{w}."], [0, 1]) for w in WORDS]
    report = inspect_rankings([*clean(), FIRST, *cut_off], {"test.csv": [FIRST]})
    told = [one.finding for one in advise(report)]
    assert told[0] == "1 of the 1 prompts of test.csv is also in the data"
    order = [next(i for i, t in enumerate(told) if what in t) for what in ("cut off", "more than")]
    assert order == sorted(order)


def test_text_tells_where_things_are():
    three = [Ranking("p", list(pair), [0, 1], origin=f"a.csv:{i}")
             for i, pair in enumerate(("AB", "BC", "CA"))]  # fmt: skip
    text = format_inspection(inspect_rankings([*clean(), *three], {"test.csv": clean()[:1]}))
    assert "“p”: “A” > “B” > “C” > “A” (a.csv:0, a.csv:1, a.csv:2)" in text
    assert "1 of the 1 prompts of test.csv are in the data" in text
    assert "(data.csv:0): (data.csv:0)" in text


@pytest.mark.parametrize(("prompts", "advised"), [(3, False), (60, True)])
def test_what_few_prompts_say_of_length_may_be_chance_however_many_their_pairs(prompts, advised):
    rankings = [
        Ranking(f"{p} what?", [*(f"{w} {p} {w}." for w in WORDS), f"{p}."], [0] * 10 + [1])
        for p in range(prompts)
    ]
    found = [one.finding for one in advise(inspect_rankings(rankings))]
    assert any("the longer completion is the better one in" in one for one in found) == advised


def labels(above, **more):
    suspect = {
        "probability": 0.9, "origin": "a.csv:3", "better": "x", "worse": "y",
        "reward_better": -1.0, "reward_worse": 1.0, "better_won": (0, 1), "worse_won": (0, 0),
    }  # fmt: skip
    figures = {"pairwise_accuracy": {"value": 0.6}, "above_length": {"value": above}}
    return {
        "pairs": 60, "noise_rate": 0.1, "suspects": 6, "expected": 5.0, "judge": figures,
        "examples": [suspect], **more,
    }  # fmt: skip


def test_a_judge_no_better_than_length_has_nothing_mended_first():
    report = inspect_rankings(clean()) | {"mislabelled": labels(-0.05)}
    assert [one.mend for one in advise(report)] == [False]
    assert verdict(report)["text"].startswith("ready to train on; know that about 5 of 60 pairs")
    text = format_inspection(report)
    assert "5.0 points below preferring the longer" in text
    assert "the first one won 0 of 1 comparison in other rankings\n" in text
    assert "0 of 0" not in text
    report["mislabelled"] = labels(0.05)
    assert verdict(report)["text"].startswith("mend first: about 5 of 60 pairs")


def test_the_next_step_is_never_the_command_that_was_just_run():
    report = inspect_rankings(clean())
    report["mislabelled"] = labels(0.05)
    assert verdict(report)["command"].endswith("--mislabelled --suspects suspects.jsonl")
    report["mislabelled"] = labels(0.05, predictions="cv/predictions.jsonl")
    assert "--predictions cv/predictions.jsonl --suspects" in verdict(report)["command"]
    report["mislabelled"] = labels(0.05, suspects_file="found.jsonl")
    assert verdict(report) == {
        "text": "mend first: about 5 of 60 pairs are probably labelled the wrong way round: read "
        "found.jsonl from the top and mend or drop those that are wrong, until most of what you "
        "read is right",
        "command": "",
    }


def seen(**counts):
    return {
        "model": "embedded:minilm", "trained": False, "kind": "encoder", "template": "plain",
        "pooling": "mean", "max_length": 512, "reads": 512, "longest": 4851, "left_out": {},
        "counts": {"completions": 1000, "pairs": 500, **counts}, "shown": [],
    }  # fmt: skip


@pytest.mark.parametrize(("equal", "mend"), [(0, False), (20, False), (30, True)])
def test_truncation_is_to_be_mended_where_the_check_of_training_fails(equal, mend):
    counts = {"truncated": 224, "prompt_cut": 0, "completion_cut": 224}
    if equal:
        counts |= {"equal_pairs": equal, "equal_truncated": equal}
    report = inspect_rankings(clean()) | {"model_sees": seen(**counts)}
    (found,) = advise(report)
    assert found.mend == mend
    assert "reads 4,851 tokens (embedded:smollm2 reads 8,192), or shorten" in found.advice
    assert checks._truncation(report["model_sees"]["counts"], 512)["passed"] == (not mend)


@pytest.mark.parametrize("name", EMBEDDED)
def test_what_embedded_models_read_is_what_their_configs_say(name):
    config = load_config(locate(f"embedded:{name}")).get_text_config()
    assert EMBEDDED[name].reads == config.max_position_embeddings


def test_rows_that_contradict_each_other_are_named_with_what_to_do(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"p{n},good {n},bad {n}\n" for n in range(20)]
    path.write_text("prompt,chosen,rejected\n" + "".join(rows) + "p3,bad 3,good 3\n")
    found = advise(inspect_rankings(load_rankings(path)))
    [told] = [one for one in found if "contradict" in one.finding]
    assert told.finding == (
        f"2 rows contradict another row of their prompt ({path}:5, {path}:22), and none of these "
        "is used"
    )
    assert told.command == f"plaudit inspect {path} --rejected rejected.jsonl"


def test_copies_are_counted_beside_the_rejected_rows_as_training_does(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"p{n},a{n},1\np{n},b{n},2\n" for n in range(20)]
    path.write_text("prompt,answer,rank\n" + "".join(rows) + "p3,a3,1\np4,a4,1\np5,,3\n")
    rankings = load_rankings(path)
    assert "Of 43 rows, 1 rejected: 1 × the completion is blank" in rankings.summary()
    assert "besides, 2 × duplicate" in rankings.summary()
    lines = format_inspection(inspect_rankings(rankings)).split("\n")
    [place] = [n for n, line in enumerate(lines) if line.startswith("rows rejected")]
    assert lines[place].split()[-1] == "1"
    assert lines[place + 1].startswith("  1 × the completion is blank")
    assert lines[place + 2].startswith("  besides, 2 × duplicate")


def test_what_is_said_of_near_prompts_can_be_done():
    near = [Ranking(FIRST.prompt + "..", ["A loan to a state.", "None."], [0, 1], origin="a:9")]
    report = inspect_rankings(clean() + near)
    [told] = [one for one in advise(report) if "nearly the same as another" in one.finding]
    assert told.command.endswith("--json > inspect.json")
    [group] = report["near_duplicates"]["prompts"]["places"]
    assert "a:9" in group
