"""Several reward models as one scorer: their mean, their minimum, or the mean less their spread.

A policy that is optimised against one reward model finds what that model overrates. Models trained
from other seeds or on other data overrate other things, so a completion that all of them like is
more likely to be good: Coste et al. 2023, "Reward model ensembles help mitigate overoptimization"
(arXiv 2310.02743: worst-case and uncertainty-weighted optimisation), and Eisenstein et al. 2023,
"Helping or herding?" (arXiv 2312.09244), who also show what ensembles cannot do: errors that all
members share stay.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, assert_never, get_args

import numpy as np
import torch

from plaudit.data.rankings import Text
from plaudit.errors import PlauditError
from plaudit.model.encoding import Encoding, count_truncation
from plaudit.model.scorer import Scorer
from plaudit.model.trained_on import TrainedOn

Combine = Literal["mean", "min", "mean-spread"]


@dataclass
class Ensemble(Scorer):
    """A scorer of several reward models; `RewardModel.load` makes one of several names.

    Args:
        members: two or more reward models, on one device.
        combine: `mean` of the members' rewards; `min`, the least of them (Coste et al.'s
            worst-case optimisation); `mean-spread`, the mean − `spread` · the standard deviation
            over members, population (they subtract the variance: uncertainty-weighted).
        spread: how many standard deviations `mean-spread` subtracts.

    Raises:
        PlauditError: when there are fewer than two members, or a setting is no good; when some
            members' rewards are normalised and others' are not; for `min` and `mean-spread`, when
            they are not: every model's rewards have a zero of their own, so that the least would
            mostly be the rewards of the same model, and the spread a difference of zeros.

    >>> from plaudit import RewardModel
    >>> pair = RewardModel.load(["runs/second", "runs/third"], combine="mean")
    >>> len(pair.score("What is 2 + 2?", ["4", "I'd rather not."]))
    2
    """

    members: Sequence[Scorer]
    combine: Combine = "mean"
    spread: float = 1.0
    truncation: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise PlauditError("an ensemble needs two models or more")
        if self.combine not in get_args(Combine):
            choices = ", ".join(get_args(Combine))
            raise PlauditError(f"combine: there is no {self.combine}; choose one of {choices}")
        if not (self.spread >= 0 and math.isfinite(self.spread)):
            raise PlauditError(f"spread: {self.spread} is not a number of 0 or more")
        normalised = {member.normalised for member in self.members}
        if normalised == {True, False}:
            raise PlauditError(
                "some of these models have normalised rewards and others do not, so they cannot be "
                "added up: run `plaudit normalise MODEL DATA` for each of the others"
            )
        if normalised == {False} and self.combine != "mean":
            raise PlauditError(
                f"combine: {self.combine} compares the members' rewards, and each model's have a "
                "zero of their own: run `plaudit normalise MODEL DATA` for each, on the same data"
            )

    @property
    def scale(self) -> float:
        """The mean of the members' scales.

        For `mean`, σ(scale · (r_a − r_b)) pools the members' probabilities that a is preferred to b
        by their geometric mean, renormalised (a logarithmic opinion pool): exactly where all scales
        are equal, as those of rewards that are not normalised are. For `min` and `mean-spread` it
        is how strongly the combined reward prefers a, in the members' own unit; no model's
        probability.
        """
        return sum(member.scale for member in self.members) / len(self.members)

    @property
    def normalised(self) -> bool:
        """See `Scorer`; all members are, or none."""
        return self.members[0].normalised

    def identity(self) -> dict[str, Any]:
        """See `Scorer`."""
        how = {"combine": self.combine, "spread": self.spread}
        return {"members": [member.identity() for member in self.members], **how}

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """See `Scorer`; each member keeps its own."""
        with ExitStack() as scopes:
            for member in self.members:
                scopes.enter_context(member.remembering())
            yield

    @property
    def readings(self) -> list[str]:
        """See `Scorer`."""
        return [line for member in self.members for line in member.readings]

    def training_texts(self) -> list[TrainedOn | None]:
        """Those of the members."""
        return [texts for member in self.members for texts in member.training_texts()]

    @property
    def encodings(self) -> list[Encoding]:
        """Those of the members."""
        return [encoding for member in self.members for encoding in member.encodings]

    @property
    def max_length(self) -> int:
        """Of the member that reads least."""
        return min(member.max_length for member in self.members)

    @property
    def new_head(self) -> bool:  # type: ignore[override]
        """Whether any member's head is new."""
        return any(member.new_head for member in self.members)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where the members are."""
        return self.members[0].device

    def encode(self, prompts: Sequence[tuple[Text, Sequence[Text]]]) -> list[dict[str, Any]]:
        """A dict for each prompt: `members`, the rows of each, and the most that any one cut."""
        return self._together([member.encode(prompts) for member in self.members])

    def encode_rendered(
        self, texts: Sequence[str], prompts: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """`encode` for texts that another program laid out: every member reads the same text."""
        return self._together([member.encode_rendered(texts, prompts) for member in self.members])

    def _together(self, by_member: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
        encoded = []
        for rows in zip(*by_member, strict=True):
            row: dict[str, Any] = {"members": rows}
            for name in ("prompt_cut", "completion_cut"):
                cuts = [each.get(name, ()) for each in rows]
                row[name] = [max(of_one) for of_one in zip(*cuts, strict=True)]
            encoded.append(row)
        count_truncation(encoded, self.truncation)
        return encoded

    def tokens(self, row: dict[str, Any]) -> int:
        """The sum of what the row costs each member."""
        return sum(
            member.tokens(own) for member, own in zip(self.members, row["members"], strict=True)
        )

    def rewards(self, encoded: Sequence[dict[str, Any]]) -> list[list[float]]:
        """The combined rewards of encoded prompts, K numbers for each."""
        by_member = [
            member.rewards([row["members"][number] for row in encoded])
            for number, member in enumerate(self.members)
        ]
        flat = [[reward for of_prompt in rewards for reward in of_prompt] for rewards in by_member]
        combined = iter(combined_rewards(np.array(flat), self.combine, self.spread).tolist())
        return [list(islice(combined, len(of_prompt))) for of_prompt in by_member[0]]


def combined_rewards(rewards: np.ndarray, combine: Combine, spread: float = 1.0) -> np.ndarray:
    """`rewards[M, N]` of M members for N completions as one reward each, `[N]`; see `Ensemble`.

    >>> combined_rewards(np.array([[1.0, 2.0], [3.0, 2.0]]), "mean-spread", spread=0.5)
    array([1.5, 2. ])
    """
    if combine == "min":
        return rewards.min(0)
    if combine == "mean":
        return rewards.mean(0)
    if combine == "mean-spread":
        return rewards.mean(0) - spread * rewards.std(0)
    assert_never(combine)  # mypy names what has no formula
