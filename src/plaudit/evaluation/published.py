"""What well-known models reached on the benchmarks, by what their own authors or others published.

The figures stand in `published.yaml`, each with the address that it was read at.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from typing_extensions import TypedDict

from plaudit.yaml_file import read_yaml


class Published(NamedTuple):
    """A model's score, from 0 to 1, and where it stands.

    `items` is of how many it is, where the benchmark's data are published in several files.
    """

    model: str
    score: float
    source: str
    items: int | None = None


class PublishedRecord(TypedDict):
    """A published score as JSON has it."""

    model: str
    score: float
    source: str


def published_for(suite: str, items: int) -> list[PublishedRecord]:
    """The published scores that one of so many items of a suite can stand beside.

    >>> [one["score"] for one in published_for("judgebench", 350)][:2]
    [0.6429, 0.6229]
    >>> published_for("judgebench", 270)
    []
    """
    return [
        {"model": one.model, "score": one.score, "source": one.source}
        for one in published_scores().get(suite, [])
        if one.items in (None, items)
    ]


@cache
def published_scores() -> dict[str, list[Published]]:
    """The published scores of each suite, by its name."""
    found = read_yaml(Path(__file__).with_name("published.yaml"))
    return {
        suite: [
            Published(model, round(percent / 100, 6), table["source"], table.get("items"))
            for table in tables
            for model, percent in table["scores"].items()
        ]
        for suite, tables in found.items()
    }
