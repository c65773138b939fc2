"""The pages of the service in a real headless Chromium, against the service itself.

Nothing in prompts, completions or names runs; nothing is asked of another host; what the page shows
are the model's own rewards, and what is dragged into order is what stands in the file.
"""

import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import httpx
import pytest

import intercepting
from plaudit import load_rankings
from plaudit.labelling.labelling import Labelling
from plaudit.serving.app import build_app
from plaudit.serving.settings import ServiceSettings
from running import at_address

HOSTILE = [
    "<script>document.title = 'run'</script>",
    "<img src=x onerror=alert(1)>",
    "<img src='https://example.com/a.png'>",
    '"><svg onload=alert(1)>',
    "</textarea></ol></main><style>* { display: none !important }</style>",
    "<iframe src='https://example.com'></iframe><base href='https://example.com/'>",
    "javascript:alert(1) {{ 7 * 7 }} ${7 * 7} &lt;b&gt; &amp;",
    "line\u2028separator and \u202eright to left override",
    "مرحبا بالعالم، هذا نص من اليمين إلى اليسار 你好 🙂",
    "=cmd|' /C calc'!A0",
    "\n  first line\r\n\r\tindented\n",
    "w" * 3000,
]
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def model(reward_model):
    return reward_model("qwen2")


@pytest.fixture(scope="module")
def service(model):
    with at_address(build_app(model)) as address:
        yield address


@pytest.fixture(scope="module")
def http():
    with httpx.Client() as client:
        yield client


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def labelling(model, tmp_path):
    """Serve some data to be labelled; gives the address, and the file of the labels."""
    stops = []

    def start(rows, **settings):
        data = write_jsonl(tmp_path / "data.jsonl", rows)
        output = tmp_path / "labels.csv"
        app = build_app(model, ServiceSettings(**settings), Labelling(model, data, output))
        service = at_address(app)
        stops.append(service)
        return service.__enter__(), output

    yield start
    for service in stops:
        service.__exit__(None, None, None)


# ---- without a browser ----


@pytest.mark.parametrize(
    "path", ["/", "/label", "/static/page.css", "/static/page.js", "/static/icon.svg"]
)
def test_pages_let_nothing_else_run_or_be_asked_for(http, service, path):
    answer = http.get(service + path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    directives = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert {directives[f"{kind}-src"] for kind in ("script", "style", "connect", "img")} == {
        "'self'"
    }
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert answer.headers["content-type"].startswith(
        kinds.get(path.rpartition(".")[2], "text/html")
    )


def test_pages_have_nothing_inline_and_nothing_from_elsewhere():
    static = files("plaudit.serving").joinpath("static")
    for name in ("index.html", "label.html", "no_label.html"):
        text = static.joinpath(name).read_text()

        class Tags(HTMLParser):
            def handle_starttag(self, tag, attributes, name=name):
                given = dict(attributes)
                assert tag not in ("style", "iframe", "base", "object", "form"), name
                assert tag != "script" or given.get("src"), name
                assert not any(key.startswith("on") or key == "style" for key in given), name
                for key in ("src", "href"):
                    assert not re.match(r"\w+:|//", given.get(key, "")), name

        Tags().feed(text)
    for path in static.iterdir():
        content = path.read_text()
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\b", content), (
            path
        )
        assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org)", content), path


def test_only_what_is_a_page_is_given(http, service):
    for path in ("/static/", "/static/nothing.js", "/static/../page.py", "/static/..%2fpage.py"):
        assert http.get(service + path).status_code == 404, path
    assert http.get(service + "/label/state").status_code == 404
    assert "plaudit serve MODEL --label DATA --labels FILE.csv" in http.get(service + "/label").text


