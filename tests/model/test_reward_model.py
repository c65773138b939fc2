"""Rewards against rows run alone, transformers' own classes and pooling by hand; every setting."""

import json
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as runs
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import tiny
from plaudit.data.rankings import Ranking
from plaudit.errors import PlauditError
from plaudit.model.batches import Padded, model_inputs
from plaudit.model.ensemble import Ensemble
from plaudit.model.normalisation import Normalisation
from plaudit.model.reward_model import RewardModel
from plaudit.model.scorer import WINDOW

ALL = [(name, pooling) for name in tiny.DECODERS for pooling in ("last", "mean")]
ALL += [(name, pooling) for name in tiny.ENCODERS for pooling in ("cls", "mean")]
every_model = pytest.mark.parametrize(("name", "pooling"), ALL)

# Texts that trip reward models up: nothing, one token, special tokens as text, more than fits.
PROMPTS = [
    ("What is two plus two?", ["four", "Two plus two is four.", "🙂", "", "a"]),
    ("", ["yes, it is!", "no"]),
    ("The quick brown fox <|endoftext|>", ["jumps<|endoftext|>", "</s>", "over</s> the [PAD] dog"]),
    ("Is that so? " * 40, ["Yes.", "talk and talk " * 60]),
    ("🙂👍🏽 日本", ["a better answer <|im_end|>", "a better answer <|im_end|><|endoftext|>"]),
]

texts = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.sampled_from([text for prompt, completions in PROMPTS for text in (prompt, *completions)]),
)
prompts = st.lists(
    st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=5
)


def rewards_alone(model, some):
    """The reward of every completion, each run by itself and without a pad token."""
    rewards = []
    for prompt, completions in some:
        for completion in completions:
            encoded = model.encoding.encode_texts([(prompt, [completion])])
            rows = model_inputs(
                Padded(model.encoding.tokenizer.pad_token_id).divide(encoded, 10**6)[0]
            )
            assert rows["attention_mask"].all()
            with torch.no_grad():
                rewards.append(model.model(**rows).logits.item())
    return rewards


