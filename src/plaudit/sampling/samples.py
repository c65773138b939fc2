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
from plaudit.data.columns import Fit
from plaudit.data.grouping import disagreement_of
from plaudit.data.layouts import Cells
from plaudit.data.parse import Record, Records, read_order, reject
from plaudit.data.rankings import BadRowError, Ranking, Rejected, Text, text_key
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

    Columns that say what is better, as a score, make the ratings; where a rank and a score
    contradict each other the rows of that prompt are rejected. `bad` counts the rows that are no
    good, and says when there are too many. Raises `PlauditError` where the data cannot be read, or
    some rows say what is better and others do not.

    >>> read_samples("completions.jsonl")[0].ratings is None  # doctest: +SKIP
    True
    """
    bad = bad or BadRows(str(source))
    together: dict[str, list[_Rated]] = {}
    for each in find_sources(source, None, True, encoding):
        records = Records(each, columns or {}, order=False)
        for record in progress(records, f"reading {each.name}"):
            found = record if isinstance(record, Rejected) else _rated(record, records)
            if bad.count(found) and not isinstance(found, Rejected):
                together.setdefault(text_key(found.ranking.prompt), []).append(found)
    for key, given in list(together.items()):
        if why := _contradiction(given):
            for one in together.pop(key):
                bad.reject(reject(one.row, why))
    bad.stop_if_too_many()
    if not together:
        raise PlauditError(f"{source}: there is no sample in it. {bad.summary()}")
    rankings = [[one.ranking for one in rows] for rows in together.values()]
    rows = [row for of_prompt in rankings for row in of_prompt]
    rated = any(row.ratings is not None for row in rows)
    if unrated := [row.origin for row in rows if rated and row.ratings is None]:
        raise PlauditError(f"{unrated[0]}: nothing says how good it is, as it does of other rows")
    return [
        replace(
            rows[0],
            completions=[text for row in rows for text in row.completions],
            ratings=[rating for row in rows for rating in row.ratings or ()] if rated else None,
        )
        for rows in rankings
    ]


class _Rated(NamedTuple):
    """A row's ranking with ratings, where it says what is better, and what it says that by."""

    row: Row
    ranking: Ranking
    fit: Fit | None = None
    ranks: Sequence[float] = ()


def _rated(record: Record, records: Records) -> _Rated | Rejected:
    """The ranking of a record, with ratings where the row has them, or ranks to make them of."""
    texts = {ours: record.fit.columns[ours] for ours in record.fit.layout.texts}
    for fit in records.fits:
        same = {ours: fit.columns.get(ours) for ours in fit.layout.texts} == texts
        if same and fit.layout.order and fit.layout.order.keys() <= fit.columns.keys():
            try:
                given = fit.layout.give(Cells(record.row.values or {}, fit.columns))
                ranks, ratings = read_order(given, len(record.ranking.completions))
            except BadRowError as bad:
                return reject(record.row, bad)
            rated = replace(record.ranking, ratings=ratings or [-rank for rank in ranks])
            return _Rated(record.row, rated, fit, ranks)
    return _Rated(record.row, record.ranking)


def _contradiction(given: Sequence[_Rated]) -> BadRowError | None:
    """That ranks and scores of a prompt's samples cannot both be right."""
    fit = given[0].fit
    if fit is None or any(one.fit is None for one in given):
        return None
    ranks = [rank for one in given for rank in one.ranks]
    return disagreement_of(fit, ranks, [r for one in given for r in one.ranking.ratings or ()])


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
