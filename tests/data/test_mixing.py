"""Mixtures of sources: what an epoch has of each, that it is the same again, what is counted."""

import json
from collections import Counter
from itertools import islice

import pytest

from plaudit import PlauditError, load_rankings
from plaudit.data.mixing import load_mixture, sizes
from plaudit.data.splits import split_by_prompt


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Twenty rankings of three, sixty pairs; three of the prompts are in both."""
    monkeypatch.chdir(tmp_path)
    rows = ["prompt,answer,rank"]
    rows += [f"p{i},{'a' * (3 - r)}{i},{r}" for i in range(20) for r in range(3)]
    rows += ["p99,,1", "p98,x,first"]
    (tmp_path / "few.csv").write_text("\n".join(rows))
    prompts = [f"q{i}" for i in range(57)] + ["p0", "p1", "p2"]
    pairs = [{"prompt": p, "chosen": f"good {p}", "rejected": f"bad {p}"} for p in prompts]
    (tmp_path / "many.jsonl").write_text("\n".join(map(json.dumps, pairs)) + "\n{broken\n")
    return tmp_path


def counts(rankings):
    return Counter(ranking.source for ranking in rankings)


@pytest.mark.parametrize("way", ["once", "repeat"])
@pytest.mark.parametrize("seed", range(20))
def test_sizes_are_the_shares_and_as_many_as_can_be(way, seed):
    import random

    rng = random.Random(seed)
    there = {name: rng.randint(5, 5000) for name in "abc"}
    weights = {name: rng.uniform(0.05, 1) for name in "abc"}
    shares = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    taken = sizes(there, shares, way)
    total = sum(taken.values())
    assert all(abs(taken[name] - shares[name] * total) < 2 for name in there)
    if way == "once":
        assert all(taken[name] <= there[name] for name in there)
        assert any(taken[name] == there[name] for name in there)
    else:
        assert all(taken[name] >= there[name] - 1 for name in there)
        assert any(abs(taken[name] - there[name]) <= 1 for name in there)


def test_weights_are_relative_and_each_source_keeps_its_name(files):
    mixture = load_mixture({"few.csv": 7, "many.jsonl": 3})
    assert [source.share for source in mixture.sources] == [0.7, 0.3]
    assert counts(mixture) == {"few.csv": 20, "many.jsonl": 60}
    assert len(mixture) == 80
    assert mixture.format == "ranked and pairs"
    assert [len(mixture[i].completions) for i in (0, -1)] == [3, 2]
    assert mixture.rows_read == 62 + 61
    assert [(r.file, r.line) for r in mixture.rejected] == [
        ("few.csv", 62), ("few.csv", 63), ("many.jsonl", 61),
    ]  # fmt: skip
    assert [len(source.rankings.rejected) for source in mixture.sources] == [2, 1]
    assert mixture.write_rejected("rejected.jsonl") == 3


def test_a_draw_has_the_shares_and_is_the_same_again_in_any_order(files):
    mixture = load_mixture({"few.csv": 0.5, "many.jsonl": 0.5})
    every = list(mixture)
    drawn = mixture.draw(every, 3)
    assert counts(drawn) == {"few.csv": 20, "many.jsonl": 20}
    assert len({id(ranking) for ranking in drawn}) == 40  # none twice
    again = {ranking.origin for ranking in mixture.draw(every[::-1], 3)}
    assert again == {ranking.origin for ranking in drawn}
    assert {ranking.origin for ranking in mixture.draw(every, 4)} != again


def test_repeating_takes_every_ranking_nearly_as_often(files):
    mixture = load_mixture({"few.csv": 0.7, "many.jsonl": 0.3}, "repeat")
    drawn = mixture.draw(list(mixture), 0)
    assert counts(drawn) == {"few.csv": 140, "many.jsonl": 60}
    assert set(Counter(r.origin for r in drawn if r.source == "few.csv").values()) == {7}
    mixture = load_mixture({"few.csv": 0.5, "many.jsonl": 0.6}, "repeat")
    often = Counter(r.origin for r in mixture.draw(list(mixture), 0) if r.source == "few.csv")
    assert set(often.values()) == {2, 3}
    assert sum(often.values()) == 50


def test_a_prompt_of_two_sources_is_never_on_both_sides(files):
    mixture = load_mixture({"few.csv": 0.5, "many.jsonl": 0.5})
    sides = split_by_prompt(mixture, [0.3, 0.2], seed=1)
    of = [{ranking.prompt for ranking in side} for side in sides]
    assert of[0] | of[1] | of[2] >= {"p0", "p1", "p2"}
    assert sum(map(len, of)) == len(of[0] | of[1] | of[2])


def test_a_source_of_which_nothing_is_left_is_an_error(files):
    mixture = load_mixture({"few.csv": 0.5, "many.jsonl": 0.5})
    with pytest.raises(PlauditError, match=r"many\.jsonl: none of its rankings is left"):
        mixture.draw([r for r in mixture if r.source == "few.csv"], 0)


def test_what_a_model_refuses_is_counted_for_its_source(files):
    from plaudit.data.rankings import BadRowError, Fault

    mixture = load_mixture({"few.csv": 0.5, "many.jsonl": 0.5})
    mixture.leave_out(mixture[0], BadRowError(Fault.REFUSED, "refused: by the template"))
    assert mixture.rejected_by_reason["refused"] == 1
    assert [s.rankings.rejected_by_reason["refused"] for s in mixture.sources] == [1, 0]
    for ranking in islice(mixture, 1, 4):
        mixture.leave_out(ranking, BadRowError(Fault.REFUSED, "refused: by the template"))
    with pytest.raises(PlauditError, match=r"few\.csv: .* more than the 10% allowed"):
        mixture.stop_if_too_many()


def test_too_many_bad_rows_of_a_source_stop_though_all_have_few(files):
    rows = (files / "few.csv").read_text().splitlines()
    (files / "few.csv").write_text("\n".join(rows[:10] + rows[-2:]))
    with pytest.raises(PlauditError, match=r"few\.csv: .* more than the 10% allowed"):
        load_mixture({"few.csv": 0.5, "many.jsonl": 0.5})


@pytest.mark.parametrize(("way", "few", "many"), [("once", 20, 9), ("repeat", 140, 60)])
def test_streams_are_taken_in_turn_by_their_shares(files, way, few, many):
    mixture = load_mixture({"few.csv": 0.7, "many.jsonl": 0.3}, way, streaming=True)
    with pytest.raises(TypeError):
        len(mixture)
    for _ in range(2):  # any number of times, the same again
        found = list(mixture)
        assert abs(counts(found)["few.csv"] - few) <= 1
        assert abs(counts(found)["many.jsonl"] - many) <= 1
        for n in (10, 20, len(found)):  # at every point, and not only in the end
            assert abs(counts(found[:n])["few.csv"] - 0.7 * n) <= 1
    assert mixture.write_rejected("rejected.jsonl") == 2 + (way == "repeat")


def test_sources_may_lie_in_memory(files):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([{"prompt": "f", "chosen": "a", "rejected": "b"}])
    rows = [{"prompt": "r", "chosen": "a", "rejected": "b"}]
    records = list(load_rankings("few.csv"))
    sources = [(frame, 1), (rows, 1), (iter(rows), 1), (records, 1), (load_rankings("few.csv"), 1)]
    mixture = load_mixture(sources)
    assert counts(mixture) == {
        "DataFrame": 1, "rows": 1, "rows #2": 1, "rows #3": 20, "few.csv": 20,
    }  # fmt: skip


def test_a_file_in_two_sources_is_refused(files):
    with pytest.raises(PlauditError, match=r"few\.csv: is in two sources"):
        load_mixture({"few.csv": 1, "./few.csv": 2})
    with pytest.raises(PlauditError, match="its weight is -1"):
        load_mixture({"few.csv": -1})


@pytest.mark.parametrize("way", ["once", "repeat"])
def test_about_how_many_a_stream_gives_is_known_before_it_is_read(files, way):
    mixture = load_mixture({"few.csv": 0.7, "many.jsonl": 0.3}, way, streaming=True)
    about = mixture.about()
    given = len(list(mixture))
    assert about == pytest.approx(given, rel=0.05)
