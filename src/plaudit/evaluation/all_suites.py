"""Every benchmark at hand, in one go: a text that several of them have is scored once.

The files of one benchmark are found by their fields. The rewards go to `rewards.jsonl` as they are
made, and a run that was killed goes on from there; the scores are made of them at the end, and each
benchmark is then written as if it had been run alone.
"""

import json
import os
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired

from typing_extensions import TypedDict

from plaudit.console import progress, say, within
from plaudit.data.rows import Source, find_sources
from plaudit.errors import PlauditError
from plaudit.evaluation.once import Asked, Key, asked_once, keys_of
from plaudit.evaluation.overlap import OverlapRecord, any_seen, overlap_sentence
from plaudit.evaluation.published import PublishedRecord, published_for
from plaudit.evaluation.rewards import as_log_odds
from plaudit.evaluation.statistics import Figure, FigureRecord
from plaudit.evaluation.suite import checksum
from plaudit.evaluation.suite_run import (
    SuiteData,
    SuiteResult,
    read_suite,
    result_of,
    scored_ones,
    split_of,
    suite_of,
    taken_by,
)
from plaudit.evaluation.suites import SUITES
from plaudit.files import refuse_to_overwrite, write_results
from plaudit.resumable import Output, check_output, resumable

if TYPE_CHECKING:
    from plaudit.model.scorer import Scorer

REWARDS = "rewards.jsonl"
AT_ONCE = 512  # completions scored before they are recorded
COLUMNS = 6  # published models shown in a terminal


class SuiteOfAll(TypedDict):
    """What a benchmark came to among others; `published` are scores of other models."""

    suite: str
    title: str
    score: FigureRecord | None
    items: int
    complete: bool
    notes: list[str]
    training_overlap: OverlapRecord
    published: list[PublishedRecord]


class AllSuites(TypedDict):
    """What `suites.json` holds. Of `texts` completions with their prompts each was scored once."""

    schema_version: NotRequired[int]
    suites: list[SuiteOfAll]
    texts: int
    left_out: list[str]


@dataclass(frozen=True)
class SuitesResult:
    """What a model reached on several benchmarks, in the order of their names."""

    results: list[SuiteResult]
    texts: int
    left_out: list[str]

    def as_json(self) -> AllSuites:
        """What `--json` prints."""
        return {
            "suites": [_row(result) for result in self.results],
            "texts": self.texts,
            "left_out": self.left_out,
        }

    def write(self, folder: str | Path) -> None:
        """Write `suites.json`, and for each benchmark a folder of what it writes alone."""
        for result in self.results:
            result.write(Path(folder) / result.data.suite.name)
        write_results(Path(folder) / "suites.json", self.as_json())

    def __str__(self) -> str:
        return format_suites(self.as_json())


