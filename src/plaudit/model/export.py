"""A reward model as one file: `.pt` for PyTorch, `.onnx` for every runtime that reads ONNX.

A `.pt` holds what the model folder holds, in plain containers that `torch.load(weights_only=True)`
reads without running code, and `RewardModel.load` takes it. An `.onnx` takes tokens and gives
rewards: the tokenizer stays in the model folder. It is compared with PyTorch before it is written.
"""

import contextlib
import copy
import importlib.util
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from plaudit.console import say
from plaudit.errors import PlauditError
from plaudit.files import writing
from plaudit.model.reward_model import RewardModel, model_inputs, save_model, stored_settings

VERSION = 1
# A .pt says config and weights on its own; the folder's copy of the model's code is never run.
CONFIG, WEIGHTS, CODE = "config.json", "model.safetensors", "modeling_mean.py"

EXAMPLE_SHAPE = (3, 9)  # rows, tokens
# Other numbers of rows, and other lengths, as far as the model reads.
CHECKED_SHAPES = ((1, 1), (5, 7), (1, 33), (2, 200), (2, 512))
TOLERANCE = 1e-4
ONNX_TAKES_A_WHILE = "exporting to ONNX and comparing the rewards with PyTorch's"


def export(model: RewardModel, path: str | Path, format: Literal["pt", "onnx"]) -> None:
    """Write `model` as one file, which appears only when it is whole.

    Args:
        model: what to write.
        path: the file; what stands there is replaced.
        format: `pt`, for `RewardModel.load` and `torch.load`; or `onnx`: inputs `input_ids[N, L]`,
            `attention_mask[N, L]` and, where the base model takes them, `token_type_ids[N, L]`, all
            int64 with N and L free and rows padded on the right; output `reward[N]`, float32.

    Raises:
        PlauditError: when the file cannot be written; for `onnx`, when the extra is not installed,
            the base model cannot be expressed in ONNX, it is larger than 2 GB, or its rewards
            differ from PyTorch's by more than 1e-4.

    >>> export(RewardModel.load("runs/finance"), "finance.pt", "pt")  # doctest: +SKIP
    """
    path = Path(path)
    if path.is_dir():
        raise PlauditError(f"{path}: is a folder; give the name of a file")
    if format == "pt":
        with writing(path) as file:
            torch.save(_packed(model), file.buffer)
    elif format == "onnx":
        content = _onnx(model, path)
        with writing(path) as file:
            file.buffer.write(content)
    else:
        raise PlauditError(f"format: there is no {format}; choose pt or onnx")


# ---- pt ----


def _packed(model: RewardModel) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(model.model, model.encoding, model.pooling, folder)
        own = {CONFIG, WEIGHTS, CODE}
        return {
            "format": "plaudit",
            "version": VERSION,
            "config": json.loads((folder / CONFIG).read_text(encoding="utf-8")),
            "state_dict": {k: v.clone() for k, v in load_file(folder / WEIGHTS).items()},
            "tokenizer": {
                file.name: file.read_bytes()
                for file in sorted(folder.iterdir())
                if file.name not in own
            },
        }


@contextlib.contextmanager
def unpacked_pt(path: str | Path) -> Iterator[Path]:
    """A temporary model folder with what a `.pt` holds; it is gone when the block ends.

    Raises `PlauditError` when plaudit did not write the file, or it is damaged. No code that a file
    may carry is run.
    """
    path = Path(path)
    packed = _read_pt(path)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            (folder / CONFIG).write_text(json.dumps(packed["config"]), encoding="utf-8")
            save_file(packed["state_dict"], folder / WEIGHTS, metadata={"format": "pt"})
            for file, content in packed["tokenizer"].items():
                (folder / file).write_bytes(content)
        except (OSError, SafetensorError, TypeError, ValueError) as error:
            raise PlauditError(f"{path}: cannot be unpacked to {folder.parent}: {error}") from error
        del packed  # the weights are about to be read again
        yield folder


def _read_pt(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():  # of pickles that it is about to refuse
            warnings.simplefilter("ignore")
            packed = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can fail anywhere
        raise PlauditError(
            f"{path}: is damaged, or not a model that plaudit exported; export it again"
        ) from error
    if not isinstance(packed, dict) or packed.get("format") != "plaudit":
        raise PlauditError(f"{path}: is not a model that plaudit exported; give one, or a folder")
    if packed.get("version") != VERSION:
        raise PlauditError(
            f"{path}: has version {packed.get('version')} of the format and this plaudit reads "
            f"{VERSION}: update plaudit, or export the model again"
        )
    config, weights, files = (packed.get(k) for k in ("config", "state_dict", "tokenizer"))
    if not (
        isinstance(config, dict)
        and isinstance(weights, dict)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items())
        and isinstance(files, dict)
        and all(_is_file_name(k) and isinstance(v, bytes) for k, v in files.items())
    ):
        raise PlauditError(f"{path}: is damaged; export the model again")
    return packed


def _is_file_name(name: Any) -> bool:
    """Whether `name` is the bare name of a file on any system, and not one that we write."""
    return (
        isinstance(name, str)
        and name not in ("", ".", "..", CONFIG, WEIGHTS)
        and PureWindowsPath(name).name == name  # which knows both slashes
    )


# ---- onnx ----


class _Reward(nn.Module):
    """Tokens in, rewards `[N]` out."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model(**dict(zip(self.names, inputs, strict=True))).logits[:, 0]


def _onnx(model: RewardModel, path: Path) -> bytes:
    """The model as ONNX, checked."""
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
            settings = stored_settings(model.encoding, model.pooling)
            program.model.metadata_props["plaudit"] = json.dumps(settings)
            content = program.model_proto.SerializeToString()
    except Exception as error:  # the exporter has no exception of its own for what it cannot do
        raise PlauditError(
            f"{path}: {type(model.model).__name__} cannot be exported to ONNX; choose pt "
            f"({_first_line(error)})"
        ) from error
    _check(content, network, model, path)
    return content


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
                ours = network(*inputs.values())
            theirs = session.run(["reward"], {k: v.numpy() for k, v in inputs.items()})[0]
            difference = (ours - torch.from_numpy(theirs)).abs() / ours.abs().clamp(min=1)
            worst = max(worst, float(difference.nan_to_num(nan=float("inf")).max()))
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
