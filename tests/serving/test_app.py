"""The service from outside: what it answers, what it refuses and why, how it ends."""

import concurrent.futures
import json
import math
import random
import re
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

import running
import tiny
from plaudit.errors import PlauditError
from plaudit.model.ensemble import Ensemble
from plaudit.serving.app import build_app
from plaudit.serving.protocols import PROTOCOLS, by_path
from plaudit.serving.server import described, serve
from plaudit.serving.settings import ServiceSettings, read_keys

PROMPT = "What is a bond?"
COMPLETIONS = ["A loan to a company.", "It depends.", "A loan to a state, with interest."]
DIALOGUE = [
    {"role": "user", "content": "What is two plus two?"},
    {"role": "assistant", "content": "Two plus two is four."},
]


@pytest.fixture(scope="module", params=["bert", "qwen2"])
def model(request, reward_model):
    return reward_model(request.param)


@pytest.fixture(scope="module")
def client(model):
    with ready(build_app(model, ServiceSettings(name="tiny"))) as client:
        yield client


def ready(app, **options):
    client = TestClient(app, base_url="http://127.0.0.1", **options)

    class Ready:
        def __enter__(self):
            client.__enter__()
            while client.get("/ready").status_code != 200:
                time.sleep(0.01)
            return client

        def __exit__(self, *error):
            client.__exit__(*error)

    return Ready()


def refused(response, status, kind, where=None):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["type"] == kind
    assert error["message"]
    assert error.get("where") == where
    return error["message"]


def metric(client, name):
    found = re.search(rf"^plaudit_{name} (\S+)", client.get("/metrics").text, re.M)
    return float(found[1])


# ---- what it answers ----


def test_the_rewards_are_those_of_score_and_the_probabilities_follow_from_them(client, model):
    body = {"prompt": PROMPT, "completions": COMPLETIONS}
    answer = client.post("/score", json=body).json()
    rewards = model.score(PROMPT, COMPLETIONS)
    assert answer["rewards"] == pytest.approx(rewards, abs=1e-5)
    powers = [math.exp(model.scale * reward) for reward in rewards]
    best = [power / sum(powers) for power in powers]
    assert answer["probabilities"] == pytest.approx(best, abs=1e-5)
    for i, row in enumerate(answer["preference"]):
        for j, chance in enumerate(row):
            assert chance == pytest.approx(powers[i] / (powers[i] + powers[j]), abs=1e-5)
    assert answer["truncated"] == [False] * 3


def test_one_completion_and_a_whole_dialogue(client, model):
    one = client.post("/score", json={"prompt": PROMPT, "completion": COMPLETIONS[0]}).json()
    assert one["reward"] == pytest.approx(model.score(PROMPT, COMPLETIONS[0]), abs=1e-5)
    dialogue = client.post("/score", json={"messages": DIALOGUE}).json()
    expected = model.score(DIALOGUE[:1], [DIALOGUE[1:]])[0]
    assert dialogue["reward"] == pytest.approx(expected, abs=1e-5)
    mixed = client.post("/score", json={"prompt": DIALOGUE[:1], "completions": ["Four."]}).json()
    assert mixed["rewards"] == pytest.approx(model.score(DIALOGUE[:1], ["Four."]), abs=1e-5)


def test_a_blank_completion_has_its_reward_as_a_policy_sometimes_writes_none(client, model):
    blank = ["", " \n", "Four."]
    expected = pytest.approx(model.score(PROMPT, blank), abs=1e-5)
    answer = client.post("/score", json={"prompt": PROMPT, "completions": blank}).json()
    assert answer["rewards"] == expected
    one = client.post("/score", json={"prompt": PROMPT, "completion": ""}).json()
    assert [one["reward"], *answer["rewards"][1:]] == expected
    for path, body in (
        ("/rank", {"prompt": PROMPT, "completions": blank}),
        ("/rerank", {"query": PROMPT, "documents": ["", {"text": " \n"}, "Four."]}),
    ):
        rows = [*client.post(path, json=body).json().values()]
        rows = next(row for row in rows if isinstance(row, list))
        assert [row["reward"] for row in sorted(rows, key=lambda row: row["index"])] == expected
    said = {"role": "assistant", "content": ""}
    expected = pytest.approx(model.score(DIALOGUE[:1], [[said]]), abs=1e-5)
    dialogue = {"messages": [DIALOGUE[0], said]}
    assert [client.post("/score", json=dialogue).json()["reward"]] == expected
    raw = client.post("/classify", json=dialogue | {"use_activation": False}).json()
    assert raw["data"][0]["probs"] == expected
    messages = {"prompt": DIALOGUE[:1], "completions": [[said]]}
    assert client.post("/score", json=messages).json()["rewards"] == expected
    rows = model.rewards(model.encode_rendered(["", PROMPT]))
    answer = client.post("/get_reward", json={"query": ["", PROMPT]}).json()["rewards"]
    assert answer == pytest.approx([row[0] for row in rows], abs=1e-5)


