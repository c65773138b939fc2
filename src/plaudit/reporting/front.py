"""What a report says first: for what the model may be used, and where it is weakest.

Each answer follows from a measured figure by the rule of its function, and the sentence has that
figure with its interval. Weaknesses come in the order of how far a share is for sure from what it
should be, which is the end of its interval nearer to that; where an interval reaches it, the
sentence says that it is not certain.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from scipy.special import ndtri

from plaudit.console import counted
from plaudit.evaluation import rewrites
from plaudit.evaluation.statistics import Figure, FigureRecord, Z
from plaudit.evaluation.summary import (
    COIN_TOSS,
    LENGTH_RULE,
    TOO_OFTEN,
    PartRecord,
    Summary,
    figure,
    figures,
    not_trained_on,
    seen_in_training,
)
from plaudit.reporting.page import Answer, Use, Verdict, Weakness
from plaudit.reporting.tables import NBSP, in_print, interval, percent, plain, points

COMPARABLE = 0.75  # AUC from which one threshold for all prompts is of use
CALIBRATED = 0.05  # calibration error up to which σ(difference) is taken at its word
MOST_WEAKNESSES = 3

RIGHT, HOLDS, SURE, LEANS, WHERE = (
    "Is it right?",
    "Does it hold when answers are rewritten?",
    "Does it know how sure to be?",
    "What does it lean on?",
    "Where is it right?",
)


def uses(summaries: Mapping[str, Summary]) -> tuple[Use, ...]:
    """For what each of these models may be used, a use at a time; {name: summary}.

    A use of which a summary has no figure, as of best-of-n where the data are pairs, is left out.
    """
    found = []
    for purpose, judge in PURPOSES.items():
        answers = {name: _judged(judge, summary) for name, summary in summaries.items()}
        told = {name: answer for name, answer in answers.items() if answer is not None}
        if told:
            found.append(Use(purpose, told))
    return tuple(found)


def _judged(judge: Callable[[Summary], Answer | None], summary: Summary) -> Answer | None:
    """An answer of rankings that the model was not trained on. Where a figure has not been
    measured on these alone, there is no plain yes, and the sentence says so."""
    also = in_print(seen_in_training(summary))
    if not also:
        return judge(summary)
    fair = not_trained_on(summary)
    if fair is None:
        return Answer("unknown", f"Nothing can be said of new prompts: {also}.")
    of_rest = fair is not summary and judge in OF_THE_REST
    answer = judge(fair if of_rest else summary)
    if answer is None:
        return None
    if of_rest:
        rest = summary["training_overlap"]["not_trained_on"]["rankings"]
        why = f"Of the {counted(rest, 'ranking')} that it was not trained on: "
        why += answer.why[0].lower() + answer.why[1:]
        return Answer(answer.verdict, why)
    return Answer(
        "care" if answer.verdict == "yes" else answer.verdict,
        f"{answer.why} That is not of new prompts alone: {also}.",
    )


def _better_of_two(summary: Summary) -> Answer:
    """Yes where it is surely above length; no where it is neither above it nor right without it."""
    accuracy, above = figure(summary, "pairwise_accuracy"), figure(summary, "accuracy_above_length")
    if accuracy.low is None or accuracy.high is None or above.low is None or above.high is None:
        prompts = counted(summary["counts"]["prompts"], "prompt")
        return Answer(
            "unknown",
            f"{percent(accuracy.value)} of the pairs are right, but {prompts} give no interval.",
        )
    right = f"{percent(accuracy.value)} of the pairs are right ({_between(accuracy)})"
    if accuracy.high < 0.5:
        return Answer("no", f"{right}: it orders completions the wrong way round.")
    if accuracy.low <= 0.5:
        return Answer("no", f"{right}, which cannot be told from a coin toss.")
    by, ends = _points(abs(above.value)), f"{points(above.low)} to {points(above.high)}"
    if above.low > 0:
        return Answer("yes", f"{right}, {by} above preferring the longer one ({ends}).")
    if above.high >= 0:
        return Answer(
            "care",
            f"{right}, which cannot be told from preferring the longer one: "
            f"{points(above.value)} points ({ends}).",
        )
    knows_more = _surely_above(_controlled(summary), 0.5)
    return Answer(
        "care" if knows_more else "no",
        f"{right}, {by} below preferring the longer one ({ends}).",
    )


def _best_of_n(summary: Summary) -> Answer | None:
    """Yes where the intervals say that it picks a best one more often than length does."""
    counts = summary["counts"]
    top = figures(summary).get("top1_accuracy")
    longer, chance = (
        figures(summary["baselines"].get(name, {})).get("top1_accuracy")
        for name in (LENGTH_RULE, COIN_TOSS)
    )
    if counts["completions"] <= 2 * counts["rankings"] or not top or not longer or not chance:
        return None
    size = f"{counts['completions'] / counts['rankings']:.1f}".removesuffix(".0")
    picks = f"Of {size} answers it picks a best one for {percent(top['value'])} of the prompts"
    rules = f"length does for {percent(longer['value'])}, a coin for {percent(chance['value'])}"
    low, limit = top["low"], longer["high"]
    if low is None or limit is None:
        return Answer("unknown", f"{picks}, without an interval; {rules}.")
    verdict: Verdict = "yes" if low > max(limit, chance["value"]) else "care"
    if low <= chance["value"]:
        verdict = "no"
    return Answer(verdict, f"{picks} ({_ends(top, percent)}); {rules}.")


def _teach_a_policy(summary: Summary) -> Answer:
    """No where it is no better than length with length controlled, or prefers worse answers."""
    controlled, accuracy = _controlled(summary), figure(summary, "pairwise_accuracy")
    if accuracy.low is None or accuracy.low <= 0.5:
        shown = f"{percent(accuracy.value)} of the pairs are right ({_between(accuracy)})"
        if accuracy.low is None:
            return Answer("unknown", f"{percent(accuracy.value)} of the pairs are right, without "
                                     "an interval.")  # fmt: skip
        return Answer("no", f"{shown}, which is not surely more than a coin toss.")
    if controlled is None or controlled["low"] is None or controlled["high"] is None:
        return Answer("unknown", "These pairs do not say whether it knows more than length.")
    share = (
        f"With length controlled {percent(controlled['value'])} of the pairs are right "
        f"({_ends(controlled, percent)}; length alone gets 50{NBSP}%)"
    )
    worst = _worst_rewrite(summary, "preferred")
    if worst is not None and worst[1]["value"] > TOO_OFTEN:
        name, often = worst
        return Answer(
            "no",
            f"It prefers a worse version ({name}) to the answer in {percent(often['value'])} of "
            f"the cases ({_ends(often, percent)}), and a policy finds that. {share}.",
        )
    if controlled["high"] < 0.5:
        return Answer("no", f"{share}.")
    if worst is None:
        little = ", so it may be little more than length" if controlled["low"] <= 0.5 else ""
        return Answer(
            "unknown",
            f"{share}{little}; with answers rewritten for the worse it was not tried; "
            "plaudit evaluate with --stress 50 tries it.",
        )
    if controlled["low"] <= 0.5:
        return Answer("care", f"{share}, so it may be little more than length.")
    name, often = worst
    return Answer(
        "yes",
        f"{share}, and no worse version of an answer is preferred more often than in "
        f"{percent(often['value'])} of the cases ({_ends(often, percent)}; {name}).",
    )


def _filter(summary: Summary) -> Answer | None:
    """By the area under the curve: yes where it is surely above 0.75, no where surely below."""
    area = figures(summary).get("auc")
    if not area:
        return None
    asked = f"a coin toss gets 0.5, and {COMPARABLE} is asked for here"
    shown = f"The AUC over all prompts is {plain(area['value'])}"
    if area["low"] is None or area["high"] is None:
        return Answer("unknown", f"{shown}, without an interval; {asked}.")
    verdict: Verdict = "yes" if area["low"] > COMPARABLE else "care"
    if area["high"] < COMPARABLE:
        verdict = "no"
    return Answer(verdict, f"{shown} ({_ends(area, plain)}); {asked}.")


def _probabilities(summary: Summary) -> Answer | None:
    """By the calibration error: yes where it is surely below 5 points."""
    gap = figures(summary).get("calibration_error")
    if not gap:
        return None
    shown = f"It is off by {_points(gap['value'])} on average"
    if gap["low"] is None or gap["high"] is None:
        return Answer("unknown", f"{shown}, without an interval.")
    shown += f" ({_ends(gap, points).replace('+', '')})"
    if gap["high"] <= CALIBRATED:
        return Answer("yes", f"{shown}.")
    if gap["low"] <= CALIBRATED:
        shown += f", which may be more than {100 * CALIBRATED:.0f}"
    scale = figures(summary).get("temperature")
    if (way := _too_sure(summary)) and scale:
        shown += f". It is {way} than it is right: divide rewards by {plain(scale['value'])} first"
    return Answer("care", f"{shown}.")


PURPOSES: dict[str, Callable[[Summary], Answer | None]] = {
    "To choose the better of two answers": _better_of_two,
    "To pick the best of several answers": _best_of_n,
    "To train a policy against it": _teach_a_policy,
    "To filter answers of many prompts by one threshold": _filter,
    "To read differences of rewards as probabilities": _probabilities,
}


# Those whose figures are measured on what was not trained on, too.
OF_THE_REST = (_better_of_two, _teach_a_policy)


class _Found(NamedTuple):
    """A weakness: how many points it surely is off, how many at its value, and what it is."""

    surely: float
    likely: float
    weakness: Weakness


def weaknesses(summary: Summary) -> tuple[Weakness, ...]:
    """The three greatest weaknesses, those that are certain first; fewer where there are fewer."""
    every = [
        *_worse_versions(summary),
        *_unsteady(summary),
        *_leans(summary),
        *_below_length(summary),
        *_weak_part(summary.get("by_category", {}), "category", summary),
        *_weak_part(summary.get("by_source", {}), "source", summary),
        *_miscalibrated(summary),
    ]
    every.sort(key=lambda found: (-max(found.surely, 0.0), -found.likely))
    shown = []
    for found in every[:MOST_WEAKNESSES]:
        weakness = found.weakness
        if found.surely <= 0:
            text = f"{weakness.text} That is not certain from these prompts."
            weakness = Weakness(weakness.title, text, weakness.section)
        shown.append(weakness)
    return tuple(shown)


def _worse_versions(summary: Summary) -> Iterator[_Found]:
    return _of_rewrites(
        summary,
        "preferred",
        "It prefers worse answers",
        "Where an answer was spoilt ({name}), the spoilt version has the higher reward in {often} "
        "of the cases ({ends}).",
    )


def _unsteady(summary: Summary) -> Iterator[_Found]:
    return _of_rewrites(
        summary,
        "flipped",
        "It follows what does not matter",
        "Where answers were rewritten without another meaning ({name}), {often} of the pairs "
        "change their order ({ends}).",
    )


def _of_rewrites(summary: Summary, what: str, title: str, text: str) -> Iterator[_Found]:
    """The rewrite that does most of `what`, where there is one that does any."""
    worst = _worst_rewrite(summary, what, worse=what == "preferred")
    if worst is None or worst[1]["value"] == 0:
        return
    name, often = worst
    said = text.format(name=name, often=percent(often["value"]), ends=_ends(often, percent))
    yield _Found(often["low"] or 0.0, often["value"], Weakness(title, said, HOLDS))


def _leans(summary: Summary) -> Iterator[_Found]:
    """Of each style: whether accuracy is lower where the better one has less of it, or more."""
    for name, entry in summary["style"].items():
        more, less = entry and entry["accuracy_where_more"], entry and entry["accuracy_where_less"]
        if not more or not less or more["value"] == less["value"]:
            continue
        words = (f"the one with more {name}", f"the one with less {name}")
        if name == "length":
            words = ("the longer one", "the shorter one")
        strong, weak = (more, less) if more["value"] > less["value"] else (less, more)
        if strong is less:
            words = words[::-1]
        if strong["low"] is None or weak["high"] is None:
            continue  # of so few pairs it says nothing
        surely = strong["low"] - weak["high"]
        text = (
            f"{percent(strong['value'])} of the pairs are right where the better answer is "
            f"{words[0]} ({_ends(strong, percent)}), {percent(weak['value'])} where it is "
            f"{words[1]} ({_ends(weak, percent)})."
        )
        title = f"It leans on {name}" if strong is more else f"It leans away from {name}"
        yield _Found(surely, strong["value"] - weak["value"], Weakness(title, text, LEANS))


def _below_length(summary: Summary) -> Iterator[_Found]:
    above = figure(summary, "accuracy_above_length")
    if above.value >= 0:
        return
    accuracy, rule = figure(summary, "pairwise_accuracy"), figure(summary, "length_baseline")
    text = (
        f"{percent(accuracy.value)} of the pairs are right, and {percent(rule.value)} by "
        f"preferring the longer one: {points(above.value)} points"
    )
    text += f" ({_between(above, points)})." if above.low is not None else ", without an interval."
    surely = -above.high if above.high is not None else 0.0
    yield _Found(surely, -above.value, Weakness("Length alone does better", text, RIGHT))


def _weak_part(parts: Mapping[str, PartRecord], what: str, summary: Summary) -> Iterator[_Found]:
    """The part that is furthest below all pairs, for sure or, where none is, at its value.

    The upper end that it is judged by is that of an interval widened for the number of parts, as
    if it were normal: of fifty some are always far off.
    """
    overall = figure(summary, "pairwise_accuracy").value
    measured = {
        name: part["pairwise_accuracy"]
        for name, part in parts.items()
        if part["pairwise_accuracy"]["high"] is not None
    }
    if len(measured) < 2:
        return
    wider = float(ndtri(1 - 0.025 / len(measured))) / Z

    def off(name: str) -> tuple[float, float]:
        value, high = measured[name]["value"], measured[name]["high"] or 0.0
        return overall - (value + wider * (high - value)), overall - value

    name = max(measured, key=lambda name: (max(off(name)[0], 0.0), off(name)[1]))
    surely, likely = off(name)
    if likely <= 0:
        return
    accuracy, pairs = measured[name], counted(parts[name]["pairs"], "pair")
    text = (
        f"{percent(accuracy['value'])} of its {pairs} are right ({_ends(accuracy, percent)}), "
        f"{percent(overall)} of all."
    )
    yield _Found(surely, likely, Weakness(f"Its weakest {what}: {name}", text, WHERE))


def _miscalibrated(summary: Summary) -> Iterator[_Found]:
    gap = figures(summary).get("calibration_error")
    if not gap:
        return
    way = _too_sure(summary)
    title = f"It is {way} than it is right" if way else "Its probabilities are off"
    text = f"Its probabilities are off by {_points(gap['value'])} on average"
    text += f" ({_ends(gap, points).replace('+', '')})." if gap["low"] is not None else "."
    surely = (gap["low"] or 0.0) - CALIBRATED
    yield _Found(surely, gap["value"], Weakness(title, text, SURE))


def _too_sure(summary: Summary) -> str:
    """In which direction its probabilities are off, where the temperature says so for sure."""
    scale = figures(summary).get("temperature")
    if not scale or scale["low"] is None or scale["high"] is None:
        return ""
    return "surer" if scale["low"] > 1 else "less sure" if scale["high"] < 1 else ""


def _worst_rewrite(
    summary: Summary, what: str, worse: bool = True
) -> tuple[str, FigureRecord] | None:
    """The rewrite with the greatest share of `what`, of those that spoil an answer or do not."""
    record = summary.get("stress")
    found: dict[str, FigureRecord] = {}
    for name, entry in (record["rewrites"] if record else {}).items():
        share: Any = entry[what]  # type: ignore[literal-required]
        if share and (entry["preferred"] is not None) == worse:
            found[rewrites.label(name)] = share
    # A share of a few answers, which has no interval, stands behind all others.
    return max(
        found.items(),
        key=lambda each: (each[1]["low"] is not None, each[1]["value"]),
        default=None,
    )


def _controlled(summary: Summary) -> FigureRecord | None:
    """Length-controlled accuracy, which summaries of earlier versions have of the style alone."""
    length = summary["style"]["length"]
    return length and length["controlled_accuracy"]


def _surely_above(record: FigureRecord | None, level: float) -> bool:
    return record is not None and record["low"] is not None and record["low"] > level


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _between(value: Figure, form: Callable[[float], str] = percent) -> str:
    return _ends(value.as_dict(), form)


def _ends(record: FigureRecord, form: Callable[[float], str]) -> str:
    """The ends of an interval."""
    return interval(record, form) or "without an interval"
