"""Rewards inside RLHF: against `score`, inside TRL's own trainers, in several processes."""

import os
import pickle
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.integrations.deepspeed import (
    is_deepspeed_zero3_enabled,
    set_hf_deepspeed_config,
    unset_hf_deepspeed_config,
)
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

import forked
from plaudit import AsyncClient, Client, PlauditError, RewardModel
from plaudit.rlhf import reward_func
from plaudit.serving.app import build_app
from plaudit.serving.settings import ServiceSettings
from running import free_port, inside

QUESTIONS = ["What is two plus two?", "Is a reward a fox?"]
ANSWERS = ["Two plus two is four.", "No.", "", "The lazy dog " * 4]


def messages(question):
    return [{"role": "user", "content": question}]


def said(answer):
    return [{"role": "assistant", "content": answer}]


def every(prompts, completions):
    """TRL's layout: each prompt once for each of its completions."""
    pairs = [(p, c) for p in prompts for c in completions]
    return [p for p, _ in pairs], [c for _, c in pairs]


@pytest.fixture(scope="module")
def saved(reward_model, tmp_path_factory):
    """The folder of a tiny reward model, by base model and pooling."""
    root = tmp_path_factory.mktemp("saved")

    def get(name, pooling="auto"):
        folder = root / f"{name}-{pooling}"
        if not folder.exists():
            reward_model(name, pooling).save(folder)
        return folder

    return get


# ---- the function itself ----


@pytest.mark.parametrize("name", ["qwen2", "llama", "bert"])
def test_rewards_are_those_of_score_in_the_order_of_the_completions(reward_model, name):
    model = reward_model(name)
    expected = [reward for q in QUESTIONS for reward in model.score(q, ANSWERS)]
    prompts, completions = every(QUESTIONS, ANSWERS)
    assert reward_func(model)(prompts, completions) == pytest.approx(expected, abs=1e-5)
    # Prompts may come in any order, as a shuffled batch or another program has them.
    order = [5, 0, 7, 2, 4, 1, 3, 6]
    mixed = reward_func(model)([prompts[i] for i in order], [completions[i] for i in order])
    assert mixed == pytest.approx([expected[i] for i in order], abs=1e-5)


def test_messages_are_the_dialogue_they_are(reward_model):
    model = reward_model("qwen2")
    expected = [reward for q in QUESTIONS for reward in model.score(q, ANSWERS)]
    prompts, completions = every([messages(q) for q in QUESTIONS], [said(a) for a in ANSWERS])
    found = reward_func(model)(prompts=prompts, completions=completions, completion_ids=[], x=[1])
    assert found == pytest.approx(expected, abs=1e-5)
    # After a prompt that ends with the assistant's words, TRL opens another turn of its.
    begun = [*messages("Hi"), *said("Yes?")]
    assert reward_func(model)([begun], [said("four")]) == pytest.approx(
        model.score(begun, [said("four")]), abs=1e-5
    )


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_a_message_that_says_nothing_is_read_as_nothing(reward_model, name):
    function = reward_func(reward_model(name))
    calls = {"role": "assistant", "tool_calls": [{"type": "function"}]}
    parts = [{"type": "text", "text": "fo"}, {"type": "text", "text": "ur"}]
    turns = [[calls], [calls | {"content": None}], said(parts), [*said("four"), calls]]
    same = [said(""), said(""), said("four"), [*said("four"), *said("")]]
    prompts = [messages("2+2?")] * len(turns)
    assert function(prompts, turns) == pytest.approx(function(prompts, same), abs=1e-5)
    # Of a picture nothing is read, which must not be taken for an answer without one.
    assert function(prompts[:1], [said([*parts, {"type": "image"}])]) == [None]


def test_the_completions_of_a_prompt_share_its_tokens(reward_model):
    model = reward_model("qwen2")
    encoded = []
    encode = model.encode
    model.encode = lambda prompts: encoded.extend(encode(prompts)) or encoded
    try:
        reward_func(model)(*every(QUESTIONS, ANSWERS))
    finally:
        del model.encode
    assert [len(row["input_ids"]) for row in encoded] == [4, 4]
    assert all(row["shared"] > 10 for row in encoded)


