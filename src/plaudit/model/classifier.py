"""The classifier's forward pass: pooled by position, a head in float32, on either layout of tokens.

`exact` changes the classes of a loaded transformers classifier, so that its parameters and names
stay as they are. What changes: a decoder's last token is found by attention mask and not by token
id; the head computes in float32 whatever the rest computes in; and a batch may be laid flat
(`batches.Flat`), for which the attention is `attention.flat_attention`.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.modeling_outputs import SequenceClassifierOutput

from plaudit.errors import PlauditError
from plaudit.model import attention
from plaudit.model.attention import Segments
from plaudit.model.batches import Flat, Padded, model_inputs
from plaudit.model.modeling_mean import side_by_side
from plaudit.model.poolings import Pooling
from plaudit.model.states import States


class _Pools:
    """Mixed into a classifier: its head sees what the pooling makes of the hidden states.

    Inputs: `input_ids[N, L]` and `attention_mask[N, L]`, padded on the right (on the left, absolute
    positions would shift), or what `batches.Flat` makes; output: `logits[N, 1]`.
    """

    pooling: Pooling

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        segments: Segments | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if segments is not None:
            kwargs["segments"] = segments
        # mypy cannot know that the other base is a transformers classifier
        hidden = self.base_model(  # type: ignore[attr-defined]
            input_ids,
            attention_mask=attention_mask if segments is None else _no_mask(input_ids),
            **kwargs,
        ).last_hidden_state
        if segments is None:
            states = States(hidden, attention_mask)
        else:
            states = States(hidden[0], segments)
        rewards = self.pooling.rewards(self.score, states)  # type: ignore[attr-defined]
        return SequenceClassifierOutput(logits=rewards)


class _OwnHead:
    """Mixed into a classifier whose own head pools each row.

    Of a flat batch it is given rows of one vector each, and is to know of no mask.
    """

    pooling: Pooling

    def forward(
        self, input_ids: Tensor, segments: Segments | None = None, **kwargs: Any
    ) -> SequenceClassifierOutput:
        if segments is not None:
            kwargs |= {"segments": segments, "attention_mask": None}
        return super().forward(input_ids, **kwargs)  # type: ignore[misc]


def _no_mask(input_ids: Tensor) -> Tensor:
    """What transformers makes no mask of its own for: one of four dimensions."""
    return torch.zeros(1, 1, 1, 1, device=input_ids.device)


def _without_mask(_: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Forward pre-hook of a base model: what goes with the tokens of a flat batch."""
    if kwargs.get("segments") is not None:
        input_ids = args[0] if args else kwargs["input_ids"]
        kwargs = kwargs | {"attention_mask": _no_mask(input_ids)}
    return args, kwargs


def _rows_for_head(
    pooling: Pooling, module: Any, _: Any, kwargs: dict[str, Any], output: Any
) -> Any:
    """Forward hook: hidden states `[1, T, H]` of a flat batch become `[N, 1, H]`, a row for each
    completion with the one vector that its head reads."""
    if (segments := kwargs.get("segments")) is not None:
        states = States(output.last_hidden_state[0], segments)
        output.last_hidden_state = pooling.vectors(states).unsqueeze(1)
    return output


class Float32Linear(nn.Linear):
    """A head that computes in float32 under autocast too: bfloat16 has too few digits."""

    shows_input = False

    def forward(self, input: Tensor) -> Tensor:
        """See `nn.Linear`."""
        with torch.autocast(input.device.type, enabled=False):
            bias = self.bias.float() if self.bias is not None else None
            rewards = linear(input.float(), self.weight.float(), bias)
            return torch.cat([rewards, input.float()], -1) if self.shows_input else rewards


def head_of(model: nn.Module) -> Float32Linear:
    """The layer that gives the rewards; under peft the copy that is trained."""
    heads = [module for module in model.modules() if isinstance(module, Float32Linear)]
    return next((head for head in heads if head.weight.requires_grad), heads[-1])


@contextmanager
def features_shown(model: Any) -> Iterator[None]:
    """Within it the model's logits are `[N, 1 + D]`: the reward, and what the head is given for it.

    Whatever pools, before the head or after it, is linear in what the head gives: so this is what
    the reward is linear in.
    """
    head = head_of(model)
    head.shows_input = True
    try:
        yield
    finally:
        head.shows_input = False


