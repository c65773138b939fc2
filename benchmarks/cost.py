"""What it costs to score and to train at scale, on paper: a table in Markdown.

    python benchmarks/cost.py
    python benchmarks/cost.py --parameters 7e9 --machine "8 × H100=8,989e12,0.45,0.55,0.9,20"

A machine is NAME=DEVICES,PEAK,TRAINING,SCORING,TOGETHER,PRICE: how many devices, the FLOP/s of the
matrix products of each, the shares of that which training and scoring reach, the share of several
devices' speed that is left when they train together, and the price of an hour of the machine.

    FLOP of a token     2 · parameters for a reward, 6 · parameters for a step
    tokens/s            devices · peak · share (· together, in training) / FLOP of a token
    hours               rows · tokens of a row / tokens/s / 3600

`parameters` are those in matrix products: no embeddings, no head of a language model. Attention's
own products are left out: 2 · layers · width · length more for a token of a causal model, 1.3 % of
Llama-3.1-8B's at 700 tokens and 15 % at 8,000. Weights and states are assumed to fit.
"""

import argparse
from typing import NamedTuple


class Machine(NamedTuple):
    """Rates of a machine; see above."""

    name: str
    devices: int
    peak: float
    training: float
    scoring: float
    together: float
    price: float


def machine(text: str) -> Machine:
    """The machine that NAME=DEVICES,PEAK,TRAINING,SCORING,TOGETHER,PRICE stands for."""
    name, _, numbers = text.rpartition("=")
    devices, *rates = map(float, numbers.split(","))
    return Machine(name, int(devices), *rates)


KNOWN = (  # a CPU's rates are measured (docs/performance.md), GPUs' shares are assumed
    "2 cores, AVX-512=1,321e9,0.57,0.57,1,1",
    "H100=1,989e12,0.45,0.55,1,1",
    "8 × H100=8,989e12,0.45,0.55,0.9,8",
)


def hours(at: Machine, parameters: float, rows: float, tokens: float, train: bool) -> float:
    """How long a machine takes for `rows` of `tokens` each.

    >>> round(hours(machine("H100=1,989e12,0.45,0.55,1,1"), 7e9, 1e9, 400, train=False))
    2859
    """
    speed = at.devices * at.peak * (at.training * at.together if train else at.scoring)
    return rows * tokens * (6 if train else 2) * parameters / speed / 3600


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parameters", type=float, nargs="+", default=[106e6, 7e9])
    parser.add_argument("--machine", type=machine, action="append")
    parser.add_argument("--completions", type=float, default=1e9, help="to score")
    parser.add_argument("--completion-tokens", type=float, default=400, help="prompt and answer")
    parser.add_argument("--pairs", type=float, default=1e7, help="to train on, once")
    parser.add_argument("--pair-tokens", type=float, default=700, help="unique ones")
    args = parser.parse_args()
    tasks = [
        (f"score {args.completions:.0e}", args.completions, args.completion_tokens, False),
        (f"train on {args.pairs:.0e} pairs", args.pairs, args.pair_tokens, True),
    ]
    print("| parameters | task | machine | tokens/s | rows/s | hours | price |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for parameters in args.parameters:
        for task, rows, tokens, train in tasks:
            for at in args.machine or map(machine, KNOWN):
                long = hours(at, parameters, rows, tokens, train)
                speed = rows * tokens / long / 3600
                print(
                    f"| {parameters:.3g} | {task} | {at.name} | {speed:,.3g} | "
                    f"{speed / tokens:,.3g} | {long:,.3g} | {long * at.price:,.3g} |"
                )


if __name__ == "__main__":
    main()
