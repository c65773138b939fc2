"""Odd rows through every door: all of them make the same record, or give the same reason."""

import csv
import json
import math

import datasets
import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from plaudit import Ranking, Rankings, load_rankings
from plaudit.data.prompts import Prompt, stream_prompts
from plaudit.data.rankings import Rejected
from plaudit.data.rows import find_sources
from plaudit.data.tasks import Tasks
from plaudit.errors import PlauditError
from plaudit.evaluation.suite_run import load_suite
from plaudit.labelling.to_label import read_items
from plaudit.model.scorer import Scorer
from plaudit.serving.protocols.rank import RankRequest
from plaudit.serving.protocols.score import ScoreRequest


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


CALL = {"type": "function", "function": {"name": "open", "arguments": {"door": 1}}}
CALL_OF_OPENAI = {"type": "function", "function": {"name": "open", "arguments": '{"door": 1}'}}
CALL_OF_ARROW = CALL | {"function": {"name": "open", "arguments": {"door": 1, "window": None}}}
HI = [user("Hi")]
LONG = "long " * 2_000_000  # 10 MB

# What a row has as prompt and completions; what comes of it: the record, or the reason. BLANK marks
# a record that can be scored and teaches nothing.
BLANK = "the completion is blank"
ODD = {
    "plain": ("p", ["a", "b"], ("p", ["a", "b"])),
    "space around": (" p\n", [" a", "b "], (" p\n", [" a", "b "])),
    "line ends": ("p\r\nq", ["a\rb", "a\nb"], ("p\r\nq", ["a\rb", "a\nb"])),
    "quotes and commas": ('p"q,', ['"a"', ",b"], ('p"q,', ['"a"', ",b"])),
    "other scripts": ("سؤال", ["答え", "e\u0301 🙂"], ("سؤال", ["答え", "e\u0301 🙂"])),
    "html": ("<b>", ["<script>", "&amp;"], ("<b>", ["<script>", "&amp;"])),
    "a text that looks like a number": ("1", ["2", "3e5"], ("1", ["2", "3e5"])),
    "a text that looks like nothing": ("null", ["None", "nan"], ("null", ["None", "nan"])),
    "10 MB": (LONG, ["a", LONG], (LONG, ["a", LONG])),
    "a blank prompt": (" ", ["a", "b"], "the prompt is blank"),
    "an empty prompt": ("", ["a", "b"], "the prompt is blank"),
    "no prompt": (None, ["a", "b"], "the prompt is missing"),
    "a number as prompt": (7, ["a", "b"], "the prompt is not text: int"),
    "true as prompt": (True, ["a", "b"], "the prompt is not text: bool"),
    "a record as prompt": ({"text": "p"}, ["a", "b"], "the prompt is not text: a record of text"),
    "one message without its list": (
        user("Hi"),
        ["a", "b"],
        (HI, [[assistant("a")], [assistant("b")]]),
    ),
    "turns with from and value": (
        [{"from": "human", "value": "Hi"}],
        [[{"from": "gpt", "value": "a"}], [{"from": "gpt", "value": "b"}]],
        (HI, [[assistant("a")], [assistant("b")]]),
    ),
    "a list of texts as prompt": (
        ["p", "q"],
        ["a", "b"],
        "the prompt is not text: a list, but not of messages with role and content",
    ),
    "a list of nothing as prompt": ([], ["a", "b"], "the prompt is blank"),
    "an empty completion": ("p", ["", "b"], BLANK),
    "a blank completion": ("p", ["\u3000\n", "b"], BLANK),
    "no completion": ("p", [None, "b"], "the completion is missing"),
    "a number as completion": ("p", [4, "b"], "the completion is not text: int"),
    "half a character in the prompt": (
        "\ud83d",
        ["a", "b"],
        "undecodable bytes: half a character in the prompt",
    ),
    "half a character in a completion": (
        "p",
        ["a", "\udcff"],
        "undecodable bytes: half a character in the completion",
    ),
    "messages": (
        HI,
        [[assistant("a")], [assistant("b")]],
        (HI, [[assistant("a")], [assistant("b")]]),
    ),
    "an answer that ends with a question": (
        HI,
        [[assistant("a")], [assistant("b"), user("Why?")]],
        "the completion has no reply: it ends with the user's turn",
    ),
    "a text prompt, answers in messages": (
        "Hi",
        [[assistant("a")], [assistant("b")]],
        (HI, [[assistant("a")], [assistant("b")]]),
    ),
    "a prompt in messages, answers as text": (
        HI,
        ["a", "b"],
        (HI, [[assistant("a")], [assistant("b")]]),
    ),
    "answers of both kinds": (
        "Hi",
        ["a", [assistant("b")]],
        (HI, [[assistant("a")], [assistant("b")]]),
    ),
    "whole dialogues": (
        HI,
        [[*HI, assistant("a")], [*HI, assistant("b")]],
        (HI, [[assistant("a")], [assistant("b")]]),
    ),
    "messages as JSON in a text": (
        json.dumps(HI),
        [json.dumps([assistant("a")]), "b"],
        (HI, [[assistant("a")], [assistant("b")]]),
    ),
    "messages as Python wrote them": (
        str([user("it's")]),
        ["a", "b"],
        ([user("it's")], [[assistant("a")], [assistant("b")]]),
    ),
    "messages cut off": (
        "[{'role': 'user', 'content",
        ["a", "b"],
        "the prompt is a Python literal that cannot be read: write JSON",
    ),
    "other JSON in a text": ("[1, 2]", ['{"role": 1}', "b"], ("[1, 2]", ['{"role": 1}', "b"])),
    "a message without content": (
        [user(" ")],
        ["a", "b"],
        "the prompt is blank: a message without content",
    ),
    "a message without a role": (
        [{"content": "Hi"}],
        ["a", "b"],
        "the prompt is not text: a list, but not of messages with role and content",
    ),
    "null content and nothing else": (
        [{"role": "user", "content": None}],
        ["a", "b"],
        "the prompt is not text: a list, but not of messages with role and content",
    ),
    "null content with a call": (
        HI,
        [[assistant(None, tool_calls=[CALL_OF_OPENAI])], "b"],
        (HI, [[assistant("", tool_calls=[CALL])], [assistant("b")]]),
    ),
    "nulls all the way down": (
        [user("Hi") | {"tool_calls": None}],
        [[assistant(None, tool_calls=[CALL_OF_ARROW])], "b"],
        (HI, [[assistant("", tool_calls=[CALL])], [assistant("b")]]),
    ),
    "arguments that are no JSON": (
        HI,
        [[assistant("a", tool_calls=[{"function": {"name": "f", "arguments": "{door"}}])], "b"],
        "the completion calls a tool with arguments that are not JSON",
    ),
    "content in parts": (
        [user([{"type": "text", "text": "H"}, {"type": "text", "text": "i"}])],
        ["a", "b"],
        (HI, [[assistant("a")], [assistant("b")]]),
    ),
    "a picture": (
        [user([{"type": "image_url", "image_url": {"url": "data:"}}])],
        ["a", "b"],
        "the prompt has a message with a part that is not text",
    ),
    "an answer that only repeats the prompt": (
        HI,
        [HI, [assistant("b")]],
        "the completion is blank: it only repeats the prompt",
    ),
    "a system turn": (
        [{"role": "system", "content": "Be kind."}, *HI],
        ["a", "b"],
        ([{"role": "system", "content": "Be kind."}, *HI], [[assistant("a")], [assistant("b")]]),
    ),
}


