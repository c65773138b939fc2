"""Whether a faster network may stand for the model: the agreement of order, on the user's own rows.

Of every two completions of one prompt float32 puts one above the other. Two whose rewards in
float32 differ by no more than rounding moves them have no order and are left out. Counted is how
many of the rest the faster network puts in the same order; a tie there counts against it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

from plaudit.console import counted
from plaudit.data.rankings import Text
from plaudit.errors import PlauditError
from plaudit.model.precision import processor

LEAST = 0.995
# Fewer pairs cannot tell 99.5 % from less: one of 200 is 0.5 %.
LEAST_PAIRS = 200
ROUNDING = 1e-5  # of rewards in float32, relative to those above 1


@dataclass(frozen=True)
class GateRows:
    """The rows that a faster network is tried on, those of one prompt together, and their names."""

    prompts: Sequence[tuple[Text, Sequence[Text]]]
    data: Sequence[str]

    @property
    def completions(self) -> int:
        """How many there are."""
        return sum(len(some) for _, some in self.prompts)


@dataclass(frozen=True)
class Agreement:
    """What was found: the share of `pairs` in the same order, and how far rewards moved."""

    data: list[str]
    completions: int
    pairs: int
    agreement: float
    largest_difference: float
    processor: str
    versions: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.agreement:.2%} of {counted(self.pairs, 'pair')} of completions of one prompt "
            "are in the order of float32"
        )


def agreement(
    here: Sequence[Sequence[float]], there: Sequence[Sequence[float]]
) -> tuple[int, float]:
    """The number of pairs that have an order in `here`, and the share of them in it in `there`.

    Both are rewards, a sequence for each prompt. The share of no pairs is NaN.

    >>> agreement([[1.0, 2.0, 3.0], [5.0, 5.0]], [[1.0, 4.0, 3.0], [0.0, 1.0]])
    (3, 0.6666666666666666)
    """
    pairs = same = 0
    for ours, theirs in zip(here, there, strict=True):
        for (a, b), (c, d) in zip(combinations(ours, 2), combinations(theirs, 2), strict=True):
            if abs(a - b) > ROUNDING * max(abs(a), abs(b), 1.0):
                pairs += 1
                same += (a < b) == (c < d) and c != d
    return pairs, same / pairs if pairs else float("nan")


def pass_gate(
    here: Sequence[Sequence[float]],
    there: Sequence[Sequence[float]],
    rows: GateRows,
    path: Path,
) -> Agreement:
    """What the comparison of rewards in float32, `here`, and in int8, `there`, found.

    Raises:
        PlauditError: where fewer than 99.5 % are in the same order, or there are too few pairs to
            say so; it begins with `path`.
    """
    pairs, share = agreement(here, there)
    if pairs < LEAST_PAIRS:
        raise PlauditError(
            f"{path}: {counted(pairs, 'pair')} of completions cannot tell whether int8 keeps "
            f"{LEAST:.1%} of them in order; give --data with {LEAST_PAIRS} pairs or more, or more "
            "--gate-rows"
        )
    both = [abs(a - b) for x, y in zip(here, there, strict=True) for a, b in zip(x, y, strict=True)]
    found = Agreement(
        data=list(rows.data),
        completions=len(both),
        pairs=pairs,
        agreement=share,
        largest_difference=max(both),
        processor=processor(),
        versions={name: version(name) for name in ("plaudit", "openvino", "torch")},
    )
    if not share >= LEAST:
        raise PlauditError(
            f"{path}: refused: in int8 {found}, and {LEAST:.1%} are asked for; nothing was "
            "written; export it without --dtype int8, which keeps the order"
        )
    return found