def run_all_suites(
    model: "Scorer | str | Path | Callable[[], Scorer]",
    data: "str | Path | Sequence[str | Path]",
    *,
    split: str | None = None,
    partial: bool = False,
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> SuitesResult:
    """Score a model on every benchmark in some files, folders or data sets of the hub.

    Args:
        model: a scorer, a name that `RewardModel.load` takes, or what makes a scorer once the data
            are read.
        data: files, folders or names on the hub; what is of no benchmark is left out, with a line.
        split: of data sets, but for the one that the benchmark scores.
        partial: also score data of which some are missing or are not the published ones.
        output: a folder for `rewards.jsonl`, `suites.json` and a folder for each benchmark.
        resume: go on with an output that was interrupted.
        overwrite: replace what is in the output.
        resamples: of the bootstrap over prompts, for the 95 % intervals.
        seed: of the bootstrap.

    Raises:
        PlauditError: when there is no benchmark in the data, or, for all of them at once, one that
            is not whole; and as `resumable` does of the output.

    >>> from plaudit.files import write_jsonl
    >>> row = {"input": "2+2?", "output_1": "4", "output_2": "5", "label": 1, "subset": "Natural"}
    >>> _ = write_jsonl("llmbar.jsonl", [row])
    >>> run_all_suites("runs/first", "llmbar.jsonl", partial=True).as_json()["texts"]
    2
    """
    from plaudit.model.reward_model import as_scorer

    if output is not None:
        check_output(Path(output) / REWARDS, resume, overwrite)
        refuse_to_overwrite(output, overwrite or resume, folder=True)
    datas, left_out = load_suites(data, split=split, partial=partial)
    scorer = as_scorer(model() if callable(model) else model)
    scorer.warn_if_untrained()
    scorer.training_texts()  # damaged hashes are said before an hour of scoring
    for place, one in enumerate(datas):
        datas[place] = taken_by(scorer.encodings, one)
    asked = asked_once(ranking for one in datas for ranking in one.rankings)
    texts = sum(len(completions) for _, completions in asked)
    every = sum(len(ranking.completions) for one in datas for ranking in one.rankings)
    say(f"{every:,} completions in {len(datas)} benchmarks, {texts:,} of them different")

    with ExitStack() as held:
        out = None
        if output is not None:
            facts = {"data": [[one.suite.name, checksum(one.items)] for one in datas]}
            facts |= scorer.identity()
            out = held.enter_context(resumable(Path(output) / REWARDS, facts, resume, overwrite))
        with scorer.telling_truncation():
            known = _score(scorer, asked, out)
        results = []
        for one in datas:
            of = [
                [known[key] for key in keys_of(ranking.prompt, ranking.completions)]
                for ranking in one.rankings
            ]
            with within(one.suite.title):
                results.append(result_of(scorer, one, of, resamples, seed))
        found = SuitesResult(results, texts, left_out)
        if output is not None:
            found.write(output)
    return found


# ------------------------------------------------------------------------------------------ reading


def load_suites(
    data: str | Path | Sequence[str | Path], *, split: str | None = None, partial: bool = False
) -> tuple[list[SuiteData], list[str]]:
    """The benchmarks in some data, in the order of their names, and the files that are of none.

    Raises `PlauditError` as `run_all_suites` does.
    """
    given = [data] if isinstance(data, str | Path) else [*data]
    files: dict[str, list[Source]] = {}
    in_folders: dict[str, list[Source]] = {}
    left_out, seen = [], set()
    for one in given:
        for source in find_sources(one, split or split_of([one])):
            if (path := os.path.realpath(source.name)) in seen:
                continue
            seen.add(path)
            if (suite := suite_of(source)) is None:
                left_out.append(source.name)
            else:
                where = files if os.path.isfile(one) else in_folders
                where.setdefault(suite.name, []).append(source)
    if left_out:
        shown = ", ".join(left_out[:5]) + (", …" if len(left_out) > 5 else "")
        say(
            f"left out, as the fields are of no known benchmark: {shown} ({len(left_out):,} in all)"
        )
    datas, faults = [], []
    for name, suite in SUITES.each():
        found = in_folders.get(name, [])
        sources = [*files.get(name, []), *(scored_ones(found, suite) if found else [])]
        if not sources:
            continue
        try:
            datas.append(read_suite(sources, suite, partial=partial))
        except PlauditError as fault:
            faults.append(str(fault))
    if faults:
        raise PlauditError("\n".join(faults))
    if not datas:
        raise PlauditError(
            f"{given[0]}: there is no known benchmark in it; known: {', '.join(SUITES)}"
        )
    return datas, left_out


# ------------------------------------------------------------------------------------------ scoring


def _score(model: "Scorer", asked: Sequence[Asked], out: Output | None) -> dict[Key, float]:
    """The reward of each text, in the unit of `rewards_of`: from the output what is in it already.

    They are computed a window after the other, and each is committed whole. So a resumed run goes
    on where a window begins, and has the same batches.
    """
    from plaudit.model.scorer import windows

    rewards = [json.loads(line)["rewards"] for line in out.committed()] if out else []
    left = asked[len(rewards) :]

    def scored() -> Iterator[list[float]]:
        for window in windows(left, AT_ONCE):
            made = []
            for of_prompt in as_log_odds(model, window):
                made.append(of_prompt)
                yield of_prompt
            if out is not None:
                rows = [{"rewards": of_prompt} for of_prompt in made]
                out.commit(rows, [], done=out.done + len(window))

    rewards += progress(scored(), "scoring", total=len(left))
    return {
        key: reward
        for (prompt, completions), of_prompt in zip(asked, rewards, strict=True)
        for key, reward in zip(keys_of(prompt, completions), of_prompt, strict=True)
    }


# --------------------------------------------------------------------------------------- summing up


def _row(result: SuiteResult) -> SuiteOfAll:
    summary, items = result.summary, result.summary["counts"]["items"]
    return {
        "suite": summary["suite"],
        "title": summary["title"],
        "score": summary["score"],
        "items": items,
        "complete": summary["complete"],
        "notes": summary["notes"],
        "training_overlap": summary["training_overlap"],
        "published": published_for(summary["suite"], items),
    }


def format_suites(found: AllSuites) -> str:
    """What `suites.json` holds as a table: a benchmark a line, with what a few others reached.

    Shown are the models with most published scores on these benchmarks; `suites.json` has all.
    """
    rows = found["suites"]
    counts = Counter(one["model"] for row in rows for one in row["published"])
    models = [model for model, _ in counts.most_common(COLUMNS)]
    width = max(len("benchmark"), *(len(row["title"]) for row in rows))
    numbers = "".join(f"{f'[{k}]':>8}" for k in range(1, len(models) + 1))
    lines = [f"{'benchmark':<{width}}{'score':>8}   {'95 % interval':<16}{'items':>8}{numbers}"]
    for row in rows:
        figure = Figure(**row["score"]) if row["score"] else None
        value = f"{figure.value:.3f}" if figure else "–"
        interval = figure.interval() if figure else ""
        scores = {one["model"]: f"{one['score']:.3f}" for one in row["published"]}
        others = "".join(f"{scores.get(model, '–'):>8}" for model in models)
        mark = "" if row["complete"] else "*"
        items = f"{row['items']:,}"
        lines.append(f"{row['title']:<{width}}{value + mark:>8}   {interval:<16}{items:>8}{others}")
    if models:
        names = [f"[{k}] {model}" for k, model in enumerate(models, 1)]
        lines += ["", *textwrap.wrap("Published: " + ", ".join(names) + ".", 100)]
        lines += [
            f"{row['title']}: {source}"
            for row in rows
            for source in dict.fromkeys(one["source"] for one in row["published"])
        ]
    told = [f"* {row['title']}: {'; '.join(row['notes'])}." for row in rows if row["notes"]]
    told += [
        f"{row['title']}: {overlap_sentence(row['training_overlap'])}"
        for row in rows
        if any_seen(row["training_overlap"])
    ]
    return "\n".join([*lines, *([""] if told else []), *(textwrap.fill(one, 100) for one in told)])
