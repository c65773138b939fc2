"""The texts of many rankings, each once: what several data have in common is scored once.

Rewards are then kept by the texts that they are of, whichever ranking these stand in. Assumes that
a completion of equal prompts has one reward, as every scorer gives it.
"""

from collections.abc import Iterable, Sequence

from plaudit.data.rankings import Ranking, Text, text_key

Asked = tuple[Text, Sequence[Text]]  # a prompt and some of its completions
Key = tuple[str, str]  # what is equal where a prompt and its completion are


def asked_once(rankings: Iterable[Ranking]) -> list[Asked]:
    """Each prompt with its different completions, in the order in which they first stand.

    >>> asked_once([Ranking("2+2?", ["4", "5"], [0, 1]), Ranking("2+2?", ["4", "6"], [0, 1])])
    [('2+2?', ['4', '5', '6'])]
    """
    found: dict[str, tuple[Text, dict[str, Text]]] = {}
    for ranking in rankings:
        _, completions = found.setdefault(text_key(ranking.prompt), (ranking.prompt, {}))
        for text in ranking.completions:
            completions.setdefault(text_key(text), text)
    return [(prompt, [*completions.values()]) for prompt, completions in found.values()]


def keys_of(prompt: Text, completions: Iterable[Text]) -> list[Key]:
    """What the reward of each of a prompt's completions is kept by.

    >>> keys_of("2+2?", ["4", "5"])
    [('2+2?', '4'), ('2+2?', '5')]
    """
    key = text_key(prompt)
    return [(key, text_key(text)) for text in completions]
