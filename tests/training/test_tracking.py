"""What trackers are told: measures by their own names, those of the test prompts in the end."""

import pytest

from plaudit import train
from plaudit.bundled.sample import write_sample
from plaudit.evaluation.measures import measures


@pytest.mark.timeout(120)
def test_trackers_have_the_measures_by_their_names(tmp_path, base):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
    )
    ranked, _ = write_sample(tmp_path, n=24)
    run = train(
        str(ranked), output=tmp_path / "run", base=str(base("bert")), max_length=64, max_steps=2,
        save_steps=1, dtype="float32", stress=0, report=False, report_to=["tensorboard"],
        recipe="plain",
    )  # fmt: skip
    found: dict[str, float] = {}
    for file in sorted((tmp_path / "run" / "tensorboard").rglob("events*")):
        accumulator = events.EventAccumulator(str(file))
        accumulator.Reload()
        for tag in accumulator.Tags()["scalars"]:
            found[tag] = accumulator.Scalars(tag)[-1].value
    test = run.metrics["test"]
    for name in measures():
        if test.get(name) is None:
            assert f"test/{name}" not in found
            continue
        assert found[f"test/{name}"] == pytest.approx(test[name]["value"], rel=1e-6)
        if test[name]["low"] is not None:
            assert found[f"test/{name}_low"] == pytest.approx(test[name]["low"], rel=1e-6)
    # Those of validation have the same names, at every checkpoint.
    assert {"eval/pairwise_accuracy", "eval/log_loss", "eval/length_controlled_accuracy"} <= {
        *found
    }
