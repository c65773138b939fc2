"""Engines: what computes the rewards of an exported network, in PyTorch's place.

Each is one module of this package. A module defines `ENGINE`, an `Engine`. `RewardModel.load` takes
what `plaudit export` wrote for one by its path. Importing this package imports no engine.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.errors import PlauditError
from plaudit.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor

# A batch's tokens by their names, `[N, L]` each, in; rewards `[N]`, float32, out.
Session = Callable[[dict[str, "Tensor"]], "Tensor"]


@dataclass(frozen=True)
class Opened:
    """An exported network that is ready to run.

    `described` is what the export noted of it (see `exports._checked.described`).
    """

    run: Session
    described: dict[str, Any]
    tokenizer: Any


@dataclass(frozen=True)
class Engine:
    """A program that runs exported networks on the CPU.

    Attributes:
        name: for messages.
        reads: whether a path looks like one of its exports; the program need not be installed.
        open: the export at a path, with products in bfloat16 where the second argument is True.
        files: what of the export decides the rewards, and so its identity.
        bfloat16: whether it can compute in that.
    """

    name: str
    reads: Callable[[Path], bool]
    open: Callable[[Path, bool], Opened]
    files: Callable[[Path], list[Path]]
    bfloat16: bool = False


ENGINES = Registry("engine", __name__, "ENGINE", Engine)


def engine_of(path: str | Path) -> Engine | None:
    """The engine that runs what is at a path; None where it is no export for one.

    >>> engine_of("runs/first") is None
    True
    """
    place = Path(path)
    if not place.exists():
        return None
    every = map(ENGINES.get, ENGINES.names())
    return next((engine for engine in every if engine.reads(place)), None)


def read_described(text: str, path: Path) -> dict[str, Any]:
    """What an export noted, as a dict.

    Raises:
        PlauditError: where it lacks what is needed to encode texts.
    """
    try:
        described = json.loads(text)
        for name in ("kind", "max_length", "template", "separator", "pooling"):
            described[name]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise PlauditError(
            f"{path}: does not say how texts become tokens: it was written by another program or "
            "an earlier version; export the model again with `plaudit export`"
        ) from None
    return dict(described)
