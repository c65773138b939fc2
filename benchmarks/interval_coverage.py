"""Are the 95 % intervals honest? A simulation with known truth, through plaudit's own functions.

A population of prompts: each has a difficulty of its own and 2 to 8 completions, so that its pairs
depend on one another; then what raters, lengths and two reward models make of them. The truth is
what one very large sample gives. Many small data sets are drawn and measured as users would, and
we count how often an interval covers the truth: 95 % if it is honest. Two models of equal quality
show how often the permutation test finds a difference where there is none: 5 % if it is.

    python benchmarks/interval_coverage.py [--runs 1000] [--prompts 30 100 300] [--json FILE]
"""

import argparse
import json
import platform
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from plaudit.console import progress
from plaudit.data.rankings import Ranking, dense_ranks
from plaudit.evaluation.comparison import compare_rewards
from plaudit.evaluation.metrics import calibration_error
from plaudit.evaluation.metrics import temperature as fit_temperature
from plaudit.evaluation.summary import summarise

HONEST = 0.93, 0.97
LEVEL = 0.05
TINY = 1e-9  # rounding is no miss
# Raters see quality with noise of this standard deviation; what falls in one step they call equal.
RATER_NOISE, STEP = 0.6, 0.5
# The second model is noisier than the first; for the test of the test it is as good.
FIRST_NOISE, SECOND_NOISE = 1.0, 1.25


def draw(prompts: int, rng: np.random.Generator, second_noise: float = SECOND_NOISE):
    """Ranks, lengths and the rewards of two models of so many random prompts, ragged [P][K].

    Models know quality less well on some prompts than on others, share some of their mistakes,
    like length a little, and have a scale of their own; better completions are a little longer.
    """
    sizes = rng.integers(2, 9, size=prompts)
    of = np.repeat(np.arange(prompts), sizes)

    def noise() -> np.ndarray:
        return rng.normal(size=len(of))

    ease = np.exp(0.7 * rng.normal(size=prompts))[of]
    quality = noise()
    seen = np.round((quality + RATER_NOISE * noise()) / STEP)
    length = 0.3 * quality + 0.5 * rng.normal(size=prompts)[of] + 0.6 * noise()
    shared = ease * quality + 0.4 * length + noise() + rng.normal(size=prompts)[of]
    first = 1.5 * (shared + FIRST_NOISE * noise())
    second = 1.5 * (shared + second_noise * noise())
    characters = 20 * np.round(10 * np.exp(length))  # rounded, so that some lengths are equal
    ends = np.cumsum(sizes)[:-1]
    ranks = [dense_ranks(-each) for each in np.split(seen, ends)]
    return ranks, *(np.split(each, ends) for each in (characters, first, second))


def measure(prompts: int, resamples: int, temperature: float, seed: int) -> tuple[dict, dict]:
    """All figures of one random data set, and p-values of two equally good models on another."""
    rng = np.random.default_rng(seed)
    found = figures(*draw(prompts, rng), resamples, temperature)
    ranks, _, first, second = draw(prompts, rng, second_noise=FIRST_NOISE)
    compared = compare_rewards(rankings(ranks), first, second, resamples=0, exchanges=1999)
    null = {name: entry["p"] for name, entry in compared.summary["metrics"].items()}
    adjusted = [entry["p_holm"] for entry in compared.summary["metrics"].values()]
    null["any but the first, by Holm"] = min(p for p in adjusted if p is not None)
    return found, null


def figures(ranks, lengths, first, second, resamples: int, temperature: float) -> dict[str, dict]:
    """Every figure of a summary, of a comparison, and of calibration with rewards ÷ temperature."""
    prompts = range(len(ranks))
    summary = summarise(first, ranks, prompts=prompts, lengths=lengths, resamples=resamples)
    found = {name: value for name, value in summary.items() if is_figure(value)}
    cooled = [each / temperature for each in first]
    error = calibration_error(cooled, ranks, resamples=resamples)
    found["calibration_error, well calibrated"] = error.as_dict()
    for name, value in summary["style"]["length"].items():
        if is_figure(value):
            found[f"length: {name}"] = value
    for part in ("by_rank_distance", "by_length_difference"):
        for name, entry in summary[part].items():
            found[f"accuracy {part}: {name}"] = entry["pairwise_accuracy"]
    compared = compare_rewards(rankings(ranks), first, second, resamples=resamples, exchanges=1)
    for name, entry in compared.summary["metrics"].items():
        found[f"difference of models: {name}"] = entry["difference"]
    return found