def test_a_named_model_is_loaded_once_and_late_and_pickles(saved, reward_model, tmp_path):
    missing = reward_func(tmp_path / "nothing")  # no complaint before it is used
    with pytest.raises(PlauditError, match="nothing"):
        missing(["a"], ["b"])
    function = reward_func(saved("llama"), dtype="float32", max_length=32)
    expected = RewardModel.load(saved("llama"), dtype="float32", max_length=32).score("a", ANSWERS)
    assert function(["a"] * 4, ANSWERS) == pytest.approx(expected, abs=1e-6)
    assert function.scorer is function.scorer
    packed = pickle.dumps(function)
    assert len(packed) < 1000  # without the model
    assert pickle.loads(packed)(["a"] * 4, ANSWERS) == pytest.approx(expected, abs=1e-6)


def test_several_models_are_an_ensemble(saved):
    names = [saved("llama"), saved("qwen2")]
    each = [RewardModel.load(name, dtype="float32").score("a", ANSWERS) for name in names]
    found = reward_func(names, combine="mean", dtype="float32")(["a"] * 4, ANSWERS)
    assert found == pytest.approx([sum(pair) / 2 for pair in zip(*each, strict=True)], abs=1e-5)


@pytest.mark.parametrize(
    ("model", "name"),
    [("runs/first", "first"), ("runs/first/model", "first"), ("org/model-x", "model-x")],
)
def test_the_log_calls_rewards_by_the_runs_name(model, name):
    assert reward_func(model).__name__ == name
    assert reward_func(model, name="mine").__name__ == "mine"


def test_options_beside_a_loaded_model_are_refused(reward_model):
    with pytest.raises(PlauditError, match="dtype: the model is loaded already"):
        reward_func(reward_model("bert"), dtype="float32")


def test_a_reward_that_is_no_number_is_an_error(saved):
    function = reward_func(saved("gpt2"), dtype="float32")
    with torch.no_grad():
        function.scorer.model.score.weight.fill_(float("nan"))
    with pytest.raises(PlauditError, match="not a finite number"):
        function(["a"], ["b"])


def test_truncation_is_said_once_and_logged_at_each_step(saved, capsys):
    function = reward_func(saved("gpt2"), name="mine", dtype="float32", max_length=16)
    logged = []
    for _ in range(3):
        function(["a", "a"], ["b", "The lazy dog " * 20], log_metric=lambda *x: logged.append(x))
    assert logged == [("rewards/mine/refused", 0), ("rewards/mine/truncated", 0.5)] * 3
    assert capsys.readouterr().err.count("truncated to 16 tokens") == 1


# ---- inside TRL ----

TRAINERS = {"grpo": (GRPOTrainer, GRPOConfig), "rloo": (RLOOTrainer, RLOOConfig)}


def one_step(algorithm, reward, base, prompts, tmp_path, **options):
    """A step of TRL's trainer: what it gave the reward function, and the rewards it got."""
    make_trainer, make_config = TRAINERS[algorithm]
    seen = {}

    class Watched(make_trainer):
        def _calculate_rewards(self, inputs, prompts, completions, ids):
            seen.update(prompts=prompts, completions=completions)
            seen["rewards"] = super()._calculate_rewards(inputs, prompts, completions, ids)
            return seen["rewards"]

    config = make_config(
        output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=4, num_generations=2,
        max_completion_length=8, gradient_checkpointing=False, bf16=False, use_cpu=True,
        report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True, **options,
    )  # fmt: skip
    trainer = Watched(
        AutoModelForCausalLM.from_pretrained(base),
        reward_funcs=reward, args=config, train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=AutoTokenizer.from_pretrained(base),
    )  # fmt: skip
    trainer.train()
    log = next(row for row in trainer.state.log_history if "reward" in row)
    return seen["prompts"], seen["completions"], seen["rewards"][:, 0].tolist(), log


CONVERSATIONAL = ("qwen2", [messages(q) for q in QUESTIONS])
PLAIN = ("llama", QUESTIONS)


