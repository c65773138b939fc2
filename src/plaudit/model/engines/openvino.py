"""OpenVINO runs folders that `plaudit export --format openvino` wrote.

It would choose bfloat16 by itself on processors that have units for it. Here it computes in float32
unless bfloat16 is asked for; the products of an int8 network are in int8 either way.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plaudit.errors import PlauditError
from plaudit.model import base_models
from plaudit.model.engines import Engine, Opened, Session, read_described
from plaudit.model.engines._errors import first_line

XML = "openvino_model.xml"
# Numbers of a token's activations under one scale, where weights are in int8.
GROUP = 32
DESCRIBED = "plaudit"  # in the network's runtime information


def need() -> None:
    """Raise `PlauditError` where openvino is not installed."""
    if not importlib.util.find_spec("openvino"):
        raise PlauditError("format: openvino needs openvino: run `pip install 'plaudit[openvino]'`")


def session(path: str | Path) -> Session:
    """What runs a folder that plaudit wrote: a batch's tokens in, rewards `[N]` out.

    Args:
        path: the folder, or the `.xml` file in it.

    Raises:
        PlauditError: when openvino is not installed, or cannot read the files.

    >>> import torch
    >>> run = session("first_openvino")  # doctest: +SKIP
    >>> tokens = {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.ones(1, 2).long()}
    >>> run(tokens).shape  # doctest: +SKIP
    torch.Size([1])
    """
    return runs(_read(path), path)


def _read(path: str | Path) -> Any:
    need()
    import openvino

    xml = Path(path) / XML if Path(path).is_dir() else Path(path)
    try:
        return openvino.Core().read_model(xml)
    except Exception as error:  # the runtime's exceptions share no base but this
        raise PlauditError(f"{path}: OpenVINO cannot read it ({first_line(error)})") from error


def runs(network: Any, path: str | Path, bfloat16: bool = False) -> Session:
    """A network that was read, ready to run, on as many threads as PyTorch has.

    Raises:
        PlauditError: when OpenVINO cannot compile it; it begins with `path`.
    """
    import openvino

    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP,
    }
    try:
        compiled = openvino.Core().compile_model(network, "CPU", hints)
    except Exception as error:  # see above
        raise PlauditError(f"{path}: OpenVINO cannot read it ({first_line(error)})") from error
    names = [given.any_name for given in compiled.inputs]

    def run(tokens: dict[str, Tensor]) -> Tensor:
        given = {name: tokens[name].numpy() for name in names}
        return torch.from_numpy(compiled(given)["reward"].copy())

    return run


def _open(path: Path, bfloat16: bool) -> Opened:
    network = _read(path)
    noted = network.get_rt_info(DESCRIBED).astype(str) if network.has_rt_info(DESCRIBED) else ""
    described = read_described(noted, path)
    tokenizer = base_models.load_tokenizer(base_models.Source(str(path)))
    return Opened(runs(network, path, bfloat16), described, tokenizer)


ENGINE = Engine(
    name="OpenVINO",
    # Others lay one beside the weights that it was made of, which are then what is read.
    reads=lambda path: (path / XML).is_file() and not any(path.glob("*.safetensors")),
    open=_open,
    files=lambda path: [path / XML, (path / XML).with_suffix(".bin")],
    bfloat16=True,
)