def test_labels_are_written_by_post_of_json_alone(http, labelling):
    service, output = labelling([{"prompt": "p", "completions": ["a", "b"]}])
    item = http.post(service + "/label/next", json={"window": "w"}).json()["item"]
    save = {"window": "w", "id": item["id"], "ranks": [1, 2]}
    url = service + "/label/save"
    bad = [
        (http.get(url, params={"window": "w"}), 405),
        (http.post(url, data={"window": "w"}), 415),
        (http.post(url, content=json.dumps(save), headers={"content-type": "text/plain"}), 415),
        (http.post(url, content="{", headers={"content-type": "application/json"}), 400),
        (http.post(url, json=[save]), 422),
        (http.post(url, json=save | {"more": 1}), 422),
        (http.post(url, json=save | {"ranks": [1, True]}), 422),
        (http.post(url, json=save | {"ranks": [1, 0]}), 422),
        (http.post(url, json=save | {"ranks": [1, 10**30]}), 422),
        (http.post(url, json=save | {"ranks": [1]}), 422),
        (http.post(url, json=save | {"ranks": [1, 2, 3]}), 422),
        (http.post(url, json=save | {"annotator": "=x"}), 422),
        (http.post(url, json=save | {"note": "x" * 2001}), 422),
        (http.post(url, json=save | {"id": "x"}), 404),
        (http.post(url, json=save | {"window": "w" * 65}), 422),
        (http.post(service + "/label/undo", json={"window": "w"}), 409),
    ]
    for answer, status in bad:
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["message"]
    assert not output.exists()
    answer = http.post(url, json=save)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["item"] is None
    assert answer.json()["state"]["labelled"] == 1
    other = http.post(url, json=save | {"window": "other"})
    assert other.status_code == 409
    assert "labelled in another window" in other.json()["error"]["message"]


# ---- in a browser ----


@pytest.fixture
def opened(browser):
    """Open a page, with settings of the browser; afterwards nothing may have gone wrong.

    `refused` is what the console notes of answers that the service is meant to refuse.
    """
    wrong, contexts = [], []

    def open_page(url, refused=(), context=None, **settings):
        if context is None:
            context = browser.new_context(**{"viewport": DESKTOP} | settings)
            contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        host = url.split("/")[2]

        def note(message):
            if not any(f"Failed to load resource: {why}" in message.text for why in refused):
                wrong.append(f"console: {message.text}")

        page.on("console", note)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (wrong.append("dialog"), dialog.dismiss()))
        page.on(
            "request",
            lambda request: (
                request.url.split("/")[2] == host or wrong.append(f"asks for {request.url}")
            ),
        )
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator)


def has_status(page, text):
    expect(page.locator("#status")).to_contain_text(text)


def sideways(page):
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


COMPLETIONS = ["It is four.", "Two plus two is five, the fox says.", "I would rather not answer."]


def shown_results(page):
    return [
        (card.locator(".badge").text_content(), card.locator(".result").text_content())
        for card in page.locator(".box").all()
    ]


def test_what_is_typed_is_scored_as_the_model_scores_it(opened, http, service, model):
    page = opened(service)
    # With the keyboard alone, from the first field on.
    page.get_by_role("link", name="Skip to the prompt").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Prompt", exact=True).focus()
    page.keyboard.type("What is two plus two?")
    for text in COMPLETIONS[:2]:
        while page.evaluate(
            "document.activeElement.tagName !== 'TEXTAREA' || document.activeElement.value !== ''"
        ):
            page.keyboard.press("Tab")
        page.keyboard.insert_text(text)
    page.get_by_role("button", name="Add a completion").focus()
    page.keyboard.press("Enter")
    page.keyboard.insert_text(COMPLETIONS[2])
    before = page.locator(".box").nth(2).bounding_box()
    page.keyboard.press("Control+Enter")
    has_status(page, "best.")
    after = page.locator(".box").nth(2).bounding_box()
    assert after == pytest.approx(before, abs=0.5)  # nothing jumps

    rewards = model.score("What is two plus two?", COMPLETIONS)
    order = sorted(rewards, reverse=True)
    answer = http.post(
        service + "/score", json={"prompt": "What is two plus two?", "completions": COMPLETIONS}
    ).json()
    for (rank, result), reward, share in zip(
        shown_results(page), rewards, answer["probabilities"], strict=True
    ):
        assert rank == str(order.index(reward) + 1)
        assert f"{abs(reward):.3f}" in result
        assert ("−" in result) == (reward < 0)
        assert f"best of these with {round(100 * share)} %" in result
    best = "ABC"[rewards.index(order[0])]
    has_status(page, f"{best} is best.")
    cells = page.locator("#pairwise tbody tr").nth(0).locator("td").all_text_contents()
    assert cells[0] == "–"
    assert cells[1] == f"{round(100 * answer['preference'][0][1])} %"

    page.get_by_role("button", name="Best first").click()
    has_status(page, "A is best.")
    fields = page.locator(".box textarea")
    shown = [fields.nth(i).input_value() for i in range(3)]
    assert shown == [COMPLETIONS[rewards.index(reward)] for reward in order]
    assert [rank for rank, _ in shown_results(page)] == ["1", "2", "3"]

    fields.nth(1).fill("")
    has_status(page, "The text has changed since.")
    page.get_by_role("button", name="Remove completion C").click()
    assert page.locator(".box").count() == 2
    page.get_by_role("button", name="Score").click()
    has_status(page, "Scored. Empty boxes were left out.")


