"""Do ensembles, normalisation and a length penalty keep best-of-n from being fooled?

A judge is a reward model trained on one part of the prompts; proxies are trained on few rankings
each of another part, so that there is something to over-optimise. A policy samples N completions
of prompts that neither has seen. What the judge makes of the best of n by a proxy's reward, over n,
is the curve of Gao et al. 2022 ("Scaling laws for reward model overoptimization"): where the
proxy's reward rises and the judge's does not, the proxy is fooled. Samples, models and rewards are
kept in a folder, so that a second run only sums up.

    python benchmarks/best_of_n.py RANKED.csv --cache FOLDER [--json FILE] [--plot FILE.png]
"""

import argparse
import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from contenders import machine, quiet_libraries, show

from plaudit import Ranking, RewardModel, load_rankings, train
from plaudit.console import progress
from plaudit.data.splits import split_by_prompt
from plaudit.evaluation.metrics import pairwise_accuracy
from plaudit.files import read_json, write_json, write_jsonl
from plaudit.model.ensemble import combined_rewards
from plaudit.sampling.policy import Policy

MEMBERS = 4  # proxies of a kind
KINDS = {  # how proxies are trained; few rankings need small steps to be more than a few
    "head alone": {"freeze_layers": -1},
    "whole model": {"per_device_train_batch_size": 2},
}
SPREADS = (0.5, 1.0)
PENALTIES = (0.005, 0.01, 0.02)  # standard deviations of the reward for each token
RESAMPLES = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--cache", required=True, help="folder for samples, models and rewards")
    parser.add_argument("--kind", choices=[*KINDS], action="append", help="of proxies (all)")
    parser.add_argument("--held-out", type=int, default=24, help="prompts no model is trained on")
    parser.add_argument(
        "--prompts", type=int, default=16, help="of them, that the policy completes"
    )
    parser.add_argument("-n", type=int, default=64, help="completions of each")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--judge-rankings", type=int, default=80)
    parser.add_argument("--proxy-rankings", type=int, default=16, help="of each proxy")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--base", default="embedded:minilm")
    parser.add_argument("--policy", default="embedded:smollm2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", default="best_of_n.png")
    parser.add_argument("--json")
    options = parser.parse_args()
    quiet_libraries()
    cache = Path(options.cache)

    rankings = list(load_rankings(options.data))
    held_out, rest = split_by_prompt(rankings, [options.held_out / len(rankings)], options.seed)
    for_judge, for_proxies = split_by_prompt(rest, [0.5], options.seed + 1)
    trained(cache / "judge", for_judge[: options.judge_rankings], options, seed=100)
    kinds = options.kind or [*KINDS]
    size = options.proxy_rankings
    folders: dict[str, list[Path]] = {}
    for kind in kinds:
        folders[kind] = [cache / f"{kind} {k}".replace(" ", "-") for k in range(MEMBERS)]
        for k, folder in enumerate(folders[kind]):
            part = for_proxies[k * size : (k + 1) * size]
            trained(folder, part, options, seed=k, **KINDS[kind])

    prompts = [ranking.prompt for ranking in held_out[: options.prompts]]
    samples = sampled(cache / "samples.json", prompts, options)
    judge = measured(cache / "judge", held_out, samples)
    result: dict[str, Any] = {"judge_accuracy": judge["accuracy"], "kinds": {}}
    for kind in kinds:
        proxies = [measured(folder, held_out, samples) for folder in folders[kind]]
        result["kinds"][kind] = sum_up(judge, proxies, options)
    for kind, found in result["kinds"].items():
        print_table(kind, found, judge["accuracy"])
    draw(result["kinds"], options.plot)
    if options.json:
        write_json(
            options.json, {"machine": machine("float32", None), "options": vars(options)} | result
        )


# ---- what takes time, and is kept ----


def sampled(file: Path, prompts: Sequence[Any], options: argparse.Namespace) -> list[list[str]]:
    """N completions of each prompt, drawn at temperature 1."""
    if not file.is_file():
        drawn = Policy.load(options.policy).sample(
            prompts, n=options.n, max_new_tokens=options.max_new_tokens,
            temperature=1.0, top_p=1.0, seed=options.seed,
        )  # fmt: skip
        write_json(file, list(progress(drawn, "sampling", total=len(prompts))))
    return read_json(file)


