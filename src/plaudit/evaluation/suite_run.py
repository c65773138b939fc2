"""Run a benchmark: read its file, score every completion, sum up, write what came out.

`load_suite` and `run_suite` are the way in, for the command line and for Python. Which benchmark a
file holds is recognised by its fields. Prompts and completions go through the model's own encoding,
as everywhere in plaudit; the benchmarks' own code does the same with the tokenizer's chat template.
"""

import os
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, cast

from typing_extensions import TypedDict

from plaudit.console import progress, say
from plaudit.data.cells import is_list_of_texts, read_list
from plaudit.data.columns import Columns, columns_of, listed
from plaudit.data.parse import reject
from plaudit.data.rankings import BadRowError, Fault, Ranking, Rejected, text_key
from plaudit.data.readers import Rankings, Tally
from plaudit.data.rows import Row, Source, file_and_line, find_sources
from plaudit.errors import PlauditError
from plaudit.evaluation.overlap import (
    OverlapRecord,
    measure_scores,
    overlap_record,
    overlap_sentence,
)
from plaudit.evaluation.rewards import prediction_rows, rewards_of
from plaudit.evaluation.statistics import Figure, FigureRecord, Pending
from plaudit.evaluation.suite import Item, Means, Part, PartRecord, Suite, checksum, plain_name
from plaudit.evaluation.suites import SUITES
from plaudit.files import make_way, write_jsonl, write_results
from plaudit.model.seen import taken
from plaudit.model.trained_on import overlap
from plaudit.sources import SourceError, name_of, named

if TYPE_CHECKING:
    from plaudit.model.encoding import Encoding
    from plaudit.model.scorer import Scorer

LISTED = 8  # categories named in a note
LOOKED_AT = 20  # rows, of which one has to be of a benchmark for it to be that one


class SuiteCounts(TypedDict):
    """How much a score was measured on; without texts nobody knows the prompts."""

    items: int
    prompts: int | None
    completions: int
    rejected: int


class SuiteAbout(TypedDict):
    """What `suite.json` says of a benchmark, whoever is scored on it."""

    schema_version: NotRequired[int]
    suite: str
    title: str
    definition: str
    source: str
    counts: SuiteCounts
    complete: bool
    notes: list[str]


class SuiteRecord(SuiteAbout, PartRecord):
    """`suite.json` of one model: the benchmark with the score; `model` names whose rewards were
    given."""

    model: NotRequired[str]
    training_overlap: NotRequired[OverlapRecord]


@dataclass(frozen=True)
class SuiteData:
    """What was read of a benchmark: its items, and with reasons the rows that are no good."""

    suite: Suite
    items: list[Item]
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def rankings(self) -> list[Ranking]:
        """The items as rankings, whose ranks say which completions are right."""
        return [item.ranking for item in self.items]

    @property
    def texts(self) -> bool:
        """Whether the items have texts, and not labels alone."""
        return any(ranking.prompt for ranking in self.rankings)


@dataclass(frozen=True)
class SuiteResult:
    """What a model reached on a benchmark. `summary` is what `suite.json` holds."""

    summary: SuiteRecord
    data: SuiteData
    rewards: list[list[float]]

    def __str__(self) -> str:
        return format_suite(self.summary)

    def as_json(self) -> SuiteRecord:
        """What `--json` prints."""
        return self.summary

    def predictions(self) -> Iterator[dict[str, Any]]:
        """One row for each completion: what `predictions.jsonl` holds. Rank 0 is right."""
        for row in prediction_rows(self.data.rankings, self.rewards):
            id = self.data.items[row["ranking"]].id
            yield row | ({"id": id} if id else {})

    def write(self, folder: str | Path) -> None:
        """Write `predictions.jsonl`, `rejected.jsonl` where rows were rejected, `suite.json`."""
        folder = Path(folder)
        make_way(folder)
        write_jsonl(folder / "predictions.jsonl", self.predictions())
        if self.data.rejected:
            write_jsonl(folder / "rejected.jsonl", (row.as_dict() for row in self.data.rejected))
        write_results(folder / "suite.json", self.summary)


