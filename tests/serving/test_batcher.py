"""Requests become batches: what goes together, what goes first, what is refused or dropped."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from plaudit.serving.batcher import (
    Batch,
    Batcher,
    Job,
    ModelError,
    NotScorableError,
    Pace,
    QueueFullError,
)
from plaudit.serving.settings import ServiceSettings

PROMPT = "What is a bond?"


class Held:
    """A reward model whose `rewards` waits for a word, and which remembers what it was given."""

    def __init__(self, model):
        self.model = model
        self.free = threading.Event()
        self.free.set()
        self.batches = []
        self.fault = None

    def __getattr__(self, name):
        return getattr(self.model, name)

    def rewards(self, encoded):
        self.batches.append(encoded)
        self.free.wait()
        if self.fault is not None:
            raise self.fault
        return self.model.rewards(encoded)

    def taken(self):
        """Completions in each batch, but for the two before any request."""
        return [sum(len(row["input_ids"]) for row in batch) for batch in self.batches[2:]]


@pytest.fixture
def scorer(reward_model):
    return Held(reward_model("qwen2"))


def run(scorer, scenario, **settings):
    """Run `scenario(batcher)` on an event loop of its own, with the model warm."""

    async def all_of_it():
        batcher = Batcher(scorer, ServiceSettings(**settings))
        batcher.start()
        try:
            await until(lambda: batcher.warm)
            await asyncio.wait_for(scenario(batcher), 30)
        finally:
            scorer.free.set()
            await asyncio.to_thread(batcher.close)

    asyncio.run(all_of_it())


def submit(batcher, prompt, texts):
    return batcher.submit(Job([prompt] * len(texts), texts))


async def until(true):
    while not true():
        await asyncio.sleep(0.002)


async def busy(batcher, scorer):
    """The model at work on something, and held."""
    scorer.free.clear()
    count = len(scorer.batches)
    work = submit(batcher, "Something else?", ["Yes."])
    await until(lambda: len(scorer.batches) > count)
    return work


def test_what_comes_while_the_model_works_goes_together(scorer):
    async def scenario(batcher):
        first = await busy(batcher, scorer)
        works = [submit(batcher, f"Prompt {n}?", [f"Answer {n}."]) for n in range(20)]
        scorer.free.set()
        for n, work in enumerate(works):
            rewards = (await work.answer).rewards
            expected = scorer.model.score(f"Prompt {n}?", [f"Answer {n}."])
            assert rewards == pytest.approx(expected, abs=1e-5)
        await first.answer
        # Some may have been encoded before the others came, hardly a dozen.
        assert sum(scorer.taken()) == 21
        assert len(scorer.taken()) <= 4

    run(scorer, scenario)


def test_completions_of_one_prompt_are_one_row_whoever_sent_them(scorer):
    async def scenario(batcher):
        await busy(batcher, scorer)
        count = len(scorer.batches)
        works = [submit(batcher, PROMPT, [f"Answer {n}."]) for n in range(6)]
        scorer.free.set()
        rewards = [(await work.answer).rewards[0] for work in works]
        rows = [row for batch in scorer.batches[count:] for row in batch]
        assert max(len(row["input_ids"]) for row in rows) >= 3
        assert len(rows) < 6
        assert all(row["shared"] > 5 for row in rows)
        expected = [scorer.model.score(PROMPT, [f"Answer {n}."])[0] for n in range(6)]
        assert rewards == pytest.approx(expected, abs=1e-5)
        assert sum(work.tokens for work in works) == pytest.approx(
            sum(scorer.tokens(row) for row in rows)
        )

    run(scorer, scenario)


def test_a_request_of_several_prompts_shares_each_with_whoever_else_asks_it(scorer):
    async def scenario(batcher):
        prompts = [PROMPT, "Another?", PROMPT, None, "Another?"]
        texts = ["A loan.", "Yes.", "It depends.", "A whole row.", "No."]
        await busy(batcher, scorer)
        await busy_encoder(batcher)
        count = len(scorer.batches)
        works = [batcher.submit(Job(prompts, texts)), submit(batcher, PROMPT, ["A share."])]
        scorer.free.set()
        several, one = [(await work.answer) for work in works]
        await batcher.drained()
        # Prompts that are asked again in the batch are one row.
        sizes = sorted(
            len(row["input_ids"]) for batch in scorer.batches[count + 1 :] for row in batch
        )
        assert sizes == [1, 2, 3]
        [[whole]] = scorer.model.rewards(scorer.model.encode_rendered(["A whole row."]))
        expected = [
            whole if prompt is None else scorer.model.score(prompt, text)
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        assert several.rewards == pytest.approx(expected, abs=1e-5)
        assert one.rewards == pytest.approx(scorer.model.score(PROMPT, ["A share."]), abs=1e-5)

    run(scorer, scenario)


def test_many_pairs_go_in_parts_and_keep_their_order(scorer):
    async def scenario(batcher):
        prompts = [f"Question {n % 50}, at some length?" for n in range(400)]
        texts = [f"Answer {n}, at some length. " * 3 for n in range(400)]
        large = batcher.submit(Job(prompts, texts))
        await asyncio.sleep(0)
        await submit(batcher, "Another?", ["Yes."]).answer
        assert not large.answer.done()
        rewards = (await large.answer).rewards
        assert len(scorer.taken()) > 2
        some = (0, 49, 50, 399)
        expected = [scorer.model.score(prompts[n], texts[n]) for n in some]
        assert [rewards[n] for n in some] == pytest.approx(expected, abs=1e-5)

    run(scorer, scenario, max_completions=500)


def test_a_large_request_does_not_hold_up_a_small_one(scorer):
    async def scenario(batcher):
        large = submit(batcher, PROMPT, [f"Answer {n}, at some length. " * 3 for n in range(600)])
        await asyncio.sleep(0)
        small = submit(batcher, "Another?", ["Yes."])
        await small.answer
        assert not large.answer.done()
        rewards = (await large.answer).rewards
        some = [f"Answer {n}, at some length. " * 3 for n in (0, 300, 599)]
        expected = scorer.model.score(PROMPT, some)
        assert [rewards[0], rewards[300], rewards[599]] == pytest.approx(expected, abs=1e-5)
        assert len(scorer.taken()) > 2
        assert max(scorer.taken()) < 400

    run(scorer, scenario)


def test_equal_texts_of_a_large_request_have_equal_rewards_in_all_its_batches(scorer):
    async def scenario(batcher):
        texts = [f"Answer {n % 90}, at some length. " * (1 + n % 3) for n in range(540)]
        rewards = (await submit(batcher, PROMPT, texts).answer).rewards
        assert len(scorer.taken()) > 2
        assert rewards == rewards[:90] * 6
        later = await submit(batcher, PROMPT, [texts[5], "Another."]).answer
        assert later.rewards[0] == rewards[5]

    run(scorer, scenario)


def test_the_queue_is_bounded_and_says_when_to_come_again(scorer):
    async def scenario(batcher):
        await busy(batcher, scorer)
        await busy_encoder(batcher)
        submit(batcher, "x", ["a"] * 60)
        with pytest.raises(QueueFullError) as full:
            submit(batcher, "y", ["b"] * 60)
        assert full.value.retry_after >= 1
        submit(batcher, "y", ["b"] * 30)  # what fits is taken
        scorer.free.set()
        await batcher.drained()
        submit(batcher, "y", ["b"] * 60)

    run(scorer, scenario, max_queue=100, max_completions=100)


async def busy_encoder(batcher):
    """A batch ready behind the one at work, so that what comes now waits."""
    submit(batcher, "The next?", ["Yes."])
    await until(lambda: batcher._ready is not None)


def test_it_refuses_what_it_could_not_answer_in_time(scorer):
    async def scenario(batcher):
        await busy(batcher, scorer)
        await busy_encoder(batcher)
        submit(batcher, "x", ["some words " * 10] * 40)
        at_a_pace_of(batcher, 10)
        with pytest.raises(QueueFullError) as full:
            submit(batcher, "y", ["b"])
        assert full.value.retry_after > 5

    run(scorer, scenario, timeout=5)


def at_a_pace_of(batcher, tokens):
    """As if so many tokens a second had been measured."""
    for name in ("_pace", "_model_pace"):
        setattr(batcher, name, Pace(tokens, 1.0))


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ({"queue": 1000}, 10.0),
        ({"encoding": 1000}, 10.0),
        ({"ready": 500}, 5.0),
        ({"free_at": 103.0}, 3.0),
        ({"free_at": 90.0}, 0.01),  # overdue: it is not done all the same
        ({"queue": 1000, "encoding": 400, "ready": 500, "free_at": 102.0}, 21.0),
        ({}, 0.0),
    ],
)
def test_what_is_ahead_is_all_that_is_not_done(at, expected):
    """At 100 seconds, of a model that does 100 tokens a second, each a character."""
    batcher = Batcher(None, ServiceSettings())
    at_a_pace_of(batcher, 100)
    batcher._tokens_per_character = 1.0
    batcher._queued_cost = at.get("queue", 0)
    batcher._encoding_cost = at.get("encoding", 0)
    batcher._free_at = at.get("free_at")
    if "ready" in at:
        batcher._ready = Batch([], [], at["ready"], 0.0)
    assert batcher._seconds_ahead(100.0) == pytest.approx(expected)


def test_large_batches_count_for_more():
    pace = Pace(20, 0.01)
    for _ in range(1000):
        pace.learn(20, 0.01)  # small ones have a pass each
    pace.learn(4000, 0.2)
    assert pace.seconds(4000) == pytest.approx(0.2, rel=0.25)


def test_the_pace_is_measured_before_the_first_request(scorer, monkeypatch):
    """On a clock that goes on by two seconds a pass, and by none for the rest."""
    passes = scorer.batches
    clock = SimpleNamespace(monotonic=lambda: 2.0 * len(passes))
    monkeypatch.setattr("plaudit.serving.batcher.time", clock)

    async def scenario(batcher):
        [row] = scorer.batches[1]
        tokens = scorer.model.tokens(row)
        assert tokens > 50
        assert batcher._pace.seconds(tokens) == batcher._model_pace.seconds(tokens) == 2.0

    run(scorer, scenario)


def test_its_own_work_counts_too_but_what_comes_alone_is_tried(scorer):
    async def scenario(batcher):
        at_a_pace_of(batcher, 100)
        scorer.free.clear()
        count = len(scorer.batches)
        alone = submit(batcher, "x", ["some words " * 10] * 100)  # a minute's work
        await until(lambda: len(scorer.batches) > count)
        with pytest.raises(QueueFullError):
            submit(batcher, "y", ["some words " * 10] * 100)
        scorer.free.set()
        await alone.answer

    run(scorer, scenario, timeout=5)


def test_one_that_has_half_its_time_behind_it_is_done_before_what_keeps_coming(scorer):
    async def scenario(batcher):
        await busy(batcher, scorer)
        await busy_encoder(batcher)
        large = submit(batcher, "x", [f"{n} some words" for n in range(200)])
        for n in range(10):
            submit(batcher, f"Prompt {n}?", ["Yes."])
        with batcher._changed:
            large.arrived -= 31
            parts = batcher._parts()
            assert [(part.work, part.stop) for part in parts[:1]] == [(large, 200)]
            batcher._waiting.extendleft(reversed([part.work for part in parts]))
            for part in parts:
                part.work.begun = 0
                batcher._queued += len(part.work.costs)
                batcher._queued_cost += sum(part.work.costs)

    run(scorer, scenario, timeout=60)


def test_what_was_dropped_makes_room_at_once(scorer):
    async def scenario(batcher):
        await busy(batcher, scorer)
        await busy_encoder(batcher)
        dropped = submit(batcher, "x", ["a"] * 60)
        batcher.drop(dropped)
        assert (batcher._queued, batcher._queued_cost) == (0, 0)
        submit(batcher, "y", ["b"] * 60)

    run(scorer, scenario, max_queue=100, max_completions=100)


def test_what_is_dropped_before_it_begins_is_never_computed(scorer):
    async def scenario(batcher):
        await busy(batcher, scorer)
        await busy_encoder(batcher)
        dropped = submit(batcher, "Nobody waits for this?", ["a", "b", "c"])
        kept = submit(batcher, "Kept?", ["d"])
        batcher.drop(dropped)
        scorer.free.set()
        await kept.answer
        await batcher.drained()
        assert dropped.answer.cancelled()
        assert sum(scorer.taken()) == 3

    run(scorer, scenario)


def test_a_fault_of_the_model_fails_its_batch_and_no_more(scorer):
    async def scenario(batcher):
        scorer.fault = MemoryError("with somebody's text")
        with pytest.raises(ModelError, match=r"MemoryError\)$"):
            await submit(batcher, PROMPT, ["a"]).answer
        scorer.fault = None
        assert len((await submit(batcher, PROMPT, ["a"]).answer).rewards) == 1

    run(scorer, scenario)


def test_rewards_that_are_no_numbers_are_a_fault(scorer, monkeypatch):
    async def scenario(batcher):
        monkeypatch.setattr(
            scorer, "rewards", lambda rows: [[float("nan")] * len(r["input_ids"]) for r in rows]
        )
        with pytest.raises(ModelError, match="not a finite number"):
            await submit(batcher, PROMPT, ["a"]).answer

    run(scorer, scenario)


def test_what_cannot_be_encoded_fails_alone(scorer, monkeypatch):
    encode = scorer.model.encode

    def picky(prompts):
        if any("bad" in text for _, texts in prompts for text in texts):
            raise TypeError("in a template")
        return encode(prompts)

    async def scenario(batcher):
        monkeypatch.setattr(scorer, "encode", picky, raising=False)
        await busy(batcher, scorer)
        works = {text: submit(batcher, PROMPT, [text]) for text in ("good", "bad", "better")}
        scorer.free.set()
        for text, work in works.items():
            if text == "bad":
                with pytest.raises(NotScorableError, match="TypeError"):
                    await work.answer
            else:
                expected = scorer.model.score(PROMPT, [text])
                assert (await work.answer).rewards == pytest.approx(expected, abs=1e-5)

    run(scorer, scenario)


def test_closing_waits_for_the_batch_at_work(scorer):
    async def scenario(batcher):
        work = await busy(batcher, scorer)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.02)
        assert not closing.done()
        scorer.free.set()
        await closing
        assert (await work.answer).rewards

    run(scorer, scenario)