def trained(
    folder: Path, part: Sequence[Ranking], options: argparse.Namespace, **settings: Any
) -> None:
    """Train a model on `part`, all of it, into `folder / "run"`."""
    if (folder / "run" / "metrics.json").is_file():
        return
    rows = (
        {"prompt": r.prompt, "answer": text, "rank": rank}
        for r in part
        for text, rank in zip(r.completions, r.ranks, strict=True)
    )
    write_jsonl(folder / "data.jsonl", rows)
    settings |= {"base": options.base, "max_length": options.max_length}
    settings |= {"validation_fraction": 0, "test_fraction": 0}
    train(folder / "data.jsonl", output=folder / "run", overwrite=True, **settings)


def measured(
    folder: Path, held_out: Sequence[Ranking], samples: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """A model's accuracy on the held-out answers, and its rewards of the samples.

    `mean` and `std` are of its rewards of the held-out answers: what `normalise` would find there.
    """
    file = folder / "measured.json"
    if not file.is_file():
        model = RewardModel.load(folder / "run", dtype="float32", device="cpu")
        answers = list(model.score_all((r.prompt, r.completions) for r in held_out))
        accuracy = pairwise_accuracy(answers, [r.ranks for r in held_out])
        flat = [reward for of_one in answers for reward in of_one]
        pairs = [(r.prompt, texts) for r, texts in zip(held_out, samples, strict=False)]
        scored = progress(model.score_all(pairs), f"scoring with {folder.name}", len(pairs))
        measurement = {
            "accuracy": [accuracy.value, accuracy.low, accuracy.high],
            "mean": float(np.mean(flat)),
            "std": float(np.std(flat)),
            "rewards": list(scored),
            "tokens": [row["completion_tokens"] for row in model.encode(pairs)],
        }
        write_json(file, measurement)
    return read_json(file)


# ---- what is made of it ----


def best_of(by: np.ndarray, of: np.ndarray, n: int) -> np.ndarray:
    """The expected `of[P, N]` of the best of n by `by[P, N]`, over all subsets of n: `[P]`.

    The unbiased estimator of Nakano et al. 2021 (WebGPT, appendix I): the i-th worst of N is the
    best of C(i − 1, n − 1) of the C(N, n) subsets.
    """
    size = by.shape[1]
    weights = np.array([math.comb(i, n - 1) / math.comb(size, n) for i in range(size)])
    return np.take_along_axis(of, by.argsort(1, kind="stable"), 1) @ weights


def sum_up(
    judge: dict[str, Any], proxies: Sequence[dict[str, Any]], options: argparse.Namespace
) -> dict[str, Any]:
    """Curves of every way to choose: what the judge's and the chooser's own reward gain."""
    gold = np.array(judge["rewards"])
    gold = gold / deviation(gold)
    raw = np.array([proxy["rewards"] for proxy in proxies])  # [M, P, N]
    normal = np.array(
        [(rewards - p["mean"]) / p["std"] for rewards, p in zip(raw, proxies, strict=True)]
    )
    tokens = np.array(proxies[0]["tokens"])
    ways: dict[str, list[np.ndarray]] = {"single": list(normal)}
    for name, rewards in (("not normalised", raw), ("normalised", normal)):
        ways[f"mean, {name}"] = [rewards.mean(0)]
        ways[f"min, {name}"] = [combined_rewards(rewards, "min")]
    for spread in SPREADS:
        ways[f"mean − {spread:g} σ"] = [combined_rewards(normal, "mean-spread", spread)]
    for penalty in PENALTIES:
        ways[f"single − {penalty:g} a token"] = [rewards - penalty * tokens for rewards in normal]
        ways[f"mean − {penalty:g} a token"] = [normal.mean(0) - penalty * tokens]
    ways |= {"the longest": [tokens], "the shortest": [-tokens], "the judge's own choice": [gold]}

    sizes = [2**k for k in range(int(math.log2(options.n)) + 1)]
    rng = np.random.default_rng(options.seed)
    drawn = rng.integers(len(gold), size=(RESAMPLES, len(gold)))
    curves = {
        way: np.array([[best_of(b, gold, n) for n in sizes] for b in by]).mean(0)  # [sizes, P]
        for way, by in ways.items()
    }
    found: dict[str, Any] = {
        "accuracy": [proxy["accuracy"] for proxy in proxies],
        "correlation_of_proxies": float(
            np.mean([correlation(a, b) for a, b in combinations(raw, 2)])
        ),
        "correlation_with_judge": float(np.mean([correlation(each, gold) for each in raw])),
        "correlation_with_length": float(np.mean([correlation(each, tokens) for each in raw])),
        "judge_with_length": correlation(gold, tokens),
        "sizes": sizes, "kl": [math.log(n) - (n - 1) / n for n in sizes], "ways": {},
    }  # fmt: skip
    for way, by in ways.items():
        gains = curves[way] - gold.mean(1)
        own = np.array([[best_of(b, b / deviation(b), n) for n in sizes] for b in by]).mean(0)
        more = curves[way] - curves["single"]
        found["ways"][way] = {
            "judge": intervals(gains, drawn),
            "own": intervals(own - own[0], drawn),
            "more_than_single": intervals(more, drawn),
            "last_less_best": intervals(gains - gains[gains.mean(1).argmax()], drawn),
            "tokens_of_best": [
                float(np.mean([best_of(b, tokens, n).mean() for b in by])) for n in sizes
            ],
        }
    return found


def centred(values: np.ndarray) -> np.ndarray:
    """`[P, N]` less the mean of each prompt."""
    return values - values.mean(1, keepdims=True)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of `[P, N]`, among completions of one prompt."""
    return float(np.corrcoef(centred(a).ravel(), centred(b).ravel())[0, 1])


def deviation(values: np.ndarray) -> float:
    """The standard deviation among completions of one prompt, over all prompts."""
    return float(np.sqrt(np.square(centred(values)).mean()))


def intervals(of_prompts: np.ndarray, drawn: np.ndarray) -> list[list[float]]:
    """Mean over prompts and 95 % interval by bootstrap over them, of each row of `[sizes, P]`."""
    resampled = of_prompts[:, drawn].mean(2)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
    return np.stack([of_prompts.mean(1), low, high], 1).tolist()


# ---- what is said ----


def print_table(kind: str, found: dict[str, Any], judge: Sequence[float]) -> None:
    accuracies = ", ".join(f"{value:.3f}" for value, *_ in found["accuracy"])
    print(f"\nproxies: {kind}; accuracy {accuracies}, judge {judge[0]:.3f}")
    print(
        f"correlations within a prompt: of two proxies {found['correlation_of_proxies']:.2f}, with "
        f"the judge {found['correlation_with_judge']:.2f}, with length "
        f"{found['correlation_with_length']:.2f} (the judge's: {found['judge_with_length']:.2f})"
    )
    sizes = found["sizes"]
    shown = [n for n in sizes if n in (2, 4, 16, sizes[-1])]
    rows = []
    for way, curve in found["ways"].items():
        gains = [f"{curve['judge'][sizes.index(n)][0]:+.2f}" for n in shown]
        last = [interval(curve[name][-1]) for name in ("judge", "more_than_single")]
        rows.append([way, *gains, *last, f"{curve['own'][-1][0]:+.2f}",
                     f"{curve['tokens_of_best'][-1]:.0f}"])  # fmt: skip
    end = f"95 % at {sizes[-1]}"
    show(["chosen by", *map(str, shown), end, "more than single", "own", "tokens"], rows)


def interval(figure: Sequence[float]) -> str:
    value, low, high = figure
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def draw(kinds: dict[str, dict[str, Any]], path: str) -> None:
    shown = {"single": "C0", "mean, normalised": "C1", "min, normalised": "C2", "mean − 1 σ": "C3",
             "mean − 0.01 a token": "C4", "the judge's own choice": "0.6"}  # fmt: skip
    size = {"figsize": (5 * len(kinds), 4.2), "layout": "constrained"}
    figure, ((*every,),) = plt.subplots(1, len(kinds), sharey=True, squeeze=False, **size)
    for axes, (kind, found) in zip(every, kinds.items(), strict=True):
        for way, colour in shown.items():
            value, low, high = np.array(found["ways"][way]["judge"]).T
            axes.plot(found["kl"], value, color=colour, marker=".", label=way)
            if way == "single":
                axes.fill_between(found["kl"], low, high, color=colour, alpha=0.15, linewidth=0)
        own = np.array(found["ways"]["single"]["own"])[:, 0]
        axes.plot(found["kl"], own, color="C0", linestyle="--", label="single, by its own reward")
        axes.set_title(f"proxies: {kind}")
        axes.set_xlabel("KL from the policy, nats: log n − (n − 1) / n")
        axes.spines[["top", "right"]].set_visible(False)
    every[0].set_ylabel("gain in reward, σ within a prompt: the judge's")
    every[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
