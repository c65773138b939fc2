"""Every command, as a function: `plaudit.train(…)` in Python is `plaudit train …` in a shell.

A signature here declares the command's options: `cli` makes flags and `--help` of it, and of the
classes that the type of `**settings` names. Parameters without a sentence of help are for Python
alone. A function takes paths or objects and returns a typed result, which the command line prints.
It refuses what no option can tell alone, such as options that do not go together, before the work
begins. Nothing heavy is imported before a function is called.
"""

import importlib.util
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, overload

from pydantic import Field

from plaudit import settings as declared
from plaudit.errors import PlauditError, check_at_most_one
from plaudit.files import SCHEMA_VERSION
from plaudit.serving.settings import ServiceSettings
from plaudit.settings import (
    AboveZero,
    AtLeastZero,
    Count,
    Help,
    Overwrite,
    Settings,
    Without,
)

if TYPE_CHECKING:
    from plaudit.bundled.demo import Demo
    from plaudit.data.rankings import Ranking, Text
    from plaudit.data.readers import BadRows, Rankings
    from plaudit.evaluation.all_suites import SuitesResult
    from plaudit.evaluation.suite_rewards import SuiteScores
    from plaudit.evaluation.suite_run import SuiteResult
    from plaudit.installation import Installation
    from plaudit.model.normalisation import Normalisation
    from plaudit.model.reward_model import RewardModel
    from plaudit.model.scorer import Scorer
    from plaudit.reporting.evaluation import Evaluation
    from plaudit.results import InspectionSummary
    from plaudit.sampling.best_of_n import Generation
    from plaudit.sampling.comparing import Comparison
    from plaudit.sampling.policy import Policy
    from plaudit.sampling.policy_test import PolicyTest
    from plaudit.scoring.bench import Bench
    from plaudit.training.checks import SetUp
    from plaudit.training.crossval import CrossValidation
    from plaudit.training.frontier import Frontier
    from plaudit.training.run import Run
    from plaudit.training.search import Search
    from plaudit.training.variance import Variance
    from plaudit.verification.verify import Verification

Data = Annotated[
    "str | Path | Sequence[str | Path] | Rankings | Iterable[Ranking] | Any",
    Help("files, folders, globs or a hub name", "DATA", many=True),
]
Files = Annotated[
    "str | Path | Sequence[str | Path]",
    Help("files, folders, globs or a hub name", "DATA", many=True),
]
RunData = Annotated[
    "str | Path | Sequence[Any] | Mapping[str, float] | Rankings | Iterable[Ranking] | Any | None",
    Help(
        "files, folders, globs or hub names; a.csv:0.7 b.jsonl:0.3 is a mixture", "DATA", many=True
    ),
]
_MODEL = "run, model folder, .pt file or hub name"
Model = Annotated["Scorer | str | Path | Sequence[str | Path]", Help(_MODEL, "MODEL")]
OptionalModel = Annotated[
    "Scorer | str | Path | Sequence[str | Path] | None", Help(_MODEL, "MODEL")
]
PolicyName = Annotated[
    "Policy | str | Path", Help("causal model", "NAME", flag=True, default="embedded:smollm2")
]
# Of `score` and `generate`, which lose no row: there a default need not guard against loss.
MaxRejectedOfAll = Annotated[
    float,
    Field(ge=0, le=1),
    Help(
        "stop when more than this share of the rows is rejected; by default never, since every row "
        "is in the output or among the rejected"
    ),
]
_PROMPTS = "a prompt a line (.txt), or data with a prompt column"
RunFolder = Annotated["str | Path | None", Help("run folder; by default in runs/", "RUN")]
Config = Annotated["str | Path | None", Help("YAML file of settings; flags go before it", "FILE")]
Resume = Annotated[bool, Help("continue what was interrupted in the output")]


class Written(NamedTuple):
    """A file that a command wrote, how many rows are in it, and where rejected ones are."""

    path: Path | None
    rows: int | None = None
    rejected_to: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return _of_paths(self)


class Sample(NamedTuple):
    """The two files of the bundled data."""

    ranked: Path
    pairs: Path

    def __str__(self) -> str:
        return f"{self.ranked}\n{self.pairs}"

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return _of_paths(self)


def _of_paths(files: Any) -> dict[str, Any]:
    """Fields of a result, with paths as texts, as far as there is something in them."""
    named = {name: value for name, value in files._asdict().items() if value is not None}
    return {n: str(value) if isinstance(value, Path) else value for n, value in named.items()}


@dataclass(frozen=True)
class Inspection:
    """What is in preference data: counts, lengths, faults, and what to do about them."""

    summary: "InspectionSummary"

    def __str__(self) -> str:
        from plaudit.inspection.advice import format_inspection

        return format_inspection(dict(self.summary))

    def as_json(self) -> "InspectionSummary":
        """What `--json` prints."""
        return self.summary


@dataclass(frozen=True)
class Plugins:
    """Everything that has a name and can be chosen: kind → name → the package that brings it."""

    summary: dict[str, dict[str, str]]

    def __str__(self) -> str:
        lines = []
        for kind, names in self.summary.items():
            lines.append(f"{kind}s")
            width = max(map(len, names), default=0)
            lines += [f"  {name:{width}}  {origin}" for name, origin in names.items()]
        return "\n".join(lines)

    def as_json(self) -> dict[str, dict[str, str]]:
        """What `--json` prints."""
        return self.summary


# ---- data ----


def demo(
    output: Annotated[str | Path, Help("folder for all of it", "DIR", flag=True)] = "demo",
    *,
    overwrite: Overwrite = False,
    max_steps: Annotated[Count | None, Help("stop training after this many steps")] = None,
) -> "Demo":
    """Walk the whole road on bundled data and embedded models, offline.

    >>> demo("demo").test.summary["pairwise_accuracy"]["value"]  # doctest: +SKIP
    0.87
    """
    from plaudit.bundled.demo import demo

    return demo(output, overwrite=overwrite, max_steps=max_steps)


def sample(
    output: Annotated[str | Path, Help("folder to write to", "DIR", flag=True)] = ".",
    *,
    n: Annotated[Count, Help("prompts")] = 400,
    seed: declared.Seed = 0,
    overwrite: Overwrite = False,
) -> Sample:
    """Write the bundled example data: ranked answers and pairs.

    >>> import tempfile
    >>> sample(tempfile.mkdtemp(), n=4).ranked.name
    'sample_ranked.csv'
    """
    from plaudit.bundled.sample import write_sample

    return Sample(*write_sample(output, n=n, seed=seed, overwrite=overwrite))


