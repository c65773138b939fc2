"""What of the data measured on a model was trained on, and how right it is without that.

A ranking counts as trained on where its prompt, or nearly its prompt, is among the training
prompts, or two of its completions are among the training completions under another prompt. What a
model reaches there it may know by heart. Assumes that hashes of the training texts lie beside the
model (`model.trained_on`); where they do not, nothing can be known, which is said.
"""

from collections.abc import Sequence
from typing import NotRequired, cast

import numpy as np
from typing_extensions import TypedDict

from plaudit.console import counted
from plaudit.data.cells import lengths_of
from plaudit.data.rankings import Ranking
from plaudit.evaluation.items import Items, means, pairwise_accuracy, statistic
from plaudit.evaluation.layout import flatten, lay_out
from plaudit.evaluation.measures import MEASURES
from plaudit.evaluation.statistics import Figure, FigureRecord, Pending, Statistic, less, resample
from plaudit.model.trained_on import NEAR, SAME, Overlap

# What verdicts are of beside pairwise accuracy, measured anew on what was not trained on.
OF_VERDICTS = (
    "length_baseline",
    "accuracy_above_length",
    "accuracy_where_shorter",
    "length_controlled_accuracy",
)


class RestRecord(TypedDict):
    """Figures of the rankings that were not trained on, by which a model is judged."""

    prompts: int
    rankings: int
    pairs: int
    length_baseline: NotRequired[FigureRecord | None]  # not of earlier versions
    accuracy_above_length: FigureRecord | None
    accuracy_where_shorter: FigureRecord | None
    length_controlled_accuracy: FigureRecord | None


class OverlapRecord(TypedDict):
    """How many rankings were trained on, and the score of all, of those that were not, of those
    that were, and what the first has over the second; `score` names what these are figures of.

    `known` is whether there are hashes of the training texts, `whole` whether they are of all of
    them, `texts` how many distinct ones. Figures are None where there is nothing to measure, and
    where nothing was trained on.
    """

    known: bool
    whole: bool
    texts: int
    rankings: int
    same_prompt: int
    near_prompt: int
    by_completions: int  # under another prompt, two completions or more
    completions: int
    same_completions: int
    near_completions: int
    score: str
    all: FigureRecord | None
    without: FigureRecord | None
    alone: FigureRecord | None
    gain: FigureRecord | None
    not_trained_on: NotRequired[RestRecord]  # beside `without`; earlier versions have it not


def overlap_record(found: Overlap, score: str) -> OverlapRecord:
    """The record of what was found, its figures yet to be measured."""
    flat = np.concatenate([np.empty(0, np.int8), *found.completions])
    return {
        "known": found.known,
        "whole": found.whole,
        "texts": found.texts,
        "rankings": len(found.prompt),
        "same_prompt": int((found.prompt == SAME).sum()),
        "near_prompt": int((found.prompt == NEAR).sum()),
        "by_completions": int(found.by_completions.sum()),
        "completions": len(flat),
        "same_completions": int((flat == SAME).sum()),
        "near_completions": int((flat == NEAR).sum()),
        "score": score,
        "all": None,
        "without": None,
        "alone": None,
        "gain": None,
    }


