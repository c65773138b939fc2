"""Pairs with a winner: who won is read where it is certain, and refused where it is not."""

import json

import pytest

from plaudit import load_rankings
from plaudit.data.columns import columns_of, layouts_that_fit
from plaudit.data.rankings import Fault
from plaudit.data.rows import find_sources
from plaudit.data.tasks import Task, Tasks
from plaudit.errors import PlauditError
from published_rows import PUBLISHED, assistant, user


def judged(*winners, sides=("response_a", "response_b"), prompt="instruction", winner="winner"):
    a, b = sides
    return [
        {prompt: f"Question {n}?", a: "four", b: "five", winner: said}
        for n, said in enumerate(winners)
    ]


def winners(rankings):
    return "".join("AB"[one.completions[one.ranks.index(0)] == "five"] for one in rankings)


@pytest.mark.parametrize(
    ("sides", "said", "won"),
    [
        (("response_a", "response_b"), ["a", "B", "model_a", "response_b", "Response A"], "ABABA"),
        (("answer_a", "answer_b"), ["answer_b", "Model_B ", "assistant_a"], "BBA"),
        (("Response A", "Response B"), ["Response B", "a"], "BA"),
        (("response_1", "response_2"), ["response_1", "response 2", "1", 2, 2.0], "ABABB"),
        (("completion_0", "completion_1"), ["0", 1, "completion_0"], "ABA"),
        (("reply_A", "reply_B"), ["B", "A"], "BA"),
    ],
)
def test_a_winner_is_called_as_its_column_is(sides, said, won):
    rankings = load_rankings(judged(*said, sides=sides))
    assert rankings.format == "judged pairs"
    assert winners(rankings) == won


@pytest.mark.parametrize("prompt", ["prompt", "instruction", "question", "input"])
@pytest.mark.parametrize("winner", ["winner", "preference", "label", "better", "choice"])
def test_prompt_and_winner_are_known_by_their_usual_names(prompt, winner):
    rows = judged("a", "b", prompt=prompt, winner=winner)
    assert winners(load_rankings(rows)) == "AB"


@pytest.mark.parametrize("said", ["tie", "Tie", "tie (bothbad)", "both_bad", "draw", "equal"])
def test_a_tie_is_a_tie(said):
    [rejected] = load_rankings(judged("a", said), max_rejected=1).rejected
    assert rejected.fault == Fault.TIED


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        (("response_a", "response_b"), [0, 1, 1]),
        (("response_a", "response_b"), ["1", "2"]),
        (("response_a", "response_b"), ["model_1", "model_2"]),
        (("response_1", "response_2"), [1] * 50 + [0]),
        (("response_1", "response_2"), [0, 1, 2]),
        (("response_1", "response_2"), [-1, 1]),
        (("response_1", "response_2"), ["model_0", "model_1"]),
        (("response_0", "response_1"), [1, 2]),
    ],
)
def test_numbers_that_count_from_elsewhere_than_the_columns_are_refused(sides, said):
    with pytest.raises(PlauditError, match=f"which of {sides[0]} and {sides[1]} each means is not"):
        load_rankings(judged(*said, sides=sides), max_rejected=1)


@pytest.mark.parametrize("said", ["c", "both", 2, "yes", "", None, "response_1"])
def test_a_row_whose_winner_is_not_known_is_rejected_with_the_reason(said):
    rankings = load_rankings(judged("a", said, "b"), max_rejected=1)
    [rejected] = rankings.rejected
    assert rejected.fault == (Fault.UNKNOWN if said else Fault.MISSING)
    assert "the winner" in rejected.reason
    assert winners(rankings) == "AB"


def test_letters_beside_numbered_columns_are_not_known():
    rows = judged("A", "response_1", sides=("response_1", "response_2"))
    [rejected] = load_rankings(rows, max_rejected=1).rejected
    assert rejected.reason.endswith("not known: A; write response_1, response_2 or tie there")