def inspect(
    data: Data,
    *,
    columns: declared.Columns = None,
    encoding: declared.Encoding = None,
    streaming: declared.Streaming = None,
    on_bad_row: declared.OnBadRow = "reject",
    max_rejected: declared.MaxRejected = 0.1,
    rejected: Annotated[
        str | Path | None, Help("write the rejected rows here, with reasons", "FILE")
    ] = None,
    split: Annotated[
        Sequence[str] | None,
        Help("another part of the data: finds prompts that both have; may be repeated", "FILE"),
    ] = None,
    predictions: Annotated[
        str | Path | None,
        Help(
            "predictions.jsonl of plaudit cv on DATA: finds the pairs likeliest to be mislabelled",
            "FILE",
        ),
    ] = None,
    mislabelled: Annotated[
        bool, Help("the same without a file: cross-validates a head on embedded:minilm first")
    ] = False,
    suspects: Annotated[
        str | Path | None, Help("write these pairs here, likeliest first (.jsonl)", "FILE")
    ] = None,
    base: Annotated[
        str | None, Help("say what this base model would see of the data", "NAME")
    ] = None,
    model: Annotated[str | None, Help("the same of a trained model", "MODEL")] = None,
    show: Annotated[
        Count | None,
        Help("print the first so many rankings as the model sees them, to the token"),
    ] = None,
    chat_template: declared.ChatTemplate = None,
    chat_template_args: declared.ChatTemplateArgs = {},  # noqa: B006
    max_length: declared.MaxLength = None,
    trust_remote_code: declared.TrustRemoteCode = False,
    overwrite: Overwrite = False,
    strict: bool = False,
) -> Inspection:
    """Say what is in preference data.

    Raises `PlauditError` when the data cannot be read, or options do not go together.

    >>> inspect("ranked.csv").summary["pairs"]  # doctest: +SKIP
    36
    """
    from plaudit.data.readers import as_rankings, load_beside
    from plaudit.files import refuse_to_overwrite, write_jsonl
    from plaudit.inspection.advice import advise, verdict
    from plaudit.inspection.rankings import inspect_rankings

    if suspects and not (predictions or mislabelled):
        raise PlauditError(
            "--suspects needs out-of-fold rewards: give --mislabelled or --predictions FILE too"
        )
    check_at_most_one(predictions=predictions, mislabelled=mislabelled)
    check_at_most_one(base=base, model=model)
    asked = (("max-length", max_length), ("chat-template", chat_template),
             ("chat-template-args", chat_template_args))  # fmt: skip
    for flag, value in asked:
        if value and not (base or model or show):
            raise PlauditError(
                f"--{flag}: needs --base, --model or --show; give one of them, or leave this out"
            )
    outputs = [path for path in (rejected, suspects) if path]
    if len({os.path.realpath(path) for path in outputs}) < len(outputs):
        raise PlauditError("--rejected and --suspects name one file; they need one each")
    for path in outputs:
        refuse_to_overwrite(path, overwrite)
    reading: dict[str, Any] = {
        "columns": columns, "encoding": encoding, "streaming": streaming,
        "on_bad_row": _stops(on_bad_row, strict), "max_rejected": max_rejected,
    }  # fmt: skip
    rankings = as_rankings(data, **reading)
    splits = {path: load_beside(path, **reading) for path in split or ()}
    for path in outputs:
        inputs = [*rankings.files, *(split or ()), predictions or ""]
        refuse_to_overwrite(path, overwrite, inputs=inputs)
    seen = None
    if base or model or show:
        from plaudit.inspection.model_view import view
        from plaudit.model.reward_model import RewardModel

        name = model or base or Settings.model_fields["base"].default
        reader = RewardModel.load(
            name, max_length=max_length, chat_template=chat_template,
            chat_template_args=chat_template_args, device="cpu", dtype="float32",
            trust_remote_code=trust_remote_code,
        )  # fmt: skip
        seen = view(rankings, reader, name, show or 0)
    summary = inspect_rankings(rankings, splits)
    usual = Settings.model_fields["max_rejected"].default
    summary["read_with"] = _flags(
        columns=columns, encoding=encoding,
        max_rejected=max_rejected if max_rejected != usual else None,
        chat_template=chat_template, chat_template_args=chat_template_args,
    )  # fmt: skip
    if seen:
        summary["model_sees"] = seen
    if predictions or mislabelled:
        from plaudit.inspection.labels import check_labels, judge, read_predictions

        held = list(rankings)
        if predictions:
            rewards = read_predictions(predictions, held)
        else:
            from plaudit.training.crossval import out_of_fold_rewards

            rewards = out_of_fold_rewards(held)
        labels = check_labels(held, rewards)
        summary["mislabelled"] = labels.summary() | {"judge": judge(held, rewards)}
        if predictions:
            summary["mislabelled"]["predictions"] = str(predictions)
        if suspects:
            summary["mislabelled"]["suspects_file"] = str(suspects)
            write_jsonl(suspects, (suspect.as_dict() for suspect in labels.suspects()))
    if rejected:
        rankings.write_rejected(rejected)
    summary["advice"] = [advice._asdict() for advice in advise(summary)]
    summary["verdict"] = verdict(summary)
    result: Any = {"schema_version": SCHEMA_VERSION, **summary}
    return Inspection(result)


def pairs(
    data: Data,
    output: Annotated[str | Path, Help(".csv, .tsv, .jsonl or .parquet", "FILE", flag=True)],
    *,
    columns: declared.Columns = None,
    encoding: declared.Encoding = None,
    streaming: declared.Streaming = None,
    on_bad_row: declared.OnBadRow = "reject",
    max_rejected: declared.MaxRejected = 0.1,
    overwrite: Overwrite = False,
    strict: bool = False,
) -> Written:
    """Turn rankings into prompt, chosen, rejected.

    Raises `PlauditError` when the data cannot be read or the file cannot be written.

    >>> pairs("ranked.csv", "pairs.csv").rows  # doctest: +SKIP
    36
    """
    from plaudit.console import counted, say
    from plaudit.data.pairs import write_pairs
    from plaudit.data.readers import as_rankings
    from plaudit.files import refuse_to_overwrite, report_rejected

    refuse_to_overwrite(output, overwrite)
    rankings = as_rankings(
        data, columns=columns, encoding=encoding, streaming=streaming,
        on_bad_row=_stops(on_bad_row, strict), max_rejected=max_rejected,
    )  # fmt: skip
    refuse_to_overwrite(output, overwrite, inputs=rankings.files)
    count = write_pairs(rankings, output)
    rejected_to = report_rejected(rankings, output)
    say(f"{counted(count, 'pair')} written to {output}")
    return Written(Path(output), count, rejected_to)


def convert(
    data: Data,
    output: Annotated[str | Path, Help(".jsonl, .csv, .tsv or .xlsx", "FILE", flag=True)],
    *,
    to: Annotated[str, Help("layout to write: ranked, pairs, kto, argilla …", "LAYOUT")],
    columns: declared.Columns = None,
    encoding: declared.Encoding = None,
    on_bad_row: declared.OnBadRow = "reject",
    max_rejected: declared.MaxRejected = 0.1,
    overwrite: Overwrite = False,
) -> Written:
    """Write rankings in another layout, for other programs or for people.

    Raises `PlauditError` when the data cannot be read, the layout is none that is written, or it
    cannot hold them.

    >>> convert("labels.csv", "labels.xlsx", to="ranked").rows  # doctest: +SKIP
    36
    """
    from plaudit.console import counted, say
    from plaudit.data.convert import write_layout
    from plaudit.data.readers import as_rankings
    from plaudit.files import refuse_to_overwrite, report_rejected

    refuse_to_overwrite(output, overwrite)
    rankings = as_rankings(
        data, columns=columns, encoding=encoding, on_bad_row=on_bad_row, max_rejected=max_rejected
    )
    refuse_to_overwrite(output, overwrite, inputs=rankings.files)
    count = write_layout(rankings, to, output)
    rejected_to = report_rejected(rankings, output)
    say(f"{counted(count, 'row')} written to {output}")
    return Written(Path(output), count, rejected_to)


# ---- training ----


@overload
def train(
    data: RunData = None,
    *,
    output: RunFolder = None,
    config: Config = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    check: Literal[False] = False,
    **settings: Any,
) -> "Run": ...
@overload
def train(
    data: RunData = None, *, config: Config = None, check: Literal[True], **settings: Any
) -> "SetUp": ...
def train(
    data: RunData = None,
    *,
    output: RunFolder = None,
    config: Config = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    check: Annotated[
        bool,
        Help("prove the set-up in a few minutes, and write nothing; exit code 1: it fails"),
    ] = False,
    **settings: Annotated[Any, Settings],
) -> "Run | SetUp":
    """Train a reward model and measure it on held-out prompts.

    `data` may be left to `config`, or to the run that is resumed; `settings` go before `config`.
    Sources with weights, `{"a.csv": 0.7, "b.jsonl": 0.3}` or pairs of both, are a mixture.
    With `check` nothing is trained in earnest: see `SetUp`.

    Raises `PlauditError` for anything the user can mend.

    >>> run = train("ranked.csv", output="runs/first", max_steps=100)  # doctest: +SKIP
    >>> run.metrics["test"]["pairwise_accuracy"]                       # doctest: +SKIP
    {'value': 0.74, 'low': 0.72, 'high': 0.76}
    """
    if check:
        from plaudit.training.checks import check_set_up

        if resume:
            raise PlauditError("--check trains nothing, so there is nothing to --resume; give one")
        return check_set_up(_for_run(data, settings, config), config, settings)
    from plaudit.training.run import train

    return train(
        _for_run(data, settings, config), output=output, config=config, resume=resume,
        overwrite=overwrite, **settings,
    )  # fmt: skip


def cross_validate(
    data: RunData = None,
    *,
    k: Annotated[int | None, Field(ge=2), Help("folds, by prompt (5)")] = None,
    repeats: Annotated[Count | None, Help("times, each with other folds (1)")] = None,
    learning_curve: Annotated[
        bool, Help("train on parts of each fold too, to tell whether more data would help")
    ] = False,
    against: Annotated[
        str | Path | list[str] | None,
        Help("compare with an earlier cross-validation, fold by fold; may be repeated", "RUN"),
    ] = None,
    output: RunFolder = None,
    config: Config = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    **settings: Annotated[Any, Settings, Without("test_data", "test_fraction")],
) -> "CrossValidation":
    """Cross-validate: each prompt tested by a model that has not seen it.

    `validation_fraction` is a share of each fold's training prompts.

    Raises `PlauditError` for anything the user can mend.

    >>> result = cross_validate("ranked.csv", freeze_layers=-1)   # doctest: +SKIP
    >>> result.summary["metrics"]["pairwise_accuracy"]["mean"]    # doctest: +SKIP
    0.66
    """
    from plaudit.training.crossval import cross_validate

    return cross_validate(
        _for_run(data, settings, config), k=k, repeats=repeats, learning_curve=learning_curve,
        against=against, output=output, config=config, resume=resume, overwrite=overwrite,
        **settings,
    )  # fmt: skip


