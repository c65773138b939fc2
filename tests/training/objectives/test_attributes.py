"""The mix of attributes: its loss in plain loops, its weights, and the head that is saved."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from by_hand import loop_pairs
from transformers import AutoModelForSequenceClassification

from plaudit.data.rankings import PADDING, Ranking
from plaudit.errors import PlauditError
from plaudit.model.batches import model_inputs
from plaudit.model.classifier import head_of
from plaudit.model.reward_model import RewardModel
from plaudit.settings import Settings
from plaudit.training.objectives import OBJECTIVES
from plaudit.training.objectives.attributes import attributes, mix, prepare
from plaudit.training.parts import encoded
from plaudit.training.setup import build_trainer, prepared, trained_model
from plaudit.training.trainer import read_log


def test_the_loss_is_its_definition():
    rewards, ranks = [0.5, -1.0, 2.0], [1, 0, 1]
    given = [[4.0, math.nan], [2.0, 1.0], [0.0, 3.0]]
    predicted = [[0.1, 0.2], [0.3, -0.4], [0.5, 0.6]]
    mean, deviation = [2.0, 1.5], [1.0, 0.5]
    pairs = loop_pairs(rewards, ranks)
    expected = sum(math.log1p(math.exp(worse - better)) for better, worse in pairs) / len(pairs)
    errors = [
        (predicted[k][a] - (given[k][a] - mean[a]) / deviation[a]) ** 2
        for k in range(3)
        for a in range(2)
        if not math.isnan(given[k][a])
    ]
    got = attributes(
        torch.tensor([[*rewards, 9.0]]),
        torch.tensor([[*ranks, PADDING]]),
        attributes=torch.tensor([[*given, [math.nan] * 2]]),
        predictions=torch.tensor([[*predicted, [7.0, 7.0]]]),
        mean=torch.tensor(mean),
        deviation=torch.tensor(deviation),
    )
    assert got.item() == pytest.approx(expected + np.mean(errors), rel=1e-6)


def test_what_it_takes_from_the_data():
    known = torch.tensor([[[4.0, 1.0], [2.0, 1.0]], [[0.0, math.nan], [math.nan, 1.0]]])
    made = prepare(known)
    assert made.fixed["mean"].tolist() == [2.0, 1.0]
    assert made.fixed["deviation"].tolist() == [pytest.approx((8 / 3) ** 0.5), 1.0]
    assert mix(made.learnt).tolist() == pytest.approx([0.5, 0.5])
    with pytest.raises(PlauditError, match="attributes: each is the same"):
        prepare(torch.ones(2, 2, 1))


def test_the_preferences_teach_the_mix():
    """What they follow gets the weight that they were made with; noise and what they go against
    get none."""
    given = torch.randn(4000, 2, 3, generator=torch.manual_seed(0), dtype=torch.float64)
    truth = given @ torch.tensor([1.5, 0.0, -0.5], dtype=torch.float64)
    chance = torch.rand(4000, generator=torch.manual_seed(1))
    first = chance < torch.sigmoid(truth[:, 0] - truth[:, 1])
    ranks = torch.stack([~first, first], 1).long()
    log_mix = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([log_mix], 0.1)
    for _ in range(150):
        optimiser.zero_grad()
        rewards = given @ mix({"log_mix": log_mix})
        attributes(rewards, ranks, attributes=given, predictions=given).mean().backward()
        optimiser.step()
    (followed, noise, against) = mix({"log_mix": log_mix}).tolist()
    assert followed == pytest.approx(1.4, abs=0.15)
    assert noise < 0.1
    assert against < 0.05


def rated(count):
    """Rankings in which foxes are depth and dogs are verbosity; depth decides."""
    made = []
    for n in range(count):
        depth, verbosity = [2.0 + n % 3, 1.0], [float(n % 2), 2.0]
        texts = ["fox " * int(d) + "dog " * int(v) for d, v in zip(depth, verbosity, strict=True)]
        kept = {"depth": depth, "verbosity": verbosity}
        made.append(Ranking(f"What is {n}?", texts, [0, 1], attributes=kept))
    return made


@pytest.mark.parametrize(("name", "method"), [("llama", None), ("bert", "odin")])
def test_the_saved_head_is_one_row(base, tmp_path, name, method):
    control = {"control": "length", "control_method": method} if method else {}
    chosen = Settings.build(
        data="d", base=str(base(name)), loss="attributes", dtype="float32", max_length=64,
        max_steps=4, learning_rate=1e-3, report_to=[], **control,
    )  # fmt: skip
    data = rated(12)
    start = prepared(chosen, data)
    assert start.attributes == ["depth", "verbosity"]
    model = RewardModel.load(base(name), dtype="float32", device="cpu", max_length=64)
    rows = encoded(
        data, model.encoding, "encoding", control=chosen.control, attributes=start.attributes
    )
    trainer = build_trainer(model, rows, None, chosen, tmp_path, checkpoints=False, start=start)
    trainer.train()
    head = head_of(trainer.model)
    assert len(head.weight) == (3 if method else 2)
    weights = trainer.learnt["log_mix"].exp()
    expected = weights @ head.weight[:2]
    model = trained_model(trainer, model, chosen)
    assert torch.allclose(head_of(model.model).weight[0], expected)
    before = model.score(data[0].prompt, data[0].completions)
    model.save(tmp_path / "model")
    again = RewardModel.load(tmp_path / "model", dtype="float32", device="cpu")
    assert again.score(data[0].prompt, data[0].completions) == pytest.approx(before, abs=1e-5)
    alone = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert alone.config.num_labels == 1
    said = OBJECTIVES.get("attributes").meaning({**start.fixed, **trainer.learnt})
    assert "mix of 2 predicted attributes" in said


def test_the_first_logged_loss_is_the_loss_of_the_data(base, tmp_path):
    data = rated(6)
    data[0] = replace(data[0], weight=3.0)
    chosen = Settings.build(
        data="d", control="none", base=str(base("bert")), loss="attributes", dtype="float32",
        max_length=64, max_steps=1, per_device_train_batch_size=6, max_tokens_per_batch=40, seed=5,
    )  # fmt: skip
    start = prepared(chosen, data)
    model = RewardModel.load(base("bert"), dtype="float32", device="cpu", max_length=64)
    rows = encoded(data, model.encoding, "encoding", attributes=start.attributes)
    trainer = build_trainer(model, rows, None, chosen, tmp_path, checkpoints=False, start=start)
    head, total = head_of(trainer.model), 0.0
    for ranking, row in zip(data, rows, strict=True):
        (batch,) = model.layout.divide([row], 10**6)
        with torch.no_grad():
            predictions = trainer.model.eval()(**model_inputs(batch)).logits
        assert predictions.shape == (2, len(head.weight))
        given = torch.tensor([list(ranking.attributes[name]) for name in start.attributes]).T
        options = {"attributes": given[None], "predictions": predictions[None], **start.fixed}
        rewards = predictions.mean(1)[None]  # as the mix begins
        total += ranking.weight * attributes(rewards, torch.tensor([[0, 1]]), **options).item()
    trainer.train()
    losses = [row["loss"] for row in read_log(tmp_path / "log.jsonl") if "loss" in row]
    assert losses[0] == pytest.approx(total / 8, abs=1e-5)


def test_the_preferences_do_not_change_what_a_row_predicts(base, tmp_path):
    """Only the errors do: with no attribute known, a step leaves the rows where they were."""
    chosen = Settings.build(
        data="d", control="none", base=str(base("bert")), loss="attributes", dtype="float32",
        max_length=64, max_steps=2, optim="sgd", learning_rate=1.0, weight_decay=0.0,
    )  # fmt: skip
    start = prepared(chosen, rated(4))
    model = RewardModel.load(base("bert"), dtype="float32", device="cpu", max_length=64)
    unrated = [Ranking(r.prompt, r.completions, r.ranks) for r in rated(4)]
    rows = encoded(unrated, model.encoding, "encoding", attributes=start.attributes)
    trainer = build_trainer(model, rows, None, chosen, tmp_path, checkpoints=False, start=start)
    before = head_of(trainer.model).weight.detach().clone()
    trainer.train()
    assert torch.equal(head_of(trainer.model).weight, before)
    assert not torch.equal(trainer.learnt["log_mix"], start.learnt["log_mix"])


def test_data_without_attributes_are_refused():
    chosen = Settings.build(data="d", loss="attributes")
    with pytest.raises(PlauditError, match=r"attributes learns from attributes, .* have none"):
        prepared(chosen, [Ranking("p", ["a", "b"], [0, 1])])
