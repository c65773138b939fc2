"""How far annotators agree, where several labelled one pair: the ceiling beside a model's accuracy.

Labels of one pair are those of all rankings of its prompt that order these two completions, and of
the pairs that were left out because their labels contradict each other, without which all would
agree. What a named annotator says again of a pair is no further label; where nobody is named, it
assumes that the same row twice is two people's label and not a copy: a file knows no better.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from typing_extensions import TypedDict

from plaudit.console import counted
from plaudit.data.grouping import direction
from plaudit.data.rankings import Ranking, Rejected
from plaudit.evaluation.statistics import Figure, FigureRecord, ratios, resample


class AgreementRecord(TypedDict):
    """How often two labels of one pair agree, over the `pairs` that have several of all `labels`.

    `agreement` is what a second annotator reaches against the first; `ceiling` what no model can
    exceed against single labels. `left_out` of the pairs are not measured on, as their labels
    contradict each other.
    """

    pairs: int
    labels: int
    left_out: int
    agreement: FigureRecord
    ceiling: FigureRecord


class _Votes(NamedTuple):
    """Labels of a pair for either completion, and its prompt."""

    counts: list[int]
    prompt: str


def agreement(
    rankings: Sequence[Ranking],
    rejected: Iterable[Rejected] = (),
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> AgreementRecord | None:
    """How far the labels of pairs that have several agree; None where no pair has.

    Of a pair with a labels for one completion and b for the other it is the share of any two labels
    that agree, (a (a − 1) + b (b − 1)) / (n (n − 1)) (Fleiss 1971, Psychological Bulletin 76),
    which is unbiased for p² + (1 − p)² where a label is for the first with the probability p. The
    figure is the mean A over pairs, with an interval by bootstrap over prompts. The best that any
    model can do against single labels is to know the likelier one, with an accuracy of
    E max(p, 1 − p); as A = (1 + E (2p − 1)²) / 2, that is at most (1 + √(2A − 1)) / 2, by Jensen's
    inequality.

    >>> pairs = [Ranking("2+2?", ["4", "5"], ranks) for ranks in ([0, 1], [0, 1], [1, 0])]
    >>> round(agreement(pairs)["agreement"]["value"], 3)
    0.333
    """
    votes: dict[int, _Votes] = {}
    heard: set[tuple[int, str]] = set()
    for ranking in rankings:
        for i, j in ranking.pairs():
            pair = Ranking(ranking.prompt, [ranking.completions[n] for n in (i, j)], [0, 1])
            key, side = direction(pair)
            if ranking.annotator is not None:
                if (key, ranking.annotator) in heard:
                    continue
                heard.add((key, ranking.annotator))
            votes.setdefault(key, _Votes([0, 0], ranking.key)).counts[side - 1] += 1
    left_out = set()
    for row in rejected:
        if row.vote is not None:
            key, side, prompt = row.vote
            votes.setdefault(key, _Votes([0, 0], prompt)).counts[side - 1] += 1
            left_out.add(key)
    number: dict[str, int] = {}
    return agreement_of_votes(
        np.array([each.counts for each in votes.values()]).reshape(-1, 2),
        np.array([number.setdefault(each.prompt, len(number)) for each in votes.values()]),
        left_out=len(left_out),
        resamples=resamples,
        seed=seed,
    )


def agreement_of_votes(
    votes: np.ndarray,
    prompts: np.ndarray,
    *,
    left_out: int = 0,
    resamples: int = 1000,
    seed: int = 0,
) -> AgreementRecord | None:
    """The same of votes that are counted: [P, 2] for either completion of each pair, and [P] the
    number of its prompt.

    >>> agreement_of_votes(np.array([[2, 1], [1, 0]]), np.array([0, 1]))["labels"]
    3
    """
    several = votes.sum(axis=1) > 1
    if not several.any():
        return None
    a, b = votes[several].astype(np.float64).T
    agree = (a * (a - 1) + b * (b - 1)) / ((a + b) * (a + b - 1))
    _, of_prompt = np.unique(prompts[several], return_inverse=True)
    sums = np.bincount(of_prompt, agree)[:, None].astype(np.float64)
    counts = np.bincount(of_prompt)[:, None].astype(np.float64)
    mean = ratios(sums, counts, shares=True)
    found = resample([mean], len(counts), resamples=resamples, seed=seed)[0][0]
    ends = [None if end is None else _ceiling(end) for end in (found.low, found.high)]
    return {
        "pairs": int(several.sum()),
        "labels": int((a + b).sum()),
        "left_out": left_out,
        "agreement": found.as_dict(),
        "ceiling": Figure(_ceiling(found.value), *ends).as_dict(),
    }


def _ceiling(agreement: float) -> float:
    """The most accuracy against single labels, where two agree so often."""
    return (1 + float(np.sqrt(max(2 * agreement - 1, 0.0)))) / 2


def agreement_sentence(record: AgreementRecord) -> str:
    """One sentence: how far people agree, and what that means for a model's accuracy.

    >>> record = agreement([Ranking("2+2?", ["4", "5"], [0, 1])] * 2)
    >>> agreement_sentence(record).split(":")[0]
    'Two labels of one pair agree in 100.0 % of the cases (1 pair with several labels)'
    """
    found, most = Figure(**record["agreement"]), Figure(**record["ceiling"])
    of = counted(record["pairs"], "pair")
    left = (
        f" Of these pairs {record['left_out']:,} {'is' if record['left_out'] == 1 else 'are'} not "
        "measured on, since labels contradict each other there."
        if record["left_out"]
        else ""
    )
    return (
        f"Two labels of one pair agree in {100 * found.value:.1f} %{_between(found)} of the cases "
        f"({of} with several labels): that is a second annotator's accuracy, and no model can "
        f"exceed {100 * most.value:.1f} %{_between(most)} against single labels.{left}"
    )


def _between(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f" ({100 * figure.low:.1f} to {100 * figure.high:.1f})"
