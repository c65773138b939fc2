"""Variance components against what simulated tables were made of, and against plain loops."""

import numpy as np
import pytest

from plaudit.evaluation.components import components


def table(rng, shape, split, seed, both):
    """A table whose components have these standard deviations."""
    return (
        0.7
        + split * rng.standard_normal((shape[0], 1))
        + seed * rng.standard_normal((1, shape[1]))
        + both * rng.standard_normal(shape)
    )


def test_mean_squares_are_those_of_plain_loops():
    rng = np.random.default_rng(0)
    y = table(rng, (4, 3), 0.05, 0.02, 0.01)
    found = components(y)
    mean = sum(map(sum, y)) / 12
    rows = [sum(row) / 3 for row in y]
    columns = [sum(y[s][k] for s in range(4)) / 4 for k in range(3)]
    of_split = 3 * sum((row - mean) ** 2 for row in rows) / 3
    of_seed = 4 * sum((column - mean) ** 2 for column in columns) / 2
    both = sum((y[s][k] - rows[s] - columns[k] + mean) ** 2 for s in range(4) for k in range(3)) / 6
    assert found["both"]["value"] ** 2 == pytest.approx(both)
    assert found["split"]["value"] ** 2 == pytest.approx(max(of_split - both, 0) / 3)
    assert found["seed"]["value"] ** 2 == pytest.approx(max(of_seed - both, 0) / 4)
    assert sum(found["share"].values()) == pytest.approx(1)
    assert found["total"] ** 2 == pytest.approx(
        sum(found[part]["value"] ** 2 for part in ("split", "seed", "both"))
    )


def test_on_average_they_are_what_the_tables_were_made_of():
    rng = np.random.default_rng(1)
    true = {"split": 0.06, "seed": 0.04, "both": 0.02}
    many = [components(table(rng, (6, 5), *true.values())) for _ in range(1500)]
    for part, sd in true.items():
        variances = np.array([each[part]["value"] ** 2 for each in many])
        error = variances.std() / np.sqrt(len(many))
        assert variances.mean() == pytest.approx(sd**2, abs=4 * error)
        assert error < 0.04 * sd**2


def test_the_intervals_hold_the_truth():
    rng = np.random.default_rng(2)
    true = {"split": 0.05, "seed": 0.02, "both": 0.02}
    many = [components(table(rng, (3, 3), *true.values())) for _ in range(300)]
    for part, sd in true.items():
        held = np.mean([each[part]["low"] <= sd <= each[part]["high"] for each in many])
        assert 0.91 < held <= 1  # 95 %, and an error of counting of 1.3


def test_where_nothing_varies():
    found = components(np.full((3, 2), 0.7), np.full((3, 2), np.nan))
    assert found["total"] == 0
    assert found["share"] == {"split": 0, "seed": 0, "both": 0}
    assert found["test_prompts"] is None
    assert components(np.eye(2), np.full((2, 2), 0.1))["test_prompts"] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="it takes two of each"):
        components([[0.7, 0.8]])