def test_messages_and_several_at_once(opened, service, model):
    page = opened(service)
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
    page.get_by_label("Prompt", exact=True).fill(json.dumps(prompt))
    assert page.locator("#prompt-kind").text_content() == "2 messages"
    page.get_by_role("button", name="Paste several").click()
    page.get_by_label("Several completions").fill("four\n---\n\nfive\n--- \nsix --- seven\n---\n")
    page.get_by_role("button", name="Put them into boxes").click()
    assert [box.input_value() for box in page.locator(".box textarea").all()] == [
        "four",
        "\nfive",
        "six --- seven",
    ]
    page.get_by_role("button", name="Score").click()
    has_status(page, "best")
    rewards = model.score(prompt, ["four", "\nfive", "six --- seven"])
    for (_, result), reward in zip(shown_results(page), rewards, strict=True):
        assert f"{abs(reward):.3f}" in result


def test_a_slow_answer_to_an_old_text_is_not_shown(opened, service):
    page = opened(service)
    held = intercepting.hold(page, "**/score")

    def reply(route, *rewards):
        answer = {"rewards": rewards, "probabilities": [0.5, 0.5], "truncated": [False, True]}
        route.fulfill(json=answer | {"preference": [[0.5, 0.5], [0.5, 0.5]]})

    page.get_by_label("Prompt", exact=True).fill("p")
    for i, box in enumerate(page.locator(".box textarea").all()):
        box.fill(f"text {i}")
    page.get_by_role("button", name="Score").click()
    intercepting.wait_for(page, held, 1)
    page.locator(".box textarea").nth(0).fill("another text")
    has_status(page, "The text has changed. Score again.")
    page.get_by_role("button", name="Score").click()
    intercepting.wait_for(page, held, 2)
    reply(held[1], 2.0, 2.0)
    has_status(page, "A and B are best, with the same reward.")
    reply(held[0], 7.0, 8.0)
    page.wait_for_timeout(100)
    assert [rank for rank, _ in shown_results(page)] == ["1", "1"]
    assert ["+2.000" in result for _, result in shown_results(page)] == [True, True]
    assert ["cut" in result for _, result in shown_results(page)] == [False, True]
    assert held[0].request.post_data_json["completions"] == ["text 0", "text 1"]
    assert held[1].request.post_data_json["completions"] == ["another text", "text 1"]


FILES = {
    "ranked.csv": (
        b'Question,Answer,Rank\r\np one,"a\r\n""b""",2\r\np two,c,1\r\np one,d,1\r\n',
        [("p one", ['a\r\n"b"', "d"]), ("p two", ["c"])],
        ["file: rank 2", "file: rank 1"],
    ),
    "pairs.jsonl": (
        b'{"prompt": "p", "chosen": "a\\r", "rejected": "b"}\n\n'
        b'{"prompt": "q", "chosen": "c", "rejected": "d"}',
        [("p", ["a\r", "b"]), ("q", ["c", "d"])],
        ["file: chosen", "file: rejected"],
    ),
    "lists.json": (
        b'[{"prompt": [{"role": "user", "content": "p"}],'
        b' "responses": ["a", "b"], "scores": [1, 2.5]}]',
        [([{"role": "user", "content": "p"}], ["a", "b"])],
        ["file: score 1", "file: score 2.5"],
    ),
    "chats.csv": (
        b'prompt,completion\n"[{""role"": ""user"", ""content"": ""p""}]",a\n',
        [([{"role": "user", "content": "p"}], ["a"])],
        [""],
    ),
}


