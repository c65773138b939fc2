"""Scoring a file: every row comes out as it went in, in order, with the rewards of its texts."""

import csv
import gzip
import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
import tracemalloc
from datetime import UTC, datetime
from itertools import islice

import pyarrow
import pyarrow.parquet
import pytest
import torch
import zstandard

import forked
from plaudit.data.rows import find_sources
from plaudit.data.tasks import Tasks
from plaudit.errors import PlauditError
from plaudit.scoring import score as scoring
from plaudit.scoring import workers
from plaudit.scoring.score import score_file

CHAT = [{"role": "user", "content": "Hi"}]
YES = [{"role": "assistant", "content": "Yes?"}]


@pytest.fixture(scope="module")
def model(reward_model):
    return reward_model("qwen2")


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def close(rewards):
    return pytest.approx(rewards, abs=1e-5)


SINGLE = [{"prompt": f"p{i}", "completion": "so " * (i % 7) + "it is", "id": i} for i in range(600)]


def test_single_rows_keep_everything_and_their_order(tmp_path, model):
    data = write_rows(tmp_path / "a.jsonl", SINGLE)
    assert score_file(model, data, tmp_path / "out.jsonl") == len(SINGLE)
    rows = read_rows(tmp_path / "out.jsonl")
    assert [{k: v for k, v in row.items() if k != "reward"} for row in rows] == SINGLE
    for row in rows[::97]:
        assert row["reward"] == close(model.score(row["prompt"], row["completion"]))
    assert sorted(os.listdir(tmp_path)) == ["a.jsonl", "out.jsonl"]


def test_pairs_lists_and_messages(tmp_path, model):
    rows = {
        "pairs": {"prompt": "2+2?", "chosen": "4", "rejected": "5", "extra": {"a": [1, None]}},
        "implicit": {"chosen": "Human: Hi\n\nAssistant: Yes?", "rejected":
                     "Human: Hi\n\nAssistant: No"},
        "lists": {"prompt": "2+2?", "completions": ["4", "four", "5"]},
        "chat": {"prompt": CHAT, "chosen": YES, "rejected": CHAT + YES},
        "mixed": {"question": "Hi", "answer": YES},
    }  # fmt: skip
    out = {}
    for name, row in rows.items():
        data = write_rows(tmp_path / f"{name}.jsonl", [row])
        score_file(model, data, tmp_path / f"{name}.out.jsonl")
        (out[name],) = read_rows(tmp_path / f"{name}.out.jsonl")
        assert row.items() <= out[name].items()
    four, five = model.score("2+2?", ["4", "5"])
    assert out["pairs"]["reward_chosen"] == close(four)
    assert out["pairs"]["reward_rejected"] == close(five)
    yes, no = model.score("Human: Hi\n\nAssistant:", [" Yes?", " No"])
    assert out["implicit"]["reward_chosen"] == close(yes)
    assert out["implicit"]["reward_rejected"] == close(no)
    assert out["lists"]["rewards"] == close(model.score("2+2?", ["4", "four", "5"]))
    (chat,) = model.score(CHAT, [YES])
    assert out["chat"]["reward_chosen"] == out["chat"]["reward_rejected"] == close(chat)
    assert out["mixed"]["reward"] == close(chat)


