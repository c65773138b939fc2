"""OpenVINO, for Intel's processors: a folder with the network (an IR) and the tokenizer.

`openvino_model.xml` and `openvino_model.bin`, by the names that optimum-intel gives them, take
`input_ids[N, L]`, `attention_mask[N, L]` and, where the base model takes them,
`token_type_ids[N, L]`, all int64 with N and L free and rows padded on the right; the output is
`reward[N]`, float32, not normalised: how to do that is in the network's runtime information, under
`plaudit`, beside how texts are laid out. The rewards are compared with PyTorch's before the folder
appears.

OpenVINO computes in bfloat16 by itself on processors that have units for it. The engine asks for
float32, and so must whoever wants the model's own rewards.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from plaudit.console import counted, say
from plaudit.errors import PlauditError
from plaudit.files import write_json
from plaudit.model.engines._errors import first_line
from plaudit.model.engines.openvino import DESCRIBED, ENGINE, XML, need, session
from plaudit.model.exported import load_exported
from plaudit.model.exports import FolderExport
from plaudit.model.exports._checked import Network, check, described, quiet
from plaudit.model.exports._gate import GateRows, pass_gate
from plaudit.model.exports._int8 import products, to_int8
from plaudit.model.reward_model import RewardModel

FOUND = "int8.json"  # what the gate found
FINITE = "plaudit_finite"  # the name of `_finite_attention` in transformers
OPENVINO_TAKES_A_WHILE = "exporting to OpenVINO and comparing the rewards with PyTorch's"


def fill(model: RewardModel, folder: Path, path: Path) -> None:
    """Write the network and the tokenizer into an empty folder, once its rewards are PyTorch's.

    Raises:
        PlauditError: when the extra is not installed, the base model cannot be expressed in
            OpenVINO, or its rewards differ from PyTorch's by more than 1e-4.
    """
    _write(model, folder, path)


def fill_int8(model: RewardModel, folder: Path, path: Path, rows: GateRows) -> None:
    """`fill`, with products in int8, where that keeps the order of `rows`.

    What was found stands in `int8.json` in the folder.

    Raises:
        PlauditError: as `fill`, and where the gate refuses it (see `_gate`).
    """
    network = _write(model, folder, path)
    import openvino  # which is there, or `_write` has said so

    if not (chosen := products(network)):
        raise PlauditError(
            f"{path}: {type(model.model).__name__} has no product with weights that int8 could be "
            "had for; export it without --dtype int8"
        )
    to_int8(chosen)
    openvino.save_model(network, folder / XML, compress_to_fp16=False)
    tried = counted(rows.completions, "completion")
    say(f"{counted(len(chosen), 'product')} in int8: scoring {tried} in float32 and in int8")
    exported = RewardModel(**vars(load_exported(folder, ENGINE)))
    exact = replace(model, dtype=torch.float32, length_penalty=0.0)
    here, there = ([*each.score_all(rows.prompts)] for each in (exact, exported))
    found = pass_gate(here, there, rows, path)
    write_json(folder / FOUND, found.as_dict())
    say(f"in int8 {found}; the largest difference of a reward is {found.largest_difference:.2g}")


def _write(model: RewardModel, folder: Path, path: Path) -> Any:
    """See `fill`; returns the network, an `openvino.Model`."""
    need()
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
            converted.set_rt_info(described(model), DESCRIBED)
    except Exception as error:  # neither exporter has an exception of its own for what it cannot do
        raise PlauditError(
            f"{path}: {type(model.model).__name__} cannot be exported to OpenVINO; choose pt "
            f"({first_line(error)})"
        ) from error
    openvino.save_model(converted, folder / XML, compress_to_fp16=False)
    check(lambda: session(folder), network, model, path, "OpenVINO")
    model.encoding.tokenizer.save_pretrained(folder)
    return converted


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


AttentionInterface.register(FINITE, _finite_attention)
AttentionMaskInterface.register(FINITE, sdpa_mask)
EXPORT = FolderExport(fill, fill_int8=fill_int8)
