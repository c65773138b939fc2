"""Prove a set-up before the long run: `plaudit train --check`, in a few minutes at most.

Reads the data, loads the base model as training would, and times a step: first of all it says how
long training will take, and what it will do itself. Then it looks at what often goes wrong, and
trains on a few pairs for a few steps, as far as that is done in `BUDGET`: where steps are slow it
tries fewer learning rates, or none, and says what it left out. Writes nothing but into a temporary
folder. Each check gives one line: what was seen and, where it fails, what to change. Passing does
not prove that there is something to learn in the data, only that this set-up would learn it.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from plaudit import console
from plaudit.console import counted, duration
from plaudit.data.cells import characters
from plaudit.data.mixing import Mixture
from plaudit.data.rankings import Ranking
from plaudit.data.readers import Rankings
from plaudit.files import SCHEMA_VERSION
from plaudit.model import base_models
from plaudit.model.encoding import plain_text, too_many_equal
from plaudit.model.freezing import FrozenLayout
from plaudit.model.loading import located
from plaudit.model.reward_model import RewardModel
from plaudit.results import CheckRecord, SetUpRecord
from plaudit.settings import Settings
from plaudit.training.diagnosis import Head
from plaudit.training.duration import (
    Expected,
    expected,
    forward_seconds,
    step_seconds,
    work_at_hand,
)
from plaudit.training.folder import build_settings
from plaudit.training.objectives import OBJECTIVES, Prepared
from plaudit.training.parts import (
    Given,
    Parts,
    drawn,
    encoded,
    load,
    name_data,
    say_how_read,
    split,
    with_steps,
)
from plaudit.training.processes import one_process
from plaudit.training.setup import build_trainer, load_base, prepared, trained_model
from plaudit.training.trainer import DivergedError

SAMPLE = 300  # training rankings that are looked at
SCORED = 64  # rankings that a trained base model scores
PAIRS = 4  # to know by heart
STEPS = 24  # of a trial
FEWEST = 8  # of a trial that is cut short: fewer show nothing
BUDGET = 120.0  # seconds that all trials may take
SCORING = 30.0  # seconds that scoring by a trained base model may take
PROMPTS = 48  # of the easy signal: half to learn it, half to measure; the shortest, for speed
LONG = 20  # times a trial's steps: in a run so long a tenth of a trial's rate gets as far
LEARNT, UNMOVED = 0.3, 0.1  # shares by which a trial's loss falls
TURNED = 0.4  # share of pairs whose better completion is longer; published data lie above a half
UNKNOWN = 0.05  # share of tokens
FEWER = 0.9  # times the embeddings of the base model: its own tokenizer has at least so many tokens
TRIED = ("overfitting", "learning rate", "easy signal")  # the checks that need trials
ALL = 5  # trials: at three learning rates and perhaps the usual one, and of the easy signal
# Two completions that every model can tell apart.
EASY = ("yes yes yes yes", "no no no no")


@dataclass(frozen=True)
class SetUp:
    """What the checks of a set-up found; `str` gives a line for each."""

    checks: list[CheckRecord]
    expected: Expected | None = None
    left_out: Sequence[str] = ()  # checks that would have taken too long

    @property
    def passed(self) -> bool:
        """Whether all of them passed."""
        return all(check["passed"] for check in self.checks)

    def __str__(self) -> str:
        width = max(len(check["name"]) for check in self.checks)
        lines = []
        if self.expected is not None:
            lines.append(f"      {'time':{width}}  {self.expected}")
        for check in self.checks:
            line = f"{'pass' if check['passed'] else 'FAIL'}  {check['name']:{width}}  "
            change = f". Change: {check['change']}" if check["change"] else ""
            lines.append(line + check["seen"] + change)
        if self.left_out:
            lines.append(
                f"      {'left out':{width}}  {', '.join(self.left_out)}: trials would have taken "
                "too long here"
            )
        return "\n".join(lines)

    def as_json(self) -> SetUpRecord:
        """What `--json` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": self.passed,
            "checks": self.checks,
            "left_out": list(self.left_out),
            "expected": None
            if self.expected is None
            else {
                "steps": self.expected.work.steps,
                "training_seconds": list(self.expected.training),
                "measuring_seconds": list(self.expected.measuring),
            },
        }


