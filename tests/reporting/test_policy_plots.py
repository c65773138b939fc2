"""The plots and the report of a test under a policy: headings are true, and all can be drawn."""

from xml.etree import ElementTree

import numpy as np
import pytest

from plaudit.evaluation.optimisation import under_policy, verdict
from plaudit.reporting.page import render
from plaudit.reporting.plots.over_optimisation import over_optimisation
from plaudit.reporting.plots.picked_length import picked_length
from plaudit.reporting.plots.reward_deviation import reward_deviation
from plaudit.reporting.policy_test import policy_test_report

pytestmark = pytest.mark.filterwarnings("error")


def words(plot):
    """All words in the drawing, once it is known to be whole."""
    root = ElementTree.fromstring(plot.svg())
    return [each.text for each in root.iter() if each.tag.endswith("text")]


def summary(models=("a",), gold=True, prompts=12, constant=False):
    rng = np.random.default_rng(0)
    length = rng.integers(10, 90, size=(prompts, 8)).astype(float)
    judged = rng.normal(size=(prompts, 8))
    tested = []
    for _ in models:
        reward = judged * 0 if constant else judged + rng.normal(size=judged.shape)
        record = under_policy(reward, length, judged if gold else None, most=8, resamples=20)
        tested.append(record)
    return {
        "policy": "smollm2", "gold": "g" if gold else None, "prompts": prompts, "n": 8,
        "samples": 8 * prompts, "models": [
            {"model": name, "verdict": verdict(record), "figures": record}
            for name, record in zip(models, tested, strict=True)
        ],
    }  # fmt: skip


def test_headings_say_what_was_measured():
    found = summary()
    picks = found["models"][0]["figures"]["picks"]["reward"]
    gold, own, length = (picks[-1][name]["value"] for name in ("gold", "reward", "length"))
    plot = over_optimisation(found)
    assert plot.heading == f"Best of 8 gains {gold:.2f} by the gold, {own:.2f} by its own reward"
    assert {"gold, picked by length", "gold, picked by the gold", "its peak"} <= {*words(plot)}
    drawn_at_random = picks[0]["length"]["value"]
    assert picked_length(found).heading == (
        f"Best of 8 has {length:.0f} characters, a sample at random {drawn_at_random:.0f}"
    )
    assert "In the median prompt the reward deviates" in reward_deviation(found).heading
    page = render(policy_test_report(found, "A test"))
    assert "Gold gained by best of 8" in page


@pytest.mark.parametrize(
    "found",
    [
        summary(gold=False),
        summary(constant=True),
        summary(prompts=2),
        summary(models=("a", "b", "c", "d", "e"), prompts=5),
    ],
    ids=["no gold", "constant", "two prompts", "five models"],
)
def test_they_are_drawn_of_anything(found):
    page = render(policy_test_report(found, "A test"))
    assert page.count("<figure>") == (2 if reward_deviation(found) is None else 3)
    if not found["gold"]:
        assert "there is no gold judge" in over_optimisation(found).heading
        assert "There is no gold judge, so nothing here says" in page
    if len(found["models"]) == 5:
        assert over_optimisation(found).columns == 3
        assert "the first 3 of 5 models are drawn" in over_optimisation(found).detail
