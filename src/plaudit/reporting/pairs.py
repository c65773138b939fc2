"""The pairs of a report to look through: those ordered wrongly, or those on which models part.

The page has the figures of every such pair, as columns of numbers, and the texts of the first ones,
each text once however many pairs it stands in. Its script shows them a few at a time, so that a
page of a hundred thousand pairs opens like one of ten.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from plaudit.data.cells import characters
from plaudit.data.rankings import Ranking, Text, text_key
from plaudit.errors import PlauditError

# Characters of all texts of a page together. Measured in Chromium on two cores that others use:
# a page of 100,000 pairs, 36,000 of them wrong, has 7.3 MB, opens in 0.7 to 1.1 s, and a search
# through so much text takes 12 to 32 ms.
MOST_TEXT = 4_000_000


class Pair(NamedTuple):
    """Two completions of a ranking, the better one first, and what each model gave them.

    `apart` orders the pairs of a report: how far the rewards of the wrong order are apart.
    """

    ranking: int
    better: int
    worse: int
    rewards: tuple[tuple[float, float], ...]
    apart: float


@dataclass(frozen=True)
class Pairs:
    """Pairs to look through, furthest apart first.

    `models` name whose rewards they have: one, whose mistakes they are, or several that part on
    them. `of` is how many strictly ordered pairs the rankings have.
    """

    rankings: Sequence[Ranking]
    models: tuple[str, ...]
    pairs: tuple[Pair, ...]
    of: int

    def as_json(self) -> str:
        """What the page's script reads: figures of all pairs, and of the first ones the texts.

        It has no `<` in it, so that no text can end the element in which it stands.

        >>> found = mistakes([Ranking("2+2?", ["4", "</script>"], [0, 1])], [[0.5, 2.0]])
        >>> found.as_json()[-37:]
        'texts":["2+2?","4","\\\\u003c/script>"]}'
        """
        categories, writers, origins, prompts, texts = (_Numbers() for _ in range(5))
        table: dict[str, Any] = {name: [] for name in ("ranking", "prompt", "category", "apart")}
        pairs_of: dict[str, Any] = {
            name: ([], []) for name in ("completion", "length", "writer")
        }  # of the better one, of the worse one
        rewards: list[tuple[list[float], list[float]]] = [([], []) for _ in self.models]
        shown: list[list[int]] = []  # the texts of prompt and completions, by number
        origin: list[int] = []
        size = 0
        for pair in self.pairs:
            ranking = self.rankings[pair.ranking]
            category = ranking.category
            if ranking.categories is not None:
                category = ranking.categories[pair.worse]
            wrote = ranking.models or [None] * len(ranking.completions)
            table["ranking"].append(pair.ranking)
            table["prompt"].append(prompts.number(ranking.key))
            table["category"].append(-1 if category is None else categories.number(category))
            table["apart"].append(_short(pair.apart))
            for side, k in enumerate((pair.better, pair.worse)):
                pairs_of["completion"][side].append(k)
                pairs_of["length"][side].append(characters(ranking.completions[k]))
                writer = wrote[k]
                pairs_of["writer"][side].append(-1 if writer is None else writers.number(writer))
                for column, given in zip(rewards, pair.rewards, strict=True):
                    column[side].append(_short(given[side]))
            # The first is shown however long it is.
            if shown and size > MOST_TEXT:
                continue
            whole = (
                ranking.prompt,
                *(ranking.completions[k] for k in (pair.better, pair.worse)),
            )
            before = len(texts.values)
            shown.append([texts.number(text_key(text), _said(text)) for text in whole])
            size += sum(map(_size, texts.values[before:]))
            origin.append(origins.number(ranking.origin))
        data = {
            "models": self.models,
            "categories": categories.values,
            "writers": writers.values,
            "columns": {**table, **pairs_of, "rewards": rewards},
            "shown": shown,
            "origin": origin,
            "origins": origins.values,
            "texts": texts.values,
        }
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return text.replace("<", "\\u003c")

    @property
    def categories(self) -> list[str]:
        """The categories of these pairs, by name."""
        found = set()
        for pair in self.pairs:
            ranking = self.rankings[pair.ranking]
            of = ranking.categories
            found.add(ranking.category if of is None else of[pair.worse])
        return sorted(name for name in found if name is not None)


class _Numbers:
    """Values by number, in the order in which they were met."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.of: dict[Hashable, int] = {}

    def number(self, key: Hashable, value: Any = None) -> int:
        """The number of this value; `key` stands for it, and is it where there is none."""
        if key not in self.of:
            self.of[key] = len(self.values)
            self.values.append(key if value is None else value)
        return self.of[key]


def mistakes(rankings: Sequence[Ranking], rewards: Sequence[Sequence[float]]) -> Pairs:
    """The strictly ordered pairs whose worse completion has the higher reward, most wrong first.

    `rewards` hold K numbers for each ranking.

    >>> mistakes([Ranking("2+2?", ["4", "5"], [0, 1])], [[0.5, 2.0]]).pairs[0].apart
    1.5
    """
    found, of = [], 0
    for number, (ranking, given) in enumerate(zip(rankings, rewards, strict=True)):
        for i, j in ranking.pairs():
            of += 1
            if given[i] < given[j]:
                both = float(given[i]), float(given[j])
                found.append(Pair(number, i, j, (both,), both[1] - both[0]))
    found.sort(key=lambda pair: (-pair.apart, pair[:3]))
    return Pairs(rankings, ("",), tuple(found), of)


