"""Reward models of classes that their repositories bring: their own code's rewards, or not run.

The classes have the shapes of published ones: gating layers over objectives (ArmoRM), quantiles
(QRM), a value head whose forward returns a tuple (GRM), a token at which the reward is read that no
tokenizer appends (InternLM2's reward models).
"""

import importlib.util
import json
import shutil

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig

from plaudit import PlauditError, RewardModel, train
from plaudit.cli import main
from plaudit.model.export import export
from plaudit.model.exports import EXPORTS

PROMPT = "What is a bond?"
COMPLETIONS = ["A loan.", "It depends on a good many things, some of them small.", "x"]

GATED = '''
from dataclasses import dataclass

import torch
from torch import nn
from transformers import LlamaModel, LlamaPreTrainedModel
from transformers.models.llama.modeling_llama import LLAMA_INPUTS_DOCSTRING
from transformers.utils import ModelOutput, add_start_docstrings_to_model_forward


@dataclass
class Gated(ModelOutput):
    rewards: torch.Tensor = None
    gating_output: torch.Tensor = None
    score: torch.Tensor = None
    logits: torch.Tensor = None


class LlamaWithGating(LlamaPreTrainedModel):
    """Rewards for objectives at the last token, gated by the state at the last turn's begin."""

    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.objectives = nn.Linear(config.hidden_size, 5, bias=False)
        self.post_init()
        self.mix = nn.Parameter(torch.zeros(5, 5), requires_grad=False)
        self.gating = nn.Sequential(nn.Linear(config.hidden_size, 8), nn.ReLU(), nn.Linear(8, 5))

    @add_start_docstrings_to_model_forward(LLAMA_INPUTS_DOCSTRING)
    def forward(self, input_ids=None, attention_mask=None, return_dict=None):
        states = self.model(input_ids, attention_mask=attention_mask)[0]
        ends = torch.eq(input_ids, self.config.pad_token_id).int().argmax(-1) - 1
        ends = ends % input_ids.shape[-1]
        rows = torch.arange(len(input_ids))
        rewards = self.objectives(states[rows, ends])
        begins = [self.begin(ids.tolist()) for ids in input_ids]
        gates = torch.softmax(self.gating(states[rows, begins]), 1)
        score = (gates * (rewards @ self.mix)).sum(1)
        return Gated(rewards=rewards, gating_output=gates, score=score, logits=score)

    def begin(self, ids):
        for place in range(len(ids) - 1, -1, -1):
            if ids[place] == self.config.begin_token_id:
                return place
        raise ValueError("Token pattern not found in the list.")
'''

QUANTILES = """
from dataclasses import dataclass

import torch
from torch import nn
from transformers import LlamaModel, LlamaPreTrainedModel
from transformers.utils import ModelOutput


@dataclass
class Quantiled(ModelOutput):
    reward_quantiles: torch.Tensor = None
    rewards: torch.Tensor = None
    score: torch.Tensor = None
    logits: torch.Tensor = None


class LlamaOfQuantiles(LlamaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.objectives = nn.Linear(config.hidden_size, 3 * 4, bias=False)
        self.post_init()

    @classmethod
    def from_pretrained(cls, name, *args, **kwargs):
        return super().from_pretrained(name, attn_implementation="flash_attention_2")

    def forward(self, input_ids=None, attention_mask=None):
        states = self.model(input_ids, attention_mask=attention_mask)[0]
        ends = torch.eq(input_ids, self.config.pad_token_id).int().argmax(-1) - 1
        ends = ends % input_ids.shape[-1]
        last = states[torch.arange(len(input_ids)), ends]
        quantiles = self.objectives(last).reshape(-1, 3, 4)
        rewards = quantiles.mean(2)
        score = rewards.sum(1, keepdim=True)
        return Quantiled(
            reward_quantiles=quantiles.sum(1), rewards=rewards, score=score, logits=score
        )
"""

