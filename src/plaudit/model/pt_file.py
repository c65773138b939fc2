"""The `.pt` file: a model folder in one file, which `torch.load(weights_only=True)` reads.

It holds plain containers and tensors, so that reading it runs no code, whoever wrote it.
"""

import json
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from plaudit.errors import PlauditError

VERSION = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def packed(folder: Path) -> dict[str, Any]:
    """What the `.pt` of a saved model folder holds: config, weights and the tokenizer's files."""
    return {
        "format": "plaudit",
        "version": VERSION,
        "config": json.loads((folder / CONFIG).read_text(encoding="utf-8")),
        "state_dict": {k: v.clone() for k, v in load_file(folder / WEIGHTS).items()},
        "tokenizer": {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            # Code that the folder has for the model's class is not the tokenizer's.
            if file.is_file() and file.name not in (CONFIG, WEIGHTS) and file.suffix != ".py"
        },
    }


@contextmanager
def unpacked(path: str | Path) -> Iterator[Path]:
    """A temporary model folder with what a `.pt` holds; it is gone when the block ends.

    Raises `PlauditError` when plaudit did not write the file, or it is damaged. No code that a file
    may carry is run.
    """
    path = Path(path)
    content = _read(path)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            (folder / CONFIG).write_text(json.dumps(content["config"]), encoding="utf-8")
            save_file(content["state_dict"], folder / WEIGHTS, metadata={"format": "pt"})
            for file, data in content["tokenizer"].items():
                (folder / file).parent.mkdir(exist_ok=True)
                (folder / file).write_bytes(data)
        except (OSError, SafetensorError, TypeError, ValueError) as error:
            raise PlauditError(f"{path}: cannot be unpacked to {folder.parent}: {error}") from error
        del content  # the weights are about to be read again
        yield folder


def _read(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():  # of pickles that it is about to refuse
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can fail anywhere
        raise PlauditError(
            f"{path}: is damaged, or not a model that plaudit exported; export it again"
        ) from error
    if not isinstance(content, dict) or content.get("format") != "plaudit":
        raise PlauditError(f"{path}: is not a model that plaudit exported; give one, or a folder")
    if content.get("version") != VERSION:
        raise PlauditError(
            f"{path}: has version {content.get('version')} of the format and this plaudit reads "
            f"{VERSION}: update plaudit, or export the model again"
        )
    config, weights, files = (content.get(k) for k in ("config", "state_dict", "tokenizer"))
    if not (
        isinstance(config, dict)
        and isinstance(weights, dict)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items())
        and isinstance(files, dict)
        and all(_is_file_name(k) and isinstance(v, bytes) for k, v in files.items())
    ):
        raise PlauditError(f"{path}: is damaged; export the model again")
    return content


def _is_file_name(name: Any) -> bool:
    """Whether `name` is the bare name of a file on any system, and not one that we write.

    Chat templates beyond the first are the only files that tokenizers keep in a folder.
    """
    if not isinstance(name, str):
        return False
    name = name.removeprefix("additional_chat_templates/")
    return (
        name not in ("", ".", "..", CONFIG, WEIGHTS)
        and PureWindowsPath(name).name == name  # which knows both slashes
    )
