"""Somebody else's reward model: the rewards that transformers gives, or a refusal and its cause."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, LlamaConfig

import tiny
from plaudit import PlauditError, RewardModel, train
from plaudit.cli import main
from plaudit.data.rankings import Ranking
from plaudit.model import loading
from plaudit.model.checkpoint import names_of_labels, weights_of_labels

PROMPT = "What is a bond?"
COMPLETIONS = ["A loan.", "It depends on a good many things, some of them small.", "x", ""][:3]
OTHERS = {
    "qwen3": ("qwen2", {"head_dim": 8}),
    "gemma2": ("llama", {"head_dim": 8, "sliding_window": 16}),
    "gemma3_text": ("qwen2", {"head_dim": 8, "sliding_window": 16, "rope_parameters": None}),
    "eurobert": ("roberta", {"classifier_pooling": "mean", "num_key_value_heads": 4}),
    "xlm-roberta": ("roberta", {}),
    "distilbert": ("bert", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}),
    "electra": ("bert", {"embedding_size": 32}),
}


def foreign(name, folder, base, labels=1, **config):
    """A folder as transformers saves a reward model of that class, its weights random and wide."""
    like, more = OTHERS.get(name, (name, {}))
    settings = AutoConfig.from_pretrained(base(like)).to_dict()
    for key in ("model_type", "architectures", "transformers_version", "layer_types", "dtype"):
        settings.pop(key, None)
    settings |= more | {"num_labels": labels} | config
    torch.manual_seed(3)
    of_class = AutoConfig.for_model(name, **settings)
    model = AutoModelForSequenceClassification.from_config(of_class).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1:  # biases and norms, which begin as 0 and 1
                weight.add_(torch.randn_like(weight) * 0.3)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(base(like)).save_pretrained(folder)
    return model


def theirs(model, ours):
    """The logits `[N, labels]` that transformers gives for the rows that ours reads."""
    encoded = ours.encode([(PROMPT, COMPLETIONS)])[0]
    names = [name for name in ("input_ids", "token_type_ids") if name in encoded]
    rows = zip(*(encoded[name] for name in names), strict=True)
    with torch.no_grad():
        each = [{n: torch.tensor([ids]) for n, ids in zip(names, row, strict=True)} for row in rows]
        return torch.cat([model(**given).logits for given in each])


@pytest.mark.parametrize(
    ("name", "config"),
    [
        *[(name, {}) for name in (*tiny.DECODERS, *tiny.ENCODERS, *OTHERS) if name != "modernbert"],
        ("modernbert", {"classifier_pooling": "cls"}),
        ("eurobert", {"classifier_pooling": "bos"}),
        ("modernbert", {"classifier_pooling": "mean"}),
        ("modernbert", {"classifier_pooling": "mean", "classifier_activation": "relu"}),
    ],
)
def test_a_classifier_gives_the_rewards_that_transformers_gives(name, config, base, tmp_path):
    model = foreign(name, tmp_path, base, **config)
    ours = RewardModel.load(tmp_path, dtype="float32", device="cpu")
    expected = theirs(model, ours)[:, 0]
    assert expected.std() > 1e-2
    rewards = ours.score(PROMPT, COMPLETIONS)
    assert rewards == pytest.approx(expected.tolist(), abs=1e-5)
    assert not ours.new_head
    alone = [ours.score(PROMPT, one) for one in COMPLETIONS]
    assert rewards == pytest.approx(alone, abs=1e-5)


def test_a_model_that_reads_images_too_is_read_for_its_text(base, tmp_path):
    """Gemma 3's, whose text has a configuration of its own, its pad token included."""
    text = AutoConfig.from_pretrained(base("qwen2")).to_dict() | {"head_dim": 8}
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "head_dim")
    names += ("num_attention_heads", "num_key_value_heads", "pad_token_id", "initializer_range")
    image = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    image |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 8}
    config = transformers.Gemma3Config(
        text_config={name: text[name] for name in names} | {"max_position_embeddings": 128},
        vision_config=image, num_labels=1, mm_tokens_per_image=4,
    )  # fmt: skip
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        model.score.weight.normal_()
    model.save_pretrained(tmp_path / "theirs")
    transformers.AutoTokenizer.from_pretrained(base("qwen2")).save_pretrained(tmp_path / "theirs")
    ours = RewardModel.load(tmp_path / "theirs", dtype="float32", device="cpu")
    expected = theirs(model, ours)[:, 0].tolist()
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)
    ours.save(tmp_path / "ours")
    again = RewardModel.load(tmp_path / "ours", dtype="float32", device="cpu")
    assert again.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "noted",
    [
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}},
        {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"},
        None,
    ],
)
@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "modernbert"])
def test_a_cross_encoder_s_reward_is_its_logit(noted, name, base, tmp_path, capsys):
    """As sentence-transformers before 4, 4 and 5, and 6 save them: 6 notes it in its own file."""
    more = {"classifier_pooling": "cls"} if name == "modernbert" else {}
    model = foreign(name, tmp_path / "theirs", base, **more)
    if noted is None:
        own = {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Sigmoid"}
        file = tmp_path / "theirs" / "config_sentence_transformers.json"
        file.write_text(json.dumps(own))
    else:
        file = tmp_path / "theirs" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | noted))
    ours = RewardModel.load(tmp_path / "theirs", dtype="float32", device="cpu")
    expected = theirs(model, ours)[:, 0].tolist()
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)
    assert "notes Sigmoid for its scores: the reward is the logit" in capsys.readouterr().err
    file.write_text(file.read_text().replace("activation.Sigmoid", "linear.Identity"))
    RewardModel.load(tmp_path / "theirs", device="cpu")
    assert "notes" not in capsys.readouterr().err


