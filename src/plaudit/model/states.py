"""Hidden states of a batch's tokens, read the same way on either layout of tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor

from plaudit.model.attention import Segments, to_device


@dataclass(frozen=True)
class States:
    """What the base model gives for the tokens of N completions.

    Args:
        hidden: `[N, L, H]` of rows padded on the right, or `[T, H]` of a flat batch.
        places: of a padded batch the attention mask `[N, L]`; of a flat one its `Segments`.
    """

    hidden: Tensor
    places: Tensor | Segments

    def first(self) -> Tensor:
        """`[N, H]`, the first token of each completion's row."""
        if isinstance(self.places, Tensor):
            return self.hidden[:, 0]
        return self.hidden.index_select(0, to_device(self.places.first, self.hidden.device))

    def last(self) -> Tensor:
        """`[N, H]`, the last token of each completion's row, found by the attention mask."""
        if isinstance(self.places, Tensor):
            last = self.places.shape[1] - 1 - self.places.flip(1).argmax(1)
            rows = torch.arange(
                self.hidden.shape[0], device=self.hidden.device
            )  # `len` would fix it
            return self.hidden[rows, last]
        return self.hidden.index_select(0, to_device(self.places.last, self.hidden.device))

    def mean(self, values: Tensor | None = None) -> Tensor:
        """`[N, …]` in float32, the mean over each completion's tokens; `values` as in `rows`."""
        each, present = self.rows(values)
        weight = present.unsqueeze(-1).float()
        return (each.float() * weight).sum(1) / weight.sum(1)

    def rows(self, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A row of tokens for each completion, and which of them are there: `[N, L, …]`, `[N, L]`.

        `values` stand for the hidden states where something was computed from them, token by token:
        `[N, L, …]` or `[T, …]`. What stands where no token is has no meaning.
        """
        values = self.hidden if values is None else values
        if isinstance(self.places, Tensor):
            return values, self.places.bool()
        places = to_device(self.places.rows(), values.device)
        return values[places.clamp(min=0)], places >= 0
