"""One bad dialogue ends nothing: it is a rejected row wherever rankings meet a model."""

import json
import threading
from itertools import count

import pytest

import tiny
from plaudit import RewardModel, evaluate, load_rankings, score, train
from plaudit.data.rankings import Ranking
from plaudit.errors import PlauditError
from plaudit.model.seen import each_encoded, each_encoded_ahead

STRICT = (
    "{% for m in messages %}{% if loop.index0 > 0 and m.role == messages[loop.index0 - 1].role %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role != 'system' %}[{{ m.role }}] {{ m.content }}<|im_end|>{% endif %}{% endfor %}"
)
REASON = "the chat template refuses the dialogue: user, user, assistant (roles must alternate)"
LEFT_OUT = "the chat template has no place for a turn of the system's"


def say(role, content):
    return {"role": role, "content": content}


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A tiny decoder whose template wants alternating roles and writes no system turn."""
    tokenizer = tiny.TOKENIZERS["qwen2"]()
    tokenizer.chat_template = STRICT
    return tiny.make("qwen2", tmp_path_factory.mktemp("strict") / "base", tokenizer)


@pytest.fixture
def data(tmp_path):
    """Twenty pairs, of which line 4 has two turns of the user's and line 8 one of the system's."""
    rows = [
        {
            "prompt": [say("user", f"What is {n} plus {n}?")],
            "chosen": [say("assistant", f"{2 * n}")],
            "rejected": [say("assistant", f"Hard to say, {n}.")],
        }
        for n in range(20)
    ]
    rows[3]["prompt"].append(say("user", "and the second half"))
    rows[7]["prompt"].insert(0, say("system", "Be brief."))
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rejected(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["file"].rsplit("/")[-1], row["line"], row["reason"].split(";")[0]) for row in rows]


@pytest.mark.parametrize("streaming", [False, True])
def test_training_rejects_what_the_template_refuses(strict, data, tmp_path, streaming):
    run = train(
        data, output=tmp_path / "run", base=str(strict), dtype="float32", max_steps=2,
        streaming=streaming, max_validation_rankings=2, save_steps=2, stress=0, report=False,
    )  # fmt: skip
    assert rejected(tmp_path / "run" / "rejected.jsonl") == [
        ("data.jsonl", 4, REASON),
        ("data.jsonl", 8, f"{LEFT_OUT}: it leaves the words out"),
    ]
    assert run.metrics["data"]["rejected"] == {
        "the chat template refuses the dialogue": 1,
        LEFT_OUT: 1,
    }


def test_scoring_rejects_it_and_scores_the_rest(strict, data, tmp_path):
    model = RewardModel.load(strict, dtype="float32", device="cpu")
    assert score(model, data, tmp_path / "scored.jsonl").rows == 18
    assert [line for _, line, _ in rejected(tmp_path / "rejected.jsonl")] == [4, 8]
    lines = (tmp_path / "scored.jsonl").read_text().splitlines()
    [first] = [json.loads(line) for line in lines[:1]]
    [reward] = model.score(first["prompt"], [first["chosen"]])
    assert first["reward_chosen"] == pytest.approx(reward, abs=1e-5)
    with pytest.raises(PlauditError, match=r"data.jsonl:4: the chat template refuses"):
        score(model, data, tmp_path / "other.jsonl", on_bad_row="stop")


def test_evaluation_rejects_it_and_measures_the_rest(strict, data, tmp_path):
    model = RewardModel.load(strict, dtype="float32", device="cpu")
    result = evaluate(model, data, output=tmp_path / "out", resamples=10)
    assert result.summary["counts"]["rankings"] == 18
    assert [line for _, line, _ in rejected(tmp_path / "out" / "rejected.jsonl")] == [4, 8]
    with pytest.raises(PlauditError, match="10% of the rows"):
        evaluate(model, data, max_rejected=0.05)
    with pytest.raises(PlauditError, match=r"data.jsonl:4: .* or read with --on-bad-row reject"):
        evaluate(model, data, on_bad_row="stop")


def test_rankings_of_python_have_their_numbers(strict):
    from plaudit.data.rankings import Ranking
    from plaudit.data.readers import Rankings
    from plaudit.model.seen import taken

    model = RewardModel.load(strict, dtype="float32", device="cpu")
    twice = [say("user", "a"), say("user", "b")]
    answers = [[say("assistant", "x")], [say("assistant", "y")]]
    given = [Ranking("a", ["x"], [0]), Ranking([say("user", "a")], answers, [0, 1])]
    data = Rankings.from_list([*given, Ranking(twice, answers, [0, 1])])
    assert taken(data, model.encodings, data) == [given[1]]
    assert [(one.line, one.kind) for one in data.rejected] == [
        (1, "only one completion for this prompt"),
        (3, "the chat template refuses the dialogue"),
    ]


def test_the_old_name_still_stops(data, tmp_path):
    data.write_text(data.read_text() + '{"prompt": "a", "chosen": "", "rejected": "b"}\n')
    for how in ({"strict": True}, {"on_bad_row": "stop"}):
        with pytest.raises(PlauditError, match=r"data.jsonl:21"):
            load_rankings(data, **how)


# ---- pairs that become equal, and what is cut ----

LONG = "the river rose and fell and rose again " * 5


@pytest.fixture
def long_pairs(tmp_path):
    """Twelve pairs that differ behind 200 characters, and twelve whose worse side alone is long."""
    rows = [
        {"prompt": f"{n}?", "chosen": f"{LONG} and calm", "rejected": f"{LONG} and nobody knows"}
        for n in range(12)
    ]
    rows += [{"prompt": f"{n}?", "chosen": "yes", "rejected": LONG} for n in range(12, 24)]
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("streaming", [False, True])
def test_pairs_that_are_equal_after_truncation_are_left_out_and_named(
    strict, long_pairs, tmp_path, streaming, capsys
):
    run = train(
        long_pairs, output=tmp_path / "run", base=str(strict), dtype="float32", max_steps=20,
        max_length=32, streaming=streaming, test_fraction=0, validation_fraction=0, report=False,
    )  # fmt: skip
    equal = [
        line for _, line, why in rejected(tmp_path / "run" / "rejected.jsonl") if "equal" in why
    ]
    assert equal == list(range(1, 13))
    counts = run.metrics["data"]["truncated"]
    share = counts["pairs"] // 24
    assert counts["equal_pairs"] == counts["equal_truncated"] == 12 * share
    assert (counts["only_worse_cut"], counts["only_better_cut"]) == (12 * share, 0)
    said = capsys.readouterr().err
    assert "pairs (50%) are the same tokens to the model" in said
    assert "only the worse completion loses its end" in said


def test_equal_pairs_count_half_in_accuracy(strict, tmp_path, capsys):
    path = tmp_path / "equal.jsonl"
    rows = [{"prompt": f"{n}?", "chosen": LONG + "a", "rejected": LONG + "b"} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = RewardModel.load(strict, dtype="float32", device="cpu", max_length=32)
    summary = evaluate(model, path, resamples=10).summary
    assert summary["pairwise_accuracy"]["value"] == 0.5
    assert summary["truncated"]["equal_pairs"] == summary["truncated"]["pairs"] == 6
    assert "6 of 6 pairs (100%) are the same tokens" in capsys.readouterr().err


def test_what_is_equal_for_another_reason_is_told_apart():
    from plaudit.data.rankings import Ranking
    from plaudit.model.encoding import Encoding, why_all_equal

    encoding = Encoding(tiny.wordpiece(), "encoder", "plain", 64)
    foreign, case = (
        encoding.encode([Ranking("is it?", texts, [0, 1])])[0]
        for texts in (["水", "火"], ["Yes", "yes"])
    )
    assert "does not know" in str(why_all_equal(foreign, encoding.unknown))
    assert "leaves out" in str(why_all_equal(case, encoding.unknown))
    whole = encoding.encode([Ranking("is it?", ["yes", "four"], [0, 1])])[0]
    assert why_all_equal(whole, encoding.unknown) is None


def test_the_length_is_the_models_own(strict, tmp_path):
    assert RewardModel.load(strict).max_length == tiny.POSITIONS
    tokenizer = tiny.TOKENIZERS["qwen2"]()
    long = tiny.make("qwen2", tmp_path / "long", tokenizer, max_position_embeddings=9000)
    new = RewardModel.load(long, device="cpu", dtype="float32")
    assert new.max_length == 4096
    new.save(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    del config["plaudit"]  # as a reward model that others trained
    (tmp_path / "saved" / "config.json").write_text(json.dumps(config))
    assert RewardModel.load(tmp_path / "saved").max_length == 9000
    assert RewardModel.load(tmp_path / "saved", max_length=100).max_length == 100


def test_inspect_shows_what_the_model_sees(strict, long_pairs, data):
    from plaudit import inspect

    found = inspect(long_pairs, base=str(strict), show=1, max_length=32)
    seen = found.summary["model_sees"]
    [first] = seen["shown"]
    better, worse = first["completions"]
    model = RewardModel.load(strict, dtype="float32", device="cpu", max_length=32)
    [row] = model.encode([("0?", [f"{LONG} and calm", f"{LONG} and nobody knows"])])
    assert better["text"] == model.encoding.tokenizer.decode(row["input_ids"][0])
    assert better["tokens"] == worse["tokens"]
    assert better["shared"] == len(better["tokens"]) == 32
    assert better["pooled"].startswith("the last token, 31: ")
    assert better["cut"][-1].endswith("and calm<|im_end|>")
    assert seen["counts"]["equal_pairs"] == 12
    lines = str(found).splitlines()
    assert f"--base {strict} --max-length 128" in lines[-1]
    assert lines[-2].startswith("verdict: mend first: 12 of 24 pairs are the same tokens")
    refused = inspect(data, base=str(strict)).summary
    assert refused["model_sees"]["left_out"] == {
        "the chat template refuses the dialogue": 1,
        LEFT_OUT: 1,
    }


@pytest.mark.parametrize("number", [0, 1, 255, 256, 257, 600])
def test_what_is_encoded_ahead_is_the_same(base, number):
    encoding = RewardModel.load(base("bert"), dtype="float32", max_length=48).encoding
    rankings = [Ranking(f"What is {i}?", ["fox", "dog " * (i % 5)], [0, 1]) for i in range(number)]
    ahead = list(each_encoded_ahead(iter(rankings), encoding))
    assert ahead == list(each_encoded(rankings, encoding))


def test_what_is_encoded_ahead_can_be_left_early(base):
    encoding = RewardModel.load(base("bert"), dtype="float32", max_length=48).encoding
    endless = (Ranking(f"What is {i}?", ["fox", "dog"], [0, 1]) for i in count())
    before = threading.active_count()
    rows = each_encoded_ahead(endless, encoding)
    assert next(rows)[0].prompt == "What is 0?"
    rows.close()
    assert threading.active_count() == before
