"""What other programs make of an exported folder is the model's own reward."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder
from tokenizers import AddedToken
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import plaudit
import tiny
from plaudit.errors import PlauditError
from plaudit.model.export import export
from plaudit.model.exports._consumers import consumers
from plaudit.model.exports.folder import OTHER_ROLES
from plaudit.model.normalisation import Normalisation
from plaudit.model.reward_model import RewardModel
from plaudit.model.uncertainty import FILE, HeadUncertainty

PAIRS = [
    ("What is two plus two?", "Two plus two is four."),
    ("What is two plus two?", " four 🙂 "),
    ("Is that so?\n", "no"),
]
KINDS = [
    ("bert", "cls"),
    ("modernbert", "own-mean"),
    ("roberta", "cls"),
    ("deberta-v2", "cls"),
    ("gpt2", "last"),  # neither begins nor ends its rows
    ("llama", "last"),  # begins its rows
    ("qwen2", "last"),  # has a chat template
    ("bert", "layers"),
    ("mistral", "mean"),
]
ALWAYS = ("transformers", "sentence-transformers")
OWN_CLASS = ("mean", "layers")


def own_rewards(model, pairs=PAIRS):
    return [model.score(prompt, [completion])[0] for prompt, completion in pairs]


def rewards_by_transformers(folder, pairs=PAIRS, roles=("user", "assistant"), code=False):
    """What transformers gives of the folder alone, with its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=code
    ).eval()
    rewards = []
    for pair in pairs:
        if tokenizer.chat_template:
            turns = [{"role": r, "content": text} for r, text in zip(roles, pair, strict=True)]
            row = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)
        else:
            row = tokenizer(*pair, return_tensors="pt")
        taken = {
            key: row[key] for key in ("input_ids", "attention_mask", "token_type_ids") if key in row
        }
        with torch.no_grad():
            rewards.append(model(**taken).logits.item())
    return rewards


@pytest.mark.parametrize(("name", "pooling"), KINDS)
def test_transformers_gives_the_rewards(reward_model, name, pooling, tmp_path, capfd):
    model = reward_model(name, pooling)
    export(model, tmp_path / "out", "folder")
    said = capfd.readouterr().err.splitlines()
    told = consumers(model)
    assert said[-1 - len(told) : -1] == [str(each) for each in told]
    readme = (tmp_path / "out" / "README.md").read_text()
    assert all(each.how in readme for each in told)
    expected = own_rewards(model)
    code = pooling in OWN_CLASS
    alone = rewards_by_transformers(tmp_path / "out", code=code)
    assert alone == pytest.approx(expected, abs=1e-5)
    by_roles = rewards_by_transformers(tmp_path / "out", roles=("query", "document"), code=code)
    assert by_roles == alone
    again = RewardModel.load(tmp_path / "out", dtype="float32", device="cpu")
    assert own_rewards(again) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("name", "pooling"), KINDS)
def test_sentence_transformers_gives_the_rewards(reward_model, name, pooling, tmp_path):
    model = reward_model(name, pooling)
    export(model, tmp_path / "out", "folder")
    code = pooling in OWN_CLASS
    theirs = CrossEncoder(str(tmp_path / "out"), trust_remote_code=code, device="cpu")
    assert theirs.predict(PAIRS).tolist() == pytest.approx(own_rewards(model), abs=1e-5)
    assert theirs.max_seq_length == model.max_length


def test_a_template_lays_out_a_dialogue_in_plain_rows(reward_model, tmp_path):
    model = reward_model("llama")
    export(model, tmp_path / "out", "folder")
    turns = ["Is that so?", "Yes, it is!", "Why?", "Two plus two is four."]
    dialogue = [
        {"role": role, "content": text}
        for role, text in zip(("user", "assistant") * 2, turns, strict=True)
    ]
    alone = rewards_by_transformers(
        tmp_path / "out", [turns], ("user", "assistant", "user", "assistant")
    )
    assert alone == pytest.approx(model.score(dialogue[:3], [turns[3]]), abs=1e-5)
    assert alone != pytest.approx(model.score("\n\n".join(turns[:3]), [turns[3]]), abs=1e-3)


