"""How fast do an optimiser step and bulk scoring run on an encoder, in which no prompt is shared?

What a flat layout can save here is padding alone.
"""

from checks import contest
from checks.contest import Contest, PlainLoop, Task
from checks.setting import Report, Setting
from plaudit.model.batches import Padded

ORDER = 80
LIMIT = 50
ALONE = True

SHAPE = "modernbert-base"
PROMPT = 200
SIZES = (32, 16, 64)  # pairs of a step that TRL tuned tries, the likeliest first
SECONDS = 8  # that one contender takes on a GPU


def check(setting: Setting, report: Report) -> None:
    """Measure every contender that the time allows."""
    race = Contest(setting, report)
    steps = 1 if setting.tiny else 2
    task = contest.make_task(setting, SHAPE, PROMPT, steps=steps, shares=False)
    padded = Padded(0)
    race.attempt("training", task, "plaudit flat", SECONDS, lambda: race.train_plaudit(task))
    race.attempt("scoring", task, "plaudit flat", SECONDS / 2, lambda: score(race, task, None))
    race.attempt(
        "training", task, "plaudit padded", SECONDS, lambda: race.train_plaudit(task, padded)
    )
    race.attempt("scoring", task, "plaudit padded", SECONDS / 2, lambda: score(race, task, padded))
    sizes = (4, 8) if setting.tiny else SIZES
    race.attempt(
        "training",
        task,
        "TRL tuned",
        SECONDS,
        lambda: race.best_trl(task, sizes, SECONDS, checkpointing=False, seconds=1.5),
    )
    race.attempt("scoring", task, "plain bf16 loop", SECONDS / 2, lambda: loop(race, task))
    race.drop()
    for table, theirs in (("training", "TRL tuned"), ("scoring", "plain bf16 loop")):
        ours, other = (
            race.figure(table, task, who, "rankings/s") for who in ("plaudit flat", theirs)
        )
        if ours and other:
            beside = {"other": theirs, "times faster": ours / other}
            report.row("plaudit flat beside others", what=table, **beside)
    idle = race.figure("training", task, "plaudit flat", "GPU idle %")
    if isinstance(idle, float):
        report.goal("GPU idle %, training, plaudit flat", idle, "< 5")


def score(race: Contest, task: Task, layout: Padded | None) -> dict:
    """plaudit's scoring; `layout` takes the flat one's place."""
    return race.score_plaudit(race.model("plaudit", SHAPE), task.rows, layout)


def loop(race: Contest, task: Task) -> dict:
    """The plain loop's."""
    model = race.model("bfloat16", SHAPE)
    plain = PlainLoop(model, task.rows, race.device)
    return race.score(model, task.rows, plain.score, computed=contest.apart(task.rows))
