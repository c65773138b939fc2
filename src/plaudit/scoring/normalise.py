"""Fit what a model's rewards are normalised by, on reference data, and store it with the model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import numpy as np

from plaudit.console import progress
from plaudit.data.columns import mapped_in_each
from plaudit.data.parse import reject
from plaudit.data.rankings import Rejected, Text
from plaudit.data.readers import BadRows, OnBadRow
from plaudit.data.rows import find_sources
from plaudit.data.tasks import Task, Tasks
from plaudit.errors import PlauditError
from plaudit.files import read_json, report_rejected, write_json, writing
from plaudit.model.checkpoint import CONFIG_KEY
from plaudit.model.devices import Dtype
from plaudit.model.normalisation import Normalisation
from plaudit.model.reward_model import RewardModel
from plaudit.model.saving import stored_settings
from plaudit.settings import ReadAs

# A standard deviation that is no more than so much of the mean is rounding.
ROUNDING = 1e-6
NOTE = "With plaudit its rewards are normalised: "


def normalise(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    *,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    on_bad_row: OnBadRow = "reject",
    max_rejected: float = 0.1,
    overwrite: bool = False,
    dtype: Dtype = "auto",
    max_length: int | None = None,
    encoder_text: ReadAs | None = None,
    separator: str | None = None,
) -> Normalisation:
    """Measure a model's rewards of the completions of `data`, and store how to normalise them.

    The two numbers go into the model folder's config.json (and a line of its README.md, where there
    is one); the weights are not touched. `RewardModel.load` applies them from then on.

    Args:
        model: a run folder or a model folder.
        data: files, folders, globs or a data set on the hub, with whatever can be scored: prompts
            with completions, rankings, pairs. Completions like those that are to be compared.
        columns: our name of a column → the one in the data, where it is not recognised.
        encoding: of text files that are not in UTF-8.
        on_bad_row: "stop" at the first row that cannot be scored, or "reject" it and go on.
        max_rejected: stop when more than this share of the rows is rejected. The rejected ones go
            to `rejected.jsonl` in the current folder.
        overwrite: replace what an earlier call stored.
        dtype: what matrix products run in; see `RewardModel.load`.
        max_length: tokens of a row; see there, too.
        encoder_text: how an encoder from elsewhere reads a row; see there, too.
        separator: what stands between prompt and completion of plain text; see there, too.

    Raises:
        PlauditError: when the model is in no folder or its head is new, when it is normalised
            already, when the data cannot be read, or when its rewards are all the same.

    >>> normalise("runs/first", "answers_ranked.csv")
    Normalisation(mean=..., std=..., completions=..., data=['answers_ranked.csv'])
    """
    folder = Path(model)
    folder = folder / "model" if (folder / "model" / "config.json").is_file() else folder
    file = folder / "config.json"
    if folder.exists() and not file.is_file() and not (folder / "config.yaml").is_file():
        raise PlauditError(
            f"{model}: normalisation is kept in a model folder; normalise the folder, then export"
        )
    if not folder.exists():
        raise PlauditError(f"{model}: there is no such folder, and normalisation is kept in one")
    scorer = RewardModel.load(
        folder, normalised=False, dtype=dtype, max_length=max_length, encoder_text=encoder_text,
        separator=separator,
    )  # fmt: skip
    if scorer.new_head:
        raise PlauditError(f"{model}: has no trained reward head; train it first")
    config = read_json(file)
    stored = stored_settings(scorer.encoding, scorer.pooling) | (config.get(CONFIG_KEY) or {})
    if "normalisation" in stored and not overwrite:
        raise PlauditError(f"{model}: is normalised already; --overwrite does it anew")

    sources = find_sources(data, None, True, encoding)
    bad = BadRows(sources[0].name, on_bad_row, max_rejected)
    each = zip(sources, mapped_in_each(sources, columns), strict=True)
    tasks = [Tasks(source, mapped) for source, mapped in each]
    scored = scorer.score_all(_texts(tasks, scorer, bad))
    with scorer.telling_truncation():
        rewards = np.array([r for some in progress(scored, "scoring") for r in some])
    bad.stop_if_too_many()
    report_rejected(bad, None)
    if not len(rewards) or rewards.std() <= ROUNDING * max(1.0, abs(rewards.mean())):
        raise PlauditError(
            f"{sources[0].name}: the rewards of its {len(rewards):,} completions are all the same, "
            "so they have no unit; give data with different completions"
        )
    names = [source.name.rstrip("/").split("/")[-1] for source in sources]
    fitted = Normalisation(float(rewards.mean()), float(rewards.std()), len(rewards), names)
    _note(folder / "README.md", fitted)
    config[CONFIG_KEY] = stored | {"normalisation": asdict(fitted)}
    write_json(file, config)
    return fitted


def _texts(
    every: Sequence[Tasks], scorer: RewardModel, bad: BadRows
) -> Iterator[tuple[Text, Sequence[Text]]]:
    """Prompts with completions; rows without, and what the model refuses, are rejected."""
    for task in chain.from_iterable(every):
        found: Task | Rejected = task
        if isinstance(task, Task) and (why := scorer.refusal(task.prompt, task.completions)):
            found = reject(task.row, why)
        if bad.count(found):
            assert isinstance(found, Task)
            yield found.prompt, found.completions


def _note(card: Path, fitted: Normalisation) -> None:
    """Say on the model's card, where there is one, what its rewards are with and without us."""
    if not card.is_file():
        return
    text = card.read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if not line.startswith(NOTE)]
    line = (
        f"{NOTE}{fitted}. The weights are as they were: transformers alone gives the reward before "
        "that, and σ(r_a − r_b) is of that one."
    )
    with writing(card) as file:
        file.write("\n".join(kept).rstrip("\n") + f"\n\n{line}\n")
