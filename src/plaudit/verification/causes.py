"""Why two programs give a row other rewards: guesses, each tried on the rows that part.

Where a peer tells them, its tokens and its weights are compared with those here. Where it does
not, the rewards are computed anew as they would be if it doubled BOS, cut rows, pooled otherwise,
rounded weights. A guess is named where it gives the peer's rewards: so each cause that is named was
seen, or reproduced.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from plaudit.console import progress
from plaudit.errors import PlauditError
from plaudit.model.base_models import quiet
from plaudit.model.checkpoint import names_of_labels, weights_of_labels
from plaudit.model.classifier import backbone, head_of
from plaudit.model.devices import dtype_name
from plaudit.model.encoding import plain_text
from plaudit.model.poolings import Pooling
from plaudit.model.reward_model import RewardModel
from plaudit.model.states import States
from plaudit.verification.alone import Scale, differences, padded, raw, score_rows
from plaudit.verification.peers import There
from plaudit.verification.rows import Row

# Lengths that programs cut at unless told otherwise.
CUTS = (128, 256, 512, 1024, 2048, 4096)
# A guess explains a row where it leaves this share of the difference, or less than is tolerated.
LEFT = 0.02
# And is named where it explains so many of the rows that part.
MOST = 0.8
# Rows with which a coincidence is out of the question.
ENOUGH = 4
# Fields of a configuration that change nothing in a reward.
NOT_COMPUTED = {
    "_name_or_path", "architectures", "auto_map", "dtype", "id2label", "label2id", "num_labels",
    "pad_token_id", "plaudit", "problem_type", "sentence_transformers", "transformers_version",
    "use_cache",
}  # fmt: skip
ALIKE = 4.0  # how many times as large a difference may be as another that it is like
NAMED = 3  # weights of other values


@dataclass(frozen=True)
class Cause:
    """A reason why rows part, and how many of them it explains."""

    name: str
    says: str
    rows: int


@dataclass(frozen=True)
class Parted:
    """The rows that part.

    `here[i]` and `there[i]` are the rewards of `rows[i]`, as the weights give them; `alone[i]` is
    the peer's where it was asked for the row alone; `all_here` and `all_there` are of all rows.
    """

    model: RewardModel
    peer: There
    rows: Sequence[Row]
    here: NDArray[np.float64]
    there: NDArray[np.float64]
    alone: NDArray[np.float64]
    all_here: NDArray[np.float64]
    all_there: NDArray[np.float64]
    scale: Scale
    tolerance: float

    def only(self, places: Sequence[int]) -> "Parted":
        """Some of the rows."""
        here, there, alone = (of[list(places)] for of in (self.here, self.there, self.alone))
        rows = [self.rows[place] for place in places]
        return replace(self, rows=rows, here=here, there=there, alone=alone)

    def explained(self, expected: Sequence[float]) -> int:
        """Of how many rows the peer's reward is the expected one."""
        there = self.there.tolist()
        left, before = differences(expected, there), differences(self.here.tolist(), there)
        # Of a few rows one among many guesses would come near by chance.
        share = LEFT if len(self.rows) >= ENOUGH else 0.0
        near = self.scale.same(expected, there, self.tolerance)
        return int((near | (left <= share * before)).sum())

    def fits(self, count: int) -> bool:
        """Whether so many explained rows are most of them."""
        return count >= max(MOST * len(self.rows), 1)


def find_causes(parted: Parted) -> list[Cause]:
    """Why the rows part: what was seen, else what was guessed; empty where nothing explains it."""
    if padding := _padding(parted):
        return [padding]
    of_tokens, same_tokens = _tokens(parted)
    if not same_tokens:
        return of_tokens
    rest = parted.only(same_tokens)
    cause = _sums(rest) or _weights(rest) or _configuration(rest) or _best_guess(rest)
    cause = cause or _half_precision(rest)
    return [*of_tokens, *filter(None, [cause])]


def _best_guess(parted: Parted) -> Cause | None:
    """What explains the most rows; None where nothing explains most of them."""
    best: Cause | None = None
    for name, says, rewards in progress(_guesses(parted), "trying guesses"):
        count = parted.explained(rewards)
        if parted.fits(count) and (best is None or count > best.rows):
            best = Cause(name, says, count)
            if count == len(parted.rows):
                break
    return best


# ---- seen ----


