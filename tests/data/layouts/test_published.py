"""Published rows: each in its own layout alone, the better first, what is known of it kept."""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from plaudit import load_rankings
from plaudit.data.columns import columns_of, layouts_that_fit
from plaudit.data.layouts import LAYOUTS
from plaudit.data.rankings import Fault, Rejected
from plaudit.data.rows import find_sources
from plaudit.data.tasks import Task, Tasks
from plaudit.labelling.to_label import read_items
from published_rows import PUBLISHED, assistant, user

GUIDE = Path(__file__).parents[3] / "docs" / "data.md"
GENERAL = ("pairs", "ranked", "scored", "ranked-lists", "scored-lists")


def json_lines(rows, folder):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def json_list(rows, folder):
    path = folder / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def parquet(rows, folder):
    path = folder / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(with_nulls(rows)), path)
    return path


def with_nulls(value):
    """The same with one more key, null in every record, as Arrow has it of mixed data."""
    if isinstance(value, Mapping):
        return {key: with_nulls(item) for key, item in value.items()} | {"of_another_row": None}
    return [with_nulls(item) for item in value] if isinstance(value, list) else value


def comma_separated(rows, folder):
    path = folder / "rows.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        for row in rows:
            cells = row.values()
            writer.writerow([json.dumps(o) if isinstance(o, (list, dict)) else o for o in cells])
    return path


def data_set(rows, folder):
    return [dict(row) for row in rows]


WAYS = (json_lines, json_list, parquet, comma_separated, data_set)


def written(name, way, folder, change=None):
    published = PUBLISHED[name]
    if way is comma_separated and not published.csv:
        pytest.skip("not published as CSV")
    rows = [dict(row) for row in published.rows]
    rows[-1] |= change or {}
    return way(rows, folder)


def best_first(ranking):
    order = sorted(range(len(ranking.completions)), key=lambda place: ranking.ranks[place])
    return tuple(ranking.completions[place] for place in order)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_row_is_its_own_layout_and_its_better_completion_is_known(name, way, tmp_path):
    published = PUBLISHED[name]
    [ranking] = rankings = load_rankings(written(name, way, tmp_path))
    assert rankings.format == published.layout.replace("-", " ")
    assert ranking.prompt == published.prompt
    assert best_first(ranking) == published.completions
    assert sorted(ranking.ranks) == [0, 1]
    for field, value in published.kept.items():
        assert getattr(ranking, field) == value, field


@pytest.mark.parametrize("name", PUBLISHED)
def test_of_the_published_layouts_no_other_fits(name, tmp_path):
    [source] = find_sources(written(name, json_lines, tmp_path))
    for order in (True, False):
        fits = layouts_that_fit(columns_of(source), {}, order=order)
        own = [fit.name for fit in fits if fit.name not in GENERAL]
        # The Orca pairs with ratings are annotated pairs, too, but go first; so do OffsetBias'
        # pairs, whose outputs are judged by a label.
        allowed = {
            "distilabel-orca": ["distilabel-orca", "annotated-pairs"],
            "offsetbias": ["offsetbias", "judged-pairs"],
        }
        layout = PUBLISHED[name].layout
        assert own == ([] if layout == "pairs" else allowed.get(layout, [layout]))
        assert fits[0].name == layout or (layout == "kto" and not order)


def test_every_published_layout_has_a_row():
    published = {name for name in LAYOUTS if LAYOUTS.get(name).better}
    assert published == {one.layout for one in PUBLISHED.values()} - {"pairs"}


def beside_good_ones(name, change, folder):
    """A file with the published rows of one prompt, and with changed ones of another."""
    rows = PUBLISHED[name].rows
    others = json.loads(json.dumps(rows).replace("open", "close"))
    return json_lines([*rows, *others[:-1], others[-1] | change], folder), len(rows)


@pytest.mark.parametrize("name", [name for name, one in PUBLISHED.items() if one.tie])
def test_a_tie_is_rejected_as_tied(name, tmp_path):
    path, count = beside_good_ones(name, PUBLISHED[name].tie, tmp_path)
    rankings = load_rankings(path, max_rejected=1)
    assert len(rankings) == 1
    assert [row.fault for row in rankings.rejected] == [Fault.TIED] * count
    assert rankings.rejected[0].reason == "all completions of this prompt are tied"


