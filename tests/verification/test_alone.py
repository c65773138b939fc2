"""Each check of a model alone passes a sound model, and fails one that has what it looks for."""

import math
from dataclasses import fields

import pytest
import torch

import tiny
from plaudit import RewardModel
from plaudit.verification.alone import Scale, check_alone, differences, turned_pairs
from plaudit.verification.rows import made_rows, read_rows, rows_of


def seen(model):
    return {check.name: check for check in check_alone(model, made_rows(model))}


def as_a(kind, model):
    """The same model under another class."""
    return kind(**{field.name: getattr(model, field.name) for field in fields(model)})


@pytest.mark.parametrize("name", ["gpt2", "qwen2", "llama", "bert", "modernbert"])
def test_a_sound_model_passes_all(reward_model, name):
    found = seen(reward_model(name))
    assert [check for check in found.values() if check.passed is False] == []
    assert {"rewards", "batch", "order", "duplicates", "empty", "length", "saved"} <= found.keys()
    # Absolute positions count what stands on the left; a rotary model sees distances alone.
    assert found["padding side"].passed is (True if name in ("qwen2", "llama") else None)


def test_a_head_that_was_never_trained_fails(base):
    assert seen(RewardModel.load(base("bert"), dtype="float32"))["rewards"].passed is False


class ByBatch(RewardModel):
    def _forward(self, batch):
        return super()._forward(batch) + 1e-3 * batch["position"].shape[0]


class ByPlace(RewardModel):
    def rewards(self, encoded):
        return [[r + 1e-4 * n for r in of] for n, of in enumerate(super().rewards(encoded))]


class Forgetful(RewardModel):
    def save(self, folder):
        with torch.no_grad():
            weight = self.model.score.weight
            kept, _ = weight.clone(), weight.mul_(1.001)
            super().save(folder)
            weight.copy_(kept)


class Silent(RewardModel):
    """Cuts rows and says nothing."""

    def encode(self, prompts):
        return self.encoding.encode_texts(prompts)


class NoNumber(RewardModel):
    def score(self, prompt, completions):
        return math.nan


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ByBatch, "batch"),
        (ByPlace, "order"),
        (ByPlace, "duplicates"),
        (Forgetful, "saved"),
        (Silent, "length"),
        (NoNumber, "empty"),
    ],
)
def test_a_model_with_a_fault_fails_the_check_for_it(reward_model, kind, name):
    assert seen(as_a(kind, reward_model("qwen2")))[name].passed is False


def test_a_beginning_that_is_there_twice_fails(tmp_path):
    tokenizer = tiny.byte_bpe(bos="<s>", eos="</s>", frame=("<s> <s>", ""))
    base = tiny.make("llama", tmp_path / "base", tokenizer=tokenizer)
    assert seen(RewardModel.load(base, dtype="float32"))["beginning"].passed is False


def test_pairs_that_change_places_are_those_of_one_prompt():
    rows = rows_of([("a", ["1", "2", "3"]), ("b", ["4"])])
    here, there = [3.0, 2.0, 2.0, 9.0], [2.0, 3.0, 1.0, -9.0]
    assert turned_pairs(rows, here, there, 0.5) == (2, [(0, 1)])
    assert differences([0.5, 10.0], [0.6, 11.0]).tolist() == pytest.approx([0.1, 1.0])
    assert differences([1.0], [math.nan]).tolist() == [math.inf]


def test_differences_are_measured_by_the_spread_of_rewards_and_not_by_their_size():
    here = [9999.0, 10001.0]
    scale = Scale.of(here)
    assert scale.same(here, [9999.01, 10000.99], 1e-4).all()  # what float32 has of digits
    assert not scale.same(here, [9999.5, 10000.5], 1e-4).any()  # halved
    small = [0.001, 0.003]
    assert not Scale.of(small).same(small, [0.0011, 0.0029], 1e-4).any()


def test_rows_of_data_are_those_that_score_reads(tmp_path, capsys):
    file = tiny.write_rankings(tmp_path / "data.jsonl", prompts=5)
    rows = read_rows(str(file), 4)
    assert [row.prompt_number for row in rows] == [0, 0, 0, 1]
    (tmp_path / "rows.csv").write_text("prompt,completion\n2+2?,4\n,\n2+2?,5\n")
    rows = read_rows(str(tmp_path / "rows.csv"), 9)
    assert [(row.prompt, row.completion) for row in rows] == [("2+2?", "4"), ("2+2?", "5")]
    assert "1 row rejected in all" in capsys.readouterr().err


def test_made_rows_are_long_and_short_and_taken_by_the_model(reward_model):
    model = reward_model("qwen2")
    rows = made_rows(model)
    lengths = [
        len(of["input_ids"][0])
        for of in model.encoding.encode_texts([(row.prompt, [row.completion]) for row in rows])
    ]
    assert max(lengths) > 0.8 * model.max_length
    assert max(lengths) <= model.max_length
    assert any(row.completion == "" for row in rows)
