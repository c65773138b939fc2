"""Mixtures of sources: what an epoch has of each, that it is the same again, what is counted."""

import json
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest

from plaudit import PlauditError, load_rankings
from plaudit.data.mixing import load_mixture, sizes
from plaudit.data.rankings import BadRowError, Fault
from plaudit.data.readers import as_rankings
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


def refused():
    return BadRowError(Fault.REFUSED, "refused: by the template")


def pairs_of(*prompts):
    return [{"prompt": p, "chosen": f"good {p}", "rejected": f"bad {p}"} for p in prompts]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("read_before", [True, False])
def test_a_row_of_one_list_is_not_taken_for_that_of_another(streaming, read_before):
    # Both lists are called "rows" where they are read before, and so stand at the same places.
    lists = [pairs_of("a1", "a2", "a3"), pairs_of("b1", "b2", "b3")]
    how = {"streaming": streaming, "max_rejected": 1}
    given = [load_rankings(one, **how) for one in lists] if read_before else lists
    mixture = load_mixture([(one, 1) for one in given], "repeat", **how)
    of = {ranking.prompt: ranking for ranking in mixture}
    mixture.leave_out(of["a1"], refused())
    if streaming:
        assert {ranking.prompt for ranking in mixture} == {"a2", "a3", "b1", "b2", "b3"}
    of_lists = [source.rankings for source in mixture.sources]
    assert [one.left_out.total() for one in of_lists] == [1, 0]
    mixture.leave_out(of["b1"], refused())
    assert [one.left_out.total() for one in of_lists] == [1, 1]
    assert mixture.left_out.total() == 2
    if not read_before:
        assert [one.files for one in of_lists] == [["rows"], ["rows #2"]]


def test_rankings_that_were_read_before_are_left_as_they_are(files):
    read, made = load_rankings("few.csv"), as_rankings(list(load_rankings("many.jsonl")))
    records = as_rankings([replace(ranking, origin="") for ranking in made])
    before = [list(read), list(records)]
    mixture = load_mixture([(read, 1), (records, 1)])
    assert {ranking.source for ranking in mixture} == {"few.csv", "rankings"}
    assert [list(read), list(records)] == before
    assert {ranking.source for ranking in [*read, *records]} == {""}
    mixture.leave_out(mixture[20 + 6], refused())
    records.leave_out(records[7], refused())
    assert [item.line for item in mixture.rejected if item.file == "records"] == [7]
    assert [item.line for item in records.rejected] == [7, 8]


def test_iterators_beside_a_stream_are_read_again(files):
    mixture = load_mixture([(iter(pairs_of("a", "b", "c")), 1), (load_rankings(
        "few.csv", streaming=True), 1)], max_rejected=1)  # fmt: skip
    for _ in range(2):
        assert counts(mixture)["rows"] == 3


def test_rankings_in_memory_beside_a_stream_are_refused(files):
    for held, advice in (
        (load_rankings("few.csv"), "give the file itself"),
        (list(load_rankings("few.csv")), "write it to a file"),
    ):
        with pytest.raises(PlauditError, match=f"cannot be mixed with data .* {advice}"):
            load_mixture([(held, 1), (load_rankings("many.jsonl", streaming=True), 1)])


def test_every_ranking_of_a_stream_once_by_the_sizes_of_the_sources(files):
    mixture = load_mixture({"few.csv": 0.9, "many.jsonl": 0.1}, "repeat", streaming=True)
    every = list(mixture.each_once())
    assert counts(every) == {"few.csv": 20, "many.jsonl": 60}
    assert len({(r.source, r.prompt) for r in every}) == 80
    for n in (8, 40, 72):
        assert abs(counts(every[:n])["few.csv"] - n / 4) <= 1


def test_what_is_held_out_is_missing_each_time_through(files):
    mixture = load_mixture({"few.csv": 0.7, "many.jsonl": 0.3}, "repeat", streaming=True)
    held_out = [r for r in mixture.each_once() if r.prompt in ("p10", "p11", "p12", "p13", "q20")]
    left = sum(ranking not in held_out for ranking in mixture)
    assert mixture.about(held_out) == pytest.approx(left, rel=0.03)


def test_of_a_source_that_is_repeated_the_whole_reading_counts(files):
    mixture = load_mixture({"few.csv": 0.7, "many.jsonl": 0.3}, "repeat", streaming=True)
    assert counts(islice(mixture, 105))["few.csv"] > 60  # in its fourth time through
    few = mixture.tally_of("few.csv")
    assert (few.rows, few.reasons.total()) == (62, 2)
    rankings = list(islice(mixture, 25))
    first = next(r for r in rankings if r.source == "few.csv")
    mixture.leave_out(first, refused())
    few = mixture.tally_of("few.csv")
    assert (few.rows, few.reasons.total(), few.reasons["refused"]) == (62, 3, 1)


@pytest.mark.parametrize("weights", [(1.0, 1e-300), (1e308, 1e-3)])
def test_a_weight_that_is_nothing_beside_another_is_refused(weights):
    one, two = (
        [{"prompt": f"{n} and {k}?", "chosen": "a", "rejected": "b"} for k in range(3)]
        for n in (1, 2)
    )
    with pytest.raises(PlauditError, match=r"rows #2: its weight .* is nothing beside"):
        load_mixture([(one, weights[0]), (two, weights[1])])
