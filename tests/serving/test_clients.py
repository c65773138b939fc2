"""Other programs' own clients against a running service, and their answers' shapes."""

import asyncio
import base64
import importlib.util
import json
import logging
import math
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import cohere
import openai
import pytest
from huggingface_hub import InferenceClient
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

import running
from plaudit.serving.app import build_app
from plaudit.serving.settings import ServiceSettings

KEY = "a-key-for-the-tests"
QUERY = "What is a bond?"
DOCUMENTS = ["A loan to a company.", "It depends.", "A loan to a state, with interest."]


@pytest.fixture(scope="module")
def model(reward_model):
    return reward_model("bert")


@pytest.fixture(scope="module")
def client(model):
    app = build_app(model, ServiceSettings(keys=(KEY,), name="runs/first"))
    with running.inside(app) as client:
        client.headers["X-API-Key"] = KEY
        yield client


@pytest.fixture(scope="module")
def url(client):
    return str(client.base_url).rstrip("/")


def best_first(rewards):
    return sorted(range(len(rewards)), key=lambda index: -rewards[index])


@pytest.mark.parametrize("version", [1, 2])
def test_coheres_client_reranks(url, model, version):
    rewards = model.score(QUERY, DOCUMENTS)
    make = cohere.ClientV2 if version == 2 else cohere.Client
    co = make(api_key=KEY, base_url=url)
    answer = co.rerank(model="any", query=QUERY, documents=DOCUMENTS, top_n=2)
    assert [result.index for result in answer.results] == best_first(rewards)[:2]
    scores = [result.relevance_score for result in answer.results]
    assert scores == sorted(scores)[::-1]
    assert all(0 < score < 1 for score in scores)
    with pytest.raises(cohere.core.ApiError) as refused:
        co.rerank(model="any", query=QUERY, documents=[])
    assert refused.value.status_code == 422
    with pytest.raises(cohere.core.ApiError) as refused:
        make(api_key="another", base_url=url).rerank(model="any", query="q", documents=["d"])
    assert refused.value.status_code == 401


def test_openais_client_lists_the_model(url):
    client = openai.OpenAI(api_key=KEY, base_url=f"{url}/v1")
    assert [model.id for model in client.models.list()] == ["runs/first"]
    assert client.models.retrieve("runs/first").owned_by == "plaudit"
    with pytest.raises(openai.NotFoundError, match="no such model"):
        client.models.retrieve("another")
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(api_key="another", base_url=f"{url}/v1").models.list()


def test_jinas_request_and_its_answer(client, model):
    body = {
        "model": "jina-reranker-v2-base-multilingual",
        "query": QUERY,
        "documents": [{"text": text} for text in DOCUMENTS],
        "top_n": 3,
        "return_documents": True,
        "max_chunks_per_doc": 10,
    }
    answer = client.post("/v1/rerank", json=body).json()
    order = best_first(model.score(QUERY, DOCUMENTS))
    assert [row["index"] for row in answer["results"]] == order
    assert [row["document"]["text"] for row in answer["results"]] == [DOCUMENTS[i] for i in order]
    assert answer["usage"]["total_tokens"] > 10
    without = client.post("/v1/rerank", json=body | {"return_documents": False}).json()
    assert all("document" not in row for row in without["results"])


# ---- vLLM's answers, as its own models read them (field by field after its protocol.py) ----


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class RerankDocument(Strict):
    text: str | None = None
    multi_modal: list[dict] | None = None


class RerankResult(Strict):
    index: int
    document: RerankDocument
    relevance_score: float


class RerankUsage(Strict):
    prompt_tokens: int
    total_tokens: int


class RerankResponse(Strict):
    id: str
    model: str
    usage: RerankUsage
    results: list[RerankResult]


class UsageInfo(Strict):
    prompt_tokens: int = 0
    total_tokens: int = 0
    completion_tokens: int | None = 0


class ClassificationData(Strict):
    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class ClassificationResponse(Strict):
    id: str = Field(pattern="^classify-")
    object: str = "list"
    created: int
    model: str
    data: list[ClassificationData]
    usage: UsageInfo


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_vllms_rerank(client, model, path):
    parts = {"content": [{"type": "text", "text": DOCUMENTS[1]}]}
    body = {"query": QUERY, "documents": [DOCUMENTS[0], parts], "top_n": 0, "priority": 0}
    answer = RerankResponse.model_validate(client.post(path, json=body).json())
    order = best_first(model.score(QUERY, DOCUMENTS[:2]))
    assert [result.index for result in answer.results] == order
    assert [result.document.text for result in answer.results] == [DOCUMENTS[i] for i in order]
    one = client.post(path, json={"query": QUERY, "documents": DOCUMENTS[0]}).json()
    assert [row["index"] for row in RerankResponse.model_validate(one).model_dump()["results"]] == [
        0
    ]


