"""Rewards that others computed: every form that is read, joined with data, and what is refused."""

import json
import re
from functools import partial

import pytest

import plaudit
from evaluation.test_suites import (
    ONE_OF_EACH,
    judgebench_row,
    llmbar_row,
    rewardbench2_row,
    rewardbench_row,
    rewardmath_rows,
    rmbench_row,
    write,
)
from fits import assert_fits
from plaudit import PlauditError
from plaudit.evaluation import suite_rewards, suite_run
from plaudit.evaluation.suites import SUITES

# A few rows of a benchmark, which nobody published.
score_rewards = partial(suite_rewards.score_rewards, partial=True)
run_suite = partial(suite_run.run_suite, partial=True)
LOOKS_AT_MORE = {name for name, suite in SUITES.each() if not suite.labels}


def label(number, better="A>B", **other):
    return {"pair_id": f"p{number}", "source": "livebench-math", "label": better} | other


def scores(rewards, **other):
    """Published rows of JudgeBench, one model or several: {name: [[A, B], …]} or [[A, B], …]."""
    by_model = rewards if isinstance(rewards, dict) else {"": rewards}
    rows = []
    for k in range(len(next(iter(by_model.values())))):
        given = {name: pairs[k] for name, pairs in by_model.items()}
        rows.append(label(k, scores=given.get("", given), **other))
    return rows


def models_of(found):
    return {name: entry["score"]["value"] for name, entry in found.summary["models"].items()}


# ---------------------------------------------------------------------------- predictions.jsonl


@pytest.mark.parametrize("name", SUITES)
def test_what_a_run_wrote_gives_its_own_summary(name, tmp_path, reward_model):
    data = write(tmp_path / "data.jsonl", ONE_OF_EACH[name])
    ran = run_suite(reward_model("bert"), data, output=tmp_path / "out", resamples=50)
    predictions = tmp_path / "out" / "predictions.jsonl"
    own = {key: value for key, value in ran.summary.items() if key != "training_overlap"}
    for given in (None, data):
        if given is None and name in LOOKS_AT_MORE:
            with pytest.raises(
                PlauditError, match=r"needs more of the benchmark than the labels .*: name the d"
            ):
                score_rewards(predictions, name)
            continue
        found = score_rewards(predictions, name, given, resamples=50)
        assert found.summary == {"model": "predictions"} | own


def test_tied_prompts_are_resampled_with_their_reference_without_data_too(tmp_path, reward_model):
    rows = [
        rewardbench2_row("Ties", f"{kind}:{k}", right)
        for kind, right in (("ref", 1), ("tied", 2))
        for k in range(8)
    ]
    data = write(tmp_path / "data.jsonl", rows)
    ran = run_suite(reward_model("bert"), data, output=tmp_path / "out", resamples=200)
    found = score_rewards(tmp_path / "out" / "predictions.jsonl", "rewardbench2", resamples=200)
    assert found.summary["score"] == ran.summary["score"]
    assert found.summary["score"]["low"] is not None


def test_predictions_of_other_data_are_refused(tmp_path, reward_model):
    rows = [llmbar_row(k, subset="Natural") for k in range(3)]
    data = write(tmp_path / "data.jsonl", rows)
    run_suite(reward_model("bert"), data, output=tmp_path / "out", resamples=1)
    predictions = tmp_path / "out" / "predictions.jsonl"
    turned = write(tmp_path / "turned.jsonl", rows[::-1])
    with pytest.raises(
        PlauditError, match=r"predictions.jsonl:1: the texts of .* are others than in the data"
    ):
        score_rewards(predictions, "llmbar", turned)
    other = write(tmp_path / "other.jsonl", [rows[0] | {"label": 2}, *rows[1:]])
    with pytest.raises(
        PlauditError, match=r"the label of .* is another one than in the data, at .*other"
    ):
        score_rewards(predictions, "llmbar", other)
    more = write(tmp_path / "more.jsonl", [*rows, llmbar_row(7, subset="Natural")])
    with pytest.raises(PlauditError, match="has rewards of 3 items, and the data have 4; give"):
        score_rewards(predictions, "llmbar", more)
    lines = predictions.read_text().splitlines()
    predictions.write_text("\n".join([lines[0], *lines[2:], lines[1]]))
    with pytest.raises(PlauditError, match="rows of ranking 0 stand apart from its others"):
        score_rewards(predictions, "llmbar", data)
    predictions.write_text('{"completion": "a", "reward": 1}')
    with pytest.raises(PlauditError, match="jsonl:1: the completion has no number in `ranking`"):
        score_rewards(predictions, "llmbar", data)