def tune(
    data: RunData = None,
    *,
    trials: Annotated[Count | None, Help("how many, earlier ones included (30)")] = None,
    minutes: Annotated[AboveZero | None, Help("begin no trial after so long")] = None,
    space: Annotated[
        "str | Path | Mapping[str, Any] | None", Help("YAML file of what to vary", "FILE")
    ] = None,
    metric: Annotated[
        declared.ValidationMetric | None,
        Help("what the validation prompts choose by (pairwise_accuracy)"),
    ] = None,
    output: RunFolder = None,
    config: Config = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    **settings: Annotated[Any, Settings],
) -> "Search":
    """Search for settings, train the best, measure that once.

    `space` gives for each setting a list of values, or `low` and `high` with `log: true` or a
    `step`; the default depends on whether only the head is trained, and leaves out what `settings`
    fix. Without `trials` and `minutes` there are 30 trials.

    Raises `PlauditError` for anything the user can mend.

    >>> search = tune("ranked.csv", trials=30, freeze_layers=-1)  # doctest: +SKIP
    >>> search.summary["best"]["settings"]                        # doctest: +SKIP
    {'learning_rate': 0.012, 'num_train_epochs': 20, …}
    """
    _needs("tune", "optuna")
    from plaudit.training.search import tune

    return tune(
        _for_run(data, settings, config), trials=trials, minutes=minutes, space=space,
        metric=metric, output=output, config=config, resume=resume, overwrite=overwrite,
        **settings,
    )  # fmt: skip


def frontier(
    data: RunData = None,
    *,
    strengths: Annotated[
        "str | Sequence[float] | None",
        Help("of the control, each a run (0,0.5,1,1.5)", "NUMBERS"),
    ] = None,
    output: RunFolder = None,
    config: Config = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    **settings: Annotated[Any, Settings, Without("control_strength")],
) -> "Frontier":
    """Train at several strengths of the control and show what each costs and gains.

    Each strength is a whole run in `strengths/`, on the same split. Without `control` it is length
    that is taken out.

    Raises `PlauditError` for anything the user can mend.

    >>> result = frontier("ranked.csv", strengths=[0, 1])         # doctest: +SKIP
    >>> result.summary["chosen"]                                  # doctest: +SKIP
    1.0
    """
    from plaudit.training.frontier import frontier

    return frontier(
        _for_run(data, settings, config), strengths=strengths, output=output, config=config,
        resume=resume, overwrite=overwrite, **settings,
    )  # fmt: skip


def variance(
    data: RunData = None,
    *,
    splits: Annotated[
        int | None, Field(ge=2), Help("into train, validation and test, by other seeds (3)")
    ] = None,
    seeds: Annotated[int | None, Field(ge=2), Help("of training, with each split (3)")] = None,
    output: RunFolder = None,
    config: Config = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    **settings: Annotated[Any, Settings],
) -> "Variance":
    """Train on several splits with several seeds: how much of a result is which.

    Splits count up from `split_seed`, seeds from `seed`. No model is kept.

    Raises `PlauditError` for anything the user can mend.

    >>> result = variance("ranked.csv", splits=3, seeds=3)        # doctest: +SKIP
    >>> result.summary["metrics"]["pairwise_accuracy"]["share"]   # doctest: +SKIP
    {'split': 0.81, 'seed': 0.04, 'both': 0.15}
    """
    from plaudit.training.variance import variance

    return variance(
        _for_run(data, settings, config), splits=splits, seeds=seeds, output=output,
        config=config, resume=resume, overwrite=overwrite, **settings,
    )  # fmt: skip


# ---- measurement ----


def evaluate(
    model: OptionalModel = None,
    data: Data = None,
    *,
    columns: declared.Columns = None,
    encoding: declared.Encoding = None,
    streaming: declared.Streaming = None,
    on_bad_row: declared.OnBadRow = "reject",
    max_rejected: declared.MaxRejected = 0.1,
    output: Annotated[
        str | Path | None,
        Help("write metrics.json, predictions.jsonl, report.html, plots/", "DIR"),
    ] = None,
    against: Annotated[
        "RewardModel | str | Path | None",
        Help("compare with this model on the same prompts", "OTHER"),
    ] = None,
    suite: Annotated[
        str | None,
        Help(
            "DATA is a benchmark of the field, scored by its own definition; auto recognises "
            "which, all runs every one that is in DATA: see docs/suites.md",
            "NAME",
        ),
    ] = None,
    suite_split: Annotated[
        str | None, Help("of a --suite on the hub, but for the one it scores", "NAME")
    ] = None,
    rewards: Annotated[
        Sequence[str | Path] | None,
        Help(
            "score what others computed for a --suite, without MODEL; DATA where these have no "
            "labels; may be repeated",
            "FILE",
        ),
    ] = None,
    rewards_model: Annotated[
        Sequence[str] | None, Help("of --rewards only this model; may be repeated", "NAME")
    ] = None,
    partial: declared.Partial = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    resamples: Annotated[Count, Help("of the bootstrap")] = 1000,
    stress: Annotated[
        declared.AtLeast0, Help("rankings to score again with rewritten answers; 0 for none")
    ] = 50,
    also: declared.Also = None,
    combine: declared.Combine = None,
    spread: declared.Spread = None,
    length_penalty: declared.LengthPenalty = 0.0,
    attributes: declared.Attributes = None,
    trust_remote_code: declared.TrustRemoteCode = False,
    chat_template: declared.ChatTemplate = None,
    chat_template_args: declared.ChatTemplateArgs = {},  # noqa: B006
    encoder_text: declared.EncoderText = None,
    separator: declared.Separator = None,
    max_length: declared.MaxLength = None,
    dtype: declared.Dtype = "auto",
    strict: bool = False,
    **measuring: Any,
) -> "Evaluation | SuiteResult | SuitesResult | SuiteScores":
    """Measure a model on preference data.

    With `rewards` there is no model, and what is named in its place is data too. `measuring` is
    what `evaluate` of `reporting.evaluation` takes besides: `baselines`, `seed`.

    Raises `PlauditError` when the data cannot be read, or a reward is not a finite number.

    >>> print(evaluate("runs/finance", "held_out.csv"))  # doctest: +SKIP
    """
    from plaudit.files import refuse_to_overwrite, report_rejected

    if resume and (suite != "all" or not output):
        raise PlauditError(
            "--resume: needs --suite all and -o DIR; give both, or leave --resume out"
        )
    if output and suite != "all":
        refuse_to_overwrite(output, overwrite, folder=True)
    loading: dict[str, Any] = {
        "dtype": dtype,
        "encoder_text": encoder_text,
        "separator": separator,
        "max_length": max_length,
        "length_penalty": length_penalty,
        "attributes": attributes,
        "trust_remote_code": trust_remote_code,
    }
    loading |= {"chat_template": chat_template, "chat_template_args": chat_template_args}
    of_preferences: dict[str, Any] = {
        "against": against,
        "columns": columns,
        "encoding": encoding,
        "max-rejected": max_rejected != Settings.model_fields["max_rejected"].default,
        "on-bad-row": _stops(on_bad_row, strict) == "stop",
        "streaming": streaming,
        "stress": stress not in (0, Settings.model_fields["stress"].default),
    }
    if (suite or rewards) and (unknown := sorted(measuring.keys() - {"seed"})):
        raise PlauditError(
            f"{', '.join(unknown)}: is for preference data alone; leave it out with a suite"
        )
    if rewards:
        if suite in (None, "auto", "all"):
            raise PlauditError("--rewards: name the benchmark that they are of: --suite NAME")
        of_models = loading | of_preferences | {"also": also, "combine": combine, "spread": spread}
        of_models |= {"dtype": dtype != "auto", "resume": resume}
        if flags := _given(of_models):
            raise PlauditError(
                f"{flags}: is for scoring with a model, and --rewards uses none; leave it out"
            )
        from plaudit.evaluation.suite_rewards import score_rewards

        named: list[Any] = [
            name
            for names in (model, data)
            if names is not None
            for name in (names if isinstance(names, list | tuple) else [names])
        ]
        scores = score_rewards(
            [rewards] if isinstance(rewards, str | Path) else rewards, suite, named or None,
            models=rewards_model, split=suite_split, partial=partial, resamples=resamples,
            **measuring,
        )  # fmt: skip
        if output:
            scores.write(output)
        return scores
    if rewards_model:
        raise PlauditError("--rewards-model: needs --rewards FILE; give it, or leave this out")
    if model is None or data is None:
        raise PlauditError(
            f"evaluate: {'MODEL' if model is None else 'DATA'} is missing; give both, as in "
            "`plaudit evaluate MODEL DATA`"
        )
    if suite:
        from plaudit.evaluation.suite_run import load_suite, run_suite

        if flags := _given(of_preferences):
            raise PlauditError(f"{flags}: is for preference data alone; leave it out with --suite")
        files: Any = data
        if suite == "all":
            from plaudit.evaluation.all_suites import run_all_suites

            return run_all_suites(
                lambda: _scorer(model, also, combine, spread, **loading),
                files, split=suite_split, partial=partial, output=output, resume=resume,
                overwrite=overwrite, resamples=resamples, **measuring,
            )  # fmt: skip
        name = None if suite == "auto" else suite
        items = load_suite(files, name, split=suite_split, partial=partial)
        scorer = _scorer(model, also, combine, spread, **loading)
        of_suite = run_suite(scorer, items, output=output, resamples=resamples, **measuring)
        scorer.warn_if_untrained()  # once more, beside the figures
        return of_suite
    for flag, given_one in (("--suite-split", suite_split), ("--partial", partial)):
        if given_one:
            raise PlauditError(f"{flag}: needs --suite; give it, or leave this out")
    names = [os.path.realpath(name) for name in (model, against) if isinstance(name, str | Path)]
    if len(names) == 2 and names[0] == names[1]:
        raise PlauditError(f"--against: {against} is the model itself; name another one")
    from plaudit.data.readers import as_rankings

    rankings = as_rankings(
        data, columns=columns, encoding=encoding, streaming=streaming,
        on_bad_row=_stops(on_bad_row, strict), max_rejected=max_rejected,
    )  # fmt: skip
    if output:
        written = Path(output) / "predictions.jsonl"
        refuse_to_overwrite(written, overwrite=True, inputs=rankings.files)
    from plaudit.console import say
    from plaudit.evaluation.rewards import rewards_of
    from plaudit.model.loading import for_several
    from plaudit.model.reward_model import RewardModel
    from plaudit.model.seen import taken
    from plaudit.reporting.evaluation import evaluate

    if isinstance(against, str | Path):
        loading = for_several(loading)
    # All are loaded before the first one scores, which may take an hour.
    scorer = _scorer(model, also, combine, spread, **loading)
    other: Any = against
    if isinstance(against, str | Path):
        other = RewardModel.load(
            against, dtype=dtype, max_length=max_length, trust_remote_code=trust_remote_code,
            encoder_text=loading["encoder_text"], separator=loading["separator"],
        )  # fmt: skip
    if other is not None:
        other.training_texts()  # damaged hashes are said before an hour of scoring
    measured: Any = rankings
    if other is not None:  # what one of them does not take, neither is measured on
        measured = taken(rankings, [*scorer.encodings, *other.encodings], rankings)
        if line := rankings.describe_left_out():
            say(line)
    result = evaluate(scorer, measured, resamples=resamples, stress=stress, **measuring)
    if other is not None:
        from plaudit.evaluation.comparison import compare_rewards
        from plaudit.evaluation.power import before_comparing
        from plaudit.evaluation.summary import figure
        from plaudit.model.trained_on import overlap

        counts = result.summary["counts"]
        accuracy = figure(result.summary, "pairwise_accuracy")
        say(before_comparing(accuracy, counts["pairs"], counts["prompts"]))
        rewards_of_other = rewards_of(other, result.rankings, "scoring with the other")
        assert result.trained_on is not None  # it was looked up with the first model's rewards
        comparison = compare_rewards(
            result.rankings,
            result.rewards,
            rewards_of_other,
            names=(str(model), str(against)),
            resamples=resamples,
            trained_on=(result.trained_on, overlap(other.training_texts(), result.rankings)),
        )
        result = replace(result, comparison=comparison)
    if output:
        facts = {"model": str(model), "data": ", ".join(rankings.files)}
        result.write(output, facts)
        report_rejected(rankings, written)
    for each in (scorer, other):  # once more, beside the figures
        if each is not None:
            each.warn_if_untrained()
    return result


