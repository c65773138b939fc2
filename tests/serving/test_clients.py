"""Other programs' own clients against a running service, and their answers' shapes."""

import asyncio
import importlib.util
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import cohere
import openai
import pytest
from pydantic import BaseModel, ConfigDict, Field

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
    for answer in alone:  # it makes a tensor of each of these, a row of the batch
        assert answer[0]["scores"] == answer[0]["rewards"]
        assert all(len(logged) == 1 for logged in answer[0]["extra_logs"].values())
