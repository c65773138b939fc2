"""The tables and the page of a bench say what its record says, whatever models are called."""

import csv
import re

import pytest

import accessible
from plaudit.data.rankings import Ranking
from plaudit.evaluation.bench import compare, preference_data
from plaudit.evaluation.suite_run import summarise_suite
from plaudit.reporting.leaderboard import (
    comparisons_csv,
    format_bench,
    latex,
    page,
    scores_csv,
    verdict,
)

COST = {
    "parameters": 22_713_216, "dtype": "float32", "device": "cpu", "max_length": 512,
    "completions": 80, "tokens": 4000, "seconds": 2.0, "truncated": 0,
    "peak_memory_bytes": 1_500_000_000,
}  # fmt: skip


def record(right, names=("a_b", "c", "d<i>"), data=("x", "y"), **more):
    """A bench of models that order `right[model]` of 40 pairs rightly on each of the data."""
    sets = {
        name: preference_data(
            [Ranking(f"{name} {n}", ["a", "b"], [0, 1], category="pq"[n % 2]) for n in range(40)],
            name,
        )
        for name in data
    }
    rewards = {
        m: {n: [[1.0, 0.0] if i < k else [0.0, 1.0] for i in range(40)] for n in data}
        for m, k in zip(names, right, strict=True)
    }
    compared = compare(sets, rewards)
    mean = compared.standings.get("mean")
    made = {
        "schema_version": 1,
        "passed": True,
        "machine": {"processor": "Some CPU", "threads": 2, "accelerator": None},
        "models": {
            m: {"problem": None, "cost": COST | {"seconds": 2.0 + k}, "refused": {}, "notes": []}
            for k, m in enumerate(names)
        },
        "data": {
            n: {
                "kind": "preferences", "title": n, "files": f"{n}.csv", "definition": "accuracy",
                "source": "", "counts": {"items": 40, "prompts": 40, "completions": 80},
                "complete": True, "notes": [], "best": compared.standings[n].best,
                "tied": compared.standings[n].tied,
                "scores": {m: summarise_suite(sets[n], rewards[m][n]) for m in names},
            }
            for n in data
        },
        "mean": mean and {"scores": compared.means, "best": mean.best, "tied": mean.tied},
        "comparisons": compared.comparisons,
        "verdict": [],
    }  # fmt: skip
    made |= more
    made["verdict"] = verdict(made)
    return made


def test_the_verdict_names_the_best_and_who_is_not_told_from_it():
    said = verdict(record((38, 36, 10)))
    assert said[0] == "By the mean of 2 data sets a_b is best, 0.950; not told from it: c."
    assert said[1] == "Of these a_b is the fastest here: 40.0 completions/s."
    said = verdict(record((36, 38, 10)))
    assert said[1] == "Of these a_b is the fastest here: 40.0 completions/s, 1.5 × as many as c."
    [said] = verdict(record((38, 12), names=("a", "b"), data=("x",)))
    assert said == "On x a is best, 0.950, and told from b."


def test_where_another_model_is_better_is_said():
    made = record((40, 12), names=("a", "b"))
    of = made["data"]["y"]
    of["best"], of["scores"] = "b", {m: of["scores"][n] for m, n in (("a", "b"), ("b", "a"))}
    assert "On y b is better than a by 70.0 points (p < 0.001)." in verdict(made)


def test_the_terminal_marks_the_best_and_its_ties():
    text = format_bench(record((38, 36, 10)))
    lines = text.splitlines()
    assert re.match(r"a_b +0\.950 ± 0\.0\d\d \*  0\.950 ± 0\.\d{3} \*", lines[1])
    assert re.match(r"c +0\.900 ± 0\.\d{3} =  0\.900 ± 0\.\d{3} =", lines[2])
    assert re.match(r"d<i> +0\.250 ± 0\.\d{3}  +0\.250 ± 0\.\d{3}", lines[3])
    assert "22.7 M" in text
    assert "1.50 GB" in text
    assert "all 9 comparisons" in " ".join(text.split())


def test_csv_has_a_row_for_each_model_and_column():
    made = record((38, 36, 10))
    rows = list(csv.DictReader(scores_csv(made).splitlines()))
    assert [(r["model"], r["data"]) for r in rows] == [
        (m, d) for m in ("a_b", "c", "d<i>") for d in ("mean", "x", "y")
    ]
    assert [r["standing"] for r in rows[::3]] == ["best", "tied", ""]
    assert float(rows[1]["score"]) == 38 / 40
    assert float(rows[3]["completions_per_second"]) == round(80 / 3, 3)
    rows = list(csv.DictReader(comparisons_csv(made).splitlines()))
    assert len(rows) == 9
    assert float(rows[0]["difference"]) == pytest.approx(2 / 40)


def test_latex_escapes_names_and_has_as_many_cells_as_columns():
    text = latex(record((38, 36, 10), names=("a_b", "50%&#", "c\\d")))
    assert r"a\_b & \textbf{95.0} {\scriptsize$\pm$" in text
    assert r"50\%\&\# & 90.0$^\dagger$" in text
    assert r"c\textbackslash{}d" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 4
    assert all(len(re.findall(r"(?<!\\)&", row)) == 5 for row in rows)
    assert [line for line in text.splitlines() if "rule" in line] == [
        r"\toprule", r"\midrule", r"\bottomrule",
    ]  # fmt: skip


def test_a_name_is_neither_a_formula_nor_an_argument():
    made = record((38, 36), names=("=1+1", "[x]\n\\y"), data=("@a",))
    rows = list(csv.DictReader(scores_csv(made).splitlines()))
    assert (rows[0]["model"], rows[0]["data"]) == ("'=1+1", "'@a")
    difference = next(csv.DictReader(comparisons_csv(made).splitlines()))["difference"]
    assert float(difference) == pytest.approx(2 / 40)
    assert r"{[}x] \textbackslash{}y & " in latex(made)


def test_the_page_asks_for_nothing_and_treats_names_as_text():
    html = page(record((38, 36, 10)), "my <bench>")
    assert "d<i>" not in html
    assert "d&lt;i&gt;" in html
    assert "my &lt;bench&gt;" in html
    assert not re.search(r"(src|href)=\"(?!#|data:)", html)


def test_the_page_sorts_and_fits_a_phone(browser, tmp_path):
    file = tmp_path / "index.html"
    names = tuple(f"somebody/a-rather-long-name-of-a-model-{k}" for k in range(3))
    file.write_text(page(record((38, 36, 10), names, ("x", "y", "z", "u", "v")), "models"))
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    problems = []
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.goto(file.as_uri())

    def first():
        return opened.locator("#board tbody th").first.inner_text()

    assert first() == names[0]
    heading = opened.locator("#board thead th").nth(2)
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    heading.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert first() == names[2]
    wide = """[...document.querySelectorAll('body, .table')]
        .filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.innerText)"""
    assert opened.evaluate(wide) == []
    opened.set_viewport_size({"width": 390, "height": 800})
    assert opened.evaluate(wide) == []
    opened.get_by_label("Sort by").first.select_option("completions/s")
    assert first() == names[0]
    opened.emulate_media(color_scheme="dark")
    dark = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark == "rgb(20, 23, 27)"
    assert problems == []
    accessible.check(opened)
    opened.close()