def test_a_file_is_stepped_through_and_its_texts_sent_unchanged(opened, service):
    page = opened(service)
    sent = []
    page.on("request", lambda r: sent.append(r.post_data_json) if "score" in r.url else None)
    for name, (content, prompts, notes) in FILES.items():
        payload = {"name": name, "mimeType": "text/plain", "buffer": content}
        page.set_input_files("#file", payload)
        expect(page.locator("#file-name")).to_have_text(name)
        assert page.locator("#total").text_content() == f"of {len(prompts)}"
        assert page.locator(".box .about").all_text_contents() == notes
        for number in range(len(prompts)):
            if number:
                page.get_by_role("button", name="Next").click()
            expect(page.locator("#position")).to_have_value(str(number + 1))
            has_status(page, "cored" if len(prompts[number][1]) == 1 else "best")
            prompt, completions = prompts[number]
            assert sent[-1] == {"prompt": prompt, "completions": completions}
        assert page.get_by_role("button", name="Next").is_disabled()
    for name, content, count in [
        ("holes.csv", b"prompt,answer\np,a\np\np,\n,b\nq,c\n", "3 rows"),
        (
            "holes.jsonl",
            b'{"prompt": "p", "completions": ["a", 7]}\n{"prompt": "p"}\n5\n',
            "3 rows",
        ),
        ("hole.csv", b'prompt,answers\np,"[""a"", ""b""]"\np,nothing\n', "1 row"),
    ]:
        page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": content})
        expect(page.locator("#file-name")).to_have_text(f"{name}, {count} left out: without a text")
    for name, content, why in [
        ("none.csv", b"a,b\n1,2\n", "no prompt with a completion in it; its columns: a, b"),
        ("broken.jsonl", b'{"prompt": "p"}\n{"prompt\n', "line 2 is not JSON"),
        ("latin.csv", b"prompt,answer\np,\xe9\n", "it is not UTF-8 text"),
        ("open.csv", b'prompt,answer\np,"a\n', "a quote is opened in row 2 and never closed"),
    ]:
        page.set_input_files("#file", {"name": name, "mimeType": "text/csv", "buffer": content})
        expect(page.locator("#problem")).to_contain_text(f"{name}: {why}")
    page.get_by_role("button", name="Close the file").click()
    assert page.get_by_label("Prompt", exact=True).input_value() == ""
    assert page.locator("#stepper").is_hidden()


