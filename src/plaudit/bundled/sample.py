"""Example data that come with plaudit: questions about money, and answers good and bad.

Two sets are made here, from a seed and nothing else: rankings of three to five completions, and
pairs. A good completion states the right value; any other has one of the FAULTS. What is asked is
in `kinds.py`, what else is said in `sentences.py`.

What a reward model can learn from them: evasive, vague, unfinished and off-topic completions can be
told from good ones by their language; a wrong sum is worded just like a right one, so a small model
mostly cannot tell. Length tells nothing: every draw of faults is used for two neighbouring prompts,
with the completions in opposite order of length, so that preferring the longer one is right in half
of the pairs. The first rankings of a larger set are those of a smaller one.
"""

import csv
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from plaudit.bundled.kinds import KINDS, Kind, written
from plaudit.bundled.sentences import (
    AFTER,
    ASIDES,
    BEFORE,
    CURRENCIES,
    EVASIVE,
    NAMES,
    OPENINGS,
    RESULTS,
    ROUNDED,
    UNFINISHED,
    VAGUE,
)
from plaudit.data.rankings import Ranking, dense_ranks
from plaudit.errors import PlauditError
from plaudit.files import refuse_to_overwrite, write_jsonl, writing

# What may be wrong with a completion, and how bad that is (a good one has 0, equal numbers tie). A
# slip at the end and a method without its end are about as much help as each other.
FAULTS = {
    "wrong sum": 1,
    "unfinished": 1,
    "vague": 2,
    "evasive": 3,
    "off-topic": 4,
}

RANKED_FILE = "sample_ranked.csv"
PAIRS_FILE = "sample_pairs.jsonl"


def sample_rankings(n: int = 400, seed: int = 0) -> list[Ranking]:
    """`n` prompts with 3 to 5 completions each, in random order.

    `ranks` follow FAULTS, with ties; `categories[i]` is the fault of completion i, None for a good
    one. The same `n` and `seed` give the same rankings on every machine.

    Raises `PlauditError` when `n` is not positive.

    >>> ranking = sample_rankings(1)[0]
    >>> [fault is None for fault in ranking.categories] == [rank == 0 for rank in ranking.ranks]
    True
    """

    def draw_faults(rng: random.Random) -> list[str | None]:
        # Twice each, so that ties also come from two completions with the same fault.
        others: list[str | None] = [None, *FAULTS, *FAULTS]
        return [None, *rng.sample(others, rng.choice((2, 3, 3, 4)))]

    rankings = []
    for prompt, completions, faults, rng in _prompts("ranked", n, seed, draw_faults):
        order = rng.sample(range(len(faults)), len(faults))
        faults = [faults[i] for i in order]
        rankings.append(
            Ranking(
                prompt,
                [completions[i] for i in order],
                dense_ranks([FAULTS[fault] if fault else 0 for fault in faults]),
                categories=faults,
            )
        )
    return rankings


def sample_pairs(n: int = 400, seed: int = 0) -> list[Ranking]:
    """`n` prompts with a chosen and a rejected completion, `category` the rejected one's fault.

    Raises `PlauditError` when `n` is not positive.

    >>> pair = sample_pairs(1)[0]
    >>> list(pair.ranks), pair.category in FAULTS
    ([0, 1], True)
    """

    def draw_faults(rng: random.Random) -> list[str | None]:
        return [None, rng.choice(list(FAULTS))]

    return [
        Ranking(prompt, completions, [0, 1], category=faults[1])
        for prompt, completions, faults, _ in _prompts("pairs", n, seed, draw_faults)
    ]


def write_sample(
    folder: str | Path, n: int = 400, seed: int = 0, *, overwrite: bool = False
) -> tuple[Path, Path]:
    """Write both sets, each of `n` prompts, into `folder` and return the two paths.

    `sample_ranked.csv` has the columns prompt, answer, rank (1 is best, equal ranks are ties) and
    category (empty for a good answer); `sample_pairs.jsonl` has prompt, chosen, rejected and
    category. The same `n` and `seed` write the same bytes.

    Raises `PlauditError` when `n` is not positive, the folder cannot be written, or it holds either
    file and `overwrite` is not set.

    >>> import tempfile
    >>> [path.name for path in write_sample(tempfile.mkdtemp(), n=4)]
    ['sample_ranked.csv', 'sample_pairs.jsonl']
    """
    ranked, pairs = Path(folder) / RANKED_FILE, Path(folder) / PAIRS_FILE
    for path in (ranked, pairs):
        refuse_to_overwrite(path, overwrite)
    rankings = sample_rankings(n, seed)
    with writing(ranked) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["prompt", "answer", "rank", "category"])
        for ranking in rankings:
            columns = (ranking.completions, ranking.ranks, ranking.categories or ())
            for completion, rank, fault in zip(*columns, strict=True):
                rows.writerow([ranking.prompt, completion, rank + 1, fault or ""])
    write_jsonl(
        pairs,
        (
            {
                "prompt": pair.prompt,
                "chosen": pair.completions[0],
                "rejected": pair.completions[1],
                "category": pair.category,
            }
            for pair in sample_pairs(n, seed)
        ),
    )
    return ranked, pairs


# --- Making a prompt and its completions ---------------------------------------------------------

# Completions are written several times over and picked by length, in characters.
DRAFTS = 10
SHORTEST, LONGEST = 25, 330


