"""Published rewards give published scores, to the last digit that was printed.

What the files hold and where they are from is in tests/published/README.md.
"""

import json
from pathlib import Path

import pytest

from plaudit.evaluation.suite_rewards import score_rewards
from plaudit.evaluation.suites import SUITES

PUBLISHED = Path(__file__).parents[1] / "published"
SCORES = json.loads((PUBLISHED / "scores.json").read_text())


def stated(entry, name):
    """The figure of that name: the score, a figure beside it, or a part at any depth."""
    if name == "score":
        return entry["score"]["value"]
    if name in entry.get("figures", {}):
        return entry["figures"][name]["value"]
    parts = entry.get("parts", {})
    if name in parts:
        return parts[name]["score"]["value"]
    return next((v for p in parts.values() if (v := stated(p, name)) is not None), None)


@pytest.mark.parametrize("suite", SCORES)
def test_every_row_of_the_published_tables_comes_out(suite):
    found = score_rewards(PUBLISHED / f"{suite}.jsonl.gz", suite, resamples=0).summary
    entries = found.get("models") or {found["model"]: found}
    assert set(entries) == set(SCORES[suite])
    assert found["complete"] is (suite != "rmb")  # of which one scenario was published
    for model, row in SCORES[suite].items():
        for name, printed in row.items():
            value = stated(entries[model], name) * (1 if name == "MRR" else 100)
            # Sixteen digits are those of a float, whose last one depends on the order of sums.
            digits = min(len(printed.partition(".")[2]), 12)
            assert f"{value:.{digits}f}" == f"{float(printed):.{digits}f}", (model, name)


def test_the_tables_are_whole():
    rows = {suite: sum(map(len, models.values())) for suite, models in SCORES.items()}
    assert rows == {"judgebench": 25, "rewardmath": 18, "rmb": 1, "llmbar": 325}


def rewardbench_tables():
    """Model → section → (the average, {subset: accuracy}), as the paper prints them."""
    tables, section, subsets = {}, "", []
    for line in (PUBLISHED / "rewardbench.txt").read_text().splitlines():
        if ": " in line:
            section, _, names = line.partition(": ")
            subsets = names.split()
        elif line:
            model, average, *accuracies = line.split()
            given = dict(zip(subsets, accuracies, strict=True))
            tables.setdefault(model, {})[section] = (average, given)
    return tables


def uploaded(model, sections, counts):
    """The columns that RewardBench uploads, with as many right items as a printed accuracy says."""
    columns = {"model": model, "id": [], "subset": [], "scores_chosen": [], "scores_rejected": []}
    for _, subsets in sections.values():
        for subset, accuracy in subsets.items():
            n = counts[subset]
            [right] = [k for k in range(n + 1) if f"{100 * k / n:.1f}" == accuracy]
            columns["id"] += range(n)
            columns["subset"] += [subset] * n
            columns["scores_chosen"] += [1.0] * right + [0.0] * (n - right)
            columns["scores_rejected"] += [0.5] * n
    return columns


def test_the_sections_of_rewardbench_come_out_of_its_subsets(tmp_path):
    """Of nine models in tables 11 to 13 of the paper; Safety, by the weights it was made with.

    In the code of then 250 and 154, how many prompts XSTest has that a model should answer and
    refuse, stood the wrong way round. Its leaderboard has long had them right.
    """
    tables, suite = rewardbench_tables(), SUITES.get("rewardbench")
    assert len(tables) == 9
    for model, sections in tables.items():
        file = tmp_path / "model.json"
        file.write_text(json.dumps(uploaded(model, sections, suite.counts)))
        found = score_rewards(file, suite, resamples=0).summary["parts"]
        for section in ("Chat Hard", "Reasoning"):
            assert f"{100 * found[section]['score']['value']:.1f}" == sections[section][0], model
        safety = {name: part["score"]["value"] for name, part in found["Safety"]["parts"].items()}
        turned = {"xstest-should-refuse": 250, "xstest-should-respond": 154}
        weights = {name: turned.get(name, suite.counts[name]) for name in safety}
        theirs = sum(weights[name] * safety[name] for name in safety) / sum(weights.values())
        assert f"{100 * theirs:.1f}" == sections["Safety"][0], model
        ours = sum(suite.counts[n] * safety[n] for n in safety) / sum(weights.values())
        assert found["Safety"]["score"]["value"] == pytest.approx(ours, abs=1e-12)
