"""Labels: what is handed out, that none is lost, and that the file reads back as it was ranked."""

import asyncio
import csv
import io
import json
import math
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit import PlauditError, load_rankings
from plaudit.data.rankings import text_key
from plaudit.data.rows import find_sources
from plaudit.evaluation.agreement import agreement
from plaudit.labelling.labelling import LabelError, Labelling, unsureness
from plaudit.labelling.to_label import read_items

# What labelling asks of a scorer apart from `score`, which is passed in.
SCORER = SimpleNamespace(scale=1.0, refusal=lambda prompt, completions: None)

HOSTILE = [
    "=cmd|' /C calc'!A0",
    'He said "no", twice',
    "first\nsecond\r\nthird\rfourth",
    "  blanks before and after\t ",
    "\n\nlines around\n\n",
    '{"a": [1, 2]}',
    "[1, 2]",
    "[]",
    "a,b;c\td",
    "مرحبا 你好 🙂 e\u0301\u2028\u0085\x1c\ufeff",
    "\ufeffbegins with a mark",
    "---",
    "'",
    '"',
    '""',
    "0",
    "nan",
]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def three(path, prompts=3, name="question"):
    rows = [{"prompt": f"{name} {n}", "completions": ["a", "b", "c"]} for n in range(prompts)]
    return jsonl(path, rows)


def label(labelling, ranks_of, window="w"):
    """Label all there is, each completion with the rank that `ranks_of` gives it."""
    while item := labelling.next(window):
        ranks = [ranks_of(item["prompt"], text) for text in item["completions"]]
        labelling.save(window, item["id"], ranks)


def as_said(rankings):
    """Prompt → completion → rank from 0 on, by content alone."""
    return {
        text_key(ranking.prompt): {
            text_key(text): rank
            for text, rank in zip(ranking.completions, ranking.ranks, strict=True)
        }
        for ranking in rankings
    }


# ---- what was ranked is what is read ----

texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.text('",\n\r\t =a', min_size=1, max_size=8),
)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "x"]), "content": texts}),
    min_size=1,
    max_size=3,
)
anything = st.one_of(texts, messages)
labels = st.one_of(st.none(), texts)


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.tuples(anything, st.lists(st.tuples(anything, labels, labels), min_size=1, max_size=4)),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 10**6),
)
def test_the_file_reads_back_as_it_was_ranked(tmp_path_factory, rows, seed):
    folder = tmp_path_factory.mktemp("labels")
    data = jsonl(
        folder / "data.jsonl",
        (
            {
                "prompt": prompt,
                "completions": [text for text, _, _ in given],
                "category": [category for _, category, _ in given],
                "model": [model for _, _, model in given],
            }
            for prompt, given in rows
        ),
    )
    try:
        labelling = Labelling(SCORER, data, folder / "labels.csv", max_rejected=1)
    except PlauditError:
        return  # no prompt with two completions; a file with one is in every other test
    expected = {}
    said = {
        (text_key(one.prompt), text_key(text)): both
        for one in read_items(find_sources(data)).items
        for text, *both in zip(one.completions, one.categories, one.models, strict=True)
    }
    while item := labelling.next("w"):
        count = len(item["completions"])
        ranks = [1 + (seed // (place + 1)) % count for place in range(count)]
        ranks[0] = count + 1 if len(set(ranks)) == 1 else ranks[0]
        labelling.save("w", item["id"], ranks)
        order = sorted(set(ranks))
        expected[text_key(item["prompt"])] = {
            text_key(text): order.index(rank)
            for text, rank in zip(item["completions"], ranks, strict=True)
        }
    read = load_rankings(folder / "labels.csv", strict=True)
    assert as_said(read) == expected
    for ranking in read:
        categories = ranking.categories or [None] * len(ranking.ranks)
        models = ranking.models or [None] * len(ranking.ranks)
        for text, *both in zip(ranking.completions, categories, models, strict=True):
            assert both == said[text_key(ranking.prompt), text_key(text)]
    # And whoever starts again finds all of it.
    again = Labelling(SCORER, data, folder / "labels.csv", max_rejected=1)
    assert again.next("w") is None
    assert again.state()["labelled"] == len(expected)


def test_texts_that_csv_can_hold_all_come_through_unchanged(tmp_path):
    data = jsonl(
        tmp_path / "data.jsonl", [{"prompt": text, "completions": HOSTILE} for text in HOSTILE]
    )
    labelling = Labelling(SCORER, data, tmp_path / "labels.csv")
    assert labelling.state()["total"] == len(HOSTILE)
    assert not labelling.state()["left_out"]
    label(labelling, lambda prompt, text: 1 + HOSTILE.index(text))
    for ranking in load_rankings(tmp_path / "labels.csv", strict=True):
        assert ranking.prompt in HOSTILE
        in_order = sorted(zip(ranking.ranks, ranking.completions, strict=True))
        assert [text for _, text in in_order] == HOSTILE


def test_what_the_reader_would_not_read_back_is_left_out_and_said(tmp_path, capsys):
    rows = [
        {"prompt": "p", "completions": ["good", "better", "", " \n", "a\0b", "good"]},
        {"prompt": "p", "completions": ["fine", None]},
        {"prompt": " ", "completions": ["a", "b"]},
        {"prompt": "alone", "completions": ["a", "a"]},
    ]
    labelling = Labelling(
        SCORER, jsonl(tmp_path / "d.jsonl", rows), tmp_path / "l.csv", max_rejected=1
    )
    item = labelling.next("w")
    assert sorted(item["completions"]) == ["better", "good"]
    assert labelling.state()["total"] == 1
    said = " ".join(labelling.state()["left_out"])
    assert "2 × the completion is blank (first:" in said
    assert "1 × the completion is missing" in said
    assert "1 × a ranked CSV cannot hold the text unchanged (first: p)" in said
    assert "1 × the prompt is blank" in said
    assert "1 × the prompt has fewer than two different completions (first: alone)" in said
    assert labelling.state()["left_out"][0] in capsys.readouterr().err


def test_the_file_is_written_as_documented(tmp_path):
    data = tmp_path / "data.csv"
    data.write_text(
        'prompt,answer,rank,category,model\np,x,1,late,m1\np,"y ""z""",2,,m2\np,w,3,late,\n'
    )
    labelling = Labelling(SCORER, data, tmp_path / "labels.csv")
    item = labelling.next("w")
    ranks = {"x": 5, 'y "z"': 2, "w": 2}
    labelling.save("w", item["id"], [ranks[text] for text in item["completions"]])
    first, *rest = (tmp_path / "labels.csv").read_bytes().decode().split("\r\n")
    assert first == "prompt,answer,rank,category,model"
    assert sorted(rest) == sorted(["", "p,w,1,late,", 'p,"y ""z""",1,,m2', "p,x,2,late,m1"])
    assert rest[2] == "p,x,2,late,m1"  # the best first


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pairs.jsonl", '{"prompt": "p", "chosen": "a", "rejected": "b"}\n' * 2),
        ("ranked.csv", "question,answer,rank\np,a,1\nq,c,1\np,b,2\n"),
        ("bare.csv", "prompt,completion\np,a\np,b\n"),
        ("list.csv", 'prompt,completions\np,"[""a"", ""b""]"\n'),
        ("list.json", '[{"prompt": "p", "answer": ["a", "b"], "scores": [1, 2]}]'),
        (
            "chats.jsonl",
            '{"chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}],'
            ' "rejected": [{"role": "user", "content": "p"},'
            ' {"role": "assistant", "content": "b"}]}',
        ),
        (
            "mixed.jsonl",
            '{"prompt": "p", "completion": "a"}\n{"prompt": [{"role": "user", "content": "p"}],'
            ' "completion": [{"role": "assistant", "content": "b"}]}',
        ),
    ],
)
def test_whatever_can_be_scored_can_be_labelled(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    labelling = Labelling(SCORER, tmp_path / name, tmp_path / "labels.csv", max_rejected=1)
    label(labelling, lambda prompt, text: 1 if "a" in str(text[0]).replace("assistant", "") else 2)
    [ranking] = load_rankings(tmp_path / "labels.csv", strict=True)
    if name in ("chats.jsonl", "mixed.jsonl"):
        assert ranking.prompt == [{"role": "user", "content": "p"}]
        said = [text[0]["content"] for text in ranking.completions]
    else:
        assert ranking.prompt == "p"
        said = list(ranking.completions)
    assert sorted(said) == ["a", "b"]


def test_columns_can_be_named(tmp_path):
    data = tmp_path / "d.csv"
    data.write_text("ask,reply\np,a\np,b\n")
    with pytest.raises(PlauditError, match="no column for the prompt"):
        Labelling(SCORER, data, tmp_path / "l.csv")
    columns = {"prompt": "ask", "completion": "reply"}
    assert Labelling(SCORER, data, tmp_path / "l.csv", columns=columns).next("w")["prompt"] == "p"


# ---- what comes first ----


def by_name(rewards):
    async def score(prompt, completions):
        return [rewards[prompt][text] for text in completions]

    return score


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=6), st.floats(0.01, 5))
def test_unsureness_is_the_mean_variance_of_the_preferences(rewards, scale):
    pairs = [(a, b) for i, a in enumerate(rewards) for b in rewards[:i]]
    chances = [1 / (1 + math.exp(-scale * (a - b))) for a, b in pairs]
    expected = sum(p * (1 - p) for p in chances) / len(pairs)
    assert unsureness(rewards, scale) == pytest.approx(expected, abs=1e-12)


