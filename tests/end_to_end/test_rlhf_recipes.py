"""The recipes for RLHF: `examples/grpo.py` in a short form; programs that ask the service."""

import abc
import asyncio
import functools
import importlib.util
import inspect
import json
import math
import sys
import types
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from openai.types.responses import (
    EasyInputMessage,
    Response,
    ResponseOutputMessage,
    ResponseOutputText,
)
from pydantic import BaseModel

from plaudit import Client, PlauditError, Policy, RewardModel
from plaudit.bundled.sample import sample_rankings
from plaudit.serving.app import build_app
from plaudit.serving.settings import ServiceSettings
from running import free_port, inside

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = "What is two plus two?"
ANSWERS = ["Two plus two is four.", "No 🙂", ""]


def load_file(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- GRPO and RLOO ----


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_a_policy_is_trained_measured_and_saved(base, reward_model, tmp_path, capsys, algorithm):
    reward_model("bert").save(tmp_path / "reward")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"What is {n}?" for n in range(12)))
    grpo = load_file(EXAMPLES / "grpo.py", "grpo")
    words = ["--model", tmp_path / "reward", "--policy", base("qwen2"), "--prompts", prompts]
    words += ["--algorithm", algorithm, "--steps", 2, "--generations", 4, "--held-out", 6]
    words += ["--max-new-tokens", 8, "--learning-rate", 0.01, "-o", tmp_path / "out"]
    assert grpo.main(list(map(str, words))) == 0

    result = json.loads((tmp_path / "out" / "result.json").read_text())
    before, after, rise = (result[name] for name in ("reward_before", "reward_after", "rise"))
    assert rise["value"] == pytest.approx(after["value"] - before["value"])
    assert rise["low"] <= rise["value"] <= rise["high"]
    assert len(result["log"]) == 2
    assert all("kl" in row for row in result["log"])
    shown = capsys.readouterr().out
    assert shown.count("  before ") == shown.count("  after ") == 3
    assert "6 prompts kept apart, 24 completions" in shown
    # What was saved is what was measured, and is not what it began as.
    model = RewardModel.load(tmp_path / "reward", dtype="float32")
    lines = [f"What is {n}?" for n in range(12)]
    grpo.random.Random(0).shuffle(lines)
    means = {}
    for name in (tmp_path / "out" / "policy", base("qwen2")):
        sampling = {"n": 4, "max_new_tokens": 8, "temperature": 1.0, "top_p": 1.0, "seed": 0}
        completions = Policy.load(name).sample(lines[:6], **sampling)
        means[name.name] = np.mean(list(model.score_all(zip(lines[:6], completions, strict=True))))
    assert means["policy"] == pytest.approx(after["value"], abs=1e-3)
    assert means["qwen2"] == pytest.approx(before["value"], abs=1e-3)
    assert abs(rise["value"]) > 1e-3


def test_the_prompts_to_learn_from_are_others_than_the_reward_models(tmp_path):
    grpo = load_file(EXAMPLES / "grpo.py", "grpo")
    prompts = grpo.read_prompts(grpo.parse(["-o", str(tmp_path)]))
    assert len(prompts) > 200
    assert not set(prompts) & {ranking.prompt for ranking in sample_rankings(300)}


def test_too_few_prompts_are_said(tmp_path, capsys, reward_model):
    reward_model("bert").save(tmp_path / "reward")
    (tmp_path / "prompts.txt").write_text("one\n")
    grpo = load_file(EXAMPLES / "grpo.py", "grpo")
    words = ["--model", tmp_path / "reward", "--prompts", tmp_path / "prompts.txt", "-o", tmp_path]
    assert grpo.main(list(map(str, words))) == 1
    assert "1 prompts: fewer than are to be held out" in capsys.readouterr().err


# ---- the service, as other programs ask it ----


@contextmanager
def serving(model, delay=0.0, **settings):
    """The address of a service; with `delay`, it answers only after a while."""
    with inside(build_app(model, ServiceSettings(**settings)), delay) as client:
        yield str(client.base_url)


def as_verl(name, url, **options):
    """A function of the file as verl has it: with the settings' arguments, awaited if it is to be
    (verl 0.9.1, trainer/ppo/reward.py), and every other one by name (reward_manager/naive.py)."""
    given = {"url": url} | options
    raw = getattr(load_file(EXAMPLES / "remote_reward.py", "remote_reward"), name)

    async def call(question, answer, **extra):
        asked = {
            "data_source": "ours", "solution_str": answer, "ground_truth": "",
            "extra_info": {"prompt": question, "num_turns": 2, "rollout_reward_scores": {}} | extra,
        }  # fmt: skip
        if inspect.iscoroutinefunction(functools.partial(raw)):
            return await raw(**{**asked, **given})
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, lambda: raw(**{**asked, **given}))

    return call


