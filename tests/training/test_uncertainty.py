"""The posterior of a head against closed forms, and second derivatives by all its weights."""

import functools

import numpy as np
import pytest
import torch

import tiny
from plaudit import RewardModel, evaluate, train
from plaudit.data.rankings import Ranking
from plaudit.errors import PlauditError
from plaudit.model.batches import per_ranking
from plaudit.model.classifier import head_of
from plaudit.settings import Settings
from plaudit.training.objectives import OBJECTIVES
from plaudit.training.objectives.bradley_terry import bradley_terry
from plaudit.training.parts import encoded
from plaudit.training.posteriors import POSTERIORS, Curvature, leading
from plaudit.training.uncertainty import _curvature, check_uncertainty, fit_uncertainty

RANKINGS = [
    Ranking(
        f"What is {n}?", ["fox " * (1 + n % 3), "dog", "a dog " * (1 + n % 2)], [0, 1, 1 + n % 2]
    )
    for n in range(9)
] + [Ranking("Why?", ["so", "no"], [1, 0], weight=2.5)]


@pytest.fixture
def model(reward_model):
    return reward_model("bert", "mean")


def losses_of(loss):
    return lambda rewards, batch: loss(rewards, batch["ranks"]) * batch["weight"]


def features(model, rows):
    shown = model.with_features(list(rows))
    return torch.cat([torch.stack(each) for each in shown])[:, 1:].double()


def test_one_weight_and_one_pair_have_a_closed_form():
    """Δφ = 2, p = σ(1.2): precision λ + p (1 − p) · 4."""
    p = 1 / (1 + np.exp(-1.2))
    information = torch.tensor([[4 * p * (1 - p)]])
    gradient = -2 * (1 - p)
    curvature = Curvature(information, torch.tensor([[gradient**2]]))
    for precision in (0.1, 3.0):
        found = POSTERIORS.get("laplace").fit(curvature)(precision)
        variance = found.isotropic + (found.scale * found.directions**2).sum().item()
        assert variance == pytest.approx(1 / (precision + 4 * p * (1 - p)))
        found = POSTERIORS.get("sandwich").fit(curvature)(precision)
        variance = found.isotropic + (found.scale * found.directions[:, 0] ** 2).sum().item()
        assert variance == pytest.approx((gradient / (precision + 4 * p * (1 - p))) ** 2)


@pytest.mark.parametrize("loss", ["bradley-terry", "plackett-luce"])
def test_the_curvature_is_that_of_the_objective_by_all_weights(model, loss):
    rows = encoded(RANKINGS, model.encoding, "encoding")
    objective = OBJECTIVES.get(loss).loss
    phi, weight = features(model, rows), head_of(model.model).weight[0].detach().double()
    sizes = [len(ranks) for ranks in rows["ranks"]]
    weights = torch.tensor(rows["weight"], dtype=torch.float64)

    def each(w):
        rewards = (phi @ w).split(sizes)
        return torch.stack(
            [
                weights[r] * objective(rewards[r][None], torch.tensor([rows["ranks"][r]]))[0]
                for r in range(len(sizes))
            ]
        )

    hessian = torch.autograd.functional.hessian(lambda w: each(w).sum(), weight)
    gradients = torch.autograd.functional.jacobian(each, weight)
    apart = gradients - gradients.mean(0)
    found, centre = _curvature(model, rows, losses_of(objective))
    scale = hessian.abs().max().item()
    assert found.information.numpy() == pytest.approx(hessian.numpy(), abs=1e-4 * scale)
    assert found.scatter.numpy() == pytest.approx((apart.T @ apart).numpy(), abs=1e-4 * scale)
    assert centre.numpy() == pytest.approx(phi.mean(0).numpy(), abs=1e-5)
    for name, expected in (
        ("laplace", torch.linalg.inv(hessian + 2 * torch.eye(32))),
        ("sandwich", None),
    ):
        if expected is None:
            bread = torch.linalg.inv(hessian + 2 * torch.eye(32))
            expected = bread @ apart.T @ apart @ bread
        made = POSTERIORS.get(name).fit(found)(2.0)
        dense = made.isotropic * torch.eye(32) + made.directions.T @ torch.diag(made.scale) @ (
            made.directions
        )
        bound = 1e-3 * expected.abs().max().item()
        assert dense.numpy() == pytest.approx(expected.numpy(), abs=bound)


def test_the_sandwich_is_how_refitted_heads_vary():
    """To first order, on least squares: 4,000 bootstraps, within about four standard errors."""
    rng = np.random.default_rng(0)
    x, ridge = rng.normal(size=(60, 3)), 2.0
    y = x @ [1.0, -1.0, 0.5] + rng.normal(size=60)
    best = np.linalg.solve(x.T @ x + ridge * np.eye(3), x.T @ y)
    gradients = x * (x @ best - y)[:, None]
    gradients -= gradients.mean(0)
    heads = []
    for _ in range(4000):
        some = rng.integers(60, size=60)
        pull = x[some].T @ (y[some] - x[some] @ best) - x.T @ (y - x @ best)
        heads.append(best + np.linalg.solve(x.T @ x + ridge * np.eye(3), pull))
    curvature = Curvature(torch.from_numpy(x.T @ x), torch.from_numpy(gradients.T @ gradients))
    found = POSTERIORS.get("sandwich").fit(curvature)(ridge)
    dense = (found.directions.T @ torch.diag(found.scale) @ found.directions).numpy()
    assert dense == pytest.approx(np.cov(np.array(heads).T), rel=0.1, abs=1.3e-3)


