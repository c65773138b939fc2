"""OpenVINO, for Intel's processors: a folder with the network (an IR) and the tokenizer.

`openvino_model.xml` and `openvino_model.bin`, by the names that optimum-intel gives them, take
`input_ids[N, L]`, `attention_mask[N, L]` and, where the base model takes them,
`token_type_ids[N, L]`, all int64 with N and L free and rows padded on the right; the output is
`reward[N]`, float32, not normalised: how to do that is in the network's runtime information, under
`plaudit`, beside how texts are laid out. The rewards are compared with PyTorch's before the folder
appears.

OpenVINO computes in bfloat16 by itself on processors that have units for it. `session` asks for
float32, and so must whoever wants the model's own rewards.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from plaudit.console import say
from plaudit.errors import PlauditError
from plaudit.model.exports import FolderExport
from plaudit.model.exports._checked import Network, Session, check, described, first_line, quiet
from plaudit.model.reward_model import RewardModel

XML = "openvino_model.xml"
FINITE = "plaudit_finite"  # the name of `_finite_attention` in transformers
OPENVINO_TAKES_A_WHILE = "exporting to OpenVINO and comparing the rewards with PyTorch's"


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
    _need()
    import openvino

    xml = Path(path) / XML if Path(path).is_dir() else Path(path)
    try:
        core = openvino.Core()
        hints = {"INFERENCE_PRECISION_HINT": "f32"}
        network = core.compile_model(core.read_model(xml), "CPU", hints)
    except Exception as error:  # the runtime's exceptions share no base but this
        raise PlauditError(f"{path}: OpenVINO cannot read it ({first_line(error)})") from error
    names = [given.any_name for given in network.inputs]

    def run(tokens: dict[str, Tensor]) -> Tensor:
        given = {name: tokens[name].numpy() for name in names}
        return torch.from_numpy(network(given)["reward"].copy())

    return run


def fill(model: RewardModel, folder: Path, path: Path) -> None:
    """Write the network and the tokenizer into an empty folder, once its rewards are PyTorch's.

    Raises:
        PlauditError: when the extra is not installed, the base model cannot be expressed in
            OpenVINO, or its rewards differ from PyTorch's by more than 1e-4.
    """
    _need()
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    say(OPENVINO_TAKES_A_WHILE)
    network = Network(model)
    if network.model.base_model._can_set_attn_implementation():
        network.model.set_attn_implementation(FINITE)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(
                network, tuple(network.example.values()), dynamic_shapes=network.free_shapes
            )
            # As `convert_model` does it, which also reports what it converts to Intel.
            frontend = FrontEndManager().load_by_framework("pytorch")
            decoder = TorchFXPythonDecoder.from_exported_program(program)
            converted = frontend.convert(frontend.load(decoder))
            for given, name in zip(converted.inputs, network.names, strict=True):
                given.set_names({name})
            converted.outputs[0].set_names({"reward"})
            converted.set_rt_info(described(model), "plaudit")
    except Exception as error:  # neither exporter has an exception of its own for what it cannot do
        raise PlauditError(
            f"{path}: {type(model.model).__name__} cannot be exported to OpenVINO; choose pt "
            f"({first_line(error)})"
        ) from error
    openvino.save_model(converted, folder / XML, compress_to_fp16=False)
    check(lambda: session(folder), network, model, path, "OpenVINO")
    model.encoding.tokenizer.save_pretrained(folder)


def _finite_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> Any:
    """transformers' SDPA, in which a token that may attend to none gets numbers too.

    Padding beyond a window attends to nothing. PyTorch gives zeros there, OpenVINO NaN, which later
    layers carry into every token. So what is masked is a number here, and not minus infinity.
    """
    if mask is not None and mask.dtype == torch.bool:
        lowest = torch.finfo(query.dtype).min / 2
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, lowest)
    return sdpa_attention_forward(module, query, key, value, mask, **options)


def _need() -> None:
    if not importlib.util.find_spec("openvino"):
        raise PlauditError("format: openvino needs openvino: run `pip install 'plaudit[openvino]'`")


AttentionInterface.register(FINITE, _finite_attention)
AttentionMaskInterface.register(FINITE, sdpa_mask)
EXPORT = FolderExport(fill)
