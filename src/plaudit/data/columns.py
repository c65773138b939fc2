"""Which columns a source has, and which layout they make.

Columns are recognised by their names, without regard to case, or by what the user says they are
(`--columns ours=theirs`). Where rows name their own columns (JSON), those of the first rows count.
"""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from plaudit.console import say
from plaudit.data.cells import as_messages, is_list_of_texts
from plaudit.data.layouts import LAYOUTS, PROMPT, Cells, Layout
from plaudit.data.rankings import BadRowError
from plaudit.data.rows import Row, Source, place
from plaudit.errors import PlauditError

PAIR = ("prompt", "chosen", "rejected")
# What people call the two sides of a pair.
BETTER = re.compile("chosen|better|best|good|win|accept|prefer", re.IGNORECASE)
WORSE = re.compile("reject|worse|worst|bad|los(?:e|ing)|non.?prefer|dispref", re.IGNORECASE)
EMPTY: tuple[Any, ...] = (None, "", [], {})
ROWS_LOOKED_AT = 100  # to learn the columns of a file whose rows each name their own
FEW, SHORT = 10, 40  # values of a column, and their characters, that may be a verdict


class Columns(NamedTuple):
    """The names of a source's columns, and of each something that stands there.

    `seen` are the values of the first rows, of columns that hold a few short ones.
    """

    names: list[str]
    example: Mapping[str, Any]
    seen: Mapping[str, frozenset[str]] = {}


class Fit(NamedTuple):
    """A layout with its columns: plaudit's name of each → the one in the data.

    `told` is whether the user named what says the order.
    """

    name: str
    layout: Layout
    columns: dict[str, str]
    told: bool = False

    @property
    def format(self) -> str:
        """The layout's name in words."""
        return self.name.replace("-", " ")

    @property
    def better(self) -> str:
        """Which completion is better, in words."""
        if self.layout.better or "chosen" in self.columns:
            return self.layout.better or "chosen"
        columns = " and ".join(self.columns[ours] for ours in self.layout.order)
        if not columns:
            return f"as the layout {self.name} says"
        lowest = any(ours in ("rank", "ranks") for ours in self.layout.order)
        beside = [self.columns[ours] for ours in self.layout.beside if ours in self.columns]
        agrees = f", where the {beside[0]} does not say otherwise" if beside else ""
        return f"the {'lowest' if lowest else 'highest'} {columns}{agrees}"


def columns_of(source: Source) -> Columns:
    """The names of the columns and an example of each, from the first rows of a source.

    Raises `PlauditError` when the source holds nothing.
    """
    names: dict[str, None] = {}
    stated = source.columns()
    example: dict[str, Any] = {}
    seen: dict[str, set[str]] = {}
    first_bad: Row | None = None
    looked = 0
    for row in source.rows():
        looked += 1
        if row.values is None:
            first_bad = first_bad or row
        else:
            names.update(dict.fromkeys(row.values))
            for name, value in row.values.items():
                if example.get(name) in EMPTY:
                    example[name] = value
                if isinstance(value, str | int | float) and value != "":
                    seen.setdefault(name, set()).add(str(value).strip()[: SHORT + 1])
        if example and looked >= ROWS_LOOKED_AT:
            break
    if not looked:
        if stated:
            raise PlauditError(f"{source.name}: has a header and no rows; give data with rows")
        raise PlauditError(f"{source.name}: the file is empty; give data with rows")
    if first_bad and not example and not stated:
        where = place(first_bad.file, first_bad.line)
        raise PlauditError(
            f"{source.name}: nothing usable in it. {looked:,} rows rejected; "
            f"the first at {where}: {first_bad.problem}"
        )
    few = {
        name: frozenset(values)
        for name, values in seen.items()
        if len(values) <= FEW and all(len(value) <= SHORT for value in values)
    }
    return Columns(stated or list(names), example, few)


# What layouts call columns of text; no column of the data is two of them.
TEXTS = ("prompt", "completion", "chosen", "rejected", "response_a", "response_b")


