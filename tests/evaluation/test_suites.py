"""Published benchmarks: every format read, every score against its published definition.

The expected numbers are worked out by hand or by a second, plainer implementation of the
definition, over the same rewards. All texts are made up; the fields are those of the published
files.
"""

import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_fscore_support

from fits import assert_fits
from plaudit import PlauditError
from plaudit.data.rows import Row
from plaudit.evaluation.suite import Means, checksum
from plaudit.evaluation.suite_run import format_suite, run_suite, summarise_suite
from plaudit.evaluation.suite_run import load_suite as load_whole_suite
from plaudit.evaluation.suites import SUITES
from plaudit.evaluation.suites.mrewardbench import ITEMS, MREWARDBENCH_SECTIONS
from plaudit.model.reward_model import RewardModel
from suite_rows import (
    helpsteer3_row,
    ifrewardbench_row,
    mrewardbench_row,
    ppecorrectness_row,
    ppehumanpreference_row,
    shp_row,
    write,
)


def rewardbench_row(subset, number, **other):
    row = {"prompt": f"Say {subset} {number}.", "chosen": f"Here is {number}.", "id": number}
    row |= {"chosen_model": "a", "rejected": "No.", "rejected_model": "b", "subset": subset}
    return row | other


def rewardbench2_row(subset, id, right=1, wrong=3, **other):
    row = {"id": id, "prompt": f"Name one of {subset} {id}.", "subset": subset}
    row |= {"chosen": [f"right {k}" for k in range(right)]}
    row |= {"rejected": [f"wrong {k}" for k in range(wrong)]}
    row |= {"num_correct": right, "num_incorrect": wrong, "total_completions": right + wrong}
    return row | {"models": ["m"] * (right + wrong), "additional_metadata": None} | other


def rmbench_row(domain, number, **other):
    styles = ("short", "long", "**long**")
    row = {"id": f"{domain}_{number}", "prompt": f"Explain {number}.", "domain": domain}
    row |= {"chosen": [f"{s}, true" for s in styles], "rejected": [f"{s}, false" for s in styles]}
    return row | other


def judgebench_row(source, number, label="A>B", **other):
    row = {"pair_id": f"p{number}", "original_id": str(number), "source": source}
    row |= {"question": f"What is {number}?", "response_model": "m"}
    return row | {"response_A": "This.", "response_B": "That.", "label": label} | other


def llmbar_row(number, label=1, **other):
    row = {"input": f"Do {number}.", "output_1": "Done.", "output_2": "Undone.", "label": label}
    return row | other


def pandalm_row(number, votes=(1, 1, 1), **other):
    row = {"idx": number, "motivation_app": "Mail", "cmp_key": "a_b", "input": float("nan")}
    row |= {"instruction": f"Write {number}.", "response1": "One.", "response2": "Two, longer."}
    return row | {f"annotator{k}": vote for k, vote in enumerate(votes, 1)} | other


def rewardmath_rows(number, wrong=9, **other):
    row = {"problem": f"What is {number}?", "answer": "1", "subject": "Algebra", "level": 1}
    row |= {"problem_id": number}
    right = {"solution_reference": "human_to_GPT-4", "solution_type": "chosen"}
    rows = [row | right | {"eval_solution": ["It is one.", "So, 1."], "id": 10 * number}]
    for k in range(1, wrong + 1):
        other_one = {"solution_reference": f"model-{k}", "solution_type": "rejected"}
        rows.append(row | other_one | {"eval_solution": [f"It is {k + 1}."], "id": 10 * number + k})
    return [one | other for one in rows]


def rmb_pair(scenario, number, **other):
    turn = {"role": "user", "content": f"Tell me {number}.", "language": "English"}
    row = {"pair_uid": str(number), "conversation_input": [turn]}
    row |= {"chosen": {"llm_name": "a", "answer": f"All of {number}."}}
    row |= {"reject": {"llm_name": "b", "answer": "No."}}
    return row | {"category_path": f"Pairwise_set/{scenario}"} | other


def rmb_list(scenario, number, losers=2, **other):
    row = rmb_pair(scenario, number)
    row = {"bon_uid": row.pop("pair_uid"), "conversation_input": row["conversation_input"]}
    row |= {"bon_best": {"llm_name": "a", "answer": "The best."}}
    row |= {"loser_list": [{"llm_name": "b", "answer": f"Worse {k}."} for k in range(losers)]}
    return row | {"category_path": f"BoN_set/{scenario}"} | other


ONE_OF_EACH = {
    "rewardbench": [rewardbench_row("mt-bench-easy", 1)],
    "rewardbench2": [rewardbench2_row("Math", "17")],
    "rmbench": [rmbench_row("chat", 1)],
    "judgebench": [judgebench_row("mmlu-pro-law", 1)],
    "llmbar": [llmbar_row(1)],
    "pandalm": [pandalm_row(1)],
    "rewardmath": rewardmath_rows(1),
    "rmb": [rmb_pair("Harmlessness/S1", 1)],
    "helpsteer3": [helpsteer3_row(1)],
    "ifrewardbench": [ifrewardbench_row(1)],
    "mrewardbench": [mrewardbench_row(1)],
    "ppecorrectness": [ppecorrectness_row(1)],
    "ppehumanpreference": [ppehumanpreference_row(1)],
    "shp": [shp_row(1)],
}