def bench(
    models: Annotated[
        "str | Path | Sequence[Scorer | str | Path]",
        Help(f"{_MODEL}; NAME=MODEL calls it so", "MODEL", many=True),
    ],
    *,
    suite: Annotated[
        list[str] | None,
        Help(
            "a benchmark of the field, recognised by its fields, or named as in "
            "rewardbench=FILE; may be repeated: see docs/suites.md",
            "[NAME=]DATA",
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        Help("preference data, measured by pairwise accuracy; may be repeated", "[NAME=]DATA"),
    ] = None,
    partial: declared.Partial = False,
    columns: declared.Columns = None,
    encoding: declared.Encoding = None,
    on_bad_row: declared.OnBadRow = "reject",
    max_rejected: declared.MaxRejected = 0.1,
    output: Annotated[
        str | Path | None,
        Help(
            "write index.html, bench.json, scores.csv, comparisons.csv, table.tex, rewards/", "DIR"
        ),
    ] = None,
    resume: Annotated[
        bool, Help("score what the output lacks: after a kill, with another model, other data")
    ] = False,
    overwrite: Overwrite = False,
    resamples: Annotated[Count, Help("of the bootstrap")] = 1000,
    seed: declared.Seed = 0,
    trust_remote_code: declared.TrustRemoteCode = False,
    encoder_text: declared.EncoderText = None,
    separator: declared.Separator = None,
    max_length: declared.MaxLength = None,
    dtype: declared.Dtype = "auto",
) -> "Bench":
    """Compare several models on benchmarks and preference data: a leaderboard.

    The exit code is 1 where a model could not be loaded or failed: it has a row that says why, and
    the others are compared.

    Raises `PlauditError` when data cannot be read, or the output is there already.

    >>> result = bench(["runs/second", "runs/third"], data=["answers_ranked.csv"])
    >>> result.summary["data"]["answers_ranked"]["scores"]["runs/second"]["score"]["value"] > 0.2
    True
    """
    from plaudit.files import refuse_to_overwrite
    from plaudit.scoring.bench import bench, read_entrants
    from plaudit.sources import name_of

    if not (suite or data):
        raise PlauditError("give --suite DATA, --data DATA, or both: what to compare the models on")
    if partial and not suite:
        raise PlauditError("--partial: needs --suite; give it, or leave this out")
    of_preferences = {
        "columns": columns,
        "encoding": encoding,
        "max-rejected": max_rejected != Settings.model_fields["max_rejected"].default,
        "on-bad-row": on_bad_row == "stop",
    }
    if not data and (flags := _given(of_preferences)):
        raise PlauditError(
            f"{flags}: is for preference data, and needs --data DATA; give it, or leave this out"
        )
    check_at_most_one(resume=resume, overwrite=overwrite)
    if resume and output is None:
        raise PlauditError("--resume needs -o DIR: the folder that was begun")
    if output:
        refuse_to_overwrite(output, overwrite or resume, folder=True)
    several: Any = [models] if isinstance(models, str | Path) else models
    named = [name_of(str(m)) if isinstance(m, str | Path) else ("", m) for m in several]
    places = [place for _, place in named]
    shown = [name or place for name, place in named]
    entrants = read_entrants(
        suite or [], data or [], partial=partial, columns=columns, encoding=encoding,
        on_bad_row=on_bad_row, max_rejected=max_rejected,
    )  # fmt: skip
    return bench(
        dict(zip(_names(shown, "model"), places, strict=True)), entrants, output, resume=resume,
        resamples=resamples, seed=seed, dtype=dtype, max_length=max_length,
        trust_remote_code=trust_remote_code,
        **({"encoder_text": encoder_text} if encoder_text else {}),
        **({} if separator is None else {"separator": separator}),
    )  # fmt: skip


def compare(
    model: Model,
    policy: PolicyName,
    prompts: Annotated["str | Path | Sequence[Text]", Help(_PROMPTS, "FILE", flag=True)],
    *,
    limit: declared.Limit = None,
    n: declared.N = 4,
    max_new_tokens: declared.MaxNewTokens = 128,
    temperature: declared.Temperature = 0.8,
    top_p: declared.TopP = 0.95,
    batch_size: declared.BatchSize = 4,
    seed: declared.Seed = 0,
    columns: declared.Columns = None,
    encoding: declared.Encoding = None,
    on_bad_row: declared.OnBadRow = "reject",
    max_rejected: declared.MaxRejected = 0.1,
    output: Annotated[
        str | Path | None, Help("write completions.jsonl, summary.json, comparison.png", "DIR")
    ] = None,
    overwrite: Overwrite = False,
    also: declared.Also = None,
    combine: declared.Combine = None,
    spread: declared.Spread = None,
    length_penalty: declared.LengthPenalty = 0.0,
    attributes: declared.Attributes = None,
    trust_remote_code: declared.TrustRemoteCode = False,
    encoder_text: declared.EncoderText = None,
    separator: declared.Separator = None,
    max_length: declared.MaxLength = None,
    dtype: declared.Dtype = "auto",
) -> "Comparison":
    """Sample completions from a policy, score and rank them.

    Raises `PlauditError` when a model cannot be loaded, or there is no prompt.

    >>> print(compare("runs/finance", "gpt2", ["What is a bond?"], n=4))  # doctest: +SKIP
    """
    from plaudit.files import refuse_to_overwrite, report_rejected

    if output:
        refuse_to_overwrite(output, overwrite, folder=True)
    bad = _bad_rows(prompts, on_bad_row, max_rejected)
    _check_prompts(prompts, bad.name, columns, encoding)
    loading = {"dtype": dtype, "max_length": max_length, "length_penalty": length_penalty}
    scorer = _scorer(
        model, also, combine, spread, attributes=attributes, trust_remote_code=trust_remote_code,
        encoder_text=encoder_text, separator=separator, **loading,
    )  # fmt: skip
    policy, given = _prompts_for(policy, [scorer], prompts, bad, limit, columns, encoding, dtype)
    from plaudit.sampling.comparing import compare

    result = compare(
        scorer, policy, given, n=n, max_new_tokens=max_new_tokens, temperature=temperature,
        top_p=top_p, batch_size=batch_size, seed=seed, output=output,
    )  # fmt: skip
    report_rejected(bad, Path(output) / "completions.jsonl" if output else None)
    return result


def policy_test(
    model: Annotated[
        "Scorer | str | Path | Sequence[Scorer | str | Path]",
        Help(f"{_MODEL}; several are tested on the same samples", "MODEL", many=True),
    ],
    *,
    prompts: Annotated["str | Path | Sequence[Text] | None", Help(_PROMPTS, "FILE")] = None,
    samples: Annotated[
        "str | Path | Sequence[str | Path] | None",
        Help(
            "instead of prompts: completions of any policy, as score reads them; a column with a "
            "score is the gold judge",
            "FILE",
        ),
    ] = None,
    gold: Annotated[
        "Scorer | str | Path | None", Help("judge to trust: another reward model", "MODEL")
    ] = None,
    policy: Annotated[
        "Policy | str | Path", Help("causal model, to sample from", "NAME")
    ] = "embedded:smollm2",
    limit: declared.Limit = None,
    n: Annotated[
        Count | None,
        Help("completions of each prompt (16); of samples, what nine prompts in ten have"),
    ] = None,
    max_new_tokens: declared.MaxNewTokens = 128,
    temperature: declared.Temperature = 0.8,
    top_p: declared.TopP = 0.95,
    batch_size: declared.BatchSize = 4,
    seed: declared.Seed = 0,
    columns: declared.Columns = None,
    encoding: declared.Encoding = None,
    on_bad_row: declared.OnBadRow = "reject",
    max_rejected: declared.MaxRejected = 0.1,
    output: Annotated[
        str | Path | None,
        Help("write summary.json, samples.jsonl, rewards.jsonl, report.html, plots/", "DIR"),
    ] = None,
    resume: Annotated[bool, Help("go on with sampling that was interrupted")] = False,
    overwrite: Overwrite = False,
    resamples: Annotated[Count, Help("of the bootstrap")] = 1000,
    also: declared.Also = None,
    combine: declared.Combine = None,
    spread: declared.Spread = None,
    length_penalty: declared.LengthPenalty = 0.0,
    attributes: declared.Attributes = None,
    trust_remote_code: declared.TrustRemoteCode = False,
    encoder_text: declared.EncoderText = None,
    separator: declared.Separator = None,
    max_length: declared.MaxLength = None,
    dtype: declared.Dtype = "auto",
) -> "PolicyTest":
    """Test whether a reward would teach a policy: its variance, best-of-n, over-optimisation.

    Give `prompts`, which the policy completes n times each, or `samples` that are there already.
    Over-optimisation needs a gold judge. Several models are each tested; with `also` it is one
    ensemble.

    Raises `PlauditError` when a model cannot be loaded, or there is nothing to test on.

    >>> result = policy_test("runs/first", prompts="prompts.txt", n=8)    # doctest: +SKIP
    >>> result.summary["models"][0]["figures"]["variance"]["value"]       # doctest: +SKIP
    0.41
    """
    from plaudit.files import refuse_to_overwrite, report_rejected

    if (prompts is None) == (samples is None):
        raise PlauditError("give either --prompts FILE to sample from a policy, or --samples FILE")
    if resume and (output is None or samples is not None):
        raise PlauditError(
            "--resume goes on with sampling that was interrupted: it needs --prompts FILE and -o "
            "DIR"
        )
    if n == 1:
        raise PlauditError("n: 1 sample of a prompt cannot be compared; take 2 or more")
    several = [model] if isinstance(model, str | Path) or not isinstance(model, Sequence) else model
    if also and len(several) > 1:
        raise PlauditError(
            "--also adds a model to one MODEL, and several are named; name one, or leave --also out"
        )
    names = _names(several, "model")
    [judge] = _names([gold], "gold")
    if isinstance(gold, str | Path) and os.path.realpath(gold) in map(os.path.realpath, names):
        raise PlauditError(f"--gold: {gold} is the model itself; name another one")
    check_at_most_one(resume=resume, overwrite=overwrite)
    kept = None if output is None else Path(output) / "samples.jsonl"
    if resume and kept is not None and kept.exists():
        raise PlauditError(
            f"{kept}: the sampling is finished; to test on it, give --samples {kept} --overwrite "
            "instead of --prompts and --resume"
        )
    if output:
        refuse_to_overwrite(output, overwrite or resume, folder=True)
        inputs: Any = samples if isinstance(samples, list | tuple) else [samples or ""]
        refuse_to_overwrite(Path(output) / "rewards.jsonl", True, inputs=inputs)
    if prompts is not None:
        bad = _bad_rows(prompts, on_bad_row, max_rejected)
        _check_prompts(prompts, bad.name, columns, encoding)
    from plaudit.console import say
    from plaudit.model.loading import for_several
    from plaudit.model.reward_model import as_scorer
    from plaudit.sampling.policy_test import policy_test
    from plaudit.sampling.samples import draw, read_samples

    loading: dict[str, Any] = {
        "dtype": dtype,
        "max_length": max_length,
        "trust_remote_code": trust_remote_code,
        "encoder_text": encoder_text,
        "separator": separator,
    }
    if len(several) > 1 or gold is not None:
        loading = for_several(loading)
    own = loading | {"length_penalty": length_penalty, "attributes": attributes}
    scorers = [_scorer(each, also, combine, spread, **own) for each in several]
    judging = None if gold is None else (judge, as_scorer(gold, **loading))
    if samples is not None:
        source = f"{samples}" if isinstance(samples, str | Path) else ", ".join(map(str, samples))
        bad = _bad_rows(source, on_bad_row, max_rejected)
        found = read_samples(samples, columns, encoding=encoding, bad=bad)[:limit]
    else:
        source = str(policy) if isinstance(policy, str | Path) else "the policy"
        judges = [*scorers, *([judging[1]] if judging else [])]
        policy, given = _prompts_for(policy, judges, prompts, bad, limit, columns, encoding, dtype)
        n = n or 16
        found = draw(
            policy, given, kept, resume=resume, overwrite=overwrite, n=n,
            max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p,
            batch_size=batch_size, seed=seed,
        )  # fmt: skip
    try:
        result = policy_test(
            dict(zip(names, scorers, strict=True)), found, policy=source, gold=judging, n=n,
            resamples=resamples, seed=seed, bad=bad,
        )  # fmt: skip
        if output:
            result.write(output)
    except KeyboardInterrupt:
        if samples is None and kept is not None:  # sampled, which takes longest
            say(
                f"{kept}: the samples are kept; to test on them, give --samples {kept} "
                "--overwrite instead of --prompts"
            )
        raise
    report_rejected(bad, Path(output) / "rewards.jsonl" if output else None)
    return result


# ---- use ----


def score(
    model: Model,
    data: Files,
    output: Annotated[
        str | Path | None,
        Help(".jsonl, .csv (also .gz, .zst) or .parquet; stdout unless given", "FILE", flag=True),
    ] = None,
    *,
    resume: Resume = False,
    overwrite: Overwrite = False,
    processes: Annotated[
        Count | None,
        Help("each with the model on a device of its own (one for each CUDA device)"),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], Help("ray reads and scores on a Ray cluster")
    ] = "local",
    columns: declared.Columns = None,
    encoding: declared.Encoding = None,
    on_bad_row: declared.OnBadRow = "reject",
    max_rejected: MaxRejectedOfAll = 1.0,
    also: declared.Also = None,
    combine: declared.Combine = None,
    spread: declared.Spread = None,
    length_penalty: declared.LengthPenalty = 0.0,
    attributes: declared.Attributes = None,
    trust_remote_code: declared.TrustRemoteCode = False,
    chat_template: declared.ChatTemplate = None,
    chat_template_args: declared.ChatTemplateArgs = {},  # noqa: B006
    encoder_text: declared.EncoderText = None,
    separator: declared.Separator = None,
    max_length: declared.MaxLength = None,
    dtype: declared.Dtype = "auto",
    std: Annotated[
        bool,
        Help("write each reward's standard deviation too, of a model trained with --uncertainty"),
    ] = False,
    strict: bool = False,
) -> Written:
    """Give every completion of a file its reward; any size, resumable.

    Raises `PlauditError` when the data cannot be read, no row can be scored, or the output cannot
    be written.

    >>> score("runs/finance", "answers.csv", "scored.jsonl").rows  # doctest: +SKIP
    4200
    """
    from plaudit.scoring.score import score_file

    names, loading = _named(model, also, combine, spread)
    rows = score_file(
        names, data, output, columns=columns, encoding=encoding,
        on_bad_row=_stops(on_bad_row, strict), max_rejected=max_rejected,
        overwrite=overwrite, resume=resume,
        processes=processes, engine=engine, dtype=dtype, max_length=max_length,
        encoder_text=encoder_text, separator=separator,
        chat_template=chat_template, chat_template_args=chat_template_args,
        length_penalty=length_penalty, attributes=attributes,
        trust_remote_code=trust_remote_code, deviations=std, trained_only=True, **loading,
    )  # fmt: skip
    return Written(None if output is None else Path(output), rows)


