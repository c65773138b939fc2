"""The labelling page as people use it: with a name, over a reload, without a connection, together.

One service and one browser for all; each test is people of its own.
"""

import csv
import io
import json
import os
import re

import pytest

import accessible
import intercepting
from plaudit import load_rankings
from plaudit.data.convert import writable_layouts
from plaudit.labelling.labelling import Labelling
from plaudit.serving.app import build_app
from plaudit.serving.settings import ServiceSettings
from running import at_address

LONG = "A line of a very long answer.\n" * 3400  # 100 kB
TEXTS = [
    "def f(a):\n\treturn a  # <b>code</b>\n\n| a | b |\n|---|---|\n| 1 | 2 |",
    "<img src=x onerror=\"document.title='run'\"> مرحبا بالعالم 🙂 <script>alert(1)</script>",
    LONG,
]
PROMPTS = 16
NOT_TAKEN = "A key or a click meanwhile was not taken."
ONLY_JUST = "A key or a click was not taken: this prompt had only just come."


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "label"
    folder.mkdir()
    rows = [{"prompt": f"question {n}", "completions": ["a", "b", "c"]} for n in range(PROMPTS)]
    rows[0]["completions"] = TEXTS
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def service(reward_model, files):
    """The address of a service whose prompts are all labelled twice."""
    model = reward_model("qwen2")
    labelling = Labelling(model, files / "data.jsonl", files / "labels.csv", overlap=1.0)
    with at_address(build_app(model, ServiceSettings(), labelling)) as address:
        yield address


@pytest.fixture
def opened(browser, service):
    """Open the page as somebody; afterwards nothing may have gone wrong in it."""
    wrong, contexts = [], []

    def answer_dialog(dialog):
        if dialog.type == "beforeunload":
            dialog.accept()
        else:
            wrong.append(dialog.message)
            dialog.dismiss()

    def open_page(name="", context=None):
        if context is None:
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", answer_dialog)
        page.on("console", lambda said: "Failed to load" in said.text or wrong.append(said.text))
        page.goto(service + "/label")
        if name:
            page.get_by_label("Your name").fill(name)
            page.get_by_label("Your name").press("Enter")
            ready(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator)


def ready(page):
    expect(page.locator("#save:enabled:not([aria-disabled])")).to_be_visible()
    expect(page.locator(".card")).to_have_count(3)
    # As long as a name is being typed, keys are text.
    page.wait_for_function("!document.activeElement.matches('input')")


def let_go(page, requests):
    """Let the first of the held requests go on, once it has come."""
    intercepting.wait_for(page, requests, 1)
    requests[0].continue_()


def order(page):
    return page.locator(".card .text").all_text_contents()


def prompt(page):
    return page.locator("#prompt").text_content()


def rows(files, name):
    """Prompt → (answer, rank, note) of what somebody labelled, as they stand in the file."""
    path = files / "labels.csv"
    found = {}
    if path.exists():
        for row in csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")):
            if row.get("annotator") == name:
                found.setdefault(row["prompt"], []).append(
                    (row["answer"], row["rank"], row.get("note", ""))
                )
    return found


def test_a_name_is_asked_for_where_labels_are_compared(opened):
    page = opened()
    expect(page.locator("#problem")).to_contain_text("Give your name first")
    expect(page.get_by_label("Your name")).to_be_focused()
    page.keyboard.type("=cmd")
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_contain_text("A name is plain text")
    page.get_by_label("Your name").fill("Zoe")
    page.keyboard.press("Enter")
    ready(page)
    page.reload()
    ready(page)
    assert page.get_by_label("Your name").input_value() == "Zoe"
    others = page.context.new_page()
    others.goto(page.url)
    ready(others)  # known in the whole browser


