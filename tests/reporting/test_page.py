"""The page of a report: nothing in the data runs, nothing is lost, and a reader can work with it.

The browser tests open it in a real headless Chromium.
"""

import re
from html.parser import HTMLParser

import pytest

from plaudit import PlauditError, Ranking
from plaudit.reporting.drawing import Drawing
from plaudit.reporting.page import (
    LONG_TEXT,
    Highlight,
    Report,
    Row,
    Section,
    Table,
    turns,
    worst_mistakes,
    write_report,
)

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
    mistakes, wrong = worst_mistakes(rankings, rewards)
    everything = " ".join(text for text in HOSTILE if len(text) < 500)
    table = Table(everything, (everything, "a"), tuple(Row(t, (t[:60],), t) for t in HOSTILE))
    plot = Drawing(everything, everything, lambda axes, theme: axes[0].set_xlabel(HOSTILE[0]), 3)
    return Report(
        HOSTILE[0],
        tuple(HOSTILE[:2]),
        {text: text for text in HOSTILE},
        tuple(Highlight(text[:40], "1.0 %", text) for text in HOSTILE[:4]),
        (Section(everything, tuple(HOSTILE), (table, Table("wide", ("x",), (), True)), (plot,)),),
        mistakes,
        wrong,
    )


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
    assert sum(tag == "script" for tag, _ in Tags.found) == 1
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
    text = write_report(tmp_path / "report.html", Report("x", ("It is right.",), {})).read_text()
    assert 'id="list"' not in text
    assert "It is right." in text


def test_the_worst_mistakes_are_those_of_a_plain_search():
    rankings = [
        Ranking("a", ["1", "2", "3", "4"], [0, 1, 2, 2], category="x"),
        Ranking("b", ["1", "2"], [1, 0], origin="f:2"),
        Ranking("b", ["3", "4", "5"], [0, 1, 1], models=["m", "n", "o"]),
        Ranking("c", ["1", "2"], [0, 1]),
    ]
    rewards = [[0.0, 1.0, 5.0, 6.0], [0.5, 0.0], [0.0, 1.0, 2.0], [1.0, 1.0]]
    mistakes, wrong = worst_mistakes(rankings, rewards)
    # Of prompt a: margins −6 (1, 4), −5 (1, 3) and three lesser ones; of prompt b −2, −1 and −0.5.
    assert [mistake.margin for mistake in mistakes] == [-6.0, -5.0, -2.0, -1.0]
    assert wrong == 5 + 3
    assert mistakes[0].chosen[0].text == "1"
    assert mistakes[0].rejected[0].text == "4"
    assert mistakes[0].category == "x"
    assert mistakes[2].models == ("m", "o")


def test_there_are_never_more_mistakes_than_can_be_read(monkeypatch):
    rankings = [Ranking(f"p{i}", ["a", "b" * 90], [0, 1]) for i in range(300)]
    mistakes, wrong = worst_mistakes(rankings, [[0.0, 1.0 + i] for i in range(300)])
    assert (len(mistakes), wrong) == (200, 300)
    assert mistakes[0].margin == -300
    monkeypatch.setattr("plaudit.reporting.page.MOST_TEXT", 1000)
    mistakes, wrong = worst_mistakes(rankings, [[0.0, 1.0 + i] for i in range(300)])
    assert len(mistakes) == 10  # of 95 characters each
    monkeypatch.setattr("plaudit.reporting.page.MOST_TEXT", 5)
    assert len(worst_mistakes(rankings, [[0.0, 1.0]] * 300)[0]) == 1


