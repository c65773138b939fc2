"""How fast is an optimiser step of decoders, beside TRL's, and how much of the GPU does it use?

Contenders are plaudit on the flat and on the padded layout, TRL with its defaults and TRL tuned.
The plan below is in the order of worth: what no longer fits into the time is left out.
"""

from collections.abc import Callable
from typing import Any

from checks import contest
from checks.contest import Contest, Task
from checks.setting import Report, Setting
from plaudit.model.batches import Padded

ORDER = 60
LIMIT = 150
ALONE = True

TABLE = "training"
SMALL, MIDDLE, LARGE = "smollm2-135m", "qwen2.5-0.5b", "qwen2.5-7b"
FLAT, PADDED = "plaudit flat", "plaudit padded"
TUNED, DEFAULT = "TRL tuned", "TRL default"
# What one contender takes on a GPU, model and warm-up included.
ESTIMATES = {SMALL: 6, MIDDLE: 8, LARGE: 16}
PLAN = [
    (MIDDLE, FLAT),
    (MIDDLE, TUNED),
    (LARGE, FLAT),
    (SMALL, FLAT),
    (SMALL, TUNED),
    (LARGE, TUNED),
    (MIDDLE, PADDED),
    (MIDDLE, DEFAULT),
    (SMALL, PADDED),
    (SMALL, DEFAULT),
    (LARGE, PADDED),
    (LARGE, DEFAULT),
]
# Pairs of a step that TRL tuned tries, the likeliest first; the larger the prompt the fewer.
SIZES = {200: (32, 16), 1500: (8, 16)}
SIZES_LARGE = {200: (16, 32), 1500: (8,)}
SIZES_TINY = (4, 8)


def check(setting: Setting, report: Report) -> None:
    """Measure every contender that the time allows; hold plaudit to its goals."""
    race = Contest(setting, report)
    for shape, contender in PLAN:
        if setting.tiny and shape == SMALL:
            continue  # no other lines than those of the middle one
        steps = 1 if shape == LARGE or setting.tiny else 2
        for prompt in contest.prompts(setting):
            task = contest.make_task(setting, shape, prompt, steps=steps)
            run = contender_of(race, task, contender)
            race.attempt(TABLE, task, contender, ESTIMATES[shape], run)
            judge(race, task, contender)
    race.drop()


def contender_of(race: Contest, task: Task, contender: str) -> Callable[[], dict[str, Any]]:
    """What measures it. Only the largest shape needs activation checkpointing to fit."""
    large = task.shape == LARGE
    seconds = 1.0 if large else 1.5
    if contender == FLAT:
        return lambda: race.train_plaudit(task, checkpointing=large, seconds=seconds)
    if contender == PADDED:
        padded = Padded(0)
        return lambda: race.train_plaudit(task, padded, checkpointing=large, seconds=seconds)
    if contender == DEFAULT:
        return lambda: race.train_trl(task, tuned=False, checkpointing=True, seconds=seconds)
    sizes = SIZES_TINY if race.setting.tiny else (SIZES_LARGE if large else SIZES)[task.prompt]
    return lambda: race.best_trl(
        task, sizes, ESTIMATES[task.shape], checkpointing=large, seconds=seconds
    )


def judge(race: Contest, task: Task, contender: str) -> None:
    """The goals that this contender's figures bear on."""
    ours = race.figure(TABLE, task, FLAT, "rankings/s")
    where = f"{task.shape}, prompt {task.prompt}"
    if contender == FLAT and ours:
        idle = race.figure(TABLE, task, FLAT, "GPU idle %")
        if isinstance(idle, float):
            race.report.goal(f"GPU idle %, plaudit flat, {where}", idle, "< 5")
        if task.shape == LARGE:
            mfu = race.figure(TABLE, task, FLAT, "MFU")
            race.report.goal(f"MFU in training, plaudit flat, {where}", mfu, ">= 0.45")
    theirs = race.figure(TABLE, task, TUNED, "rankings/s")
    # Whichever of the two ran last has both.
    if ours and theirs and contender in (FLAT, TUNED):
        race.report.goal(f"times faster than TRL tuned, {where}", ours / theirs, ">= 3")
