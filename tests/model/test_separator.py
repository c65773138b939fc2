"""A model from elsewhere that was trained on plain text: what stands in it can be said anywhere."""

import inspect
import json

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

import tiny
from plaudit import PlauditError, RewardModel, bench, evaluate, export, normalise, train
from plaudit.cli import COMMANDS, main

ASKED = "The quick brown fox? "
ANSWERS = ["It jumps over the lazy dog.", "dog"]
CARD = "---\ntags:\n- trl\n- reward-trainer\n---\n"


def by_transformers(folder, texts):
    """The logits of whole texts, with the tokenizer's own special tokens, one at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return [model(**tokenizer(text, return_tensors="pt")).logits.item() for text in texts]


def written(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def completions(tmp_path):
    rows = [{"prompt": ASKED, "completion": answer} for answer in ANSWERS]
    return written(tmp_path / "rows.jsonl", rows)


@pytest.fixture
def pairs(tmp_path):
    rows = [
        {"prompt": ASKED * k, "chosen": ANSWERS[0], "rejected": ANSWERS[1]} for k in range(1, 5)
    ]
    return written(tmp_path / "pairs.jsonl", rows)


@pytest.mark.parametrize("name", ["qwen2", "llama"])  # with a chat template and without
def test_plain_text_is_read_as_trl_trains_on_it(name, tmp_path, completions, capsys):
    folder = tiny.classifier(name, tmp_path / "theirs")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = Dataset.from_list([{"prompt": ASKED, "chosen": ANSWERS[0], "rejected": ANSWERS[1]}])
    how = RewardConfig(
        output_dir=str(tmp_path / "trl"), max_length=None, use_cpu=True, report_to="none"
    )
    network = AutoModelForSequenceClassification.from_pretrained(folder)
    trainer = RewardTrainer(network, how, train_dataset=rows, processing_class=tokenizer)
    [row] = trainer.train_dataset
    model = RewardModel.load(folder, separator="", dtype="float32")
    assert model.encode([(ASKED, ANSWERS)])[0]["input_ids"] == [
        row["chosen_ids"], row["rejected_ids"]
    ]  # fmt: skip
    expected = by_transformers(folder, [ASKED + a + tokenizer.eos_token for a in ANSWERS])
    assert model.score(ASKED, ANSWERS) == pytest.approx(expected, abs=1e-5)
    out = tmp_path / "out.jsonl"
    command = ["score", str(folder), str(completions), "--separator", "", "--dtype", "float32"]
    assert main([*command, "-o", str(out)]) == 0
    rewards = [json.loads(line)["reward"] for line in out.read_text().splitlines()]
    assert rewards == pytest.approx(expected, abs=1e-5)
    said = capsys.readouterr().err
    assert f"with nothing between them and {tokenizer.eos_token} after them" in said


def test_the_line_names_the_flag_and_what_ends_a_row(tmp_path, capsys):
    RewardModel.load(tiny.classifier("llama", tmp_path / "llama"))
    said = capsys.readouterr().err
    assert r"with '\n\n' between them and </s> after them, in" in said
    assert '--separator "" puts nothing there, as TRL trains' in said
    RewardModel.load(tiny.classifier("mistral", tmp_path / "mistral"))  # which has no ending
    assert r"with '\n\n' between them, in" in capsys.readouterr().err
    folder = tiny.classifier("qwen2", tmp_path / "qwen2")
    RewardModel.load(folder)
    assert "--separator" not in capsys.readouterr().err
    (folder / "README.md").write_text(CARD)
    RewardModel.load(folder)
    assert '--separator "" reads it so' in capsys.readouterr().err


def test_what_leaves_no_place_for_a_separator_is_refused(tmp_path):
    chat = tiny.classifier("qwen2", tmp_path / "chat")
    with pytest.raises(PlauditError, match=r"separator: .* reads its tokenizer's chat template"):
        RewardModel.load(chat, separator="", template="chat")
    with pytest.raises(PlauditError, match=r"chat_template: .* and so does separator"):
        RewardModel.load(chat, separator="", chat_template_args={"enable_thinking": False})
    encoder = tiny.classifier("bert", tmp_path / "encoder")
    with pytest.raises(PlauditError, match=r"separator: .* a pair, .* --encoder-text one"):
        RewardModel.load(encoder, separator=" ")
    one = RewardModel.load(encoder, separator=" ", encoder_text="one", dtype="float32")
    expected = by_transformers(encoder, [f"{ASKED} {answer}" for answer in ANSWERS])
    assert one.score(ASKED, ANSWERS) == pytest.approx(expected, abs=1e-5)


def test_a_saved_model_keeps_its_own(tmp_path, completions):
    chat, plain = (
        tiny.classifier("qwen2", tmp_path / "chat"),
        tiny.classifier("llama", tmp_path / "plain"),
    )
    RewardModel.load(chat).save(tmp_path / "saved-chat")
    RewardModel.load(plain, separator=" ").save(tmp_path / "saved-plain")
    with pytest.raises(PlauditError, match=r"separator: .* reads its tokenizer's chat template"):
        RewardModel.load(tmp_path / "saved-chat", separator="")
    with pytest.raises(PlauditError, match=r"separator: .* saved with ' ', not ''"):
        RewardModel.load(tmp_path / "saved-plain", separator="")
    again = RewardModel.load(tmp_path / "saved-plain", separator=" ")
    assert (again.encoding.template, again.encoding.separator) == ("plain", " ")


@pytest.mark.parametrize("format", ["folder", "pt"])
def test_an_export_keeps_it(tmp_path, format):
    chat = tiny.classifier("qwen2", tmp_path / "chat")
    ends = AutoTokenizer.from_pretrained(chat).eos_token
    expected = by_transformers(chat, [ASKED + answer + ends for answer in ANSWERS])
    place = tmp_path / ("it.pt" if format == "pt" else "it")
    export(chat, place, format=format, separator="")
    again = RewardModel.load(place, dtype="float32")
    assert again.score(ASKED, ANSWERS) == pytest.approx(expected, abs=1e-5)


def trained(pairs, base, output, **settings):
    """How a model reads that was trained on from a base."""
    train(
        pairs, base=str(base), output=output, max_steps=1, validation_fraction=0,
        test_fraction=0, dtype="float32", report=False, **settings,
    )  # fmt: skip
    return RewardModel.load(output).encoding


@pytest.mark.parametrize(
    ("given", "stands"),
    [({}, "\n\n"), ({"separator": "\n\n"}, "\n\n"), ({"separator": " "}, " ")],
)
@pytest.mark.parametrize("name", ["qwen2", "llama"])  # with a chat template and without
def test_training_puts_its_own_between_whatever_the_base_was_saved_with(
    name, given, stands, tmp_path, pairs
):
    RewardModel.load(tiny.classifier(name, tmp_path / "theirs"), separator="").save(
        tmp_path / "saved"
    )
    encoding = trained(pairs, tmp_path / "saved", tmp_path / "run", **given)
    assert (encoding.template, encoding.separator) == ("plain", stands)
    noted = json.loads((tmp_path / "run/model/config.json").read_text())["plaudit"]
    assert (noted["template"], noted["separator"]) == ("plain", stands)


def test_a_run_of_an_earlier_version_goes_on_as_it_was(tmp_path, pairs):
    """Its settings hold the separator, which it was trained with, whatever its base says."""
    RewardModel.load(tiny.classifier("llama", tmp_path / "theirs"), separator="").save(
        tmp_path / "saved"
    )
    for separator in ("\n\n", " "):
        run = tmp_path / f"run{len(separator)}"
        trained(pairs, tmp_path / "saved", run, separator=separator)
        train(output=run, resume=True, max_steps=2)
        assert RewardModel.load(run).encoding.separator == separator


def test_in_training_a_chat_template_and_a_pair_of_texts_stay(tmp_path, pairs, base):
    assert trained(pairs, base("qwen2"), tmp_path / "chat", separator=" ").template == "chat"
    again = trained(pairs, tmp_path / "chat/model", tmp_path / "again", separator="")
    assert again.template == "chat"
    assert trained(pairs, base("bert"), tmp_path / "encoder", separator=" ").is_pair
    plain = trained(pairs, base("qwen2"), tmp_path / "plain", separator=" ", template="plain")
    assert (plain.template, plain.separator) == ("plain", " ")


def test_normalising_a_folder_keeps_it(tmp_path, completions):
    chat = tiny.classifier("qwen2", tmp_path / "chat")
    normalise(chat, completions, separator="", dtype="float32")
    encoding = RewardModel.load(chat).encoding
    assert (encoding.template, encoding.separator) == ("plain", "")


def test_of_several_models_it_is_for_those_it_can_apply_to(tmp_path, pairs, capsys):
    plain, chat = (
        tiny.classifier("llama", tmp_path / "plain"),
        tiny.classifier("qwen2", tmp_path / "chat"),
    )
    encoder = tiny.classifier("bert", tmp_path / "encoder")
    RewardModel.load(plain, separator=" ").save(tmp_path / "saved")
    names = [plain, chat, encoder, tmp_path / "saved"]
    alone = [RewardModel.load(plain, separator="", dtype="float32")]
    alone += [RewardModel.load(name, dtype="float32") for name in names[1:]]
    capsys.readouterr()
    several = RewardModel.load(names, separator="", dtype="float32")
    said = capsys.readouterr().err
    for member, one in zip(several.members, alone, strict=True):
        assert member.score(ASKED, ANSWERS) == pytest.approx(one.score(ASKED, ANSWERS), abs=1e-5)
    assert said.count("--separator leaves it as it is") == 3
    for why in ("its tokenizer has a chat template", "it reads a pair", "its files say ' '"):
        assert f"--separator leaves it as it is: {why}" in said
    capsys.readouterr()
    how = {"dtype": "float32", "resamples": 10, "separator": ""}
    data = [str(pairs)]
    evaluate(plain, data, against=chat, stress=0, **how)
    assert capsys.readouterr().err.count("--separator leaves it as it is") == 1
    result = bench([plain, chat], data=data, **how)
    for name, model in zip((plain, chat), alone, strict=False):
        margins = [a - b for a, b in (model.score(ASKED * k, ANSWERS) for k in range(1, 5))]
        value = result.summary["data"]["pairs"]["scores"][str(name)]["score"]["value"]
        assert value == sum(margin > 0 for margin in margins) / 4


def test_an_exported_network_stays_as_it_was_exported(tmp_path, capsys):
    plain = tiny.classifier("bert", tmp_path / "plain")
    export(plain, tmp_path / "it.onnx", format="onnx", encoder_text="one")
    capsys.readouterr()
    RewardModel.load(
        [tiny.classifier("llama", tmp_path / "other"), tmp_path / "it.onnx"], separator=" "
    )
    assert "--separator leaves it as it is: its files say ''" in capsys.readouterr().err


def test_every_command_that_takes_encoder_text_takes_separator():
    takes = {name: inspect.signature(command).parameters for name, command in COMMANDS.items()}
    asked = {name for name, given in takes.items() if "encoder_text" in given}
    assert asked >= {"score", "serve", "evaluate", "export", "verify", "bench"}
    assert asked <= {name for name, given in takes.items() if "separator" in given}