def scored(model, prompts, completions):
    return [model.score(p, [c])[0] for p, c in zip(prompts, completions, strict=True)]


@pytest.mark.parametrize("algorithm", TRAINERS)
@pytest.mark.parametrize("policy", [CONVERSATIONAL, PLAIN], ids=["messages", "plain"])
def test_trl_trains_with_the_function(base, reward_model, tmp_path, algorithm, policy):
    name, prompts = policy
    model = reward_model(name)
    function = reward_func(model, name="mine")
    asked, completions, rewards, log = one_step(algorithm, function, base(name), prompts, tmp_path)
    assert rewards == pytest.approx(scored(model, asked, completions), abs=1e-5)
    assert len(set(rewards)) > 1
    assert log["rewards/mine/mean"] == pytest.approx(sum(rewards) / 4, abs=1e-5)


class Watched:
    """A reward function that notes what it is asked and what it gives."""

    def __init__(self, function):
        self.function, self.__name__, self.calls = function, function.__name__, []

    def __call__(self, prompts, completions, **columns):
        rewards = self.function(prompts, completions, **columns)
        self.calls.append((prompts, completions, rewards))
        return rewards


def online_dpo(reward, base, prompts, tmp_path):
    """A step of TRL's OnlineDPOTrainer: its log."""
    with mock.patch.dict(os.environ, TRL_EXPERIMENTAL_SILENCE="1"):
        from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer
    config = OnlineDPOConfig(
        output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=2, max_new_tokens=8,
        max_length=128, gradient_checkpointing=False, bf16=False, use_cpu=True, report_to="none",
        save_strategy="no", logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    trainer = OnlineDPOTrainer(
        AutoModelForCausalLM.from_pretrained(base),
        reward_funcs=reward, args=config, train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=AutoTokenizer.from_pretrained(base),
    )  # fmt: skip
    trainer.train()
    return next(row for row in trainer.state.log_history if "objective/scores" in row)


@pytest.mark.parametrize("policy", [CONVERSATIONAL, PLAIN], ids=["messages", "plain"])
def test_online_dpo_prefers_by_the_function(base, reward_model, tmp_path, policy):
    name, prompts = policy
    model = reward_model(name)
    watched = Watched(reward_func(model))
    log = online_dpo(watched, base(name), prompts, tmp_path)
    [(asked, completions, rewards)] = watched.calls
    assert rewards == pytest.approx(scored(model, asked, completions), abs=1e-5)
    # Two completions of each of two prompts: a, b, a, b.
    assert asked[:2] == asked[2:]
    margin = (abs(rewards[0] - rewards[2]) + abs(rewards[1] - rewards[3])) / 2
    assert log["objective/scores"] == pytest.approx(sum(rewards) / 4, abs=1e-5)
    assert log["objective/scores_margin"] == pytest.approx(margin, abs=1e-5)


def test_online_dpo_takes_none_for_zero(base, reward_model, tmp_path):
    """So the guide says to give a number for what is refused."""
    name, prompts = PLAIN
    watched = Watched(reward_func(reward_model(name)))
    watched.function = lambda prompts, completions, **_: [None, 1.0, -1.0, -2.0]
    log = online_dpo(watched, base(name), prompts, tmp_path)
    assert log["objective/scores_margin"] == pytest.approx((0 + 1 + 1 + 2) / 2)


AGREES = [("qwen2", "auto", CONVERSATIONAL), ("qwen2", "mean", CONVERSATIONAL)]
DIFFERS = [  # what the folder was trained to read is not what TRL lays out
    ("qwen2", "auto", ("llama", QUESTIONS)),  # no chat template round plain prompts
    ("llama", "auto", PLAIN),  # no separator, no BOS
    ("gpt2", "auto", PLAIN),  # no separator
    ("bert", "auto", PLAIN),  # one text and not a pair
    ("bert", "mean", PLAIN),
]


@pytest.mark.parametrize("algorithm", TRAINERS)
@pytest.mark.parametrize(("name", "pooling", "policy"), AGREES)
def test_the_folder_itself_gives_the_rewards_of_score(
    base, saved, reward_model, tmp_path, algorithm, name, pooling, policy
):
    _, _, rewards, _, expected = as_folder(
        base, saved, reward_model, tmp_path, algorithm, name, pooling, policy
    )
    assert rewards == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("name", "pooling", "policy"), DIFFERS)