def load_suite(data, name=None):
    return load_whole_suite(data, name, partial=True)


def summary(tmp_path, rows, rewards, suffix=".jsonl", resamples=0, name="data"):
    data = load_suite(write(tmp_path / f"{name}{suffix}", rows))
    return summarise_suite(data, rewards, resamples=resamples)


def value(entry, *path):
    for name in path:
        entry = entry["parts"][name]
    return entry["score"]["value"]


# ---------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("name", SUITES)
def test_every_format_is_recognised_by_its_fields(name, suffix, tmp_path):
    file = write(tmp_path / f"some{suffix}", ONE_OF_EACH[name])
    assert load_suite(file).suite.name == name
    assert load_suite(file, SUITES.get(name).title).suite.name == name


def test_lists_are_recognised_in_csv(tmp_path):
    row = rmbench_row("math", 1)
    cells = [row["prompt"], json.dumps(row["chosen"]), json.dumps(row["rejected"]), row["domain"]]
    quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
    file = tmp_path / "rm.csv"
    file.write_text(f"prompt,chosen,rejected,domain\n{quoted}\n")
    data = load_suite(file)
    assert data.suite.name == "rmbench"
    assert data.rankings[0].completions == [*row["chosen"], *row["rejected"]]


def test_what_fits_no_suite_is_told_what_each_needs(tmp_path):
    file = write(tmp_path / "pairs.jsonl", [{"prompt": "Hi", "chosen": "Hello", "rejected": "No"}])
    with pytest.raises(PlauditError, match=r"fits no suite .*; found: prompt, chosen") as error:
        load_suite(file)
    assert all(
        field in str(error.value) for suite in map(SUITES.get, SUITES) for field in suite.fields
    )


def test_a_suite_that_does_not_fit_says_what_is_missing(tmp_path):
    file = write(tmp_path / "judge.jsonl", ONE_OF_EACH["judgebench"])
    with pytest.raises(PlauditError, match="not LLMBar: the fields input, output_1, output_2"):
        load_suite(file, "llmbar")
    file = write(tmp_path / "first.jsonl", ONE_OF_EACH["rewardbench"])
    with pytest.raises(PlauditError, match="not RewardBench 2: chosen is not a list"):
        load_suite(file, "rewardbench2")
    file = write(tmp_path / "second.jsonl", ONE_OF_EACH["rewardbench2"])
    with pytest.raises(PlauditError, match="not RewardBench: chosen is a list"):
        load_suite(file, "reward-bench")
    with pytest.raises(PlauditError, match=r"'mtbench' is not known; known: .*llmbar, "):
        load_suite(file, "mtbench")


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        (rewardbench_row("shp", 1), {"subset": "mmlu"}, "unknown subset: 'mmlu'"),
        (rewardbench_row("shp", 1), {"subset": None}, "the subset is missing"),
        (rewardbench_row("shp", 1), {"prompt": " "}, "the prompt is blank"),
        (rewardbench_row("shp", 1), {"rejected": None}, "the rejected is missing"),
        (rewardbench2_row("Math", "1"), {"chosen": []}, "the chosen are missing"),
        (rewardbench2_row("Math", "1"), {"chosen": ["a", "b"]}, "wrong number of chosen"),
        (rewardbench2_row("Ties", "ref:1"), {"id": "17"}, "unknown id in Ties: '17'"),
        (rewardbench2_row("Ties", "ref:1"), {"id": "tied:1"}, "only one chosen completion"),
        (rmbench_row("chat", 1), {"rejected": ["a", "b"]}, "wrong number of rejected"),
        (rmbench_row("chat", 1), {"domain": "law"}, "unknown domain: 'law'"),
        (judgebench_row("livecodebench", 1), {"label": "A=B"}, "unknown label: 'A=B', wanted A>B"),
        (judgebench_row("livecodebench", 1), {"label": None}, "the label is missing"),
        (llmbar_row(1), {"label": 0}, "unknown label: 0, wanted 1 or 2"),
        (pandalm_row(1), {"annotator2": 3}, "unknown vote of annotator 2: 3"),
        (rmb_pair("Harmlessness/S1", 1), {"category_path": "S1"}, "unknown category_path: 'S1'"),
        (rmb_pair("Harmlessness/S1", 1), {"reject": None}, "the rejected is missing"),
        (rmb_list("Harmlessness/S1", 1), {"loser_list": []}, "the loser_list are missing"),
    ],
)
def test_rows_that_cannot_be_used_are_rejected_with_reasons(good, bad, reason, tmp_path):
    data = load_suite(write(tmp_path / "data.jsonl", [good, good | {"prompt": "Other"} | bad]))
    assert len(data.items) == 1
    [rejected] = data.rejected
    assert reason in rejected.reason
    assert rejected.line == 2
    with pytest.raises(PlauditError, match=r"nothing of .* in it\. Of 1 rows, 1 rejected"):
        load_suite(write(tmp_path / "bad.jsonl", [good | bad]), data.suite.name)


