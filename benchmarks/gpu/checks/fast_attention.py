"""What does FlexAttention cost, in compiling and in masks, and is it the fastest attention here?

It is compared with SDPA on padded rows and with FlashAttention on rows of various lengths, for
which keys and values of what a ranking shares are copied for each completion. Each is compared
with SDPA in float32 part by part, too: what is fast must be right.
"""

import inspect
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from checks import contest, shapes, timing
from checks.setting import Report, Setting
from plaudit.model.attention import Segments, attend_by_parts, attend_in_blocks
from plaudit.model.batches import model_inputs

ORDER = 50
LIMIT = 50
ALONE = True

BATCHES = 10
COMPILED = "smollm2-135m"
MASK_TOKENS = (4_000, 16_000, 64_000)
# A large head first: what is decided for it weighs most. Then the others, while there is time.
CASES = [
    ("qwen2.5-7b", 200, None),
    ("qwen2.5-7b", 1500, None),
    ("smollm2-135m", 200, None),
    ("smollm2-135m", 1500, None),
    ("qwen2.5-0.5b", 200, None),
    ("qwen2.5-0.5b", 1500, None),
    ("modernbert-base", 200, None),
    ("modernbert-base", 200, 65),
]
SECONDS = 6  # that a case takes on a GPU, compiling included
FURTHEST = 0.03  # from float32, relative to the largest number there; bfloat16 has 8 bits


def check(setting: Setting, report: Report) -> None:
    """Count compilations, time masks, compare ways to attend."""
    contest.allow_many_graphs()
    compiling(setting, report)
    block_masks(setting, report)
    for shape, prompt, window in CASES[4::3] if setting.tiny else CASES:
        if setting.device == "cuda" and setting.left() < SECONDS:
            why = f"the time was over: {setting.left():.0f} s were left"
            report.row("left out", shape=shape, prompt=prompt, window=window or "none", why=why)
            continue
        compare(setting, report, shape, prompt, window)


# ---- compiling ----


def compiling(setting: Setting, report: Report) -> None:
    """Seconds of the first passes of training, and how many graphs ten batches make."""
    device, tiny = setting.device, setting.tiny
    for layout in ("padded", "flat"):
        started = time.perf_counter()
        model = shapes.reward_model(COMPILED, device, tiny=tiny, layout=layout)
        timing.synchronise(device)
        # On the flat layout that includes trying it, which compiles the forward pass in float32.
        seconds = time.perf_counter() - started
        report.row("making a model", layout=layout, seconds=seconds, graphs=graphs())
    model.model.train()
    counts = []
    for number, rows in enumerate(batches(tiny)):
        (batch,) = model.layout.divide(rows, 10**9)
        forward, backward = one_step(model, batch, device)
        counts.append(graphs())
        report.row(
            "training batches",
            number=number + 1,
            tokens=batch["input_ids"].numel(),
            **{"forward s": forward, "backward s": backward, "graphs so far": counts[-1]},
        )
    report.goal("recompilations after the second batch", counts[-1] - counts[1], "<= 0")


def batches(tiny: bool) -> list[list[dict]]:
    """Rankings of ten training batches, alike in nothing: numbers, K and lengths."""
    scale = 20 if tiny else 1
    made = [
        shapes.rankings(
            2 + number % 3,
            prompt=contest.PROMPTS[number % 2] // scale,
            completion=(100 + 50 * number) // scale,
            k=8 - number % 7,
            seed=number,
        )
        for number in range(BATCHES)
    ]
    made[5] = shapes.rankings(1, prompt=20, completion=15, k=2)  # as one short ranking is
    return made


def one_step(model: Any, batch: Any, device: str) -> tuple[float, float]:
    """Seconds of a forward and of a backward pass."""
    timing.synchronise(device)
    started = time.perf_counter()
    with model.autocast():
        rewards = model.model(**model_inputs(batch, model.device)).logits
    timing.synchronise(device)
    between = time.perf_counter()
    rewards.float().sum().backward()
    timing.synchronise(device)
    ended = time.perf_counter()
    model.model.zero_grad(set_to_none=True)
    return between - started, ended - between


