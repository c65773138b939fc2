"""Measures: how well rewards agree with ranks. Each is one module here, found by its name.

A module defines `MEASURE`, a `Measure` whose function takes the `Layout` of the rankings and the
`reward[C]` of all their completions in one row. It returns the `Items` that the measure is a mean
of, in two halves or in one, or, where it is no mean, a `Statistic`. A function that has a third
parameter `length[C]` is given the lengths in characters, one that has `variance[N]` the variance of
r_better − r_worse of every ordered pair, and is left out where the model has no uncertainty. The
module's name is the measure's name in `metrics.json`; tables, plots, comparisons, baselines and the
model card take all they need from `Measure`.

Whatever depends on order must take equal rewards as a coin toss would, so that constant rewards
get what a random order gets on average. Importing this package does not import torch.
"""

import inspect
import math
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from plaudit.errors import PlauditError
from plaudit.evaluation.abstention import variances
from plaudit.evaluation.items import Items, statistic
from plaudit.evaluation.layout import Floats, Layout, flatten, lay_out
from plaudit.evaluation.statistics import Figure, Statistic, resample
from plaudit.plugins import Registry

Group = Literal["pairs", "probabilities", "rankings"]
Place = Literal["headline", "report", "printed", "card"]
GROUPS: tuple[Group, ...] = ("pairs", "probabilities", "rankings")
# The least and the greatest value of each form; a measure may have narrower ones.
OF_FORM = {
    "share": (0.0, 1.0),
    "points": (-1.0, 1.0),
    "signed": (-math.inf, math.inf),
    "number": (-math.inf, math.inf),
}
LAST = 1000  # the position of a measure that names none