def check_mapped(source: Source, columns: Columns, mapped: Mapping[str, str]) -> dict[str, str]:
    """What the user says of the columns, with plaudit's names for the user's own.

    `answer` stands for `completion`, `rating` for `score`. Raises `PlauditError` for a name that no
    layout knows, and for a column that is not there.
    """
    if not isinstance(mapped, Mapping):
        raise PlauditError(
            f"columns: {mapped!r} is no mapping; give one, as in columns={{'prompt': 'question'}}"
        )
    layouts = [layout for _, layout in LAYOUTS.each()]
    known: dict[str, str] = {}
    general_ones = [layout for layout in layouts if layout.learnt and not layout.better]
    for names in (layout.names for layout in general_ones):
        known |= {ours: ours for ours in names}
        for ours, words in names.items():
            for word in words:
                known.setdefault(word, ours)
    general = ", ".join(dict.fromkeys(known.values()))
    known = {ours: ours for layout in layouts for ours in layout.names} | known
    there = {_plain(name) for name in columns.names}
    for ours, name in mapped.items():
        if ours not in known:
            raise PlauditError(f"columns: '{ours}' is no column known here; known: {general}")
        if _plain(name) not in there:
            raise PlauditError(
                f"{source.name}: no column '{name}' to take as {ours}; "
                f"found: {listed(columns.names)}"
            )
    found = {known[ours]: name for ours, name in mapped.items()}
    texts: dict[str, str] = {}
    for ours in filter(found.get, TEXTS):
        if (other := texts.setdefault(_plain(found[ours]), ours)) != ours:
            advice = (
                "; name two columns"
                if {other, ours} != {"prompt", "completion"}
                else ". A column of whole conversations, whose last reply is to be scored, needs "
                f"no --columns but conversation={found[ours]}"
            )
            both = f"'{found[ours]}' cannot be both the {other} and the {ours}"
            raise PlauditError(f"columns: {both}{advice}")
    return found


def mapped_in_each(
    sources: Sequence[Source], mapped: Mapping[str, str] | None
) -> list[Mapping[str, str]]:
    """What the user says of the columns, for each of several sources: nothing of one that has none
    of them.

    Raises `PlauditError` for a column that no source has.
    """
    check_somewhere(sources, mapped)
    if len(sources) < 2:
        return [mapped or {}] * len(sources)
    return [mapped_beside([source], mapped) for source in sources]


def mapped_beside(sources: Sequence[Source], mapped: Mapping[str, str] | None) -> Mapping[str, str]:
    """What the user says of the columns, for data beside others: nothing where they have none of
    them, as labels made with plaudit have none of the columns of the data that were labelled.
    """
    if not mapped or not isinstance(mapped, Mapping):
        return mapped or {}
    wanted = {_plain(name) for name in mapped.values()}
    if not wanted.isdisjoint(_plain(n) for source in sources for n in columns_of(source).names):
        return mapped
    name = sources[0].name + (f" and {len(sources) - 1} more" if len(sources) > 1 else "")
    say(f"{name}: has none of the columns that --columns names, so it is read without them")
    return {}


def check_somewhere(sources: Sequence[Source], mapped: Mapping[str, str] | None) -> None:
    """Raise `PlauditError` for a column that the user names and none of several sources has."""
    if len(sources) < 2 or not mapped or not isinstance(mapped, Mapping):
        return
    each = [(source.name, columns_of(source).names) for source in sources]
    there = {_plain(name) for _, names in each for name in names}
    for ours, name in mapped.items():
        if _plain(name) not in there:
            found = "; ".join(f"{file} has {listed(names)}" for file, names in each[:3])
            raise PlauditError(
                f"no source has a column '{name}' to take as {ours}; {found}"
                + (" …" if len(each) > 3 else "")
            )


def layouts_that_fit(
    columns: Columns, mapped: Mapping[str, str], *, order: bool, before: Sequence[Fit] = ()
) -> list[Fit]:
    """The layouts whose texts the columns hold, and with `order` what is better: the best first.

    `before` are the layouts of earlier rows, whose columns count where these have none.
    """
    found = []
    for name, layout in LAYOUTS.each():
        own = layout.better or not layout.learnt
        if (own and not mapped.keys() <= layout.names.keys()) or (order and not layout.learnt):
            continue
        known = next((fit.columns for fit in before if fit.name == name), {})
        theirs = known | find(layout, columns, mapped)
        if all(ours in theirs for ours in (*layout.texts, *(layout.order if order else ()))) and (
            known or layout.fits(Cells(columns.example, theirs))
        ):
            found.append(Fit(name, layout, theirs, layout.is_told(mapped)))
    found = [fit for fit in found if fit.layout.learnt] or found
    # What the user names a column to be, the layout knows; a data set's own goes first.
    return sorted(
        found,
        key=lambda fit: (
            not mapped.keys() <= fit.layout.names.keys(),
            fit.layout.precedence,
            -len(fit.columns),
        ),
    )


