"""How well are mislabelled pairs found? Flips a tenth of the labels and looks for them.

Every strictly ordered pair of a prompt becomes a record of its own, and a random tenth of the
records is turned round. A reward head on a frozen base model is trained on them in five folds by
prompt, so that the fold that holds out a prompt holds out all its pairs. The pairs are then
put in order by how likely their label is wrong, three ways: by the out-of-fold margin alone, by
what `plaudit.inspection.labels` makes of the margin together with the prompt's other pairs, and by
the other pairs alone. A coin gets an AUC of a half and a precision of a tenth. Labels that were
wrong before any was flipped count as right here, so no method can reach 1.

    python benchmarks/find_flipped.py RANKED.csv [--pairs-per-prompt N] [--json FILE]
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from contenders import MAX_LENGTH, machine
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from plaudit import Ranking, RewardModel, load_rankings
from plaudit.console import progress
from plaudit.data.splits import folds_by_prompt
from plaudit.inspection.labels import check_labels
from plaudit.model.base_models import load_tokenizer, locate

STRENGTH = 0.01  # of the head's regularisation, as scikit-learn has it (less is stronger)
Ints, Floats = np.ndarray, np.ndarray


def flipped_pairs(
    rankings: list[Ranking], share: float, per_prompt: int | None, seed: int
) -> tuple[list[Ranking], Ints]:
    """Each ordered pair as a ranking of two, and which of them were turned round."""
    chance = random.Random(seed)
    pairs = []
    for ranking in rankings:
        ordered = ranking.pairs()
        if per_prompt is not None:
            ordered = chance.sample(ordered, min(per_prompt, len(ordered)))
        texts = ranking.completions
        pairs += [Ranking(ranking.prompt, [texts[i], texts[j]], [0, 1]) for i, j in ordered]
    turned = set(chance.sample(range(len(pairs)), round(share * len(pairs))))
    pairs = [
        Ranking(pair.prompt, pair.completions[::-1], [0, 1]) if number in turned else pair
        for number, pair in enumerate(pairs)
    ]
    return pairs, np.array([number in turned for number in range(len(pairs))])


def features(rankings: list[Ranking], base: str) -> dict[tuple[str, str], Floats]:
    """What the frozen base model makes of each completion after its prompt: a mean over tokens.

    Computed once for each, however many pairs it stands in and folds it is trained on.
    """
    loaded = RewardModel.load(base, device="cpu", dtype="float32", layout="padded")
    model = loaded.model.base_model.eval()
    tokenizer = load_tokenizer(locate(base))
    texts = [(ranking.prompt, text) for ranking in rankings for text in ranking.completions]
    texts.sort(key=lambda both: len(both[0]) + len(both[1]))
    found = {}
    for start in progress(range(0, len(texts), 16), "features"):
        batch = texts[start : start + 16]
        tokens = tokenizer(
            *map(list, zip(*batch, strict=True)),
            truncation="longest_first",
            max_length=MAX_LENGTH,
            padding=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            hidden = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        means = ((hidden * mask).sum(dim=1) / mask.sum(dim=1)).numpy()
        found |= dict(zip(batch, means, strict=True))
    return found


def out_of_fold(
    pairs: list[Ranking], of_texts: dict[tuple[str, str], Floats], folds: int, seed: int
) -> list[list[float]]:
    """The reward of each completion by a Bradley–Terry head trained on the other folds.

    A head on fixed features is a logistic regression on the differences of a pair's features,
    without an intercept.
    """
    both = np.array([[of_texts[pair.prompt, text] for text in pair.completions] for pair in pairs])
    fold_of = {
        pair.key: number
        for number, fold in enumerate(folds_by_prompt(pairs, folds, seed))
        for pair in fold
    }
    fold = np.array([fold_of[pair.key] for pair in pairs])
    rewards = np.empty(both.shape[:2])
    for number in range(folds):
        difference = both[fold != number, 0] - both[fold != number, 1]
        spread = difference.std()
        head = LogisticRegression(C=STRENGTH, fit_intercept=False, max_iter=1000)
        signs = np.where(np.arange(len(difference)) % 2, 1, -1)  # it wants to see both classes
        head.fit(difference / spread * signs[:, None], signs)
        rewards[fold == number] = both[fold == number] / spread @ head.coef_[0]
    return rewards.tolist()


def auc(scores: Floats, flipped: Ints, weights: Ints) -> float:
    """The chance that a flipped pair scores above another; a pair counts `weights` times."""
    order = np.argsort(scores, kind="stable")
    _, tied = np.unique(scores[order], return_inverse=True)
    of_flipped = np.bincount(tied, (weights * flipped)[order])
    of_others = np.bincount(tied, (weights * ~flipped)[order])
    below = np.cumsum(of_others) - of_others
    return float((of_flipped * (below + of_others / 2)).sum() / of_flipped.sum() / of_others.sum())


def precision(scores: Floats, flipped: Ints, weights: Ints) -> float:
    """Of as many pairs from the top as were flipped, the share that were."""
    order = np.argsort(-scores, kind="stable")
    counted = np.cumsum(weights[order])
    total = int((weights * flipped).sum())
    top = order[: np.searchsorted(counted, total) + 1]
    return float((weights * flipped)[top].sum() / weights[top].sum())


def with_intervals(scores: Floats, flipped: Ints, prompts: Ints, seed: int) -> dict:
    """Both figures with 95 % intervals by bootstrap over prompts."""
    chance = np.random.default_rng(seed)
    count = prompts.max() + 1
    draws = [chance.multinomial(count, np.full(count, 1 / count))[prompts] for _ in range(500)]
    figures = {}
    for name, figure in (("auc", auc), ("precision", precision)):
        drawn = [figure(scores, flipped, weights) for weights in draws]
        low, high = np.quantile(drawn, [0.025, 0.975])
        value = figure(scores, flipped, np.ones_like(prompts))
        figures[name] = {"value": value, "low": float(low), "high": float(high)}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--base", default="embedded:minilm")
    parser.add_argument("--share", type=float, default=0.1, help="of the pairs to flip (0.1)")
    parser.add_argument("--pairs-per-prompt", type=int, help="take so many at random (all)")
    parser.add_argument("--prompts", type=int, help="take only the first so many (all)")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json")
    options = parser.parse_args()

    rankings = list(load_rankings(options.data))[: options.prompts]
    pairs, flipped = flipped_pairs(rankings, options.share, options.pairs_per_prompt, options.seed)
    began = time.monotonic()
    of_texts = features(rankings, options.base)
    rewards = out_of_fold(pairs, of_texts, options.folds, options.seed)
    trained = time.monotonic() - began
    labels = check_labels(pairs, rewards)
    margins = np.array([better - worse for better, worse in rewards])
    better_won, better_of, worse_won, worse_of = labels.won.T
    # The share of its other comparisons that each side won, with half a win to begin with.
    by_others = (worse_won + 0.5) / (worse_of + 1) - (better_won + 0.5) / (better_of + 1)
    _, prompts = np.unique([pair.key for pair in pairs], return_inverse=True)
    orders = {
        "out-of-fold margin alone": expit(-margins),
        "margin and other pairs of the prompt": labels.probability,
        "other pairs of the prompt alone": by_others,
    }
    result = {
        "machine": machine("float32", None),
        "pairs": len(pairs),
        "prompts": int(prompts.max() + 1),
        "flipped": int(flipped.sum()),
        "seconds_of_training": round(trained, 1),
        "seconds_of_checking": round(time.monotonic() - began - trained, 1),
        "accuracy_on_labels_as_they_were": float(((margins > 0) != flipped).mean()),
        "noise_rate": labels.noise_rate,
        "found": {
            name: with_intervals(scores, flipped, prompts, options.seed)
            for name, scores in orders.items()
        },
        "calibration": [
            {"predicted": float(p.mean()), "flipped": float(f.mean()), "pairs": len(p)}
            for part in np.array_split(np.argsort(labels.probability), 10)
            for p, f in [(labels.probability[part], flipped[part])]
        ],
    }
    print(
        f"{result['pairs']:,} pairs of {result['prompts']:,} prompts, "
        f"{result['flipped']:,} flipped; pairwise accuracy on the labels as they were "
        f"{result['accuracy_on_labels_as_they_were']:.1%}; {trained:.0f} s of training\n"
    )
    print(f"{'in order of':<40}{'AUC':<24}precision at the number flipped")
    print(f"{'chance':<40}{0.5:<24}{options.share}")
    for name, found in result["found"].items():
        cells = [f"{f['value']:.3f} ({f['low']:.3f}–{f['high']:.3f})" for f in found.values()]
        print(f"{name:<40}{cells[0]:<24}{cells[1]}")
    print(f"\nestimated share of wrong labels: {labels.noise_rate:.1%}; tenths of the pairs:")
    for tenth in result["calibration"]:
        print(f"  predicted {tenth['predicted']:.1%}, flipped {tenth['flipped']:.1%}")
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