def test_rewards_far_apart_overflow_nothing():
    assert unsureness([1e6, -1e6]) == 0


def test_what_the_model_is_least_sure_about_comes_first_and_what_is_skipped_last(tmp_path):
    labelling = Labelling(SCORER, three(tmp_path / "d.jsonl", 4), tmp_path / "l.csv")
    gaps = {"question 0": 3.0, "question 1": 0.1, "question 2": 1.0}
    rewards = {p: {"a": 0.0, "b": gap, "c": 2 * gap} for p, gap in gaps.items()}
    rewards["question 3"] = {"a": math.nan, "b": 0.0, "c": 1.0}  # cannot be scored: at the end
    asyncio.run(labelling.score(by_name(rewards)))
    state = labelling.state()
    assert (state["scored"], state["failed"]) == (3, 1)
    assert "not a finite number" in state["problem"]
    order = []
    skipped = labelling.next("w")
    assert skipped["prompt"] == "question 1"
    assert skipped["rewards"] == [rewards["question 1"][text] for text in skipped["completions"]]
    labelling.skip("w", skipped["id"])
    while item := labelling.next("w"):
        order.append(item["prompt"])
        labelling.save("w", item["id"], [1, 2, 3])
    assert order == ["question 2", "question 0", "question 3", "question 1"]


def test_without_scores_the_order_is_that_of_the_data(tmp_path):
    labelling = Labelling(SCORER, three(tmp_path / "d.jsonl", 12), tmp_path / "l.csv")
    order = []
    while item := labelling.next("w"):
        order.append(item["prompt"])
        labelling.save("w", item["id"], [1, 2, 3])
    assert order == [f"question {n}" for n in range(12)]


def test_one_that_cannot_be_scored_stops_no_other(tmp_path, monkeypatch, capsys):
    async def score(prompt, completions):
        if prompt == "question 1":
            raise PlauditError("the template does not take it")
        return [0.0] * len(completions)

    monkeypatch.setattr("plaudit.labelling.labelling.SECONDS_BEFORE_PROGRESS", -1)
    labelling = Labelling(SCORER, three(tmp_path / "d.jsonl", 20), tmp_path / "l.csv")
    asyncio.run(labelling.score(score))
    state = labelling.state()
    assert (state["scored"], state["failed"]) == (19, 1)
    assert state["problem"] == "the template does not take it"
    assert capsys.readouterr().err.splitlines()[-1].startswith("19 prompts scored: those that ")


def test_completions_stand_in_an_order_of_their_own(tmp_path):
    best_first = three(tmp_path / "a.jsonl", 60)
    shuffled = jsonl(
        tmp_path / "b.jsonl",
        [{"prompt": f"question {n}", "completions": ["c", "a", "b"]} for n in range(60)],
    )
    one = Labelling(SCORER, best_first, tmp_path / "1.csv")
    other = Labelling(SCORER, shuffled, tmp_path / "2.csv")
    orders = set()
    for _ in range(60):
        item, same = one.next("w"), other.next("w")
        assert item["completions"] == same["completions"]
        orders.add(tuple(item["completions"]))
        one.skip("w", item["id"])
        other.skip("w", same["id"])
    assert len(orders) == 6


# ---- save, undo, start again ----


