"""The command line as a user meets it: exit codes, what goes where, and how wrong usage is told."""

import csv
import functools
import inspect
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from typing import get_args

import psutil
import pytest
import yaml

import forked
import interrupting
import plaudit
from fits import assert_fits
from plaudit.__main__ import run as run_all
from plaudit.cli import COMMANDS, main
from plaudit.model import devices, ensemble
from plaudit.sampling import selection
from plaudit.scoring import score
from plaudit.settings import Settings, options_of
from suite_rows import shp_row

HEAVY = (
    "torch", "transformers", "datasets", "pyarrow", "matplotlib", "trl", "scipy", "numpy",
    "fastapi", "uvicorn", "prometheus_client", "ray", "optuna", "yaml",
)  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, with ranked answers of 12 prompts and one row that is no good."""
    monkeypatch.chdir(tmp_path)
    with open("ranked.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer", "rank"])
        for i in range(12):
            writer.writerows([f"What is {i} plus {i}?", f"{i + i + k}", k + 1] for k in range(3))
        writer.writerow(["What is it?", "", 1])
    return tmp_path


@pytest.fixture(scope="module")
def model_folder(reward_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    reward_model("bert").save(folder)
    return str(folder)


@pytest.fixture
def run(capsys):
    """Run one command in this process: exit code, stdout, stderr."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return run


# ---- help and usage ----


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command):
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: plaudit {command} [-h]")


