"""Normalised rewards against numpy; where they are kept, and where they are not."""

import json
import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

import tiny
from plaudit.data.readers import load_rankings
from plaudit.errors import PlauditError
from plaudit.evaluation.rewards import rewards_of
from plaudit.model.export import export
from plaudit.model.normalisation import Normalisation
from plaudit.model.reward_model import RewardModel
from plaudit.reporting.evaluation import evaluate
from plaudit.scoring.normalise import normalise
from plaudit.settings import Settings
from plaudit.training.setup import load_base

PROMPT, TEXTS = "What is two plus two?", ["four", "Two plus two is four.", "no", "fox fox"]


@pytest.fixture
def folder(reward_model, tmp_path):
    """A model folder, of an encoder; with a card, as training leaves one."""
    reward_model("bert").save(tmp_path / "run" / "model")
    (tmp_path / "run" / "model" / "README.md").write_text("# A reward model\n\nOf ours.\n")
    return tmp_path / "run" / "model"


@pytest.fixture
def data(tmp_path):
    return tiny.write_rankings(tmp_path / "ranked.jsonl", 12)


def load(folder, **options):
    return RewardModel.load(folder, dtype="float32", device="cpu", **options)


def rewards_by_hand(model, rows):
    return [model.score(row["prompt"], row["answer"]) for row in rows]


def test_rewards_of_the_reference_data_get_mean_0_and_deviation_1(folder, data):
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    raw = rewards_by_hand(load(folder), rows)
    fitted = normalise(folder.parent, data, dtype="float32")  # the run's folder will do
    assert fitted.mean == pytest.approx(np.mean(raw), abs=1e-5)
    assert fitted.std == pytest.approx(np.std(raw), abs=1e-5)
    assert (fitted.completions, fitted.data) == (36, ["ranked.jsonl"])

    model = load(folder)
    assert model.normalisation == fitted
    assert model.scale == fitted.std
    normal = rewards_by_hand(model, rows)
    assert np.mean(normal) == pytest.approx(0, abs=1e-4)
    assert np.std(normal) == pytest.approx(1, abs=1e-4)
    assert normal == pytest.approx([(r - fitted.mean) / fitted.std for r in raw], abs=1e-4)
    assert rewards_by_hand(load(folder, normalised=False), rows) == pytest.approx(raw, abs=1e-6)
    assert load(folder, normalised=False).scale == 1.0


