"""Suites of pairs by language and domain, of preference graphs, and of PPE: each score against a
second, plainer implementation of its definition over the same rewards, in loops over rows.
"""

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import kendalltau, spearmanr
from sklearn.metrics import roc_auc_score

from plaudit.errors import PlauditError
from plaudit.evaluation.suite import checksum
from plaudit.evaluation.suite_run import load_suite, split_of, summarise_suite
from plaudit.evaluation.suites import SUITES
from plaudit.evaluation.suites.mrewardbench import LANGUAGES, MREWARDBENCH_SECTIONS
from suite_rows import (
    helpsteer3_row,
    ifrewardbench_row,
    mrewardbench_row,
    ppecorrectness_row,
    ppehumanpreference_row,
    shp_row,
    write,
)


def summary(tmp_path, rows, rewards, resamples=0, name="data.jsonl"):
    data = load_suite(write(tmp_path / name, rows), partial=True)
    assert not data.rejected, data.rejected
    return summarise_suite(data, rewards, resamples=resamples)


def value(entry, *path):
    for name in path:
        entry = entry["parts"][name]
    return entry["score"]["value"]


def figure(entry, name):
    return entry["figures"][name]["value"]


def pairs_of(rng, number):
    """Rewards of pairs, of which some are equal."""
    return rng.integers(0, 4, size=(number, 2)).astype(float).tolist()


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def test_helpsteer3_leaves_equal_pairs_out(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        helpsteer3_row(
            k,
            int(rng.integers(-3, 4)),
            ("general", "stem", "code", "multilingual")[k % 4],
            ("french", "korean")[k % 3 == 0] if k % 4 == 3 else "english",
        )
        for k in range(80)
    ]
    rewards = pairs_of(rng, 80)
    found = summary(tmp_path, rows, rewards)
    right = [
        None if r["overall_preference"] == 0 else (a > b) if r["overall_preference"] < 0 else b > a
        for r, (a, b) in zip(rows, rewards, strict=True)
    ]

    def share(keep):
        return mean(ok for r, ok in zip(rows, right, strict=True) if ok is not None and keep(r))

    assert value(found) == pytest.approx(share(lambda r: True), abs=1e-12)
    assert value(found, "code") == pytest.approx(share(lambda r: r["domain"] == "code"))
    assert value(found, "multilingual", "korean") == pytest.approx(
        share(lambda r: r["language"] == "korean")
    )
    assert figure(found, "much better") == pytest.approx(
        share(lambda r: abs(r["overall_preference"]) == 3)
    )
    assert "80 items, not 2,017" in found["notes"][0]


def test_a_response_that_is_not_there_is_a_blank_one(tmp_path):
    data = load_suite(
        write(tmp_path / "v.jsonl", [helpsteer3_row(1, response2=None)]), partial=True
    )
    assert [text[0]["content"] for text in data.rankings[0].completions] == ["One 1.", ""]


def test_shp_averages_its_domains(tmp_path):
    rng = np.random.default_rng(1)
    domains = ["askvet_test"] * 30 + ["askhr"] * 6 + ["legaladvice_test"] * 12
    rows = [
        shp_row(k, int(rng.integers(0, 2)), domain, float(rng.choice([1.2, 2.0, 3.5])))
        for k, domain in enumerate(domains)
    ]
    rewards = pairs_of(rng, 48)
    found = summary(tmp_path, rows, rewards)
    right = [a > b if row["labels"] else b > a for row, (a, b) in zip(rows, rewards, strict=True)]
    by_domain = [
        mean(ok for ok, one in zip(right, domains, strict=True) if one == domain)
        for domain in ("askvet_test", "askhr", "legaladvice_test")
    ]
    assert value(found, "askhr") == pytest.approx(by_domain[1], abs=1e-12)
    assert value(found) == pytest.approx(mean(by_domain), abs=1e-12)
    assert figure(found, "over all pairs") == pytest.approx(mean(right))
    assert figure(found, "votes at least 2 : 1") == pytest.approx(
        mean(ok for ok, row in zip(right, rows, strict=True) if row["score_ratio"] >= 2)
    )


def test_the_test_split_of_shp_is_read_of_a_folder(tmp_path, capsys):
    for split in ("train", "validation", "test"):
        write(tmp_path / "askvet" / f"{split}.jsonl", [shp_row(split, domain=f"askvet_{split}")])
    data = load_suite(tmp_path, "shp", partial=True)
    assert [item.ranking.prompt for item in data.items] == ["Why test?"]
    assert "SHP: reading the 1 of 3 files called test" in capsys.readouterr().err


