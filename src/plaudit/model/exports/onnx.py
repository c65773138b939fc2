"""ONNX, for every runtime that reads it: tokens in, rewards out; the tokenizer is in the metadata.

Inputs are `input_ids[N, L]`, `attention_mask[N, L]` and, where the base model takes them,
`token_type_ids[N, L]`, all int64 with N and L free and rows padded on the right; the output is
`reward[N]`, float32, not normalised: how to do that is in the file's metadata, under `plaudit`,
beside how texts are laid out. The rewards are compared with PyTorch's before the file appears.
"""

from pathlib import Path
from typing import BinaryIO

import torch

from plaudit.console import say
from plaudit.errors import PlauditError
from plaudit.model.engines._errors import first_line
from plaudit.model.engines.onnx import DESCRIBED, TOKENIZER, need, session, tokenizer_as_text
from plaudit.model.exports import FileExport
from plaudit.model.exports._checked import Network, check, described, quiet
from plaudit.model.reward_model import RewardModel

ONNX_TAKES_A_WHILE = "exporting to ONNX and comparing the rewards with PyTorch's"


def write(model: RewardModel, file: BinaryIO, path: Path) -> None:
    """Write the model as ONNX, once its rewards are PyTorch's.

    Raises:
        PlauditError: when the extra is not installed, the base model cannot be expressed in ONNX,
            it is larger than 2 GB, or its rewards differ from PyTorch's by more than 1e-4.
    """
    need("onnx", "onnxscript", "onnxruntime")
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
            noted = program.model.metadata_props
            noted[DESCRIBED] = described(model)
            noted[TOKENIZER] = tokenizer_as_text(model.encoding.tokenizer)
            content = program.model_proto.SerializeToString()
    except Exception as error:  # the exporter has no exception of its own for what it cannot do
        raise PlauditError(
            f"{path}: {type(model.model).__name__} cannot be exported to ONNX; choose pt "
            f"({first_line(error)})"
        ) from error
    check(lambda: session(content), network, model, path, "onnxruntime")
    file.write(content)


EXPORT = FileExport(write)