def _padding(parted: Parted) -> Cause | None:
    """Its reward of a row depends on what else is asked at once."""
    alone, same = parted.alone.tolist(), parted.scale.same
    moved = ~same(parted.there.tolist(), alone, parted.tolerance)
    if not moved.any():
        return None
    right = moved & same(parted.here.tolist(), alone, parted.tolerance)
    if right.sum() < MOST * moved.sum():
        says = "a row has one reward among others, another one alone, and neither is the one here"
        return Cause("unsteady", says, int(moved.sum()))
    tokenizer, model = parted.peer.tokenizer, parted.peer.model
    says = "its rewards depend on what else is asked at once"
    if tokenizer is not None and tokenizer.padding_side == "left":
        says += ": it pads rows on the left, where this model's positions or its pooling are others"
        return Cause("left padding", says, int(moved.sum()))
    if model is not None and tokenizer is not None:
        pad, configured = tokenizer.pad_token_id, model.config.get_text_config().pad_token_id
        if pad != configured:
            says += (
                f": it pads with token {pad}, and its configuration names {configured} as the pad "
                "token, so that padding is pooled"
            )
            return Cause("pad pooled", says, int(moved.sum()))
    return Cause("padding", f"{says}: padding is read or pooled", int(moved.sum()))


def _tokens(parted: Parted) -> tuple[list[Cause], list[int]]:
    """What parts the tokens that are read there from those read here, and the places of rows whose
    tokens are the same, or are not told."""
    tokens = parted.peer.tokens(parted.rows)
    if tokens is None:
        return [], list(range(len(parted.rows)))
    same: list[int] = []
    counts: dict[str, int] = {}
    shown: dict[str, str] = {}
    encoded = _encoded(parted.model, parted.rows)
    for place, (of, there) in enumerate(zip(encoded, tokens, strict=True)):
        here = of["input_ids"][0]
        if there == here:
            same.append(place)
            continue
        name, says = _difference(parted, here, there)
        counts[name] = counts.get(name, 0) + 1
        shown.setdefault(name, says)
    often = sorted(counts, key=lambda name: -counts[name])
    return [Cause(name, shown[name], counts[name]) for name in often], same


def _difference(parted: Parted, here: list[int], there: list[int]) -> tuple[str, str]:
    """The name of what parts two rows of tokens, and a sentence about it."""
    tokenizer = parted.model.encoding.tokenizer
    bos = tokenizer.bos_token_id
    if bos is not None and there[:2] == [bos, bos] and here[:2] != [bos, bos]:
        return "doubled BOS", f"rows begin with {tokenizer.bos_token} twice there"
    if bos is not None and here[:1] == [bos] and there == here[1:]:
        return "no BOS", f"rows lack the {tokenizer.bos_token} that they begin with here"
    limit = getattr(parted.peer.tokenizer, "model_max_length", 0)
    if len(there) < len(here) and len(there) in (*CUTS, limit) and _in_order(there, here):
        return (
            "truncation",
            f"rows are cut to {len(there):,} tokens there; here this model reads "
            f"{parted.model.max_length:,}",
        )
    for short, long, what in ((there, here, "lack"), (here, there, "have besides")):
        if long[: len(short)] == short:
            end = tokenizer.decode(long[len(short) :][:8])
            return "ending", f"at their end rows {what} {end!r} there"
    other = parted.peer.tokenizer
    if other is not None and other.decode(there) == tokenizer.decode(here):
        return "tokenizer", "the same texts are other tokens there: its tokenizer is another one"
    place = next((n for n, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), None)
    place = min(len(here), len(there)) if place is None else place
    a, b = (tokenizer.decode(ids[max(place - 2, 0) : place + 6]) for ids in (here, there))
    return "template", f"rows are laid out otherwise: {b!r} there, {a!r} here, at token {place}"


def _in_order(short: list[int], long: list[int]) -> bool:
    """Whether tokens were only taken out: what is left stands there in its order."""
    left = iter(long)
    return all(any(token == other for other in left) for token in short)