def completion(number, rank, **other):
    row = {"ranking": number, "prompt": f"Say {number}.", "completion": f"{rank}.", "rank": rank}
    return row | {"reward": 1.0 - rank, "category": "mmlu-pro"} | other


def test_predictions_of_any_kind_of_file_have_their_labels(tmp_path):
    file = tmp_path / "model.csv"
    file.write_text("ranking,prompt,completion,rank,reward,category\n0,p,a,1,2.5,x\n0,p,b,0,0,x\n")
    assert score_rewards(file, "judgebench").summary["score"]["value"] == 0
    rows = [completion(0, 0), completion(0, 1)]
    for of_second, said in (
        ({"rank": None}, "model.jsonl:1: the rank is missing"),
        ({"rank": 0.5}, "the rank is not a whole number: 0.5"),
        ({"completion": None}, "the completion is missing"),
        ({"reward": None}, "the reward is missing"),
        ({"ranking": [0]}, "jsonl:2: the completion has no number in `ranking`"),
    ):
        file = write(tmp_path / "model.jsonl", [rows[0], rows[1] | of_second])
        with pytest.raises(PlauditError, match=said):
            score_rewards(file, "judgebench")


# --------------------------------------------------------------------------------- rows of items


@pytest.mark.parametrize(
    ("suite", "ranks", "category"),
    [
        ("rewardbench", [1, 0], "hep-go"),  # its pairs are chosen first
        ("judgebench", [0, 0], "mmlu-pro"),
        ("judgebench", [0, 1, 2], "mmlu-pro"),
        ("judgebench", [], "mmlu-pro"),
        ("rmbench", [0, 1], "math"),
        ("rewardmath", [0] + [1] * 8, "Algebra"),
        ("rewardmath", [0] * 10, "Algebra"),
    ],
)
def test_labels_that_no_item_of_the_benchmark_has_are_refused(suite, ranks, category, tmp_path):
    row = {"id": "1", "rewards": [*range(len(ranks))], "ranks": ranks, "category": category}
    file = write(tmp_path / "mine.jsonl", [row])
    with pytest.raises(PlauditError, match=r"mine.jsonl:1: no item of .* completions of the ranks"):
        score_rewards(file, suite)


@pytest.mark.parametrize("category", ["hep-basic", None])
def test_a_category_that_the_benchmark_does_not_have_is_refused(category, tmp_path):
    row = {"rewards": [1, 0], "ranks": [0, 1]}
    rows = [row | {"id": "1", "category": "hep-go"}, row | {"id": "2", "category": category}]
    with pytest.raises(PlauditError, match=r"jsonl:2: RewardBench has no category .*; it has "):
        score_rewards(write(tmp_path / "mine.jsonl", rows), "rewardbench")


def test_ties_need_ids_that_say_what_belongs_together(tmp_path):
    row = {"id": "7", "rewards": [2, 1, 0], "ranks": [0, 0, 1], "category": "Ties"}
    with pytest.raises(PlauditError, match="'7' is no id of the category Ties, wanted ref:NUMBER"):
        score_rewards(write(tmp_path / "mine.jsonl", [row]), "rewardbench2")


def test_rewards_of_no_model_are_refused(tmp_path):
    row = {"id": "1", "rewards": {}, "ranks": [0, 1]}
    with pytest.raises(PlauditError, match="the rewards are missing: no model has any"):
        score_rewards(write(tmp_path / "mine.jsonl", [row]), "judgebench")


def test_data_in_which_an_id_comes_back_are_not_joined_by_it(tmp_path):
    rows = [judgebench_row("livebench-math", k, pair_id="same") for k in range(2)]
    data = write(tmp_path / "data.jsonl", rows)
    file = write(tmp_path / "mine.jsonl", [{"id": "same", "rewards": [1, 0]}])
    with pytest.raises(PlauditError, match=r"'same'.* is in the data more than once; give"):
        score_rewards(file, "judgebench", data)