def normalise(
    model: Annotated[str | Path, Help("run or model folder", "MODEL")],
    data: Annotated[
        "str | Path | Sequence[str | Path]",
        Help("completions of reference, as score reads them", "DATA", many=True),
    ],
    *,
    columns: declared.Columns = None,
    encoding: declared.Encoding = None,
    on_bad_row: declared.OnBadRow = "reject",
    max_rejected: declared.MaxRejected = 0.1,
    overwrite: Overwrite = False,
    encoder_text: declared.EncoderText = None,
    separator: declared.Separator = None,
    max_length: declared.MaxLength = None,
    dtype: declared.Dtype = "auto",
) -> "Normalisation":
    """Store with a model what its rewards are normalised by.

    Raises `PlauditError` when there is no trained model, or its rewards are all the same.

    >>> normalise("runs/first", "answers_ranked.csv")  # doctest: +SKIP
    Normalisation(mean=0.42, std=1.37, completions=800, data=['answers_ranked.csv'])
    """
    from plaudit.scoring.normalise import normalise

    return normalise(
        model, data, columns=columns, encoding=encoding, on_bad_row=on_bad_row,
        max_rejected=max_rejected, overwrite=overwrite, dtype=dtype, max_length=max_length,
        encoder_text=encoder_text, separator=separator,
    )  # fmt: skip