def test_undo_takes_labels_back_one_by_one_also_after_a_new_start(tmp_path):
    data, file = three(tmp_path / "d.jsonl", 3), tmp_path / "l.csv"
    labelling = Labelling(SCORER, data, file)
    contents = []
    for ranks in ([1, 2, 3], [3, 3, 1], [2, 1, 1]):
        item = labelling.next("w")
        labelling.save("w", item["id"], ranks)
        contents.append(file.read_bytes())
    assert labelling.next("w") is None

    again = Labelling(SCORER, data, file)
    assert again.next("w") is None
    back = again.undo("w")
    assert (back["prompt"], back["ranks"]) == ("question 2", (2, 1, 1))
    assert file.read_bytes() == contents[1]
    assert again.undo("w")["ranks"] == (2, 2, 1)  # as [3, 3, 1], without the gap
    assert file.read_bytes() == contents[0]
    # What was taken back comes first, the latest before the others, with the ranks it had.
    assert again.next("w")["prompt"] == "question 1"
    again.save("w", again.next("w")["id"], [1, 2, 2])
    assert again.next("w")["ranks"] == (2, 1, 1)
    again.undo("w")
    assert again.undo("w")["prompt"] == "question 0"
    assert file.read_bytes() == b"prompt,answer,rank\r\n"
    with pytest.raises(LabelError, match="nothing to take back"):
        again.undo("w")
    assert Labelling(SCORER, data, file).state()["labelled"] == 0


def test_ranks_must_fit(tmp_path):
    labelling = Labelling(SCORER, three(tmp_path / "d.jsonl"), tmp_path / "l.csv")
    item = labelling.next("w")
    said = {"annotator": "Ada", "note": "unsure"}
    for ranks, more, why in (
        ([1, 2], {}, "2 ranks for 3"),
        ([1, 2, 3], {"annotator": "=cmd()"}, "A name is plain text"),
        ([1, 2, 3], {"annotator": "＝cmd()"}, "A name is plain text"),
        ([1, 2, 3], {"annotator": "a\nb"}, "A name is plain text"),
        ([1, 2, 3], {"note": "a\0b"}, "of which none is a NUL"),
        ([1, 2, 3], {"note": "\ud800"}, "of which none is a NUL"),
        ([1, 2, 3], {"note": "x" * 2001}, "at most 2,000 characters"),
    ):
        with pytest.raises(LabelError, match=why) as raised:
            labelling.save("w", item["id"], ranks, **said | more)
        assert raised.value.kind == "invalid"
    with pytest.raises(LabelError) as raised:
        labelling.save("w", "x", [1, 2, 3])
    assert raised.value.kind == "unknown"
    assert not (tmp_path / "l.csv").exists()


def test_a_label_that_cannot_be_written_is_none(tmp_path):
    (tmp_path / "folder").mkdir()
    labelling = Labelling(SCORER, three(tmp_path / "d.jsonl"), tmp_path / "folder" / "l.csv")
    (tmp_path / "folder").rmdir()
    (tmp_path / "folder").write_text("in the way")
    item = labelling.next("w")
    with pytest.raises(PlauditError, match="cannot be written"):
        labelling.save("w", item["id"], [1, 2, 3])
    assert labelling.state()["labelled"] == 0
    (tmp_path / "folder").unlink()
    labelling.save("w", item["id"], [1, 2, 3])
    assert labelling.state()["labelled"] == 1


def test_what_another_program_wrote_is_not_overwritten(tmp_path):
    file = tmp_path / "l.csv"
    labelling = Labelling(SCORER, three(tmp_path / "d.jsonl"), file)
    labelling.save("w", labelling.next("w")["id"], [1, 2, 3])
    file.write_text(file.read_text() + "mine,a,1\r\n")
    kept = file.read_bytes()
    for act in (
        lambda: labelling.save("w", labelling.next("w")["id"], [1, 2, 3]),
        lambda: labelling.undo("w"),
    ):
        with pytest.raises(LabelError, match="changed by another program") as raised:
            act()
        assert raised.value.kind == "conflict"
    assert file.read_bytes() == kept
    assert labelling.state()["labelled"] == 1
    file.unlink()  # nothing to lose: all labels are written again
    labelling.save("w", labelling.next("w")["id"], [1, 2, 3])
    assert len(load_rankings(file, strict=True)) == 2


