"""What is written in a layout reads back as the same preferences, or is refused with a reason."""

import csv
import random
import zipfile

import pytest

from plaudit import PlauditError, load_rankings
from plaudit.data.convert import writable_layouts, write_layout
from plaudit.data.pairs import write_pairs
from plaudit.data.rankings import Ranking, text_key

TEXTS = ["=1+1", "مرحبا 🙂", '<b>\nline two, with "quotes"', "+4", "-", "@x", "12"]
RANKINGS = [
    Ranking("What is it?", TEXTS[:3], [1, 0, 1], models=["m", None, "n"], annotator="Ada"),
    Ranking("What is it?", TEXTS[:3], [0, 1, 2], annotator="Bob"),
    Ranking("=prompt()", TEXTS[3:], [2, 0, 1, 0], categories=["a", "b", "a", None]),
]
CHATS = [
    Ranking(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}],
        [[{"role": "assistant", "content": text}] for text in ("4", "four", "5")],
        [0, 0, 1],
    )
]


def message(text, role):
    return [{"role": role, "content": text}] if isinstance(text, str) else text


def preferences(rankings):
    """(prompt, better, worse), texts as messages: what a layout calls them is the same."""
    found = []
    for ranking in rankings:
        prompt = text_key(message(ranking.prompt, "user"))
        texts = [text_key(message(text, "assistant")) for text in ranking.completions]
        found += [(prompt, texts[i], texts[j]) for i, j in ranking.pairs()]
    return sorted(found)


def best_against_others(rankings):
    return preferences(
        Ranking(r.prompt, r.completions, [int(rank > 0) for rank in r.ranks], annotator=r.annotator)
        for r in rankings
    )


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv.gz", "xlsx"])
@pytest.mark.parametrize("layout", writable_layouts())
def test_what_is_written_reads_back_as_the_same_preferences(tmp_path, layout, suffix):
    file = tmp_path / f"labels.{suffix}"
    expected = best_against_others if layout == "kto" else preferences
    write_layout(RANKINGS[1:], layout, file)
    read = load_rankings(file)
    assert preferences(read) == expected(RANKINGS[1:])
    assert {ranking.annotator for ranking in read} == {"Bob", None}
    if layout in ("argilla", "label-studio", "label-studio-min"):
        with pytest.raises(PlauditError, match="plain text and no messages"):
            write_layout(CHATS, layout, file)
    else:
        write_layout(CHATS, layout, file)
        assert preferences(load_rankings(file)) == expected(CHATS)


def by_annotator(rankings, expected):
    names = ("Ada", "Bob")
    return {name: expected([r for r in rankings if r.annotator == name]) for name in names}


# Two people who put the same completions in opposite orders, and agree about others.
TWO = [
    Ranking("2+2?", ["4", "5"], [0, 1], annotator="Ada"),
    Ranking("Sky?", ["blue", "red"], [0, 1], annotator="Ada"),
    Ranking("2+2?", ["4", "5"], [1, 0], annotator="Bob"),
    Ranking("Sky?", ["blue", "red"], [0, 1], annotator="Bob"),
]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize("layout", writable_layouts())
def test_annotators_who_disagree_do_not_contradict_each_other(tmp_path, layout, suffix, streaming):
    """Read from what each layout is written as, and once more from the pairs made of that."""
    write_layout(TWO, layout, tmp_path / f"labels.{suffix}")
    read = load_rankings(tmp_path / f"labels.{suffix}", streaming=streaming, on_bad_row="stop")
    assert by_annotator(list(read), preferences) == by_annotator(TWO, preferences)
    write_pairs(read, tmp_path / f"pairs.{suffix}")
    again = load_rankings(tmp_path / f"pairs.{suffix}", streaming=streaming, on_bad_row="stop")
    assert by_annotator(list(again), preferences) == by_annotator(TWO, preferences)


@pytest.mark.parametrize("streaming", [False, True])
def test_an_annotator_can_contradict_herself(tmp_path, streaming):
    again = Ranking("2+2?", ["4", "5"], [1, 0], annotator="Ada")
    write_layout([*TWO, again], "pairs", tmp_path / "labels.csv")
    read = load_rankings(tmp_path / "labels.csv", streaming=streaming, max_rejected=1)
    kept = [ranking.annotator for ranking in read if ranking.prompt == "2+2?"]
    assert kept == (["Ada", "Bob"] if streaming else ["Bob"])
    assert read.rejected_by_reason.total() == (1 if streaming else 2)


def test_several_annotators_of_one_prompt_stay_apart(tmp_path):
    write_layout(RANKINGS[:2], "ranked", tmp_path / "l.csv")
    first, second = load_rankings(tmp_path / "l.csv", strict=True)
    assert (first.annotator, second.annotator) == ("Ada", "Bob")
    assert preferences([first, second]) == preferences(RANKINGS[:2])
    assert first.models is not None
    assert dict(zip(first.completions, first.models, strict=True))[TEXTS[0]] == "m"


