"""Are rewards and gradients on the device those of the CPU?

The reference is the CPU in float32 on padded rows, under PyTorch's own attention. Against it stand
both layouts in both precisions. Rankings are of random tokens: two to 64 completions, prompts that
are shared and prompts that are not, rows from one token to several blocks of FlexAttention, which
is also more than ModernBERT's window.

Bounds. In float32 a reward may differ by 1e-4 × max(1, |reward|), and a parameter's gradient by
1e-4 × its largest entry; where that is zero but for rounding, it is measured against the others.
bfloat16 has 8 bits of precision. There a reward may differ by 0.2 of the standard deviation of all
rewards, their differences may be 0.06 of it (root mean square), and all gradients together, as one
vector, may differ by 0.2 of its length. The CPU's own bfloat16 differs by up to a half of that, and
attention that sees other tokens by far more.
"""

import random
import time
import traceback
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from checks import shapes, timing
from checks.setting import Report, Setting
from plaudit.model import attention
from plaudit.model.batches import Flat, model_inputs, per_ranking
from plaudit.model.reward_model import RewardModel
from plaudit.training.objectives.bradley_terry import bradley_terry

ORDER = 10
LIMIT = 200
ALONE = False

# Largest difference of a reward, root mean square of all, and of gradients; see above.
BOUNDS = {"float32": (1e-4, 1e-4, 1e-4), "bfloat16": (0.2, 0.06, 0.2)}
PADDED_ONLY = ("deberta-v2",)
TINY_MODELS = ["llama", "modernbert", "deberta-v2"]
LONG: dict[str, Any] = {"max_length": 1024}
TOKENS_OF_A_STEP = 8192  # of a pass with gradients; one of rewards alone has the default


def check(setting: Setting, report: Report) -> None:
    """Compare every model on both layouts in both precisions with the CPU."""
    _float32_is_float32(setting, report)
    texts = shapes.texts_of(setting.ranked)
    slowest = 0.0
    names = TINY_MODELS if setting.tiny else list(shapes.COMPARED)
    for number, name in enumerate(names):
        if setting.left() < 1.5 * slowest:
            rest = ", ".join(names[number:])
            report.holds(f"there was time for all models; not for {rest}", False)
            return
        started = time.monotonic()
        folder = shapes.small_model(name, setting.scratch / name, texts)
        encoded = made_rankings(name not in shapes.ENCODERS, setting.tiny)
        _compare(name, folder, encoded, setting, report)
        slowest = max(slowest, time.monotonic() - started)


def _compare(
    name: str, folder: Path, encoded: list[dict[str, Any]], setting: Setting, report: Report
) -> None:
    """One model; a failure of one way to run it leaves the others to be judged."""
    reference = RewardModel.load(folder, device="cpu", dtype="float32", layout="padded", **LONG)
    expected = in_one(reference.rewards(encoded))
    expected_gradients = gradients(reference, encoded)
    report.row(
        "models",
        model=name,
        rankings=len(encoded),
        rows=len(expected),
        tokens=timing.all_tokens(encoded),
        **{"longest row": max(row["length"] for row in encoded)},
        **{"smallest reward": expected.min().item(), "largest": expected.max().item()},
    )
    for dtype, bounds in BOUNDS.items():
        if setting.tiny and dtype == "bfloat16" and name != "llama":
            continue  # it takes long on many a CPU
        worst, held = [0.0, 0.0, 0.0], True
        for layout in ("auto",) if name in PADDED_ONLY else ("auto", "padded"):
            started = time.monotonic()
            torch.compiler.reset()  # each as in a process of its own: kernels kept are few
            torch._dynamo.utils.counters.clear()
            try:
                model = RewardModel.load(
                    folder, device=setting.device, dtype=dtype, layout=layout, **LONG
                )
                blocks = attention.attend_in_blocks
                with mock.patch.object(attention, "attend_in_blocks", wraps=blocks) as in_blocks:
                    ours = in_one(model.rewards(encoded))
                    our_gradients = gradients(model, encoded)
                flat = isinstance(model.layout, Flat)
            except Exception as error:
                traceback.print_exc()
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                report.holds(f"{name}, {dtype}, layout {layout}, runs; {reason}", False)
                held = False
                continue
            largest, usual = reward_differences(ours, expected, dtype)
            each, together = gradient_differences(our_gradients, expected_gradients)
            of_gradients = each if dtype == "float32" else together
            found = (largest, usual, of_gradients)
            worst = [max(before, now) for before, now in zip(worst, found, strict=True)]
            wanted_flat = layout == "auto" and name not in PADDED_ONLY
            # FlexAttention is what a GPU runs a flat batch with, and nothing else.
            flexed = bool(in_blocks.call_count) == (wanted_flat and setting.device == "cuda")
            report.holds(
                f"{name}, {dtype}, layout {layout}: is {'flat' if wanted_flat else 'padded'} "
                f"({model.layout.describe()}; FlexAttention ran {in_blocks.call_count} times)",
                flat == wanted_flat and flexed,
            )
            report.row(
                "differences from the CPU",
                model=name,
                layout="flat" if flat else "padded",
                dtype=dtype,
                **{"rewards, largest": largest, "root mean square": usual},
                **{"gradient, each": each, "gradients, together": together},
                FlexAttention="yes" if in_blocks.call_count else "no",
                graphs=torch._dynamo.utils.counters["stats"]["unique_graphs"],
                seconds=time.monotonic() - started,
            )
        report.holds(
            f"{name}, {dtype}: rewards within {bounds[0]:g} of the CPU's float32 (largest "
            f"difference {worst[0]:.2g}), gradients within {bounds[2]:g} ({worst[2]:.2g})",
            held and all(now <= bound for now, bound in zip(worst, bounds, strict=True)),
        )


