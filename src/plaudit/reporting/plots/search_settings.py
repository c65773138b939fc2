"""Which settings of a search had to do with what its trials reached."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from scipy.stats import rankdata

from plaudit.console import counted
from plaudit.evaluation.measures import label, measure_named
from plaudit.reporting.drawing import Data, Drawing, Theme, share_ticks, shortened
from plaudit.reporting.plots import Plot

MOST_SETTINGS = 3


def search_settings(trials: Sequence[Mapping[str, Any]], metric: str) -> Drawing | None:
    """What completed trials reached over each setting that varied; None where none did.

    At most three settings are drawn: those whose order agrees most with that of the values, by
    Spearman's rank correlation for numbers, by the spread between the best and worst mean for
    names. Numbers that span a factor of more than 20 are on a logarithmic scale.
    """
    done = [t for t in trials if t["state"] == "complete" and t["value"] is not None]
    names = {name: None for trial in done for name in trial["settings"]}
    varied = {}
    for name in names:
        rows = [(t["settings"][name], t["value"]) for t in done if name in t["settings"]]
        if len({repr(setting) for setting, _ in rows}) > 1:
            varied[name] = rows
    if not varied:
        return None
    strongest = sorted(varied, key=lambda name: -_strength(varied[name]))[:MOST_SETTINGS]
    heading = f"{measure_named(metric).title} over {counted(len(varied), 'setting')} that varied"
    detail = f"{counted(len(done), 'completed trial')}; the setting most related to it first"
    if len(strongest) < len(varied):
        detail += f"; {len(strongest)} are drawn"

    def draw(columns: Sequence[Axes], theme: Theme) -> None:
        for place, (axes, name) in enumerate(zip(columns, strongest, strict=True)):
            given = [setting for setting, _ in varied[name]]
            values = [value for _, value in varied[name]]
            if _all_numbers(given):
                axes.scatter(given, values, s=22, color=theme.blue, alpha=0.7, linewidths=0)
                if min(given) > 0 and max(given) > 20 * min(given):
                    axes.set_xscale("log")
                    axes.xaxis.set_major_locator(LogLocator(numticks=3))
                    axes.xaxis.set_minor_locator(NullLocator())
                    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                else:
                    whole = all(isinstance(setting, int) for setting in given)
                    axes.xaxis.set_major_locator(MaxNLocator(3, integer=whole, min_n_ticks=2))
            else:
                kinds = sorted({str(setting) for setting in given})
                at = [kinds.index(str(setting)) for setting in given]
                axes.scatter(at, values, s=22, color=theme.blue, alpha=0.7, linewidths=0)
                axes.set_xticks(range(len(kinds)), kinds, rotation=30, ha="right")
                axes.set_xlim(-0.5, len(kinds) - 0.5)
            axes.set_title(shortened(name.replace("_", " "), 12, lines=3), fontsize=10)
            axes.tick_params(labelsize=8)
            share_ticks(axes, metric)
            if place:
                axes.sharey(columns[0])
                axes.tick_params(labelleft=False)
        columns[0].set_ylabel(label(metric))

    data = Data(
        ("setting", "is", metric),
        [(name, str(given), value) for name, rows in varied.items() for given, value in rows],
    )
    return Drawing(heading, detail, draw, 3.4, columns=len(strongest), data=data)


def _strength(rows: Sequence[tuple[Any, float]]) -> float:
    """How much a setting has to do with the value, between 0 and 1."""
    settings, values = [setting for setting, _ in rows], [value for _, value in rows]
    ranks = rankdata(values)
    if np.ptp(ranks) == 0:
        return 0.0
    if _all_numbers(settings):
        return abs(float(np.corrcoef(rankdata(settings), ranks)[0, 1]))
    groups = np.array([str(setting) for setting in settings])
    # The share of the ranks' variance between the groups, as a correlation: its square root.
    means = np.array([ranks[groups == group].mean() for group in groups])
    return float(np.std(means) / np.std(ranks))


def _all_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


PLOT = Plot(
    "search",
    lambda search: search_settings(search["trials"], search["metric"]),
    section="The search",
    position=20,
)
