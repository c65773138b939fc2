"""Rankings at random, degenerate ones among them, and what metrics are of them in plain loops."""

from itertools import combinations

import numpy as np
from hypothesis import strategies as st
from scipy import stats

# Rewards from few values, so that ties are common, or from many; float32 as a model gives them.
REWARD = st.one_of(st.integers(-2, 2).map(float), st.floats(-30, 30, allow_nan=False, width=32))


def _ranking(k):
    def of(values):
        return st.lists(values, min_size=k, max_size=k)

    amounts, categories = st.integers(0, 5), st.sampled_from(["a", "b", None])
    return st.tuples(
        of(REWARD), of(st.integers(0, 3)), of(amounts), of(categories), st.integers(0, 3)
    )


# Lists of (rewards, ranks, amounts, categories, prompt), at least one with an ordered pair.
RANKINGS = st.lists(st.integers(1, 6).flatmap(_ranking), min_size=1, max_size=8).filter(
    lambda rankings: any(len(set(ranks)) > 1 for _, ranks, *_ in rankings)
)


def some_rankings(count=60, seed=3):
    """Rankings of 2 to 5 over fewer prompts, rewards and lengths that both know something."""
    rng = np.random.default_rng(seed)
    ranks = [np.append(rng.integers(0, 3, k), [0, 1]) for k in rng.integers(0, 4, count)]
    rewards = [rng.normal(size=len(k)) - 0.5 * k for k in ranks]
    lengths = [rng.integers(20, 200, len(k)) - 20 * k for k in ranks]
    prompts = [f"prompt {i}" for i in rng.integers(0, count // 2, count)]
    return rewards, ranks, lengths, prompts


def ordered_pairs(ranks):
    for i, j in combinations(range(len(ranks)), 2):
        if ranks[i] != ranks[j]:
            yield (i, j) if ranks[i] < ranks[j] else (j, i)


def pair_counts(ranks):
    return [len(list(ordered_pairs(of_ranking))) for of_ranking in ranks]


def gaps(scores, ranks):
    """What the better completion of every ordered pair scores above the worse."""
    return [s[i] - s[j] for s, k in zip(scores, ranks, strict=True) for i, j in ordered_pairs(k)]


def brute_accuracy(scores, ranks):
    won = [1.0 if gap > 0 else 0.5 if gap == 0 else 0.0 for gap in gaps(scores, ranks)]
    return sum(won) / len(won)


def plain_bootstrap(measure, prompts, seed, *, items, trials=None, resamples=50):
    """Low and high of the expanded percentile interval of `measure(rows)`, rows drawn by prompt.

    With `trials` it is Jeffreys' interval of a share, for as many of them as the draws show.

    `prompts` and `items` have an entry for each row, a ranking: its prompt and how many items it
    has, pairs or whatever `measure` is a mean over. A prompt drawn twice brings its rankings twice.
    """
    own = {}
    for row, prompt in enumerate(prompts):
        own.setdefault(prompt, []).append(row)
    own = list(own.values())
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        drawn = rng.integers(len(own), size=len(own))
        values.append(measure([row for index in drawn for row in own[index]]))
    counts = [sum(items[row] for row in rows) for rows in own]
    n = sum(counts) ** 2 / sum(count**2 for count in counts)  # Kish's effective sample size
    if trials is not None:
        share = measure(range(len(prompts)))
        variance = np.mean((np.array(values) - share) ** 2) * n / (n - 1)
        independent = min(share * (1 - share) / variance, trials)
        independent *= (stats.norm.ppf(0.975) / stats.t.ppf(0.975, n - 1)) ** 2
        right = independent * share
        return tuple(stats.beta.ppf([0.025, 0.975], right + 0.5, independent - right + 0.5))
    low = stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    return tuple(np.quantile(values, [low, 1 - low]))