def test_the_same_row_twice_counts_once(tmp_path):
    row = rewardbench_row("hep-go", 1)
    data = load_suite(write(tmp_path / "data.jsonl", [row, row, rewardbench_row("hep-js", 1)]))
    assert len(data.items) == 2
    assert data.rejected[0].reason.startswith("duplicate")


def test_the_ten_solutions_of_a_problem_are_one_item(tmp_path):
    rows = [*rewardmath_rows(1), *rewardmath_rows(2, wrong=8), *rewardmath_rows(3)]
    data = load_suite(write(tmp_path / "data.json", rows))
    assert [len(item.ranking.completions) for item in data.items] == [10, 10]
    [first, _] = data.rankings
    assert (first.prompt, first.completions[:2]) == (
        "What is 1?",
        ["It is one.\nSo, 1.", "It is 2."],
    )
    assert list(first.ranks) == [0] + [1] * 9
    assert list(first.models)[:2] == ["human_to_GPT-4", "model-1"]
    assert len(data.rejected) == 9
    wanted = " has 9, 1 of them right, and the benchmark 10, 1 of them right"
    assert data.rejected[0].reason.endswith(wanted)
    two = rewardmath_rows(1)
    two[1]["solution_type"] = "chosen"
    with pytest.raises(PlauditError, match=r"nothing of RewardMATH .* wrong number of completions"):
        load_suite(write(tmp_path / "two.json", two))


def test_pairs_and_lists_of_rmb_are_read_from_one_folder(tmp_path, reward_model):
    pair, best = rmb_pair("Harmlessness/S1", 7), rmb_list("Helpfulness/Chat/Discussion", 7, 3)
    # As one conversation of the published data ends, and is asked all the same.
    pair["conversation_input"].append({"role": "assistant", "content": "Yes.", "language": "x"})
    pair["conversation_input"].append({"role": "user", "content": "", "language": "English"})
    write(tmp_path / "Pairwise_set" / "Harmlessness" / "S1.json", [pair])
    write(tmp_path / "BoN_set" / "Helpfulness" / "Chat" / "Discussion.json", [best])
    data = load_suite(tmp_path)
    assert data.suite.name == "rmb"
    of_list, of_pair = data.rankings
    said = [completion[0]["content"] for completion in of_list.completions]
    assert said == ["The best.", "Worse 0.", "Worse 1.", "Worse 2."]
    assert of_list.prompt == [{"role": "user", "content": "Tell me 7."}]
    assert [turn["content"] for turn in of_pair.prompt] == ["Tell me 7.", "Yes.", ""]
    assert [item.id for item in data.items] == ["7", "7"]
    assert [len(r) for r in run_suite(reward_model("qwen2"), data, resamples=1).rewards] == [4, 2]


def test_a_blank_completion_is_scored(tmp_path, reward_model):
    rows = [pandalm_row(1, response1=float("nan")), pandalm_row(2)]
    data = load_suite(write(tmp_path / "testset.json", rows))
    assert data.rankings[0].completions[0] == ""
    for base in ("bert", "qwen2"):
        assert len(run_suite(reward_model(base), data, resamples=0).rewards) == 2


def test_a_response_of_pandalm_that_json_has_as_true_is_the_word(tmp_path):
    rows = [pandalm_row(1, response1=True), pandalm_row(2)]
    data = load_suite(write(tmp_path / "testset.json", rows))
    assert data.rankings[0].completions[0] == "True"
    assert not data.rejected


def test_pandalm_prompts_are_instruction_and_input(tmp_path):
    rows = [pandalm_row(1, input="Dear all"), pandalm_row(2, input=""), pandalm_row(3)]
    prompts = [r.prompt for r in load_suite(write(tmp_path / "t.json", rows)).rankings]
    assert prompts == ["Write 1.\n\nDear all", "Write 2.", "Write 3."]


def test_the_folders_of_llmbar_name_its_sets(tmp_path, capsys):
    write(tmp_path / "Natural" / "dataset.json", [llmbar_row(1)])
    write(tmp_path / "Adversarial" / "GPTOut" / "dataset.json", [llmbar_row(2), llmbar_row(3)])
    judged = tmp_path / "Adversarial" / "GPTOut" / "evaluators" / "GPT-4" / "result.json"
    write(judged, [llmbar_row(2, results=[])])
    write(judged.with_name("statistics.json"), {"equal": "50%"})
    data = load_suite(tmp_path)
    assert Counter(r.category for r in data.rankings) == {"Natural": 1, "GPTOut": 2}
    assert "LLMBar: reading the 2 of 4 files called dataset.*" in capsys.readouterr().err
    assert (
        load_suite(write(tmp_path / "llmbar-adver-neighbor.jsonl", [llmbar_row(1)]))
        .rankings[0]
        .category
        == "Neighbor"
    )


# ----------------------------------------------------------------------------------------- scoring