def graphs() -> int:
    """How many graphs this process has compiled; a recompilation makes another one."""
    return counters["stats"]["unique_graphs"]


# ---- masks ----


def block_masks(setting: Setting, report: Report) -> None:
    """Milliseconds to make the mask of a batch, which is done once for all layers."""
    device, repeats = torch.device(setting.device), 1 if setting.tiny else 3
    own = 15 if setting.tiny else contest.COMPLETION
    for tokens in (500, 1000) if setting.tiny else MASK_TOKENS:
        for causal, shared, window in ((True, own, None), (False, 0, 65)):
            ranking = (shared, [own] * contest.K)
            layout = [ranking] * max(round(tokens / (shared + own * contest.K)), 1)

            def make(layout: Any = layout, causal: bool = causal, window: Any = window) -> Any:
                return Segments(layout).block_mask(causal, window, device)

            taken = timing.seconds(setting.device, make, repeats)
            report.row(
                "block masks",
                tokens=sum(shared + sum(parts) for shared, parts in layout),
                causal=causal,
                window=window or "none",
                ms=1000 * median(taken),
            )


# ---- ways to attend ----


@dataclass(frozen=True)
class Case:
    """Tokens of some rankings with heads of one shape: `query`, `gradient` `[T, H, D]`, `key` and
    `value` `[T, H_kv, D]`, laid out as projections lay them."""

    device: str
    segments: Segments
    causal: bool
    window: int | None
    query: Tensor
    key: Tensor
    value: Tensor
    gradient: Tensor

    @property
    def groups(self) -> int:
        """Query heads of a head of keys."""
        return self.query.shape[1] // self.key.shape[1]


@dataclass(frozen=True)
class Way:
    """A way to attend: what is attended from its own inputs, and its results token by token.

    `inputs` are query, key and value as it takes them, `gradient` is that of its output;
    `output` and `gradients` bring what it gives back to `[T, H, D]`.
    """

    name: str
    attend: Callable[..., Tensor]
    inputs: Sequence[Tensor]
    gradient: Tensor
    output: Callable[[Tensor], Tensor] = lambda x: x
    gradients: Callable[[Tensor], Tensor] = lambda x: x


def compare(setting: Setting, report: Report, shape: str, prompt: int, window: int | None) -> None:
    """Right and fast: each way beside SDPA in float32 part by part, and beside FlexAttention."""
    case = make_case(setting, shape, prompt, window)
    reference = by_parts_in_float32(case)
    names = {"shape": shape, "prompt": prompt, "window": window or "none"}
    flex: dict[str, float] = {}
    for make in (in_blocks, padded_with_mask, padded_without_mask, copied_keys, index_added_keys):
        try:
            figures = measure(setting, case, make, reference)
        except Exception:  # the others are still worth knowing
            report.error += f"{names}, {make.__name__}\n{traceback.format_exc()}\n"
            report.holds(f"{make.__name__} runs: {shape}, prompt {prompt}", False)
            continue
        if figures is None:
            continue
        if make is in_blocks:
            flex = figures
            right = max(figures["Δ output"], figures["Δ gradients"]) < FURTHEST
            what = f"FlexAttention agrees with float32 within {FURTHEST}: {shape}, prompt {prompt}"
            report.holds(f"{what}, window {names['window']}", right)
        both = "forward + backward ms"
        ratio = figures[both] / flex[both] if flex.get(both) else 0.0
        beside = {"FlexAttention is times faster": ratio}
        report.row("attention of one layer", **names, **figures, **beside)


def measure(
    setting: Setting, case: Case, make: Callable[[Case], Way | None], reference: Sequence[Tensor]
) -> dict[str, Any] | None:
    """Figures of one way; None where it has no meaning for the case."""
    started = time.perf_counter()
    way = make(case)
    if way is None:
        return None
    timing.synchronise(case.device)
    prepared = time.perf_counter()
    # FlexAttention has no backward pass on a CPU.
    backward = case.device == "cuda" or make is not in_blocks
    off = differences(way, reference, backward)
    first = time.perf_counter() - prepared
    repeats = 1 if setting.tiny else 10
    forward = timing.seconds(case.device, lambda: run(way, False), repeats)
    both = timing.seconds(case.device, lambda: run(way, True), repeats) if backward else [0.0]
    return {
        "way": way.name,
        "heads": f"{case.query.shape[1]}/{case.key.shape[1]} × {case.query.shape[2]}",
        "tokens": len(case.query),
        "forward ms": 1000 * median(forward),
        "forward + backward ms": 1000 * median(both),
        "making its indices ms": 1000 * (prepared - started),
        "first time s": first,  # with compiling
        "Δ output": off[0],
        "Δ gradients": max(off[1:], default=0.0),
    }


