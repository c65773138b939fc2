"""Testing rewards under a policy's samples: reading them, drawing them, and what is written."""

import json
import os

import pytest
from pydantic import TypeAdapter

import interrupting
from plaudit import PlauditError, policy_test, report
from plaudit.cli import main
from plaudit.data.readers import BadRows
from plaudit.evaluation.optimisation import best_of
from plaudit.evaluation.rewards import rewards_of
from plaudit.results import PolicyTestSummary
from plaudit.sampling.samples import draw, read_samples, with_enough

SAMPLES = {f"What is {i}?": ["fox " * (i % 5 + j) + "dog" for j in range(4)] for i in range(6)}

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "dog"}]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def samples(tmp_path):
    rows = [{"prompt": prompt, "completions": texts} for prompt, texts in SAMPLES.items()]
    return write(tmp_path / "samples.jsonl", rows)


@pytest.fixture(scope="module")
def judges(trained):
    """The folders of a reward model and of two others with other heads."""
    return [str(trained / "runs" / name) for name in ("first", "second", "third")]


def test_samples_are_read_from_rows_of_any_layout(samples, tmp_path):
    rows = [
        {"prompt": prompt, "response": text, "score": len(text)}
        for k in range(4)  # those of a prompt do not stand together
        for prompt, text in ((prompt, texts[k]) for prompt, texts in SAMPLES.items())
    ]
    alone = write(
        tmp_path / "alone.jsonl", [*rows, {"prompt": "What is 0?", "response": "", "score": 0}]
    )
    together, scored = read_samples(samples), read_samples(alone)
    assert {each.prompt: each.completions for each in together} == SAMPLES
    assert together[0].ratings is None
    assert scored[0].completions == [*SAMPLES["What is 0?"], ""]
    assert [each.ratings for each in scored] == [[*map(len, each.completions)] for each in scored]
    ranked = write(tmp_path / "ranked.jsonl", [
        {"prompt": "a", "answer": "x", "rank": 1}, {"prompt": "a", "answer": "y", "rank": 2},
    ])  # fmt: skip
    assert read_samples(ranked)[0].ratings == [-1, -2]
    named = read_samples(alone, {"score": "score", "completion": "response"})
    assert named[0].ratings == scored[0].ratings


def test_a_bad_row_is_named_by_file_and_line(tmp_path):
    good = {"prompt": "a", "completion": "x", "score": 1}
    bad = [good | {"score": "high"}, {"prompt": "a", "completion": 5, "score": 1}]
    file = write(tmp_path / "samples.jsonl", [good, *bad, good])
    allowed = BadRows(str(file), max_rejected=0.5)
    assert read_samples(file, bad=allowed)[0].completions == ["x", "x"]
    assert [(row.line, row.kind) for row in allowed.rejected] == [
        (2, "the score is not a finite number"),
        (3, "the completion is not text"),
    ]
    with pytest.raises(PlauditError, match="50% of the rows cannot be used"):
        read_samples(file)
    with pytest.raises(PlauditError, match=r"samples\.jsonl:2: the score is not a finite number"):
        read_samples(file, bad=BadRows(str(file), "stop"))
    opposite = [{"prompt": "a", "completion": f"x{n}", "rank": n, "score": n} for n in (1, 2)]
    with pytest.raises(PlauditError, match="2 × rank and score contradict each other"):
        read_samples(write(tmp_path / "opposite.jsonl", opposite))
    other = write(tmp_path / "other.jsonl", [{"prompt": "b", "completion": "x"}])
    with pytest.raises(PlauditError, match=r"other\.jsonl:1: has no score, as other rows have"):
        read_samples([file, other], bad=BadRows("both", max_rejected=1))
    empty = write(tmp_path / "empty.jsonl", [{"prompt": "a", "completion": None}])
    with pytest.raises(PlauditError, match="100% of the rows cannot be used"):
        read_samples(empty)


def test_scores_and_ranks_are_never_on_one_scale(tmp_path, capsys):
    def read(*rows, **options):
        lines = [{"prompt": "a", "completion": f"x{n}"} | row for n, row in enumerate(rows)]
        found = read_samples(write(tmp_path / "s.jsonl", lines), **options)
        return [each.ratings for each in found]

    scored = [{"prompt": "b", "rank": n, "score": 9 - n} for n in (1, 2)]
    half = [{"rank": 1, "score": 4}, {"rank": 2, "score": None}]
    assert read(*half, *scored) == [[-1, -2], [8, 7]]
    said = capsys.readouterr().err
    assert said.count("has no score") == 1
    assert "s.jsonl:2: has no score, and other samples of its prompt have one" in said
    assert read(*half, {"rank": 3, "score": 1}) == [[-1, -2, -3]]
    assert read({"rank": 1, "score": None}, {"rank": 2, "score": None}, *scored)[0] == [-1, -2]
    opposite = {"rank": 3, "score": 5}
    none = write(tmp_path / "none.jsonl", [{"prompt": "a", "answer": "y"}])
    for some in ({"rank": 1}, {"rank": 1, "score": 2}):
        named = write(tmp_path / "some.jsonl", [{"prompt": "a", "completion": "x"} | some])
        with pytest.raises(PlauditError, match=r"none\.jsonl:1: has no score, as other rows have"):
            read_samples([named, none])
    with pytest.raises(PlauditError, match="3 × rank and score contradict each other"):
        read(*half, opposite)


