"""The scoring page as people use it: at every size, over a reload, without a connection."""

import pytest

import accessible
from plaudit.serving.app import build_app
from running import at_address

LONG = "A very long answer, " * 5000  # 100 kB
TEXTS = ["مرحبا بالعالم 🙂 <script>document.title = 'run'</script>", LONG, "=1+1\t| a | b |"]


@pytest.fixture(scope="module")
def service(reward_model):
    with at_address(build_app(reward_model("qwen2"))) as address:
        yield address


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator)


@pytest.fixture
def page(browser, service):
    """The page with a prompt and three completions; afterwards nothing may have gone wrong."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: "Failed to load" in said.text or wrong.append(said.text))
    page.goto(service)
    page.get_by_label("Prompt", exact=True).fill("2+2?")
    page.get_by_role("button", name="Add a completion").click()
    for field, text in zip(page.locator(".box textarea").all(), TEXTS, strict=True):
        field.fill(text)
    yield page
    context.close()
    assert not wrong


def typed(page):
    return [field.input_value() for field in page.locator(".box textarea").all()]


def test_it_can_be_used_at_every_size_in_both_colours(page):
    page.keyboard.press("Control+Enter")
    expect(page.locator("#status")).to_contain_text("best")
    page.get_by_role("button", name="Paste several").click()
    accessible.check(page)
    assert page.title() == "Score · plaudit"
    assert page.locator("#pairwise tbody tr").count() == 3


def test_what_is_typed_is_kept_over_a_reload_and_the_back_button(page):
    page.reload()
    expect(page.locator(".box")).to_have_count(3)
    assert typed(page) == TEXTS
    page.get_by_role("link", name="Label").click()
    page.go_back()
    assert page.get_by_label("Prompt", exact=True).input_value() == "2+2?"
    assert typed(page) == TEXTS
    with page.expect_request("**/score") as asked:
        page.keyboard.press("Control+Enter")
    assert asked.value.post_data_json == {"prompt": "2+2?", "completions": TEXTS}


def test_without_a_connection_it_says_so_and_scores_when_it_is_back(page):
    page.context.set_offline(True)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#problem")).to_contain_text("The service cannot be reached")
    assert typed(page) == TEXTS
    page.context.set_offline(False)
    expect(page.locator("#status")).to_contain_text("best")
