"""How long a training will take, against counts by hand and a clock that tests set."""

from types import SimpleNamespace

import pytest

import tiny
from plaudit import train
from plaudit.evaluation.rewrites import REWRITES
from plaudit.settings import Settings
from plaudit.training import duration, run, trainer
from plaudit.training.duration import Work, expected, work_of
from plaudit.training.trainer import RunLog


def settings(**more):
    return Settings.build(data="unused", **more)


def test_what_a_run_has_to_do_is_counted(reward_model):
    chosen = settings(
        num_train_epochs=2, per_device_train_batch_size=4, gradient_accumulation_steps=2,
        save_steps=10, stress=5, head_epochs=0,
    )  # fmt: skip
    work = work_of(reward_model("bert"), chosen, train=100, validation=20, test=30)
    # 2 × 100 / 8 steps; validated after 10 and 20 steps and at the end, and once more measured;
    # the test prompts with the untrained model and the trained one, five of them rewritten.
    rewrites = len([*REWRITES.each()])
    assert work == Work(steps=25, each=8, once=0, measured=4 * 20 + 2 * 30 + 5 * rewrites)
    frozen = work_of(reward_model("bert"), settings(freeze_layers=-1), 100, 0, 0)
    assert frozen.once == 100
    stream = work_of(reward_model("bert"), settings(max_steps=7, freeze_layers=-1), 0, 0, 0)
    assert (stream.steps, stream.once) == (7, 56)


def test_a_step_that_was_timed_is_told_more_exactly_than_one_that_was_not():
    work = Work(steps=10, each=8, once=5, measured=100)
    rough, exact = expected(work, forward=0.5), expected(work, forward=0.5, step=12.0)
    assert rough.training == pytest.approx((2 * 40 + 0.8 * 2.5, 4 * 40 + 1.4 * 2.5))
    assert exact.training == pytest.approx((0.8 * 122.5, 1.4 * 122.5))
    assert exact.measuring == rough.measuring == pytest.approx((40, 70))
    assert str(exact).startswith("1 min 38 s to ")
    head = expected(work, forward=0.5, chosen=settings(freeze_layers=-1))
    assert head.training == pytest.approx((0.8 * 2.5, 1.4 * 2.5))


def test_a_run_says_how_long_it_will_take_before_its_first_step(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "WORTH_SAYING", 0.0)
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", 40)
    base = tiny.make("bert", tmp_path / "base")
    train(data, output=tmp_path / "run", base=str(base), max_steps=2, max_length=32, stress=0)
    before, said, after = capsys.readouterr().err.partition("this will take ")
    assert said
    assert "step 1 of" not in before
    assert " for 2 steps of 8 rankings" in after.splitlines()[0]


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize(("a_token", "at_most"), [(0.001, 12), (10.0, 1)])
def test_a_ranking_of_mean_size_is_timed_in_a_few_seconds(monkeypatch, a_token, at_most):
    clock, ran = Clock(), []
    monkeypatch.setattr(duration, "time", clock)
    rows = [{"input_ids": [[0] * size, [0] * size]} for size in (4, 10, 10, 16)]

    class Rows(list):
        def select(self, places):
            return [self[place] for place in places]

    def run(batch):
        ran.append(len(batch))
        clock.now += a_token * sum(len(row) for each in batch for row in each["input_ids"])

    found = duration._seconds_each(Rows(rows), lambda some, _: [some], run, 12, 512)
    assert found == pytest.approx(20 * a_token)
    assert max(ran) == at_most


def test_slow_steps_are_told_before_their_loss_is(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr(trainer, "time", clock)
    log, state = (
        RunLog(None),
        SimpleNamespace(global_step=0, max_steps=5, is_world_process_zero=True),
    )
    log.on_train_begin(None, state, None)
    for state.global_step, seconds in ((1, 5), (2, 20)):
        clock.now += seconds
        log.on_step_end(None, state, None)
    assert capsys.readouterr().err == "step 2 of 5: 12.5 s each, 38 s left\n"