def test_weights_may_be_in_several_files(base, tmp_path):
    model = foreign("llama", tmp_path, base)
    (tmp_path / "model.safetensors").unlink()
    model.save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    ours = RewardModel.load(tmp_path, dtype="float32", device="cpu")
    expected = theirs(model, ours)[:, 0].tolist()
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)
    next(iter(sorted(tmp_path.glob("model-*.safetensors")))).unlink()
    with pytest.raises(PlauditError, match="cannot be loaded"):
        RewardModel.load(tmp_path)


@pytest.mark.parametrize("pooled", ["cls", "mean"])
def test_what_is_saved_again_gives_them_too(pooled, base, tmp_path):
    foreign("modernbert", tmp_path / "theirs", base, classifier_pooling=pooled)
    ours = RewardModel.load(tmp_path / "theirs", dtype="float32", device="cpu")
    ours.save(tmp_path / "ours")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
    expected = theirs(again, ours)[:, 0].tolist()
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)
    loaded = RewardModel.load(tmp_path / "ours", dtype="float32", device="cpu")
    assert loaded.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)


def test_a_pad_token_of_the_configuration_s_own_says_what_is_pooled(base, tmp_path):
    """Rows that end in the configuration's pad token are pooled before it, as transformers does."""
    model = foreign("qwen2", tmp_path, base)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ending = tokenizer.convert_tokens_to_ids("<|im_end|>")
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_end|>\n", "<|im_end|>")
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    model.config.pad_token_id = config["pad_token_id"] = ending
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours = RewardModel.load(tmp_path, dtype="float32", device="cpu", template="chat")
    whole = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": completion}],
            tokenize=True,
            return_dict=True,
        )["input_ids"]
        for completion in COMPLETIONS
    ]
    assert all(row[-1] == ending for row in whole)
    with torch.no_grad():
        expected = [model(input_ids=torch.tensor([row])).logits.item() for row in whole]
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)


def test_a_configuration_without_a_pad_token_is_pooled_at_the_very_end(base, tmp_path):
    model = foreign("llama", tmp_path, base)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.pad_token = None
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"
    )
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    model.config.pad_token_id = config["pad_token_id"] = None
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours = RewardModel.load(tmp_path, dtype="float32", device="cpu", template="chat")
    rows = ours.encode([(PROMPT, COMPLETIONS)])[0]["input_ids"]
    assert all(row[-1] == tokenizer.eos_token_id for row in rows)
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(
        theirs(model, ours)[:, 0].tolist(), abs=1e-5
    )


