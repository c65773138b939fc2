"""Requests become batches: what goes together, what goes first, what is refused or dropped."""

import asyncio
import threading

import pytest

from plaudit.serving.batcher import Batcher, ModelError, NotScorableError, QueueFullError
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
        """Completions in each batch, but for that which warms up."""
        return [sum(len(row["input_ids"]) for row in batch) for batch in self.batches[1:]]


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


async def until(true):
    while not true():
        await asyncio.sleep(0.002)


async def busy(batcher, scorer):
    """The model at work on something, and held."""
    scorer.free.clear()
    count = len(scorer.batches)
    work = batcher.submit("Something else?", ["Yes."])
    await until(lambda: len(scorer.batches) > count)
    return work


def test_what_comes_while_the_model_works_goes_together(scorer):
    async def scenario(batcher):
        first = await busy(batcher, scorer)
        works = [batcher.submit(f"Prompt {n}?", [f"Answer {n}."]) for n in range(20)]
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
        works = [batcher.submit(PROMPT, [f"Answer {n}."]) for n in range(6)]
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


def test_a_large_request_does_not_hold_up_a_small_one(scorer):
    async def scenario(batcher):
        large = batcher.submit(PROMPT, [f"Answer {n}, at some length. " * 3 for n in range(600)])
        await asyncio.sleep(0)
        small = batcher.submit("Another?", ["Yes."])
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
        rewards = (await batcher.submit(PROMPT, texts).answer).rewards
        assert len(scorer.taken()) > 2
        assert rewards == rewards[:90] * 6
        later = await batcher.submit(PROMPT, [texts[5], "Another."]).answer
        assert later.rewards[0] == rewards[5]

    run(scorer, scenario)


def test_the_queue_is_bounded_and_says_when_to_come_again(scorer):
    async def scenario(batcher):
        await busy(batcher, scorer)
        await busy_encoder(batcher)
        batcher.submit("x", ["a"] * 60)
        with pytest.raises(QueueFullError) as full:
            batcher.submit("y", ["b"] * 60)
        assert full.value.retry_after >= 1
        batcher.submit("y", ["b"] * 30)  # what fits is taken
        scorer.free.set()
        await batcher.drained()
        batcher.submit("y", ["b"] * 60)

    run(scorer, scenario, max_queue=100, max_completions=100)


async def busy_encoder(batcher):
    """A batch ready behind the one at work, so that what comes now waits."""
    batcher.submit("The next?", ["Yes."])
    await until(lambda: batcher._ready is not None)


def test_it_refuses_what_it_could_not_answer_in_time(scorer):
    async def scenario(batcher):
        await busy(batcher, scorer)
        await busy_encoder(batcher)
        batcher._tokens, batcher._seconds = 10.0, 1.0  # as if it had been measured
        batcher.submit("x", ["some words " * 10] * 40)
        with pytest.raises(QueueFullError) as full:
            batcher.submit("y", ["b"])
        assert full.value.retry_after > 5

    run(scorer, scenario, timeout=5)


def test_what_is_dropped_before_it_begins_is_never_computed(scorer):
    async def scenario(batcher):
        await busy(batcher, scorer)
        await busy_encoder(batcher)
        dropped = batcher.submit("Nobody waits for this?", ["a", "b", "c"])
        kept = batcher.submit("Kept?", ["d"])
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
            await batcher.submit(PROMPT, ["a"]).answer
        scorer.fault = None
        assert len((await batcher.submit(PROMPT, ["a"]).answer).rewards) == 1

    run(scorer, scenario)


def test_rewards_that_are_no_numbers_are_a_fault(scorer, monkeypatch):
    async def scenario(batcher):
        monkeypatch.setattr(
            scorer, "rewards", lambda rows: [[float("nan")] * len(r["input_ids"]) for r in rows]
        )
        with pytest.raises(ModelError, match="not a finite number"):
            await batcher.submit(PROMPT, ["a"]).answer

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
        works = {text: batcher.submit(PROMPT, [text]) for text in ("good", "bad", "better")}
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
