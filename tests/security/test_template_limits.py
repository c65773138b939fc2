"""A chat template that never ends, or makes a text that fits nowhere, is refused: quickly, with
little memory, wherever it comes from. One that lays out dialogues does as in transformers."""

from pathlib import Path

import pytest
import trl
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from plaudit import PlauditError, RewardModel
from plaudit.model.template_limits import TemplateLimitError, within_limits
from plaudit.serving.app import build_app
from running import inside

RANGE = "range(99999)"
GROWS = "{% set ns = namespace(x='x', y='y') %}{% for i in range(60) %}{% set ns.x = "
WIDE = "{% set a = 'x' * 99999 %}"
LONG = "{% set a = 'x' * 999999 %}{% set b = a ~ 'y' %}{% set c = a ~ 'z' %}"
LOOP = "{% for i in range(99999) %}"

TURNS_LEFT_OUT = f"{LOOP}{{% for j in {RANGE} if false %}}{{% endfor %}}{{% endfor %}}"
END = "{% endfor %}"
ATTACKS = {
    "loops in loops": f"{LOOP}{LOOP}{{% endfor %}}{{% endfor %}}",
    "turns that are left out": TURNS_LEFT_OUT,
    "a loop over itself": "{% for x in [[1]] recursive %}{{ loop([x, x]) }}{% endfor %}",
    "a macro that calls itself twice": "{% macro f(n) %}{{ f(n - 1) if n else '' }}"
    "{{ f(n - 1) if n else '' }}{% endmacro %}{{ f(60) }}",
    "further arguments of themselves": "{% macro f(n) %}{{ f(n - 1, varargs, varargs) if n else "
    "{varargs: 1} }}{% endmacro %}{{ f(60, 1, 1) }}",
    "a caller in a loop": "{% macro m() %}" + LOOP + "{{ caller() }}{% endfor %}{% endmacro %}"
    "{% call m() %}{% call m() %}x{% endcall %}{% endcall %}",
    "a filtered block": "{% filter upper %}" + LOOP + LOOP + "x" + END + END + "{% endfilter %}",
    "a list in each turn": f"{LOOP}{{{{ {RANGE} | list | length }}}}{{% endfor %}}",
    "nothing selected in each turn": LOOP + "{{ range(99999) | select('none') | list }}" + END,
    "a text repeated": "{{ 'x' * 10**10 }}",
    "repeated by a text": "{{ 10000000000 * 'x' }}",
    "a list repeated": "{{ ([0] * 10000000000) | length }}",
    "a large number": "{{ 9 ** 999999999 }}",
    "a number squared": GROWS.replace("'x'", "2") + "ns.x * ns.x %}{% endfor %}",
    "joined to itself": GROWS + "ns.x ~ ns.x %}{% endfor %}",
    "added to itself": GROWS + "ns.x + ns.x %}{% endfor %}",
    "a list of itself": GROWS + "[ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "a mapping of itself": GROWS + "{'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x }}",
    "a namespace of itself": GROWS + "namespace(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x }}",
    "lists compared": GROWS + "dict(a=ns.x, b=ns.x) %}{% set ns.y = dict(a=ns.y, b=ns.y) %}"
    "{% endfor %}{{ ns.x == ns.y }}",
    "long texts compared": f"{LONG}{LOOP}{{{{ b == c }}}}{{% endfor %}}",
    "long texts tested": f"{LONG}{LOOP}{{{{ b is eq c }}}}{{% endfor %}}",
    "long texts sorted": LONG + "{{ ([b] * 99999) | sort | length }}",
    "long texts searched": f"{LONG}{LOOP}{{{{ a.find('y') }}}}{{% endfor %}}",
    "long texts printed": f"{LONG}{LOOP}{{{{ a }}}}{{% endfor %}}",
    "long texts cut": "{% set ns = namespace(l=[]) %}" + LONG + LOOP
    + "{% set ns.l = ns.l + [a[1:]] %}{% endfor %}",
    "its own words": LOOP + "y" * 99999 + "{% endfor %}",
    "its own words kept": "{% set z %}" + LOOP + "y" * 99999 + "{% endfor %}{% endset %}",
    "%": "{{ '%9999999999d' % 1 }}",
    "% with a width": "{{ '%*d' % (9999999999, 1) }}",
    "% as a filter": "{{ '%9999999999d' | format(1) }}",
    "format": "{{ '{:9999999999}'.format(1) }}",
    "format with a width": "{{ '{:{}}'.format(1, 9999999999) }}",
    "format_map": "{{ '{a:9999999999}'.format_map({'a': 1}) }}",
    "center": "{{ 'x' | center(10000000000) }}",
    "center of a method": "{{ 'x'.center(10000000000) }}",
    "center of each": f"{{% for i in {RANGE} | map('center', 99999) %}}{{% endfor %}}",
    "zfill": "{{ '1'.zfill(9999999999) }}",
    "bytes": "{{ 'x'.encode().ljust(9999999999) }}",
    "bytes of a number": "{{ (1).to_bytes(9999999999, 'big') }}",
    "replace": WIDE + "{{ a.replace('', a) }}",
    "replace as a filter": WIDE + "{{ a | replace('', a) }}",
    "join": WIDE + "{{ a.join(a) }}",
    "join of what is made": WIDE + "{{ a.join(a | map('upper')) }}",
    "join as a filter": WIDE + "{{ a | join(a) }}",
    "indent": "{% set a = '\n' * 99999 %}{{ a | indent(99999) }}",
    "tabs": "{% set a = '\t' * 99999 %}{{ a.expandtabs(99999) }}",
    "translate": WIDE + "{{ a.translate({120: a}) }}",
    "translate by a list": WIDE + "{{ a.translate([a] * 130) }}",
    "strip": WIDE + "{{ (a * 9).strip('y' * 99999 ~ 'x') }}",
    "trim": WIDE + "{{ (a * 9) | trim('y' * 99999 ~ 'x') }}",
    "each looked for in a long text": WIDE + "{{ (['y'] * 9999) | select('in', a) | list }}",
    "each of what is made, too": WIDE
    + "{{ range(9999) | map('string') | select('in', a) | list }}",
    "width of a text": "{{ '{:{}}'.format(1, '9999999999') }}",
    "bytes replaced": WIDE + "{{ a.encode().replace(''.encode(), a.encode()) }}",
    "% of bytes": "{{ '%9999999999d'.encode() % 1 }}",
    "separators": WIDE + "{{ ([1] * 9999) | tojson(separators=(a, a)) }}",
    "round": "{{ 1.5 | round(999999999, 'ceil') }}",
    "tojson": "{{ [[[1]]] | tojson(indent=999999999) }}",
    "batch": "{{ [1] | batch(9999999999, 'x') | list }}",
    "slice": "{{ [1] | slice(9999999999) | list }}",
    "sum": "{{ ([[1] * 999] * 999) | sum(start=[]) | length }}",
    "fromkeys": f"{LOOP}{{% set x = dict.fromkeys({RANGE}) %}}{{% endfor %}}",
    "lipsum": "{{ lipsum(9999999) }}",
    "a filter that is left out": "{{ messages | pprint }}",
    "its size": "x" * 1_000_001,
}  # fmt: skip
SHOWS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused(attack):
    with (  # within the time that any test has, and the memory that there is
        pytest.raises(Exception, match=r"far more work|digits|adds up|indents|computes how|unsafe|"
                                       r"recursion|undefined|No filter|1,000,000"),
        within_limits([]),
    ):  # fmt: skip
        render_jinja_template([[]], chat_template=ATTACKS[attack])


DIALOGUES = [
    [{"role": "user", "content": "What is a bond?"}, {"role": "assistant", "content": "A loan. "}],
    [{"role": "system", "content": "Be kind."}]
    + [{"role": role, "content": f"{role}\n"} for _ in range(4) for role in ("user", "assistant")],
    [{"role": role, "content": "Word"} for _ in range(100) for role in ("user", "assistant")],
]  # fmt: skip
TEMPLATES = sorted(
    (Path(trl.__file__).parent / "chat_templates").glob("*[!g].jinja")
)  # not "_training"


def rendered(template, dialogue):
    """What it makes of a dialogue, with and without a prompt to go on; or how it refuses it."""
    texts = []
    for more in ({}, {"add_generation_prompt": True}):
        try:
            texts += render_jinja_template(
                [dialogue], chat_template=template, bos_token="<s>", eos_token="</s>", **more
            )[0]
        except TemplateLimitError:
            raise
        except Exception as error:
            texts.append(f"{type(error).__name__}: {error}")
    return texts


def test_templates_of_the_field_give_what_they_give_without_limits():
    assert len(TEMPLATES) > 10
    for path in TEMPLATES:
        template = path.read_text()
        for dialogue in DIALOGUES if path.stem in ("qwen3", "llama3") else DIALOGUES[:2]:
            without = rendered(template, dialogue)
            with within_limits(dialogue):
                assert rendered(template, dialogue) == without


@pytest.mark.parametrize(
    "template",
    [
        "{{ ('a' ~ 1 ~ none ~ [1, 'b']) }}{{ 'a' + 'b' * 3 }}{{ '%s and %5.1f' % ('x', 1.25) }}",
        "{{ '{} {x:>4}'.format(1, x='é') }}{{ 'a-b'.split('-') | join('+') }}{{ 7 ** 2 % 5 }}",
        "{{ [1, 2, 3][1:] }}{{ 'abc'[::-1] }}{{ {'k': [1, (2, 'x')]} | tojson(indent=2) }}",
        "{{ messages | map(attribute='role') | unique | sort | list }}{{ messages | length }}",
        "{{ (messages | selectattr('role', 'eq', 'user') | first).content | indent(2, true) }}",
        "{% for k, v in {'a': 1, 'b': 2} | items %}{{ loop.index }}{{ k }}{{ v }}{% endfor %}",
        "{% for i in range(5) if i is odd %}{{ loop.cycle('x', 'y') }}{% else %}none{% endfor %}",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
        "{% if ns.n > 1 %}{% break %}{% endif %}{% endfor %}{{ ns.n }}",
        "{{ missing | default('d') }}{% macro m(x) %}[{{ x }}{{ caller() if caller }}]"
        "{% endmacro %}{{ m('a') }}"
        "{% call m('b') %}c{% endcall %}{% set block %}kept{% endset %}{{ block | upper }}",
        "{% generation %}{{ messages[0].content | trim | e }}{% endgeneration %}{{ '<' | safe }}",
        "{{ messages[0].missing.more }}{{ 'xax'.strip('x') }}{{ ' a ' | trim }}{{ 'aXb'.title() }}",
        "{{ messages | tojson(separators=(',', ': '), sort_keys=true, ensure_ascii=false) }}",
        "{{ messages | map(attribute='role') | select('in', ['user']) | join(', ') }}"
        "{{ none | select('in', 'a') | list }}{{ missing | join('-') }}{{ {'a': 1} | join('-') }}",
        "{{ 1 in [1, 2] and 'us' in messages[0].role and not 3 not in [3] }}{{ 1 < 2 < 3 }}",
        "{% autoescape true %}{{ '<' ~ messages[0].role ~ ('<b>' | safe) }}{% endautoescape %}",
    ],
)  # fmt: skip
def test_what_templates_are_written_with_gives_what_it_gives_without_limits(template):
    without = rendered(template, DIALOGUES[0])
    with within_limits(DIALOGUES[0]):
        assert rendered(template, DIALOGUES[0]) == without


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ '!' if messages[:loop.index0] }}{{ m.content }}{% endfor %}",
        "{% macro before(all, at) %}{{ all[at - 1].role if at }}{% endmacro %}"
        "{% for m in messages %}{{ before(messages, loop.index0) }}{{ m.content }}{% endfor %}",
    ],
)
def test_a_long_dialogue_costs_what_is_done_with_it_not_what_is_handed_on(template):
    dialogue = [{"role": "user", "content": "Word " * 20} for _ in range(2000)]
    without = rendered(template, dialogue)
    with within_limits(dialogue):
        assert rendered(template, dialogue) == without