@pytest.mark.parametrize("name", [name for name, one in PUBLISHED.items() if one.unknown])
def test_what_a_layout_does_not_know_is_rejected_with_the_reason(name, tmp_path):
    path, count = beside_good_ones(name, PUBLISHED[name].unknown, tmp_path)
    rankings = load_rankings(path, max_rejected=1)
    assert len(rankings) == 1
    [row] = [row for row in rankings.rejected if row.line == 2 * count]
    assert row.fault in (Fault.UNKNOWN, Fault.NOT_A_NUMBER, Fault.MISSING)
    assert re.search("value that is not known: |not a finite number: |is missing", row.reason)


@pytest.mark.parametrize("name", [name for name, one in PUBLISHED.items() if one.unknown])
def test_a_row_whose_order_is_not_known_can_be_scored(name, tmp_path):
    path, _ = beside_good_ones(name, PUBLISHED[name].unknown, tmp_path)
    task = list(Tasks(*find_sources(path), {}))[-1]
    # Here it is not known what the texts are.
    texts_unknown = name in ("MT-bench judgments, second turn", "LLaMA-Factory ShareGPT")
    assert isinstance(task, Rejected if texts_unknown else Task)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", PUBLISHED)
def test_scoring_and_labelling_read_the_same(name, way, tmp_path):
    published = PUBLISHED[name]
    sources = find_sources(written(name, way, tmp_path))
    [source] = sources
    tasks = list(Tasks(source, {}))
    assert all(isinstance(task, Task) for task in tasks)
    assert {json.dumps(task.prompt) for task in tasks} == {json.dumps(published.prompt)}
    texts = [json.dumps(text) for task in tasks for text in task.completions]
    assert sorted(texts) == sorted(map(json.dumps, published.completions))
    [item] = read_items(sources).items
    assert item.prompt == published.prompt
    assert sorted(map(json.dumps, item.completions)) == sorted(texts)


TABLE = [
    [cell.strip(" `") for cell in line.split(" | ")]
    for line in GUIDE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
]


@pytest.mark.parametrize("line", TABLE, ids=[line[0].strip("| `") for line in TABLE])
def test_the_guide_has_the_smallest_row_of_each_layout(line):
    layout, _, better, _, example = (cell.strip("| `") for cell in line)
    rows = json.loads(example)
    [ranking] = rankings = load_rankings(rows if isinstance(rows, list) else [rows])
    assert rankings.format == layout.replace("-", " ")
    assert LAYOUTS.get(layout).better == better
    best, worst = best_first(ranking)
    assert words(best) == "4"
    assert words(worst) == "5"


def words(text):
    return text if isinstance(text, str) else text[-1]["content"]


def test_the_guide_has_all_published_layouts():
    names = {line[0].strip("| `") for line in TABLE}
    assert names == {name for name in LAYOUTS if LAYOUTS.get(name).better}