def test_rows_whose_prompts_are_told_are_laid_out_as_in_training(client, model):
    rows = [f"{PROMPT}{text}" for text in ("", "It depends.", "A loan.")]
    prompts = [PROMPT, PROMPT, "what it does not begin with"]
    body = {"query": rows, "prompts": prompts, "labels": ["1", "2", "3"]}
    rewards = client.post("/get_reward", json=body).json()["rewards"]
    assert rewards[:2] == pytest.approx(model.score(PROMPT, ["", "It depends."]), abs=1e-5)
    [[whole]] = model.rewards(model.encode_rendered(rows[2:]))
    assert rewards[2] == pytest.approx(whole, abs=1e-5)
    untold = client.post("/get_reward", json={"query": rows, "prompts": None}).json()["rewards"]
    assert untold[1] != pytest.approx(rewards[1], abs=1e-5)
    assert untold[2] == pytest.approx(whole, abs=1e-5)
    short = client.post("/get_reward", json={"query": rows, "prompts": prompts[:2]})
    assert "different length" in refused(short, 422, "invalid")


def test_head_is_get_without_a_body_as_some_health_checks_ask(client):
    for path in ("/health", "/ready", "/"):
        answer = client.head(path)
        assert answer.status_code == 200
    assert client.head("/score").status_code == 405


def test_rank_puts_the_best_first_and_ties_share_a_rank(client, model):
    completions = [*COMPLETIONS, COMPLETIONS[1]]
    rewards = model.score(PROMPT, completions)
    body = {"prompt": PROMPT, "completions": completions}
    ranking = client.post("/rank", json=body).json()["ranking"]
    assert [row["reward"] for row in ranking] == pytest.approx(sorted(rewards)[::-1], abs=1e-5)
    for row in ranking:
        assert row["reward"] == pytest.approx(rewards[row["index"]], abs=1e-5)
        better = sum(other["reward"] > row["reward"] for other in ranking)
        assert row["rank"] == better + 1
    assert sum(row["probability"] for row in ranking) == pytest.approx(1)


def test_many_at_a_time_get_the_rewards_that_each_gets_alone(client, model):
    dice = random.Random(0)
    words = re.findall(r"\w+", " ".join(tiny.CORPUS))

    def text():
        return " ".join(dice.choices(words, k=dice.randint(1, 60)))

    shared = text()
    asked = []
    for _ in range(120):
        prompt = shared if dice.random() < 0.5 else text()
        if dice.random() < 0.2:
            prompt = [{"role": "user", "content": prompt}]
        asked.append((prompt, [text() for _ in range(dice.choice([1, 2, 4, 30]))]))

    def ask(one):
        kind = hash(str(one)) % 3
        if kind == 0:
            rows = [f"{one[0]} {text}" for text in one[1]]
            body = {"input": rows, "use_activation": False}
            data = client.post("/classify", json=body).json()["data"]
            return [row["probs"][0] for row in data]
        if kind == 1:
            ranking = client.post("/rank", json={"prompt": one[0], "completions": one[1]}).json()
            by_index = {row["index"]: row["reward"] for row in ranking["ranking"]}
            return [by_index[index] for index in range(len(one[1]))]
        body = {"prompt": one[0], "completions": one[1], "preference": False}
        return client.post("/score", json=body).json()["rewards"]

    with concurrent.futures.ThreadPoolExecutor(32) as threads:
        got = list(threads.map(ask, asked))
    for one, rewards in zip(asked, got, strict=True):
        if hash(str(one)) % 3 == 0:
            rows = model.encode_rendered([f"{one[0]} {text}" for text in one[1]])
            expected = [reward for row in rows for reward in model.rewards([row])[0]]
        else:
            expected = [model.score(one[0], [text])[0] for text in one[1]]
        assert rewards == pytest.approx(expected, abs=1e-5)