def partings(
    rankings: Sequence[Ranking], rewards: Mapping[str, Sequence[Sequence[float]]]
) -> Pairs:
    """The strictly ordered pairs that one model orders rightly and another does not.

    `rewards` hold for each model K numbers for each ranking. How far models are apart on a pair is
    the most by which their margins differ, in standard deviations of each model's own rewards.

    >>> ranking = Ranking("2+2?", ["4", "5", "6"], [0, 1, 2])
    >>> found = partings([ranking], {"a": [[3.0, 2.0, 1.0]], "b": [[3.0, 1.0, 2.0]]})
    >>> [(pair.better, pair.worse) for pair in found.pairs]
    [(1, 2)]
    """
    spreads = [float(np.concatenate(list(given)).std()) or 1.0 for given in rewards.values()]
    found, of = [], 0
    for number, ranking in enumerate(rankings):
        given = [each[number] for each in rewards.values()]
        for i, j in ranking.pairs():
            of += 1
            both = tuple((float(each[i]), float(each[j])) for each in given)
            margins = [better - worse for better, worse in both]
            if len({margin > 0 for margin in margins}) == 2:
                scaled = [margin / spread for margin, spread in zip(margins, spreads, strict=True)]
                found.append(Pair(number, i, j, both, max(scaled) - min(scaled)))
    found.sort(key=lambda pair: (-pair.apart, pair[:3]))
    return Pairs(rankings, tuple(rewards), tuple(found), of)


def in_all(
    measured: Mapping[str, tuple[Sequence[Ranking], Sequence[Sequence[float]]]],
) -> tuple[list[Ranking], dict[str, list[Sequence[float]]]]:
    """The rankings that all models were measured on, and each model's rewards of them.

    A ranking is the same where prompt, completions and their order are; completions may stand in
    another order. Those that stand several times are taken as often as all have them.

    Raises:
        PlauditError: where there is none.

    >>> one, other = Ranking("2+2?", ["4", "5"], [0, 1]), Ranking("2+2?", ["5", "4"], [1, 0])
    >>> in_all({"a": ([one], [[2.0, 1.0]]), "b": ([other], [[0.0, 3.0]])})[1]
    {'a': [[2.0, 1.0]], 'b': [[3.0, 0.0]]}
    """
    names = list(measured)
    places = [_places(rankings) for rankings, _ in measured.values()]
    common: list[Ranking] = []
    rewards: dict[str, list[Sequence[float]]] = {name: [] for name in names}
    taken: dict[Hashable, int] = {}
    for ranking in measured[names[0]][0]:
        key = _identity(ranking)
        turn = taken.get(key, 0)
        if any(len(of.get(key, ())) <= turn for of in places):
            continue
        taken[key] = turn + 1
        common.append(ranking)
        order = _order(ranking)
        for name, of in zip(names, places, strict=True):
            rankings, given = measured[name]
            at = of[key][turn]
            back = dict(zip(order, _order(rankings[at]), strict=True))
            rewards[name].append([given[at][back[k]] for k in range(len(order))])
    if not common:
        raise PlauditError(
            f"{', '.join(names)}: no ranking was measured by all of them; measure each on one "
            "file, as in `plaudit evaluate RUN DATA -o FOLDER`, and give those folders"
        )
    return common, rewards


def _order(ranking: Ranking) -> list[int]:
    """The places of completions in an order that does not hang on how they stand."""
    keys = list(map(text_key, ranking.completions))
    return sorted(range(len(keys)), key=lambda k: (keys[k], ranking.ranks[k]))


def _identity(ranking: Ranking) -> Hashable:
    completions = tuple(
        (text_key(ranking.completions[k]), ranking.ranks[k]) for k in _order(ranking)
    )
    return ranking.key, completions


def _places(rankings: Sequence[Ranking]) -> dict[Hashable, list[int]]:
    found: dict[Hashable, list[int]] = {}
    for place, ranking in enumerate(rankings):
        found.setdefault(_identity(ranking), []).append(place)
    return found


def _said(text: Text) -> str | list[tuple[str, str]]:
    """A text as it is, a dialogue as what is said in turn, with nothing left out.

    >>> _said([{"role": "user", "content": "Hi"}])
    [('user', 'Hi')]
    """
    if isinstance(text, str):
        return text
    return [(str(message["role"]), words_of(message)) for message in text]


def words_of(message: Mapping[str, Any]) -> str:
    """What a message says: its content, and all else it has (calls of tools, names) as JSON.

    >>> words_of({"role": "user", "content": "Hi", "name": "Ada"})
    'Hi\\n{"name": "Ada"}'
    """
    content = message["content"]
    parts = [content] if isinstance(content, str) else list(content or [])
    others = {key: message[key] for key in message if key not in ("role", "content")}
    said = []
    for part in [*parts, *([others] if others else [])]:
        if isinstance(part, dict) and set(part) == {"type", "text"}:
            part = part["text"]
        said.append(part if isinstance(part, str) else json.dumps(part, ensure_ascii=False))
    return "\n".join(said)


def _size(said: str | list[tuple[str, str]]) -> int:
    return len(said) if isinstance(said, str) else sum(len(text) for _, text in said)


def _short(value: float) -> float:
    """A number to the six places that a reader can use."""
    return float(f"{value:.6g}")
