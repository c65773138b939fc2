"""The class that is saved with a model whose pooling is `maximum`: torch and transformers alone."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class MaximumForSequenceClassification(PreTrainedModel):
    """A linear head on the largest value of each hidden dimension over the tokens."""

    config_class = PreTrainedConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        base = MODEL_MAPPING[type(config)]
        pooler = "add_pooling_layer" in inspect.signature(base.__init__).parameters
        self.model = AutoModel.from_config(
            config, **({"add_pooling_layer": False} if pooler else {})
        )
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **inputs: Any
    ) -> SequenceClassifierOutput:
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        hidden = self.model(input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
        absent = attention_mask.unsqueeze(2) == 0
        return SequenceClassifierOutput(
            logits=self.score(hidden.masked_fill(absent, float("-inf")).amax(1))
        )