def test_a_key_is_asked_for_and_kept_in_the_tab(opened, http, model):
    settings = ServiceSettings(keys=("the right key",))
    with at_address(build_app(model, settings)) as service:
        for path, status in {
            "/": 200,
            "/label": 200,
            "/static/page.js": 200,
            "/score": 401,
        }.items():
            assert http.get(service + path).status_code == status
        page = opened(service, refused=["the server responded with a status of 401"])
        page.get_by_label("Prompt", exact=True).fill("p")
        page.get_by_label("Completion A", exact=True).fill("a")
        page.get_by_role("button", name="Score").click()
        key = page.get_by_label("API key")
        expect(key).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("#problem")).to_contain_text("wants an API key, and none was given")
        page.get_by_role("button", name="Score").click()
        key.fill("a wrong key")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="The key was not accepted")).to_be_visible()
        key.fill("the right key")
        page.get_by_role("button", name="Use it").click()
        has_status(page, "Scored.")
        page.reload()
        page.get_by_label("Prompt", exact=True).fill("p")
        page.get_by_label("Completion A", exact=True).fill("a")
        page.get_by_role("button", name="Score").click()
        has_status(page, "Scored.")
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_what_the_service_refuses_is_said_in_its_words(opened, model):
    with at_address(build_app(model, ServiceSettings(max_completions=1))) as service:
        page = opened(
            service, refused=["the server responded with a status of 422", "net::ERR_CONNECTION"]
        )
        page.get_by_role("button", name="Score").click()
        expect(page.locator("#problem")).to_have_text("Write a prompt first.")
        page.get_by_label("Prompt", exact=True).fill("p")
        page.get_by_label("Completion A", exact=True).fill("a")
        page.get_by_label("Completion B", exact=True).fill("b")
        page.get_by_role("button", name="Score").click()
        expect(page.locator("#problem")).to_contain_text("the most for one request")
        assert not page.locator("#pairwise").is_visible()
    page.get_by_role("button", name="Score").click()
    expect(page.locator("#problem")).to_contain_text("cannot be reached. Is it still running?")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_hostile_texts_are_shown_as_text(opened, labelling, viewport):
    rows = [{"prompt": HOSTILE[0], "completions": HOSTILE}]
    service, _ = labelling(rows)
    page = opened(service, viewport=viewport)
    name = HOSTILE[1].replace("/", "") + ".jsonl"
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    page.set_input_files("#file", {"name": name, "mimeType": "text/plain", "buffer": content})
    has_status(page, "best")
    assert page.locator("#file-name").text_content() == name
    fields = [field.input_value() for field in page.locator(".box textarea").all()]
    assert fields == [text.replace("\r\n", "\n").replace("\r", "\n") for text in HOSTILE]
    column = {"name": "x.csv", "mimeType": "", "buffer": f'"{HOSTILE[3]}",b\n1,2\n'.encode()}
    page.set_input_files("#file", column)
    expect(page.locator("#problem")).to_contain_text("no prompt with a completion")
    assert page.title() == "Score · plaudit"
    assert sideways(page) <= 0

    page.goto(service + "/label")
    expect(page.locator(".card")).to_have_count(len(HOSTILE))
    assert page.locator("#prompt .text").text_content() == HOSTILE[0]
    assert sorted(page.locator(".card .text").all_text_contents()) == sorted(HOSTILE)
    assert page.title() == "Label · plaudit"
    assert page.locator("script").count() == 1
    assert sideways(page) <= 0


def test_the_policy_lets_nothing_else_run(browser, service):
    page = browser.new_page()
    page.goto(service)
    ran = page.evaluate("""() => {
        const tried = [];
        const script = document.createElement('script');
        try { script.textContent = 'window.ran = true'; } catch { tried.push('text'); }
        document.body.append(script);
        const box = document.createElement('div');
        const image = '<img src=x onerror="window.ran = true">';
        try { box.innerHTML = image; } catch { tried.push('html'); }
        document.body.append(box);
        return new Promise((done) => setTimeout(() => done([window.ran === true, tried]), 200));
    }""")
    assert ran == [False, ["text", "html"]]
    page.close()


# ---- labelling ----


def rows(count=3):
    return [{"prompt": f"question {n}", "completions": ["a", "b", "c"]} for n in range(count)]


def order(page):
    return page.locator(".card .text").all_text_contents()


def ranks(page):
    return [int(rank) for rank in page.locator(".card .badge").all_text_contents()]


def in_file(path):
    """Prompt → the completions and ranks of its rows, as they stand, in the order of the file."""
    read = {}
    for ranking in load_rankings(path, strict=True):
        read[ranking.prompt] = (list(ranking.completions), list(ranking.ranks))
    return read


def ready(page):
    """A prompt is there that can be saved."""
    expect(page.locator(".card")).to_have_count(3)
    expect(page.locator("#save:not([aria-disabled])")).to_be_visible()


