"""A LoRA adapter's folder: the rewards of what was trained, or what is missing of it."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

import tiny
from plaudit import PlauditError, RewardModel, train
from plaudit.model.classifier import head_of
from plaudit.model.normalisation import Normalisation

PROMPT, COMPLETIONS = "What is a bond?", ["A loan.", "It depends on a good many things.", "x"]


@pytest.fixture(scope="module", params=["llama", "bert"])
def adapter(request, base, tmp_path_factory):
    """(the adapter's folder, the model that peft saved it from): as peft's users make them."""
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(5)
    start = AutoModelForSequenceClassification.from_pretrained(base(request.param), num_labels=1)
    start.base_model.save_pretrained(folder / "base")  # with BERT's pooler
    AutoTokenizer.from_pretrained(base(request.param)).save_pretrained(folder / "base")
    start = AutoModelForSequenceClassification.from_pretrained(folder / "base", num_labels=1)
    model = get_peft_model(start, LoraConfig(task_type=TaskType.SEQ_CLS, r=4))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:  # `lora_B` begins as 0, so that nothing would be told apart
                weight.add_(torch.randn_like(weight) * 0.3)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base(request.param)).save_pretrained(folder)
    return folder, model.eval()


def test_an_adapter_gives_the_rewards_that_peft_gives(adapter):
    folder, model = adapter
    ours = RewardModel.load(folder, dtype="float32", device="cpu")
    encoded = ours.encode([(PROMPT, COMPLETIONS)])[0]
    names = [name for name in ("input_ids", "token_type_ids") if name in encoded]
    expected = []
    with torch.no_grad():
        for row in zip(*(encoded[name] for name in names), strict=True):
            given = {name: torch.tensor([ids]) for name, ids in zip(names, row, strict=True)}
            expected.append(model(**given).logits.item())
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)
    assert not ours.new_head


def test_what_is_saved_of_it_is_whole(adapter, tmp_path):
    ours = RewardModel.load(adapter[0], dtype="float32", device="cpu")
    ours.save(tmp_path / "whole")
    again = RewardModel.load(tmp_path / "whole", dtype="float32", device="cpu")
    expected = ours.score(PROMPT, COMPLETIONS)
    assert again.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-6)


def test_an_adapter_without_its_tokenizer_takes_that_of_its_base(adapter, tmp_path):
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter[0] / name, tmp_path)
    expected = RewardModel.load(adapter[0], dtype="float32").score(PROMPT, COMPLETIONS)
    assert RewardModel.load(tmp_path, dtype="float32").score(PROMPT, COMPLETIONS) == expected


def test_an_adapter_whose_head_is_lost_is_refused(adapter, tmp_path):
    shutil.copytree(adapter[0], tmp_path, dirs_exist_ok=True)
    file = tmp_path / "adapter_model.safetensors"
    kept = {key: w for key, w in load_file(file).items() if "lora" in key}
    save_file(kept, file)
    with pytest.raises(PlauditError, match=r"without a head: .*a new head's rewards are random"):
        RewardModel.load(tmp_path)


def test_an_adapter_whose_base_is_gone_names_it(adapter, tmp_path):
    shutil.copytree(adapter[0], tmp_path, dirs_exist_ok=True)
    file = tmp_path / "adapter_config.json"
    file.write_text(
        json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "gone/7b"})
    )
    with pytest.raises(PlauditError, match="LoRA adapter of gone/7b, which cannot be loaded here"):
        RewardModel.load(tmp_path)


def test_an_adapter_of_another_base_does_not_fit(adapter, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter[0], folder)
    name = json.loads((folder / "base" / "config.json").read_text())["model_type"]
    larger = AutoConfig.from_pretrained(folder / "base", hidden_size=64)
    AutoModelForSequenceClassification.from_config(larger).base_model.save_pretrained(
        tmp_path / name
    )
    file = folder / "adapter_config.json"
    other = {"base_model_name_or_path": str(tmp_path / name)}
    file.write_text(json.dumps(json.loads(file.read_text()) | other))
    with pytest.raises(PlauditError, match="LoRA adapter that does not fit its base model"):
        RewardModel.load(folder)


def test_what_neither_adapter_nor_base_has_is_named(base, tmp_path):
    """BERT's pooler, where the base model was saved without one."""
    torch.manual_seed(5)
    start = AutoModelForSequenceClassification.from_pretrained(base("bert"), num_labels=1)
    model = get_peft_model(start, LoraConfig(task_type=TaskType.SEQ_CLS, r=4))
    model.save_pretrained(tmp_path)
    with pytest.raises(PlauditError, match=r"neither has the weights bert\.pooler\.dense\.bias"):
        RewardModel.load(tmp_path)


def test_an_adapter_is_trained_further_with_the_head_it_brings(adapter, tmp_path, capsys):
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", prompts=12)
    run = train(
        data, output=tmp_path / "run", base=str(adapter[0]), max_steps=1, dtype="float32",
        max_length=48, stress=0, report=False,
    )  # fmt: skip
    assert "first the head alone" not in capsys.readouterr().err
    before = RewardModel.load(adapter[0], dtype="float32").score(PROMPT, COMPLETIONS)
    assert run.model.score(PROMPT, COMPLETIONS) == pytest.approx(before, abs=0.1)


def test_weights_that_are_left_over_or_missing_are_named(adapter, tmp_path):
    shutil.copytree(adapter[0], tmp_path, dirs_exist_ok=True)
    file = tmp_path / "adapter_model.safetensors"
    weights = load_file(file)
    first = next(key for key in sorted(weights) if "lora_A" in key)
    save_file({key: w for key, w in weights.items() if key != first}, file)
    with pytest.raises(PlauditError, match=r"does not fit its base model .* it lacks .*lora_A"):
        RewardModel.load(tmp_path)
    moved = {key.replace(".0.", ".9."): weight for key, weight in weights.items()}
    save_file(moved, file)
    with pytest.raises(PlauditError, match="does not fit its base model"):
        RewardModel.load(tmp_path)


def test_a_new_head_takes_the_place_of_an_adapter_s(base, tmp_path):
    start = AutoModelForSequenceClassification.from_pretrained(base("llama"), num_labels=3)
    get_peft_model(start, LoraConfig(task_type=TaskType.SEQ_CLS, r=4)).save_pretrained(tmp_path)
    with pytest.raises(PlauditError, match="3 numbers for a text"):
        RewardModel.load(tmp_path)
    model = RewardModel.load(tmp_path, new_head=True)
    assert model.new_head
    assert len(model.score(PROMPT, COMPLETIONS)) == 3


def test_the_base_model_may_be_named_from_the_adapter_s_folder(adapter, tmp_path):
    shutil.copytree(adapter[0], tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    relative = {"base_model_name_or_path": "base"}
    file.write_text(json.dumps(json.loads(file.read_text()) | relative))
    expected = RewardModel.load(adapter[0], dtype="float32").score(PROMPT, COMPLETIONS)
    found = RewardModel.load(tmp_path / "adapter", dtype="float32").score(PROMPT, COMPLETIONS)
    assert found == expected


def test_a_whole_model_beside_an_adapter_is_the_one_that_is_loaded(adapter, tmp_path, capsys):
    """As of one that was merged, saved into the adapter's folder and trained on."""
    shutil.copytree(adapter[0], tmp_path / "both")
    whole = RewardModel.load(adapter[0], dtype="float32", device="cpu")
    with torch.no_grad():
        head_of(whole.model).weight.mul_(2)
    whole.save(tmp_path / "whole")
    expected = whole.score(PROMPT, COMPLETIONS)
    shutil.copytree(tmp_path / "whole", tmp_path / "both", dirs_exist_ok=True)
    capsys.readouterr()
    both = RewardModel.load(tmp_path / "both", dtype="float32", device="cpu")
    assert "a LoRA adapter beside it, which is left aside" in capsys.readouterr().err
    assert both.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-6)
    assert not [name for name, _ in both.model.named_parameters() if "lora" in name]


def test_the_base_s_configuration_beside_an_adapter_is_no_model(adapter, tmp_path):
    shutil.copytree(adapter[0], tmp_path, dirs_exist_ok=True)
    shutil.copy(adapter[0] / "base" / "config.json", tmp_path)
    expected = RewardModel.load(adapter[0], dtype="float32").score(PROMPT, COMPLETIONS)
    assert RewardModel.load(tmp_path, dtype="float32").score(PROMPT, COMPLETIONS) == expected


def test_a_normalised_base_does_not_normalise_an_adapter_s_rewards(base, tmp_path):
    whole = RewardModel.load(base("llama"), dtype="float32", device="cpu")
    whole.normalisation = Normalisation(3.0, 2.0, 10, ["x"])
    whole.save(tmp_path / "base")
    start = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    model = get_peft_model(start, LoraConfig(task_type=TaskType.SEQ_CLS, r=4)).eval()
    model.save_pretrained(tmp_path / "adapter")
    ours = RewardModel.load(tmp_path / "adapter", dtype="float32", device="cpu")
    assert ours.normalisation is None
    rows = ours.encode([(PROMPT, COMPLETIONS)])[0]["input_ids"]
    with torch.no_grad():
        expected = [model(input_ids=torch.tensor([row])).logits.item() for row in rows]
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)