COMPLETIONS = {"completions": ["4", "5"], "ranks": [1, 2]}
ALIKE = {
    "a label that is no verdict": (
        "ranked",
        [
            {"prompt": "p", "completion": t, "label": True, "rank": r}
            for t, r in (("4", 1), ("5", 2))
        ],
    ),
    "lists of texts beside an instruction": ("ranked-lists", [{"instruction": "p", **COMPLETIONS}]),
    "some of HelpSteer's attributes": (
        "ranked",
        [
            {"prompt": "p", "response": t, "helpfulness": 1, "verbosity": 5, "rank": r}
            for t, r in (("4", 1), ("5", 2))
        ],
    ),
    "answers that are texts": (
        "ranked-lists",
        [{"prompt": "p", "answers": ["4", "5"], "ranks": [1, 2]}],
    ),
    "one rating": ("pairs", [{"prompt": "p", "chosen": "4", "rejected": "5", "chosen_rating": 1}]),
    "messages beside whole dialogues": (
        "pairs",
        [
            {
                "messages": [user("p")],
                "chosen": [user("p"), assistant("4")],
                "rejected": [user("p"), assistant("5")],
            }
        ],
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_data_with_a_name_or_two_of_a_published_layout_are_not_taken_for_it(name):
    layout, rows = ALIKE[name]
    [ranking] = rankings = load_rankings(rows)
    assert rankings.format == layout.replace("-", " ")
    assert [words(text) for text in best_first(ranking)] == ["4", "5"]


def test_what_the_user_maps_is_not_overruled():
    row = {"question": "p", "response_j": "5", "response_k": "4"}
    columns = {"chosen": "response_k", "rejected": "response_j"}
    [ranking] = load_rankings([row], columns=columns)
    assert best_first(ranking) == ("4", "5")


def test_the_safer_response_can_be_taken_for_the_better():
    rows = PUBLISHED["PKU-SafeRLHF"].rows
    [ranking] = load_rankings(rows, columns={"better_response_id": "safer_response_id"})
    assert best_first(ranking) == PUBLISHED["PKU-SafeRLHF"].completions[::-1]


def test_a_battle_of_several_turns_has_the_common_ones_as_its_prompt():
    row = PUBLISHED["Chatbot Arena 55k"].rows[0] | {
        "prompt": json.dumps(["one", "two"]),
        "response_a": json.dumps(["same", "5"]),
        "response_b": json.dumps(["same", "4"]),
    }
    [ranking] = load_rankings([row])
    assert ranking.prompt == [user("one"), assistant("same"), user("two")]
    assert best_first(ranking) == ([assistant("4")], [assistant("5")])


def test_argilla_averages_the_ranks_of_annotators_and_ignores_drafts():
    votes = [("submitted", [1, 2, 3]), ("submitted", [2, 1, 3]), ("submitted", [3, 1, 2])]
    answers = [
        {
            "user_id": str(n),
            "status": status,
            "value": [{"value": f"response{i}", "rank": rank} for i, rank in enumerate(ranks, 1)],
        }
        for n, (status, ranks) in enumerate([*votes, ("draft", [1, 3, 2])])
    ]
    row = {"prompt": "p", "response1": "a", "response2": "b", "response3": "c"}
    [ranking] = load_rankings([row | {"preference": answers}])
    assert ranking.ranks == [1, 0, 2]


def test_calls_of_tools_in_sharegpt_are_calls():
    turns = [
        {"from": "human", "value": "Time?"},
        {"from": "function_call", "value": '{"name": "clock", "arguments": {"zone": 1}}'},
        {"from": "observation", "value": "nine"},
    ]
    row = PUBLISHED["LLaMA-Factory ShareGPT"].rows[0] | {"conversations": turns}
    [ranking] = load_rankings([row])
    call = {"name": "clock", "arguments": {"zone": 1}}
    assert ranking.prompt[2]["tool_calls"] == [{"type": "function", "function": call}]
    assert ranking.prompt[3] == {"role": "tool", "content": "nine"}
    twice = {**turns[1], "value": '{"name": "clock", "name": "bell"}'}
    bad = row | {"conversations": [turns[0], twice, turns[2]]}
    [rejected] = load_rankings([row, bad], max_rejected=1).rejected
    assert rejected.reason.endswith("ambiguous JSON: the key 'name' stands twice in one object")


def test_an_input_is_part_of_the_prompt_unless_the_prompt_has_it():
    pair = {"chosen": "4", "rejected": "5"}
    [first] = load_rankings([{"prompt": "Add.", "input": "2+2", **pair}])
    [second] = load_rankings([{"prompt": "Add 2+2.", "input": "2+2", "system": "", **pair}])
    assert first.prompt == "Add.\n\n2+2"
    assert second.prompt == [user("Add 2+2.")]


def test_a_prompt_that_is_one_turn_of_several_gives_way_to_the_dialogue():
    before = [user("one"), assistant("same"), user("two")]
    row = PUBLISHED["Tulu 3 preference mixes"].rows[0] | {
        "chosen": [*before, assistant("4")],
        "rejected": [*before, assistant("5")],
    }
    for asked in ("one", "two"):
        [ranking] = load_rankings([row | {"prompt": asked}])
        assert ranking.prompt == before
        assert best_first(ranking) == ([assistant("4")], [assistant("5")])


@pytest.mark.parametrize(
    ("name", "column"), [("UltraFeedback", "completions"), ("Nectar", "answers")]
)
def test_a_row_without_completions_says_so_wherever_it_is_read(name, column, tmp_path):
    path, _ = beside_good_ones(name, {column: []}, tmp_path)
    [rejected] = load_rankings(path, max_rejected=1).rejected
    scored = list(Tasks(*find_sources(path), {}))[-1]
    assert rejected.reason == scored.reason == f"the {column} are missing"


def test_frames_write_whole_numbers_with_a_point(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("prompt,response_1,response_2,preference_strength\np,5,4,2.0\nq,4,5,-1.0\n")
    rankings = load_rankings(path)
    assert [best_first(ranking) for ranking in rankings] == [("4", "5")] * 2
    assert [ranking.strength for ranking in rankings] == [2, 1]