def _prompts(
    name: str,
    n: int,
    seed: int,
    draw_faults: Callable[[random.Random], list[str | None]],
) -> Iterator[tuple[str, list[str], list[str | None], random.Random]]:
    """Yield `n` distinct prompts, each with a completion for every fault drawn.

    Two neighbours share their faults, and the order of the lengths of one is the reverse of the
    other's. The random generator of a prompt is yielded along, for what is still to be drawn.
    """
    if n < 1:
        raise PlauditError(f"a sample of n = {n} prompts: n must be at least 1")
    seen: set[str] = set()
    for index in range(n):
        # A string seeds the generator by its bytes, the same in every process.
        deck = list(KINDS)
        random.Random(f"{seed} {name} kinds {index // len(KINDS)}").shuffle(deck)
        both = random.Random(f"{seed} {name} neighbours {index // 2}")
        faults = draw_faults(both)
        by_length = both.sample(range(len(faults)), len(faults))
        if index % 2:
            by_length.reverse()
        rng = random.Random(f"{seed} {name} prompt {index}")
        question = Question(deck[index % len(KINDS)], rng)
        while question.prompt in seen:
            question = Question(question.kind, rng)
        seen.add(question.prompt)
        yield question.prompt, _completions(question, faults, by_length, rng), faults, rng


class Question:
    """One question: its prompt, the texts of its numbers and the wrong values to choose from."""

    def __init__(self, kind: Kind, rng: random.Random, currency: str | None = None) -> None:
        """Draw numbers until the result differs visibly from them and some slip from both."""
        self.kind = kind
        self.currency = currency or rng.choice(CURRENCIES)
        while True:
            values = {name: number.draw(rng) for name, number in kind.numbers.items()}
            texts = {
                name: written(values[name], number.unit, self.currency)
                for name, number in kind.numbers.items()
            }
            unit, solve = kind.answer
            value = solve(**values)
            answer = written(value, unit, self.currency)
            half = written(kind.half[1](**values), kind.half[0], self.currency)
            slips = [slip(**values) for slip in kind.slips]
            self.wrong = [
                text
                for slip in slips
                if slip > 0
                and abs(slip - value) > 0.01 * value
                and (text := written(slip, unit, self.currency)) not in (*texts.values(), answer)
            ]
            if value > 0 and answer not in (*texts.values(), half) and self.wrong:
                break
        given = kind.given.format(**texts)
        self.texts = {**texts, "half": half, "answer": answer, "given": given, "topic": kind.topic}
        self.texts["formula"] = kind.formula.format(**texts)
        ask = rng.choice(kind.ask).format(name=rng.choice(NAMES), **texts)
        self.prompt = rng.choice(BEFORE) + ask + rng.choice(AFTER)
        if rng.random() < 0.08:
            self.prompt = self.prompt.lower()


def _completions(
    question: Question, faults: Sequence[str | None], by_length: Sequence[int], rng: random.Random
) -> list[str]:
    """One completion for each of `faults`; `by_length` lists their places, the shortest first."""
    while True:
        completions = [""] * len(faults)
        targets = sorted(rng.uniform(SHORTEST, LONGEST) for _ in faults)
        for place, target in zip(by_length, targets, strict=True):
            drafts = [_draft(question, faults[place], rng) for _ in range(DRAFTS)]
            distances = [abs(len(draft) - target) for draft in drafts]
            completions[place] = drafts[distances.index(min(distances))]
        if all(len(completions[a]) < len(completions[b]) for a, b in pairwise(by_length)):
            return completions


def _draft(question: Question, fault: str | None, rng: random.Random) -> str:
    """One way to write a completion with this fault (None: a good one), of any length."""
    if fault == "off-topic":
        others = [kind for kind in KINDS if kind is not question.kind]
        question, fault = Question(rng.choice(others), rng, question.currency), None
    kind, texts = question.kind, question.texts
    if fault == "wrong sum":
        texts = {**texts, "answer": rng.choice(question.wrong)}
    match fault:
        case None | "wrong sum":
            core = list(kind.steps[: rng.randint(0, len(kind.steps))])
            if texts["answer"] == texts["half"]:
                # Who stops half-way and calls it the result has not shown it as a step before.
                core = core[:1]
            bare = () if core else ("{answer}.",)
            result = rng.choice((*kind.says, *RESULTS, *bare))
            core.insert(rng.choice((0, len(core))), result)
            if rng.random() < 0.15:
                core.append(ROUNDED)
        case "unfinished":
            core = list(kind.steps[: rng.randint(0, len(kind.steps))])
            if not core or rng.random() < 0.5:
                core.append("So it is {formula}." if core else "Work out {formula}.")
            core += rng.sample(UNFINISHED, rng.randint(0, 1))
        case "vague":
            core = rng.sample((*kind.vague, *VAGUE), rng.randint(1, 3))
        case "evasive":
            core = rng.sample(EVASIVE, rng.randint(1, 3))
        case _:
            raise AssertionError(f"no text for the fault {fault!r}")
    opening = rng.choice(OPENINGS)
    # Once is enough to repeat the question.
    restating = [sentence for sentence in core if "{given}" in sentence]
    core = [sentence for sentence in core if sentence not in restating[1:]]
    if restating and "{given}" in opening:
        opening = ""
    body = [*core, *rng.sample(ASIDES, rng.choice((0, 0, 1, 1, 2, 3)))]
    if len(body) > 2 and rng.random() < 0.2:
        text = "\n".join([opening, *(f"- {sentence}" for sentence in body)])
    else:
        text = " ".join([opening, *body])
    return text.strip().format(**texts)