@pytest.mark.parametrize("given", ["One row.", ["One row.", "Another row."]])
def test_vllms_classify_as_verl_asks_it(client, model, given):
    rows = [given] if isinstance(given, str) else given
    expected = [row[0] for row in model.rewards(model.encode_rendered(rows))]
    body = {"model": "/a/path", "input": given, "use_activation": False}
    answer = client.post("/classify", json=body).json()
    # verl reads output["data"][-1]["probs"][-1]
    assert answer["data"][-1]["probs"][-1] == pytest.approx(expected[-1], abs=1e-5)
    found = ClassificationResponse.model_validate(answer)
    assert [row.probs[0] for row in found.data] == pytest.approx(expected, abs=1e-5)
    chances = client.post("/classify", json={"input": given}).json()["data"]
    assert all(0 < row["probs"][0] < 1 for row in chances)


def test_vllms_classify_of_messages(client, model):
    messages = [
        {"role": "user", "content": QUERY},
        {"role": "assistant", "content": [{"type": "text", "text": DOCUMENTS[0]}]},
    ]
    body = {"messages": messages, "use_activation": False, "add_generation_prompt": False}
    answer = ClassificationResponse.model_validate(client.post("/classify", json=body).json())
    assert answer.data[0].probs[0] == pytest.approx(model.score(QUERY, DOCUMENTS[0]), abs=1e-5)
    tokens = client.post("/classify", json={"input": [1, 2, 3]})
    assert tokens.status_code == 422
    for other in ({"add_generation_prompt": True}, {"chat_template": "{{ messages }}"}):
        refusal = client.post("/classify", json=body | other)
        assert refusal.status_code == 422
        assert "as in training" in refusal.json()["error"]["message"]


def sigmoid(model, reward):
    return 1 / (1 + math.exp(-model.scale * reward))


def whole(model, rows):
    return [row[0] for row in model.rewards(model.encode_rendered(rows))]


class ScoreResponseData(Strict):
    index: int
    object: Literal["score"]
    score: float


class ScoreResponse(Strict):
    id: str = Field(pattern="^score-")
    object: Literal["list"]
    created: int
    model: str
    data: list[ScoreResponseData]
    usage: UsageInfo


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    ("first", "second"),
    [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")],
)
def test_vllms_score(client, model, path, first, second):
    parts = {"content": [{"type": "text", "text": DOCUMENTS[1]}]}
    body = {"model": "any", first: QUERY, second: [DOCUMENTS[0], parts], "priority": 0}
    rewards = model.score(QUERY, DOCUMENTS[:2])
    found = ScoreResponse.model_validate(client.post(path, json=body).json())
    chances = [sigmoid(model, reward) for reward in rewards]
    assert [row.score for row in found.data] == pytest.approx(chances, abs=1e-5)
    raw = client.post(path, json=body | {"use_activation": False}).json()["data"]
    assert [row["score"] for row in raw] == pytest.approx(rewards, abs=1e-5)
    assert [row["index"] for row in raw] == [0, 1]


def test_vllms_score_of_pairs(client, model):
    prompts = [QUERY, "What is two plus two?"]
    body = {"text_1": prompts, "text_2": DOCUMENTS[:2], "use_activation": False}
    raw = client.post("/score", json=body).json()["data"]
    expected = [model.score(p, [c])[0] for p, c in zip(prompts, DOCUMENTS[:2], strict=True)]
    assert [row["score"] for row in raw] == pytest.approx(expected, abs=1e-5)
    one = client.post("/score", json={"text_1": QUERY, "text_2": DOCUMENTS[0]}).json()["data"]
    assert len(one) == 1
    for wrong in (
        {"text_1": prompts, "text_2": DOCUMENTS},
        {"text_1": prompts},
        {"text_1": prompts, "text_2": [], "documents": []},
        {"text_1": QUERY, "documents": DOCUMENTS},
        {"text_1": [[1, 2]], "text_2": [[3]]},
    ):
        assert client.post("/score", json=wrong).status_code == 422


