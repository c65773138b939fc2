"""Which number type and which attention are fastest for a model on this machine: measured.

A processor's flags do not say how fast it multiplies bfloat16: it may be ten times as fast as
float32, or slower. So the matrix products of the model's largest linear layers and its attention
are timed on a few hundred tokens, well under a second in all, in every way there is. The verdict is
kept in the user's cache, by processor, version of PyTorch, threads and shapes. A GPU is asked for
its units instead, and a model so small that nothing can be won computes in float32.

Parameters, the optimiser's state, the head and the loss are float32 in any case.
"""

import functools
import hashlib
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from plaudit.errors import PlauditError
from plaudit.files import locked, user_cache, write_json
from plaudit.model.attention import SDPA, WAYS, Segments, Way, Ways, flat_attention
from plaudit.model.devices import Dtype, dtype_name

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# Weights of linear layers below which all is float32: a pass is then no time.
SMALL = 1_000_000
TOKENS = 512  # of the trial, in two completions
SHAPES = 4  # of linear layers, those with most work; the others are taken to be like them
TRIAL = 1  # one that times other things has another number, and reads no verdict of this one
AGREE = 1.2  # the shortest times of a call, where nothing else kept the machine busy
LONGEST = 0.8  # seconds of a trial, about
# A product of the trial has at most so many multiplications, on fewer tokens where it must be.
MULTIPLICATIONS = 2**30
# bfloat16 has two or three digits: it has to win so much.
WORTH_IT = 1.15


@dataclass(frozen=True)
class Precision:
    """What a model computes in.

    `ratio` is how many times faster matrix products and attention are in bfloat16 than in float32;
    None where that was not measured.
    """

    dtype: torch.dtype
    ways: Ways
    ratio: float | None = None


def dtype_in_words(dtype: torch.dtype, ratio: float | None) -> str:
    """A number type, and what was measured of it, for the log.

    >>> dtype_in_words(torch.bfloat16, 2.31)
    'bfloat16, measured 2.3 × as fast as float32 here'
    """
    name = dtype_name(dtype)
    if ratio is None:
        return name
    if dtype == torch.bfloat16:
        return f"{name}, measured {ratio:.1f} × as fast as float32 here"
    return f"{name}, bfloat16 measured {ratio:.1f} × as fast here"


@dataclass(frozen=True)
class Work:
    """What a model does with a token: its linear layers, `(inputs, outputs)` → how many, and its
    attention, where that is the flat layout's; 0 heads stand for one that is not."""

    linear: Mapping[tuple[int, int], int]
    layers: int = 0
    heads: int = 0
    key_heads: int = 0
    head_size: int = 0
    causal: bool = True

    @property
    def weights(self) -> int:
        """Of all linear layers."""
        return sum(a * b * count for (a, b), count in self.linear.items())

    def key(self) -> str:
        """What tells it from other work."""
        sizes = [self.layers, self.heads, self.key_heads, self.head_size, self.causal]
        return json.dumps([sorted((*shape, n) for shape, n in self.linear.items()), sizes])


def work_of(model: Any, kind: str, flat: bool) -> Work:
    """The work of a transformers model; `flat`, whether it runs on the flat layout."""
    linear: Counter[tuple[int, int]] = Counter()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module.out_features > 1:
            linear[module.in_features, module.out_features] += 1
        elif isinstance(module, Conv1D):
            linear[module.weight.shape[0], module.weight.shape[1]] += 1
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", 0)
    if not (flat and heads):
        return Work(linear)
    return Work(
        linear,
        layers=config.num_hidden_layers,
        heads=heads,
        key_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
        causal=kind == "decoder",
    )