def test_mrewardbench_averages_languages_of_sections_of_subsets(tmp_path):
    rng = np.random.default_rng(2)
    languages = ["deu_Latn", "kor_Hang", "eng_Latn"]
    subsets = ["alpacaeval-easy", "mt-bench-med", "llmbar-natural", "donotanswer", "math-prm"]
    rows = [
        mrewardbench_row(k, subset, language)
        for k, (language, subset) in enumerate(
            itertools.product(languages, [*subsets, "hep-python"] * 3)
        )
    ]
    rewards = pairs_of(rng, len(rows))
    found = summary(tmp_path, rows, rewards)
    scores = {}
    for language in languages:
        sections = []
        for weights in MREWARDBENCH_SECTIONS.values():
            top = bottom = 0.0
            for subset, weight in weights.items():
                right = [
                    a > b
                    for row, (a, b) in zip(rows, rewards, strict=True)
                    if (row["language"], row["source"]) == (language, subset)
                ]
                if right:
                    top, bottom = top + weight * mean(right), bottom + weight
            sections.append(top / bottom)
        scores[language] = mean(sections)
        assert value(found, language) == pytest.approx(scores[language], abs=1e-12)
    assert value(found) == pytest.approx((scores["deu_Latn"] + scores["kor_Hang"]) / 2)
    assert set(found["parts"]["deu_Latn"]["parts"]) == set(MREWARDBENCH_SECTIONS)
    alone = [(r, w) for r, w in zip(rows, rewards, strict=True) if r["language"] == "eng_Latn"]
    found = summary(tmp_path, [r for r, _ in alone], [w for _, w in alone])
    assert value(found) == pytest.approx(scores["eng_Latn"])


def test_the_folders_of_mrewardbench_name_its_languages(tmp_path):
    write(
        tmp_path / "zho_Hant" / "test-00000-of-00001.parquet", [mrewardbench_row(1, language="zh")]
    )
    [ranking] = load_suite(tmp_path, partial=True).rankings
    assert ranking.category == "zho_Hant"
    assert len(LANGUAGES) == len(set(LANGUAGES)) == 23
    file = write(tmp_path / "zh.jsonl", [mrewardbench_row(1, language="zh"), mrewardbench_row(2)])
    [rejected] = load_suite(file, partial=True).rejected
    assert "unknown language: 'zh'" in rejected.reason


def test_ifrewardbench_counts_what_its_graphs_order(tmp_path):
    rng = np.random.default_rng(3)
    rows, rewards = [], []
    for number in range(24):
        count = int(rng.integers(2, 7))
        order = rng.permutation(count)
        edges = [
            (int(order[i]), int(order[j]))
            for i, j in itertools.combinations(range(count), 2)
            if rng.random() < 0.6
        ]
        kind = ("Single_Turn", "Multi_Turn", "System_Prompt")[number % 3]
        rows.append(ifrewardbench_row(number, edges or [(0, 1)], count, kind))
        rewards.append(rng.integers(0, 4, count).astype(float).tolist())
    found = summary(tmp_path, rows, rewards, name="if_rewardbench.json")
    taus, accuracies = {}, {}
    for row, reward in zip(rows, rewards, strict=True):
        agree = against = tied = 0
        for relation in row["preference_graph"]:
            better = reward[relation["chosen"]["response_id"]]
            worse = reward[relation["rejected"]["response_id"]]
            agree, against = agree + (better > worse), against + (better < worse)
            tied += better == worse
        below = max(1, math.sqrt((agree + against) * (agree + against + tied)))
        taus.setdefault(row["instruction_type"], []).append((agree - against) / below)
        accuracies.setdefault(row["instruction_type"], []).append(
            agree / len(row["preference_graph"])
        )
    assert value(found, "Multi_Turn") == pytest.approx(mean(taus["Multi_Turn"]), abs=1e-12)
    assert value(found) == pytest.approx(mean(map(mean, taus.values())), abs=1e-12)
    assert figure(found, "accuracy") == pytest.approx(mean(map(mean, accuracies.values())))