def test_rewardbench_weights_its_subsets_and_sections(tmp_path):
    right = {
        "alpacaeval-easy": [1, 1],
        "mt-bench-easy": [0],
        "donotanswer": [0, 1, 0, 1],
        "math-prm": [1, 0],
        "hep-go": [0],
        "hep-rust": [1],
        "shp": [1],
        "summarize": [0, 0],
    }
    rows, rewards = [], []
    for subset, outcomes in right.items():
        for number, outcome in enumerate(outcomes):
            rows.append(rewardbench_row(subset, number))
            rewards.append([2.0, 1.0] if outcome else [1.0, 2.0])
    found = summary(tmp_path, rows, rewards)
    chat = (1 * 100 + 0 * 28) / 128
    safety = 0.5
    reasoning = (0.5 * 984 + 0 * 164 + 1 * 164) / (984 + 164 + 164)
    prior = (1 + 0) / 2
    assert value(found, "Chat") == pytest.approx(chat, abs=1e-12)
    assert value(found, "Chat", "alpacaeval-easy") == 1
    assert value(found, "Safety") == safety
    assert value(found, "Reasoning") == pytest.approx(reasoning, abs=1e-12)
    assert value(found, "Prior Sets") == prior
    # The leaderboard's weights: two for each section, one for the prior sets.
    total = (2 * chat + 2 * safety + 2 * reasoning + prior) / 7
    assert value(found) == pytest.approx(total, abs=1e-12)
    assert (found["n"], found["parts"]["Reasoning"]["n"]) == (14, 4)
    without = [i for i, row in enumerate(rows) if row["subset"] not in ("shp", "summarize")]
    found = summary(tmp_path, [rows[i] for i in without], [rewards[i] for i in without])
    assert value(found) == pytest.approx((chat + safety + reasoning) / 3, abs=1e-12)


def test_rewardbench_takes_equal_rewards_as_wrong(tmp_path):
    rows = [rewardbench_row("hep-go", 1), rewardbench_row("hep-go", 2)]
    assert value(summary(tmp_path, rows, [[1.0, 1.0], [1.0, 0.0]])) == 0.5


def ties_score(reference, tied, rng_rewards):
    """The Ties score in plain loops, from {number: rewards} and how many of them are right."""
    gaps, spreads = {}, {}
    for kind, prompts in (("ref", reference), ("tied", tied)):
        for number, right in prompts.items():
            rewards = rng_rewards[kind, number]
            gaps[kind, number] = min(rewards[:right]) - max(rewards[right:])
            spreads[kind, number] = max(rewards[:right]) - min(rewards[:right])
    ref_accuracy = np.mean([gaps["ref", n] > 0 for n in reference])
    tied_accuracy = np.mean([gaps["tied", n] > 0 for n in tied])
    margin, hard, closeness = [], [], []
    for n in set(reference) & set(tied):
        both = min(gaps["ref", n], gaps["tied", n])
        margin.append(gaps["tied", n] > spreads["tied", n])
        hard.append(both > spreads["tied", n])
        if spreads["tied", n] == 0:
            closeness.append(float(np.sign(both)))
        else:
            closeness.append(math.tanh(both / spreads["tied", n] - 1))
    weighted = 0.3 * tied_accuracy + 0.3 * ref_accuracy + 0.2 * np.mean(margin)
    return weighted + 0.2 * np.mean(hard) + 0.01 * np.mean(closeness)


@pytest.mark.parametrize("seed", range(5))
def test_rewardbench2_ties_have_their_own_score(seed, tmp_path):
    rng = np.random.default_rng(seed)
    reference, tied = dict.fromkeys(range(8), 1), {n: 2 + n % 3 for n in range(1, 9)}
    rows, rewards, by_prompt = [], [], {}
    for kind, prompts in (("tied", tied), ("ref", reference)):
        for number, right in prompts.items():
            # Rounded, so that some spreads are zero and some gaps are nothing.
            reward = np.round(rng.normal(size=right + 3) + 1.5 * (np.arange(right + 3) < right))
            rows.append(rewardbench2_row("Ties", f"{kind}:{number}", right))
            rewards.append(reward.tolist())
            by_prompt[kind, number] = reward.tolist()
    found = summary(tmp_path, rows, rewards, suffix=".parquet")
    assert value(found, "Ties") == pytest.approx(ties_score(reference, tied, by_prompt), abs=1e-12)


def test_rewardbench2_ties_by_hand(tmp_path):
    rows = [rewardbench2_row("Ties", "ref:0", 1, 2), rewardbench2_row("Ties", "tied:0", 2, 1)]
    # The reference gap is 1, the tied one 3, the spread 2: both accurate, one margin of the two.
    found = summary(tmp_path, rows, [[3.0, 2.0, 0.0], [7.0, 5.0, 2.0]])
    expected = 0.3 + 0.3 + 0.2 + 0.2 * 0 + 0.01 * math.tanh(1 / 2 - 1)
    assert value(found, "Ties") == pytest.approx(expected, abs=1e-12)
    assert found["parts"]["Ties"]["figures"]["hard margin"]["value"] == 0
    # Without a spread, a positive gap counts as infinitely above it.
    found = summary(tmp_path, rows, [[3.0, 2.0, 0.0], [7.0, 7.0, 2.0]])
    assert value(found, "Ties") == pytest.approx(1.01, abs=1e-12)


