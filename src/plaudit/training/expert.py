"""The nuisance expert: what length and the like explain of the rankings, taken out of training.

During training the objective sees r(x, y) + s · e(y) in place of the reward r: a product of two
experts (Hinton 2002), of which e knows nothing of a completion but its nuisances. What e explains
leaves no residual, so r has no reason to learn it. Afterwards e is thrown away: saved models and
reported rewards have no trace of it. Sources, for known biases of classifiers: Clark, Yatskar and
Zettlemoyer 2019 (EMNLP); He, Zha and Wang 2019 (DeepLo).

e is a sum of one curve for each nuisance, straight between knots, since what people grant a longer
answer need not grow evenly with the logarithm of its length.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor, nn

from plaudit.data.rankings import PADDING
from plaudit.evaluation import items
from plaudit.evaluation.layout import Floats
from plaudit.results import Control as ControlRecord
from plaudit.settings import Settings
from plaudit.training.control import Control, Encoded, listed

PIECES = 4  # of a curve: the first knot is the least level, the others quantiles of those above it
# Standard deviation of the prior of a coefficient, in units of reward for a standard deviation of
# its column among pairs: so wide that it matters only where there are few pairs, or one rule for
# all.
PRIOR = 2.5


class Expert(Control):
    """A curve for each of F nuisances, `[R, K, F]` levels → `[R, K]` in units of reward.

    Attributes:
        knots: `[F, B]`, ascending; infinite where a curve has fewer.
        changes: `[F, B]`: of the first knot the slope, of the others by how much it changes there.
        learned: whether `changes` are learned along with the model.
        middle: what is subtracted from the curves, so that losses which look at rewards themselves
            are not shifted; the mean over the completions that it was fitted to.
        training_accuracy: `accuracy` on the rankings that it was fitted to, before training.

    >>> expert = Expert(["length"], [[0.0, 2.0]], [[1.0, -1.0]])
    >>> expert(torch.tensor([[[1.0], [5.0]]]))
    tensor([[1., 2.]])
    """

    def __init__(
        self,
        names: Sequence[str],
        knots: Sequence[Sequence[float]],
        changes: Sequence[Sequence[float]],
        *,
        weight: str | float = "fitted",
        strength: float = 1.0,
        anneal: float = 0.0,
        method: str = "expert",
    ) -> None:
        super().__init__(names, strength, anneal)
        self.method, self.weight, self.learned = method, weight, weight == "learned"
        self.training_accuracy = math.nan
        self.middle = 0.0
        width = max(map(len, knots))
        padded = [[*row, *[torch.inf] * (width - len(row))] for row in knots]
        self.knots: Tensor
        self.register_buffer("knots", torch.tensor(padded))
        rows = torch.tensor([[*row, *[0.0] * (width - len(row))] for row in changes])
        self.changes = nn.Parameter(rows, requires_grad=self.learned)

    def forward(self, levels: Tensor) -> Tensor:
        """What the nuisances alone make of completions."""
        beyond = levels.unsqueeze(-1) - self.knots
        # The first piece goes on below its knot.
        pieces = torch.cat([beyond[..., :1], beyond[..., 1:].relu()], dim=-1)
        return (pieces * self.changes).sum((-2, -1)) - self.middle

    def learnt(self) -> dict[str, nn.Parameter]:
        """See `Control`."""
        return {"control": self.changes} if self.learned else {}

    def offset(
        self, levels: Tensor, ranks: Tensor, done: float = 0.0, others: Tensor | None = None
    ) -> Tensor:
        """See `Control`; 0 for a padded completion."""
        return self.now(done) * torch.where(ranks != PADDING, self(levels), 0.0)

    def follow(self, changes: Sequence[Sequence[float]], training: Encoded) -> None:
        """Take these curves, on the knots there are, and measure them on training rankings."""
        for row, new in zip(self.changes.data, changes, strict=True):
            row[: len(new)] = torch.tensor(new)
        self.training_accuracy, self.middle = self.accuracy(training), 0.0
        self.middle = float(self.scores(training.levels).mean())

    def scores(self, levels: Any) -> Floats:
        """What it makes of completions, levels `[…, F]` → `[…]`."""
        with torch.no_grad():
            given = torch.as_tensor(levels, dtype=torch.float32, device=self.knots.device)
            scores: Floats = self(given).double().cpu().numpy()
            return scores

    def accuracy(self, rows: Encoded) -> float:
        """The share of pairs that it orders rightly, alone; equal values count half."""
        scores = self.scores(rows.levels)
        return float(items.pairwise_accuracy(rows.layout, scores).values.mean())

    def describe(self) -> str:
        """See `Control`."""
        weight = f", weight {self.weight:g}" if isinstance(self.weight, float) else ""
        weight = ", learned along" if self.learned else weight
        taken = "what this explains is" if self.strength else "nothing of what this explains is"
        by = "a curve of its tokens" if self.names == ["length"] else "curves of their amounts"
        return (
            f"control: {listed(self.names)} alone {'orders' if len(self.names) == 1 else 'order'} "
            f"{100 * self.training_accuracy:.1f} % of the training pairs, by {by}; {taken} taken "
            f"out of training (strength {self.strength:g}{weight})"
        )

    def record(self, validation: Encoded | None) -> ControlRecord:
        """See `Control`."""
        record = super().record(validation)
        slopes = self.changes.detach().cpu().cumsum(1)
        record["weight"] = self.weight
        record["curves"] = [
            {"nuisance": name, "knots": row[there].tolist(), "slopes": slope[there].tolist()}
            for name, row, slope in zip(self.names, self.knots.cpu(), slopes, strict=True)
            for there in [torch.isfinite(row)]
        ]
        record["training_accuracy"] = self.training_accuracy
        record["validation_accuracy"] = None if validation is None else self.accuracy(validation)
        return record


def make_expert(settings: Settings, training: Encoded) -> Expert:
    """The expert that the settings ask for, fitted to training rankings where it has a curve."""
    if isinstance(settings.control_weight, float):
        knots = [[0.0] for _ in settings.control]
        changes = [[settings.control_weight] for _ in settings.control]
    else:
        knots = [_knots(column) for column in training.levels.T]
        changes = _fit(training, knots)
    expert = Expert(
        settings.control,
        knots,
        changes,
        weight=settings.control_weight,
        strength=settings.control_strength,
        anneal=settings.control_anneal,
        method=settings.control_method,
    )
    expert.follow(changes, training)
    return expert


def _knots(levels: Floats) -> list[float]:
    low = levels.min()
    above = levels[levels > low]
    if not len(above):
        return [float(low)]
    inner = np.quantile(above, np.arange(1, PIECES) / PIECES)
    return [float(knot) for knot in np.unique([low, *inner]) if knot < above.max()]


def _fit(training: Encoded, knots: list[list[float]]) -> list[list[float]]:
    """The curves of the highest penalised likelihood, by Bradley–Terry over all ordered pairs.

    Σ_rankings weight · mean over pairs of −log σ(e_better − e_worse) + ½ Σ (c_j s_j / PRIOR)²,
    where s_j is the spread of column j among pairs; it is convex. Weights are taken to mean 1.
    """
    layout, basis = training.layout, pieces(training.levels, knots)
    differences: Floats = basis[layout.better] - basis[layout.worse]
    spread = np.sqrt((differences**2).mean(axis=0))
    spread[spread == 0] = 1.0
    differences /= spread
    mean_weight = training.weights.mean() or 1.0
    share = training.weights / mean_weight / np.bincount(layout.pair_ranking)
    share = share[layout.pair_ranking]

    def loss(c: Floats) -> tuple[float, Floats]:
        margin = differences @ c
        value = float(share @ np.logaddexp(0, -margin) + (c @ c) / (2 * PRIOR**2))
        return value, -(share * expit(-margin)) @ differences + c / PRIOR**2

    best = minimize(loss, np.zeros(basis.shape[1]), jac=True, method="L-BFGS-B",
                    options={"maxiter": 1000, "gtol": 1e-8, "ftol": 1e-14})  # fmt: skip
    return by_curve(best.x / spread, knots)


def pieces(levels: Floats, knots: Sequence[Sequence[float]]) -> Floats:
    """What the changes of all curves multiply: `[C, F]` levels → `[C, number of knots]`."""
    columns = []
    for of, places in enumerate(knots):
        beyond = levels[:, of, None] - np.array(places)
        columns += [beyond[:, :1], np.maximum(beyond[:, 1:], 0)]
    basis: Floats = np.concatenate(columns, axis=1)
    return basis


def by_curve(changes: Floats, knots: Sequence[Sequence[float]]) -> list[list[float]]:
    """The changes of all curves, a list for each."""
    ends = np.cumsum([len(places) for places in knots])[:-1]
    return [part.tolist() for part in np.split(changes, ends)]
