"""What other programs write: encodings, delimiters, .xlsx, Arrow; and files made at random."""

import csv
import io
import json
import random
import string

import pyarrow
import pyarrow.feather
import pytest

from plaudit import PlauditError, load_rankings
from plaudit.data.rows import find_sources

ROWS = [
    ["prompt", "answer", "rank"],
    ["Où est le café?", "Là-bas", "1"],
    ["Où est le café?", "„Nirgends“, €5", "2"],
]


def read(path, encoding=None):
    [source] = find_sources(path, encoding=encoding)
    return list(source.rows())


def table(delimiter):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(ROWS)
    return text.getvalue()


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_a_file_in_another_encoding_has_the_same_rows(tmp_path, kind, encoding):
    values = [dict(zip(ROWS[0], row, strict=True)) for row in ROWS[1:]]
    text = {
        "csv": table(","),
        "jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in values),
        "json": json.dumps(values, ensure_ascii=False, indent=1),
    }[kind]
    path = tmp_path / f"a.{kind}"
    path.write_bytes(text.encode(encoding))
    named = encoding if encoding == "cp1252" else None  # the others have a byte-order mark
    assert [row.values for row in read(path, named)] == values
    rankings = load_rankings(path, encoding=named)
    assert rankings[0].completions == [ROWS[1][1], ROWS[2][1]]


def test_bytes_that_are_not_in_the_encoding_cost_their_row_and_a_likely_one_is_proposed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("prompt,answer\nWo?,Übung\nWo?,hier\n".encode("cp1252"))
    bad, good = read(path)
    assert bad.problem.startswith("undecodable bytes: not UTF-8; give --encoding cp1252")
    assert good.values == {"prompt": "Wo?", "answer": "hier"}
    assert [row.values["answer"] for row in read(path, "cp1252")] == ["Übung", "hier"]
    path.write_bytes(b"prompt,answer\nWo?,\x81\nWo?,hier\n")  # which cp1252 leaves undefined
    bad, good = read(path, "cp1252")
    assert (bad.line, bad.problem) == (2, "undecodable bytes: not cp1252")
    assert good.values["answer"] == "hier"
    with pytest.raises(PlauditError, match="encoding: there is no utf-9"):
        read(path, "utf-9")