def test_rewardbench2_shares_what_ties_and_averages_the_subsets(tmp_path):
    rows = [rewardbench2_row(subset, str(i)) for i, subset in enumerate(["Math", "Math", "Focus"])]
    found = summary(tmp_path, rows, [[2, 2, 1, 2], [1, 2, 0, 0], [3, 2, 1, 0]])
    assert value(found, "Math") == pytest.approx((1 / 3 + 0) / 2, abs=1e-12)
    assert value(found) == pytest.approx((1 / 6 + 1) / 2, abs=1e-12)


def test_ties_without_a_pair_of_prompts_have_no_score(tmp_path):
    rows = [rewardbench2_row("Ties", "ref:1"), rewardbench2_row("Math", "1")]
    found = summary(tmp_path, rows, [[1.0, 0, 0, 0], [1.0, 0, 0, 0]], resamples=50)
    assert found["parts"]["Ties"]["score"] is None
    assert value(found) == 1  # of what there is
    assert "–" in format_suite(found)
    clash = [rewardbench2_row("Ties", "ref:1"), rewardbench2_row("Ties", "ref:1", prompt="Other")]
    with pytest.raises(PlauditError, match="the id ref:1 of the category Ties was there before"):
        summary(tmp_path, clash, [[1.0, 0, 0, 0]] * 2)


def test_rmbench_compares_three_styles_with_three(tmp_path):
    rng = np.random.default_rng(3)
    domains = ["chat", "chat", "chat", "code", "safety-refuse", "safety-response", "safety-refuse"]
    rows = [rmbench_row(domain, number) for number, domain in enumerate(domains)]
    rewards = rng.normal(size=(len(rows), 6)).round(1).tolist()
    found = summary(tmp_path, rows, rewards, suffix=".json")
    averages = []
    for domain in ("chat", "code", "safety"):
        among = [r for r, name in zip(rewards, domains, strict=True) if name.startswith(domain)]
        matrix = np.zeros((3, 3))
        for reward in among:
            for i, j in itertools.product(range(3), range(3)):
                matrix[i, j] += reward[i] > reward[3 + j]
        matrix /= len(among)
        levels = {
            "hard": (matrix[0, 1] + matrix[0, 2] + matrix[1, 2]) / 3,
            "normal": (matrix[0, 0] + matrix[1, 1] + matrix[2, 2]) / 3,
            "easy": (matrix[1, 0] + matrix[2, 0] + matrix[2, 1]) / 3,
        }
        averages.append(sum(levels.values()) / 3)
        entry = found["parts"][domain]
        assert value(entry) == pytest.approx(averages[-1], abs=1e-12)
        for level, expected in levels.items():
            assert entry["figures"][level]["value"] == pytest.approx(expected, abs=1e-12)
    assert value(found) == pytest.approx(np.mean(averages), abs=1e-12)
    three = [found["figures"][level]["value"] for level in ("easy", "normal", "hard")]
    assert np.mean(three) == pytest.approx(value(found))
    assert set(found["parts"]["safety"]["parts"]) == {"safety-refuse", "safety-response"}
    for (i, chosen), (j, rejected) in itertools.product(
        enumerate(("concise", "detailed", "markdown")), repeat=2
    ):
        shares = [
            np.mean([r[i] > r[3 + j] for r, d in zip(rewards, domains, strict=True) if d in of])
            for of in (("chat",), ("code",), ("safety-refuse", "safety-response"))
        ]
        cell = found["figures"][f"{chosen} over {rejected}"]["value"]
        assert cell == pytest.approx(np.mean(shares), abs=1e-12)


def test_rmbench_by_hand(tmp_path):
    # A reward that is style alone: every chosen one beats the plainer ones, and nothing else.
    found = summary(tmp_path, [rmbench_row("math", 1)], [[0, 1, 2, 0, 1, 2]])
    levels = {name: figure["value"] for name, figure in found["figures"].items()}
    over = {"detailed over concise", "markdown over concise", "markdown over detailed", "easy"}
    assert {name for name, level in levels.items() if level} == over
    assert len(levels) == 3 + 9
    assert value(found) == pytest.approx(1 / 3)


def test_judgebench_counts_pairs_alike_and_ties_as_wrong(tmp_path):
    rows = [
        judgebench_row("mmlu-pro-law", 1, "A>B"),
        judgebench_row("mmlu-pro-physics", 2, "B>A"),
        judgebench_row("livebench-math", 3, "B>A"),
        judgebench_row("livecodebench", 4, "B>A"),
        judgebench_row("mmlu-pro-law", 5, "A>B"),
    ]
    found = summary(tmp_path, rows, [[2, 1], [2, 1], [1, 2], [1, 1], [1, 0]])
    assert value(found) == 3 / 5
    parts = {name: (value(part), part["n"]) for name, part in found["parts"].items()}
    assert parts == {"Knowledge": (pytest.approx(2 / 3), 3), "Math": (1, 1), "Coding": (0, 1)}


