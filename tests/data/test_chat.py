"""Prompts that completions repeat, not always to the letter: read once, counted, or rejected."""

from collections import Counter

import pytest

from plaudit import load_rankings
from plaudit.data.chat import ALREADY_RENDERED, NEARLY_REPEATED, REPEATED, fit
from plaudit.data.rankings import BadRowError
from plaudit.errors import PlauditError

Q = "Which tide table applies?"
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": Q}


def says(text):
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("prompt", "begins", "whole", "note"),
    [
        ([USER], [USER], [USER], REPEATED),
        (Q, [USER], [USER], REPEATED),
        ([SYSTEM, USER], [SYSTEM, USER], [SYSTEM, USER], REPEATED),
        ([USER], [SYSTEM, USER], [SYSTEM, USER], NEARLY_REPEATED),
        (Q, [SYSTEM, USER], [SYSTEM, USER], NEARLY_REPEATED),
        ([SYSTEM, USER], [USER], [SYSTEM, USER], REPEATED),
        ([USER | {"content": Q + " "}], [USER], [USER | {"content": Q + " "}], REPEATED),
        ([USER, says("B"), USER], [USER, says("B"), USER], [USER, says("B"), USER], REPEATED),
    ],
)
def test_a_dialogue_that_begins_with_the_prompt_is_read_once(prompt, begins, whole, note):
    notes = Counter()
    read = fit(prompt, [[*begins, says("B.")], [*begins, says("A.")]], notes)
    assert read == (whole, [[says("B.")], [says("A.")]])
    assert notes == {note: 2}


def test_one_completion_whole_and_one_alone():
    assert fit([USER], [[SYSTEM, USER, says("B.")], "A."]) == (
        [SYSTEM, USER],
        [[says("B.")], [says("A.")]],
    )


@pytest.mark.parametrize(
    ("prompt", "completions", "reason"),
    [
        ([USER], [[USER]], "only repeats the prompt"),
        ([USER], [[{"role": "user", "content": "Another"}, says("B")]], "a turn of the user's"),
        ([SYSTEM, USER], [[SYSTEM | {"content": "Be long."}, USER, says("B")]], "of the system's"),
        ([SYSTEM, USER], [[SYSTEM, SYSTEM, USER, says("B")]], "of the system's"),
        (
            [USER],
            [[SYSTEM, USER, says("B")], [SYSTEM | {"content": "No."}, USER, says("A")]],
            "different system turns",
        ),
        ("Human: Hi\n\nAssistant:", ["Human: Hi\n\nAssistant: "], "only repeats the prompt"),
    ],
)
def test_what_fits_nowhere_is_rejected(prompt, completions, reason):
    with pytest.raises(BadRowError, match=reason):
        fit(prompt, completions)


@pytest.mark.parametrize(
    ("prompt", "begins"),
    [
        (Q, f"{Q}\n\nAssistant:"),
        (Q, f"\n\nHuman: {Q}\n\nAssistant:"),
        (Q, f"### Instruction:\n{Q}\n\n### Response:"),
        (f"\n\nHuman: {Q}\n\nAssistant:", f"\n\nHuman: {Q}\n\nAssistant:"),
        (Q, f"<|im_start|>user\n{Q}<|im_end|>\n<|im_start|>assistant\n"),
    ],
)
def test_a_transcript_that_begins_with_the_prompt_is_read_once(prompt, begins):
    _, completions = fit(prompt, [f"{begins} B.", f"{begins} A."])
    assert [text.strip() for text in completions] == ["B.", "A."]


@pytest.mark.parametrize(
    "completions",
    [
        [f"{Q} That of page 4.", f"{Q} None."],  # an answer that takes up the question
        [f"{Q}\nThat of page 4.", f"{Q}\nNone."],
        [f"{Q}\n\nAssistant: B.", "A."],  # one of them alone is no transcript of the data's
        ["B.", "A."],
    ],
)
def test_an_answer_may_begin_with_the_words_of_the_question(completions):
    assert fit(Q, completions) == (Q, completions)


