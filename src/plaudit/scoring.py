"""Give every completion of a file its reward: any size, streamed, order kept, nothing lost.

A row is one prompt with what is to be scored: a completion, a list of completions, or chosen and
rejected. It comes out as it went in, with `reward`, `rewards`, or `reward_chosen` and
`reward_rejected` added. Rows that cannot be scored go to `rejected.jsonl` beside the output.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from plaudit.console import progress, say
from plaudit.data.cells import BadCellError, fit, implicit_prompt, read_list, read_text, shown
from plaudit.data.rankings import Rejected, Text
from plaudit.data.readers import columns_of
from plaudit.data.rows import Row, Source, find_sources, place
from plaudit.errors import PlauditError
from plaudit.files import writing

if TYPE_CHECKING:
    from plaudit.model.reward_model import RewardModel

ROWS_AT_ONCE = 256


def score_file(
    model: "RewardModel",
    data: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    strict: bool = False,
) -> int:
    """Score the rows of `data` into the JSONL file `output` (stdout without one).

    Returns the number of rows scored. Raises `PlauditError` when the data cannot be read, when a
    row is bad and `strict` is set, or when no row could be scored.
    """
    sources = find_sources(data, None, True)
    layouts = [_what_to_score(source, columns or {}) for source in sources]
    count = 0
    with _output(output) as file, _rejects(output) as reject:
        every_row = (
            (row, layout, source.all_text)
            for source, layout in zip(sources, layouts, strict=True)
            for row in source.rows()
        )
        rows = progress(every_row, "scoring")
        while window := list(islice(rows, ROWS_AT_ONCE)):
            good: list[tuple[Row, str, Text, list[Text]]] = []
            for row, layout, all_text in window:
                try:
                    if row.values is None:
                        raise BadCellError(row.problem or "cannot be read")
                    good.append((row, *_texts(row, layout, all_text)))
                except BadCellError as bad:
                    if strict:
                        raise PlauditError(f"{place(row.file, row.line)}: {bad}") from bad
                    what = row.raw if row.values is None else row.values
                    reject(Rejected(row.file, row.line, str(bad), shown(what)))
            rewards = model.score_all((prompt, texts) for _, _, prompt, texts in good)
            for (row, kind, _, _), scores in zip(good, rewards, strict=True):
                file.write(json.dumps(_scored(row, kind, scores), ensure_ascii=False) + "\n")
                count += 1
        if not count:
            raise PlauditError(f"{sources[0].name}: no row could be scored; see rejected.jsonl")
    return count


def read_prompts(path: str | Path, limit: int | None = None) -> list[Text]:
    """Distinct prompts, in order: a line each of a `.txt` file, or a prompt column of a data file.

    Raises `PlauditError` when there is none.
    """
    if Path(path).suffix == ".txt":
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise PlauditError(f"{path}: cannot be read: {error}") from error
        prompts: list[Text] = [line.strip() for line in lines if line.strip()]
    else:
        prompts = []
        for source in find_sources(path, None, True):
            column = columns_of(source, {}).found.get("prompt")
            if column is None:
                raise PlauditError(f"{source.name}: there is no prompt column")
            for row in source.rows():
                try:
                    value = (row.values or {}).get(column)
                    prompts.append(read_text(value, "prompt", source.all_text))
                except BadCellError as bad:
                    say(f"{place(row.file, row.line)}: {bad}: left out")
                if limit is not None and len({json.dumps(p) for p in prompts}) >= limit:
                    break
    distinct = list({json.dumps(prompt): prompt for prompt in prompts}.values())
    if not distinct:
        raise PlauditError(f"{path}: there is no prompt in it")
    return distinct[:limit]


def _what_to_score(source: Source, mapped: Mapping[str, str]) -> dict[str, str]:
    found = columns_of(source, mapped).found
    pair = "chosen" in found and "rejected" in found
    if not pair and ("prompt" not in found or not {"completion", "completions"} & set(found)):
        missing = "prompt" if "prompt" not in found else "completion"
        raise PlauditError(
            f"{source.name}: no column for the {missing}. Say which it is with "
            f"--columns {missing}=NAME"
        )
    return found


def _texts(row: Row, found: dict[str, str], all_text: bool) -> tuple[str, Text, list[Text]]:
    """What kind of row it is, its prompt, and the completions to score."""
    values = row.values or {}

    def cell(ours: str) -> Any:
        return values.get(found[ours])

    if "chosen" in found and "rejected" in found:
        chosen, rejected = (read_text(cell(k), k, all_text) for k in ("chosen", "rejected"))
        if "prompt" not in found:
            prompt, chosen, rejected = implicit_prompt(chosen, rejected)
            return "pair", prompt, [chosen, rejected]
        return "pair", *fit(read_text(cell("prompt"), "prompt", all_text), [chosen, rejected])
    prompt = read_text(cell("prompt"), "prompt", all_text)
    if "completions" in found:
        given = read_list(cell("completions"), "completions", all_text)
        if not given:
            raise BadCellError("the completions are missing")
        return "many", *fit(prompt, [read_text(text, "completion") for text in given])
    return "one", *fit(prompt, [read_text(cell("completion"), "completion", all_text)])


def _scored(row: Row, kind: str, rewards: list[float]) -> dict[str, Any]:
    values = shown(row.values)
    if kind == "pair":
        return values | {"reward_chosen": rewards[0], "reward_rejected": rewards[1]}
    return values | ({"rewards": rewards} if kind == "many" else {"reward": rewards[0]})


@contextmanager
def _output(path: str | Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
    else:
        with writing(path) as file:
            yield file


@contextmanager
def _rejects(output: str | Path | None) -> Iterator[Any]:
    """A function that takes rejected rows; the first one makes a file beside the output."""
    beside = (
        Path(output).parent / "rejected.jsonl" if output is not None else Path("rejected.jsonl")
    )
    kept: list[TextIO] = []
    count = 0

    def reject(rejected: Rejected) -> None:
        nonlocal count
        count += 1
        if not kept:
            kept.append(opened.__enter__())
        kept[0].write(json.dumps(rejected.as_dict(), ensure_ascii=False) + "\n")

    opened = writing(beside)
    try:
        yield reject
    finally:
        if kept:
            opened.__exit__(None, None, None)
            say(f"{count:,} rows rejected, with reasons, to {beside}")