def test_cards_are_ordered_with_the_keyboard_alone(opened, labelling):
    service, output = labelling(rows())
    page = opened(service + "/label")
    ready(page)
    x, y, z = order(page)
    page.keyboard.press("ArrowDown")  # the first card
    page.keyboard.press("Alt+ArrowDown")
    assert order(page) == [y, x, z]
    page.keyboard.press("j")
    assert order(page) == [y, z, x]
    page.keyboard.press("k")
    page.keyboard.press("1")
    assert order(page) == [x, y, z]
    page.keyboard.press("3")
    assert order(page) == [y, z, x]
    expect(page.locator(".card").nth(2)).to_be_focused()
    page.keyboard.press("=")
    assert ranks(page) == [1, 2, 2]
    has_status(page, "tied with")
    prompts = [page.locator("#prompt").text_content()]
    page.keyboard.press("Enter")
    has_status(page, "Saved.")
    assert in_file(output) == {prompts[0]: ([y, x, z], [0, 1, 1])}  # ties as they were shown
    ready(page)
    prompts.append(page.locator("#prompt").text_content())
    page.keyboard.press("s")
    has_status(page, "Skipped")
    ready(page)
    prompts.append(page.locator("#prompt").text_content())
    assert len(set(prompts)) == 3
    second = order(page)
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_have_text(prompts[1])
    assert page.locator("#about").text_content() == "skipped before"
    # Undo, twice: the first label is back as it was given, and the file is without it.
    page.keyboard.press("u")
    expect(page.locator("#prompt")).to_have_text(prompts[2])
    assert order(page) == second
    page.keyboard.press("u")
    expect(page.locator("#prompt")).to_have_text(prompts[0])
    assert ranks(page) == [1, 2, 2]
    assert order(page)[0] == y
    assert output.read_bytes() == b"prompt,answer,rank\r\n"
    for count in range(3):
        ready(page)
        page.keyboard.press("Enter")
        expect(page.locator("#labelled")).to_have_text(f"{count + 1} of 3")
    expect(page.get_by_role("heading", name="All is labelled")).to_be_focused()
    assert page.locator("#command").text_content() == f"plaudit train {output}"
    expect(page.locator("#with-data")).to_be_visible()
    assert page.locator("#with-data").text_content() == f"plaudit train YOUR-DATA {output}"
    page.keyboard.press("k")
    has_status(page, "There is no prompt to label.")
    assert set(in_file(output)) == set(prompts)
    assert page.get_by_role("progressbar").get_attribute("aria-valuenow") == "3"
    page.get_by_role("button", name="Undo").click()
    ready(page)
    assert len(in_file(output)) == 2


def test_a_key_that_does_nothing_says_so(opened, labelling):
    service, _ = labelling(rows())
    page = opened(service + "/label")
    ready(page)
    shown = order(page)
    status = page.locator("#status")
    for key in ("k", "j", "=", "2", "Alt+ArrowUp"):
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press(key)
        has_status(page, "No card was chosen, so nothing was moved: now A is.")
        expect(page.locator(".card").nth(0)).to_be_focused()
        assert order(page) == shown
    for key, said in (
        ("k", "A has place 1 of 3 already: nothing was moved."),
        ("1", "A has place 1 of 3 already: nothing was moved."),
        ("=", "A is the first card: it has none above it to tie with."),
        ("ArrowUp", "A is the first card."),
        ("4", "There is no place 4: there are 3 cards."),
    ):
        page.keyboard.press(key)
        has_status(page, said)
    page.keyboard.press("ArrowDown")
    expect(status).to_have_text("")  # it did something
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Alt+ArrowDown")
    has_status(page, "C has place 3 of 3 already: nothing was moved.")
    page.keyboard.press("ArrowDown")
    has_status(page, "C is the last card.")
    assert order(page) == shown
    page.keyboard.press("Shift+K")  # another key
    assert order(page) == shown
    page.keyboard.press("K")  # as with Caps Lock on
    assert order(page) == [shown[0], shown[2], shown[1]]
    has_status(page, "C has rank 2.")


