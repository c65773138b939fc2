"""A `.pt`: what the model folder holds, which `torch.load(weights_only=True)` reads without running
code, and `RewardModel.load` takes."""

import tempfile
from pathlib import Path
from typing import BinaryIO

import torch

from plaudit.errors import PlauditError
from plaudit.model import pt_file
from plaudit.model.exports import FileExport
from plaudit.model.reward_model import RewardModel


def write(model: RewardModel, file: BinaryIO, path: Path) -> None:
    """Write config, weights and the tokenizer's files as plain containers and tensors."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            model.save(Path(folder) / "model", training_hashes=False)
        except PlauditError as error:  # of a folder that the user has not named
            raise PlauditError(f"{path}: cannot be written: {error}") from error
        torch.save(pt_file.packed(Path(folder) / "model"), file)


EXPORT = FileExport(write)
