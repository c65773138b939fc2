"""What abstaining from the pairs it is least sure of does for the model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from plaudit.console import counted
from plaudit.evaluation.abstention import KEPT, accuracy_by_share, variances
from plaudit.evaluation.layout import flatten, lay_out
from plaudit.evaluation.summary import figures
from plaudit.reporting.drawing import Data, Drawing, Theme, percent_tick
from plaudit.reporting.plots import Plot

if TYPE_CHECKING:
    from plaudit.reporting.evaluation import Evaluation

ABSTAINED = np.linspace(0, 0.9, 46)


def abstention(evaluation: "Evaluation") -> Drawing:
    """Accuracy over the share of pairs that are left aside, the least sure ones first.

    By the difference of rewards; where the model has an uncertainty, by that too; and at random,
    which changes nothing. The heading says which of the two is better only where the difference of
    their accuracies is beyond noise.
    """
    layout = lay_out(
        [ranking.ranks for ranking in evaluation.rankings],
        [ranking.key for ranking in evaluation.rankings],
    )
    reward = flatten(evaluation.rewards, layout, "reward")
    kept = [1 - share for share in ABSTAINED]
    by_difference = accuracy_by_share(layout, reward, None, kept)
    by_uncertainty = None
    if evaluation.covariances is not None:
        variance = variances(layout, evaluation.covariances)
        by_uncertainty = accuracy_by_share(layout, reward, variance, kept)
    at = int(np.abs(ABSTAINED - (1 - KEPT)).argmin())
    everything, some = 100 * by_difference[0], 100 * by_difference[at]
    heading = (
        f"Without the {100 * (1 - KEPT):.0f} % it is least sure of, {some:.1f} % are right and not "
        f"{everything:.1f} %"
    )
    detail, gain = "", figures(evaluation.summary).get("uncertainty_gain")
    if by_uncertainty is not None and gain is not None:
        low, high = gain["low"], gain["high"]
        if low is None or high is None or low <= 0 <= high:
            detail = "Its uncertainty chooses them no better than the difference of rewards. "
        else:
            better = "better" if gain["value"] > 0 else "worse"
            by = 100 * abs(gain["value"])
            detail = f"Its uncertainty chooses them {better}, by {by:.1f} points. "
    detail += f"{counted(len(layout.better), 'pair')} of {counted(len(layout.asked), 'prompt')}"

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        axes = columns[0]
        axes.axhline(by_difference[0], linestyle=":", color=theme.grey, label="at random")
        axes.plot(ABSTAINED, by_difference, color=theme.blue, label="by the difference of rewards")
        if by_uncertainty is not None:
            axes.plot(
                ABSTAINED, by_uncertainty, color=theme.vermillion, label="with the uncertainty"
            )
        axes.set(xlabel="share of the pairs left aside", ylabel="accuracy of the others")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(percent_tick))

    curves = {"by_difference": by_difference}
    if by_uncertainty is not None:
        curves["by_uncertainty"] = by_uncertainty
    data = Data(
        ("left_aside", *curves),
        np.column_stack([ABSTAINED, *curves.values()]).round(6).tolist(),
    )
    return Drawing(heading, detail, draw, 3.6, data=data)


PLOT = Plot(
    "evaluation",
    abstention,
    section="Does it know how sure to be?",
    file="abstention.png",
    position=35,
)