def test_an_ensemble_is_served_as_a_model_is(reward_model):
    both = Ensemble([reward_model("bert"), reward_model("qwen2")])
    with ready(build_app(both)) as client:
        answer = client.post("/score", json={"prompt": PROMPT, "completions": COMPLETIONS})
        rows = client.post("/get_reward", json={"query": ["one row", "another"]}).json()["rewards"]
    assert answer.json()["rewards"] == pytest.approx(both.score(PROMPT, COMPLETIONS), abs=1e-5)
    assert len(rows) == 2


def test_what_is_too_long_is_truncated_and_said_to_be(client):
    body = {"prompt": PROMPT, "completions": ["short", "long " * 500]}
    before = metric(client, "truncated_completions_total")
    assert client.post("/score", json=body).json()["truncated"] == [False, True]
    assert metric(client, "truncated_completions_total") == before + 1


def test_metrics_count_what_was_done(reward_model):
    with ready(build_app(reward_model("bert"))) as client:
        client.post("/score", json={"prompt": PROMPT, "completions": COMPLETIONS})
        client.post("/score", json={})
        client.get("/no/such/path")
        response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = dict(re.findall(r"^(plaudit_\S+) (\S+)$", response.text, re.M))
    assert found['plaudit_requests_total{endpoint="/score",status="200"}'] == "1.0"
    assert found['plaudit_requests_total{endpoint="/score",status="422"}'] == "1.0"
    assert found['plaudit_requests_total{endpoint="other",status="404"}'] == "1.0"
    assert found["plaudit_completions_total"] == "3.0"
    assert found["plaudit_queue_seconds_count"] == "1.0"
    assert found["plaudit_queue_completions"] == "0.0"
    assert float(found["plaudit_tokens_total"]) > 3


def test_openapi_describes_every_endpoint_and_needs_nothing_from_elsewhere(client):
    described = client.get("/openapi.json").json()
    paths = by_path()
    assert {*paths, "/health", "/ready", "/metrics", "/v1/models"} <= set(described["paths"])
    for path, spoken in paths.items():
        post = described["paths"][path]["post"]
        asked = post["requestBody"]["content"]["application/json"]
        schema = asked["schema"]
        assert all("properties" in each for each in schema.get("anyOf", [schema]))
        assert set(asked["examples"]) == set(spoken)
        assert {"200", "4XX", "5XX"} <= set(post["responses"])
    assert client.get("/docs").status_code == 404  # it would load its scripts from a CDN


# ---- what is spoken at each path ----


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_body_of_no_protocols_shape_is_refused_with_one_that_is_right(client, name):
    protocol = PROTOCOLS.get(name)
    for path in protocol.paths:
        for wrong in ({"nothing": 1}, [], {key: {"no": 1} for key in protocol.example}):
            refusal = client.post(path, json=wrong)
            if refusal.status_code == 200:  # of a protocol that needs no field
                continue
            assert refused(refusal, 422, "invalid", refusal.json()["error"].get("where"))
            shown = refusal.json()["error"]["examples"]
            if wrong == {"nothing": 1}:
                assert set(shown) == set(by_path()[path])
            for example in shown.values():
                assert client.post(path, json=example).status_code == 200
            assert shown[name] == protocol.example


def test_peers_of_one_path_are_told_apart_by_their_fields(client):
    both = {"prompt": PROMPT, "completions": COMPLETIONS, "text_1": PROMPT}
    said = refused(client.post("/score", json=both), 422, "invalid")
    assert "prompt or completions or completion or messages (score)" in said
    assert "fields of several" in said
    said = refused(client.post("/score", json={"query": PROMPT}), 422, "invalid")
    assert "none of those fields" in said


def test_protocols_that_cannot_be_told_apart_are_a_mistake(monkeypatch):
    from plaudit.serving.protocols import rerank, score

    same = replace(rerank.PROTOCOL, paths=("/score",), marks=("messages",))
    for other in (same, replace(same, marks=())):
        monkeypatch.setattr(rerank, "PROTOCOL", other)
        with pytest.raises(PlauditError, match=r"/score: .* rerank and score .* `marks`"):
            by_path()
    assert score.PROTOCOL.marks


