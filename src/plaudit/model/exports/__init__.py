"""Export formats: a reward model as one file. Each is one module of this package.

A module defines `EXPORT`, an `Export`. Its name, that of its file, is what `plaudit export
--format` takes. Importing this package does not import torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from plaudit.plugins import Registry

if TYPE_CHECKING:
    from plaudit.model.reward_model import RewardModel


@dataclass(frozen=True)
class Export:
    """A format. `write` puts the model into an open file, which gets its name, the path that
    messages are to begin with, only when `write` has returned."""

    write: "Callable[[RewardModel, BinaryIO, Path], None]"


EXPORTS = Registry("export", __name__, "EXPORT", Export)