def _float32_is_float32(setting: Setting, report: Report) -> None:
    """State that products in float32 are not rounded to TF32's 10 bits on the way."""
    if setting.device != "cuda":
        return
    torch.manual_seed(0)
    a, b = torch.randn(2, 512, 512, dtype=torch.float64)
    product = (a.float().cuda() @ b.float().cuda()).double().cpu()
    error = ((product - a @ b).abs().max() / (a @ b).abs().max()).item()
    precision = torch.get_float32_matmul_precision()
    report.holds(
        f"TF32 is not in use for float32: precision is {precision}, the error of a product is "
        f"{error:.1g}",
        precision == "highest" and not torch.backends.cuda.matmul.allow_tf32 and error < 1e-5,
    )


def made_rankings(decoder: bool, tiny: bool) -> list[dict[str, Any]]:
    """Encoded rankings of all the shapes that this package compares numbers on.

    An encoder's rows begin alike, too, but each sees all of its own, so nothing is shared.
    """
    drawn = random.Random(0)
    # Completions, tokens of the prompt, fewest and most tokens of a completion.
    sizes = [(2, 0, 1, 1), (3, 40, 0, 30), (64, 3, 1, 3)]
    if tiny:
        sizes += [(2, 0, 140, 150)]
    else:
        sizes += [(5, 0, 1, 60), (2, 5, 120, 140), (64, 90, 1, 40), (2, 0, 650, 700)]
        sizes += [(8, 300, 1, 400), (17, 20, 5, 150), (4, 129, 127, 128)]
    made = []
    for number, (k, prompt, fewest, most) in enumerate(sizes):

        def tokens(count: int) -> list[int]:
            return [drawn.randrange(10, shapes.VOCABULARY) for _ in range(count)]

        begins = tokens(prompt)
        lengths = [fewest, most, *(drawn.randint(fewest, most) for _ in range(k - 2))]
        rows = [begins + tokens(length) for length in lengths]
        # Ties in every second one.
        ranks = drawn.sample(range(k), k) if number % 2 else [i // 2 for i in range(k)]
        if k == 2:
            ranks = [1, 0]
        made.append(
            {
                "input_ids": rows,
                "shared": prompt if decoder else 0,
                "length": max(map(len, rows)),
                "ranks": ranks,
                "margin": 0.0,
                "weight": 1.0,
                "completion_tokens": lengths,
            }
        )
    return made


def gradients(model: RewardModel, encoded: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Of the mean Bradley–Terry loss of the rankings, by parameter, on the CPU."""
    model.model.zero_grad()
    for batch in model.layout.divide(encoded, TOKENS_OF_A_STEP):
        ranks = batch["ranks"].to(model.device)
        with model.autocast():
            logits = model.model(**model_inputs(batch, model.device)).logits
        rewards = per_ranking(logits[:, 0].float(), ranks)
        (bradley_terry(rewards, ranks).sum() / len(encoded)).backward()
    return {
        name: parameter.grad.float().cpu()
        for name, parameter in model.model.named_parameters()
        if parameter.grad is not None
    }


def in_one(rewards: Iterable[Iterable[float]]) -> Tensor:
    """The rewards of rankings, one after another."""
    return torch.tensor(list(chain.from_iterable(rewards)))


def reward_differences(ours: Tensor, theirs: Tensor, dtype: str) -> tuple[float, float]:
    """The largest difference, and the root mean square of all: in float32 relative to rewards that
    are above 1, in bfloat16 to the standard deviation of all rewards. Infinite for NaN."""
    scale = theirs.abs().clamp(min=1) if dtype == "float32" else theirs.std()
    apart = ((ours - theirs).abs() / scale).nan_to_num(nan=float("inf"))
    return apart.max().item(), apart.square().mean().sqrt().item()


def gradient_differences(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> tuple[float, float]:
    """The largest difference of one parameter's gradient, relative to its largest entry, and the
    difference of all as one vector, relative to its length; infinite where one has none or NaN."""
    if ours.keys() != theirs.keys():
        return float("inf"), float("inf")
    largest = max(gradient.abs().max().item() for gradient in theirs.values())
    each = 0.0
    squares = [0.0, 0.0]
    for name, gradient in theirs.items():
        apart = ours[name] - gradient
        if not torch.isfinite(apart).all():
            return float("inf"), float("inf")
        scale = max(gradient.abs().max().item(), 1e-2 * largest, 1e-2)
        each = max(each, apart.abs().max().item() / scale)
        squares[0] += apart.square().sum().item()
        squares[1] += gradient.square().sum().item()
    return each, (squares[0] / squares[1]) ** 0.5
