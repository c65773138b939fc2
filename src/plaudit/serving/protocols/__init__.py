"""The protocols of the service: how it is asked, one module for each peer, found by its name.

A module defines `PROTOCOL`: the paths that it answers, the request that it takes, an `Asked`, and
the shape of its answer, for the OpenAPI description. Limits, keys, batching and refusals come with
being here.
"""

from dataclasses import dataclass
from typing import Any

from plaudit.errors import PlauditError
from plaudit.plugins import Registry
from plaudit.serving.asked import Asked


@dataclass(frozen=True)
class Protocol:
    """How one kind of client asks: `POST` to one of the paths."""

    paths: tuple[str, ...]
    request: type[Asked]
    answer: Any  # a pydantic model, or a union of some


PROTOCOLS = Registry("protocol", __name__, "PROTOCOL", Protocol)


def by_path() -> dict[str, Protocol]:
    """What answers at each path.

    Raises:
        PlauditError: where two protocols want the same one.
    """
    found: dict[str, Protocol] = {}
    names: dict[str, str] = {}
    for name in PROTOCOLS:
        protocol = PROTOCOLS.get(name)
        for path in protocol.paths:
            if path in found:
                raise PlauditError(f"{path}: the protocols {names[path]} and {name} both answer it")
            found[path], names[path] = protocol, name
    return found
