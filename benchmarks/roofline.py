"""What fraction of the machine's matrix products plaudit's training step reaches.

The bound is the time that the products of the model's linear layers alone take on the step's
unique tokens: for every layer forward, and backward to its input and to its weight, each product
timed by itself at its own shape in this process. Bound and step are measured in turn.
Attention's own products, norms, activations, the loss and the optimiser are not in the bound.

    python benchmarks/roofline.py RANKED.csv [--case ranked-decoder] [--json FILE]
"""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from contenders import (
    BASES,
    MAX_LENGTH,
    Case,
    Plaudit,
    Remote,
    arguments,
    classifier,
    make_case,
    quiet_libraries,
    run_cases,
    show,
    spread,
)
from transformers.pytorch_utils import Conv1D

from plaudit import Ranking

# A linear layer at work: rows, inputs, outputs. Rows are a number, or what they grow with.
Shape = tuple[int | str, int, int]
PROBE = 11  # tokens of a row, a number that no model's size is
TIMES_EACH = 3


class Measurement:
    """Bound and step in one process, so that both see the same threads and memory."""

    def __init__(self, case: Case, dtype: str) -> None:
        self.case, self.dtype = case, getattr(torch, dtype)
        model = classifier(case.start).eval()
        self.shapes = linear_shapes(model)
        self.config = model.config.get_text_config()
        self.plaudit = Plaudit(case, dtype)

    def step(self, rankings: Sequence[Ranking], folder: Path) -> float:
        """Seconds of plaudit's step."""
        self.plaudit.prepare(rankings, folder)
        return self.plaudit.train()

    def bound(self, rankings: Sequence[Ranking]) -> dict[str, float]:
        """Seconds and floating point operations of the linear layers' products."""
        sizes = {
            "tokens": self.case.unique_tokens(rankings),
            "rows": sum(len(r.completions) for r in rankings),
        }
        seconds = operations = 0.0
        for (rows, inputs, outputs), times in self.shapes.items():
            rows = rows if isinstance(rows, int) else sizes[rows]
            seconds += times * product_seconds(rows, inputs, outputs, self.dtype)
            operations += times * 6.0 * rows * inputs * outputs
        return {
            "bound_seconds": seconds,
            "linear_flop": operations,
            "attention_flop": self.attention_operations(rankings),
        }

    def attention_operations(self, rankings: Sequence[Ranking]) -> float:
        """Of q·kᵀ and weights·v, forward and backward, full squares, a shared prefix once."""
        heads = self.config.num_attention_heads
        width = heads * (getattr(self.config, "head_dim", None) or self.config.hidden_size // heads)
        scores = 0
        for row in self.case.encoding.encode(rankings):
            shared = row["shared"]
            scores += shared**2 + sum((len(ids) - shared) * len(ids) for ids in row["input_ids"])
        return 6.0 * 2 * width * scores * self.config.num_hidden_layers


@torch.inference_mode()
def linear_shapes(model: Any) -> Counter[Shape]:
    """How often one forward pass runs a linear layer of each shape, seen on a probe of one row.

    The head of one output is left out.
    """
    shapes: Counter[Shape] = Counter()

    def see(layer: Any, inputs: tuple, output: torch.Tensor) -> None:
        rows = output.numel() // output.shape[-1]
        grows: int | str = {PROBE: "tokens", 1: "rows"}.get(rows, rows)
        if output.shape[-1] > 1:
            shapes[grows, inputs[0].shape[-1], output.shape[-1]] += 1

    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear | Conv1D):
            layer.register_forward_hook(see)
    model(torch.arange(PROBE).unsqueeze(0) + 10, attention_mask=torch.ones(1, PROBE))
    return shapes


def product_seconds(rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> float:
    """The shortest time of y = x wᵀ, of the gradient of x and of that of w, together."""
    x = torch.randn(rows, inputs, dtype=dtype)
    w = torch.randn(outputs, inputs, dtype=dtype)
    y = torch.randn(rows, outputs, dtype=dtype)
    products = ((x, w.t(), torch.empty_like(y)), (y, w, torch.empty_like(x)))
    total = 0.0
    for a, b, out in (*products, (y.t(), x, torch.empty_like(w))):
        best = float("inf")
        for _ in range(TIMES_EACH):
            started = time.perf_counter()
            torch.mm(a, b, out=out)
            best = min(best, time.perf_counter() - started)
        total += best
    return total


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], list(BASES))
    options = parser.parse_args()
    quiet_libraries()
    rows = []
    for name, measured in run_cases(measure, BASES, options).items():
        rows.append(
            (
                name,
                f"{median(measured['unique_tokens']):,.0f}",
                f"{median(measured['linear_flop_per_second']) / 1e9:.0f}",
                f"{median(measured['bound_seconds']):.2f}",
                f"{median(measured['step_seconds']):.2f}",
                "{median:.2f} ({min:.2f}–{max:.2f})".format(**measured["fraction_of_bound"]),
                f"{median(measured['attention_flop_per_linear_flop']):.2f}",
            )
        )
    show(
        ("", "unique tokens", "GFLOP/s", "bound s", "step s", "bound / step", "attention / linear"),
        rows,
    )
    print(f"rows of up to {MAX_LENGTH} tokens; attention / linear: operations not in the bound")


def measure(name: str, folder: Path, dtype: str, options: Any) -> dict[str, Any]:
    rounds = options.repeats + 1
    case = make_case(name, options.data, folder, options.rankings, rounds, options.seed)
    remote = Remote(options.threads, Measurement, case, dtype)
    remote("step", case.rounds[0], folder)
    remote("bound", case.rounds[0])
    bounds, steps = [], []
    for rankings in case.rounds[1:]:
        bounds.append(remote("bound", rankings))
        steps.append(remote("step", rankings, folder))
        print(f"{name}: bound {bounds[-1]['bound_seconds']:.2f} s, step {steps[-1]:.2f} s")
    remote.stop()
    return {
        "rankings_per_step": len(case.rounds[0]),
        "unique_tokens": [case.unique_tokens(rankings) for rankings in case.rounds[1:]],
        "bound_seconds": [b["bound_seconds"] for b in bounds],
        "step_seconds": steps,
        "linear_flop_per_second": [b["linear_flop"] / b["bound_seconds"] for b in bounds],
        "attention_flop_per_linear_flop": [b["attention_flop"] / b["linear_flop"] for b in bounds],
        "fraction_of_bound": spread(
            [b["bound_seconds"] / s for b, s in zip(bounds, steps, strict=True)]
        ),
    }


if __name__ == "__main__":
    main()