SPECIAL = ["Use the tag {eos}", "{eos}", "It ends with {sep}", "{bos}begins", "Plain.", " spaces "]


@pytest.mark.parametrize("name", ["gpt2", "bert", "qwen2", "llama"])
def test_a_pair_has_the_reward_of_its_texts_alone_or_among_others(reward_model, name):
    model = reward_model(name)
    tokenizer = model.encoding.tokenizer
    marks = {
        "eos": tokenizer.eos_token or tokenizer.sep_token,
        "sep": tokenizer.sep_token or tokenizer.eos_token,
        "bos": tokenizer.bos_token or tokenizer.cls_token or "",
    }
    texts = [text.format(**marks) for text in SPECIAL]
    spoken = json.dumps([{"role": "assistant", "content": "Four."}])
    pairs = [("Why?", text) for text in [*texts, spoken]]
    pairs += [(f"Ends in the separator{model.encoding.separator}", "Yes."), ("Why?\n", texts[0])]
    pairs.append((json.dumps([{"role": "user", "content": QUERY}]), spoken))
    expected = [model.score(*pair) for pair in pairs]
    with running.inside(build_app(model)) as client:

        def ask(path, key, **body):
            found = client.post(path, json=body)
            assert found.status_code == 200, found.text
            return found.json()[key] if key else found.json()

        firsts, seconds = zip(*pairs, strict=True)
        both = {"text_1": firsts, "text_2": seconds, "use_activation": False}
        rows = [row["score"] for row in ask("/v1/score", "data", **both)]
        predicted = [row["score"] for [row] in ask("/predict", "", inputs=pairs, raw_scores=True)]
        for number, (first, second) in enumerate(pairs):
            one = {"text_1": [first], "text_2": [second], "use_activation": False}
            [row] = ask("/v1/score", "data", **one)
            own = ask("/score", "reward", prompt=first, completion=second)
            [label] = ask("/predict", "", inputs=[first, second], raw_scores=True)
            [[item]] = ask("/v1/score", "scores", query=first, items=[second])
            found = [rows[number], predicted[number], row["score"], own, label["score"], item]
            assert found == [pytest.approx(expected[number], abs=1e-5)] * 6


@pytest.mark.parametrize("field", ["use_activation", "activation", "softmax"])
def test_vllms_endpoints_all_give_rewards_where_they_are_asked_for(client, model, field):
    pair = model.score(QUERY, DOCUMENTS[0])
    [row] = whole(model, DOCUMENTS[:1])
    for path, body, reward, steps in (
        ("/classify", {"input": DOCUMENTS[0]}, row, ("data", 0, "probs", 0)),
        ("/pooling", {"input": DOCUMENTS[0]}, row, ("data", 0, "data", 0)),
        ("/score", {"text_1": QUERY, "text_2": DOCUMENTS[0]}, pair, ("data", 0, "score")),
        ("/rerank", {"query": QUERY, "documents": DOCUMENTS[:1]}, pair,
         ("results", 0, "relevance_score")),
    ):  # fmt: skip
        for given, expected in ((False, reward), (True, sigmoid(model, reward))):
            found = client.post(path, json=body | {field: given}).json()
            for step in steps:
                found = found[step]
            assert found == pytest.approx(expected, abs=1e-5)
        both = {"use_activation": True, "activation": False}
        assert "contradict" in client.post(path, json=body | both).json()["error"]["message"]


class PoolingResponseData(Strict):
    index: int
    object: Literal["pooling"]
    data: list[float]


class PoolingResponse(Strict):
    id: str = Field(pattern="^pooling-")
    object: Literal["list"]
    created: int
    model: str
    data: list[PoolingResponseData]
    usage: UsageInfo


def test_vllms_pooling(client, model):
    rewards = whole(model, DOCUMENTS)
    body = {"model": "any", "input": DOCUMENTS}
    found = PoolingResponse.model_validate(client.post("/pooling", json=body).json())
    chances = [[pytest.approx(sigmoid(model, reward), abs=1e-5)] for reward in rewards]
    assert [row.data for row in found.data] == chances
    raw = body | {"task": "classify", "use_activation": False}
    found = PoolingResponse.model_validate(client.post("/pooling", json=raw).json())
    assert [row.data[0] for row in found.data] == pytest.approx(rewards, abs=1e-5)
    dialogue = [{"role": "user", "content": QUERY}, {"role": "assistant", "content": DOCUMENTS[0]}]
    answer = client.post("/pooling", json={"messages": dialogue, "use_activation": False}).json()
    expected = model.score(QUERY, DOCUMENTS[:1])
    assert answer["data"][0]["data"] == pytest.approx(expected, abs=1e-5)
    packed = client.post("/pooling", json=raw | {"encoding_format": "base64"}).json()["data"]
    numbers = [struct.unpack("<f", base64.b64decode(row["data"]))[0] for row in packed]
    assert numbers == pytest.approx(rewards, abs=1e-5)


