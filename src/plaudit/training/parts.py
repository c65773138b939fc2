"""The rankings of a run by what they are for, and as rows of tokens.

Read, divided by prompt or taken from files of their own, encoded at once or as they are read.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
from datasets.io.generator import GeneratorDatasetInputStream

from plaudit import console
from plaudit.data.mixing import Mixture, load_mixture
from plaudit.data.rankings import Ranking
from plaudit.data.readers import Rankings, load_beside, load_rankings
from plaudit.data.splits import prompt_hash, split_by_prompt, without_prompts_of
from plaudit.errors import PlauditError
from plaudit.model.encoding import Encoding, RefusedError, count_truncation, why_all_equal
from plaudit.model.seen import ENCODE_AT_ONCE, each_encoded, each_encoded_ahead, taken
from plaudit.model.trained_on import Collecting
from plaudit.settings import Settings
from plaudit.training.controls import levels
from plaudit.training.objectives import OBJECTIVES
from plaudit.training.processes import processes, say_once

SHUFFLE_BUFFER = 1000  # rankings of a stream that are read ahead to be shuffled


@dataclass(frozen=True)
class Parts:
    """The rankings of a run by what they are for; no prompt is in two of them."""

    train: Sequence[Ranking] | Rankings
    validation: list[Ranking]
    test: list[Ranking]
    held_out: frozenset[str]  # keys of the prompts that a streamed `train` must leave out


# What a run is given as data: names, with weights or without, or what was read already.
Given = str | Path | Sequence[Any] | Mapping[str, float] | Rankings | None


def name_data(data: Given) -> dict[str, Any]:
    """The setting `data` for what was given, if it was; of a mixture also how it is drawn."""
    if data is None:
        return {}
    if isinstance(data, Mixture):
        return {"data": {one.name: one.share for one in data.sources}, "mixture": data.way}
    if isinstance(data, Mapping):
        return {"data": {str(name): weight for name, weight in data.items()}}
    if isinstance(data, Rankings):
        return {"data": data.files or "rankings in memory"}
    if isinstance(data, list | tuple):
        return {"data": [str(d) if isinstance(d, str | Path) else d for d in data]}
    return {"data": str(data)}


def load(data: Given, chosen: Settings, **more: Any) -> Rankings:
    """The rankings that the settings name, or those that were given as they are; `more` goes before
    what the settings say of the reading."""
    if isinstance(data, Rankings):
        return data
    how = reading(chosen) | more
    if isinstance(chosen.data, dict):
        return load_mixture(chosen.data, chosen.mixture, **how)
    return load_rankings(chosen.data, **how)


def load_for(data: Given, chosen: Settings) -> Rankings:
    """The rankings that the settings name, in memory, or those that were given as they are."""
    if chosen.streaming and not isinstance(data, Rankings):
        raise PlauditError("streaming: only `plaudit train` can; here all data must fit in memory")
    return load(data, chosen, streaming=False)


def say_how_read(rankings: Rankings, look: str) -> None:
    """Say how many rows were rejected and why, which rank is better, and what columns were taken
    for; `look` says where the rejected rows are."""
    if rankings.rejected:
        say_once(f"{rankings.summary()}: {look}")
    named = [f"{name} is {column}" for name, column in rankings.columns.items() if name != column]
    say_once("; ".join([f"better: {rankings.better}", *named]))


def drawn(
    train: Sequence[Ranking] | Rankings, rankings: Rankings, settings: Settings
) -> Sequence[Ranking] | Rankings:
    """The training rankings of an epoch: those that are `usable`, and of a mixture so many of each
    source as its share allows.

    A stream is drawn from as it is read.

    Raises:
        PlauditError: where nothing is left.
    """
    train = usable(train, settings)
    if not isinstance(rankings, Mixture) or isinstance(train, Rankings):
        return train
    those = rankings.draw(train, settings.seed)
    say_once(f"a mixture, drawn by weight: {len(those):,} rankings in an epoch")
    for line in rankings.describe_draw(train, those):
        say_once(line)
    return those


def usable(train: Sequence[Ranking] | Rankings, settings: Settings) -> Sequence[Ranking] | Rankings:
    """The training rankings that have what the loss learns from; of a stream, all: there the loss
    is 0 for the others."""
    if isinstance(train, Rankings):
        return train
    objective = OBJECTIVES.get(settings.loss)
    for name in objective.needs():
        has = [ranking for ranking in train if getattr(ranking, name) is not None]
        if len(has) < len(train):
            say_once(
                f"{len(train) - len(has):,} of {len(train):,} training rankings are left out: "
                f"{settings.loss} learns from {name}, and they have none"
            )
        train = has
    if not any(ranking.weight > 0 for ranking in train):
        raise PlauditError(
            "weight: is 0 for every training ranking, so there is nothing to learn; give some more"
        )
    margins = sum(ranking.margin is not None for ranking in train)
    if margins and not objective.takes("margin"):
        say_once(f"{margins:,} rankings have a margin, which {settings.loss} does not use")
    return train


def reading(settings: Settings) -> dict[str, Any]:
    """What `load_rankings` takes of the settings."""
    return {
        "columns": settings.columns,
        "streaming": settings.streaming,
        "on_bad_row": settings.on_bad_row,
        "max_rejected": settings.max_rejected,
        "encoding": settings.encoding,
    }


def split(rankings: Rankings, settings: Settings) -> Parts:
    """Hold out test and validation prompts, or take them from files of their own."""
    given = given_parts(settings)
    fractions = [
        0.0 if name in given else getattr(settings, f"{name}_fraction")
        for name in ("test", "validation")
    ]
    train: Sequence[Ranking] | Rankings
    if rankings.streaming:
        test, validation = _head_of_stream(rankings, fractions, settings, given)
        train = rankings
    else:
        rest = without_given(rankings, given)
        test, validation, train = split_by_prompt(rest, fractions, settings.seed_of_split)
    test, validation = given.get("test", test), given.get("validation", validation)
    validation = _unlike_test(validation, test)
    held_out = frozenset(ranking.key for part in (test, validation) for ranking in part)
    return Parts(train, validation, test, held_out)


def _unlike_test(validation: list[Ranking], test: list[Ranking]) -> list[Ranking]:
    """The validation rankings whose prompts are not among those to test on: what is tested must
    not have chosen the checkpoint, or the settings of a search."""
    rest = without_prompts_of(validation, test)
    if len(rest) < len(validation):
        say_once(
            f"{len(validation) - len(rest):,} rankings left out of the validation data: their "
            "prompts are among those to test on"
        )
    if validation and not rest:
        raise PlauditError(
            "every prompt to validate on is among those to test on; give other validation data"
        )
    return rest


def with_steps(settings: Settings, rankings: Rankings, parts: Parts) -> Settings:
    """The settings, with the number of steps where data are streamed and epochs say how long.

    Raises:
        PlauditError: where the length of a stream cannot be known.
    """
    if not isinstance(parts.train, Rankings) or not rankings.streaming or settings.max_steps > 0:
        return settings
    held_out: list[Ranking] = []
    held_out += parts.validation if settings.validation_data is None else []
    held_out += parts.test if settings.test_data is None else []
    about = rankings.about(held_out)
    if about is None:
        raise PlauditError(
            "max_steps: is needed when data are streamed whose length is not known: for example "
            "--max-steps 1000 (or --no-streaming to read everything first)"
        )
    train = max(about, 1)
    step = settings.per_device_train_batch_size * processes().num_processes
    passes = settings.num_train_epochs
    each = math.ceil(math.ceil(train / step) / settings.gradient_accumulation_steps)
    steps = math.ceil(passes * each)
    say_once(f"about {train:,} rankings to train on: {steps:,} steps for {passes:g} passes")
    return settings.model_copy(update={"max_steps": steps})


def given_parts(settings: Settings) -> dict[str, list[Ranking]]:
    """`test` and `validation`, as far as they are files of their own; of several sets each ranking
    has the name of its set."""
    sources = {name: getattr(settings, f"{name}_data") for name in ("test", "validation")}
    how = reading(settings)
    return {
        name: [
            replace(ranking, source=of) if of else ranking
            for of, one in (source.items() if isinstance(source, dict) else [("", source)])
            for ranking in load_beside(one, **how)
        ]
        for name, source in sources.items()
        if source is not None
    }


def without_given(rankings: Rankings, given: dict[str, list[Ranking]]) -> list[Ranking]:
    """The rankings whose prompts are in none of the parts that have files of their own."""
    rest = without_prompts_of(rankings, *given.values())
    if len(rest) < len(rankings):
        say_once(
            f"{len(rankings) - len(rest):,} rankings left out of the training data: their "
            "prompts are among those to test or validate on"
        )
    if not rest:
        raise PlauditError(
            "every training prompt is among those to test or validate on; give more data"
        )
    return rest


def _head_of_stream(
    rankings: Rankings,
    fractions: list[float],
    settings: Settings,
    given: dict[str, list[Ranking]],
) -> tuple[list[Ranking], list[Ranking]]:
    """Held-out rankings from the beginning of a stream, by the hash of their prompts; of a mixture
    from the beginning of each source."""
    elsewhere = {ranking.key for part in given.values() for ranking in part}
    parts: tuple[list[Ranking], list[Ranking]] = ([], [])
    wanted = [settings.max_validation_rankings if fraction else 0 for fraction in fractions]
    smallest = min((fraction for fraction in fractions if fraction), default=1.0)
    read = int(settings.max_validation_rankings / smallest) if any(fractions) else 0
    from_start = rankings.each_once() if read and isinstance(rankings, Mixture) else rankings
    for ranking in islice(from_start, read):
        place = prompt_hash(ranking.key, settings.seed_of_split) / 2**64
        number = 0 if place < fractions[0] else 1
        if ranking.key in elsewhere or place >= sum(fractions):
            continue
        if len(parts[number]) < wanted[number]:
            parts[number].append(ranking)
    return parts


def held_out_that_model_takes(parts: Parts, encoding: Encoding, data: Rankings) -> Parts:
    """The parts without those held-out rankings that chat template or tokenizer refuse.

    They are left out of `data`; what of the training rankings is, `encoded` finds.
    """
    return replace(
        parts,
        validation=taken(parts.validation, [encoding], data, "encoding the validation prompts"),
        test=taken(parts.test, [encoding], data, "encoding the test prompts"),
    )


def encoded_parts(
    parts: Parts,
    encoding: Encoding,
    settings: Settings,
    attributes: Sequence[str] = (),
    counts: dict[str, int] | None = None,
    data: Rankings | None = None,
    texts: Collecting | None = None,
) -> tuple[Any, datasets.Dataset | None]:
    """`encoded` training rankings, a stream's as they are read, and those of validation; None
    where there are none. `texts` takes those of a stream as they pass."""
    more: Any = {"control": settings.control, "attributes": attributes}
    train: Any
    if isinstance(parts.train, Rankings):
        train = _encoded_stream(
            parts.train, parts.held_out, encoding, settings, attributes, counts, texts
        )
    else:
        train = encoded(parts.train, encoding, "encoding", counts, data, **more)
    if not parts.validation:
        return train, None
    return train, encoded(parts.validation, encoding, "encoding the validation prompts", **more)


def encoded(
    rankings: Sequence[Ranking],
    encoding: Encoding,
    what: str,
    counts: dict[str, int] | None = None,
    data: Rankings | None = None,
    *,
    control: Sequence[str] = (),
    attributes: Sequence[str] = (),
) -> datasets.Dataset:
    """Tokens of all rankings as an Arrow table; `counts` gets how much truncation cut, and
    in how many pairs both completions became the same tokens.

    A ranking that chat template or tokenizer refuse, or whose completions are all the same tokens,
    is left out of `data`. Without them, the one is an error and the other stays.
    With a `control` a row has the levels of these F `nuisances` `[K, F]`, too, and with names of
    `attributes` these `[K, A]`.
    """
    tables = []
    windows = console.progress(range(0, len(rankings), ENCODE_AT_ONCE), what)
    for start in windows:
        window = rankings[start : start + ENCODE_AT_ONCE]
        each = each_encoded(window, encoding)
        rows = list(_encoded(each, encoding, counts, data, control, attributes))
        if rows:
            tables.append(datasets.Dataset.from_list(rows))
    if data is not None:
        data.stop_if_too_many()
        if not tables:
            raise data.nothing_left("to train on")
    return datasets.concatenate_datasets(tables)


def _encoded(
    each: Iterable[tuple[Ranking, dict[str, Any] | RefusedError]],
    encoding: Encoding,
    counts: dict[str, int] | None,
    data: Rankings | None,
    control: Sequence[str],
    attributes: Sequence[str],
    left: dict[str, int] | None = None,
) -> Iterator[dict[str, Any]]:
    """Encoded rankings; `left` gets what is counted of those that are left out, else `counts`."""
    for ranking, row in each:
        if isinstance(row, RefusedError):
            if data is None:
                raise row
            data.leave_out(ranking, row)
            continue
        equal = why_all_equal(row, encoding.unknown) if data is not None else None
        if counts is not None:
            into = left if equal and left is not None else counts
            count_truncation([row], into, encoding.unknown)
        if data is not None and equal:
            data.leave_out(ranking, equal)
            continue
        yield _row(ranking, row, control, attributes)


def _encoded_stream(
    data: Rankings,
    held_out: frozenset[str],
    encoding: Encoding,
    settings: Settings,
    attributes: Sequence[str],
    counts: dict[str, int] | None,
    texts: Collecting | None,
) -> datasets.IterableDataset:
    """Tokens of the training rankings, encoded as they are read, shuffled within a buffer."""
    total = {} if counts is None else counts

    left: dict[str, int] = {}  # of what one pass leaves out the next one has nothing
    longest: dict[str, int] = {}

    def rows() -> Iterator[dict[str, Any]]:
        kept = (ranking for ranking in data if ranking.key not in held_out)
        each = each_encoded_ahead(kept if texts is None else texts.passing(kept), encoding)
        passed: dict[str, int] = {}
        for row in _encoded(each, encoding, passed, data, settings.control, attributes, left):
            yield row
            if passed["completions"] >= longest.get("completions", 0):
                longest.update(passed)
            total.update({n: left.get(n, 0) + longest.get(n, 0) for n in left | longest})

    # Without a fingerprint all that `rows` reaches is pickled for one: tokenizer, data, functions.
    # That takes long, and fails where functions that others have replaced name each other.
    stream = GeneratorDatasetInputStream(rows, streaming=True, fingerprint="rows").read()
    return stream.shuffle(seed=settings.seed, buffer_size=SHUFFLE_BUFFER)


def attribute_table(ranking: Ranking, names: Sequence[str]) -> list[list[float]]:
    """The attributes `[K, A]` of these names, NaN where a completion has none.

    >>> attribute_table(Ranking("p", ["a", "b"], attributes={"depth": [4, 1]}), ["depth", "tone"])
    [[4.0, nan], [1.0, nan]]
    """
    given, none = ranking.attributes or {}, [math.nan] * len(ranking.completions)
    columns = [given.get(name, none) for name in names]
    return [list(map(float, row)) for row in zip(*columns, strict=True)]


def _row(
    ranking: Ranking, row: dict[str, Any], control: Sequence[str], attributes: Sequence[str]
) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if not name.endswith("_cut")}
    if control:
        tokens = map(sum, zip(row["completion_tokens"], row["completion_cut"], strict=True))
        kept["nuisances"] = levels(control, ranking, list(tokens))
    if attributes:
        kept["attributes"] = attribute_table(ranking, attributes)
    return kept
