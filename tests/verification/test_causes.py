"""Causes are named where they were seen or reproduced, and none where nothing explains the rows."""

import math
import random

import pytest
import torch

from plaudit import RewardModel
from plaudit.model.classifier import head_of
from plaudit.verification.peers import RefusedError, There
from plaudit.verification.rows import made_rows, rows_of
from plaudit.verification.verify import verify

MODEL = "some model"


class Peer(There):
    """Answers by a function of the rows and of the model's own rewards."""

    name = "a peer"

    def __init__(self, model, answer):
        self._model, self._answer = model, answer

    def rewards(self, rows):
        here = [self._model.score(row.prompt, [row.completion])[0] for row in rows]
        return [self._answer(row, reward) for row, reward in zip(rows, here, strict=True)]


@pytest.fixture
def against(monkeypatch):
    """What verify finds of a peer."""

    def run(model, peer, rows=None):
        monkeypatch.setattr("plaudit.verification.verify._opened", lambda *_: _entered(peer))
        if rows is not None:
            monkeypatch.setattr("plaudit.verification.verify.made_rows", lambda _: rows)
        found = verify(model, MODEL, [MODEL])
        return found, found.record["peers"][0]

    return run


class _entered:  # noqa: N801
    def __init__(self, peer):
        self.peer = peer

    def __enter__(self):
        return self.peer

    def __exit__(self, *_): ...


def names(peer):
    return [cause["name"] for cause in peer["causes"]]


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (lambda row, r: r + 0.5, "bias"),
        (lambda row, r: 2 * r - 1, "normalisation"),
        (lambda row, r: 1 / (1 + math.exp(-r)), "activation"),
        (lambda row, r: 0.25, "head"),
    ],
)
def test_a_simple_sum_of_all_rewards_is_named(reward_model, against, answer, name):
    model = reward_model("qwen2")
    found, peer = against(model, Peer(model, answer))
    assert not found.passed
    assert names(peer) == [name]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_a_few_rows_no_cause_is_made_up(reward_model, against, count):
    model = reward_model("qwen2")
    draw = random.Random(count)
    rows = rows_of([("What is a bond?", [f"Answer {n}." for n in range(count)])])
    answers = {row.number: draw.uniform(-5, 5) for row in rows}
    found, peer = against(model, Peer(model, lambda row, _: answers[row.number]), rows)
    assert not found.passed
    assert names(peer) == []


def test_rewards_that_are_never_the_same_are_called_unsteady(reward_model, against):
    model = reward_model("bert")
    draw = random.Random(0)
    _, peer = against(model, Peer(model, lambda row, r: r + draw.gauss(0, 1)))
    assert names(peer) == ["unsteady"]


def test_a_service_in_bfloat16_is_known_by_the_size_of_its_differences(reward_model, against):
    model = reward_model("qwen2")
    low = RewardModel.load(model.origin, dtype="float32")
    low.model.to(torch.bfloat16)
    with torch.no_grad():
        for parameter in low.model.parameters():  # as weights in 16 bits that compute in 32
            parameter.data = parameter.data.float()

    low.dtype = torch.bfloat16  # and products in 16
    _, peer = against(model, Peer(low, lambda row, r: r))
    assert names(peer) == ["dtype"]


def test_what_is_no_number_is_refused_and_the_record_is_json(reward_model, against):
    model = reward_model("bert")
    number = {5: math.nan, 9: math.inf}
    found, peer = against(model, Peer(model, lambda row, r: number.get(row.number, r)))
    assert (peer["refused"], peer["parted"], found.passed) == (2, 0, False)
    assert "not a finite number" in str(found)
    assert math.isfinite(peer["largest"])


def test_a_row_as_long_as_is_read_is_no_trouble_for_guesses(reward_model, against):
    model = reward_model("gpt2")
    fits = next(
        n for n in range(400, 0, -1)
        if not model.encoding.encode_texts([("Go.", ["yes " * n])])[0]["completion_cut"][0]
    )  # fmt: skip
    rows = rows_of([("Go.", ["yes " * fits, "no", "yes", "or"])])
    found, _ = against(model, Peer(model, lambda row, r: -r * row.number), rows)
    assert not found.passed


def test_rows_refused_together_and_taken_alone_are_noted(reward_model, against):
    model = reward_model("bert")

    class Alone(Peer):
        def rewards(self, rows):
            if len(rows) > 1:
                raise RefusedError("one at a time")
            return super().rewards(rows)

    found, peer = against(model, Alone(model, lambda row, r: r))
    assert found.passed
    assert peer["notes"] == ["it refuses rows together, and takes each alone: one at a time"]


def test_a_model_without_rewards_is_not_compared(base, against):
    model = RewardModel.load(base("bert"), dtype="float32")
    with torch.no_grad():
        head_of(model.model).weight.fill_(math.nan)
    found = verify(model, MODEL)
    assert [check["name"] for check in found.record["alone"]] == ["rewards"]
    assert not found.passed
    assert made_rows(model)
