"""Accuracy against accuracy where the better completion is shorter, by strength of control."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from plaudit.evaluation.measures import label
from plaudit.reporting.drawing import Drawing, Theme, errors, percent, share_ticks
from plaudit.reporting.plots import Plot

AGAINST = ("accuracy_where_shorter", "length_controlled_accuracy")


def frontier(summary: Mapping[str, Any]) -> Drawing | None:
    """What each strength reaches on the test prompts, with intervals, the chosen one marked.

    `summary` is `metrics.json` of `plaudit frontier`. None where no test pair has a shorter better
    completion, so that there is nothing to set accuracy against.
    """
    shown = [name for name in AGAINST if all(p["test"].get(name) for p in summary["points"])]
    if not shown:
        return None
    chosen = next(p for p in summary["points"] if p["strength"] == summary["chosen"])
    reached = f"{percent(chosen['test']['pairwise_accuracy']['value'])} of the pairs"
    if "accuracy_where_shorter" in shown:
        reached += (
            f", {percent(chosen['test']['accuracy_where_shorter']['value'])} where the better "
            "is shorter"
        )
    heading = f"Strength {summary['chosen']:g} orders {reached}"
    detail = "each point a run at the strength beside it, 95 % intervals; marked: the one chosen"

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        for axes, name in zip(columns, shown, strict=True):
            x = [point["test"]["pairwise_accuracy"]["value"] for point in summary["points"]]
            y = [point["test"][name]["value"] for point in summary["points"]]
            axes.plot(x, y, color=theme.grey, linewidth=1)
            for point in summary["points"]:
                across, up = point["test"]["pairwise_accuracy"], point["test"][name]
                taken = point is chosen
                axes.errorbar(
                    across["value"],
                    up["value"],
                    xerr=errors(across["value"], across["low"], across["high"]),
                    yerr=errors(up["value"], up["low"], up["high"]),
                    fmt="o",
                    color=theme.vermillion if taken else theme.blue,
                    elinewidth=1,
                    markersize=7 if taken else 5,
                )
                at = (across["value"], up["value"])
                axes.annotate(
                    f"{point['strength']:g}", at, xytext=(5, 5), textcoords="offset points"
                )
            axes.set(xlabel=label("pairwise_accuracy"), ylabel=label(name))
            share_ticks(axes, name)
            axes.xaxis.set_major_formatter(axes.yaxis.get_major_formatter())

    return Drawing(heading, detail, draw, 4.4, columns=len(shown))


PLOT = Plot("frontier", frontier, section="What does it cost?", file="frontier.png", position=10)
