"""Rewards that somebody else computed, scored by a benchmark's own definition, without a model.

A row of such a file is one of three: a completion with its `reward`, as `predictions.jsonl` has
them; an item with its `rewards`, in the order of its completions; or what the benchmark's authors
published, which its suite reads. Where rows carry labels they are enough; otherwise, and to check
them, they are joined with the benchmark's data. Every item needs its rewards, of every model.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from plaudit.console import say
from plaudit.data.cells import read_label, read_list, read_number, read_text
from plaudit.data.columns import listed
from plaudit.data.rankings import BadRowError, Fault, Ranking, dense_ranks, text_key
from plaudit.data.rows import Row, Source, find_sources, place
from plaudit.errors import PlauditError
from plaudit.evaluation.statistics import Figure, FigureRecord
from plaudit.evaluation.suite import Item, PartRecord, Suite, item_without_texts, read_models
from plaudit.evaluation.suite_run import (
    SuiteAbout,
    SuiteData,
    SuiteRecord,
    about,
    format_counts,
    format_source,
    format_suite,
    load_suite,
    scores_of,
    suite_called,
)
from plaudit.files import make_way, read_json, write_results

DIGITS = 4  # as many as papers print, in per cent with two
COLUMNS = 10  # of a table, beside score and interval
NAMED = 3  # items that a message names


class SuiteOfModels(SuiteAbout):
    """`suite.json` of several models, the best first."""

    models: dict[str, PartRecord]


@dataclass(frozen=True)
class SuiteScores:
    """What given rewards reach on a benchmark. `summary` is what `suite.json` holds.

    Of one model it is as `summarise_suite` makes it, with the name under `model`.
    """

    summary: SuiteRecord | SuiteOfModels

    def __str__(self) -> str:
        if "models" in self.summary:
            return format_models(cast(SuiteOfModels, self.summary))
        return f"{self.summary['model']}\n\n{format_suite(self.summary, DIGITS)}"

    def as_json(self) -> SuiteRecord | SuiteOfModels:
        """What `--json` prints."""
        return self.summary

    def write(self, folder: str | Path) -> None:
        """Write `suite.json`."""
        make_way(Path(folder))
        write_results(Path(folder) / "suite.json", self.summary)


@dataclass
class _Given:
    """The rewards of an item by model; `item` is its label, where the file has it."""

    where: str
    id: str
    category: str
    item: Item | None
    rewards: dict[str, list[float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.id or self.where


def score_rewards(
    rewards: str | Path | Sequence[str | Path],
    suite: Suite | str,
    data: str | Path | Sequence[str | Path] | SuiteData | None = None,
    *,
    models: Sequence[str] | None = None,
    split: str | None = None,
    partial: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> SuiteScores:
    """Score rewards of a benchmark's completions by the benchmark's own definition.

    Args:
        rewards: files, folders or globs. Several models may stand in one file, or one in each.
        suite: a benchmark, or its name.
        data: its data, as `load_suite` takes them; not needed where the rewards have labels.
        models: those to score, by name or by what stands behind its last slash; by default all.
        split: of data on the hub.
        partial: also take data of which some are missing, cannot be used or are not the published
            ones.
        resamples: of the bootstrap over prompts, for the 95 % intervals.
        seed: of the bootstrap.

    Raises:
        PlauditError: when a row cannot be used, an item has no rewards, there are rewards of items
            that the data do not have, labels or texts differ, or there are none.

    >>> from plaudit.files import write_jsonl
    >>> row = {"pair_id": "p", "source": "livebench-math", "label": "A>B"}
    >>> _ = write_jsonl("scores.jsonl", [row | {"scores": {"a/b": [1.5, 0.5], "c": [0, 0]}}])
    >>> table = score_rewards("scores.jsonl", "judgebench").summary["models"]
    >>> {model: entry["score"]["value"] for model, entry in table.items()}
    {'a/b': 1.0, 'c': 0.0}
    """
    suite = suite_called(suite) if isinstance(suite, str) else suite
    sources = find_sources(rewards)
    results = [one for one in sources if Path(one.name).name.startswith("result.")]
    if results and len(results) < len(sources):
        say(f"reading the {len(results)} files called result.*, and not the others in this folder")
        sources = results
    given = _merged(sources, suite)
    file = sources[0].name
    if data is None:
        of_suite = SuiteData(suite, [_labelled(one, suite) for one in given])
    else:
        of_suite = (
            data
            if isinstance(data, SuiteData)
            else load_suite(data, suite.name, split=split, partial=partial)
        )
        given = _joined(given, of_suite.items, file)
    found = {
        model: scores_of(of_suite, _rewards_of(model, given, of_suite, file), resamples, seed)
        for model in _chosen(models, given, file)
    }
    if len(found) == 1:
        [(model, scores)] = found.items()
        one: Any = {"model": model, **about(of_suite), **scores}
        return SuiteScores(cast(SuiteRecord, one))
    best = sorted(found, key=lambda model: -_value(found[model]["score"]))
    return SuiteScores({**about(of_suite), "models": {model: found[model] for model in best}})


# ------------------------------------------------------------------------------------------ reading


def _merged(sources: Sequence[Source], suite: Suite) -> list[_Given]:
    """All items of all files, each once, with the rewards of every model that has some of it."""
    merged: dict[Hashable, _Given] = {}
    for source in sources:
        for position, one in enumerate(_items(source, suite)):
            known = merged.setdefault(_key(one, position), replace(one, rewards={}))
            if known.item and one.item and known.item.ranking.ranks != one.item.ranking.ranks:
                raise PlauditError(
                    f"{one.where}: the label of {one.name} is another one than at {known.where}; "
                    "give files that agree"
                )
            for model, rewards in one.rewards.items():
                model = model or _stem(source.name)
                if model in known.rewards:
                    raise PlauditError(
                        f"{one.where}: {one.name} has rewards of {model} already, at "
                        f"{known.where}; give each once"
                    )
                known.rewards[model] = rewards
    if not merged:
        raise PlauditError(
            f"{sources[0].name}: there are no rewards in it; a row has `rewards`, or `reward` and "
            "`completion`"
        )
    return list(merged.values())


def _key(one: _Given, position: int) -> Hashable:
    """What is the same for an item in several files: its id, its texts, or its place."""
    if one.id:
        return one.category, one.id
    if one.item and one.item.ranking.prompt:
        return one.category, *_texts(one.item)
    return position


def _texts(item: Item) -> list[str]:
    """What is equal where prompt and completions are."""
    return [text_key(text) for text in (item.ranking.prompt, *item.ranking.completions)]


def _stem(name: str) -> str:
    """What a file is called without what says its kind.

    >>> _stem("out/GRM-v0.1.jsonl.gz")
    'GRM-v0.1'
    """
    return Path(name.removesuffix(".gz").removesuffix(".zst")).stem


def _items(source: Source, suite: Suite) -> Iterator[_Given]:
    """The items of one file, in its order."""
    seen: set[Any] = set()
    for number, together in groupby(_rows(source), key=_ranking_number):
        rows = list(together)
        where = place(rows[0].file, rows[0].line)
        try:
            if number is not None:
                if number in seen:
                    raise PlauditError(
                        f"{where}: rows of ranking {number} stand apart from its others; put all "
                        "rows of a ranking together"
                    )
                seen.add(number)
                yield _of_completions(rows, suite)
                continue
            for row in rows:
                where = place(row.file, row.line)
                yield _of_item(row, suite)
        except BadRowError as bad:
            raise PlauditError(f"{where}: {bad}") from bad


def _ranking_number(row: Row) -> float | str | None:
    """The number of the ranking, for a row that holds one completion; None for one of an item."""
    cell = row.values or {}
    if "completion" not in cell or "reward" not in cell:
        return None
    number = cell.get("ranking")
    if not isinstance(number, int | float | str) or number == "":
        raise PlauditError(
            f"{place(row.file, row.line)}: the completion has no number in `ranking`, which says "
            "which completions belong together; give it, as in a run's predictions.jsonl"
        )
    return number


def _rows(source: Source) -> Iterator[Row]:
    """The rows of a file; a single object of columns, as RewardBench uploads it, is taken apart."""
    if source.name.endswith(".json") and not source.in_memory:
        with open(source.name, encoding="utf-8-sig", errors="replace") as file:
            one_object = file.read(4096).lstrip().startswith("{")
        if one_object and next(iter(source.rows()), Row("", 1, None)).problem:
            value = read_json(source.name)
            yield from _columns(Row(source.name, 1, value))
            return
    for row in source.rows():
        if row.problem is not None:
            raise PlauditError(f"{place(row.file, row.line)}: {row.problem}")
        yield from _columns(row)


def _columns(row: Row) -> Iterator[Row]:
    """A row as it is, or those that its columns make."""
    cell = row.values or {}
    length = {len(value) for value in cell.values() if isinstance(value, list)}
    if not (isinstance(cell.get("id"), list) and len(length) == 1):
        yield row
        return
    for k in range(length.pop()):
        values = {n: v[k] if isinstance(v, list) else v for n, v in cell.items()}
        yield Row(row.file, k + 1, values)


def _of_completions(rows: Sequence[Row], suite: Suite) -> _Given:
    """The completions of a ranking, as `predictions.jsonl` has them."""
    cells = [row.values or {} for row in rows]
    where, first = place(rows[0].file, rows[0].line), cells[0]
    rewards = [read_number(cell["reward"], "reward") for cell in cells]
    ranks = [] if first.get("rank") in (None, "") else [_read_rank(cell) for cell in cells]
    id = "" if first.get("id") is None else str(first["id"])
    category = read_label(first.get("category"), "category")
    item = None
    if ranks:
        texts = [read_text(cell["completion"], "completion", blank=True) for cell in cells]
        prompt = first.get("prompt") or ""
        prompt = read_text(prompt, "prompt", blank=True)
        ranking = Ranking(prompt, texts, ranks, category=category, origin=where)
        unit = suite.unit_of(id) if suite.unit_of else None
        item = Item(ranking, id, ranking.key if unit is None else unit)
    return _Given(where, id, category or "", item, {"": rewards})


def _read_rank(cell: Mapping[str, Any]) -> int:
    number = read_number(cell.get("rank"), "rank")
    if number != int(number):
        raise BadRowError(Fault.NOT_A_NUMBER, f"the rank is not a whole number: {number}")
    return int(number)


def _of_item(row: Row, suite: Suite) -> _Given:
    """An item with its `rewards`, or in the form that is published for the benchmark."""
    cell, where = row.values or {}, place(row.file, row.line)
    if "rewards" in cell:
        id = "" if cell.get("id") is None else str(cell["id"])
        category = read_label(cell.get("category"), "category")
        rewards = read_models(cell["rewards"], "rewards")
        if model := read_label(cell.get("model"), "model"):
            rewards = {name or model: given for name, given in rewards.items()}
        item = None
        if cell.get("ranks") is not None:
            unit = suite.unit_of(id) if suite.unit_of else None
            numbers = [read_number(rank, "rank") for rank in read_list(cell["ranks"], "ranks")]
            ranks = dense_ranks(numbers)
            item = item_without_texts(row, category, ranks, id, unit or (category, id))
        return _Given(where, id, category or "", item, rewards)
    if suite.published is None:
        raise BadRowError(
            Fault.MISSING, "no rewards: a row has `rewards`, or `reward` and `completion`"
        )
    try:
        judged = suite.published(row)
    except BadRowError as bad:
        raise BadRowError(
            bad.fault,
            f"{bad}; it was read as the authors of {suite.title} publish rewards: rows of your own "
            "have `id` and `rewards`",
        ) from bad
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise BadRowError(
            Fault.UNREADABLE,
            f"is not as the authors of {suite.title} publish rewards ({error!r}); give rows of "
            "your own `id` and `rewards`",
        ) from error
    return _Given(where, judged.item.id, judged.item.ranking.category or "", *judged)


# ----------------------------------------------------------------------------------------- matching


def _labelled(one: _Given, suite: Suite) -> Item:
    """The item that the labels of a row make, one as the benchmark has them."""
    name = f"name the data of {suite.title} too"
    if one.item is None:
        raise PlauditError(
            f"{one.where}: there is no label here that says which completion is right: "
            f"{name}, or give every row its ranks"
        )
    if not suite.labels:
        raise PlauditError(
            f"{one.where}: the score of {suite.title} needs more of the benchmark than the labels "
            f"that are here: {name}"
        )
    ranking = one.item.ranking
    if not re.fullmatch(suite.labels, "".join(map(str, ranking.ranks))):
        raise PlauditError(
            f"{one.where}: no item of {suite.title} has completions of the ranks "
            f"{list(ranking.ranks)}, in this order: {name}"
        )
    known = {*suite.counts, *suite.beside}
    if known and not suite.others and ranking.category not in known:
        raise PlauditError(
            f"{one.where}: {suite.title} has no category {ranking.category!r}; it has "
            f"{listed(sorted(known))}"
        )
    return one.item


def _joined(given: list[_Given], items: Sequence[Item], file: str) -> list[_Given]:
    """What is given of each item, in their order; by id where all have one, otherwise by order."""
    if not all(one.id for one in given) or not all(item.id for item in items):
        if len(given) != len(items):
            raise PlauditError(
                f"{file}: has rewards of {len(given):,} items, and the data have {len(items):,}; "
                "give the rewards of all items in order, or every row its `id`"
            )
        found = given
    else:
        plain = all(len({one.id for one in each}) == len(each) for each in (given, items))
        of_item = [item.id if plain else (item.ranking.category or "", item.id) for item in items]
        if twice := [key for key, count in Counter(of_item).items() if count > 1]:
            raise PlauditError(
                f"{file}: rewards are matched to the data by id, and {twice[0]!r} is in the data "
                "more than once; give each item an id of its own"
            )
        by_id: dict[Hashable, _Given] = {
            one.id if plain else (one.category, one.id): one for one in given
        }
        wanted = set(of_item)
        missing = [item.id for key, item in zip(of_item, items, strict=True) if key not in by_id]
        extra = [one.id for key, one in by_id.items() if key not in wanted]
        if missing:
            raise PlauditError(f"{file}: rewards are missing of {_count(missing, items)}; add them")
        if extra:
            raise PlauditError(
                f"{file}: the data do not have {_count(extra, given)}; name the data that were "
                "scored"
            )
        found = [by_id[key] for key in of_item]
    for one, item in zip(found, items, strict=True):
        if one.item is None:
            continue
        if list(one.item.ranking.ranks) != list(item.ranking.ranks):
            raise PlauditError(
                f"{one.where}: the label of {one.name} is another one than in the data, at "
                f"{item.ranking.origin}; name the data that were scored"
            )
        if one.item.ranking.prompt and _texts(one.item) != _texts(item):
            raise PlauditError(
                f"{one.where}: the texts of {one.name} are others than in the data, at "
                f"{item.ranking.origin}; name the data that were scored"
            )
    return found


def _count(names: Sequence[str], among: Sequence[Any]) -> str:
    """How many of the items, and what the first of them are called."""
    first = ", ".join(names[:NAMED]) + ", …" * (len(names) > NAMED)
    return f"{len(names):,} of the {len(among):,} items: {first}"


def _chosen(models: Sequence[str] | None, given: Sequence[_Given], file: str) -> list[str]:
    """The models to score: all, or those that are named."""
    there = list(dict.fromkeys(model for one in given for model in one.rewards))
    if not models:
        return there
    found = []
    for name in models:
        fitting = [m for m in there if m == name] or [m for m in there if m.split("/")[-1] == name]
        if len(fitting) != 1:
            raise PlauditError(
                f"{file}: {'several models are' if fitting else 'no model is'} called {name}; "
                f"there are: {', '.join(there)}"
            )
        found += fitting
    return list(dict.fromkeys(found))


def _rewards_of(
    model: str, given: Sequence[_Given], data: SuiteData, file: str
) -> list[list[float]]:
    """The rewards that a model has for every item, as many as it has completions."""
    if missing := [one.name for one in given if model not in one.rewards]:
        raise PlauditError(
            f"{file}: {model} has no rewards of {_count(missing, given)}; add them, or choose "
            "other models with --rewards-model"
        )
    for one, item in zip(given, data.items, strict=True):
        count, completions = len(one.rewards[model]), len(item.ranking.ranks)
        if count % completions or count // completions not in range(1, data.suite.orders + 1):
            twice = f", or {2 * completions} in both orders" if data.suite.orders == 2 else ""
            raise PlauditError(
                f"{one.where}: {model} has {count} rewards for {one.name}; give one for each "
                f"completion: {completions}{twice}"
            )
    return [one.rewards[model] for one in given]


# ------------------------------------------------------------------------------------------ writing


def format_models(summary: SuiteOfModels) -> str:
    """Several models as a table: score, its interval, its figures, and what it is made of."""
    models = summary["models"]
    columns = [
        *dict.fromkeys(name for entry in models.values() for name in entry.get("figures", {})),
        *dict.fromkeys(name for entry in models.values() for name in entry.get("parts", {})),
    ]
    left_out = len(columns) - COLUMNS if len(columns) > COLUMNS else 0
    columns = columns[:COLUMNS]
    width = max(map(len, models))
    head = f"{'':<{width}}{'score':>9}   {'95 % interval':<18}"
    lines = [head + "".join(f"{name:>{_wide(name)}}" for name in columns)]
    for model, entry in models.items():
        score = entry["score"]
        interval = Figure(**score).interval(f".{DIGITS}f") if score else ""
        own = {name: part["score"] for name, part in entry.get("parts", {}).items()}
        own |= entry.get("figures", {})
        cells = [own.get(name) for name in columns]
        row = f"{model:<{width}}{_number(score):>9}   {interval:<18}"
        row += "".join(f"{_number(c):>{_wide(n)}}" for n, c in zip(columns, cells, strict=True))
        lines.append(row)
    if left_out:
        lines.append(f"and {left_out} more columns, which are in the JSON")
    table = "\n".join(line.rstrip() for line in lines)
    title = f"{summary['title']}: {format_counts(summary['counts'])}"
    return f"{title}\n\n{table}\n\n{format_source(summary)}"


def _wide(name: str) -> int:
    return max(8, len(name) + 2)


def _value(figure: FigureRecord | None) -> float:
    return figure["value"] if figure else 0.0


def _number(figure: FigureRecord | None) -> str:
    return f"{figure['value']:.{DIGITS}f}" if figure else "–"
