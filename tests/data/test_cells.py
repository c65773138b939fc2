"""Cells to prompts and completions: messages, implicit prompts, numbers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trl import extract_prompt

from plaudit.data.cells import (
    characters,
    excerpt,
    excerpt_of_end,
    read_label,
    read_list,
    read_number,
    read_optional_number,
    read_text,
    said,
)
from plaudit.data.chat import fit, implicit_prompt
from plaudit.data.rankings import BadRowError


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "the prompt is missing"),
        ("", "the prompt is blank"),
        (" \n\u3000", "the prompt is blank"),
        ([], "the prompt is blank"),
        ([user("  ")], "the prompt is blank: a message without content"),
        (7, "the prompt is not text: int"),
        ({"role": "user"}, "the prompt is not text: a record of role"),
        ({"from": "human"}, "the prompt is not text: a record of from"),
        ([{"from": "human", "value": " "}], "the prompt is blank: a message without content"),
        ([{"from": "human", "value": 7}], "the prompt is not text: a list"),
        ([{"from": "me", "value": "x"}], "the speaker of a turn has a value that is not known: me"),
        ('[{"from": "gpt", "value": "x"}, {"from": "me", "value": "x"}]', "the speaker of a turn"),
        (["a", "b"], "the prompt is not text: a list"),
        ([{"role": "user"}], "the prompt is not text: a list"),
        ("half \ud83d", "undecodable bytes"),
        ([user("half \ud83d")], "undecodable bytes"),
        (
            '[{"role": "user", "content": "a", "content": "b"}]',
            "the prompt is ambiguous JSON: the key 'content' stands twice in one object",
        ),
    ],
)
def test_what_is_no_text(value, reason):
    with pytest.raises(BadRowError) as raised:
        read_text(value, "prompt")
    assert str(raised.value).startswith(reason)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"from": "gpt", "value": "x"}, [assistant("x")]),
        (assistant("x"), [assistant("x")]),
        (
            [{"from": "system", "value": "x"}, {"from": "human", "value": "y"}],
            [{"role": "system", "content": "x"}, user("y")],
        ),
        ([{"from": "human", "value": "x", "role": None, "content": None}], [user("x")]),
        ('[{"from": "human", "value": "x"}]', [user("x")]),
        ("[{'from': 'human', 'value': 'x'}]", [user("x")]),
        # What is no dialogue for certain stays the text that it is.
        ('[{"from": "a@b.c", "value": "x"}]', '[{"from": "a@b.c", "value": "x"}]'),
        ("[{'from': a, 'value': b}]", "[{'from': a, 'value': b}]"),
        ('{"from": "gpt", "value": "x"}', '{"from": "gpt", "value": "x"}'),
    ],
)
def test_turns_with_from_and_value_are_messages(value, read):
    assert read_text(value, "prompt") == read


def test_keys_without_a_value_are_not_part_of_a_message():
    assert read_text([{**user("x"), "tool_calls": None}], "prompt") == [user("x")]


@pytest.mark.parametrize("write", [json.dumps, str])
def test_messages_stored_as_text_are_messages(write):
    assert read_text(write([user('it\'s "x"\n')]), "prompt") == [user('it\'s "x"\n')]


@pytest.mark.parametrize(
    "text", ["[1, 2]", "['role']", "[INST] Hi", '[{"roll": 1}]', "[{'roll': 1}]"]
)
def test_other_text_in_brackets_is_text(text):
    assert read_text(text, "prompt") == text


def test_what_python_wrote_and_nobody_can_read_is_not_taken_for_words():
    with pytest.raises(BadRowError, match="a Python literal that cannot be read"):
        read_text("[{'role': 'user', 'content': 'x'}\n {'role': 'user'", "prompt")


@pytest.mark.parametrize(
    "value", ["nan", "inf", float("inf"), True, "1_000", "first", [1], 10**400, {}, "١٢x"]
)
def test_what_is_no_number(value):
    with pytest.raises(BadRowError, match="the rank is not a finite number"):
        read_number(value, "rank")


def test_a_decimal_comma_is_named():
    with pytest.raises(
        BadRowError, match=r"the rank has a comma, where a decimal point is read, as in 1\.5: 1,5"
    ):
        read_number("1,5", "rank")


@pytest.mark.parametrize("value", [None, "", "  "])
def test_no_number_is_missing_or_none(value):
    assert read_optional_number(value, "margin") is None
    with pytest.raises(BadRowError, match="the rank is missing"):
        read_number(value, "rank")


def test_weight_is_not_negative_but_a_margin_may_be():
    assert read_optional_number("-1", "margin") == -1
    with pytest.raises(BadRowError, match="the weight is negative"):
        read_optional_number("-1", "weight")


def test_labels_and_lists():
    assert [read_label(value, "category") for value in (None, "", "a", 3)] == [None, None, "a", "3"]
    with pytest.raises(BadRowError, match="the category is not text"):
        read_label(["a"], "category")
    for broken in ("[1", "3", '"x"'):
        with pytest.raises(BadRowError, match="the ranks are not a"):
            read_list(broken, "ranks")


def test_prompt_and_completions_become_one_kind():
    assert fit("p", ["a", "b"]) == ("p", ["a", "b"])
    assert fit([user("p")], ["a"]) == ([user("p")], [[assistant("a")]])
    assert fit("p", ["a", [assistant("b")]]) == ([user("p")], [[assistant("a")], [assistant("b")]])


def test_completion_does_not_repeat_its_prompt():
    whole = [user("p"), assistant("a")]
    assert fit([user("p")], [whole]) == ([user("p")], [[assistant("a")]])
    with pytest.raises(BadRowError, match="begins with a turn of the user's"):
        fit([user("q")], [whole])
    with pytest.raises(BadRowError, match="only repeats the prompt"):
        fit([user("p")], [[user("p")]])


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("Human: a\n\nAssistant: b c", "Human: a\n\nAssistant: b d", "Human: a\n\nAssistant:"),
        (
            "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
            "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: e",
            "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:",
        ),
        ("### Instruction:\na\n\n### Response:\nb", "### Instruction:\na\n\n### Response:\nc",
         "### Instruction:\na\n\n### Response:"),
        ("<|user|>\na\n<|assistant|>\nbc", "<|user|>\na\n<|assistant|>\nbd",
         "<|user|>\na\n<|assistant|>"),
        ("one two three", "one two throw", "one two"),
        ("one two", "one two three", "one"),  # neither side is left empty
        ("same", "other", ""),
        ("sameness", "same", ""),
    ],
)  # fmt: skip
def test_implicit_prompt_of_strings(chosen, rejected, prompt):
    assert implicit_prompt(chosen, rejected) == (
        prompt,
        chosen[len(prompt) :],
        rejected[len(prompt) :],
    )


TEXT = st.text("ab \n", min_size=1, max_size=12).filter(str.strip)


@given(TEXT, TEXT, TEXT)
def test_implicit_prompt_loses_nothing_and_leaves_no_side_blank(start, a, b):
    chosen, rejected = start + a, start + b
    prompt, left, right = implicit_prompt(chosen, rejected)
    assert (prompt + left, prompt + right) == (chosen, rejected)
    assert left.strip()
    assert right.strip()


def test_implicit_prompt_of_messages_is_that_of_trl():
    pair = {
        "chosen": [user("a"), assistant("b"), user("c"), assistant("d")],
        "rejected": [user("a"), assistant("b"), user("c"), assistant("e")],
    }
    expected = extract_prompt(pair)
    assert implicit_prompt(**pair) == (
        expected["prompt"],
        expected["chosen"],
        expected["rejected"],
    )
    # One side goes on where the other ends: it keeps its last message.
    long, short = [user("a"), user("b")], [user("a")]
    assert implicit_prompt(long, short) == ([], long, short)


def test_characters_of_messages_are_those_of_their_text():
    parts = [{"type": "text", "text": "abc"}, {"type": "image", "url": "x"}]
    assert characters([user("ab"), {"role": "user", "content": parts}]) == 5


def test_content_in_parts_is_read_as_its_text():
    text = {"type": "text", "text": "Hi "}
    message = {"role": "user", "content": [text, {"type": "text", "text": "you"}]}
    assert read_text([message], "prompt") == [{"role": "user", "content": "Hi you"}]
    picture = {"role": "user", "content": [text, {"type": "image", "url": "a.png"}]}
    with pytest.raises(BadRowError, match="a part that is not text"):
        read_text([picture], "prompt")


def test_excerpts_are_one_short_line():
    assert excerpt("a\nb " * 100) == "a b " * 14 + "a b…"
    assert excerpt_of_end("a\nb " * 100) == "…" + "a b " * 14 + "a b"
    assert said([{"role": "user", "content": None}, {"role": "user", "content": "Hi"}]) == "\nHi"
