"""Is a reward independent of batch and order, and equal for equal texts?

A row of tokens must get the same reward alone, beside others, in any order and in passes of any
size: within 1e-4 × max(1, |reward|) in float32. In bfloat16 another size of a matrix product may
round otherwise, and 0.2 of the standard deviation of all rewards is allowed. Rows that are equal
and are scored in one call get the same bits in both.
"""

import random
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from checks import shapes
from checks.right_rewards import LONG, PADDED_ONLY, in_one, made_rankings, reward_differences
from checks.setting import Report, Setting
from plaudit.model.reward_model import RewardModel

ORDER = 11
LIMIT = 150
ALONE = False

BOUNDS = {"float32": 1e-4, "bfloat16": 0.2}
MODELS = ("llama", "modernbert", "gpt2", "bert", "deberta-v2")
TINY_MODELS = ("llama", "deberta-v2")
Encoded = list[dict[str, Any]]


def check(setting: Setting, report: Report) -> None:
    """Score the same rows in many ways, on both layouts in both precisions."""
    texts = shapes.texts_of(setting.ranked)
    slowest = 0.0
    names = TINY_MODELS if setting.tiny else MODELS
    for number, name in enumerate(names):
        if setting.left() < 1.5 * slowest:
            rest = ", ".join(names[number:])
            report.holds(f"there was time for all models; not for {rest}", False)
            return
        started = time.monotonic()
        folder = shapes.small_model(name, setting.scratch / name, texts)
        encoded = made_rankings(name not in shapes.ENCODERS, setting.tiny)
        layouts = ("auto",) if name in PADDED_ONLY else ("auto", "padded")
        ways = [(dtype, layout) for dtype in BOUNDS for layout in layouts]
        if setting.tiny:  # bfloat16 takes long on many a CPU
            ways = ways[:3] if name == "llama" else ways[:1]
        for dtype, layout in ways:
            try:
                _one(name, folder, dtype, layout, encoded, texts, setting, report)
            except Exception as error:
                traceback.print_exc()
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                report.holds(f"{name}, {dtype}, layout {layout}, scores; {reason}", False)
        slowest = max(slowest, time.monotonic() - started)


def _one(
    name: str,
    folder: Path,
    dtype: Any,
    layout: Any,
    encoded: Encoded,
    texts: list[str],
    setting: Setting,
    report: Report,
) -> None:
    started, bound = time.monotonic(), BOUNDS[dtype]
    torch.compiler.reset()  # as in a process of its own
    model = RewardModel.load(folder, device=setting.device, dtype=dtype, layout=layout, **LONG)
    expected = in_one(model.rewards(encoded))
    found = {
        what: reward_differences(in_one(rewards()), expected, dtype)[0]
        for what, rewards in _ways(model, encoded).items()
    }
    unequal = _unequal_tokens(model, encoded) + _unequal_texts(model, texts)
    of = f"{name}, {dtype}, {model.layout.describe().partition(':')[0]}"
    report.row(
        "largest differences from all in one call", run=of, **found,
        **{"equal rows with other bits": len(unequal), "seconds": time.monotonic() - started},
    )  # fmt: skip
    worst = max(found, key=found.__getitem__)
    report.holds(
        f"{of}: a reward is that of any batch and order within {bound:g} (largest difference "
        f"{found[worst]:.2g}, {worst})",
        found[worst] <= bound,
    )
    told = f"; not so: {'; '.join(unequal[:3])}" if unequal else ""
    report.holds(f"{of}: equal rows of a call have the same reward, bit for bit{told}", not unequal)