GOOD = "prompt,answer,rank\r\nquestion 0,a,1\r\nquestion 0,b,2\r\nquestion 0,c,2\r\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "the file is empty"),
        ("hello\nworld\n", "has the columns hello, not prompt, answer, rank"),
        (GOOD.replace("rank", "score"), "has the columns prompt, answer, score"),
        (GOOD.replace("question 0", "other"), ":2: has a prompt that is not in the data"),
        (GOOD + "question 1,a,1\r\nquestion 1,b,2\r\n", ":5: has other completions"),
        (GOOD.replace(",b,", ",d,"), ":2: has other completions"),
        (GOOD + "question 0,a,1\r\n", ":5: has a completion of a prompt twice"),
        (GOOD.replace(",c,2", ",c,x"), ":4: the rank is not a finite number"),
        (GOOD.replace(",c,2", ",,2"), ":4: the answer is blank"),
        (GOOD.replace(",2", ",1"), ":2: has all completions of a prompt tied"),
        (GOOD.replace("question 0,c", '"question 0,c'), ":4: broken CSV"),
        (GOOD.replace(",c,2", ",c"), ":4: wrong number of fields"),
        (
            GOOD + "question 1,a,1\r\nquestion 1,b,1\r\nquestion 1,c,2\r\nquestion 0,a,1\r\n",
            ":8: has a prompt in two places",
        ),
    ],
)
def test_a_file_that_is_not_ours_is_left_alone(tmp_path, content, why):
    data, file = three(tmp_path / "d.jsonl"), tmp_path / "l.csv"
    file.write_bytes(content.encode())
    with pytest.raises(PlauditError) as raised:
        Labelling(SCORER, data, file)
    assert why in str(raised.value)
    assert str(file) in str(raised.value)
    assert file.read_bytes() == content.encode()


def test_a_file_of_ours_is_continued_whoever_saved_it_last(tmp_path):
    data, file = three(tmp_path / "d.jsonl"), tmp_path / "l.csv"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\r\n", "\n").replace(",2", ",2.50").encode())
    labelling = Labelling(SCORER, data, file)
    assert labelling.state()["labelled"] == 1
    labelling.save("w", labelling.next("w")["id"], [1, 2, 3])
    rows = list(csv.reader(io.StringIO(file.read_text(), newline="")))
    assert [row[2] for row in rows[1:4]] == ["1", "2", "2"]
    assert rows[4][0] == "question 1"


def test_the_output_cannot_be_the_input_nor_lie_in_it(tmp_path):
    data = tmp_path / "d.csv"
    data.write_text("prompt,answer,rank\np,a,1\np,b,2\n")
    (tmp_path / "link.csv").symlink_to(data)
    (tmp_path / "folder.csv").mkdir()
    refused = {
        "d.csv": "is the input",
        "link.csv": "is the input",
        "labels.jsonl": "name it .csv",
        "folder.csv": "in the way",
    }
    for name, why in refused.items():
        with pytest.raises(PlauditError, match=why):
            Labelling(SCORER, data, tmp_path / name)
    for inputs, output in [(tmp_path, "sub/l.csv"), (tmp_path / "*.csv", "l.csv")]:
        with pytest.raises(PlauditError, match="lies where the data are"):
            Labelling(SCORER, inputs, tmp_path / output)
    assert data.read_text() == "prompt,answer,rank\np,a,1\np,b,2\n"
    assert not (tmp_path / "sub").exists()


# ---- several windows ----


def test_windows_get_different_prompts_and_cannot_overwrite_each_other(tmp_path):
    labelling = Labelling(SCORER, three(tmp_path / "d.jsonl", 2), tmp_path / "l.csv")
    ours, theirs = labelling.next("us"), labelling.next("them")
    assert ours["id"] != theirs["id"]
    assert labelling.next("us")["id"] == ours["id"]  # as after a reload
    # A third gets what another has, since no other is left.
    third = labelling.next("third")
    assert third["id"] in (ours["id"], theirs["id"])
    labelling.save("third", third["id"], [1, 2, 3])
    labelling.save("third", third["id"], [1, 2, 3])  # its first answer was lost
    holder = "us" if third["id"] == ours["id"] else "them"
    for ranks in ([1, 2, 3], [3, 2, 1]):
        with pytest.raises(LabelError, match="labelled in another window") as raised:
            labelling.save(holder, third["id"], ranks)
        assert raised.value.kind == "labelled"
    assert labelling.next(holder)["id"] != third["id"]
    # What another open window saved is not ours to take back.
    with pytest.raises(LabelError, match="None of the labels is yours"):
        labelling.undo("us")
    assert labelling.undo("third")["id"] == third["id"]


def test_a_label_sent_again_after_the_service_was_started_anew_is_taken_as_the_same(tmp_path):
    data, output = three(tmp_path / "d.jsonl", 2), tmp_path / "l.csv"
    labelling = Labelling(SCORER, data, output)
    id = labelling.next("us")["id"]
    labelling.save("us", id, [1, 2, 3])
    kept = output.read_bytes()
    anew = Labelling(SCORER, data, output)
    anew.save("us", id, [1, 2, 3])
    assert output.read_bytes() == kept
    with pytest.raises(LabelError, match="labelled in another window"):
        anew.save("us", id, [3, 2, 1])


