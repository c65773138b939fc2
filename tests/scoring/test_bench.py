"""A bench scores each text once a model, survives a kill, and tells of what failed."""

import csv
import html
import json
import shutil

import pytest
from huggingface_hub import constants

import tiny
from fits import assert_fits
from plaudit import PlauditError, RewardModel, bench, evaluate
from plaudit.cli import main
from plaudit.data.rankings import text_key
from plaudit.files import write_jsonl
from plaudit.scoring import bench as module

STRICT = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turns') }}"
    "{% endif %}[{{ m.role }}] {{ m.content }}<|im_end|>{% endfor %}"
)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pair(number, **more):
    row = {"prompt": f"What is {number}?", "chosen": f"It is {number}.", "rejected": "No."}
    return row | more


@pytest.fixture
def pairs(tmp_path):
    return write(tmp_path / "pairs.jsonl", [pair(n) for n in range(12)])


@pytest.fixture
def suite(tmp_path):
    """Half of its texts are those of the pairs."""
    rows = [pair(n, subset="math-prm", id=n) for n in range(6, 18)]
    return write(tmp_path / "rb.jsonl", rows)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three small models on disk."""
    root = tmp_path_factory.mktemp("models")
    base = tiny.make("bert", root / "base")
    for seed, name in enumerate(("one", "two", "three")):
        RewardModel.load(base, seed=seed, max_length=64, dtype="float32").save(root / name)
    return {name: str(root / name) for name in ("one", "two", "three")}


@pytest.fixture
def scored(monkeypatch):
    """Every text that a model is asked to encode, by the order of asking."""
    asked = []
    encode = RewardModel.encode

    def counted(self, prompts):
        asked.extend((text_key(p), text_key(c)) for p, cs in prompts for c in cs)
        return encode(self, prompts)

    monkeypatch.setattr(RewardModel, "encode", counted)
    return asked


def named(folders, *names):
    return [f"{name}={folders[name]}" for name in names]


def test_every_text_is_scored_once_a_model(folders, pairs, suite, scored, tmp_path):
    out = tmp_path / "out"
    result = bench(
        named(folders, "one", "two"), suite=[suite], partial=True, data=[pairs], output=out
    )
    texts = {(f"What is {n}?", text) for n in range(18) for text in (f"It is {n}.", "No.")}
    assert len(scored) == 2 * len(texts)
    assert set(scored) == texts
    for each in result.summary["models"].values():
        cost = each["cost"]
        assert cost["completions"] == len(texts)
        assert cost["seconds"] > 0
        assert cost["tokens"] > cost["completions"]
        assert cost["dtype"] == "float32"
    model = RewardModel.load(folders["one"], dtype="float32")
    assert result.summary["models"]["one"]["cost"]["parameters"] == sum(
        p.numel() for p in model.model.parameters()
    )
    file = next((out / "rewards" / "one").glob("pairs.jsonl"))
    for line in file.read_text().splitlines():
        row = json.loads(line)
        assert row["rewards"] == pytest.approx(model.score(row["prompt"], row["completions"]))


def test_scores_are_those_of_evaluate(folders, pairs, suite):
    result = bench(
        named(folders, "one", "two"), suite=[suite], partial=True, data=[f"mine={pairs}"]
    )
    data = result.summary["data"]
    assert [*data] == ["RewardBench", "mine"]
    alone = evaluate(folders["two"], pairs, stress=0).summary["pairwise_accuracy"]
    assert data["mine"]["scores"]["two"]["score"] == pytest.approx(alone)
    alone = main_json_of_suite(folders["two"], suite)
    assert data["RewardBench"]["scores"]["two"]["score"] == pytest.approx(alone["score"])
    assert not data["RewardBench"]["complete"]


def test_what_length_gets_stands_beside(folders, tmp_path):
    rows = [
        {"prompt": f"What is {n}?", "chosen": "fox" * (1 + n % 4), "rejected": "ox" * 3}
        for n in range(8)
    ]
    file = tmp_path / "mine.jsonl"
    write_jsonl(file, rows)
    result = bench(named(folders, "one"), data=[str(file)])
    longer = sum(3 * (1 + n % 4) > 6 for n in range(8)) + 0.5 * sum(
        3 * (1 + n % 4) == 6 for n in range(8)
    )
    [note] = [n for n in result.summary["data"]["mine"]["notes"] if "longer" in n]
    assert note.startswith(f"preferring the longer answer gets {longer / 8:.3f}")
    assert note in str(result)


def main_json_of_suite(model, suite):
    from plaudit.evaluation.suite_run import run_suite

    return run_suite(model, suite, "rewardbench", partial=True).summary


def test_a_model_that_cannot_be_loaded_has_a_row_and_the_others_go_on(
    folders, pairs, tmp_path, capsys
):
    out = tmp_path / "out"
    flags = ["--data", pairs, "-o", str(out)]
    assert main(["bench", str(tmp_path / "none"), *named(folders, "one", "two"), *flags]) == 1
    record = json.loads((out / "bench.json").read_text())
    assert_fits("bench", record)
    problem = record["models"][str(tmp_path / "none")]["problem"]
    assert "cannot be loaded" in problem
    assert not record["passed"]
    assert {*record["data"]["pairs"]["scores"]} == {"one", "two"}
    assert "none has no scores: " in " ".join(capsys.readouterr().out.split())
    shown = html.unescape((out / "index.html").read_text())
    assert f"no scores: {problem}" in shown
    with (out / "scores.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert rows["one"]["problem"] == ""
    assert "cannot be loaded" in rows[str(tmp_path / "none")]["problem"]


def test_a_model_that_fails_while_it_scores_does_not_end_the_others(folders, pairs, monkeypatch):
    rewards = RewardModel.rewards

    def failing(self, encoded):
        if "two" in self.origin:
            raise RuntimeError("its own code\nis broken")
        return rewards(self, encoded)

    monkeypatch.setattr(RewardModel, "rewards", failing)
    result = bench(named(folders, "two", "one", "three"), data=[pairs])
    problems = {name: each["problem"] for name, each in result.summary["models"].items()}
    assert problems == {
        "two": "RuntimeError: its own code is broken",
        "one": None,
        "three": None,
    }
    assert not result.passed
    assert [each["second"] for each in result.summary["comparisons"]] == ["three"]


@pytest.mark.parametrize("left", ["", "{}", '{"prompt": "What is 0?', None])
def test_rewards_that_are_no_longer_there_are_said(left, folders, pairs, tmp_path):
    out = tmp_path / "out"
    bench(named(folders, "one"), data=[pairs], output=out)
    file = out / "rewards" / "one" / "pairs.jsonl"
    file.unlink() if left is None else file.write_text(left)
    result = bench(named(folders, "one", "two"), data=[pairs], output=out, resume=True)
    problem = result.summary["models"]["one"]["problem"]
    assert str(file) in problem
    assert "--overwrite scores all anew" in problem
    assert result.summary["models"]["two"]["problem"] is None


def test_where_all_fail_there_is_a_record_without_scores(pairs, tmp_path):
    result = bench([str(tmp_path / "none")], data=[pairs])
    assert result.summary["verdict"] == ["No model has scores that could be compared."]
    assert "has no scores" in str(result)


def test_models_are_compared_on_the_rows_that_all_take(folders, tmp_path):
    tokenizer = tiny.TOKENIZERS["qwen2"]()
    tokenizer.chat_template = STRICT
    strict = tiny.make("qwen2", tmp_path / "strict", tokenizer)
    user = {"role": "user", "content": "What is it?"}
    rows = [{**pair(n), "prompt": [{**user, "content": f"What is {n}?"}]} for n in range(8)]
    for row in rows[:3]:
        row["prompt"].insert(0, {"role": "system", "content": "Be brief."})
    data = write(tmp_path / "chat.jsonl", rows)
    only = write(tmp_path / "only.jsonl", rows[:3])
    models = [*named(folders, "one", "two"), f"strict={strict}"]
    result = bench(models, data=[data, only])
    summary = result.summary
    chat = summary["data"]["chat"]
    assert chat["counts"]["items"] == 5
    assert summary["models"]["strict"]["refused"] == {"chat": 3, "only": 3}
    assert "strict does not take 3 of 8 rows" in chat["notes"][0]
    assert "no system turns" in chat["notes"][0]
    assert "the 5 rows that all of one, two, strict take" in chat["notes"][1]
    kept = write(tmp_path / "kept.jsonl", rows[3:])
    alone = evaluate(folders["one"], kept, stress=0).summary["pairwise_accuracy"]
    assert chat["scores"]["one"]["score"] == pytest.approx(alone)
    # One that takes nothing of the data has no score there, nor in the mean.
    assert {*summary["data"]["only"]["scores"]} == {"one", "two"}
    assert {*summary["mean"]["scores"]} == {"one", "two"}


class Killed(BaseException):
    pass


def kill_after(monkeypatch, windows):
    rewards, left = RewardModel.rewards, [windows]

    def until(self, encoded):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return rewards(self, encoded)

    monkeypatch.setattr(RewardModel, "rewards", until)


@pytest.mark.parametrize("windows", [0, 2, 4, 9])
def test_a_bench_that_is_killed_goes_on_where_it_was(
    folders, pairs, suite, scored, tmp_path, monkeypatch, windows
):
    monkeypatch.setattr(module, "WINDOW", 8)  # three windows of each
    given = {"suite": [suite], "partial": True, "data": [pairs]}
    models = named(folders, "one", "two")
    expected = bench(models, **given)
    whole, scored[:] = len(scored), []
    with monkeypatch.context() as patch:
        kill_after(patch, windows)
        with pytest.raises(Killed):
            bench(models, **given, output=tmp_path / "out")
    with pytest.raises(PlauditError, match="already exists"):
        bench(models, **given, output=tmp_path / "out")
    result = bench(models, **given, output=tmp_path / "out", resume=True)
    assert len(scored) <= whole + 8  # the window in which it was killed is scored again
    assert without_seconds(result) == without_seconds(expected)


def without_seconds(result):
    record = json.loads(json.dumps(result.summary))
    for each in record["models"].values():
        del each["cost"]["seconds"], each["cost"]["peak_memory_bytes"]
    del record["verdict"]  # names the fastest
    return record


def test_what_is_scored_is_not_scored_again(folders, pairs, suite, scored, tmp_path):
    out = tmp_path / "out"
    bench(named(folders, "one"), data=[pairs], output=out)
    scored.clear()
    bench(named(folders, "one", "two"), data=[pairs], output=out, resume=True)
    assert len(scored) == 24  # of the other model alone
    scored.clear()
    result = bench(named(folders, "one", "two"), data=[pairs], suite=[suite], partial=True,
                   output=out, resume=True)  # fmt: skip
    assert len(scored) == 2 * 12  # of the data that are new, what the others do not share
    assert {*result.summary["mean"]["scores"]} == {"one", "two"}
    with pytest.raises(PlauditError, match="already exists; --overwrite replaces it"):
        bench(named(folders, "one"), data=[pairs], output=out)
    scored.clear()
    bench(named(folders, "one"), data=[pairs], output=out, overwrite=True)
    assert len(scored) == 24
    assert [path.name for path in (out / "rewards").iterdir()] == ["one"]


def test_rewards_of_other_things_are_not_taken_for_these(folders, pairs, tmp_path):
    out = tmp_path / "out"
    changing = RewardModel.load(folders["one"])
    changing.save(tmp_path / "model")
    models = [f"m={tmp_path / 'model'}"]
    bench(models, data=[pairs], output=out)
    with pytest.raises(PlauditError, match="m: the model, or how it is loaded, is not"):
        bench(models, data=[pairs], output=out, resume=True, max_length=32)
    write(tmp_path / "pairs.jsonl", [pair(n) for n in range(5)])
    with pytest.raises(PlauditError, match=r"pairs: has changed since m scored it"):
        bench(models, data=[pairs], output=out, resume=True)
    write(tmp_path / "pairs.jsonl", [pair(n) for n in range(12)])
    RewardModel.load(folders["two"]).save(tmp_path / "model")
    with pytest.raises(PlauditError, match="--overwrite scores all anew"):
        bench(models, data=[pairs], output=out, resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give --suite DATA, --data DATA, or both"),
        ({"data": ["a=x.jsonl", "a=y.jsonl"]}, "y.jsonl: is called a, as .*x.jsonl is"),
        ({"data": ["mean=x.jsonl"]}, "mean: this name is taken by the mean over all"),
        ({"data": ["x.jsonl"], "resume": True}, "--resume needs -o DIR: the folder that was"),
        ({"suite": ["llmbar=x.jsonl"]}, "is not LLMBar"),
        ({"data": ["x.jsonl"], "partial": True}, "--partial: needs --suite; give"),
        ({"suite": ["x.jsonl"], "columns": {"prompt": "q"}}, "--columns: is for preference data"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "xy":
        write(tmp_path / f"{name}.jsonl", [pair(1)])
    with pytest.raises(PlauditError, match=message):
        bench(["embedded:minilm"], **options)


def test_a_model_is_named_once(folders, pairs):
    with pytest.raises(PlauditError, match="is named twice"):
        bench([folders["one"], folders["one"]], data=[pairs])
    with pytest.raises(PlauditError, match="are the same model; give it once"):
        bench([folders["one"], f"again={folders['one']}/"], data=[pairs])


def test_a_copy_of_a_model_is_the_same_and_a_revision_of_the_hub_is_told(
    folders, pairs, scored, tmp_path, monkeypatch
):
    out, copy = tmp_path / "out", tmp_path / "model"
    shutil.copytree(folders["one"], copy)
    bench([f"m={copy}"], data=[pairs], output=out)
    shutil.rmtree(copy)
    shutil.copytree(folders["one"], copy, copy_function=shutil.copyfile)  # with other times
    scored.clear()
    bench([f"m={copy}"], data=[pairs], output=out, resume=True)
    assert scored == []

    large = bytearray(6 << 20)
    (copy / "large.bin").write_bytes(large)
    bench([f"m={copy}"], data=[pairs], output=out, overwrite=True)
    large[100_000] = 1  # as little as a head alone is of a large model
    (copy / "large.bin").write_bytes(large)
    with pytest.raises(PlauditError, match="is not what it was scored with"):
        bench([f"m={copy}"], data=[pairs], output=out, resume=True)

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repo = tmp_path / "hub" / "models--owner--name"
    for commit in ("a" * 40, "b" * 40):
        shutil.copytree(folders["one"], repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    out = tmp_path / "of-hub"
    (repo / "refs" / "main").write_text("a" * 40)
    bench(["m=owner/name"], data=[pairs], output=out)
    scored.clear()
    bench(["m=owner/name"], data=[pairs], output=out, resume=True)
    assert scored == []
    (repo / "refs" / "main").write_text("b" * 40)
    with pytest.raises(PlauditError, match="is not what it was scored with"):
        bench(["m=owner/name"], data=[pairs], output=out, resume=True)


@pytest.mark.parametrize("flag", [[], ["--trust-remote-code"]])
def test_a_flag_of_trust_reaches_every_model(pairs, monkeypatch, flag):
    trusted = {}

    def load(name, **options):
        trusted[name] = options["trust_remote_code"]
        raise PlauditError("refused")

    monkeypatch.setattr(RewardModel, "load", load)
    assert main(["bench", "one", "two", "--data", pairs, *flag]) == 1
    assert trusted == {"one": bool(flag), "two": bool(flag)}


def test_a_prompt_as_text_and_as_a_message_may_stand_in_one_file(folders, tmp_path):
    as_message = [{"role": "user", "content": "What is 1?"}]
    data = write(tmp_path / "both.jsonl", [pair(1), pair(1, prompt=as_message, rejected="Two.")])
    result = bench(named(folders, "one"), data=[data]).summary["data"]["both"]
    assert result["counts"] == {"items": 2, "prompts": 1, "completions": 4, "rejected": 0}