def run_suite(
    model: "Scorer | str | Path | Sequence[str | Path]",
    data: "str | Path | Sequence[str | Path] | SuiteData",
    name: str | None = None,
    *,
    split: str | None = None,
    partial: bool = False,
    output: str | Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> SuiteResult:
    """Score a model on a benchmark by the benchmark's own definition.

    Args:
        model: a scorer, or what `RewardModel.load` takes: a name or several.
        data: what `load_suite` returned, or what it takes; so with `name`, `split` and
            `partial`.
        output: a folder for `suite.json` and `predictions.jsonl`.
        resamples: of the bootstrap over prompts, for the 95 % intervals.
        seed: of the bootstrap.

    Returns:
        A result whose `summary` has the figure `score` ({"value", "low", "high"}), `figures` beside
        it, and `parts` of the same form; the `definition` and its `source`; `complete`, whether
        these are the published data; and `notes` on what is missing.

    Raises:
        PlauditError: as `load_suite` does, and when a reward is not a finite number.

    >>> from plaudit.files import write_jsonl
    >>> row = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5", "subset": "math-prm", "id": 0}
    >>> _ = write_jsonl("rewardbench.jsonl", [row])
    >>> run_suite("runs/first", "rewardbench.jsonl", partial=True).summary["suite"]
    'rewardbench'
    """
    if not isinstance(data, SuiteData):
        data = load_suite(data, name, split=split, partial=partial)
    from plaudit.model.reward_model import as_scorer

    model = as_scorer(model)
    model.warn_if_untrained()
    model.training_texts()  # damaged hashes are said before an hour of scoring
    data = taken_by(model.encodings, data)
    result = result_of(model, data, rewards_of(model, data.rankings), resamples, seed)
    if output is not None:
        result.write(output)
    return result


def result_of(
    model: "Scorer", data: SuiteData, rewards: list[list[float]], resamples: int, seed: int
) -> SuiteResult:
    """What these rewards of a model come to, with what of the items the model was trained on."""
    summary = summarise_suite(data, rewards, resamples, seed)
    summary["training_overlap"] = _overlap(model, data, rewards, resamples, seed)
    return SuiteResult(summary, data, rewards)


def taken_by(
    encodings: Sequence["Encoding"], data: SuiteData, tell: Callable[[str], None] = say
) -> SuiteData:
    """The benchmark without what a model's chat template or tokenizer refuses, with reasons, and a
    line to `tell` of it."""
    rejects = Rankings(files=[], format="records", columns={}, streaming=False, max_rejected=1)
    kept = {id(ranking) for ranking in taken(data.rankings, encodings, rejects)}
    if line := rejects.describe_left_out():
        tell(f"{data.suite.title}: {line}")
    items = [item for item in data.items if id(item.ranking) in kept]
    if not items:
        raise rejects.nothing_left(f"of {data.suite.title} that the model takes")
    return replace(data, items=items, rejected=[*data.rejected, *rejects.rejected])


# ------------------------------------------------------------------------------------------ reading


def load_suite(
    data: str | Path | Sequence[str | Path],
    name: str | None = None,
    *,
    split: str | None = None,
    partial: bool = False,
) -> SuiteData:
    """Read a benchmark from files, a folder, or the hub.

    Args:
        data: what `load_rankings` takes. Where only some of several files are those that the
            benchmark scores, by their names, the others are not read: see `scored_ones`.
        name: of the benchmark (`rewardbench`, `rmbench`, …, see `plaudit plugins`); without it, the
            benchmark is recognised by the fields.
        split: of a data set; by default the one that the benchmark scores.
        partial: also score data of which some are missing, cannot be used or are not the published
            ones.

    Raises:
        PlauditError: when there is no such benchmark, the fields are those of none or of another,
            no row can be used, or, but for `partial`, these are not the published data.

    >>> import json, pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "dataset.json"
    >>> row = {"input": "2+2?", "output_1": "4", "output_2": "5", "label": 1}
    >>> _ = file.write_text(json.dumps([row]))
    >>> load_suite(file, partial=True).suite.title
    'LLMBar'
    """
    suite = None if name is None else suite_called(name)
    given = [data] if isinstance(data, str | Path) else [*data]
    sources = find_sources(data, split or split_of(given))
    if not any(map(os.path.isfile, given)):  # a file that is named is meant
        sources = scored_ones(sources, suite or _recognise(sources[:1], None))
    return read_suite(sources, _recognise(sources, suite), partial=partial)


def load_called(text: str, *, partial: bool = False) -> tuple[str, str, SuiteData]:
    """A benchmark given as `DATA` or `NAME=DATA`, where NAME may be that of a benchmark.

    Returns:
        What it is to be called, empty where nobody says; its data; and what they hold.

    Raises:
        PlauditError: as `load_suite` does.
    """
    name, data = name_of(text)
    is_suite = plain_name(name) in {plain_name(one) for one in SUITES}
    read = load_suite(data, name if is_suite else None, partial=partial)
    return "" if is_suite else name, data, read


def split_of(data: Sequence[str | Path]) -> str | None:
    """The split that a benchmark scores, where all of `data` is its data set on the hub."""
    try:
        names = {named(str(one)).name for one in data}
    except SourceError:  # which reading says better
        return None
    return next((suite.split for _, suite in SUITES.each() if {suite.hub} == names), None)


def scored_ones(sources: list[Source], suite: Suite) -> list[Source]:
    """The files that the benchmark scores, where only some are so called, and a line that says so.

    Those of LLMBar are all called dataset.*, beside what judges said of them. Where a benchmark is
    published in several splits, a file is named after its split, or its folder is.
    """
    word = rf"(?<![a-z]){re.escape(suite.split)}(?![a-z])"
    kinds = [(r"(^|.*/)dataset\.[^/]*", "dataset.*")] if suite.name == "llmbar" else []
    kinds += [(f".*{word}.*", suite.split)] if suite.split != "train" else []
    above = os.path.commonpath([os.path.abspath(one.name) for one in sources])
    for pattern, called in kinds:
        these = [
            one
            for one in sources
            if re.fullmatch(pattern, os.path.relpath(one.name, above), re.IGNORECASE)
        ]
        if these and len(these) < len(sources):
            say(
                f"{suite.title}: reading the {len(these)} of {len(sources)} files called {called}, "
                "and not the others"
            )
            sources = these
    return sources


def read_suite(sources: Sequence[Source], suite: Suite, *, partial: bool = False) -> SuiteData:
    """Read the rows of sources of one benchmark.

    Raises `PlauditError` as `load_suite` does.
    """
    tally, items, seen = Tally(), [], set()
    for source in sources:
        for row in progress(source.rows(), f"reading {source.name}"):
            tally.rows += 1
            try:
                if row.problem is not None:
                    raise BadRowError(Fault.UNREADABLE, row.problem)
                item = suite.read(row)
                key = (item.id, _key(item.ranking))
                if item.id and key in seen:
                    raise BadRowError(
                        Fault.DUPLICATE, "duplicate: the same row with the same id twice"
                    )
            except BadRowError as bad:
                tally.count(reject(row, bad), keep=True)
            else:
                seen.add(key)
                items.append(item)
    if suite.completions:
        items = _put_together(items, suite.completions, tally)
    if not items:
        raise PlauditError(
            f"{sources[0].name}: nothing of {suite.title} in it. {tally.summary() or 'It is empty'}"
        )
    data = SuiteData(suite, items, tally.rejected)
    if not partial and (notes := notes_of(data)):
        if tally.rejected:
            notes[-1] = tally.summary()
        raise PlauditError(
            f"{sources[0].name}: {'. '.join(notes)}. Get the published files, or score what is "
            "there with --partial (partial=True in Python)"
        )
    if tally.rejected:
        say(f"{sources[0].name}: {tally.summary()}")
    return data


def _put_together(items: Sequence[Item], completions: int, tally: Tally) -> list[Item]:
    """Items of which each row held one completion; without those that have too few or too many."""
    of_id: dict[str, list[Item]] = {}
    for item in items:
        of_id.setdefault(item.id, []).append(item)
    whole = []
    for id, rows in of_id.items():
        first = rows[0].ranking
        ranks = [rank for row in rows for rank in row.ranking.ranks]
        if len(ranks) == completions and ranks.count(0) == 1:
            texts = [text for row in rows for text in row.ranking.completions]
            models = [model for row in rows for model in row.ranking.models or ()]
            ranking = replace(first, completions=texts, ranks=ranks, models=models or None)
            whole.append(Item(ranking, id, rows[0].unit))
            continue
        bad = BadRowError(
            Fault.LENGTHS,
            f"wrong number of completions: {id} has {len(ranks)}, {ranks.count(0)} of them right, "
            f"and the benchmark {completions}, 1 of them right",
        )
        for row in rows:
            file, line = file_and_line(row.ranking.origin)
            tally.count(reject(Row(file, line or 0, {"id": id}), bad), keep=True)
    return whole


def _key(ranking: Ranking) -> int:
    texts = (ranking.prompt, *ranking.completions)
    return hash((ranking.category, *map(text_key, texts), *ranking.ranks))


def suite_called(name: str) -> Suite:
    """The benchmark of that name, however it is spelt: RewardBench 2, reward-bench-2.

    Raises `PlauditError` when there is none.

    >>> suite_called("RM-Bench").name
    'rmbench'
    """
    called = {plain_name(one): one for one in SUITES}
    if (plain := plain_name(name)) not in called:
        raise PlauditError(f"suite: '{name}' is not known; known: {', '.join(SUITES)}")
    return SUITES.get(called[plain])


def _recognise(sources: Sequence[Source], suite: Suite | None) -> Suite:
    """The suite that all sources fit: the one asked for, or the one that the first of them fits."""
    for source in sources:
        columns = columns_of(source)
        if suite is None:
            # Where its first rows are of none, reading it says what is wrong with them.
            fitting = (one for _, one in SUITES.each() if not misfit(one, columns))
            suite = suite_of(source) or next(fitting, None)
        if suite is None:
            wanted = "; ".join(f"{one.title}: {_needs(one)}" for _, one in SUITES.each())
            raise PlauditError(
                f"{source.name}: fits no suite known here; found: {listed(columns.names)}. "
                f"Wanted: {wanted}"
            )
        if problem := misfit(suite, columns):
            raise PlauditError(
                f"{source.name}: is not {suite.title}: {problem}; found: {listed(columns.names)}"
            )
    assert suite is not None  # there is always a source
    return suite


def suite_of(source: Source) -> Suite | None:
    """The benchmark that a source has the fields of, and whose rows its first rows are."""
    try:
        columns = columns_of(source)
    except PlauditError:
        return None
    for _, suite in SUITES.each():
        if misfit(suite, columns) is None:
            for _, row in zip(range(LOOKED_AT), source.rows(), strict=False):
                try:
                    if row.problem is None:
                        suite.read(row)
                        return suite
                except BadRowError:
                    continue
    return None


def misfit(suite: Suite, columns: Columns) -> str | None:
    """What keeps a source from being of that suite."""
    missing = [name for name in suite.fields if name not in columns.names]
    if missing:
        return f"the field{'s' * (len(missing) > 1)} {', '.join(missing)} missing"
    chosen = columns.example.get("chosen")
    if suite.lists is None or chosen is None or suite.lists == _is_list(chosen):
        return None
    return f"chosen is {'not ' * suite.lists}a list of completions"


def _is_list(value: Any) -> bool:
    try:
        return is_list_of_texts(read_list(value, "completions"))
    except BadRowError:
        return False


def _needs(suite: Suite) -> str:
    kind = {None: "", True: " (chosen is a list)", False: " (chosen is a text)"}[suite.lists]
    return ", ".join(suite.fields) + kind


# --------------------------------------------------------------------------------------- summing up


def summarise_suite(
    data: SuiteData, rewards: Sequence[Sequence[float]], resamples: int = 1000, seed: int = 0
) -> SuiteRecord:
    """Score, parts, counts and notes of a benchmark, ready for JSON; `rewards` as many as items."""
    record: Any = {**about(data), **scores_of(data, rewards, resamples, seed)}
    return cast(SuiteRecord, record)


def about(data: SuiteData) -> SuiteAbout:
    """What there is to say of a benchmark before anybody is scored on it."""
    suite, notes = data.suite, notes_of(data)
    return {
        "suite": suite.name,
        "title": suite.title,
        "definition": suite.definition,
        "source": suite.source,
        "counts": {
            "items": len(data.items),
            "prompts": len({ranking.key for ranking in data.rankings}) if data.texts else None,
            "completions": sum(len(ranking.completions) for ranking in data.rankings),
            "rejected": len(data.rejected),
        },
        "complete": not notes,
        "notes": notes,
    }


def scores_of(
    data: SuiteData, rewards: Sequence[Sequence[float]], resamples: int = 1000, seed: int = 0
) -> PartRecord:
    """The score of rewards, as many as items, with its interval, its figures and its parts."""
    mean, pending = Means([item.unit for item in data.items]), Pending()
    scores = _entry(data.suite.score(data.items, rewards, mean), pending)
    pending.fill(mean.size, resamples, seed)
    return scores


def _overlap(
    model: "Scorer", data: SuiteData, rewards: Sequence[Sequence[float]], resamples: int, seed: int
) -> OverlapRecord:
    """What of the items the model was trained on, and the score without them: items that are
    resampled together go together."""
    found = overlap(model.training_texts(), data.rankings)
    record = overlap_record(found, "score")
    if found.seen.any():
        units = [item.unit for item in data.items]
        seen = {unit for unit, one in zip(units, found.seen, strict=True) if one}
        kept = [number for number, unit in enumerate(units) if unit not in seen]
        mean = Means(units)
        whole, without = data.suite.score(data.items, rewards, mean).score, None
        if kept:
            of_rest = Means([units[number] for number in kept])
            rest = data.suite.score(
                [data.items[n] for n in kept], [rewards[n] for n in kept], of_rest
            ).score
            # Weights are of all units: of these the first one's place is the unit's own.
            place = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
            columns = [place[unit] for unit in dict.fromkeys(units[n] for n in kept)]
            without = replace(rest, of=lambda weights: rest.of(weights[:, columns]))
        measure_scores(record, whole, without, mean.size, resamples=resamples, seed=seed)
    return record


def _entry(part: Part, pending: Pending) -> PartRecord:
    """A part ready for JSON, but for the figures, which have their places and are pending."""
    entry: dict[str, Any] = {}
    pending.add(entry, ["score"], part.score)
    entry["n"] = part.n
    if part.figures:
        entry["figures"] = {}
        for name, statistic in part.figures.items():
            pending.add(entry["figures"], [name], statistic)
    if part.parts:
        entry["parts"] = {name: _entry(inner, pending) for name, inner in part.parts.items()}
    return cast(PartRecord, entry)


def notes_of(data: SuiteData) -> list[str]:
    """Why the score is not the published one, if it is not."""
    suite, notes = data.suite, []
    groups: dict[str | int | None, list[Item]] = {len(data.items): data.items}
    for item in data.items:
        groups.setdefault(item.ranking.category, []).append(item)
    found = {name: len(of) for name, of in groups.items() if not isinstance(name, int)}
    short = []
    if suite.counts:
        short = [
            f"{found[name]:,} of {count:,} in {name}" if name in found else f"none of {name}"
            for name, count in suite.counts.items()
            if found.get(name) != count
        ]
        known = {*suite.counts, *suite.beside}
        short += [f"{n:,} in {name}" for name, n in found.items() if name not in known]
    elif suite.totals and len(data.items) not in suite.totals:
        published = " or ".join(f"{total:,}" for total in suite.totals)
        short = [f"{len(data.items):,} items, not {published}"]
    whole = [
        name for name in groups if name not in suite.counts or found[name] == suite.counts[name]
    ]
    # Rewards that stand alone have no texts that could be checked.
    short += [
        f"changed texts or labels in {'it' if isinstance(name, int) else name}"
        for name in (whole if data.texts else ())
        if name in suite.checksums and checksum(groups[name], suite.stamp) != suite.checksums[name]
    ]
    if short:
        more = f" and {len(short) - LISTED} more" if len(short) > LISTED else ""
        notes.append(
            f"these are not the published data of {suite.title}, so the score is not the "
            f"published one: {', '.join(short[:LISTED])}{more}"
        )
    if data.rejected:
        notes.append(f"{len(data.rejected):,} rejected rows are not in the score")
    return notes


def format_suite(summary: SuiteRecord, digits: int = 3) -> str:
    """What `summarise_suite` returned as a table for people: the score, its parts, its source."""
    rows = list(_rows(summary["title"], summary))
    width = max(len(label) for label, *_ in rows)
    counts = summary["counts"]
    lines = [
        format_counts(counts),
        "",
        f"{'':<{width}}{'score':>{digits + 5}}   {'95 % interval':<{2 * digits + 10}}{'items':>7}",
    ]
    for label, figure, n in rows:
        one = Figure(**figure) if figure else None
        value = f"{one.value:.{digits}f}" if one else "–"
        interval = one.interval(f".{digits}f") if one else ""
        items = f"{n:,}" if n is not None else ""
        row = f"{label:<{width}}{value:>{digits + 5}}   {interval:<{2 * digits + 10}}{items:>7}"
        lines.append(row.rstrip())
    lines += ["", format_source(summary)]
    if record := summary.get("training_overlap"):
        lines.append(textwrap.fill(overlap_sentence(record), 100, break_on_hyphens=False))
    return "\n".join(lines)


def format_counts(counts: SuiteCounts) -> str:
    """The first line of a table: how much was measured on."""
    prompts = f", {counts['prompts']:,} prompts" if counts["prompts"] is not None else ""
    alone = "" if prompts else "; each resampled by itself, since there are no prompts"
    return f"{counts['items']:,} items{prompts}, {counts['completions']:,} completions{alone}"


def format_source(summary: SuiteAbout) -> str:
    """The last lines of a table: what the score is, who defined it, what is amiss."""
    told = [f"The score is {summary['definition']}.", f"Source: {summary['source']}."]
    told += [f"Note: {note}." for note in summary["notes"]]
    return "\n".join(textwrap.fill(line, 100, break_on_hyphens=False) for line in told)


def _rows(
    name: str, entry: PartRecord, depth: int = 0
) -> Iterator[tuple[str, FigureRecord | None, int | None]]:
    yield "  " * depth + name, entry["score"], entry["n"]
    for figure, value in entry.get("figures", {}).items():
        yield "  " * depth + f"· {figure}", value, None
    for part, inner in entry.get("parts", {}).items():
        yield from _rows(part, inner, depth + 1)