def test_it_can_be_used_at_every_size_in_both_colours_and_says_its_keys(opened):
    page = opened("Ida")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")
    page.keyboard.press("=")
    page.get_by_label("Show rewards").check()
    page.locator("#history summary").click()
    page.locator("#people summary").click()
    expect(page.locator("#layout option")).to_have_count(len(writable_layouts()))
    accessible.check(page)
    # Each key that the page listens to is shown, and nothing has the focus unseen.
    shown = set(page.locator("kbd").all_text_contents())
    source = page.request.get(page.url.replace("label", "static/label.js")).text()
    keys = re.search(r"const keys = \{(.*?)\n  \};", source, re.DOTALL).group(1)
    arrows = {"ArrowDown": "↓", "ArrowUp": "↑"}
    names = re.findall(r'^    "?([^\s:"]+)"?:', keys, re.MULTILINE)
    heard = {arrows.get(key, key) for key in names}
    assert heard <= shown
    assert {"1", "9", "Alt", "Ctrl", "Esc"} <= shown
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "() => { const e = document.activeElement, s = getComputedStyle(e);"
            "if (e === document.body) return ['body', 'none'];"
            "return [e.id || e.ariaLabel || e.textContent.slice(0, 20), s.outlineStyle] }"
        )
        if reached and name[0] == reached[0][0]:
            break
        reached.append(name)
    names = [name for name, _ in reached]
    assert {"theme", "annotator", "note", "save", "bad", "skip", "rewards", "fixed", "layout",
            "kind", "download"} <= set(names)  # fmt: skip
    assert [name for name, outline in reached if outline == "none"] in ([], ["body"])


def test_a_reload_and_the_back_button_keep_what_was_done(opened, files):
    page = opened("Rea")
    asked = prompt(page)
    x, y, z = order(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("3")
    page.keyboard.press("=")
    assert order(page) == [y, z, x]
    page.reload()
    ready(page)
    assert order(page) == [y, z, x]  # of what was moved, also where nothing was written
    page.keyboard.press("n")
    page.keyboard.type("n and u are letters here")
    for leave in (page.reload, lambda: (page.get_by_role("link", name="Score").click(),
                                        page.get_by_label("Prompt", exact=True).fill("typed"),
                                        page.go_back())):  # fmt: skip
        leave()
        ready(page)
        assert prompt(page) == asked
        assert order(page) == [y, z, x]
        assert page.locator(".card .badge").all_text_contents() == ["1", "2", "2"]
        assert page.get_by_label("Note").input_value() == "n and u are letters here"
    page.go_forward()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("typed")
    page.go_back()
    ready(page)
    page.keyboard.press("n")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#status")).to_have_text("Saved.")
    note = "n and u are letters here"
    [(at, labelled)] = rows(files, "Rea").items()
    assert at == asked
    assert sorted(labelled) == sorted([(y, "1", note), (z, "2", note), (x, "2", note)])
    expect(page.get_by_label("Note")).to_have_value("")


def test_without_a_connection_a_label_is_kept_and_sent_later(opened, files):
    page = opened("Ofelia")
    refused = []  # while there is anything in it
    page.route("**/label/save", lambda route: route.abort() if refused else route.continue_())
    asked = prompt(page)
    x, y, z = order(page)
    page.context.set_offline(True)
    expect(page.locator("#offline")).to_contain_text("What you do here is kept in this tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")
    ready(page)  # while the service is looked for nothing is saved
    page.keyboard.press("Enter")
    expect(page.locator("#offline")).to_contain_text("This label is kept in this tab and is sent")
    assert order(page) == [y, x, z]
    assert rows(files, "Ofelia") == {}
    page.context.set_offline(False)
    expect(page.locator("#status")).to_have_text("The service answers again. Saved.")
    expect(page.locator("#offline")).to_be_hidden()
    assert rows(files, "Ofelia") == {asked: [(y, "1", ""), (x, "2", ""), (z, "3", "")]}
    expect(page.locator("#mine")).to_have_text("1")
    assert prompt(page) != asked
    # And where it is the service that does not answer.
    ready(page)
    second = prompt(page)
    refused.append(True)
    page.keyboard.press("b")
    expect(page.locator("#offline")).to_contain_text("This label is kept in this tab")
    page.keyboard.press("t")  # it stays as it is
    page.keyboard.press("u")
    expect(page.locator("#status")).to_have_text("What waits to be sent stays as it is until then.")
    refused.clear()
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.locator("#offline")).to_be_hidden()
    expect(page.locator("#status")).to_have_text("The service answers again. Saved: all bad.")
    beside = (files / "labels.beside.jsonl").read_text().splitlines()
    assert {"prompt": second, "annotator": "Ofelia", "all_bad": True}.items() <= json.loads(
        beside[-1]
    ).items()