def _weights(parted: Parted) -> Cause | None:
    """Weights that have other values there."""
    if parted.peer.model is None:
        return None
    theirs, ours = _own_names(parted.peer.model), _own_names(parted.model.model)
    ours_of_head = _names_of_head(parted.model)
    differ: dict[str, tuple[Tensor, Tensor]] = {}
    for name in ours.keys() & theirs.keys():
        a, b = ours[name].float().cpu(), theirs[name].float().cpu()
        if len(a) == 1 < len(b) and name in ours_of_head:  # the one row that is left of several
            labels = names_of_labels(parted.peer.model.config, len(b))
            of = torch.tensor(weights_of_labels(parted.model.attributes or None, labels))
            b = (of @ b.reshape(len(b), -1)).reshape(a.shape)
        if a.shape != b.shape or not torch.allclose(a, b, rtol=1e-4, atol=1e-6):
            differ[name] = (a, b)
    adapted = [name for name in theirs if "lora_" in name]
    if not differ:
        if missing := sorted((ours.keys() - theirs.keys()) if not adapted else ()):
            return Cause("weights", f"it has no weight {missing[0]}", len(parted.rows))
        return None
    count = len(parted.rows)
    head = differ.keys() & ours_of_head
    if head == differ.keys():
        return Cause(*_of_head({name: differ[name] for name in sorted(head)}), count)
    if all(torch.equal(a.bfloat16().float(), b) for a, b in differ.values()):
        return Cause("dtype", f"{len(differ)} weights are rounded to bfloat16 there", count)
    if all(torch.equal(a.half().float(), b) for a, b in differ.values()):
        return Cause("dtype", f"{len(differ)} weights are rounded to float16 there", count)
    named = ", ".join(sorted(differ)[:NAMED])
    more = f" and {len(differ) - NAMED} more" if len(differ) > NAMED else ""
    says = f"{len(differ)} weights have other values there: {named}{more}"
    if adapted or all(a.dim() == 2 for a, _ in differ.values()):
        says += "; is an adapter missing there, or an older one merged?"
        return Cause("stale adapter", says, count)
    return Cause("weights", says, count)


def _of_head(differ: dict[str, tuple[Tensor, Tensor]]) -> tuple[str, str]:
    """How the weights of a head differ."""
    if all(torch.equal(a.bfloat16().float(), b) for a, b in differ.values()):
        return "bf16 head", f"the head is rounded to bfloat16 there ({', '.join(differ)})"
    if all(torch.allclose(a, -b, rtol=1e-4, atol=1e-6) for a, b in differ.values()):
        return "label order", "the head has the other sign there, as of two labels turned round"
    biases = {name: pair for name, pair in differ.items() if name.endswith("bias")}
    if biases.keys() == differ.keys():
        if all(not b.any() for _, b in biases.values()):
            return "bias", f"the bias of the head is dropped there ({', '.join(biases)})"
        return "bias", f"the bias of the head has another value there ({', '.join(biases)})"
    return "head", f"the head has other weights there: {', '.join(differ)}"


def _names_of_head(model: RewardModel) -> set[str]:
    if model.own_code:
        return set()
    head = head_of(model.model)
    prefix = next(name for name, module in model.model.named_modules() if module is head)
    return {f"{prefix}.{name}" for name, _ in head.named_parameters()}


def _own_names(model: Any) -> dict[str, Tensor]:
    """A model's weights by the names that they have without peft; of layers that it adapts with the
    adapter added."""
    if not hasattr(model, "peft_config"):
        return dict(model.state_dict())
    from peft.tuners.tuners_utils import BaseTunerLayer

    # Of a model that transformers put an adapter into by itself, the layers alone are peft's.
    adapted = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in adapted:
        layer.merge()
    try:
        names = {
            name.removeprefix("base_model.model.")
            .replace(".base_layer.", ".")
            .replace(".modules_to_save.default.", "."): value.clone()
            for name, value in model.state_dict().items()
            if ".original_module." not in name
        }
    finally:
        for layer in adapted:
            layer.unmerge()
    return {name: value for name, value in names.items() if "lora_" not in name}


def _configuration(parted: Parted) -> Cause | None:
    """What its configuration says of how the model computes, and ours says otherwise."""
    if parted.peer.model is None:
        return None
    theirs, ours = (model.config.to_dict() for model in (parted.peer.model, parted.model.model))
    differ = [key for key in ours if key not in NOT_COMPUTED and theirs.get(key) != ours[key]]
    if not differ:
        return None
    said = ", ".join(f"{key} is {theirs.get(key)} there and {ours[key]} here" for key in differ[:3])
    name = "pooling" if differ == ["classifier_pooling"] else "configuration"
    return Cause(name, f"in config.json {said}", len(parted.rows))


def _sums(parted: Parted) -> Cause | None:
    """The same rewards but for a simple sum, the same one for all rows."""
    here, there, count = parted.all_here, parted.all_there, len(parted.rows)
    if len(set(here.tolist())) < ENOUGH:  # a line through two points is always there
        return None

    def gives(expected: NDArray[np.float64]) -> bool:
        return bool(parted.scale.same(expected.tolist(), there.tolist(), parted.tolerance).all())

    if np.ptp(there) <= parted.tolerance * max(1.0, float(np.abs(there).max())):
        says = f"all rewards are {there[0]:.6g} there, as of a head that is empty"
        return Cause("head", says, count)
    offset = float(np.median(there - here))
    if gives(here + offset):
        says = f"all rewards are {offset:+.6g} there: a bias dropped, or other normalisation"
        return Cause("bias", says, count)
    if gives(-here):
        return Cause("label order", "all rewards have the other sign there: the label order", count)
    if gives(expit(here)):
        says = "it gives σ(reward): ask for the number without its activation"
        return Cause("activation", says, count)
    factor, base = np.polyfit(here, there, 1)
    if factor > 0 and gives(factor * here + base):
        says = f"its rewards are {factor:.6g} × reward {base:+.6g}: normalised, or scaled"
        return Cause("normalisation", says, count)
    return None