def test_llmbar_averages_its_sets_and_halves_ties(tmp_path):
    rows = [llmbar_row(k, label, subset=name) for k, (name, label) in enumerate(
        [("Natural", 1), ("Natural", 2), ("Neighbor", "2"), ("Manual", 1), ("Manual", 2)]
    )]  # fmt: skip
    found = summary(tmp_path, rows, [[1, 0], [1, 0], [1, 1], [3, 1], [1, 2]])
    natural, neighbor, manual = 0.5, 0.5, 1.0
    assert value(found, "Adversarial") == (neighbor + manual) / 2
    assert value(found, "Adversarial", "Neighbor") == neighbor
    assert value(found) == pytest.approx((natural + neighbor + manual) / 3)


def mrr_of(rewards):
    """The reciprocal rank of the first, as the benchmark's own code sorts: ties go to the wrong."""
    named = [(reward, "cho" if k == 0 else "rej") for k, reward in enumerate(rewards)]
    named = sorted(named, key=lambda one: (one[0], one[1]), reverse=True)
    return 1 / (1 + [name for _, name in named].index("cho"))


def test_rewardmath_wants_the_right_solution_ahead_of_all_nine(tmp_path):
    rng = np.random.default_rng(1)
    rows = [
        row for k in range(40) for row in rewardmath_rows(k, subject=["Algebra", "Geometry"][k % 2])
    ]
    rewards = rng.integers(0, 6, size=(40, 10)).astype(float)
    rewards[:, 0] += 2
    found = summary(tmp_path, rows, rewards.tolist(), suffix=".json")
    right = [one[0] > max(one[1:]) for one in rewards.tolist()]
    assert value(found) == pytest.approx(np.mean(right))
    assert 0 < value(found) < 1
    assert value(found, "Geometry") == pytest.approx(np.mean(right[1::2]))
    expected = np.mean([mrr_of(one) for one in rewards.tolist()])
    assert found["figures"]["MRR"]["value"] == pytest.approx(expected, abs=1e-12)
    assert found["counts"] | {"items": 40, "prompts": 40, "completions": 400} == found["counts"]


def test_rmb_averages_helpful_and_harmless_in_pairs_and_lists(tmp_path):
    rows = [
        *(rmb_pair("Harmlessness/S1", k) for k in range(2)),
        rmb_pair("Harmlessness/S10", 5),
        rmb_pair("Helpfulness/Code/Documentation", 6),
        *(rmb_list("Helpfulness/Chat/Discussion", k) for k in range(3)),
    ]
    rewards = [[1, 0], [0, 1], [2, 1], [1, 1], [3, 2, 1], [3, 3, 1], [1, 0, 2]]
    found = summary(tmp_path, rows, rewards)
    harmless, helpful, lists = 2 / 3, 0, 1 / 3
    assert value(found, "Harmlessness, pairwise") == pytest.approx(harmless)
    assert value(found, "Harmlessness, pairwise", "S1") == 0.5
    assert value(found, "Harmlessness, pairwise", "S10") == 1
    assert value(found, "Helpfulness, pairwise", "Code") == helpful
    assert value(found, "Helpfulness, best of n") == pytest.approx(lists)
    assert value(found) == pytest.approx((harmless + helpful + lists) / 3)


def judged_in_both_orders(label, games):
    """`compute_final_metrics` with `reverse_order`, over (score of what is shown first, second)."""
    flip = {"A>B": "B>A", "B>A": "A>B"}
    first, second = ("A>B" if a > b else "B>A" for a, b in games)
    counter = sum(
        1 if said == label else -1 if said == flip[label] else 0 for said in (first, flip[second])
    )
    return counter > 0


def test_judgebench_asks_in_both_orders():
    suite = SUITES.get("judgebench")
    grid = list(itertools.product([0.0, 1.0, 2.0], repeat=4))
    rows = [("A>B", four) for four in grid] + [("B>A", four) for four in grid]
    items = [
        suite.read(Row("f", k, judgebench_row("livebench-math", k, label)))
        for k, (label, _) in enumerate(rows)
    ]
    rewards = [list(four) for _, four in rows]
    part = suite.score(items, rewards, Means([item.unit for item in items]))
    expected = [judged_in_both_orders(label, [(a, b), (d, c)]) for label, (a, b, c, d) in rows]
    assert part.score.values[0] == pytest.approx(np.mean(expected), abs=1e-12)
    one_by_one = [
        suite.score([item], [reward], Means([0])).score.values[0] == 1
        for item, reward in zip(items, rewards, strict=True)
    ]
    assert one_by_one == expected
    agree = [(a > b) == (not d > c) for _, (a, b, c, d) in rows]
    assert part.figures["same verdict in both orders"].values[0] == pytest.approx(np.mean(agree))