VALUES = """
import torch
from torch import nn
from transformers import LlamaModel, LlamaPreTrainedModel


class ValueHead(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.summary = nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, states):
        return self.summary(states)


class LlamaWithValues(LlamaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.v_head = ValueHead(config.hidden_size)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None):
        states = self.model(input_ids, attention_mask=attention_mask)[0]
        ends = attention_mask.sum(dim=-1) - 1
        values = self.v_head(states).squeeze(-1)[torch.arange(len(states)), ends]
        return self.lm_head(states).float(), None, values
"""

APPENDED = """
import torch
from torch import nn
from transformers import LlamaModel, LlamaPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutputWithPast

from .configuration_appended import AppendedConfig


class AppendedForRewardModel(LlamaPreTrainedModel):
    config_class = AppendedConfig
    _auto_class = "AutoModel"
    _tied_weights_keys = ["v_head.weight"]

    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.v_head = nn.Linear(config.hidden_size, 1, bias=False)
        self.reward_token_id = config.reward_token_id
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, return_dict=None):
        states = self.model(input_ids, attention_mask=attention_mask)[0]
        scores = self.v_head(states)
        ends = attention_mask.cumsum(dim=1).argmax(dim=1).view(-1, 1)
        scores = torch.gather(scores.squeeze(-1), 1, ends)
        return SequenceClassifierOutputWithPast(loss=None, logits=scores)

    @torch.no_grad()
    def get_score(self, tokenizer, conversation):
        text = tokenizer.apply_chat_template(conversation, tokenize=False)
        ids = tokenizer.encode(text, return_tensors="pt", add_special_tokens=False)
        ids = torch.cat([ids, torch.tensor([[self.reward_token_id]])], dim=1)
        return self.forward(ids, attention_mask=torch.ones_like(ids).bool()).logits.item()
"""

CONFIGURATION = """
from transformers import LlamaConfig


class AppendedConfig(LlamaConfig):
    model_type = "appended"

    def __init__(self, reward_token_id=7, **kwargs):
        super().__init__(**kwargs)
        self.reward_token_id = reward_token_id
"""

BARE = '''
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel


class BareRewards(PreTrainedModel):
    """Without a call of `post_init`, as code for transformers 4 could be; it returns a tensor."""

    def __init__(self, config):
        super().__init__(config)
        self.model = AutoModelForCausalLM.from_config(config).model
        self.v_head = nn.Linear(config.hidden_size, 1)

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        states = self.model(input_ids, attention_mask=attention_mask, **kwargs)[0]
        ends = attention_mask.sum(dim=-1) - 1
        return self.v_head(states).squeeze(-1)[torch.arange(len(states)), ends]
'''

CLASSES = {
    "bare": ("BareRewards", BARE, "AutoModelForSequenceClassification"),
    "gated": ("LlamaWithGating", GATED, "AutoModelForSequenceClassification"),
    "quantiles": ("LlamaOfQuantiles", QUANTILES, "AutoModelForSequenceClassification"),
    "values": ("LlamaWithValues", VALUES, "AutoModelForSequenceClassification"),
    "appended": ("AppendedForRewardModel", APPENDED, "AutoModel"),
}


