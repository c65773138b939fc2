"""The page of a report: nothing in the data runs, nothing is lost, and a reader can work with it.

The browser tests open it in a real headless Chromium.
"""

import base64
import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

import accessible
from plaudit import PlauditError, Ranking
from plaudit.reporting.drawing import Data, Drawing
from plaudit.reporting.page import (
    Answer,
    Highlight,
    Report,
    Row,
    Section,
    Table,
    Use,
    Weakness,
    write_report,
)
from plaudit.reporting.pairs import mistakes, partings

HOSTILE = [
    "</script><script>document.title = 'run'</script>",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img src='https://example.com/a.png'>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)' x='",
    "<!-- <script>",
    "]]> --> </style></div></article></main></body></html>",
    "<style>* { display: none !important }</style>",
    "<iframe src='https://example.com'></iframe><base href='https://example.com/'>",
    "<meta http-equiv='refresh' content='0;url=https://example.com'>",
    "<form action='https://example.com'><input name=a autofocus onfocus=alert(1)>",
    "javascript:alert(1) {{ 7 * 7 }} {% raw %} ${7 * 7} &lt;b&gt; &amp;",
    "line\u2028separator\u2029and \u202eright to left override",
    "مرحبا بالعالم، هذا نص من اليمين إلى اليسار",
    "你好 🙂 e\u0301 a\u200bb\ufeff",
    "\n  first line\n\n\tindented\n",
    "w" * 5000,
]


def hostile_rankings():
    """Rankings whose every text and name is one of `HOSTILE`, the first completion chosen."""
    count = len(HOSTILE)
    for i, text in enumerate(HOSTILE):
        yield Ranking(
            f"{i} {text}",
            [HOSTILE[(i + 1) % count], text, ""],
            [0, 1, 1],
            categories=[None, text, HOSTILE[(i + 2) % count]],
            models=[text, text, None],
            origin=f"{text}:{i + 1}",
        )
    said = [{"role": text, "content": text} for text in HOSTILE]
    parts = [{"type": "text", "text": HOSTILE[0]}, {"type": "image_url", "image_url": HOSTILE[3]}]
    yield Ranking(said, [[{"role": "assistant", "content": parts}], "plain"], [0, 1])


@pytest.fixture(scope="module")
def hostile():
    rankings = list(hostile_rankings())
    rewards = [[-1.0 - i / 10, 0.5, 0.25][: len(r.ranks)] for i, r in enumerate(rankings)]
    everything = " ".join(text for text in HOSTILE if len(text) < 500)
    table = Table(everything, (everything, "a"), tuple(Row(t, (t[:60],), t) for t in HOSTILE))
    columns = tuple(f"column {n}" for n in range(8))
    many = Table("many", columns, tuple(Row(t, tuple(HOSTILE[:7])) for t in HOSTILE[:3]), True)
    plot = Drawing(
        everything,
        everything,
        lambda axes, theme: axes[0].set_xlabel(HOSTILE[0]),
        3,
        data=Data(("a", HOSTILE[0]), [(text, 1.5) for text in HOSTILE]),
    )
    verdicts = ("yes", "care", "no", "unknown")
    answers = {text[:40]: Answer(v, text) for v, text in zip(verdicts, HOSTILE, strict=False)}
    return Report(
        HOSTILE[0],
        tuple(HOSTILE[:2]),
        {text: text for text in HOSTILE},
        tuple(Highlight(text[:40], "1.0 %", text) for text in HOSTILE[:4]),
        (Section(everything, tuple(HOSTILE), (table, many), (plot,)),),
        uses=(Use(HOSTILE[0], answers),),
        weaknesses={HOSTILE[1]: tuple(Weakness(t, t, everything) for t in HOSTILE[:3])},
        pairs=mistakes(rankings, rewards),
    )


def embedded(text):
    """What the page's script reads."""
    (data,) = re.findall(r'<script type="application/json" id="pairs-data">(.*?)</script>', text)
    return json.loads(data)


# ---- without a browser ----


