"""The registry: a module is found by its file's name, another package's by its entry point."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import forked
import tiny
from plaudit.errors import PlauditError
from plaudit.plugins import KINDS, Registry
from plaudit.training.objectives import OBJECTIVES, Objective


@pytest.fixture
def other_package(tmp_path, monkeypatch):
    """Makes a distribution on the path that adds objectives under the names given."""
    OBJECTIVES.names()  # listed once for all: before there is anything of this test's

    def make(modules, entries):
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        info = tmp_path / "other_rewards-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-rewards\nVersion: 1.2\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[plaudit.objectives]", *lines]) + "\n")
        monkeypatch.syspath_prepend(tmp_path)
        return Registry("objective", OBJECTIVES.package, "OBJECTIVE", Objective)

    return make


THEIRS = """
from plaudit.training.objectives import Objective
from plaudit.training.pairs import mean_over, ordered_pairs


def gap(rewards, ranks):
    difference, better = ordered_pairs(rewards, ranks)
    return mean_over((1 - difference).clamp(min=0), better)


OBJECTIVE = Objective(gap)
"""


def test_names_are_those_of_the_files():
    assert {"bradley-terry", "plackett-luce"} <= set(OBJECTIVES.names())
    assert OBJECTIVES.origins()["bradley-terry"].startswith("plaudit ")


def test_names_are_listed_without_importing_torch():
    code = "import sys; from plaudit.training.objectives import OBJECTIVES; OBJECTIVES.names(); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_another_package_adds_its_own(other_package):
    objectives = other_package({"their_gap": THEIRS}, {"gap": "their_gap:OBJECTIVE"})
    assert set(objectives.names()) == {*OBJECTIVES, "gap"}
    assert objectives.origins()["gap"] == "other-rewards 1.2"
    assert isinstance(objectives.get("gap"), Objective)
    assert not objectives.get("gap").takes("margin")


def test_what_is_not_there_is_said_with_the_nearest_name():
    with pytest.raises(PlauditError, match="bradley-tery; the nearest is bradley-terry"):
        OBJECTIVES.get("bradley-tery")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import a_package_that_is_not_there", "cannot be loaded: ModuleNotFoundError"),
        ("OBJECTIVE = 3", "is of type int where Objective is wanted"),
        ("", "cannot be loaded: AttributeError"),
    ],
)
def test_what_cannot_be_used_says_whose_it_is(text, reason, other_package):
    objectives = other_package({"broken_objective": text}, {"odd": "broken_objective:OBJECTIVE"})
    sys.modules.pop("broken_objective", None)
    with pytest.raises(PlauditError, match=f"objective odd of other-rewards 1.2 {reason}"):
        objectives.get("odd")


def test_two_of_one_name_are_an_error(other_package):
    objectives = other_package({"their_pl": THEIRS}, {"plackett-luce": "their_pl:OBJECTIVE"})
    with pytest.raises(PlauditError, match=r"both plaudit .* and other-rewards 1\.2 have one"):
        objectives.names()


def test_what_cannot_be_loaded_is_left_aside_unless_it_is_asked_for(other_package, capsys):
    objectives = other_package({"broken_one": "raise OSError"}, {"odd": "broken_one:OBJECTIVE"})
    assert dict(objectives.each()).keys() == {*OBJECTIVES}
    assert "left aside: objective odd of other-rewards 1.2 cannot" in capsys.readouterr().err


def test_two_of_one_name_are_listed_and_end_a_command_in_one_line(other_package, capsys):
    objectives = other_package({"their_pl": THEIRS}, {"plackett-luce": "their_pl:OBJECTIVE"})
    assert objectives.origins()["plackett-luce"].endswith(" and other-rewards 1.2")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The folder that the example package is installed in."""
    place = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "plugin_example"
    shutil.copytree(Path(__file__).parent / "plugin_example", source)  # building writes into it
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", str(place), str(source)], check=True)
    return str(place)


@pytest.fixture
def with_example(example):
    """Runs Python with the example package installed."""

    def run(*words):
        process = forked.start(*words, places=[example])
        process.wait()
        return process

    return run