def find(layout: Layout, columns: Columns, mapped: Mapping[str, str]) -> dict[str, str]:
    """The columns that a layout recognises: plaudit's name of each → the one in the data."""
    theirs: dict[str, str] = {}
    for name in columns.names:
        theirs.setdefault(_plain(name), name)
    found: dict[str, str] = {}
    beside = {} if layout.is_told(mapped) else layout.beside
    for ours, names in {**layout.names, **beside}.items():
        if ours in mapped and _plain(mapped[ours]) in theirs:
            found[ours] = theirs[_plain(mapped[ours])]
            continue
        there = [theirs[name] for name in names if name in theirs]
        if ours in layout.lists:
            more = [theirs[name] for name in layout.lists[ours] if name in theirs]
            there += [name for name in more if is_list_of_texts(columns.example.get(name))]
        elif ours in layout.single:
            there = [name for name in there if not is_list_of_texts(columns.example.get(name))]
        if there:
            found[ours] = there[0]
    return found


def missing_columns(
    source: Source, columns: Columns, mapped: Mapping[str, str], *, order: bool
) -> PlauditError:
    """What to raise where no layout fits: which columns the nearest one lacks."""

    layout = _nearest(columns, mapped, order=order)
    found = find(layout, columns, mapped)
    needed = _needed(layout, order)
    missing = [ours for ours in needed if ours not in found]
    if set(missing) == {"rank"} and (numbers := _numbers(columns, found)):
        return PlauditError(
            f"{source.name}: nothing says which completion is better; found: "
            f"{listed(columns.names)}. Where a higher number is better, say so with --columns "
            f"rating={numbers[0]}. A rank is the other way round: its lowest number is best"
        )
    wanted = " and ".join(f"the {ours} ({', '.join(needed[ours])})" for ours in missing)
    lacks = f"{source.name}: no column for {wanted}; found: {listed(columns.names)}"
    if missing == ["prompt"] and (asked := _talks(columns, found)):
        return PlauditError(f"{lacks}. Only the prompt is missing: say which it is with {asked}")
    pairs = _as_pairs(columns, found)
    if not pairs and (logs := _conversations(columns)):
        return PlauditError(_of_conversations(source, columns, logs, mapped, order=order))
    ways = "Say which it is with " + " ".join(f"--columns {ours}=NAME" for ours in missing)
    if "chosen" not in needed:
        ways += f"; of pairs, with {pairs or ' '.join(f'--columns {o}=NAME' for o in PAIR)}"
        if pairs:
            ways += ", as the names of your columns say"
    return PlauditError(f"{lacks}. {ways}")


def _needed(layout: Layout, order: bool) -> dict[str, Sequence[str]]:
    """The columns that a layout cannot do without, with the names that each is recognised by."""
    return {**layout.texts, **(layout.order if order else {})}


def _nearest(columns: Columns, mapped: Mapping[str, str], *, order: bool) -> Layout:
    """The layout whose columns are mostly there: a data set's own where it lacks but one of many,
    and a general one lacks more."""

    def found(layout: Layout) -> int:
        return len(find(layout, columns, mapped))

    def lacks(layout: Layout) -> int:
        return len(_needed(layout, order).keys() - find(layout, columns, mapped).keys())

    layouts = [layout for _, layout in LAYOUTS.each() if layout.learnt]
    general = max(
        (layout for layout in layouts if not layout.better),
        # Of layouts as near as each other those with ranks, which most people have.
        key=lambda one: (
            found(one),
            -lacks(one) if found(one) else 0,
            "rank" in one.order or "ranks" in one.order,
        ),
    )
    own = [
        layout
        for layout in layouts
        if layout.better
        and mapped.keys() <= layout.names.keys()
        and lacks(layout) == 1
        and len(_needed(layout, order)) > 2
    ]
    if own and lacks(general) > 1:
        # Of those as near, the one whose names are people's own words.
        return max(own, key=lambda one: (len(_needed(one, order)), one.precedence))
    return general


def _talks(columns: Columns, found: Mapping[str, str]) -> str:
    """The flag that makes the prompt of a column not used yet that holds messages, or else text;
    empty where there is none."""
    rest = [n for n in columns.names if n not in found.values()]
    rest = [n for n in rest if _is_said(columns.example.get(n))]
    likely = [n for n in rest if not isinstance(columns.example[n], str)] or rest
    if len(likely) == 1:
        return "--columns " + shlex.quote(f"prompt={likely[0]}")
    return f"--columns prompt=NAME; it may be {' or '.join(likely[:3])}" if likely else ""


