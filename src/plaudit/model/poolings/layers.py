"""The mean of the tokens' scores by the states of all layers: for encoders.

What tells a better answer from a worse one is not all in an encoder's last layer: that was trained
for another task, and has lost what lower ones know. Where the base model stays as it is, a head on
all layers learns much more than one on the last. Peters et al. 2018 (ELMo) take all layers too,
with a weight for each; here each has weights of its own for the head.
"""

from typing import ClassVar

from plaudit.model.modeling_mean import LayersScoreForSequenceClassification
from plaudit.model.poolings.mean import Mean


class Layers(Mean):
    """`Mean` of the embeddings and all layers side by side."""

    kinds: ClassVar[tuple[str, ...]] = ("encoder",)
    noted_as = ""
    network = LayersScoreForSequenceClassification
    of_all_layers = True


POOLING = Layers()