def test_the_example_package_adds_one_of_each_kind(with_example):
    listed = json.loads(with_example("-m", "plaudit", "plugins", "--json").stdout)
    assert listed.keys() == KINDS.keys()
    theirs = {kind: [n for n, o in names.items() if o == "plaudit-example 1.0"]
              for kind, names in listed.items()}  # fmt: skip
    assert theirs == {
        "engine": ["counting"],
        "export": ["head-json"],
        "layout": ["votes"],
        "measure": ["worst_last"],
        "nuisance": ["flattery"],
        "objective": ["exponential"],
        "peer": ["spaced"],
        "plot": ["reward-by-rank"],
        "pooling": ["maximum"],
        "posterior": ["no-data"],
        "protocol": ["plain-reward"],
        "rewrite": ["thanks"],
        "suite": ["fewerwords"],
    }
    lines = with_example("-m", "plaudit", "plugins").stdout.splitlines()
    assert ["exponential", "plaudit-example", "1.0"] in [line.split() for line in lines]


USES_ALL = """
import json, sys
from pathlib import Path
from fastapi.testclient import TestClient
from plaudit import RewardModel, evaluate, load_rankings, train
from plaudit.evaluation.suite_run import load_suite, run_suite
from plaudit.serving.app import build_app

base, data, folder = sys.argv[1:]
options = {"base": base, "recipe": "plain", "max_steps": 2, "logging_steps": 1, "dtype": "float32"}
run = train(data, output=folder + "/run", loss="exponential", control="flattery", **options)
options |= {"report": False, "stress": 0}
unsure = train(data, output=folder + "/unsure", uncertainty="no-data", **options).model
assert len(set(unsure.posterior("What is 1?", ["a fox", "a dog"]).deviations.round(6))) == 2
losses = [json.loads(line).get("loss") for line in open(folder + "/run/log.jsonl")]
rows = [{"ask": f"What is {n}?", "few": "a fox", "many": "a dog " * 5} for n in range(8)]
suite = Path(folder, "suite.jsonl")
suite.write_text("".join(json.dumps(row) + "\\n" for row in rows))
result = run_suite(run.model, load_suite(suite))
with TestClient(build_app(run.model), base_url="http://127.0.0.1") as client:
    for _ in range(600):
        if client.get("/ready").status_code == 200:
            break
    answer = client.post("/plain_reward", json={"question": "What is 1?", "answer": "a fox"}).json()
expected = run.model.score("What is 1?", "a fox")
votes = Path(folder, "votes.jsonl")
votes.write_text(json.dumps({"asked": "2+2?", "first": "4", "second": "5", "for_second": -3}))
[ranking] = load_rankings(votes)
better_first = [ranking.completions[k] for k in sorted((0, 1), key=lambda k: ranking.ranks[k])]
evaluation = evaluate(run.model, data, output=folder + "/measured")
right = []
for ranking, rewards in zip(evaluation.rankings, evaluation.rewards, strict=True):
    if len(set(ranking.ranks)) > 1:
        last = [rank for rank, reward in zip(ranking.ranks, rewards) if reward == min(rewards)]
        right.append(sum(rank == max(ranking.ranks) for rank in last) / len(last))
worst_last = sum(right) / len(right)
curves = [curve["nuisance"] for curve in run.metrics["training"]["control"]["curves"]]
answers = [answer["reward"], expected, better_first, worst_last, curves]
print(json.dumps([losses, result.summary["suite"], *answers]))
"""