def test_readers_count_what_was_done_and_what_was_rendered_before():
    rows = [
        {"prompt": [USER], "chosen": [USER, says(f"B{n}")], "rejected": [USER, says("A")]}
        for n in range(3)
    ]
    assert load_rankings(rows).notes == {REPEATED: 6}
    rendered = f"<|im_start|>user\n{Q}<|im_end|>\n<|im_start|>assistant\n"
    assert load_rankings([{"prompt": rendered, "chosen": "B", "rejected": "A"}]).notes == {
        ALREADY_RENDERED: 1
    }
    plain = [{"prompt": "What does Human mean?", "chosen": "B", "rejected": "A"}]
    assert not load_rankings(plain).notes


def test_columns_that_belong_to_the_question_are_named_and_pictures_rejected(capsys):
    rows = [{"prompt": f"{n}?", "chosen": "B", "rejected": "A", "context": "c"} for n in range(9)]
    rankings = load_rankings(rows)
    assert rankings.unused_columns == ["context"]
    assert "not used: context" in capsys.readouterr().err
    rows[3]["images"] = ["a.png"]
    rows[4]["images"] = []
    rankings = load_rankings(rows, max_rejected=1)
    assert [(one.line, one.reason) for one in rankings.rejected] == [
        (4, "the row has images, which no model of text reads")
    ]


def test_a_rating_is_never_taken_for_a_rank():
    rows = [{"prompt": "p", "response": text, "helpfulness": n} for n, text in enumerate("ab")]
    message = "Where a higher number is better, say so with --columns rating=helpfulness"
    with pytest.raises(Exception, match=message):
        load_rankings(rows)
    [ranking] = load_rankings(rows, columns={"rating": "helpfulness"})
    assert (list(ranking.ranks), list(ranking.ratings)) == ([1, 0], [0.0, 1.0])


def test_a_system_turn_of_one_side_alone_is_of_the_prompt():
    rows = [{"chosen": [SYSTEM, USER, says("B")], "rejected": [USER, says("A")]}]
    [ranking] = load_rankings(rows)
    assert ranking.prompt == [SYSTEM, USER]
    assert list(ranking.completions) == [[says("B")], [says("A")]]


def test_pairs_of_different_questions_are_rejected():
    other = {"role": "user", "content": "Another?"}
    rows = [{"chosen": [USER, says("B")], "rejected": [other, says("A")]}]
    with pytest.raises(PlauditError, match="begin with different questions"):
        load_rankings(rows)


def asks(text):
    return {"role": "user", "content": text}


HI, HELLO, ROME = asks("Hi"), says("Hello"), asks("Where is Rome?")
GOOD = [HI, HELLO, ROME, says("In Italy.")]
AS_PAIR = {
    "implicit": lambda chosen, rejected: {"chosen": chosen, "rejected": rejected},
    "prompt": lambda chosen, rejected: {
        "prompt": chosen[:1],
        "chosen": chosen[1:],
        "rejected": rejected[1:],
    },
    "whole beside the prompt": lambda chosen, rejected: {
        "prompt": chosen[:1],
        "chosen": chosen,
        "rejected": rejected,
    },
    "ms-swift": lambda chosen, rejected: {"messages": chosen, "rejected_messages": rejected},
    "arena": lambda chosen, rejected: {
        "conversation_a": chosen,
        "conversation_b": rejected,
        "winner": "model_a",
    },
    "lists": lambda chosen, rejected: {
        "prompt": chosen[:1],
        "completions": [chosen[1:], rejected[1:]],
        "ranks": [1, 2],
    },
    "judged": lambda chosen, rejected: {
        "prompt": chosen[:1],
        "response_a": chosen[1:],
        "response_b": rejected[1:],
        "winner": "a",
    },
}