# ---- guessed: what it would give if … ----


def _guesses(parted: Parted) -> Iterator[tuple[str, str, list[float]]]:
    """Guesses, with the rewards that each expects of the rows that part."""
    model, encoded = parted.model, _encoded(parted.model, parted.rows)
    for name, says, change in _changed_tokens(parted):
        rows = [change(of) for of in encoded]
        reads = model.max_length
        rows = [
            new if new["length"] <= reads else of for new, of in zip(rows, encoded, strict=True)
        ]
        if any(
            new["input_ids"] != old["input_ids"] for new, old in zip(rows, encoded, strict=True)
        ):
            yield name, says, _rewards(model, rows)
    yield from _otherwise_laid_out(parted)
    if model.own_code:  # what pools there, and what is its head, nobody knows
        return
    for how in _POOLED:
        with _pooled_by(model, how):
            yield "pooling", f"it pools {how.what}", _rewards(model, encoded)
    yield from _rounded(parted, encoded)


def _changed_tokens(
    parted: Parted,
) -> Iterator[tuple[str, str, Callable[[dict[str, Any]], dict[str, Any]]]]:
    tokenizer = parted.model.encoding.tokenizer
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    pad = parted.model.encoding.pad_token_id
    if bos is not None:
        word = tokenizer.bos_token
        yield "doubled BOS", f"rows begin with {word} once more there", _with(lambda r: [bos, *r])
        yield (
            "no BOS", f"rows lack the {word} that they begin with here",
            _with(lambda r: r[1:] if r[0] == bos else r),
        )  # fmt: skip
    if eos is not None:
        word = tokenizer.eos_token
        yield "ending", f"rows end with {word} once more there", _with(lambda r: [*r, eos])
        yield (
            "ending", f"rows lack the {word} that they end with here",
            _with(lambda r: r[:-1] if r[-1] == eos and len(r) > 1 else r),
        )  # fmt: skip
    if pad is not None and pad != eos:
        yield "pad pooled", "a pad token is read as the end of rows", _with(lambda r: [*r, pad])
    for cut in CUTS:
        if cut < parted.model.max_length:
            says = f"rows are cut to {cut:,} tokens there"
            yield "truncation", f"{says}, their ends first", _with(lambda r, n=cut: r[:n])
            yield "truncation", f"{says}, their beginnings first", _with(lambda r, n=cut: r[-n:])
            yield (
                "truncation",
                f"{says}, before their last token",
                _with(lambda r, n=cut: _short(r, n)),
            )


def _short(row: list[int], length: int) -> list[int]:
    return [*row[: length - 1], row[-1]] if len(row) > length else row


