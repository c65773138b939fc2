"""Pages whose every name is hostile: nothing runs, nothing is asked for, all of it is text, and the
page has a policy of its own. The pages of reports, of scoring and of labelling are treated so in
`reporting/test_page.py` and `serving/test_page.py`; here are those of leaderboards, of models side
by side and of a policy test, and the CSV files that people open in a spreadsheet."""

import base64
import csv
import io
import json
import re
from pathlib import Path

import pytest

from plaudit import Ranking
from plaudit.reporting.drawing import Data, Drawing
from plaudit.reporting.evaluation import measure
from plaudit.reporting.leaderboard import comparisons_csv, page, scores_csv
from plaudit.reporting.page import Report, Section, render
from plaudit.reporting.pairs import mistakes
from plaudit.reporting.policy_test import policy_test_report
from plaudit.reporting.side_by_side import side_by_side
from reporting import test_leaderboard, test_policy_plots

NAMES = (
    "</script><script>window.ran = true</script>",
    "</style></title><img src=x onerror='window.ran = true'>",
    '"><svg onload=\'window.ran = true\'><a href="javascript:window.ran = true">',
    "]]> --> {{ 7 * 7 }} {% raw %} $\\frac{1}{$ ${7 * 7} </text><script>window.ran = true</script>",
)
# Text → the cell that no spreadsheet computes; by pages in Python and in JavaScript alike.
CELLS = json.loads((Path(__file__).parents[1] / "cells.json").read_text())


def leaderboard():
    return page(test_leaderboard.record((38, 36, 12, 3), names=NAMES, data=NAMES[:2]), NAMES[3])


def models_side_by_side():
    rankings = [
        Ranking(
            f"{NAMES[i % 4]} {i}", [NAMES[(i + 1) % 4], f"bad {i}"], [0, 1],
            category=NAMES[i % 3], origin=f"{NAMES[1]}:{i}",
        )
        for i in range(24)
    ]  # fmt: skip
    measured = {
        name: measure(
            rankings, [[float(i % wrong), 0.5] for i in range(24)], resamples=20
        )
        for name, wrong in zip(NAMES, (2, 3, 4, 5), strict=True)
    }  # fmt: skip
    return render(side_by_side(measured))


def policy_test():
    found = test_policy_plots.summary(models=NAMES, prompts=5)
    found["policy"], found["gold"] = NAMES[0], NAMES[1]
    return render(policy_test_report(found, NAMES[3]))


@pytest.mark.parametrize("made", [leaderboard, models_side_by_side, policy_test])
def test_names_are_text(browser, tmp_path, made):
    file = tmp_path / "page.html"
    file.write_text(made(), encoding="utf-8")
    wrong = []
    with browser.new_context() as context:
        opened = context.new_page()
        opened.on("console", lambda message: wrong.append(message.text))
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("dialog", lambda dialog: (wrong.append("dialog"), dialog.dismiss()))
        opened.on(
            "request",
            lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url),
        )
        opened.goto(file.as_uri())
        assert opened.evaluate("window.ran") is None
        policy = opened.locator("meta[http-equiv='Content-Security-Policy']")
        content = policy.get_attribute("content")
        assert content.startswith("default-src 'none';")
        assert "unsafe" not in content
        assert opened.locator("[onload], [onerror], [href^='javascript']").count() == 0
        words = " ".join(opened.locator("body").all_text_contents())
        said = [name for name in NAMES if " ".join(name.split()) in " ".join(words.split())]
        assert said == [*NAMES]
        # What the policy forbids does not run even where it were in the page.
        opened.evaluate("""() => {
            const image = document.createElement('img');
            image.setAttribute('onerror', 'window.ran = true');
            image.src = 'data:,';
            document.body.append(image);
            return new Promise((done) => image.addEventListener('error', () => setTimeout(done)));
        }""")
        assert opened.evaluate("window.ran") is None
    assert [each for each in wrong if "Content Security Policy" not in each] == []


def harmless(text):
    """The cells of a CSV file, none of which a spreadsheet computes."""
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    numbers = [cell for cell in cells if re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", cell)]
    assert not [each for each in cells if each[:1] in "=+-@\t\r\n＝＋－＠" and each and
                each not in numbers]  # fmt: skip
    return cells


@pytest.mark.parametrize(("name", "plain"), CELLS.items())
def test_no_name_is_a_formula_in_a_spreadsheet(name, plain):
    made = test_leaderboard.record((38, 12), names=(name, "b"), data=(name,))
    assert plain in harmless(scores_csv(made))
    assert plain in harmless(comparisons_csv(made))
    plot = Drawing("a", "b", lambda axes, theme: None, 1, data=Data(("x", name), [(name, -1.5)]))
    text = render(Report("a", (), {}, (), (Section("c", (), (), (plot,)),)))
    (address,) = re.findall(r'href="data:text/csv;base64,([^"]*)"', text)
    cells = harmless(base64.b64decode(address).decode())
    assert cells == ["x", plain, plain, "-1.5"]


def test_no_category_is_a_formula_in_the_pairs_that_a_page_saves(browser, tmp_path):
    rankings = [
        Ranking(f"prompt {n}", ["good", "bad"], [0, 1], category=name)
        for n, name in enumerate(CELLS)
    ]
    file = tmp_path / "report.html"
    pairs = mistakes(rankings, [[0.0, 1.0]] * len(rankings))
    file.write_text(render(Report("a", (), {}, pairs=pairs)), encoding="utf-8")
    with browser.new_context() as context:
        opened = context.new_page()
        opened.goto(file.as_uri())
        with opened.expect_download() as download:
            opened.get_by_role("button", name="Save as CSV").click()
        text = download.value.path().read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert {list(CELLS)[int(row["ranking"])]: row["category"] for row in rows} == CELLS
