"""A dialogue that a chat template or a tokenizer refuses is a rejected row, whoever reads it."""

import json

import pytest

from plaudit import PlauditError, RewardModel, compare, generate, normalise, policy_test
from plaudit.labelling.labelling import Labelling
from plaudit.sampling.policy import Policy

REFUSES = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turns') }}"
    "{% endif %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
)
ASKED = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
PROMPTS = ["What is 1?", ASKED, "What is 2?", "What is 3?"]
SAMPLING = {"n": 2, "max_new_tokens": 3}


@pytest.fixture(scope="module")
def strict(base):
    """A reward model and a policy whose template takes no system turn."""
    model = RewardModel.load(base("qwen2"), device="cpu", dtype="float32")
    policy = Policy.load(base("qwen2"), device="cpu", dtype="float32")
    model.encoding.tokenizer.chat_template = policy.tokenizer.chat_template = REFUSES
    return model, policy


@pytest.fixture
def files(tmp_path):
    prompts = [{"prompt": prompt} for prompt in PROMPTS]
    completions = [row | {"completions": ["fox", "dog dog", "no"]} for row in prompts]
    for name, rows in (("prompts", prompts), ("completions", completions)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "prompts.jsonl", tmp_path / "completions.jsonl"


def rejected(folder):
    lines = (folder / "rejected.jsonl").read_text().splitlines()
    return [(row["line"], "no system turns" in row["reason"]) for row in map(json.loads, lines)]


def test_generate(strict, files, tmp_path, monkeypatch):
    out = tmp_path / "out" / "kept.jsonl"
    out.parent.mkdir()
    result = generate(*strict, files[0], out, keep_unfinished=True, **SAMPLING)
    assert result.summary["prompts"] == 3
    assert rejected(out.parent) == [(2, True)]
    sampled = []
    monkeypatch.setattr(
        Policy, "complete", lambda *given, **more: sampled.append(given) or iter(())
    )
    for option, reason in (({"on_bad_row": "stop"}, ":2: "), ({"max_rejected": 0.2}, "25% of")):
        with pytest.raises(PlauditError, match=reason):
            generate(*strict, files[0], tmp_path / "no.jsonl", **SAMPLING, **option)
        assert not (tmp_path / "no.jsonl.partial").exists()
    assert not sampled


def test_compare_and_policy_test(strict, files, tmp_path):
    model, policy = strict
    for name, call in (
        ("compared", lambda **more: compare(model, policy, files[0], **SAMPLING, **more)),
        (
            "tested",
            lambda **m: policy_test(model, prompts=files[0], policy=policy, **SAMPLING, **m),
        ),
        ("read", lambda **more: policy_test(model, samples=files[1], **more)),
    ):
        call(output=tmp_path / name, max_rejected=0.3)
        assert rejected(tmp_path / name) == [(2, True)]
        with pytest.raises(PlauditError, match=r"jsonl:2: "):
            call(on_bad_row="stop")
        with pytest.raises(PlauditError, match="25% of the rows"):
            call()


def test_normalise_and_label(strict, files, tmp_path, monkeypatch):
    model, _ = strict
    model.save(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert normalise(tmp_path / "model", files[1], max_rejected=0.3).completions == 9
    assert rejected(tmp_path) == [(2, True)]
    with pytest.raises(PlauditError, match=r"jsonl:2: "):
        normalise(tmp_path / "model", files[1], overwrite=True, on_bad_row="stop")
    labelling = Labelling(model, files[1], tmp_path / "labels.csv", max_rejected=0.3)
    assert labelling.state()["total"] == 3
    assert [each.name for each in tmp_path.glob("rejected*")] == ["rejected.jsonl"]  # the same row
    labels = tmp_path / "labels" / "labels.csv"
    labels.parent.mkdir()
    (labels.parent / "rejected.jsonl").write_text("somebody else's\n")
    for _ in range(2):
        Labelling(model, files[1], labels, max_rejected=0.3)
        assert (labels.parent / "rejected.jsonl").read_text() == "somebody else's\n"
        [row] = map(json.loads, (labels.parent / "rejected-2.jsonl").open())
        assert row["line"] == 2
        assert not (labels.parent / "rejected-3.jsonl").exists()
    with pytest.raises(PlauditError, match="25% of the rows"):
        Labelling(model, files[1], tmp_path / "labels.csv")
