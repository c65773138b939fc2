"""How fast is bulk scoring with decoders, beside transformers' pipeline and a plain bf16 loop?

Texts are made of words that are one token each, so that all contenders read rows of about the same
tokens. plaudit scores rows that are encoded, and then texts, as the pipeline does.
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from checks import contest, shapes, timing
from checks.contest import Contest, PlainLoop, Task
from checks.setting import Report, Setting
from plaudit.model.batches import Padded

ORDER = 70
LIMIT = 90
ALONE = True

TABLE = "scoring"
SMALL, MIDDLE, LARGE = "smollm2-135m", "qwen2.5-0.5b", "qwen2.5-7b"
FLAT, PADDED, FROM_TEXTS = "plaudit flat", "plaudit padded", "plaudit flat, from texts"
LOOP, PIPELINE = "plain bf16 loop", "pipeline, from texts"
# What one contender takes on a GPU, model and warm-up included.
ESTIMATES = {SMALL: 5, MIDDLE: 5, LARGE: 9}
# In the order of worth: what no longer fits into the time is left out.
PLAN = [
    (LARGE, (FLAT,)),
    (LARGE, (LOOP,)),
    (MIDDLE, (FLAT, FROM_TEXTS)),
    (MIDDLE, (LOOP, PIPELINE)),
    (SMALL, (FLAT, FROM_TEXTS)),
    (SMALL, (LOOP, PIPELINE)),
    (MIDDLE, (PADDED,)),
    (LARGE, (PADDED,)),
    (LARGE, (PIPELINE,)),
    (SMALL, (PADDED,)),
]
RANKINGS = {SMALL: 32, MIDDLE: 32, LARGE: 16}
# The others compute every prompt K times, so they get fewer rankings of the largest shape.
RANKINGS_OF_OTHERS = 8
PIPELINE_BATCH_SIZES = (32, 8)


@dataclass(frozen=True)
class Texts:
    """Prompts with their completions, and what makes tokens of them."""

    prompts: list[tuple[str, list[str]]]
    tokenizer: Any


def check(setting: Setting, report: Report) -> None:
    """Measure every contender that the time allows; hold plaudit to its goal."""
    race = Contest(setting, report)
    words = shapes.tokenizer(shapes.texts_of(setting.ranked))
    texts = {prompt: make_texts(setting, words, prompt) for prompt in contest.prompts(setting)}
    rows = ahead_of_the_device(race, texts)
    for shape, contenders in PLAN:
        if setting.tiny and shape == SMALL:
            continue  # no other lines than those of the middle one
        for prompt in contest.prompts(setting):
            count = 4 if setting.tiny else RANKINGS[shape]
            task = Task(shape, prompt, rows[prompt][:count], [], 1)
            some = Texts(texts[prompt].prompts[:count], words)
            for contender in contenders:
                run = contender_of(race, task, some, contender)
                race.attempt(TABLE, task, contender, ESTIMATES[shape], run)
                judge(race, task, contender)
    race.drop()


def make_texts(setting: Setting, tokenizer: Any, prompt: int) -> Texts:
    """Rankings of texts whose lengths are drawn within a quarter of the mean."""
    drawn = random.Random(prompt)
    known = [
        token[1:] for token in tokenizer.get_vocab() if token[0] == "Ġ" and token[1:].isalpha()
    ]
    words = [
        word
        for word in sorted(known)
        if word.isascii() and len(tokenizer(" " + word).input_ids) == 1
    ]
    means = (prompt, contest.COMPLETION)
    if setting.tiny:
        means = (prompt // 20, contest.COMPLETION // 20)

    def text(mean: int) -> str:
        length = drawn.randint(mean - mean // 4, mean + mean // 4)
        return "".join(" " + drawn.choice(words) for _ in range(length))

    count = 4 if setting.tiny else max(RANKINGS.values())
    prompts = [(text(means[0]), [text(means[1]) for _ in range(contest.K)]) for _ in range(count)]
    return Texts(prompts, tokenizer)


def ahead_of_the_device(race: Contest, texts: dict[int, Texts]) -> dict[int, list[dict]]:
    """Report how many completions a second the host makes tokens and batches of; the rows."""
    model = race.model("plaudit", SMALL)
    model.encoding = replace(model.encoding, tokenizer=next(iter(texts.values())).tokenizer)
    repeats = 1 if race.setting.tiny else 2
    rows = {}
    for prompt, some in texts.items():
        encoded = rows[prompt] = model.encode(some.prompts)
        count = sum(len(row["input_ids"]) for row in encoded)
        budget = model.max_tokens_per_batch

        def encode(prompts: Any = some.prompts) -> Any:
            return model.encode(prompts)

        def collate(encoded: Any = encoded, budget: int = budget) -> Any:
            return model.layout.divide(encoded, budget)

        found = {"tokenise": min(timing.seconds("cpu", encode, repeats, warm_up=0))}
        before = os.environ.pop("TOKENIZERS_PARALLELISM", None)
        try:  # the library looks at the environment in every call
            os.environ["TOKENIZERS_PARALLELISM"] = "true"
            found["tokenise on all cores"] = min(timing.seconds("cpu", encode, repeats))
        finally:
            os.environ.pop("TOKENIZERS_PARALLELISM")
            if before is not None:
                os.environ["TOKENIZERS_PARALLELISM"] = before
        found["collate flat"] = min(timing.seconds("cpu", collate, repeats))
        for what, seconds in found.items():
            values = {"prompt": prompt, "host": what, "completions/s": count / seconds}
            race.report.row("ahead of the GPU: what the host does", **values)
    return rows


def contender_of(
    race: Contest, task: Task, texts: Texts, contender: str
) -> Callable[[], dict[str, Any]]:
    """What measures it."""
    if contender == FLAT:
        return lambda: race.score_plaudit(race.model("plaudit", task.shape), task.rows)
    if contender == PADDED:
        return lambda: race.score_plaudit(race.model("plaudit", task.shape), task.rows, Padded(0))
    measure = {FROM_TEXTS: from_texts, LOOP: plain_loop, PIPELINE: best_pipeline}[contender]
    return lambda: measure(race, task, texts)


def from_texts(race: Contest, task: Task, texts: Texts) -> dict[str, Any]:
    """`score_all`, as it is called with texts."""
    model = race.model("plaudit", task.shape)
    model.encoding = replace(model.encoding, tokenizer=texts.tokenizer)
    return race.score(model.model, task.rows, lambda: list(model.score_all(texts.prompts)))


def others(task: Task) -> Sequence[dict]:
    """The rankings that the contenders other than plaudit score."""
    return task.rows[:RANKINGS_OF_OTHERS] if task.shape == LARGE else task.rows


def plain_loop(race: Contest, task: Task, _: Texts) -> dict[str, Any]:
    """transformers' classifier in bfloat16."""
    model, rows = race.model("bfloat16", task.shape), others(task)
    loop = PlainLoop(model, rows, race.device)
    return race.score(
        model,
        rows,
        loop.score,
        computed=contest.apart(rows),
        warm_up=lambda: loop.score(batches=1),
    ) | {"tokens read": sum(map(len, loop.rows))}


