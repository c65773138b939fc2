"""One reward for one text, proven; and ten faults, planted in copies of models, that are found."""

import json
import re
import shutil
from contextlib import contextmanager

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import plaudit
import tiny
from plaudit import RewardModel
from plaudit.cli import main
from plaudit.errors import PlauditError
from plaudit.model.loading import located
from plaudit.model.normalisation import Normalisation
from plaudit.verification.peers import Peer, There
from plaudit.verification.peers import transformers as peer_of_transformers
from plaudit.verification.peers.transformers import Transformers

LONG = {"max_position_embeddings": 1024}


def saved(folder, name, **config):
    """A model of plaudit's own, saved: a tiny base model under a head of wide weights."""
    base = tiny.make(name, folder / "base", **config)
    model = RewardModel.load(base, dtype="float32", layout="padded")
    torch.manual_seed(1)
    with torch.no_grad():
        model.model.score.weight.normal_()
    model.save(folder / "model")
    return folder / "model"


def classifier(folder, name, labels=1, **config):
    """Somebody's classifier of transformers' own class, each of its weights drawn."""
    tiny.make(name, folder / "base", **config)
    settings = transformers.AutoConfig.from_pretrained(folder / "base", num_labels=labels)
    torch.manual_seed(1)
    model = transformers.AutoModelForSequenceClassification.from_config(settings)
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.normal_()
    model.save_pretrained(folder / "model")
    tiny.TOKENIZERS[name]().save_pretrained(folder / "model")
    return folder / "model"


def copied(model):
    return shutil.copytree(model, model.parent / "there")


def edit(folder, file, **values):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def edit_weights(folder, change, file="model.safetensors"):
    weights = load_file(folder / file)
    for name, value in weights.items():
        weights[name] = change(name, value).contiguous()
    save_file(weights, folder / file, metadata={"format": "pt"})


# ---- the faults: each gives a model and a copy in which it is planted ----


def wrong_pooling(folder):
    model = classifier(folder, "modernbert", classifier_pooling="mean")
    edit(there := copied(model), "config.json", classifier_pooling="cls")
    return model, there


def doubled_bos(folder):
    model = saved(folder, "llama")
    path = (there := copied(model)) / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    single = tokenizer["post_processor"]["single"]
    single.insert(0, single[0])
    path.write_text(json.dumps(tokenizer))
    return model, there


def other_template(folder):
    model = saved(folder, "qwen2")
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    ((there := copied(model)) / "chat_template.jinja").write_text(template)
    return model, there


def cut_at_512(folder):
    model = saved(folder, "qwen2", **LONG)
    edit(there := copied(model), "tokenizer_config.json", model_max_length=512)
    return model, there


def pad_pooled(folder):
    model = saved(folder, "qwen2")
    edit(there := copied(model), "config.json", pad_token_id=5)
    return model, there


def bias_dropped(folder):
    model = classifier(folder, "bert")
    edit_weights(there := copied(model), lambda n, w: w * (n != "classifier.bias"))
    return model, there


def label_order(folder):
    model = classifier(folder, "bert", labels=2)
    edit_weights(there := copied(model), lambda n, w: w.flip(0) if "classifier" in n else w)
    return model, there


def bf16_head(folder):
    model = saved(folder, "qwen2")
    edit_weights(
        there := copied(model), lambda n, w: w.bfloat16().float() if n == "score.weight" else w
    )
    return model, there


def left_padding(folder):
    model = saved(folder, "gpt2")
    edit(there := copied(model), "tokenizer_config.json", padding_side="left")
    return model, there


def stale_lora(folder):
    base = tiny.make("qwen2", folder / "base")
    torch.manual_seed(1)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    model.config.pad_token_id = tiny.TOKENIZERS["qwen2"]().pad_token_id
    config = LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["q_proj", "v_proj"])
    adapted = get_peft_model(model, config)
    for step in ("there", "model"):
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_" in name:
                    parameter.normal_(std=0.1)
        adapted.save_pretrained(folder / step)
        tiny.TOKENIZERS["qwen2"]().save_pretrained(folder / step)
    return folder / "model", folder / "there"


