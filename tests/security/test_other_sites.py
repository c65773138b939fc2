"""A page of another site, in a real browser, beside a labelling page that is open to all: it can
post no label, change nothing and read nothing, whatever a page is able to send."""

import json

import pytest

from plaudit.labelling.labelling import Labelling
from plaudit.serving.app import build_app
from running import inside

# What a page can send without being asked first whether it may, and with.
ATTACK = """async ([service, body]) => {
  const tried = {};
  const ask = async (name, path, options) => {
    try {
      const answer = await fetch(service + path, options);
      tried[name] = answer.type === "opaque" ? "sent" : await answer.text();
    } catch { tried[name] = "refused"; }
  };
  const json = {"Content-Type": "application/json"};
  for (const path of ["/label/next", "/label/save", "/label/skip", "/label/undo", "/score"]) {
    await ask(path + " text", path, {method: "POST", mode: "no-cors", body});
    await ask(path + " json", path, {method: "POST", headers: json, body});
    const cookies = {method: "POST", mode: "no-cors", credentials: "include", body};
    await ask(path + " cookies", path, cookies);
    navigator.sendBeacon(service + path, new Blob([body], {type: "text/plain"}));
  }
  await ask("read", "/label/state", {});
  await ask("metrics", "/metrics", {});
  const image = new Image();
  const loaded = new Promise((done) => {
    image.onload = () => done(true);
    image.onerror = () => done(false);
  });
  image.src = service + "/static/icon.svg";
  tried.image = await loaded;
  return tried;
}"""
FORM = """([service, body]) => {
  const form = document.createElement("form");
  form.method = "post";
  form.enctype = "text/plain";
  form.action = service + "/label/save";
  const field = document.createElement("input");
  field.name = body.slice(0, -1) + ', "x": "';  // with "=" it is JSON
  field.value = '"}';
  form.append(field);
  document.body.append(form);
  form.submit();
}"""


@pytest.fixture
def labelling(reward_model, tmp_path):
    """A labelling page without keys, and the file of its labels."""
    model = reward_model("bert")
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"prompt": "p", "completions": ["a", "b"]}) + "\n")
    labels = tmp_path / "labels.csv"
    with inside(build_app(model, None, Labelling(model, data, labels))) as client:
        yield client, labels


@pytest.mark.parametrize("site", ["http://evil.example", "http://localhost:1"])
def test_a_page_of_another_site_posts_no_label(browser, labelling, site):
    client, labels = labelling
    item = client.post("/label/next", json={"window": "mine"}).json()["item"]
    body = json.dumps({"window": "mine", "id": item["id"], "ranks": [1, 2]})
    before = labels.read_bytes() if labels.exists() else b""
    service = str(client.base_url).rstrip("/")
    with browser.new_context() as context:
        page = context.new_page()
        page.route(f"{site}/**", lambda route: route.fulfill(body="<p>", content_type="text/html"))
        page.goto(f"{site}/")
        tried = page.evaluate(ATTACK, [service, body])
        assert tried.pop("image") is False
        assert {name: said for name, said in tried.items() if said not in ("sent", "refused")} == {}
        with page.expect_response("**/label/save") as answer:
            page.evaluate(FORM, [service, body])
        assert answer.value.status == 403
    assert (labels.read_bytes() if labels.exists() else b"") == before
    # What was to be labelled still is, and its own page can.
    saved = client.post(
        "/label/save", content=body,
        headers={"content-type": "application/json", "sec-fetch-site": "same-origin"},
    )  # fmt: skip
    assert saved.status_code == 200
    assert b"p" in labels.read_bytes()


def test_a_link_to_the_page_works_and_no_frame_does(browser, labelling):
    service = str(labelling[0].base_url).rstrip("/")
    with browser.new_context() as context:
        page = context.new_page()
        html = f"<a href='{service}/label'>label</a><iframe src='{service}/label'></iframe>"
        page.route(
            "http://evil.example/**",
            lambda route: route.fulfill(body=html, content_type="text/html"),
        )
        page.goto("http://evil.example/")
        assert page.frames[1].locator("#save").count() == 0
        page.click("a")
        page.wait_for_url("**/label")
        assert page.title() == "Label · plaudit"