def test_the_ranks_of_two_lists_are_not_compared(tmp_path):
    def read(*lists, allowed=0.1):
        rows = [{"prompt": "a", "completions": ["x", "y"], "ranks": [1, 2]} | row for row in lists]
        bad = BadRows("lists", max_rejected=allowed)
        file = write(tmp_path / "lists.jsonl", rows)
        return read_samples(file, bad=bad)[0].ratings, [row.line for row in bad.rejected]

    lists = [{"scores": [5, 4]}, {"scores": [3, 2]}]
    assert read(*lists) == ([5, 4, 3, 2], [])
    assert read(*lists, {"scores": [1, 6]}, allowed=0.4) == ([5, 4, 3, 2], [3])
    assert read({}) == ([-1, -2], [])
    with pytest.raises(PlauditError, match="2 × the prompt has samples without a score"):
        read({}, {})


def test_prompts_with_too_few_samples_are_left_out_and_named(tmp_path, capsys):
    rows = [{"prompt": f"{i}", "completions": ["a", "b", "c"]} for i in range(19)]
    file = write(tmp_path / "s.jsonl", [*rows, {"prompt": "few", "completions": ["a"]}])
    kept, n = with_enough(read_samples(file), None)
    assert (len(kept), n) == (19, 3)
    assert f"{file}:20: the prompt has 1 sample, fewer than 3: left out" in capsys.readouterr().err
    with pytest.raises(PlauditError, match="no prompt has 9 samples; the most that one has is 3"):
        with_enough(kept, 9)


def test_figures_are_of_the_rewards_of_the_samples(samples, judges, reward_model, tmp_path):
    model, gold = reward_model("bert"), reward_model("gpt2")
    out = tmp_path / "out"
    result = policy_test(model, samples=samples, gold=gold, output=out, resamples=50)
    read = read_samples(samples)
    own, golden = rewards_of(model, read), rewards_of(gold, read)
    assert result.rewards == {"model": own}
    assert [each.ratings for each in result.samples] == golden
    [tested] = result.summary["models"]
    expected = sum(
        best_of(*each, [4])[0, 0] for each in zip(own, [[row] for row in golden], strict=True)
    )
    drawn_at_random = sum(sum(row) / 4 for row in golden)
    freedom = sum((x - sum(row) / 4) ** 2 for row in golden for x in row) / (6 * 3)
    gain = (expected - drawn_at_random) / 6 / freedom**0.5
    assert tested["figures"]["picks"]["reward"][-1]["gold"]["value"] == pytest.approx(gain)
    assert json.loads((out / "summary.json").read_text()) == result.summary
    names = ["over_optimisation.png", "picked_length.png", "reward_deviation.png"]
    assert sorted(os.listdir(out / "plots")) == names
    page = (out / "report.html").read_text()
    assert "Would it teach this policy?" in page
    assert report(out).path.read_text() == page
    assert tested["verdict"][1] in str(result)
    assert tested["verdict"][1].replace(" %", "\N{NO-BREAK SPACE}%") in page.replace("&#39;", "'")
    again = policy_test(
        model, samples=out / "rewards.jsonl", columns={"score": "gold"}, resamples=50
    )
    assert again.summary["models"][0]["figures"] == tested["figures"]
    with pytest.raises(PlauditError, match=r"rewards\.jsonl: is the input"):
        policy_test(model, samples=out / "rewards.jsonl", output=out, overwrite=True)
    assert again.summary["gold"] == "the samples' own ratings"