def together(call, questions):
    async def ask():
        return await asyncio.gather(*(call(*question) for question in questions))

    return asyncio.run(ask())


VERLS = ("compute_score", "compute_score_async")


@pytest.mark.parametrize("function", VERLS)
@pytest.mark.parametrize("name", ["qwen2", "gpt2", "bert"])
def test_verl_gets_the_rewards_of_score(reward_model, name, function):
    model = reward_model(name)
    expected = model.score(QUESTION, ANSWERS)
    messages = np.array([{"role": "user", "content": QUESTION}], dtype=object)
    with serving(model) as url:
        call = as_verl(function, url)
        answers = together(call, [(QUESTION, answer) for answer in ANSWERS * 4])
        (dialogue,) = together(call, [(messages, ANSWERS[0])])
    assert [row["score"] for row in answers] == pytest.approx(expected * 4, abs=1e-5)
    assert dialogue["score"] == pytest.approx(expected[0], abs=1e-5)
    assert {row["truncated_by_reward_model"] for row in answers} == {0.0}
    assert {row["refused_by_reward_model"] for row in answers} == {0.0}


@pytest.mark.parametrize("function", VERLS)
def test_verl_is_told_what_is_wrong(reward_model, monkeypatch, function):
    with serving(reward_model("gpt2"), keys=("secret-key",)) as url:
        with pytest.raises(RuntimeError, match="401"):
            together(as_verl(function, url), [(QUESTION, "4")])
        monkeypatch.setenv("PLAUDIT_API_KEY", "secret-key")
        (found,) = together(as_verl(function, url), [(QUESTION, "4")])
        assert found["score"]
        with pytest.raises(RuntimeError, match=r"422.*the prompt is blank"):
            together(as_verl(function, url), [(" ", "4")])
        asked = [(QUESTION, "4"), (" ", "4"), (QUESTION, "half \ud83d")]
        rows = together(as_verl(function, url, refused=-3.0), asked)
    assert [row["score"] for row in rows] == [found["score"], -3.0, -3.0]
    assert [row["refused_by_reward_model"] for row in rows] == [0.0, 1.0, 1.0]
    with pytest.raises(KeyError, match="no `prompt` in extra_info"):
        together(as_verl(function, url), [(None, "4")])


def test_verl_waits_for_a_service_that_is_starting(reward_model):
    with serving(reward_model("gpt2"), delay=1.0) as url:
        assert "score" in together(as_verl("compute_score", url), [(QUESTION, "4")])[0]


def sample_of_slime(prompt, response, metadata=None):
    """What `custom_rm` may look at of slime's `Sample` (main of August 2026, utils/types.py)."""
    return SimpleNamespace(prompt=prompt, response=response, label=None, metadata=metadata or {})


@pytest.mark.parametrize("given", ["text", "messages", "laid out"])
def test_slime_gets_the_rewards_of_score(reward_model, given):
    model = reward_model("qwen2")
    tokenizer = model.encoding.tokenizer
    messages = [{"role": "user", "content": QUESTION}]
    laid_out = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = {"text": QUESTION, "messages": messages, "laid out": laid_out}[given]
    known = {"prompt": QUESTION} if given == "laid out" else {}
    # sglang leaves the stop token where it was (`no_stop_trim`).
    samples = [sample_of_slime(prompt, f"{answer}<|im_end|>", known) for answer in ANSWERS]
    slime = load_file(EXAMPLES / "remote_reward.py", "remote_reward")
    expected = pytest.approx(model.score(QUESTION, ANSWERS), abs=1e-5)

    async def rewards(args):
        one_by_one = await asyncio.gather(*(slime.custom_rm(args, each) for each in samples))
        return one_by_one, await slime.custom_rm(args, samples)  # with --group-rm

    with serving(model) as url:
        args = SimpleNamespace(rm_url=url, apply_chat_template=given == "laid out")
        one_by_one, group = asyncio.run(rewards(args))
    assert one_by_one == expected
    assert group == expected


def test_slime_is_told_that_the_bare_prompt_is_missing(reward_model):
    slime = load_file(EXAMPLES / "remote_reward.py", "remote_reward")
    args = SimpleNamespace(rm_url=None, apply_chat_template=True)
    with pytest.raises(KeyError, match="`metadata`"):
        asyncio.run(slime.custom_rm(args, sample_of_slime("<|im_start|>user…", "4")))


def order(numbers):
    return sorted(range(len(numbers)), key=lambda index: numbers[index])


@pytest.fixture
def executor_class(monkeypatch):
    """OpenRLHF's own, from its source; the package around it needs more than is installed here."""
    pytest.importorskip("aiohttp")
    openrlhf = pytest.importorskip("openrlhf")
    folder = Path(openrlhf.__file__).parent / "utils"
    package = types.ModuleType("openrlhf.utils")
    package.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, "openrlhf.utils", package)
    return load_file(folder / "agent.py", "openrlhf_agent").SingleTurnAgentExecutor


