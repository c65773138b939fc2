"""The command line: which commands there are, their flags, and what becomes of an error.

Results go to stdout or to files, talk to stderr. Exit code 0: done; 1: failed, with one line that
says why; 2: wrong usage, a flag or its value; 130: interrupted. What a command does is in
`commands`, flags that several share in `flags`. Nothing heavy is imported before a command runs,
so that `--help` answers at once.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from plaudit import commands, flags
from plaudit.errors import PlauditError
from plaudit.model.exports import EXPORTS

Command = Callable[[argparse.Namespace], Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; wrong usage is a `SystemExit` of 2."""
    parser = build_parser()
    options, unknown = parser.parse_known_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    if unknown:
        options.parser.error(flags.unknown(unknown[0], options.parser))
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
    except OSError as error:  # the world's, not ours: a folder without permission, a full device
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = f"{error.filename}: " if error.filename else ""
        print(f"plaudit: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = argparse.ArgumentParser(
        prog="plaudit",
        description="From preference data to a reward model that people trust.",
        epilog="plaudit COMMAND --help tells more of each.",
    )
    parser.add_argument("--version", action="version", version=f"plaudit {version('plaudit')}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, run: Command, help: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(
            name, help=help, description=help[0].upper() + help[1:] + ".", allow_abbrev=False
        )
        sub.set_defaults(run=run, parser=sub)
        return sub

    demo = command(
        "demo", commands.demo, "walk the whole road on bundled data and embedded models, offline"
    )
    demo.add_argument(
        "-o", "--output", metavar="DIR", default="demo", help="where to put it all (demo)"
    )
    demo.add_argument("--overwrite", action="store_true", help="replace an earlier demo")
    demo.add_argument(
        "--max-steps",
        metavar="N",
        type=flags.at_least(1),
        help="stop training after this many steps",
    )
    flags.as_json(demo)

    sample = command(
        "sample", commands.sample, "write the bundled example data: ranked answers and pairs"
    )
    sample.add_argument(
        "-o", "--output", metavar="DIR", default=".", help="folder to write to (here)"
    )
    sample.add_argument("-n", type=flags.at_least(1), default=400, help="prompts (400)")
    sample.add_argument("--overwrite", action="store_true", help="replace the two files")
    flags.seed(sample)

    inspect = command("inspect", commands.inspect, "say what is in preference data")
    flags.data(inspect)
    inspect.add_argument(
        "--rejected", metavar="FILE", help="write the rejected rows here, with reasons"
    )
    inspect.add_argument(
        "--split",
        metavar="FILE",
        action="append",
        default=[],
        help="another part of the data: finds prompts that both have; may be repeated",
    )
    inspect.add_argument(
        "--predictions",
        metavar="FILE",
        help="predictions.jsonl of plaudit cv on DATA: finds the pairs likeliest to be mislabelled",
    )
    inspect.add_argument(
        "--mislabelled",
        action="store_true",
        help="the same without a file: cross-validates a head on embedded:minilm first",
    )
    inspect.add_argument(
        "--suspects", metavar="FILE", help="write these pairs here, likeliest first (.jsonl)"
    )
    inspect.add_argument("--overwrite", action="store_true", help="replace these files")
    flags.as_json(inspect)

    pairs = command("pairs", commands.pairs, "turn rankings into prompt, chosen, rejected")
    flags.data(pairs)
    pairs.add_argument(
        "-o", "--output", metavar="FILE", required=True, help=".csv, .tsv, .jsonl or .parquet"
    )
    pairs.add_argument(
        "--overwrite", action="store_true", help="replace FILE and rejected.jsonl beside it"
    )

    train = command(
        "train", commands.train, "train a reward model and measure it on held-out prompts"
    )
    flags.run(train, "runs/DATA-BASE")

    cv = command(
        "cv", commands.cv, "cross-validate: each prompt tested by a model that has not seen it"
    )
    cv.add_argument("-k", metavar="N", type=flags.at_least(2), help="folds (5)")
    cv.add_argument("--repeats", metavar="N", type=flags.at_least(1), help="times, folds anew (1)")
    cv.add_argument(
        "--learning-curve",
        action="store_true",
        help="train on parts of each fold too, to tell whether more data would help",
    )
    cv.add_argument(
        "--against", metavar="RUN", help="compare with an earlier cross-validation, fold by fold"
    )
    flags.run(cv, "runs/DATA-BASE-cv", "[-k N] ", without=("test_data", "test_fraction"))

    tune = command("tune", commands.tune, "search for settings, train the best, measure that once")
    tune.add_argument(
        "--trials", metavar="N", type=flags.at_least(1), help="how many, earlier ones included (30)"
    )
    tune.add_argument(
        "--minutes", metavar="X", type=flags.above_zero, help="begin none after so long"
    )
    tune.add_argument("--space", metavar="FILE", help="YAML file of what to vary")
    tune.add_argument(
        "--metric",
        choices=("pairwise_accuracy", "log_loss"),
        help="what the validation prompts choose by (pairwise_accuracy)",
    )
    flags.run(tune, "runs/DATA-BASE-tune", "[--trials N] ")

    evaluate = command("evaluate", commands.evaluate, "measure a model on preference data")
    flags.scorer(evaluate)
    flags.data(evaluate)
    evaluate.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="write metrics.json, predictions.jsonl, report.html, plots/",
    )
    evaluate.add_argument(
        "--against", metavar="OTHER", help="compare with this model on the same prompts"
    )
    evaluate.add_argument(
        "--suite",
        metavar="NAME",
        help="DATA is a benchmark of the field, scored by its own definition; "
        "auto recognises which: see docs/suites.md",
    )
    evaluate.add_argument(
        "--suite-split", metavar="NAME", help="of a --suite on the hub, but for the one it scores"
    )
    evaluate.add_argument("--overwrite", action="store_true", help="replace what is in DIR")
    evaluate.add_argument(
        "--resamples", type=flags.at_least(1), default=1000, help="of the bootstrap (1000)"
    )
    flags.as_json(evaluate)

    score = command(
        "score", commands.score, "give every completion of a file its reward; any size, resumable"
    )
    flags.scorer(score)
    flags.files(score)
    score.add_argument(
        "-o", "--output", metavar="FILE", help=".jsonl (also .gz, .zst) or .parquet (stdout)"
    )
    flags.resumable(score, "FILE")
    score.add_argument(
        "--processes",
        metavar="N",
        type=flags.at_least(1),
        help="each with the model on a device of its own (one for each CUDA device)",
    )
    score.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray reads and scores on a Ray cluster (local)",
    )
    for name in ("columns", "strict"):
        flags.setting(score, name)

    normalise = command(
        "normalise", commands.normalise, "store with a model what its rewards are normalised by"
    )
    normalise.add_argument("model", metavar="MODEL", help="run or model folder")
    normalise.add_argument(
        "data", metavar="DATA", nargs="+", help="completions of reference, as score reads them"
    )
    normalise.add_argument(
        "--overwrite", action="store_true", help="replace an earlier normalisation"
    )
    flags.setting(normalise, "columns")
    flags.setting(normalise, "dtype")

    compare = command(
        "compare", commands.compare, "sample completions from a policy, score and rank them"
    )
    flags.scorer(compare)
    compare.add_argument(
        "--prompts",
        metavar="FILE",
        required=True,
        help="a prompt a line (.txt), or data with a prompt column",
    )
    flags.sampling(compare, n=4, max_new_tokens=128)
    compare.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="write completions.jsonl, summary.json, comparison.png",
    )
    compare.add_argument("--overwrite", action="store_true", help="replace what is in DIR")
    flags.setting(compare, "columns")
    flags.as_json(compare)

    generate = command(
        "generate", commands.generate, "sample, score and keep the best: a set to train a policy on"
    )
    generate.add_argument(
        "prompts", metavar="PROMPTS", help="a prompt a line (.txt), or data with a prompt column"
    )
    flags.scorer(generate, "--model")
    flags.sampling(generate, n=16, max_new_tokens=512)
    generate.add_argument(
        "--keep",
        choices=("best", "top-k", "pairs"),
        default="best",
        help="of each prompt: the best, the k best, or preference pairs (best)",
    )
    generate.add_argument("-k", metavar="N", type=flags.at_least(1), help="of --keep top-k (4)")
    generate.add_argument(
        "--pairs",
        choices=("best-worst", "best-random", "all"),
        help="of --keep pairs, which (best-worst)",
    )
    generate.add_argument(
        "--min-reward", metavar="X", type=float, help="keep only completions with this reward"
    )
    generate.add_argument(
        "--min-margin",
        metavar="X",
        type=flags.at_least_zero,
        help="of --keep pairs, only those whose rewards differ by this (0)",
    )
    generate.add_argument(
        "--keep-unfinished",
        action="store_true",
        help="keep what was cut at --max-new-tokens too, and mark it",
    )
    generate.add_argument(
        "--messages", action="store_true", help="write plain prompts as messages too"
    )
    generate.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        required=True,
        help=".jsonl (also .gz, .zst) or .parquet",
    )
    flags.resumable(generate, "FILE")
    flags.setting(generate, "columns")
    flags.as_json(generate)

    serve = command("serve", commands.serve, "answer over HTTP, with a page to score and to label")
    flags.scorer(serve)
    serve.add_argument(
        "--host", metavar="X", default="127.0.0.1", help="address to listen on (127.0.0.1)"
    )
    serve.add_argument(
        "--port",
        metavar="N",
        type=flags.at_least(0),
        default=8000,
        help="0 takes a free one (8000)",
    )
    serve.add_argument(
        "--keys", metavar="FILE", help="API keys, one a line; also from PLAUDIT_API_KEYS"
    )
    serve.add_argument(
        "--label", metavar="DATA", help="prompts with completions to label at /label"
    )
    serve.add_argument(
        "--labels", metavar="FILE", help="ranked CSV for what is labelled; goes on where it ends"
    )
    flags.setting(serve, "columns")
    flags.service(serve)

    export = command("export", commands.export, "write a model as one file")
    export.add_argument("model", metavar="MODEL", help="run, model folder or hub name")
    export.add_argument("--format", choices=[*EXPORTS], required=True, help="what to write")
    export.add_argument("-o", "--output", metavar="FILE", required=True, help="file to write")
    export.add_argument("--overwrite", action="store_true", help="replace FILE")

    plugins = command("plugins", commands.plugins, "list what can be chosen and who brought it")
    flags.as_json(plugins)
    return parser


if __name__ == "__main__":
    sys.exit(main())