def _with(change: Callable[..., list[int]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """An encoded row with other tokens; token types as far as they go."""

    def changed(of: dict[str, Any]) -> dict[str, Any]:
        ids = change(of["input_ids"][0])
        new = of | {"input_ids": [ids], "length": len(ids), "shared": 0}
        if types := of.get("token_type_ids"):
            new["token_type_ids"] = [change_types(types[0], len(ids))]
        return new

    return changed


def change_types(types: list[int], length: int) -> list[int]:
    """Token types for a row of another length.

    >>> change_types([0, 0, 1], 2), change_types([0, 1], 3)
    ([0, 0], [0, 1, 1])
    """
    return (types + types[-1:] * length)[:length]


def _otherwise_laid_out(parted: Parted) -> Iterator[tuple[str, str, list[float]]]:
    """Rows without the chat template, with one, as one sentence."""
    encoding = parted.model.encoding
    rows = [(row.prompt, [row.completion]) for row in parted.rows]
    others: list[tuple[str, Any]] = []
    if encoding.template == "chat":
        plain = replace(encoding, template="plain")
        others.append(("prompt and completion are put together without the chat template", plain))
        others.append(
            ("prompt and completion are put together with nothing between them",
             replace(plain, separator="")),
        )  # fmt: skip
    elif encoding.kind == "decoder":
        for separator, what in (("", "nothing"), ("\n", "a line's end"), (" ", "a space")):
            if separator != encoding.separator:
                says = f"between prompt and completion stands {what}"
                others.append((says, replace(encoding, separator=separator)))
        if encoding.tokenizer.chat_template:
            chat = replace(encoding, template="chat")
            others.append(("rows go through the tokenizer's chat template", chat))
    for says, other in others:
        try:
            encoded = other.encode_texts(rows)
        except PlauditError:
            continue
        yield "template", f"{says} there", _rewards(parted.model, encoded)
    if encoding.is_pair:
        texts = [plain_text(row.prompt) + plain_text(row.completion) for row in parted.rows]
        one = encoding.encode_rendered(texts)
        says = "prompt and completion are read as one sentence there, not as a pair"
        yield "template", says, _rewards(parted.model, one)


class _Vectors(Pooling):
    """A pooling that is tried."""

    def __init__(self, what: str, vectors: Callable[[States], Tensor]) -> None:
        self.what, self._vectors = what, vectors

    def vectors(self, states: States) -> Tensor:
        """See `Pooling`."""
        return self._vectors(states)


_POOLED = (
    _Vectors("the first token", lambda states: states.first()),
    _Vectors("the last token", lambda states: states.last()),
    _Vectors("the mean of all tokens", lambda states: states.mean()),
    _Vectors("the token before the last one", lambda states: _before_last(states)),
)


def _before_last(states: States) -> Tensor:
    values, present = states.rows()
    place = (present.long().sum(1) - 2).clamp(min=0)
    return values[torch.arange(len(values), device=values.device), place]


@contextmanager
def _pooled_by(model: RewardModel, how: _Vectors) -> Iterator[None]:
    """Within the block the model's head is given what another pooling makes of the tokens."""
    network = model.model
    with padded(model):
        if not network.pooling.own_head:
            before, network.pooling = network.pooling, how
            try:
                yield
            finally:
                network.pooling = before
            return
        masks: list[Tensor] = []

        def note(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
            masks.append(kwargs["attention_mask"])

        def pool(_: Any, __: Any, output: Any) -> Any:
            """Every token's state becomes the pooled one: whichever the head reads, it is that."""
            hidden = output.last_hidden_state
            vectors = how.vectors(States(hidden, masks.pop()))
            output.last_hidden_state = vectors.unsqueeze(1).expand_as(hidden)
            return output

        hooks = [
            network.register_forward_pre_hook(note, with_kwargs=True),
            backbone(network).register_forward_hook(pool),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _rounded(
    parted: Parted, encoded: list[dict[str, Any]]
) -> Iterator[tuple[str, str, list[float]]]:
    """Weights with fewer digits, of the head or of all; and products with fewer."""
    model, head = parted.model, head_of(parted.model.model)
    for dtype in (torch.bfloat16, torch.float16):
        name = dtype_name(dtype)
        with _cast(head, dtype):
            says = f"the head's weights are rounded to {name} there"
            yield "bf16 head" if name == "bfloat16" else "dtype", says, _rewards(model, encoded)
        with _cast(model.model, dtype):
            yield "dtype", f"all weights are rounded to {name} there", _rewards(model, encoded)


def _half_precision(parted: Parted) -> Cause | None:
    """Differences as large as those that half precision makes here, though not the same ones: each
    program rounds in places of its own."""
    model, rows = parted.model, parted.rows
    if len(rows) < ENOUGH:
        return None
    own = [raw(model, each) for each in score_rows(replace(model, dtype=torch.bfloat16), rows)]
    ours = float(np.median(differences(parted.here.tolist(), own)))
    theirs = float(np.median(differences(parted.here.tolist(), parted.there.tolist())))
    if not ours / ALIKE <= theirs <= ours * ALIKE:
        return None
    says = f"rewards differ by {theirs:.2g} in the middle, as bfloat16 makes them differ here"
    return Cause("dtype", f"{says} ({ours:.2g})", len(rows))


@contextmanager
def _cast(module: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Within the block the module's weights have the values that they have in another type."""
    kept = {name: value.detach().clone() for name, value in module.named_parameters()}
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(value.to(dtype).to(value.dtype))
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in module.named_parameters():
                value.copy_(kept[name])


def _encoded(model: RewardModel, rows: Sequence[Row]) -> list[dict[str, Any]]:
    with quiet():
        return model.encoding.encode_texts([(row.prompt, [row.completion]) for row in rows])


def _rewards(model: RewardModel, encoded: list[dict[str, Any]]) -> list[float]:
    """Rewards as the weights give them."""
    return [raw(model, of[0]) for of in replace(model, truncation={}).rewards(encoded)]
