"""One bad dialogue ends nothing: it is a rejected row wherever rankings meet a model."""

import json

import pytest

import tiny
from plaudit import RewardModel, evaluate, load_rankings, score, train
from plaudit.errors import PlauditError

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
        streaming=streaming, max_validation_rankings=2, save_steps=2,
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
    with pytest.raises(PlauditError, match=r"11% of the rows|10% of the rows"):
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
