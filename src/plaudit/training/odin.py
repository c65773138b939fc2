"""ODIN: a second head on the same features takes the length, and is thrown away.

The objective sees r(x, y) + Σ_f r_f(x, y), the reward and what a head for each nuisance f gives. To
the loss are added, of the completions of a forward pass and with ρ Pearson's correlation,

    Σ_f |ρ(r, level_f)| − ρ(r_f, level_f) + |cos(w, w_f)|,

so that the reward has nothing of the nuisance, its head all of it, and their weights w are at right
angles. The strength multiplies all of that, and the r_f: 1 is what is published.

A correlation is of the completions at hand, so that it matters here how a step is divided: let
passes be large (`max_tokens_per_batch`). With few completions |ρ| is never near 0.

Source: Chen et al. 2024, "ODIN: Disentangled Reward Mitigates Hacking in RLHF", arXiv:2402.07319,
where the nuisance is the number of tokens. The cosine stands for its normalised weights.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import cosine_similarity

from plaudit.data.rankings import PADDING
from plaudit.training.control import Control, listed


class Odin(Control):
    """A `Control` with a row of the head for each nuisance."""

    method = "odin"

    def __init__(self, names: Sequence[str], strength: float = 1.0, anneal: float = 0.0) -> None:
        super().__init__(names, strength, anneal)
        self.rows = len(names)

    def offset(
        self, levels: Tensor, ranks: Tensor, done: float = 0.0, others: Tensor | None = None
    ) -> Tensor:
        """See `Control`."""
        assert others is not None
        return self.now(done) * others.sum(-1)

    def penalty(
        self,
        rewards: Tensor,
        others: Tensor,
        levels: Tensor,
        ranks: Tensor,
        head: Tensor,
        done: float = 0.0,
    ) -> Tensor:
        """See `Control`."""
        total = rewards.new_zeros(())
        for of in range(self.rows):
            level, own = levels[..., of], others[..., of]
            total = total + correlation(rewards, level, ranks).abs()
            total = total - correlation(own, level, ranks)
            total = total + cosine_similarity(head[0], head[1 + of], dim=0).abs()
        return self.now(done) * total

    def describe(self) -> str:
        """See `Control`."""
        if not self.strength:
            return f"control: nothing of {listed(self.names)} is taken out (odin, strength 0)"
        rows = "a head of its own takes" if self.rows == 1 else "heads of their own take"
        return (
            f"control: {rows} {listed(self.names)} in training, decorrelated from the reward "
            f"(odin, strength {self.strength:g})"
        )


def correlation(values: Tensor, levels: Tensor, ranks: Tensor) -> Tensor:
    """Pearson's, of two numbers `[R, K]` of all completions there are; 0 where either is constant.

    >>> import torch
    >>> values, levels = torch.tensor([[[1.0, 2.0], [3.0, 9.0]], [[1.0, 2.0], [3.0, 0.0]]])
    >>> correlation(values, levels, torch.tensor([[0, 1], [0, PADDING]]))
    tensor(1.)
    """
    present = (ranks != PADDING).to(values.dtype)
    a, b = (
        (x - (x * present).sum() / present.sum()) * present for x in (values, levels.to(values))
    )
    return (a * b).sum() / ((a * a).sum() * (b * b).sum()).clamp(min=1e-12).sqrt()