def test_a_report_is_one_file_that_asks_for_nothing(tmp_path, hostile):
    path = write_report(tmp_path / "new" / "report.html", hostile)
    assert path == tmp_path / "new" / "report.html"
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]
    text = path.read_text("utf-8")
    assert "default-src 'none'" in text
    assert "unsafe" not in text

    class Tags(HTMLParser):
        found: list = []  # noqa: RUF012

        def handle_starttag(self, tag, attributes):
            self.found.append((tag, dict(attributes)))

    Tags().feed(text)
    # What the data say stands in the one that is no program.
    kinds = [attributes.get("type") for tag, attributes in Tags.found if tag == "script"]
    assert kinds == ["application/json", None]
    assert sum(tag == "style" for tag, _ in Tags.found) == 1
    assert not {"iframe", "form", "base", "object", "embed", "svg"} & {tag for tag, _ in Tags.found}
    for _, attributes in Tags.found:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith(("data:", "#"))


def test_what_no_file_can_hold_is_replaced(tmp_path):
    report = Report("a\x00b\x08c\ud800d\u001b", ("é \U0001f642",), {})
    text = write_report(tmp_path / "report.html", report).read_text("utf-8")
    assert "a\ufffdb\ufffdc\ufffdd\ufffd" in text
    assert "é \U0001f642" in text


def test_a_report_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PlauditError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", Report("x", (), {}))


def test_a_report_without_mistakes(tmp_path):
    report = Report(
        "x", ("It is right.",), {}, pairs=mistakes([Ranking("p", ["a", "b"], [0, 1])], [[1, 0]])
    )
    text = write_report(tmp_path / "report.html", report).read_text()
    assert 'id="list"' not in text
    assert 'id="pairs-data"' not in text
    assert "It is right." in text


def test_figures_of_plots_can_be_saved(tmp_path, hostile):
    text = write_report(tmp_path / "report.html", hostile).read_text("utf-8")
    (address,) = re.findall(r'href="data:text/csv;base64,([^"]*)" download="[a-z0-9-]*\.csv"', text)
    rows = list(csv.reader(io.StringIO(base64.b64decode(address).decode(), newline="")))
    plain = [f"'{each}" if each.startswith("\n") else each for each in HOSTILE]
    assert rows == [["a", HOSTILE[0]], *([each, "1.5"] for each in plain)]


# ---- in a browser ----


@pytest.fixture
def opened(browser, tmp_path):
    """Open a report, with settings of the browser; afterwards nothing may have gone wrong."""
    wrong, contexts = [], []

    def open_report(report, **settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: wrong.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (wrong.append("dialog"), dialog.dismiss()))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("file:", "data:"))
                or wrong.append(f"asks for {request.url}")
            ),
        )
        page.goto(write_report(tmp_path / "report.html", report).as_uri())
        page.wrong = wrong
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert not wrong


DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_hostile_data_are_text(opened, hostile, viewport, scheme):
    page = opened(hostile, viewport=viewport, color_scheme=scheme)
    assert page.title() == HOSTILE[0]
    assert page.locator("script").count() == 2
    # Everything the data say is on the page as it was said, on one of its leaves.
    page.get_by_label("Of each prompt").select_option("all pairs")
    shown, last = [], (len(hostile.pairs.pairs) + 9) // 10
    for leaf in range(last):
        shown += page.evaluate("""[...document.querySelectorAll('.mistake')].map(
            (m) => [...m.querySelectorAll('.text')].map((t) => t.textContent))""")
        if leaf < last - 1:
            page.locator(".on").first.click()
    for texts, pair in zip(shown, hostile.pairs.pairs, strict=True):
        ranking = hostile.pairs.rankings[pair.ranking]
        completions = [ranking.completions[k] for k in (pair.better, pair.worse)]
        said = [ranking.prompt, *completions]
        if not isinstance(ranking.prompt, str):
            parts = f"{HOSTILE[0]}\n" + json.dumps(completions[0][0]["content"][1])
            said = [*HOSTILE, parts, "plain"]
        assert texts == [text if text.strip() else "(empty)" for text in said]
    facts = page.locator(".facts dd").all_text_contents()
    assert facts == [text.replace("\r\n", "\n") for text in HOSTILE]
    # Nothing sticks out sideways, however long its words.
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    if viewport is PHONE:
        assert page.locator(".many, .some").count() == 2
        assert page.evaluate("""[...document.querySelectorAll('.table')].every(
            (table) => table.scrollWidth <= table.clientWidth)""")
    # The plots are the scheme's own, and can be seen.
    visible = page.locator("figure img:visible")
    assert visible.count() == 1
    assert visible.get_attribute("class") == f"on-{scheme}"
    assert visible.evaluate("(image) => image.naturalWidth") > 0
    assert "alert" in visible.get_attribute("alt")


