"""What each command does: take the parsed options, call the library, print.

Here is also refused what no flag can tell alone, such as flags that do not go together.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from plaudit.config import Settings
from plaudit.errors import PlauditError


def demo(options: argparse.Namespace) -> None:
    """Walk the whole road, and print what came of it."""
    from plaudit.demo import demo

    result = demo(options.output, overwrite=options.overwrite, max_steps=options.max_steps)
    _print(result.metrics if options.json else str(result))


def plugins(options: argparse.Namespace) -> None:
    """List the parts that have a name, plaudit's own and other packages'."""
    from plaudit.plugins import installed

    found = installed()
    if options.json:
        _print(found)
        return
    for kind, names in found.items():
        print(f"{kind}s")
        width = max(map(len, names), default=0)
        for name, origin in names.items():
            print(f"  {name:{width}}  {origin}")


def sample(options: argparse.Namespace) -> None:
    """Write the example data."""
    from plaudit.sample.sample import write_sample

    for path in write_sample(
        options.output, n=options.n, seed=options.seed, overwrite=options.overwrite
    ):
        print(path)


def inspect(options: argparse.Namespace) -> None:
    """Say what is in data; write rejected rows and suspects where asked."""
    from plaudit.files import refuse_to_overwrite, write_jsonl
    from plaudit.inspection.advice import advise, format_inspection
    from plaudit.inspection.rankings import inspect_rankings

    if options.suspects and not (options.predictions or options.mislabelled):
        raise PlauditError(
            "--suspects needs out-of-fold rewards: give --mislabelled or --predictions FILE too"
        )
    if options.predictions and options.mislabelled:
        raise PlauditError("--predictions and --mislabelled exclude each other")
    outputs = [path for path in (options.rejected, options.suspects) if path]
    if len({os.path.realpath(path) for path in outputs}) < len(outputs):
        raise PlauditError("--rejected and --suspects name one file; they need one each")
    for path in outputs:
        refuse_to_overwrite(path, options.overwrite)
    rankings = _load(options)
    splits = {path: _load(options, path) for path in options.split}
    for path in outputs:
        inputs = [*rankings.files, *options.split, options.predictions or ""]
        refuse_to_overwrite(path, options.overwrite, inputs=inputs)
    result = inspect_rankings(rankings, splits)
    if options.predictions or options.mislabelled:
        from plaudit.inspection.labels import check_labels, judge, read_predictions

        held = list(rankings)
        if options.predictions:
            rewards = read_predictions(options.predictions, held)
        else:
            from plaudit.training.crossval import out_of_fold_rewards

            rewards = out_of_fold_rewards(held)
        labels = check_labels(held, rewards)
        result["mislabelled"] = labels.summary() | {"judge": judge(held, rewards)}
        if options.suspects:
            write_jsonl(options.suspects, (one.as_dict() for one in labels.suspects()))
    if options.rejected:
        rankings.write_rejected(options.rejected)
    result["advice"] = [one._asdict() for one in advise(result)]
    _print(result if options.json else format_inspection(result))


def pairs(options: argparse.Namespace) -> None:
    """Turn rankings into pairs."""
    from plaudit.console import say
    from plaudit.data.pairs import write_pairs
    from plaudit.files import refuse_to_overwrite

    refuse_to_overwrite(options.output, options.overwrite)
    rankings = _load(options)
    refuse_to_overwrite(options.output, options.overwrite, inputs=rankings.files)
    count = write_pairs(rankings, options.output)
    _report_rejected(rankings, options.output)
    say(f"{count:,} pairs written to {options.output}")


def train(options: argparse.Namespace) -> None:
    """Fill a run folder."""
    from plaudit.training.run import train

    data, given = _run_of(options)
    run = train(data, **given)
    if int(os.environ.get("RANK", 0)):  # under a launcher the first process speaks for all
        return
    if options.json:
        _print(run.metrics)
    elif run.test is not None:
        print(run.test)


def _run_of(options: argparse.Namespace, *own: str) -> tuple[Any, dict[str, Any]]:
    """The data and the options of a command that fills a run folder."""
    given = {name: value for name, value in vars(options).items() if name in Settings.model_fields}
    data = given.pop("data")
    if "columns" in given:
        given["columns"] = dict(given["columns"])
    for name in ("output", "config", "resume", "overwrite", *own):
        given[name] = getattr(options, name)
    return (data[0] if len(data) == 1 else data or None), given


def cv(options: argparse.Namespace) -> None:
    """Cross-validate."""
    from plaudit.training.crossval import cross_validate

    data, given = _run_of(options, "k", "repeats", "learning_curve", "against")
    found = cross_validate(data, **given)
    _print(found.summary if options.json else str(found))


def tune(options: argparse.Namespace) -> None:
    """Search."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise PlauditError(
            "tune needs Optuna, which is not installed: pip install 'plaudit[tune]'"
        ) from error
    from plaudit.training.search import tune

    data, given = _run_of(options, "trials", "minutes", "space", "metric")
    found = tune(data, **given)
    _print(found.summary if options.json else str(found))


