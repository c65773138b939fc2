"""A user's own chat template: rendered, saved with the model, and refused where it is no good."""

import json

import pytest
from transformers import AutoTokenizer

from plaudit import PlauditError, RewardModel
from plaudit.cli import main

OWN = (
    "{% if enable_thinking is defined and not enable_thinking %}(quiet){% endif %}"
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
ASKED = [{"role": "user", "content": "What is two plus two?"}]
SAID = "(quiet)<user>What is two plus two?"


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.jinja"
    path.write_text(OWN)
    return path


def load(name, **options):
    return RewardModel.load(name, device="cpu", dtype="float32", **options)


def test_template_and_arguments_are_saved_with_the_model(base, own, tmp_path):
    model = load(base("qwen2"), chat_template=own, chat_template_args={"enable_thinking": False})
    rewards = model.score(ASKED, ["Four.", "Five."])
    assert rewards != load(base("qwen2")).score(ASKED, ["Four.", "Five."])
    model.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.score(ASKED, ["Four.", "Five."]) == rewards
    # Without plaudit, and without being told of the arguments.
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert tokenizer.apply_chat_template(ASKED, tokenize=False) == SAID


def test_an_argument_may_be_any_json(base, tmp_path):
    value = {"a": [1, None, True], "é": 'two\nlines, "quoted" \\ {{ x }}'}
    path = tmp_path / "shows.jinja"
    path.write_text("\n{{ x['a'] }}{{ x['é'] }}" + OWN)
    model = load(base("qwen2"), chat_template=path, chat_template_args={"x": value})
    said = model.encoding.tokenizer.apply_chat_template(ASKED, tokenize=False)
    assert said.startswith(f"\n[1, None, True]{value['é']}<user>")


@pytest.mark.parametrize(
    ("text", "arguments", "reason"),
    [
        (None, None, "cannot be read: No such file"),
        ("", None, "is empty"),
        ("{% for m in messages %}\n{{ m.content }", None, r"line 2: is not valid Jinja"),
        ("{{ raise_exception('not you') }}", None, "cannot render a dialogue: not you"),
        ("{{ messages[0].content }}", None, "leaves out what the user or the assistant says"),
        (OWN, {"a b": 1}, "'a b' is no name of an argument"),
        (OWN, {"a": {1}}, "a is not JSON"),
    ],
)
def test_a_template_that_is_no_good_is_said(base, tmp_path, text, arguments, reason):
    path = tmp_path / "bad.jinja"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PlauditError, match=reason) as raised:
        load(base("qwen2"), chat_template=path, chat_template_args=arguments)
    assert "\n" not in str(raised.value)


def test_arguments_without_names_are_refused(base):
    with pytest.raises(PlauditError, match="chat_template_args: a list is no arguments"):
        RewardModel.load(base("qwen2"), chat_template_args=["thinking"])


def test_where_no_template_of_ones_own_has_a_place(base, own, tmp_path):
    load(base("qwen2")).save(tmp_path / "trained")
    for name, options, reason in (
        (base("bert"), {}, "this is an encoder"),
        (base("qwen2"), {"template": "plain"}, "template plain uses no chat template"),
        (tmp_path / "trained", {}, "was trained with its own"),
    ):
        with pytest.raises(PlauditError, match=reason):
            load(name, chat_template=own, **options)
    with pytest.raises(PlauditError, match="has no chat template to take them"):
        load(base("gpt2"), chat_template_args={"a": 1})


def test_the_command_line_takes_them(base, own, tmp_path, capsys):
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"{n} plus 1?", "chosen": "Yes.", "rejected": "No."} for n in range(3)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["inspect", str(pairs), "--base", str(base("qwen2")), "--show", "1"]
    arguments = ["--chat-template-args", '{"enable_thinking": false}']
    assert main([*command, "--chat-template", str(own), *arguments]) == 0
    assert "(quiet)<user>" in "".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        main([*command, "--chat-template-args", "quiet"])
    assert "'quiet' is not a JSON object" in capsys.readouterr().err