def test_the_folder_itself_gives_other_rewards(
    base, saved, reward_model, tmp_path, name, pooling, policy
):
    """If one of these agrees some day, the guide's table is to be corrected."""
    _, _, rewards, _, expected = as_folder(
        base, saved, reward_model, tmp_path, "grpo", name, pooling, policy
    )
    assert max(abs(a - b) for a, b in zip(rewards, expected, strict=True)) > 1e-3


def test_the_folder_of_a_plain_decoder_agrees_where_nothing_is_added(base, reward_model, tmp_path):
    """No separator, no BOS and no ending: then TRL's prompt + completion is the row of training."""
    model = reward_model("gpt2")
    model = replace(model, encoding=replace(model.encoding, separator=""))
    model.save(tmp_path / "model")
    asked, completions, rewards, _ = one_step(
        "grpo", str(tmp_path / "model"), base("gpt2"), QUESTIONS, tmp_path
    )
    assert rewards == pytest.approx(scored(model, asked, completions), abs=1e-5)


def test_the_folder_of_a_plain_decoder_differs_by_the_ending_of_its_rows(base, tmp_path):
    """With a pad token of its own GPT-2's rows end in EOS, which TRL does not add to a reward."""
    folder = tmp_path / "padded"
    tokenizer = AutoTokenizer.from_pretrained(base("gpt2"))
    tokenizer.pad_token = "~"
    shutil.copytree(base("gpt2"), folder)
    tokenizer.save_pretrained(folder)
    model = RewardModel.load(folder, separator="", dtype="float32")
    model.save(tmp_path / "model")
    asked, completions, rewards, _ = one_step(
        "grpo", str(tmp_path / "model"), base("gpt2"), QUESTIONS, tmp_path
    )
    expected = scored(model, asked, completions)
    assert max(abs(a - b) for a, b in zip(rewards, expected, strict=True)) > 1e-3
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    for given, ends in ((rewards, ""), (expected, tokenizer.eos_token)):
        texts = [p + c + ends for p, c in zip(asked, completions, strict=True)]
        ids = [tokenizer(text, return_tensors="pt")["input_ids"] for text in texts]
        assert given == pytest.approx([network(row).logits.item() for row in ids], abs=1e-5)


def test_the_folder_of_a_plain_model_refuses_messages(base, saved, tmp_path):
    name, prompts = CONVERSATIONAL
    with pytest.raises(ValueError, match="chat_template is not set"):
        one_step("grpo", str(saved("llama")), base(name), prompts, tmp_path)


def test_the_folder_itself_truncates_nothing(base, reward_model, tmp_path):
    model = reward_model("qwen2")
    model = replace(model, encoding=replace(model.encoding, max_length=24))
    model.save(tmp_path / "model")
    name, prompts = CONVERSATIONAL
    asked, completions, rewards, _ = one_step(
        "grpo", str(tmp_path / "model"), base(name), prompts, tmp_path
    )
    expected = scored(model, asked, completions)
    assert max(abs(a - b) for a, b in zip(rewards, expected, strict=True)) > 1e-3


def as_folder(base, saved, reward_model, tmp_path, algorithm, name, pooling, policy):
    policy, prompts = policy
    found = one_step(
        algorithm, str(saved(name, pooling)), base(policy), prompts, tmp_path,
        trust_remote_code=pooling == "mean",
    )  # fmt: skip
    asked, completions, *_ = found
    return *found, scored(reward_model(name, pooling), asked, completions)


# ---- in several processes ----


def test_a_model_is_loaded_whole_beside_a_policy_in_pieces(saved):
    """While ZeRO 3 is on, `from_pretrained` alone would shard the reward model as well."""
    expected = RewardModel.load(saved("llama"), dtype="float32").score("a", ANSWERS)

    class Zero3:
        def is_zero3(self):
            return True

    zero3 = Zero3()  # held here: transformers does not
    set_hf_deepspeed_config(zero3)
    try:
        found = reward_func(saved("llama"), dtype="float32")(["a"] * 4, ANSWERS)
        assert is_deepspeed_zero3_enabled()
    finally:
        unset_hf_deepspeed_config()
    assert found == pytest.approx(expected, abs=1e-6)