def evaluate(options: argparse.Namespace) -> None:
    """Measure a model, alone or against another."""
    from plaudit.files import refuse_to_overwrite

    if options.output:
        refuse_to_overwrite(options.output, options.overwrite, folder=True)
    if options.suite:
        _evaluate_suite(options)
        return
    if options.suite_split:
        raise PlauditError("--suite-split: goes with --suite")
    if options.against and os.path.realpath(options.against) == os.path.realpath(options.model):
        raise PlauditError(f"--against: {options.against} is the model itself; name another one")
    rankings = _load(options)
    if options.output:
        written = Path(options.output) / "predictions.jsonl"
        refuse_to_overwrite(written, overwrite=True, inputs=rankings.files)
    from plaudit.evaluation.rewards import rewards_of
    from plaudit.model.reward_model import RewardModel
    from plaudit.reporting.evaluation import evaluate

    # All are loaded before the first one scores, which may take an hour.
    model = _scorer(options)
    others = [RewardModel.load(options.against, dtype=options.dtype)] if options.against else []
    result = evaluate(model, rankings, resamples=options.resamples)
    comparison, shown = None, str(result)
    summary: dict[str, object] = {**result.summary}
    if others:
        from plaudit.evaluation.comparison import compare_rewards

        comparison = compare_rewards(
            result.rankings,
            result.rewards,
            rewards_of(others[0], result.rankings, "scoring with the other"),
            names=(options.model, options.against),
            resamples=options.resamples,
        )
        summary["against"] = comparison.summary
        shown += f"\n\n{comparison}"
    if options.output:
        facts = {"model": str(options.model), "data": ", ".join(rankings.files)}
        result.write(options.output, facts, comparison)
        _report_rejected(rankings, written)
    _print(summary if options.json else shown)


def _evaluate_suite(options: argparse.Namespace) -> None:
    from plaudit.evaluation.suite_run import load_suite, run_suite

    given = {name for name in ("against", "columns", "streaming", "strict") if vars(options)[name]}
    if given or options.max_rejected != Settings.model_fields["max_rejected"].default:
        names = ", ".join(f"--{name}" for name in sorted(given)) or "--max-rejected"
        raise PlauditError(f"{names}: is for preference data, and does not go with --suite")
    name = None if options.suite == "auto" else options.suite
    items = load_suite(options.data, name, split=options.suite_split)
    result = run_suite(_scorer(options), items, output=options.output, resamples=options.resamples)
    _print(result.summary if options.json else str(result))


def score(options: argparse.Namespace) -> None:
    """Score a file."""
    from plaudit.scoring.score import score_file

    names, loading = _named(options)
    score_file(
        names,
        options.data,
        options.output,
        columns=dict(options.columns),
        strict=options.strict,
        overwrite=options.overwrite,
        resume=options.resume,
        processes=options.processes,
        engine=options.engine,
        **loading,
    )


def normalise(options: argparse.Namespace) -> None:
    """Fit a normalisation, and say what it is."""
    from plaudit.scoring.normalise import normalise

    found = normalise(
        options.model,
        options.data,
        columns=dict(options.columns),
        overwrite=options.overwrite,
        dtype=options.dtype,
    )
    print(found)


def compare(options: argparse.Namespace) -> None:
    """Sample, score, print."""
    from plaudit.data.prompts import read_prompts
    from plaudit.files import refuse_to_overwrite

    if options.output:
        refuse_to_overwrite(options.output, options.overwrite, folder=True)
    prompts = read_prompts(options.prompts, options.limit, dict(options.columns))
    from plaudit.sampling.comparing import compare

    result = compare(
        _scorer(options), options.policy, prompts, output=options.output, **_sampling(options)
    )
    _print({**result.summary(), "rows": list(result.rows())} if options.json else str(result))


