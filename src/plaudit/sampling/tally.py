"""What best-of-n did, in figures that grow with every prompt: for the last line, and for doubts.

Sums only, so that memory stays flat and an interrupted output goes on counting where it stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from plaudit.console import counted
from plaudit.files import SCHEMA_VERSION
from plaudit.results import GenerationSummary
from plaudit.sampling.selection import Candidates, Scored

# Best-of-n takes the longest this much more often than chance would, on a scale on which 0 is
# chance and 1 is always: then it is length that it optimises. Below so many prompts nobody can say.
MOSTLY = 0.5
PROMPTS_TO_TELL = 20


@dataclass
class Tally:
    """Counts and sums over prompts.

    `gain` is how much more reward what was kept of a prompt has, on average, than all n of that
    prompt. `longest` counts the prompts whose best candidate is the longest, `longest_by_chance`
    how many it would be if length and reward had nothing to do with each other.
    """

    prompts: int = 0
    unreadable: int = 0
    completions: int = 0
    cut: int = 0  # unfinished, kept or not
    unfinished: int = 0
    blank: int = 0
    duplicates: int = 0
    reward: float = 0.0
    rows: int = 0
    prompts_kept: int = 0
    kept_reward: float = 0.0
    margin: float = 0.0
    gain: float = 0.0
    correlated: int = 0
    correlation: float = 0.0
    longest: int = 0
    longest_by_chance: float = 0.0

    def add(
        self, drawn: Sequence[Scored], found: Candidates, kept: Sequence[tuple[Scored, ...]]
    ) -> None:
        """Count a prompt: all n completions, the candidates, and what is kept in each row.

        That is a completion, or the chosen and the rejected one of a pair; rewards of what is kept
        are then those of the chosen ones.
        """
        self.prompts += 1
        self.completions += len(drawn)
        self.cut += sum(not one.finished for one in drawn)
        self.unfinished += found.unfinished
        self.blank += found.blank
        self.duplicates += found.duplicates
        self.reward += sum(one.reward for one in drawn)
        if kept:
            rewards = [row[0].reward for row in kept]
            self.rows += len(kept)
            self.prompts_kept += 1
            self.kept_reward += sum(rewards)
            self.gain += fmean(rewards) - fmean(one.reward for one in drawn)
            self.margin += sum(row[0].reward - row[-1].reward for row in kept)
        self._add_lengths(found.best_first)

    def _add_lengths(self, best_first: Sequence[Scored]) -> None:
        from scipy.stats import spearmanr

        lengths = [len(one.text) for one in best_first]
        rewards = [one.reward for one in best_first]
        if len(set(lengths)) < 2 or len(set(rewards)) < 2:
            return
        self.correlated += 1
        self.correlation += float(spearmanr(rewards, lengths)[0])
        self.longest += lengths[0] == max(lengths)
        self.longest_by_chance += lengths.count(max(lengths)) / len(lengths)

    def summary(self) -> GenerationSummary:
        """Counts and means; None for a mean of nothing."""

        def mean(total: float, count: int) -> float | None:
            return total / count if count else None

        return {
            "schema_version": SCHEMA_VERSION,
            "prompts": self.prompts,
            "prompts_kept": self.prompts_kept,
            "prompts_without_a_row": self.prompts - self.prompts_kept,
            "unreadable_rows": self.unreadable,
            "rows": self.rows,
            "completions": self.completions,
            "unfinished": self.cut,
            "unfinished_left_out": self.unfinished,
            "blank_left_out": self.blank,
            "duplicates_left_out": self.duplicates,
            "mean_reward": mean(self.reward, self.completions),
            "mean_reward_of_kept": mean(self.kept_reward, self.rows),
            "gain": mean(self.gain, self.prompts_kept),
            "mean_margin": mean(self.margin, self.rows) if self.margin else None,
            "reward_length_correlation": mean(self.correlation, self.correlated),
            "best_is_longest": mean(self.longest, self.correlated),
            "best_is_longest_by_chance": mean(self.longest_by_chance, self.correlated),
        }

    def leans_on_length(self) -> bool:
        """Whether the best is so often the longest that best-of-n mostly optimises length."""
        if self.correlated < PROMPTS_TO_TELL:
            return False
        chance = self.longest_by_chance / self.correlated
        return (self.longest / self.correlated - chance) / (1 - chance) > MOSTLY

    def as_text(self, keep_unfinished: bool) -> str:
        """What the command prints; `keep_unfinished` as the choice had it."""
        figures = self.summary()
        all_of = f"{counted(self.prompts, 'prompt')}, {counted(self.completions, 'completion')}"
        all_of += f", {self.cut:,} of them unfinished" if keep_unfinished else ""
        left_out = "" if keep_unfinished else f"{self.unfinished:,} unfinished, "
        left_out += f"{self.duplicates:,} equal to another one"
        left_out += f", {self.blank:,} blank" if self.blank else ""
        lines = [
            f"{all_of}; left out: {left_out}",
            f"{counted(self.rows, 'row')} of {counted(self.prompts_kept, 'prompt')}; "
            f"{figures['prompts_without_a_row']:,} without a row",
        ]
        if self.completions:
            lines.append(f"mean reward {figures['mean_reward']:+.3f}")
        if self.rows:
            lines[-1] += (
                f"; of what was kept {figures['mean_reward_of_kept']:+.3f}, "
                f"{figures['gain']:+.3f} against all of the same prompt"
            )
        if self.margin:
            lines[-1] += f"; mean margin {figures['mean_margin']:.3f}"
        if self.correlated:
            lines.append(
                "rank correlation of reward with length within prompts "
                f"{figures['reward_length_correlation']:+.2f}; the best is the longest in "
                f"{figures['best_is_longest']:.0%} of them, by chance in "
                f"{figures['best_is_longest_by_chance']:.0%}"
            )
        return "\n".join(lines)