class RefusedError(Exception):
    """What a door says of a row that it does not take."""


# ---- the doors, each from what a row has to the record it makes ----


def of_files(path):
    """What `plaudit score` takes from a file or an object."""
    [source] = find_sources(path)
    [task] = Tasks(source, {})
    if isinstance(task, Rejected):
        raise RefusedError(task.reason)
    return task.prompt, task.completions


def json_lines(prompt, completions, folder):
    path = folder / "a.jsonl"
    path.write_text(json.dumps({"prompt": prompt, "completions": completions}))
    return of_files(path)


def json_list(prompt, completions, folder):
    path = folder / "a.json"
    path.write_text(json.dumps([{"prompt": prompt, "completions": completions}], indent=1))
    return of_files(path)


def json_pairs(prompt, completions, folder):
    path = folder / "a.jsonl"
    row = {"prompt": prompt, "chosen": completions[0], "rejected": completions[1]}
    path.write_text(json.dumps(row))
    return of_files(path)


def one_completion_a_row(prompt, completions, folder):
    path = folder / "a.jsonl"
    rows = [{"prompt": prompt, "completion": text} for text in completions]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    [source] = find_sources(path)
    tasks = list(Tasks(source, {}))
    for task in tasks:
        if isinstance(task, Rejected):
            raise RefusedError(task.reason)
    # Each row is fitted alone: whether an answer stands in messages is not known of the other.
    prompts = [task.prompt for task in tasks]
    texts = [text for task in tasks for text in task.completions]
    if any(isinstance(one, list) for one in prompts):
        return scored_texts(next(one for one in prompts if isinstance(one, list)), texts)
    return prompts[0], texts


