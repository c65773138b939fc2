"""A policy: a causal language model that completions are sampled from.

The tokens of a prompt are computed once, however many completions it gets, and a completion that
has ended leaves the batch. Each completion is drawn with random numbers of its own, which come from
the seed, the prompt and its place among the n: neither the batch nor the other prompts have a say
in it.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import LongTensor, Tensor

from plaudit.console import progress, say
from plaudit.data.rankings import Text, text_key
from plaudit.data.splits import prompt_hash
from plaudit.errors import PlauditError
from plaudit.model import base_models
from plaudit.model.devices import Dtype, best_device
from plaudit.model.encoding import RefusedError, plain_text
from plaudit.model.identity import weights_digest
from plaudit.model.precision import choose_precision, work_of

if TYPE_CHECKING:
    from plaudit.model.scorer import Scorer

# Tokens that top-p is looked for among at first; where they do not suffice, four times as many.
LIKELIEST = 256


class Completion(NamedTuple):
    """A sampled text; `finished` is whether the policy ended it, or it was cut at the most tokens.

    Without a chat template the text keeps the white space that it begins with: prompt and text
    together are then what the policy read and wrote.
    """

    text: str
    finished: bool


AT_ONCE = 8  # tokens of a forward pass, about: one of each completion that is sampled


@dataclass
class Policy:
    """A causal language model to sample from.

    >>> policy = Policy.load("policy")
    >>> completions = next(policy.sample(["What is a bond?"], n=2, seed=0, max_new_tokens=4))
    >>> len(completions)
    2
    """

    model: Any
    tokenizer: Any
    device: torch.device

    @classmethod
    def load(cls, name: str | Path, *, device: str = "auto", dtype: Dtype = "auto") -> "Policy":
        """Load a hub name, a folder, or `embedded:smollm2`.

        `dtype` is that of the weights; `auto` is bfloat16 where that is measured to be faster.
        Raises `PlauditError` where there is no such model or it cannot generate.
        """
        from transformers import AutoModelForCausalLM

        source = base_models.locate(str(name))
        config = base_models.load_config(source)
        if base_models.kind_of(config, str(name)) != "decoder":
            raise PlauditError(f"policy: {name} is an encoder; only a decoder generates text")
        tokenizer = base_models.load_tokenizer(source)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        if tokenizer.pad_token is None:
            raise PlauditError(f"policy: {name}'s tokenizer has neither a pad nor an EOS token")
        place = torch.device(best_device() if device == "auto" else device)
        model, missing, *_ = base_models.load_weights(source, AutoModelForCausalLM)
        if missing:  # as of a reward model, which has a head of another kind
            raise PlauditError(
                f"policy: {name} lacks weights that generate text ({min(missing)}); is it a reward "
                "model?"
            )
        precision = choose_precision(dtype, place, work_of(model, "decoder", False), AT_ONCE)
        model = model.to(place, precision.dtype).eval()
        return cls(model, tokenizer, place)

    @property
    def stops(self) -> list[int]:
        """The tokens that end a completion: the model's and the tokenizer's."""
        named = self.model.generation_config.eos_token_id
        ends = {*(named if isinstance(named, list) else [named]), self.tokenizer.eos_token_id}
        return sorted(ends - {None})

    def identity(self) -> dict[str, Any]:
        """What tells whether two policies sample the same, as plain JSON."""
        words = (len(self.tokenizer), self.tokenizer.chat_template, self.stops)
        return {"weights": weights_digest(self.model, words), "dtype": str(self.model.dtype)}

    def refusal(self, prompt: Text) -> RefusedError | None:
        """Why the policy's chat template or tokenizer does not take a prompt, where it does not."""
        try:
            row = self.tokenizer(self._render(prompt), verbose=False)["input_ids"]
        except Exception as error:  # the template's or the tokenizer's own
            why = " ".join(str(error).split())[:200]
            return RefusedError(f"the policy refuses the prompt: {why}")
        return None if row else RefusedError("the policy refuses the prompt: it is empty")

    def sample(self, prompts: Iterable[Text], **sampling: Any) -> Iterator[list[str]]:
        """n completions of each prompt, in order; `complete` says what it takes and raises.

        >>> sampled = Policy.load("policy").sample(["What is a bond?"], n=4, max_new_tokens=4)
        >>> [len(completions) for completions in sampled]
        [4]
        """
        for completions in self.complete(prompts, **sampling):
            yield [completion.text.strip() for completion in completions]

    def complete(
        self,
        prompts: Iterable[Text],
        *,
        n: int = 4,
        max_new_tokens: int = 128,
        temperature: float = 0.8,
        top_p: float = 0.95,
        batch_size: int = 4,
        seed: int = 0,
    ) -> Iterator[list[Completion]]:
        """n completions of each prompt, in order, and whether the policy finished them.

        Args:
            prompts: plain texts or lists of chat messages, read `batch_size` at a time.
            n: completions of each prompt.
            max_new_tokens: length of a completion at most.
            temperature: what logits are divided by; 0 decodes greedily, where n must be 1.
            top_p: the smallest set of tokens with this probability is drawn from.
            batch_size: prompts sampled at once; changes speed and memory only.
            seed: of the random numbers. The same seed and prompt give the same completions, up to
                the rounding of the policy's own arithmetic, and the first k of n are those of k.

        Raises:
            PlauditError: when a setting or a prompt is no good.
        """
        check_sampling(n, max_new_tokens, temperature, top_p, batch_size)
        stream = iter(prompts)
        truncated = 0
        first = True  # whose time nobody can tell yet from that of those before
        while batch := list(islice(stream, batch_size)):
            inputs, cut = self._encode(batch, max_new_tokens)
            if cut and not truncated:
                say("a prompt is longer than the policy reads: its beginning is cut")
            truncated += cut
            numbers = np.stack(
                [_numbers(prompt, k, seed, max_new_tokens) for prompt in batch for k in range(n)]
            )
            steps = (
                progress(range(max_new_tokens), "tokens of the first prompts") if first else None
            )
            first = False
            tokens, finished = self._continue(inputs, n, numbers, temperature, top_p, steps)
            texts = [
                text.strip() if self.tokenizer.chat_template else text.rstrip()
                for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
            ]
            both = list(map(Completion, texts, finished))
            yield from (both[start : start + n] for start in range(0, len(both), n))
        if truncated > 1:
            say(f"{truncated:,} prompts are longer than the policy reads: their beginning is cut")

    @torch.inference_mode()
    def _continue(
        self,
        inputs: dict[str, Tensor],
        n: int,
        numbers: np.ndarray,
        temperature: float,
        top_p: float,
        steps: Iterable[int] | None = None,
    ) -> tuple[list[list[int]], list[bool]]:
        """Tokens of n completions of each prompt, and which of them ended by a stop token.

        `input_ids[B, P]` and `attention_mask[B, P]`, padded on the left; `numbers[B·n, T]`. `steps`
        are 0 to T - 1, where they show how far it is.
        """
        from transformers import DynamicCache

        wide = torch.float32 if self.device.type == "mps" else torch.float64  # it has no other
        drawn = torch.from_numpy(numbers).to(self.device, wide)
        stops = torch.tensor(self.stops, device=self.device, dtype=torch.long)
        mask = inputs["attention_mask"]
        cache = DynamicCache(config=self.model.config)
        logits = self._logits(inputs["input_ids"], mask, cache)
        # The rows that still go on: at first n of each prompt, which was computed once.
        rows = torch.arange(len(drawn), device=self.device)
        of = rows // n
        logits, mask = logits[of], mask[of]
        cache.reorder_cache(cast(LongTensor, of))
        tokens: list[list[int]] = [[] for _ in rows]
        finished = [False] * len(rows)
        most = drawn.shape[1]
        for step in steps or range(most):
            token = choose(logits, drawn[rows, step], temperature, top_p)
            ended = torch.isin(token, stops)
            for row, new, end in zip(rows.tolist(), token.tolist(), ended.tolist(), strict=True):
                tokens[row].append(new)
                finished[row] = end
            if step + 1 == most or bool(ended.all()):
                break
            if bool(ended.any()):
                on = (~ended).nonzero()[:, 0]
                rows, token, mask = rows[on], token[on], mask[on]
                cache.reorder_cache(cast(LongTensor, on))
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            logits = self._logits(token[:, None], mask, cache)
        return tokens, finished

    def _logits(self, ids: Tensor, mask: Tensor, cache: Any) -> Tensor:
        """`logits[N, V]` of what follows the last token, in float32."""
        options = {
            "position_ids": (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :],
            "logits_to_keep": 1,
        }
        known = inspect.signature(self.model.forward).parameters
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **{name: value for name, value in options.items() if name in known},
        )
        return output.logits[:, -1].float()

    def _encode(
        self, prompts: Sequence[Text], max_new_tokens: int
    ) -> tuple[dict[str, Tensor], int]:
        """Tokens of the prompts, padded on the left, and how many prompts had to be cut."""
        limit = base_models.position_limit(self.model)
        room = limit - max_new_tokens if limit else None
        if room is not None and room < 1:
            raise PlauditError(
                f"max_new_tokens: {max_new_tokens} fill all {limit} tokens that the policy reads"
            )
        rows = self.tokenizer(
            [self._render(prompt) for prompt in prompts],
            add_special_tokens=not self.tokenizer.chat_template,
            verbose=False,  # it warns of long texts, which we cut
        )["input_ids"]
        if not all(rows):
            raise PlauditError("a prompt is empty: there is nothing for the policy to continue")
        # The end of a prompt is what a completion continues.
        kept = [row[-room:] if room else row for row in rows]
        inputs = self.tokenizer.pad({"input_ids": kept}, return_tensors="pt", padding_side="left")
        cut = sum(len(row) > len(rest) for row, rest in zip(rows, kept, strict=True))
        names = ("input_ids", "attention_mask")
        return {name: inputs[name].to(self.device) for name in names}, cut

    def _render(self, prompt: Text) -> str:
        if not self.tokenizer.chat_template:
            return plain_text(prompt)
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        return self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )


def refusal_by(
    policy: Policy, scorers: "Sequence[Scorer]"
) -> Callable[[Text], RefusedError | None]:
    """What says why the policy or one of the models that score it does not take a prompt."""

    def refusal(prompt: Text) -> RefusedError | None:
        found = policy.refusal(prompt)
        for scorer in scorers:
            found = found or scorer.refusal(prompt, ["-"])
        return found

    return refusal


def check_sampling(
    n: int, max_new_tokens: int, temperature: float, top_p: float, batch_size: int
) -> None:
    """Raise `PlauditError` where a setting of the sampling is no good."""
    least = {"n": (n, 1), "max_new_tokens": (max_new_tokens, 1), "batch_size": (batch_size, 1)}
    for name, (value, low) in (least | {"temperature": (temperature, 0)}).items():
        if not low <= value < math.inf:
            raise PlauditError(f"{name}: {value} is not a number of {low} or more")
    if not 0 < top_p <= 1:
        raise PlauditError(f"top_p: {top_p} is not a share above 0 and up to 1")
    if temperature == 0 and n > 1:
        raise PlauditError("temperature: 0 decodes greedily, which gives one completion; take n 1")


def choose(logits: Tensor, numbers: Tensor, temperature: float, top_p: float) -> Tensor:
    """One token of each row `[N]`: the likeliest at temperature 0, else drawn by its number.

    A row's own number decides, by inverting its cumulative distribution, so that what it draws does
    not depend on the rows beside it. Top-p (Holtzman et al. 2020) keeps the smallest set of
    likeliest tokens whose probability reaches it.

    Args:
        logits: `[N, V]`.
        numbers: `[N]`, uniform in [0, 1); sums over the vocabulary are in their precision.
        temperature: what logits are divided by.
        top_p: the probability to keep.

    Raises:
        PlauditError: when a row's highest logit is not a finite number.

    >>> logits = torch.tensor([[0.0, 1.0, -1.0]])
    >>> choose(logits, torch.tensor([0.999]), temperature=0, top_p=1).item()
    1
    """
    highest = logits.amax(1, keepdim=True)
    if not torch.isfinite(highest).all():
        raise PlauditError(
            "policy: its logits are not finite numbers: its weights are damaged or overflow; copy "
            "all its files again, or load it in float32"
        )
    if temperature == 0:
        return logits.argmax(1)
    # Relative to the highest, since a tiny temperature would overflow.
    probabilities = ((logits - highest) / float(temperature)).softmax(1)
    tokens = None
    if top_p < 1:
        probabilities, tokens = _nucleus(probabilities, top_p)
    cumulative = probabilities.to(numbers.dtype).cumsum(1)
    place = torch.searchsorted(cumulative, numbers[:, None] * cumulative[:, -1:], right=True)
    # Rounding must not lead beyond the last token that has a chance.
    last = (probabilities > 0).cumsum(1).argmax(1, keepdim=True)
    place = place.minimum(last)
    return (place if tokens is None else tokens.gather(1, place))[:, 0]


def _nucleus(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The likeliest tokens' probabilities from the highest down, 0 beyond top-p, and their ids.

    Sorting a vocabulary of 50,000 takes as long as a small model takes for a token; the likeliest
    few hundred nearly always hold what is wanted.
    """
    size = min(LIKELIEST, probabilities.shape[1])
    while True:
        likeliest, tokens = probabilities.topk(size, dim=1)
        before = likeliest.cumsum(1) - likeliest
        if size == probabilities.shape[1] or bool((likeliest.sum(1) >= top_p).all()):
            return likeliest.masked_fill(before >= top_p, 0.0), tokens
        size = min(4 * size, probabilities.shape[1])


def _numbers(prompt: Text, k: int, seed: int, count: int) -> np.ndarray:
    """Uniform random numbers in [0, 1), one for each token of the k-th completion: `[count]`."""
    return np.random.default_rng([prompt_hash(text_key(prompt), seed), k]).random(
        count, dtype=np.float32
    )