def test_all_kinds_of_files_give_the_same_rewards(tmp_path, model):
    rows = [{"prompt": "ü?", "completion": 'a "b",\nc'}, {"prompt": "q", "completion": "d"}]
    plain = write_rows(tmp_path / "a.jsonl", rows).read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(plain))
    with open(tmp_path / "a.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["prompt", "completion"])
        writer.writeheader()
        writer.writerows(rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    expected = [
        row | {"reward": close(model.score(row["prompt"], row["completion"]))} for row in rows
    ]
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.csv", "a.parquet"):
        score_file(model, tmp_path / name, tmp_path / "out.jsonl", overwrite=True)
        assert read_rows(tmp_path / "out.jsonl") == expected, name
    score_file(model, [tmp_path / "a.csv", tmp_path / "a.parquet"], tmp_path / "both.jsonl")
    assert read_rows(tmp_path / "both.jsonl") == expected * 2


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz"])
def test_csv_comes_out_as_csv_with_every_cell_as_it_was(tmp_path, model, suffix):
    """Cells that spreadsheets and careless writers change: formulas, quotes, line ends, numbers."""
    cells = ["=1+1", "@x", ' "so", he said ', "a\r\nb\rc\n", "007", "1e3", "", "TRUE", "مرحبا"]
    rows = [["prompt", "completion", "=note"], *(["p", "it is", cell] for cell in cells)]
    delimiter = "\t" if suffix == "tsv" else ","
    packed = gzip.open if suffix.endswith("gz") else open
    with packed(tmp_path / f"a.{suffix}", "wt", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    assert score_file(model, tmp_path / f"a.{suffix}", tmp_path / f"out.{suffix}") == len(cells)
    with packed(tmp_path / f"out.{suffix}", "rt", newline="", encoding="utf-8") as file:
        header, *scored = csv.reader(file, delimiter=delimiter)
    assert header == [*rows[0], "reward"]
    assert [row[:-1] for row in scored] == rows[1:]
    expected = close(model.score("p", "it is"))
    assert all(float(row[-1]) == expected for row in scored)


@pytest.mark.parametrize(
    ("delimiter", "encoding", "suffix"),
    [
        (";", "utf-8-sig", "csv"),
        (",", "utf-16", "csv.gz"),
        ("|", "utf-8", "csv"),
        ("\t", "utf-8-sig", "csv"),
    ],
)
def test_csv_comes_out_as_the_spreadsheet_wrote_it(tmp_path, model, delimiter, encoding, suffix):
    packed = gzip.open if suffix.endswith("gz") else open
    with packed(tmp_path / f"a.{suffix}", "wt", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(
            [["prompt", "completion"], ["Größe?", "2;3,4"]]
        )
    score_file(model, tmp_path / f"a.{suffix}", tmp_path / "out.csv")
    written = (tmp_path / "out.csv").read_bytes()
    assert written.startswith(b"\xef\xbb\xbf") == (encoding != "utf-8")
    header, row = csv.reader(written.decode("utf-8-sig").splitlines(), delimiter=delimiter)
    assert (header, row[:2]) == (["prompt", "completion", "reward"], ["Größe?", "2;3,4"])


def test_a_line_that_says_what_stands_between_fields_is_written_again(tmp_path, model):
    (tmp_path / "a.csv").write_text("sep=;\nprompt;completion\nWhy?;So.\n")
    score_file(model, tmp_path / "a.csv", tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[:2] == ["sep=;", "prompt;completion;reward"]


def test_what_csv_has_no_cell_for_is_json_or_refused(tmp_path, model):
    data = write_rows(
        tmp_path / "a.jsonl",
        [
            {"prompt": "p", "completions": ["so", "it is"], "seen": True, "more": {"ü": None}},
            {"prompt": "p", "completion": "it is", "late": None},
        ],
    )
    score_file(model, data, tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        lists, single = csv.DictReader(file)
    assert json.loads(lists["rewards"]) == close([model.score("p", c) for c in ("so", "it is")])
    assert (lists["seen"], lists["more"], lists["reward"]) == ("true", '{"ü": null}', "")
    assert (single["completions"], single["late"]) == ("", "")
    assert float(single["reward"]) == close(model.score("p", "it is"))
    write_rows(data, [{"prompt": "p", "completion": "a\0b"}])
    with pytest.raises(PlauditError, match=r"NUL, which CSV cannot hold; write \.jsonl"):
        score_file(model, data, tmp_path / "nul.csv")


def test_lists_and_messages_in_csv_are_json(tmp_path, model):
    with open(tmp_path / "a.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["prompt", "completions"], [json.dumps(CHAT), json.dumps(["Yes?", YES])]]
        )
    score_file(model, tmp_path / "a.csv", tmp_path / "out.jsonl")
    (row,) = read_rows(tmp_path / "out.jsonl")
    assert row["prompt"] == json.dumps(CHAT)  # as it went in
    (chat,) = model.score(CHAT, [YES])
    assert row["rewards"] == close([chat, chat])


BAD = ['{"prompt": "", "completion": "c"}', '{"prompt": "p"', '{"completion": "c"}', "[1]"]


def test_rows_that_cannot_be_scored_go_beside_the_output(tmp_path, model, capsys):
    data = tmp_path / "a.jsonl"
    data.write_text("\n".join(['{"prompt": "p", "completion": "c"}', *BAD]))
    assert score_file(model, data, tmp_path / "out.jsonl") == 1
    rejected = read_rows(tmp_path / "rejected.jsonl")
    assert [row["line"] for row in rejected] == [2, 3, 4, 5]
    assert [row["reason"].split(":")[0] for row in rejected] == [
        "the prompt is blank", "broken JSON", "the prompt is missing", "not an object",
    ]  # fmt: skip
    told = capsys.readouterr().err
    assert "Of 5 rows, 4 rejected: 1 × the prompt is blank (first at " in told
    assert f"; they are in {tmp_path / 'rejected.jsonl'}" in told
    # What another command left there stays, whatever is to be replaced.
    score_file(model, data, tmp_path / "out.jsonl", overwrite=True)
    assert len(read_rows(tmp_path / "rejected-2.jsonl")) == 4
    assert read_rows(tmp_path / "rejected.jsonl") == rejected


def test_where_no_row_can_be_scored_only_the_reasons_are_left(tmp_path, model):
    data = tmp_path / "a.jsonl"
    data.write_text("\n".join(BAD))
    with pytest.raises(PlauditError, match=r"no row could be scored; see .*rejected\.jsonl"):
        score_file(model, data, tmp_path / "out.jsonl", columns={"prompt": "prompt"})
    assert sorted(os.listdir(tmp_path)) == ["a.jsonl", "rejected.jsonl"]


def test_a_blank_completion_has_its_reward_as_over_http(tmp_path, model):
    for name, rows in {
        "jsonl": '{"prompt": "p", "completion": ""}',
        "csv": 'prompt,answer\np,""',
    }.items():
        (tmp_path / f"a.{name}").write_text(rows)
        assert score_file(model, tmp_path / f"a.{name}", tmp_path / f"{name}.jsonl") == 1
        (row,) = read_rows(tmp_path / f"{name}.jsonl")
        assert row["reward"] == close(model.score("p", ""))


def test_strict_stops_at_the_first_bad_row(tmp_path, model):
    data = tmp_path / "a.jsonl"
    data.write_text("\n".join(['{"prompt": "p", "completion": "c"}', *BAD]))
    with pytest.raises(PlauditError, match=r"a\.jsonl:2: the prompt is blank"):
        score_file(model, data, tmp_path / "out.jsonl", strict=True)
    assert os.listdir(tmp_path) == ["a.jsonl"]


def test_stdout_gets_rows_and_the_folder_nothing(tmp_path, model, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "a.jsonl", SINGLE[:3])
    assert score_file(model, "a.jsonl") == 3
    out, err = capsys.readouterr()
    assert [json.loads(line)["id"] for line in out.splitlines()] == [0, 1, 2]
    assert err == ""
    assert os.listdir(tmp_path) == ["a.jsonl"]


def test_what_a_model_truncated_before_is_not_told_of_a_file(tmp_path, reward_model, capsys):
    model = reward_model("gpt2")
    model.score("p", "word " * 9000)
    assert model.truncation["truncated"]
    score_file(model, write_rows(tmp_path / "a.jsonl", SINGLE[:3]), tmp_path / "out.jsonl")
    assert "are truncated" not in capsys.readouterr().err


def test_what_would_be_lost_is_refused_before_any_work(tmp_path):
    data = write_rows(tmp_path / "a.jsonl", SINGLE[:2])
    scored = write_rows(tmp_path / "scored.jsonl", [SINGLE[0] | {"reward": 1}])
    twice = tmp_path / "twice.csv"
    twice.write_text("prompt,completion,a,a\np,c,1,2\n")
    no_model = tmp_path / "there is no model here"
    for source, output, said in (
        (data, data, "is the input"),
        (data, scored, "already exists"),
        (data, tmp_path / "out.xlsx", r"no kind of file that is written here; name it \.jsonl"),
        (scored, tmp_path / "out.jsonl", "has a column reward already"),
        (twice, tmp_path / "out.jsonl", "two columns are called 'a', and one would be lost"),
        (tmp_path / "none.jsonl", tmp_path / "out.jsonl", "no such file"),
        (data, tmp_path / "out.jsonl", "cannot be loaded"),
    ):
        with pytest.raises(PlauditError, match=said):
            score_file(no_model, source, output, overwrite=output == data)
    assert sorted(os.listdir(tmp_path)) == ["a.jsonl", "scored.jsonl", "twice.csv"]


def test_a_reward_column_that_comes_late_rejects_its_row(tmp_path, model):
    rows = [*SINGLE[:200], SINGLE[200] | {"reward": 1.5}]
    data = write_rows(tmp_path / "a.jsonl", rows)
    assert score_file(model, data, tmp_path / "out.jsonl") == 200
    (rejected,) = read_rows(tmp_path / "rejected.jsonl")
    assert (rejected["line"], rejected["row"]["reward"]) == (201, 1.5)


LOGS = [  # the whole conversation, and how many of its turns are the prompt
    ([*CHAT, *YES], 1),
    ([{"role": "system", "content": "Be brief."}, *CHAT, *YES, *CHAT, *YES], 4),
    ([*CHAT, *YES, *YES], 1),
]


def as_sharegpt(turns):
    speakers = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}
    return [{"from": speakers[turn["role"]], "value": turn["content"]} for turn in turns]


@pytest.mark.parametrize("name", ["messages", "conversations", "conversation"])
def test_a_conversation_is_scored_by_its_last_reply(tmp_path, model, name):
    data = write_rows(
        tmp_path / "a.jsonl", [{name: log, "id": i} for i, (log, _) in enumerate(LOGS)]
    )
    split = [{"prompt": log[:at], "completion": log[at:]} for log, at in LOGS]
    score_file(model, data, tmp_path / "logs.csv")
    score_file(model, write_rows(tmp_path / "b.jsonl", split), tmp_path / "split.jsonl")
    with open(tmp_path / "logs.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [name, "id", "reward"]
    assert [json.loads(row[name]) for row in rows] == [log for log, _ in LOGS]
    rewards = [float(row["reward"]) for row in rows]
    assert rewards == close([row["reward"] for row in read_rows(tmp_path / "split.jsonl")])


def test_so_is_one_with_from_and_value_and_its_system_prompt_beside_it(tmp_path, model):
    rows = [
        {"conversations": as_sharegpt([*CHAT, *YES]), "label": True},
        {"conversations": as_sharegpt([*CHAT, *YES]), "system": "Be brief.", "label": False},
    ]
    score_file(model, write_rows(tmp_path / "a.jsonl", rows), tmp_path / "out.jsonl")
    scored = read_rows(tmp_path / "out.jsonl")
    system = [{"role": "system", "content": "Be brief."}]
    assert [row.pop("reward") for row in scored] == close(
        [*model.score(CHAT, YES), *model.score([*system, *CHAT], YES)]
    )
    assert [row | {"system": row.get("system")} for row in scored] == [
        row | {"system": row.get("system")} for row in rows
    ]


def test_what_tools_said_before_the_last_reply_is_of_the_prompt():
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]}
    log = [*CHAT, call, {"role": "tool", "content": "4"}, *YES]
    [source] = find_sources([{"messages": log}])
    [task] = Tasks(source, {})
    assert (task.prompt, list(task.completions)) == (log[:3], [log[3:]])


def test_a_conversation_without_a_last_reply_is_rejected(tmp_path, model):
    rows = [{"messages": [*CHAT, *YES]}, {"messages": CHAT}, {"messages": [*CHAT, *YES, *CHAT]}]
    data = write_rows(tmp_path / "a.jsonl", [*rows, {"messages": YES}, {"messages": "Hi"}])
    assert score_file(model, data, tmp_path / "out.jsonl") == 1
    assert [row["reason"] for row in read_rows(tmp_path / "rejected.jsonl")] == [
        "the conversation has no reply: it ends with the user's turn",
        "the conversation has no reply: it ends with the user's turn",
        "the prompt is blank",
        "the conversation is no messages: plain text",
    ]


def test_messages_beside_a_completion_are_no_whole_conversation(tmp_path, model):
    data = write_rows(tmp_path / "a.jsonl", [{"messages": CHAT, "response": "Yes?"}])
    with pytest.raises(
        PlauditError, match=r"Only the prompt is missing.*--columns prompt=messages"
    ):
        score_file(model, data, tmp_path / "out.jsonl")
    data = write_rows(tmp_path / "b.jsonl", [{"messages": [*CHAT, *YES]}])
    with pytest.raises(PlauditError, match="leave out --columns completion=messages"):
        score_file(model, data, tmp_path / "out.jsonl", columns={"completion": "messages"})
    columns = {"conversation": "talk"}
    data = write_rows(tmp_path / "c.jsonl", [{"talk": [*CHAT, *YES]}])
    assert score_file(model, data, tmp_path / "out.jsonl", columns=columns) == 1


def test_missing_columns_are_named(tmp_path, model):
    data = write_rows(tmp_path / "a.jsonl", [{"ask": "p", "say": "c"}])
    wanted = r"no column for the prompt \(.*\) and the completion \(.*\); found: ask, say\. Say"
    with pytest.raises(PlauditError, match=wanted):
        score_file(model, data)
    assert score_file(
        model, data, tmp_path / "o.jsonl", columns={"prompt": "ask", "completion": "say"}
    )


def test_a_reward_that_is_no_number_is_not_written(tmp_path, base):
    from plaudit.model.reward_model import RewardModel

    broken = RewardModel.load(base("gpt2"), dtype="float32", device="cpu")
    with torch.no_grad():
        broken.model.score.weight.fill_(float("nan"))
    data = write_rows(tmp_path / "a.jsonl", SINGLE[:2])
    with pytest.raises(
        PlauditError, match=r"a\.jsonl:1: the model's reward of a completion is not a finite"
    ):
        score_file(broken, data, tmp_path / "out.jsonl")
    assert os.listdir(tmp_path) == ["a.jsonl"]


def test_memory_does_not_grow_with_the_file(tmp_path, model):
    def peak(count):
        rows = ({"prompt": "p", "completion": "c", "note": "x" * 1000} for _ in range(count))
        data = write_rows(tmp_path / f"{count}.jsonl", rows)
        tracemalloc.start()
        score_file(model, data, tmp_path / f"{count}.out.jsonl")
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Some windows are read ahead, so that a short file holds them all.
    some = peak(4 * scoring.ROWS_AT_ONCE)
    assert peak(16 * scoring.ROWS_AT_ONCE) < 1.5 * some


def test_rows_of_several_kinds_in_one_file(tmp_path, model):
    rows = [
        {"prompt": "p", "completions": ["a", "b"]},
        {"prompt": "p", "completion": "a"},
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"prompt": "p"},
    ]
    data = write_rows(tmp_path / "a.jsonl", rows)
    assert score_file(model, data, tmp_path / "out.jsonl") == 3
    many, one, pair = read_rows(tmp_path / "out.jsonl")
    assert many["rewards"] == pytest.approx(model.score("p", ["a", "b"]), abs=1e-5)
    assert one["reward"] == pytest.approx(many["rewards"][0], abs=1e-5)
    assert pair["reward_rejected"] == pytest.approx(many["rewards"][1], abs=1e-5)
    assert len(read_rows(tmp_path / "rejected.jsonl")) == 1


def test_kinds_of_rows_that_come_late(tmp_path, model):
    rows = [
        *SINGLE[:300],
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"question": "p", "answers": ["a", "b"]},
        {"prompt": "p", "other": 1},
    ]
    data = write_rows(tmp_path / "a.jsonl", rows)
    assert score_file(model, data, tmp_path / "out.jsonl") == 302
    pair, many = read_rows(tmp_path / "out.jsonl")[300:]
    assert [pair["reward_chosen"], pair["reward_rejected"]] == close(model.score("p", ["a", "b"]))
    assert many["rewards"] == close(model.score("p", ["a", "b"]))
    (rejected,) = read_rows(tmp_path / "rejected.jsonl")
    assert rejected["reason"] == "the completion is missing"


# ---- to Parquet, in parts, in processes ----


def to_parquet(path, columns, **options):
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def test_of_several_parquet_files_one_may_lack_what_another_always_has(tmp_path, model):
    always = pyarrow.schema([("prompt", pyarrow.string()), ("completion", pyarrow.string())])
    always = always.append(pyarrow.field("id", pyarrow.int32(), nullable=False))
    rows = [{"prompt": "p", "completion": "a", "id": 1}]
    for name, schema in (("a", always), ("b", always.remove(2))):
        table = pyarrow.Table.from_pylist(rows, schema)
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet")
    score_file(model, [tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "out.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet")["id"].to_pylist() == [1, None]


def test_an_output_in_the_folder_of_the_data_is_resumed(tmp_path, model, monkeypatch):
    write_rows(tmp_path / "a.jsonl", SINGLE)
    with monkeypatch.context() as patch:
        windows = scoring.score_windows
        patch.setattr(scoring, "score_windows", lambda *given: islice(windows(*given), 1))
        patch.setattr(model, "report_truncation", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            score_file(model, tmp_path, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl.partial").is_dir()
    assert score_file(model, tmp_path, tmp_path / "out.jsonl", resume=True) == len(SINGLE)


def test_parquet_stays_what_it_is(tmp_path, model):
    days = [datetime(2024, 2, day, tzinfo=UTC) for day in (27, 28, 29)]
    columns = {
        "prompt": pyarrow.array(["p", "q", "q"]).dictionary_encode(),
        "chosen": ["a", "b", None],
        "rejected": ["b", "c", "c"],
        "when": pyarrow.array(days, pyarrow.timestamp("us", "UTC")),
        "score": pyarrow.array([1, 2, 3], pyarrow.int8()),
    }
    data = to_parquet(tmp_path / "a.parquet", columns)
    assert score_file(model, data, tmp_path / "out.parquet") == 2
    out = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    rewards = out.select(["reward_chosen", "reward_rejected"])
    assert out.drop_columns(rewards.column_names).equals(pyarrow.table(columns).slice(0, 2))
    assert [*rewards.to_pylist()[0].values()] == close(model.score("p", ["a", "b"]))
    assert rewards.schema.types == [pyarrow.float64()] * 2
    assert read_rows(tmp_path / "rejected.jsonl")[0]["row"]["when"] == "2024-02-29 00:00:00+00:00"
    # From JSON lines types are found, and JSON lines of Parquet have what JSON has.
    lines = write_rows(tmp_path / "b.jsonl", SINGLE[:3])
    score_file(model, lines, tmp_path / "b.parquet")
    assert pyarrow.parquet.read_schema(tmp_path / "b.parquet").types == [
        *[pyarrow.string()] * 2,
        pyarrow.int64(),
        pyarrow.float64(),
    ]
    score_file(model, data, tmp_path / "a.jsonl")
    assert read_rows(tmp_path / "a.jsonl")[0]["when"] == "2024-02-27 00:00:00+00:00"
    other = to_parquet(tmp_path / "c.parquet", columns | {"score": ["one", "two", "three"]})
    with pytest.raises(
        PlauditError, match=r"c\.parquet: its columns are of other types than those"
    ):
        score_file(model, [data, other], tmp_path / "both.parquet")


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet", "out.tsv.zst"])
def test_an_interrupted_output_is_resumed_to_the_same_bytes(tmp_path, model, name, monkeypatch):
    rows = [*SINGLE, {"prompt": "p"}, {"prompt": "p", "completions": ["a", "b"] * 300}]
    data = write_rows(tmp_path / "a.jsonl", [*rows, *SINGLE])
    once = tmp_path / "once"
    assert score_file(model, data, once / name) == 1201
    again = tmp_path / "again"
    scored, left = model.rewards, 0

    def interrupted(encoded):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return scored(encoded)

    monkeypatch.setattr(model, "rewards", interrupted)
    for windows in (1, 0, 2, 1):
        left = windows
        with pytest.raises(KeyboardInterrupt):
            score_file(model, data, again / name, resume=True)
        with pytest.raises(PlauditError, match=r"is unfinished, .* --resume goes on with it"):
            score_file(model, data, again / name)
    left = 100
    assert score_file(model, data, again / name, resume=True) == 1201
    for file in (name, "rejected.jsonl"):
        assert (again / file).read_bytes() == (once / file).read_bytes()
    assert sorted(os.listdir(again)) == sorted([name, "rejected.jsonl"])
    with pytest.raises(PlauditError, match="there is nothing to resume"):
        score_file(model, data, again / name, resume=True)


def test_a_resumed_output_counts_what_was_rejected_before(tmp_path, model, monkeypatch):
    good, bad = {"prompt": "p", "completion": "c"}, {"prompt": "p", "completion": None}
    data = write_rows(tmp_path / "a.jsonl", [*[bad] * 80, *[good] * 320])
    output = tmp_path / "out.jsonl"
    with monkeypatch.context() as patch:
        windows = scoring.score_windows
        patch.setattr(scoring, "score_windows", lambda *given: islice(windows(*given), 1))
        patch.setattr(model, "report_truncation", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            score_file(model, data, output, max_rejected=0.1)
    reason = r"20% of the rows .* Of 400 rows, 80 rejected: 80 × before the interruption\."
    with pytest.raises(PlauditError, match=reason):
        score_file(model, data, output, resume=True, max_rejected=0.1)
    assert score_file(model, data, output, resume=True, max_rejected=0.2) == 320


def test_a_resumed_output_is_made_of_the_same_data_with_the_same_model(
    tmp_path, reward_model, monkeypatch
):
    data = write_rows(tmp_path / "a.jsonl", SINGLE)
    model, output = reward_model("qwen2"), tmp_path / "out.jsonl"
    with monkeypatch.context() as patch:
        windows = scoring.score_windows
        patch.setattr(scoring, "score_windows", lambda *given: islice(windows(*given), 1))
        patch.setattr(model, "report_truncation", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            score_file(model, data, output)
    with pytest.raises(PlauditError, match=r'out\.jsonl: was begun with weights "'):
        score_file(reward_model("llama"), data, output, resume=True)
    with pytest.raises(
        PlauditError, match=r'was begun with columns \{\}, not \{"prompt": "prompt"\}'
    ):
        score_file(model, data, output, resume=True, columns={"prompt": "prompt"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "length_penalty", 0.5)
        with pytest.raises(PlauditError, match=r"was begun with length_penalty 0\.0, not 0\.5"):
            score_file(model, data, output, resume=True)
    write_rows(data, SINGLE[:-1])
    with pytest.raises(PlauditError, match=r'was begun with data \[\["a\.jsonl", '):
        score_file(model, data, output, resume=True)
    with pytest.raises(PlauditError, match="--resume needs the file"):
        score_file(model, data, resume=True)


def assert_same_rows(one, other):
    """The same rows in the same order; rewards up to rounding: threads have a say in it."""
    ours, theirs = read_rows(one), read_rows(other)
    rewards = ("reward", "rewards", "reward_chosen", "reward_rejected")
    for row, same in zip(ours, theirs, strict=True):
        assert list(row) == list(same)
        for name, value in row.items():
            assert same[name] == (pytest.approx(value, abs=1e-5) if name in rewards else value)


def test_several_processes_give_the_same_rewards_in_the_same_order(tmp_path, base, capfd):
    rows = [*SINGLE, {"prompt": "p"}, {"prompt": "p", "chosen": "a", "rejected": "b " * 200}]
    data = write_rows(tmp_path / "a.jsonl", rows)
    options = {"dtype": "float32", "device": "cpu"}
    score_file(base("qwen2"), data, tmp_path / "one.jsonl", **options)
    alone = capfd.readouterr().err.splitlines()
    assert score_file(base("qwen2"), data, tmp_path / "two.jsonl", processes=2, **options) == 601
    assert_same_rows(tmp_path / "two.jsonl", tmp_path / "one.jsonl")
    rejected = [(tmp_path / f"rejected{n}.jsonl").read_bytes() for n in ("", "-2")]
    assert rejected[0] == rejected[1]
    err = capfd.readouterr().err.replace("rejected-2", "rejected").replace("two.jsonl", "one.jsonl")
    said = err.splitlines()
    assert [line for line in said if line != "scoring in 2 processes"] == alone
    assert any("1 of 602 completions are truncated" in line for line in said)
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_an_error_and_what_is_done_stays(tmp_path, base):
    data = write_rows(tmp_path / "a.jsonl", SINGLE * 4)
    options = {"dtype": "float32", "device": "cpu"}
    once = tmp_path / "once.jsonl"
    score_file(base("bert"), data, once, **options)
    joined = workers._joined

    def killing(window, answers):
        if window[0].row.values["id"] > 500:
            multiprocessing.active_children()[0].kill()
        return joined(window, answers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_joined", killing)
        with pytest.raises(PlauditError, match=r"a scoring process \(on cpu\) died: SIGKILL"):
            score_file(base("bert"), data, tmp_path / "out.jsonl", processes=2, **options)
    assert score_file(base("bert"), data, tmp_path / "out.jsonl", resume=True, **options) == 2400
    assert_same_rows(tmp_path / "out.jsonl", once)


def test_nothing_waits_for_a_process_that_has_died(base):
    with workers.Workers(base("bert"), {"dtype": "float32", "device": "cpu"}, 1) as engine:
        [worker] = engine._workers
        worker.process.kill()
        worker.tasks.put(b" " * 2**20)  # more than a pipe holds
    ending = threading.Thread(target=worker.tasks.join_thread, daemon=True)  # as Python does
    ending.start()
    ending.join(5)
    waits = ending.is_alive()
    worker.tasks.cancel_join_thread()
    assert not waits


def test_what_other_processes_cannot_do_is_said(tmp_path, model):
    data = write_rows(tmp_path / "a.jsonl", SINGLE[:2])
    for options, said in (
        ({"processes": 2}, "load the model themselves: give its name"),
        ({"engine": "ray"}, "load the model themselves: give its name"),
        ({"processes": 0}, "processes: 0 is not a number of 1 or more"),
        ({"engine": "spark"}, "engine: there is no spark; choose one of local, ray"),
    ):
        with pytest.raises(PlauditError, match=said):
            score_file(model, data, tmp_path / "out.jsonl", **options)
    assert os.listdir(tmp_path) == ["a.jsonl"]


# How often each is killed; a number in the environment is for both.
KILLS = {"out.jsonl": 2, "out.parquet": 1}
SCORE = """
import sys
from plaudit.scoring.score import score_file
score_file(*sys.argv[1:4], resume=True, dtype="float32", device="cpu")
"""


@pytest.mark.parametrize("name", KILLS)
def test_a_kill_at_any_moment_changes_no_byte(tmp_path, base, name):
    model = os.environ.get("PLAUDIT_KILLS_MODEL", str(base("bert")))
    data = tmp_path / "a.parquet"
    rows = [row | {"id": n, "text": "ü𝄞"} for n, row in enumerate(SINGLE * 10)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), data)
    once, again = tmp_path / "once", tmp_path / "again"
    options = {"dtype": "float32", "device": "cpu"}
    started = time.monotonic()
    score_file(model, data, once / name, **options)
    took = time.monotonic() - started
    chance = random.Random(name)
    kills = int(os.environ.get("PLAUDIT_KILLS", KILLS[name]))
    begun: list[str] = []
    longest = min(took, 2 * took / kills)
    while len(begun) < kills:
        process = forked.start("-c", SCORE, model, data, again / name)
        state = again / f"{name}.partial" / "state"
        before = state.read_bytes() if state.exists() else b""
        # Most of the time goes by before a row is scored, and then there is nothing to lose.
        while process.poll() is None and not (state.exists() and state.read_bytes() != before):
            time.sleep(0.01)
        process.process.join(chance.uniform(0, longest))
        process.kill()
        if process.poll() == 0 and not begun:  # it was done before the kill came
            shutil.rmtree(again)
            longest /= 2
            assert longest > 1e-3
            continue
        begun.append(process.stderr)
        if process.poll() == 0:
            break
    assert process.poll() == -signal.SIGKILL or len(begun) > 1, begun
    if not (again / name).exists():
        score_file(model, data, again / name, resume=True, **options)
    assert (again / name).read_bytes() == (once / name).read_bytes()
    assert os.listdir(again) == [name]