PROCESS = """
import os, sys
sys.path.insert(0, {tests!r})
from test_rlhf import CONVERSATIONAL, one_step, scored
from plaudit import RewardModel
from plaudit.rlhf import reward_func
prompts = [m for m in CONVERSATIONAL[1] for _ in range(4)]
function = reward_func({folder!r}, dtype="float32")
asked, completions, rewards, log = one_step("grpo", function, {base!r}, prompts, {output!r})
first = 4 * int(os.environ["RANK"])
expected = scored(RewardModel.load({folder!r}, dtype="float32", device="cpu"), asked, completions)
assert len(rewards) == 8
assert max(abs(a - b) for a, b in zip(rewards[first : first + 4], expected)) < 1e-5
assert abs(log["reward"] - sum(rewards) / 8) < 1e-5
print("scored its own", str(function.scorer.device))
"""


def test_each_process_scores_its_own_part(base, saved, tmp_path):
    code = PROCESS.format(
        tests=str(Path(__file__).parent), folder=str(saved("qwen2")),
        base=str(base("qwen2")), output=str(tmp_path),
    )  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        forked.start("-c", code, **shared, RANK=str(rank), LOCAL_RANK=str(rank))
        for rank in range(2)
    ]
    for process in processes:
        assert "scored its own cpu" in process.succeed().stdout


# ---- what the model refuses ----

NO_PLACE = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "half \ud83d"}]


def test_a_dialogue_that_is_refused_does_not_end_the_run(reward_model, capsys):
    model = reward_model("qwen2")
    prompts = [messages(QUESTIONS[0]), NO_PLACE, messages(QUESTIONS[1])]
    completions = [said("Four."), said("Yes."), said("No.")]
    logged = {}
    reward = reward_func(model, name="mine")
    for _ in range(2):
        found = reward(prompts, completions, log_metric=logged.__setitem__)
    assert found[1] is None
    assert found[::2] == [model.score(prompts[i], [completions[i]])[0] for i in (0, 2)]
    assert logged["rewards/mine/refused"] == pytest.approx(1 / 3)
    reward_func(model, name="other")(prompts[:1], completions[:1], log_metric=logged.__setitem__)
    assert logged["rewards/other/refused"] == 0  # else the mean over processes leaves it out
    printed = capsys.readouterr().err
    assert printed.count("mine: completion 1 of 3: ") == 1
    assert reward_func(model, refused=-1.0)(prompts, completions)[1] == -1.0
    with pytest.raises(PlauditError, match=r"completion 1 of 3: .*half a character"):
        reward_func(model, refused="stop")(prompts, completions)
    with pytest.raises(PlauditError, match="refused: 'skip' is not"):
        reward_func(model, refused="skip")


def test_what_the_chat_template_refuses_has_no_reward(base):
    model = RewardModel.load(base("qwen2"), device="cpu", dtype="float32")
    own = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    model.encoding.tokenizer.chat_template = own + "{% endif %}{{ m.content }}{% endfor %}"
    asked = [{"role": "system", "content": "Be kind."}, *messages("Hi")]
    assert reward_func(model)([asked, messages("Hi")], [said("a"), said("a")])[0] is None


# ---- a model that is served elsewhere ----


@pytest.fixture(scope="module")
def served(reward_model):
    settings = ServiceSettings(keys=("secret-key",), max_characters=5000)
    with inside(build_app(reward_model("qwen2"), settings)) as client:
        yield str(client.base_url)


