"""A policy's samples of many prompts: drawn here, or read from a file that another program made.

A prompt and its samples are a `Ranking` without ranks, whose ratings are what a gold judge made of
the samples, where that is known. All are held in memory.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from plaudit.console import counted, progress, say
from plaudit.data.columns import Fit, mapped_in_each
from plaudit.data.grouping import disagreement_of
from plaudit.data.layouts import Cells
from plaudit.data.parse import Record, Records, read_order, reject
from plaudit.data.rankings import BadRowError, Fault, Ranking, Rejected, Text, text_key
from plaudit.data.readers import BadRows
from plaudit.data.rows import Row, find_sources
from plaudit.errors import PlauditError
from plaudit.resumable import resumable
from plaudit.sampling.policy import Policy

# Where nothing says how many samples a prompt must have, so large a share of them has enough.
MOST_PROMPTS = 0.9


def read_samples(
    source: str | Path | Sequence[str | Path],
    columns: Mapping[str, str] | None = None,
    *,
    encoding: str | None = None,
    bad: BadRows | None = None,
) -> list[Ranking]:
    """The prompts of files with all their samples, in rows as `score` reads them.

    Columns that say what is better make the ratings: of each prompt its scores where all its
    samples have one, else its ranks, which is said where some had a score. Where a rank and a score
    contradict each other the rows of that prompt are rejected, of lists that row alone; so are
    those that are on no one scale, as ranks of several lists. `bad` counts the rows that are no
    good, and says when there are too many. Raises `PlauditError` where the data cannot be read, or
    some rows say what is better and others do not.

    >>> read_samples("completions.jsonl")[0].ratings is None  # doctest: +SKIP
    True
    """
    bad = bad or BadRows(str(source))
    together: dict[str, list[_Rated]] = {}
    sources = find_sources(source, None, True, encoding)
    for each, mapped in zip(sources, mapped_in_each(sources, columns), strict=True):
        records = Records(each, mapped, order=False)
        for record in progress(records, f"reading {each.name}"):
            found = record if isinstance(record, Rejected) else _rated(record, records)
            if bad.count(found) and not isinstance(found, Rejected):
                together.setdefault(text_key(found.ranking.prompt), []).append(found)
    prompts: list[list[_Rated]] = []
    by_rank: list[str] = []  # where a prompt has a score missing, and ranks to go by
    for given in together.values():
        try:
            rows, unscored = _on_one_scale(_without_contradicting_lists(given, bad))
        except BadRowError as why:
            for one in given:
                bad.reject(reject(one.row, why))
            continue
        prompts += [rows] if rows else []
        by_rank += unscored[:1]
    bad.stop_if_too_many()
    if not prompts:
        raise PlauditError(f"{source}: there is no sample in it. {bad.summary()}")
    every = [one for rows in prompts for one in rows]
    rated = any(one.fit is not None for one in every)
    if unrated := [one.ranking.origin for one in every if rated and one.fit is None]:
        raise PlauditError(
            f"{unrated[0]}: has no score, as other rows have; give every row one, or none and "
            "--gold"
        )
    if by_rank:
        more = f" and {counted(len(by_rank) - 1, 'more prompt')}" if len(by_rank) > 1 else ""
        say(
            f"{by_rank[0]}: has no score, and other samples of its prompt have one; for that prompt"
            f"{more} the ranks are the gold judge instead of the scores"
        )
    return [
        replace(
            rows[0].ranking,
            completions=[text for row in rows for text in row.ranking.completions],
            ratings=[rating for row in rows for rating in row.ratings or ()] if rated else None,
        )
        for rows in prompts
    ]


class _Rated(NamedTuple):
    """A row, and what it says of its completions: ranks, ratings, both or neither."""

    row: Row
    ranking: Ranking
    fit: Fit | None = None
    ranks: Sequence[float] | None = None
    ratings: Sequence[float] | None = None

    @property
    def is_list(self) -> bool:
        """Whether its ranks count from the best of this row, and not of the whole prompt."""
        return self.fit is not None and self.fit.layout.row != "completion"


def _rated(record: Record, records: Records) -> _Rated | Rejected:
    """A record with what the row says is better, where it does."""
    texts = {ours: record.fit.columns[ours] for ours in record.fit.layout.texts}
    for fit in records.fits:
        same = {ours: fit.columns.get(ours) for ours in fit.layout.texts} == texts
        if same and fit.layout.order and fit.layout.order.keys() <= fit.columns.keys():
            try:
                given = fit.layout.give(Cells(record.row.values or {}, fit.columns))
                ranks, ratings = read_order(given, len(record.ranking.completions))
            except BadRowError as bad:
                return reject(record.row, bad)
            known = None if given.ranks is None else ranks
            return _Rated(record.row, record.ranking, fit, known, ratings)
    return _Rated(record.row, record.ranking)


def _without_contradicting_lists(given: Sequence[_Rated], bad: BadRows) -> list[_Rated]:
    """A prompt's rows but for lists whose ranks and scores cannot both be right."""
    kept = []
    for one in given:
        if one.is_list and (why := _contradiction([one])):
            bad.reject(reject(one.row, why))
        else:
            kept.append(one)
    return kept


