"""`examples/end_to_end.py`: the whole road in small, and its figures against counts by hand."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from plaudit import Policy, Ranking

EXAMPLE = Path(__file__).parents[2] / "examples" / "end_to_end.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("end_to_end", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two files of preference data that share four prompts."""
    folder = tmp_path_factory.mktemp("data")
    files = (folder / "ranked.jsonl", range(40)), (folder / "others.jsonl", range(36, 60))
    for file, numbers in files:
        rows = [
            {"prompt": f"{10**6 + 7919 * n}?", "chosen": f"It is {n}.", "rejected": f"No {n}"}
            for n in numbers
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [file for file, _ in files]


def words(data, folder, **more):
    given = {"instruction": "", "learning": 4, "held_out": 6, "n": 4, "samples": 2, "steps": 2}
    given |= {"generations": 4, "max_new_tokens": 6, "reward_length": 64, "judge_length": 64}
    given |= {"learning_rate": 0.05} | more
    flags = [str(w) for k, v in given.items() for w in (f"--{k.replace('_', '-')}", v)]
    return [str(data[0]), "--judge-data", str(data[1]), "-o", str(folder), *flags]


def test_the_whole_road(example, base, data, tmp_path, capsys):
    models = {"policy": base("qwen2"), "reward_base": base("bert"), "judge_base": base("gpt2")}
    call = words(data, tmp_path / "out", **models)
    assert example.main(call) == 0
    result = json.loads((tmp_path / "out" / "table.json").read_text())
    rows = result["rows"]
    assert list(rows) == [
        "base policy",
        "best of 2, by the reward model", "best of 4, by the reward model",
        "best of 4, by length alone",
        "GRPO, by the reward model", "GRPO, by length alone",
    ]  # fmt: skip
    assert [row["answers"] for row in rows.values()] == [24, 12, 6, 6, 12, 12]
    # What is chosen by a score has more of it.
    own = [rows[name]["own"]["value"] for name in list(rows)[:3]]
    assert own == sorted(own)
    assert own[0] < own[2]
    longest = rows["best of 4, by length alone"]["tokens"]["value"]
    assert longest > rows["base policy"]["tokens"]["value"]
    assert set(result["training"]) == {"reward", "length"}
    assert all(len(log) == 2 for log in result["training"].values())
    table = capsys.readouterr().out
    assert all(f"| {name} |" in table for name in rows)
    assert (tmp_path / "out" / "table.md").read_text() in table

    # The policies that are measured are those that were trained.
    data_of = example.prepare(example.parse(call))
    asked = [example.with_instruction(p, example.parse(call)) for p in data_of.held_out]
    sampling = {"n": 2, "max_new_tokens": 6, "temperature": 0.7, "top_p": 1.0, "batch_size": 8}
    untrained = list(Policy.load(base("qwen2")).sample(asked, seed=0, **sampling))
    kept = {
        name: json.loads((tmp_path / "out" / "answers" / f"{name}.json").read_text())["texts"]
        for name in ("base", "grpo-reward")
    }
    assert [row[:2] for row in kept["base"]] == untrained
    assert kept["grpo-reward"] != untrained

    # Again: all of it is there, and the same comes out; with other settings it is refused.
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.safetensors")}
    assert example.main(call) == 0
    assert json.loads((tmp_path / "out" / "table.json").read_text())["rows"] == rows
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.safetensors")} == before
    assert example.main([*call, "--steps", "3"]) == 1
    assert "was begun with --steps 2, not 3" in capsys.readouterr().err


def test_nobody_sees_what_another_is_measured_on(example, data, tmp_path):
    args = example.parse(words(data, tmp_path))
    found = example.prepare(args)
    parts = [
        {ranking.prompt for ranking in found.reward}, {ranking.prompt for ranking in found.judge},
        set(found.learning), set(found.held_out),
    ]  # fmt: skip
    for i, part in enumerate(parts):
        assert part
        for other in parts[:i]:
            assert not part & other
    assert found.near == 4


def test_too_few_prompts_are_said(example, data, tmp_path, capsys):
    assert example.main(words(data, tmp_path, words=0)) == 1
    assert "0 prompts of at most 0 words, fewer than 10" in capsys.readouterr().err


def test_the_reward_that_is_only_length(example):
    assert example.in_tokens(completion_ids=[[7, 7, 7], [], [9]], prompts=["a"] * 3) == [3, 0, 1]


def test_the_best_of_each_n_in_turn(example):
    pool = {
        "texts": [["a", "b", "c", "d", "e"]], "finished": [[True] * 4 + [False]],
        "own": [[0.0, 1.0, 3.0, 2.0, 9.0]],
    }  # fmt: skip
    chosen = example.best(pool, 2, "own")
    assert chosen == {"texts": [["b", "c"]], "finished": [[True] * 2], "own": [[1.0, 3.0]]}
    assert example.best(pool, 5, "own")["finished"] == [[False]]


def test_figures_against_counts_by_hand(example):
    # Answers to two prompts.
    reference = {
        "texts": [["x y"] * 2] * 2, "tokens": [[10, 20], [10, 40]], "finished": [[True] * 2] * 2,
        "own": [[0.0, 0.0], [2.0, 2.0]], "judge": [[0.0, 2.0], [1.0, 1.0]],
    }  # fmt: skip
    given = {
        "texts": [["a b c d", "a b c e"], ["f", "a b c"]], "tokens": [[20, 21], [10, 80]],
        "finished": [[True, False], [True] * 2],
        "own": [[1.0, 2.0], [2.0, 4.0]], "judge": [[1.0, 2.0], [3.0, 1.0]],
    }  # fmt: skip
    row = example.compared(given, reference, slope=0.5)
    # Prompt 1: 1 > 0, 1 < 2, 2 > 0, 2 = 2; prompt 2: 3 > 1 twice, 1 = 1 twice.
    assert row["wins"]["value"] == pytest.approx((2.5 + 3) / 8)
    # Close in length: (20, 20): lost; (21, 20): tied; (10, 10): won.
    assert row["pairs_at_equal_length"] == pytest.approx(3 / 8)
    assert row["wins_at_equal_length"]["value"] == pytest.approx(1.5 / 3)
    assert row["own"]["value"] == pytest.approx(9 / 4 - 1)  # their deviation is 1
    unit = np.std([0.0, 2.0, 1.0, 1.0])
    assert row["judge"]["value"] == pytest.approx((7 / 4 - 1) / unit)
    longer = np.mean(np.log([21, 22, 11, 81])) - np.mean(np.log([11, 21, 11, 41]))
    assert row["judge_beyond_length"]["value"] == pytest.approx((7 / 4 - 1 - 0.5 * longer) / unit)
    assert row["tokens"]["value"] == pytest.approx(131 / 4)
    assert row["unfinished"]["value"] == pytest.approx(1 / 4)
    assert row["commonest_beginning"] == ["a b c", 3]
    assert row["answers"] == 4


def test_a_judge_that_follows_length_alone_is_found_out(example):
    rng = np.random.default_rng(0)
    level = rng.normal(size=(40, 1))  # each prompt has its own

    def answers(tokens):
        return {
            "texts": [["a"] * 4] * 40, "tokens": tokens.tolist(), "finished": [[True] * 4] * 40,
            "own": tokens.tolist(), "judge": (3 * np.log1p(tokens) + level).tolist(),
        }  # fmt: skip

    tokens = rng.integers(5, 60, (40, 4))
    before, after = answers(tokens), answers(2 * tokens)
    slope = example.slope_in_length(before)
    assert slope == pytest.approx(3)
    assert example.within(before["judge"], before["tokens"]) == pytest.approx(1)
    row = example.compared(after, before, slope)
    assert row["judge"]["low"] > 0
    assert row["judge_beyond_length"]["value"] == pytest.approx(0, abs=1e-9)


def test_answers_of_one_length_have_no_slope(example):
    assert example.slope_in_length({"judge": [[0.0, 1.0]], "tokens": [[5, 5]]}) == 0
    assert example.within([[0.0, 1.0]], [[5, 5]]) is None


def test_near_copies_are_left_out(example):
    asked = Ranking("Name the three largest lakes of northern Europe, please.", ["a", "b"], [0, 1])
    near = Ranking("Name the three largest lakes of northern Europe, please!", ["c", "d"], [0, 1])
    far = Ranking("What is a bond?", ["e", "f"], [0, 1])
    assert example.unlike([near, far], [asked]) == [far]