def _ways(model: RewardModel, encoded: Encoded) -> dict[str, Callable[[], list[list[float]]]]:
    """Other ways to score the same rankings, each giving rewards in the rankings' own order."""

    def each_alone() -> list[list[float]]:
        return [model.rewards([ranking])[0] for ranking in encoded]

    def rows_alone() -> list[list[float]]:
        # The rows of large rankings would be hundreds; a few of them say as much.
        results = []
        for ranking, rewards in zip(encoded, model.rewards(encoded), strict=True):
            rows = [_single(ranking, number) for number in range(min(4, len(rewards)))]
            results.append([model.rewards([row])[0][0] for row in rows] + rewards[4:])
        return results

    def in_order(order: list[int]) -> list[list[float]]:
        rewards = model.rewards([encoded[place] for place in order])
        back = {place: rewards[number] for number, place in enumerate(order)}
        return [back[place] for place in range(len(order))]

    def rows_in_another_order() -> list[list[float]]:
        turned = [
            ranking | {name: ranking[name][::-1] for name in ("input_ids", "completion_tokens")}
            for ranking in encoded
        ]
        return [rewards[::-1] for rewards in model.rewards(turned)]

    def with_tokens(tokens: int) -> list[list[float]]:
        before = model.max_tokens_per_batch
        model.max_tokens_per_batch = tokens
        try:
            return model.rewards(encoded)
        finally:
            model.max_tokens_per_batch = before

    shuffled = random.Random(1).sample(range(len(encoded)), len(encoded))
    return {
        "each ranking alone": each_alone,
        "each row alone": rows_alone,
        "in another order": lambda: in_order(shuffled),
        "completions in another order": rows_in_another_order,
        "300 tokens a pass": lambda: with_tokens(300),
        "1,000 tokens a pass": lambda: with_tokens(1000),
        "all in one pass": lambda: with_tokens(10**6),
    }


def _single(ranking: dict[str, Any], number: int) -> dict[str, Any]:
    """A ranking of one of a ranking's rows."""
    row = ranking["input_ids"][number]
    own = ranking["completion_tokens"][number]
    return {"input_ids": [row], "shared": 0, "length": len(row), "completion_tokens": [own]}


def _unequal_tokens(model: RewardModel, encoded: Encoded) -> list[str]:
    """Rows of tokens that are equal and did not get the same reward in one call, in words.

    Some completions come several times within a ranking; rankings come several times among the
    others; a row comes in rankings of other completions, and alone. Passes are small, so that
    copies would lie in several of them.
    """
    several = []
    for ranking in encoded:
        count = len(ranking["input_ids"])
        places = [*range(count), 0, count - 1, 0]
        doubled = ranking | {
            name: [ranking[name][place] for place in places]
            for name in ("input_ids", "completion_tokens")
        }
        half = ranking | {
            name: ranking[name][: max(count // 2, 1)] for name in ("input_ids", "completion_tokens")
        }
        half["length"] = max(map(len, half["input_ids"]))
        several += [doubled, half, _single(ranking, 0), ranking]
    calls = several[::3] + several[1::3] + several[2::3]
    unequal = []
    for tokens in (700, model.max_tokens_per_batch):
        before, model.max_tokens_per_batch = model.max_tokens_per_batch, tokens
        try:
            rewards = model.rewards(calls)
        finally:
            model.max_tokens_per_batch = before
        seen: dict[tuple[int, ...], float] = {}
        for ranking, of_ranking in zip(calls, rewards, strict=True):
            for row, reward in zip(ranking["input_ids"], of_ranking, strict=True):
                first = seen.setdefault(tuple(row), reward)
                if first != reward:
                    unequal.append(
                        f"a row of {len(row)} tokens has {first!r} and {reward!r} "
                        f"with {tokens} tokens a pass"
                    )
    return unequal


def _unequal_texts(model: RewardModel, texts: list[str]) -> list[str]:
    """The same for texts, which are given to `score` and `score_all`, in words."""
    prompt, answers = texts[0], texts[1:20:2]
    given = [*answers, answers[0], *answers[::-1], answers[0]]
    seen: dict[tuple[str, str], float] = {}
    unequal = []

    def see(prompt: str, answers: list[str], rewards: list[float]) -> None:
        for answer, reward in zip(answers, rewards, strict=True):
            first = seen.setdefault((prompt, answer), reward)
            if first != reward:
                unequal.append(f"a text has {first!r} and {reward!r}")

    see(prompt, given, model.score(prompt, given))
    seen.clear()  # another call, in other passes
    calls = [(prompt, answers[:5]), (texts[60], answers[:3]), (prompt, answers[2:7])]
    calls += [(texts[60], answers[1:2]), (prompt, answers[:1])]
    for (of, some), rewards in zip(calls, model.score_all(calls), strict=True):
        see(of, list(some), rewards)
    return unequal
