"""Normalised rewards: mean 0 and standard deviation 1 over the completions of reference data.

Rewards of different models have other zeros and other units. Normalised on the same data they can
be compared, and a length penalty means the same for each. What is stored is two numbers in the
model folder's config.json; plaudit applies them where it loads the model, and the weights stay as
they are, so that whatever reads them without plaudit gets the rewards they were trained to give.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from plaudit.errors import PlauditError


@dataclass(frozen=True)
class Normalisation:
    """How rewards are normalised: (reward − `mean`) / `std`.

    `completions` is how many the two were measured on, `data` the names of the files they are from:
    of 0 completions that of the model's own, which somebody else's trainer wrote.
    """

    mean: float
    std: float
    completions: int
    data: list[str]

    @classmethod
    def read(cls, stored: Any, name: str) -> "Normalisation | None":
        """What config.json of the model `name` holds; raises `PlauditError` where it is damaged."""
        if stored is None:
            return None
        try:
            normalisation = cls(**stored)
            whole = math.isfinite(normalisation.mean) and 0 < normalisation.std < math.inf
        except TypeError:
            whole = False
        if not whole:
            raise PlauditError(
                f"{name}: the normalisation in its config.json is damaged; "
                "`plaudit normalise MODEL DATA --overwrite` fits it anew"
            )
        return normalisation

    def apply(self, reward: float) -> float:
        """The normalised reward."""
        return (reward - self.mean) / self.std

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return asdict(self)

    def __str__(self) -> str:
        how = f"(reward {-self.mean:+.6g}) / {self.std:.6g}"
        if not self.completions:
            return f"{how}, as in {', '.join(self.data)}"
        return f"{how}, measured on {self.completions:,} completions of {', '.join(self.data)}"
