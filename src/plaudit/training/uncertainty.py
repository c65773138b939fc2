"""How uncertain a trained head is, of what its training rankings say: no run of its own.

After training, one pass over the training rankings gives what the last linear layer sees of each
completion and how the objective curves there; everything below that layer is taken as it is. The
precision of the prior is what makes the validation pairs likeliest.
"""

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plaudit.console import progress
from plaudit.data.rankings import PADDING, Ranking
from plaudit.errors import PlauditError
from plaudit.evaluation.layout import Floats
from plaudit.model.batches import Batch, of_rankings, per_ranking
from plaudit.model.posterior import moderated
from plaudit.model.reward_model import RewardModel
from plaudit.model.uncertainty import HeadUncertainty
from plaudit.results import UncertaintyOfRun
from plaudit.settings import Settings
from plaudit.training.objectives import OBJECTIVES
from plaudit.training.posteriors import POSTERIORS, Curvature

MOST_RANKINGS = 20_000  # of the training data, evenly spaced; each then counts for several
MOST_PAIRS = 2_000  # of the validation rankings, evenly spaced
AT_ONCE = 64  # rankings
# Precisions of the prior that are tried, as shares of a bound on the largest eigenvalue.
SHARES = 10.0 ** np.arange(-6.0, 2.1, 0.5)

Losses = Callable[[Tensor, Batch], Tensor]  # rewards [R, K] and a batch, to [R]


def check_uncertainty(settings: Settings, streaming: bool, validation: Sequence[Ranking]) -> None:
    """Raise `PlauditError` where a run with these settings cannot end with an uncertainty."""
    if settings.uncertainty == "none":
        return
    why = ""
    if not OBJECTIVES.get(settings.loss).probability:
        fit = [name for name, objective in OBJECTIVES.each() if objective.probability]
        why = (
            f"with the {settings.loss} loss σ(r_a − r_b) is no probability; choose loss "
            f"{' or '.join(fit)}"
        )
    elif settings.control and settings.control_method == "odin":
        why = "the heads that odin takes length with are gone after training; choose another method"
    elif streaming:
        why = "streamed rankings are not read again after training; set streaming false"
    elif not any(len(set(ranking.ranks)) > 1 for ranking in validation):
        why = "needs validation prompts to choose the prior by, of which completions differ in rank"
    if why:
        raise PlauditError(f"uncertainty: {settings.uncertainty}: {why}, or uncertainty none")


def fit_uncertainty(
    kind: str, model: RewardModel, training: Any, validation: Any, losses: Losses
) -> tuple[HeadUncertainty, UncertaintyOfRun]:
    """How uncertain the head of a trained model is.

    Args:
        kind: one of `POSTERIORS`.
        model: without normalisation; what it scores from is in its layout.
        training: the encoded rankings that it was trained on, as a data set.
        validation: encoded rankings to choose the precision of the prior by.
        losses: the objective that it was trained with, of each ranking times its weight.

    Returns what to save with the model, and what `metrics.json` says of it.
    """
    step = -(-len(training) // MOST_RANKINGS)
    curvature, centre = _curvature(model, training.select(range(0, len(training), step)), losses)
    curvature = Curvature(*(step * matrix for matrix in curvature))
    covariance_for = POSTERIORS.get(kind).fit(curvature)
    margins, differences = _pairs(model, validation)

    def with_prior(precision: float) -> HeadUncertainty:
        found = covariance_for(precision)
        return HeadUncertainty(
            kind=kind,
            prior_precision=precision,
            isotropic=found.isotropic,
            scale=found.scale.float(),
            directions=found.directions.float(),
            centre=centre.float(),
        )

    def log_loss(variance: Floats | float) -> float:
        return float(np.logaddexp(0, -moderated(margins, variance)).mean())

    steepest = float(torch.linalg.matrix_norm(curvature.information.float(), 1)) or 1.0
    tried = [with_prior(float(share) * steepest) for share in SHARES]
    found = [log_loss(each.variance(differences)) for each in tried]
    best = int(np.argmin(found))
    return tried[best], {
        "kind": kind,
        "prior_precision": tried[best].prior_precision,
        "validation_log_loss": found[best],
        "validation_log_loss_without": log_loss(0.0),
    }


def _curvature(model: RewardModel, rows: Any, losses: Losses) -> tuple[Curvature, Tensor]:
    """The curvature of the objective about the trained weights, and the mean features `[D]`.

    The reward is linear in the weights. So their second derivatives are Φᵀ L'' Φ, with L'' those of
    a ranking's loss by its rewards `[K, K]`, and no approximation.
    """
    information = scatter = total = slope = torch.zeros(())
    completions = rankings = 0
    starts = range(0, len(rows), AT_ONCE)
    for start in progress(starts, "how uncertain the head is", total=len(starts)):
        encoded = list(rows.select(range(start, min(start + AT_ONCE, len(rows)))))
        shown = [torch.stack(each).double() for each in model.with_features(encoded)]
        batch = of_rankings(encoded, range(len(encoded)))
        batch = {k: v.to(model.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        rewards = per_ranking(
            torch.cat(shown)[:, 0].to(model.device, torch.float32), batch["ranks"]
        )
        first, second = _derivatives(losses, rewards, batch)
        present = batch["ranks"].cpu() != PADDING
        width = shown[0].shape[1] - 1
        phi = torch.zeros(*present.shape, width, dtype=torch.float64)
        phi[present] = torch.cat(shown)[:, 1:]
        bent = torch.einsum("rjk,rkd->rjd", second, phi).reshape(-1, width)
        pulls = torch.einsum("rk,rkd->rd", first, phi)
        information = information + phi.reshape(-1, width).T @ bent
        scatter, slope = scatter + pulls.T @ pulls, slope + pulls.sum(0)
        total = total + phi.sum((0, 1))
        completions += int(present.sum())
        rankings += len(encoded)
    scatter = scatter - torch.outer(slope, slope) / rankings
    return Curvature((information + information.T) / 2, scatter), total / completions


def _derivatives(losses: Losses, rewards: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of each ranking's loss by its own rewards `[R, K]`: the first `[R, K]`, the second
    `[R, K, K]`."""
    at = rewards.detach().clone().requires_grad_(True)
    (first,) = torch.autograd.grad(losses(at, batch).sum(), at, create_graph=True)
    second = [
        torch.autograd.grad(first[:, k].sum(), at, retain_graph=True)[0] for k in range(at.shape[1])
    ]
    return first.detach().double().cpu(), torch.stack(second, 1).double().cpu()


def _pairs(model: RewardModel, rows: Any) -> tuple[Floats, Tensor]:
    """The margins `[N]` of ordered pairs and the differences `[N, D]` of their features."""
    every = [
        (row, i, j)
        for row, ranks in enumerate(rows["ranks"])
        for i, j in permutations(range(len(ranks)), 2)
        if ranks[i] < ranks[j]
    ]
    chosen = every[:: -(-len(every) // MOST_PAIRS)]
    wanted = sorted({row for row, _, _ in chosen})
    shown: dict[int, Tensor] = {}
    for first in range(0, len(wanted), AT_ONCE):
        window = wanted[first : first + AT_ONCE]
        features = model.with_features([rows[row] for row in window])
        shown |= {row: torch.stack(each) for row, each in zip(window, features, strict=True)}
    found = torch.stack([shown[row][i] - shown[row][j] for row, i, j in chosen])
    margins: Floats = found[:, 0].double().numpy()
    return margins, found[:, 1:]
