"""Signs of refusals and of cut-off answers: cases that show them, cases that only resemble."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.inspection import flaws
from plaudit.inspection.flaws import ending, refusal

PARAGRAPH = (
    "A bond is a loan that many people give to a company or a state. It pays interest each year, "
    "and at the end the whole sum comes back. "
)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I cannot fulfill that request.",
        "Sorry. I am unable to provide medical advice.",
        "I won't assist with this.",
        "I'm sorry, but I don't have access to current prices.",
        "I must decline: this could hurt people.",
    ],
)
def test_says_that_it_cannot_help(text):
    assert refusal(text) == (True, False)


@pytest.mark.parametrize(
    "text",
    [
        "As an AI language model, I have no opinions, but here is an overview.",
        "As a large language model I know no dates.",
        "I'm just an AI, so take this with a grain of salt.",
        "I am an artificial intelligence and have no favourite colour.",
    ],
)
def test_speaks_of_itself_as_an_ai(text):
    assert refusal(text) == (False, True)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry for your loss. Here is what a will must contain.",
        "I can't help but smile when I think of Hawaii.",
        "I'm sorry I was late to your party.",
        "A model is an aid: an AI can help you to write.",
        "Dear customer, we are sorry for the delay of your order.",
        "You cannot provide an answer before you know the question.",
        PARAGRAPH * 3 + "I'm sorry, but I can't help with the rest.",  # part of an answer
        "",
    ],
)
def test_no_refusal(text):
    assert not any(refusal(text))


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        (PARAGRAPH + "Whoever sells it before that gets", "sentence"),
        (PARAGRAPH + "Whoever sells it before that gets the", "unfinished"),
        ("Stocks, bonds and", "unfinished"),
        (PARAGRAPH + "If rates rise, however,", "unfinished"),
        ("Like so:\n```python\nprint(1)", "open_code"),
        (PARAGRAPH + "Some pay nothing (they are sold", "open_bracket"),
    ],
)
def test_cut_off(text, sign):
    found = ending(text)
    assert getattr(found, sign)
    assert found.may_be_cut_off


@pytest.mark.parametrize(
    "text",
    [
        PARAGRAPH,
        PARAGRAPH + "\n",
        PARAGRAPH + "Is it safe (mostly)?",
        PARAGRAPH + "He said: “Buy bonds and hold them.”",
        PARAGRAPH + "**Never put all of it into one.**",
        PARAGRAPH + "\n\nBest regards,\nYour bank",
        PARAGRAPH + "\n- a bond that a company has sold",
        PARAGRAPH + "\n3. a bond that a company has sold",
        PARAGRAPH + "\nRoses are red and violets are blue\nBonds are a loan and a loan is due",
        PARAGRAPH + "More at this place: https://example.org/bonds",
        PARAGRAPH + "Read on and save more today #bonds #saving",
        "Like so:\n```python\nprint(1)\n```",
        "债券是一种贷款。" * 20,
        "Paris",
        "The answer is A",
        "42",
        "",
    ],
)
def test_not_cut_off(text):
    assert not ending(text).may_be_cut_off


@given(st.text(st.sampled_from("iİıI kKſs'’canotANOTsorry,hl pSORRY"), max_size=40))
def test_a_look_for_words_misses_no_refusal(text):
    """Whatever the case of letters, Unicode's odd ones included."""
    start = text.replace("’", "'")
    found = (flaws._CANNOT_HELP.search(start), flaws._IS_A_MODEL.search(start))
    assert refusal(text) == tuple(map(bool, found))


@pytest.mark.parametrize("text", ["İ cannot help", "ı can not aſſist", "I'm an AI", "As an Aİ, no"])
def test_odd_letters_refuse_too(text):
    assert any(refusal(text))
