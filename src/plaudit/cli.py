"""The command line: parse, call the library, print. No logic lives here.

Results go to stdout or to files, talk to stderr. Exit code 0: done; 1: failed, with one line that
says why; 2: wrong usage. The flags of `train` are made from `Settings`. Nothing heavy is imported
before a command runs, so that `--help` answers at once.
"""

import argparse
import json
import os
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any

from plaudit.config import Settings
from plaudit.errors import PlauditError

Command = Callable[[argparse.Namespace], Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    # The libraries below talk of their own affairs on stderr; the user's terminal is ours to keep.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        options.run(options)
        sys.stdout.flush()
    except PlauditError as error:
        print(f"plaudit: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("plaudit: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has had enough; Python must not complain of it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands; `docs/` quotes its help."""
    parser = argparse.ArgumentParser(
        prog="plaudit",
        description="From preference data to a reward model that people trust.",
        epilog="plaudit COMMAND --help tells more of each.",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, run: Command, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(run=run)
        return sub

    demo = command(
        "demo", _demo, "walk the whole road on bundled data and embedded models, offline"
    )
    demo.add_argument(
        "-o", "--output", metavar="DIR", default="demo", help="where to put it all (demo)"
    )
    demo.add_argument("--overwrite", action="store_true", help="replace an earlier demo")
    demo.add_argument(
        "--max-steps", type=int, default=None, help="stop training after this many steps"
    )
    _json(demo)

    sample = command("sample", _sample, "write the bundled example data: ranked answers and pairs")
    sample.add_argument(
        "-o", "--output", metavar="DIR", default=".", help="folder to write to (here)"
    )
    sample.add_argument("-n", type=int, default=400, help="prompts (400)")
    sample.add_argument("--seed", type=int, default=0, help="of the generator (0)")

    inspect = command("inspect", _inspect, "say what is in preference data")
    _data(inspect)
    inspect.add_argument(
        "--rejected", metavar="FILE", help="write the rejected rows here, with reasons"
    )
    _json(inspect)

    pairs = command("pairs", _pairs, "turn rankings into prompt, chosen, rejected")
    _data(pairs)
    pairs.add_argument(
        "-o", "--output", metavar="FILE", required=True, help=".csv, .tsv, .jsonl or .parquet"
    )
    pairs.add_argument("--overwrite", action="store_true", help="replace FILE")

    train = command("train", _train, "train a reward model and measure it on held-out prompts")
    train.add_argument(
        "data", metavar="DATA", nargs="*", help="files, folders, globs or a hub name"
    )
    train.add_argument("-o", "--output", metavar="RUN", help="run folder (runs/DATA-BASE)")
    train.add_argument("--config", metavar="FILE", help="YAML file of settings; flags go before it")
    train.add_argument("--resume", action="store_true", help="continue the run in RUN")
    train.add_argument("--overwrite", action="store_true", help="replace the run in RUN")
    _json(train)
    _settings(train)

    evaluate = command("evaluate", _evaluate, "measure a model on preference data")
    evaluate.add_argument("model", metavar="MODEL", help="run, model folder, .pt file or hub name")
    _data(evaluate)
    evaluate.add_argument(
        "-o", "--output", metavar="DIR", help="write metrics.json, predictions.jsonl, plots/"
    )
    evaluate.add_argument("--overwrite", action="store_true", help="replace what is in DIR")
    evaluate.add_argument("--resamples", type=int, default=1000, help="of the bootstrap (1000)")
    _dtype(evaluate)
    _json(evaluate)

    score = command(
        "score", _score, "give every completion of a file its reward; any size, streamed"
    )
    score.add_argument("model", metavar="MODEL", help="run, model folder, .pt file or hub name")
    score.add_argument("data", metavar="DATA", nargs="+", help="rows with a prompt and completions")
    score.add_argument("-o", "--output", metavar="FILE", help="JSONL file to write (stdout)")
    score.add_argument("--overwrite", action="store_true", help="replace FILE")
    score.add_argument(
        "--columns", metavar="OURS=YOURS", action="append", default=[], help="other column names"
    )
    score.add_argument("--strict", action="store_true", help="stop at the first bad row")
    _dtype(score)

    compare = command("compare", _compare, "sample completions from a policy, score and rank them")
    compare.add_argument("model", metavar="MODEL", help="run, model folder, .pt file or hub name")
    compare.add_argument(
        "--policy",
        metavar="NAME",
        default="embedded:smollm2",
        help="causal model (embedded:smollm2)",
    )
    compare.add_argument(
        "--prompts",
        metavar="FILE",
        required=True,
        help="a prompt a line (.txt), or data with a prompt column",
    )
    compare.add_argument("--limit", type=int, help="take only the first so many prompts")
    compare.add_argument("-n", type=int, default=4, help="completions of each prompt (4)")
    compare.add_argument(
        "--max-new-tokens", type=int, default=128, help="length of a completion (128)"
    )
    compare.add_argument("--temperature", type=float, default=0.8, help="of the sampling (0.8)")
    compare.add_argument("--top-p", type=float, default=0.95, help="of the sampling (0.95)")
    compare.add_argument("--batch-size", type=int, default=4, help="prompts sampled at once (4)")
    compare.add_argument("--seed", type=int, default=0, help="of the sampling (0)")
    compare.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="write completions.jsonl, summary.json, comparison.png",
    )
    compare.add_argument("--overwrite", action="store_true", help="replace what is in DIR")
    _dtype(compare)
    _json(compare)

    export = command("export", _export, "write a model as one file")
    export.add_argument("model", metavar="MODEL", help="run, model folder or hub name")
    export.add_argument("--format", choices=("pt", "onnx"), required=True, help="what to write")
    export.add_argument("-o", "--output", metavar="FILE", required=True, help="file to write")
    export.add_argument("--overwrite", action="store_true", help="replace FILE")
    return parser


# ---- commands ----


def _demo(options: argparse.Namespace) -> None:
    from plaudit.demo import demo

    result = demo(options.output, overwrite=options.overwrite, max_steps=options.max_steps)
    _print(result.metrics if options.json else str(result))


def _sample(options: argparse.Namespace) -> None:
    from plaudit.data.sample import write_sample

    for path in write_sample(options.output, n=options.n, seed=options.seed):
        print(path)


def _inspect(options: argparse.Namespace) -> None:
    from plaudit.data.inspection import format_inspection, inspect_rankings

    rankings = _load(options)
    result = inspect_rankings(rankings)
    if options.rejected:
        rankings.write_rejected(options.rejected)
    _print(result if options.json else format_inspection(result))


def _pairs(options: argparse.Namespace) -> None:
    from plaudit.console import say
    from plaudit.data.pairs import write_pairs
    from plaudit.files import refuse_to_overwrite

    refuse_to_overwrite(options.output, options.overwrite)
    rankings = _load(options)
    count = write_pairs(rankings, options.output)
    _report_rejected(rankings, options.output)
    say(f"{count:,} pairs written to {options.output}")


def _train(options: argparse.Namespace) -> None:
    given = {
        name: value
        for name, value in vars(options).items()
        if name in Settings.model_fields and name != "data" and value is not None
    }
    if "columns" in given:
        given["columns"] = _mapping(given["columns"])
    from plaudit.training.run import train

    run = train(
        (options.data[0] if len(options.data) == 1 else options.data) if options.data else None,
        output=options.output,
        config=options.config,
        resume=options.resume,
        overwrite=options.overwrite,
        **given,
    )
    if options.json:
        _print(run.metrics)
    elif run.test is not None:
        print(run.test)


def _evaluate(options: argparse.Namespace) -> None:
    from plaudit.files import refuse_to_overwrite

    if options.output:
        refuse_to_overwrite(options.output, options.overwrite)
    rankings = _load(options)
    from plaudit.evaluation.evaluate import evaluate
    from plaudit.model.reward_model import RewardModel

    model = RewardModel.load(options.model, dtype=options.dtype)
    result = evaluate(model, rankings, output=options.output, resamples=options.resamples)
    if options.output:
        rankings.write_rejected(os.path.join(options.output, "rejected.jsonl"))
    _print(result.summary if options.json else str(result))


def _score(options: argparse.Namespace) -> None:
    from plaudit.files import refuse_to_overwrite
    from plaudit.scoring import score_file

    if options.output:
        refuse_to_overwrite(options.output, options.overwrite)
    from plaudit.model.reward_model import RewardModel

    score_file(
        RewardModel.load(options.model, dtype=options.dtype),
        options.data,
        options.output,
        columns=_mapping(options.columns),
        strict=options.strict,
    )


def _compare(options: argparse.Namespace) -> None:
    from plaudit.files import refuse_to_overwrite
    from plaudit.scoring import read_prompts

    if options.output:
        refuse_to_overwrite(options.output, options.overwrite)
    prompts = read_prompts(options.prompts, options.limit)
    from plaudit.generate import compare
    from plaudit.model.reward_model import RewardModel

    result = compare(
        RewardModel.load(options.model, dtype=options.dtype),
        options.policy,
        prompts,
        n=options.n,
        output=options.output,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    _print({**result.summary(), "rows": list(result.rows())} if options.json else str(result))


def _export(options: argparse.Namespace) -> None:
    from plaudit.console import say
    from plaudit.files import refuse_to_overwrite

    refuse_to_overwrite(options.output, options.overwrite)
    from plaudit.model.export import export
    from plaudit.model.reward_model import RewardModel

    export(
        RewardModel.load(options.model, dtype="float32", device="cpu"),
        options.output,
        options.format,
    )
    say(f"written to {options.output}")


# ---- flags that commands share ----


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data", metavar="DATA", nargs="+", help="files, folders, globs or a hub name"
    )
    parser.add_argument(
        "--columns",
        metavar="OURS=YOURS",
        action="append",
        default=[],
        help="other column names: prompt=question",
    )
    parser.add_argument(
        "--streaming",
        action=argparse.BooleanOptionalAction,
        help="read with flat memory (from 256 MiB on)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first bad row instead of rejecting it"
    )
    parser.add_argument(
        "--max-rejected",
        type=float,
        default=0.1,
        help="stop when more than this share of the rows is rejected (0.1)",
    )


def _load(options: argparse.Namespace) -> Any:
    from plaudit.data.readers import load_rankings

    return load_rankings(
        options.data,
        columns=_mapping(options.columns),
        streaming=options.streaming,
        strict=options.strict,
        max_rejected=options.max_rejected,
    )


def _report_rejected(rankings: Any, output: str) -> None:
    """Write the rejected rows beside the output, if there are any, and say so."""
    from plaudit.console import say

    if rankings.rejected_by_reason:
        beside = os.path.join(os.path.dirname(output), "rejected.jsonl")
        count = rankings.write_rejected(beside)
        say(f"{count:,} rows rejected, with reasons, to {beside}")


def _dtype(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="what matrix products run in (auto)",
    )


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _settings(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting; `Settings` checks the values."""
    group = parser.add_argument_group("settings, the same in YAML and in Python")
    for name, field in Settings.model_fields.items():
        if name == "data":
            continue
        flag = "--" + name.replace("_", "-")
        shown = not field.default_factory and field.default not in (None, False)
        default = f" ({field.default!r})" if shown else ""
        text = (field.description or "").replace("%", "%%") + default.replace("%", "%%")
        kinds = typing.get_args(field.annotation) or (field.annotation,)
        if bool in kinds:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif typing.get_origin(field.annotation) in (list, dict) or any(
            typing.get_origin(kind) is list for kind in kinds
        ):
            group.add_argument(flag, action="append", default=None, metavar="X", help=text)
        else:
            choices = (
                [str(kind) for kind in kinds]
                if typing.get_origin(field.annotation) is typing.Literal
                else None
            )
            metavar = "{" + ",".join(choices) + "}" if choices else "X"
            group.add_argument(flag, default=None, metavar=metavar, help=text)


def _mapping(items: Sequence[str]) -> dict[str, str]:
    mapping = {}
    for item in items:
        ours, equals, yours = item.partition("=")
        if not (equals and ours and yours):
            raise PlauditError(f"columns: {item!r} is not OURS=YOURS, as in prompt=question")
        mapping[ours] = yours
    return mapping


def _print(result: Any) -> None:
    print(result if isinstance(result, str) else json.dumps(result, indent=2, ensure_ascii=False))


def _version() -> str:
    from importlib.metadata import version

    return f"plaudit {version('plaudit')}"


if __name__ == "__main__":
    sys.exit(main())