def generate(
    model: Annotated[
        "Scorer | str | Path | Sequence[str | Path]", Help(_MODEL, "MODEL", flag=True)
    ],
    policy: PolicyName,
    prompts: Annotated["str | Path | Sequence[Text]", Help(_PROMPTS, "PROMPTS")],
    output: Annotated[
        str | Path, Help(".jsonl, .csv (also .gz, .zst) or .parquet", "FILE", flag=True)
    ],
    *,
    limit: declared.Limit = None,
    n: declared.N = 16,
    max_new_tokens: declared.MaxNewTokens = 512,
    temperature: declared.Temperature = 0.8,
    top_p: declared.TopP = 0.95,
    batch_size: declared.BatchSize = 4,
    seed: declared.Seed = 0,
    keep: Annotated[
        Literal["best", "top-k", "pairs"],
        Help("of each prompt: the best, the k best, or preference pairs"),
    ] = "best",
    k: Annotated[Count | None, Help("of --keep top-k (4)")] = None,
    pairs: Annotated[
        Literal["best-worst", "best-random", "all"] | None,
        Help("of --keep pairs, which (best-worst)"),
    ] = None,
    min_reward: Annotated[
        float | None, Help("keep only completions with this reward or more")
    ] = None,
    min_margin: Annotated[
        AtLeastZero | None,
        Help("of --keep pairs, only those whose rewards differ by this (0)"),
    ] = None,
    keep_unfinished: Annotated[
        bool, Help("keep what was cut at --max-new-tokens too, and mark it")
    ] = False,
    messages: Annotated[bool, Help("write plain prompts as messages too")] = False,
    columns: declared.Columns = None,
    encoding: declared.Encoding = None,
    on_bad_row: declared.OnBadRow = "reject",
    max_rejected: MaxRejectedOfAll = 1.0,
    resume: Resume = False,
    overwrite: Overwrite = False,
    also: declared.Also = None,
    combine: declared.Combine = None,
    spread: declared.Spread = None,
    length_penalty: declared.LengthPenalty = 0.0,
    attributes: declared.Attributes = None,
    trust_remote_code: declared.TrustRemoteCode = False,
    encoder_text: declared.EncoderText = None,
    separator: declared.Separator = None,
    max_length: declared.MaxLength = None,
    dtype: declared.Dtype = "auto",
) -> "Generation":
    """Sample, score and keep the best: a set to train a policy on.

    This is best-of-n sampling, or rejection sampling with `min_reward`. A row has `prompt` and
    `completion`, as TRL's `SFTTrainer` takes them, `reward`, `n` and, of the k best, `rank` from 1
    on; a pair has `prompt`, `chosen`, `rejected`, as `train` and TRL's `DPOTrainer` take them,
    `reward_chosen`, `reward_rejected` and `n`.

    Raises `PlauditError` when a model cannot be loaded, no prompt yields a row, or `output` is
    there already.

    >>> generate("runs/first", "gpt2", "prompts.txt", "sft.jsonl", n=16)  # doctest: +SKIP
    """
    from plaudit.resumable import check_output

    for value, flag, needed in (
        (k, "-k", "top-k"),
        (pairs, "--pairs", "pairs"),
        (min_margin, "--min-margin", "pairs"),
    ):
        if value is not None and keep != needed:
            raise PlauditError(f"{flag}: needs --keep {needed}; give it, or leave this out")
    check_output(output, resume, overwrite)
    from plaudit.sampling.best_of_n import generate

    chosen = {"k": k, "pairs": pairs, "min_margin": min_margin, "min_reward": min_reward}
    options: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    names, combining = _named(model, also, combine, spread)
    return generate(
        names, policy, prompts, output, n=n, keep=keep, keep_unfinished=keep_unfinished,
        messages=messages, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p,
        batch_size=batch_size, seed=seed, limit=limit, columns=columns,
        encoding=encoding, on_bad_row=on_bad_row, max_rejected=max_rejected, resume=resume,
        overwrite=overwrite, dtype=dtype,
        loading={
            "length_penalty": length_penalty, "max_length": max_length, "attributes": attributes,
            "trust_remote_code": trust_remote_code, "encoder_text": encoder_text,
            "separator": separator, "trained_only": True, **combining,
        },
        **options,
    )  # fmt: skip


