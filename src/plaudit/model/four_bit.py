"""A backbone whose linear layers keep their weights in 4 bits, while adapters on it are trained.

That is QLoRA (Dettmers et al. 2023, arXiv:2305.14314): NF4 weights of bitsandbytes, unpacked for
each product. What is trained stays in float32, and so do embeddings and norms. `unpack` makes
ordinary layers again, of the values that training saw.
"""

from typing import Any

import torch
from torch import nn

from plaudit.errors import PlauditError
from plaudit.model.classifier import backbone


def pack(model: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Put a model on a device, layer by layer, and the linear layers of its backbone in 4 bits.

    Args:
        model: a classifier in float32, on the CPU.
        device: where it goes.
        dtype: what products are computed in.

    Raises:
        PlauditError: without bitsandbytes, and for a model that has no such layers.
    """
    bitsandbytes = _bitsandbytes()
    inner = backbone(model)
    layers = [(name, m) for name, m in inner.named_modules() if isinstance(m, nn.Linear)]
    if not layers:
        raise PlauditError(
            f"load_in_4bit: {type(inner).__name__} has no linear layers of PyTorch's own, which "
            "bitsandbytes packs; leave it out"
        )
    for name, layer in layers:
        packed = bitsandbytes.nn.Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=dtype,
            quant_type="nf4",
        )
        packed.weight = bitsandbytes.nn.Params4bit(
            layer.weight.detach(), requires_grad=False, quant_type="nf4"
        )
        packed.bias = layer.bias
        # On a CPU with bfloat16 a layer that has scored once would lay its weights out anew, for
        # products in bfloat16 through which gradients are wrong without an error.
        packed.support_avx512bf16_for_cpu = False
        inner.set_submodule(name, packed.to(device))  # where they are packed
    model.to(device)


def compute_in(model: Any, dtype: torch.dtype) -> None:
    """Have the layers that `pack` has packed, if there are any, compute in another type."""
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = dtype


def unpack(model: Any) -> None:
    """Make the layers that `pack` has packed ordinary ones, of the same values."""
    bitsandbytes = _bitsandbytes()
    packed = [
        (name, m) for name, m in model.named_modules() if isinstance(m, bitsandbytes.nn.Linear4bit)
    ]
    for name, layer in packed:
        values = bitsandbytes.functional.dequantize_4bit(
            layer.weight.data, layer.weight.quant_state
        )
        plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        plain.weight = nn.Parameter(values.float())
        plain.bias = layer.bias
        model.set_submodule(name, plain)


def with_adapters(model: Any, config: Any) -> Any:
    """The `PeftModel` of a packed model, its adapters in float32."""
    from peft import get_peft_model

    # Only peft is to see it: TRL would round all that is trained to bfloat16.
    model.is_loaded_in_4bit = True
    try:
        return get_peft_model(model, config)
    finally:
        del model.is_loaded_in_4bit


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ImportError as error:
        raise PlauditError(
            "load_in_4bit: needs bitsandbytes: run `pip install 'plaudit[qlora]'`"
        ) from error
    return bitsandbytes
