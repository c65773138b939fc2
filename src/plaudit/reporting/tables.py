"""What every report says of rewards on rankings: its figures, in sections of tables and plots.

A summary is what `summarise` returns and must be whole: a missing key is an error, a None is what
the data at hand leave undefined.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from plaudit.console import counted
from plaudit.evaluation import rewrites
from plaudit.evaluation.comparison import p_text
from plaudit.evaluation.measures import Group, measure_named, shown_in
from plaudit.evaluation.statistics import FigureRecord
from plaudit.evaluation.stress import StressRecord
from plaudit.evaluation.summary import PartRecord, Summary, figure, figures, not_trained_on
from plaudit.reporting.page import Highlight, Row, Section, Table, signed

MANY_ROWS = 24  # more than this stand on their own, over the whole width
UNDEFINED = "–"
NBSP = "\N{NO-BREAK SPACE}"  # a number and its unit stay on one line
INTERVAL = f"95{NBSP}% interval"


def highlights(summary: Summary) -> tuple[Highlight, ...]:
    """The few numbers at the top: those that verdicts are of without what was trained on."""
    fair = not_trained_on(summary) or summary
    counts = summary["counts"]
    pairs_only = counts["completions"] == 2 * counts["rankings"]
    numbers = []
    for name, measure in shown_in("headline").items():
        record, form = figures(fair).get(name), form_of(name)
        if pairs_only and measure.group == "rankings":
            continue  # of two completions, rankings would say the same again
        if record is not None:
            value = form(record["value"]) + (" points" if measure.form == "points" else "")
            only = ", of rankings not trained on" if record != figures(summary).get(name) else ""
            numbers.append(Highlight(measure.title, value, interval(record, form) + only))
    stress = summary.get("stress")
    if stress and (score := stress["score"]):
        numbers.append(Highlight("Stress score", plain(score["value"]), interval(score, plain)))
    return tuple(numbers)


def measured(summary: Summary, notes: Sequence[str] = ()) -> tuple[Section, ...]:
    """Whether the model is right, sure, leaning on something, and where: a section each.

    `notes` are sentences under the first heading.
    """
    by_source: Mapping[str, PartRecord] = summary.get("by_source", {})
    parts = [
        ("By source", "source", by_source),
        ("By category", "category", summary["by_category"]),
        ("By distance in rank", "ranks apart", summary["by_rank_distance"]),
        ("By difference in length", "difference", summary["by_length_difference"]),
    ]
    kinds = [_parts(title, what, entries) for title, what, entries in parts if entries]
    sections = [
        Section(
            "Is it right?",
            tuple(notes),
            (
                _measure_table("Pairs", "pairs", summary),
                _measure_table("Rankings", "rankings", summary),
                _baseline_table(summary),
            ),
        ),
        Section(
            "Does it know how sure to be?",
            (
                "The difference of two rewards says how probable it is that one completion is "
                "preferred to the other: σ(difference).",
            ),
            (_measure_table("Probabilities", "probabilities", summary),),
        ),
        Section(
            "What does it lean on?",
            (
                "Rewards that follow length or formatting raise them, too, once a policy is "
                "trained on them.",
            ),
            tuple(_style_tables(summary)),
        ),
    ]
    if record := summary.get("stress"):
        sections.insert(1, _stress(record))
    if kinds:
        sections.append(Section("Where is it right?", (), tuple(kinds)))
    return tuple(sections)


def _measure_table(caption: str, group: Group, summary: Summary) -> Table:
    rows = [
        _row(measure.title, figures(summary)[name], form_of(name), measure.hint)
        for name, measure in shown_in("report").items()
        # A measure that was added later is not in an old summary.
        if measure.group == group and name in summary
    ]
    return Table(caption, ("", "value", INTERVAL), tuple(rows))


def _baseline_table(summary: Summary) -> Table:
    rows = []
    for name, entry in summary["baselines"].items():
        accuracy, above = figure(entry, "pairwise_accuracy"), figure(entry, "above")
        cells = percent(accuracy.value), points(above.value), interval(above.as_dict(), points)
        rows.append(Row(name, cells))
    columns = ("", "accuracy", "model above it, points", INTERVAL)
    return Table("Against baselines", columns, tuple(rows))


def _style_tables(summary: Summary) -> Iterable[Table]:
    columns = ("", "value", INTERVAL)
    for name, entry in summary["style"].items():
        if entry is None:
            continue
        more = {"length": "is longer", "lists": "has more list items",
                "markdown": "has more markdown"}.get(name, f"has more {name}")  # fmt: skip
        rows = [
            _row("Rank correlation with reward", entry["correlation"], _signed, "within a ranking"),
            _row(
                "Rank correlation in the data",
                entry["correlation_in_data"],
                _signed,
                "what a perfect model would show",
            ),
            _row("Accuracy where chosen " + more, entry["accuracy_where_more"], percent),
            _row("Accuracy where rejected " + more, entry["accuracy_where_less"], percent),
            _row(
                "Mean of these two",
                entry["controlled_accuracy"],
                percent,
                f"{words(name)} controlled: a rule of it alone gets 50{NBSP}%",
            ),
            _row("Always preferring more of it", entry["baseline"], percent, "the baseline"),
        ]
        pairs = counted(entry["pairs_that_differ"], "pair")
        yield Table(f"{words(name).capitalize()}: {pairs} differ", columns, tuple(rows))
    white = summary["whitespace"]
    if white is not None and not summary.get("stress"):  # of an earlier version
        change = Row(
            "Mean change of a reward",
            (UNDEFINED if white["mean_change"] is None else f"{white['mean_change']:.3f}", ""),
            "in standard deviations of the rewards",
        )
        keep = _row("Pairs that keep their order", white["agreement"], percent)
        title = f"With other whitespace: {counted(white['completions'], 'completion')}"
        yield Table(title, columns, (keep, change))


def _stress(record: StressRecord) -> Section:
    """What rewriting answers does to their rewards, and the score."""
    rows = [
        Row(
            rewrites.label(name),
            (
                *(
                    UNDEFINED if figure is None else form(figure["value"])
                    for figure, form in (
                        (entry["moved"], plain),
                        (entry["flipped"], percent),
                        (entry["preferred"], percent),
                    )
                ),
                *(
                    "" if figure is None else interval(figure, percent)
                    for figure in (entry["preferred"] or entry["flipped"],)
                ),
                f"{entry['completions']:,}",
            ),
        )
        for name, entry in record["rewrites"].items()
    ]
    columns = ("", "reward moves by", "order flips", "preferred", INTERVAL, "answers")
    score = "" if record["score"] is None else f": stress score {record['score']['value']:.2f}"
    caption = f"{counted(record['rankings'], 'ranking')} scored again{score}"
    return Section(
        "Does it hold when answers are rewritten?",
        (
            "Rewards move by so many standard deviations within rankings. The first rewrites mean "
            "the same, so no order should flip; the others spoil the answer, so the original "
            "should be preferred to them. The interval is of the last share in its row; the score "
            "is the mean over rewrites of what should be kept, 1 at best.",
        ),
        (Table(caption, columns, tuple(rows), wide=True),),
    )


def _parts(title: str, what: str, entries: Mapping[str, PartRecord]) -> Table:
    of_source = {"length_controlled_accuracy": percent, "log_loss": plain}
    more = of_source if what == "source" else {}
    rows = []
    for name, entry in entries.items():
        others = [(figures(entry).get(key), form) for key, form in more.items()]
        cells = (
            percent(entry["pairwise_accuracy"]["value"]),
            interval(entry["pairwise_accuracy"], percent),
            percent(entry["length_baseline"]["value"]),
            *(UNDEFINED if other is None else form(other["value"]) for other, form in others),
            *(_from_all(entry) if what == "category" else ()),
            f"{entry['pairs']:,}",
        )
        rows.append(Row(name, cells))
    apart = ("from all", "p (Holm)") if what == "category" else ()
    columns = (what, "accuracy", INTERVAL, "longer", *map(words, more), *apart, "pairs")
    return Table(title, columns, tuple(rows), wide=len(rows) > MANY_ROWS)


def _from_all(entry: PartRecord) -> tuple[str, str]:
    """How far a category is from all pairs, and how sure that is; earlier versions did not say."""
    difference, p = figures(entry).get("difference"), entry.get("p_holm")
    return (
        UNDEFINED if difference is None else points(difference["value"]),
        UNDEFINED if not isinstance(p, float) else f"{p:.3f}",
    )


# ---- forms ----


def differences(caption: str, names: Sequence[str], metrics: Mapping[str, Any]) -> Table:
    """Two models or ways of training side by side.

    `metrics` holds for each its values "first" and "second" (numbers or figures), the figure of
    their "difference", "p" and "p_holm", which is None for the main metric.
    """
    rows = []
    for metric, entry in metrics.items():
        values = [
            each["value"] if isinstance(each, Mapping) else each
            for each in (entry["first"], entry["second"])
        ]
        form = points if measure_named(metric).form == "share" else _signed
        p = entry["p"] if entry["p_holm"] is None else entry["p_holm"]
        cells = (
            *map(form_of(metric), values),
            form(entry["difference"]["value"]),
            interval(entry["difference"], form),
            p_text(p),
        )
        rows.append(Row(name_of(metric), cells, "the main one" if entry["p_holm"] is None else ""))
    columns = ("metric", *names, "difference", INTERVAL, "p, adjusted")
    return Table(caption, columns, tuple(rows), wide=True)


def name_of(metric: str) -> str:
    """What a metric is called at the beginning of a line."""
    return measure_named(metric).title


def words(name: str) -> str:
    """A name as words."""
    return name.replace("_", " ")


def form_of(metric: str) -> Any:
    """How a value of the metric is written: a function from a number to text."""
    forms = {"share": percent, "points": points, "signed": _signed, "number": plain}
    return forms[measure_named(metric).form]


def in_print(sentence: str) -> str:
    """A sentence of the terminal as a page has it: a minus sign, and no line that ends in a number.

    >>> in_print("by -3.7 points, 5 %")
    'by −3.7 points, 5\\xa0%'
    """
    return re.sub(r"(?<![\w-])-(?=\d)", "−", sentence).replace(" %", f"{NBSP}%")


def percent(value: float) -> str:
    """A share with one decimal.

    >>> percent(0.5)
    '50.0\\xa0%'
    """
    return f"{100 * value:.1f}{NBSP}%"


def points(value: float) -> str:
    """A difference of two shares in points of per cent.

    >>> points(-0.115)
    '−11.5'
    """
    return signed(100 * value, ".1f")


def plain(value: float) -> str:
    """A number to three places, as print has it."""
    return f"{value:.3f}".replace("-", "−")


def _signed(value: float) -> str:
    return signed(value, ".3f")


def spread(metric: str, value: float | None) -> str:
    """A standard deviation of the metric."""
    if value is None:
        return UNDEFINED
    form = form_of(metric)
    return f"{100 * value:.1f} points" if form in (percent, points) else f"{value:.3f}"


def interval(record: Mapping[str, Any], form: Any) -> str:
    """`low to high`, the unit once; nothing where there is no interval."""
    if record["low"] is None or record["high"] is None:
        return ""
    return f"{form(record['low']).removesuffix(NBSP + '%')} to {form(record['high'])}"


def _row(label: str, record: FigureRecord | None, form: Any, hint: str = "") -> Row:
    if record is None:
        return Row(label, (UNDEFINED, ""), hint)
    return Row(label, (form(record["value"]), interval(record, form)), hint)


def setting(value: Any) -> str:
    """The value of a setting."""
    if value is None:
        return UNDEFINED
    return f"{value:.4g}" if isinstance(value, float) else str(value)
