"""What is in preference data, before anything is trained on it: counts, lengths, faults, skew.

One pass over the rankings. Of a text nothing is kept but its number, its length, its flaws, the
signature that near duplicates are found by and its first words (`duplicates.Texts`, about 200 bytes
in memory and half a kilobyte on disk for each distinct text); of an ordered pair three numbers. So
memory does not grow with how long the texts are, only with how many there are, and of many texts
two processes look at a part (`looks`). What is looked for is what later spoils a reward
model: prompts that training and test share, contradictions, repeats, longer answers winning,
answers cut off or refused. What it means, in words, is said by `advice`.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from plaudit.console import progress
from plaudit.data.cells import characters, said
from plaudit.data.rankings import ASKERS, Ranking, Text, text_key
from plaudit.data.readers import Rankings
from plaudit.data.rows import place
from plaudit.data.sketches import THRESHOLD
from plaudit.evaluation.agreement import agreement_of_votes
from plaudit.inspection.cycles import find_cycles
from plaudit.inspection.duplicates import Texts, similarity
from plaudit.inspection.flaws import (
    AT_LIMIT,
    AT_LIMIT_SHARE,
    MOST,
    NO_FULL_STOP,
    SENTENCES_FROM,
    Ending,
    Refusal,
)
from plaudit.inspection.looks import Looking
from plaudit.inspection.on_disk import Strings

EXAMPLES = 3  # of each finding


def inspect_rankings(
    rankings: Rankings | Sequence[Ranking],
    splits: Mapping[str, Rankings | Sequence[Ranking]] | None = None,
) -> dict[str, Any]:
    """Everything worth knowing about `rankings`, as a dict that can be written as JSON.

    `splits` are other parts of the same data by name ("test.csv"): which of their prompts are also
    here, or in each other, is found. Lengths are in characters. `longer_is_better` is the share of
    strictly ordered pairs in which the better completion is the longer one, equal lengths counting
    half: what a reward model that knows nothing but length would get right.

    >>> report = inspect_rankings([Ranking("2+2?", ["4", "four", "5"], [0, 0, 1])])
    >>> report["pairs"], report["ties"]["pairs"], report["longer_is_better"]
    (2, 1, 0.75)
    """
    if not isinstance(rankings, Rankings):
        rankings = Rankings.from_list(rankings)
    table = Table()
    parts: dict[str, dict[int, str]] = {"the data": {}}
    with Looking() as looking:
        prompts, completions = Texts(looking), Texts(looking, flaws=True)
        for ranking in progress(rankings, "inspecting"):
            table.add(ranking, prompts, completions)
        for name, split in (splits or {}).items():
            parts[name] = {}
            for ranking in progress(split, f"inspecting {name}"):
                question = _last_question(ranking.prompt)
                number = prompts.add(ranking.prompt, ranking.key, question)
                parts[name].setdefault(number, ranking.origin)
        prompts.close()
        completions.close()
    better, worse = table.pairs()
    near_prompts = prompts.groups()
    lengths = np.array(table.lengths)
    texts = np.array(table.texts)
    of_prompts = np.array(table.prompts)
    ranking_of = np.array(table.ranking_of)
    in_prompts = of_prompts[ranking_of]
    pair_keys = np.stack([in_prompts[better], texts[better], texts[worse]])
    judges = np.array(table.judges)[ranking_of[better]]
    distinct_pairs = len(np.unique(_ids(*pair_keys, judges)))
    under = np.unique(texts * len(prompts) + in_prompts) // len(prompts)
    distinct, first_of_prompts = np.unique(of_prompts, return_index=True)
    if splits:
        origins = map(table.origins.__getitem__, first_of_prompts.tolist())
        parts["the data"] = dict(zip(distinct.tolist(), origins, strict=True))
    signs = completions.signs()[texts]
    return {
        "files": rankings.files,
        "read_with": [],
        "format": rankings.format,
        "columns": rankings.columns,
        "better": rankings.better,
        "unused_columns": rankings.unused_columns,
        "rows": rankings.rows_read,
        "rankings": len(table.prompts),
        "prompts": len(distinct),
        "completions": len(texts),
        "pairs": len(better),
        "completions_per_ranking": {str(k): n for k, n in sorted(Counter(table.sizes).items())},
        "ties": {"rankings": table.tied_rankings, "pairs": table.tied_pairs},
        "prompt_characters": _lengths(np.array(table.prompt_lengths)),
        "completion_characters": _lengths(lengths),
        "longer_is_better": _longer(lengths[better] - lengths[worse]),
        "length_skew": _length_skew(table, lengths, better, worse),
        "duplicates": {
            "prompts_in_several_rankings": int((np.bincount(of_prompts) > 1).sum()),
            "completions_under_several_prompts": int((np.bincount(under) > 1).sum()),
            "repeated_pairs": len(better) - distinct_pairs,
        },
        "near_duplicates": {
            "prompts": _groups(
                prompts, near_prompts, distinct, lambda i: table.origins[first_of_prompts[i]]
            ),
            **_near_completions(table, completions, better, worse),
        },
        "shared_prompts": _shared(parts, prompts, near_prompts) if splits else [],
        "contradictions": sum(
            number
            for reason, number in rankings.rejected_by_reason.items()
            if reason.startswith("contradiction")
        ),
        "cycles": _cycles(table, prompts, completions, pair_keys, judges, better),
        "annotators": _annotators(table, pair_keys, judges),
        "truncated": _truncated(table, completions, signs, lengths),
        "refused": _refused(table, completions, signs),
        "prompts_not_adjacent": rankings.prompts_not_adjacent,
        "notes": dict(rankings.notes),
        "rejected": _rejected(rankings),
        "categories": dict(table.categories.most_common()),
        "models": dict(table.models.most_common()),
    }


@dataclass
class Table:
    """What is kept of the rankings: numbers, a row each for rankings, completions and pairs."""

    prompts: "array[int]" = field(default_factory=lambda: array("q"))  # of each ranking, its text
    prompt_lengths: "array[int]" = field(default_factory=lambda: array("q"))
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    judges: "array[int]" = field(default_factory=lambda: array("q"))  # of each, its annotator
    annotators: dict[str | None, int] = field(default_factory=lambda: {None: 0})
    origins: Strings = field(default_factory=Strings)
    ranking_of: "array[int]" = field(default_factory=lambda: array("q"))  # of each completion
    texts: "array[int]" = field(default_factory=lambda: array("q"))
    lengths: "array[int]" = field(default_factory=lambda: array("q"))
    standings: "array[int]" = field(default_factory=lambda: array("b"))  # 1 best, -1 worst
    pair_ends: "array[int]" = field(default_factory=lambda: array("q"))  # better, worse, better, …
    pair_categories: "array[int]" = field(default_factory=lambda: array("q"))
    category_names: dict[str | None, int] = field(default_factory=dict)  # … → its number in these
    tied_rankings: int = 0
    tied_pairs: int = 0
    categories: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)

    def add(self, ranking: Ranking, prompts: Texts, completions: Texts) -> None:
        """Take what is kept of one ranking."""
        number, start, k = len(self.prompts), len(self.texts), len(ranking.completions)
        self.prompts.append(
            prompts.add(ranking.prompt, ranking.key, _last_question(ranking.prompt))
        )
        self.prompt_lengths.append(characters(ranking.prompt))
        self.sizes.append(k)
        self.judges.append(self.annotators.setdefault(ranking.annotator, len(self.annotators)))
        self.origins.add(ranking.origin)
        last = max(ranking.ranks)
        for text, rank in zip(ranking.completions, ranking.ranks, strict=True):
            self.ranking_of.append(number)
            self.texts.append(completions.add(text, text_key(text)))
            self.lengths.append(characters(text))
            self.standings.append((rank == 0) - (rank == last))
        better = ranking.pairs()
        for i, j in better:
            self.pair_ends.extend((start + i, start + j))
            name = ranking.categories[j] if ranking.categories else ranking.category
            self.pair_categories.append(
                self.category_names.setdefault(name, len(self.category_names))
            )
        tied = k * (k - 1) // 2 - len(better)
        self.tied_rankings += bool(tied)
        self.tied_pairs += tied
        if ranking.categories:
            self.categories.update(name for name in ranking.categories if name)
        elif ranking.category:
            self.categories[ranking.category] += 1
        self.models.update(name for name in ranking.models or () if name)

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """[M], [M] the better and the worse completion of each ordered pair."""
        ends = np.array(self.pair_ends).reshape(-1, 2)
        return ends[:, 0], ends[:, 1]

    def origin(self, completion: int) -> str:
        """Where the ranking of a completion stood."""
        return self.origins[self.ranking_of[completion]]


def _lengths(lengths: np.ndarray) -> dict[str, int]:
    """Median, 95th percentile and maximum: the least length that covers so many (nearest rank)."""
    shares = {"median": 0.5, "p95": 0.95, "max": 1.0}
    return {
        name: int(np.quantile(lengths, share, method="inverted_cdf"))
        for name, share in shares.items()
    }


def _longer(difference: np.ndarray) -> float | None:
    """The share above zero, zeros counting half."""
    if not len(difference):
        return None
    return float(((difference > 0) + (difference == 0) / 2).mean())


def _length_skew(
    table: Table, lengths: np.ndarray, better: np.ndarray, worse: np.ndarray
) -> dict[str, Any]:
    """How much longer the better completions are, over all pairs and by category.

    `effect_size` is Cohen's d for paired samples (Cohen 1988, § 2.3.5: mean over standard deviation
    of the differences), of the logarithm of length, so that no single long text decides it.
    """

    def skew(part: np.ndarray | slice) -> dict[str, Any]:
        a, b = lengths[better][part], lengths[worse][part]
        logs = np.log1p(a) - np.log1p(b)
        spread = float(logs.std(ddof=1)) if len(logs) > 1 else 0.0
        return {
            "pairs": len(a),
            "longer": _longer(a - b),
            "mean_difference": float((a - b).mean()),
            "median_difference": float(np.median(a - b)),
            "median_ratio": float(np.exp(np.median(logs))),
            "effect_size": float(logs.mean() / spread) if spread > 0 else None,
        }

    of_pairs = np.array(table.pair_categories)
    sizes = np.bincount(of_pairs)
    names = table.category_names.items()
    named = [(-sizes[number], name, number) for name, number in names if name]
    return skew(slice(None)) | {
        "by_category": {name: skew(of_pairs == number) for _, name, number in sorted(named)}
    }


def _ids(*columns: np.ndarray) -> np.ndarray:
    """[M] numbers from 0 that are equal where all columns are."""
    ids = np.unique(columns[0], return_inverse=True)[1]
    for column in columns[1:]:
        ids = np.unique(ids * (column.max(initial=0) + 1) + column, return_inverse=True)[1]
    return ids


def _groups(
    texts: Texts, groups: np.ndarray, numbers: np.ndarray, at: Callable[[int], str]
) -> dict[str, Any]:
    """The groups of two or more among the texts of these numbers, the largest first.

    `at` says where the i-th of them stood first. Some texts of the first groups are examples;
    `places` are those of all texts of all groups.
    """
    of_each = groups[numbers]
    found, first, sizes = np.unique(of_each, return_index=True, return_counts=True)
    largest = np.lexsort((first, -sizes))
    largest = largest[sizes[largest] > 1]
    rank_of = np.full(len(found), -1)
    rank_of[largest] = np.arange(len(largest))
    members: list[list[int]] = [[] for _ in largest]
    in_group = rank_of[np.searchsorted(found, of_each)]
    for i in np.flatnonzero(in_group >= 0).tolist():
        members[in_group[i]].append(i)
    return {
        "texts": int(sizes[largest].sum()),
        "groups": len(largest),
        "largest": int(sizes[largest].max(initial=0)),
        "examples": [
            [
                {"text": text, "at": at(i)}
                for i, text in zip(
                    some[:EXAMPLES], texts.excerpts(numbers[some[:EXAMPLES]].tolist()), strict=True
                )
            ]
            for some in members[:EXAMPLES]
        ],
        "places": [[at(i) for i in some] for some in members],
    }


def _last_question(prompt: Text) -> str:
    """What the user says last in a dialogue; empty where that is not known."""
    if isinstance(prompt, str):
        return ""
    asked = [turn for turn in prompt if turn["role"].lower() in ASKERS]
    return said(asked[-1:])


def _near_completions(
    table: Table, completions: Texts, better: np.ndarray, worse: np.ndarray
) -> dict[str, Any]:
    groups = completions.groups()
    texts = np.array(table.texts)
    distinct, first = np.unique(texts, return_index=True)
    a, b = texts[better], texts[worse]
    alike = np.flatnonzero(groups[a] == groups[b])
    # A group is linked from one to the next; the two of a pair must be near to each other.
    alike = alike[similarity(completions.signatures(), a[alike], b[alike]) >= THRESHOLD]
    return {
        "completions": _groups(completions, groups, distinct, lambda i: table.origin(first[i])),
        "pairs": len(alike),
        "pair_examples": [
            {
                "at": table.origin(better[pair]),
                "better": completions.excerpt(table.texts[better[pair]]),
                "worse": completions.excerpt(table.texts[worse[pair]]),
            }
            for pair in alike[:EXAMPLES]
        ],
    }


def _shared(
    parts: Mapping[str, dict[int, str]], prompts: Texts, groups: np.ndarray
) -> list[dict[str, Any]]:
    """For every two parts of the data: how many prompts of the second the first has too."""
    shared = []
    for (first, ours), (second, theirs) in combinations(parts.items(), 2):
        of_group = {int(groups[number]): number for number in reversed(ours)}
        same = [(number, number) for number in theirs if number in ours]
        near = [
            (number, of_group[int(groups[number])])
            for number in theirs
            if number not in ours and int(groups[number]) in of_group
        ]
        examples = [
            {
                "text": prompts.excerpt(number),
                "at": theirs[number],
                "like": prompts.excerpt(like),
                "like_at": ours[like],
            }
            for number, like in same[:EXAMPLES] + near[:EXAMPLES]
        ]
        shared.append(
            {
                "first": first,
                "second": second,
                "prompts": len(theirs),
                "same": len(same),
                "nearly_the_same": len(near),
                "examples": examples,
            }
        )
    return shared


def _cycles(
    table: Table,
    prompts: Texts,
    completions: Texts,
    pair_keys: np.ndarray,
    judges: np.ndarray,
    better: np.ndarray,
) -> dict[str, Any]:
    """Contradictions and cycles over rankings that share a prompt; one ranking alone has none.

    Two annotators who are named may disagree: only what one of them says can contradict itself.
    """
    several = np.bincount(np.array(table.prompts)) > 1
    pairs = np.flatnonzero(several[pair_keys[0]])
    in_prompts, first, second = pair_keys[:, pairs]
    count = len(table.annotators)
    judged = in_prompts * count + judges[pairs]
    found = find_cycles(judged, first, second, better[pairs], EXAMPLES)
    return {
        "contradictions": found.contradictions,
        "cycles": found.cycles,
        "prompts": len(np.unique(in_prompts[found.pairs])),
        "pairs": len(found.pairs),
        "examples": [
            {
                "prompt": prompts.excerpt(cycle.prompt // count),
                "completions": [completions.excerpt(text) for text in cycle.completions],
                "at": [table.origin(row) for row in cycle.rows],
            }
            for cycle in found.examples
        ],
    }


def _annotators(table: Table, pair_keys: np.ndarray, judges: np.ndarray) -> dict[str, Any] | None:
    """How many annotators are named, and how far they agree; None where none is.

    `agreement` is None where no two of them judged the same pair.
    """
    if len(table.annotators) == 1:
        return None
    named = judges > 0
    prompts, first, second = pair_keys[:, named]
    pairs = _ids(prompts, np.minimum(first, second), np.maximum(first, second))
    # What one says again of a pair is no further label.
    _, labels = np.unique(pairs * len(table.annotators) + judges[named], return_index=True)
    votes = np.zeros((int(pairs.max(initial=-1)) + 1, 2), int)
    np.add.at(votes, (pairs[labels], (first > second)[labels].astype(int)), 1)
    prompt_of = np.zeros(len(votes), int)
    prompt_of[pairs] = prompts
    return {
        "number": len(table.annotators) - 1,
        "agreement": agreement_of_votes(votes, prompt_of),
    }


def _truncated(
    table: Table, completions: Texts, flags: np.ndarray, lengths: np.ndarray
) -> dict[str, Any]:
    end = dict(zip(Ending._fields, flags[:, : len(Ending._fields)].T, strict=True))
    sentence, marked = end["sentence"], end["marked"]
    marks = float(marked[sentence].mean()) if sentence.any() else None
    distinct, first = np.unique(np.array(table.texts), return_index=True)
    longest = lengths.max()
    at_limit = int((lengths[first] == longest).sum())
    limit = longest >= SENTENCES_FROM and at_limit >= max(AT_LIMIT, AT_LIMIT_SHARE * len(distinct))
    signs = {
        NO_FULL_STOP: sentence & ~marked & (marks is not None and marks >= MOST),
        "ends in a comma or a word like 'the'": end["unfinished"],
        "a code block is never closed": end["open_code"],
        "a bracket is never closed": end["open_bracket"],
        "exactly as long as the longest": (lengths == longest) & limit,
    }
    return {"share_marked": marks} | _by_standing(table, signs, completions.excerpt_of_end)


def _refused(table: Table, completions: Texts, flags: np.ndarray) -> dict[str, Any]:
    of_each = dict(zip(Refusal._fields, flags[:, len(Ending._fields) :].T, strict=True))
    signs = {
        "says that it cannot help": of_each["cannot_help"],
        "speaks of itself as an AI": of_each["is_a_model"],
    }
    return _by_standing(table, signs, completions.excerpt)


def _by_standing(
    table: Table, signs: Mapping[str, np.ndarray], shown_as: Callable[[int], str]
) -> dict[str, Any]:
    """How many completions show each sign, and what share of the best and worst show any."""
    standings = np.array(table.standings)
    shown = np.any(list(signs.values()), axis=0)
    return {
        "completions": int(shown.sum()),
        "share": float(shown.mean()),
        "share_of_best": float(shown[standings == 1].mean()),
        "share_of_worst": float(shown[standings == -1].mean()),
        "signs": {name: int(flags.sum()) for name, flags in signs.items()},
        "examples": {
            name: [
                {"at": table.origin(one), "text": shown_as(table.texts[one])}
                for one in np.flatnonzero(flags)[:EXAMPLES]
            ]
            for name, flags in signs.items()
            if flags.any()
        },
    }


def _rejected(rankings: Rankings) -> dict[str, Any]:
    examples: dict[str, list[str]] = {}
    details: dict[str, set[str]] = {}
    for item in rankings.rejected:
        kind, _, detail = item.reason.partition(": ")
        of_kind = examples.setdefault(kind, [])
        if len(of_kind) < EXAMPLES:
            of_kind.append(place(item.file, item.line))
            details.setdefault(kind, set()).add(detail)
    return {
        reason: {
            "rows": number,
            "examples": examples.get(reason, []),
            "details": sorted(details.get(reason, set()) - {""}),
        }
        for reason, number in rankings.rejected_by_reason.most_common()
    }