def comma_separated(prompt, completions, folder):
    if None in (prompt, *completions):
        pytest.skip("CSV has no null")
    cells = (prompt, *completions)
    if any(isinstance(cell, (int, dict)) or cell in ([], ["p", "q"]) for cell in cells):
        pytest.skip("in CSV these are text")
    try:
        json.dumps([prompt, *completions], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        pytest.skip("not to be written as UTF-8")
    path = folder / "a.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "chosen", "rejected"])
        cells = (prompt, *completions)
        writer.writerow([one if isinstance(one, str) else json.dumps(one) for one in cells])
    return of_files(path)


def parquet(prompt, completions, folder):
    path = folder / "a.parquet"
    try:
        table = pyarrow.Table.from_pylist([{"prompt": prompt, "completions": completions}])
        pyarrow.parquet.write_table(table, path)
    except (pyarrow.ArrowException, UnicodeEncodeError):
        pytest.skip("not to be written as Parquet")
    return of_files(path)


def dictionaries(prompt, completions, folder):
    return of_files([{"prompt": prompt, "completions": completions}])


def pandas_frame(prompt, completions, folder):
    cells = np.empty(1, dtype=object)
    cells[0] = completions
    frame = pandas.DataFrame(
        {"prompt": pandas.Series([prompt], dtype=object), "completions": cells}
    )
    return of_files(frame)


def data_set(prompt, completions, folder):
    try:
        rows = datasets.Dataset.from_list([{"prompt": prompt, "completions": completions}])
    except (pyarrow.ArrowException, UnicodeEncodeError, TypeError):
        pytest.skip("not to be held by Arrow")
    return of_files(rows)


def to_learn_from(prompt, completions, folder):
    rows = [{"prompt": prompt, "completions": completions, "ranks": [1, 2]}]
    return learnt(lambda: load_rankings(rows, max_rejected=1))


def pairs_to_learn_from(prompt, completions, folder):
    rows = [{"prompt": prompt, "chosen": completions[0], "rejected": completions[1]}]
    return learnt(lambda: load_rankings(rows, max_rejected=1))


def made_in_python(prompt, completions, folder):
    if prompt == "" or prompt == []:
        pytest.skip("a Ranking may have an empty prompt: implicit ones do")
    return learnt(lambda: Rankings.from_list([Ranking(prompt, completions, [0, 1])]))


def learnt(load):
    """The record, or the reason from the message of a reading in which nothing is left."""
    try:
        [ranking] = load()
    except PlauditError as error:
        reason = str(error).partition("1 rejected: 1 × ")[2].partition(" (first at")[0]
        raise RefusedError(reason) from error
    return ranking.prompt, list(ranking.completions)


def scored_texts(prompt, completions):
    """What `Scorer.score` gives to the model, with nothing computed."""
    kept = []
    does = {"_told": True, "score_all": lambda self, texts: iter([kept.extend(texts)])}
    scorer = type("Kept", (), does)()
    try:
        Scorer.score(scorer, prompt, completions)
    except PlauditError as error:
        raise RefusedError(str(error).removeprefix("score: ")) from error
    return kept[0]


def score_in_python(prompt, completions, folder):
    if prompt == "" or prompt == []:
        pytest.skip("a policy may be asked nothing")
    return scored_texts(prompt, completions)


def over_http(prompt, completions, folder, request=ScoreRequest):
    try:
        job = request.model_validate({"prompt": prompt, "completions": completions}).job()
    except ValidationError as error:
        raise RefusedError(error.errors()[0]["msg"]) from error
    except Exception as error:  # of `job`, which the service answers as it does the other
        raise RefusedError(str(error)) from error
    [asked] = {id(each): each for each in job.prompts}.values()
    return asked, job.texts


def over_http_rank(prompt, completions, folder):
    return over_http(prompt, completions, folder, RankRequest)


def to_label(prompt, completions, folder):
    path = folder / "a.jsonl"
    path.write_text(json.dumps({"prompt": prompt, "completions": completions}))
    try:
        [item] = read_items(find_sources(path)).items
    except PlauditError as error:
        reasons = str(error).partition("completions. ")[2].split("; ")
        raise RefusedError(reasons[0].partition("1 × ")[2].partition(" (first")[0]) from error
    return item.prompt, sorted(item.completions, key=completions_in(completions, prompt))


def completions_in(completions, prompt):
    """The place of an item's completion in the row that it came from: labelling shuffles them."""
    order = [str(text) for text in scored_texts(prompt, completions)[1]]
    return lambda text: order.index(str(text))


def of_a_suite(prompt, completions, folder):
    path = folder / "filtered.json"
    row = {"prompt": prompt, "chosen": completions[0], "rejected": completions[1]}
    path.write_text(json.dumps([row | {"subset": "alpacaeval-easy", "id": 1}]))
    try:
        [item] = load_suite(path, "rewardbench", partial=True).items
    except PlauditError as error:
        raise RefusedError(str(error).partition("1 × ")[2].partition(" (first at")[0]) from error
    return item.ranking.prompt, list(item.ranking.completions)


FILES = (json_lines, json_list, json_pairs, one_completion_a_row, comma_separated, parquet)
OBJECTS = (dictionaries, pandas_frame, data_set)
LEARN = (to_learn_from, pairs_to_learn_from, made_in_python, to_label)
SCORE = (*FILES, *OBJECTS, score_in_python, over_http, over_http_rank, of_a_suite)


def plainly(reason):
    """A reason with one name for a completion, and without the detail that tables leave out."""
    for name in ("chosen", "rejected"):
        reason = reason.replace(f"the {name}", "the completion").replace(f"in {name}", "in")
    return reason


@pytest.mark.parametrize("door", [*SCORE, *LEARN], ids=lambda door: door.__name__)
@pytest.mark.parametrize("name", ODD)
def test_every_door_makes_the_same_of_a_row(name, door, tmp_path):
    prompt, completions, expected = ODD[name]
    if expected == BLANK and door in SCORE:
        expected = (prompt, completions)  # it has its reward
    try:
        found, texts = door(prompt, completions, tmp_path)
    except RefusedError as refused:
        reason = plainly(str(refused))
        # A count of reasons has their kind alone, up to the colon.
        assert isinstance(expected, str), f"refused: {reason}"
        assert reason in (expected, expected.partition(": ")[0])
        return
    assert (found, list(texts)) == expected


@pytest.mark.parametrize("name", ODD)
def test_a_prompt_alone_is_the_prompt_of_the_row(name, tmp_path):
    prompt, _, expected = ODD[name]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": prompt}))
    [[read], [given]] = [list(stream_prompts(source)) for source in (path, [prompt])]
    if isinstance(expected, str) and "prompt" in expected and "repeats" not in expected:
        assert (read.reason, given.reason) == (expected, expected)
    else:
        assert isinstance(read, Prompt)
        assert read.text == given.text
        alone = read.in_messages().text if isinstance(expected[0], list) else read.text
        assert isinstance(expected, str) or alone == expected[0]


ORDERS = {
    "numbers": ([1, 2], None),
    "text": (["1", " 2.5 "], None),
    "the lower is better": ([-3, 7], None),
    "NaN": ([math.nan, 1], "the rank is not a finite number"),
    "infinite": ([math.inf, 1], "the rank is not a finite number"),
    "true": ([True, 1], "the rank is not a finite number"),
    "a word": (["first", 1], "the rank is not a finite number"),
    "a list": ([[1], 2], "the rank is not a finite number"),
}


@pytest.mark.parametrize("name", ORDERS)
def test_ranks_are_read_alike_in_rows_and_lists(name, tmp_path):
    ranks, expected = ORDERS[name]
    lists, single = tmp_path / "lists.jsonl", tmp_path / "single.jsonl"
    lists.write_text(json.dumps({"prompt": "p", "completions": ["a", "b"], "ranks": ranks}))
    rows = [{"prompt": "p", "completion": t, "rank": r} for t, r in zip("ab", ranks, strict=True)]
    single.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *_good("q")]))
    if expected is None:
        for path in (lists, single):
            assert list(load_rankings(path)[0].ranks) == [0, 1]
        return
    with pytest.raises(PlauditError, match=expected):
        load_rankings(lists)
    read = load_rankings(single, max_rejected=1)
    assert read.rejected[0].reason.startswith(expected)