def some_rankings(seed):
    """Rankings of few prompts, texts and annotators: most prompts have several."""
    draw = random.Random(seed)
    found = []
    for _ in range(draw.randint(1, 6)):
        k = draw.randint(2, 4)
        ranks = [0, *(draw.randint(0, 2) for _ in range(k - 2)), 1]
        draw.shuffle(ranks)
        texts = draw.sample("abcdef", k)
        found.append(
            Ranking(draw.choice(["p", "q", "r", "s"]), texts, ranks, annotator=draw.choice("AB"))
        )
    return found


def judgements(rankings):
    """(annotator, prompt, better, worse), as often as they stand there."""
    return sorted((r.annotator, *pair) for r in rankings for pair in preferences([r]))


@pytest.mark.parametrize("layout", writable_layouts())
def test_rankings_of_one_prompt_stay_apart_or_are_refused(tmp_path, layout):
    refused = written = 0
    for seed in range(60):
        rankings = some_rankings(seed)
        several = len({(r.prompt, r.annotator) for r in rankings}) < len(rankings)
        file = tmp_path / f"{seed}.jsonl"
        if several and layout in ("ranked", "scored", "kto"):
            with pytest.raises(PlauditError, match=r"several rankings .* --to pairs; "):
                write_layout(rankings, layout, file)
            assert not file.exists()
            refused += 1
            continue
        if not judged_one_way(rankings):  # of which readers of pairs take neither
            continue
        write_layout(rankings, layout, file)
        read = load_rankings(file, on_bad_row="stop")
        written += 1
        if layout == "kto":
            assert best_against_others(read) == best_against_others(rankings)
        else:
            assert judgements(read) == judgements(rankings)
    assert written > 10
    assert (refused > 10) == (layout in ("ranked", "scored", "kto"))


def judged_one_way(rankings):
    found = judgements(rankings)
    return not any((who, prompt, b, a) in found for who, prompt, a, b in found)


def test_a_refusal_counts_what_would_be_joined(tmp_path):
    rankings = [Ranking(p, ["a", b], [0, 1]) for p, b in ("pb", "pc", "qb", "rb", "rc", "rd")]
    with pytest.raises(PlauditError, match=r"2 prompts have several rankings .*\(5 in all\)"):
        write_layout(rankings, "ranked", tmp_path / "l.csv")
    write_layout(rankings, "ranked-lists", tmp_path / "l.csv")
    assert preferences(load_rankings(tmp_path / "l.csv")) == preferences(rankings)


def test_a_sheet_holds_no_formula(tmp_path):
    write_layout(RANKINGS, "ranked", tmp_path / "l.xlsx")
    with zipfile.ZipFile(tmp_path / "l.xlsx") as book:
        sheets = [book.read(name).decode() for name in book.namelist() if "/worksheets/" in name]
    assert sheets
    assert "<f" not in "".join(sheets)
    assert '"=1+1"' not in "".join(sheets)
    write_layout(RANKINGS, "ranked", tmp_path / "l.csv")
    with (tmp_path / "l.csv").open(newline="") as file:
        assert "=1+1" in {row["answer"] for row in csv.DictReader(file)}  # exactly as it was


@pytest.mark.parametrize(
    ("ranking", "layout", "name", "why"),
    [
        (RANKINGS[0], "webgpt", "l.jsonl", "webgpt: no layout that is written; there are argilla"),
        (RANKINGS[0], "pairs", "l.parquet", "name it .jsonl, .csv, .tsv or .xlsx"),
        (Ranking("p", ["a\0", "b"], [0, 1]), "pairs", "l.csv", "has a NUL"),
        (Ranking("p", ["a" * 32_768, "b"], [0, 1]), "pairs", "l.xlsx", "write .jsonl or .csv"),
        (Ranking("p", ["a\x01", "b"], [0, 1]), "pairs", "l.xlsx", "cannot hold"),
        (
            Ranking('[{"role": "user", "content": "p"}]', ["a", "b"], [0, 1]),
            "pairs",
            "l.csv",
            "JSON of messages",
        ),
        (
            Ranking("p", [str(n) for n in range(11)], range(11)),
            "argilla",
            "l.jsonl",
            "10 responses",
        ),
    ],
)
def test_what_cannot_be_held_is_refused(tmp_path, ranking, layout, name, why):
    with pytest.raises(PlauditError, match=why):
        write_layout([ranking], layout, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_sheet_that_does_not_say_its_size_is_read(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in (["prompt", "answer", "rank"], ["p", "a", 1], ["p", "b", 2]):
        sheet.append(row)
    book.save(tmp_path / "l.xlsx")
    [ranking] = load_rankings(tmp_path / "l.xlsx", strict=True)
    assert list(ranking.completions) == ["a", "b"]
