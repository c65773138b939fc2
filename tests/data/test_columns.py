"""What the user says of columns, where there are several sources: which of them it is about."""

import json
import shlex

import pytest

from plaudit import PlauditError, inspect, load_rankings
from plaudit.data.mixing import load_mixture
from plaudit.data.prompts import stream_prompts
from plaudit.data.readers import BadRows
from plaudit.data.rows import find_sources
from plaudit.labelling.to_label import read_items
from plaudit.sampling.samples import read_samples
from plaudit.scoring.bench import read_entrants
from plaudit.settings import Settings
from plaudit.training.parts import given_parts
from plaudit.verification.rows import read_prompts

COLUMNS = {"prompt": "frage", "completion": "antwort"}
AS_IT_IS = "plain.csv: has none of the columns that --columns names, so it is read without them"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two files of other names for the same columns, and one that has some of them alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.csv").write_text("frage,antwort,rank\np,a,1\np,b,2\n")
    (tmp_path / "plain.csv").write_text("prompt,answer,rank\nq,c,1\nq,d,2\n")
    (tmp_path / "half.csv").write_text("frage,answer,rank\nr,e,1\nr,f,2\n")
    return ["own.csv", "plain.csv"]


def prompts_of(rankings):
    return [ranking.prompt for ranking in rankings]


DOORS = {
    "rankings": lambda files, columns: prompts_of(load_rankings(files, columns=columns)),
    "stream": lambda files, columns: prompts_of(
        load_rankings(files, columns=columns, streaming=True)
    ),
    "mixture": lambda files, columns: prompts_of(
        load_mixture([(file, 1) for file in files], columns=columns)
    ),
    "label": lambda files, columns: prompts_of(read_items(find_sources(files), columns).items),
    "samples": lambda files, columns: [
        one.prompt for one in read_samples(files, columns, bad=BadRows("files"))
    ],
    "verify": lambda files, columns: [prompt for prompt, _ in read_prompts(files, 9, columns)],
    "bench": lambda files, columns: [
        ranking.prompt
        for entrant in read_entrants([], files, columns=columns).values()
        for ranking in entrant.data.rankings
    ],
}


@pytest.mark.parametrize("door", DOORS)
def test_a_source_with_none_of_the_columns_is_read_as_it_is(files, door, capsys):
    assert sorted(set(DOORS[door](files, COLUMNS))) == ["p", "q"]
    assert capsys.readouterr().err.count(AS_IT_IS) == 1
    with pytest.raises(PlauditError, match=r"half.csv: no column 'antwort' to take as completion"):
        DOORS[door](["own.csv", "half.csv"], COLUMNS)
    with pytest.raises(PlauditError, match=r"no source has a column 'nope' to take as prompt; own"):
        DOORS[door](files, {"prompt": "nope"})
    with pytest.raises(PlauditError, match=r"plain.csv: no column 'frage' to take as prompt"):
        DOORS[door](["plain.csv"], {"prompt": "frage"})


def test_so_are_data_to_validate_on(files, capsys):
    settings = Settings.build(data="own.csv", validation_data="plain.csv", columns=COLUMNS)
    assert prompts_of(given_parts(settings)["validation"]) == ["q"]
    assert AS_IT_IS in capsys.readouterr().err
    settings = Settings.build(data="own.csv", validation_data="half.csv", columns=COLUMNS)
    with pytest.raises(PlauditError, match=r"half.csv: no column 'antwort'"):
        given_parts(settings)


def test_so_are_splits_to_inspect(files):
    assert inspect("own.csv", split=["plain.csv"], columns=COLUMNS).summary["rankings"] == 1


def test_prompts_of_several_files(tmp_path):
    (tmp_path / "own.jsonl").write_text(json.dumps({"frage": "p"}) + "\n")
    (tmp_path / "plain.jsonl").write_text(json.dumps({"prompt": "q"}) + "\n")
    read = stream_prompts(tmp_path, columns={"prompt": "frage"})
    assert [prompt.text for prompt in read] == ["p", "q"]


TURN = {"from": "human", "value": "2+2?"}
GOOD, BAD = ({"from": "gpt", "value": text} for text in "45")
ASKED = [{"role": "user", "content": "2+2?"}]
SAID = [[{"role": "assistant", "content": text}] for text in "45"]
CHATS = {
    "pairs": [{"prompt": [TURN], "chosen": GOOD, "rejected": [BAD]}],
    "no prompt": [{"chosen": [TURN, GOOD], "rejected": [TURN, BAD]}],
    "ranked": [
        {"prompt": TURN, "answer": [GOOD], "rank": 1},
        {"prompt": TURN, "answer": BAD, "rank": 2},
    ],
    "lists": [{"prompt": [TURN], "completions": [[GOOD], BAD], "ranks": [1, 2]}],
    "message pairs": [{"messages": [TURN], "chosen": GOOD, "rejected": BAD}],
    "ms-swift": [{"messages": [TURN, GOOD], "rejected_messages": [TURN, BAD]}],
    "history": [{"history": [], "prompt": [TURN], "chosen": [GOOD], "rejected": [BAD]}],
}


@pytest.mark.parametrize("layout", CHATS)
def test_every_layout_takes_turns_with_from_and_value(tmp_path, layout):
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in CHATS[layout]))
    [ranking] = load_rankings(path, on_bad_row="stop")
    assert (ranking.prompt, list(ranking.completions), list(ranking.ranks)) == (ASKED, SAID, [0, 1])