def test_the_pages_own_policy_lets_nothing_else_run(opened, hostile):
    page = opened(hostile)
    ran = page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
        const box = document.createElement('div');
        box.innerHTML = '<img src="data:," onerror="window.ran = true">';
        document.body.append(box);
        return new Promise((done) => setTimeout(() => done(window.ran === true), 300));
    }""")
    assert not ran
    assert any("Content Security Policy" in said for said in page.wrong)
    page.wrong.clear()


def numbers(page):
    """The pairs that are shown, by the numbers in their links."""
    return [int(link.removeprefix("#")) for link in page.locator(".anchor").all_text_contents()]


def simple_report(several=False):
    topics = ["foxes", "bonds", "tea"]
    rankings = [
        Ranking(
            f"Prompt {i} on {topics[i % 3]}",
            ["Good." * (1 + i % 2 * 9), f"Bad number {i}."],
            [0, 1],
            category=topics[i % 3],
        )
        for i in range(30)
    ]
    rewards = [[0.0, 1 + (i * 7 % 30) / 10] for i in range(30)]
    if not several:
        return Report("Simple", ("Two", "sentences."), {}, pairs=mistakes(rankings, rewards))
    other = [[1.0, 0.0] if i < 12 else each for i, each in enumerate(rewards)]
    pairs = partings(rankings, {"mine": rewards, "theirs": other})
    return Report("Both", ("Two", "sentences."), {}, pairs=pairs)


def test_mistakes_are_turned_over_filtered_and_sorted(opened):
    page = opened(simple_report(), viewport=DESKTOP)
    count = page.locator("#count")
    assert numbers(page) == list(range(1, 11))
    assert count.text_content() == "1 to 10 of 30"
    assert page.get_by_role("button", name="Back").first.is_disabled()
    page.get_by_role("button", name="Next").first.click()
    assert numbers(page) == list(range(11, 21))
    page.locator(".mistake").first.focus()
    page.keyboard.press("ArrowRight")
    assert numbers(page) == list(range(21, 31))
    assert page.get_by_role("button", name="Next").first.is_disabled()
    page.get_by_label("Page").first.fill("2")
    page.keyboard.press("Enter")
    assert count.text_content() == "11 to 20 of 30"

    page.get_by_label("Order").select_option("least wrong first")
    assert numbers(page) == list(range(30, 20, -1))
    page.get_by_label("Order").select_option("as in the data")
    prompts = page.locator(".mistake .prompt .text").all_text_contents()
    assert [int(prompt.split()[1]) for prompt in prompts] == list(range(10))
    page.get_by_label("Order").select_option("by category")
    topics = [prompt.split()[-1] for prompt in page.locator(".prompt .text").all_text_contents()]
    assert topics == ["bonds"] * 10

    page.get_by_label("Category").select_option("tea")
    assert count.text_content() == "1 to 10 of 10, of 30 in all"
    page.get_by_label("The better one is").select_option("the longer one")
    assert count.text_content() == "1 to 5 of 5, of 30 in all"
    page.get_by_label("Wrong by at least").fill("2.5")
    shown = [float(each.removeprefix("−")) for each in page.locator(".margin").all_text_contents()]
    assert 0 < len(shown) < 5
    assert all(each >= 2.5 for each in shown)
    page.get_by_label("Search").press_sequentially("NUMBER prompt 2")
    assert all("2" in text for text in page.locator(".mistake").all_text_contents())
    page.get_by_label("Search").fill("nowhere to be found")
    assert numbers(page) == []
    assert count.text_content() == "No pair fits. Clear shows them again."
    page.get_by_role("button", name="Clear").click()
    assert count.text_content() == "1 to 10 of 30"


def test_a_mistake_has_an_address(opened):
    page = opened(simple_report(), viewport=DESKTOP)
    page.get_by_label("Search").fill("nowhere to be found")
    page.goto(page.url.split("#")[0] + "#mistake-25")
    linked = page.locator(".linked")
    assert linked.locator(".anchor").text_content() == "#25"
    assert linked.evaluate("(each) => each === document.activeElement")
    assert numbers(page) == list(range(21, 31))
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.id") == "mistake-26"


def test_what_is_found_can_be_saved(opened, tmp_path):
    page = opened(simple_report(), viewport=DESKTOP)
    page.get_by_label("Category").select_option("tea")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert len(rows) == 10
    assert {row["category"] for row in rows} == {"tea"}
    first = rows[0]
    number = int(first["ranking"])
    assert float(first["reward_rejected"]) == 1 + (number * 7 % 30) / 10
    assert int(first["rejected_characters"]) == len(f"Bad number {number}.")


def test_models_are_shown_where_they_part(opened):
    page = opened(simple_report(several=True), viewport=PHONE)
    assert page.locator("#count").text_content() == "1 to 10 of 12"
    heads = page.locator(".mistake h3").all_text_contents()
    assert all("mine wrong" in head and "theirs right" in head for head in heads)
    page.get_by_label("Right").select_option("mine")
    assert numbers(page) == []
    page.get_by_label("Right").select_option("theirs")
    page.get_by_label("Wrong").select_option("mine")
    assert page.locator("#count").text_content() == "1 to 10 of 12"


def test_what_has_no_text_has_its_figures(opened, monkeypatch):
    monkeypatch.setattr("plaudit.reporting.pairs.MOST_TEXT", 100)
    page = opened(simple_report(), viewport=DESKTOP)
    few = page.locator("#without-text").text_content()
    shown = int(re.match(r"Of the first (\d+) the texts", few)[1])
    assert 1 < shown < 10
    assert page.locator(".mistake .prompt").count() == shown
    assert numbers(page) == list(range(1, 11))
    assert "in predictions.jsonl, ranking" in page.locator(".mistake").last.text_content()


def test_long_texts_open_and_close(opened):
    long = "word " * 700
    pairs = mistakes([Ranking("p", [long, "short"], [0, 1])], [[0.0, 1.0]])
    page = opened(Report("x", (), {}, pairs=pairs), viewport=PHONE)
    text = page.locator(".chosen .text")
    assert text.text_content() == long
    cut = text.bounding_box()["height"]
    button = page.get_by_role("button", name="Show all of the chosen completion")
    assert page.locator(".more:visible").count() == 1
    button.click()
    assert text.bounding_box()["height"] > 3 * cut
    assert button.get_attribute("aria-expanded") == "true"
    button.focus()
    page.keyboard.press("Enter")
    assert text.bounding_box()["height"] == cut


def test_the_colours_can_be_chosen(opened, hostile):
    page = opened(hostile, color_scheme="light")
    page.get_by_role("button", name="Dark colours").click()
    assert page.locator("figure img:visible").get_attribute("class") == "on-dark"
    page.get_by_role("button", name="Light colours").click()
    assert page.locator("figure img:visible").get_attribute("class") == "on-light"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(opened, hostile, theme):
    """4.5 to 1 at least: WCAG 2.2, success criterion 1.4.3."""
    page = opened(hostile, color_scheme=theme)
    pairs = page.evaluate("""() => {
        const found = new Set();
        for (const element of document.querySelectorAll('body *')) {
            const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
            const read = own && !element.closest('script, style, option');
            if (!read || !element.checkVisibility()) continue;
            let behind = element;
            while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)')
                behind = behind.parentElement;
            found.add(getComputedStyle(element).color + ' '
                + getComputedStyle(behind).backgroundColor);
        }
        return [...found];
    }""")
    assert len(pairs) >= 5
    for pair in pairs:
        numbers = list(map(int, re.findall(r"\d+", pair)))
        assert len(numbers) == 6, pair
        light, dark = sorted(map(luminance, (numbers[:3], numbers[3:])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, pair


def luminance(rgb):
    parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_nothing_keeps_people_from_it(opened, hostile):
    table = Table("Scores", ("", "value"), (Row("a", ("1",)),))
    report = replace(hostile, sections=(Section("More", (), (table,), ()),), pairs=None)
    accessible.check(opened(report))
    accessible.check(opened(simple_report()))


def test_on_paper_all_is_open_and_light(opened, hostile):
    page = opened(hostile, color_scheme="dark", viewport=DESKTOP)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("button:visible, input:visible, select:visible").count() == 0
    assert page.locator("figure img:visible").get_attribute("class") == "on-light"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("""[...document.querySelectorAll('.text')].every(
        (text) => text.scrollHeight <= text.clientHeight + 1)""")
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_scripts_all_but_the_pairs_can_be_read(opened, hostile):
    page = opened(hostile, java_script_enabled=False)
    assert page.locator("button:visible, input:visible, select:visible").count() == 0
    assert page.locator(".table tbody tr:visible").count() == len(HOSTILE) + 3
    assert "predictions.jsonl" in page.locator("#pairs").inner_text()