def serve(
    model: Model,
    *,
    host: Annotated[str, Help("address to listen on")] = "127.0.0.1",
    port: Annotated[int, Field(ge=0), Help("port to listen on; 0 takes a free one")] = 8000,
    keys: Annotated[
        str | Path | None,
        Help("API keys, one a line, read anew when they change; also PLAUDIT_API_KEYS", "FILE"),
    ] = None,
    label: Annotated[
        str | Path | None, Help("prompts with completions to label at /label", "DATA")
    ] = None,
    labels: Annotated[
        str | Path | None, Help("ranked CSV for what is labelled; goes on where it ends", "FILE")
    ] = None,
    gold_questions: Annotated[
        str | Path | None, Help("data with an order, mixed in to check labellers by", "DATA")
    ] = None,
    overlap: Annotated[
        float, Field(ge=0, le=1), Help("share of the prompts that a second person labels too")
    ] = 0.0,
    columns: declared.Columns = None,
    encoding: declared.Encoding = None,
    on_bad_row: declared.OnBadRow = "reject",
    max_rejected: declared.MaxRejected = 0.1,
    also: declared.Also = None,
    combine: declared.Combine = None,
    spread: declared.Spread = None,
    length_penalty: declared.LengthPenalty = 0.0,
    attributes: declared.Attributes = None,
    trust_remote_code: declared.TrustRemoteCode = False,
    chat_template: declared.ChatTemplate = None,
    chat_template_args: declared.ChatTemplateArgs = {},  # noqa: B006
    encoder_text: declared.EncoderText = None,
    separator: declared.Separator = None,
    max_length: declared.MaxLength = None,
    dtype: declared.Dtype = "auto",
    **settings: Annotated[Any, ServiceSettings],
) -> None:
    """Answer over HTTP, with a page to score and to label, until a signal says to stop.

    Raises `PlauditError` when the address cannot be listened on, or the model does not work.

    >>> serve("runs/first", port=8000)  # doctest: +SKIP
    """
    _needs("serve", "fastapi", "httptools", "prometheus_client", "uvicorn")
    from plaudit.console import say
    from plaudit.serving.server import serve
    from plaudit.serving.settings import read_keys

    if bool(label) != bool(labels):
        given, missing = ("label", "labels FILE.csv") if label else ("labels", "label DATA")
        raise PlauditError(f"--{given}: needs --{missing}; give it, or leave this out")
    if not label and (gold_questions or overlap):
        raise PlauditError(
            f"--{'gold-questions' if gold_questions else 'overlap'}: needs --label DATA; give it, "
            "or leave this out"
        )
    limits = ServiceSettings(keys=read_keys(keys), keys_file=keys, **settings)
    loading: dict[str, Any] = {
        "dtype": dtype,
        "encoder_text": encoder_text,
        "separator": separator,
        "max_length": max_length,
        "length_penalty": length_penalty,
        "attributes": attributes,
        "trust_remote_code": trust_remote_code,
    }
    loading |= {"chat_template": chat_template, "chat_template_args": chat_template_args}
    if isinstance(model, str | Path):
        say(f"loading {model}")
    # Who has no labels has no trained model yet: to label, any order of the prompts will do.
    scorer = _scorer(model, also, combine, spread, trained_only=label is None, **loading)
    labelling = None
    if label and labels:
        from plaudit.labelling.labelling import Labelling

        labelling = Labelling(
            scorer, label, labels, columns=columns, encoding=encoding, on_bad_row=on_bad_row,
            max_rejected=max_rejected, gold=gold_questions, overlap=overlap,
        )  # fmt: skip
    serve(scorer, host=host, port=port, settings=limits, labelling=labelling)
    if labels and os.path.exists(labels):
        say(f"what was labelled is in {labels}; the same command goes on with it")


def label(
    model: Model,
    data: Annotated[str | Path, Help("prompts with completions, as score reads them", "DATA")],
    output: Annotated[
        str | Path,
        Help("ranked CSV for what is labelled; goes on where it ends", "FILE", flag=True),
    ],
    **serving: Annotated[Any, serve, Without("label", "labels")],
) -> None:
    """Label completions on a page in the browser, those first that the model is least sure about.

    The page is at /label of the service, which `serving` configures as `serve` does.

    >>> label("runs/first", "completions.jsonl", "labels.csv")  # doctest: +SKIP
    """
    serve(model, label=data, labels=output, **serving)


def verify(
    model: Annotated[str | Path, Help(_MODEL, "MODEL")],
    *,
    against: Annotated[
        list[str] | None,
        Help(
            "hold its rewards against those of transformers, vllm=URL, …: see docs/verify.md; "
            "may be repeated",
            "PEER[=ADDRESS]",
        ),
    ] = None,
    data: Annotated[
        "str | Path | Sequence[str | Path] | Rankings | Iterable[Ranking] | Any | None",
        Help("score rows of these data; by default rows that tend to part programs", "DATA"),
    ] = None,
    rows: Annotated[Count, Help("how many, of --data or of those by default")] = 200,
    tolerance: Annotated[
        AboveZero, Help("how far rewards may be apart, as a share of their standard deviation")
    ] = 1e-4,
    columns: declared.Columns = None,
    encoding: declared.Encoding = None,
    attributes: declared.Attributes = None,
    trust_remote_code: declared.TrustRemoteCode = False,
    chat_template: declared.ChatTemplate = None,
    chat_template_args: declared.ChatTemplateArgs = {},  # noqa: B006
    encoder_text: declared.EncoderText = None,
    separator: declared.Separator = None,
    max_length: declared.MaxLength = None,
) -> "Verification":
    """Prove that a model gives one reward for one text, here and wherever else it is served.

    The exit code is 1 where something failed. Computes in float32.

    Raises `PlauditError` when the model or data cannot be read, or a peer cannot be reached.

    >>> verify("runs/finance", against=["transformers"]).passed  # doctest: +SKIP
    True
    """
    from plaudit.model.reward_model import RewardModel
    from plaudit.verification.verify import verify

    loaded = RewardModel.load(
        model, dtype="float32", max_length=max_length,
        encoder_text=encoder_text, separator=separator,
        attributes=attributes, trust_remote_code=trust_remote_code,
        chat_template=chat_template, chat_template_args=chat_template_args,
    )  # fmt: skip
    reading = {"columns": columns, "encoding": encoding}
    return verify(
        loaded, str(model), against or [], data=data, rows=rows, tolerance=tolerance, **reading
    )


def export(
    model: Annotated[str | Path, Help("run, model folder or hub name", "MODEL")],
    output: Annotated[str | Path, Help("file or folder to write", "PATH", flag=True)],
    *,
    format: Annotated[declared.ExportFormat, Help("what to write")],
    attributes: declared.Attributes = None,
    encoder_text: declared.EncoderText = None,
    separator: declared.Separator = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16", "int8"],
        Help("of the weights; half precision for folder, int8 for openvino"),
    ] = "float32",
    data: Annotated[
        "str | Path | Sequence[str | Path] | None",
        Help("rows of which int8 must keep 99.5 % of the pairs in order", "DATA"),
    ] = None,
    gate_rows: Annotated[Count, Help("how many completions of --data")] = 1000,
    columns: declared.Columns = None,
    encoding: declared.Encoding = None,
    overwrite: Overwrite = False,
) -> Written:
    """Write a model as one file, or as a folder for other programs.

    Raises `PlauditError` when the model cannot be loaded, or not be expressed in that format.

    >>> export("runs/finance", "finance.pt", format="pt")  # doctest: +SKIP
    """
    from plaudit.console import say
    from plaudit.files import refuse_to_overwrite
    from plaudit.model.exports import EXPORTS

    # A folder that holds the model would be replaced, the model with it.
    around = [Path(model), *Path(model).resolve().parents] if Path(model).exists() else []
    inputs = [*around, *(path for path in Path(model).rglob("*") if path.is_file())]
    refuse_to_overwrite(output, overwrite, folder=EXPORTS.get(format).folder, inputs=inputs)
    from plaudit.model.export import check_dtype, export
    from plaudit.model.exports._gate import GateRows
    from plaudit.model.reward_model import RewardModel
    from plaudit.verification.rows import read_prompts

    check_dtype(format, dtype, with_rows=data is not None)
    if data is None and (columns or encoding):
        name = "columns" if columns else "encoding"
        raise PlauditError(f"{name}: says how --data is read, which is not given; leave it out")
    loaded = RewardModel.load(
        model, dtype="float32", device="cpu", attributes=attributes, encoder_text=encoder_text,
        separator=separator,
    )  # fmt: skip
    rows = None
    if data is not None:
        names = [str(each) for each in ([data] if isinstance(data, str | Path) else data)]
        rows = GateRows(read_prompts(data, gate_rows, columns, encoding), names)
    export(loaded, output, format, dtype, rows)
    say(f"written to {output}")
    return Written(Path(output))