def test_rewards_by_id_are_joined_with_the_data(tmp_path):
    rows = [judgebench_row("livebench-math", k, "B>A") for k in range(3)]
    data = write(tmp_path / "data.jsonl", rows)
    given = [{"id": f"p{k}", "rewards": [0, k]} for k in (2, 0, 1)]
    file = write(tmp_path / "mine.jsonl", given)
    found = score_rewards(file, "judgebench", data)
    assert found.summary["model"] == "mine"
    assert found.summary["score"]["value"] == pytest.approx(2 / 3)
    assert found.summary["counts"]["prompts"] == 3
    write(file, given[:2])
    with pytest.raises(
        PlauditError, match=r"mine.jsonl: rewards are missing of 1 of the 3 items: p1; add"
    ):
        score_rewards(file, "judgebench", data)
    write(file, [*given, {"id": "q", "rewards": [1, 0]}])
    with pytest.raises(PlauditError, match="the data do not have 1 of the 4 items: q"):
        score_rewards(file, "judgebench", data)
    write(file, [*given, given[0]])
    with pytest.raises(
        PlauditError, match=r"jsonl:4: p2 has rewards of mine already, at .*jsonl:1"
    ):
        score_rewards(file, "judgebench", data)
    write(file, [given[0] | {"rewards": [1, 2, 3]}, *given[1:]])
    with pytest.raises(
        PlauditError, match=r"mine has 3 rewards for p2; give .*: 2, or 4 in both orders"
    ):
        score_rewards(file, "judgebench", data)
    write(file, [given[0] | {"rewards": [1, None]}, *given[1:]])
    with pytest.raises(PlauditError, match=r"jsonl:1: the reward 2 of rewards is missing"):
        score_rewards(file, "judgebench", data)
    with pytest.raises(PlauditError, match=r"there is no label here.*name the data of JudgeBench"):
        score_rewards(write(file, given), "judgebench")


def test_rewards_without_ids_go_by_their_order(tmp_path):
    data = write(tmp_path / "data.jsonl", [llmbar_row(k, 1 + k % 2) for k in range(4)])
    file = write(
        tmp_path / "mine.jsonl", [{"rewards": {"one": [1, 0], "two": [k, 0.5]}} for k in range(4)]
    )
    assert models_of(score_rewards(file, "llmbar", data)) == {"one": 0.5, "two": 0.25}


def test_an_id_that_several_categories_have_is_told_by_category(tmp_path):
    rows = [rewardbench_row(subset, 1) for subset in ("hep-go", "hep-js")]
    data = write(tmp_path / "data.jsonl", rows)
    given = [{"id": 1, "category": "hep-js", "rewards": [1, 0]},
             {"id": 1, "category": "hep-go", "rewards": [0, 1]}]  # fmt: skip
    parts = score_rewards(write(tmp_path / "m.jsonl", given), "rewardbench", data).summary["parts"]
    subsets = parts["Reasoning"]["parts"]
    assert {name: part["score"]["value"] for name, part in subsets.items()} == {
        "hep-go": 0,
        "hep-js": 1,
    }


def test_rows_with_ranks_need_no_data_for_any_suite(tmp_path):
    row = {"category": "BoN_set/Harmlessness/S1", "ranks": [1, 2, 2]}
    rows = [row | {"id": k, "rewards": [k, 1, 0]} for k in range(4)]
    found = score_rewards(write(tmp_path / "m.jsonl", rows), "rmb", resamples=10)
    assert found.summary["score"]["value"] == 0.5
    assert found.summary["counts"] == {
        "items": 4,
        "prompts": None,
        "completions": 12,
        "rejected": 0,
    }
    assert "each resampled by itself, since there are no prompts" in str(found)
    told = (
        r"no.jsonl:1: the category_path is missing; it was read as .* RMB publish .* your own have"
    )
    with pytest.raises(PlauditError, match=told):
        score_rewards(write(tmp_path / "no.jsonl", [{"chosen": 1}]), "rmb")


# ---------------------------------------------------------------------------- published by others