def is_figure(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"value", "low", "high"}


def rankings(ranks: list) -> list[Ranking]:
    return [Ranking(str(p), [""] * len(each), each) for p, each in enumerate(ranks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--prompts", type=int, nargs="+", default=[30, 100, 300])
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--population", type=int, default=200_000, help="prompts the truth is from")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json")
    options = parser.parse_args()

    started = time.monotonic()
    population = draw(options.population, np.random.default_rng(0))
    temperature = fit_temperature(population[2], population[0], resamples=0).value
    true = {name: figure["value"] for name, figure in figures(*population, 0, temperature).items()}
    results = {}
    for prompts in options.prompts:
        work = partial(measure, prompts, options.resamples, temperature)
        with ProcessPoolExecutor(options.jobs) as pool:
            runs = pool.map(work, range(1, options.runs + 1), chunksize=5)
            runs = list(progress(runs, f"data sets of {prompts} prompts", total=options.runs))
        results[prompts] = tally(runs, true)

    about = {
        "runs": options.runs,
        "resamples": options.resamples,
        "population": options.population,
        "prompts": options.prompts,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    show(about, true, results)
    if options.json:
        found = {"about": about, "truth": true, "results": results}
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n")


def tally(runs: list[tuple[dict, dict]], true: dict[str, float]) -> dict:
    """How often the intervals covered the truth, which side they missed on, and false positives."""
    intervals, p_values = defaultdict(list), defaultdict(list)
    for found, null in runs:
        for name, each in found.items():
            if name in true and each["low"] is not None:
                intervals[name].append((each["value"], each["low"], each["high"]))
        for name, p in null.items():
            p_values[name].append(p)
    coverage = {}
    for name, rows in intervals.items():
        value, low, high = np.array(rows).T
        coverage[name] = {
            "covered": float(((low <= true[name] + TINY) & (true[name] <= high + TINY)).mean()),
            "truth_below": float((true[name] < low).mean()),
            "truth_above": float((high < true[name]).mean()),
            "bias": float(value.mean() - true[name]),
            "width": float((high - low).mean()),
            "runs": len(rows),
        }
    positives = {name: float((np.array(p) <= LEVEL).mean()) for name, p in p_values.items()}
    return {"coverage": coverage, "false_positives": positives}


def show(about: dict, true: dict[str, float], results: dict) -> None:
    print(
        f"{about['runs']:,} data sets of each size, {about['resamples']:,} resamples; truth from "
        f"{about['population']:,} prompts; {about['minutes']} minutes\n"
    )
    sizes = list(results)
    wide = max(map(len, true))
    print(f"{'95 % intervals that cover the truth':<{wide}}     truth", end="")
    print("".join(f"  {size:>5,} prompts" for size in sizes))
    for name, value in true.items():
        cells = ""
        for size in sizes:
            share = results[size]["coverage"].get(name, {}).get("covered")
            flag = " " if share is None or HONEST[0] <= share <= HONEST[1] else "!"
            cells += f"{'–':>14} " if share is None else f"{100 * share:>11.1f} % {flag}"
        print(f"{name:<{wide}}  {value:>8.3f}{cells}")
    print(f"\n{'p ≤ 0.05 between two models of equal quality':<{wide}}          ", end="")
    print("".join(f"  {size:>5,} prompts" for size in sizes))
    for name in results[sizes[0]]["false_positives"]:
        cells = [f"{100 * results[size]['false_positives'][name]:>11.1f} %  " for size in sizes]
        print(f"{name:<{wide}}  {'':>8}{''.join(cells)}")


if __name__ == "__main__":
    main()
