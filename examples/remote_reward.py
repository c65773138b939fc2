"""A reward model behind `plaudit serve` for trainers that take a function of yours.

    plaudit serve runs/first --port 8000

verl (0.9.1 and main of August 2026), whose reward managers call `compute_score` for one completion
at a time, in threads, or await `compute_score_async`:

    python -m verl.trainer.main_ppo reward.custom_reward_function.path=examples/remote_reward.py \\
        reward.custom_reward_function.name=compute_score_async \\
        +reward.custom_reward_function.reward_kwargs.url=http://127.0.0.1:8000 …

It does not hand the prompt over: each row of the data must have it in `extra_info`, as `prompt` (a
text, or its messages) or, as verl's own data sets have it, as `question`.

slime (0.3.1 and main of August 2026), which awaits `custom_rm` for a sample, or for a list of them
with `--group-rm`; the folder of this file has to be in PYTHONPATH:

    python train.py --custom-rm-path remote_reward.custom_rm --rm-url http://127.0.0.1:8000 …

With `--apply-chat-template` a sample has the prompt as the policy reads it: the bare one must be in
its `metadata`, as `prompt` (a text, or its messages).

OpenRLHF (0.11.2), which calls `reward_func`, where its rows are not laid out as the reward model's
(else `--reward.remote_url http://127.0.0.1:8000/get_reward` does without this file):

    python -m openrlhf.cli.train_ppo_ray --reward.remote_url examples/remote_reward.py \\
        --data.label_key question …

The label is the bare prompt; without one, what the policy was given is.

The service gathers what comes at the same time into batches. An empty completion has its reward
like any other. A dialogue that the service refuses ends the run with the reason, or has the reward
PLAUDIT_REFUSED where that is set. The address and an API key are read from PLAUDIT_URL and
PLAUDIT_API_KEY. Needs nothing but Python, so that it runs beside whatever a trainer has installed.
"""

import asyncio
import json
import math
import os
import random
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

URL = os.environ.get("PLAUDIT_URL", "http://127.0.0.1:8000")
REFUSED = float(os.environ["PLAUDIT_REFUSED"]) if os.environ.get("PLAUDIT_REFUSED") else None
ATTEMPTS = 8
BUSY = (429, 502, 503, 504)  # the service, or a proxy before it, asks to come again
LONGEST_PAUSE = 30.0  # seconds
ENDING = re.compile(r"(?:(?:<\|[^\s<>|]+\|>|</s>)\s*)+\Z")  # the policy's, which verl has taken off


class RefusedError(RuntimeError):
    """The service does not take these texts."""


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: dict[str, Any],
    url: str = URL,
    refused: float | None = REFUSED,
    **_: Any,
) -> dict[str, float]:
    """The reward of a completion, as verl takes it: `score`, and what it logs beside it."""
    prompt = extra_info.get("prompt", extra_info.get("question"))
    if prompt is None:
        raise KeyError(f"{data_source}: no `prompt` in extra_info; add it where the data is made")
    reward, truncated, taken = score(prompt, solution_str, url, refused)
    return {
        "score": reward,
        "truncated_by_reward_model": float(truncated),
        "refused_by_reward_model": float(not taken),
    }


async def compute_score_async(**given: Any) -> dict[str, float]:
    """`compute_score` for verl's event loop, which then has many in flight."""
    return await asyncio.to_thread(compute_score, **given)


async def custom_rm(args: Any, sample: Any, **_: Any) -> float | list[float]:
    """The reward of a sample of slime's; of a list of samples, theirs."""
    if isinstance(sample, list):
        return list(await asyncio.gather(*(custom_rm(args, one) for one in sample)))
    prompt = (sample.metadata or {}).get("prompt")
    if prompt is None:
        if args.apply_chat_template:
            raise KeyError(
                "--apply-chat-template has laid the prompt out for the policy: add the bare one to "
                "the `metadata` of the data, as `prompt`"
            )
        prompt = sample.prompt
    completion = ENDING.sub("", sample.response)
    url = args.rm_url or URL
    return (await asyncio.to_thread(score, prompt, completion, url, REFUSED))[0]


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str | None], **_: Any
) -> dict[str, Any]:
    """The rewards of what OpenRLHF's policy wrote: each query is a prompt and its completion."""
    scored = []
    for query, prompt, label in zip(queries, prompts, labels, strict=True):
        before, found, completion = query.partition(prompt)
        if not found:
            raise ValueError(f"the query does not hold its prompt, which was cut: {before[:80]}")
        scored.append(score(label or prompt, ENDING.sub("", completion), URL, REFUSED))
    rewards = [reward for reward, _, _ in scored]
    logs = {
        "truncated_by_reward_model": [float(truncated) for _, truncated, _ in scored],
        "refused_by_reward_model": [float(not taken) for _, _, taken in scored],
    }
    # What `--algo.dynamic_filtering_range` is held against, (0, 1) unless it is set.
    scores = [1 / (1 + math.exp(-max(reward, -700.0))) for reward in rewards]
    return {"rewards": rewards, "scores": scores, "extra_logs": logs}


def score(
    prompt: Any, completion: Any, url: str, refused: float | None
) -> tuple[float, bool, bool]:
    """The reward, whether the model could not read all of it, and whether the service took it."""
    if not isinstance(prompt, str):
        prompt = [dict(message) for message in prompt]  # Parquet gives an array of them
    try:
        body = {"prompt": prompt, "completion": completion}
        answer = post(f"{url.rstrip('/')}/score", body)
    except RefusedError:
        if refused is None:
            raise
        return refused, False, False
    return answer["reward"], answer["truncated"], True


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST with retries where the service is busy or starting; other refusals say why."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("PLAUDIT_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    attempt = 0
    while True:
        attempt += 1
        wait = 0.0
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:  # nosec B310 # yours
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code not in BUSY or attempt == ATTEMPTS:
                said = error.read().decode(errors="replace")[:500]
                # 400 is half a character, which a policy may write and JSON cannot hold.
                kind = RefusedError if error.code in (400, 413, 422) else RuntimeError
                raise kind(f"{url}: {error.code}: {said}") from error
            asked = error.headers.get("Retry-After", "")
            wait = float(asked) if asked.isdecimal() else 0.0
        except OSError as error:  # no connection yet, or no more
            if attempt == ATTEMPTS:
                raise RuntimeError(f"{url}: {error}; is `plaudit serve` running?") from error
        time.sleep(wait + random.uniform(0.5, 1) * min(2 ** (attempt - 1), LONGEST_PAUSE))