def test_whatever_can_be_scored_is_reference_data(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mixed.jsonl"
    rows = [
        {"prompt": PROMPT, "completions": TEXTS[:2]},
        {"prompt": PROMPT, "completions": []},
        {"prompt": PROMPT, "completions": TEXTS[2:]},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = load(folder).score(PROMPT, TEXTS)
    fitted = normalise(folder, file, dtype="float32", max_rejected=0.4)
    assert fitted.mean == pytest.approx(np.mean(raw), abs=1e-5)
    assert fitted.std == pytest.approx(np.std(raw), abs=1e-5)
    [row] = map(json.loads, (tmp_path / "rejected.jsonl").open())
    assert (row["file"], row["line"]) == (str(file), 2)
    with pytest.raises(PlauditError, match=r"33\.3% of the rows cannot be used"):
        normalise(folder, file, overwrite=True)


def test_the_weights_stay_and_transformers_gives_the_rewards_as_trained(folder, data):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    ours = load(folder)
    encoded = ours.encode([(PROMPT, TEXTS[:1])])[0]
    raw = ours.score(PROMPT, TEXTS[0])
    normalise(folder, data)
    after = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert {name for name in after if before.get(name) != after[name]} == {
        "config.json",
        "README.md",
    }
    config = {name: json.loads(of["config.json"]) for name, of in
              (("before", before), ("after", after))}  # fmt: skip
    del config["after"]["plaudit"]["normalisation"]
    assert config["after"] == config["before"]
    alone = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = {key: torch.tensor(encoded[key]) for key in ("input_ids", "token_type_ids")}
    with torch.no_grad():
        assert alone(**rows).logits.item() == pytest.approx(raw, abs=1e-5)


def test_the_card_says_it_once_and_what_is_stored_last(folder, data, tmp_path):
    normalise(folder, data)
    with pytest.raises(PlauditError, match="is normalised already; --overwrite does it anew"):
        normalise(folder, data)
    other = tiny.write_rankings(tmp_path / "other.jsonl", 5)
    fitted = normalise(folder, other, overwrite=True)
    assert fitted.completions == 15
    assert load(folder).normalisation == fitted
    card = (folder / "README.md").read_text()
    assert card.startswith("# A reward model\n\nOf ours.\n\n")
    (line,) = [line for line in card.splitlines() if "normalised" in line]
    assert "other.jsonl" in line
    assert f"{fitted.std:.6g}" in line


def test_saving_and_exporting_keep_it(folder, data, tmp_path):
    fitted = normalise(folder, data, dtype="float32")
    model = load(folder)
    expected = model.score(PROMPT, TEXTS)
    model.save(tmp_path / "again")
    export(model, tmp_path / "model.pt", "pt")
    for name in ("again", "model.pt"):
        again = load(tmp_path / name)
        assert again.normalisation == fitted
        assert again.score(PROMPT, TEXTS) == pytest.approx(expected, abs=1e-5)
    assert load(tmp_path / "model.pt", normalised=False).scale == 1.0


def test_an_evaluation_finds_the_same_before_and_after(folder, data):
    before = evaluate(load(folder), data, resamples=50)
    normalise(folder, data)
    after = evaluate(load(folder), data, resamples=50)

    def figures(value, path=""):
        if isinstance(value, dict):
            return {k: v for key in value for k, v in figures(value[key], f"{path}.{key}").items()}
        return {path: value}

    ours, theirs = figures(after.summary), figures(before.summary)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if isinstance(value, float) and not math.isnan(value):
            assert ours[name] == pytest.approx(value, abs=2e-3), name
    # And the log odds of every pair, which calibration is made of.
    for a, b in zip(before.rewards, after.rewards, strict=True):
        assert np.diff(a) == pytest.approx(np.diff(b), abs=1e-4)


def test_rewards_to_be_measured_are_log_odds(folder, data):
    rankings = list(load_rankings(data))
    raw = rewards_of(load(folder), rankings)
    normalise(folder, data)
    assert np.diff(rewards_of(load(folder), rankings)) == pytest.approx(np.diff(raw), abs=1e-4)


def test_a_model_trained_from_it_is_not_normalised(folder, data, tmp_path):
    normalise(folder, data)
    settings = Settings.build(data=str(data), base=str(folder), dtype="float32")
    base = load_base(settings)
    assert base.normalisation is None
    base.model.save_pretrained(tmp_path / "checkpoint")  # as the trainer does
    base.save(tmp_path / "saved")
    for name in ("checkpoint", "saved"):
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert "normalisation" not in config["plaudit"]


def test_a_classifier_from_elsewhere_can_be_normalised(base, tmp_path, data):
    """One that plaudit did not save: no word of plaudit in its config.json."""
    reward = RewardModel.load(base("gpt2"), dtype="float32", device="cpu")
    reward.model.save_pretrained(tmp_path / "m")
    reward.encoding.tokenizer.save_pretrained(tmp_path / "m")
    assert "plaudit" not in json.loads((tmp_path / "m" / "config.json").read_text())
    raw = load(tmp_path / "m").score(PROMPT, TEXTS)
    fitted = normalise(tmp_path / "m", data, dtype="float32")
    normal = load(tmp_path / "m").score(PROMPT, TEXTS)
    assert normal == pytest.approx([(r - fitted.mean) / fitted.std for r in raw], abs=1e-4)


def test_equal_rewards_have_no_unit(folder, tmp_path):
    file = tmp_path / "same.jsonl"
    file.write_text('{"prompt": "Is that so?", "completion": "Yes, it is!"}\n' * 3)
    before = (folder / "config.json").read_bytes()
    with pytest.raises(PlauditError, match=r"same\.jsonl: the rewards of its 3 completions"):
        normalise(folder, file)
    assert (folder / "config.json").read_bytes() == before


def test_only_a_trained_model_in_a_folder_is_normalised(folder, base, data, tmp_path):
    with pytest.raises(PlauditError, match="no such folder"):
        normalise("embedded:minilm", data)
    export(load(folder), tmp_path / "model.pt", "pt")
    with pytest.raises(PlauditError, match="normalise the folder, then export"):
        normalise(tmp_path / "model.pt", data)
    with pytest.raises(PlauditError, match="no trained reward head"):
        normalise(base("gpt2"), data)


@pytest.mark.parametrize("damage", [{"std": 0.0}, {"mean": math.nan}, {"more": 1}])
def test_a_damaged_one_is_named(folder, data, damage):
    normalise(folder, data)
    config = json.loads((folder / "config.json").read_text())
    config["plaudit"]["normalisation"] |= damage
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PlauditError, match=r"normalisation in its config\.json is damaged"):
        load(folder)
    normalise(folder, data, overwrite=True)  # as the message says
    assert load(folder).normalisation == Normalisation.read(
        json.loads((folder / "config.json").read_text())["plaudit"]["normalisation"], "m"
    )