def test_an_adapter_without_a_head_has_that_of_a_classifier_it_lies_on(base, tmp_path, capsys):
    """As peft gives it: the head of the base's files, which was not trained."""
    torch.manual_seed(5)
    whole = AutoModelForSequenceClassification.from_pretrained(base("llama"), num_labels=1)
    whole.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(base("llama")).save_pretrained(tmp_path / "base")
    start = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    model = get_peft_model(start, LoraConfig(r=4, target_modules=["q_proj", "v_proj"])).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.3)
    model.save_pretrained(tmp_path / "adapter")
    ours = RewardModel.load(tmp_path / "adapter", dtype="float32", device="cpu")
    assert "the rewards are those of the head of" in capsys.readouterr().err
    assert not ours.new_head
    rows = ours.encode([(PROMPT, COMPLETIONS)])[0]["input_ids"]
    with torch.no_grad():
        expected = [model(input_ids=torch.tensor([row])).logits.item() for row in rows]
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)

    file = tmp_path / "base" / "model.safetensors"  # the base's head is lost
    weights = load_file(file)
    kept = {name: weight for name, weight in weights.items() if name != "score.weight"}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(PlauditError, match=r"lacks the weights score\.weight of its head"):
        RewardModel.load(tmp_path / "adapter")

    save_file(weights, file, metadata={"format": "pt"})  # the adapter's is, which was trained
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"modules_to_save": ["score"]}))
    with pytest.raises(PlauditError, match="without a head"):
        RewardModel.load(tmp_path / "adapter")
