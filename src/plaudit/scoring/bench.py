"""Score several models on several benchmarks and data sets, and compare them.

`bench` reads top to bottom: each model is loaded, gives its rewards to every distinct text once,
and goes; then `evaluation.bench` compares what they gave. Rewards are kept in `rewards/`, a folder
for each model, a file for each data set, so that a kill costs a second of work and a model or data
that are added later cost no more than their own. A model that cannot be loaded, or that fails while
it scores, has a row that says why, and the others go on.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import torch

from plaudit.console import FOUND, counted, on_interrupt, progress, say, within
from plaudit.data.cells import lengths_of
from plaudit.data.columns import check_somewhere
from plaudit.data.rankings import Ranking, text_key
from plaudit.data.readers import load_beside, load_rankings
from plaudit.data.rows import find_sources
from plaudit.errors import PlauditError
from plaudit.evaluation.bench import MEAN, compare, preference_data
from plaudit.evaluation.once import Asked, Key, asked_once, keys_of
from plaudit.evaluation.statistics import Figure
from plaudit.evaluation.suite import PartRecord
from plaudit.evaluation.suite_run import SuiteData, about, load_called, scores_of
from plaudit.files import SCHEMA_VERSION, locked, read_json, write_json
from plaudit.model.base_models import commit_of, locate
from plaudit.model.devices import dtype_name, free_memory, peak_memory, watch_memory
from plaudit.model.encoding import RefusedError
from plaudit.model.ensemble import Ensemble
from plaudit.model.loading import for_several
from plaudit.model.precision import processor
from plaudit.model.reward_model import RewardModel, as_scorer
from plaudit.model.scorer import UNTRAINED, Scorer, check_finite, windows
from plaudit.model.trained_on import overlap
from plaudit.reporting.leaderboard import format_bench, verdict, write_bench
from plaudit.results import BenchedData, BenchedModel, BenchRecord, MachineRecord, ScoringCost
from plaudit.resumable import resumable, unfinished
from plaudit.sources import name_of, named

WINDOW = 128  # completions scored at once, at least
REASON = 80  # characters of why a text is refused

Known = dict[Key, float | None]  # the reward of each text; None: refused


class Entrant(NamedTuple):
    """Benchmark or preference data to compare models on, and what they were read from."""

    data: SuiteData
    kind: Any
    files: str


def read_entrants(
    suites: Sequence[str], preferences: Sequence[str], *, partial: bool = False, **reading: Any
) -> dict[str, Entrant]:
    """Benchmarks and preference data, each `DATA` or `NAME=DATA`, by the names of their columns.

    A benchmark is recognised by its fields, unless its NAME is that of one; it is called by its
    title, preference data by their file. With `partial` a benchmark may lack rows. `reading` is
    what `load_rankings` takes besides.

    Raises:
        PlauditError: when something cannot be read, or two would have one name.
    """
    found: dict[str, Entrant] = {}

    def add(name: str, entrant: Entrant) -> None:
        if name in found:
            raise PlauditError(
                f"{entrant.files}: is called {name}, as {found[name].files} is; name it "
                f"otherwise: NAME={entrant.files}"
            )
        found[name] = entrant

    for text in suites:
        name, files, data = load_called(text, partial=partial)
        add(name or data.suite.title, Entrant(data, "suite", files))
    given = [name_of(text) for text in preferences]
    if len(given) > 1 and (columns := reading.get("columns")):
        every = [find_sources(files, encoding=reading.get("encoding")) for _, files in given]
        check_somewhere([one for sources in every for one in sources], columns)
    read = load_beside if len(given) > 1 else load_rankings
    for name, files in given:
        name = name or Path(named(files).name.rstrip("/*")).name.split(".")[0] or files
        rankings = read(files, streaming=False, **reading)
        data = preference_data(list(rankings), name, rankings.rejected)
        add(name, Entrant(data, "preferences", files))
    return found


@dataclass(frozen=True)
class Bench:
    """What several models reach on several data; `summary` is what `bench.json` holds."""

    summary: BenchRecord

    @property
    def passed(self) -> bool:
        """Whether every model has scores."""
        return self.summary["passed"]

    def __str__(self) -> str:
        return format_bench(self.summary)

    def as_json(self) -> BenchRecord:
        """What `--json` prints."""
        return self.summary

    def write(self, folder: str | Path) -> None:
        """Write the page, the tables and, last, `bench.json` into a folder."""
        write_bench(Path(folder), self.summary)


def bench(
    models: Mapping[str, Scorer | str | Path],
    data: Mapping[str, Entrant],
    output: str | Path | None = None,
    *,
    resume: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    **loading: Any,
) -> Bench:
    """Compare models on data; see `plaudit.bench`.

    Args:
        models: scorers, or what `RewardModel.load` takes, by name.
        data: by the name of their columns.
        output: a folder for the rewards and for what is made of them; what stands there is kept
            with `resume`, else it goes.
        resume: score what is not scored yet.
        resamples: of the bootstrap.
        seed: of all chance.
        **loading: what `RewardModel.load` takes besides.
    """
    if twice := _twice(models):
        raise PlauditError(f"{twice[0]} and {twice[1]} are the same model; give it once")
    if MEAN in data:
        raise PlauditError(
            f"{MEAN}: this name is taken by the mean over all data; call the data otherwise: "
            "NAME=DATA"
        )
    with ExitStack() as held:
        if output is None:
            folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder = Path(output)
            held.enter_context(locked(folder, "benching", stays=True))
            if not resume:
                shutil.rmtree(folder / "rewards", ignore_errors=True)
            on_interrupt(folder, lambda: "what is scored is kept in its rewards/")
        texts = {name: asked_once(each.data.rankings) for name, each in data.items()}
        scoring = [
            _Scoring(name, model, folder / "rewards" / _slug(name), texts, loading)
            for name, model in models.items()
        ]
        steps = len(models) * sum(map(len, texts.values()))
        for _ in progress(_all(scoring), "scoring", total=steps):
            pass
        result = Bench(_summed_up(scoring, data, resamples, seed))
        if output is not None:
            result.write(folder)
            say(f"written to {folder}: index.html, scores.csv, comparisons.csv, table.tex, …")
    return result


def _twice(models: Mapping[str, Scorer | str | Path]) -> tuple[str, str] | None:
    """Two names of one model on disk."""
    names: dict[str, str] = {}
    for name, model in models.items():
        if isinstance(model, str | Path) and Path(model).exists():
            first = names.setdefault(os.path.realpath(model), name)
            if first != name:
                return first, name
    return None


def _all(scoring: Sequence["_Scoring"]) -> Iterator[None]:
    """Score with each model in turn; one step for each prompt of each of the data."""
    for one in scoring:
        with within(one.name):
            left = sum(map(len, one.texts.values()))
            for _ in one.steps():
                left -= 1
                yield
            yield from repeat(FOUND, left)


# ---- one model ----


class _Scoring:
    """The rewards of one model, as far as they are known, and what they cost."""

    def __init__(
        self,
        name: str,
        model: Scorer | str | Path,
        folder: Path,
        texts: Mapping[str, list[Asked]],
        loading: Mapping[str, Any],
    ) -> None:
        self.name, self._model, self._folder = name, model, folder
        self.texts, self._loading = texts, loading
        self.problem: str | None = None
        self.known: Known = {}
        self.refused = ""  # why the first text is that is
        self.notes: list[str] = []
        self.cost: ScoringCost | None = None
        self._digests = {data: _digest(asked) for data, asked in texts.items()}
        self._record: dict[str, Any] = {"facts": self._facts(), "about": None, "data": {}}
        stored = folder / "model.json"
        if stored.is_file():
            self._record = self._checked(read_json(stored))

    def _facts(self) -> dict[str, Any]:
        """What rewards that are there already must have been made with."""
        if isinstance(self._model, Scorer):
            return {"identity": self._model.identity()}
        facts = {"model": str(self._model), "version": _version(str(self._model)), **self._loading}
        plain: dict[str, Any] = json.loads(json.dumps(facts, default=str))
        return plain

    def _checked(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record of earlier rewards; raises `PlauditError` where they are of other things."""
        anew = "--overwrite scores all anew"
        if record.get("facts") != self._record["facts"]:
            raise PlauditError(
                f"{self.name}: the model, or how it is loaded, is not what it was scored with "
                f"before; {anew}"
            )
        for data, cost in record["data"].items():
            if self._digests.get(data, cost["texts"]) != cost["texts"]:
                raise PlauditError(f"{data}: has changed since {self.name} scored it; {anew}")
        return record

    def steps(self) -> Iterator[None]:
        """Score all that is not scored yet, a prompt at a time, or note the problem."""
        try:
            done = [data for data in self.texts if data in self._record["data"]]
            for data in done:
                self._read(data)
            if left := [data for data in self.texts if data not in done]:
                yield from repeat(FOUND, sum(len(self.texts[data]) for data in done))
                yield from self._score(left)
            self._sum_up()
        except PlauditError as error:
            self._fail(str(error))
        except Exception as error:  # of a model's own code: the other models are to go on
            self._fail(f"{type(error).__name__}: {' '.join(str(error).split())}")

    def _fail(self, problem: str) -> None:
        self.problem = problem
        say(f"has no scores: {problem}")

    def _score(self, left: Sequence[str]) -> Iterator[None]:
        model = as_scorer(self._model, **for_several(self._loading))
        model.warn_if_untrained()
        self._record["about"] = _about(model)
        watch_memory(model.device)
        with model.remembering():
            for data in left:
                yield from self._score_data(model, data)
        model.truncation.clear()
        del model
        free_memory(torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    def _score_data(self, model: Scorer, data: str) -> Iterator[None]:
        """Give rewards to the texts of one of the data, those it shares with others once."""
        file, asked = self._file(data), self.texts[data]
        facts = {"texts": self._digests[data], "model": model.identity()}
        begun = unfinished(file)
        cost: dict[str, Any] = {"seconds": 0.0, "completions": 0, "tokens": 0, "truncated": 0}
        cost |= {"peak_memory_bytes": None}
        file.parent.mkdir(parents=True, exist_ok=True)
        with resumable(file, facts, resume=begun, overwrite=not begun) as out:
            cost |= out.note or {}
            yield from repeat(FOUND, out.done)
            for window in windows(asked[out.done :], WINDOW):
                started, before = time.perf_counter(), model.truncation.get("truncated", 0)
                rows, tokens, completions = self._rewards(model, window)
                cost["seconds"] += time.perf_counter() - started
                cost["completions"] += completions
                cost["tokens"] += tokens
                cost["truncated"] += model.truncation.get("truncated", 0) - before
                cost["peak_memory_bytes"] = _larger(cost, peak_memory(model.device))
                out.commit(rows, [], out.done + len(window), note=cost)
                yield from (None for _ in window)
        seen = _trained_on(model, asked)
        self._record["data"][data] = {"texts": self._digests[data], "trained_on": seen, **cost}
        write_json(self._folder / "model.json", self._record)
        self._read(data)

    def _rewards(
        self, model: Scorer, window: Sequence[Asked]
    ) -> tuple[list[dict[str, Any]], int, int]:
        """A row for each prompt, with the rewards of its completions; how many tokens and
        completions were scored for that."""
        new: list[Asked] = [
            (prompt, [c for key, c in zip(keys, completions, strict=True) if key not in self.known])
            for prompt, completions in window
            for keys in (keys_of(prompt, completions),)
        ]
        reasons: dict[Key, str] = {}
        asked = [(prompt, completions) for prompt, completions in new if completions]
        try:
            encoded = model.encode(asked) if asked else []
        except RefusedError:
            asked, reasons = _sorted_out(model, asked)
            encoded = model.encode(asked) if asked else []
        rewards = model.rewards(encoded) if asked else []
        given = {
            key: model.scale * reward
            for (prompt, completions), of in zip(asked, rewards, strict=True)
            for key, reward in zip(keys_of(prompt, completions), of, strict=True)
        }
        for (prompt, _), of in zip(asked, rewards, strict=True):
            check_finite(of, prompt)
        rows = []
        for prompt, completions in window:
            keys = keys_of(prompt, completions)
            row: dict[str, Any] = {"model": self.name, "prompt": prompt, "completions": completions}
            row["rewards"] = [given.get(key, self.known.get(key)) for key in keys]
            why = next((reasons[key] for key in keys if key in reasons), None)
            rows.append(row | ({"refused": why} if why else {}))
        tokens = sum(map(model.tokens, encoded))
        return rows, tokens, len(given)

    def _file(self, data: str) -> Path:
        return self._folder / f"{_slug(data)}.jsonl"

    def _read(self, data: str) -> None:
        """Take in the rewards that are in the file of these data."""
        anew = "--overwrite scores all anew"
        try:
            with self._file(data).open(encoding="utf-8") as file:
                for line in file:
                    row = json.loads(line)
                    keys = keys_of(row["prompt"], row["completions"])
                    self.known |= zip(keys, row["rewards"], strict=True)
                    self.refused = self.refused or row.get("refused", "")[:REASON]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise PlauditError(
                f"{self._file(data)}: is not as it was written ({error}); {anew}"
            ) from error
        asked = (key for prompt, texts in self.texts[data] for key in keys_of(prompt, texts))
        if any(key not in self.known for key in asked):
            raise PlauditError(f"{self._file(data)}: lacks rewards that were in it; {anew}")

    def _sum_up(self) -> None:
        about, costs = self._record["about"], [self._record["data"][data] for data in self.texts]
        sums = {
            name: sum(cost[name] for cost in costs)
            for name in ("completions", "tokens", "seconds", "truncated")
        }
        peaks = [cost["peak_memory_bytes"] for cost in costs if cost["peak_memory_bytes"]]
        shown = {name: value for name, value in about.items() if name != "untrained"}
        cost: Any = {**shown, **sums, "peak_memory_bytes": max(peaks, default=None)}
        self.cost = cost
        if about["untrained"]:
            self.notes.append(UNTRAINED)
        for data, cost_of in zip(self.texts, costs, strict=True):
            if seen := cost_of.get("trained_on"):
                self.notes.append(
                    f"{seen:,} of the {counted(len(self.texts[data]), 'prompt')} of {data} are "
                    "among its training texts, so it may know the answers by heart"
                )
        if any(cost_of.get("trained_on") is None for cost_of in costs):
            self.notes.append(
                "whether it was trained on any of these cannot be known: no hashes of its "
                "training texts lie beside it"
            )
        if sums["truncated"]:
            self.notes.append(
                f"{sums['truncated']:,} of {sums['completions']:,} completions are truncated to "
                f"{about['max_length']:,} tokens"
            )

    def rewards(self, ranking: Ranking) -> list[float] | None:
        """The rewards of a ranking's completions; None where the model does not take it."""
        found = []
        for key in keys_of(ranking.prompt, ranking.completions):
            reward = self.known[key]
            if reward is None:
                return None
            found.append(reward)
        return found


def _sorted_out(model: Scorer, asked: Sequence[Asked]) -> tuple[list[Asked], dict[Key, str]]:
    """What the model takes of these texts, and why it does not take the others."""
    kept: list[Asked] = []
    reasons = {}
    for prompt, completions in asked:
        taken = []
        for key, completion in zip(keys_of(prompt, completions), completions, strict=True):
            if refused := model.refusal(prompt, [completion]):
                reasons[key] = str(refused)
            else:
                taken.append(completion)
        if taken:
            kept.append((prompt, taken))
    return kept, reasons


def _of_length(data: SuiteData, resamples: int, seed: int) -> str:
    """What the longer answer's being better reaches on the same rows, in words."""
    score = scores_of(data, lengths_of(data.rankings), resamples, seed)["score"]
    reached = Figure(**score) if score else "no score"
    return f"preferring the longer answer gets {reached}"


def _trained_on(model: Scorer, asked: Sequence[Asked]) -> int | None:
    """How many of the prompts the model was trained on; None where nobody can know."""
    rankings = [Ranking(prompt, [*texts], [0] * len(texts)) for prompt, texts in asked]
    found = overlap(model.training_texts(), rankings)
    return int(found.seen.sum()) if found.known else None


def _about(model: Scorer) -> dict[str, Any]:
    """What a model is, as far as it says what a reward costs."""
    members = model.members if isinstance(model, Ensemble) else [model]
    own = [member for member in members if isinstance(member, RewardModel)]
    parameters = sum(p.numel() for member in own for p in member.model.parameters())
    return {
        "parameters": parameters or None,
        "dtype": ", ".join(dict.fromkeys(dtype_name(member.dtype) for member in own)),
        "device": str(model.device),
        "max_length": model.max_length,
        "untrained": model.new_head,
    }


def _version(model: str) -> str:
    """A digest of a model's files, or the commit of one on the hub; empty where it is neither.

    Times do not count: a copy is the same model. All of each file does: a head that was trained
    alone is a few bytes of a large one.
    """
    path = Path(model)
    inner = path / "model" if (path / "model").is_dir() else path
    files = [inner] if inner.is_file() else sorted(f for f in inner.glob("*") if f.is_file())
    if not files:
        try:
            return "" if path.exists() else commit_of(locate(model)) or ""
        except PlauditError:  # which loading says better
            return ""
    digest = hashlib.blake2b(digest_size=8)
    for each in files:
        with each.open("rb") as file:
            digest.update(each.name.encode() + hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _larger(cost: Mapping[str, Any], peak: int | None) -> int | None:
    before = cost["peak_memory_bytes"]
    return peak if before is None or (peak is not None and peak > before) else before


# ---- texts ----


def _digest(asked: Sequence[Asked]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for prompt, completions in asked:
        texts = [text_key(prompt), *map(text_key, completions)]
        digest.update(json.dumps(texts).encode())
    return digest.hexdigest()


def _slug(name: str) -> str:
    """A name as that of a file; names that differ stay apart.

    >>> _slug("first"), _slug("runs/first")
    ('first', 'runs-first-3b353c')
    """
    plain = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip(".-")[:80]
    if plain == name:
        return name
    return f"{plain}-{hashlib.blake2b(name.encode(), digest_size=3).hexdigest()}"


# ---- summing up ----


def _summed_up(
    scoring: Sequence[_Scoring], data: Mapping[str, Entrant], resamples: int, seed: int
) -> BenchRecord:
    """Scores on the rows that all models take, and how the models compare on them."""
    able = {one.name: one for one in scoring if one.problem is None}
    kept: dict[str, SuiteData] = {}
    rewards: dict[str, dict[str, list[list[float]]]] = {name: {} for name in able}
    refused: dict[str, dict[str, int]] = {one.name: {} for one in scoring}
    records: dict[str, BenchedData] = {}
    for name, (whole, kind, files) in data.items():
        given = {m: [one.rewards(r) for r in whole.rankings] for m, one in able.items()}
        notes = []
        for m, of in given.items():
            if count := sum(row is None for row in of):
                refused[m][name] = count
                why = able[m].refused
                notes.append(f"{m} does not take {count:,} of {len(of):,} rows ({why})")
        taking = {m: of for m, of in given.items() if any(row is not None for row in of)}
        common = [
            i for i, rows in enumerate(zip(*taking.values(), strict=True)) if None not in rows
        ]
        if notes and common:
            notes.append(
                f"models are compared on the {len(common):,} rows that all of "
                f"{', '.join(taking)} take"
            )
        scores: dict[str, PartRecord] = {}
        if common:
            kept[name] = replace(whole, items=[whole.items[i] for i in common])
            for m, of in taking.items():
                rewards[m][name] = [row for i in common if (row := of[i]) is not None]
                scores[m] = scores_of(kept[name], rewards[m][name], resamples, seed)
            notes.append(_of_length(kept[name], resamples, seed))
        elif able:
            notes.append("there is no row that all models take")
        of_rows = about(kept[name] if common else whole)
        records[name] = {
            "kind": kind,
            "title": of_rows["title"],
            "files": files,
            "definition": of_rows["definition"],
            "source": of_rows["source"],
            "counts": of_rows["counts"],
            "complete": bool(common) and of_rows["complete"],
            "notes": [*of_rows["notes"], *notes],
            "scores": scores,
            "best": None,
            "tied": [],
        }
    compared = compare(kept, rewards, resamples=resamples, seed=seed)
    for name, standing in compared.standings.items():
        if name != MEAN:
            records[name]["best"], records[name]["tied"] = standing.best, standing.tied
    mean = compared.standings.get(MEAN)
    models: dict[str, BenchedModel] = {
        one.name: {
            "problem": one.problem,
            "cost": one.cost,
            "refused": refused[one.name],
            "notes": one.notes,
        }
        for one in scoring
    }
    summary: BenchRecord = {
        "schema_version": SCHEMA_VERSION,
        "passed": len(able) == len(scoring),
        "machine": _machine(),
        "models": models,
        "data": records,
        "mean": {"scores": compared.means, "best": mean.best, "tied": mean.tied} if mean else None,
        "comparisons": compared.comparisons,
        "verdict": [],
    }
    return {**summary, "verdict": verdict(summary)}


def _machine() -> MachineRecord:
    cuda = torch.cuda.is_available()
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if cuda else None,
    }
