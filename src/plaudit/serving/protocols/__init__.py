"""The protocols of the service: how it is asked, one module for each peer, found by its name.

A module defines `PROTOCOL`: the paths that it answers, the request that it takes, an `Asked`, the
shape of its answer, for the OpenAPI description, and an example. Limits, keys, batching and
refusals come with being here. Peers that share a path are told apart by the fields of the body.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from plaudit.errors import PlauditError
from plaudit.plugins import Registry
from plaudit.serving.asked import Asked
from plaudit.serving.gate import RefusedError


@dataclass(frozen=True)
class Protocol:
    """How one kind of client asks: `POST` to one of the paths.

    `marks` are fields that no other protocol of those paths has: a body with one of them is this
    one's. A protocol that has its paths for itself needs none. `example` is a small right body,
    which refusals and the OpenAPI description show.
    """

    paths: tuple[str, ...]
    request: type[Asked]
    answer: Any  # a pydantic model, or whatever else pydantic makes a schema of
    marks: tuple[str, ...] = ()
    example: Mapping[str, Any] | None = None


PROTOCOLS = Registry("protocol", __name__, "PROTOCOL", Protocol)


def by_path() -> dict[str, dict[str, Protocol]]:
    """What is spoken at each path, by name.

    Raises:
        PlauditError: where two protocols of one path cannot be told apart.
    """
    found: dict[str, dict[str, Protocol]] = {}
    for name in PROTOCOLS:
        protocol = PROTOCOLS.get(name)
        for path in protocol.paths:
            found.setdefault(path, {})[name] = protocol
    for path, spoken in found.items():
        for (name, one), (other_name, other) in combinations(spoken.items(), 2):
            if not (one.marks and other.marks) or set(one.marks) & set(other.marks):
                raise PlauditError(
                    f"{path}: the protocols {name} and {other_name} both answer it, and nothing "
                    "tells their requests apart: give each `marks`, fields that the other has not"
                )
    return found


def spoken_in(content: Any, spoken: Mapping[str, Protocol]) -> tuple[str, Protocol]:
    """The one protocol of a path that a body is asked in, with its name.

    Raises:
        RefusedError: where the body has the marks of none or of several; it shows all shapes.
    """
    if len(spoken) == 1:
        return next(iter(spoken.items()))
    fields = set(content) if isinstance(content, dict) else set()
    meant = [(name, one) for name, one in spoken.items() if fields.intersection(one.marks)]
    if len(meant) == 1:
        return meant[0]
    shapes = "; ".join(f"{' or '.join(one.marks)} ({name})" for name, one in spoken.items())
    has = "has fields of several" if meant else "has none of those fields"
    raise RefusedError(
        422,
        "invalid",
        f"several protocols are spoken here, told apart by their fields: {shapes}; this body {has}",
        examples=examples_of(spoken),
    )


def examples_of(spoken: Mapping[str, Protocol]) -> dict[str, Mapping[str, Any]]:
    """A right body for each of these protocols, by name."""
    return {name: one.example for name, one in spoken.items() if one.example is not None}