def best_pipeline(race: Contest, task: Task, texts: Texts) -> dict[str, Any]:
    """transformers' `text-classification` pipeline, at the best of some batch sizes."""
    from transformers import pipeline

    model, rows = race.model("bfloat16", task.shape), others(task)
    whole = [p + "\n\n" + c for p, some in texts.prompts[: len(rows)] for c in some]
    tokens = sum(map(len, texts.tokenizer(whole).input_ids))
    best: dict[str, Any] = {}
    for size in PIPELINE_BATCH_SIZES:
        if best and race.device == "cuda" and race.setting.left() < ESTIMATES[task.shape]:
            break
        pipe = pipeline(
            "text-classification",
            model=model.eval(),
            tokenizer=texts.tokenizer,
            device="cuda:0" if race.device == "cuda" else "cpu",
            batch_size=size,
            function_to_apply="none",
            top_k=None,
        )
        figures = race.score(
            model,
            rows,
            lambda pipe=pipe: list(pipe(whole)),
            computed=contest.apart(rows),
            warm_up=lambda pipe=pipe, size=size: list(pipe(whole[:size])),
            seconds=1.0,
        )
        if figures["rankings/s"] > best.get("rankings/s", 0):
            best = figures | {"tokens read": tokens, "batch": size}
    return best


def judge(race: Contest, task: Task, contender: str) -> None:
    """The goals that this contender's figures bear on, and how it compares with plaudit."""
    ours = race.figure(TABLE, task, FLAT, "completions/s")
    theirs = race.figure(TABLE, task, contender, "completions/s")
    where = f"{task.shape}, prompt {task.prompt}"
    if not ours or not theirs:
        return
    if contender == FLAT:
        if task.shape == LARGE:
            mfu = race.figure(TABLE, task, FLAT, "MFU")
            race.report.goal(f"MFU in scoring, plaudit flat, {where}", mfu, ">= 0.55")
        idle = race.figure(TABLE, task, FLAT, "GPU idle %")
        if isinstance(idle, float):
            race.report.goal(f"GPU idle %, scoring, plaudit flat, {where}", idle, "< 5")
        return
    race.report.row(
        "plaudit flat beside others",
        shape=task.shape,
        prompt=task.prompt,
        **{"other": contender, "times faster": ours / theirs},
    )
