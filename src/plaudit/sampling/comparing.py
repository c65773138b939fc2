"""A policy's completions beside their rewards: what the reward model is for, seen.

`compare` samples n completions of each prompt, scores them, marks the best of n, and writes JSON
and a plot. It holds everything in memory; for many prompts there is `best_of_n`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.console import progress, say
from plaudit.data.rankings import Text
from plaudit.errors import PlauditError
from plaudit.files import SCHEMA_VERSION, make_way, write_jsonl, write_results
from plaudit.model.encoding import plain_text
from plaudit.model.reward_model import as_scorer
from plaudit.results import ComparisonSummary
from plaudit.sampling.policy import Policy

if TYPE_CHECKING:
    from plaudit.model.scorer import Scorer


@dataclass(frozen=True)
class Comparison:
    """n scored completions of each prompt; `best` is the index of the highest reward."""

    prompts: list[Text]
    completions: list[list[str]]
    rewards: list[list[float]]

    @property
    def best(self) -> list[int]:
        """For each prompt, which completion has the highest reward."""
        return [max(range(len(r)), key=r.__getitem__) for r in self.rewards]

    def summary(self) -> ComparisonSummary:
        """What best-of-n gains in reward over the first completion, and whether it is length."""
        from scipy.stats import spearmanr

        first = [r[0] for r in self.rewards]
        best = [max(r) for r in self.rewards]
        flat = [x for r in self.rewards for x in r]
        lengths = [len(c) for cs in self.completions for c in cs]
        varied = len(set(flat)) > 1 and len(set(lengths)) > 1
        return {
            "schema_version": SCHEMA_VERSION,
            "prompts": len(self.prompts),
            "completions": len(flat),
            "mean_reward": sum(flat) / len(flat),
            "mean_reward_of_first": sum(first) / len(first),
            "mean_reward_of_best": sum(best) / len(best),
            "reward_length_correlation": float(spearmanr(flat, lengths)[0]) if varied else None,
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row for each completion."""
        for prompt, completions, rewards, best in zip(
            self.prompts, self.completions, self.rewards, self.best, strict=True
        ):
            for k, (completion, reward) in enumerate(zip(completions, rewards, strict=True)):
                yield {"prompt": prompt, "completion": completion, "reward": reward,
                       "best": k == best}  # fmt: skip

    def __str__(self) -> str:
        return format_comparison(self)

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {**self.summary(), "rows": list(self.rows())}

    def write(self, folder: str | Path) -> None:
        """Write `completions.jsonl`, `summary.json` and `comparison.png` into a folder."""
        from plaudit.reporting.plots import Sampled, write_plots

        folder = Path(folder)
        make_way(folder)
        write_jsonl(folder / "completions.jsonl", self.rows())
        write_results(folder / "summary.json", self.summary())
        prompts = [plain_text(prompt) for prompt in self.prompts]
        write_plots("comparison", Sampled(prompts, self.completions, self.rewards), folder)


def compare(
    model: "Scorer | str | Path | Sequence[str | Path]",
    policy: Policy | str | Path,
    prompts: Sequence[Text],
    *,
    n: int = 4,
    output: str | Path | None = None,
    **sampling: Any,
) -> Comparison:
    """Sample n completions of each prompt from the policy, score them, mark the best.

    Args:
        model: a scorer, or what `RewardModel.load` takes: a name or several.
        policy: a policy, or what `Policy.load` takes.
        prompts: plain texts or lists of chat messages.
        n: completions of each prompt.
        output: a folder for `completions.jsonl`, `summary.json` and `comparison.png`.
        **sampling: what `Policy.sample` takes.

    Raises:
        PlauditError: when a model cannot be loaded, there is no prompt, or a setting is no good.

    >>> print(compare("runs/first", "policy", ["What is a bond?"], n=4, max_new_tokens=4))
    What is a bond?
     ★ ...
    mean reward ...
    """
    if not prompts:
        raise PlauditError("there is no prompt to complete; give at least one")
    model = as_scorer(model)
    if isinstance(policy, str | Path):
        say(f"loading the policy {policy}")
        policy = Policy.load(policy)
    model.warn_if_untrained()
    samples = policy.sample(prompts, n=n, **sampling)
    completions = list(progress(samples, "generating", total=len(prompts)))
    with model.telling_truncation():
        rewards = list(model.score_all(zip(prompts, completions, strict=True)))
    comparison = Comparison(list(prompts), completions, rewards)
    if output is not None:
        comparison.write(output)
    return comparison


def format_comparison(comparison: Comparison, width: int = 100) -> str:
    """A table for reading: each prompt, its completions from the highest reward down."""
    lines = []
    for prompt, completions, rewards in zip(
        comparison.prompts, comparison.completions, comparison.rewards, strict=True
    ):
        lines.append(_shortened(plain_text(prompt), width))
        order = sorted(range(len(rewards)), key=lambda k: -rewards[k])
        for place, k in enumerate(order):
            mark = "★" if place == 0 and len(order) > 1 else " "
            text = _shortened(completions[k], width - 12) or "(empty)"
            lines.append(f" {mark} {rewards[k]:+8.3f}  {text}")
        lines.append("")
    summary = comparison.summary()
    lines.append(
        f"mean reward {summary['mean_reward']:+.3f}; the first of each prompt "
        f"{summary['mean_reward_of_first']:+.3f}, the best of each "
        f"{summary['mean_reward_of_best']:+.3f}"
    )
    correlation = summary["reward_length_correlation"]
    if correlation is not None:
        lines.append(f"rank correlation of reward with length {correlation:+.2f}")
    return "\n".join(lines)


def _shortened(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"