def push(
    model: Annotated[str | Path, Help(f"{_MODEL}, trained", "MODEL")],
    repo_id: Annotated[
        str, Help("repository on the hub, made where it is not there", "OWNER/NAME")
    ],
    *,
    attributes: declared.Attributes = None,
    encoder_text: declared.EncoderText = None,
    separator: declared.Separator = None,
    private: Annotated[bool, Help("make it private, where it is made")] = False,
    revision: Annotated[
        str | None, Help("branch to commit to, made where it is not there", "BRANCH")
    ] = None,
    message: Annotated[str | None, Help("of the commit", "TEXT")] = None,
) -> str:
    """Upload a model with its card to the hub, and print the commit's address.

    Raises `PlauditError` when the model cannot be loaded, or the hub refuses it.

    >>> push("runs/finance", "owner/finance-reward")  # doctest: +SKIP
    'https://huggingface.co/owner/finance-reward/commit/…'
    """
    from plaudit.model.reward_model import RewardModel

    loaded = RewardModel.load(
        model, dtype="float32", device="cpu", attributes=attributes, encoder_text=encoder_text,
        separator=separator,
    )  # fmt: skip
    return loaded.push_to_hub(
        repo_id, private=private or None, revision=revision, commit_message=message
    )


def report(
    folder: Annotated[
        str | Path | Sequence[str | Path],
        Help("of a run, an evaluation, cv, tune or policy-test", "FOLDER", many=True),
    ],
    *,
    output: Annotated[
        str | Path | None,
        Help(
            "write several folders side by side as this page; of one it is its report.html",
            "FILE.html",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> Written:
    """Write report.html of a finished run or evaluation anew, or several side by side.

    Several are shown on the rankings that all of them were measured on, with the pairs on which
    they part. Nothing is scored: all comes from what was measured then.

    Raises `PlauditError` when a folder holds no such thing, or several have no ranking in common.

    >>> report("runs/finance").path  # doctest: +SKIP
    PosixPath('runs/finance/report.html')
    """
    from plaudit.console import say
    from plaudit.files import refuse_to_overwrite
    from plaudit.training.anew import write_anew, write_side_by_side

    folders = [Path(each) for each in ([folder] if isinstance(folder, str | Path) else folder)]
    if len(folders) == 1 and output is None:
        path = write_anew(folders[0])
    elif len(folders) < 2:
        raise PlauditError(
            "--output: is for several folders; leave it out, and the report of one is written to "
            "its report.html"
        )
    elif output is None:
        raise PlauditError("--output: name a file for the page of several folders, as in -o "
                           "side_by_side.html")  # fmt: skip
    else:
        refuse_to_overwrite(output, overwrite)
        path = write_side_by_side(folders, Path(output))
    say(f"written to {path}")
    return Written(path)


def list_plugins() -> Plugins:
    """List what can be chosen and who brought it.

    >>> list_plugins().summary["objective"]["bradley-terry"].split()[0]
    'plaudit'
    """
    from plaudit.plugins import installed

    return Plugins(installed())


def doctor() -> "Installation":
    """Say what plaudit has to work with on this machine, and what to mend.

    Versions, processor, device, number type, memory, disks, the hub, and optional parts with how to
    get each. The exit code is 1 where something is to be mended; what is only optional is not.

    >>> "torch" in doctor().summary["versions"]
    True
    """
    from plaudit.installation import examine

    return examine()


# ---- shared ----


def _flags(**given: Any) -> list[str]:
    """What was given as words of a command.

    >>> _flags(columns={"prompt": "Frage"}, encoding="cp1252", max_rejected=None)
    ['--columns', 'prompt=Frage', '--encoding', 'cp1252']
    """
    words: list[str] = []
    for name, value in given.items():
        flag = f"--{name.replace('_', '-')}"
        if name == "columns":
            for ours, theirs in (value or {}).items():
                words += [flag, f"{ours}={theirs}"]
        elif value:
            words += [flag, json.dumps(value) if isinstance(value, dict) else str(value)]
    return words


def _for_run(data: Any, settings: Mapping[str, Any], config: str | Path | None) -> Any:
    """Names of files as they are, to be read as the run's settings say; what is in memory, read."""
    from plaudit.data.mixing import load_mixture
    from plaudit.data.readers import as_rankings
    from plaudit.yaml_file import read_yaml

    mixed = _weighed(data)
    sources = data if isinstance(data, list | tuple) else [data]
    if mixed is not None:
        sources = [source for source, _ in mixed]
    # Texts, some of them with weights, or mappings, which the settings take apart.
    if data is None or all(isinstance(name, str | Path) for name in sources):
        return data if mixed is None else mixed  # as pairs: the settings see a name twice
    given = {**(read_yaml(config) if config is not None else {}), **settings}
    asked = ("columns", "strict", "on_bad_row", "max_rejected", "encoding", "streaming")
    reading = {name: given[name] for name in asked if name in given}
    if mixed is not None:
        return load_mixture(mixed, given.get("mixture", "once"), **reading)
    return as_rankings(data, **reading)


def _weighed(data: Any) -> list[tuple[Any, Any]] | None:
    """The sources of a mixture with their weights, of a mapping or of pairs; None where there are
    no weights."""
    if type(data) is dict and all(isinstance(name, str | Path) for name in data):
        return list(data.items())
    pairs = data if isinstance(data, list | tuple) and data else []
    if pairs and all(
        isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], int | float)
        for pair in pairs
    ):
        return [(source, weight) for source, weight in pairs]
    return None


def _stops(on_bad_row: Literal["reject", "stop"], strict: bool) -> Literal["reject", "stop"]:
    """What becomes of a bad row; `strict` is the old name of "stop"."""
    return "stop" if strict else on_bad_row


def _given(options: Mapping[str, Any]) -> str:
    """The flags of those options that have a value, in a message."""
    return ", ".join(f"--{n.replace('_', '-')}" for n, value in sorted(options.items()) if value)


def _scorer(
    model: Any, also: list[str] | None, combine: str | None, spread: float | None, **loading: Any
) -> "Scorer":
    """The reward model, or the ensemble, that is named, or the one that was given as it is."""
    from plaudit.model.reward_model import as_scorer

    names, combining = _named(model, also, combine, spread)
    return as_scorer(names, **loading, **combining)


def _names(models: Sequence[Any], what: str) -> list[str]:
    """What models are called in results: by their paths, of scorers by `what` they are."""
    several = len(models) > 1
    names = [
        str(each) if isinstance(each, str | Path) else f"{what} {k}" if several else what
        for k, each in enumerate(models, start=1)
    ]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise PlauditError(f"{what}: {twice} is named twice; name it once")
    return names


def _named(
    model: Any, also: list[str] | None, combine: str | None, spread: float | None
) -> tuple[Any, dict[str, Any]]:
    """A model, or the names of several and how their rewards are combined."""
    given = {"combine": combine, "spread": spread}
    combining = {name: value for name, value in given.items() if value is not None}
    if also:
        return [*([model] if isinstance(model, str | Path) else model), *also], combining
    if combining and isinstance(model, str | Path):
        raise PlauditError(
            f"--{next(iter(combining))}: is for an ensemble, and needs --also MODEL; give it, or "
            "leave this out"
        )
    return model, combining


def _bad_rows(data: Any, on_bad_row: Any, max_rejected: float) -> "BadRows":
    from plaudit.data.readers import BadRows

    return BadRows(
        str(data) if isinstance(data, str | Path) else "prompts", on_bad_row, max_rejected
    )


def _check_prompts(
    prompts: Any, name: str, columns: Mapping[str, str] | None, encoding: str | None
) -> None:
    """Refuse prompts that cannot be read at all before models are loaded."""
    from plaudit.data.prompts import all_prompts

    if next(all_prompts(prompts, None, columns, encoding), None) is None:
        raise PlauditError(
            f"{name}: there is no prompt in it; give a prompt a line (.txt), or data with a prompt "
            "column"
        )


def _prompts_for(
    policy: Any,
    scorers: Sequence["Scorer"],
    prompts: Any,
    bad: "BadRows",
    limit: int | None,
    columns: Mapping[str, str] | None,
    encoding: str | None,
    dtype: Any,
) -> "tuple[Policy, list[Text]]":
    """The policy, loaded, and the prompts that it and all scorers take."""
    from plaudit.console import say
    from plaudit.data.prompts import Prompt, all_prompts, usable
    from plaudit.sampling.policy import Policy, refusal_by

    if isinstance(policy, str | Path):
        say(f"loading the policy {policy}")
        policy = Policy.load(policy, dtype=dtype)
    items = all_prompts(prompts, limit, columns, encoding)
    found = usable(items, bad, refusal_by(policy, scorers))
    texts = [item.text for item in found if isinstance(item, Prompt)]
    if not texts:
        raise PlauditError(f"{bad.name}: there is no prompt in it. {bad.summary()}")
    return policy, texts


def _needs(extra: str, *packages: str) -> None:
    """Refuse a command whose packages are not installed."""
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise PlauditError(
                f"{extra} needs {name}, which is not installed: pip install 'plaudit[{extra}]'"
            )
