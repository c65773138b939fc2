"""Plots of training, folds, learning curve and search: each is drawn and its heading is true."""

from xml.etree import ElementTree

import numpy as np
import pytest

from plaudit.reporting.plots.fold_values import fold_values
from plaudit.reporting.plots.learning_curve import learning_curve
from plaudit.reporting.plots.search_history import search_history
from plaudit.reporting.plots.search_settings import search_settings
from plaudit.reporting.plots.training_curves import training_curves

pytestmark = pytest.mark.filterwarnings("error")


def drawn(plot):
    """All words in the drawing, once it is known to be whole."""
    root = ElementTree.fromstring(plot.svg())
    return [each.text for each in root.iter() if each.tag.endswith("text")]


def training_log(steps=120):
    rng = np.random.default_rng(0)
    for step in range(1, steps + 1):
        yield {"step": step, "loss": 0.7 - step / 400 + rng.normal() / 20, "accuracy": rng.random()}
        if step % 20 == 0:
            loss = 0.6 + abs(step - 80) / 1000
            yield {"step": step, "eval_log_loss": loss, "eval_pairwise_accuracy": 1.3 - loss}


def test_training_curves():
    plot = training_curves(list(training_log()), best_step=80)
    assert plot.heading == (
        "Validation loss is lowest, 0.600, at step 80; pairwise accuracy there 70.0 %"
    )
    assert plot.detail == "120 training rows, 6 evaluations; the checkpoint of step 80 was kept"
    assert {"training (moving mean)", "validation", "kept: step 80"} <= set(drawn(plot))


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ([], "Nothing was logged yet"),
        ([{"step": 5, "loss": 0.7, "accuracy": 0.5}], "Training loss went from 0.700 to 0.700"),
        ([{"step": 5, "loss": 0.7}, {"step": 6, "loss": 0.5}], "went from 0.700 to 0.500"),
        ([{"step": 5, "eval_log_loss": 0.6}], "Validation loss is lowest, 0.600, at step 5"),
        (  # what chooses the checkpoint, and what the training loss is to be held against
            [{"step": 5, "eval_log_loss": 0.6, "eval_controlled_log_loss": 0.5}],
            "Validation loss is lowest, 0.500, at step 5",
        ),
        ([{"step": 5, "loss": float("nan")}], "Nothing was logged yet"),
        ([{"step": i, "loss": 0.5, "accuracy": 1.0} for i in range(80)], "from 0.500 to 0.500"),
    ],
)
def test_training_curves_of_little(log, says):
    plot = training_curves(log, best_step=5)
    assert says in plot.heading
    drawn(plot)


def test_no_checkpoint_kept_yet():
    plot = training_curves(list(training_log()))
    assert "Validation loss is lowest" in plot.heading
    assert "kept" not in plot.detail


def metric(*folds):
    mean = float(np.mean(folds))
    return {"mean": mean, "sd": 0.1, "low": mean - 0.1, "high": mean + 0.1, "folds": list(folds)}


def test_folds():
    metrics = {"pairwise_accuracy": metric(0.7, 0.6, 0.8), "log_loss": metric(0.5, 0.6, 0.7)}
    plot = fold_values(metrics)
    assert plot.heading == "Pairwise accuracy from 60.0 % to 80.0 % over 3 folds"
    assert plot.columns == 2
    drawn(plot)
    one = fold_values({"auc": metric(0.5) | {"sd": None, "low": None, "high": None}})
    assert one.heading == "AUC from 0.500 to 0.500 over 1 fold"
    drawn(one)


def points(*rows):
    return [{"rankings": n, "value": v, "low": v - 0.1, "high": v + 0.1} for n, v in rows]


def test_learning_curve():
    fit = {"formula": "a − b n⁻¹", "curve": points((10, 0.5), (40, 0.6), (80, 0.65))}
    plot = learning_curve({"points": points((40, 0.6), (10, 0.5)), "fit": fit})
    assert plot.heading == "From 10 to 40 rankings: pairwise accuracy 50.0 % to 60.0 %"
    assert plot.detail.endswith("fitted: a − b n⁻¹")
    assert {"fitted curve", "beyond the data at hand", "measured"} <= set(drawn(plot))
    within = {"points": points((10, 0.5), (80, 0.6)), "fit": fit}
    assert "beyond the data at hand" not in drawn(learning_curve(within))
    assert "fitted curve" not in drawn(learning_curve(within | {"fit": None}))


def trial(number, value, state="complete", **settings):
    return {"number": number, "value": value, "state": state, "seconds": 1.0, "settings": settings}


TRIALS = [
    trial(0, 0.6, lr=1e-5, loss="a", seed=1),
    trial(1, 0.5, "pruned", lr=1e-4, loss="a", seed=1),
    trial(2, 0.7, lr=1e-4, loss="b", seed=1),
    trial(3, None, "failed", lr=1e-1, loss="b", seed=1),
    trial(4, 0.8, lr=1e-3, loss="a", seed=1),
]


def test_search_history():
    plot = search_history(TRIALS, "pairwise_accuracy")
    assert plot.heading == "The best of 5 trials is number 4: pairwise accuracy 80.0 %"
    assert plot.detail == "3 completed, 1 pruned, 1 failed"
    assert {"best so far", "completed", "pruned, where it stood"} <= set(drawn(plot))
    lowest = search_history(TRIALS, "log_loss")
    assert lowest.heading == "The best of 5 trials is number 0: log loss 0.600"
    none = search_history([TRIALS[3]], "log_loss")
    assert none.heading == "No trial was completed"
    drawn(none)


def test_settings_that_moved_the_metric():
    plot = search_settings(TRIALS, "pairwise_accuracy")
    # In the completed trials lr orders the values wholly, the loss does not, the seed stood still.
    assert plot.heading == "Pairwise accuracy over 2 settings that varied"
    words = drawn(plot)
    assert words.index("lr") < words.index("loss")
    assert {"a", "b"} <= set(words)
    assert "seed" not in words
    assert {"0.0001", "0.001"} & set(words)  # a logarithmic scale in plain numbers
    assert not any("$" in word for word in words)
    assert search_settings(TRIALS[:2], "pairwise_accuracy") is None
    assert search_settings([], "pairwise_accuracy") is None
