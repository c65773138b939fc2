"""How long a training will take, against counts by hand and a clock that tests set."""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset

import tiny
from plaudit import train
from plaudit.data.rankings import Ranking
from plaudit.evaluation.rewrites import REWRITES
from plaudit.model.freezing import freeze
from plaudit.settings import Settings
from plaudit.training import duration, run, trainer
from plaudit.training.duration import Kept, Work, expected, kept_of, work_of
from plaudit.training.objectives import Prepared
from plaudit.training.setup import build_trainer, load_base
from plaudit.training.trainer import RunLog


def settings(**more):
    return Settings.build(data="unused", **more)


REWRITTEN = len([*REWRITES.each()])


def test_what_a_run_has_to_do_is_counted(reward_model):
    chosen = settings(
        num_train_epochs=2, per_device_train_batch_size=4, gradient_accumulation_steps=2,
        save_steps=10, stress=5, head_epochs=0,
    )  # fmt: skip
    model = reward_model("bert")
    work = work_of(model, chosen, train=100, validation=20, test=30, completions=4)
    # 2 × 13 steps, of 8 and, at an epoch's end, 4 rankings; validated after 10 and 20 steps and at
    # the end, and once more measured; the test prompts with the untrained model and the trained
    # one, a pair of five of them in every rewriting, which is half of four completions.
    passes = 4 * 20 + 2 * 30 + 5 * REWRITTEN / 2
    assert work == Work(steps=26, each=8, once=0, measured=(passes, passes))
    stream = work_of(reward_model("bert"), settings(max_steps=7, freeze_layers=-1), 0, 0, 0)
    assert (stream.steps, stream.once) == (7, 56)


def test_frozen_layers_run_once_for_each_ranking_however_often_it_is_measured(reward_model):
    chosen = settings(freeze_layers=-1, stress=5, num_train_epochs=2)
    work = work_of(reward_model("bert"), chosen, 100, 20, 30)
    assert work.once == 100 + 20
    assert work.measured == (30 + 5 * REWRITTEN,) * 2
    assert (work.trained, work.heads) == (0, work.steps)
    there = work_of(reward_model("bert"), chosen, 100, 20, 30, Kept(1, 1, 1))
    assert there.once == 0
    assert there.measured == (0, 5 * REWRITTEN)  # which an earlier run may have rewritten, too
    anew = chosen.model_copy(update={"features_cache_gb": 0.0})
    work = work_of(reward_model("bert"), anew, 100, 20, 30)
    assert work.once == work.steps * work.each  # nothing is kept: they run in every step


def test_what_is_in_the_cache_already_is_found(reward_model, tmp_path):
    model = reward_model("bert")
    rankings = [Ranking(f"What is {n}?", ["fox", "dog"], [0, 1]) for n in range(8)]
    rows = model.encoding.encode(rankings)
    chosen = settings(freeze_layers=-1, features_cache=str(tmp_path / "features"))
    assert kept_of(model, chosen, rows, [], rows[:2]) == Kept()
    assert not (tmp_path / "features").exists()
    frozen = freeze(model, -1)
    frozen.keep(chosen.features_cache, chosen.features_cache_gb)
    frozen.fill(rows[:2], 1000)
    frozen.release()
    assert kept_of(model, chosen, rows, [], rows[:2]) == Kept(0.25, 0.0, 1.0)
    assert all(p.requires_grad for p in model.model.parameters())


def test_a_step_that_was_timed_is_told_more_exactly_than_one_that_was_not():
    work = Work(steps=10, each=8, once=5, measured=(100, 100))
    rough, exact = expected(work, forward=0.5), expected(work, forward=0.5, step=12.0)
    assert rough.training == pytest.approx((2 * 40 + 0.6 * 2.5, 4 * 40 + 1.4 * 2.5))
    assert exact.training == pytest.approx((0.6 * 122.5, 1.4 * 122.5))
    assert exact.measuring == rough.measuring == pytest.approx((30, 70))
    assert str(exact).startswith("1 min 14 s to ")
    head = expected(work._replace(trained=0.0), forward=0.5)
    assert head.training == pytest.approx((0.6 * 2.5, 1.4 * 2.5))


def test_a_run_says_how_long_it_will_take_before_its_first_step(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "WORTH_SAYING", 0.0)
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", 43)
    base = str(tiny.make("bert", tmp_path / "base"))
    ran = train(data, output=tmp_path / "run", base=base, num_train_epochs=3, stress=0)
    before, said, after = capsys.readouterr().err.partition("this will take ")
    assert said
    assert "step 1 of" not in before
    assert f" for {ran.metrics['training']['steps']} steps of 8 rankings" in after.splitlines()[0]
    assert "--recipe fast" not in after


def test_a_long_run_is_told_of_the_fast_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "WORTH_SAYING", 0.0)
    monkeypatch.setattr(run, "LONG", 0.0)
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", 40)
    base = str(tiny.make("bert", tmp_path / "base"))
    for recipe in ("default", "fast"):
        train(data, output=tmp_path / recipe, base=base, recipe=recipe, max_steps=2, stress=0)
        assert ("--recipe fast" in capsys.readouterr().err) == (recipe == "default")


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
    log.on_step_begin(None, state, None)
    for state.global_step, seconds in ((1, 5), (2, 20)):
        clock.now += seconds
        log.on_step_end(None, state, None)
    assert capsys.readouterr().err == "step 2 of 5: 12.5 s each, 38 s left\n"


def test_the_time_left_of_a_resumed_run_is_of_its_own_steps(monkeypatch, capsys):
    """What goes by before its first step, as finding the place to go on, is not every step's."""
    clock = Clock()
    monkeypatch.setattr(trainer, "time", clock)
    state = SimpleNamespace(global_step=90, max_steps=100, is_world_process_zero=True)
    log = RunLog(None)
    log.on_train_begin(None, state, None)
    clock.now += 500
    log.on_step_begin(None, state, None)
    clock.now += 24
    state.global_step = 92
    log.on_step_end(None, state, None)
    assert capsys.readouterr().err == "step 92 of 100: 12.0 s each, 1 min 36 s left\n"


def test_a_step_is_timed_in_the_number_type_that_it_trains_in(base, tmp_path):
    chosen = settings(
        base=str(base("bert")), dtype="bfloat16", max_length=32, stress=0, recipe="plain"
    )
    model = load_base(chosen)
    rows = Dataset.from_list(
        [*model.encoding.encode([Ranking("Why?", ["fox", "dog"], [0, 1])] * 4)]
    )
    start = Prepared()
    built = build_trainer(model, rows, None, chosen, tmp_path, checkpoints=False, start=start)
    seen = set()
    layer = built.model.bert.encoder.layer[0].attention.output.dense
    layer.register_forward_hook(lambda module, given, out: seen.add(out.dtype))
    duration.step_seconds(built, rows, 4, chosen)
    timed = set(seen)
    seen.clear()
    built.train()
    assert seen == timed == {torch.bfloat16}
