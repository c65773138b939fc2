"""A reward model behind `plaudit serve` for trainers that take a file with a reward function.

    plaudit serve runs/first --port 8000

verl (0.9.1), which calls `compute_score` for one completion at a time, in threads:

    python -m verl.trainer.main_ppo reward.custom_reward_function.path=examples/remote_reward.py \\
        +reward.custom_reward_function.reward_kwargs.url=http://127.0.0.1:8000 …

It does not hand the prompt over: each row of the data must have it in `extra_info`, as `prompt` (a
text, or its messages) or, as verl's own data sets have it, as `question`.

OpenRLHF (0.11.2), which calls `reward_func`, where its rows are not laid out as the reward model's
(else `--reward.remote_url http://127.0.0.1:8000/get_reward` does without this file):

    python -m openrlhf.cli.train_ppo_ray --reward.remote_url examples/remote_reward.py \\
        --data.label_key question …

The label is the bare prompt; without one, what the policy was given is. The service gathers what
comes at the same time into batches. A blank completion gets the reward `BLANK`, since the
service takes a blank text for a mistake: set it below what your model gives. The address and an
API key are read from PLAUDIT_URL and PLAUDIT_API_KEY. Needs nothing but Python.
"""

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

URL = os.environ.get("PLAUDIT_URL", "http://127.0.0.1:8000")
BLANK = -5.0
ATTEMPTS = 6
BUSY = (429, 503, 504)  # the service, or a proxy before it, asks to come again
ENDING = re.compile(r"(?:(?:<\|[^\s<>|]+\|>|</s>)\s*)+\Z")  # the policy's, which verl has taken off


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: dict[str, Any],
    url: str = URL,
    blank: float = BLANK,
    **_: Any,
) -> dict[str, float]:
    """The reward of a completion, as verl takes it: `score`, and what it logs beside it."""
    prompt = extra_info.get("prompt", extra_info.get("question"))
    if prompt is None:
        raise KeyError(f"{data_source}: no `prompt` in extra_info; add it where the data is made")
    if not isinstance(prompt, str):
        prompt = [dict(message) for message in prompt]  # Parquet gives an array of them
    reward, truncated = score(prompt, solution_str, url, blank)
    return {"score": reward, "truncated_by_reward_model": float(truncated)}


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str | None]
) -> dict[str, Any]:
    """The rewards of what OpenRLHF's policy wrote: each query is a prompt and its completion."""
    scored = []
    for query, prompt, label in zip(queries, prompts, labels, strict=True):
        before, found, completion = query.partition(prompt)
        if not found:
            raise ValueError(f"the query does not hold its prompt, which was cut: {before[:80]}")
        scored.append(score(label or prompt, ENDING.sub("", completion), URL, BLANK))
    rewards = [reward for reward, _ in scored]
    logs = {"truncated_by_reward_model": [float(truncated) for _, truncated in scored]}
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs}


def score(prompt: Any, completion: str, url: str, blank: float) -> tuple[float, bool]:
    """The reward, and whether the model could not read all of it."""
    if not completion.strip():
        return blank, False
    answer = post(f"{url}/score", {"prompt": prompt, "completion": completion})
    return answer["reward"], answer["truncated"]


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST with retries where the service is busy or starting; other refusals say why."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("PLAUDIT_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    attempt = 0
    while True:
        attempt += 1
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code not in BUSY or attempt == ATTEMPTS:
                said = error.read().decode(errors="replace")[:500]
                raise RuntimeError(f"{url}: {error.code}: {said}") from error
        except OSError as error:  # no connection yet, or no more
            if attempt == ATTEMPTS:
                raise RuntimeError(f"{url}: {error}; is `plaudit serve` running?") from error
        time.sleep(min(2**attempt, 10))