@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
@pytest.mark.parametrize("word", ["!", "e"])
def test_a_pad_token_that_is_a_word_parts_no_texts(name, word, base, tmp_path):
    """Many configurations name token 0 as the pad token, which is `!` to byte-level tokenizers."""
    model = foreign(name, tmp_path / "theirs", base)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    pad = tokenizer.convert_tokens_to_ids(word)
    file = tmp_path / "theirs" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token_id": pad}))
    model.config.pad_token_id = pad
    completions = ["The better answer is here!", "Whatever!!! he heeree", "e!", "A loan, here"]
    expected = []
    with torch.no_grad():
        for completion in completions:
            turns = (("user", PROMPT), ("assistant", completion))
            messages = [{"role": role, "content": text} for role, text in turns]
            if name == "qwen2":
                given = tokenizer.apply_chat_template(messages, return_tensors="pt")
            else:
                given = tokenizer(f"{PROMPT}\n\n{completion}<|endoftext|>", return_tensors="pt")
            expected.append(model(given["input_ids"]).logits.item())
    ours = RewardModel.load(tmp_path / "theirs", dtype="float32", device="cpu", layout="padded")
    assert ours.score(PROMPT, completions) == pytest.approx(expected, abs=1e-5)
    row = (
        f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n" if name == "qwen2" else ""
    )
    for completion, reward in zip(completions, expected, strict=True):
        rendered = ours.encoding.encode_rendered(
            [row + completion if row else f"{PROMPT}\n\n{completion}"]
        )
        assert ours.rewards(rendered)[0][0] == pytest.approx(reward, abs=1e-5)
    ours.save(tmp_path / "saved")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert again.tokenize(completions[1]) == tokenizer.tokenize(completions[1])
    saved = RewardModel.load(tmp_path / "saved", dtype="float32", device="cpu")
    assert saved.score(PROMPT, completions) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["llama", "bert", "deberta-v2"])
def test_of_two_labels_the_reward_is_the_difference(name, base, tmp_path, capsys):
    model = foreign(name, tmp_path, base, labels=2)
    ours = RewardModel.load(tmp_path, dtype="float32", device="cpu")
    logits = theirs(model, ours)
    expected = (logits[:, 1] - logits[:, 0]).tolist()
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)
    assert "the logit of 'LABEL_1' less that of 'LABEL_0'" in capsys.readouterr().err
    one = RewardModel.load(tmp_path, dtype="float32", device="cpu", attributes="LABEL_0")
    assert one.score(PROMPT, COMPLETIONS) == pytest.approx(logits[:, 0].tolist(), abs=1e-5)


def test_of_more_labels_none_is_taken_without_being_asked_for(base, tmp_path):
    foreign("llama", tmp_path, base, labels=3, id2label={0: "help", 1: "truth", 2: "brevity"})
    said = r"3 numbers for a text .help, truth, brevity.*--attributes help.*--attributes help=1,"
    with pytest.raises(PlauditError, match=said):
        RewardModel.load(tmp_path)
    model = RewardModel.load(tmp_path, new_head=True)
    assert model.new_head
    assert len(model.score(PROMPT, COMPLETIONS)) == 3


THREE = {"labels": 3, "id2label": {0: "help", 1: "truth", 2: "brevity"}}


@pytest.mark.parametrize("name", ["llama", "roberta", "modernbert", "distilbert"])
@pytest.mark.parametrize(
    ("asked", "weights"),
    [
        ("truth", [0, 1, 0]),
        ("2", [0, 0, 1]),
        ("help=0.65,brevity=-0.2", [0.65, 0, -0.2]),
        ({"help": 1, "truth": 0.5, 2: -1}, [1, 0.5, -1]),
    ],
)
def test_a_reward_is_the_sum_of_the_attributes_that_are_asked_for(
    name, asked, weights, base, tmp_path
):
    """Nothing is applied to the logits, whatever kind of problem the configuration names."""
    problem = {"problem_type": "multi_label_classification"}
    model = foreign(name, tmp_path / "theirs", base, **THREE, **problem)
    ours = RewardModel.load(tmp_path / "theirs", dtype="float32", device="cpu", attributes=asked)
    logits = theirs(model, ours)
    expected = (logits @ torch.tensor([float(weight) for weight in weights])).tolist()
    assert ours.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)
    ours.save(tmp_path / "ours")
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    names = list(THREE["id2label"].values())
    noted = {label: weight for label, weight in zip(names, weights, strict=True) if weight}
    assert config["plaudit"]["attributes"] == noted
    again = RewardModel.load(tmp_path / "ours", dtype="float32", device="cpu")
    assert again.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-5)
    assert again.attributes == noted
    bare = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
    assert theirs(bare, again)[:, 0].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("humour", "there is no humour; there are help, truth, brevity; a number from 0 to 2"),
        ("help=much", "help has the weight 'much', which is no number"),
        ("help=0", "every weight is 0"),
        ({"help": float("nan")}, "which is no number"),
        ("3", "there is no 3"),
        ("²", "there is no ²"),
        ("help=1,help=2", "help is named twice; give it one weight"),
        ("help=1,0=2", "help is named twice, as help and as 0; give it one weight"),
        ({"help": 1, "0": 2}, "help is named twice, as help and as 0"),
        ({0: 1, "0": 2}, "help is named twice; give"),
        (
            "help=0.65,truth",
            "in 'help=0.65,truth' truth has no weight; .* as in help=0.5,truth=0.5",
        ),
        ("help,truth", "in 'help,truth' help has no weight"),
        ("help=1,", "in 'help=1,' one label is blank and has no weight"),
        ("=1", "there is no label without a name; there are help"),
    ],
)
def test_an_attribute_that_cannot_be_meant_is_named(asked, said, base, tmp_path):
    foreign("llama", tmp_path, base, **THREE)
    with pytest.raises(PlauditError, match=f"attributes: .*{said}"):
        RewardModel.load(tmp_path, attributes=asked)