def test_the_guide_has_a_command_and_a_row_for_each(client):
    guide = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    described = client.get("/openapi.json").json()["paths"]
    for name in PROTOCOLS:
        first, *others = PROTOCOLS.get(name).paths
        samples = described[first]["post"]["x-codeSamples"]
        (command,) = (sample["source"] for sample in samples if sample["label"] == name)
        assert command in guide  # where another test runs it
        assert f"`POST {first}`" in guide
        for path in others:
            assert f"`{path}`" in guide or path.startswith("/sglang/")


@pytest.mark.parametrize("name", ["qwen2", "bert"])
def test_one_completion_has_one_reward_in_all_examples_that_the_model_reads(reward_model, name):
    model = reward_model(name)
    (reward,) = model.score("What is a bond?", ["A loan."])
    examples = {name: PROTOCOLS.get(name).example for name in PROTOCOLS}
    bare = {"query": ["What is a bond?" + "A loan."], "prompts": ["What is a bond?"]}
    with running.inside(build_app(model)) as client:

        def asked(path, body):
            answer = client.post(path, json=body)
            assert answer.status_code == 200
            return answer.json()

        found = [
            asked("/get_reward", bare)["rewards"][0],
            asked("/classify", examples["vllm-classify"])["data"][0]["probs"][0],
            asked("/pooling", examples["vllm-pooling"])["data"][0]["data"][0],
            asked("/remote_rm", examples["slime"]),
            asked("/verify", examples["nemo-gym"])["reward"],
        ]
        if name == "qwen2":  # its template is ChatML
            found += [
                asked("/get_reward", examples["openrlhf"])["rewards"][0],
                asked("/v1/embeddings", examples["embeddings"])["data"][0]["embedding"][0],
                asked("/classify", examples["sglang-classify"])[0]["embedding"][0],
                asked("/v1/score/evaluation", examples["llama-factory"])["scores"][0],
            ]
    assert found == pytest.approx([reward] * len(found), abs=1e-5)


def test_a_decoder_without_a_chat_template_reads_the_row_that_the_guide_says(reward_model):
    model = reward_model("gpt2")
    [[whole]] = model.rewards(model.encode_rendered(["What is a bond?\n\nA loan."]))
    assert whole == pytest.approx(model.score("What is a bond?", ["A loan."])[0], abs=1e-5)


# ---- what it refuses ----