def test_the_prompt_of_a_window_that_is_gone_goes_to_others(tmp_path, monkeypatch):
    labelling = Labelling(SCORER, three(tmp_path / "d.jsonl", 2), tmp_path / "l.csv")
    clock = [0.0]
    monkeypatch.setattr("plaudit.labelling.labelling.time.monotonic", lambda: clock[0])
    mine = labelling.next("gone")["id"]
    assert labelling.next("here")["id"] != mine
    clock[0] = 590.0
    labelling.state("here")  # as the page asks for it now and then
    labelling.save("here", labelling.next("here")["id"], [1, 2, 3])
    clock[0] = 601.0
    assert labelling.next("here")["id"] == mine
    clock[0] = 1300.0
    assert labelling.next("later")["id"] == mine
    # And what it saved can be taken back by whoever is there.
    assert labelling.undo("later")["ranks"] == (1, 2, 3)


def test_many_windows_at_once_lose_no_label(tmp_path):
    data, file = three(tmp_path / "d.jsonl", 80), tmp_path / "l.csv"
    labelling = Labelling(SCORER, data, file)
    conflicts, wrong = [], []

    def work(window):
        try:
            while item := labelling.next(window):
                try:
                    labelling.save(window, item["id"], [1, 2, 3])
                except LabelError as error:
                    conflicts.append(error.kind)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert set(conflicts) <= {"labelled"}
    assert len(load_rankings(file, strict=True)) == 80
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


# ---- people ----


def test_who_labelled_and_what_they_noted_stands_in_the_file_and_comes_back(tmp_path):
    data, file = three(tmp_path / "d.jsonl", 3), tmp_path / "l.csv"
    file.write_bytes(GOOD.encode())  # of a version that knew neither names nor notes
    labelling = Labelling(SCORER, data, file)
    item = labelling.next("w", "Ada")
    labelling.save("w", item["id"], [1, 2, 3], " Ada ", '=note, "quoted"\r\nand more ')
    rows = list(csv.DictReader(io.StringIO(file.read_bytes().decode(), newline="")))
    assert [(row["annotator"], row["note"]) for row in rows[2:4]] == [
        ("", ""),
        ("Ada", '=note, "quoted"\r\nand more'),
    ]
    assert [one.annotator for one in load_rankings(file, strict=True)] == [None, "Ada"]
    again = Labelling(SCORER, data, file)
    assert again.state("w", "Ada")["mine"] == 1
    back = again.undo("w", "Ada")
    assert (back["note"], back["ranks"]) == ('=note, "quoted"\r\nand more', (1, 2, 3))
    # Without a name in it, as that version wrote it.
    assert sorted(file.read_bytes().splitlines()) == sorted(GOOD.encode().splitlines())
    with pytest.raises(LabelError, match="None of the labels is yours"):
        again.undo("w", "Ada")


def test_what_orders_nothing_is_done_and_stands_beside_the_file(tmp_path):
    data, file = three(tmp_path / "d.jsonl", 4), tmp_path / "l.csv"
    beside = tmp_path / "l.beside.jsonl"
    labelling = Labelling(SCORER, data, file)
    for ranks, more in (
        ([1, 2, 3], {}),
        ([5, 5, 5], {"note": "all the same"}),
        ([1, 2, 3], {"all_bad": True}),
        ([3, 2, 1], {}),
    ):
        labelling.save("w", labelling.next("w")["id"], ranks, **more)
    assert labelling.next("w") is None
    assert len(load_rankings(file, strict=True)) == 2  # nothing in it that would be rejected
    said = [json.loads(line) for line in beside.read_text().splitlines()]
    assert [(one["ranks"], one["all_bad"], one["note"]) for one in said] == [
        ([1, 1, 1], False, "all the same"),
        ([1, 1, 1], True, ""),
    ]
    again = Labelling(SCORER, data, file)
    assert again.state()["labelled"] == 4
    assert [one["said"].split(":")[0] for one in again.labelled()["labels"]] == [
        "best", "all bad", "all tied", "best",
    ]  # fmt: skip
    undone = [again.undo("w")["prompt"] for _ in range(4)]
    assert undone == [f"question {n}" for n in (3, 2, 1, 0)]
    assert beside.read_text() == ""