def test_the_command_samples_from_a_policy_and_tests_several_models(
    judges, trained, tmp_path, capsys, monkeypatch
):
    (tmp_path / "prompts.txt").write_text("dog\nfox\nIs it so?\n0 1 2\nThe lazy dog\n")
    monkeypatch.chdir(tmp_path)
    line = ["policy-test", *judges[:2], "--gold", judges[2], "--prompts", "prompts.txt"]
    line += ["--policy", str(trained / "policy"), "-n", "4", "--max-new-tokens", "6"]
    line += ["--resamples", "50"]
    assert main([*line, "-o", "out", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert TypeAdapter(PolicyTestSummary).validate_python(printed, strict=True) == printed
    assert [each["model"] for each in printed["models"]] == judges[:2]
    assert printed["samples"] == 20
    rows = [json.loads(text) for text in (tmp_path / "out/samples.jsonl").open()]
    assert [len(row["completions"]) for row in rows] == [4] * 5
    assert main([*line, "-o", "out"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*line, "-o", "out", "--resume"]) == 1
    assert "out/samples.jsonl: the sampling is finished" in capsys.readouterr().err
    read = ["--samples", "out/samples.jsonl", "--resamples", "50"]
    assert main(["policy-test", *judges[:2], "--gold", judges[2], *read]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{name}\n" in text for name in judges[:2])
    assert printed["models"][1]["verdict"][1] in text


def test_samples_need_not_be_kept(policy, reward_model):
    result = policy_test(
        reward_model("bert"), prompts=["dog", CHAT], policy=policy("qwen2"), n=2,
        max_new_tokens=4, resamples=5,
    )  # fmt: skip
    assert result.summary["policy"] == "the policy"
    assert result.summary["gold"] is None
    assert [each.prompt for each in result.samples] == ["dog", CHAT]
    assert "no gold judge" in str(result)


def test_interrupted_sampling_goes_on_where_it_stopped(policy, tmp_path):
    sampling = {"n": 2, "batch_size": 2, "max_new_tokens": 4, "temperature": 1.0, "top_p": 1.0}
    sampling |= {"seed": 0}
    prompts = ["dog", "fox", "Is it so?", "0 1", "2 3"]
    whole = draw(
        policy("gpt2"), prompts, tmp_path / "a.jsonl", resume=False, overwrite=False, **sampling
    )

    class Stops(type(policy("gpt2"))):
        def sample(self, prompts, **sampling):
            for number, texts in enumerate(super().sample(prompts, **sampling)):
                if number == 3:
                    raise KeyboardInterrupt
                yield texts

    loaded = policy("gpt2")
    stops = Stops(loaded.model, loaded.tokenizer, loaded.device)
    path = tmp_path / "b.jsonl"
    with pytest.raises(KeyboardInterrupt):
        draw(stops, prompts, path, resume=False, overwrite=False, **sampling)
    with pytest.raises(PlauditError, match="was begun with seed 0, not 1"):
        draw(loaded, prompts, path, resume=True, overwrite=False, **sampling | {"seed": 1})
    draw(loaded, prompts, path, resume=True, overwrite=False, **sampling)
    assert path.read_bytes() == (tmp_path / "a.jsonl").read_bytes()
    assert [each.completions for each in whole] == [each.completions for each in read_samples(path)]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "give either --prompts"),
        ({"prompts": ["dog"], "samples": "s.jsonl"}, "give either --prompts"),
        ({"samples": "s.jsonl", "resume": True, "output": "out"}, "it needs --prompts FILE and"),
        ({"samples": "s.jsonl", "gold": "runs/first"}, "is the model itself"),
        ({"samples": "s.jsonl", "model": ["runs/first", "runs/first"]}, "is named twice"),
        ({"samples": "s.jsonl", "model": ["a", "b"], "also": ["c"]}, "adds a model to one MODEL"),
    ],
)
def test_what_does_not_go_together_is_refused(given, reason):
    with pytest.raises(PlauditError, match=reason):
        policy_test(given.pop("model", "runs/first"), **given)


def test_samples_outlive_an_interruption_of_the_test(trained, judges, tmp_path, monkeypatch):
    (tmp_path / "prompts.txt").write_text("dog\nfox\nIs it so?\n0 1 2\nThe lazy dog\n")
    monkeypatch.chdir(tmp_path)
    line = ["policy-test", judges[0], "--gold", judges[2], "-o", "out", "--resamples", "50"]
    sampled = ["--policy", str(trained / "policy"), "-n", "4", "--max-new-tokens", "6"]
    code, said = interrupting.run(
        "plaudit.sampling.policy_test:rewards_of", [*line, "--prompts", "prompts.txt", *sampled]
    )
    kept = "out/samples.jsonl: the samples are kept; to test on them, give --samples"
    assert code == 130, said
    assert any(one.startswith(kept) for one in said)
    assert main([*line, "--samples", "out/samples.jsonl", "--overwrite"]) == 0
    assert (tmp_path / "out/summary.json").exists()


def test_one_sample_is_no_test(reward_model, tmp_path):
    file = write(tmp_path / "s.jsonl", [{"prompt": "a", "completions": ["x"]}])
    with pytest.raises(PlauditError, match="no prompt has 2 samples"):
        policy_test(reward_model("bert"), samples=file)
    with pytest.raises(PlauditError, match="1 sample of a prompt cannot be compared"):
        policy_test(reward_model("bert"), samples=file, n=1)