class Trial(NamedTuple):
    """What some steps at one learning rate did to pairs: their log loss before and after, and what
    share of them is right after."""

    rate: float
    before: float
    after: float
    right: float

    @property
    def fell(self) -> float:
        """By which share the loss fell; below 0 where it rose or is not finite."""
        return 1 - self.after / self.before if math.isfinite(self.after) else -math.inf

    @property
    def learnt(self) -> bool:
        """Whether all pairs are right, and not by how the head was drawn."""
        return self.right == 1 and self.fell > LEARNT


def check_set_up(
    data: Given,
    config: str | Path | None,
    settings: dict[str, Any],
) -> SetUp:
    """Run every check of settings on data; see `plaudit.train`.

    Raises:
        PlauditError: for what would stop training before its first step.
    """
    one_process("train --check")
    chosen = build_settings(config, settings | name_data(data))
    rankings = load(data, chosen)
    if not rankings.streaming:
        say_how_read(rankings, "plaudit inspect shows them")
    parts = split(rankings, chosen)
    chosen = with_steps(chosen, rankings, parts)
    train = drawn(parts.train, rankings, chosen)
    if isinstance(rankings, Mixture) and not isinstance(train, Rankings):
        train = train[:: -(-len(train) // SAMPLE)]  # of every source, and not the first alone
    sample = list(islice((r for r in train if r.key not in parts.held_out), SAMPLE))
    with console.hushed(), tempfile.TemporaryDirectory() as folder:
        place, start = Path(folder), prepared(chosen, sample)
        model = load_base(chosen)
        counts: dict[str, int] = {}
        rows = encoded(sample, model.encoding, "encoding", counts)
        console.show("timing a few rankings and a step, to say how long training will take")
        forward = forward_seconds(model, rows, chosen)
        time = _time(model, rows, forward, parts, rankings, chosen, place, start)
        console.show(f"training will take {time}")
        few = _short_pairs(model, sample, OBJECTIVES.get(chosen.loss).needs())
        plan = _plan(few, chosen, place, start)
        if few:
            console.show(plan.describe())
        checks = [
            _labels(model, parts, sample, int(SCORING / forward)),
            _truncation(counts, model.encoding.max_length),
            _tokenizer(model, rows, chosen),
            _pad_token(model, rows, chosen),
            _trainable(model, rows, chosen, place, start),
        ]
        tried = list(_learning(few, sample, chosen, place, start, plan))
    missing = [name for name in TRIED if name not in (check["name"] for check in tried)]
    return SetUp(checks + tried, time, missing if few else ())


def _time(
    model: RewardModel,
    rows: Any,
    forward: float,
    parts: Parts,
    rankings: Rankings,
    chosen: Settings,
    folder: Path,
    start: Prepared,
) -> Expected:
    """How long the run will take, by timing a step; of frozen layers, what goes through them."""
    count = 0 if rankings.streaming else len(parts.train)
    work = work_at_hand(model, chosen, rows, parts, count)
    if chosen.freeze_layers:
        return expected(work, forward)
    short = _short(chosen, folder)  # its rows are those of trials, without what a control needs
    trainer = build_trainer(
        load_base(chosen), rows, None, short, folder, checkpoints=False, start=start, log=False
    )
    return expected(work, forward, step_seconds(trainer, rows, work.each, chosen))


class Plan(NamedTuple):
    """How many trials are made, of how many steps, and what a step of theirs takes."""

    trials: int
    steps: int
    seconds: float

    def describe(self) -> str:
        """What the check will do, before it does it."""
        took = f"a step of a trial takes {self.seconds:.1f} s here"
        if not self.trials:
            return f"checking without any trial: {took}, too long to try what it learns"
        does = f"checking by {counted(self.trials, 'short training')} of {self.steps} steps"
        if self.trials < ALL:
            does += f", where others would be {ALL} of {STEPS}: {took}"
        return f"{does}; about {duration(self.trials * self.steps * self.seconds)}"


def _plan(few: list[Ranking], chosen: Settings, folder: Path, start: Prepared) -> Plan:
    """As many trials as `BUDGET` allows: at all learning rates; at the one that is set, and of the
    easy signal; at the one that is set alone; that one cut short; none."""
    if not few:
        return Plan(0, 0, 0.0)
    model = load_base(chosen)
    rows = encoded(few, model.encoding, "encoding", attributes=start.attributes)
    settings = _short(chosen, folder)
    trainer = build_trainer(
        model, rows, None, settings, folder, checkpoints=False, start=start, log=False
    )
    try:
        seconds = step_seconds(trainer, rows, PAIRS, settings)
    finally:
        if isinstance(trainer.layout, FrozenLayout):
            trainer.layout.close()
    affordable = BUDGET / max(seconds, 1e-6)
    for trials in (ALL, 2, 1):
        if affordable >= trials * STEPS:
            return Plan(trials, STEPS, seconds)
    steps = int(affordable)
    return Plan(1, steps, seconds) if steps >= FEWEST else Plan(0, 0, seconds)


def _check(name: str, failed: bool, seen: str, change: str) -> CheckRecord:
    return {"name": name, "passed": not failed, "seen": seen, "change": change if failed else ""}


# ---- data ----


def _labels(
    model: RewardModel, parts: Parts, sample: Sequence[Ranking], affordable: int = SCORED
) -> CheckRecord:
    """Held against what is known of them: length, other parts of the data, a trained model."""
    lowest = "see that the lowest rank is the best one; otherwise columns rating=NAME"
    share, error = _longer(sample)
    seen = (
        f"the better completion is the longer one in {share:.0%} of the pairs of "
        f"{counted(len(sample), 'training ranking')} (by characters)"
    )
    if not model.new_head:
        few = sample[: max(min(SCORED, affordable), 1)]
        right = sum(_right(model, ranking) for ranking in few) / len(few)
        seen += f"; the base model, which is trained already, gets {right:.0%} right"
        if right + len(few) ** -0.5 < 0.5:
            return _check("labels", True, f"{seen}: fewer than chance", lowest)
    for name, part in (("validation", parts.validation), ("test", parts.test)):
        other, its_error = _longer(part)
        if abs(share - other) > 0.2 + error + its_error and (share > 0.5) != (other > 0.5):
            seen += f", but in {other:.0%} of those to {name}: one of the two is turned round"
            return _check("labels", True, seen, lowest)
    turned = share + error < TURNED
    seen += ", which is rare: the labels may be turned round" if turned else ""
    return _check("labels", turned, seen, f"{lowest}; where shorter is better indeed, go on")


def _longer(rankings: Sequence[Ranking]) -> tuple[float, float]:
    """The share of pairs whose better completion has more characters, and two standard errors of a
    half over rankings, whose pairs go the same way."""
    longer = [
        (a > b) + 0.5 * (a == b)
        for ranking in rankings
        for lengths in [[characters(text) for text in ranking.completions]]
        for a, b in ((lengths[i], lengths[j]) for i, j in ranking.pairs())
    ]
    if not longer:
        return 0.5, 1.0
    return sum(longer) / len(longer), len(rankings) ** -0.5


def _right(model: RewardModel, ranking: Ranking) -> float:
    """The share of a ranking's pairs that a model gets right."""
    rewards = model.rewards(model.encode([(ranking.prompt, ranking.completions)]))[0]
    pairs = ranking.pairs()
    return sum(rewards[i] > rewards[j] for i, j in pairs) / len(pairs)


def _truncation(counts: dict[str, int], max_length: int) -> CheckRecord:
    pairs, equal, cut = (counts.get(n, 0) for n in ("pairs", "equal_pairs", "completion_cut"))
    seen = (
        f"at {max_length} tokens {cut:,} of {counts['completions']:,} completions lose their end; "
        f"{equal:,} of {pairs:,} pairs have equal tokens"
    )
    change = "a larger max_length" if cut else "drop pairs of equal texts, or take another base"
    return _check("truncation", too_many_equal(counts), seen, change)


# ---- base model and tokenizer ----


def _tokenizer(model: RewardModel, rows: Any, chosen: Settings) -> CheckRecord:
    """Whether the tokenizer is the base model's: by size, special tokens, and unknown ones."""
    tokenizer = model.encoding.tokenizer
    config = _config(chosen)
    has = config.vocab_size if config is not None else len(tokenizer)
    faults = []
    if len(tokenizer) < FEWER * has:  # one with more is not loaded
        faults.append(f"it has {len(tokenizer):,} tokens, the base model {has:,} embeddings")
    for role in ("bos", "cls", "sep"):
        ours, its = (getattr(x, f"{role}_token_id", None) for x in (tokenizer, config))
        if None not in (ours, its) and ours != its:
            faults.append(f"its {role} token has id {ours}, in the base model's config.json {its}")
    ids = [token for row in rows for each in row["input_ids"] for token in each]
    unknown = tokenizer.unk_token_id
    special = {getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    share = ids.count(unknown) / len(ids) if unknown is not None and unknown not in special else 0
    if share > UNKNOWN:
        faults.append(f"{share:.0%} of the data's tokens are {tokenizer.unk_token}")
    seen = f"{len(tokenizer):,} tokens for {has:,} embeddings, {share:.1%} of the data's unknown"
    return _check(
        "tokenizer",
        bool(faults),
        f"{'; '.join(faults)}: it seems to be another model's" if faults else seen,
        "base: put the tokenizer that the model was pretrained with into its folder",
    )


def _pad_token(model: RewardModel, rows: Any, chosen: Settings) -> CheckRecord:
    """Whether it is the base model's, and no word of the data."""
    tokenizer = model.encoding.tokenizer
    pad, config = model.encoding.pad_token_id, _config(chosen)
    shown = f"{tokenizer.convert_ids_to_tokens(pad)!r} ({pad})"
    roles = ("bos", "eos", "unk", "sep", "cls")
    within = sum(pad in each for row in rows for each in row["input_ids"])
    if pad in {getattr(tokenizer, f"{role}_token_id") for role in roles}:
        within = 0  # a token that ends texts or stands between them may be both
    its = getattr(config, "pad_token_id", None)
    differs = its is not None and its != pad and model.encoding.kind == "encoder"
    seen = shown
    if within:
        seen += f" stands in {within:,} completions as a word of theirs"
    elif differs:
        seen += f", but the base model was pretrained with id {its}"
    return _check(
        "pad token",
        bool(within) or differs,
        seen,
        "base: correct pad_token in its tokenizer_config.json",
    )


def _config(chosen: Settings) -> Any:
    """The base model's configuration as it is stored; None for a `.pt` file, which is ours."""
    if Path(chosen.base).suffix == ".pt":
        return None
    source, _ = located(chosen.base)
    return base_models.load_config(source).get_text_config()


# ---- learning ----


def _learning(
    few: list[Ranking],
    sample: list[Ranking],
    chosen: Settings,
    folder: Path,
    start: Prepared,
    plan: Plan,
) -> Iterator[CheckRecord]:
    if not few:
        none = "no pair has two different rows of tokens and what the loss needs"
        yield _check("overfitting", True, none, "see truncation and tokenizer")
        return
    if not plan.trials:
        return
    rate, steps = chosen.learning_rate, plan.steps
    if plan.trials == ALL:
        tried = [_trial(few, chosen, folder, r, start) for r in (rate / 10, rate, rate * 10)]
        if not any(trial.learnt for trial in tried):
            usual = Settings.build(
                data="unused", freeze_layers=chosen.freeze_layers, pooling=chosen.pooling,
                head_epochs=0,
            ).learning_rate  # fmt: skip
            tried.append(_trial(few, chosen, folder, usual, start))
    else:
        tried = [_trial(few, chosen, folder, rate, start, steps=steps)]
    best = min(tried, key=lambda trial: (not trial.learnt, trial.after))
    if best.learnt or plan.trials == ALL:  # else another rate, or more steps, may have done it
        yield _check(
            "overfitting",
            not best.learnt,
            f"{steps} steps at learning_rate {best.rate:g} get {best.right:.0%} of {len(few)} "
            f"pairs right, log loss from {best.before:.3f} to {best.after:.3f}",
            "what fails above; else pooling, freeze_layers or another base",
        )
        yield _rate(tried, best, chosen, len(sample), steps)
    if plan.trials == 1:
        return
    # A loss of ratings or of strength is given what says the same as the ranks.
    more: dict[str, Any] = {
        "ratings": [1.0, 0.0],
        "strength": 1.0,
        "attributes": {"good": [1.0, 0.0]},
    }
    prompts = [Ranking(ranking.prompt, EASY, [0, 1], **more) for ranking in sample]
    prompts.sort(key=lambda ranking: len(plain_text(ranking.prompt)))
    learnt, held_out = prompts[:PROMPTS:2], prompts[1:PROMPTS:2]
    easy = _trial(learnt, chosen, folder, best.rate, prepared(chosen, learnt), held_out)
    yield _check(
        "easy signal",
        easy.right < 0.9 or easy.fell < UNMOVED,  # a head may be drawn so that it is right
        f"{EASY[0][:3]!r} over {EASY[1][:2]!r}, learnt on {len(learnt)} of your prompts, is right "
        f"on {easy.right:.0%} of {len(held_out)} others",
        "what fails above; else a larger max_length, pooling or another base",
    )


def _trainable(
    model: RewardModel, rows: Any, chosen: Settings, folder: Path, start: Prepared | None = None
) -> CheckRecord:
    settings = _short(chosen, folder)
    trainer = build_trainer(model, rows, None, settings, folder, checkpoints=False, start=start)
    inner: Any = trainer.model
    sizes = [(p.numel(), p.requires_grad) for p in inner.parameters()]
    count = sum(size for size, trains in sizes if trains)
    head = Head(inner).trains
    if isinstance(trainer.layout, FrozenLayout):
        trainer.layout.close()
    return _check(
        "trainable",
        not head,
        f"{count:,} of {sum(size for size, _ in sizes):,} parameters, the head "
        + ("among them" if head else "not among them"),
        "the head is frozen: take a base model whose head requires gradients",
    )


def _short_pairs(
    model: RewardModel, sample: Sequence[Ranking], needs: Sequence[str]
) -> list[Ranking]:
    """The best and the worst completion of the shortest rankings whose tokens differ and that have
    what the loss needs."""
    pairs = []
    known = (r for r in sample if all(getattr(r, name) is not None for name in needs))
    for ranking in islice(known, SCORED):
        i, j = (ranking.ranks.index(rank) for rank in (min(ranking.ranks), max(ranking.ranks)))
        pair = Ranking(
            ranking.prompt,
            [ranking.completions[i], ranking.completions[j]],
            [0, 1],
            ratings=None if ranking.ratings is None else [ranking.ratings[i], ranking.ratings[j]],
            strength=ranking.strength,
            attributes=ranking.attributes
            and {name: [of[i], of[j]] for name, of in ranking.attributes.items()},
        )
        ids = model.encoding.encode([pair])[0]["input_ids"]
        if ids[0] != ids[1]:
            pairs.append((sum(map(len, ids)), pair))
    return [pair for _, pair in sorted(pairs, key=lambda sized: sized[0])[:PAIRS]]


def _short(
    chosen: Settings, folder: Path, rate: float | None = None, steps: int | None = None
) -> Settings:
    """The settings, for a trial: a constant rate, few steps, nothing that is kept."""
    return chosen.model_copy(
        update={
            "learning_rate": rate or chosen.learning_rate,
            "lr_scheduler_type": "constant",
            "warmup_steps": 0,
            "max_steps": steps or STEPS,
            "per_device_train_batch_size": PAIRS,
            "gradient_accumulation_steps": 1,
            "early_stopping_patience": 0,
            "report_to": [],
            "control_method": "expert",
            "sft_coefficient": 0.0,
            "control": [],  # of four pairs nothing can be told of length and the like
            "metric_for_best_model": "auto",
            "features_cache": str(folder / "features"),
        }
    )


def _trial(
    rankings: Sequence[Ranking],
    chosen: Settings,
    folder: Path,
    rate: float,
    start: Prepared,
    measured: Sequence[Ranking] = (),
    steps: int | None = None,
) -> Trial:
    """Train a fresh model on pairs, and measure it there or on others."""
    settings = _short(chosen, folder, rate, steps)
    model = load_base(settings)
    measured = measured or rankings
    before, _ = _measure(model, measured)
    rows = encoded(rankings, model.encoding, "encoding", attributes=start.attributes)
    trainer = build_trainer(model, rows, None, settings, folder, checkpoints=False, start=start)
    try:
        with base_models.quiet(), console.within(f"trial at {rate:g}"):
            trainer.train()
    except DivergedError:
        return Trial(rate, before, math.inf, 0.0)
    finally:
        if isinstance(trainer.layout, FrozenLayout):
            trainer.layout.close()
    after, right = _measure(trained_model(trainer, model, settings), measured)
    return Trial(rate, before, after, right)


def _measure(model: RewardModel, pairs: Sequence[Ranking]) -> tuple[float, float]:
    """Log loss of pairs whose first completion is the better one, and which share is right."""
    rewards = model.rewards(model.encode([(r.prompt, r.completions) for r in pairs]))
    differences = [better - worse for better, worse in rewards]
    losses = [max(-d, 0.0) + math.log1p(math.exp(-abs(d))) for d in differences]
    return sum(losses) / len(losses), sum(d > 0 for d in differences) / len(differences)


def _rate(
    tried: list[Trial], best: Trial, chosen: Settings, rankings: int, of: int = STEPS
) -> CheckRecord:
    """Whether the learning rate that is set moves the loss, and downwards. Where it alone was
    tried, it is both: such a trial is told only where it has learnt."""
    own, tenfold = (tried[1], tried[2]) if len(tried) > 1 else (tried[0], tried[0])
    shown = ", ".join(
        f"{trial.rate:g}: {trial.before:.3f} to {trial.after:.3f}"
        for trial in sorted(tried, key=lambda trial: trial.rate)
    )
    steps = chosen.max_steps
    if steps < 0:
        step = chosen.per_device_train_batch_size * chosen.gradient_accumulation_steps
        steps = math.ceil(chosen.num_train_epochs * rankings / step)
    reaches = own.fell > UNMOVED or (steps >= LONG * STEPS and tenfold.fell > LEARNT)
    seen = f"log loss of a few pairs in {of} steps at {shown}"
    if not reaches and best.learnt:
        seen += f"; {own.rate:g} is too {'low' if best.rate > own.rate else 'high'}"
    change = f"learning_rate {best.rate:g}" if best.learnt else "what fails above"
    return _check("learning rate", not reaches, seen, change)
