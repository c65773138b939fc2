"""Several benchmarks in one go: scores as of each alone, each text scored once, a killed run."""

import json
import shutil

import pytest

from fits import assert_fits
from plaudit.commands import evaluate
from plaudit.errors import PlauditError
from plaudit.evaluation.all_suites import load_suites, run_all_suites
from plaudit.evaluation.published import published_scores
from plaudit.evaluation.suite_run import run_suite
from plaudit.evaluation.suites import SUITES
from suite_rows import helpsteer3_row, ifrewardbench_row, ppecorrectness_row, shp_row, write

ANSWERS = {"response1": "No.", "response2": "It is 4.", "context": "What is 2 + 2?"}


@pytest.fixture
def folder(tmp_path):
    """Three benchmarks, of which two share a prompt with an answer, and a file of none."""
    shared = {"history": "What is 2 + 2?", "human_ref_A": "It is 4.", "human_ref_B": "It is 5."}
    write(
        tmp_path / "data" / "shp.jsonl", [shp_row(k) for k in range(30)] + [shp_row(31, **shared)]
    )
    rows = [helpsteer3_row(k, (-1) ** k) for k in range(30)] + [helpsteer3_row(31, 2, **ANSWERS)]
    write(tmp_path / "data" / "helpsteer3" / "validation.jsonl", rows)
    write(tmp_path / "data" / "helpsteer3" / "train.jsonl", rows[:3])
    write(tmp_path / "data" / "if.json", [ifrewardbench_row(k) for k in range(30)])
    write(tmp_path / "data" / "notes.json", [{"text": "nothing"}])
    return tmp_path / "data"


class Counting:
    """A scorer that notes what it is asked for, and may stop in the midst of it."""

    def __init__(self, model, most=None):
        self._model, self._most = model, most
        self.asked = []

    def __getattr__(self, name):
        return getattr(self._model, name)

    def score_all(self, prompts):
        for rewards, (prompt, completions) in zip(
            self._model.score_all(prompts), prompts, strict=True
        ):
            if self._most is not None and len(self.asked) >= self._most:
                raise KeyboardInterrupt
            self.asked.append((str(prompt), [str(text) for text in completions]))
            yield rewards


