"""A language-model loss on the best completions, which keeps a decoder's hidden states general.

A reward alone pulls the states of a decoder towards what orders the training data. Here the base
model's own language head stays on them while the model trains, and what it makes of each ranking's
best completion is a further term of the loss. The head itself is not trained, unless it is the
embedding, and is no part of the saved model.

Source: Yang et al. 2024, "Regularizing Hidden States Enables Learning Generalizable Reward Model
for LLMs" (GRM), arXiv:2406.10216, its SFT regularisation, as the mean over tokens.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM

from plaudit.data.rankings import PADDING
from plaudit.errors import PlauditError
from plaudit.model import base_models
from plaudit.model.batches import Batch
from plaudit.model.loading import located
from plaudit.model.reward_model import RewardModel

AT_ONCE = 512  # tokens whose logits over the vocabulary are in memory
# What of a configuration says that its logits are more than the head's product.
MORE = ("final_logit_softcapping", "logit_scale", "logits_scaling", "mup_enabled")


class TextLoss:
    """The mean of −log P(token | what stands before it) over the best completions of a ranking.

    Args:
        model: whose base model's states it reads, as they are when a batch has gone through.
        base: where its language head comes from, if it is not the embedding.
        coefficient: what the loss is multiplied by.

    Raises:
        PlauditError: for an encoder, and for a decoder whose language head cannot be had.
    """

    def __init__(self, model: RewardModel, base: str, coefficient: float = 1.0) -> None:
        self.coefficient = coefficient
        if model.encoding.kind != "decoder":
            raise PlauditError(
                f"sft_coefficient: {base} is an encoder, which has no language head; set it to 0"
            )
        config = model.model.config.get_text_config()
        if any(getattr(config, name, None) not in (None, False, 1.0) for name in MORE):
            raise PlauditError(
                f"sft_coefficient: does not know how {base} makes logits of its language head's "
                "product; set it to 0"
            )
        self.embedding = model.model.get_input_embeddings()
        self.weight = self.bias = None
        if not config.tie_word_embeddings:
            self.weight, self.bias = _language_head(base, model.device)
        encoding = model.encoding
        self.ending = encoding.tokenizer.eos_token_id if encoding.template == "plain" else None
        self.hidden: Tensor | None = None
        self._hook = model.model.base_model.register_forward_hook(self._keep)

    def close(self) -> None:
        """Let go of the model, which is scored from next, and of its states."""
        self._hook.remove()
        self.hidden = None

    def _keep(self, _: nn.Module, __: Any, output: Any) -> None:
        self.hidden = output.last_hidden_state

    def __call__(self, batch: Batch, whole: Batch | None = None) -> Tensor:
        """`[R]` in nats, of the batch that has just gone through the model; 0 where the best
        completion has no token.

        Where the batch has but some of the completions of one ranking, `whole` has all of them,
        and the result is their share in the mean.
        """
        assert self.hidden is not None
        hidden, self.hidden = self.hidden, None
        rankings = len(batch["ranks"])
        of_ranking, places, tokens = self._best(batch)
        losses = self._losses(hidden.flatten(0, 1)[places], tokens)
        total = losses.new_zeros(rankings).index_add(0, of_ranking, losses)
        counted = of_ranking if whole is None else self._best(whole)[0]
        count = counted.bincount(minlength=rankings).clamp(min=1)
        return self.coefficient * total / count

    def _best(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The tokens of best completions: of which ranking each is, where the state before it lies
        among those of the batch, and the token."""
        ranks, device = batch["ranks"], batch["input_ids"].device
        present = ranks != PADDING
        best = (ranks == 0)[present]
        if "segments" in batch:
            places = batch["segments"].rows().to(device)[best]
            there = places >= 0
            ids = batch["input_ids"][0][places.clamp(min=0)]
        else:
            there = batch["attention_mask"][best].bool()
            ids = batch["input_ids"][best]
            width = ids.shape[1]
            places = width * best.nonzero() + torch.arange(width, device=device)
        length = there.sum(1, keepdim=True)
        begin = length - batch["completion_tokens"][present][best].long().unsqueeze(1)
        if self.ending is not None:  # it is no token of the completion, and comes after it
            begin -= (ids.gather(1, length - 1) == self.ending).long()
        place = torch.arange(ids.shape[1], device=device)
        wanted = there & (place >= begin.clamp(min=1))
        row, column = wanted.nonzero(as_tuple=True)
        of_ranking = (ranks == 0).nonzero()[:, 0][row]
        return of_ranking, places[row, column - 1], ids[row, column]

    def _losses(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Of each token, from the state before it."""
        weight = self.embedding.weight if self.weight is None else self.weight

        def some(states: Tensor, tokens: Tensor) -> Tensor:
            return cross_entropy(
                linear(states, weight, self.bias).float(), tokens, reduction="none"
            )

        parts = zip(states.split(AT_ONCE), tokens.split(AT_ONCE), strict=True)
        losses = [checkpoint(some, *part, use_reentrant=False) for part in parts]
        return torch.cat([states.new_zeros(0, dtype=torch.float32), *losses])


def _language_head(base: str, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """The weights and the bias of a base model's language head."""
    source, _ = located(base)
    whole, missing, *_ = base_models.load_weights(source, AutoModelForCausalLM)
    head = whole.get_output_embeddings()
    if head is None or any(name.startswith("lm_head") for name in missing):
        raise PlauditError(
            f"sft_coefficient: {base} has no language head, as what was made into a reward model "
            "has none; set it to 0"
        )
    bias = getattr(head, "bias", None)
    return head.weight.detach().to(device), None if bias is None else bias.detach().to(device)