def choose_precision(
    asked: Dtype, device: torch.device, work: Work, tokens: int = TOKENS
) -> Precision:
    """What is fastest on the device for so many tokens at once, of the number type that is asked
    for, or of all."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return Precision(_named(asked, torch.bfloat16 if fast else torch.float32), Ways())
    if device.type != "cpu" or work.weights < SMALL:
        return Precision(_named(asked, torch.float32), Ways())
    seconds = _kept(work, tokens)
    whole = {  # a backward pass has twice the products of a forward pass
        dtype: 3 * seconds["products"][name]
        + work.layers * min(_of_type(seconds["training"], name).values(), default=0.0)
        for name, dtype in DTYPES.items()
    }
    ratio = whole[torch.float32] / whole[torch.bfloat16]
    dtype = _named(asked, torch.bfloat16 if ratio > WORTH_IT else torch.float32)
    attention = (_of_type(seconds[use], dtype_name(dtype)) for use in ("scoring", "training"))
    ways = (min(timed, key=timed.__getitem__, default=SDPA.scoring) for timed in attention)
    return Precision(dtype, Ways(*ways), ratio)


def _named(asked: Dtype, measured: torch.dtype) -> torch.dtype:
    return measured if asked == "auto" else DTYPES[asked]


def _of_type(seconds: Mapping[str, float], dtype: str) -> dict[Way, float]:
    """Seconds of each way of attention that was timed for values of a type."""
    return {way: seconds[name] for way in WAYS if (name := f"{dtype}, {way}") in seconds}


# ---- the trial ----

Calls = dict[str, Callable[[], Any]]
Seconds = dict[str, dict[str, float]]  # "products", "scoring", "training" → by type, and way


def _kept(work: Work, tokens: int) -> Seconds:
    """What a trial gave before, or gives now."""
    here = [processor(), torch.__version__, torch.get_num_threads()]
    name = json.dumps([TRIAL, *here, tokens, work.key()])
    if name not in _known:
        _known[name] = _from_file(name, work, tokens)
    return _known[name]


_known: dict[str, Seconds] = {}


def _from_file(name: str, work: Work, tokens: int) -> Seconds:
    file = user_cache() / "speed" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
    try:
        file = file.expanduser()
    except RuntimeError:  # a home that is not known, so nothing is kept
        return trial(work, tokens)[0]
    with ExitStack() as stack:
        # A cache that cannot be written is no reason to stop.
        with suppress(OSError, PlauditError):
            # Processes of one machine agree so, and do not slow each other's trials down.
            stack.enter_context(locked(file.parent, wait=True))
        if (found := _read(file, name, work)) is None:
            found, settled = trial(work, tokens)
            if settled:
                with suppress(OSError, PlauditError):
                    write_json(file, {"of": name, "seconds": found})
        return found


def _read(file: Path, name: str, work: Work) -> Seconds | None:
    """What was kept; None where there is nothing, or not what a trial of this work gives."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        seconds: Seconds = {
            use: {of: float(value) for of, value in stored["seconds"][use].items()}
            for use in ("products", "scoring", "training")
        }
        whole = seconds["products"].keys() == DTYPES.keys() and all(
            0 < value < float("inf") for of in seconds.values() for value in of.values()
        )
        for use in ("scoring", "training") if work.heads else ():
            whole &= all(_of_type(seconds[use], dtype) for dtype in DTYPES)
        return seconds if whole and stored["of"] == name else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def trial(work: Work, tokens: int) -> tuple[Seconds, bool]:
    """Seconds of the work on so many tokens: the products of all linear layers, and attention of
    one layer, without a backward pass (`scoring`) and with it (`training`). And whether the times
    can be relied on: on a busy machine they vary."""
    until = time.perf_counter() + LONGEST
    drawn = torch.Generator().manual_seed(0)  # the caller's random numbers are the caller's
    products, settled = dict.fromkeys(DTYPES, 0.0), True
    with torch.no_grad():
        for (inputs, outputs), share in _shares(work).items():
            rows = min(tokens, max(MULTIPLICATIONS // (inputs * outputs), 16))
            calls: Calls = {
                name: functools.partial(
                    torch.nn.functional.linear,
                    torch.randn(rows, inputs, dtype=dtype, generator=drawn),
                    torch.randn(outputs, inputs, dtype=dtype, generator=drawn),
                )
                for name, dtype in DTYPES.items()
            }
            timed, sure = _in_turn(calls, until)
            settled &= sure
            for name, seconds in timed.items():
                products[name] += seconds * share * tokens / rows
    scoring, training = _attentions(work, tokens, drawn) if work.heads else ({}, {})
    found: Seconds = {"products": products}
    for use, ways in (("scoring", scoring), ("training", training)):
        found[use], sure = _in_turn(ways, until)
        settled &= sure
    return found, settled


def _shares(work: Work) -> dict[tuple[int, int], float]:
    """The linear layers to time, and how many of each stand for all."""
    largest = sorted(work.linear.items(), key=lambda x: -x[0][0] * x[0][1] * x[1])[:SHAPES]
    timed = sum(a * b * count for (a, b), count in largest)
    return {shape: count * work.weights / timed for shape, count in largest}


def _attentions(work: Work, tokens: int, drawn: torch.Generator) -> tuple[Calls, Calls]:
    """Every way of attention over two completions, without a backward pass and with it."""
    scoring: Calls = {}
    training: Calls = {}
    for name, dtype in DTYPES.items():
        tensors = [
            torch.randn(1, tokens, heads, work.head_size, dtype=dtype, generator=drawn).transpose(
                1, 2
            )
            for heads in (work.heads, work.key_heads, work.key_heads)
        ]
        for way in WAYS:
            if name == "float32" and way == "sdpa in float32":
                continue  # the same as sdpa
            timed = f"{name}, {way}"
            segments = Segments([(0, [tokens // 2] * 2)], ways=Ways(way, way))
            attend = functools.partial(_attend, segments=segments, causal=work.causal)
            scoring[timed] = functools.partial(_without_graph, attend, tensors)
            training[timed] = functools.partial(_with_graph, attend, tensors)
    return scoring, training


def _attend(tensors: Sequence[Tensor], segments: Segments, causal: bool) -> Tensor:
    query, key, value = tensors
    return flat_attention(None, query, key, value, None, segments=segments, is_causal=causal)[0]


def _without_graph(attend: Callable[..., Tensor], tensors: Sequence[Tensor]) -> None:
    with torch.no_grad():
        attend(tensors).contiguous()


def _with_graph(attend: Callable[..., Tensor], tensors: Sequence[Tensor]) -> None:
    with torch.enable_grad():
        output = attend([x.detach().requires_grad_() for x in tensors])
        output.backward(torch.ones(output.shape, dtype=output.dtype))


class _Timed:
    """The three shortest times of a call."""

    def __init__(self) -> None:
        self.seconds = [float("inf")] * 3

    def add(self, seconds: float) -> None:
        self.seconds = sorted([*self.seconds, seconds])[:3]

    @property
    def settled(self) -> bool:
        """Whether they are alike, so that nothing disturbed them."""
        return self.seconds[-1] <= AGREE * self.seconds[0] < float("inf")


def _in_turn(calls: Mapping[str, Callable[[], Any]], until: float) -> tuple[dict[str, float], bool]:
    """The shortest time of each, and whether all had settled by the time `until`.

    They take turns, so that a disturbance meets all of them.
    """
    for call in calls.values():  # the first time pays for what is set up once
        call()
    timed = {name: _Timed() for name in calls}
    for name, call in calls.items():
        timed[name].add(_seconds(call))
    # What is far behind the others, as bfloat16 is where it is emulated, is not waited for.
    first = {name: each.seconds[0] for name, each in timed.items()}
    running = {n: _Timed() for n, seconds in first.items() if seconds < 20 * min(first.values())}
    while not (settled := all(each.settled for each in running.values())):
        for name, each in running.items():
            each.add(_seconds(calls[name]))
        if time.perf_counter() > until:
            break
    return {name: (running.get(name) or timed[name]).seconds[0] for name in calls}, settled


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")


@functools.cache
def processor_and_flags() -> tuple[str, list[str]]:
    """What the processor is called, and those of its flags that matter to matrix products.

    >>> name, flags = processor_and_flags()
    >>> set(flags) <= set(FLAGS)
    True
    """
    model, flags = platform.processor() or platform.machine(), set[str]()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
                break
    return model, [flag for flag in FLAGS if flag in flags]


def processor() -> str:
    """The kind of processor, in a line."""
    model, flags = processor_and_flags()
    return f"{model}: {' '.join(flags)}; {os.cpu_count()} cores"