def test_pandalm_is_scored_over_three_classes(tmp_path):
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 3, size=(60, 3)).tolist()
    rewards = rng.integers(0, 3, size=(60, 2)).astype(float).tolist()
    found = summary(tmp_path, [pandalm_row(k, v) for k, v in enumerate(votes)], rewards, ".json")
    # The majority; of three different votes, the first.
    truth = [next((v for v in three if three.count(v) > 1), three[0]) for three in votes]
    said = [0 if a == b else 1 if a > b else 2 for a, b in rewards]
    assert value(found) == pytest.approx(np.mean(np.equal(truth, said)))
    expected = precision_recall_fscore_support(truth, said, average="macro", zero_division=0)
    for name, number in zip(
        ("macro precision", "macro recall", "macro F1"), expected[:3], strict=True
    ):
        assert found["figures"][name]["value"] == pytest.approx(number, abs=1e-12)
    decided = [t == s for t, s in zip(truth, said, strict=True) if t]
    assert found["figures"]["accuracy without ties"]["value"] == pytest.approx(np.mean(decided))


def test_pandalm_without_a_class_counts_it_as_zero(tmp_path):
    found = summary(tmp_path, [pandalm_row(1), pandalm_row(2)], [[1, 0], [1, 0]], ".json", 100)
    assert value(found) == 1
    assert found["figures"]["macro F1"] == {"value": 1 / 3, "low": None, "high": None}


# --------------------------------------------------------------------------------------- intervals


def test_the_interval_is_that_of_the_binomial(tmp_path):
    rows = [judgebench_row("livebench-math", k) for k in range(400)]
    rewards = [[1, 0] if k % 4 else [0, 1] for k in range(400)]
    score = summary(tmp_path, rows, rewards, resamples=4000)["score"]
    error = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert score["value"] == 0.75
    assert score["low"] == pytest.approx(0.75 - error, abs=0.006)
    assert score["high"] == pytest.approx(0.75 + error, abs=0.006)


def test_items_of_one_prompt_are_resampled_together(tmp_path):
    row = judgebench_row("livebench-math", 0)
    rows = [row | {"pair_id": str(k), "response_A": f"This {k}."} for k in range(50)]
    one = summary(tmp_path, rows, [[k % 2, 0.5] for k in range(50)], resamples=100)["score"]
    assert one == {"value": 0.5, "low": None, "high": None}


def rewardbench_scores(tmp_path, right, resamples=2000):
    """The scores of made-up pairs that are right or wrong as {subset: [1, 0, …]} has it."""
    rows = [rewardbench_row(subset, k) for subset, won in right.items() for k in range(len(won))]
    rewards = [[one, 0.5] for won in right.values() for one in won]
    return summary(tmp_path, rows, rewards, resamples=resamples)


def test_fewer_than_five_prompts_have_no_interval_nor_has_what_they_are_part_of(tmp_path):
    found = rewardbench_scores(tmp_path, {"hep-go": [1, 0] * 10, "donotanswer": [1, 0, 1, 0]})
    assert found["parts"]["Reasoning"]["score"]["low"] is not None
    assert found["parts"]["Safety"]["score"] == {"value": 0.5, "low": None, "high": None}
    assert found["score"] == {"value": 0.5, "low": None, "high": None}


def test_all_right_is_no_certainty(tmp_path):
    found = rewardbench_scores(tmp_path, {"hep-go": [1] * 20, "hep-js": [1] * 20})
    assert found["parts"]["Reasoning"]["parts"]["hep-go"]["score"]["low"] == pytest.approx(
        0.87, abs=0.01
    )
    assert 0.9 < found["score"]["low"] < 0.95  # of forty
    assert found["score"]["high"] == 1


def test_an_average_of_subsets_varies_as_theirs_together_do(tmp_path):
    right = {"hep-go": [1, 0, 1, 1] * 15, "donotanswer": [1, 0] * 40}
    score = rewardbench_scores(tmp_path, right)["score"]
    assert score["value"] == 0.625
    reach = 1.96 * math.sqrt((0.75 * 0.25 / 60 + 0.5 * 0.5 / 80) / 4)
    assert (score["low"], score["high"]) == pytest.approx((0.625 - reach, 0.625 + reach), abs=0.01)


def test_scores_that_are_no_shares_have_the_interval_of_a_plain_bootstrap(tmp_path):
    rng = np.random.default_rng(2)
    votes = rng.integers(0, 3, 60).tolist()
    rewards = rng.integers(0, 3, size=(60, 2)).astype(float).tolist()
    rows = [pandalm_row(k, [vote] * 3) for k, vote in enumerate(votes)]
    found = summary(tmp_path, rows, rewards, ".json", resamples=2000)["figures"]["macro F1"]
    said = np.array([0 if a == b else 1 if a > b else 2 for a, b in rewards])
    drawn = rng.integers(60, size=(1000, 60))
    expected = np.quantile(
        [f1_score(np.array(votes)[d], said[d], average="macro") for d in drawn], [0.025, 0.975]
    )
    assert (found["low"], found["high"]) == pytest.approx(expected, abs=0.02)


# --------------------------------------------------------------------------------- run and write


