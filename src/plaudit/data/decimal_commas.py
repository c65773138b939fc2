"""Numbers with a decimal comma, as spreadsheets of many countries write them.

Where a comma separates the fields of a file, or of thousands, nobody knows what 1,5 means. Where
another sign stands between the fields, and the column has no number with a point, it is certain.
"""

import re
from collections.abc import Collection
from functools import cache
from typing import Any

from plaudit.console import say
from plaudit.data.rows import Source

COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*")  # 1,234 may be more than a thousand
POINT = re.compile(r"\s*[+-]?(?=[.,]*\d)[\d.,]*\.[\d.,]*(?:[eE][+-]?\d+)?\s*")


def has_comma(value: Any) -> bool:
    """Whether a cell is a number with one comma.

    >>> has_comma("1,5"), has_comma("1.5"), has_comma("1.234,5")
    (True, False, False)
    """
    return isinstance(value, str) and "," in value and COMMA.fullmatch(value) is not None


def columns_with_commas(source: Source, names: Collection[str]) -> frozenset[str]:
    """Which of these columns of a file have decimal commas for certain, which is said once.

    All rows are looked at.
    """
    if source.separator() in ("", ","):
        return frozenset()
    certain: set[str] = set()
    pointed: set[str] = set()
    for row in source.rows():
        for name in names:
            value = (row.values or {}).get(name)
            if not isinstance(value, str):
                continue
            if has_comma(value) and not THOUSANDS.fullmatch(value):
                certain.add(name)
            elif POINT.fullmatch(value):
                pointed.add(name)
    found = frozenset(certain - pointed)
    if found:
        _say(source.name, " and ".join(f"'{name}'" for name in names if name in found))
    return found


@cache
def _say(name: str, columns: str) -> None:
    """Once for a file, however often it is read."""
    say(f"{name}: the numbers in {columns} have a decimal comma, and 1,5 is read as 1.5")