def test_what_is_pressed_while_a_label_is_saved_is_refused_in_words(opened, files):
    page = opened("Fay")
    asked, shown = prompt(page), order(page)
    requests = intercepting.hold(page, "**/label/save")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    status = page.locator("#status")
    expect(status).to_have_text("Saving …")
    card_button = page.get_by_role("button", name="Move down").nth(0)
    for pressed in (
        lambda: page.keyboard.press("Enter"),
        lambda: page.keyboard.press("b"),
        lambda: page.keyboard.press("s"),
        lambda: page.keyboard.press("j"),
        lambda: page.keyboard.press("3"),
        lambda: page.keyboard.press("t"),
        lambda: page.locator("#save").click(force=True),
        lambda: page.locator("#skip").click(force=True),
        lambda: card_button.click(force=True),
        lambda: page.get_by_label("Note").press("x"),
    ):
        page.evaluate("document.querySelector('.card').focus()")
        pressed()
        expect(status).to_have_text(f"Saving … {NOT_TAKEN}")
        assert order(page) == shown
    for control in (page.locator("#save"), page.locator("#skip"), card_button):
        expect(control).to_have_attribute("aria-disabled", "true")
    expect(page.get_by_label("Note")).to_have_value("")
    let_go(page, requests)
    expect(status).to_have_text(f"Saved. {NOT_TAKEN}")
    ready(page)
    assert prompt(page) != asked
    assert rows(files, "Fay").keys() == {asked}
    assert len(requests) == 1


def test_a_prompt_is_neither_saved_nor_skipped_before_it_can_be_seen(opened, files):
    page = opened("Gil")
    asked = prompt(page)
    # Pressed at once when the next prompt is there, as the second of two presses is.
    page.evaluate("""() => {
        const press = (key) => document.body.dispatchEvent(
            new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
        new MutationObserver(() => ["Enter", "b", "s"].forEach(press))
            .observe(document.querySelector("#prompt"), {childList: true});
    }""")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).not_to_have_text(asked)
    ready(page)
    # The first came while the answer was still being shown.
    expect(page.locator("#status")).to_contain_text("Saved.")
    expect(page.locator("#status")).to_contain_text("not taken")
    second = prompt(page)
    page.evaluate("""() => document.body.dispatchEvent(Object.defineProperty(
        new KeyboardEvent("keydown", {key: "s", bubbles: true}), "timeStamp",
        {value: performance.now() - 10_000}))""")  # before the prompt was there
    expect(page.locator("#status")).to_have_text(f"Saved. {ONLY_JUST}")
    assert prompt(page) == second
    assert rows(files, "Gil").keys() == {asked}
    expect(page.locator("#skipped")).to_have_text("0")


def test_undo_while_a_label_is_saved_takes_that_label_back(opened, files):
    page = opened("Hal")
    asked = prompt(page)
    requests = intercepting.hold(page, "**/label/save")
    page.keyboard.press("t")
    page.keyboard.press("Enter")
    page.keyboard.press("u")
    expect(page.locator("#status")).to_have_text("Saving … It is taken back once it is saved.")
    let_go(page, requests)
    expect(page.locator("#status")).to_have_text("The last label was taken back.")
    ready(page)
    assert prompt(page) == asked
    assert page.locator(".card .badge").all_text_contents() == ["1", "1", "1"]
    assert rows(files, "Hal") == {}