def _good(prompt):
    return [{"prompt": prompt, "completion": t, "rank": r} for t, r in (("a", 1), ("b", 2))]


def test_a_column_that_comes_late_is_known_to_scoring_and_to_learning(tmp_path):
    path = tmp_path / "late.jsonl"
    early = [row for n in range(60) for row in _good(f"p{n}")]
    late = [{"question": "q", "response": t, "rank": r} for t, r in (("a", 1), ("b", 2))]
    path.write_text("".join(json.dumps(row) + "\n" for row in early + late))
    rankings = load_rankings(path, strict=True)
    assert len(rankings) == 61
    assert content(rankings[60]) == ("q", ["a", "b"])
    [source] = find_sources(path)
    tasks = list(Tasks(source, {}))
    assert [task.prompt for task in tasks[-2:]] == ["q", "q"]


def content(ranking):
    return ranking.prompt, list(ranking.completions)


def test_nan_in_a_frame_is_nothing():
    rows = [{"prompt": "p", "answer": t, "rank": r} for t, r in (("a", 1.0), ("b", 2.0))]
    rows += [{"prompt": "p", "answer": "c", "rank": math.nan}]
    rows += [{"prompt": "p", "answer": math.nan, "rank": 3.0}]
    read = load_rankings(pandas.DataFrame(rows), max_rejected=1)
    assert content(read[0]) == ("p", ["a", "b"])
    assert [one.reason for one in read.rejected] == [
        "the rank is missing",
        "the completion is missing",
    ]
