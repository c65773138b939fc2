"""ONNX, for every runtime that reads it: tokens in, rewards out; the tokenizer stays in the folder.

Inputs are `input_ids[N, L]`, `attention_mask[N, L]` and, where the base model takes them,
`token_type_ids[N, L]`, all int64 with N and L free and rows padded on the right; the output is
`reward[N]`, float32, not normalised: how to do that is in the file's metadata, under `plaudit`. The
rewards are compared with PyTorch's before the file appears.
"""

import contextlib
import copy
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor, nn

from plaudit.console import say
from plaudit.errors import PlauditError
from plaudit.model.batches import model_inputs
from plaudit.model.classifier import reward_difference
from plaudit.model.exports import Export
from plaudit.model.reward_model import RewardModel
from plaudit.model.saving import stored_settings

EXAMPLE_SHAPE = (3, 9)  # rows, tokens
# Other numbers of rows, and other lengths, as far as the model reads.
CHECKED_SHAPES = ((1, 1), (5, 7), (1, 33), (2, 200), (2, 512))
TOLERANCE = 1e-4
ONNX_TAKES_A_WHILE = "exporting to ONNX and comparing the rewards with PyTorch's"


class _Reward(nn.Module):
    """Tokens in, rewards `[N]` out."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model(**dict(zip(self.names, inputs, strict=True))).logits[:, 0]


def write(model: RewardModel, file: BinaryIO, path: Path) -> None:
    """Write the model as ONNX, once its rewards are PyTorch's.

    Raises:
        PlauditError: when the extra is not installed, the base model cannot be expressed in ONNX,
            it is larger than 2 GB, or its rewards differ from PyTorch's by more than 1e-4.
    """
    missing = [m for m in ("onnx", "onnxscript", "onnxruntime") if not importlib.util.find_spec(m)]
    if missing:
        raise PlauditError(
            f"format: onnx needs {', '.join(missing)}: run `pip install 'plaudit[onnx]'`"
        )
    say(ONNX_TAKES_A_WHILE)
    example = _example(model, *EXAMPLE_SHAPE)
    network = _Reward(copy.deepcopy(model.model).to("cpu", torch.float32).eval(), list(example))
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                tuple(example.values()),
                input_names=list(example),
                output_names=["reward"],
                dynamic_shapes=((free,) * len(example),),
                dynamo=True,
                verbose=False,
            )
            assert program is not None
            settings = stored_settings(model.encoding, model.pooling, model.normalisation)
            program.model.metadata_props["plaudit"] = json.dumps(settings)
            content = program.model_proto.SerializeToString()
    except Exception as error:  # the exporter has no exception of its own for what it cannot do
        raise PlauditError(
            f"{path}: {type(model.model).__name__} cannot be exported to ONNX; choose pt "
            f"({_first_line(error)})"
        ) from error
    _check(content, network, model, path)
    file.write(content)


def _check(content: bytes, network: nn.Module, model: RewardModel, path: Path) -> None:
    """Compare ONNX with PyTorch on padded batches of other sizes and lengths than the example."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    worst = 0.0
    try:
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        for rows, length in CHECKED_SHAPES:
            inputs = _example(model, rows, min(length, model.encoding.max_length))
            with torch.no_grad():
                expected = network(*inputs.values())
            (rewards,) = session.run(["reward"], {k: v.numpy() for k, v in inputs.items()})
            worst = max(worst, reward_difference(torch.from_numpy(rewards), expected))
    except Exception as error:  # the runtime's exceptions share no base but this
        raise PlauditError(
            f"{path}: onnxruntime cannot run {type(model.model).__name__}; choose pt "
            f"({_first_line(error)})"
        ) from error
    if worst > TOLERANCE:
        raise PlauditError(
            f"{path}: the rewards of {type(model.model).__name__} in ONNX differ from PyTorch's by "
            f"{worst:.1g}; nothing was written; choose pt"
        )


def _example(model: RewardModel, rows: int, length: int) -> dict[str, Tensor]:
    """A batch of random tokens `[rows, length]`, of which all but the first row are padded."""
    draw = torch.Generator().manual_seed(rows * length)
    tokenizer = model.encoding.tokenizer
    ids = torch.randint(len(tokenizer), (rows, length), generator=draw)
    kept = torch.randint(1, length + 1, (rows, 1), generator=draw)
    kept[0] = length
    mask = (torch.arange(length) < kept).long()
    batch = {"input_ids": ids.where(mask == 1, tokenizer.pad_token_id), "attention_mask": mask}
    if "token_type_ids" in model.encoding.encode_texts([("a", ["b"])])[0]:
        kinds = getattr(model.model.config, "type_vocab_size", 0) or 1
        second = torch.arange(length) >= length // 2
        batch["token_type_ids"] = (second * mask).clamp(max=kinds - 1)
    return model_inputs(batch)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes, printed, logged and warned, from the user's screen."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


EXPORT = Export(write)