class Engine:
    """An LLM engine that says what it is told to, as token ids with the policy's ending."""

    def __init__(self, tokenizer, answer):
        ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
        self.ids = [*ids, tokenizer.eos_token_id]

    async def generate(self, ids, params, multi_modal_data=None):
        output = SimpleNamespace(token_ids=self.ids, text="", finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[output])


@pytest.mark.parametrize("laid_out", [True, False], ids=["chat template", "plain prompts"])
def test_openrlhf_gets_the_rewards_of_score(reward_model, executor_class, laid_out):
    model = reward_model("qwen2" if laid_out else "gpt2")
    tokenizer = model.encoding.tokenizer
    prompt = QUESTION + "\n\n"
    if laid_out:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": QUESTION}], tokenize=False, add_generation_prompt=True
        )
    params = SimpleNamespace(max_tokens=16, logprobs=None)
    with serving(model) as url:
        executor = executor_class([f"{url}/get_reward"])
        found = [
            asyncio.run(
                executor.execute(prompt, "", params, 200, tokenizer, Engine(tokenizer, answer))
            )
            for answer in ANSWERS
        ]
    rewards = [output["reward"][0] for output in found]
    assert rewards == pytest.approx(model.score(QUESTION, ANSWERS), abs=1e-5)
    assert order([output["scores"][0] for output in found]) == order(rewards)


@pytest.mark.parametrize("label", [QUESTION, None], ids=["label", "plain prompt"])
def test_openrlhf_gets_them_through_the_file_whatever_its_template(
    reward_model, executor_class, monkeypatch, label
):
    model, policy = reward_model("bert"), reward_model("qwen2").encoding.tokenizer
    prompt = QUESTION
    if label:
        prompt = policy.apply_chat_template(
            [{"role": "user", "content": QUESTION}], tokenize=False, add_generation_prompt=True
        )
    params = SimpleNamespace(max_tokens=16, logprobs=None)
    with serving(model) as url:
        monkeypatch.setenv("PLAUDIT_URL", url)
        executor = executor_class([str(EXAMPLES / "remote_reward.py")])
        found = [
            asyncio.run(
                executor.execute(prompt, label, params, 200, policy, Engine(policy, answer))
            )
            for answer in ANSWERS
        ]
    rewards = [output["reward"][0] for output in found]
    assert rewards == pytest.approx(model.score(QUESTION, ANSWERS), abs=1e-5)
    # Dynamic filtering takes prompts whose mean score is between 0 and 1.
    scores = [output["scores"][0] for output in found]
    assert scores == pytest.approx([1 / (1 + math.exp(-reward)) for reward in rewards])


# ---- NeMo RL and NeMo Gym, which cannot be installed from PyPI: modules of theirs in the form that
# their sources of August 2026 have ----


