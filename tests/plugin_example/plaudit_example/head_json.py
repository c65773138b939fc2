"""The head's weights as JSON, to look at them."""

import json
from pathlib import Path
from typing import BinaryIO

from plaudit import RewardModel
from plaudit.errors import PlauditError
from plaudit.model.exports import FileExport


def write(model: RewardModel, file: BinaryIO, path: Path) -> None:
    """Write `{"pooling": …, "weight": [H numbers]}`."""
    if not hasattr(model.model, "score"):
        raise PlauditError(f"{path}: {type(model.model).__name__} has no linear head `score`")
    weight = model.model.score.weight.detach().float().flatten().tolist()
    file.write(json.dumps({"pooling": model.pooling, "weight": weight}).encode())


EXPORT = FileExport(write)
