"""Export formats: a reward model as one file or one folder. Each is one module of this package.

A module defines `EXPORT`, a `FileExport` or a `FolderExport`. Its name, that of its file, is what
`plaudit export --format` takes. Importing this package does not import torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from plaudit.errors import PlauditError
from plaudit.files import writing, writing_folder
from plaudit.plugins import Registry

if TYPE_CHECKING:
    from plaudit.model.exports._gate import GateRows
    from plaudit.model.reward_model import RewardModel


class Export(ABC):
    """A format; `folder` says whether it is one, or else a file, `half` whether its weights may be
    in half precision."""

    folder: ClassVar[bool]
    half: bool

    @property
    def int8(self) -> bool:
        """Whether there is `put_int8`."""
        return False

    def put_int8(self, model: "RewardModel", path: Path, rows: "GateRows") -> None:
        """`put`, with products in int8, where that keeps the order of `rows` (see `_gate`).

        Raises:
            PlauditError: as `put`, and where the order is not kept.
        """
        raise NotImplementedError

    @abstractmethod
    def put(self, model: "RewardModel", path: Path) -> None:
        """Write the model to `path`, where it appears when it is whole.

        Raises:
            PlauditError: when the model cannot be expressed in this format, or not be written.
        """


@dataclass(frozen=True)
class FileExport(Export):
    """A format that is one file.

    `write` puts the model into an open file, which gets its name, the path that messages are to
    begin with, only when `write` has returned.
    """

    write: "Callable[[RewardModel, BinaryIO, Path], None]"
    half: bool = False
    folder = False

    def put(self, model: "RewardModel", path: Path) -> None:
        """See `Export`."""
        with writing(path) as file:
            self.write(model, file.buffer, path)


@dataclass(frozen=True)
class FolderExport(Export):
    """A format that is a folder.

    `fill` puts files into an empty folder, which gets its name, the path that messages are to begin
    with, only when `fill` has returned; so does `fill_int8`, where there is int8.
    """

    fill: "Callable[[RewardModel, Path, Path], None]"
    half: bool = False
    fill_int8: "Callable[[RewardModel, Path, Path, GateRows], None] | None" = None
    folder = True

    @property
    def int8(self) -> bool:
        """See `Export`."""
        return self.fill_int8 is not None

    def put(self, model: "RewardModel", path: Path) -> None:
        """See `Export`; a folder with files that this one has not is not replaced."""
        self._put(path, lambda folder: self.fill(model, folder, path))

    def put_int8(self, model: "RewardModel", path: Path, rows: "GateRows") -> None:
        """See `Export`."""
        fill = self.fill_int8
        assert fill is not None  # or `int8` is not
        self._put(path, lambda folder: fill(model, folder, path, rows))

    def _put(self, path: Path, fill: Callable[[Path], None]) -> None:
        with writing_folder(path) as folder:
            fill(folder)
            new, there = ({each.name for each in of.glob("*")} for of in (folder, path))
            if lost := sorted(there - new):
                raise PlauditError(
                    f"{path}: has {lost[0]}, which this export does not write and --overwrite "
                    "would delete; move it away, or name another folder"
                )


EXPORTS = Registry("export", __name__, "EXPORT", Export)  # type: ignore[type-abstract]  # only for isinstance