def repository(name, base, folder, monkeypatch, **config):
    """(folder, model): the model as whoever wrote the class makes and saves it."""
    named, source, auto = CLASSES[name]
    module = f"modeling_{name}"
    package = folder.parent / f"package_{name}"
    package.mkdir()
    for place in (package, folder):
        place.mkdir(exist_ok=True)
        (place / f"{module}.py").write_text(source)
        if name == "appended":
            (place / "configuration_appended.py").write_text(CONFIGURATION)
    (package / "__init__.py").write_text("")
    # As under transformers 4, which had these texts.
    import transformers.models.llama.modeling_llama as llama

    monkeypatch.setattr(llama, "LLAMA_INPUTS_DOCSTRING", "", raising=False)
    monkeypatch.syspath_prepend(folder.parent)
    place = importlib.import_module(f"package_{name}.{module}")
    of_class = getattr(place, named)
    if isinstance(getattr(of_class, "_tied_weights_keys", None), list):
        monkeypatch.setattr(of_class, "_tied_weights_keys", None)
    if not hasattr(of_class, "all_tied_weights_keys"):
        monkeypatch.setattr(of_class, "all_tied_weights_keys", {}, raising=False)
    tokenizer = AutoTokenizer.from_pretrained(base("qwen2"))
    kind = getattr(place, "AppendedConfig", LlamaConfig)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300}
    sizes |= {"max_position_embeddings": 128, "initializer_range": 0.3, "rms_norm_eps": 1e-5}
    sizes |= {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": None, "eos_token_id": None}
    torch.manual_seed(4)
    begin = tokenizer.convert_tokens_to_ids("<|im_start|>")
    model = of_class(kind(**sizes | {"begin_token_id": begin} | config)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    written |= {"architectures": [named], "auto_map": {auto: f"{module}.{named}"}}
    if name == "appended":
        written["auto_map"]["AutoConfig"] = "configuration_appended.AppendedConfig"
    (folder / "config.json").write_text(json.dumps(written))
    monkeypatch.delattr(llama, "LLAMA_INPUTS_DOCSTRING")
    return model, tokenizer


def of_each(model, tokenizer, read):
    """What the class itself gives for each completion, one row at a time."""
    rewards = []
    for completion in COMPLETIONS:
        turns = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": completion}]
        if hasattr(model, "get_score"):
            rewards.append(model.get_score(tokenizer, turns))
            continue
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            given = model(ids["input_ids"], attention_mask=ids["attention_mask"])
        rewards.append(read(given).item())
    return rewards


READ = {
    "gated": lambda output: output.score,
    "quantiles": lambda output: output.score,
    "values": lambda output: output[2],
    "bare": lambda output: output,
    "appended": None,
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_of_its_own_gives_its_own_rewards(name, base, tmp_path, monkeypatch):
    model, tokenizer = repository(name, base, tmp_path / "theirs", monkeypatch)
    expected = of_each(model, tokenizer, READ[name])
    assert torch.tensor(expected).std() > 1e-2
    ours = RewardModel.load(
        tmp_path / "theirs", trust_remote_code=True, dtype="float32", device="cpu"
    )
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)
    alone = [ours.score(PROMPT, one) for one in COMPLETIONS]
    assert alone == pytest.approx(expected, abs=1e-5)
    assert not ours.new_head
    assert "its own" in ours.layout.describe()


@pytest.mark.parametrize("name", CLASSES)
def test_its_code_is_not_run_unasked(name, base, tmp_path, monkeypatch):
    repository(name, base, tmp_path / "theirs", monkeypatch)
    file = tmp_path / "theirs" / f"modeling_{name}.py"
    ran = tmp_path / "ran"
    for each in (tmp_path / "theirs").glob("*.py"):
        each.write_text(f"open({str(ran)!r}, 'w')\n" + each.read_text())
    said = f"a {CLASSES[name][0]}, a class of its own code: {file.name} of .*--trust-remote-code"
    with pytest.raises(PlauditError, match=said):
        RewardModel.load(tmp_path / "theirs")
    assert not ran.exists()
    RewardModel.load(tmp_path / "theirs", trust_remote_code=True)
    assert ran.exists()


@pytest.mark.parametrize("name", ["quantiles", "appended"])
def test_a_class_that_knows_no_padding_gets_one_row_at_a_time(name, base, tmp_path, monkeypatch):
    """Without a pad token the one takes the last token, whatever is there."""
    folder = tmp_path / "theirs"
    model, tokenizer = repository(name, base, folder, monkeypatch)
    expected = of_each(model, tokenizer, READ[name])
    file = folder / f"modeling_{name}.py"
    without = "ends = torch.full((len(input_ids),), input_ids.shape[1] - 1)\n        "
    text = file.read_text()
    if name == "quantiles":
        text = text.replace("last = states", without + "last = states")
    else:
        text = text.replace("scores = torch.gather", without + "ends = ends[:, None]\n        "
                            "scores = torch.gather")  # fmt: skip
    assert without in text
    file.write_text(text)
    ours = RewardModel.load(folder, trust_remote_code=True, dtype="float32", device="cpu")
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("alone", [False, True])
def test_rows_padded_on_the_left_have_the_same_rewards(name, alone, base, tmp_path, monkeypatch):
    """As programs pad that sample from a policy, and then ask the model for rewards."""
    model, tokenizer = repository(name, base, tmp_path / "theirs", monkeypatch)
    expected = of_each(model, tokenizer, READ[name])
    ours = RewardModel.load(
        tmp_path / "theirs", trust_remote_code=True, dtype="float32", device="cpu"
    )
    if alone:
        ours.model.alone = True
    rows = ours.encode([(PROMPT, COMPLETIONS)])[0]["input_ids"]
    for side in ("left", "right"):
        given = tokenizer.pad({"input_ids": rows}, padding_side=side, return_tensors="pt")
        assert given["attention_mask"][:, 0].all() == (side == "right")
        if name == "bare":  # the one whose forward takes more
            given["position_ids"] = (given["attention_mask"].cumsum(-1) - 1).clamp(min=0)
            given["use_cache"] = False
        with torch.no_grad():
            rewards = ours.model(**given).logits
        assert rewards[:, 0].tolist() == pytest.approx(expected, abs=1e-5)


def test_an_appended_token_leaves_its_place(base, tmp_path, monkeypatch):
    repository("appended", base, tmp_path / "theirs", monkeypatch)
    ours = RewardModel.load(tmp_path / "theirs", trust_remote_code=True, device="cpu")
    assert ours.max_length == 127
    assert len(ours.score("long " * 300, ["text " * 300, "x"])) == 2


def test_a_token_that_the_template_appends_is_not_appended_twice(base, tmp_path, monkeypatch):
    folder = tmp_path / "theirs"
    model, tokenizer = repository("appended", base, folder, monkeypatch)
    expected = of_each(model, tokenizer, None)
    ending = tokenizer.convert_ids_to_tokens(model.reward_token_id)
    tokenizer.chat_template += ending
    tokenizer.save_pretrained(folder)
    ours = RewardModel.load(folder, trust_remote_code=True, dtype="float32", device="cpu")
    row = ours.encode([(PROMPT, COMPLETIONS)])[0]["input_ids"][0]
    assert row[-1] == model.reward_token_id
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)


def test_commands_take_the_flag(base, tmp_path, monkeypatch, capsys):
    model, tokenizer = repository("gated", base, tmp_path / "theirs", monkeypatch)
    expected = of_each(model, tokenizer, READ["gated"])
    rows = [json.dumps({"prompt": PROMPT, "completion": each}) for each in COMPLETIONS]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    words = ["score", str(tmp_path / "theirs"), str(tmp_path / "rows.jsonl"), "--dtype", "float32"]
    assert main(words) == 1
    assert "--trust-remote-code" in capsys.readouterr().err
    assert main([*words, "--trust-remote-code"]) == 0
    given = [json.loads(line)["reward"] for line in capsys.readouterr().out.splitlines()]
    assert given == pytest.approx(expected, abs=1e-5)


def test_it_is_neither_saved_nor_trained_further(base, tmp_path, monkeypatch):
    folder = tmp_path / "theirs"
    repository("gated", base, folder, monkeypatch)
    ours = RewardModel.load(folder, trust_remote_code=True, device="cpu")
    with pytest.raises(PlauditError, match=f"save: .*LlamaWithGating, .*copy {folder} as it is"):
        ours.save(tmp_path / "ours")
    for format in EXPORTS:
        with pytest.raises(PlauditError, match=f"export: .*LlamaWithGating, .*copy {folder} as it"):
            export(ours, tmp_path / "ours", format)
    assert not (tmp_path / "ours").exists()
    data = [{"prompt": f"{n}?", "chosen": f"{n} is it", "rejected": "no"} for n in range(12)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, data)))
    how = {"recipe": "plain", "max_steps": 1, "dtype": "float32", "max_length": 48, "stress": 0}
    with pytest.raises(PlauditError, match="plaudit train --new-head"):
        train(tmp_path / "pairs.jsonl", base=str(folder), output=tmp_path / "run", **how)
    run = train(
        tmp_path / "pairs.jsonl", base=str(folder), output=tmp_path / "run", new_head=True,
        report=False, **how,
    )  # fmt: skip
    assert len(run.model.score(PROMPT, COMPLETIONS)) == 3