def test_a_pipeline_of_transformers_gives_the_reward_and_not_its_sigmoid(reward_model, tmp_path):
    model = reward_model("roberta")
    export(model, tmp_path / "out", "folder")
    classify = pipeline("text-classification", str(tmp_path / "out"), device="cpu")
    prompt, completion = PAIRS[0]
    given = classify({"text": prompt, "text_pair": completion})
    assert given["score"] == pytest.approx(own_rewards(model)[0], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "pooling", "loaded_by"),
    [
        ("bert", "cls", "vLLM SGLang TEI"),
        ("roberta", "cls", "vLLM TEI llama.cpp"),
        ("modernbert", "own-mean", "vLLM TEI"),
        ("deberta-v2", "cls", "TEI"),
        ("bert", "layers", ""),
        ("mistral", "last", "vLLM"),
        ("llama", "last", "vLLM SGLang"),
        ("qwen2", "mean", "vLLM"),
    ],
)
def test_which_servers_load_it(reward_model, name, pooling, loaded_by):
    """As docs/exporting.md has it."""
    told = consumers(reward_model(name, pooling))
    assert [each.name for each in told if each.loads] == [*ALWAYS, *loaded_by.split()]
    guide = (Path(__file__).parents[3] / "docs" / "exporting.md").read_text()
    assert all(f"| {each.name} |" in guide for each in told)


def test_config_and_files_say_what_servers_read(reward_model, tmp_path):
    model = reward_model("modernbert", "own-mean")
    export(model, tmp_path / "out", "folder")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["ModernBertForSequenceClassification"]
    assert config["problem_type"] == "regression"
    assert config["sentence_transformers"]["activation_fn"].endswith(".Identity")
    assert len(config["id2label"]) == 1
    assert config["classifier_pooling"] == "mean"
    assert (config["global_rope_theta"], config["local_rope_theta"]) == (160000.0, 10000.0)
    length = json.loads((tmp_path / "out" / "sentence_bert_config.json").read_text())
    assert length == {"max_seq_length": model.max_length, "do_lower_case": False}


def test_qwen2_has_a_bias_of_zero_for_the_head_that_sglang_gives_it(reward_model, tmp_path):
    export(reward_model("qwen2"), tmp_path / "qwen2", "folder")
    assert load_file(tmp_path / "qwen2" / "model.safetensors")["score.bias"].tolist() == [0.0]
    export(reward_model("llama"), tmp_path / "llama", "folder")
    assert "score.bias" not in load_file(tmp_path / "llama" / "model.safetensors")


@pytest.mark.parametrize(("name", "left"), [("bert", 0.0), ("llama", 2.5)])
def test_normalisation_is_part_of_the_head(base, name, left, tmp_path, capfd):
    model = RewardModel.load(base(name), dtype="float32", device="cpu")
    raw = own_rewards(model)
    model.normalisation = Normalisation(5.0, 2.0, 10, ["a.jsonl"])
    expected = [(reward - 5) / 2 for reward in raw]
    assert own_rewards(model) == pytest.approx(expected, abs=1e-6)
    export(model, tmp_path / "out", "folder")
    alone = rewards_by_transformers(tmp_path / "out")
    assert [reward - left for reward in alone] == pytest.approx(expected, abs=1e-5)
    assert ("2.5 is to be subtracted" in capfd.readouterr().err) == bool(left)
    again = RewardModel.load(tmp_path / "out", dtype="float32", device="cpu")
    assert own_rewards(again) == pytest.approx(expected, abs=1e-5)
    assert own_rewards(model) == pytest.approx(expected, abs=1e-6)  # as it was