def _conversations(columns: Columns) -> str:
    """The column of whole conversations, of which the last reply can be scored; empty where there
    is none."""
    fits = layouts_that_fit(columns, {}, order=False)
    return next((fit.columns["conversation"] for fit in fits if not fit.layout.learnt), "")


def _of_conversations(
    source: Source, columns: Columns, name: str, mapped: Mapping[str, str], *, order: bool
) -> str:
    """What to do with rows that hold a conversation, and nothing that is better than another."""
    if not order:
        said = " ".join(f"--columns {ours}={theirs}" for ours, theirs in mapped.items())
        return (
            f"{source.name}: '{name}' holds whole conversations, of which the last reply is "
            f"scored; leave out {said}"
        )
    label = next((n for n in columns.names if _plain(n) == "label"), "")
    split = "put the last reply into a column completion and the turns before it into one prompt"
    learn = f"{split}, beside {label}" if label else f"{split}, and a rank or a score beside them"
    return (
        f"{source.name}: '{name}' holds whole conversations, and no other reply to compare the "
        f"last one with; found: {listed(columns.names)}. plaudit score takes them as they are. To "
        f"learn from them, {learn}; each prompt needs a better and a worse completion"
    )


def _as_pairs(columns: Columns, found: Mapping[str, str]) -> str:
    """The flags that make pairs of the columns, by the words in their names; empty where these do
    not say so."""
    texts = [n for n in columns.names if _is_said(columns.example.get(n))]
    better = [n for n in texts if BETTER.search(n) and not WORSE.search(n)]
    worse = [n for n in texts if WORSE.search(n)]
    if len(better) != 1 or len(worse) != 1:
        return ""
    rest = [n for n in texts if n not in (*better, *worse)]
    talks = [n for n in rest if not isinstance(columns.example[n], str)] or rest
    prompt = found.get("prompt") or (talks[0] if len(talks) == 1 else "NAME" if rest else "")
    named = zip(PAIR, (prompt, better[0], worse[0]), strict=True)
    # Without any other text both sides begin with their prompt.
    return " ".join("--columns " + shlex.quote(f"{ours}={name}") for ours, name in named if name)


def _is_said(value: Any) -> bool:
    """Whether a cell holds a text or messages."""
    try:
        return bool(value) and (isinstance(value, str) or as_messages(value) is not None)
    except BadRowError:
        return False


def _numbers(columns: Columns, found: Mapping[str, str]) -> list[str]:
    """The columns that hold a number and mean nothing yet."""

    def is_number(value: Any) -> bool:
        try:
            number = value.replace(",", ".") if isinstance(value, str) else value
            return not isinstance(value, bool) and math.isfinite(float(number))
        except (TypeError, ValueError, OverflowError):
            return False

    used = set(found.values())
    return [n for n in columns.names if n not in used and is_number(columns.example.get(n))]


def prompt_column(source: Source, columns: Columns, mapped: Mapping[str, str]) -> str:
    """The column that holds the prompts.

    Raises `PlauditError` when there is none, or two.
    """
    theirs = {_plain(name): name for name in reversed(columns.names)}
    for name in [mapped["prompt"]] if "prompt" in mapped else PROMPT:
        if _plain(name) in theirs:
            if [_plain(other) for other in columns.names].count(_plain(name)) > 1:
                raise PlauditError(f"{source.name}: two columns are called '{name}' (prompt)")
            return theirs[_plain(name)]
    raise PlauditError(
        f"{source.name}: no column for the prompt; found: {listed(columns.names)}. "
        "Say which it is with --columns prompt=NAME"
    )


def twin(names: Sequence[str], fit: Fit) -> str:
    """Which column of a layout stands there twice, but for case and blanks; empty where none."""
    plain = [_plain(name) for name in names]
    for ours, name in fit.columns.items():
        if plain.count(_plain(name)) > 1:
            return f"two columns are called '{name}' ({ours})"
    return ""


def listed(names: Sequence[str]) -> str:
    """Names of columns on one line of bearable length, even when they are no names at all."""
    short = [" ".join(name.split())[:40] for name in names[:20]]
    return (", ".join(short) or "none") + (" …" if len(names) > 20 else "")


def _plain(name: str) -> str:
    return name.strip().lower().removeprefix("\ufeff")
