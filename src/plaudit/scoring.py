"""Give every completion of a file its reward: any size, streamed, order kept, nothing lost.

A row is one prompt with what is to be scored: a completion, a list of completions, or chosen and
rejected. It comes out as it went in, with `reward`, `rewards`, or `reward_chosen` and
`reward_rejected` added. Rows that cannot be scored go to `rejected.jsonl` beside the output, or in
the current folder where the output is stdout.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from plaudit.console import progress, say
from plaudit.data.cells import BadCellError, fit, implicit_prompt, read_list, read_text, shown
from plaudit.data.rankings import Rejected, Text
from plaudit.data.readers import columns_of
from plaudit.data.rows import Row, Source, find_sources, place
from plaudit.errors import PlauditError
from plaudit.files import refuse_to_overwrite, rejected_beside, writing
from plaudit.memory import keep_freed_memory

if TYPE_CHECKING:
    from plaudit.model.reward_model import Dtype, RewardModel

ROWS_AT_ONCE = 256
ADDED = ("reward", "rewards", "reward_chosen", "reward_rejected")


def score_file(
    model: "RewardModel | str | Path",
    data: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    strict: bool = False,
    overwrite: bool = False,
    dtype: "Dtype" = "auto",
) -> int:
    """Score the rows of `data` into the JSONL file `output` (stdout without one).

    Args:
        model: a reward model, or what `RewardModel.load` takes together with `dtype`.
        data: files, folders, globs or a data set on the hub.
        output: a `.jsonl` file, which appears when it is whole.
        columns: our name of a column → the one in the data, where it is not recognised.
        strict: stop at the first row that cannot be scored.
        overwrite: replace `output`, and the `rejected.jsonl` beside it if there are rejected rows.
            Without it rejected rows go to `rejected-2.jsonl` where the name is taken.

    Returns:
        The number of rows scored.

    Raises:
        PlauditError: when the data cannot be read, when no row could be scored or, with `strict`,
            one could not, when a column of the data is called as one that is added, when a reward
            is not a finite number, or when the output would replace something.

    >>> score_file("runs/finance", "answers.csv", "scored.jsonl")  # doctest: +SKIP
    4200
    """
    sources = find_sources(data, None, True)
    names = [source.name for source in sources]
    if output is not None:
        if Path(output).suffix not in (".jsonl", ".ndjson"):
            raise PlauditError(f"{output}: rewards are written as JSON lines; name it .jsonl")
        refuse_to_overwrite(output, overwrite, inputs=names)
    rejected_to = rejected_beside(output)
    found = [_what_to_score(source, columns or {}) for source in sources]
    if isinstance(model, str | Path):
        from plaudit.model.reward_model import RewardModel

        model = RewardModel.load(model, dtype=dtype)
    model.warn_if_untrained()
    keep_freed_memory()

    scored = rejected = 0
    with _output(output) as file, ExitStack() as rejects:
        rejects_file: TextIO | None = None
        for row in progress(_score(model, sources, found), "scoring"):
            if isinstance(row, Rejected):
                if strict:
                    raise PlauditError(f"{place(row.file, row.line)}: {row.reason}")
                rejects_file = rejects_file or rejects.enter_context(writing(rejected_to))
                rejects_file.write(json.dumps(row.as_dict(), ensure_ascii=False) + "\n")
                rejected += 1
            else:
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
                scored += 1
        model.report_truncation()
        # Before the output, which does not appear when no row could be scored; the reasons do.
        rejects.close()
        if rejected:
            say(f"{rejected:,} rows rejected, with reasons, to {rejected_to}")
        if not scored:
            raise PlauditError(f"{sources[0].name}: no row could be scored; see {rejected_to}")
    return scored


def read_prompts(
    path: str | Path, limit: int | None = None, columns: Mapping[str, str] | None = None
) -> list[Text]:
    """Distinct prompts, in order: a line each of a `.txt` file, or a prompt column of a data file.

    Args:
        path: a `.txt` file, or what `score_file` takes as data.
        limit: take only the first so many.
        columns: `{"prompt": name}` where the column is not recognised.

    Raises:
        PlauditError: when there is no prompt.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "prompts.txt"
    >>> _ = file.write_text("What is a bond?\\n\\nWhat is a share?\\nWhat is a bond?\\n")
    >>> read_prompts(file)
    ['What is a bond?', 'What is a share?']
    """
    distinct: dict[str, Text] = {}
    for prompt in _prompts(path, columns or {}):
        distinct.setdefault(json.dumps(prompt), prompt)
        if len(distinct) == limit:
            break
    if not distinct:
        raise PlauditError(f"{path}: there is no prompt in it")
    return list(distinct.values())


def _prompts(path: str | Path, columns: Mapping[str, str]) -> Iterator[Text]:
    if Path(path).suffix == ".txt":
        try:
            with open(path, encoding="utf-8-sig") as lines:
                yield from (line.strip() for line in lines if line.strip())
        except OSError as error:
            raise PlauditError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise PlauditError(f"{path}: is not UTF-8; save it as UTF-8") from error
        return
    for source in find_sources(path, None, True):
        found, names, _ = columns_of(source, columns)
        if "prompt" not in found:
            raise PlauditError(
                f"{source.name}: no column for the prompt; found: {', '.join(names[:20])}. "
                "Say which it is with --columns prompt=NAME"
            )
        left_out = 0
        for row in source.rows():
            try:
                yield read_text(_values(row).get(found["prompt"]), "prompt", source.all_text)
            except BadCellError as bad:
                left_out += 1
                if left_out == 1:
                    say(f"{place(row.file, row.line)}: {bad}: left out")
        if left_out > 1:
            say(f"{source.name}: {left_out:,} rows without a prompt left out")


# ---- from rows to rewards ----


class _Task(NamedTuple):
    """What is to be scored in a row, and what its rewards will be called."""

    row: Row
    kind: str
    prompt: Text
    completions: list[Text]


def _what_to_score(source: Source, mapped: Mapping[str, str]) -> dict[str, str]:
    """Our name → its name of the columns; raises where there is nothing to score in them."""
    found, names, _ = columns_of(source, mapped)
    pair = "chosen" in found and "rejected" in found
    if not pair and ("prompt" not in found or not {"completion", "completions"} & set(found)):
        missing = "prompt" if "prompt" not in found else "completion"
        raise PlauditError(
            f"{source.name}: no column for the {missing}; found: {', '.join(names[:20])}. "
            f"Say which it is with --columns {missing}=NAME"
        )
    taken = [name for name in names if name in ADDED]
    if taken:
        raise PlauditError(
            f"{source.name}: has a column {taken[0]} already, which would be lost; rename it"
        )
    return found


def _score(
    model: "RewardModel", sources: list[Source], found: list[dict[str, str]]
) -> Iterator[dict[str, Any] | Rejected]:
    """Every row of every source in its order, with rewards, or rejected."""
    every = (
        _task(row, columns, source.all_text)
        for source, columns in zip(sources, found, strict=True)
        for row in source.rows()
    )
    while window := list(islice(every, ROWS_AT_ONCE)):
        tasks = [task for task in window if isinstance(task, _Task)]
        rewards = model.score_all((task.prompt, task.completions) for task in tasks)
        for task in window:
            yield _with_rewards(task, next(rewards)) if isinstance(task, _Task) else task


def _task(row: Row, found: dict[str, str], all_text: bool) -> _Task | Rejected:
    try:
        return _Task(row, *_texts(_values(row), found, all_text))
    except BadCellError as bad:
        what = row.raw if row.values is None else row.values
        return Rejected(row.file, row.line, str(bad), shown(what))


def _texts(
    values: dict[str, Any], found: dict[str, str], all_text: bool
) -> tuple[str, Text, list[Text]]:
    """What kind of row it is, its prompt, and the completions to score."""

    def cell(ours: str) -> Any:
        return values.get(found[ours])

    for name in ADDED:
        if name in values:  # only where rows name their own columns, and this one late
            raise BadCellError(f"the row has a {name} already")

    def has(*names: str) -> bool:
        # A file may hold rows of several kinds: what a row has decides, where any kind fits.
        return all(name in found and cell(name) is not None for name in names)

    pairs = "chosen" in found and "rejected" in found
    if has("chosen", "rejected") or (pairs and not has("completions") and not has("completion")):
        chosen, rejected = (read_text(cell(k), k, all_text) for k in ("chosen", "rejected"))
        if "prompt" not in found:
            prompt, chosen, rejected = implicit_prompt(chosen, rejected)
            return "pair", prompt, [chosen, rejected]
        return "pair", *fit(read_text(cell("prompt"), "prompt", all_text), [chosen, rejected])
    prompt = read_text(cell("prompt"), "prompt", all_text)
    if has("completions") or "completion" not in found:
        given = read_list(cell("completions"), "completions", all_text)
        if not given:
            raise BadCellError("the completions are missing")
        return "many", *fit(prompt, [read_text(text, "completion") for text in given])
    return "one", *fit(prompt, [read_text(cell("completion"), "completion", all_text)])


def _values(row: Row) -> dict[str, Any]:
    if row.values is None:
        raise BadCellError(row.problem or "cannot be read")
    return row.values


def _with_rewards(task: _Task, rewards: list[float]) -> dict[str, Any]:
    if not all(map(math.isfinite, rewards)):
        raise PlauditError(
            f"{place(task.row.file, task.row.line)}: the model's reward is not a finite number; "
            "was it trained to the end, without an overflow?"
        )
    values: dict[str, Any] = shown(task.row.values)
    if task.kind == "pair":
        return values | {"reward_chosen": rewards[0], "reward_rejected": rewards[1]}
    return values | ({"rewards": rewards} if task.kind == "many" else {"reward": rewards[0]})


@contextmanager
def _output(path: str | Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
    else:
        with writing(path) as file:
            yield file