def test_help_brings_nothing_heavy_along():
    program = (
        "import sys\n"
        "from plaudit.cli import main\n"
        "for command in sys.argv[1:]:\n"
        "    try: main([command, '--help'])\n"
        "    except SystemExit as stop: assert stop.code == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *COMMANDS], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"


def test_help_needs_little_of_pythons_own():
    program = (
        "import sys\n"
        "from plaudit.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "names = ('importlib.metadata', 'asyncio', 'multiprocessing', 'ssl', 'argcomplete')\n"
        "found = [name for name in names if name in sys.modules]\n"
        "print(found, len(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    found, count = done.stderr.rsplit(maxsplit=1)
    assert found == "[]"
    assert int(count) < 300


def test_every_setting_has_a_flag_with_its_default(run):
    _, out, _ = run("train", "--help")
    words = " ".join(out.split())
    for name, field in Settings.model_fields.items():
        assert name == "data" or f"--{name.replace('_', '-')} " in words.replace(",", " ")
        assert name == "data" or " ".join(field.description.split()[:2]) in words
    assert "weight decay (0.01)" in words
    assert "--pooling {auto,cls,last,layers,mean,own-mean}" in words
    assert "(PydanticUndefined)" not in out


def test_flags_reach_the_function_with_their_types(monkeypatch):
    """What is not given stays with the function, which has the default."""
    line = "train a b --learning-rate 5e-5 --no-disable-dropout --columns prompt=q=1 --columns "
    line += "rank=r --report-to x --max-length null --validation-data v"
    given = {}
    monkeypatch.setitem(COMMANDS, "train", signed_as(COMMANDS["train"], given.update))
    assert main(line.split()) == 0
    assert given == {
        "data": ["a", "b"], "learning_rate": 5e-5, "disable_dropout": False,
        "columns": {"prompt": "q=1", "rank": "r"}, "report_to": ["x"], "max_length": None,
        "validation_data": ["v"],
    }  # fmt: skip


def signed_as(function, instead):
    """Another function in the place of a command's, with its signature."""
    instead = functools.partial(lambda call, **options: call(options), instead)
    instead.__signature__ = inspect.signature(function)
    instead.__doc__ = function.__doc__
    return instead


@pytest.mark.parametrize(
    ("command", "name", "named"),
    [
        ("score", "combine", ensemble.Combine),
        ("score", "engine", score.EngineName),
        ("generate", "keep", selection.Keep),
        ("generate", "pairs", selection.Pairs),
        ("generate", "dtype", devices.Dtype),
    ],
)
def test_a_flag_takes_what_the_library_takes(command, name, named):
    [option] = [option for option in options_of(COMMANDS[command]) if option.name == name]
    assert tuple(option.choices()) == get_args(named)


TRUSTING = {
    "inspect": "ranked.csv --base one",
    "evaluate": "one ranked.csv --against two",
    "score": "one prompts.jsonl",
    "compare": "one --prompts prompts.jsonl",
    "generate": "prompts.jsonl --model one -o out.jsonl",
    "policy-test": "one --samples prompts.jsonl --gold two",
    "serve": "one",
    "label": "one prompts.jsonl -o labels.csv",
    "verify": "one",
}


@pytest.mark.parametrize(
    "command",
    [name for name, function in COMMANDS.items()
     if "trust_remote_code" in [option.name for option in options_of(function)]
     and name != "bench"],  # which goes on after a model that fails, and has a test of its own
)  # fmt: skip
@pytest.mark.parametrize("flag", [[], ["--trust-remote-code"]])
def test_a_flag_of_trust_reaches_every_model(run, here, monkeypatch, command, flag):
    (here / "prompts.jsonl").write_text('{"prompt": "Why?", "completions": ["a", "b"]}\n')
    words = TRUSTING[command].split()
    trusted = {}

    def load(name, **options):
        trusted[name] = options.get("trust_remote_code", False)
        if name == [word for word in words if word in ("one", "two")][-1]:
            raise plaudit.PlauditError("loaded")
        return object()

    monkeypatch.setattr(plaudit.RewardModel, "load", load)
    code, _, err = run(command, *words, *flag)
    assert (code, err.splitlines()[-1]) == (1, "plaudit: loaded")
    assert trusted == {name: bool(flag) for name in ("one", "two") if name in words}


def test_a_command_is_a_public_function():
    for function in COMMANDS.values():
        assert getattr(plaudit, function.__name__) is function
    assert all(getattr(plaudit, name) is not None for name in plaudit.__all__)


def test_an_option_of_one_name_has_one_default():
    """But for how many completions are sampled, how long they may be, that `inspect` looks at
    no model unless one is named and `evaluate --rewards` needs none, that `policy-test` takes
    samples instead of prompts, and that `score` and `generate`, which account for every row in what
    they write, stop for no share, as their help says, that the `dtype` of `export` is that of
    the weights which it writes, and that a `separator` is what a run trains with, but elsewhere one
    that the model itself does not say."""
    defaults = {}
    for function in COMMANDS.values():
        for option in options_of(function):
            if option.name in ("n", "max_new_tokens", "output", "data", "k"):
                continue
            if function is plaudit.demo:
                continue
            if function is plaudit.inspect and option.name in ("base", "model"):
                continue
            if function is plaudit.evaluate and option.name == "model":
                continue
            if function is plaudit.policy_test and option.name == "prompts":
                continue
            if function in (plaudit.score, plaudit.generate) and option.name == "max_rejected":
                continue
            if function is plaudit.export and option.name == "dtype":
                continue
            if option.name == "separator":
                trains = "learning_rate" in {one.name for one in options_of(function)}
                assert option.default == ("\n\n" if trains else None)
                continue
            known = defaults.setdefault(option.name, option.default or None)
            assert (option.default or None) == known, option.name


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("inspct a", "invalid choice: 'inspct'; the nearest is inspect (choose from"),
        ("train a --learning-rat 3", "there is no --learning-rat; the nearest is --learning-rate"),
        ("train a --model gpt2", "there is no --model; the nearest is --base"),
        (
            "cv a --batch-size=8",
            "there is no --batch-size; the nearest is --per-device-train-batch",
        ),
        ("train a --learning-rate=x", "--learning-rate: 'x' is not a number, above 0"),
        ("train a --max-steps many", "--max-steps: 'many' is not a whole number, -1 or more"),
        ("train a --loss wrong", "--loss: 'wrong' is not "),
        ("train a --seed 1 b", "b: unexpected here; name all data in one place"),
        (
            "train a --columns prompt=x rank=y",
            "rank=y: unexpected here; --columns is given once for each name: --columns rank=y",
        ),
        ("train a --columns prompt", "--columns: 'prompt' is not OURS=YOURS"),
        ("inspect a --max-rejected 3", "--max-rejected: '3' is not a number, 0 or more, 1 or"),
        ("inspect", "the following arguments are required: DATA"),
        ("evaluate m a --overwrit", "the nearest is --overwrite"),
        ("score m a --dtype half", "--dtype: 'half' is not auto, float32 or bfloat16"),
        (
            "score m a --dtype int8",
            "--dtype: int8 is made once and tried on your own rows: plaudit",
        ),
        ("compare m --prompts a -n 0", "-n: '0' is not a whole number, 1 or more"),
        ("compare m --prompts a --zzz", "there is no --zzz\n"),
        ("export m --format gguf -o a", "--format: 'gguf' is not folder, onnx, openvino or pt"),
        (
            "train a --pooling lst",
            "'lst' is not auto, cls, last, layers, mean or own-mean; the nearest is last",
        ),
        ("train a --loss bradley-tery", "; the nearest is bradley-terry"),
        ("generate p --model m -o o --keep top", "; the nearest is top-k"),
        ("score m a --length-penalty -1", "--length-penalty: '-1' is not a number, 0 or more"),
        ("score m a --spread inf", "--spread: 'inf' is not a number, 0 or more"),
        ("serve m --timeout 0", "--timeout: '0' is not a number, above 0"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_right(run, line, said):
    code, out, err = run(*line.split())
    assert (code, out) == (2, "")
    assert err.startswith("usage: plaudit")
    assert said in err
    assert len(err.splitlines()) < 12


def test_no_command_is_wrong_usage_too(run):
    code, out, err = run()
    assert (code, out) == (2, "")
    assert all(command in err for command in COMMANDS)


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("plaudit ev", {"evaluate "}),
        ("plaudit s", {"sample", "score", "serve"}),
        ("plaudit train a --learning", {"--learning-rate "}),
        ("plaudit train a --loss b", {"bradley-terry "}),
        ("plaudit train a --pooling ", {"auto", "last", "cls", "layers", "mean", "own-mean"}),
        ("plaudit generate p --keep t", {"top-k "}),
    ],
)
def test_bash_completes_commands_flags_and_values(tmp_path, line, offered):
    """By the function that the script for bash defines, as bash calls it."""
    (tmp_path / "plaudit").write_text(f'#!/bin/sh\nexec {sys.executable} -m plaudit "$@"\n')
    (tmp_path / "plaudit").chmod(0o755)
    script = subprocess.run(
        [sys.executable, "-m", "argcomplete.scripts.register_python_argcomplete", "plaudit"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    asked = (
        f"{script}\nCOMP_LINE={shlex.quote(line)} COMP_POINT={len(line)} COMP_TYPE=9\n"
        f"_python_argcomplete plaudit\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, env=os.environ | {"PATH": path}
    )
    assert set(done.stdout.splitlines()) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_there_is_a_script_for_other_shells(shell):
    shellcode = pytest.importorskip("argcomplete").shellcode
    assert "plaudit" in shellcode(["plaudit"], shell=shell)


# ---- failures ----


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("inspect none.csv", "none.csv: no such file"),
        ("inspect ranked.csv --columns prompt=ask", "no column 'ask' to take as prompt"),
        ("inspect ranked.csv --strict", "ranked.csv:38: the completion is blank"),
        ("inspect ranked.csv --rejected ranked.csv", "already exists; --overwrite replaces it"),
        ("inspect ranked.csv --rejected ranked.csv --overwrite", "ranked.csv: is the input"),
        ("inspect ranked.csv --suspects s.jsonl", "--suspects needs out-of-fold rewards"),
        ("inspect ranked.csv --predictions p.jsonl", "p.jsonl: cannot be read"),
        ("inspect ranked.csv --split none.csv", "none.csv: no such file"),
        ("inspect ranked.csv --rejected a --suspects ./a --mislabelled", "name one file"),
        ("evaluate none ranked.csv --against none", "--against: none is the model itself"),
        ("pairs ranked.csv -o ranked.csv --overwrite", "ranked.csv: is the input"),
        ("pairs ranked.csv -o pairs.txt", "pairs are written as"),
        ("train", "data is needed"),
        ("train ranked.csv --config none.yaml", "none.yaml: No such file"),
        ("train ranked.csv --resume", "--resume needs the run's folder"),
        ("train ranked.csv --test-fraction 0.95", "leave nothing to train on"),
        ("score none ranked.csv", "none cannot be loaded"),
        ("score none ranked.csv -o out.txt", "name it .jsonl"),
        ("score none ranked.csv --combine min", "--combine: is for an ensemble, and needs --also"),
        ("evaluate none ranked.csv --spread 0", "--spread: is for an ensemble, and needs --also"),
        ("generate p --model none -o a.jsonl --pairs all", "--pairs: needs --keep pairs; give"),
        ("generate p --model none -o a.jsonl -k 3 --keep pairs", "-k: needs --keep top-k; give it"),
        ("evaluate none ranked.csv -o ranked.csv --overwrite", "a file is in the way"),
        ("compare none --prompts none.txt", "none.txt: cannot be read"),
        ("export none --format pt -o ranked.csv", "ranked.csv: already exists"),
        ("sample -o ranked.csv", "ranked.csv"),
    ],
)
def test_a_failure_exits_1_with_one_line(run, here, line, said):
    before = (here / "ranked.csv").read_bytes()
    code, out, err = run(*line.split())
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("plaudit: ")
    assert said in last
    assert (here / "ranked.csv").read_bytes() == before
    assert os.listdir(here) == ["ranked.csv"]


# ---- commands ----


def test_inspect(run, here):
    code, out, _ = run("inspect", "ranked.csv")
    assert code == 0
    assert "rankings                12" in out
    code, out, _ = run("inspect", "ranked.csv", "--json", "--rejected", "bad/rows.jsonl")
    assert (code, json.loads(out)["pairs"]) == (0, 36)
    assert_fits("inspect", json.loads(out))
    assert json.loads((here / "bad" / "rows.jsonl").read_text())["line"] == 38


def test_inspect_names_shared_prompts_and_suspects(run, here):
    with open("ranked.csv", newline="") as file:
        rows = list(csv.DictReader(file))[:-1]
    with open("test.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["question", "answer", "rank"])
        writer.writeheader()
        writer.writerows(rows[:6])
    with open("cv.jsonl", "w") as file:
        for number, row in enumerate(rows):
            # The third prompt's labels are the wrong way round, by the model.
            reward = -float(row["rank"]) * (-1 if number // 3 == 2 else 1)
            texts = {"prompt": row["question"], "completion": row["answer"]}
            file.write(json.dumps(texts | {"reward": reward, "fold": number % 5}) + "\n")
    given = ["inspect", "ranked.csv", "--split", "test.csv"]
    given += ["--predictions", "cv.jsonl", "--suspects"]
    code, out, err = run(*given, "s.jsonl")
    assert (code, err) == (0, "")
    assert "2 of the 2 prompts of test.csv are in the data" in out
    assert "ranked.csv:8: “4” over “6”, rewards 1.00 and 3.00" in out
    suspects = [json.loads(row) for row in (here / "s.jsonl").read_text().splitlines()]
    assert [(s["prompt"], s["better"], s["worse"]) for s in suspects] == [
        ("What is 2 plus 2?", "4", "6"),
        ("What is 2 plus 2?", "4", "5"),
        ("What is 2 plus 2?", "5", "6"),
    ]
    assert suspects[0]["origin"] == "ranked.csv:8"
    assert run(*given, "s.jsonl")[0] == 1
    code, out, _ = run(*given, "s.jsonl", "--overwrite", "--json")
    report = json.loads(out)
    assert_fits("inspect", report)
    assert report["shared_prompts"][0]["same"] == 2
    assert report["mislabelled"]["suspects"] == 3
    judge = report["mislabelled"]["judge"]
    assert 0 <= judge["pairwise_accuracy"]["value"] <= 1
    assert report["mislabelled"]["examples"][0]["probability"] == suspects[0]["probability"]
    assert report["advice"][0]["finding"].startswith("2 of the 2 prompts of test.csv")
    code, _, err = run(*given, "cv.jsonl", "--overwrite")
    assert (code, err) == (1, "plaudit: cv.jsonl: is the input; write the output elsewhere\n")


def test_pairs(run, here):
    code, out, err = run("pairs", "ranked.csv", "-o", "pairs.csv")
    assert (code, out) == (0, "")
    assert err.splitlines() == [
        "Of 37 rows, 1 rejected: 1 × the completion is blank (first at ranked.csv:38); they are "
        "in rejected.jsonl", "36 pairs written to pairs.csv",
    ]  # fmt: skip
    with open("pairs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36
    assert rows[2] == {"prompt": "What is 0 plus 0?", "chosen": "1", "rejected": "2"}
    assert run("pairs", "ranked.csv", "-o", "pairs.csv")[0] == 1
    assert run("pairs", "ranked.csv", "-o", "again.csv")[0] == 0
    assert run("pairs", "ranked.csv", "-o", "pairs.csv", "--overwrite")[0] == 0
    assert sorted(os.listdir(here)) == [
        "again.csv", "pairs.csv", "ranked.csv",
        "rejected-2.jsonl", "rejected-3.jsonl", "rejected.jsonl",
    ]  # fmt: skip


def test_sample_writes_data_that_can_be_inspected(run, here):
    code, out, _ = run("sample", "-o", "data", "-n", 5)
    assert code == 0
    for path in out.split():
        assert run("inspect", path)[0] == 0


def test_score_to_stdout_and_to_a_file(run, here, model_folder):
    code, out, err = run("score", model_folder, "ranked.csv", "--dtype", "float32")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, len(rows), err) == (0, 37, "")  # the blank answer has its reward, too
    assert set(rows[0]) == {"question", "answer", "rank", "reward"}
    again = run("score", model_folder, "ranked.csv", "-o", "s.jsonl", "--dtype", "float32")
    assert again[:2] == (0, "")
    assert (here / "s.jsonl").read_text() == out


@pytest.mark.parametrize(
    ("line", "model", "data"),
    [
        ("m a", "m", "a"),
        ("m --suite auto a", "m", "a"),
        ("--suite auto m a b", "m", ["a", "b"]),
        ("m --suite auto a b", "m", ["a", "b"]),
        ("m --data a --suite auto", "m", "a"),
        ("--suite rmb --rewards r", None, None),
        ("--suite rmb --rewards r a", "a", None),
    ],
)
def test_evaluate_takes_model_and_data_wherever_the_flags_stand(monkeypatch, line, model, data):
    given = {}
    monkeypatch.setitem(COMMANDS, "evaluate", _recorded(plaudit.evaluate, given))
    assert main(["evaluate", *line.split()]) == 0
    assert (given.get("model"), given.get("data")) == (model, data)


def _recorded(function, given):
    """A function of the same options that keeps what it is called with."""

    @functools.wraps(function)
    def recorded(**options):
        given.update(options)

    return recorded


def test_evaluate_without_a_model_or_data_says_so(run, here):
    example = "give both, as in `plaudit evaluate MODEL DATA`\n"
    assert run("evaluate")[::2] == (1, f"plaudit: evaluate: MODEL is missing; {example}")
    assert run("evaluate", "m")[::2] == (1, f"plaudit: evaluate: DATA is missing; {example}")
    code, _, err = run("evaluate", "m", "a", "--suite", "auto", "b")
    assert (code, "b: unexpected here; name all data in one place" in err) == (2, True)


def test_evaluate(run, here, model_folder):
    code, out, _ = run("evaluate", model_folder, "ranked.csv", "-o", "e", "--resamples", "20")
    assert code == 0
    assert "pairwise accuracy" in out
    assert set(os.listdir("e")) == {
        *("metrics.json", "predictions.jsonl", "plots", "rejected.jsonl", "report.html"),
    }
    code, out, _ = run("evaluate", model_folder, "ranked.csv", "--json", "--resamples", "20")
    assert json.loads(out)["counts"]["pairs"] == 36
    assert run("evaluate", model_folder, "ranked.csv", "-o", "e")[0] == 1


def test_compare(run, here, model_folder, base):
    line = ["compare", model_folder, "--policy", base("gpt2"), "--prompts", "ranked.csv"]
    line += ["--limit", 2, "-n", 2, "--max-new-tokens", 4]
    code, out, _ = run(*line, "-o", "c")
    assert code == 0
    assert out.count("★") == 2
    assert "What is 1 plus 1?" in out
    code, out, _ = run(*line, "--json")
    printed = json.loads(out)
    assert (code, printed["completions"]) == (0, 4)
    assert printed["rows"] == [
        json.loads(row) for row in (here / "c" / "completions.jsonl").read_text().splitlines()
    ]
    assert run(*line, "-o", "c")[0] == 1
    assert_fits("compare", json.loads((here / "c" / "summary.json").read_text()))
    line[0:2] = ["generate", "--model", model_folder]
    line[line.index("--prompts")] = "--keep=best"
    code, out, err = run(*line, "-o", "g.jsonl", "--keep-unfinished", "--json")
    assert code == 0, err
    assert_fits("generate", json.loads(out))


def test_train_and_export(run, here, base):
    (here / "settings.yaml").write_text("data: ranked.csv\nmax-steps: 50\nlearning_rate: 1e-3\n")
    code, out, err = run(
        "train", "--config", "settings.yaml", "-o", "run", "--max-steps", 2, "--base",
        base("bert"), "--dtype", "float32", "--json",
    )  # fmt: skip
    assert code == 0, err
    metrics = json.loads(out)
    assert metrics["training"]["steps"] == 2  # the flag goes before the file
    assert metrics == json.loads((here / "run" / "metrics.json").read_text())
    assert_fits("train", metrics)
    code, out, err = run("export", "run", "--format", "pt", "-o", "model.pt")
    assert (code, out) == (0, "")
    assert "written to model.pt" in err
    from_run, from_pt = (
        run("score", model, "ranked.csv", "--dtype", "float32")[1] for model in ("run", "model.pt")
    )
    assert from_run == from_pt != ""
    for around in ("run", "."):  # to write there would take the model away
        code, out, err = run("export", "run", "--format", "folder", "-o", around, "--overwrite")
        assert (code, out) == (1, "")
        assert f"{around}: is the input; write the output elsewhere" in err
    assert run("export", "run", "--format", "folder", "-o", "run/out", "--dtype", "float16")[0] == 0
    assert json.loads((here / "run" / "out" / "config.json").read_text())["dtype"] == "float16"


def test_a_printed_config_trains_the_same_run(run, here, base):
    line = ["train", "ranked.csv", "--base", base("bert"), "--dtype", "float32", "--seed", "7"]
    line += ["--max-steps", 3, "--learning-rate", "3e-4", "--columns", "prompt=question"]
    code, out, err = run(*line, "-o", "unused", "--print-config")
    assert (code, err) == (0, "")
    assert not os.path.exists("unused")
    (here / "all.yaml").write_text(out)
    assert run(*line, "-o", "flags")[0] == 0
    assert run("train", "--config", "all.yaml", "-o", "file")[0] == 0
    flags, file = (here / folder / "predictions.jsonl" for folder in ("flags", "file"))
    assert flags.read_bytes() == file.read_bytes()
    assert Settings.build("flags/config.yaml") == Settings.build("file/config.yaml")
    # What was printed has each setting, those among them that depend on others.
    code, out, _ = run("train", "a", "--freeze-layers", "-1", "--print-config")
    assert "pooling: layers\n" in out
    assert "learning_rate: 0.001\n" in out
    assert run("train", "--print-config")[0] == 1


@pytest.mark.parametrize("command", ["cv", "tune"])
def test_cv_and_tune_print_a_config_that_they_take(run, here, command):
    code, out, _ = run(command, "ranked.csv", "--seed", "7", "--print-config")
    assert code == 0
    (here / "all.yaml").write_text(out)
    again = run(command, "--config", "all.yaml", "--print-config")[1]
    assert yaml.safe_load(again) == yaml.safe_load(out)


def test_a_report_is_written_anew(run, here, base):
    options = ["--base", base("bert"), "--dtype", "float32", "--max-steps", 2]
    assert run("train", "ranked.csv", "-o", "run", *options)[0] == 0
    assert run("cv", "ranked.csv", "-k", 2, "-o", "cv", *options)[0] == 0
    assert run("evaluate", "run", "ranked.csv", "-o", "eval", "--against", base("bert"))[0] == 0
    assert_fits("cv", json.loads((here / "cv" / "metrics.json").read_text()))
    for folder in ("run", "cv", "eval"):
        path = here / folder / "report.html"
        before = path.read_text()
        path.unlink()
        code, out, err = run("report", folder)
        assert (code, out, err) == (0, "", f"written to {folder}/report.html\n")
        after = path.read_text()
        # The files do not say where a row of the data stood, nor which model an evaluation was of.
        unknown = r'"origin":\[[^]]*\],"origins":\[[^]]*\]'
        unknown += r"|<div><dt>(model|data)</dt>.*?</div>\n" if folder == "eval" else ""
        assert re.sub(unknown, "", before) == re.sub(unknown, "", after)
    assert run("report", "run", "eval", "-o", "both.html")[0] == 0
    assert "measured by all" in (here / "both.html").read_text()
    assert "already exists" in run("report", "run", "eval", "-o", "both.html")[2]
    assert "--output" in run("report", "run", "eval")[2]
    assert "--output" in run("report", "run", "-o", "one.html")[2]
    assert "a folder stands twice" in run("report", "run", "run", "-o", "two.html")[2]
    assert "no finished run" in run("report", ".")[2]
    (here / "run" / "predictions.jsonl").write_text('{"ranking": 0, "split": "test"}\n')
    code, _, err = run("report", "run")
    assert (code, err.count("\n")) == (1, 1)


# ---- how a command ends early ----


def start(*arguments, **options):
    command = [sys.executable, "-m", "plaudit", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_a_reader_that_goes_away_is_no_error(here, model_folder):
    """`plaudit score … | head -1`, with more rows than a pipe holds and one that is rejected."""
    with open("long.jsonl", "w") as file:
        file.write('{"prompt": "p"}\n')
        for _ in range(600):
            file.write(json.dumps({"prompt": "p", "completion": "c", "note": "x" * 1000}) + "\n")
    process = start("score", model_folder, "long.jsonl")
    assert json.loads(process.stdout.readline())["prompt"] == "p"
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()
    assert sorted(os.listdir(here)) == ["long.jsonl", "ranked.csv"]


ENDED = "plaudit: interrupted; what was not finished is not kept\n"
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells what is caught")
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_an_interruption_leaves_one_line_and_no_file(here, number, code):
    """Interrupted in the middle of work that would take many minutes."""
    process = start("sample", "-o", "s", "-n", 3_000_000)
    caught = 0  # the signals that it has functions for
    while not caught & 1 << signal.SIGTERM - 1:
        with open(f"/proc/{process.pid}/status") as status:
            caught = int(re.search(r"^SigCgt:\s+(\w+)", status.read(), re.M)[1], 16)
        time.sleep(0.05)
    started = psutil.Process(process.pid)
    while started.cpu_times().user < 1:  # to start takes it a tenth of that
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", ENDED)
    assert not (here / "s").exists()


LOST = """
import signal, sys
from plaudit import console
from plaudit.cli import COMMANDS, main
from test_cli import SIGNALS, signed_as

class Goes:
    def __del__(self):
        signal.raise_signal(number)

def caught(_):
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        console.say("tidied up")
    console.say("next step")

def dropped(_):
    Goes()
    for _ in console.progress(range(3), "working"):
        pass

number, how = int(sys.argv[1]), sys.argv[2]
instead = {"caught": caught, "dropped": dropped, "none": lambda _: console.say("not interrupted")}
handlers = [signal.getsignal(each) for each, _ in SIGNALS]
sample = COMMANDS["sample"]
COMMANDS["sample"] = signed_as(sample, instead[how])
code = main(["sample"])
console.raise_interruption()  # it is over
assert [signal.getsignal(each) for each, _ in SIGNALS] == handlers
COMMANDS["sample"] = signed_as(sample, instead["none"])
assert main(["sample"]) == 0
sys.exit(code)
"""


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize(("how", "said"), [("caught", "tidied up\n"), ("dropped", "")])
def test_an_interruption_that_is_lost_is_raised_at_the_next_step(number, code, how, said):
    process = forked.start("-c", LOST, int(number), how, places=[os.path.dirname(__file__)])
    assert process.wait() == code, process.stderr
    assert (process.stdout, process.stderr) == ("", f"{said}{ENDED}not interrupted\n")


def test_a_training_that_is_interrupted_says_what_to_type(run, here, base):
    line = ["train", "ranked.csv", "--base", base("bert"), "--dtype", "float32", "--max-steps", 4]
    line += ["--save-steps", 2, "--head-epochs", 0, "--overwrite", "--no-report"]
    code, said = interrupting.run(
        "plaudit.training.trainer:raise_interruption", line, call=3, number=signal.SIGTERM
    )
    assert code == 143, said
    told, go_on = said[-2:]
    assert told == "plaudit: interrupted; runs/ranked-bert: its checkpoint of step 3 is kept"
    words = shlex.split(go_on.removeprefix("to go on: plaudit "))
    assert words[-3:] == ["-o", "runs/ranked-bert", "--resume"]
    assert "--overwrite" not in words
    code, _, err = run(*words)
    assert code == 0, err
    assert "checkpoint-3" in err
    assert (
        json.loads((here / "runs/ranked-bert/metrics.json").read_text())["training"]["steps"] == 4
    )


@pytest.mark.parametrize(
    ("place", "call", "number", "code", "step"),
    [
        ("training_step", 3, signal.SIGINT, 130, 3),
        ("training_step", 3, signal.SIGTERM, 143, 3),
        ("prediction_step", 1, signal.SIGINT, 130, 2),  # in the first validation
        ("get_batch_samples", 4, signal.SIGINT, 130, 4),  # before a step
        ("_save_checkpoint", 1, signal.SIGINT, 130, 2),
    ],
)
def test_a_training_that_is_interrupted_writes_a_checkpoint(
    run, here, base, place, call, number, code, step
):
    line = ["train", "ranked.csv", "--base", base("bert"), "--dtype", "float32", "--max-steps", 6]
    line += ["--head-epochs", 0, "--no-report", "--save-steps", 2]
    assert run(*line, "-o", "whole")[0] == 0
    place = f"plaudit.training.trainer:RankingTrainer.{place}"
    ended, said = interrupting.run(place, [*line, "-o", "run"], call=call, number=number)
    assert "interrupted: a checkpoint is written first; a second time ends it at once" in said
    assert (ended, said[-2:]) == (code, [
        f"plaudit: interrupted; run: its checkpoint of step {step} is kept",
        f"to go on: plaudit {shlex.join([str(word) for word in line])} -o run --resume",
    ])  # fmt: skip
    assert run(*shlex.split(said[-1])[4:])[0] == 0
    weights = [(here / each / "model/model.safetensors").read_bytes() for each in ("run", "whole")]
    assert weights[0] == weights[1]


def test_so_does_each_fold_of_a_cross_validation(run, here, base):
    line = ["cv", "ranked.csv", "-k", 2, "--base", base("bert"), "--dtype", "float32", "-o", "run"]
    line += ["--head-epochs", 0, "--max-steps", 3]
    place = "plaudit.training.trainer:RankingTrainer.training_step"
    ended, said = interrupting.run(place, line, call=5)
    assert ended == 130
    assert said[-2] == "plaudit: interrupted; run: 1 run finished"
    [checkpoint] = (here / "run/folds").glob("*/checkpoints/checkpoint-*")
    assert checkpoint.name == "checkpoint-2"
    assert run(*shlex.split(said[-1])[4:])[0] == 0


def test_a_training_that_is_interrupted_twice_ends_at_once(here, base):
    line = ["train", "ranked.csv", "--base", base("bert"), "--dtype", "float32", "--max-steps", 6]
    line += ["--head-epochs", 0, "--no-report", "-o", "run"]
    step = "plaudit.training.trainer:RankingTrainer.training_step"
    ended, said = interrupting.run(step, line, call=3, times=2)
    assert ended == 130
    assert "there is no checkpoint yet" in said[-2]


def test_an_output_that_is_interrupted_says_what_to_type(run, here, model_folder, monkeypatch):
    monkeypatch.setattr("plaudit.scoring.windows.ROWS_AT_ONCE", 10)
    line = ["score", model_folder, "ranked.csv", "-o", "s.jsonl", "--dtype", "float32"]
    code, said = interrupting.run(
        "plaudit.data.readers:BadRows.count", line, call=21, rows_at_once=10
    )
    assert (code, said) == (130, [
        "s.jsonl: unfinished, 20 input rows are done; --resume goes on",
        "plaudit: interrupted",
        f"to go on: plaudit {shlex.join(line)} --resume",
    ])  # fmt: skip
    code, _, err = run(*shlex.split(said[-1])[4:])
    assert code == 0, err
    assert len((here / "s.jsonl").read_text().splitlines()) == 37


@pytest.mark.parametrize(
    ("more", "lost"),
    [((), ""), (("--rejected", "r.jsonl"), "; what was not finished is not kept")],
)
def test_what_was_to_be_written_is_said_to_be_lost_and_nothing_else(here, more, lost):
    line = ["inspect", "ranked.csv", *more]
    code, said = interrupting.run("plaudit.data.readers:gc.disable", line)
    assert (code, said[-1]) == (130, f"plaudit: interrupted{lost}")


def test_an_interruption_of_the_start_is_told_without_a_traceback(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("plaudit.cli.main", interrupted)
    assert run_all() == 130
    assert capsys.readouterr().err == "plaudit: interrupted before anything was begun\n"


def test_a_folder_that_is_written_in_part_is_told(run, here, model_folder):
    rows = "".join(json.dumps(shp_row(number)) + "\n" for number in range(4))
    (here / "shp.jsonl").write_text(rows)
    line = ["evaluate", model_folder, "shp.jsonl", "--suite", "shp", "--partial", "-o", "out"]
    code, said = interrupting.run("plaudit.evaluation.suite_run:write_jsonl", line)
    again = f"plaudit {shlex.join(line)} --overwrite"
    assert (code, said[-2:]) == (130, [
        "plaudit: interrupted; out: is there, and may lack a part",
        f"to begin again: {again}",
    ])  # fmt: skip
    assert not (here / "out/suite.json").exists()
    assert run(*shlex.split(again)[1:])[0] == 0
    assert (here / "out/suite.json").exists()


def test_a_temporary_run_that_is_interrupted_is_not_offered(here, base):
    short = ["--base", base("bert"), "--max-length", "32"]
    line = ["inspect", "ranked.csv", "--mislabelled", *short]
    code, said = interrupting.run("plaudit.training.trainer:raise_interruption", line)
    assert code == 130, said
    assert said[-1].startswith("plaudit: interrupted; what was not finished is not kept; what the ")
    assert "--resume" not in said[-1]


def test_quiet_says_nothing_but_errors(run, here):
    assert run("pairs", "ranked.csv", "-o", "p.csv", "--quiet") == (0, "", "")
    code, out, err = run("pairs", "ranked.csv", "-o", "p.csv", "--quiet")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "PLAUDIT_QUIET" not in os.environ
    assert run("pairs", "ranked.csv", "-o", "q.csv")[2] != ""


def test_json_is_there_wherever_there_is_a_result(run, here):
    for name in COMMANDS:
        shown = run(name, "--help")[1]
        assert "--quiet" in shown
        assert ("--json" in shown) == (name not in ("serve", "label"))
    code, out, _ = run("pairs", "ranked.csv", "-o", "p.csv", "--json")
    assert (code, json.loads(out)) == (
        0,
        {"path": "p.csv", "rows": 36, "rejected_to": "rejected.jsonl"},
    )
    code, out, _ = run("sample", "-o", "d", "-n", 2, "--json")
    assert json.loads(out) == {"ranked": "d/sample_ranked.csv", "pairs": "d/sample_pairs.jsonl"}
    code, _, err = run("score", "m", "ranked.csv", "--json")
    assert (code, err) == (
        1,
        "plaudit: --json: without -o FILE the rows themselves go to stdout, as JSON\n",
    )


def test_completion_brings_nothing_heavy_along():
    line = "plaudit train a --loss b"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    asked |= {"_ARGCOMPLETE_STDOUT_FILENAME": os.devnull}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "plaudit"],
        capture_output=True, text=True, env=os.environ | asked,
    )  # fmt: skip
    imported = {row.rsplit("|", 1)[-1].strip() for row in done.stderr.splitlines()}
    assert "argcomplete" in imported
    assert not imported.intersection(HEAVY)


def test_data_that_can_be_read_only_once_are_refused(here, run):
    os.mkfifo("pipe.jsonl")
    code, _, err = run("inspect", "pipe.jsonl")
    assert code == 1
    assert "is no regular file" in err


def test_the_installed_command_is_this_one():
    from importlib.metadata import entry_points, version

    (ours,) = entry_points(group="console_scripts", name="plaudit")
    assert ours.load() is run_all
    process = start("--version")
    assert process.communicate(timeout=60)[0] == f"plaudit {version('plaudit')}\n"


def test_functions_take_rows_and_rankings_in_memory(base, tmp_path):
    import pandas

    rows = [
        {"prompt": f"What is {n}?", "chosen": f"a fox {n}", "rejected": f"a dog {n} {n}"}
        for n in range(20)
    ]
    rankings = [
        plaudit.Ranking(row["prompt"], [row["chosen"], row["rejected"]], [0, 1]) for row in rows
    ]
    options = {"base": str(base("bert")), "max_steps": 1, "dtype": "float32", "overwrite": True}
    rewards = []
    for number, data in enumerate((rows, pandas.DataFrame(rows), rankings)):
        run = plaudit.train(data, output=tmp_path / str(number), **options)
        rewards.append(run.model.score("What is 1?", ["a fox", "a dog"]))
        assert plaudit.evaluate(run.model, data, resamples=10).summary["counts"]["pairs"] == 20
    assert rewards[0] == rewards[1] == rewards[2]


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes")],
)
def test_too_little_memory_is_told_in_a_line(monkeypatch, capsys, error):
    def fails(_):
        raise error

    monkeypatch.setattr("plaudit.cli.run", fails)
    assert main(["plugins"]) == 1
    assert capsys.readouterr().err.startswith("plaudit: out of memory: ")


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    def fails(_):
        raise RuntimeError("something else")

    monkeypatch.setattr("plaudit.cli.run", fails)
    with pytest.raises(RuntimeError, match="something else"):
        main(["plugins"])