@pytest.mark.parametrize(
    "asked",
    [
        {"task": "token_classify"},
        {"task": "embed"},
        {"task": "reward"},
        {"dimensions": 8},
        {"encoding_format": "bytes"},
        {"input": [1, 2, 3]},
    ],
)
def test_what_vllms_pooling_gives_of_other_models_is_refused_with_a_reason(client, asked):
    refusal = client.post("/pooling", json={"input": "One row."} | asked)
    assert refusal.status_code == 422
    assert refusal.json()["error"]["message"]
    assert refusal.json()["error"]["examples"]["vllm-pooling"]["messages"]


# ---- SGLang, by its own models (srt/entrypoints/openai/protocol.py) and its clients' bodies ----


@pytest.mark.parametrize("path", ["/classify", "/sglang/classify"])
def test_sglangs_classify_as_model_cards_of_reward_models_ask_it(client, model, path):
    rewards = whole(model, DOCUMENTS)
    answer = client.post(path, json={"model": "a/model", "text": DOCUMENTS}).json()
    assert [row["embedding"] for row in answer] == [
        [pytest.approx(reward, abs=1e-5)] for reward in rewards
    ]
    assert all("id" in row["meta_info"] for row in answer)
    one = client.post(path, json={"text": DOCUMENTS[0]}).json()
    assert one["embedding"] == pytest.approx(rewards[:1], abs=1e-5)
    for wrong in ({"text": []}, {"input_ids": [1, 2]}, {"text": [[QUERY, DOCUMENTS[0]]]}):
        assert client.post(path, json=wrong).status_code == 422


def test_sglangs_v1_classify_is_answered_as_vllms(client, model):
    answer = client.post("/v1/classify", json={"model": "any", "input": DOCUMENTS}).json()
    found = ClassificationResponse.model_validate(answer)
    chances = [sigmoid(model, reward) for reward in whole(model, DOCUMENTS)]
    assert [row.probs[0] for row in found.data] == pytest.approx(chances, abs=1e-5)


class ScoringResponse(Strict):
    scores: list[list[float]]
    model: str
    usage: UsageInfo
    object: Literal["scoring"]


@pytest.mark.parametrize("path", ["/v1/score", "/sglang/v1/score"])
def test_sglangs_score(client, model, path):
    body = {"query": QUERY, "items": DOCUMENTS, "label_token_ids": [0], "apply_softmax": False}
    found = ScoringResponse.model_validate(client.post(path, json=body).json())
    expected = model.score(QUERY, DOCUMENTS)
    assert found.scores == [[pytest.approx(reward, abs=1e-5)] for reward in expected]
    rows = client.post(path, json={"query": "", "items": DOCUMENTS}).json()["scores"]
    assert rows == [[pytest.approx(reward, abs=1e-5)] for reward in whole(model, DOCUMENTS)]
    assert client.post(path, json={"query": QUERY, "items": []}).json()["scores"] == []
    for option in ("apply_softmax", "item_first", "return_pooled_hidden_states"):
        refusal = client.post(path, json=body | {option: True})
        assert refusal.status_code == 422
        assert option in refusal.json()["error"]["message"]


class SglangRerankResponse(Strict):
    model_config = ConfigDict(strict=True, extra="forbid")
    score: float
    document: str | None = None
    index: int
    meta_info: dict | None = None


def test_sglangs_rerank_has_a_prefix_as_its_answer_is_another_than_jinas(client, model):
    body = {"query": QUERY, "documents": DOCUMENTS, "top_n": 2}
    answer = client.post("/sglang/v1/rerank", json=body).json()
    found = TypeAdapter(list[SglangRerankResponse]).validate_python(answer)
    rewards = model.score(QUERY, DOCUMENTS)
    order = best_first(rewards)[:2]
    assert [row.index for row in found] == order
    assert [row.document for row in found] == [DOCUMENTS[index] for index in order]
    scores = [rewards[index] for index in order]
    assert [row.score for row in found] == pytest.approx(scores, abs=1e-5)
    bare = client.post("/sglang/v1/rerank", json=body | {"return_documents": False}).json()
    assert all("document" not in row for row in bare)