def test_what_is_left_out_of_a_wide_head_only_widens(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    rows = torch.randn(40, 12, generator=rng, dtype=torch.float64)
    curvature = Curvature(rows.T @ rows, torch.eye(12))
    exact = torch.linalg.inv(curvature.information + torch.eye(12))
    monkeypatch.setattr("plaudit.training.posteriors.MOST", 5)
    values, vectors = leading(curvature.information)
    assert values.tolist() == pytest.approx(
        torch.linalg.eigvalsh(curvature.information)[-5:].tolist()
    )
    found = POSTERIORS.get("laplace").fit(curvature)(1.0)
    assert vectors.shape == found.directions.shape == (5, 12)
    dense = torch.eye(12) + found.directions.T @ torch.diag(found.scale) @ found.directions
    assert torch.linalg.eigvalsh(dense - exact).min() > -1e-9


def test_rewards_are_less_certain_away_from_the_training_data(model):
    """Along what tells training completions apart, and across all of that."""
    rows = encoded(RANKINGS, model.encoding, "encoding")
    found, record = fit_uncertainty("laplace", model, rows, rows, losses_of(bradley_terry))
    phi = features(model, rows)
    seen = phi - phi.mean(0)
    _, _, basis = torch.linalg.svd(seen, full_matrices=True)
    seen_direction, unseen_direction = basis[0], basis[-1]
    near, off = found.variance(torch.stack([seen_direction, unseen_direction]))
    assert near < off
    assert off == pytest.approx(1 / record["prior_precision"], rel=1e-3)
    lengths = found.variance(torch.stack([seen_direction, 2 * seen_direction]))
    assert lengths[1] == pytest.approx(4 * lengths[0], rel=1e-6)


def test_the_prior_is_the_one_that_validation_finds_likeliest(model):
    """Preferences that the model has wrong ask for more uncertainty than those it has right."""
    rows = encoded(RANKINGS, model.encoding, "encoding")
    rewards = model.rewards(list(rows))
    loud = functools.partial(Ranking, weight=1.0)
    agree, differ = (
        encoded(
            [
                loud(r.prompt, r.completions, [int(k) for k in np.argsort(np.argsort(sign * x))])
                for r, x in zip(RANKINGS, map(np.array, rewards), strict=True)
            ],
            model.encoding,
            "encoding",
        )
        for sign in (-1, 1)
    )
    sure = fit_uncertainty("laplace", model, rows, agree, losses_of(bradley_terry))[1]
    unsure = fit_uncertainty("laplace", model, rows, differ, losses_of(bradley_terry))[1]
    assert sure["prior_precision"] > unsure["prior_precision"]
    assert unsure["validation_log_loss"] < unsure["validation_log_loss_without"]


@pytest.mark.parametrize(
    ("settings", "streaming", "validation", "message"),
    [
        ({"loss": "hinge"}, False, True, "with the hinge loss .* choose loss bradley-terry or"),
        ({"loss": "noisy-labels"}, False, True, "with the noisy-labels loss"),
        ({}, True, True, "streamed rankings are not read again"),
        ({}, False, False, "needs validation prompts to choose the prior by"),
    ],
)
def test_what_can_have_no_uncertainty_is_refused(settings, streaming, validation, message):
    chosen = Settings.build(data="d", uncertainty="laplace", **settings)
    with pytest.raises(PlauditError, match=f"uncertainty: laplace: .*{message}"):
        check_uncertainty(chosen, streaming, RANKINGS if validation else [])
    if not validation:
        tied = [Ranking("p", ["a", "b"], [0, 0])]
        with pytest.raises(PlauditError, match=message):
            check_uncertainty(chosen, streaming, tied)
    without = Settings.build(data="d", **settings)
    check_uncertainty(without, streaming, [])


def test_an_unknown_kind_is_refused():
    with pytest.raises(PlauditError, match="uncertainty"):
        Settings.build(data="d", uncertainty="dropout")


@pytest.mark.parametrize("kind", ["laplace", "sandwich"])
def test_a_run_leaves_a_model_that_knows_how_uncertain_it_is(base, tmp_path, kind):
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", 30)
    settings = tiny.head_alone(base, tmp_path, max_steps=10, stress=0, report=False)
    run = train(str(data), output=tmp_path / "run", uncertainty=kind, control="length", **settings)
    record = run.metrics["training"]["uncertainty"]
    assert record["kind"] == kind
    assert run.metrics["test"]["accuracy_where_certain"] is not None
    model = RewardModel.load(tmp_path / "run", dtype="float32", device="cpu")
    assert model.uncertainty.kind == kind
    again = evaluate(model, run.test.rankings, stress=0, resamples=1)
    for one, other in zip(again.covariances, run.test.covariances, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-6)


def test_per_ranking_features_follow_their_completions(model):
    """A row of one ranking's completions stands beside the reward of the same completion."""
    rows = encoded(RANKINGS, model.encoding, "encoding")
    found = [torch.stack(each)[:, 0] for each in model.with_features(list(rows))]
    for one, rewards in zip(found, model.rewards(list(rows)), strict=True):
        assert one.tolist() == pytest.approx(rewards, abs=1e-5)
    ranks = torch.tensor([[0, 1, 1]])
    assert per_ranking(found[0], ranks).tolist() == [found[0].tolist()]
