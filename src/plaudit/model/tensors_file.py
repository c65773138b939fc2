"""A file of tensors that plaudit writes beside a model's weights, with the version of its format.

What it holds is its owner's business. A reader of another version, or of a damaged file, is told
what to do; without the file the model is as it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from plaudit.errors import PlauditError


@contextmanager
def reading(
    file: Path, framework: Literal["np", "pt"], version: str, without: str
) -> Iterator[tuple[Any, dict[str, str]]]:
    """The opened file and what it says about itself, to take tensors from within.

    Raises:
        PlauditError: when it is of another version, or what is read within shows that it is
            damaged; then `without` says what the model is without it.
    """
    try:
        with safe_open(file, framework) as stored:
            about = stored.metadata() or {}
            if about.get("version") != version:
                raise PlauditError(
                    f"{file}: has version {about.get('version')} of the format and this plaudit "
                    f"reads {version}: update plaudit, or delete the file"
                )
            yield stored, about
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise PlauditError(f"{file}: is damaged ({error}); {without}") from error


def as_readable(file: Path) -> None:
    """Let those read the file who may read the model's configuration beside it."""
    file.chmod((file.parent / "config.json").stat().st_mode)
