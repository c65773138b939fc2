"""A reward model as one file or one folder, in a format of `exports`."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from plaudit.console import say
from plaudit.errors import PlauditError
from plaudit.model.exports import EXPORTS
from plaudit.model.exports._checked import Network, largest_difference
from plaudit.model.exports._gate import GateRows
from plaudit.model.reward_model import RewardModel
from plaudit.model.saving import layout_in_python


def check_dtype(format: str, dtype: str, *, with_rows: bool) -> None:
    """Raise `PlauditError` where there is no such format, or not in a number type, or rows to try
    int8 on are missing or given for nothing. It needs no model."""
    if format not in EXPORTS:
        raise PlauditError(f"format: there is no {format}; choose {' or '.join(EXPORTS)}")
    chosen = EXPORTS.get(format)
    if dtype == "int8" and not chosen.int8:
        raise PlauditError("dtype: int8 needs format openvino")
    if dtype in ("bfloat16", "float16") and not chosen.half:
        raise PlauditError(f"dtype: {format} holds float32; {dtype} needs format folder")
    if dtype == "int8" and not with_rows:
        raise PlauditError(
            "dtype: int8 is tried on your own rows before it is written: give --data ROWS"
        )
    if dtype != "int8" and with_rows:
        raise PlauditError("data: only --dtype int8 is tried on rows; leave --data out")


def export(
    model: RewardModel,
    path: str | Path,
    format: str,
    dtype: Literal["float32", "bfloat16", "float16", "int8"] = "float32",
    rows: GateRows | None = None,
) -> None:
    """Write `model` in another format; what is written appears only when it is whole.

    Args:
        model: what to write.
        path: the file or folder; what of the kind stands there is replaced.
        format: `pt`, for `RewardModel.load` and `torch.load`; `folder`, for transformers and what
            serves its models; `onnx` and `openvino`, tokens in and rewards out; or what another
            package adds. The modules of `exports` say what each holds.
        dtype: what the weights of a `folder` are stored in; how far half precision moves the
            rewards is said. `openvino` has int8 too; other formats have float32 alone.
        rows: int8 is written only where it puts 99.5 % of the pairs of these in the order of
            float32 (see `exports._gate`).

    Raises:
        PlauditError: when there is no such format, the model cannot be written in it, or code of
            its own gives its rewards, which no format has.

    >>> export(RewardModel.load("runs/first"), "first.pt", "pt")
    """
    check_dtype(format, dtype, with_rows=rows is not None)
    model.refuse_own_code("export")
    chosen = EXPORTS.get(format)
    if dtype == "int8":
        assert rows is not None  # or it was refused
        chosen.put_int8(model, Path(path), rows)
    elif dtype != "float32":
        half = replace(model, model=copy.deepcopy(model.model))
        for weight in half.model.parameters():  # not the buffers, which no file holds
            weight.data = weight.data.to(getattr(torch, dtype))
        moved = largest_difference(Network(half).rewards, Network(model), model)
        if moved == float("inf"):
            raise PlauditError(f"dtype: in {dtype} its rewards are not numbers; choose another")
        say(f"in {dtype} its rewards for made-up tokens differ by up to {moved:.2g}")
        model = half
    if dtype != "int8":
        chosen.put(model, Path(path))
    layout = " ".join(layout_in_python(model.encoding).split())
    say(f"it reads {model.max_length:,} tokens at most, of rows padded on the right: {layout}")
