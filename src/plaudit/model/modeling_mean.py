"""A sequence classifier whose reward is the mean over the tokens' scores.

transformers has no class for this pooling, so a saved model carries this file along and
`AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)` uses it. It
imports nothing but torch and transformers. plaudit itself never runs a folder's copy, but this one.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


def _base_class(config: Any) -> Any:
    return MODEL_MAPPING[type(config)]


def without_pooler(config: Any) -> dict[str, bool]:
    """What keeps a base model from making a pooler that the mean would leave unused."""
    accepted = inspect.signature(_base_class(config).__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in accepted else {}


class MeanScoreForSequenceClassification(PreTrainedModel):
    """Scores every token with one linear layer and averages over the attention mask."""

    # transformers wants the very class of the base model's configuration here: a saved folder's
    # copy of this line names it.
    config_class = PreTrainedConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = AutoModel.from_config(config, **without_pooler(config))
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
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
        hidden = self.model(input_ids, attention_mask=attention_mask, **kwargs).last_hidden_state
        scores = self.score(hidden).float()  # [N, L, 1]
        mask = attention_mask.unsqueeze(-1).to(scores.dtype)
        return SequenceClassifierOutput(logits=(scores * mask).sum(1) / mask.sum(1).clamp(min=1))
