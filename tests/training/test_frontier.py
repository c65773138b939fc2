"""The frontier: one split, a whole run at each strength, and the rule that marks one of them."""

import json
import random

import pytest

from plaudit import PlauditError, RewardModel, frontier
from plaudit.reporting.plots.frontier import frontier as drawn
from plaudit.training.frontier import choose


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """Pairs whose longer completion is mostly the better one."""
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    chance = random.Random(0)
    with path.open("w") as file:
        for number in range(40):
            sides = ["fox " * chance.randint(1, 3), "fox " * chance.randint(5, 9)]
            better = sides[chance.random() < 0.8]
            [worse] = [side for side in sides if side != better]
            row = {"prompt": f"What is {number}?", "chosen": better, "rejected": worse}
            file.write(json.dumps(row) + "\n")
    return path


def options(base, **more):
    given = {
        "base": str(base("bert")),
        "head_epochs": 0,
        "dtype": "float32",
        "max_length": 48,
        "max_steps": 3,
    }
    return given | {"report": False, "test_fraction": 0.3, "validation_fraction": 0.3} | more


def test_each_strength_is_a_run_on_the_same_prompts(ranked, base, tmp_path):
    found = frontier(ranked, strengths="1,0", output=tmp_path / "f", **options(base))
    points = found.summary["points"]
    assert [point["strength"] for point in points] == [0.0, 1.0]
    assert found.summary["control"] == ["length"]
    assert found.summary["chosen"] in (0.0, 1.0)
    assert found.summary == json.loads((tmp_path / "f" / "metrics.json").read_text())
    tested = []
    for strength in ("0", "1"):
        run = tmp_path / "f" / "strengths" / strength
        rows = [json.loads(line) for line in (run / "predictions.jsonl").open()]
        tested.append([row["prompt"] for row in rows if row["split"] == "test"])
        RewardModel.load(run)
    assert tested[0] == tested[1]
    controlled = json.loads((tmp_path / "f/strengths/1/metrics.json").read_text())
    assert points[1]["test"]["pairwise_accuracy"] == controlled["test"]["pairwise_accuracy"]
    assert (tmp_path / "f" / "plots" / "frontier.png").stat().st_size > 1000
    assert "where shorter" in str(found)
    assert "the last on validation" in str(found)  # which the mark is set by
    with pytest.raises(PlauditError, match="is finished"):
        frontier(output=tmp_path / "f", resume=True)
    with pytest.raises(PlauditError, match="is a frontier; its models are"):
        RewardModel.load(tmp_path / "f")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"strengths": "0,much"}, "no list of numbers"),
        ({"strengths": [1, 1]}, "two different numbers"),
        ({"strengths": [-1, 1]}, "none below 0"),
        ({"test_fraction": 0.0}, "leaves no prompts"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(
    ranked, base, tmp_path, given, reason
):
    with pytest.raises(PlauditError, match=reason):
        frontier(ranked, output=tmp_path / "f", **options(base) | given)
    assert not (tmp_path / "f").exists()


def point(strength, accuracy, low, controlled):
    figures = {"pairwise_accuracy": {"value": accuracy, "low": low, "high": 1.0}}
    if controlled is not None:
        figures["length_controlled_accuracy"] = {"value": controlled, "low": 0.0, "high": 1.0}
    return {"strength": strength, "run": "", "validation": figures, "test": figures}


def test_the_rule_takes_no_strength_whose_accuracy_is_surely_lower():
    points = [point(0, 0.75, 0.71, 0.6), point(1, 0.72, 0.6, 0.66), point(2, 0.70, 0.6, 0.9)]
    assert choose(points) == 1
    assert choose([point(0, 0.75, 0.71, 0.7), point(1, 0.74, 0.7, 0.7)]) == 0
    assert choose([point(0, 0.7, None, None), point(1, 0.8, None, None)]) == 1


def test_without_a_shorter_better_completion_there_is_nothing_to_draw():
    points = [point(0, 0.75, 0.71, None), point(1, 0.72, 0.68, None)]
    assert drawn({"points": points, "chosen": 0}) is None
