"""How uncertain a head is: what the reward is linear in, the covariance that follows, the file."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm
from transformers import AutoModelForSequenceClassification

from plaudit.errors import PlauditError
from plaudit.model.classifier import head_of
from plaudit.model.export import export
from plaudit.model.normalisation import Normalisation
from plaudit.model.posterior import Posterior, moderated
from plaudit.model.reward_model import RewardModel
from plaudit.model.uncertainty import FILE, HeadUncertainty
from plaudit.reporting.evaluation import evaluate
from plaudit.scoring.score import score_file
from plaudit.settings import Settings
from plaudit.training.setup import load_base

PROMPT, TEXTS = "What is two plus two?", ["four", "Two plus two is four.", "no", "fox fox"]


def some_uncertainty(width, seed=0):
    rng = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(width, 3, generator=rng)).Q.T
    scale = torch.tensor([-0.5, -0.9, 2.0])
    centre = torch.randn(width, generator=rng)
    return HeadUncertainty("laplace", 1.0, 1.0, scale, directions, centre)


def dense(uncertainty):
    """The covariance as a matrix."""
    identity = np.eye(len(uncertainty.centre))
    u = uncertainty.directions.double().numpy()
    return uncertainty.isotropic * identity + u.T @ np.diag(uncertainty.scale.numpy()) @ u


@pytest.fixture
def folder(reward_model, tmp_path):
    """A model folder with an uncertainty beside the weights."""
    model = reward_model("bert")
    model.save(tmp_path / "plain")
    model = load(tmp_path / "plain")
    model.uncertainty = some_uncertainty(head_of(model.model).in_features)
    model.save(tmp_path / "model")
    return tmp_path / "model"


def load(folder, **options):
    return RewardModel.load(folder, dtype="float32", device="cpu", **options)


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        *(("bert", "cls"), ("bert", "mean"), ("bert", "layers"), ("roberta", "cls")),
        *(("modernbert", "cls"), ("deberta-v2", "cls"), ("qwen2", "last"), ("gpt2", "mean")),
    ],
)
def test_the_reward_is_linear_in_what_is_shown(reward_model, name, pooling):
    """On heads of one layer and of several, pooled before and after, flat and padded."""
    model = reward_model(name, pooling)
    head = head_of(model.model)
    rows = model.encode([(PROMPT, TEXTS), ("Hi", ["fox"])])
    shown = [torch.stack(each) for each in model.with_features(rows)]
    for rewards, each in zip(model.rewards(rows), shown, strict=True):
        assert each.shape == (len(rewards), 1 + head.in_features)
        assert each[:, 0].tolist() == pytest.approx(rewards, abs=1e-5)
        by_hand = each[:, 1:] @ head.weight[0] + (0.0 if head.bias is None else head.bias)
        assert by_hand.tolist() == pytest.approx(rewards, abs=1e-4)
    assert model.rewards(rows)[1] == pytest.approx(model.rewards(rows[1:])[0], abs=1e-5)


def test_covariances_are_those_of_the_weights(folder):
    model = load(folder)
    found = model.posterior(PROMPT, TEXTS)
    [rows] = model.with_features(model.encode([(PROMPT, TEXTS)]))
    phi = torch.stack(rows)[:, 1:].double().numpy() - model.uncertainty.centre.numpy()
    expected = phi @ dense(model.uncertainty) @ phi.T
    assert found.covariance == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert found.deviations == pytest.approx(np.sqrt(np.diagonal(expected)), rel=1e-4)
    assert found.rewards.tolist() == pytest.approx(model.score(PROMPT, TEXTS), abs=1e-5)
    gap = phi[0] - phi[2]
    variance = gap @ dense(model.uncertainty) @ gap
    margin = found.rewards[0] - found.rewards[2]
    odds = margin / np.sqrt(1 + np.pi * variance / 8)
    assert found.probability(0, 2) == pytest.approx(expit(odds), abs=1e-5)
    assert found.probability(0, 2) + found.probability(2, 0) == pytest.approx(1)
    assert found.probability(1, 1) == 0.5


@pytest.mark.parametrize("deviation", [0.1, 1.0, 3.0])
def test_the_probability_is_about_the_mean_over_what_the_difference_may_be(deviation):
    both = Posterior(np.array([1.5, 0.0]), np.diag([deviation**2, 0.0]))
    exact = quad(lambda x: expit(x) * norm.pdf(x, 1.5, deviation), -40, 40)[0]
    assert both.probability(0, 1) == pytest.approx(exact, abs=0.02)
    assert moderated(1.5, 0.0) == 1.5


def test_normalised_rewards_have_deviations_in_their_own_unit_and_the_same_probability(folder):
    model = load(folder)
    raw = model.posterior(PROMPT, TEXTS)
    model.normalisation = Normalisation(0.5, 4.0, 10, ["a"])
    normal = model.posterior(PROMPT, TEXTS)
    assert normal.deviations == pytest.approx(raw.deviations / 4)
    assert normal.rewards == pytest.approx((raw.rewards - 0.5) / 4)
    assert normal.probability(0, 1) == pytest.approx(raw.probability(0, 1))


def test_what_is_saved_is_what_is_loaded(folder, tmp_path):
    model, expected = load(folder), some_uncertainty(32)
    for name in ("scale", "directions", "centre"):
        assert torch.equal(getattr(model.uncertainty, name), getattr(expected, name))
    assert model.uncertainty.digest() == expected.digest()
    assert (model.uncertainty.kind, model.uncertainty.prior_precision) == ("laplace", 1.0)
    export(model, tmp_path / "model.pt", "pt")
    again = load(tmp_path / "model.pt")
    assert again.uncertainty.digest() == expected.digest()
    assert again.posterior(PROMPT, TEXTS).covariance == pytest.approx(
        model.posterior(PROMPT, TEXTS).covariance
    )


def test_without_the_file_the_model_is_what_it_was(folder, tmp_path):
    plain, names = tmp_path / "plain", {path.name for path in folder.iterdir()}
    assert names == {path.name for path in plain.iterdir()} | {FILE}
    for name in ("model.safetensors", "config.json"):  # weights and settings know nothing of it
        assert (folder / name).read_bytes() == (plain / name).read_bytes()
    saved = AutoModelForSequenceClassification.from_pretrained(folder)
    assert torch.equal(saved.classifier.weight, head_of(load(folder).model).weight)
    model = load(plain)
    assert model.uncertainty is None
    assert not model.uncertain
    assert "uncertainty" not in model.identity()
    assert "uncertainty" in load(folder).identity()
    for ask in (lambda: model.posterior(PROMPT, TEXTS), lambda: model.posteriors([])):
        with pytest.raises(PlauditError, match="no uncertainty: train one with --uncertainty"):
            ask()
    pair = RewardModel.load([folder, folder], dtype="float32", device="cpu")
    with pytest.raises(PlauditError, match="an ensemble has none"):
        pair.posterior(PROMPT, TEXTS)


def test_texts_come_by_the_same_door_as_those_to_score(folder):
    model = load(folder)
    one = model.posterior(PROMPT, TEXTS[0])
    assert one.rewards.tolist() == pytest.approx([model.score(PROMPT, TEXTS[0])], abs=1e-5)
    with pytest.raises(PlauditError, match="score: "):
        model.posterior(PROMPT, [3])


def test_a_text_that_comes_back_has_the_same_posterior_to_the_last_bit(folder):
    model = load(folder)
    others = [(f"Number {n}?", ["yes " * (n % 5 + 1), "no"]) for n in range(200)]
    first, *_, last = model.posterior_all([(PROMPT, TEXTS), *others, (PROMPT, [*TEXTS, "other"])])
    assert last.rewards[:4].tolist() == first.rewards.tolist()
    assert last.deviations[:4] == pytest.approx(first.deviations, rel=1e-6)


def test_a_model_that_is_trained_further_has_none(folder):
    assert (
        load_base(Settings.build(data="d", base=str(folder), dtype="float32")).uncertainty is None
    )


def test_a_file_that_does_not_fit_is_named(folder):
    file = folder / FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    with pytest.raises(PlauditError, match=r"uncertainty\.plaudit: is damaged .*; delete it"):
        load(folder)
    file.write_bytes(whole)
    save_file(load_file(file), file, metadata={"version": "9"})
    with pytest.raises(PlauditError, match="has version 9 of the format and this plaudit reads 1"):
        load(folder)
    some_uncertainty(8).save(folder)
    with pytest.raises(PlauditError, match="another model, whose head has 8 weights and not 32"):
        load(folder)


def test_a_file_is_scored_with_deviations_where_they_are_asked_for(folder, tmp_path):
    model = load(folder)
    rows = [
        {"prompt": "2+2?", "completion": "four"},
        {"prompt": "2+2?", "chosen": "four", "rejected": "no"},
        {"prompt": "2+2?", "completions": ["four", "no"]},
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    score_file(model, data, tmp_path / "with.jsonl", deviations=True)
    score_file(model, data, tmp_path / "without.jsonl")
    with_, without = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("with.jsonl", "without.jsonl")
    )
    four, no = model.posterior("2+2?", ["four", "no"]).deviations.tolist()
    assert with_[0]["reward_std"] == pytest.approx(four, abs=1e-5)
    assert with_[1]["reward_chosen_std"] == pytest.approx(four, abs=1e-5)
    assert with_[1]["reward_rejected_std"] == pytest.approx(no, abs=1e-5)
    assert with_[2]["rewards_std"] == pytest.approx([four, no], abs=1e-5)
    for one, other in zip(with_, without, strict=True):
        assert one.keys() - other.keys() == {key for key in one if key.endswith("_std")}
        for key in other.keys() - {"prompt"}:
            same = (
                other[key] if isinstance(other[key], str) else pytest.approx(other[key], abs=1e-5)
            )
            assert one[key] == same or key == "completions"
    with pytest.raises(PlauditError, match="this model has no uncertainty"):
        score_file(load(tmp_path / "plain"), data, tmp_path / "no.jsonl", deviations=True)
    taken = tmp_path / "taken.jsonl"
    taken.write_text(json.dumps(rows[0] | {"reward_std": 1}) + "\n")
    with pytest.raises(PlauditError, match="has a column reward_std already"):
        score_file(model, taken, tmp_path / "no.jsonl", deviations=True)


def test_an_evaluation_takes_the_uncertainty_into_account(folder, tmp_path):
    from tiny import write_rankings

    data = write_rankings(tmp_path / "ranked.jsonl", 12)
    with_, without = evaluate(load(folder), data), evaluate(load(tmp_path / "plain"), data)
    for ranking, covariance in zip(with_.rankings, with_.covariances, strict=True):
        found = load(folder).posterior(ranking.prompt, ranking.completions)
        assert covariance == pytest.approx(found.covariance, rel=1e-3, abs=1e-4)
        break
    assert with_.summary["log_loss"]["value"] == pytest.approx(
        without.summary["log_loss"]["value"], abs=1e-5
    )
    more = with_.summary.keys() - without.summary.keys()
    assert more == {
        *("accuracy_where_certain", "uncertainty_gain", "log_loss_with_uncertainty"),
        *("calibration_error_with_uncertainty", "calibration_error_where_certain"),
    }
    assert all("reward_std" in row for row in with_.predictions())
    assert not any("reward_std" in row for row in without.predictions())