@pytest.mark.parametrize(
    ("asked", "named", "weights"),
    [
        (None, ["reward"], [1]),
        ({"truth": 0.5}, ["reward"], [1]),  # it is their sum already
        (None, ["bad", "good"], [-1, 1]),
        ("bad", ["bad", "good"], [1, 0]),
        ({"good": 2, "0": -1}, ["bad", "good"], [-1, 2]),
        ("a=1, b=2", ["a, b", "a", "b"], [0, 1, 2]),
        ("a, b", ["a, b", "a", "b"], [1, 0, 0]),
    ],
)
def test_one_reward_of_several_labels(asked, named, weights):
    assert weights_of_labels(asked, named) == weights


def test_labels_of_which_none_is_asked_for_are_told_by_whoever_has_them():
    config = LlamaConfig(id2label={0: "help", 1: "truth"})
    named = names_of_labels(config, 3)
    assert named == ["help", "truth", "2"]
    with pytest.raises(PlauditError, match=r"^the peer gives 3 numbers for a text .help, truth, 2"):
        weights_of_labels(None, named, "the peer")


def test_an_attribute_is_chosen_only_where_there_are_several(base, tmp_path):
    foreign("llama", tmp_path / "one", base)
    with pytest.raises(PlauditError, match="gives one number, so there is none to choose"):
        RewardModel.load(tmp_path / "one", attributes="help")
    with pytest.raises(PlauditError, match="has no head of its own, so no labels"):
        RewardModel.load(base("llama"), attributes="help")
    foreign("llama", tmp_path / "twins", base, labels=3, id2label={0: "a", 1: "a", 2: "b"})
    with pytest.raises(PlauditError, match="there are 2 a"):
        RewardModel.load(tmp_path / "twins", attributes="a")
    assert RewardModel.load(tmp_path / "twins", attributes="1").attributes == {"1": 1.0}


def test_attributes_are_a_flag_of_commands(base, tmp_path, capsys):
    model = foreign("llama", tmp_path / "three", base, **THREE)
    ours = RewardModel.load(tmp_path / "three", attributes="truth", dtype="float32", device="cpu")
    expected = theirs(model, ours)[:, 1].tolist()
    rows = [json.dumps({"prompt": PROMPT, "completion": each}) for each in COMPLETIONS]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    words = ["score", str(tmp_path / "three"), str(tmp_path / "rows.jsonl"), "--dtype", "float32"]
    assert main([*words, "--attributes", "truth=1"]) == 0
    given = [json.loads(line)["reward"] for line in capsys.readouterr().out.splitlines()]
    assert given == pytest.approx(expected, abs=1e-5)
    assert main(words) == 1
    assert "choose it with --attributes help" in capsys.readouterr().err


def test_a_head_of_several_is_trained_further_as_the_sum_of_some(base, tmp_path):
    foreign("bert", tmp_path / "theirs", base, **THREE)
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", prompts=12)
    run = train(
        data, output=tmp_path / "run", base=str(tmp_path / "theirs"), attributes="truth",
        max_steps=1, recipe="plain", dtype="float32", max_length=48, stress=0, report=False,
        learning_rate=1e-9,
    )  # fmt: skip
    before = RewardModel.load(
        tmp_path / "theirs", attributes="truth", dtype="float32", max_length=48
    )
    expected = before.score(PROMPT, COMPLETIONS)
    assert run.model.score(PROMPT, COMPLETIONS) == pytest.approx(expected, abs=1e-4)
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert "attributes" not in config["plaudit"]  # what was trained is another reward


