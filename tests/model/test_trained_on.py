"""Hashes of training texts against the texts themselves, compared two by two."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from plaudit import PlauditError, RewardModel
from plaudit.data.rankings import Ranking
from plaudit.data.sketches import SHINGLE
from plaudit.model import trained_on
from plaudit.model.trained_on import FILE, NEAR, NOT, SAME, Collecting, TrainedOn, overlap

WORDS = [f"{a}{b}" for a in "bcdfghjkl" for b in ("anana", "order", "ill", "ean", "ottom")]


def passage(chance, length=80):
    return " ".join(chance.choice(WORDS, length))


def changed(text, chance, words):
    """The text with so many of its words replaced."""
    found = text.split()
    for at in chance.choice(len(found), words, replace=False):
        found[at] = chance.choice(WORDS)
    return " ".join(found)


def shingles(text):
    text = " ".join(text.casefold().split()).encode()
    return {text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)}


def jaccard(a, b):
    return len(a & b) / len(a | b)


def of_prompts(prompts):
    return TrainedOn.of(Ranking(prompt, ["a", "b"], [0, 1]) for prompt in prompts)


def test_near_copies_are_those_that_share_their_shingles():
    chance = np.random.default_rng(0)
    ours = [passage(chance) for _ in range(300)]
    asked = [changed(text, chance, n % 4 if n % 2 else 24) for n, text in enumerate(ours)]
    found = of_prompts(ours).hashes["prompts"].find(asked, asked)
    those = [shingles(text) for text in ours]
    of_asked = [shingles(text) for text in asked]
    truth = np.array([max(jaccard(a, b) for b in those) for a in of_asked])
    assert (found[truth == 1] == SAME).all()
    # Far from the threshold of 0.8, by three deviations of the estimate, there is no doubt.
    assert (found[(truth > 0.93) & (truth < 1)] == NEAR).all()
    assert (found[truth < 0.6] == NOT).all()
    assert min(((truth > 0.93) & (truth < 1)).sum(), (truth < 0.6).sum()) > 20


def test_case_white_space_and_numbers():
    hashes = of_prompts(["How much is 7 % of 200 euros after three years?"]).hashes["prompts"]
    asked = [
        "how much is 7 % of  200 EUROS after three years?",
        "How much is 7 % of 300 euros after three years?",
        " ",
    ]
    assert hashes.find(asked, asked).tolist() == [NEAR, NOT, NOT]


@pytest.mark.parametrize("text", ["a", "Hi!", "2 + 2?"])
def test_short_texts_are_near_to_none_by_chance(text):
    others = [f"{a}{b}" for a in "bcdfghij" for b in "klmnopqrstuvwxyz#*+~"]
    found = of_prompts([text]).hashes["prompts"].find(others, others)
    assert not found.any()


def test_a_large_family_of_near_copies_is_found_whole(monkeypatch):
    monkeypatch.setattr(trained_on, "TRAINING_AT_ONCE", 64)
    chance = np.random.default_rng(1)
    stem = passage(chance, 60)
    ours = [f"{stem} {word}{other}" for word in WORDS for other in WORDS[:9]]
    asked = [f"{stem} {word}" for word in WORDS]
    assert (of_prompts(ours).hashes["prompts"].find(asked, asked) == NEAR).all()


def test_texts_come_once_whatever_the_parcels(monkeypatch):
    chance = np.random.default_rng(2)
    rankings = [Ranking(passage(chance, 9), [passage(chance, 5), "no"], [0, 1]) for _ in range(40)]
    whole = TrainedOn.of(rankings)
    monkeypatch.setattr(trained_on, "AT_ONCE", 200)
    parcels = TrainedOn.of([*rankings, *rankings[::-1]])
    for kind, number in (("prompts", 40), ("completions", 41)):
        a, b = whole.hashes[kind], parcels.hashes[kind]
        assert len(a.exact) == len(a.sketches) == number
        assert a.exact.tolist() == b.exact.tolist()
        assert sorted(map(bytes, a.sketches)) == sorted(map(bytes, b.sketches))


def test_beyond_the_limit_it_says_that_hashes_are_of_the_first_texts(monkeypatch):
    monkeypatch.setattr(trained_on, "MOST", 10)
    monkeypatch.setattr(trained_on, "AT_ONCE", 1)
    rankings = [Ranking(f"{word} and why?", ["a", "b"], [0, 1]) for word in WORDS]
    hashes = TrainedOn.of(rankings)
    assert not hashes.whole
    assert len(hashes.hashes["prompts"].exact) == 10
    found = overlap([hashes], rankings)
    assert not found.whole
    assert (found.prompt == SAME).tolist() == [True] * 10 + [False] * (len(WORDS) - 10)


def test_nothing_was_trained_on():
    found = overlap([Collecting().done()], [Ranking("a", ["b", "c"], [0, 1])])
    assert found.known
    assert not found.seen.any()


def test_a_ranking_counts_by_its_prompt_or_by_two_completions():
    chance = np.random.default_rng(3)
    a, b, c = (passage(chance) for _ in range(3))
    hashes = TrainedOn.of([Ranking("Why?", [a, b, "Yes."], [0, 1, 2])])
    asked = [
        Ranking("Why?", ["d", "e"], [0, 1]),
        Ranking("How?", [changed(a, chance, 1), b], [0, 1]),
        Ranking("How?", [a, c], [0, 1]),
        Ranking("How?", ["Yes.", b], [0, 1]),  # which is too short to tell
    ]
    found = overlap([hashes], asked)
    assert found.seen.tolist() == [True, True, False, False]
    assert found.by_completions.tolist() == [False, True, False, False]
    assert [each.tolist() for each in found.completions] == [[0, 0], [1, 2], [2, 0], [0, 2]]


def test_of_several_models_any_may_have_been_trained_on_it():
    asked = [Ranking(word, ["a", "b"], [0, 1]) for word in WORDS[:3]]
    one, other = TrainedOn.of(asked[:1]), TrainedOn.of(asked[1:2])
    assert overlap([one, other], asked).prompt.tolist() == [SAME, SAME, NOT]
    assert not overlap([one, None], asked).known
    assert not overlap([one, None], asked).seen.any()


def test_what_training_began_from_counts_too():
    asked = [Ranking(word, ["a", "b"], [0, 1]) for word in WORDS[:3]]
    collecting = Collecting()
    collecting.add(asked[1])
    assert overlap([collecting.done(TrainedOn.of(asked[:1]))], asked).prompt.tolist() == [2, 2, 0]


def test_the_hashes_go_with_the_model_and_hold_no_text(reward_model, tmp_path):
    model = reward_model("bert")
    assert model.training_texts() == [None]
    secret = Ranking("The code of the safe is 4711", ["Never tell anybody at all"] * 2, [0, 1])
    replace(model, trained_on=TrainedOn.of([secret])).save(tmp_path / "a")
    loaded = RewardModel.load(tmp_path / "a")
    loaded.save(tmp_path / "b")
    loaded.save(tmp_path / "b")  # over itself
    [found] = RewardModel.load(tmp_path / "b").training_texts()
    assert overlap([found], [secret]).prompt.tolist() == [SAME]
    raw = (tmp_path / "b" / FILE).read_bytes()
    assert not any(word.encode() in raw for word in secret.prompt.split() if len(word) > 3)
    loaded.save(tmp_path / "c", training_hashes=False)
    assert not (tmp_path / "c" / FILE).exists()


def test_a_damaged_file_is_said(reward_model, tmp_path):
    model = replace(reward_model("bert"), trained_on=TrainedOn.of([Ranking("a", ["b"], [0])]))
    model.save(tmp_path / "a")
    file = tmp_path / "a" / FILE
    tensors = load_file(file)
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(PlauditError, match=r"trained_on\.plaudit: is damaged"):
        RewardModel.load(tmp_path / "a").training_texts()
    for name, other in (
        ("prompts.sketches", tensors["prompts.sketches"][:, :3]),
        ("prompts.figures", tensors["completions.figures"][:0]),
        ("completions.exact", tensors["completions.exact"].astype(np.int64)),
    ):
        other = np.ascontiguousarray(other)
        save_file(tensors | {name: other}, file, metadata={"version": "1", "whole": "1"})
        with pytest.raises(PlauditError, match=r"is damaged \(its tensors are not those of hashes"):
            RewardModel.load(tmp_path / "a").training_texts()
    save_file(tensors, file, metadata={"version": "2"})
    with pytest.raises(PlauditError, match="update plaudit"):
        RewardModel.load(tmp_path / "a").training_texts()
    assert "trained_on" not in json.loads((tmp_path / "a" / "config.json").read_text())