@pytest.mark.parametrize(
    ("delimiter", "words"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")]
)
def test_what_stands_between_fields_is_noticed_and_said_once(tmp_path, capsys, delimiter, words):
    path = tmp_path / "a.csv"
    path.write_text(table(delimiter), encoding="utf-8", newline="")
    rankings = load_rankings(path)
    assert rankings[0].completions == [ROWS[1][1], ROWS[2][1]]
    assert rankings.rejected == []
    assert capsys.readouterr().err.count(f"its fields stand between {words}") == 1


def test_lines_are_numbered_below_a_stated_delimiter(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("sep=;\nprompt;answer;rank\np;a\np;b, c;1\n")
    bad, good = read(path)
    assert (bad.line, good.line) == (3, 4)
    assert good.values == {"prompt": "p", "answer": "b, c", "rank": "1"}


def test_a_comma_in_the_header_is_not_mistaken(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('prompt,"a;b;c;d",rank\np,x;y,1\n')
    assert read(path)[0].values == {"prompt": "p", "a;b;c;d": "x;y", "rank": "1"}


def test_a_workbook_is_read_by_its_first_full_sheet(tmp_path, capsys):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "Notes"  # empty
    sheet = book.create_sheet("Answers")
    for row in [ROWS[0], ["p", "a", 1], [None, None, None], ["p", "b", 2.5], ["p", "c", 3, "x"]]:
        sheet.append(row)
    book.create_sheet("More").append(["a"])
    book["More"].append(["b"])
    path = tmp_path / "a.xlsx"
    book.save(path)
    found = read(path)
    assert [row.line for row in found] == [2, 4, 5]
    assert found[0].values == {"prompt": "p", "answer": "a", "rank": 1}
    assert found[1].values["rank"] == 2.5
    assert "beyond the last column" in found[2].problem
    assert "the sheet Answers is read, and not More" in capsys.readouterr().err
    rankings = load_rankings(path, max_rejected=1)
    assert (rankings[0].completions, rankings[0].ranks) == (["a", "b"], [0, 1])


def test_a_sheet_begins_with_its_first_row_and_errors_are_no_texts(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    rows = [
        [None],
        [None],
        ["prompt", "chosen", "rejected"],
        ["p", "#DIV/0!", "b"],
        ["q", "a", "b"],
    ]
    for row in rows:
        book.active.append(row)
    path = tmp_path / "a.xlsx"
    book.save(path)
    wrong, right = read(path)
    assert (wrong.line, wrong.problem) == (4, "a cell holds the error #DIV/0!")
    assert (right.line, right.values) == (5, {"prompt": "q", "chosen": "a", "rejected": "b"})


def test_a_mark_of_utf_8_goes_before_an_encoding_that_was_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("\ufeffprompt,chosen,rejected\nä,a,b\n".encode())
    [ranking] = load_rankings(path, encoding="cp1252")
    assert ranking.prompt == "ä"


@pytest.mark.parametrize("name", ["idna", "punycode", "no-such"])
def test_what_is_no_encoding_of_text_is_refused(tmp_path, name):
    path = tmp_path / "a.csv"
    path.write_text("prompt,chosen,rejected\np,a,b\n")
    with pytest.raises(PlauditError, match=f"encoding: there is no {name}"):
        load_rankings(path, encoding=name)


def test_a_number_beyond_all_numbers_costs_its_row(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [("p", "9" * 400), ("p", "2"), ("p", "3")]
    text = "".join(f'{{"prompt": "{p}", "completion": "{n}", "score": {n}}}\n' for p, n in rows)
    path.write_text(text)
    rankings = load_rankings(path, max_rejected=1)
    assert [ranking.completions for ranking in rankings] == [["2", "3"]]
    assert "not a finite number" in rankings.rejected[0].reason


def test_arrow_files_and_streams_are_tables(tmp_path):
    values = [{"prompt": "p", "chosen": "a", "rejected": "b"}, {"prompt": "q", "chosen": "c"}]
    whole = pyarrow.Table.from_pylist(values)
    pyarrow.feather.write_feather(whole, tmp_path / "a.feather")
    with pyarrow.ipc.new_stream(str(tmp_path / "a.arrow"), whole.schema) as stream:
        stream.write_table(whole)
    for name in ("a.feather", "a.arrow"):
        [source] = find_sources(tmp_path / name)
        assert source.columns() == ["prompt", "chosen", "rejected"]
        assert [row.values for row in source.rows()] == [values[0], values[1] | {"rejected": None}]


# ---- at random: read right, or rejected by file and line ----

ALPHABET = string.ascii_letters + " ,;|\"'éüß€…—\n"
ENCODINGS = {"utf-8": None, "utf-8-sig": None, "utf-16": None, "latin-1": "latin-1"}
FAULTS = ("none", "none", "none", "ragged", "open quote", "broken JSON", "no answer", "no rank")


def text(chance, encoding):
    letters = ALPHABET if encoding != "latin-1" else ALPHABET.replace("€", "").replace("…", "")
    letters = letters.replace("—", "") if encoding == "latin-1" else letters
    made = "".join(chance.choice(letters) for _ in range(chance.randint(3, 12)))
    return f"x{made}x"  # no white space at an end, which readers may take off


def variant(chance):
    """One file's bytes, its name, its encoding to name, and what is in it: the rows that are whole,
    and the lines of those that are not."""
    kind, encoding = chance.choice(["csv", "tsv", "jsonl"]), chance.choice(list(ENCODINGS))
    pairs, end = chance.random() < 0.5, chance.choice(["\n", "\r\n"])
    names = ["prompt", "chosen", "rejected"] if pairs else ["prompt", "answer", "rank"]
    delimiter = "\t" if kind == "tsv" else chance.choice([",", ";"])
    lines, whole, bad, at = [], [], {}, 1
    if kind != "jsonl":
        lines.append(delimiter.join(names))
        at += 1
    for number in range(4):
        prompt = f"{number} {text(chance, encoding)}"
        for rank in range(1 if pairs else 2):
            values = [prompt, text(chance, encoding) + "1", text(chance, encoding) + "2"]
            if not pairs:
                values = [prompt, f"{values[1]} {rank}", str(rank + 1)]
            fault = chance.choice(FAULTS)
            if kind == "jsonl":
                row = dict(zip(names, values, strict=True))
                if fault == "no answer":
                    row[names[1]] = None
                if fault == "no rank" and not pairs:
                    row["rank"] = "first"
                line = json.dumps(row, ensure_ascii=chance.random() < 0.5)
                if fault == "broken JSON":
                    line = line[:-3]
                fails = fault in ("broken JSON", "no answer") or (fault == "no rank" and not pairs)
            else:
                if fault == "no answer":
                    values[1] = ""
                if fault == "no rank" and not pairs:
                    values[2] = "first"
                fields = ['"' + value.replace('"', '""') + '"' for value in values]
                if fault == "ragged":
                    fields.append('"more"')
                line = delimiter.join(fields)
                if fault == "open quote":
                    line = f"{prompt.split(' ')[0]}{delimiter}{line}".replace("\n", " ")
                fails = fault in ("ragged", "no answer", "open quote")
                fails = fails or (fault == "no rank" and not pairs)
            if fails:
                bad[at] = fault
            else:
                whole.append(dict(zip(names, values, strict=True)))
            lines.append(line)
            at += line.count("\n") + 1
    # Within quotes a line break is the text's own; only rows end in `end`.
    return f"a.{kind}", (end.join(lines) + end).encode(encoding), ENCODINGS[encoding], whole, bad


def expected(whole):
    """What a reader of a dozen lines makes of whole rows: prompt → (completion, rank) pairs."""
    found = {}
    for row in whole:
        if "chosen" in row:
            sides = [(row["chosen"], 0), (row["rejected"], 1)]
        else:
            sides = [(row["answer"], int(row["rank"]))]
        found.setdefault(row["prompt"], []).extend(sides)
    # One completion alone is no ranking.
    return {prompt: sides for prompt, sides in found.items() if len(sides) > 1}


@pytest.mark.parametrize("seed", range(20))
def test_any_file_is_read_right_or_its_rows_are_rejected_by_line(tmp_path, seed):
    chance = random.Random(seed)
    for number in range(100):
        name, data, encoding, whole, bad = variant(chance)
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_bytes(data)
        wanted = expected(whole)
        if not wanted:
            continue
        rankings = load_rankings(folder / name, encoding=encoding, max_rejected=1)
        lines = {row.line for row in rankings.rejected}
        assert set(bad) <= lines, (name, data, bad, lines)
        alone = {r.line for r in rankings.rejected if r.line not in bad}
        assert len(alone) <= len({row["prompt"] for row in whole}) - len(wanted), (data, alone)
        got = {ranking.prompt: ranking for ranking in rankings}
        assert got.keys() == wanted.keys(), (name, data)
        for prompt, sides in wanted.items():
            ordered = [side for side, _ in sorted(sides, key=lambda side: side[1])]
            ranking = got[prompt]
            by_rank = sorted(zip(ranking.ranks, ranking.completions, strict=True))
            assert [completion for _, completion in by_rank] == ordered, (name, data)


def numbers_file(tmp_path, separator, ranks, name="a.csv", more="weight", weights=None):
    """A file of one prompt for each two ranks, with a column more beside them."""
    path = tmp_path / name
    lines = [separator.join(("prompt", "answer", "rank", more))]
    for n, rank in enumerate(ranks):
        weight = weights[n] if weights else "1"
        cells = [f"p{n // 2}", f"answer {n}, no {n}", rank, weight]
        lines.append(separator.join(f'"{c}"' if separator in c else c for c in cells))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("separator", "name"), [(";", "a.csv"), ("\t", "a.csv"), ("\t", "a.tsv"), ("|", "a.csv")]
)
def test_decimal_commas_are_read_where_no_comma_stands_between_fields(
    tmp_path, capsys, separator, name, streaming
):
    # Whole numbers have none, and a cell that is no number costs its row alone.
    ranks = ["1,5", "1,25", "2", "1,999", " 3,0", "2,75", "n/a", "1", ".", "1"]
    weights = ["0,5"] * len(ranks)
    path = numbers_file(tmp_path, separator, ranks, name, weights=weights)
    read = load_rankings(path, max_rejected=0.5, streaming=streaming)
    orders = [list(ranking.ranks) for ranking in read]
    assert orders == [[1, 0], [1, 0], [1, 0]]
    assert {ranking.weight for ranking in read} == {0.5}
    assert [one.reason for one in read.rejected if "number" in one.reason] == [
        "the rank is not a finite number: n/a", "the rank is not a finite number: ."
    ]  # fmt: skip
    said = (
        f"{path}: the numbers in 'rank' and 'weight' have a decimal comma, and 1,5 is read as 1.5"
    )
    assert capsys.readouterr().err.count(said) == 1


@pytest.mark.parametrize(
    ("separator", "ranks"),
    [
        (",", ["1,5", "2,5", "1", "2"]),  # quoted, between commas
        (";", ["1,500", "2,250", "1", "2"]),  # thousands, perhaps
        (";", ["1,5", "2.5", "1", "2"]),  # both
        (";", ["1,5", "1.234,5", "1", "2"]),
        (";", ["1.234,5", "2.234,5", "1", "2"]),
    ],
)
def test_a_comma_that_may_mean_something_else_is_refused_and_told_how_to_mend(
    tmp_path, separator, ranks
):
    path = numbers_file(tmp_path, separator, ranks)
    with pytest.raises(
        PlauditError, match=r"has a comma, where a decimal point is read, as in 1\.5"
    ):
        load_rankings(path)
    read = load_rankings(path, max_rejected=1)
    assert [ranking.prompt for ranking in read] == ["p1"]


def test_a_rating_beside_the_rank_has_its_commas_read_too(tmp_path):
    path = numbers_file(tmp_path, ";", list("12"), more="rating", weights=["4,5", "3,5"])
    [ranking] = load_rankings(path)
    assert list(ranking.ratings) == [4.5, 3.5]
    path = numbers_file(tmp_path, ";", list("12"), more="rating", weights=["3,5", "4,5"])
    with pytest.raises(PlauditError, match="rank and rating contradict each other"):
        load_rankings(path)


def test_lists_and_words_have_no_decimal_commas(tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_text('prompt;completions;ranks\np;"[""a"", ""b""]";1,2\n')
    with pytest.raises(PlauditError, match="ranks"):
        load_rankings(path)
    path.write_text("prompt;response_a;response_b;winner\np;x;y;0,5\np;x;z;a\n")
    [one] = load_rankings(path, max_rejected=1).rejected
    assert "0,5" in one.reason
    assert "decimal" not in capsys.readouterr().err


def test_a_text_that_looks_like_a_number_stays_as_it_is(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("prompt;answer;rank;model\n1,5;2,5;1,0;3,5\n1,5;2,6;1,5;3,5\n")
    [ranking] = load_rankings(path)
    assert (ranking.prompt, list(ranking.completions)) == ("1,5", ["2,5", "2,6"])
    assert list(ranking.models) == ["3,5", "3,5"]