@pytest.mark.parametrize(
    ("body", "status", "kind", "where"),
    [
        ({}, 422, "invalid", None),
        ({"prompt": PROMPT}, 422, "invalid", None),
        ({"prompt": PROMPT, "completions": []}, 422, "invalid", "completions"),
        ({"prompt": PROMPT, "completions": ["a", None]}, 422, "invalid", "completions[1]"),
        ({"prompt": " ", "completions": ["a"]}, 422, "invalid", "prompt"),
        ({"messages": [DIALOGUE[0] | {"content": ""}, DIALOGUE[1]]}, 422, "invalid", "messages"),
        ({f"field {i}": 1 for i in range(101)}, 422, "too_many", None),
        ({"prompt": PROMPT, "completions": "a"}, 422, "invalid", "completions"),
        ({"prompt": PROMPT, "completions": None}, 422, "invalid", None),
        ({"prompt": 5, "completions": ["a"]}, 422, "invalid", "prompt"),
        ({"prompt": None, "completions": ["a"]}, 422, "invalid", "prompt"),
        ({"prompt": PROMPT, "completions": ["a"], "max": 1}, 422, "invalid", "max"),
        ({"prompt": PROMPT, "completions": ["a"], "completion": "b"}, 422, "invalid", None),
        ({"prompt": [{"role": "user"}], "completions": ["a"]}, 422, "invalid", "prompt"),
        ({"messages": DIALOGUE[:1]}, 422, "invalid", None),
        ({"messages": "text"}, 422, "invalid", "messages"),
        ({"prompt": PROMPT, "completions": ["a"] * 65}, 422, "too_many", "completions"),
        ({"prompt": PROMPT, "completions": ["a", "b" * 2001]}, 422, "too_long", "completions[1]"),
        ({"prompt": "b" * 2001, "completions": ["a"]}, 422, "too_long", "prompt"),
        ({"text_1": ["a", "b" * 2001], "text_2": ["a", "b"]}, 422, "too_long", "prompt"),
        ({"text_1": ["a", "b"], "text_2": ["a", "b" * 2001]}, 422, "too_long", "text_2[1]"),
        ([], 422, "invalid", None),
        ("text", 422, "invalid", None),
    ],
)
def test_a_refusal_says_what_is_wrong_and_where(reward_model, body, status, kind, where):
    limits = ServiceSettings(max_completions=64, max_characters=2000)
    with ready(build_app(reward_model("bert"), limits)) as client:
        refused(client.post("/score", json=body), status, kind, where)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"prompt": "\\ud800", "completions": ["a"]}', 400),
        (b'{"prompt": NaN, "completions": ["a"]}', 400),
        (b'{"prompt": 1e999, "completions": ["a"]}', 422),
        (b'{"prompt": ' + b"9" * 10_000 + b', "completions": ["a"]}', 400),
        (b"[" * 100_000, 400),
        (b'{"prompt": ' + b"[" * 150 + b"]" * 150 + b', "completions": ["a"]}', 422),
        (b'{"prompt": "a\x00b", "completions": ["a"]}', 400),
        (b'{"prompt": "p", "completions": ["a"]} trailing', 400),
    ],
)
def test_what_is_no_json_is_refused_with_a_reason(client, body, status):
    response = client.post("/score", content=body, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    assert response.json()["error"]["message"]
    shown = {"score"} if status == 422 else {"score", "vllm-score"}
    assert set(response.json()["error"]["examples"]) == shown


def test_a_null_character_is_a_character(client, model):
    answer = client.post("/score", json={"prompt": "a\0b", "completions": ["c\0"]})
    assert answer.json()["rewards"] == pytest.approx(model.score("a\0b", ["c\0"]), abs=1e-5)


def test_refusals_do_not_repeat_what_the_user_wrote(client):
    secret = "xyzzy-plugh"
    for body in (
        {"prompt": {"a": secret}, "completions": [secret]},
        {"prompt": PROMPT, "completions": [[{"role": "user", "content": 5, "x": secret}]]},
        {"prompt": PROMPT, "completions": [secret], "preference": secret},
        {"prompt": secret},
        {"query": [secret], "top_n": secret},
    ):
        for path in ("/score", "/rank", "/rerank", "/classify", "/get_reward"):
            assert secret not in client.post(path, json=body).text


def test_wrong_paths_methods_and_content_types(client):
    refused(client.get("/nowhere"), 404, "not_found")
    refused(client.post("/score/"), 404, "not_found")
    assert refused(client.get("/score"), 405, "method")
    assert client.get("/score").headers["allow"] == "POST"
    body = json.dumps({"prompt": "p", "completions": ["a"]})
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        response = client.post("/score", content=body, headers={"content-type": kind})
        refused(response, 415, "content_type")
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    response = client.post("/score", content=body, headers=headers)
    refused(response, 415, "content_encoding")


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_beyond_the_limit_is_refused_however_it_is_sent(reward_model, chunked):
    body = json.dumps({"prompt": "p", "completions": ["a" * 5000]}).encode()
    content = (body[at : at + 100] for at in range(0, len(body), 100)) if chunked else body
    with ready(build_app(reward_model("bert"), ServiceSettings(max_body_bytes=4096))) as client:
        response = client.post(
            "/score", content=content, headers={"content-type": "application/json"}
        )
        refused(response, 413, "too_large")


def test_a_dialogue_that_the_template_refuses_fails_alone(base, tmp_path):
    from plaudit.model.reward_model import RewardModel

    model = RewardModel.load(base("qwen2"), dtype="float32", device="cpu")
    model.encoding.tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'tool' %}"
        "{{ raise_exception('no tools here') }}{% endif %}{{ m['content'] | length + 0 }}"
        "{{ m['content'] }}{% if m['role'] == 'odd' %}{{ m['content'] + 1 }}{% endif %}{% endfor %}"
    )
    bodies = [{"prompt": PROMPT, "completions": [f"answer {n}"]} for n in range(20)]
    for place, role in ((7, "tool"), (13, "odd")):
        bodies[place] = {"prompt": [{"role": role, "content": "x"}], "completions": ["a"]}
    with ready(build_app(model)) as client, concurrent.futures.ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda body: client.post("/score", json=body), bodies))
    for place, (body, answer) in enumerate(zip(bodies, answers, strict=True)):
        if place in (7, 13):
            refused(answer, 422, "invalid")
        else:
            expected = model.score(body["prompt"], body["completions"])
            assert answer.json()["rewards"] == pytest.approx(expected, abs=1e-5)


