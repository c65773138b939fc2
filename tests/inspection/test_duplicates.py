"""Near duplicates against exact shingle sets, counted one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.data.sketches import BATCH, SHINGLE, THRESHOLD
from plaudit.errors import PlauditError
from plaudit.inspection import duplicates, looks, on_disk
from plaudit.inspection.duplicates import Texts, similarity

WORDS = [f"{a}{b}" for a in "bcdfghjkl" for b in ("anana", "order", "ill", "ean", "ottom")]


def passage(chance, length=80):
    return " ".join(chance.choice(WORDS, length))


def shingles(text):
    plain = " ".join(text.casefold().split()).encode().ljust(SHINGLE)
    return {plain[i : i + SHINGLE] for i in range(len(plain) - SHINGLE + 1)}


def jaccard(a, b):
    return len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))


def test_similarity_estimates_the_shared_shingles():
    chance = np.random.default_rng(1)
    texts, truth = Texts(), []
    for changes in range(0, 60, 1):
        words = passage(chance).split()
        other = list(words)
        for at in chance.choice(len(words), changes, replace=False):
            other[at] = chance.choice(WORDS)
        a, b = " ".join(words), " ".join(other)
        truth.append(jaccard(a, b))
        texts.add(a, f"a{changes}")
        texts.add(b, f"b{changes}")
    numbers = np.arange(0, len(texts), 2)
    errors = similarity(texts.signatures(), numbers, numbers + 1) - truth
    # Binomial over 120 hashes: a deviation of at most √(¼ / 120) = 0.046, of the mean of 60, 0.006.
    assert abs(errors.mean()) < 0.02
    assert np.abs(errors).max() < 4 * 0.046


def test_groups_are_those_of_the_exact_similarity():
    """Far from the threshold the groups are those that comparing every two texts gives."""
    chance = np.random.default_rng(2)
    written = []
    for copies in (1, 2, 3, 30):
        original = passage(chance)
        written += [original + f" {word}" for word in chance.choice(WORDS, copies, replace=False)]
    chance.shuffle(written)
    texts = Texts()
    assert [texts.add(text) for text in written] == list(range(36))
    groups = texts.groups()
    for i, a in enumerate(written):
        for j, b in enumerate(written):
            shared = jaccard(a, b)
            assert shared > THRESHOLD + 0.1 or shared < THRESHOLD - 0.3
            assert (groups[i] == groups[j]) == (shared >= THRESHOLD)


def test_a_large_group_is_one_group():
    """More near copies than are compared with each other hang together, link by link."""
    chance = np.random.default_rng(3)
    original = passage(chance)
    texts = Texts()
    for word in WORDS:
        texts.add(f"{original} {word}")
    other = texts.add(passage(chance))
    groups = texts.groups()
    assert len(set(groups.tolist())) == 2
    assert (groups == groups[other]).sum() == 1


@pytest.mark.parametrize(
    ("a", "b", "near"),
    [
        ("What is a bond?", "what  is\na BOND?", True),
        ("How does an account work, please?", "How does an account work, please", True),
        ("In words, please: what is 12 plus 30?", "In words, please: what is 12 plus 31?", False),
        ("In words, please: what is 12 plus 30?", "In words, please: what is 12 plus 30", True),
        ("What is a bond?", "Why is the sky blue?", False),
        ("a", "b", False),
        ("", " ", False),
    ],
)  # fmt: skip
def test_what_counts_as_near(a, b, near):
    texts = Texts()
    texts.add(a, "a")
    texts.add(b, "b")
    first, second = texts.groups()
    assert (first == second) == near


def test_the_same_text_has_one_number_and_unequal_keys_have_two():
    texts = Texts()
    message = [{"role": "user", "content": "Hi"}]
    assert [texts.add("Hi"), texts.add(message), texts.add("Hi", "another")] == [0, 0, 1]
    assert len(texts) == 2


def test_instructions_of_the_system_do_not_make_prompts_alike():
    system = {"role": "system", "content": "You are a careful assistant of a bank. " * 20}
    texts = Texts()
    for question in ("What is a bond and who sells it?", "How do I close my account today?"):
        texts.add([system, {"role": "user", "content": question}], question)
    assert len(set(texts.groups().tolist())) == 2


@settings(max_examples=30)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=20, unique=True))
def test_signatures_do_not_depend_on_the_company(written):
    together, parts = Texts(), []
    for text in written:
        alone = Texts()
        alone.add(text, text)
        parts.append(alone.signatures()[0])
        together.add(text, text)
    np.testing.assert_array_equal(together.signatures(), np.reshape(parts, (len(written), -1)))
    assert len(together.groups()) == len(written)


def test_texts_larger_than_a_batch():
    texts = Texts()
    long = "word and word " * (BATCH // 7)
    assert texts.add(long) == 0
    assert texts.add(long + "more") == 1
    assert texts.groups().tolist() == [0, 0]


def test_other_processes_see_the_same(monkeypatch):
    """Two processes, a temporary file and this process alone give the same of each text."""
    chance = np.random.default_rng(4)
    written = [f"{passage(chance, 20)} {number % 7}, and the" for number in range(300)] + [" ", ""]
    alone = Texts(flaws=True)
    for text in written:
        alone.add(text)
    monkeypatch.setattr(looks, "ALONE", 0)
    monkeypatch.setattr(looks, "_cores", lambda: 2)
    monkeypatch.setattr(duplicates, "AT_ONCE", 1000)
    monkeypatch.setattr(on_disk, "BUFFER", 1000)
    with looks.Looking() as looking:
        shared = Texts(looking, flaws=True)
        assert [shared.add(text) for text in written] == list(range(302))
        shared.close()
    np.testing.assert_array_equal(shared.signatures(), alone.signatures())
    np.testing.assert_array_equal(shared.signs(), alone.signs())
    np.testing.assert_array_equal(shared.groups(), alone.groups())
    for number in (0, 150, 301):
        assert shared.excerpt(number) == alone.excerpt(number)
        assert shared.excerpt_of_end(number) == alone.excerpt_of_end(number)
    assert shared.excerpt_of_end(0).endswith("0, and the")


def test_a_process_that_is_killed_in_mid_answer_is_told(monkeypatch):
    monkeypatch.setattr(looks, "ALONE", 0)
    monkeypatch.setattr(looks, "_cores", lambda: 2)
    monkeypatch.setattr(looks, "PROCESSES", 1)
    with looks.Looking() as looking:
        looking.at(["What is a bond?"], False, lambda seen: None)
        looking.finish()
        [process] = looking._processes
        # The answer is larger than what a pipe holds, so most of it is not written yet.
        looks._send(process.stdin, (["Why is the sky blue?"] * 3000, False))
        begun = process.stdout.peek(1)[:1]
        process.kill()
        process.wait()
        assert begun
        monkeypatch.setattr(looks, "_send", lambda pipe, value: None)  # that is the question
        looking.at(["Why is the sky blue?"], False, lambda seen: None)
        with pytest.raises(PlauditError, match="ended with status -9: was there too little memory"):
            looking.finish()


def test_a_process_that_is_killed_is_told(monkeypatch):
    monkeypatch.setattr(looks, "ALONE", 0)
    monkeypatch.setattr(looks, "_cores", lambda: 2)
    monkeypatch.setattr(looks, "PROCESSES", 1)
    with looks.Looking() as looking:
        looking.at(["What is a bond?"], False, lambda seen: None)
        looking.finish()
        looking._processes[0].kill()
        looking._processes[0].wait()
        looking.at(["Why is the sky blue?"], False, lambda seen: None)
        with pytest.raises(PlauditError, match="ended with status -9"):
            looking.finish()