@pytest.mark.parametrize("name", ["llama", "bert", "deberta-v2"])
def test_more_completions_than_fit_into_a_batch_are_scored_in_parts(name, reward_model):
    model = reward_model(name)
    prompts = [("What is two plus two?", ["It is four" + "!" * n for n in range(20)]), ("A", ["B"])]
    whole = list(model.score_all(prompts))
    parts = replace(model, max_tokens_per_batch=60)
    for ours, theirs in zip(parts.score_all(prompts), whole, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_completions_of_one_prompt_need_not_come_together(reward_model):
    model = reward_model("llama")
    asked = [("A", ["one"]), ("B", ["two", "three"]), ("A", ["four", "one"]), ("A", [])]
    alone = [[model.score(prompt, text) for text in texts] for prompt, texts in asked]
    for ours, theirs in zip(model.score_all(asked), alone, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


def flat(rewards):
    return [reward for of_prompt in rewards for reward in of_prompt]


def raised(match):
    """A PlauditError of one line that says `match`."""
    return pytest.raises(PlauditError, match=re.compile(rf"\A[^\n]*{match}[^\n]*\Z"))


# ---- equal texts, and memory that is not enough ----


@every_model
def test_equal_texts_have_equal_rewards_to_the_last_bit(reward_model, name, pooling):
    model = reward_model(name, pooling)
    asked = [
        ("What is it?", ["a fox", "a much longer answer, " * 3, "a fox", "no", "a fox"]),
        ("And that?", ["a dog", "a dog"]),
        ("What is it?", ["no", "a fox"]),
    ]
    first, second, third = (rewards for rewards in model.score_all(asked))
    assert first[0] == first[2] == first[4] == third[1]
    assert second[0] == second[1]
    assert first[3] == third[0]


FAR = [(f"Number {n}?", ["yes " * (n % 5 + 1), "no"]) for n in range(3 * WINDOW)]
MET = ("What is it?", ["a fox", "a much longer answer"])
AGAIN = ("What is it?", ["a much longer answer", "no", "a fox"])


@pytest.mark.parametrize("name", ["llama", "bert", "deberta-v2"])
def test_a_text_that_comes_back_is_looked_up(name, reward_model, monkeypatch):
    """In another window of a stream, in other company: the same bits, and no token computed."""
    model = reward_model(name)
    first, *_, last = list(model.score_all([MET, *FAR, AGAIN]))
    assert [last[2], last[0]] == first
    passes = counting(model, monkeypatch)
    with model.remembering():
        before = model.score(*MET)
        passes.clear()
        assert list(model.score_all([MET, MET])) == [before, before]
        assert not passes
        assert model.score("What is it?", "no") != before[0]
        assert passes


def test_what_is_remembered_ends_with_its_scope(reward_model, monkeypatch):
    model = replace(reward_model("llama"))
    passes = counting(model, monkeypatch)
    for _ in range(2):
        passes.clear()
        model.score(*MET)
        assert passes
    begun = model.score_all([MET, *FAR])
    next(begun)
    with model.remembering():
        del begun
        model.score(*MET)
        passes.clear()
        model.score(*MET)
        assert not passes
    model.score(*MET)
    assert passes


def test_members_of_an_ensemble_remember_each_their_own(reward_model, base):
    model, other = reward_model("llama"), RewardModel.load(
        base("llama"), seed=5, dtype="float32", device="cpu"
    )  # fmt: skip
    both = Ensemble([model, other])
    first, *_, last = list(both.score_all([MET, *FAR, AGAIN]))
    assert [last[2], last[0]] == first
    pairs = zip(model.score(*MET), other.score(*MET), strict=True)
    assert first == pytest.approx([sum(pair) / 2 for pair in pairs], abs=1e-5)


def counting(model, monkeypatch, fits=None):
    """Rows of each forward pass; with `fits`, a pass of more tokens runs out of memory."""
    passes, forward = [], model.model.forward

    def counted(input_ids, **inputs):
        if fits is not None and input_ids.numel() > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB.")
        passes.append(input_ids.numel())
        return forward(input_ids=input_ids, **inputs)

    monkeypatch.setattr(model.model, "forward", counted)
    return passes


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_each_distinct_row_is_computed_once(name, reward_model, monkeypatch):
    model = reward_model(name)
    passes = counting(model, monkeypatch)
    once = list(model.score_all([("What?", ["a fox", "a dog it is"])]))
    alone = sum(passes)
    passes.clear()
    often = list(model.score_all([("What?", ["a fox", "a dog it is"] * 20)]))
    assert sum(passes) == alone
    assert often == [once[0] * 20]


@pytest.mark.parametrize("name", ["llama", "deberta-v2"])
def test_what_does_not_fit_into_memory_is_scored_in_halves(name, reward_model, monkeypatch, capsys):
    model = replace(reward_model(name))
    prompts = [(f"Number {n}?", ["yes " * (n % 7 + 1), "no", "it is a fox"]) for n in range(12)]
    whole = list(model.score_all(prompts))
    passes = counting(model, monkeypatch, fits=150)
    for ours, theirs in zip(model.score_all(prompts), whole, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    assert max(passes) <= 150
    assert "out of memory on the cpu device: from now on at most" in capsys.readouterr().err
    assert model.max_tokens_per_batch == 4096  # what was asked for says how it scores
    list(model.score_all(prompts))
    assert "memory" not in capsys.readouterr().err


def test_a_row_that_alone_does_not_fit_into_memory_is_an_error_that_says_what_to_do(
    reward_model, monkeypatch
):
    model = replace(reward_model("llama"))
    counting(model, monkeypatch, fits=10)
    with raised("too little memory to score .* tokens: load the model with a smaller max_len"):
        list(model.score_all([("What?", ["it is the quick brown fox", "no"])]))


# ---- a reward depends on its own tokens alone ----


@every_model
@runs(max_examples=8)
@given(some=prompts, budget=st.sampled_from([1, 200, 100_000]), order=st.randoms())
def test_rewards_do_not_depend_on_batch_order_or_padding(
    reward_model, name, pooling, some, budget, order
):
    model = replace(reward_model(name, pooling), max_tokens_per_batch=budget)
    shuffled = list(some)
    order.shuffle(shuffled)
    assert flat(model.score_all(shuffled)) == pytest.approx(
        rewards_alone(model, shuffled), abs=1e-5, rel=1e-5
    )


@every_model
def test_pooling_is_of_the_unpadded_row(reward_model, name, pooling):
    """Each row alone through the bare backbone, its hidden states pooled and scored by hand."""
    model = reward_model(name, pooling)
    backbone, network = model.model.base_model, model.model
    got = flat(model.score_all(PROMPTS))
    expected = []
    for prompt, completions in PROMPTS:
        for completion in completions:
            encoded = model.encoding.encode_texts([(prompt, [completion])])[0]
            inputs = {
                key: torch.tensor(encoded[key])
                for key in ("input_ids", "token_type_ids")
                if key in encoded
            }
            with torch.no_grad():
                output = backbone(**inputs)
                hidden = output.last_hidden_state[0]  # [L, H]
                if pooling == "mean":
                    reward = (hidden @ network.score.weight[0]).mean()
                elif pooling == "last":
                    reward = hidden[-1] @ network.score.weight[0]
                else:
                    reward = by_the_first_token(network, name, hidden)
            expected.append(float(reward))
    assert got == pytest.approx(expected, abs=1e-5, rel=1e-5)
    assert len({round(reward, 3) for reward in got}) > len(got) / 2  # not all alike


def by_the_first_token(network, name, hidden):
    """Each architecture's own head, on the state of the first token."""
    if name == "bert":
        dense, out = network.bert.pooler.dense, network.classifier
        state = torch.tanh(dense(hidden[0]))
    elif name == "roberta":
        out = network.classifier.out_proj
        state = torch.tanh(network.classifier.dense(hidden[0]))
    elif name == "modernbert":
        out = network.classifier
        state = network.head.norm(torch.nn.functional.gelu(network.head.dense(hidden[0])))
    else:
        out = network.classifier
        state = torch.nn.functional.gelu(network.pooler.dense(hidden[0]))
    return state @ out.weight[0] + out.bias[0]


@pytest.mark.parametrize("name", tiny.DECODERS)
def test_the_ending_that_is_also_the_pad_token_does_not_move_the_pooled_position(
    reward_model, name
):
    model = reward_model(name)
    pad = model.encoding.tokenizer.pad_token
    prompt, texts = "What?", ["four", f"four{pad}", f"{pad}four", "a longer answer than the others"]
    together = model.score(prompt, texts)
    assert together == pytest.approx(rewards_alone(model, [(prompt, texts)]), abs=1e-5, rel=1e-5)
    if model.encoding.template == "plain":  # a trailing pad token is nothing at all
        assert together[0] == pytest.approx(together[1], abs=1e-5)
    assert abs(together[0] - together[2]) > 1e-3


@pytest.mark.parametrize("name", tiny.DECODERS)
def test_last_pooling_goes_by_mask_whatever_the_token(reward_model, name):
    """Rows of ours never end in the pad token; somebody else's may, and the mask decides."""
    model = reward_model(name).model
    pad = reward_model(name).encoding.tokenizer.pad_token_id
    ids = torch.tensor([[5, 6, 7, pad, pad, pad], [5, pad, pad, pad, pad, pad]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0]])
    with torch.no_grad():
        rewards = model(input_ids=ids, attention_mask=mask).logits[:, 0]
        for row, length, reward in zip(ids, mask.sum(1), rewards, strict=True):
            hidden = model.base_model(row[None, :length]).last_hidden_state[0, -1]
            assert reward.item() == pytest.approx(float(hidden @ model.score.weight[0]), abs=1e-5)


def test_last_pooling_finds_the_last_token_with_padding_on_the_left_too(reward_model):
    model = reward_model("llama")  # rotary positions: only distances matter
    ids = torch.tensor([model.encoding.encode_texts([("p", ["four"])])[0]["input_ids"][0]])
    padded = torch.cat([torch.full((1, 5), model.encoding.tokenizer.pad_token_id), ids], dim=1)
    mask = torch.tensor([[0] * 5 + [1] * ids.shape[1]])
    with torch.no_grad():
        alone = model.model(input_ids=ids).logits.item()
        left = model.model(input_ids=padded, attention_mask=mask).logits.item()
    assert left == pytest.approx(alone, abs=1e-5)


# ---- score ----


def test_a_string_scores_a_number_and_a_list_a_list(reward_model):
    model = reward_model("qwen2")
    one = model.score("two plus two?", "four")
    assert isinstance(one, float)
    assert model.score("two plus two?", ["four"]) == [one]
    message = [{"role": "assistant", "content": "four"}]
    asked = [{"role": "user", "content": "two plus two?"}]
    assert model.score(asked, [message, "four"]) == pytest.approx([one, one], abs=1e-5)


def test_a_stream_comes_back_in_order_with_nothing_lost(reward_model):
    model = reward_model("gpt2")
    stream = [(f"p{i}", [f"{i} dogs"] * (i % 3)) for i in range(150)]  # more than one window
    rewards = list(model.score_all(iter(stream)))
    assert [len(of_prompt) for of_prompt in rewards] == [i % 3 for i in range(150)]
    for i in (1, 80, 149):
        assert rewards[i] == pytest.approx(rewards_alone(model, stream[i : i + 1]), abs=1e-5)


def test_rankings_score_as_their_texts_do(reward_model):
    model = reward_model("bert")
    encoded = model.encoding.encode([Ranking("two?", ["four", "five"], [0, 1])])
    assert model.rewards(encoded)[0] == model.score("two?", ["four", "five"])


@pytest.mark.parametrize(("name", "pooling"), [("llama", "last"), ("bert", "cls")])
def test_the_head_keeps_float32_digits_under_bfloat16(base, reward_model, name, pooling):
    low = RewardModel.load(base(name), pooling=pooling, dtype="bfloat16", device="cpu")
    rewards = torch.tensor(flat(low.score_all(PROMPTS)))
    assert (rewards != rewards.bfloat16().float()).float().mean() > 0.8
    exact = torch.tensor(flat(reward_model(name, pooling).score_all(PROMPTS)))
    assert (rewards - exact).abs().max() < 0.25
    assert (rewards - exact).abs().max() > 0  # the rest did run in bfloat16


def test_the_seed_draws_the_head(base):
    def score(seed):
        model = RewardModel.load(base("gpt2"), seed=seed, dtype="float32", device="cpu")
        return model.score("p", "a")

    assert score(1) == score(1) != score(2)


# ---- length penalty ----


def completion_tokens(model, prompt, completion):
    """What the length of a completion is, by the tokenizer alone."""
    tokenizer = model.encoding.tokenizer
    if model.encoding.template == "chat":
        asked = [{"role": "user", "content": prompt}]
        said = [*asked, {"role": "assistant", "content": completion}]
        before, whole = (
            tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True),
            tokenizer.apply_chat_template(said, tokenize=False),
        )
        return len(tokenizer(whole)["input_ids"]) - len(tokenizer(before)["input_ids"])
    return len(tokenizer(completion, add_special_tokens=False)["input_ids"])


@every_model
def test_a_length_penalty_is_for_each_token_of_the_completion(reward_model, name, pooling):
    model = reward_model(name, pooling)
    prompt, texts = "What is two plus two?", ["four", "Two plus two is four.", "is that so? yes"]
    penalised = replace(model, length_penalty=0.25)
    lengths = [completion_tokens(model, prompt, text) for text in texts]
    assert len(set(lengths)) > 1
    expected = [
        reward - 0.25 * length
        for reward, length in zip(model.score(prompt, texts), lengths, strict=True)
    ]
    assert penalised.score(prompt, texts) == pytest.approx(expected, abs=1e-5)
    normal = replace(penalised, normalisation=Normalisation(0.5, 2.0, 8, []))
    expected = [
        (reward - 0.5) / 2 - 0.25 * length
        for reward, length in zip(model.score(prompt, texts), lengths, strict=True)
    ]
    assert normal.score(prompt, texts) == pytest.approx(expected, abs=1e-5)


def test_only_what_is_read_of_a_completion_counts(reward_model):
    model = reward_model("bert")
    room = model.encoding.max_length - 3  # [CLS], [SEP], [SEP]
    penalised = replace(model, length_penalty=0.5)
    text = "talk " * 500
    assert model.score("", text) - penalised.score("", text) == pytest.approx(0.5 * room, abs=1e-4)


def test_the_ending_that_is_also_the_pad_token_costs_nothing(reward_model):
    penalised = replace(reward_model("gpt2"), length_penalty=0.5)
    same = ["four", "four<|endoftext|>"]
    first, second = penalised.score("What?", same)
    assert first == pytest.approx(second, abs=1e-5)


def test_a_length_penalty_needs_the_completion_apart(reward_model):
    penalised = replace(reward_model("bert"), length_penalty=0.5)
    with raised("length_penalty: a text holds prompt and completion in one"):
        penalised.encode_rendered(["What is two? four"])
    (row,) = penalised.encode_rendered(["What is two? four"], ["What is two?"])
    assert penalised.rewards([row])[0] == pytest.approx([penalised.score("What is two?", " four")])


@pytest.mark.parametrize("penalty", [-0.1, float("nan"), float("inf")])
def test_a_length_penalty_is_a_number_of_0_or_more(base, penalty):
    with raised(f"length_penalty: {penalty} is not a number of 0 or more"):
        RewardModel.load(base("bert"), length_penalty=penalty)


# ---- save and load ----


@every_model
def test_a_saved_folder_gives_the_same_rewards(reward_model, name, pooling, tmp_path, monkeypatch):
    model = reward_model(name, pooling)
    expected = flat(model.score_all(PROMPTS))
    folder = tmp_path / "run" / "model"
    model.save(folder)
    assert list(folder.glob("*.safetensors")) == [folder / "model.safetensors"]

    for path in (folder, folder.parent):  # a model folder, or the run around it
        again = RewardModel.load(path, dtype="float32", device="cpu")
        assert (again.pooling, again.encoding.template) == (pooling, model.encoding.template)
        assert flat(again.score_all(PROMPTS)) == pytest.approx(expected, abs=1e-6, rel=1e-6)

    # And transformers alone, in one batch padded with its own tokenizer.
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))
    monkeypatch.syspath_prepend(str(tmp_path / "hf"))
    options = {"trust_remote_code": True} if pooling == "mean" else {}
    alone = AutoModelForSequenceClassification.from_pretrained(folder, **options).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    names = ("input_ids", "token_type_ids")
    rows = [
        {"input_ids": ids} | ({names[1]: encoded[names[1]][i]} if names[1] in encoded else {})
        for encoded in model.encoding.encode_texts(PROMPTS)
        for i, ids in enumerate(encoded["input_ids"])
    ]
    with torch.no_grad():
        logits = alone(**tokenizer.pad(rows, return_tensors="pt", padding_side="right")).logits
    assert logits.shape == (len(expected), 1)
    assert logits[:, 0].tolist() == pytest.approx(expected, abs=1e-5, rel=1e-5)