def test_a_first_row_without_a_winner_does_not_decide(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = judged("", *"ababababab")
    del rows[0]["winner"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rankings = load_rankings(path)
    assert rankings.format == "judged pairs"
    assert winners(rankings) == "AB" * 5
    assert [row.line for row in rankings.rejected] == [1]
    tasks = list(Tasks(*find_sources(path), {}))
    assert len([task for task in tasks if isinstance(task, Task)]) >= len(rows) - 1


def test_completions_may_be_messages_and_the_instruction_may_have_an_input():
    row = {
        "instruction": "Add.",
        "input": "2+2",
        "response_a": [assistant("5")],
        "response_b": [assistant("4")],
        "winner": "b",
        "annotator": "Ada",
    }
    [ranking] = load_rankings([row])
    assert ranking.prompt == [user("Add.\n\n2+2")]
    assert ranking.completions[ranking.ranks.index(0)] == [assistant("4")]
    assert ranking.annotator == "Ada"


def test_the_user_names_the_columns():
    rows = judged("b", "right", "a", sides=("left", "right"), winner="verdict")
    columns = {"response_a": "left", "response_b": "right", "winner": "verdict"}
    assert winners(load_rankings(rows, columns=columns)) == "BBA"


@pytest.mark.parametrize(
    ("sides", "said", "won"),
    [
        (("output_b", "output_a"), "a b output_b model_a", "BAAB"),
        (("output_2", "output_1"), "1 2 output_2 model_1", "BAAB"),
        (("text_b", "text_a"), "a b text_a", "BAB"),
        (("textB", "textA"), "a b textA", "BAB"),
        (("model_1", "model_2"), "model_1 model_2 1 2", "ABAB"),
        (("response1", "response2"), "response1 2 response_2", "ABB"),
        (("response_2", "response_3"), "response_2 Response_3", "AB"),
        (("model_1", "assistant_1"), "model_1 assistant_1 a b", "ABAB"),
        (("output_b", "answer_a"), "output_b answer_a", "AB"),
        (("gpt_4", "llama_2"), "gpt_4 llama_2 a b", "ABAB"),
    ],
)
def test_columns_that_the_user_names_are_called_as_they_are(sides, said, won):
    columns = dict(zip(("response_a", "response_b"), sides, strict=True))
    rankings = load_rankings(judged(*said.split(), sides=sides), columns=columns)
    assert winners(rankings) == won


@pytest.mark.parametrize(
    "sides", [("left_b", "right_a"), ("output_b", "answer_a"), ("output_b", "left")]
)
def test_a_letter_that_may_mean_either_column_is_refused(sides):
    columns = dict(zip(("response_a", "response_b"), sides, strict=True))
    rows = judged("a", "b", sides[1], sides=sides)
    rankings = load_rankings(rows, columns=columns, max_rejected=1)
    assert [row.reason for row in rankings.rejected] == [
        f"the winner has a value that is not known: {said}; write {sides[0]}, {sides[1]} or tie "
        "there"
        for said in "ab"
    ]
    assert winners(rankings) == "B"


OURS = {"prompt": "p", "response_a": "4", "response_b": "5", "winner": "a"}


@pytest.mark.parametrize("name", [n for n, o in PUBLISHED.items() if o.layout != "judged-pairs"])
def test_no_other_layout_is_taken_for_it_whatever_stands_beside(name):
    published = PUBLISHED[name]
    for rows in (published.rows, [OURS | row for row in published.rows]):
        [source] = find_sources(rows)
        assert layouts_that_fit(columns_of(source), {}, order=True)[0].name == published.layout


def test_a_verdict_that_is_not_looked_at_is_said(capsys):
    columns = {"chosen": "response_a", "rejected": "response_b"}
    assert load_rankings(judged("a", "b"), columns=columns).format == "pairs"
    said = capsys.readouterr().err
    assert "not looked at: winner (a, b); it may contradict what is read" in said
    assert "takes as better: chosen" in said


def test_what_is_no_verdict_is_not_said(capsys):
    columns = {"chosen": "response_a", "rejected": "response_b"}
    load_rankings(judged(*(f"because of {n}" for n in range(30))), columns=columns)
    load_rankings(judged("a", "b"))
    load_rankings(judged("a", "b", winner="topic"), columns=columns)
    assert "not looked at" not in capsys.readouterr().err