class Held:
    """A reward model that waits for a word before it works, once it is warm."""

    def __init__(self, model):
        self.model = model
        self.free = threading.Event()
        self.scored = []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def rewards(self, encoded):
        if len(self.scored) > 1:  # the passes before any request
            self.free.wait()
        self.scored.append(sum(len(row["input_ids"]) for row in encoded))
        return self.model.rewards(encoded)


def test_what_takes_too_long_or_does_not_fit_is_refused_and_says_when_to_come_again(reward_model):
    held = Held(reward_model("bert"))
    limits = ServiceSettings(timeout=0.3, max_queue=4, max_completions=4)
    body = {"prompt": PROMPT, "completions": COMPLETIONS}

    def post(_):
        return client.post("/score", json=body)

    with (
        ready(build_app(held, limits)) as client,
        concurrent.futures.ThreadPoolExecutor(8) as threads,
    ):
        answers = list(threads.map(post, range(8)))
        held.free.set()
        assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
        kinds = [answer.json()["error"]["type"] for answer in answers]
        assert set(kinds) == {"timeout", "queue_full"}
        assert {answer.status_code for answer in answers} == {504, 503}
        while client.post("/score", json=body).status_code != 200:
            time.sleep(0.05)


def test_a_client_that_goes_away_is_not_worked_for(reward_model):
    held = Held(reward_model("bert"))
    with running.inside(build_app(held)) as client:
        asking = {"json": {"prompt": PROMPT, "completions": COMPLETIONS}}
        for timeout in (0.2, 0.2, 0.2, 0.2):  # the model has the first, the second is ready for it
            with pytest.raises(httpx.ReadTimeout):
                client.post("/score", timeout=timeout, **asking)
        gone = 'endpoint="/score",status="499"} 4.0'
        ends = time.monotonic() + 10  # that a client has gone is noticed a moment later
        while gone not in (told := client.get("/metrics").text) and time.monotonic() < ends:
            time.sleep(0.05)
        assert gone in told
        held.free.set()
        assert client.post("/score", **asking).status_code == 200
        assert metric(client, "queue_completions") == 0
    assert held.scored[0] == 1
    assert sum(held.scored[2:]) <= 9  # of fifteen: what had begun, and what was answered


# ---- who may ask ----


def test_with_keys_only_health_and_the_page_are_open(reward_model):
    settings = ServiceSettings(keys=("first-of-the-keys", "second-of-the-keys"))
    body = {"prompt": PROMPT, "completions": COMPLETIONS}
    with ready(build_app(reward_model("bert"), settings)) as client:
        for path in ("/health", "/ready", "/"):
            assert client.get(path).status_code == 200
        for path in ("/metrics", "/openapi.json", "/v1/models", "/nowhere"):
            refused(client.get(path), 401, "key")
        for headers in (
            {},
            {"Authorization": "Bearer first-of-the-key"},
            {"Authorization": "first-of-the-keys"},
            {"X-API-Key": "first-of-the-keys,second-of-the-keys"},
            {"Authorization": b"Bearer \xff\xfe"},
        ):
            response = client.post("/score", json=body, headers=headers)
            refused(response, 401, "key")
            assert response.headers["www-authenticate"] == "Bearer"
        for headers in (
            {"Authorization": "Bearer second-of-the-keys"},
            {"Authorization": "bearer first-of-the-keys"},
            {"X-API-Key": "first-of-the-keys"},
        ):
            assert client.post("/score", json=body, headers=headers).status_code == 200


def test_another_name_for_the_host_is_refused(reward_model):
    app = build_app(
        reward_model("bert"), ServiceSettings(allowed_host=("localhost", "127.0.0.1", "[::1]"))
    )
    with ready(app) as client:
        for host in ("localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"):
            assert client.get("/health", headers={"host": host}).status_code == 200
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", ""):
            refused(client.get("/health", headers={"host": host}), 421, "host")