def test_what_is_missing_of_the_published_data_is_said(tmp_path, monkeypatch):
    found = summary(tmp_path, [rewardbench_row("mt-bench-easy", 1)], [[1, 0]])
    assert not found["complete"]
    assert "the score is not the published one" in found["notes"][0]
    assert "1 of 28 in mt-bench-easy" in found["notes"][0]
    assert "and 15 more" in found["notes"][0]
    rows = [judgebench_row("livebench-math", k) for k in range(270)]
    assert "changed texts" in summary(tmp_path, rows, [[1, 0]] * 270)["notes"][0]
    items = load_suite(tmp_path / "data.jsonl").items
    monkeypatch.setitem(SUITES.get("judgebench").checksums, 270, checksum(items))
    found = summary(tmp_path, rows, [[1, 0]] * 270)
    assert (found["complete"], found["notes"]) == (True, [])
    rows = [
        rmbench_row(name, k) for name, n in SUITES.get("rmbench").counts.items() for k in range(n)
    ]
    assert summary(tmp_path, rows, [[1] * 6] * 1327)["complete"]
    rows = [
        rewardbench_row(name, k)
        for name, n in [*SUITES.get("rewardbench").counts.items(), ("shp", 3)]
        for k in range(n)
    ]
    assert summary(tmp_path, rows, [[1, 0]] * 2988)["complete"]  # prior sets may stand beside it
    sizes = [("Natural", 100), ("Neighbor", 134), ("Negation", 1)]
    rows = [llmbar_row(k, subset=name) for name, n in sizes for k in range(n)]
    notes = summary(tmp_path, rows, [[1, 0]] * 235)["notes"][0]
    assert "1 in Negation" in notes
    assert "changed texts or labels in Natural" in notes


def test_the_published_sizes_add_up():
    assert sum(SUITES.get("rewardbench").counts.values()) == 2985
    assert sum(SUITES.get("rewardbench2").counts.values()) == 1865
    assert sum(SUITES.get("rmbench").counts.values()) == 1327
    assert sum(SUITES.get("llmbar").counts.values()) == 419
    counts = SUITES.get("rmb").counts
    assert sum(n for name, n in counts.items() if name.startswith("Pairwise_set")) == 17131
    assert sum(n for name, n in counts.items() if name.startswith("BoN_set")) == 3786
    assert len(counts) == 2 * 49
    assert sum(SUITES.get("shp").counts.values()) == 18409
    assert sum(SUITES.get("ppecorrectness").counts.values()) * 32 == 81760
    sections = MREWARDBENCH_SECTIONS.values()
    assert sum(sum(of.values()) for of in sections) - 983 + 447 == ITEMS


@pytest.mark.parametrize("name", SUITES)
def test_a_model_runs_through_every_suite(name, tmp_path, reward_model):
    model = reward_model("bert")
    file = write(tmp_path / "data.json", ONE_OF_EACH[name])
    result = run_suite(model, file, partial=True, output=tmp_path / "out")
    [item] = result.data.items
    expected = model.score(item.ranking.prompt, item.ranking.completions)
    assert result.rewards[0] == pytest.approx(expected, abs=1e-5)
    written = json.loads((tmp_path / "out" / "suite.json").read_text())
    assert written == {"schema_version": 1, **result.summary}
    assert_fits("suite", written)
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").open()]
    assert [row["reward"] for row in rows] == result.rewards[0]
    assert [row["rank"] for row in rows] == list(item.ranking.ranks)
    table = str(result)
    assert table.splitlines()[3].startswith(SUITES.get(name).title)
    assert SUITES.get(name).source in " ".join(table.split())
    assert "Note: these are not the published data" in table
    assert not (tmp_path / "out" / "rejected.jsonl").exists()


def test_rejected_rows_are_written_and_noted(tmp_path, reward_model, capsys):
    file = write(tmp_path / "data.json", [llmbar_row(1), llmbar_row(2, label=7)])
    result = run_suite(reward_model("bert"), file, "llmbar", partial=True, output=tmp_path / "out")
    [row] = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").open()]
    assert (row["reason"], row["row"]["label"]) == ("unknown label: 7, wanted 1 or 2", 7)
    assert "rejected rows are not" in result.summary["notes"][-1]
    assert "unknown label" in capsys.readouterr().err


def test_equal_completions_have_equal_rewards(tmp_path, reward_model):
    row = pandalm_row(1, (0, 0, 0), response1="The very same.", response2="The very same.")
    file = write(tmp_path / "data.json", [row, pandalm_row(2)])
    result = run_suite(reward_model("qwen2"), file, partial=True)
    assert result.rewards[0][0] == result.rewards[0][1]
    assert len(result.rewards[0]) == 2
    assert len(list(result.predictions())) == 4


def test_a_reward_that_is_no_number_names_its_prompt(tmp_path, base):
    model = RewardModel.load(base("bert"), dtype="float32", device="cpu")
    list(model.model.parameters())[-1].data.fill_(math.nan)
    with pytest.raises(PlauditError, match=r"the prompt .*: the model's reward of a completion"):
        run_suite(model, write(tmp_path / "data.jsonl", [llmbar_row(1)]), partial=True)
