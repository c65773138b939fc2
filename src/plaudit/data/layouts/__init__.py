"""The layouts of preference data: what the columns of a row mean, one module for each layout.

A module defines `LAYOUT`: the columns that it is recognised by and what a row gives. Reading the
texts, fitting prompt and completions to each other, grouping, and rejecting what is no good are the
same for all layouts (see `parse`): a layout says nothing but where things stand.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from plaudit.data.cells import read_list, read_number, read_optional_number
from plaudit.data.rankings import BadRowError, Ranking
from plaudit.plugins import Registry

# Names that a column is recognised by, best first; people's own words for the same thing.
PROMPT = ("prompt", "question", "instruction", "query", "input")
COMPLETION = ("completion", "answer", "response", "output", "text")
COMPLETIONS = ("completions", "answers", "responses", "outputs")
WINNER = ("winner", "preferred", "preference", "better", "choice", "label")
# What a row of any layout may say beside its texts and their order.
COMMON: Mapping[str, Sequence[str]] = {
    "category": ("category", "categories"),
    "model": ("model", "models"),
    "margin": ("margin",),
    "weight": ("weight",),
    "annotator": ("annotator", "annotator_id", "labeller", "labeler"),
}


class Cells:
    """The cells of a row, by plaudit's names of its `columns`."""

    __slots__ = ("_values", "columns")

    def __init__(self, values: Mapping[str, Any], columns: Mapping[str, str]) -> None:
        self._values = values
        self.columns = columns

    def __call__(self, name: str) -> Any:
        """What stands in a column; None where there is nothing, or no such column."""
        return self._values.get(self.columns[name]) if name in self.columns else None


class Given(NamedTuple):
    """What a row says, as it stands there: nothing is read or checked yet.

    `completions`, `ranks` and `ratings` are tuples of what stands in one cell each, or the one cell
    that holds them all, a list or its JSON. The lowest of the `ranks` is best, the highest rating.
    `ranks` may be the error that says why there are none, which rows that are only scored ignore.
    `attributes` are further numbers of each completion by name, of whatever direction; `strength`
    is how strongly the better one was preferred, on the data's own scale.
    `names` are what reasons call the completions, `order_name` what they call a rank or a rating.
    `implicit` says that there is no prompt, and both completions begin with it; `empty_prompt` that
    the prompt may be empty, as an implicit one sometimes is.
    """

    completions: Any
    prompt: Any = None
    names: Sequence[str] = ()
    implicit: bool = False
    empty_prompt: bool = False
    ranks: Any = None
    ratings: Any = None
    attributes: Mapping[str, Sequence[Any]] | None = None
    strength: Any = None
    order_name: str = "rank"
    category: Any = None
    model: Any = None
    margin: Any = None
    weight: Any = None
    annotator: Any = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One layout of rows: how it is recognised, and what a row gives.

    `texts` and `order` are the columns that it needs, by plaudit's name of each with the names it
    is recognised by; rows can be scored without those of `order`. `optional` columns are used where
    they are there. `lists` are columns that hold lists, with names that they are also recognised by
    where they do; `single` are columns that do not. `row` says what a row is: one completion of
    a prompt, a pair, or a whole ranking. `rewards` are the columns in which a scored row has its
    rewards; one name for all takes a list. `beside` are columns that may say the order once more, a
    higher number being better: where one contradicts the order, nobody knows which is right, unless
    the user names a column of either. Of the layouts that fit, that of the lowest `precedence`
    is taken; a data set's own layout, recognised by names that no other has, goes first.

    `write` is the way back, of a layout that rankings are written in: the rows of one ranking, or
    `BadRowError` for one that the layout cannot hold.

    From rows that are not `learnt` from nothing is: they say nothing of what is better, and can be
    scored alone. Beside any other layout such a one is left aside.

    Where names alone are not certain `fits` looks at an example of the row. `doubt` sees what a
    file's first rows hold in each column, and says why the file as a whole is ambiguous. `better`
    says in words which completion is better, of a layout that data are published in: such a layout
    is no guess at what the user's own columns mean, so messages about these do not speak of it, and
    it leaves data alone whose columns the user maps to names that it does not know.
    """

    texts: Mapping[str, Sequence[str]]
    order: Mapping[str, Sequence[str]]
    give: Callable[[Cells], Given]
    row: Literal["completion", "pair", "ranking"]
    optional: Mapping[str, Sequence[str]] = field(default_factory=lambda: COMMON)
    beside: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    single: tuple[str, ...] = ()
    rewards: tuple[str, ...] = ("rewards",)
    precedence: int = 0
    learnt: bool = True
    fits: Callable[[Cells], bool] = lambda cell: True
    doubt: Callable[[Mapping[str, str], Mapping[str, frozenset[str]]], str] = lambda *_: ""
    better: str = ""
    write: Callable[[Ranking], list[dict[str, Any]]] | None = None

    @property
    def names(self) -> dict[str, Sequence[str]]:
        """All columns that it knows, with the names that each is recognised by."""
        return {**self.texts, **self.order, **self.optional}

    def is_told(self, mapped: Mapping[str, str]) -> bool:
        """Whether the user has named what says the order: then nothing beside it counts."""
        says = self.order or {"chosen": (), "rejected": ()}
        return not mapped.keys().isdisjoint(says)


def numbers_beside(cell: Any) -> Any:
    """What stands in a column `beside` the order, where it is a number, or a list of some.

    >>> numbers_beside("0.5"), numbers_beside("good"), numbers_beside("[2, 1]")
    (0.5, None, [2.0, 1.0])
    """
    try:
        if isinstance(cell, list) or (isinstance(cell, str) and cell.startswith("[")):
            return [read_number(item, "score") for item in read_list(cell, "scores")]
        return read_optional_number(cell, "score")
    except BadRowError:
        return None  # it says something else than the order


def common(cell: Cells) -> dict[str, Any]:
    """What stands in the columns that any layout may have."""
    return {name: cell(name) for name in COMMON if name in cell.columns}


LAYOUTS = Registry("layout", __name__, "LAYOUT", Layout)