def test_what_became_of_several_labels_is_noted(reward_model, tmp_path, capfd):
    model = replace(reward_model("bert"), attributes={"help": 0.65, "length": -0.2})
    export(model, tmp_path / "out", "folder")
    said = "its head had several labels: the reward is 0.65 × 'help' - 0.2 × 'length' of its logits"
    assert said in capfd.readouterr().err.splitlines()
    assert f"- {said}\n" in (tmp_path / "out" / "README.md").read_text()
    model.save(tmp_path / "saved")
    kept = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("out", "saved")]
    assert kept[0]["plaudit"]["attributes"] == {"help": 0.65, "length": -0.2}
    assert kept[1]["plaudit"] == kept[0]["plaudit"]
    assert RewardModel.load(tmp_path / "out", device="cpu").attributes == model.attributes


def test_that_the_uncertainty_is_left_out_is_said(base, tmp_path, capfd):
    model = RewardModel.load(base("bert"), dtype="float32", device="cpu")
    none, centre = torch.zeros(0), torch.zeros(32)
    model.uncertainty = HeadUncertainty("laplace", 1.0, 1.0, none, torch.zeros(0, 32), centre)
    model.save(tmp_path / "saved")
    export(model, tmp_path / "out", "folder")
    assert "how uncertain a reward is was left out" in capfd.readouterr().err
    assert (tmp_path / "saved" / FILE).exists()
    assert not (tmp_path / "out" / FILE).exists()