def test_several_models_are_a_table_the_best_first(tmp_path):
    rewards = {"org/b": [[0, 1], [2, 1]], "org/a": [[1, 0], [1, 0]], "c": [[1, 1], [0, 1]]}
    found = score_rewards(
        write(tmp_path / "all.jsonl", scores(rewards)), "judgebench", resamples=10
    )
    assert list(models_of(found).items()) == [("org/a", 1.0), ("org/b", 0.5), ("c", 0.0)]
    lines = str(found).splitlines()
    assert lines[2].split() == ["score", "95", "%", "interval", "Math"]
    assert lines[3].split()[:2] == ["org/a", "1.0000"]
    assert found.summary["source"] == SUITES.get("judgebench").source
    found.write(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "suite.json").read_text())
    assert written == {"schema_version": 1, **found.summary}
    assert_fits("suite", written)


def test_a_table_says_how_many_columns_it_leaves_out(tmp_path):
    row = {"ranks": [1, 2], "rewards": {"a": [1, 0], "b": [0, 1]}}
    rows = [row | {"id": k, "category": f"set {k}"} for k in range(14)]
    table = str(score_rewards(write(tmp_path / "all.jsonl", rows), "llmbar", resamples=5))
    assert "set 9" in table
    assert "set 10" not in table
    assert "and 4 more columns, which are in the JSON" in table


def test_a_model_is_picked_by_its_name_or_the_end_of_it(tmp_path):
    file = write(
        tmp_path / "all.jsonl", scores({"org/b": [[0, 1]], "a": [[1, 0]], "x/a": [[1, 1]]})
    )
    assert score_rewards(file, "judgebench", models=["b"]).summary["model"] == "org/b"
    assert score_rewards(file, "judgebench", models=["a"]).summary["score"]["value"] == 1
    with pytest.raises(PlauditError, match="no model is called d; there are: org/b, a, x/a"):
        score_rewards(file, "judgebench", models=["d"])


def test_a_model_without_rewards_of_every_item_is_named(tmp_path):
    rows = scores({"a": [[1, 0], [1, 0]], "b": [[1, 0], [1, 0]]})
    del rows[1]["scores"]["b"]
    with pytest.raises(PlauditError, match="b has no rewards of 1 of the 2 items: p1"):
        score_rewards(write(tmp_path / "all.jsonl", rows), "judgebench")


def test_each_file_of_a_folder_may_be_a_model(tmp_path):
    write(tmp_path / "out" / "one-v0.1.jsonl", scores([[1, 0], [1, 0]]))
    write(tmp_path / "out" / "two.json", scores([[0, 1], [1, 0]]))
    assert models_of(score_rewards(tmp_path / "out", "judgebench")) == {"one-v0.1": 1, "two": 0.5}
    rows = scores([[0, 1], [1, 0]])
    write(tmp_path / "out" / "two.json", [rows[0], rows[1] | {"label": "B>A"}])
    with pytest.raises(
        PlauditError, match=r"two.json:1: the label of p1 is another one than at .*one-v0.1"
    ):
        score_rewards(tmp_path / "out", "judgebench")


def test_the_judgments_of_both_orders_are_read(tmp_path):
    def judged(number, first, second):
        games = [{"judgment": {"judge_model": "org/m", "scores": pair}, "decision": "?"}
                 for pair in (first, second)]  # fmt: skip
        return judgebench_row("livebench-math", number, judge_name="reward_model", judgments=games)

    # The second game is shown B first: [0, 1] says again that A is better.
    rows = [judged(0, [1, 0], [0, 1]), judged(1, [1, 0], [1, 0]), judged(2, [1, 1], [1, 1])]
    found = score_rewards(write(tmp_path / "judged.jsonl", rows), "judgebench").summary
    assert (found["model"], found["score"]["value"]) == ("org/m", pytest.approx(1 / 3))
    assert found["figures"]["same verdict in both orders"]["value"] == pytest.approx(1 / 3)
    assert found["counts"]["prompts"] == 3
    rows[0]["judgments"] = [{"judgment": {"response": "A"}, "decision": "A>B"}]
    with pytest.raises(PlauditError, match=r"judged.jsonl:1: a judgment has no scores"):
        score_rewards(write(tmp_path / "judged.jsonl", rows), "judgebench")


