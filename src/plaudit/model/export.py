"""A reward model as one file or one folder, in a format of `exports`."""

from pathlib import Path

from plaudit.errors import PlauditError
from plaudit.model.exports import EXPORTS
from plaudit.model.reward_model import RewardModel


def export(model: RewardModel, path: str | Path, format: str) -> None:
    """Write `model` in another format; what is written appears only when it is whole.

    Args:
        model: what to write.
        path: the file or folder; what of the kind stands there is replaced.
        format: `pt`, for `RewardModel.load` and `torch.load`; `onnx` and `openvino`, tokens in and
            rewards out; or what another package adds. The modules of `exports` say what each holds.

    Raises:
        PlauditError: when there is no such format, or the model cannot be written in it.

    >>> export(RewardModel.load("runs/first"), "first.pt", "pt")
    """
    if format not in EXPORTS:
        raise PlauditError(f"format: there is no {format}; choose {' or '.join(EXPORTS)}")
    EXPORTS.get(format).put(model, Path(path))
