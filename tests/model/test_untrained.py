"""A base model has no rewards: what gives rewards refuses it, what measures names it."""

import json

import pytest

from plaudit import PlauditError, RewardModel, evaluate, export, generate, label, score, serve
from plaudit.cli import main

REFUSED = r"{}: has no trained reward head: .* plaudit train DATA --base"


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": "Why?", "completion": answer} for answer in ("So.", "No.")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def pairs(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"prompt": "Why?", "chosen": "So.", "rejected": "No."}) + "\n")
    return file


@pytest.mark.parametrize("processes", [1, 2])
def test_what_gives_rewards_refuses_a_base_model(base, tmp_path, rows, processes):
    out = tmp_path / "out.jsonl"
    with pytest.raises(PlauditError, match=REFUSED.format(base("llama"))):
        score(base("llama"), rows, out, processes=processes)
    assert not out.exists()


def test_so_do_the_service_and_best_of_n(base, saved_model, tmp_path):
    with pytest.raises(PlauditError, match=REFUSED.format(base("qwen2"))):
        serve(base("qwen2"), port=0)
    with pytest.raises(PlauditError, match=REFUSED.format(base("llama"))):
        generate(base("llama"), base("qwen2"), ["Why?"], tmp_path / "out.jsonl", n=2)
    with pytest.raises(PlauditError, match=REFUSED.format(base("llama"))):  # an ensemble of one
        serve(saved_model, also=[str(base("llama"))], port=0)


def test_who_labels_may_have_no_trained_model_yet(base, rows, tmp_path, monkeypatch):
    served = []
    monkeypatch.setattr("plaudit.serving.server.serve", lambda model, **_: served.append(model))
    label(base("llama"), rows, tmp_path / "labels.csv")
    assert [model.new_head for model in served] == [True]


def test_what_was_exported_of_it_is_refused_too(base, tmp_path, rows, capsys):
    RewardModel.load(base("bert"))
    export(base("bert"), tmp_path / "it.onnx", format="onnx")
    assert main(["score", str(tmp_path / "it.onnx"), str(rows)]) == 1
    assert "has no trained reward head" in capsys.readouterr().err


def test_what_measures_names_it_at_the_end_too(base, saved_model, pairs, capsys):
    evaluate(saved_model, pairs, against=base("llama"), stress=0, resamples=10)
    said = capsys.readouterr().err
    assert said.count(f"{base('llama')}: this model has no trained reward head") == 1
    evaluate(base("llama"), pairs, stress=0, resamples=10)
    said = capsys.readouterr().err.strip()
    assert said.count(f"{base('llama')}: this model has no trained reward head") == 2
    assert "no trained reward head" in said.splitlines()[-1]


def test_in_python_it_is_loaded(base):
    assert RewardModel.load(base("llama")).new_head
    with pytest.raises(PlauditError, match=REFUSED.format(base("llama"))):
        RewardModel.load(base("llama"), trained_only=True)


@pytest.fixture
def saved_model(reward_model, tmp_path):
    reward_model("qwen2").save(tmp_path / "saved")
    return tmp_path / "saved"