@dataclass(frozen=True)
class Measure:
    """A number that says how well rewards agree with ranks, and how people are shown it.

    Attributes:
        of: `(layout, reward[C])`, and `length[C]` or `variance[N]`, to `Items` or a `Statistic`.
        label: what it is called within a sentence.
        form: how it is written. A `share`, from 0 to 1, is written as per cent and, as a mean of
            items that are right or wrong, has the interval of one. `points` is a difference of
            shares. `signed` is written with its sign.
        lower_is_better: whether less of it is better.
        ends: the least and the greatest value that it can have; by default those of its form, of
            a number none.
        group: the table that it stands in. Those of `probabilities` take σ(r_a − r_b) for the
            probability that a is preferred to b, so they are not measured for a rule of length.
        compared: whether two models are compared by it, prompt by prompt, and baselines have it.
            It must return items, and the same rankings and halves whatever the rewards.
        reward_units: whether it is in the model's own unit of reward, so that no baseline's can
            stand beside it.
        position: its place in `metrics.json` and in comparisons, ascending.
        row: its place in the table of its group, ascending.
        hint: a few words in the report on how to read it.
        short: what the printed table calls it, where that is not its label.
        shown: where it is shown: in the `headline` of the report, in the `report`'s tables, in the
            `printed` table, on the model `card`.

    >>> from plaudit.evaluation.measures.brier import MEASURE
    >>> print(MEASURE([[0.0, 0.0]], [[0, 1]], resamples=0))
    0.250
    """

    of: Callable[..., Items | Statistic]
    label: str
    form: Literal["share", "points", "signed", "number"] = "number"
    lower_is_better: bool = False
    ends: tuple[float, float] | None = None
    group: Group = "pairs"
    compared: bool = False
    reward_units: bool = False
    position: int = LAST
    row: int = LAST
    hint: str = ""
    short: str | None = None
    shown: Collection[Place] = ("report", "printed")

    @property
    def title(self) -> str:
        """The label as a line begins with it; what it has in capitals stays so.

        >>> MEASURES.get("auc").title, MEASURES.get("log_loss").title
        ('AUC', 'Log loss')
        """
        return self.label[:1].upper() + self.label[1:]

    def within(self, low: float, high: float) -> tuple[float, float]:
        """An interval that knows no bounds, as Student's t gives it, cut where values end.

        >>> MEASURES.get("pairwise_accuracy").within(0.6, 1.2)
        (0.6, 1.0)
        """
        least, greatest = self.ends or OF_FORM[self.form]
        return max(low, least), min(high, greatest)

    def difference_within(self, low: float, high: float) -> tuple[float, float]:
        """The same of the difference of two values."""
        least, greatest = self.ends or OF_FORM[self.form]
        reach = greatest - least
        return max(low, -reach), min(high, reach)

    @property
    def takes_length(self) -> bool:
        """Whether it is measured on lengths too."""
        return "length" in inspect.signature(self.of).parameters

    @property
    def takes_variance(self) -> bool:
        """Whether it is measured on the variances of differences too."""
        return "variance" in inspect.signature(self.of).parameters

    def measure(
        self,
        layout: Layout,
        reward: Floats,
        length: Floats | None,
        variance: Floats | None = None,
    ) -> Items | Statistic:
        """What `of` returns for these rewards, checked; what it does not take may be None.

        Raises `PlauditError` when an item is not a finite number.
        """
        more = [length] if self.takes_length else [variance] if self.takes_variance else []
        result = self.of(layout, reward, *more)
        if isinstance(result, Items) and not np.isfinite(result.values).all():
            raise PlauditError(
                f"measure {self.label}: is not a finite number on these rewards; uninstall the "
                "package that adds it, or tell its authors"
            )
        return result

    def __call__(
        self,
        rewards: Sequence[ArrayLike],
        ranks: Sequence[ArrayLike],
        *,
        lengths: Sequence[ArrayLike] | None = None,
        covariances: Sequence[ArrayLike] | None = None,
        prompts: Sequence[Hashable] | None = None,
        resamples: int = 1000,
        seed: int = 0,
    ) -> Figure:
        """The measure of these rewards, with its 95 % interval by bootstrap over prompts.

        Args:
            rewards: one array [K_i] per ranking.
            ranks: likewise; lower is better, equal ranks are ties.
            lengths: likewise, in characters; only for a measure that takes them.
            covariances: of each ranking's rewards, [K_i, K_i]; only for a measure that takes them.
            prompts: the prompt of each ranking; by default each is a prompt of its own.
            resamples: of the bootstrap; 0 for no interval.
            seed: of the bootstrap.

        Raises:
            PlauditError: when a reward is not finite, no two completions differ in rank, or the
                rankings have nothing that is measured here.
        """
        if self.takes_length and lengths is None:
            raise ValueError(f"{self.label}: is measured on lengths, too; give `lengths`")
        if self.takes_variance and covariances is None:
            raise ValueError(f"{self.label}: is measured on uncertain rewards; give `covariances`")
        layout = lay_out(ranks, prompts)
        variance = None if covariances is None else variances(layout, covariances)
        length = None if lengths is None else flatten(lengths, layout, "length")
        result = self.measure(layout, flatten(rewards, layout, "reward"), length, variance)
        if isinstance(result, Items):
            result = statistic(layout, result, share=self.form == "share")
            if math.isnan(result.values[0]):
                raise PlauditError(
                    f"nothing to measure: {self.label} is defined for none of these rankings; give "
                    "data of the kind that it measures"
                )
        return resample([result], len(layout.asked), resamples=resamples, seed=seed)[0][0]


MEASURES = Registry("measure", __name__, "MEASURE", Measure, word_break="_")


def measures() -> dict[str, Measure]:
    """All measures by name, in the order of `metrics.json`.

    >>> list(measures())[:2]
    ['pairwise_accuracy', 'accuracy_where_shorter']
    """
    every = dict(MEASURES.each())
    return dict(sorted(every.items(), key=lambda item: (item[1].position, item[0])))


def shown_in(place: Place) -> dict[str, Measure]:
    """The measures that are shown there, by name, in the order of its rows: group by group."""
    every = {name: measure for name, measure in measures().items() if place in measure.shown}
    return dict(sorted(every.items(), key=lambda item: (GROUPS.index(item[1].group), item[1].row)))


def measure_named(name: str) -> Measure:
    """The measure of that name; where it is not installed, as for old results, one by name only.

    >>> measure_named("top1_accuracy").label, measure_named("their_own").label
    ('top-1 accuracy', 'their own')
    """
    if name in MEASURES:
        return MEASURES.get(name)

    def not_installed(layout: Layout, reward: Floats) -> Items:
        raise PlauditError(f"there is no measure {name}; install the package that adds it")

    return Measure(not_installed, name.replace("_", " "))


def label(name: str) -> str:
    """What a measure is called within a sentence.

    >>> label("top1_accuracy"), label("kendall_tau_b")
    ('top-1 accuracy', "Kendall's τ-b")
    """
    return measure_named(name).label