def test_turns_under_any_names(tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({"conversation": [TURN], "better": GOOD, "worse": BAD}))
    columns = {"prompt": "conversation", "chosen": "better", "rejected": "worse"}
    [ranking] = load_rankings(path, columns=columns)
    assert (ranking.prompt, list(ranking.completions)) == (ASKED, SAID)


@pytest.mark.parametrize(
    ("row", "flags"),
    [
        (
            {"uid": 1, "conversation": [TURN], "better_reply": GOOD, "worse_reply": BAD},
            "prompt=conversation chosen=better_reply rejected=worse_reply",
        ),
        (
            {"ask": "p", "Winner text": "a", "loser": "b"},
            "prompt=ask 'chosen=Winner text' rejected=loser",
        ),
        (
            {"prompt": "p", "accepted": "a", "rejected_one": "b"},
            "prompt=prompt chosen=accepted rejected=rejected_one",
        ),
        (
            {"conversations_good": [TURN, GOOD], "conversations_bad": [TURN, BAD]},
            "chosen=conversations_good rejected=conversations_bad",
        ),
    ],
)
def test_columns_that_are_called_like_pairs_are_proposed_as_pairs(tmp_path, row, flags):
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(PlauditError) as raised:
        load_rankings(path)
    words = [word for flag in shlex.split(flags) for word in ("--columns", flag)]
    line = " ".join(map(shlex.quote, words))
    assert f"of pairs, with {line}, as the names" in str(raised.value)
    columns = dict(flag.split("=") for flag in shlex.split(flags))
    assert len(load_rankings(path, columns=columns)) == 1


def test_both_ways_are_shown_where_names_say_nothing(tmp_path):
    (tmp_path / "data.jsonl").write_text(json.dumps({"x": "p", "y": "a"}))
    ranked = "--columns prompt=NAME --columns completion=NAME --columns rank=NAME"
    pairs = "--columns prompt=NAME --columns chosen=NAME --columns rejected=NAME"
    with pytest.raises(PlauditError, match=f"with {ranked}; of pairs, with {pairs}$"):
        load_rankings(tmp_path / "data.jsonl")


@pytest.mark.parametrize("name", ["conversation", "conversations", "messages"])
@pytest.mark.parametrize("asked", [[TURN], ASKED, json.dumps(ASKED), "2+2?"])
def test_judged_pairs_may_have_their_prompt_in_a_conversation(tmp_path, name, asked):
    path = tmp_path / "arena.jsonl"
    row = {name: asked, "response_a": "4", "response_b": "5", "winner": "response_a"}
    path.write_text(json.dumps(row))
    rankings = load_rankings(path)
    assert (rankings.format, rankings[0].prompt) == (
        "judged pairs",
        asked if asked == "2+2?" else ASKED,
    )
    assert list(rankings[0].ranks) == [0, 1]


@pytest.mark.parametrize(
    ("row", "flag"),
    [
        ({"talk": "p", "response_a": "4", "response_b": "5", "winner": "a"}, "prompt=talk"),
        ({"my talk": [TURN], "id": "x", "answer_1": "4", "answer_2": "5", "winner": 1},
         "prompt=my talk"),
        ({"messages": [TURN], "response": "4", "score": 2}, "prompt=messages"),
        ({"ask": "p", "answer": "4", "rank": 2}, "prompt=ask"),
        ({"ask": "p", "human_ref_A": "4", "human_ref_B": "5", "labels": 1}, None),
    ],
)  # fmt: skip
def test_where_the_prompt_alone_is_missing_that_is_said_with_the_column_it_may_be(row, flag):
    with pytest.raises(PlauditError) as raised:
        load_rankings([row])
    if flag is None:  # a data set's own layout, whose prompt is called otherwise
        assert "no column for the history (history)" in str(raised.value)
        return
    said = f"Only the prompt is missing: say which it is with --columns {shlex.quote(flag)}"
    assert said in str(raised.value)
    assert "rank=" not in str(raised.value)


def test_several_columns_that_may_be_the_prompt_are_named():
    row = {"ask": "p", "mood": "glad", "response_a": "4", "response_b": "5", "winner": "a"}
    with pytest.raises(PlauditError, match=r"prompt=NAME; it may be ask or mood$"):
        load_rankings([row])


@pytest.mark.parametrize("name", ["messages", "conversations", "conversation"])
def test_conversations_without_anything_to_compare_are_not_learnt_from(name):
    row = {name: [TURN, GOOD], "id": 1}
    with pytest.raises(PlauditError) as raised:
        load_rankings([row])
    assert "plaudit score takes them as they are" in str(raised.value)
    assert "put the last reply into a column completion" in str(raised.value)
    with pytest.raises(PlauditError, match="into one prompt, beside label; each prompt needs"):
        load_rankings([row | {"label": True}])
    # What it says can be done.
    rows = [
        {"prompt": [TURN], "completion": [reply], "label": label}
        for reply, label in ((GOOD, True), (BAD, False))
    ]
    assert len(load_rankings(rows)) == 1


def test_one_column_is_not_two_texts():
    with pytest.raises(PlauditError, match="'messages' cannot be both the prompt and the complet"):
        load_rankings(
            [{"messages": [TURN, GOOD]}], columns={"prompt": "messages", "completion": "messages"}
        )