def test_ranks_of_a_graph_are_how_far_down_a_response_is(tmp_path):
    row = ifrewardbench_row(1, [(2, 0), (0, 1), (2, 1), (2, 3)], 5)
    [item] = load_suite(write(tmp_path / "i.jsonl", [row]), partial=True).items
    assert item.ranking.ranks == [1, 2, 0, 1, 0]
    bad = [ifrewardbench_row(2, [(0, 1), (1, 0)]), ifrewardbench_row(3, [(0, 9)])]
    data = load_suite(write(tmp_path / "i.jsonl", [row, *bad]), partial=True)
    reasons = [one.reason for one in data.rejected]
    assert "goes in a circle" in reasons[0]
    assert "unknown response_id of a rejected response: 9 of 3" in reasons[1]


def test_ppe_human_preference_leaves_ties_out(tmp_path):
    rng = np.random.default_rng(4)
    winners = ["model_a", "model_b", "tie", "tie (bothbad)"]
    languages = ["English", "Chinese", "Polish"]
    rows = [
        ppehumanpreference_row(k, str(rng.choice(winners)), str(rng.choice(languages)))
        for k in range(90)
    ]
    rewards = pairs_of(rng, 90)
    found = summary(tmp_path, rows, rewards, name="data.parquet")
    right = [
        {"model_a": a > b, "model_b": b > a}.get(row["winner"])
        for row, (a, b) in zip(rows, rewards, strict=True)
    ]

    def share(keep):
        return mean(ok for row, ok in zip(rows, right, strict=True) if ok is not None and keep(row))

    assert value(found) == pytest.approx(share(lambda r: True), abs=1e-12)
    assert figure(found, "hard prompts") == pytest.approx(share(lambda r: r["hard_prompt"]))
    assert figure(found, "code") == pytest.approx(share(lambda r: r["is_code"]))
    assert figure(found, "Chinese") == pytest.approx(share(lambda r: r["language"] == "Chinese"))
    assert figure(found, "other than English") == pytest.approx(
        share(lambda r: r["language"] != "English")
    )
    assert "math" not in found["figures"]
    assert found["counts"]["items"] == 90


def test_ppe_ranks_the_models_as_people_do_or_not(tmp_path):
    rng = np.random.default_rng(8)
    models = ["ant", "bee", "cat", "dog", "eel"]
    rows, rewards = [], []
    for k in range(400):
        a, b = (int(one) for one in rng.choice(5, 2, replace=False))
        won = rng.choice(
            ["model_a", "model_b", "tie"], p=[0.4 + 0.08 * (a - b), 0.4 - 0.08 * (a - b), 0.2]
        )
        rows.append(ppehumanpreference_row(k, str(won), model_a=models[a], model_b=models[b]))
        rewards.append([float(rng.integers(0, 3) + (a == 2)), float(rng.integers(0, 3) + (b == 2))])
    found = summary(tmp_path, rows, rewards, resamples=20)
    rates, ratings = [], []
    for by_people in (True, False):
        won = [[0.0] * 5 for _ in models]
        for row, (x, y) in zip(rows, rewards, strict=True):
            a, b = models.index(row["model_a"]), models.index(row["model_b"])
            share = 1.0 if x > y else 0.0 if y > x else 0.5
            if by_people:
                share = {"model_a": 1.0, "model_b": 0.0}.get(row["winner"], 0.5)
            won[a][b] += share
            won[b][a] += 1 - share
        rates.append(
            [[won[i][j] / (won[i][j] + won[j][i]) for j in range(5) if j != i] for i in range(5)]
        )

        def unlikely(rating, won=won):
            return sum(
                won[i][j] * math.log1p(math.exp(rating[j] - rating[i]))
                for i, j in itertools.permutations(range(5), 2)
            )

        ratings.append(minimize(unlikely, [0.0] * 5).x)
    rows_alike = [np.corrcoef(one, other)[0, 1] for one, other in zip(*rates, strict=True)]
    assert figure(found, "row-wise Pearson") == pytest.approx(mean(rows_alike), abs=1e-9)
    assert figure(found, "Spearman of models") == pytest.approx(spearmanr(*ratings).statistic)
    assert figure(found, "Kendall of models") == pytest.approx(kendalltau(*ratings).statistic)
    assert found["figures"]["row-wise Pearson"]["low"] < mean(rows_alike)
    as_people = {"model_a": [1.0, 0.0], "model_b": [0.0, 1.0]}
    same = summary(tmp_path, rows, [as_people.get(row["winner"], [0.0, 0.0]) for row in rows])
    assert {figure(same, name) for name in same["figures"] if name.endswith("models")} == {1}
    assert figure(same, "row-wise Pearson") == pytest.approx(1)