def test_openais_client_gets_rewards_as_verl_gets_them_of_sglang(url, client, model):
    rewards = whole(model, DOCUMENTS)
    # verl's reward loop, word for word: it reads output["data"][-1]["embedding"][-1].
    output = client.post("/v1/embeddings", json={"model": "a/path", "input": DOCUMENTS[0]}).json()
    assert output["data"][-1]["embedding"][-1] == pytest.approx(rewards[0], abs=1e-5)
    ours = openai.OpenAI(api_key=KEY, base_url=f"{url}/v1")  # it asks for base64
    answer = ours.embeddings.create(model="any", input=DOCUMENTS)
    assert [row.embedding for row in answer.data] == [
        [pytest.approx(reward, abs=1e-5)] for reward in rewards
    ]
    with pytest.raises(openai.UnprocessableEntityError, match="nothing to cut"):
        ours.embeddings.create(model="any", input=DOCUMENTS, dimensions=8)


# ---- Text Embeddings Inference, by its own router/src/http/types.rs ----


def test_hugging_faces_client_classifies_a_whole_row(url, model, monkeypatch):
    # It takes any address for the hub's, and the tests are without that.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    client = InferenceClient(f"{url}/predict", token=KEY)
    # Of the answer it takes the first element, which for one text is TEI's label itself.
    label = client.text_classification(DOCUMENTS[0])
    [reward] = whole(model, DOCUMENTS[:1])
    assert label.label == "LABEL_0"
    assert label.score == pytest.approx(sigmoid(model, reward), abs=1e-5)


class Prediction(Strict):
    model_config = ConfigDict(strict=True, extra="forbid")
    score: float
    label: str


def test_teis_predict_of_a_text_a_pair_and_a_batch(client, model):
    def ask(inputs, kind, **given):
        answer = client.post("/predict", json={"inputs": inputs, "truncate": True} | given)
        return TypeAdapter(kind).validate_python(answer.json())

    one, many = list[Prediction], list[list[Prediction]]
    [row] = whole(model, DOCUMENTS[:1])
    [pair] = model.score(QUERY, DOCUMENTS[:1])
    for inputs, reward in (
        (DOCUMENTS[0], row),
        ([DOCUMENTS[0]], row),
        ([QUERY, DOCUMENTS[0]], pair),
    ):
        [raw] = ask(inputs, one, raw_scores=True)
        assert raw.score == pytest.approx(reward, abs=1e-5)
        [chance] = ask(inputs, one)
        assert chance.score == pytest.approx(sigmoid(model, reward), abs=1e-5)
    batch = [[QUERY, DOCUMENTS[0]], [DOCUMENTS[0]], ["Four?", "Yes."]]
    answers = ask(batch, many, raw_scores=True)
    expected = [pair, row, *model.score("Four?", ["Yes."])]
    assert [answer.score for [answer] in answers] == pytest.approx(expected, abs=1e-5)
    for wrong in ([], [[]], ["a", "b", "c"], [["a"], "b"], [["a", "b", "c"]], [1], None):
        assert client.post("/predict", json={"inputs": wrong}).status_code == 422


class Rank(Strict):
    model_config = ConfigDict(strict=True, extra="forbid")
    index: int
    text: str | None = None
    score: float


def test_teis_rerank(client, model):
    body = {"query": QUERY, "texts": DOCUMENTS, "truncate": True}
    rewards = model.score(QUERY, DOCUMENTS)
    order = best_first(rewards)
    ranks = TypeAdapter(list[Rank]).validate_python(client.post("/rerank", json=body).json())
    assert [rank.index for rank in ranks] == order
    chances = [sigmoid(model, rewards[index]) for index in order]
    assert [rank.score for rank in ranks] == pytest.approx(chances, abs=1e-5)
    asked = body | {"raw_scores": True, "return_text": True}
    ranks = TypeAdapter(list[Rank]).validate_python(client.post("/rerank", json=asked).json())
    assert [rank.text for rank in ranks] == [DOCUMENTS[index] for index in order]
    raw = [rewards[index] for index in order]
    assert [rank.score for rank in ranks] == pytest.approx(raw, abs=1e-5)