FAULTS = {
    wrong_pooling: "pooling",
    doubled_bos: "doubled BOS",
    other_template: "template",
    cut_at_512: "truncation",
    pad_pooled: "pad pooled",
    bias_dropped: "bias",
    label_order: "label order",
    bf16_head: "bf16 head",
    left_padding: "left padding",
    stale_lora: "stale adapter",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found_and_named(fault, tmp_path):
    model, there = fault(tmp_path)
    found = plaudit.verify(model, against=[f"transformers={there}"])
    [peer] = found.record["peers"]
    assert not found.passed
    assert peer["parted"]
    assert peer["causes"][0]["name"] == FAULTS[fault]
    assert f"why   {FAULTS[fault]}" in str(found)
    healthy = plaudit.verify(model, against=["transformers"])
    assert healthy.passed, str(healthy)
    # In standard deviations of the rewards; a difference of two logits is rounded twice.
    assert healthy.record["peers"][0]["largest"] < 2e-5


# What can be seen of the fault from rewards alone, as of a service.
GUESSED = FAULTS | {
    other_template: None,  # which of all templates it is nobody can guess
    stale_lora: None,
    pad_pooled: "padding",
    left_padding: "padding",
}


class Opaque(There):
    """A peer that tells rewards and nothing else."""

    name = "opaque"

    def __init__(self, inside):
        self.rewards = inside.rewards

    rewards = None


@contextmanager
def _opaque(address, name, model):
    yield Opaque(Transformers(*located(address), model))


@pytest.mark.parametrize("fault", GUESSED, ids=lambda fault: fault.__name__)
def test_a_fault_is_found_by_rewards_alone_and_named_where_they_tell_it(
    fault, tmp_path, monkeypatch
):
    model, there = fault(tmp_path)
    monkeypatch.setattr(peer_of_transformers, "PEER", Peer(_opaque))
    found = plaudit.verify(model, against=[f"transformers={there}"])
    [peer] = found.record["peers"]
    assert not found.passed
    names = [cause["name"] for cause in peer["causes"]]
    assert names == ([GUESSED[fault]] if GUESSED[fault] else [])
    if not names:
        assert "why   not known" in str(found)


def by_mean(folder):
    RewardModel.load(tiny.make("bert", folder / "base"), pooling="mean").save(folder / "model")
    return {}


def of_attributes(folder):
    classifier(folder, "bert", labels=3)
    return {"attributes": "LABEL_0=1,LABEL_2=-0.5"}


def normalised(folder):
    model = RewardModel.load(saved(folder, "llama"))
    model.normalisation = Normalisation(2.0, 3.0, 10, ["data"])
    model.save(folder / "model")
    return {}


def adapted_below_its_bases_head(folder):
    """An adapter whose base, named by a path from its own folder, is a classifier."""
    base = saved(folder, "qwen2").rename(folder / "classifier")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.1)
    adapted.save_pretrained(folder / "model")
    edit(folder / "model", "adapter_config.json", base_model_name_or_path="../classifier")
    return {}


@pytest.mark.parametrize("made", [by_mean, of_attributes, normalised, adapted_below_its_bases_head])
def test_other_kinds_of_models_pass(made, tmp_path):
    found = plaudit.verify(tmp_path / "model", against=["transformers"], **made(tmp_path))
    assert found.passed, str(found)
    [peer] = found.record["peers"]
    assert peer["largest"] < 1e-5 * max(1.0, peer["spread"])


def test_code_beside_a_model_that_is_not_plaudits_is_not_run(tmp_path):
    by_mean(tmp_path)
    [file] = (tmp_path / "model").glob("*.py")
    file.write_text(f"raise SystemExit('it ran')\n{file.read_text()}")
    with pytest.raises(PlauditError, match="so it is not run"):
        plaudit.verify(tmp_path / "model", against=["transformers"])


def test_a_folder_in_which_transformers_finds_no_head_is_named(tmp_path):
    model = saved(tmp_path, "qwen2")
    edit_weights(copied(model), lambda n, w: w)
    weights = load_file(tmp_path / "there" / "model.safetensors")
    weights["v_head.summary.weight"] = weights.pop("score.weight")
    save_file(weights, tmp_path / "there" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PlauditError, match=r"lacks the weights score\.weight and draws them at"):
        plaudit.verify(model, against=[f"transformers={tmp_path / 'there'}"])


def test_data_of_ones_own_are_scored_and_long_rows_told_apart(tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"{n}?", "chosen": "yes " * n, "rejected": "no"} for n in (3, 200, 300)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = plaudit.verify(saved(tmp_path, "gpt2"), against=["transformers"], data=str(file))
    [peer] = found.record["peers"]
    assert (peer["rows"], peer["cut"], peer["passed"]) == (6, 2, True)
    assert re.search(r"2 rows of \d+ longer than is read here: not compared", str(found))


def test_the_exit_code_is_that_of_the_verdict(tmp_path, capsys):
    model, there = bf16_head(tmp_path)
    assert main(["verify", str(model), "--against", "transformers", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["passed"]
    assert main(["verify", str(model), "--against", f"transformers={there}"]) == 1
    assert "NOT the same" in capsys.readouterr().out
    assert (
        main(["verify", str(model), "--against", f"transformers={there}", "--tolerance", "1"]) == 0
    )


def test_the_differences_are_said_before_the_cause_is_looked_for(tmp_path, capsys, monkeypatch):
    model, there = bias_dropped(tmp_path)

    def interrupted(parted):
        raise KeyboardInterrupt

    monkeypatch.setattr("plaudit.verification.verify.find_causes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plaudit.verify(model, against=[f"transformers={there}"], rows=7)
    said = capsys.readouterr().err
    assert "7 of 7 rows beyond 0.0001 of the standard deviation, the largest by" in said
    assert "looking for the cause" in said