def _ask_for_all_layers(_: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Forward pre-hook of a base model."""
    return args, kwargs | {"output_hidden_states": True}


def _all_layers(_: Any, __: Any, output: Any) -> Any:
    """Forward hook of a base model: all layers stand for the last one's states."""
    output.last_hidden_state, output.hidden_states = side_by_side(output.hidden_states), None
    return output


def exact(model: Any, pooling: Pooling, name: str) -> Any:
    """Change the classes of a loaded classifier such that it pools and scores as is said above.

    Raises:
        PlauditError: when the model has no head for the pooling of this name.
    """
    if not pooling.own_head and not hasattr(model, "score"):
        raise PlauditError(
            f"{type(model).__name__} has no `score` head for pooling {name}; choose pooling mean"
        )
    mixin, own = _OwnHead if pooling.own_head else _Pools, type(model)
    attributes = {"__module__": own.__module__, "pooling": pooling}
    model.__class__ = type(own.__name__, (mixin, own), attributes)
    heads = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 1]
    heads[-1].__class__ = Float32Linear
    if pooling.of_all_layers:
        model.base_model.register_forward_pre_hook(_ask_for_all_layers, with_kwargs=True)
        model.base_model.register_forward_hook(_all_layers)
    if pooling.own_head:
        model.base_model.register_forward_pre_hook(_without_mask, with_kwargs=True)
        hook = functools.partial(_rows_for_head, pooling)
        backbone(model).register_forward_hook(hook, with_kwargs=True)
    return model


def backbone(model: Any) -> Any:
    """What gives the hidden states that are pooled: the base model, or what BERT has in it before
    its own pooler."""
    base = model.base_model
    pools_itself = getattr(base, "pooler", None) is not None and hasattr(base, "encoder")
    return base.encoder if pools_itself else base


def try_flat(
    model: Any, kind: str, first_position: int, max_length: int, dtype: torch.dtype
) -> str:
    """Set the model's attention for the flat layout, or return why it cannot run on it.

    To be behind transformers' attention interface is not enough: a base model may mix tokens by
    other means, or find positions by itself. So a small batch is compared on both layouts, in
    float32. A GPU has a kernel for it to be compiled: that is then run, too, in the `dtype` it will
    be used in.
    """
    base = model.base_model
    if not base._can_set_attn_implementation():
        return f"{type(base).__name__} does not use transformers' attention interface"
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if not kinds <= {"full_attention", "sliding_attention"}:
        return f"{type(base).__name__} has layers of {', '.join(sorted(kinds))}"
    before = model.config._attn_implementation
    model.set_attn_implementation(attention.NAME)
    if any(parameter.is_meta for parameter in model.parameters()):
        return ""  # its weights come later; another process, which has them, compares
    encoded = _to_try(model, kind, max_length)
    compare = functools.partial(_flat_against_padded, model, encoded, first_position)
    device = next(model.parameters()).device
    bound = 1e-4
    try:
        difference = compare(torch.float32, by_parts=True)
        if difference < bound and device.type == "cuda":
            bound = bound if dtype == torch.float32 else 0.1
            difference = compare(dtype)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # what an architecture of its own ways may raise is anything
        reason = " ".join(str(error).split())[:100]
        difference, reason = float("inf"), f"{type(base).__name__} cannot run on it ({reason})"
    else:
        reason = f"the rewards of {type(base).__name__} differ on it by {difference:.1g}"
    if difference < bound:
        return ""
    model.set_attn_implementation(before)
    return reason


def _to_try(model: Any, kind: str, max_length: int) -> list[dict[str, Any]]:
    """Some small rankings, and one of rows beyond the model's window, where alone it shows."""
    encoded = small_rankings(kind, model.config.pad_token_id)
    config = model.config.get_text_config()
    windows = [getattr(config, name, None) for name in ("sliding_window", "local_attention")]
    longest = min(max([window for window in windows if window] or [0]) + 8, max_length)
    words = encoded[0]["input_ids"][0]
    row = (words * (longest // len(words) + 1))[:longest]
    encoded.append({"input_ids": [row, row[1:]], "shared": 0, "length": longest})
    return encoded


def _flat_against_padded(
    model: Any,
    encoded: list[dict[str, Any]],
    first_position: int,
    dtype: torch.dtype,
    by_parts: bool = False,
) -> float:
    """`reward_difference` of encoded rankings between the layouts."""
    device = next(model.parameters()).device
    low = dtype != torch.float32
    rewards = []
    for layout in (Padded(model.config.pad_token_id), Flat(first_position)):
        batch = layout.collate(encoded, range(len(encoded)))
        if "segments" in batch:
            batch["segments"] = replace(batch["segments"], by_parts=by_parts)
        with (
            torch.no_grad(),
            torch.autocast(device.type, dtype if low else torch.bfloat16, enabled=low),
        ):
            rewards.append(model(**model_inputs(batch, device)).logits[:, 0].float())
    padded, flat = rewards
    return reward_difference(flat, padded)


def reward_difference(rewards: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to `expected` where those are above 1; infinite for NaN."""
    difference = (rewards - expected).abs() / expected.abs().clamp(min=1)
    return difference.nan_to_num(nan=float("inf")).max().item()


def small_rankings(kind: str, pad: int) -> list[dict[str, Any]]:
    """Two encoded rankings of a few tokens, to try a model on."""
    words = [token for token in range(64) if token != pad]
    return [
        {"input_ids": [words[:3] + words[a:b] for a, b in own], "length": 12}
        | {"shared": 3 if kind == "decoder" else 0}
        for own in ([(10, 12), (20, 29), (30, 31)], [(40, 44), (50, 50)])
    ]