def test_the_results_of_llmbar_are_read_from_its_folders(tmp_path, capsys):
    def rated(one, two, winners):
        last = {f"swap = {k}": {"winner": w} for k, w in zip((False, True), winners, strict=True)}
        return [["said", "stop"], last | {"score_1": [one, "stop"], "score_2": [two, "stop"]}]

    def compared(first, second):
        return [{"swap = False": {"winner": first}, "swap = True": {"winner": second}}]

    folder = tmp_path / "LLMBar"
    rows = [llmbar_row(k) for k in range(4)]
    write(folder / "Natural" / "dataset.json", rows)
    ratings = [
        rated("6", "1", "11"),
        rated("2", "2", "21"),
        rated("", "9", "12"),
        rated("1", "3", "22"),
    ]
    verdicts = [compared("1", "1"), compared("1", "2"), compared(None, "1"), compared("2", "2")]
    for name, results in (("GPT-4/Rating", ratings), ("LLaMA2/Vanilla", verdicts)):
        given = [row | {"results": one} for row, one in zip(rows, results, strict=True)]
        write(folder / "Natural" / "evaluators" / name / "result.json", given)
    found = score_rewards(folder, "llmbar")
    assert "reading the 2 files called result.*" in capsys.readouterr().err
    assert models_of(found) == {"GPT-4/Rating": 0.5, "LLaMA2/Vanilla": 0.5}
    natural = found.summary["models"]["LLaMA2/Vanilla"]["parts"]["Natural"]
    assert (natural["score"]["value"], natural["n"]) == (0.5, 4)
    joined = score_rewards(folder, "llmbar", folder / "Natural" / "dataset.json")
    assert models_of(joined) == models_of(found)


@pytest.mark.parametrize("indent", [None, 4])
def test_the_columns_that_rewardbench_uploads_are_read(tmp_path, indent):
    columns = {"text_chosen": ["a", "b", "c"], "subset": ["hep-go", "hep-go", "hep-js"]}
    columns |= {
        "id": [1, 2, 1],
        "scores_chosen": [[1.5], 0.5, 2],
        "scores_rejected": [[0.5], 0.5, 1],
    }
    file = tmp_path / "model.json"
    file.write_text(json.dumps(columns | {"model": "org/m", "results": [1, 0, 1]}, indent=indent))
    found = score_rewards(file, "rewardbench").summary
    assert found["model"] == "org/m"
    parts = found["parts"]["Reasoning"]["parts"]
    assert {name: part["score"]["value"] for name, part in parts.items()} == {
        "hep-go": 0.5,
        "hep-js": 1,
    }


def test_the_columns_of_rewardbench_2_are_read(tmp_path):
    columns = {"id": ["7", "ref:0", "tied:0"], "subset": ["Math", "Ties", "Ties"]}
    columns |= {"num_correct": [1, 1, 2], "scores": [[2, 2, 1, 0], [[3], [2], [0]], [7, 5, 2]]}
    file = tmp_path / "model.json"
    file.write_text(json.dumps(columns | {"model": "org/m"}))
    found = score_rewards(file, "rewardbench2").summary
    assert found["parts"]["Math"]["score"]["value"] == 0.5
    assert found["parts"]["Ties"]["score"]["value"] == pytest.approx(0.798, abs=5e-3)  # by hand


def test_the_rows_of_rmbench_and_rewardmath_are_read(tmp_path):
    row = rmbench_row("math", 1, score_chosen=[[0], [1], [2]], score_rejected=[0, 1, 2])
    for one in (row, {k: v for k, v in row.items() if k not in ("prompt", "chosen", "rejected")}):
        found = score_rewards(write(tmp_path / "m.json", [one]), "rmbench").summary
        assert {k: found["figures"][k]["value"] for k in ("easy", "normal", "hard")} == {
            "easy": 1,
            "normal": 0,
            "hard": 0,
        }
    rows = [*rewardmath_rows(1), *rewardmath_rows(2)]
    data = write(tmp_path / "data.json", rows)
    writers = [row["solution_reference"] for row in rows[:10]]
    problem = "What is {}?".format
    given = [{"problem": problem(k), "solution_reference": writers, "score": [[k], 1, *[0] * 8]}
             for k in (2, 1)]  # fmt: skip
    for where in (None, data):
        found = score_rewards(write(tmp_path / "mine.json", given), "rewardmath", where).summary
        assert (found["score"]["value"], found["figures"]["MRR"]["value"]) == (0.5, 0.75)


