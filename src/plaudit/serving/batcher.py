"""Requests in, rewards out, many requests to a batch.

One thread turns texts into rows of tokens while another has the model at work; tokenizers and torch
both let go of the interpreter meanwhile. What comes in while the model works waits, so that the
next batch is as full as it can be, and is encoded just before the model is likely to be free. A
batch takes parts of requests in turn, so that a large one does not hold up small ones; completions
of one prompt go together whoever sent them, for their prompt to be computed once. Rewards do not
depend on what else is in a batch.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from plaudit.data.cells import characters
from plaudit.data.rankings import Text, text_key
from plaudit.errors import PlauditError
from plaudit.model.encoding import RefusedError
from plaudit.model.scorer import Scorer
from plaudit.serving.gate import report_fault
from plaudit.serving.metrics import Metrics
from plaudit.serving.settings import ServiceSettings

# Tokens of one part of a request: what others wait for at most, beside their own.
PART_TOKENS = 1024
# Characters of a row beyond so many for each token that the model reads are certain to be cut.
CHARACTERS_PER_TOKEN = 6
TOKENS_PER_CHARACTER = 0.3  # before anything is measured
# What the model is tried with before the first request: a pass to warm up, and one that is timed.
TRIED = "What is two plus two?"
FIRST, TIMED = ["Four."], [f"As for {n}: two plus two is four, and so it stays." for n in range(8)]
# How much of a running mean is its newest value.
NEW = 0.2
# A request waits up to so much longer than reckoned; what would then be late is not taken. At twice
# the capacity (docs/reliability.md) the half took 1.08 times as long, and 99 in 100 at most 1.33.
LONGER = 1.4
# Encoding begins this many of its usual durations, and these seconds, before the model is free.
AHEAD, LEAST_AHEAD = 2.0, 0.01


class QueueFullError(Exception):
    """There is no room for the request; `retry_after` is when there may be, in whole seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class NotScorableError(Exception):
    """These texts cannot be scored; the message says why."""


class ModelError(Exception):
    """The model failed at its work; the message says how."""


@dataclass(frozen=True)
class Job:
    """What is to be scored: texts, each a completion of the prompt beside it.

    Where the prompt is None, the text is a whole row, as another program laid it out; `begins` then
    has what the row begins with, or None where the client did not say it.
    """

    prompts: Sequence[Text | None]
    texts: Sequence[Any]
    begins: Sequence[str | None] | None = None


@dataclass(frozen=True)
class Scored:
    """Rewards of a request, which of its completions were truncated, and its share of tokens."""

    rewards: list[float]
    truncated: list[bool]
    tokens: int


@dataclass(eq=False)
class Work:
    """A request on its way."""

    job: Job
    keys: list[str | None]  # of each text's prompt: equal for equal ones, None for a whole row
    costs: list[int]  # of each text with its prompt, in characters
    answer: "asyncio.Future[Scored]"
    rewards: list[float] = field(init=False)
    truncated: list[bool] = field(init=False)
    unfinished: int = field(init=False)
    begun: int = 0  # texts that went into batches
    tokens: float = 0.0
    error: Exception | None = None
    dropped: bool = False  # nobody waits for it any more
    arrived: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.rewards = [0.0] * len(self.job.texts)
        self.truncated = [False] * len(self.job.texts)
        self.unfinished = len(self.job.texts)


@dataclass(frozen=True)
class Part:
    """Some texts of a request, those from `start` up to `stop`."""

    work: Work
    start: int
    stop: int

    @property
    def texts(self) -> Sequence[Any]:
        """The texts themselves."""
        return self.work.job.texts[self.start : self.stop]

    @property
    def prompt(self) -> Text | None:
        """That of the first of them."""
        return self.work.job.prompts[self.start]

    @property
    def begins(self) -> str | None:
        """What the first of them, a whole row, begins with, where that is known."""
        begins = self.work.job.begins
        return None if begins is None else begins[self.start]

    def by_prompt(self) -> "Iterator[tuple[str | None, Part]]":
        """Its parts of one prompt each, with its key; whole rows one by one."""
        keys = self.work.keys
        numbers = range(self.start, self.stop)
        for key, some in groupby(numbers, key=lambda i: (keys[i], i if keys[i] is None else None)):
            first, *others = some
            yield key[0], Part(self.work, first, first + 1 + len(others))


@dataclass
class Group:
    """Parts that have one prompt, and the row they became."""

    parts: list[Part]
    row: dict[str, Any]


@dataclass
class Batch:
    """What the model gets at a time: groups of one prompt each, and rows laid out elsewhere."""

    groups: list[Group]
    rendered: list[Group]
    tokens: int
    begun: float  # when its parts were gathered

    @property
    def all(self) -> list[Group]:
        """Both."""
        return self.groups + self.rendered