@pytest.mark.parametrize("name", ["qwen2", "gpt2"])
def test_a_pad_token_that_is_a_word_is_none_elsewhere(base, name, tmp_path, capfd):
    """Programs fill batches with the tokenizer's, and transformers pools by the configuration's."""
    start = AutoModelForSequenceClassification.from_pretrained(base(name), num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(base(name))
    start.config.pad_token_id = tokenizer.convert_tokens_to_ids("e")
    start.save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    model = RewardModel.load(tmp_path / "start", dtype="float32", device="cpu")
    export(model, tmp_path / "out", "folder")
    pairs = [("What is a bond?", "The better answer is here"), ("What?", "A loan")]
    expected = own_rewards(model, pairs)
    assert rewards_by_transformers(tmp_path / "out", pairs) == pytest.approx(expected, abs=1e-4)
    said = "names 'e' as the pad token, a word to the tokenizer" in capfd.readouterr().err
    assert said == (name == "gpt2")  # which has no other
    if not said:
        found = CrossEncoder(str(tmp_path / "out"), device="cpu").predict(pairs)
        assert found.tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_an_adapter_is_merged_with_its_whole_head(base, name, tmp_path):
    start = AutoModelForSequenceClassification.from_pretrained(base(name), num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(base(name))
    start.config.pad_token_id = tokenizer.pad_token_id = tokenizer.pad_token_id or 0
    start.save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    start = AutoModelForSequenceClassification.from_pretrained(tmp_path / "start")
    trained = get_peft_model(start, LoraConfig(task_type=TaskType.SEQ_CLS, r=4))
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in trained.parameters():
            if weight.requires_grad:  # `lora_B` begins as 0, so that nothing would be told apart
                weight.add_(torch.randn_like(weight) * 0.1)
    trained.save_pretrained(tmp_path / "adapter")
    model = RewardModel.load(tmp_path / "adapter", dtype="float32", device="cpu")
    export(model, tmp_path / "out", "folder")
    exported = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    unmerged = PeftModel.from_pretrained(
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "start"), tmp_path / "adapter"
    ).eval()
    rows = torch.tensor([[7, 9, 12, 30, 8], [11, 40, 41, 42, 43]])
    with torch.no_grad():
        theirs = unmerged(input_ids=rows).logits
        assert torch.allclose(exported(input_ids=rows).logits, theirs, atol=1e-5)
        with unmerged.disable_adapter():
            assert not torch.allclose(unmerged(input_ids=rows).logits, theirs, atol=0.1)
    assert not (tmp_path / "out" / "adapter_config.json").exists()


def test_half_precision_is_stored_and_what_it_costs_is_said(reward_model, tmp_path, capfd):
    model = reward_model("qwen2")
    before = own_rewards(model)
    export(model, tmp_path / "out", "folder", dtype="bfloat16")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    said = re.search(r"in bfloat16 its rewards .* by up to ([\d.e-]+)", capfd.readouterr().err)
    moved = [
        abs(a - b) for a, b in zip(rewards_by_transformers(tmp_path / "out"), before, strict=True)
    ]
    assert 0 < max(moved) < 10 * float(said[1]) < 10
    assert own_rewards(model) == before
    with pytest.raises(
        PlauditError, match="dtype: onnx holds float32; float16 needs format folder"
    ):
        export(model, tmp_path / "model.onnx", "onnx", dtype="float16")


def test_what_half_precision_cannot_hold_is_refused(base, tmp_path):
    model = RewardModel.load(base("qwen2"), dtype="float32", device="cpu")
    with torch.no_grad():
        model.model.score.weight.mul_(1e6)
    with pytest.raises(PlauditError, match="in float16 its rewards are not numbers"):
        export(model, tmp_path / "out", "folder", dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_exported_again_is_the_same(reward_model, tmp_path):
    export(reward_model("qwen2"), tmp_path / "one", "folder")
    again = RewardModel.load(tmp_path / "one", dtype="float32", device="cpu")
    export(again, tmp_path / "two", "folder")
    template = (tmp_path / "two" / "chat_template.jinja").read_text()
    assert template.count(OTHER_ROLES) == 1
    for file in (tmp_path / "one").iterdir():
        assert (tmp_path / "two" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_template_begins_and_ends_plain_rows(tmp_path):
    tokenizer = tiny.byte_bpe(bos="<s>", eos="</s>", pad="<pad>", frame=("<s>", ""))
    folder = tiny.make("llama", tmp_path / "base", tokenizer=tokenizer)
    model = RewardModel.load(folder, dtype="float32", device="cpu")
    export(model, tmp_path / "out", "folder")
    template = AutoTokenizer.from_pretrained(tmp_path / "out")
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    assert template.apply_chat_template(turns, tokenize=False) == "<s>Why?\n\nSo.</s>"
    assert rewards_by_transformers(tmp_path / "out") == pytest.approx(own_rewards(model), abs=1e-5)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "completion + tokenizer.eos_token)" in readme


def test_where_no_template_lays_a_pair_out_it_says_so(tmp_path, capfd):
    """An ending that takes white space before it into itself, when it is read in a text."""
    tokenizer = tiny.byte_bpe(bos="<s>", eos="</s>", pad="<pad>")
    tokenizer.add_special_tokens({"eos_token": AddedToken("</s>", lstrip=True, special=True)})
    folder = tiny.make("llama", tmp_path / "base", tokenizer=tokenizer)
    model = RewardModel.load(folder, dtype="float32", device="cpu")
    export(model, tmp_path / "out", "folder")
    said = capfd.readouterr().err
    assert "sentence-transformers: no: it would lay out a pair otherwise" in said
    assert "`/classify` of `input`, laid out" in said
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template is None


def test_what_transformers_gives_other_rewards_of_is_not_written(base, tmp_path):
    """A pad token that the rows do not have: transformers then pools where the padding ends."""
    model = RewardModel.load(base("llama"), dtype="float32", device="cpu")
    model.model.config.pad_token_id = 299
    with pytest.raises(PlauditError, match=r"the rewards of Llama.* in transformers differ"):
        export(model, tmp_path / "out", "folder")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_of_ones_own_is_not_replaced(reward_model, tmp_path):
    reward_model("bert").save(tmp_path / "model")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("of a year")
    options = {"format": "folder", "overwrite": True}
    with pytest.raises(PlauditError, match=r"has notes\.txt, which this export does not write"):
        plaudit.export(tmp_path / "model", tmp_path / "mine", **options)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "of a year"
    plaudit.export(tmp_path / "model", tmp_path / "new", **options)
    plaudit.export(tmp_path / "model", tmp_path / "new", **options)  # one that it wrote
