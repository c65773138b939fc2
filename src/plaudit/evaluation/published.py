"""What well-known models reached on the benchmarks, by what their own authors or others published.

The figures stand in `published.yaml`, each with the address that it was read at.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from typing_extensions import TypedDict

from plaudit.yaml_file import read_yaml


class Published(NamedTuple):
    """A model's score, from 0 to 1, and where it stands."""

    model: str
    score: float
    source: str


class PublishedRecord(TypedDict):
    """A published score as JSON has it."""

    model: str
    score: float
    source: str


@cache
def published_scores() -> dict[str, list[Published]]:
    """The published scores of each suite, by its name.

    >>> published_scores()["judgebench"][0]._replace(source="…")
    Published(model='Skywork-Reward-Gemma-2-27B', score=0.6429, source='…')
    """
    found = read_yaml(Path(__file__).with_name("published.yaml"))
    return {
        suite: [
            Published(model, round(percent / 100, 6), table["source"])
            for table in tables
            for model, percent in table["scores"].items()
        ]
        for suite, tables in found.items()
    }
