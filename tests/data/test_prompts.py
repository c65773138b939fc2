"""Prompts as a stream: distinct, in order, each with what its row is known by."""

import json

import pytest

from plaudit.data.prompts import Prompt, stream_prompts, usable
from plaudit.data.rankings import Rejected
from plaudit.data.readers import BadRows
from plaudit.errors import PlauditError

CHAT = [{"role": "user", "content": "Hi"}]


def test_prompts_are_distinct_and_in_order_with_their_ids(tmp_path):
    rows = [
        {"id": 7, "question": "b", "topic": "x"}, {"uid": "u", "question": CHAT},
        {"id": 8, "question": "b"}, {"question": " "}, {"_id": None, "question": "Hi"},
    ]  # fmt: skip
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no JSON\n")
    found = list(stream_prompts(data))
    assert found[:2] == [
        Prompt("b", str(data), 1, {"id": 7}),
        Prompt(CHAT, str(data), 2, {"uid": "u"}),
    ]
    assert found[3] == Prompt("Hi", str(data), 5)
    assert [(type(row), row.line) for row in (found[2], found[4])] == [(Rejected, 4), (Rejected, 6)]
    assert len(found) == 5
    assert list(stream_prompts(data, limit=2)) == found[:2]


def test_a_list_of_prompts_and_a_file_of_lines_are_prompts(tmp_path):
    found = list(stream_prompts(["b", CHAT, "b", "", 5, "a"]))
    assert [row.text for row in found if isinstance(row, Prompt)] == ["b", CHAT, "a"]
    assert [row.line for row in found if isinstance(row, Rejected)] == [4, 5]
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffone\n\n two \none\n")
    assert [(row.text, row.line) for row in stream_prompts(file)] == [("one", 1), ("two", 3)]
    assert Prompt("one", "f", 1, {"id": 3}).in_messages() == Prompt(
        [{"role": "user", "content": "one"}], "f", 1, {"id": 3}
    )
    assert Prompt(CHAT, "f", 1).in_messages().text == CHAT


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(PlauditError, match="cannot be read: No such file"):
        list(stream_prompts(tmp_path / "none.txt"))
    (tmp_path / "bytes.txt").write_bytes("one\nÜbung\n".encode("cp1252"))
    one, bad = stream_prompts(tmp_path / "bytes.txt")
    assert (one.text, bad.line) == ("one", 2)
    assert bad.reason.startswith("undecodable bytes: not UTF-8; give --encoding cp1252")
    read = stream_prompts(tmp_path / "bytes.txt", encoding="cp1252")
    assert [row.text for row in read] == ["one", "Übung"]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(PlauditError, match="no column for the prompt; found: a, b"):
        list(stream_prompts(tmp_path / "other.csv"))
    assert [
        row.text for row in stream_prompts(tmp_path / "other.csv", columns={"prompt": "b"})
    ] == ["2"]
    (tmp_path / "blank.txt").write_text("\n \n")
    assert not list(stream_prompts(tmp_path / "blank.txt"))
    (tmp_path / "some.jsonl").write_text('{"prompt": "a"}\n{"prompt": ""}\n{"prompt": 5}\n')
    counted = BadRows("some", max_rejected=1)
    one, *rejected = usable(stream_prompts(tmp_path / "some.jsonl"), counted)
    assert one.text == "a"
    assert counted.rejected == rejected
    summary = "Of 3 rows, 2 rejected: 1 × the prompt is blank (first at "
    assert counted.summary().startswith(summary)