def best_of_by_trying(reward, right, k, ideal=False):
    """How right the best of k is on average, over all ways to choose k; equal ones share."""
    outcomes = []
    for chosen in itertools.combinations(range(len(reward)), k):
        by = right if ideal else reward
        top = max(by[i] for i in chosen)
        outcomes.append(mean(right[i] for i in chosen if by[i] == top))
    return mean(outcomes)


def test_ppe_correctness_has_accuracy_auc_and_a_curve(tmp_path):
    rng = np.random.default_rng(5)
    rows, rewards = [], []
    for number in range(12):
        right = {int(k) for k in rng.choice(32, size=int(rng.integers(1, 31)), replace=False)}
        wrong = [k for k in range(32) if k not in right]
        pairs = [(int(rng.choice(sorted(right))), int(rng.choice(wrong))) for _ in range(5)]
        pairs = [pair[::-1] if rng.random() < 0.5 else pair for pair in pairs]
        subset = ("MATH", "GPQA", "lmarena-ai/PPE-MBPP-Plus-Best-of-K")[number % 3]
        rows.append(ppecorrectness_row(number, right, pairs, subset))
        rewards.append(rng.integers(-6, 7, 32).astype(float).tolist())
    rewards[0] = [2.0] * 32  # all alike
    found = summary(tmp_path, rows, rewards, name="data.parquet")
    for part, subset in (("MATH", "MATH"), ("MBPP-Plus", rows[2]["subset"])):
        these = [i for i, row in enumerate(rows) if row["subset"] == subset]
        shares, scaled, labels = [], [], []
        curve, ideal = np.zeros(3), np.zeros(3)
        for i in these:
            label, reward = rows[i]["scores"], rewards[i]
            shares.append(
                mean(
                    reward[u if label[u] else v] > reward[v if label[u] else u]
                    for u, v in rows[i]["sampled_conflict_pairs"]
                )
            )
            low, high = min(reward), max(reward)
            scaled += [(r - low) / (high - low) if high > low else 0.5 for r in reward]
            labels += label
            for place, k in enumerate((1, 2, 32)):
                curve[place] += best_of_by_trying(reward, label, k) / len(these)
                ideal[place] += best_of_by_trying(reward, label, k, ideal=True) / len(these)
        assert value(found, part) == pytest.approx(mean(shares), abs=1e-12)
        entry = found["parts"][part]
        assert figure(entry, "AUC") == pytest.approx(roc_auc_score(labels, scaled), abs=1e-12)
        for place, name in enumerate(("one sample", "best of 2", "best of 32")):
            assert figure(entry, name) == pytest.approx(curve[place], abs=1e-12)
        assert ideal[2] == 1  # with a right sample in each, the best possible of all is right
        shown = [
            figure(entry, n) for n in ("one sample", *(f"best of {2**j}" for j in range(1, 6)))
        ]
        assert max(shown) <= figure(entry, "highest") + 1e-12
        reached, possible = np.zeros(32), np.zeros(32)
        for i in these:  # samples drawn one after the other, the best so far, on average
            for _ in range(1000):
                order = rng.permutation(32)
                label = np.array(rows[i]["scores"])[order]
                so_far = [int(np.argmax(np.array(rewards[i])[order][: k + 1])) for k in range(32)]
                reached += label[so_far] / 1000 / len(these)
                possible += np.maximum.accumulate(label) / 1000 / len(these)
        assert figure(entry, "highest") == pytest.approx(reached.max(), abs=0.03)
        assert figure(entry, "loss") == pytest.approx(mean((possible - reached) ** 2), abs=0.02)
    assert value(found) == pytest.approx(
        mean(value(found, part) for part in ("MATH", "GPQA", "MBPP-Plus"))
    )
    assert figure(found, "AUC") == pytest.approx(
        mean(figure(found["parts"][part], "AUC") for part in ("MATH", "GPQA", "MBPP-Plus"))
    )


def test_a_reward_that_is_correctness_has_no_loss(tmp_path):
    rows = [ppecorrectness_row(k, right=range(k + 1, k + 9), pairs=[(k, k + 1)]) for k in range(6)]
    rewards = [[float(one) for one in row["scores"]] for row in rows]
    found = summary(tmp_path, rows, rewards)
    assert (value(found), figure(found, "AUC"), figure(found, "loss")) == (1, 1, 0)
    assert figure(found, "highest") == 1
    assert figure(found, "one sample") == pytest.approx(8 / 32)