def test_scores_are_those_of_each_alone_and_each_text_is_scored_once(
    folder, tmp_path, reward_model, capsys
):
    model = Counting(reward_model("bert"))
    found = run_all_suites(model, folder, partial=True, output=tmp_path / "out", resamples=50)
    assert [one.data.suite.name for one in found.results] == ["helpsteer3", "ifrewardbench", "shp"]
    told = capsys.readouterr().err
    assert "HelpSteer3: reading the 1 of 2 files called validation" in told
    assert "left out" in told
    assert "notes.json" in told
    texts = [(prompt, text) for prompt, completions in model.asked for text in completions]
    assert len(texts) == len(set(texts)) == found.texts
    every = sum(len(r.completions) for one in found.results for r in one.data.rankings)
    assert (every, found.texts) == (31 * 2 + 31 * 2 + 30 * 3, every - 1)
    file = folder / "shp.jsonl"
    alone = run_suite(reward_model("bert"), file, partial=True, resamples=50)
    assert found.results[2].summary == alone.summary  # what of it was trained on, too
    for one, other in zip(found.results[2].rewards, alone.rewards, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    written = json.loads((tmp_path / "out" / "shp" / "suite.json").read_text())
    assert written["score"] == alone.summary["score"]
    whole = json.loads((tmp_path / "out" / "suites.json").read_text())
    assert_fits("suites", whole)
    assert [one["score"] for one in whole["suites"]][2] == alone.summary["score"]
    lines = (tmp_path / "out" / "rewards.jsonl").read_text().splitlines()
    assert sum(len(json.loads(line)["rewards"]) for line in lines) == found.texts


def test_a_killed_run_goes_on_with_what_is_left(folder, tmp_path, reward_model, monkeypatch):
    monkeypatch.setattr("plaudit.evaluation.all_suites.AT_ONCE", 16)
    monkeypatch.setattr("plaudit.resumable.SECONDS_BETWEEN_STATES", 0)
    options = {"partial": True, "resamples": 0}
    whole = run_all_suites(reward_model("bert"), folder, output=tmp_path / "whole", **options)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_all_suites(Counting(reward_model("bert"), 40), folder, output=out, **options)
    assert not (out / "suites.json").exists()
    with pytest.raises(PlauditError, match=r"unfinished, .* --resume goes on"):
        run_all_suites(reward_model("bert"), folder, output=out, **options)
    model = Counting(reward_model("bert"))
    found = run_all_suites(model, folder, output=out, resume=True, **options)
    done = len((out / "rewards.jsonl").read_text().splitlines()) - len(model.asked)
    assert 24 <= done < 40  # all but the block that was cut
    for one, other in zip(found.results, whole.results, strict=True):
        assert one.rewards == other.rewards
        assert one.summary == other.summary
    with pytest.raises(PlauditError, match="is finished"):
        run_all_suites(model, folder, output=out, resume=True, **options)
    with pytest.raises(PlauditError, match="already exists"):
        run_all_suites(model, folder, output=out, **options)


def test_a_resumed_run_wants_the_same_data(folder, tmp_path, reward_model, monkeypatch):
    monkeypatch.setattr("plaudit.evaluation.all_suites.AT_ONCE", 16)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_all_suites(Counting(reward_model("bert"), 40), folder, partial=True, output=out)
    (folder / "if.json").unlink()
    with pytest.raises(PlauditError, match="was begun with data"):
        run_all_suites(reward_model("bert"), folder, partial=True, output=out, resume=True)
    shutil.rmtree(out)


def test_a_kill_while_the_scores_are_written_costs_no_scoring(
    folder, tmp_path, reward_model, monkeypatch
):
    out = tmp_path / "out"

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("plaudit.evaluation.all_suites.SuitesResult.write", stop)
        with pytest.raises(KeyboardInterrupt):
            run_all_suites(reward_model("bert"), folder, partial=True, output=out, resamples=0)
    model = Counting(reward_model("bert"))
    run_all_suites(model, folder, partial=True, output=out, resume=True, resamples=0)
    assert model.asked == []
    assert (out / "suites.json").exists()


def test_all_that_is_not_whole_is_refused_at_once_before_a_model_is_loaded(folder):
    with pytest.raises(PlauditError) as error:
        run_all_suites(lambda: pytest.fail("loaded"), folder)
    for title in ("HelpSteer3", "IF-RewardBench", "SHP"):
        assert f"not the published data of {title}" in str(error.value)


def test_files_of_none_are_an_error(tmp_path):
    file = write(tmp_path / "notes.jsonl", [{"text": "nothing"}])
    with pytest.raises(PlauditError, match="there is no known benchmark in it; known: helpsteer3"):
        load_suites(file)


def test_a_file_is_of_the_benchmark_that_reads_its_rows(tmp_path):
    """Files of RM-Bench by domain have the fields of RewardBench 2, and no subset of it."""
    row = {"id": 1, "subset": "alpacaeval", "prompt": "Hi", "chosen": ["a"], "rejected": ["b"]}
    write(tmp_path / "chat_filtered.json", [row])
    write(tmp_path / "shp.jsonl", [shp_row(1)])
    datas, left_out = load_suites(tmp_path, partial=True)
    assert [one.suite.name for one in datas] == ["shp"]
    assert left_out == [str(tmp_path / "chat_filtered.json")]


def test_the_table_has_what_others_reached(tmp_path, reward_model):
    rows = [
        ppecorrectness_row(k, right=[k]) | {"sampled_conflict_pairs": [[k, 31]]} for k in range(6)
    ]
    files = [write(tmp_path / "ppe.jsonl", rows), write(tmp_path / "shp.jsonl", [shp_row(1)])]
    table = str(run_all_suites(reward_model("bert"), files, partial=True, resamples=0))
    lines = table.splitlines()
    assert lines[0].startswith("benchmark")
    assert lines[0].endswith("[6]")
    best = "Skywork-Reward-V2-Llama-3.1-8B"
    number = table.split(f"] {best}")[0].rsplit("[", 1)[1]
    ppe = next(line for line in lines if line.startswith("PPE Correctness"))
    assert ppe.split()[-6:][int(number) - 1] == "0.834"
    assert next(line for line in lines if line.startswith("SHP ")).split()[-6:] == ["–"] * 6
    assert "PPE Correctness: https://github.com/SkyworkAI/Skywork-Reward-V2" in table
    assert "* SHP: these are not the published data of SHP" in table


def test_every_published_score_is_of_a_suite_and_has_an_address():
    for name, scores in published_scores().items():
        assert name in SUITES
        assert len({one.model for one in scores}) == len(scores)
        for one in scores:
            assert 0 < one.score < 1
            assert one.source.startswith("https://")


def test_the_command_runs_all(folder, tmp_path, reward_model):
    found = evaluate(reward_model("bert"), folder, suite="all", partial=True, resamples=0)
    assert found.as_json()["suites"][0]["suite"] == "helpsteer3"
    assert not found.as_json()["suites"][0]["complete"]
    with pytest.raises(PlauditError, match="--resume: needs --suite all and -o DIR; give both"):
        evaluate("model", folder, suite="auto", resume=True, output=tmp_path / "out")
    with pytest.raises(PlauditError, match="--partial: needs --suite; give it"):
        evaluate("model", folder, partial=True)