def test_no_other_site_may_read_answers(client):
    answer = client.options(
        "/score",
        headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
    )
    refused(answer, 403, "origin")
    body = {"prompt": PROMPT, "completions": COMPLETIONS}
    answer = client.post("/score", json=body, headers={"origin": "https://evil.example"})
    refused(answer, 403, "origin")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_keys_are_read_from_a_file_and_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "keys"
    # As an editor on Windows may write it.
    file.write_bytes(
        b"\xef\xbb\xbffirst-key-of-all\r\n# of the team\r\n\r\n  second-key # hers\r\n"
    )
    monkeypatch.setenv("PLAUDIT_API_KEYS", "third-key, fourth-key")
    assert set(read_keys(file)) == {"first-key-of-all", "second-key", "third-key", "fourth-key"}
    file.write_text("# none\n")
    with pytest.raises(PlauditError, match="no API key"):
        read_keys(file)
    with pytest.raises(PlauditError, match="No such file"):
        read_keys(tmp_path / "nowhere")
    with pytest.raises(PlauditError, match="8 characters"):
        ServiceSettings(keys=("short",))
    with pytest.raises(PlauditError, match="max_queue"):
        ServiceSettings(max_queue=10)
    with pytest.raises(PlauditError, match="timeout"):
        ServiceSettings(timeout=0)


# ---- what it writes down ----


def test_no_text_is_logged_unless_asked(reward_model, capsys):
    secret = "a-most-secret-word"
    body = {"prompt": secret, "completions": [secret]}
    with ready(build_app(reward_model("bert"), ServiceSettings(log_requests=True))) as client:
        client.post("/score", json=body)
        client.post("/score", json={secret: 1})
        client.get("/%0d%0a2026 all is well")
    talk = capsys.readouterr().err
    assert secret not in talk
    assert re.search(r"^POST /score 200 \d+ ms, completions: 1$", talk, re.M)
    assert re.search(r"^GET /\?\?2026 all is well 404 \d+ ms$", talk, re.M)
    with ready(build_app(reward_model("bert"), ServiceSettings(log_text=True))) as client:
        client.post("/score", json=body)
        client.post("/score", json={"text_1": ["one", "two"], "text_2": ["three", "four"]})
    lines = capsys.readouterr().err.splitlines()
    one, pairs = (json.loads(line) for line in lines if '"texts"' in line)
    assert (one["prompt"], one["texts"]) == (secret, [secret])
    assert (pairs["prompts"], pairs["texts"]) == (["one", "two"], ["three", "four"])


def test_a_fault_of_our_own_is_logged_without_text(reward_model, capsys, monkeypatch):
    from plaudit.serving.protocols import score

    def fail(asked, *_):
        raise KeyError(asked.prompt)

    monkeypatch.setattr(score.ScoreRequest, "reply", fail)
    with ready(build_app(reward_model("bert"))) as client:
        answer = client.post("/score", json={"prompt": "secret", "completions": ["a"]})
        refused(answer, 500, "internal")
    talk = capsys.readouterr().err
    assert "KeyError" in talk
    assert "in answer" in talk
    assert "secret" not in talk


# ---- as a process ----


def until_stopping(client):
    """Until a signal has been heard: of two that come before that a process hears one."""
    while client.get("/ready").status_code == 200:
        time.sleep(0.01)


def test_it_ends_after_finishing_what_it_took(base):
    with running.service(base("bert")) as (process, client):
        body = {"prompt": PROMPT, "completions": ["a b c " * 60] * 1000, "preference": False}
        answers = []
        asking = threading.Thread(target=lambda: answers.append(httpx.post(
            f"{client.base_url}/score", json=body, timeout=60
        )))  # fmt: skip
        asking.start()
        while metric(client, "queue_completions") == 0:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        until_stopping(client)
        assert metric(client, "queue_completions") > 0
        late = client.post("/score", json={"prompt": PROMPT, "completions": ["late"]})
        refused(late, 503, "stopping")
        assert int(late.headers["retry-after"]) > 0
        refused(client.get("/ready"), 503, "stopping")
        assert client.get("/health").status_code == 200
        asking.join()
        assert answers[0].status_code == 200
        assert len(answers[0].json()["rewards"]) == 1000
        assert process.wait(30) == 0
        talk = process.stderr
        assert f"at {client.base_url}" in talk
        assert "Traceback" not in talk


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_it_at_once(base, number, code):
    with (
        running.service(base("bert")) as (process, client),
        socket.create_connection(("127.0.0.1", client.base_url.port)) as slow,
    ):
        body = json.dumps({"prompt": "p", "completions": ["a b c " * 60] * 1000})
        head = f"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        slow.sendall((head + "Content-Type: application/json\r\n\r\n" + body).encode())
        while metric(client, "queue_completions") == 0:
            time.sleep(0.01)
        process.send_signal(number)
        until_stopping(client)
        process.send_signal(number)
        assert process.wait(60) == code


