"""A reward model as one file, in a format of `exports`."""

from pathlib import Path

from plaudit.errors import PlauditError
from plaudit.files import writing
from plaudit.model.exports import EXPORTS
from plaudit.model.reward_model import RewardModel


def export(model: RewardModel, path: str | Path, format: str) -> None:
    """Write `model` as one file, which appears only when it is whole.

    Args:
        model: what to write.
        path: the file; what stands there is replaced.
        format: `pt`, for `RewardModel.load` and `torch.load`; `onnx`, tokens in and rewards out;
            or what another package adds. The modules of `exports` say what each holds.

    Raises:
        PlauditError: when there is no such format, or the file cannot be written in it.

    >>> export(RewardModel.load("runs/first"), "first.pt", "pt")
    """
    path = Path(path)
    if path.is_dir():
        raise PlauditError(f"{path}: is a folder; give the name of a file")
    if format not in EXPORTS:
        raise PlauditError(f"format: there is no {format}; choose {' or '.join(EXPORTS)}")
    chosen = EXPORTS.get(format)
    with writing(path) as file:
        chosen.write(model, file.buffer, path)