@pytest.mark.parametrize("given", ["address", "client"])
def test_a_service_gives_the_rewards_of_score(reward_model, served, given):
    model = reward_model("qwen2")
    expected = [reward for q in QUESTIONS for reward in model.score(q, ANSWERS)]
    prompts, completions = every(QUESTIONS, ANSWERS)
    order = [5, 0, 7, 2, 4, 1, 3, 6]
    options = {"key": "secret-key", "timeout": 30}
    function = (
        reward_func(served, **options)
        if given == "address"
        else reward_func(Client(served, **options))
    )
    assert function.__name__ == "reward"
    for each in (function, pickle.loads(pickle.dumps(function))):
        found = each([prompts[i] for i in order], [completions[i] for i in order])
        assert found == pytest.approx([expected[i] for i in order], abs=1e-5)


def test_what_a_service_refuses_has_no_reward(reward_model, served, capsys, monkeypatch):
    monkeypatch.setenv("PLAUDIT_API_KEY", "secret-key")
    model = reward_model("qwen2")
    # What no model could read is found here, what is too long for the service there.
    prompts = [messages(QUESTIONS[0]), NO_PLACE, *QUESTIONS[:1], *QUESTIONS[:1]]
    completions = [said("Four."), said("Yes."), "x" * 5001, "No."]
    logged = {}
    reward = reward_func(served, name="mine")
    for _ in range(2):
        found = reward(prompts, completions, log_metric=logged.__setitem__)
    assert found[1:3] == [None, None]
    assert found[::3] == pytest.approx(
        [model.score(prompts[i], [completions[i]])[0] for i in (0, 3)], abs=1e-5
    )
    assert logged["rewards/mine/refused"] == pytest.approx(1 / 2)
    assert logged["rewards/mine/truncated"] == 0
    assert capsys.readouterr().err.count("mine: completion 1 of 4: ") == 1
    assert reward_func(served, refused=-1.0)(prompts, completions)[2] == -1.0
    with pytest.raises(PlauditError, match=r"completion 1 of 2: .*/score: 422 too_long: "):
        reward_func(served, refused="stop")(["q", "q"], ["a", "x" * 5001])


def test_what_a_template_refuses_at_a_service_has_no_reward(base):
    model = RewardModel.load(base("qwen2"), device="cpu", dtype="float32")
    own = "{% for m in messages %}{% if 'no' in m.content %}{{ raise_exception('not that') }}"
    model.encoding.tokenizer.chat_template = own + "{% endif %}{{ m.content }}{% endfor %}"
    answers = ["a", "b", "no", "c", "no"]
    with inside(build_app(model)) as client:
        found = reward_func(str(client.base_url))(["Hi"] * 5, answers)
    expected = model.score("Hi", ["a", "b", "c"])
    assert [found[i] for i in (0, 1, 3)] == pytest.approx(expected, abs=1e-5)
    assert found[2] is found[4] is None


def test_a_service_that_is_not_there_ends_the_run(served):
    with pytest.raises(PlauditError, match=r"cannot connect.*is `plaudit serve` running"):
        reward_func(f"http://127.0.0.1:{free_port()}", retries=0)(["q"], ["a"])
    with pytest.raises(PlauditError, match="401 key"):
        reward_func(served)(["q"], ["a"])
    with pytest.raises(PlauditError, match="dtype: a service has its model loaded"):
        reward_func(served, dtype="float32")
    with pytest.raises(PlauditError, match=r"set is key, timeout, retries, in_flight$"):
        reward_func(served, batch_tokens=1000, timeout=5)
    with pytest.raises(PlauditError, match=r"^timeout: '60' is not a number of seconds"):
        reward_func(served, timeout="60")
    with pytest.raises(PlauditError, match=r"^retries: '3' is not a whole number"):
        reward_func(served, retries="3")
    with pytest.raises(PlauditError, match=r"url: .* is no address"):
        reward_func("http://")
    with pytest.raises(PlauditError, match="give a Client, not an AsyncClient"):
        reward_func(AsyncClient(served))


def test_trl_trains_with_a_service(base, reward_model, served, tmp_path):
    name, prompts = CONVERSATIONAL
    function = reward_func(served, key="secret-key")
    asked, completions, rewards, log = one_step("grpo", function, base(name), prompts, tmp_path)
    assert rewards == pytest.approx(scored(reward_model(name), asked, completions), abs=1e-5)
    assert log["rewards/reward/mean"] == pytest.approx(sum(rewards) / 4, abs=1e-5)