def test_a_client_that_does_not_read_its_answer_keeps_it_only_for_so_long(base):
    with (
        running.service(base("bert"), body_timeout=0.5) as (process, client),
        socket.socket() as deaf,
    ):
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", client.base_url.port))
        # An answer that no buffer on the way holds.
        body = json.dumps({"prompt": "p", "completions": ["a"] * 1024, "preference": True})
        head = f"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        deaf.sendall((head + "Content-Type: application/json\r\n\r\n" + body).encode())
        deaf.recv(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr


def test_where_scoring_dies_the_service_says_so_without_text_and_still_ends(
    reward_model, capsys, monkeypatch
):
    def die(batcher, parts):
        raise RuntimeError(PROMPT)

    with ready(build_app(reward_model("bert"), ServiceSettings(timeout=0.5))) as client:
        monkeypatch.setattr("plaudit.serving.batcher.Batcher._encoded", die)
        body = {"prompt": PROMPT, "completions": COMPLETIONS}
        refused(client.post("/score", json=body), 504, "timeout")
        refused(client.post("/score", json=body), 500, "model")
        refused(client.get("/health"), 500, "failed")
        refused(client.get("/ready"), 503, "failed")
    said = capsys.readouterr().err
    assert "a fault of our own: RuntimeError" in said
    assert PROMPT not in said
    assert "Exception in thread" not in said


def test_a_port_in_use_is_a_mistake_that_can_be_mended(reward_model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PlauditError, match="in use; choose others with --host and --port"):
            serve(reward_model("bert"), port=taken.getsockname()[1])
    with pytest.raises(PlauditError, match=r"cannot listen on nowhere\.invalid"):
        serve(reward_model("bert"), host="nowhere.invalid")
    with pytest.raises(PlauditError, match="port: 99999 is not one of 0 to 65535"):
        serve(reward_model("bert"), port=99_999)


def test_refusals_speak_plainly_and_say_where_a_key_is_needed(reward_model):
    model = reward_model("bert")
    with ready(build_app(model)) as client:
        empty = client.post("/get_reward", json={"query": [], "prompts": "a"}).json()["error"]
        none = client.post("/v1/embeddings", json={"input": []}).json()["error"]["message"]
        assert none == "has 0 entries, and 1 is the least"
        missing = client.post("/score", json={"prompt": "a"}).json()["error"]["message"]
        for said in (none, missing, empty["message"]):
            assert not any(word in said for word in ("validation", "Input", "Field", "should"))
        assert "with a key" not in client.get("/nowhere").json()["error"]["message"]
    with ready(build_app(model, ServiceSettings(keys=("a-long-key",)))) as client:
        key = {"Authorization": "Bearer a-long-key"}
        for method, path in (("GET", "/nowhere"), ("GET", "/score")):
            answer = client.request(method, path, headers=key).json()["error"]["message"]
            assert "GET /openapi.json, with a key, says" in answer


def test_a_whole_text_to_an_encoder_that_reads_a_pair_is_said_once(reward_model, capsys):
    for name, times in (("bert", 1), ("gpt2", 0)):
        with ready(build_app(reward_model(name))) as client:
            capsys.readouterr()
            for _ in range(2):
                client.post("/v1/embeddings", json={"input": ["a fox and a dog"]})
                client.post("/score", json={"prompt": "a fox", "completions": ["and a dog"]})
        assert capsys.readouterr().err.count("this encoder reads a pair") == times


def test_what_is_served_is_said_in_a_line(reward_model):
    said = described(reward_model("bert"), ServiceSettings(keys=("a-long-key",), timeout=5))
    assert said == (
        "in float32, pooling cls, 1 key; of a request 1,024 completions at most, in 5 s (--timeout)"
    )