@pytest.mark.parametrize(
    "line",
    [
        "{",
        '{"prompt": "other", "completions": ["a"], "ranks": [1]}',
        '{"prompt": "question 0", "completions": ["a", "b", "c"], "ranks": [1, 2, 3], '
        '"all_bad": false, "annotator": "", "note": "", "after": 0}',
    ],
)
def test_a_file_beside_that_is_not_ours_is_left_alone(tmp_path, line):
    data, beside = three(tmp_path / "d.jsonl"), tmp_path / "l.beside.jsonl"
    beside.write_text(line + "\n")
    with pytest.raises(PlauditError, match=r"l\.beside\.jsonl.*left alone"):
        Labelling(SCORER, data, tmp_path / "l.csv")
    assert beside.read_text() == line + "\n"


def test_a_second_person_labels_the_overlap_and_agreement_is_told(tmp_path):
    data, file = three(tmp_path / "d.jsonl", 60), tmp_path / "l.csv"
    labelling = Labelling(SCORER, data, file, overlap=0.25)
    total = labelling.state()["total"]
    assert 60 < total < 90
    place = "abc".index
    while item := labelling.next("1", "Ada"):
        labelling.save("1", item["id"], [1 + place(text) for text in item["completions"]], "Ada")
    assert labelling.state("1", "Ada")["labelled"] == 60
    both = 0
    while item := labelling.next("2", "Bob"):
        ranks = [3 - place(text) if both else 1 + place(text) for text in item["completions"]]
        labelling.save("2", item["id"], ranks, "Bob")
        both += 1
    assert both == total - 60
    assert labelling.next("3", "Cy") is None
    people = labelling.people()
    assert [(one["annotator"], one["labels"]) for one in people["people"]] == [
        ("Ada", 60), ("Bob", both),
    ]  # fmt: skip
    # Of one prompt they agree on all three pairs, of the others on none.
    assert people["agreement"]["agreement"]["value"] == pytest.approx(1 / both)
    assert people["agreement"]["pairs"] == 3 * both
    # And data are read so, too.
    assert agreement(load_rankings(file, strict=True)) == people["agreement"]
    again = Labelling(SCORER, data, file, overlap=0.25)
    assert again.next("2", "Bob") is None
    assert again.undo("1", "Ada")["ranks"] is not None


def test_gold_questions_come_to_everybody_and_are_not_learnt_from(tmp_path):
    data, file = three(tmp_path / "d.jsonl", 20), tmp_path / "l.csv"
    gold = tmp_path / "gold.csv"
    gold.write_text("prompt,answer,rank\n" + "".join(
        f"gold {n},{text},{rank}\n" for n in range(2) for rank, text in enumerate("xyz", 1)
    ))  # fmt: skip
    labelling = Labelling(SCORER, data, file, gold=gold)
    assert labelling.state()["total"] == 20
    asked = {"Ada": [], "Bob": []}
    for name, texts in asked.items():
        for _ in range(10):
            item = labelling.next(name, name)
            texts.append(item["prompt"])
            assert item.keys() == labelling.next(name, name).keys()
            assert "gold" not in item  # nothing tells it from the others
            order = "xyz" if name == "Ada" else "zyx"
            ranks = [1 + (order + "abc").index(text) for text in item["completions"]]
            labelling.save(name, item["id"], ranks, name)
    for texts in asked.values():
        assert [text[:4] for text in texts].count("gold") == 1
    people = {one["annotator"]: one for one in labelling.people()["people"]}
    assert (people["Ada"]["gold_right"], people["Ada"]["gold_pairs"]) == (3, 3)
    assert (people["Bob"]["gold_right"], people["Bob"]["gold_pairs"]) == (0, 3)
    assert people["Ada"]["labels"] == 9
    read = load_rankings(file, strict=True)
    assert len(read) == 18
    assert not any(ranking.prompt.startswith("gold") for ranking in read)
    again = Labelling(SCORER, data, file, gold=gold)
    assert again.people() == labelling.people()


def test_any_label_can_be_taken_back_at_any_time(tmp_path):
    data, file = three(tmp_path / "d.jsonl", 50), tmp_path / "l.csv"
    labelling = Labelling(SCORER, data, file)
    for n in range(45):
        window = ("one", "other")[n % 2]
        labelling.save(window, labelling.next(window)["id"], [1, 2, 2])
    part = labelling.labelled()
    parts = [part]
    while part["before"]:
        part = labelling.labelled(part["before"])
        parts.append(part)
    numbers = [one["number"] for part in parts for one in part["labels"]]
    assert numbers == list(range(44, -1, -1))
    oldest = parts[-1]["labels"][-1]
    back = labelling.reopen("other", oldest["id"], oldest["annotator"])
    assert (back["prompt"], back["ranks"]) == ("question 0", (1, 2, 2))
    assert len(load_rankings(file, strict=True)) == 44
    assert labelling.next("other")["prompt"] == "question 0"
    with pytest.raises(LabelError, match="taken back meanwhile"):
        labelling.reopen("one", oldest["id"], "")