def test_a_long_dialogue_may_be_looked_through_from_every_message():
    looks = (
        "{% for message in messages %}{% for later in messages[loop.index:] %}"
        "{% if later.role == 'assistant' and 'tool_calls' not in later %}{% endif %}"
        "{% endfor %}{{ message.content }}{% endfor %}"
    )
    dialogue = [{"role": ("user", "assistant")[n % 2], "content": "x" * 500} for n in range(700)]
    with within_limits(dialogue):
        assert rendered(looks, dialogue) == [("x" * 500) * 700] * 2


def test_other_programs_in_the_process_render_as_before():
    long = "{{ ('x' * 60_000_000) | length }}"
    with pytest.raises(TemplateLimitError), within_limits([]):
        render_jinja_template([[]], chat_template=long)
    assert render_jinja_template([[]], chat_template=long)[0] == ["60000000"]


@pytest.fixture
def with_template(base, tmp_path):
    """A base model that came with a template."""

    def made(template):
        tokenizer = AutoTokenizer.from_pretrained(base("qwen2"))
        tokenizer.chat_template = template
        folder = tmp_path / "model"
        RewardModel.load(base("qwen2"), device="cpu", dtype="float32").save(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return made


def test_a_template_of_ones_own_is_tried_when_it_is_given(base, tmp_path):
    path = tmp_path / "endless.jinja"
    path.write_text(SHOWS + ATTACKS["loops in loops"])
    with pytest.raises(PlauditError, match=r"endless\.jinja: does far more work"):
        RewardModel.load(base("qwen2"), chat_template=path)


def test_a_served_template_that_some_dialogue_drives_into_a_loop_refuses_that_one(with_template):
    endless = "{% if 'again' in messages[0].content %}" + ATTACKS["loops in loops"] + "{% endif %}"
    model = RewardModel.load(with_template(SHOWS + endless), device="cpu", dtype="float32")
    model.new_head = False
    with inside(build_app(model)) as client:
        right = {"prompt": "What is a bond?", "completions": ["A loan.", "A share."]}
        before = client.post("/score", json=right).json()
        refused = client.post("/score", json=right | {"prompt": "and again"})
        assert refused.status_code == 422
        assert "far more work" in refused.json()["error"]["message"]
        assert client.post("/score", json=right).json() == before
    with pytest.raises(TemplateLimitError):  # and scoring or training by it ends
        model.score("and again", ["A loan."])
