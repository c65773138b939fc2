"""Scoring a file: every row comes out as it went in, in order, with the rewards of its texts."""

import csv
import gzip
import json
import os
import tracemalloc

import pytest
import torch
import zstandard

from plaudit import scoring
from plaudit.errors import PlauditError
from plaudit.scoring import read_prompts, score_file

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
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    expected = [
        row | {"reward": close(model.score(row["prompt"], row["completion"]))} for row in rows
    ]
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.csv", "a.parquet"):
        score_file(model, tmp_path / name, tmp_path / "out.jsonl", overwrite=True)
        assert read_rows(tmp_path / "out.jsonl") == expected, name
    score_file(model, [tmp_path / "a.csv", tmp_path / "a.parquet"], tmp_path / "both.jsonl")
    assert read_rows(tmp_path / "both.jsonl") == expected * 2


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


BAD = ['{"prompt": "p", "completion": ""}', '{"prompt": "p"', '{"completion": "c"}', "[1]"]


def test_rows_that_cannot_be_scored_go_beside_the_output(tmp_path, model, capsys):
    data = tmp_path / "a.jsonl"
    data.write_text("\n".join(['{"prompt": "p", "completion": "c"}', *BAD]))
    assert score_file(model, data, tmp_path / "out.jsonl") == 1
    rejected = read_rows(tmp_path / "rejected.jsonl")
    assert [row["line"] for row in rejected] == [2, 3, 4, 5]
    assert [row["reason"].split(":")[0] for row in rejected] == [
        "the completion is blank", "broken JSON", "the prompt is missing", "not an object",
    ]  # fmt: skip
    assert f"4 rows rejected, with reasons, to {tmp_path / 'rejected.jsonl'}" in (
        capsys.readouterr().err
    )
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


def test_strict_stops_at_the_first_bad_row(tmp_path, model):
    data = tmp_path / "a.jsonl"
    data.write_text("\n".join(['{"prompt": "p", "completion": "c"}', *BAD]))
    with pytest.raises(PlauditError, match=r"a\.jsonl:2: the completion is blank"):
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


def test_what_would_be_lost_is_refused_before_any_work(tmp_path):
    data = write_rows(tmp_path / "a.jsonl", SINGLE[:2])
    scored = write_rows(tmp_path / "scored.jsonl", [SINGLE[0] | {"reward": 1}])
    no_model = tmp_path / "there is no model here"
    for source, output, said in (
        (data, data, "is the input"),
        (data, scored, "already exists"),
        (data, tmp_path / "out.csv", r"written as JSON lines; name it \.jsonl"),
        (scored, tmp_path / "out.jsonl", "has a column reward already"),
        (tmp_path / "none.jsonl", tmp_path / "out.jsonl", "no such file"),
        (data, tmp_path / "out.jsonl", "cannot be loaded"),
    ):
        with pytest.raises(PlauditError, match=said):
            score_file(no_model, source, output, overwrite=output == data)
    assert sorted(os.listdir(tmp_path)) == ["a.jsonl", "scored.jsonl"]


def test_a_reward_column_that_comes_late_rejects_its_row(tmp_path, model):
    rows = [*SINGLE[:200], SINGLE[200] | {"reward": 1.5}]
    data = write_rows(tmp_path / "a.jsonl", rows)
    assert score_file(model, data, tmp_path / "out.jsonl") == 200
    (rejected,) = read_rows(tmp_path / "rejected.jsonl")
    assert (rejected["line"], rejected["row"]["reward"]) == (201, 1.5)


def test_missing_columns_are_named(tmp_path, model):
    data = write_rows(tmp_path / "a.jsonl", [{"ask": "p", "say": "c"}])
    with pytest.raises(PlauditError, match=r"no column for the prompt; found: ask, say\. Say"):
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
    with pytest.raises(PlauditError, match=r"a\.jsonl:1: the model's reward is not a finite"):
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

    once = peak(scoring.ROWS_AT_ONCE)
    assert peak(4 * scoring.ROWS_AT_ONCE) < 1.5 * once


# ---- prompts ----


def test_prompts_of_a_text_file(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffa b\r\n\n  c \na b\nd\n", encoding="utf-8")
    assert read_prompts(file) == ["a b", "c", "d"]
    assert read_prompts(file, 2) == ["a b", "c"]


def test_prompts_of_data_are_distinct_and_in_order(tmp_path, capsys):
    rows = [{"question": q} for q in ("b", "a", "b", "", CHAT, CHAT, None, [{"role": "x"}], "c")]
    data = write_rows(tmp_path / "a.jsonl", rows)
    assert read_prompts(data) == ["b", "a", CHAT, "c"]
    err = capsys.readouterr().err
    assert f"{data}:4: the prompt is blank: left out" in err
    assert "3 rows without a prompt left out" in err
    assert read_prompts(data, 3) == ["b", "a", CHAT]
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows([["ask"], ["x"], [json.dumps(CHAT)]])
    assert read_prompts(tmp_path / "a.csv", columns={"prompt": "ask"}) == ["x", CHAT]


def test_where_there_is_no_prompt_that_is_said(tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "latin1.txt").write_bytes("café".encode("latin1"))
    write_rows(tmp_path / "other.jsonl", [{"ask": "x"}])
    for name, said in (
        ("empty.txt", "there is no prompt in it"),
        ("latin1.txt", "is not UTF-8"),
        ("none.txt", "cannot be read: No such file"),
        ("none.csv", "no such file"),
        ("other.jsonl", "no column for the prompt; found: ask"),
    ):
        with pytest.raises(PlauditError, match=said):
            read_prompts(tmp_path / name)


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