def _on_one_scale(given: Sequence[_Rated]) -> tuple[list[_Rated], list[str]]:
    """A prompt's rows with ratings, scores where all have them, else by their ranks, and where it
    was that a score was missing among some.

    Where a row says nothing all stay as they are. Raises `BadRowError` where scores and ranks
    contradict each other, or neither is there on one scale.
    """
    if any(one.fit is None for one in given):
        return list(given), []
    if why := _contradiction([one for one in given if not one.is_list]):
        raise why
    unscored = [one.ranking.origin for one in given if one.ratings is None]
    if not unscored:
        return list(given), []
    rows = [
        one._replace(ratings=[-rank for rank in one.ranks])
        for one in given
        if one.ranks is not None and (len(given) == 1 or not one.is_list)
    ]
    if len(rows) < len(given):
        raise BadRowError(
            Fault.DISAGREE,
            "the prompt has samples without a score, and their ranks cannot stand in for it: they "
            "are missing, or from several lists; give each sample a score",
        )
    return rows, unscored if len(unscored) < len(given) else []


def _contradiction(given: Sequence[_Rated]) -> BadRowError | None:
    """That ranks and scores of samples that were ranked together cannot both be right."""
    both = [one for one in given if one.ranks is not None]
    ranks = [rank for one in both for rank in one.ranks or ()]
    ratings: list[float | None] = []
    for one in both:
        ratings += one.ratings or [None] * len(one.ranking.completions)
    fit = both[0].fit if both else None
    return None if fit is None else disagreement_of(fit, ranks, ratings)


def with_enough(samples: Sequence[Ranking], n: int | None) -> tuple[list[Ranking], int]:
    """The prompts that have n samples or more, and n; it is said of the others where they stood.

    Without n it is the most that nine in ten prompts have, and 2 at least. Raises `PlauditError`
    where no prompt has so many.

    >>> few, many = Ranking("a", ["1", "2"]), Ranking("b", ["1", "2", "3"])
    >>> with_enough([few, many], None)[1], len(with_enough([few, many], 3)[0])
    (2, 1)
    """
    counts = [len(each.completions) for each in samples]
    n = n or max(2, int(np.quantile(counts, 1 - MOST_PROMPTS, method="lower")))
    short = [each for each in samples if len(each.completions) < n]
    if short:
        count = counted(len(short[0].completions), "sample")
        more = f", with {counted(len(short) - 1, 'more prompt')}" if len(short) > 1 else ""
        say(f"{short[0].origin}: the prompt has {count}, fewer than {n}: left out{more}")
    if len(short) == len(samples):
        raise PlauditError(f"n: no prompt has {n} samples; the most that one has is {max(counts)}")
    return [each for each in samples if len(each.completions) >= n], n


def draw(
    policy: Policy,
    prompts: Sequence[Text],
    path: Path | None,
    *,
    resume: bool,
    overwrite: bool,
    **sampling: Any,
) -> list[Ranking]:
    """Samples of each prompt, in a file that survives a kill where one is named.

    `sampling` is all that `Policy.sample` takes. Raises `PlauditError` where a setting is no good,
    or the file was begun with others.
    """

    def drawn(rest: Sequence[Text]) -> Iterator[list[str]]:
        samples = policy.sample(rest, **sampling)
        return progress(samples, "sampling", total=len(rest))

    if path is None:
        return [Ranking(p, texts) for p, texts in zip(prompts, drawn(prompts), strict=True)]
    digest = hashlib.sha256("\0".join(map(text_key, prompts)).encode()).hexdigest()[:16]
    facts = {"prompts": digest, "policy": policy.identity(), **sampling}
    with resumable(path, facts, resume, overwrite) as out:
        rest = prompts[out.done :]
        rows = (
            {"prompt": prompt, "completions": texts}
            for prompt, texts in zip(rest, drawn(rest), strict=True)
        )
        # A batch at a time: that is what a resume samples again.
        while batch := list(islice(rows, sampling["batch_size"])):
            out.commit(batch, [], out.done + len(batch))
    return read_samples(path)