class Pace:
    """How long tokens take, from batches that were measured; the first of them is given.

    >>> Pace(tokens=50, seconds=2.0).seconds(100)
    4.0
    """

    def __init__(self, tokens: float, seconds: float) -> None:
        self._tokens, self._seconds = max(tokens, 1), seconds

    def learn(self, tokens: float, seconds: float) -> None:
        """Take a batch into account; large ones count for more."""
        self._tokens = _mean(self._tokens, max(tokens, 1))
        self._seconds = _mean(self._seconds, seconds)

    def seconds(self, tokens: float) -> float:
        """What so many tokens take."""
        return tokens * self._seconds / self._tokens


class Batcher:
    """Scores the texts of many requests. `start` and `submit` are for a running event loop.

    >>> async def rewards(scorer):
    ...     batcher = Batcher(scorer, ServiceSettings())
    ...     batcher.start()
    ...     work = batcher.submit(Job(["What is 2 + 2?"] * 2, ["4", "5"]))
    ...     return (await work.answer).rewards
    >>> from plaudit import RewardModel
    >>> len(asyncio.run(rewards(RewardModel.load("runs/first"))))
    2
    """

    def __init__(self, scorer: Scorer, settings: ServiceSettings) -> None:
        self.scorer = scorer
        self.settings = settings
        self.metrics = Metrics(lambda: self._queued)
        self.warm = False
        self.failed: BaseException | None = None  # what a thread died of
        self._changed = threading.Condition()  # guards what follows, up to the next empty line
        self._waiting: deque[Work] = deque()
        self._queued = 0  # completions of these that are not begun
        self._queued_cost = 0  # the same in characters
        self._encoding_cost = 0  # of what is being encoded
        self._ready: Batch | None = None
        self._free_at: float | None = None  # when the model will be; None: now
        self._closing = False

        self._unanswered = 0
        self._tokens_per_character = TOKENS_PER_CHARACTER
        # Of the model alone, and of whichever of both threads is the slower; 0 until it is warm.
        self._model_pace = self._pace = Pace(1, 0.0)
        self._encode_seconds = LEAST_AHEAD
        self._threads: list[threading.Thread] = []

    # ---- on the event loop ----

    def start(self) -> None:
        """Start both threads; `warm` tells when the model has worked once."""
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()
        for name, run in (("encode", self._encode_all), ("score", self._score_all)):
            thread = threading.Thread(target=self._run, args=(run,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stop the threads, after the batch that they have; blocks until they stopped."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    async def drained(self) -> None:
        """Return once all that was taken is answered."""
        await self._idle.wait()

    def submit(self, job: Job) -> Work:
        """Take one or more texts.

        Raises `QueueFullError` when too much waits for them to be answered in time, `ModelError`
        when the service cannot score any more.
        """
        if self.failed is not None:
            raise ModelError("the service has failed: start it anew")
        distinct = {id(prompt): prompt for prompt in job.prompts}  # most are one and the same
        facts = {
            same: (None, 0) if prompt is None else (text_key(prompt), characters(prompt))
            for same, prompt in distinct.items()
        }
        each = [facts[id(prompt)] for prompt in job.prompts]
        most = self.scorer.max_length * CHARACTERS_PER_TOKEN
        costs = [
            max(1, min(before + characters(text), most))
            for (_, before), text in zip(each, job.texts, strict=True)
        ]
        work = Work(job, [key for key, _ in each], costs, self._loop.create_future())
        with self._changed:
            ahead = self._seconds_ahead(time.monotonic())
            own = self._pace.seconds(sum(costs) * self._tokens_per_character)
            full = self._queued and self._queued + len(job.texts) > self.settings.max_queue
            # What meets nothing before it is tried, however long it may take.
            late = ahead and LONGER * (ahead + own) > self.settings.timeout
            if full or late:
                raise QueueFullError(max(math.ceil(ahead), 1))
            self._waiting.append(work)
            self._queued += len(job.texts)
            self._queued_cost += sum(costs)
            if len(self._waiting) == 1:
                self._changed.notify_all()
        self._unanswered += 1
        self._idle.clear()
        return work

    def drop(self, work: Work) -> None:
        """Forget a request that nobody waits for; what of it has begun is finished all the same."""
        work.dropped = True
        with self._changed:
            if work in self._waiting:
                self._waiting.remove(work)
                self._queued -= len(work.costs) - work.begun
                self._queued_cost -= sum(work.costs[work.begun :])
        self._settle([work])

    def _settle(self, works: Sequence[Work]) -> None:
        for work in works:
            if work.answer.done():
                continue
            if work.dropped:
                work.answer.cancel()
            elif work.error is not None:
                work.answer.set_exception(work.error)
            else:
                scored = Scored(work.rewards, work.truncated, round(work.tokens))
                work.answer.set_result(scored)
            self._unanswered -= 1
        if not self._unanswered:
            self._idle.set()

    # ---- in the thread that encodes ----

    def _encode_all(self) -> None:
        while (parts := self._gather()) is not None:
            if not parts:  # all of them were dropped
                continue
            started = time.monotonic()
            batch = self._encoded(parts)
            self._encode_seconds = _mean(self._encode_seconds, time.monotonic() - started)
            with self._changed:
                self._encoding_cost = 0
                if batch.all:
                    self._ready = batch
                    self._changed.notify_all()

    def _gather(self) -> list[Part] | None:
        """Parts of what waits, when the model is about to be free; None at the end."""
        with self._changed:
            while not self._closing:
                pause: float | None = None  # until something changes
                if self._waiting and self._ready is None:
                    if self._free_at is None:
                        return self._parts()
                    ahead = AHEAD * self._encode_seconds + LEAST_AHEAD
                    pause = self._free_at - ahead - time.monotonic()
                    if pause <= 0:
                        return self._parts()
                self._changed.wait(pause)
        return None

    def _parts(self) -> list[Part]:
        """A batch of parts, of each request in turn; the rest of a large one goes to the end.

        One that has half its time behind it has no more turns, but all the room there is: in turn
        with what keeps coming it would never be done in time.

        A full batch still takes, up to as much again, what waits with a prompt that it has: that
        costs little now, and the whole prompt in a later batch.
        """
        now = time.monotonic()
        parts: list[Part] = []
        full = self.settings.batch_tokens / self._tokens_per_character
        room = full
        prompts: set[str] = set()
        left: deque[Work] = deque()
        while self._waiting and room > -full:
            work = self._waiting.popleft()
            over = work.dropped or work.error is not None
            late = room <= 0 and not over
            if late and work.keys[work.begun] not in prompts:
                left.append(work)
                continue
            start = stop = work.begun
            cost = 0
            most = room if room > 0 else full
            if now - work.arrived < self.settings.timeout / 2:
                most = min(PART_TOKENS / self._tokens_per_character, most)
            while stop < len(work.keys) and (over or stop == start or cost < most):
                if late and work.keys[stop] not in prompts:
                    break
                cost += work.costs[stop]
                stop += 1
            work.begun = stop
            self._queued -= stop - start
            self._queued_cost -= cost
            if over:
                continue
            if not start:
                self.metrics.queue_seconds.observe(now - work.arrived)
            parts.append(Part(work, start, stop))
            room -= cost
            prompts.update(key for key in work.keys[start:stop] if key is not None)
            if stop < len(work.keys):
                (self._waiting if room > 0 else left).append(work)
        left.extend(self._waiting)
        self._waiting = left
        self._encoding_cost = sum(sum(p.work.costs[p.start : p.stop]) for p in parts)
        return parts

    def _encoded(self, parts: list[Part]) -> Batch:
        begun = time.monotonic()
        together: dict[str, list[Part]] = {}
        rendered: list[list[Part]] = []
        told: list[list[Part]] = []
        for whole in parts:
            for key, part in whole.by_prompt():
                if key is not None:
                    together.setdefault(key, []).append(part)
                else:
                    (rendered if part.begins is None else told).append([part])
        groups = self._groups(list(together.values()), self._encode)
        others = self._groups(rendered, self._encode_rendered)
        others += self._groups(told, self._encode_told)
        tokens = sum(self.scorer.tokens(group.row) for group in groups + others)
        cost = sum(sum(part.work.costs[part.start : part.stop]) for part in parts)
        self._tokens_per_character = _mean(self._tokens_per_character, max(tokens, 1) / cost)
        return Batch(groups, others, tokens, begun)

    def _groups(
        self, together: list[list[Part]], encode: Callable[[list[list[Part]]], list[dict[str, Any]]]
    ) -> list[Group]:
        """Encode all at once; where that fails, each part alone, to fail none but its request."""
        if not together:
            return []
        try:
            return [Group(*both) for both in zip(together, encode(together), strict=True)]
        except Exception as error:
            alone = [[part] for parts in together for part in parts]
            if len(alone) == 1:
                self._fail([alone[0][0].work], _why_not(error))
                return []
            return [group for parts in alone for group in self._groups([parts], encode)]

    def _encode(self, together: list[list[Part]]) -> list[dict[str, Any]]:
        return self.scorer.encode(
            [
                (parts[0].prompt or "", [text for part in parts for text in part.texts])
                for parts in together
            ]
        )

    def _encode_rendered(self, together: list[list[Part]]) -> list[dict[str, Any]]:
        return self.scorer.encode_rendered([text for (part,) in together for text in part.texts])

    def _encode_told(self, together: list[list[Part]]) -> list[dict[str, Any]]:
        begins = [part.begins or "" for (part,) in together]
        return self.scorer.encode_rendered([part.texts[0] for (part,) in together], begins)

    # ---- in the thread that has the model ----

    def _score_all(self) -> None:
        with self.scorer.remembering():  # of a request in several batches, and of all requests
            self._score_batches()

    def _score_batches(self) -> None:
        # The first pass is the slowest, and fails where nothing will work.
        self.scorer.rewards(self.scorer.encode([(TRIED, FIRST)]))
        started = time.monotonic()
        rows = self.scorer.encode([(TRIED, TIMED)])
        encoded = time.monotonic()
        self.scorer.rewards(rows)
        done = time.monotonic()
        tokens = sum(map(self.scorer.tokens, rows))
        with self._changed:
            self._model_pace = Pace(tokens, done - encoded)
            self._pace = Pace(tokens, done - started)
        self.warm = True
        done = 0.0
        while (batch := self._next()) is not None:
            started = time.monotonic()
            try:
                # Apart: rows that were laid out elsewhere may lack what others have.
                rewards = [
                    row
                    for groups in (batch.groups, batch.rendered)
                    if groups
                    for row in self.scorer.rewards([group.row for group in groups])
                ]
            except Exception as error:
                works = {id(p.work): p.work for group in batch.all for p in group.parts}
                why = ModelError(f"the model failed ({type(error).__name__})")
                self._fail(list(works.values()), why)
                continue
            before, done = done, time.monotonic()
            with self._changed:
                self._model_pace.learn(batch.tokens, done - started)
                # Encoded while the model worked, or the model had to wait for it.
                self._pace.learn(batch.tokens, done - max(before, batch.begun))
            self._deliver(batch, rewards)

    def _next(self) -> Batch | None:
        with self._changed:
            while self._ready is None:
                if self._closing:
                    return None
                self._free_at = None
                self._changed.notify_all()
                self._changed.wait()
            batch, self._ready = self._ready, None
            self._free_at = time.monotonic() + self._model_pace.seconds(batch.tokens)
            self._changed.notify_all()
            return batch

    def _deliver(self, batch: Batch, rewards: list[list[float]]) -> None:
        finished: list[Work] = []
        for group, row in zip(batch.all, rewards, strict=True):
            cuts = zip(group.row["prompt_cut"], group.row["completion_cut"], strict=True)
            cut = [bool(before or after) for before, after in cuts]
            share = self.scorer.tokens(group.row) / len(row)
            position = 0
            for part in group.parts:
                work, count = part.work, part.stop - part.start
                mine = row[position : position + count]
                if not all(map(math.isfinite, mine)):
                    work.error = ModelError("the model's reward is not a finite number")
                work.rewards[part.start : part.stop] = mine
                work.truncated[part.start : part.stop] = cut[position : position + count]
                work.tokens += share * count
                work.unfinished -= count
                position += count
                if not work.unfinished:
                    finished.append(work)
            self.metrics.truncated.inc(sum(cut))
        count = sum(map(len, rewards))
        self.metrics.completions.inc(count)
        self.metrics.batch_completions.observe(count)
        self.metrics.tokens.inc(batch.tokens)
        self._loop.call_soon_threadsafe(self._settle, finished)

    # ---- in all of them ----

    def _seconds_ahead(self, now: float) -> float:
        """What is to be done before what comes now, from the batch at work to the last in the
        queue; 0 where there is nothing."""
        waiting = (self._queued_cost + self._encoding_cost) * self._tokens_per_character
        if self._ready is not None:
            waiting += self._ready.tokens
        # A batch that takes longer than it should is not done yet, either.
        at_work = 0.0 if self._free_at is None else max(self._free_at - now, LEAST_AHEAD)
        return self._pace.seconds(waiting) + at_work

    def _fail(self, works: list[Work], error: Exception) -> None:
        for work in works:
            work.error = error
        self._loop.call_soon_threadsafe(self._settle, works)

    def _run(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:
            self.failed = error
            self._loop.call_soon_threadsafe(self._idle.set)  # nothing more will be answered
            if self.warm:  # else the server ends and says so
                report_fault(error, self.settings.log_text)


def _why_not(error: Exception) -> Exception:
    if isinstance(error, RefusedError) and error.__cause__:  # whose words may be the messages' own
        return NotScorableError(
            "the model's chat template refuses these messages; look at their roles and order"
        )
    if isinstance(error, PlauditError):
        return NotScorableError(str(error))
    return NotScorableError(
        f"these texts cannot be laid out for the model ({type(error).__name__})"
    )


def _mean(old: float, new: float) -> float:
    return old + NEW * (new - old)