def test_the_interval_of_the_area_is_that_of_redrawn_prompts(tmp_path):
    rng = np.random.default_rng(6)
    rows, rewards = [], []
    for number in range(40):
        right = {int(k) for k in rng.choice(32, size=8, replace=False)}
        wrong = next(k for k in range(32) if k not in right)
        rows.append(ppecorrectness_row(number, right, [(min(right), wrong)]))
        rewards.append([float(rng.normal() + (k in right) * rng.normal(0.5)) for k in range(32)])
    found = summary(tmp_path, rows, rewards, resamples=1000)["figures"]["AUC"]
    scaled = [[(r - min(one)) / (max(one) - min(one)) for r in one] for one in rewards]
    areas = []
    for _ in range(400):
        drawn = rng.integers(40, size=40)
        areas.append(
            roc_auc_score(
                np.concatenate([rows[i]["scores"] for i in drawn]),
                np.concatenate([scaled[i] for i in drawn]),
            )
        )
    assert (found["low"], found["high"]) == pytest.approx(
        np.quantile(areas, [0.025, 0.975]), abs=0.015
    )


def test_files_name_the_benchmark_of_ppe_correctness(tmp_path):
    row = ppecorrectness_row(1)
    del row["subset"]
    name = "PPE-MMLU-Pro-Best-of-K/data/train-00000-of-00001.parquet"
    [ranking] = load_suite(write(tmp_path / name, [row]), partial=True).rankings
    assert ranking.category == "MMLU-Pro"
    assert load_suite(write(tmp_path / "ifeval.jsonl", [row]), partial=True).items
    with pytest.raises(PlauditError, match="named after none of MMLU-Pro, MATH, GPQA"):
        load_suite(write(tmp_path / "other" / "k.jsonl", [row]), partial=True)


# --------------------------------------------------------------------- whole, partial, altered


def test_a_part_is_refused_with_what_is_missing(tmp_path):
    file = write(tmp_path / "test.jsonl", [shp_row(1), shp_row(2, domain="askhr_test")])
    with pytest.raises(PlauditError, match="not the published data of SHP") as error:
        load_suite(file)
    assert "none of askacademia" in str(error.value)
    assert "--partial" in str(error.value)
    file = write(tmp_path / "data.jsonl", [ppehumanpreference_row(k) for k in range(3)])
    with pytest.raises(PlauditError, match=r"3 items, not 16,038"):
        load_suite(file)


def test_a_row_that_cannot_be_used_is_refused_with_its_place(tmp_path):
    rows = [shp_row(k, domain="askvet_test") for k in range(3)] + [shp_row(3, label=7)]
    with pytest.raises(PlauditError, match=r"4 rows, 1 rejected: 1 × unknown label .*jsonl:4"):
        load_suite(write(tmp_path / "test.jsonl", rows))


def test_changed_texts_of_as_many_items_are_noticed(tmp_path, monkeypatch):
    suite = SUITES.get("ppehumanpreference")
    rows = [ppehumanpreference_row(k) for k in range(4)]
    file = write(tmp_path / "data.jsonl", rows)
    of = checksum(load_suite(file, partial=True).items)
    monkeypatch.setitem(vars(suite), "totals", (4,))
    monkeypatch.setitem(vars(suite), "checksums", {4: of})
    assert load_suite(file).items
    assert load_suite(write(tmp_path / "data.parquet", rows[::-1])).items  # in any order and form
    rows[2] |= {"winner": "model_b"}
    with pytest.raises(PlauditError, match="changed texts or labels in it"):
        load_suite(write(tmp_path / "data.jsonl", rows))
    assert summary(tmp_path, rows, [[1, 0]] * 4)["complete"] is False


def test_a_name_on_the_hub_has_the_split_that_its_benchmark_scores():
    assert split_of(["stanfordnlp/SHP"]) == "test"
    assert split_of(["nvidia/HelpSteer3@v1.0:preference"]) == "validation"
    languages = [f"CohereLabsCommunity/multilingual-reward-bench:{one}" for one in LANGUAGES]
    assert split_of(languages) == "test"
    assert split_of(["stanfordnlp/SHP", "allenai/reward-bench"]) is None
    assert split_of(["shp.jsonl"]) is None