@pytest.mark.parametrize(
    ("suite", "more"),
    [
        ("judgebench", {"judgments": ["A>B"]}),
        ("llmbar", {"subset": "Natural", "label": 1, "results": []}),
        ("llmbar", {"subset": "Natural", "label": 1, "results": ["1"]}),
    ],
)
def test_published_rows_of_another_form_are_refused(suite, more, tmp_path):
    file = write(tmp_path / "mine.jsonl", [label(0) | {"id": "0"} | more])
    with pytest.raises(PlauditError, match=r"mine.jsonl:1: is not as the authors of .* publish"):
        score_rewards(file, suite)


def test_a_list_where_a_name_is_expected_is_told_with_its_place(tmp_path):
    row = {
        "pair_uid": ["a", "b"],
        "category_path": "Pairwise_set/Helpfulness/Brainstorming/Idea Development",
    }
    row |= {"chosen_reward": 1.0, "reject_reward": 0.0}
    with pytest.raises(PlauditError, match=r"mine.jsonl:1: .*a list or an object"):
        score_rewards(write(tmp_path / "mine.jsonl", [row]), "rmb", partial=True)


@pytest.mark.parametrize("start", [b"{", b"["])
def test_rewards_that_are_not_utf_8_are_told(tmp_path, start):
    file = tmp_path / "mine.json"
    file.write_bytes(start + b'"id": "caf\xe9"')
    with pytest.raises(PlauditError, match=r"mine\.json"):
        score_rewards(file, "rmb")


# ------------------------------------------------------------------------------------- the command


def test_the_command_needs_no_model(tmp_path):
    file = write(tmp_path / "all.jsonl", scores({"org/a": [[1, 0]], "b": [[0, 1]]}))
    found = plaudit.evaluate(suite="judgebench", rewards=file, output=tmp_path / "out", resamples=5)
    assert models_of(found) == {"org/a": 1, "b": 0}
    assert (
        json.loads((tmp_path / "out" / "suite.json").read_text())["models"]
        == found.summary["models"]
    )
    data = write(tmp_path / "data.jsonl", [judgebench_row("livebench-math", 0)])
    one = plaudit.evaluate(
        str(data), suite="judgebench", rewards=[file], rewards_model=["a"], partial=True
    )
    assert (one.summary["model"], one.summary["counts"]["prompts"]) == ("org/a", 1)
    assert one.as_json() == one.summary
    assert str(one).startswith("org/a\n\n1 items, 1 prompts, 2 completions\n")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rewards": "x"}, "--rewards: name the benchmark that they are of: --suite NAME"),
        ({"rewards": "x", "suite": "auto"}, "--rewards: name the benchmark"),
        ({"rewards": "x", "suite": "rmb", "against": "m", "dtype": "float32"},
         "--against, --dtype: is for scoring with a model, and --rewards uses none"),
        ({"rewards": "x", "suite": "rmb", "stress": 9, "strict": True, "max_rejected": 0.5},
         "--max-rejected, --on-bad-row, --stress: is for scoring with a model"),
        ({"model": "m", "data": "d", "suite": "rmb", "columns": {}, "stress": 9, "against": "o"},
         "--against, --stress: is for preference data alone; leave it out with --suite"),
        ({"model": "m", "data": "d", "suite": "rmb", "baselines": {}, "seed": 1},
         "baselines: is for preference data"),
        ({"rewards": "x", "suite": "mt"}, "suite: 'mt' is not known"),
        ({"rewards_model": ["x"], "suite": "rmb"}, "--rewards-model: needs --rewards FILE"),
        ({"suite": "rmb"}, "evaluate: MODEL is missing"),
        ({"model": "m", "suite": "rmb"}, "evaluate: DATA is missing"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(given, said):
    with pytest.raises(PlauditError, match=re.escape(said)):
        plaudit.evaluate(**given)