# ---- NVIDIA's reward models behind chat completions ----


def test_openais_client_judges_a_dialogue_as_nvidias_reward_models_are_asked(url, model):
    client = openai.OpenAI(api_key=KEY, base_url=f"{url}/v1")
    asked = [{"role": "user", "content": QUERY}, {"role": "assistant", "content": DOCUMENTS[0]}]
    answer = client.chat.completions.create(model="any", messages=asked, stream=False)
    expected = pytest.approx(model.score(QUERY, DOCUMENTS[:1])[0], abs=1e-5)
    # NVIDIA's guide: pairs of attribute and score, separated by commas.
    pairs = [pair.split(":") for pair in answer.choices[0].message.content.split(",")]
    assert {name: float(score) for name, score in pairs} == {"reward": expected}
    # CAMEL's NemotronRewardModel: the log-probabilities of the attributes' names.
    tokens = answer.choices[0].logprobs.content
    assert {token.token: token.logprob for token in tokens} == {"reward": expected}
    returned = [*asked, {"role": "tool", "tool_call_id": "c1", "content": "4"}]
    for wrong in ({"messages": asked[:1]}, {"messages": returned}, {"stream": True}, {"n": 2}):
        with pytest.raises(openai.UnprocessableEntityError):
            client.chat.completions.create(**({"model": "any", "messages": asked} | wrong))


# ---- slime, LLaMA-Factory, NeMo Gym: the bodies that their own code sends ----


def test_slimes_remote_reward_is_the_answer_itself(client, model):
    body = {"prompt": QUERY, "response": DOCUMENTS[0], "label": None}
    expected = pytest.approx(model.score(QUERY, DOCUMENTS[:1])[0], abs=1e-5)
    assert client.post("/remote_rm", json=body).json() == expected
    messages = body | {"prompt": [{"role": "user", "content": QUERY}], "label": {"answer": "4"}}
    assert client.post("/remote_rm", json=messages).json() == expected


def test_slimes_prompt_may_be_laid_out_by_the_models_chat_template(reward_model):
    model = reward_model("qwen2")
    dialogue = [{"role": "user", "content": QUERY}]
    prompt = model.encoding.tokenizer.apply_chat_template(
        dialogue, tokenize=False, add_generation_prompt=True
    )
    with running.inside(build_app(model)) as client:
        body = {"prompt": prompt, "response": f"{DOCUMENTS[0]}<|im_end|>", "label": "4"}
        reward = client.post("/remote_rm", json=body).json()
    assert reward == pytest.approx(model.score(dialogue, DOCUMENTS[:1])[0], abs=1e-5)


def test_llama_factorys_ppo_gets_scores_of_whole_rows(client, model):
    body = {"model": "model", "messages": DOCUMENTS}
    answer = client.post("/v1/score/evaluation", json=body).json()
    assert answer["scores"] == pytest.approx(whole(model, DOCUMENTS), abs=1e-5)
    assert answer["object"] == "score.evaluation"
    assert client.post("/v1/score/evaluation", json=body | {"messages": []}).json()["scores"] == []


CALLED = {
    "type": "function_call",
    "call_id": "c1",
    "name": "price",
    "arguments": '{"of": "a bond"}',
}
# The Responses API has name and arguments in each call, both texts.
NO_CALLS = [{"name": None}, {"name": ""}, {"name": 5}, {"arguments": None}, {"arguments": {}}]


