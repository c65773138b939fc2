"""An OpenVINO network with its products in int8.

Weights become 8-bit numbers with a scale and a zero point for each output. Activations stay float32
in the file, and OpenVINO brings them to 8 bits as it computes, a few numbers of one token at a time
under a scale of their own (see `engines.openvino`). So no range is measured on data beforehand, and
a reward depends on the tokens of its own row alone. What is no product with weights stays in
float32, and so does the head: of its few products nothing is gained.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

LEAST = 8  # inputs and outputs of a product that is worth it; a head has fewer


def products(network: Any) -> list[Any]:
    """The products with weights of an `openvino.Model`, in order, but for the head's."""
    found = []
    for node in network.get_ordered_ops():
        if node.get_type_name() == "MatMul":
            weight = node.input_value(1).get_node()
            if weight.get_type_name() == "Constant" and len(weight.get_output_shape(0)) == 2:
                outputs, inputs = _weights(node).shape
                if min(outputs, inputs) >= LEAST:
                    found.append(node)
    return found


def _weights(node: Any) -> Any:
    """`[outputs, inputs]`."""
    values = np.asarray(node.input_value(1).get_node().data, np.float32)
    return values if node.get_attributes()["transpose_b"] else values.T


def to_int8(nodes: Sequence[Any]) -> None:
    """Put 8-bit weights into these of the `products` of a network, in place."""
    from openvino import opset13

    for node in nodes:
        values = _weights(node)
        lowest = np.minimum(values.min(1, keepdims=True), 0)
        highest = np.maximum(values.max(1, keepdims=True), 0)
        scale = np.maximum((highest - lowest) / 255, np.finfo(np.float32).tiny)
        zero = np.round(-lowest / scale).clip(0, 255)
        codes = (np.round(values / scale) + zero).clip(0, 255)
        stored, shift = (
            opset13.convert(opset13.constant(numbers.astype(np.uint8)), "f32")
            for numbers in (codes, zero)
        )
        restored = opset13.multiply(
            opset13.subtract(stored, shift), opset13.constant(scale.astype(np.float32))
        )
        product = opset13.matmul(node.input_value(0), restored, False, True)
        node.output(0).replace(product.output(0))