def measure_overlap(
    found: Overlap,
    rankings: Sequence[Ranking],
    rewards: Sequence[Sequence[float]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> OverlapRecord:
    """What of the rankings was trained on, and pairwise accuracy with them and without.

    The figures share their resamples of prompts, so that `gain`, accuracy of all rankings less that
    without, is paired.

    >>> from plaudit.model.trained_on import TrainedOn, overlap
    >>> rankings = [Ranking(f"What is {n} + 1?", [f"{n + 1}", "5"], [0, 1]) for n in range(9)]
    >>> found = overlap([TrainedOn.of(rankings[:3])], rankings)
    >>> record = measure_overlap(found, rankings, [[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 6)
    >>> record["same_prompt"], record["without"]["value"], record["alone"]["value"]
    (3, 0.0, 1.0)
    """
    record = overlap_record(found, "pairwise accuracy")
    seen = found.seen
    if not seen.any():
        return record
    layout = lay_out([ranking.ranks for ranking in rankings], [ranking.key for ranking in rankings])
    items = pairwise_accuracy(layout, flatten(rewards, layout, "reward"))
    of_pair = seen[items.ranking]
    parts = {"all": of_pair | True, "without": ~of_pair, "alone": of_pair}
    each = {
        name: means(layout, [Items(items.values[part], items.ranking[part])], shares=True)
        for name, part in parts.items()
    }
    each["gain"] = less(each["all"], each["without"])
    pending = Pending()
    for name, of_part in each.items():
        pending.add(record, [name], of_part)  # type: ignore[arg-type]
    pending.fill(len(layout.asked), resamples, seed)
    if record["without"] is not None:
        rest = np.flatnonzero(~seen).tolist()
        record["not_trained_on"] = _measure_rest(
            [rankings[i] for i in rest], [rewards[i] for i in rest], resamples, seed
        )
    return record


def _measure_rest(
    rankings: Sequence[Ranking], rewards: Sequence[Sequence[float]], resamples: int, seed: int
) -> RestRecord:
    layout = lay_out([ranking.ranks for ranking in rankings], [ranking.key for ranking in rankings])
    reward = flatten(rewards, layout, "reward")
    length = flatten(lengths_of(rankings), layout, "length")
    record: dict[str, object] = {
        "prompts": len(layout.asked),
        "rankings": len(rankings),
        "pairs": len(layout.better),
    }
    pending = Pending()
    for name in OF_VERDICTS:
        measure = MEASURES.get(name)
        found = measure.measure(layout, reward, length)
        if isinstance(found, Items):
            found = statistic(layout, found, share=measure.form == "share")
        pending.add(record, [name], found)
    pending.fill(len(layout.asked), resamples, seed)
    return cast(RestRecord, record)


def measure_scores(
    record: OverlapRecord,
    whole: Statistic,
    without: Statistic | None,
    prompts: int,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> None:
    """Fill in the figures of a benchmark's own score: of all its items, and `without`."""
    statistics = [whole] if without is None else [whole, without, less(whole, without)]
    found = resample(statistics, prompts, resamples=resamples, seed=seed)
    figures = [None if np.isnan(one.value) else one.as_dict() for one, *_ in found]
    record["all"], record["without"], record["gain"] = [*figures, None, None][:3]


def number_seen(record: OverlapRecord) -> int:
    """How many of the rankings count as trained on."""
    return record["same_prompt"] + record["near_prompt"] + record["by_completions"]


def any_seen(record: OverlapRecord) -> bool:
    """Whether any of the rankings counts as trained on."""
    return number_seen(record) > 0


def overlap_sentence(record: OverlapRecord, model: str = "it") -> str:
    """One sentence: what was trained on, and what it does to the score; or that nobody can know.

    `model` is what it is called; its name, where another one was spoken of.

    >>> from plaudit.model.trained_on import overlap
    >>> ranking = Ranking("2 + 2?", ["4", "5"], [0, 1])
    >>> overlap_sentence(overlap_record(overlap([None], [ranking]), "pairwise accuracy"))
    'Whether it was trained on any of these rows cannot be known: no hashes of its training texts \
lie beside it.'
    """
    if not record["known"]:
        return (
            f"Whether {model} was trained on any of these rows cannot be known: no hashes of its "
            "training texts lie beside it."
        )
    texts = f"its {'' if record['whole'] else 'first '}{counted(record['texts'], 'training text')}"
    rankings = counted(record["rankings"], "ranking")
    who = "It" if model == "it" else model
    kinds = {
        "by the same prompt": record["same_prompt"],
        "by nearly the same": record["near_prompt"],
        "by two completions": record["by_completions"],
    }
    seen = sum(kinds.values())
    if not any_seen(record):
        return (
            f"{who} was trained on none of the {rankings}: neither a prompt nor two completions of "
            f"one are among {texts}."
        )
    how = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items() if number)
    sentence = f"{who} was trained on {seen:,} of the {rankings} ({how}, among {texts})"
    whole, without = record["all"], record["without"]
    if whole is None or without is None:
        return f"{sentence}: no {record['score']} can be given without them."
    return (
        f"{sentence}: without them its {record['score']} is {Figure(**without)}, with them "
        f"{Figure(**whole)}."
    )
