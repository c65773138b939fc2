"""Published rewards give published scores, to the last digit that was printed.

What the files hold and where they are from is in tests/published/README.md.
"""

import json
from pathlib import Path

import pytest

from plaudit.evaluation.suite_rewards import score_rewards

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
    for model, row in SCORES[suite].items():
        for name, printed in row.items():
            value = stated(entries[model], name) * (1 if name == "MRR" else 100)
            # Sixteen digits are those of a float, whose last one depends on the order of sums.
            digits = min(len(printed.partition(".")[2]), 12)
            assert f"{value:.{digits}f}" == f"{float(printed):.{digits}f}", (model, name)


def test_the_tables_are_whole():
    rows = {suite: sum(map(len, models.values())) for suite, models in SCORES.items()}
    assert rows == {"judgebench": 25, "rewardmath": 18, "rmb": 1, "llmbar": 325}