@pytest.fixture
def modules(monkeypatch):
    """Makes modules of a name with these contents, and `remote_reward` one that can be imported."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def make(**contents):
        for name, content in contents.items():
            path = name.replace("__", ".").split(".")
            for end in range(1, len(path)):
                parent = ".".join(path[:end])
                if parent not in sys.modules:
                    monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
            module = types.ModuleType(".".join(path))
            vars(module).update(content)
            monkeypatch.setitem(sys.modules, module.__name__, module)

    return make


@pytest.fixture
def nemo_rl(modules):
    """`nemo_rl_reward.py`, and what it registered."""

    class EnvironmentInterface(abc.ABC):
        @abc.abstractmethod
        def step(self, message_log_batch, metadata): ...

        @abc.abstractmethod
        def global_post_process_and_metrics(self, batch): ...

    names = "observations metadata next_stop_strings rewards terminateds answers"

    def math_hf_data_processor(datum_dict, task_data_spec, tokenizer, max_seq_length, idx):
        messages = datum_dict["messages"]
        laid_out = f"<|user|>{messages[0]['content']}<|assistant|>"
        return {
            "message_log": [{"role": "user", "content": laid_out}],
            "extra_env_info": {"ground_truth": messages[1]["content"]},
        }

    environments, processors, actors = {}, {}, {}
    modules(
        nemo_rl__environments__interfaces={
            "EnvironmentInterface": EnvironmentInterface,
            "EnvironmentReturn": namedtuple("EnvironmentReturn", names),
        },
        nemo_rl__environments__utils={"register_env": environments.__setitem__},
        nemo_rl__data__processors={
            "math_hf_data_processor": math_hf_data_processor,
            "register_processor": processors.__setitem__,
        },
        nemo_rl__distributed__ray_actor_environment_registry={"ACTOR_ENVIRONMENT_REGISTRY": actors},
        nemo_rl__distributed__virtual_cluster={
            "PY_EXECUTABLES": SimpleNamespace(SYSTEM=sys.executable)
        },
    )
    module = load_file(EXAMPLES / "nemo_rl_reward.py", "nemo_rl_reward")
    module.register()
    return SimpleNamespace(
        module=module, environments=environments, processors=processors, actors=actors
    )


def test_nemo_rl_gets_the_rewards_of_score(reward_model, nemo_rl):
    model = reward_model("bert")
    processor = nemo_rl.processors["plaudit"]
    spec = SimpleNamespace(prompt="Q: {}", system_prompt="Be kind.")
    datum = {"messages": [{"role": "user", "content": QUESTION}, {"role": "a", "content": "4"}]}
    asked = [processor(datum, spec, None, 100, 0) for _ in ANSWERS]
    logs = [
        [*row["message_log"], {"role": "assistant", "content": answer}]
        for row, answer in zip(asked, ANSWERS, strict=True)
    ]
    with serving(model) as url:
        environment = nemo_rl.module.PlauditEnvironment({"url": url})
        found = environment.step(logs, [row["extra_env_info"] for row in asked])
    prompt = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": f"Q: {QUESTION}"},
    ]
    assert found.rewards.tolist() == pytest.approx(model.score(prompt, ANSWERS), abs=1e-5)
    assert found.terminateds.tolist() == [True] * 3
    assert found.answers == ANSWERS
    assert len(found.observations) == len(found.next_stop_strings) == len(found.metadata) == 3
    # `create_env` finds the actor by this name, and its Python in this registry.
    actor = nemo_rl.environments["plaudit"]
    assert nemo_rl.actors == {actor: sys.executable}
    assert hasattr(getattr(nemo_rl.module, actor.rpartition(".")[2]), "options")


@pytest.mark.parametrize("asked", ["text", "messages"])
def test_nemo_gym_gets_the_rewards_of_score(reward_model, modules, asked):
    class Params(BaseModel):
        input: str | list[EasyInputMessage]

    class BaseVerifyRequest(BaseModel):
        responses_create_params: Params
        response: Response

    class BaseVerifyResponse(BaseVerifyRequest):
        reward: float

    class SimpleResourcesServer(BaseModel):
        config: BaseModel

    modules(
        nemo_gym__base_resources_server={
            "BaseResourcesServerConfig": BaseModel, "BaseVerifyRequest": BaseVerifyRequest,
            "BaseVerifyResponse": BaseVerifyResponse,
            "SimpleResourcesServer": SimpleResourcesServer,
        }
    )  # fmt: skip
    gym = load_file(EXAMPLES / "nemo_gym_reward.py", "nemo_gym_reward")
    model = reward_model("qwen2")
    answer = ResponseOutputText(text=ANSWERS[0], type="output_text", annotations=[])
    said = ResponseOutputMessage(
        id="m", content=[answer], role="assistant", status="completed", type="message"
    )
    response = Response(
        id="r", created_at=0, model="policy", object="response", output=[said], tools=[],
        parallel_tool_calls=False, tool_choice="auto",
    )  # fmt: skip
    parts = [{"type": "input_text", "text": QUESTION}]
    given = QUESTION if asked == "text" else [{"role": "user", "content": parts}]
    body = BaseVerifyRequest(responses_create_params={"input": given}, response=response)
    with serving(model) as url:
        server = gym.PlauditResourcesServer(config=gym.PlauditConfig(url=url))
        found = asyncio.run(server.verify(body))
    assert found.reward == pytest.approx(model.score(QUESTION, ANSWERS[0]), abs=1e-5)


# ---- Ray Serve ----


def test_replicas_behind_ray_serve_give_the_rewards_of_score(reward_model, tmp_path):
    pytest.importorskip("ray.serve", reason="ray[serve] is not installed")
    import ray
    from ray import serve

    model = reward_model("qwen2")
    model.save(tmp_path / "model")
    example = load_file(EXAMPLES / "ray_serve.py", "ray_serve")
    with pytest.raises(PlauditError, match="give model="):
        example.application({"replica": "2"})
    port = free_port()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        serve.start(http_options={"port": port})
        args = {"model": str(tmp_path / "model"), "replicas": "2", "cpus": "0.5", "name": "first"}
        serve.run(example.application(args))
        with Client(f"http://127.0.0.1:{port}") as client:
            client.wait_until_ready(60)
            asked = [(f"What is {n}?", ANSWERS) for n in range(20)]
            found = list(client.score_all(asked))
            assert client.model().name == "first"
            with pytest.raises(PlauditError, match="422 invalid: the prompt is blank"):
                client.score(" ", ["a"])
        for row, expected in zip(found, model.score_all(asked), strict=True):
            assert row == pytest.approx(expected, abs=1e-5)
    finally:
        serve.shutdown()
        ray.shutdown()
