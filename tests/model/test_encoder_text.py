"""An encoder from elsewhere: how its two texts are read is said, and can be chosen."""

import json

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

import tiny
from plaudit import PlauditError, RewardModel, score

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


def classifier(name, folder):
    tiny.make(name, folder)
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, initializer_range=0.5
    )
    model.save_pretrained(folder)
    return folder


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
    folder = classifier(name, tmp_path / "theirs")
    ids, rewards = tokens_of_trl(folder, tmp_path / "trl")
    model = RewardModel.load(folder, encoder_text="trl", dtype="float32")
    assert model.encode([(ASKED, ANSWERS)])[0]["input_ids"] == ids
    assert model.score(ASKED, ANSWERS) == pytest.approx(rewards, abs=1e-5)
    assert model.score(ASKED, ANSWERS) != pytest.approx(
        RewardModel.load(folder, dtype="float32").score(ASKED, ANSWERS), abs=1e-3
    )


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_one_text_is_what_the_tokenizer_makes_of_prompt_and_completion(name, tmp_path):
    folder = classifier(name, tmp_path / "theirs")
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
    folder = classifier("bert", tmp_path / "theirs")
    model = RewardModel.load(folder, encoder_text="one", dtype="float32")
    model.save(tmp_path / "saved")
    again = RewardModel.load(tmp_path / "saved", dtype="float32")
    assert again.encoding.encoder_text == "one"
    assert again.score(ASKED, ANSWERS) == pytest.approx(model.score(ASKED, ANSWERS), abs=1e-6)
    with pytest.raises(PlauditError, match=r"encoder_text: .* one, not pair"):
        RewardModel.load(tmp_path / "saved", encoder_text="pair")


def test_a_decoder_has_no_such_choice(tmp_path):
    with pytest.raises(PlauditError, match=r"encoder_text: .* is a decoder"):
        RewardModel.load(classifier("gpt2", tmp_path / "theirs"), encoder_text="one")


def test_what_was_chosen_is_said_once(tmp_path, capsys):
    folder = classifier("bert", tmp_path / "theirs")
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
    folder = classifier("gpt2", tmp_path / "theirs")
    RewardModel.load(folder)
    assert r"one text with '\n\n' between them" in (said := capsys.readouterr().err)
    assert "what stands between: plaudit chose so" in said
    RewardModel.load(folder, separator="")
    assert "plaudit chose" not in capsys.readouterr().err


def test_what_plaudit_saved_is_not_explained(tmp_path, capsys):
    RewardModel.load(classifier("bert", tmp_path / "theirs")).save(tmp_path / "saved")
    capsys.readouterr()
    RewardModel.load(tmp_path / "saved")
    assert "reads prompt" not in capsys.readouterr().err
