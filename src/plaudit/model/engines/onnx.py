"""ONNX Runtime runs `.onnx` files that `plaudit export --format onnx` wrote.

The tokenizer's files are in the file's metadata, under `plaudit_tokenizer`, in base64 by name.
"""

import base64
import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plaudit.errors import PlauditError
from plaudit.model import base_models
from plaudit.model.engines import Engine, Opened, Session, read_described
from plaudit.model.engines._errors import first_line

DESCRIBED, TOKENIZER = "plaudit", "plaudit_tokenizer"  # keys of the metadata


def need(*packages: str) -> None:
    """Raise `PlauditError` where one of these packages is not installed."""
    missing = [name for name in packages if not importlib.util.find_spec(name)]
    if missing:
        raise PlauditError(
            f"format: onnx needs {', '.join(missing)}: run `pip install 'plaudit[onnx]'`"
        )


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
    return _runs(_loaded(file))


def _loaded(file: str | Path | bytes) -> Any:
    need("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    content = file if isinstance(file, bytes) else str(file)
    try:
        return onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no base but this
        name = "ONNX" if isinstance(file, bytes) else file
        raise PlauditError(f"{name}: onnxruntime cannot read it ({first_line(error)})") from error


def _runs(running: Any) -> Session:
    names = [given.name for given in running.get_inputs()]

    def run(tokens: dict[str, Tensor]) -> Tensor:
        (rewards,) = running.run(["reward"], {name: tokens[name].numpy() for name in names})
        return torch.from_numpy(rewards)

    return run


def tokenizer_as_text(tokenizer: Any) -> str:
    """A tokenizer's files as one JSON text, for a model's metadata."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return json.dumps(
            {
                str(path.relative_to(folder)): base64.b64encode(path.read_bytes()).decode()
                for path in files
            }
        )


def _tokenizer(text: str, path: Path) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name, content in json.loads(text).items():
                place = Path(folder) / name
                if not place.resolve().is_relative_to(Path(folder).resolve()):
                    raise ValueError(name)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(base64.b64decode(content))
        except (ValueError, AttributeError, TypeError, RecursionError, OSError) as error:
            raise PlauditError(
                f"{path}: the tokenizer in it is damaged; export it again"
            ) from error
        return base_models.load_tokenizer(base_models.Source(folder))


def _open(path: Path, bfloat16: bool) -> Opened:
    running = _loaded(path)
    noted = running.get_modelmeta().custom_metadata_map
    described = read_described(noted.get(DESCRIBED, ""), path)
    tokenizer = _tokenizer(noted.get(TOKENIZER, ""), path)
    return Opened(_runs(running), described, tokenizer)


ENGINE = Engine(
    name="ONNX Runtime",
    reads=lambda path: path.suffix == ".onnx" and path.is_file(),
    open=_open,
    files=lambda path: [path],
)