def test_undo_keeps_what_was_done_to_the_prompt_at_hand(opened):
    page = opened("Kim")
    first = prompt(page)
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).not_to_have_text(first)
    ready(page)
    second = prompt(page)
    x, y, z = order(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("3")
    page.keyboard.press("u")
    expect(page.locator("#prompt")).to_have_text(first)
    ready(page)
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_have_text(second)
    assert order(page) == [y, z, x]


def test_what_the_service_cannot_write_is_sent_again_by_itself(opened, files):
    page = opened("Jo")
    asked = prompt(page)
    labels = files / "labels.csv"
    labels.mkdir()  # no file can be written there: 500
    page.keyboard.press("Enter")
    told = page.locator("#offline")
    expect(told).to_contain_text("labels.csv")
    expect(told).to_contain_text("This label is kept in this tab and is sent again by itself")
    page.keyboard.press("b")
    expect(page.locator("#status")).to_have_text("What waits to be sent stays as it is until then.")
    labels.rmdir()
    expect(page.locator("#status")).to_have_text("The service answers again. Saved.")
    expect(told).to_be_hidden()
    ready(page)
    assert rows(files, "Jo").keys() == {asked}
    # What another program has changed is not written, until the service can go on: 409.
    asked = prompt(page)
    before, stamp = labels.read_bytes(), labels.stat()
    labels.write_bytes(before + b"more")
    page.keyboard.press("Enter")
    expect(told).to_contain_text("was changed by another program")
    expect(told).to_contain_text("This label is kept in this tab")
    page.reload()  # nothing is lost by it
    expect(told).to_contain_text("This label is kept in this tab")
    assert labels.read_bytes() == before + b"more"
    labels.write_bytes(before)
    os.utime(labels, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    page.keyboard.press("Enter")  # at once
    expect(page.locator("#status")).to_have_text("The service answers again. Saved.")
    assert asked in rows(files, "Jo")


def test_an_order_that_came_too_late_is_kept_and_can_be_given_instead(opened, files):
    page = opened("Mia")
    asked = prompt(page)
    x, y, z = order(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("3")
    [id] = json.loads(page.evaluate("sessionStorage.getItem('plaudit-drafts')"))
    for name in ("Nora", "Otto"):
        body = {"window": name, "annotator": name, "id": id, "ranks": [1, 1, 2]}
        assert page.request.post(page.url + "/save", data=body).ok
    page.keyboard.press("Enter")
    told = page.locator("#problem")
    expect(told).to_contain_text("Somebody else labelled this prompt meanwhile. That label stays.")
    expect(told).to_contain_text("Your order is kept in this tab")
    ready(page)
    assert prompt(page) != asked
    page.locator("#history summary").click()
    of_otto = page.locator("#labels li").filter(has_text="by Otto")
    of_otto.get_by_role("button", name=re.compile("^Take back label")).click()
    expect(page.locator("#prompt")).to_have_text(asked)
    expect(page.locator("#about")).to_have_text("its label was taken back: this is your order")
    assert order(page) == [y, z, x]
    ready(page)
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Saved.")
    assert [row[:2] for row in rows(files, "Mia")[asked]] == [(y, "1"), (z, "2"), (x, "3")]


def test_two_people_label_at_once_and_their_agreement_is_told(opened, files):
    ada, bob = opened("Ada"), opened("Bob")
    said = {}
    for _ in range(3):
        for name, page in (("Ada", ada), ("Bob", bob)):
            ready(page)
            said.setdefault(name, []).append(prompt(page))
            page.keyboard.press("Enter")
            expect(page.locator("#mine")).to_have_text(str(len(said[name])))
    assert set(rows(files, "Ada")) == set(said["Ada"])
    assert set(rows(files, "Bob")) == set(said["Bob"])
    assert not any(a == b for a, b in zip(said["Ada"], said["Bob"], strict=True))  # never at once
    assert set(said["Ada"]) & set(said["Bob"])  # but one after the other
    ada.locator("#people summary").click()
    of_bob = ada.locator("#people-rows tr").filter(has_text="Bob").locator("td")
    expect(of_bob.nth(0)).to_have_text("3")
    expect(ada.locator("#agreement")).to_contain_text("Two people order a pair alike in")
    annotators = {ranking.annotator for ranking in load_rankings(files / "labels.csv", strict=True)}
    assert {"Ada", "Bob"} <= annotators


def test_any_label_is_taken_back_from_the_list_by_anybody(opened, files):
    eve, dan = opened("Eve"), opened("Dan")
    asked, shown = prompt(eve), order(eve)
    eve.keyboard.press("t")
    eve.keyboard.press("Enter")
    expect(eve.locator("#status")).to_have_text("Saved: all tied.")
    dan.keyboard.press("u")
    expect(dan.locator("#problem")).to_contain_text("None of the labels is yours")
    dan.locator("#history summary").click()
    mine = dan.locator("#labels li").filter(has_text="by Eve")
    expect(mine).to_contain_text("all tied")
    mine.get_by_role("button", name=re.compile("^Take back label")).click()
    expect(dan.locator("#about")).to_have_text("its label was taken back")
    assert prompt(dan) == asked
    assert sorted(order(dan)) == sorted(shown)
    assert dan.locator(".card .badge").all_text_contents() == ["1", "1", "1"]
    expect(dan.locator("#labels li").filter(has_text="by Eve")).to_have_count(0)


def test_long_right_to_left_and_hostile_texts_are_text(opened):
    page = opened("Uma")
    for _ in range(PROMPTS):
        ready(page)
        if prompt(page) == "question 0":
            break
        before = prompt(page)
        page.keyboard.press("s")
        expect(page.locator("#prompt")).not_to_have_text(before)
    assert sorted(order(page)) == sorted(TEXTS)
    assert page.title() == "Label · plaudit"
    arabic = page.locator(".card .text").nth(order(page).index(TEXTS[1]))
    assert arabic.get_attribute("dir") == "auto"
    long = page.locator(".card").nth(order(page).index(LONG))
    assert long.bounding_box()["height"] < 800
    page.get_by_role("button", name="Show all 102,000 characters").click()
    assert long.bounding_box()["height"] > 50_000
    page.get_by_role("button", name="Show less").click()
    page.get_by_label("Fixed-width").check()
    family = "getComputedStyle(document.querySelector('.card .text')).fontFamily"
    assert "mono" in page.evaluate(family)


def test_labels_are_downloaded_as_others_read_them(opened, tmp_path):
    page = opened("Lou")
    if prompt(page) == "question 0":  # its text is longer than a cell of a sheet may be
        page.keyboard.press("s")
        expect(page.locator("#prompt")).not_to_have_text("question 0")
        ready(page)
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Saved.")
    page.locator("#people summary").click()
    expect(page.locator("#layout")).to_have_value("ranked")
    for layout, kind in (("ranked", "xlsx"), ("pairs", "jsonl")):
        page.get_by_label("Layout").select_option(layout)
        page.locator("#kind").select_option(kind)
        with page.expect_download() as waited:
            page.get_by_role("button", name="Download").click()
        expect(page.locator("#status")).to_have_text(f"labels-{layout}.{kind} is made.")
        assert waited.value.suggested_filename == f"labels-{layout}.{kind}"
        waited.value.save_as(tmp_path / f"labels.{kind}")
        assert "Lou" in {r.annotator for r in load_rankings(tmp_path / f"labels.{kind}")}