def test_saving_keeps_how_texts_are_encoded(base, tmp_path):
    model = RewardModel.load(
        base("qwen2"), pooling="mean", template="plain", max_length=40, separator=" // "
    )
    model.save(tmp_path / "m")
    again = RewardModel.load(tmp_path / "m")
    ours, theirs = model.encoding, again.encoding
    assert (theirs.template, theirs.max_length, theirs.separator) == ("plain", 40, " // ")
    assert again.pooling == "mean"
    assert theirs.tokenizer.chat_template == tiny.CHAT_TEMPLATE
    assert theirs.tokenizer.get_vocab() == ours.tokenizer.get_vocab()
    assert theirs.encode_texts(PROMPTS) == ours.encode_texts(PROMPTS)
    stored = json.loads((tmp_path / "m" / "config.json").read_text())["plaudit"]
    assert stored == {
        "pooling": "mean",
        "template": "plain",
        "max_length": 40,
        "separator": " // ",
    }


def test_saving_replaces_what_stands_there_and_leaves_nothing_beside_it(reward_model, tmp_path):
    reward_model("gpt2").save(tmp_path / "m")
    (tmp_path / "m" / "stale.txt").write_text("of an older model")
    reward_model("bert").save(tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert not (tmp_path / "m" / "stale.txt").exists()
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model_type"] == "bert"


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_new_pad_token_has_an_embedding_and_survives_saving(base, tmp_path, pooling):
    model = RewardModel.load(base("mistral"), pooling=pooling, dtype="float32", device="cpu")
    tokenizer = model.encoding.tokenizer
    assert tokenizer.eos_token is None
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("[PAD]", tiny.VOCABULARY)
    assert model.model.get_input_embeddings().num_embeddings == tiny.VOCABULARY + 1
    model.save(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert (config["vocab_size"], config["pad_token_id"]) == (tiny.VOCABULARY + 1, tiny.VOCABULARY)
    again = RewardModel.load(tmp_path / "m", dtype="float32", device="cpu")
    assert again.encoding.tokenizer.pad_token_id == tiny.VOCABULARY
    assert flat(again.score_all(PROMPTS)) == pytest.approx(flat(model.score_all(PROMPTS)), abs=1e-6)


@pytest.mark.parametrize("name", ["bert", "roberta", "deberta-v2"])
def test_transformers_own_pipeline_gives_the_same_reward(reward_model, name, tmp_path):
    model = reward_model(name, "cls")
    model.save(tmp_path)
    classify = pipeline("text-classification", str(tmp_path), device="cpu")
    asked = {"text": "two plus two?", "text_pair": "Two plus two is four."}
    (answer,) = classify([asked], function_to_apply="none")
    expected = model.score(asked["text"], asked["text_pair"])
    assert answer["score"] == pytest.approx(expected, abs=1e-5)


# ---- mistakes ----


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gpt2", {"pooling": "cls"}, "pooling: cls does not suit this decoder; .* last or mean"),
        (
            "bert",
            {"pooling": "last"},
            "pooling: last does not suit this encoder; .* cls or layers",
        ),
        ("gpt2", {"template": "chat"}, "template: chat needs .* choose plain"),
        ("bert", {"template": "chat"}, "template: chat needs .* choose plain"),
        ("gpt2", {"max_length": 129}, "max_length: 129 is more than the 128 tokens"),
        ("roberta", {"max_length": 129}, "max_length: 129 is more than the 128 tokens"),
        ("gpt2", {"max_length": 7}, "max_length: 7 leaves no room"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(base, name, options, message):
    with raised(message):
        RewardModel.load(base(name), **options)


@pytest.mark.parametrize("name", ["gpt2", "roberta"])
def test_every_position_can_be_used(base, name):
    model = RewardModel.load(base(name), max_length=tiny.POSITIONS, dtype="float32", device="cpu")
    assert RewardModel.load(base(name)).encoding.max_length == tiny.POSITIONS
    encoded = model.encoding.encode_texts([("dog " * 300, ["four"])])
    assert encoded[0]["length"] == tiny.POSITIONS
    assert torch.tensor(model.rewards(encoded)).isfinite().all()


def test_a_trained_model_keeps_its_pooling(reward_model, tmp_path):
    reward_model("gpt2", "mean").save(tmp_path / "m")
    with raised("pooling: this model was trained with mean, not last"):
        RewardModel.load(tmp_path / "m", pooling="last")


def test_a_trained_model_that_lacks_weights_is_refused(reward_model, tmp_path):
    """transformers would draw what is missing at random, and say so only in its log."""
    for pooling, key in (("last", "score.weight"), ("mean", "model.wte.weight")):
        folder = tmp_path / pooling
        reward_model("gpt2", pooling).save(folder)
        weights = load_file(folder / "model.safetensors")
        del weights[key]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with raised(f"is incomplete: it lacks the weights {key}"):
            RewardModel.load(folder)


def test_a_mistyped_run_is_not_looked_for_on_the_hub(tmp_path, reward_model):
    reward_model("gpt2").save(tmp_path / "runs" / "first")
    with pytest.raises(PlauditError, match=r"frist: there is no such run; .*runs has first"):
        RewardModel.load(tmp_path / "runs" / "frist")
