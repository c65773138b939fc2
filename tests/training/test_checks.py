"""`plaudit train --check`: eight faults are planted in data and models, and each is named."""

import pytest

import tiny
from plaudit import train
from plaudit.cli import main
from plaudit.data.rankings import Ranking
from plaudit.errors import PlauditError
from plaudit.settings import Settings
from plaudit.training import checks
from plaudit.training.checks import Trial
from plaudit.training.parts import Parts, encoded
from plaudit.training.setup import load_base


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A tiny BERT with as many embeddings as its tokenizer has tokens."""
    tokenizer = tiny.wordpiece()
    folder = tmp_path_factory.mktemp("sound")
    return tiny.make("bert", folder, tokenizer, vocab_size=len(tokenizer))


def pairs(better="fox fox", worse="dog dog", count=40):
    return [Ranking(f"What is {n}?", [better, worse], [0, 1]) for n in range(count)]


def settings(base, **more):
    return Settings.build(
        data="unused", **{"base": str(base), "dtype": "float32", "max_length": 32} | more
    )


def labels(model, train_part, validation=()):
    parts = Parts(train_part, list(validation), [], frozenset())
    return checks._labels(model, parts, train_part)


def of_model(check, base, data):
    """What one check of a base model says of it."""
    model = load_base(settings(base))
    rows = encoded(data, model.encoding, "")
    return check(model, rows, settings(base))


def test_a_sound_set_up_passes_and_nothing_is_written(sound, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks, "STEPS", 6)
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", 40)
    made = train(
        data, check=True, base=str(sound), dtype="float32", max_length=48, learning_rate=1e-3
    )
    assert made.passed, str(made)
    assert [line.split()[0] for line in str(made).splitlines()] == ["time"] + ["pass"] * 8
    expected = made.as_json()["expected"]
    assert expected["steps"] == made.expected.work.steps > 0
    assert 0 < expected["training_seconds"][0] < expected["training_seconds"][1]
    assert [path.name for path in tmp_path.iterdir()] == ["ranked.jsonl"]


@pytest.mark.parametrize(
    ("step", "trials", "steps", "missing"),
    [
        (0.1, 5, 24, []),
        (2.0, 2, 24, []),
        (4.0, 1, 24, ["easy signal"]),
        (10.0, 1, 12, ["easy signal"]),
        (40.0, 0, 0, ["overfitting", "learning rate", "easy signal"]),
    ],
)
def test_slow_steps_make_fewer_trials_and_what_is_left_out_is_said(
    step, trials, steps, missing, sound, tmp_path, monkeypatch, capsys
):
    """At most 120 seconds of trials, and the time of training before all of them."""
    monkeypatch.setattr(checks, "step_seconds", lambda *_: step)
    made = []

    def trial(few, chosen, folder, rate, start, measured=(), steps=24):
        made.append((len(capsys.readouterr().err.splitlines()), steps))
        return checks.Trial(rate, 0.7, 0.1, 1.0)

    monkeypatch.setattr(checks, "_trial", trial)
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", 40)
    found = train(data, check=True, base=str(sound), dtype="float32", max_length=48)
    assert found.left_out == missing == found.as_json()["left_out"]
    assert ("left out" in str(found)) == bool(missing)
    # Three rates and the easy signal; the usual rate only where none of them learns.
    assert len(made) == min(trials, 4)
    if made:
        assert made[0][0] >= 2  # how long training takes, and what is tried, were said before
        assert made[0][1] == steps
        assert sum(of for _, of in made) * step <= 120
    assert found.passed


def test_a_check_that_fails_exits_with_1_and_leaves_a_run_alone(
    sound, tmp_path, monkeypatch, capsys
):
    """The fault: a learning rate that is too low."""
    monkeypatch.setattr(checks, "STEPS", 6)
    monkeypatch.setattr(checks, "PROMPTS", 8)
    data = tiny.write_rankings(tmp_path / "ranked.jsonl", 20)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("data: other.csv\n")
    words = ["train", str(data), "-o", str(run), "--check", "--base", str(sound)]
    words += ["--dtype", "float32", "--max-length", "48", "--learning-rate", "1e-9"]
    words += ["--control", "length"]
    assert main(words) == 1
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if "learning rate " in line)
    assert line.startswith("FAIL")
    assert line.endswith("1e-09 is too low. Change: learning_rate 0.0001")
    assert [path.name for path in run.iterdir()] == ["config.yaml"]
    assert main([*words, "--resume"]) == 1
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rate", "tenfold", "passed", "words"),
    [
        (0.3, 0.01, True, ""),
        (0.7, 0.9, False, "1 is too high"),  # and a tenth of it learns
        (float("inf"), float("inf"), False, "1 is too high"),
    ],
)
def test_a_learning_rate_too_high_is_named_from_trials(rate, tenfold, passed, words):
    tried = [
        Trial(0.1, 0.69, 0.2, 1.0),
        Trial(1, 0.69, rate, float(passed)),
        Trial(10, 0.69, tenfold, float(passed)),
    ]
    check = checks._rate(tried, tried[0], settings("b", learning_rate=1), 100)
    assert check["passed"] == passed
    assert words in check["seen"]
    assert check["change"] == ("" if passed else "learning_rate 0.1")


def test_a_low_learning_rate_is_enough_for_a_long_run():
    tried = [Trial(r, 0.69, a, 1.0) for r, a in ((1e-6, 0.69), (1e-5, 0.66), (1e-4, 0.1))]
    for steps, passed in ((100, False), (2000, True)):
        check = checks._rate(tried, tried[2], settings("b", max_steps=steps), 100)
        assert check["passed"] == passed


def test_labels_turned_round_are_named_by_length(reward_model):
    model = reward_model("bert")
    model.new_head = True
    sound, turned = pairs("fox fox fox", "dog"), pairs("dog", "fox fox fox")
    assert labels(model, sound)["passed"]
    check = labels(model, turned)
    assert not check["passed"]
    assert (
        "longer one in 0% of the pairs of 40 training rankings (by characters), which is rare"
        in (check["seen"])
    )
    assert "rating=NAME" in check["change"]
    check = labels(model, sound, turned)
    assert not check["passed"]
    assert "but in 0% of those to validation: one of the two is turned round" in check["seen"]
    model.new_head = False


def test_labels_turned_round_are_named_by_a_trained_base_model(reward_model):
    model = reward_model("bert")  # counts as trained
    better, worse = sorted(("fox fox", "dog dog"), key=lambda t: -model.score("What is 1?", t))
    assert labels(model, pairs(better, worse, 1) * 20)["passed"]
    turned = [Ranking("What is 1?", [worse, better], [0, 1])] * 20
    check = labels(model, turned)
    assert not check["passed"]
    assert "gets 0% right: fewer than chance" in check["seen"]


def test_truncation_that_makes_pairs_equal_is_named(sound):
    model, counts = load_base(settings(sound)), {}
    encoded(pairs("talk " * 40 + "fox", "talk " * 40 + "dog"), model.encoding, "", counts)
    check = checks._truncation(counts, 32)
    assert not check["passed"]
    assert "80 of 80 completions lose their end; 40 of 40 pairs have equal" in check["seen"]
    assert check["change"] == "a larger max_length"


def test_a_tokenizer_of_another_model_is_named(sound, tmp_path):
    assert of_model(checks._tokenizer, sound, pairs())["passed"]
    other = tiny.TOKENIZERS["roberta"]()
    larger, smaller = 20 * len(other), len(tiny.wordpiece())
    for size in (larger, smaller):
        folder = tmp_path / str(size)
        tiny.make("bert", folder, tiny.wordpiece(), vocab_size=size)
        for file in folder.glob("tokenizer*"):
            file.unlink()
        other.save_pretrained(folder)
    check = of_model(checks._tokenizer, tmp_path / str(larger), pairs())
    assert not check["passed"]
    assert f"it has {len(other)} tokens, the base model {larger:,} embeddings" in check["seen"]
    with pytest.raises(PlauditError, match=rf"vocabulary {smaller} rows: they are not of one"):
        of_model(checks._tokenizer, tmp_path / str(smaller), pairs())


def test_a_tokenizer_that_does_not_know_the_data_is_named(sound):
    check = of_model(checks._tokenizer, sound, pairs("лиса лиса", "собака"))
    assert not check["passed"]
    assert "of the data's tokens are [UNK]" in check["seen"]


def test_a_wrong_pad_token_is_named(sound, tmp_path):
    assert of_model(checks._pad_token, sound, pairs())["passed"]
    tokenizer = tiny.wordpiece()
    tiny.make("bert", tmp_path / "bert", tokenizer, vocab_size=len(tokenizer))
    tokenizer.pad_token = "[UNK]"
    tokenizer.save_pretrained(tmp_path / "bert")
    check = of_model(checks._pad_token, tmp_path / "bert", pairs())
    assert not check["passed"]
    assert check["seen"] == "'[UNK]' (1), but the base model was pretrained with id 0"
    word = tiny.byte_bpe(bos="<s>", eos="</s>", pad="fox")
    tiny.make("llama", tmp_path / "llama", word)
    check = of_model(checks._pad_token, tmp_path / "llama", pairs("fox dog", "dog dog"))
    assert not check["passed"]
    assert "stands in 40 completions as a word of theirs" in check["seen"]


def test_a_frozen_head_is_named(sound, tmp_path):
    model = load_base(settings(sound))
    rows = encoded(pairs(count=2), model.encoding, "")
    assert checks._trainable(model, rows, settings(sound), tmp_path)["passed"]
    model.model.classifier.requires_grad_(False)
    check = checks._trainable(model, rows, settings(sound), tmp_path)
    assert not check["passed"]
    assert check["seen"].endswith("the head not among them")


def test_pairs_to_overfit_keep_what_the_loss_needs(sound):
    model = load_base(settings(sound))
    three = ["fox fox fox", "dog dog", "dog"]
    rated = Ranking("What?", three, [1, 0, 2], ratings=[3.0, 5.0, 1.0])
    (pair,) = checks._short_pairs(model, [*pairs(count=3), rated], ["ratings"])
    assert pair.completions == ["dog dog", "dog"]
    assert pair.ratings == [5.0, 1.0]


@pytest.mark.parametrize("loss", ["ordinal", "attributes"])
def test_a_trial_has_what_its_loss_takes_from_the_data(sound, tmp_path, loss):
    """What the loss takes from all training data, a trial on few pairs takes from them, too."""
    more = {"ratings": [3.0, 1.0], "attributes": {"depth": [4.0, 1.0]}}
    data = [Ranking(p.prompt, p.completions, [0, 1], **more) for p in pairs(count=4)]
    chosen = settings(sound, loss=loss)
    start = checks.prepared(chosen, data)
    assert checks._trial(data, chosen, tmp_path, 1e-2, start).right == 1