def make_case(setting: Setting, shape: str, prompt: int, window: int | None) -> Case:
    """Random numbers for the heads of a shape and rankings of these lengths."""
    sizes, scale = shapes.REAL[shape], 20 if setting.tiny else 1
    encoder = sizes["model_type"] in shapes.ENCODERS
    heads = sizes["num_attention_heads"]
    kv_heads = sizes.get("num_key_value_heads", heads)
    width = sizes["hidden_size"] // heads
    rows = shapes.rankings(
        2 if setting.tiny else 8,
        prompt=prompt // scale,
        completion=contest.COMPLETION // scale,
        k=contest.K,
        shares=not encoder,
    )
    segments = Segments(
        [(r["shared"], [len(ids) - r["shared"] for ids in r["input_ids"]]) for r in rows]
    )
    tokens = sum(segments.lengths)
    torch.manual_seed(0)
    query, key, value, gradient = (
        torch.randn(tokens, count, width, device=setting.device, dtype=torch.bfloat16)
        for count in (heads, kv_heads, kv_heads, heads)
    )
    return Case(setting.device, segments, not encoder, window, query, key, value, gradient)


def run(way: Way, backward: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The output, and the gradients where they are asked for."""
    # As in training, for which FlexAttention is compiled anyhow; on a CPU it must not be asked for.
    gradients = backward or way.inputs[0].is_cuda
    inputs = [x.detach().requires_grad_(gradients) for x in way.inputs]
    output = way.attend(*inputs)
    if not backward:
        return output.detach(), ()
    return output, torch.autograd.grad(output, inputs, way.gradient)


def differences(way: Way, reference: Sequence[Tensor], backward: bool) -> list[float]:
    """Of the output and of the three gradients, relative to the largest number of each."""
    output, gradients = run(way, backward)
    found = [way.output(output), *map(way.gradients, gradients)]
    return [
        ((ours.float() - theirs).abs().max() / theirs.abs().max()).item()
        for ours, theirs in zip(found, reference, strict=False)
    ]


def heads_first(x: Tensor) -> Tensor:
    """`[1, H, T, D]` of `[T, H, D]`, as models hand tokens to attention."""
    return x.transpose(0, 1).unsqueeze(0)


def tokens_first(x: Tensor) -> Tensor:
    """The way back."""
    return x.squeeze(0).transpose(0, 1)


def by_parts_in_float32(case: Case) -> list[Tensor]:
    """Output and gradients, a call of SDPA for each part of the rankings."""

    def attend(*inputs: Tensor) -> Tensor:
        return tokens_first(
            attend_by_parts(
                *map(heads_first, inputs),
                case.segments,
                causal=case.causal,
                window=case.window,
                scale=None,
            )
        )

    inputs = [x.float() for x in (case.query, case.key, case.value)]
    output, gradients = run(Way("", attend, inputs, case.gradient.float()), True)
    return [output.detach(), *gradients]


def in_blocks(case: Case) -> Way:
    """FlexAttention, as plaudit calls it."""

    def attend(*inputs: Tensor) -> Tensor:
        return tokens_first(
            attend_in_blocks(
                *map(heads_first, inputs),
                case.segments,
                causal=case.causal,
                window=case.window,
                scale=None,
            )
        )

    case.segments.block_mask(case.causal, case.window, case.query.device)
    return Way("FlexAttention", attend, (case.query, case.key, case.value), case.gradient)


# ---- padded rows ----


def padded_with_mask(case: Case) -> Way:
    """SDPA on padded rows as transformers calls it where any row is padded: with a mask."""
    rows = case.segments.rows().to(case.device)
    place = torch.arange(rows.shape[1], device=case.device)
    seen = (rows >= 0)[:, None, None, :].expand(-1, 1, rows.shape[1], -1)
    if case.causal:
        seen = seen & (place <= place[:, None])
    if case.window:
        seen = seen & ((place - place[:, None]).abs() < case.window)
    seen = seen | (place == place[:, None])  # padding that sees nothing would become NaN
    return padded(case, "SDPA, padded, with a mask", seen.contiguous())


def padded_without_mask(case: Case) -> Way | None:
    """The same with the causal flag alone, which is right where padding comes last; it makes
    SDPA's fastest kernels possible."""
    return padded(case, "SDPA, padded, causal flag", None) if case.causal else None


def padded(case: Case, name: str, mask: Tensor | None) -> Way:
    """SDPA of padded rows; what a ranking shares is in each of its rows."""
    rows = case.segments.rows().to(case.device)
    present = rows >= 0
    # A shared token's output is looked at in one of its rows, and has a gradient there alone.
    once, row = present.clone(), 0
    for shared, own in case.segments.rankings:
        once[row + 1 : row + len(own), :shared] = False
        row += len(own)
    layer = SimpleNamespace(num_key_value_groups=case.groups, is_causal=case.causal)

    def attend(*inputs: Tensor) -> Tensor:
        return sdpa_attention_forward(layer, *(x.transpose(1, 2) for x in inputs), mask)[0]

    def output(found: Tensor) -> Tensor:
        laid = torch.empty_like(case.query)
        laid[rows[once]] = found[once]
        return laid

    def gradients(found: Tensor) -> Tensor:
        total = torch.zeros(len(case.query), *found.shape[2:], device=case.device)
        return total.index_add(0, rows[present], found[present].float())

    inputs = [x[rows.clamp(min=0)] for x in (case.query, case.key, case.value)]
    gradient = case.gradient[rows.clamp(min=0)] * once[..., None, None]
    return Way(name, attend, inputs, gradient, output, gradients)


# ---- rows of various lengths ----


@dataclass(frozen=True)
class Copies:
    """Where each row of keys comes from, for the tokens that attend in the order they lie.

    A row of queries is what a ranking shares or what a completion has of its own; its keys are what
    the ranking shares, copied, and its own.
    """

    keys: Tensor  # [T_k]: the token of each key
    own: Tensor  # [T]: where each token stands among the keys for the first time
    shared: Tensor  # [P]: tokens that are shared
    places: Tensor  # [P, 1 + K]: where these stand
    starts: tuple[Tensor, Tensor]  # of rows of queries, of rows of keys
    longest: tuple[int, int]


def copies_of(case: Case) -> Copies:
    """The indices, made on the host."""
    keys, own, shared_tokens, places = [], [], [], []
    queries_in_rows, keys_in_rows = [], []
    token = place = 0
    for shared, lengths in case.segments.rankings:
        prefix = torch.arange(token, token + shared)
        stands = [torch.arange(place, place + shared)]
        if shared:
            keys.append(prefix)
            own.append(stands[0])
            queries_in_rows.append(shared)
            keys_in_rows.append(shared)
        token, place = token + shared, place + shared
        for length in lengths:
            keys += [prefix, torch.arange(token, token + length)]
            stands.append(torch.arange(place, place + shared))
            own.append(torch.arange(place + shared, place + shared + length))
            queries_in_rows.append(length)
            keys_in_rows.append(shared + length)
            token, place = token + length, place + shared + length
        shared_tokens.append(prefix)
        places.append(torch.stack(stands, dim=1))
    starts = tuple(
        torch.tensor([0, *lengths]).cumsum(0).to(case.device, torch.int32)
        for lengths in (queries_in_rows, keys_in_rows)
    )
    on_device = (torch.cat(x).to(case.device) for x in (keys, own, shared_tokens, places))
    return Copies(*on_device, starts, (max(queries_in_rows), max(keys_in_rows)))


class Copied(torch.autograd.Function):
    """Tokens `[T, H, D]` copied for each row; the gradient sums copies in float32, in order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, copies: Copies) -> Tensor:
        """`[T_k, H, D]`."""
        ctx.copies = copies
        return x.index_select(0, copies.keys)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """`[T, H, D]`."""
        copies = ctx.copies
        total = gradient.index_select(0, copies.own)
        if len(copies.shared):
            total[copies.shared] = (
                gradient[copies.places].sum(1, dtype=torch.float32).to(total.dtype)
            )
        return total, None


def copied_keys(case: Case) -> Way:
    """FlashAttention on rows of various lengths."""
    copies = copies_of(case)
    return various(case, copies, "varlen", lambda x: Copied.apply(x, copies))


def index_added_keys(case: Case) -> Way | None:
    """The same, with the gradient that PyTorch has for the copies: atomic sums in bfloat16."""
    if not any(shared for shared, _ in case.segments.rankings):
        return None
    copies = copies_of(case)
    return various(case, copies, "varlen, index_add", lambda x: x.index_select(0, copies.keys))


def various(case: Case, copies: Copies, name: str, copy: Callable[[Tensor], Tensor]) -> Way:
    """FlashAttention with `copy` in front of it, where anything is to be copied."""
    anything = len(copies.shared) > 0
    grouped = takes_fewer_heads(case)
    # Causal means that a row's last query sees its last key.
    side = case.window - 1 if case.window else -1
    window = (side, 0) if case.causal else (side, side)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if anything:
            key, value = copy(key), copy(value)
        if not grouped and case.groups > 1:
            key, value = (x.repeat_interleave(case.groups, dim=1) for x in (key, value))
        return row_by_row(case)(
            query, key, value, *copies.starts, *copies.longest, window_size=window, **option(case)
        )

    heads = "" if grouped or case.groups == 1 else ", heads repeated"
    inputs = (case.query, case.key, case.value)
    return Way(name + heads, attend, inputs, case.gradient)


def option(case: Case) -> dict[str, bool]:
    """Newer versions of PyTorch want to be told of grouped heads."""
    known = "enable_gqa" in inspect.signature(varlen_attn).parameters
    return {"enable_gqa": True} if known and case.groups > 1 and takes_fewer_heads(case) else {}


def takes_fewer_heads(case: Case) -> bool:
    """Whether `varlen_attn` takes fewer heads of keys than of queries, both passes."""
    if case.groups == 1:
        return True
    if case.device != "cuda":
        return False
    known = "enable_gqa" in inspect.signature(varlen_attn).parameters
    starts = torch.tensor([0, 128], device=case.device, dtype=torch.int32)
    inputs = [x[:128].detach().requires_grad_() for x in (case.query, case.key, case.value)]
    try:
        output = varlen_attn(
            *inputs, starts, starts, 128, 128, window_size=(-1, 0),
            **({"enable_gqa": True} if known else {}),
        )  # fmt: skip
        gradients = torch.autograd.grad(output.float().sum(), inputs)
    except (RuntimeError, ValueError):
        return False
    return all(g.shape == x.shape for g, x in zip(gradients, inputs, strict=True))


def row_by_row(case: Case) -> Callable[..., Tensor]:
    """`varlen_attn`; it is for CUDA alone, so on a CPU rows are attended one by one."""
    return varlen_attn if case.device == "cuda" else one_by_one


def one_by_one(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_starts: Tensor,
    key_starts: Tensor,
    *_: int,
    window_size: tuple[int, int],
) -> Tensor:
    """What `varlen_attn` computes."""
    outputs = []
    behind, ahead = window_size
    bounds = zip(*(x.tolist() for x in (query_starts, key_starts)), strict=True)
    previous = next(bounds)
    for ends in bounds:
        q = heads_first(query[previous[0] : ends[0]])
        k, v = (heads_first(x[previous[1] : ends[1]]) for x in (key, value))
        place = torch.arange(k.shape[2])
        difference = place - place[k.shape[2] - q.shape[2] :, None]
        seen = torch.ones_like(difference, dtype=torch.bool)
        if ahead >= 0:
            seen &= difference <= ahead
        if behind >= 0:
            seen &= difference >= -behind
        outputs.append(tokens_first(scaled_dot_product_attention(q, k, v, attn_mask=seen)))
        previous = ends
    return torch.cat(outputs)