@pytest.mark.parametrize("name", ["", "Ada"])
def test_as_many_labels_are_mine_as_can_be_undone(tmp_path, monkeypatch, name):
    data, file = three(tmp_path / "d.jsonl", 8), tmp_path / "l.csv"
    earlier = Labelling(SCORER, data, file)
    earlier.save("gone", earlier.next("gone", name)["id"], [1, 2, 2], name)
    labelling = Labelling(SCORER, data, file)
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for window in ("one", "other", "one"):
        labelling.save(window, labelling.next(window, name)["id"], [1, 2, 2], name)
    # Without a name another window that is open is another person; with one it is the same.
    expected = {"one": 3, "other": 2, "new": 1} if not name else dict.fromkeys(["one", "new"], 4)
    for window, count in expected.items():
        assert labelling.state(window, name)["mine"] == count
    now += 601  # those windows are gone
    assert labelling.state("new", name)["mine"] == 4
    undone = 0
    while labelling.state("new", name)["mine"]:
        labelling.undo("new", name)
        undone += 1
    assert undone == 4
    labelling.save("other", labelling.next("other", "Bob")["id"], [1, 2, 2], "Bob")
    assert labelling.state("new", name)["mine"] == 0
    with pytest.raises(LabelError, match="None of the labels is yours"):
        labelling.undo("new", name)


def test_what_is_listed_is_named_by_its_last_words_and_never_as_json(tmp_path, capsys):
    def said(role, content, **more):
        return {"role": role, "content": content, **more}

    asked = [said("system", "Be kind."), said("user", "Hi"), said("user", "Write one sentence.")]
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    answers = ([said("assistant", "Done.")], [said("assistant", "", tool_calls=[call])])
    alone = [said("user", "Only one")]
    rows = [{"prompt": asked, "completion": answer} for answer in answers]
    rows.append({"prompt": alone, "completion": answers[0]})
    labelling = Labelling(SCORER, jsonl(tmp_path / "d.jsonl", rows), tmp_path / "l.csv")
    item = labelling.next("w")
    ranks = [1 if text == answers[0] else 2 for text in item["completions"]]
    labelling.save("w", item["id"], ranks)
    [listed] = labelling.labelled()["labels"]
    assert (listed["prompt"], listed["said"]) == ("Write one sentence.", "best: Done.")
    labelling.undo("w")
    labelling.save("w", item["id"], [3 - rank for rank in ranks])
    [listed] = labelling.labelled()["labels"]
    assert listed["said"].startswith('best: {"tool_calls": ')  # it says nothing else
    [left_out] = labelling.state("w")["left_out"]
    assert left_out.endswith("(first: Only one)")
    labelling._scored(labelling._items[0], ValueError("too long"))
    assert "Write one sentence.: not scored: too long" in capsys.readouterr().err


def test_who_takes_back_anothers_label_of_a_prompt_they_labelled_too_gets_the_next(tmp_path):
    data, file = three(tmp_path / "d.jsonl", 2), tmp_path / "l.csv"
    labelling = Labelling(SCORER, data, file, overlap=1.0)
    id = labelling.next("a", "Ada")["id"]
    for name, ranks in (("Ada", [1, 2, 3]), ("Bob", [3, 2, 1])):
        labelling.save(name, id, ranks, name)
    assert labelling.reopen("Ada", id, "Bob", "Ada")["id"] != id
    [left] = load_rankings(file, strict=True)
    assert left.annotator == "Ada"
    back = labelling.next("Bob", "Bob")
    assert (back["id"], back["ranks"]) == (id, (3, 2, 1))


def test_a_file_that_could_not_be_written_is_not_taken_for_another_programs(tmp_path, monkeypatch):
    data, file = three(tmp_path / "d.jsonl", 3), tmp_path / "l.csv"
    labelling = Labelling(SCORER, data, file)
    for ranks in ([1, 2, 3], [1, 1, 1]):  # the second stands beside, with its place in the first
        labelling.save("a", labelling.next("a")["id"], ranks)
    oldest = labelling.labelled()["labels"][-1]

    def full(*_):
        raise PlauditError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(labelling._file, "_write_csv", full)
        with pytest.raises(PlauditError, match="no space"):
            labelling.reopen("a", oldest["id"], "")
    assert labelling.reopen("a", oldest["id"], "")["ranks"] == (1, 2, 3)