def reasons(rows):
    """Why rows are rejected, each beside a good one of the same columns."""
    goods = [pair(GOOD, [*GOOD[:3], says("Dunno.")]) for pair in AS_PAIR.values()]
    good = next(one for one in goods if one.keys() == rows[0].keys())
    read = load_rankings([*rows, good], max_rejected=1)
    assert len(read) == 1
    return [one.reason for one in read.rejected]


@pytest.mark.parametrize("layout", AS_PAIR)
def test_a_side_that_ends_with_the_users_turn_has_no_reply(layout):
    [reason] = reasons([AS_PAIR[layout](GOOD, GOOD[:3])])
    assert reason.endswith(" has no reply: it ends with the user's turn")
    # In the middle the dialogues part, and one of them ends with a question again.
    [reason] = reasons([AS_PAIR[layout](GOOD, [HI, says("Hello!!"), ROME])])
    assert reason.endswith(" has no reply: it ends with the user's turn")


def test_the_side_without_a_reply_is_named():
    for chosen, rejected, name in ((GOOD, GOOD[:3], "rejected"), (GOOD[:3], GOOD, "chosen")):
        [reason] = reasons([{"chosen": chosen, "rejected": rejected}])
        assert reason.startswith(f"the {name} has no reply")
    # The question is the same one: nothing is said of different ones.
    [reason] = reasons([{"chosen": [ROME, says("In Italy.")], "rejected": [ROME]}])
    assert reason == "the rejected has no reply: it ends with the user's turn"


def test_what_a_tool_says_is_no_reply():
    called = says("") | {"tool_calls": [{"function": {"name": "where", "arguments": {}}}]}
    tool = {"role": "tool", "content": "Italy"}
    rows = [{"prompt": [ROME, called], "chosen": [tool, says("In Italy.")], "rejected": [tool]}]
    with pytest.raises(PlauditError, match="the rejected has no reply"):
        load_rankings(rows)
    # A policy that stops after calling a tool has said something.
    rows = [{"prompt": [ROME], "chosen": [called, tool, says("Italy")], "rejected": [called, tool]}]
    assert len(load_rankings(rows)) == 1


@pytest.mark.parametrize("layout", AS_PAIR)
def test_sides_whose_users_say_different_things_are_rejected(layout):
    other = [HI, HELLO, asks("Where is Bern?"), says("Dunno.")]
    [reason] = reasons([AS_PAIR[layout](GOOD, other)])
    assert reason == (
        "the completions answer different questions: 'Where is Rome?' and 'Where is Bern?'"
    )


@pytest.mark.parametrize("layout", AS_PAIR)
def test_after_different_replies_users_may_say_different_things(layout):
    """As an agent's world answers what it did, and people what they were told."""
    did = [HI, says("open the door"), asks("It opens."), says("go in")]
    sat = [HI, says("sit down"), asks("You sit."), says("stand up")]
    read = load_rankings([AS_PAIR[layout](did, sat)])
    assert [list(one.completions) for one in read] == [[did[1:], sat[1:]]]


def test_rows_of_one_prompt_that_go_on_with_different_questions_are_rejected():
    other = [HELLO, asks("Where is Bern?"), says("Dunno.")]
    rows = [
        {"prompt": [HI], "completion": GOOD[1:], "rank": 1},
        {"prompt": [HI], "completion": other, "rank": 2},
    ]
    with pytest.raises(PlauditError, match="2 × the completions answer different questions"):
        load_rankings(rows)


def test_dialogues_that_share_the_users_turns_are_compared():
    # White space at the ends of a turn is no other question; one dialogue may end before the other.
    same = [HI, says("Hello!!"), asks("Where is Rome? "), says("Dunno.")]
    [ranking] = load_rankings([{"chosen": GOOD, "rejected": same}])
    assert (ranking.prompt, list(ranking.completions)) == ([HI], [GOOD[1:], same[1:]])
    [ranking] = load_rankings([{"chosen": GOOD, "rejected": [HI, says("Go away.")]}])
    assert list(ranking.completions) == [GOOD[1:], [says("Go away.")]]
