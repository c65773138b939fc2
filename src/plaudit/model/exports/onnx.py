"""ONNX, for every runtime that reads it: tokens in, rewards out; the tokenizer stays in the folder.

Inputs are `input_ids[N, L]`, `attention_mask[N, L]` and, where the base model takes them,
`token_type_ids[N, L]`, all int64 with N and L free and rows padded on the right; the output is
`reward[N]`, float32, not normalised: how to do that is in the file's metadata, under `plaudit`,
beside how texts are laid out. The rewards are compared with PyTorch's before the file appears.
"""

import importlib.util
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from plaudit.console import say
from plaudit.errors import PlauditError
from plaudit.model.exports import FileExport
from plaudit.model.exports._checked import Network, Session, check, described, first_line, quiet
from plaudit.model.reward_model import RewardModel

ONNX_TAKES_A_WHILE = "exporting to ONNX and comparing the rewards with PyTorch's"


def session(file: str | Path | bytes) -> Session:
    """What runs an ONNX file that plaudit wrote: a batch's tokens in, rewards `[N]` out.

    Args:
        file: its path, or what it holds.

    Raises:
        PlauditError: when onnxruntime is not installed, or cannot read the file.

    >>> import torch
    >>> run = session("first.onnx")  # doctest: +SKIP
    >>> tokens = {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.ones(1, 2).long()}
    >>> run(tokens).shape  # doctest: +SKIP
    torch.Size([1])
    """
    _need("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    content = file if isinstance(file, bytes) else str(file)
    try:
        running = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no base but this
        name = "ONNX" if isinstance(file, bytes) else file
        raise PlauditError(f"{name}: onnxruntime cannot read it ({first_line(error)})") from error
    names = [given.name for given in running.get_inputs()]

    def run(tokens: dict[str, Tensor]) -> Tensor:
        (rewards,) = running.run(["reward"], {name: tokens[name].numpy() for name in names})
        return torch.from_numpy(rewards)

    return run


def write(model: RewardModel, file: BinaryIO, path: Path) -> None:
    """Write the model as ONNX, once its rewards are PyTorch's.

    Raises:
        PlauditError: when the extra is not installed, the base model cannot be expressed in ONNX,
            it is larger than 2 GB, or its rewards differ from PyTorch's by more than 1e-4.
    """
    _need("onnx", "onnxscript", "onnxruntime")
    say(ONNX_TAKES_A_WHILE)
    network = Network(model)
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                tuple(network.example.values()),
                input_names=network.names,
                output_names=["reward"],
                dynamic_shapes=network.free_shapes,
                dynamo=True,
                verbose=False,
            )
            assert program is not None
            program.model.metadata_props["plaudit"] = described(model)
            content = program.model_proto.SerializeToString()
    except Exception as error:  # the exporter has no exception of its own for what it cannot do
        raise PlauditError(
            f"{path}: {type(model.model).__name__} cannot be exported to ONNX; choose pt "
            f"({first_line(error)})"
        ) from error
    check(lambda: session(content), network, model, path, "onnxruntime")
    file.write(content)


def _need(*packages: str) -> None:
    missing = [name for name in packages if not importlib.util.find_spec(name)]
    if missing:
        raise PlauditError(
            f"format: onnx needs {', '.join(missing)}: run `pip install 'plaudit[onnx]'`"
        )


EXPORT = FileExport(write)
