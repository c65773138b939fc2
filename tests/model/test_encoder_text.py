"""An encoder from elsewhere: how its two texts are read is said, and can be chosen."""

import json

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

import tiny
from plaudit import PlauditError, RewardModel, bench, evaluate, policy_test, score, train
from plaudit.model.export import export

ASKED = "The quick brown fox? "
ANSWERS = ["It jumps over the lazy dog.", "dog"]
CARD = """---
tags:
- generated_from_trainer
- trl
- reward-trainer
---

It has been trained using [TRL](https://github.com/huggingface/trl).
"""


def tokens_of_trl(folder, output):
    """What TRL's own trainer makes of the two answers, and what transformers gives for that."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.eos_token is None:  # TRL wants one
        tokenizer.eos_token = "[SEP]"
        tokenizer.save_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = Dataset.from_list([{"prompt": ASKED, "chosen": ANSWERS[0], "rejected": ANSWERS[1]}])
    how = RewardConfig(output_dir=str(output), max_length=None, use_cpu=True, report_to="none")
    trainer = RewardTrainer(model, how, train_dataset=rows, processing_class=tokenizer)
    [row] = trainer.train_dataset
    each = [row["chosen_ids"], row["rejected_ids"]]
    model.eval()
    with torch.no_grad():
        return each, [model(input_ids=torch.tensor([ids])).logits.item() for ids in each]


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_one_text_is_read_as_trl_trains_on_it(name, tmp_path):
    folder = tiny.classifier(name, tmp_path / "theirs")
    ids, rewards = tokens_of_trl(folder, tmp_path / "trl")
    model = RewardModel.load(folder, encoder_text="trl", dtype="float32")
    assert model.encode([(ASKED, ANSWERS)])[0]["input_ids"] == ids
    assert model.score(ASKED, ANSWERS) == pytest.approx(rewards, abs=1e-5)
    assert model.score(ASKED, ANSWERS) != pytest.approx(
        RewardModel.load(folder, dtype="float32").score(ASKED, ANSWERS), abs=1e-3
    )


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_one_text_is_what_the_tokenizer_makes_of_prompt_and_completion(name, tmp_path):
    folder = tiny.classifier(name, tmp_path / "theirs")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = RewardModel.load(folder, encoder_text="one", dtype="float32")
    [row] = model.encode([(ASKED, ANSWERS)])
    assert row["input_ids"] == [tokenizer(ASKED + answer)["input_ids"] for answer in ANSWERS]
    whole = model.encode_rendered([ASKED + ANSWERS[0]])[0]
    assert whole["input_ids"] == row["input_ids"][:1]
    # Where a row is too long, the prompt loses its beginning, and the frame stays.
    short = RewardModel.load(folder, encoder_text="one", dtype="float32", max_length=12)
    [cut] = short.encode([(ASKED * 5, ["dog"])])
    own = tokenizer(ASKED * 5 + "dog")["input_ids"]
    assert cut["input_ids"] == [[own[0], *own[-11:]]]
    assert cut["prompt_cut"] == [len(own) - 12]


def test_how_it_is_read_is_kept_when_it_is_saved(tmp_path):
    folder = tiny.classifier("bert", tmp_path / "theirs")
    model = RewardModel.load(folder, encoder_text="one", dtype="float32")
    model.save(tmp_path / "saved")
    again = RewardModel.load(tmp_path / "saved", dtype="float32")
    assert again.encoding.encoder_text == "one"
    assert again.score(ASKED, ANSWERS) == pytest.approx(model.score(ASKED, ANSWERS), abs=1e-6)
    with pytest.raises(PlauditError, match=r"encoder_text: .* one, not pair"):
        RewardModel.load(tmp_path / "saved", encoder_text="pair")


def test_a_decoder_has_no_such_choice(tmp_path):
    with pytest.raises(PlauditError, match=r"encoder_text: .* is a decoder"):
        RewardModel.load(tiny.classifier("gpt2", tmp_path / "theirs"), encoder_text="one")


def pairs(folder):
    """Two rankings that a model of one token a word can tell apart."""
    file = folder / "pairs.jsonl"
    rows = [
        {"prompt": ASKED * k, "chosen": ANSWERS[0], "rejected": ANSWERS[1]} for k in range(1, 5)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def read_as(folder, way):
    """The reward margins of the rankings of `pairs`, under one way to read."""
    model = RewardModel.load(folder, dtype="float32", **({"encoder_text": way} if way else {}))
    rewards = [model.score(ASKED * k, ANSWERS) for k in range(1, 5)]
    return [chosen - rejected for chosen, rejected in rewards]


def test_both_models_of_an_evaluation_are_read_as_asked(tmp_path, monkeypatch):
    one, other = (tiny.classifier("bert", tmp_path / name) for name in ("one", "other"))
    (other / "README.md").write_text(CARD)
    seen = []
    load = RewardModel.load
    monkeypatch.setattr(RewardModel, "load", lambda *a, **k: seen.append(load(*a, **k)) or seen[-1])
    how = {"encoder_text": "one", "dtype": "float32", "stress": 0, "resamples": 10}
    evaluate(one, pairs(tmp_path), against=other, **how)
    assert [model.encoding.encoder_text for model in seen] == ["one", "one"]
    rows = [{"prompt": ASKED, "completion": answer} for answer in ANSWERS] * 2
    samples = tmp_path / "samples.jsonl"
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen.clear()
    policy_test(one, samples=samples, gold=other, encoder_text="one", resamples=10)
    assert [model.encoding.encoder_text for model in seen] == ["one", "one"]


def test_of_several_models_it_is_for_those_it_can_apply_to(tmp_path, capsys):
    folder = tiny.classifier("bert", tmp_path / "theirs")
    crossed = tiny.classifier("bert", tmp_path / "crossed")
    (crossed / "config_sentence_transformers.json").write_text('{"model_type": "CrossEncoder"}')
    decoder = tiny.classifier("gpt2", tmp_path / "decoder")
    RewardModel.load(folder, dtype="float32").save(tmp_path / "saved")
    names = [folder, crossed, decoder, tmp_path / "saved"]
    alone = [read_as(folder, "one"), *(read_as(name, None) for name in names[1:])]
    capsys.readouterr()
    several = RewardModel.load(names, encoder_text="one", dtype="float32")
    said = capsys.readouterr().err
    for member, margins in zip(several.members, alone, strict=True):
        rewards = [member.score(ASKED * k, ANSWERS) for k in range(1, 5)]
        assert [a - b for a, b in rewards] == pytest.approx(margins, abs=1e-5)
    assert f"{decoder}: GPT2ForSequenceClassification, decoder; reads" in said
    assert "--encoder-text one leaves it as it is: it is a decoder" in said
    assert f"{tmp_path / 'saved'}: reads prompt and completion as a pair. --encoder-text" in said
    assert said.count("leaves it as it is: its files say pair") == 2
    assert len(several.readings) == 4
    assert "leaves it" not in several.readings[0]
    with pytest.raises(PlauditError, match=r"encoder_text: there is no two"):
        RewardModel.load(names, encoder_text="two")
    with pytest.raises(PlauditError, match=r"encoder_text: .* is a decoder"):
        RewardModel.load([decoder], encoder_text="one")


def test_an_encoder_is_compared_with_a_decoder(tmp_path):
    folder = tiny.classifier("bert", tmp_path / "theirs")
    decoder = tiny.classifier("gpt2", tmp_path / "decoder")
    data = [str(pairs(tmp_path))]
    how = {"dtype": "float32", "resamples": 10, "encoder_text": "one"}
    bench([folder], data=data, output=tmp_path / "bench", **how)
    result = bench([folder, decoder], data=data, output=tmp_path / "bench", resume=True, **how)
    scores = result.summary["data"]["pairs"]["scores"]
    for name, way in ((folder, "one"), (decoder, None)):
        accuracy = sum(margin > 0 for margin in read_as(name, way)) / 4
        assert scores[str(name)]["score"]["value"] == accuracy
    evaluate(folder, data, against=decoder, stress=0, **how)


def test_an_export_stays_as_it_was_exported(tmp_path, capsys):
    folder = tiny.classifier("bert", tmp_path / "theirs")
    export(RewardModel.load(folder, dtype="float32"), tmp_path / "it.pt", "pt")
    capsys.readouterr()
    several = RewardModel.load([folder, tmp_path / "it.pt"], encoder_text="one", dtype="float32")
    assert [member.encoding.encoder_text for member in several.members] == ["one", "pair"]
    assert f"{tmp_path / 'it.pt'}: reads prompt and completion as a pair" in capsys.readouterr().err


def test_what_is_exported_with_it_is_trained_on_so(tmp_path, capsys):
    folder = tiny.classifier("bert", tmp_path / "theirs")
    RewardModel.load(folder)
    said = capsys.readouterr().err
    assert "Where a command has no --encoder-text, export the model with it first" in said
    RewardModel.load(folder, encoder_text="trl", dtype="float32").save(tmp_path / "saved")
    run = train(
        pairs(tmp_path), base=str(tmp_path / "saved"), output=tmp_path / "run", max_steps=1,
        validation_fraction=0, test_fraction=0, dtype="float32", report=False,
    )  # fmt: skip
    assert RewardModel.load(tmp_path / "run").encoding.encoder_text == "trl"
    assert run.folder == tmp_path / "run"


def test_a_chat_template_is_refused_in_words_that_hold_for_one_text(tmp_path):
    folder = tiny.classifier("bert", tmp_path / "theirs")
    with pytest.raises(PlauditError, match="chat_template: this is an encoder") as refused:
        RewardModel.load(folder, encoder_text="one", chat_template_args={"a": 1})
    assert "pair" not in str(refused.value)


def test_what_was_chosen_is_said_once(tmp_path, capsys):
    folder = tiny.classifier("bert", tmp_path / "theirs")
    data = tmp_path / "rows.jsonl"
    rows = [{"prompt": ASKED, "completion": answer} for answer in ANSWERS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    score(folder, data, tmp_path / "out.jsonl", processes=2)
    said = capsys.readouterr().err
    assert said.count("plaudit chose so") <= 1
    RewardModel.load(folder)
    said = capsys.readouterr().err
    assert "BertForSequenceClassification, encoder; reads prompt and completion as a pair" in said
    assert "plaudit chose so; --encoder-text one" in said
    RewardModel.load(folder, encoder_text="pair")
    assert "plaudit chose" not in capsys.readouterr().err
    (folder / "README.md").write_text(CARD)
    RewardModel.load(folder)
    assert "made by TRL, which trains on one text: --encoder-text one" in capsys.readouterr().err
    (folder / "config_sentence_transformers.json").write_text('{"model_type": "CrossEncoder"}')
    RewardModel.load(folder)
    assert "--encoder-text" not in capsys.readouterr().err


def test_what_stands_between_in_a_decoder_s_row_is_said_to_be_chosen(tmp_path, capsys):
    folder = tiny.classifier("gpt2", tmp_path / "theirs")
    RewardModel.load(folder)
    assert r"one text with '\n\n' between them" in (said := capsys.readouterr().err)
    assert "what stands between: plaudit chose so" in said
    RewardModel.load(folder, separator="")
    assert "plaudit chose" not in capsys.readouterr().err


def test_what_plaudit_saved_is_not_explained(tmp_path, capsys):
    RewardModel.load(tiny.classifier("bert", tmp_path / "theirs")).save(tmp_path / "saved")
    capsys.readouterr()
    RewardModel.load(tmp_path / "saved")
    assert "reads prompt" not in capsys.readouterr().err
