"""Requests become batches: what goes together, what goes first, what is refused or dropped."""

import asyncio
import threading

import pytest

from plaudit.serving.batcher import Batcher, Job, ModelError, NotScorableError, QueueFullError
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
        batcher._tokens, batcher._seconds = 10.0, 1.0  # as if it had been measured
        submit(batcher, "x", ["some words " * 10] * 40)
        with pytest.raises(QueueFullError) as full:
            submit(batcher, "y", ["b"])
        assert full.value.retry_after > 5

    run(scorer, scenario, timeout=5)


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