def generate(options: argparse.Namespace) -> None:
    """Sample, score, keep the best."""
    from plaudit.resumable import check_output

    own = ("keep", "k", "pairs", "min_reward", "min_margin", "keep_unfinished", "messages")
    given = {name: value for name in own if (value := getattr(options, name)) is not None}
    for name, flag, keep in (
        ("k", "-k", "top-k"),
        ("pairs", "--pairs", "pairs"),
        ("min_margin", "--min-margin", "pairs"),
    ):
        if name in given and options.keep != keep:  # said before hours of sampling, not after
            raise PlauditError(f"{flag}: goes with --keep {keep}")
    check_output(options.output, options.resume, options.overwrite)
    from plaudit.sampling.best_of_n import generate

    found = generate(
        _scorer(options),
        options.policy,
        options.prompts,
        options.output,
        limit=options.limit,
        columns=dict(options.columns),
        resume=options.resume,
        overwrite=options.overwrite,
        dtype=options.dtype,
        **_sampling(options),
        **given,
    )
    _print(found.summary if options.json else str(found))


def _sampling(options: argparse.Namespace) -> dict[str, Any]:
    names = ("n", "max_new_tokens", "temperature", "top_p", "batch_size", "seed")
    return {name: getattr(options, name) for name in names}


def serve(options: argparse.Namespace) -> None:
    """Serve a model until a signal says to stop."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise PlauditError(
            f"serve needs {error.name}, which is not installed: pip install 'plaudit[serve]'"
        ) from error
    from plaudit.serving.server import serve
    from plaudit.serving.settings import ServiceSettings, read_keys

    names = {field.name for field in dataclasses.fields(ServiceSettings)}
    given = {name: value for name, value in vars(options).items() if name in names}
    given["keys"] = read_keys(options.keys)
    if "hosts" in given:
        given["hosts"] = tuple(given["hosts"])
    settings = ServiceSettings(**given)
    if bool(options.label) != bool(options.labels):
        one, other = ("label", "labels FILE.csv") if options.label else ("labels", "label DATA")
        raise PlauditError(f"--{one}: goes with --{other}")
    scorer = _scorer(options)
    labelling = None
    if options.label:
        from plaudit.labelling.labelling import Labelling

        columns = dict(options.columns)
        labelling = Labelling(scorer, options.label, options.labels, columns=columns)
    serve(scorer, host=options.host, port=options.port, settings=settings, labelling=labelling)


def export(options: argparse.Namespace) -> None:
    """Write a model as one file."""
    from plaudit.console import say
    from plaudit.files import refuse_to_overwrite

    model_files = [path for path in Path(options.model).rglob("*") if path.is_file()]
    refuse_to_overwrite(options.output, options.overwrite, inputs=model_files)
    from plaudit.model.export import export
    from plaudit.model.reward_model import RewardModel

    export(
        RewardModel.load(options.model, dtype="float32", device="cpu"),
        options.output,
        options.format,
    )
    say(f"written to {options.output}")


def _scorer(options: argparse.Namespace) -> Any:
    """The reward model, or the ensemble, that the options name."""
    from plaudit.model.reward_model import RewardModel

    names, loading = _named(options)
    return RewardModel.load(names, **loading)


def _named(options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """What `RewardModel.load` takes of the options: a name or several, and how to load them."""
    loading = {"dtype": options.dtype, "length_penalty": options.length_penalty}
    of_several = ("combine", "spread")
    given = {name: value for name in of_several if (value := getattr(options, name)) is not None}
    if options.also:
        return [options.model, *options.also], loading | given
    if given:
        raise PlauditError(
            f"--{next(iter(given))}: goes with --also MODEL, which makes an ensemble"
        )
    return options.model, loading


def _report_rejected(rankings: Any, output: str | Path) -> None:
    """Write the rejected rows beside the output, if there are any, and say so."""
    from plaudit.console import say
    from plaudit.files import rejected_beside

    if rankings.rejected_by_reason:
        beside = rejected_beside(output)
        count = rankings.write_rejected(beside)
        say(f"{count:,} rows rejected, with reasons, to {beside}")


def _load(options: argparse.Namespace, data: str | None = None) -> Any:
    from plaudit.data.readers import load_rankings

    return load_rankings(
        options.data if data is None else data,
        columns=dict(options.columns),
        streaming=options.streaming,
        strict=options.strict,
        max_rejected=options.max_rejected,
    )


def _print(result: Any) -> None:
    print(result if isinstance(result, str) else json.dumps(result, indent=2, ensure_ascii=False))