def test_messages_are_shown_in_turn_with_nothing_left_out():
    call = {"name": "add", "arguments": {"a": 2}}
    messages = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "2+2?"}, {"type": "image", "url": "u"}],
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    user, assistant = turns(messages)
    assert user.role == "user"
    assert user.text == '2+2?\n{"type": "image", "url": "u"}'
    assert assistant.text == '{"tool_calls": [{"name": "add", "arguments": {"a": 2}}]}'


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
    assert page.locator("script").count() == 1
    # Everything the data say is on the page as it was said.
    shown = page.evaluate("""[...document.querySelectorAll('.mistake')].map(
        (m) => [...m.querySelectorAll('.text')].map((t) => t.textContent))""")
    for texts, mistake in zip(shown, hostile.mistakes, strict=True):
        said = [turn.text for turn in (*mistake.prompt, *mistake.chosen, *mistake.rejected)]
        assert texts == [text if text.strip() else "(empty)" for text in said]
    facts = page.locator(".facts dd").all_text_contents()
    assert facts == [text.replace("\r\n", "\n") for text in HOSTILE]
    # Nothing sticks out sideways, however long its words.
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
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


def margins(page):
    shown = page.locator(".mistake:visible")
    return [float(margin) for margin in shown.evaluate_all("(a) => a.map((m) => m.dataset.margin)")]


def simple_report():
    topics = ["foxes", "bonds", "tea"]
    rankings = [
        Ranking(
            f"Prompt {i} on {topics[i % 3]}", ["Good.", f"Bad {i}."], [0, 1], category=topics[i % 3]
        )
        for i in range(30)
    ]
    mistakes, wrong = worst_mistakes(rankings, [[0.0, 1 + (i * 7 % 30) / 10] for i in range(30)])
    return Report("Simple", ("Two", "sentences."), {}, mistakes=mistakes, wrong=wrong)


def test_mistakes_can_be_sorted_and_filtered(opened):
    page = opened(simple_report(), viewport=DESKTOP)
    everything = margins(page)
    assert len(everything) == 30
    assert everything == sorted(everything)
    count = page.locator("#count")
    assert count.text_content() == "30 of 30 shown"

    page.get_by_label("Order").select_option("least wrong first")
    assert margins(page) == sorted(everything, reverse=True)
    page.get_by_label("Order").select_option("as in the data")
    prompts = page.locator(".mistake .prompt .text").all_text_contents()
    assert [int(prompt.split()[1]) for prompt in prompts] == list(range(30))
    page.get_by_label("Order").select_option("by category")
    topics = [prompt.split()[-1] for prompt in page.locator(".prompt .text").all_text_contents()]
    assert topics == sorted(topics)

    page.get_by_label("Category").select_option("tea")
    assert len(margins(page)) == 10
    page.get_by_label("Wrong by at least").fill("2.5")
    assert margins(page) == [m for m in margins(page) if m <= -2.5]
    assert 0 < len(margins(page)) < 10
    page.get_by_label("Search").press_sequentially("TEA prompt 2")
    assert all("2" in text for text in page.locator(".mistake:visible").all_text_contents())
    page.get_by_label("Search").fill("nowhere to be found")
    assert margins(page) == []
    assert count.text_content() == "No mistake fits. Clear shows all again."
    page.get_by_role("button", name="Clear").click()
    assert margins(page) == everything


def test_long_texts_open_and_close(opened):
    long = "word " * LONG_TEXT
    mistakes, wrong = worst_mistakes([Ranking("p", [long, "short"], [0, 1])], [[0.0, 1.0]])
    page = opened(Report("x", (), {}, mistakes=mistakes, wrong=wrong), viewport=PHONE)
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


def test_on_paper_all_is_open_and_light(opened, hostile):
    page = opened(hostile, color_scheme="dark", viewport=DESKTOP)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("button:visible, input:visible, select:visible").count() == 0
    assert page.locator("figure img:visible").get_attribute("class") == "on-light"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("""[...document.querySelectorAll('.text')].every(
        (text) => text.scrollHeight <= text.clientHeight + 1)""")
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_scripts_everything_can_be_read(opened, hostile):
    page = opened(hostile, java_script_enabled=False)
    assert page.locator(".mistake:visible").count() == len(hostile.mistakes)
    assert page.locator("button:visible, input:visible, select:visible").count() == 0
