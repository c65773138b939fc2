"""Sequence classifiers whose reward is the mean over the tokens' scores.

transformers has no class for these poolings, so a saved model carries this file along and
`AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)` uses it. It
imports nothing but torch and transformers. plaudit itself never runs a folder's copy, but this one.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm
from transformers import MODEL_MAPPING, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


def _base_class(config: Any) -> Any:
    return MODEL_MAPPING[type(config)]


def without_pooler(config: Any) -> dict[str, bool]:
    """What keeps a base model from making a pooler that the mean would leave unused."""
    accepted = inspect.signature(_base_class(config).__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in accepted else {}


def side_by_side(layers: Sequence[Tensor]) -> Tensor:
    """`[…, layers · H]` of the states `[…, H]` of each layer, each brought to one scale."""
    return torch.cat([layer_norm(states, states.shape[-1:]) for states in layers], -1)


class MeanScoreForSequenceClassification(PreTrainedModel):
    """Scores every token with one linear layer and averages over the attention mask."""

    # transformers wants the very class of the base model's configuration here: a saved folder's
    # copy of this line names it.
    config_class = PreTrainedConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    of_all_layers = False

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = AutoModel.from_config(config, **without_pooler(config))
        layers = config.num_hidden_layers + 1 if self.of_all_layers else 1  # and the embeddings
        self.score = nn.Linear(layers * config.hidden_size, config.num_labels, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    # Which attention may run is the base model's to say.
    @property
    def _supports_sdpa(self) -> bool:  # type: ignore[override]
        return _base_class(self.config)._supports_sdpa

    @property
    def _supports_flash_attn(self) -> bool:  # type: ignore[override]
        return _base_class(self.config)._supports_flash_attn

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Rewards `logits[N, 1]` of `input_ids[N, L]`; no mask means that every token counts."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if token_type_ids is not None:
            kwargs["token_type_ids"] = token_type_ids
        if self.of_all_layers:
            kwargs["output_hidden_states"] = True
        output = self.model(input_ids, attention_mask=attention_mask, **kwargs)
        hidden = output.last_hidden_state
        if self.of_all_layers:
            hidden = side_by_side(output.hidden_states)
        scores = self.score(hidden).float()  # [N, L, 1]
        mask = attention_mask.unsqueeze(-1).to(scores.dtype)
        return SequenceClassifierOutput(logits=(scores * mask).sum(1) / mask.sum(1).clamp(min=1))


class LayersScoreForSequenceClassification(MeanScoreForSequenceClassification):
    """The same by the states of all layers, and not of the last alone."""

    of_all_layers = True