def test_without_a_name_another_browsers_labels_are_not_called_yours(opened, labelling):
    service, _ = labelling(rows(4))
    one = opened(service + "/label")
    for count in range(2):
        ready(one)
        one.keyboard.press("Enter")
        expect(one.locator("#mine")).to_have_text(str(count + 1))
    other = opened(service + "/label", refused=["the server responded with a status of 409"])
    ready(other)
    expect(other.locator("#mine")).to_have_text("0")
    other.keyboard.press("u")
    expect(other.locator("#problem")).to_contain_text("None of the labels is yours")
    expect(one.locator("#mine")).to_have_text("2")


def drag(page, card, to, button_up=True):
    """With the mouse, by the head of `card`, to the height of `to`."""
    start = card.locator(".badge").bounding_box()
    end = to.bounding_box()
    page.mouse.move(start["x"] + 5, start["y"] + 5)
    page.mouse.down()
    target = end["y"] + (end["height"] + 5 if end["y"] > start["y"] else -5)
    page.mouse.move(start["x"] + 9, (start["y"] + target) / 2, steps=4)
    page.mouse.move(start["x"] + 9, target, steps=4)
    if button_up:
        page.mouse.up()


def test_cards_are_ordered_with_the_mouse(opened, labelling):
    service, output = labelling(rows())
    page = opened(service + "/label")
    ready(page)
    cards = page.locator(".card")
    x, y, z = order(page)
    drag(page, cards.nth(0), cards.nth(2))
    assert order(page) == [y, z, x]
    drag(page, cards.nth(2), cards.nth(1))
    assert order(page) == [y, x, z]
    drag(page, cards.nth(0), cards.nth(2), button_up=False)
    page.keyboard.press("Escape")  # back to where it was
    page.mouse.up()
    assert order(page) == [y, x, z]
    assert page.locator(".dragged").count() == 0
    page.get_by_role("button", name="Tie with the one above").nth(1).click()
    assert ranks(page) == [1, 1, 2]
    # Between two that tie it is one of them; out of them it stands alone again.
    page.get_by_role("button", name="Move up").nth(2).click()
    assert ranks(page) == [1, 1, 1]
    assert not output.exists()
    drag(page, cards.nth(1), cards.nth(0))
    assert order(page) == [z, y, x]
    assert ranks(page) == [1, 2, 2]
    prompt = page.locator("#prompt").text_content()
    page.get_by_role("button", name="Save").click()
    has_status(page, "Saved.")
    completions, saved = in_file(output)[prompt]
    assert saved == [0, 1, 1]
    assert completions[0] == z
    assert output.read_bytes().startswith(
        b"prompt,answer,rank\r\n" + f"{prompt},{z},1\r\n".encode()
    )


def test_long_cards_are_dragged_past_each_other(opened, labelling):
    long = [f"{name} " + "line\n" * lines for name, lines in zip("abc", (40, 10, 60), strict=True)]
    service, _ = labelling([{"prompt": "q", "completions": long}])
    page = opened(service + "/label")
    ready(page)
    *_, last = order(page)
    grip = page.locator(".card").nth(2).locator(".badge")
    grip.scroll_into_view_if_needed()
    start = grip.bounding_box()
    page.mouse.move(start["x"] + 5, start["y"] + 5)
    page.mouse.down()
    page.mouse.move(start["x"] + 5, 8, steps=6)  # to the window's edge, which scrolls up
    expect(page.locator(".card .text").nth(0)).to_have_text(last)
    page.mouse.up()
    assert order(page)[0] == last


def test_cards_are_ordered_with_a_finger(opened, labelling):
    service, _ = labelling(rows())
    page = opened(service + "/label", viewport=PHONE, has_touch=True)
    ready(page)
    x, y, z = order(page)
    start = page.locator(".card .badge").nth(0).bounding_box()
    end = page.locator(".card").nth(1).bounding_box()
    session = page.context.new_cdp_session(page)
    places = [start["y"] + 5, start["y"] + 40, end["y"] + end["height"] / 2]
    for kind, at in zip(("touchStart", "touchMove", "touchMove"), places, strict=True):
        point = {"x": start["x"] + 5, "y": at}
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        page.wait_for_timeout(60)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert order(page) == [y, x, z]
    assert page.evaluate("scrollY") == 0