def said(text):
    """A message of the Responses API as a policy's server gives it."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": content,
    }


def test_nemo_gyms_agent_gets_its_rollout_back_with_the_reward(client, model):
    assert (
        client.post("/seed_session", json={"responses_create_params": {"input": []}}).json() == {}
    )
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": [{"text": "hm", "type": "summary"}]}
    rollout = {
        "responses_create_params": {
            "input": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "input_text", "text": QUERY}]},
            ],
            "tools": [],
        },
        "response": {"id": "resp_1", "output": [reasoning, said(DOCUMENTS[0])], "model": "policy"},
        "task_id": 7,
        "reward": "of an earlier run",
    }
    answer = client.post("/verify", json=rollout)
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUERY}]
    expected = model.score(prompt, DOCUMENTS[:1])[0]
    reward = pytest.approx(expected, abs=1e-5)
    assert answer.json() == rollout | {"reward": reward}
    asked = {"instructions": "Be brief.", "input": QUERY}
    again = client.post("/verify", json=rollout | {"responses_create_params": asked}).json()
    assert again["reward"] == reward
    # Cut short in its reasoning, the policy answered nothing.
    nothing = client.post("/verify", json=rollout | {"response": {"output": [reasoning]}}).json()
    assert nothing["reward"] == pytest.approx(model.score(prompt, [""])[0], abs=1e-5)
    for wrong in (
        {"response": {"output": [{"type": "web_search_call", "id": "ws_1"}]}},
        {"response": {"output": "text"}},
        {"response": {"output": [said("a") | {"content": [{"type": "refusal", "refusal": "no"}]}]}},
        {"responses_create_params": {}},
        {"responses_create_params": {"input": [{"role": "user", "content": 5}]}},
    ):
        assert client.post("/verify", json=rollout | wrong).status_code == 422


def test_a_call_of_a_function_without_a_name_is_refused_by_name(client):
    """A chat template would write it as an empty message."""
    for wrong in NO_CALLS:
        asked = {"input": QUERY}
        rollout = {"responses_create_params": asked, "response": {"output": [CALLED | wrong]}}
        answer = client.post("/verify", json=rollout)
        assert answer.status_code == 422
        assert f"function without {next(iter(wrong))}" in answer.json()["error"]["message"]


def test_nemo_gyms_calls_of_tools_are_messages(reward_model):
    model = reward_model("qwen2")
    returned = {"type": "function_call_output", "call_id": "c1", "output": "Four."}
    rollout = {
        "responses_create_params": {"input": QUERY},
        "response": {"output": [CALLED, returned, said(DOCUMENTS[0])]},
    }
    with running.inside(build_app(model)) as client:
        answer = client.post("/verify", json=rollout)
    # The tiny model's chat template writes no calls, which would be lost.
    assert answer.status_code == 422
    assert "tool" in answer.json()["error"]["message"]


# ---- OpenRLHF ----


@pytest.fixture
def agent(monkeypatch):
    """OpenRLHF's module that asks for rewards, from its file: the package itself wants GPUs."""
    pytest.importorskip("aiohttp")
    found = importlib.util.find_spec("openrlhf")
    if found is None:
        pytest.skip("OpenRLHF is not installed (pip install --no-deps openrlhf)")
    logs = SimpleNamespace(init_logger=logging.getLogger)
    monkeypatch.setitem(sys.modules, "openrlhf.utils.logging_utils", logs)
    file = Path(found.origin).parent / "utils" / "agent.py"
    spec = importlib.util.spec_from_file_location("openrlhf_agent", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_openrlhfs_own_request_function_gets_rewards(model, agent):
    queries = [f"User: {QUERY} Assistant: {text}" for text in DOCUMENTS]
    expected = [row[0] for row in model.rewards(model.encode_rendered(queries))]
    with running.inside(build_app(model)) as client:
        executor = agent.SingleTurnAgentExecutor([f"{client.base_url}/get_reward"])

        async def ask():
            # One query a request, as its rollouts send them, and all three in one.
            alone = [executor._fetch_rewards_via_http([q], [QUERY], ["?"]) for q in queries]
            together = executor._fetch_rewards_via_http(queries, [QUERY] * 3, ["?"] * 3)
            return await asyncio.gather(*alone, together)

        *alone, together = asyncio.run(ask())
    assert together[0]["rewards"] == pytest.approx(expected, abs=1e-5)
    assert [answer[0]["rewards"][0] for answer in alone] == pytest.approx(expected, abs=1e-5)
    # By the scores it filters prompts, within (0, 1) by default.
    chances = [1 / (1 + math.exp(-model.scale * reward)) for reward in expected]
    assert together[0]["scores"] == pytest.approx(chances, abs=1e-5)
    for answer in alone:  # it makes a tensor of each of these, a row of the batch
        assert len(answer[0]["scores"]) == 1
        assert all(len(logged) == 1 for logged in answer[0]["extra_logs"].values())


def test_openrlhfs_empty_share_of_a_batch_has_an_empty_answer(client):
    # Before 0.11.2 it divides rows over servers so that with fewer rows than servers some get none,
    # and takes a refusal by one of them for a failure of all.
    answer = client.post("/get_reward", json={"query": [], "prompts": [], "labels": []})
    assert answer.json() == {
        "rewards": [],
        "scores": [],
        "extra_logs": {"truncated_by_reward_model": []},
    }
