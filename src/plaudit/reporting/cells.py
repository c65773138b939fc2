"""Cells of CSV files that people open in a spreadsheet, which computes what begins as a formula."""

# How a cell begins that one of the usual spreadsheets computes, in wide letters too.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def plain_cell(cell: object) -> object:
    """A cell that no spreadsheet computes: an apostrophe stands before a name as `=1+1`.

    >>> plain_cell("=1+1"), plain_cell(-1)
    ("'=1+1", -1)
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