def test_rewards_are_hidden_until_asked_for(opened, labelling, model):
    service, _ = labelling(rows(1))
    page = opened(service + "/label")
    ready(page)
    rewards = dict(zip("abc", model.score("question 0", ["a", "b", "c"]), strict=True))
    expect(page.locator("#scored")).to_have_text("1")
    assert page.locator(".reward").all_text_contents() == ["", "", ""]
    assert not any(f"{abs(reward):.3f}" in page.content() for reward in rewards.values())
    place = "document.querySelectorAll('.card')[2].getBoundingClientRect().top + scrollY"
    before = page.evaluate(place)
    page.get_by_label("Show rewards").check()
    expect(page.locator(".reward").nth(0)).to_contain_text("reward")
    for text, shown in zip(order(page), page.locator(".reward").all_text_contents(), strict=True):
        assert f"{abs(rewards[text]):.3f}" in shown
    assert page.evaluate(place) == before


def test_two_windows_have_different_prompts_and_a_late_save_is_refused(opened, labelling):
    service, output = labelling(rows(2))
    one = opened(service + "/label", refused=["the server responded with a status of 409"])
    other = opened(service + "/label")
    ready(one)
    ready(other)
    mine, theirs = (page.locator("#prompt").text_content() for page in (one, other))
    assert mine != theirs
    one.reload()
    ready(one)
    assert one.locator("#prompt").text_content() == mine
    # Somebody labels it meanwhile, having got it when nothing else was left.
    other.get_by_role("button", name="Save").click()
    expect(other.locator("#prompt")).to_have_text(mine)
    ready(other)
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_role("heading", name="All is labelled")).to_be_visible()
    kept = output.read_bytes()
    one.get_by_role("button", name="Save").click()
    expect(one.locator("#problem")).to_contain_text("labelled in another window meanwhile")
    expect(one.get_by_role("heading", name="All is labelled")).to_be_visible()
    assert output.read_bytes() == kept


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_and_controls_have_names(opened, labelling, scheme):
    """4.5 to 1 at least: WCAG 2.2, success criterion 1.4.3."""
    service, _ = labelling(rows())
    page = opened(service, color_scheme=scheme)
    page.get_by_label("Prompt", exact=True).fill('[{"role": "user", "content": "p"}]')
    page.get_by_label("Completion A", exact=True).fill("a")
    page.get_by_label("Completion B", exact=True).fill("b")
    page.get_by_role("button", name="Score").click()
    has_status(page, "best")
    look_at(page)
    page.goto(service + "/label")
    ready(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("2")
    page.keyboard.press("=")
    page.get_by_label("Show rewards").check()
    look_at(page)
    page.get_by_role("button", name="colours").click()
    look_at(page)
    page.reload()
    ready(page)  # and the choice is kept
    other = {"light": "rgb(20, 23, 27)", "dark": "rgb(246, 247, 248)"}[scheme]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == other


def look_at(page):
    pairs = page.evaluate("""() => {
        const found = new Set();
        const canvas = document.createElement('canvas')
            .getContext('2d', {willReadFrequently: true});
        const rgb = (colour) => {  // of any notation
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)].join(' ');
        };
        for (const element of document.querySelectorAll('body *')) {
            const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
            const off = element.matches(':disabled, noscript, noscript *');
            if (!own || off || !element.checkVisibility()) continue;
            let behind = element;
            while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)')
                behind = behind.parentElement;
            const { color } = getComputedStyle(element);
            found.add(rgb(color) + ' ' + rgb(getComputedStyle(behind).backgroundColor));
        }
        return [...found];
    }""")
    assert len(pairs) >= 4
    for pair in pairs:
        numbers = list(map(int, pair.split()))
        light, dark = sorted(map(luminance, (numbers[:3], numbers[3:])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, pair
    nameless = page.evaluate("""[...document.querySelectorAll('button, input, textarea, a, select')]
        .filter((e) => e.checkVisibility())
        .filter((e) => !(e.ariaLabel || e.labels?.length || e.textContent.trim()))
        .map((e) => e.outerHTML)""")
    assert nameless == []


def luminance(rgb):
    parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