def test_what_the_example_package_adds_is_used_like_our_own(example, base, tmp_path):
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", 30)
    paths = os.pathsep.join(filter(None, [example, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(  # afresh: measures are listed when they are imported
        [sys.executable, "-c", USES_ALL, base("bert"), data, tmp_path],
        env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses, suite, *answers = json.loads(done.stdout.splitlines()[-1])
    reward, expected, better_first, worst_last, curves = answers
    assert any(loss is not None and loss > 0 for loss in losses)
    assert suite == "fewerwords"
    assert curves == ["flattery"]
    assert better_first == ["4", "5"]
    assert reward == pytest.approx(expected, abs=1e-6)
    measured = json.loads((tmp_path / "measured" / "metrics.json").read_text())
    assert measured["worst_last"]["value"] == pytest.approx(worst_last)
    assert "worst_last" in measured["baselines"]["a coin toss"]
    assert "thanks before it" in (tmp_path / "measured" / "report.html").read_text()
    report = (tmp_path / "measured" / "report.html").read_text()
    assert "Worst comes last" in report
    assert "Does reward follow rank?" in report
    assert "From the best rank to the worst the mean reward changes by" in report
    for plots in ("measured/plots", "run/plots"):
        assert (tmp_path / plots / "reward_by_rank.png").stat().st_size > 1000
    assert "worst comes last" in (tmp_path / "run" / "model" / "README.md").read_text()


USES_POOLING = """
import json, sys
from plaudit import RewardModel, train
from plaudit.cli import main
from plaudit.model.freezing import freeze

base, data, folder = sys.argv[1:]
options = {"base": base, "recipe": "plain", "pooling": "maximum", "max_steps": 2}
options |= {"dtype": "float32", "report": False}
run = train(data, output=folder + "/run", **options)
texts = [("What is 1?", ["a fox", "a dog " * 9]), ("", ["yes"])]
scores = [list(run.model.score_all(texts))]
for layout in ("padded", "flat"):
    model = RewardModel.load(folder + "/run", layout=layout, dtype="float32", device="cpu")
    scores.append(list(model.score_all(texts)))
freeze(model, -1)  # raises where features that are kept give other rewards
for name in ("head-json", "pt"):
    assert not main(["export", folder + "/run", "--format", name, "-o", folder + "/model." + name])
scores.append(list(RewardModel.load(folder + "/model.pt", dtype="float32").score_all(texts)))
rows = model.encoding.encode_texts(texts)
names = ("input_ids", "token_type_ids")
rows = [{n: [r[n][k]] for n in names if r.get(n)} for r in rows for k in range(len(r["input_ids"]))]
print(json.dumps([scores, rows, model.model.score.weight[0].tolist()]))
"""


def test_a_peer_of_another_package_is_asked(with_example, reward_model, tmp_path):
    for name, code in (("bert", 0), ("qwen2", 1)):  # the one drops white space
        reward_model(name).save(tmp_path / name)
        made = with_example("-m", "plaudit", "verify", tmp_path / name, "--against", "spaced")
        assert made.poll() == code, made.stdout + made.stderr
        assert "against the model on completions that end in a space" in made.stdout


def test_an_engine_of_another_package_scores(with_example, reward_model, tmp_path):
    model = reward_model("bert")
    folder = tmp_path / "counting"
    model.encoding.tokenizer.save_pretrained(folder)
    noted = {"kind": "encoder", "template": "plain", "max_length": 64}
    noted |= {"separator": "", "pooling": "cls"}
    (folder / "counting.json").write_text(json.dumps(noted))
    rows = tmp_path / "rows.jsonl"
    texts = ["a fox", "a dog and a fox", "yes"]
    rows.write_text("\n".join(json.dumps({"prompt": "What?", "completion": t}) for t in texts))
    made = with_example("-m", "plaudit", "score", folder, rows, "-o", tmp_path / "scored.jsonl")
    assert made.poll() == 0, made.stderr
    scored = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    expected = [len(model.encoding.tokenizer("What?", text)["input_ids"]) for text in texts]
    assert [row["reward"] for row in scored] == expected


@pytest.mark.parametrize("name", ["qwen2", "bert"])
def test_a_pooling_of_another_package_trains_scores_saves_and_is_exported(
    with_example, base, tmp_path, name
):
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", 30)
    done = with_example("-c", USES_POOLING, str(base(name)), str(data), str(tmp_path))
    assert done.poll() == 0, done.stderr
    scores, rows, weight = json.loads(done.stdout.splitlines()[-1])
    trained, *others = [[reward for row in each for reward in row] for each in scores]
    for rewards in others:
        assert rewards == pytest.approx(trained, abs=1e-5)
    # By the saved class, without plaudit; and by its base model: the maximum, times the head.
    model = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "run" / "model", trust_remote_code=True
    ).eval()
    assert json.loads((tmp_path / "model.head-json").read_text()) == {
        "pooling": "maximum",
        "weight": weight,
    }
    every = [{key: torch.tensor(value) for key, value in row.items()} for row in rows]
    with torch.no_grad():
        saved = [model(**row).logits.item() for row in every]
        hidden = [model.model(**row).last_hidden_state[0] for row in every]
    expected = [float(of_row.amax(0) @ torch.tensor(weight)) for of_row in hidden]
    assert trained == pytest.approx(saved, abs=1e-4)
    assert trained == pytest.approx(expected, abs=1e-4)
