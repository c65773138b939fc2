"""What a fault did, as a row of the table in `docs/reliability.md`."""

from typing import NamedTuple

NOTHING = "nothing"


class Row(NamedTuple):
    """`what` was done, `how_often`, and what was `lost` by it: `NOTHING`, or what in words."""

    what: str
    how_often: int
    lost: str = NOTHING