CHANGES = {
    "a head's bias": (lambda w: w.update({"score.bias": torch.ones(1)}), "score.bias"),
    "a value head": (
        lambda w: w.update({"value_head.weight": torch.ones(1, 32)}),
        "value_head.weight .a value head, as OpenRLHF",
    ),
    "gating": (lambda w: w.update({"gating.layers.0.weight": torch.ones(8, 32)}), "ArmoRM"),
    "no head": (lambda w: w.pop("score.weight"), "lacks the weights score.weight of its head"),
    "a layer lost": (
        lambda w: w.pop("model.layers.1.mlp.up_proj.weight"),
        "incomplete: it lacks the weights model.layers.1.mlp.up_proj.weight",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_are_left_over_or_missing_are_named(change, base, tmp_path):
    foreign("llama", tmp_path, base)
    _changed(tmp_path, CHANGES[change][0])
    with pytest.raises(PlauditError, match=CHANGES[change][1]):
        RewardModel.load(tmp_path)


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_a_base_model_with_other_heads_is_no_base_model(name, base, tmp_path):
    """What pretraining left in the file is not in the way; what gave somebody's rewards is."""
    tiny.make(name, tmp_path)
    assert RewardModel.load(tmp_path).new_head
    _changed(tmp_path, lambda weights: weights.update({"value_head.weight": torch.ones(1)}))
    with pytest.raises(PlauditError, match=r"value_head\.weight"):
        RewardModel.load(tmp_path)
    assert RewardModel.load(tmp_path, new_head=True).new_head


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_rewards_under_a_head_that_is_drawn_are_said_to_be_random(name, base, tmp_path, capsys):
    """…ForCausalLM and …ForMaskedLM are base models, which bring no reward."""
    model = RewardModel.load(base(name), dtype="float32", device="cpu")
    model.score(PROMPT, COMPLETIONS)
    model.score(PROMPT, "x")
    assert capsys.readouterr().err.count("no trained reward head: its rewards are random") == 1
    foreign(name, tmp_path, base)
    RewardModel.load(tmp_path, dtype="float32", device="cpu").score(PROMPT, COMPLETIONS)
    assert "random" not in capsys.readouterr().err


def test_pretrainings_own_weights_are_left_aside(base, tmp_path):
    """As in the files of bert-base: the next sentence's head, which BertForMaskedLM lacks."""
    tiny.make("bert", tmp_path)
    extra = {
        "cls.seq_relationship.weight": torch.ones(2, 32),
        "bert.pooler.dense.bias": torch.ones(32),
    }
    _changed(tmp_path, lambda weights: weights.update(extra))
    assert RewardModel.load(tmp_path).new_head
    assert RewardModel.load(tmp_path, pooling="mean").new_head


@pytest.mark.parametrize("pooling", ["auto", "mean"])
def test_a_base_model_that_lacks_weights_is_refused(pooling, tmp_path):
    tiny.make("bert", tmp_path)
    _changed(tmp_path, lambda weights: weights.pop("bert.encoder.layer.1.output.dense.weight"))
    with pytest.raises(PlauditError, match=r"incomplete: it lacks .*encoder.layer.1.output.dense"):
        RewardModel.load(tmp_path, pooling=pooling)


def test_another_pooling_than_the_head_s_own_needs_a_new_head(base, tmp_path):
    foreign("bert", tmp_path, base)
    with pytest.raises(PlauditError, match=r"takes cls, not mean.*--new-head"):
        RewardModel.load(tmp_path, pooling="mean")
    assert RewardModel.load(tmp_path, pooling="mean", new_head=True).new_head
    with pytest.raises(PlauditError, match="a bert model is given the first token"):
        RewardModel.load(base("bert"), pooling="own-mean")


@pytest.mark.parametrize("name", ["llama", "bert", "modernbert"])
def test_a_new_head_is_drawn_from_the_seed_and_the_rest_stays(name, base, tmp_path):
    model = foreign(name, tmp_path, base)
    of = [RewardModel.load(tmp_path, new_head=True, seed=seed).model for seed in (0, 0, 1)]
    first, same, other = (dict(each.named_parameters()) for each in of)
    for key, weight in model.named_parameters():
        backbone = key.startswith(model.base_model_prefix + ".")
        assert torch.equal(first[key], same[key])
        assert torch.equal(first[key], weight) == backbone or weight.dim() == 1
        if weight.dim() > 1:
            assert torch.equal(first[key], other[key]) == backbone


def test_a_model_of_numbers_for_each_token_is_named(base, tmp_path):
    foreign("qwen2", tmp_path, base)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["Qwen2ForTokenClassification"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(PlauditError, match="a number for each token, as process reward"):
        RewardModel.load(tmp_path)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("QuestionAnswering", "the places in a text"),
        ("MultipleChoice", "numbers for choices"),
        ("NextSentencePrediction", "whether a sentence follows"),
    ],
)
def test_a_head_of_another_task_is_named(task, said, base, tmp_path):
    named = f"BertFor{task}"
    getattr(transformers, named).from_pretrained(base("bert")).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(base("bert")).save_pretrained(tmp_path)
    with pytest.raises(PlauditError, match=f"is a {named}: it gives {said}.*--new-head"):
        RewardModel.load(tmp_path)
    assert RewardModel.load(tmp_path, new_head=True).new_head


def test_a_class_of_its_own_code_is_named(base, tmp_path):
    foreign("llama", tmp_path, base)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["LlamaForRewardModelWithGating"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        PlauditError, match="LlamaForRewardModelWithGating, a class of its own code"
    ):
        RewardModel.load(tmp_path)


def test_a_tokenizer_of_another_model_is_named(base, tmp_path):
    foreign("llama", tmp_path, base)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens([f"<more {n}>" for n in range(20)])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(PlauditError, match=r"tokens up to number 319 and .* 300 rows"):
        RewardModel.load(tmp_path)


def test_a_head_is_trained_in_the_place_of_three(base, tmp_path):
    foreign("bert", tmp_path / "theirs", base, labels=3)
    data = [
        Ranking(f"What is {n}?", [f"{n} is a number", f"{n} a dog"], [0, 1], origin=f"row {n}")
        for n in range(12)
    ]
    run = train(
        data, output=tmp_path / "run", base=str(tmp_path / "theirs"), new_head=True, max_steps=2,
        recipe="plain", dtype="float32", report=False,
    )  # fmt: skip
    assert len(run.model.score("What is 1?", ["a", "b"])) == 2


def _changed(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("new_head", [False, True])
def test_a_weight_of_another_shape_is_named(new_head, tmp_path):
    tiny.make("llama", tmp_path)
    key = "model.layers.1.mlp.up_proj.weight"
    _changed(tmp_path, lambda weights: weights.update({key: weights[key][:10].clone()}))
    with pytest.raises(PlauditError, match=r"up_proj.weight has the shape \(10, 32\), and .*\(48"):
        RewardModel.load(tmp_path, new_head=new_head)


def test_a_damaged_record_of_ours_is_named(base, tmp_path):
    foreign("llama", tmp_path, base)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"plaudit": 5}))
    with pytest.raises(PlauditError, match=r"'plaudit' in its config\.json is damaged"):
        RewardModel.load(tmp_path)


def test_a_mistake_in_code_is_not_blamed_on_a_models_files(base, monkeypatch):
    """Of ours or of a plugin's pooling: its own error is what can be reported."""

    def mistaken(*_):
        return None.rows

    monkeypatch.setattr(loading, "exact", mistaken)
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'rows'"):
        RewardModel.load(base("bert"))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"plaudit": {"max_length": [128]}}),
        ("config.json", {"plaudit": {"separator": 5}}),
        ("config.json", {"plaudit": {"pooling": ["last"]}}),
        ("tokenizer_config.json", {"model_max_length": [128]}),
        ("tokenizer_config.json", {"model_max_length": "many"}),
    ],
)
def test_a_setting_of_the_wrong_type_in_a_models_files_is_told(
    reward_model, tmp_path, file, change
):
    reward_model("gpt2").save(tmp_path)
    there = json.loads((tmp_path / file).read_text())
    for name, value in change.items():
        there[name] = there[name] | value if isinstance(value, dict) else value
    (tmp_path / file).write_text(json.dumps(there))
    with pytest.raises(PlauditError):
        RewardModel.load(tmp_path).score("What is a bond?", ["A loan."])