FAULTS = {
    "a weight lacks": (
        lambda text: text.replace("8, 5))", "8, 5), nn.Linear(5, 5))"),
        r"lacks the weights gating\.3\.bias, .*of its LlamaWithGating",
    ),
    "a weight is left": (
        lambda text: text.replace("self.mix = ", "self.mixed = ").replace("@ self.mix", "* 1"),
        "weights",
    ),
    "several numbers": (
        lambda text: text.replace("score=score, logits=score", "score=rewards"),
        r"gives score \(\d, 5\) for \d rows, and a reward is one number",
    ),
    "its code fails": (
        lambda text: text.replace("rewards = self.obj", "rewards = self.gone.obj"),
        r"the code of its LlamaWithGating fails: AttributeError: .*gone.*this is \d",
    ),
    "it cannot be imported": (
        lambda text: "import no_such_package\n" + text,
        "no_such_package",
    ),
    "its class is another": (
        lambda text: text.replace("class LlamaWithGating(LlamaPreTrainedModel)",
                                  "class LlamaWithGating(nn.Module)"),
        "is no PreTrainedModel",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_its_code_is_told(fault, base, tmp_path, monkeypatch):
    change, said = FAULTS[fault]
    folder = tmp_path / "theirs"
    repository("gated", base, folder, monkeypatch)
    file = folder / "modeling_gated.py"
    changed = change(file.read_text())
    assert changed != file.read_text()
    file.write_text(changed)
    with pytest.raises(PlauditError, match=said):
        RewardModel.load(folder, trust_remote_code=True, device="cpu")


def test_a_class_of_transformers_is_read_without_code_that_is_left_of_its_base(base, tmp_path):
    """A classifier whose `auto_map` still names its base model's class, and a new head."""
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(base("llama"), num_labels=1)
    model.config.pad_token_id = AutoTokenizer.from_pretrained(base("llama")).eos_token_id
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(base("llama")).save_pretrained(tmp_path)
    expected = RewardModel.load(tmp_path, dtype="float32", device="cpu").score(PROMPT, COMPLETIONS)
    file = tmp_path / "config.json"
    more = {"auto_map": {"AutoModelForCausalLM": "modeling_gone.LlamaForCausalLM"}}
    file.write_text(json.dumps(json.loads(file.read_text()) | more))
    for trusted in (False, True):
        ours = RewardModel.load(tmp_path, dtype="float32", device="cpu", trust_remote_code=trusted)
        assert ours.score(PROMPT, COMPLETIONS) == expected
    assert RewardModel.load(tmp_path, new_head=True, trust_remote_code=True).new_head


def test_a_new_head_needs_no_code(base, tmp_path, monkeypatch):
    folder = tmp_path / "theirs"
    repository("gated", base, folder, monkeypatch)
    (folder / "modeling_gated.py").write_text("raise RuntimeError\n")
    model = RewardModel.load(folder, new_head=True, trust_remote_code=True, device="cpu")
    assert model.new_head
    assert len(model.score(PROMPT, COMPLETIONS)) == 3


def test_code_that_is_not_there_is_not_asked_for(base, tmp_path, monkeypatch):
    folder = tmp_path / "theirs"
    repository("gated", base, folder, monkeypatch)
    (folder / "modeling_gated.py").unlink()
    with pytest.raises(PlauditError, match=r"modeling_gated\.py"):
        RewardModel.load(folder, trust_remote_code=True, device="cpu")


def test_what_a_trusted_model_does_not_need_changes_nothing(reward_model, tmp_path):
    """A model of ours with a modelling file beside it is read without that, trusted or not."""
    model = reward_model("bert", pooling="mean")
    model.save(tmp_path / "m")
    assert (tmp_path / "m" / "modeling_mean.py").is_file()
    shutil.copytree(tmp_path / "m", tmp_path / "other")
    (tmp_path / "other" / "modeling_mean.py").write_text("raise RuntimeError\n")
    expected = RewardModel.load(tmp_path / "m", dtype="float32").score(PROMPT, COMPLETIONS)
    other = RewardModel.load(tmp_path / "other", dtype="float32", trust_remote_code=True)
    assert other.score(PROMPT, COMPLETIONS) == expected
