"""Chat templates rendered within limits: a template is a program that comes with somebody's model.

transformers renders templates in Jinja's sandbox, which keeps them from Python's insides but not
from endless loops and texts of gigabytes. Here every step of a template is paid from an allowance:
a turn of a loop, a call, each character that is read or made. What an operation could make is
reckoned before it runs. The allowance is a number and not a time, so that a template which is
refused on one machine is refused on all, and it grows with the dialogue, so that no template that
lays one out comes near it.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from re import findall
from typing import Any

from jinja2 import Environment, Template, nodes
from jinja2.runtime import Context, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_context
from jinja2.visitor import NodeTransformer
from transformers.utils import chat_template_utils

from plaudit.errors import PlauditError

# Characters that may be read and made beyond those of the dialogue, and for each of those: a
# template that adds up a text over a thousand messages makes each character five hundred times.
ALLOWED, ALLOWED_FOR_EACH = 50_000_000, 500
STEP = 200  # what a call or a filter costs, in characters
TURN = 5  # and a turn of a loop
NODE = 32  # what an entry of a list or a mapping costs
LONGEST_TEMPLATE = 1_000_000
MOST_BITS = 10_000  # of a whole number
DEEPEST_INDENT = 16  # of JSON
# Costly filters that no dialogue is laid out with.
LEFT_OUT = ("pprint", "striptags", "urlize", "wordwrap", "xmlattr")


class TemplateLimitError(PlauditError):
    """A chat template does more than any dialogue needs."""

    def __init__(self, what: str = "does far more work than laying out a dialogue takes") -> None:
        self.what = what
        super().__init__(
            f"the chat template {what}; give another with --chat-template FILE, or choose "
            "template plain"
        )


class _Allowance(threading.local):
    left: int | None = None  # None: templates are rendered without limits


_allowance = _Allowance()


@contextmanager
def within_limits(messages: Any) -> Iterator[None]:
    """Limit what transformers renders in this thread, `messages`, until the block ends.

    >>> template = "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}"
    >>> with within_limits([]):
    ...     chat_template_utils.render_jinja_template([[]], chat_template=template)
    Traceback (most recent call last):
    plaudit.model.template_limits.TemplateLimitError: the chat template does far more work ...
    """
    before = _allowance.left
    _allowance.left = ALLOWED
    try:
        _allowance.left = ALLOWED + ALLOWED_FOR_EACH * _weight(messages)
        yield
    finally:
        _allowance.left = before


def render(tokenizer: Any, messages: Any, **options: Any) -> str:
    """Messages as the tokenizer's chat template lays them out.

    Raises:
        TemplateLimitError: where that is more work than any dialogue needs.
        Exception: of any kind that the template itself raises.
    """
    with within_limits(messages):
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


_compile = chat_template_utils._compile_jinja_template


def _compile_within_limits(chat_template: str) -> Template:
    """As transformers' own function; within `within_limits` a template that keeps to them."""
    return _compile(chat_template) if _allowance.left is None else _limited(chat_template)


chat_template_utils._compile_jinja_template = _compile_within_limits  # type: ignore[assignment]


@lru_cache(32)
def _limited(chat_template: str) -> Template:
    if len(chat_template) > LONGEST_TEMPLATE:
        raise TemplateLimitError(f"has more than {LONGEST_TEMPLATE:,} characters")
    environment = _Limited(_compile("").environment)
    tree = _Metered().visit(environment.parse(chat_template))
    tree.set_environment(environment)
    return environment.from_string(tree)


# ---- what is paid for ----


def _pay(cost: int) -> None:
    left = _allowance.left
    if left is None:  # a generator that outlived its rendering
        raise TemplateLimitError
    _allowance.left = left = left - cost
    if left < 0:
        raise TemplateLimitError


def _weight(value: Any) -> int:
    """Characters of a value, of all that is in it; more than the allowance is an error."""
    kind = type(value)
    if kind is str:
        return len(value)
    if value is None or kind is bool or kind is int or kind is float:
        return 1
    most = _allowance.left or 0
    weight = 0
    waiting: list[Any] = [value]
    while waiting:
        value = waiting.pop()
        weight += NODE
        if isinstance(value, (str, bytes)):
            weight += len(value)
        elif isinstance(value, range):
            weight += NODE * len(value)
        elif isinstance(value, Mapping):
            waiting.extend(value.keys())
            waiting.extend(value.values())
        elif isinstance(value, Namespace):
            waiting.extend(object.__getattribute__(value, "_Namespace__attrs").values())
        elif isinstance(value, (list, tuple, set, frozenset, *_VIEWS)):
            waiting.extend(value)
        if weight + NODE * len(waiting) > most:
            raise TemplateLimitError
    return weight


_EMPTY: dict[Any, Any] = {}
_VIEWS = (type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items()))


def _paid(value: Any) -> Any:
    _pay(len(value) if type(value) is str else _weight(value))
    return value


def _times(value: Any) -> int:
    """How often something is repeated where this is its argument."""
    return abs(value) if isinstance(value, int) else _weight(value)


def _pay_replacing(text: str, old: Any = "", new: Any = "", *_: Any, **__: Any) -> None:
    _pay(text.count(str(old)) * len(str(new)))


def _pay_indenting(text: str, width: Any = 4, *_: Any, **__: Any) -> None:
    _pay((len(text.splitlines()) + 1) * _times(width))


def _pay_tabs(text: str, tabsize: Any = 8) -> None:
    _pay(text.count("\t") * _times(tabsize))


def _pay_translating(text: str, table: Any = None, *_: Any) -> None:
    _pay(len(text) * _weight(table))


def _pay_stripping(text: str, chars: Any = None, *_: Any, **__: Any) -> None:
    _pay(len(text) * _weight(chars))


def _pay_formatting(form: str, *args: Any, **kwargs: Any) -> None:
    """Of `%` and of `format`: each place takes the widest argument, in the widest field."""
    if findall(r"\{[^{}]*\{", form):
        raise TemplateLimitError("computes how wide a text is to be")
    values = (*args, *kwargs.values())
    places = form.count("%") + form.count("{")
    # After a "*" a field has its width from an argument.
    given = [abs(each) for value in values for each in _numbers(value)] if "*" in form else []
    widths = [min(int(digits), 10**18) for digits in findall(r"\d{1,20}", form)]
    widest = max([*widths, *given], default=0)
    _pay(len(form) + places * (widest + sum(map(_weight, values))))


def _numbers(value: Any) -> Iterable[int]:
    if isinstance(value, Mapping):
        value = list(value.values())
    return [v for v in (value if isinstance(value, (list, tuple)) else [value]) if type(v) is int]


def _pay_summing(_: Any, attribute: Any = None, start: Any = 0) -> None:
    if not isinstance(start, (int, float)):
        raise TemplateLimitError("adds up what are no numbers")


def _pay_json(_: Any, *args: Any, **kwargs: Any) -> None:
    for given in (*args, *kwargs.values()):
        for each in given if isinstance(given, (list, tuple)) else [given]:
            size = len(each) if isinstance(each, str) else _times(each)
            if size > DEEPEST_INDENT:
                raise TemplateLimitError(f"indents JSON by more than {DEEPEST_INDENT}")


# What may make much more than it is given, beside what it costs for its arguments: methods of
# texts, and filters.
METHODS: dict[str, Callable[..., None]] = {
    "replace": _pay_replacing,
    "expandtabs": _pay_tabs,
    "translate": _pay_translating,
    "strip": _pay_stripping,
    "lstrip": _pay_stripping,
    "rstrip": _pay_stripping,
    "format": _pay_formatting,
    "format_map": _pay_formatting,
}
FILTERS: dict[str, Callable[..., None]] = {
    "replace": _pay_replacing,
    "indent": _pay_indenting,
    "trim": _pay_stripping,
    "format": _pay_formatting,
    "sum": _pay_summing,
    "tojson": _pay_json,
}
# Filters that look at nothing of what they are given, and make nothing.
GIVEN_BACK = ("count", "d", "default", "first", "items", "last", "length")
OF_TEXT = ("replace", "indent", "trim", "format")  # filters that make a text of what they are given
# Filters that go through what they are given once more for each of their arguments, or twice.
IN_TURN = ("join", "select", "selectattr", "reject", "rejectattr")


class _Limited(ImmutableSandboxedEnvironment):
    """An environment as transformers' own, whose operations are paid for."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, own: Environment) -> None:
        super().__init__(
            trim_blocks=own.trim_blocks,
            lstrip_blocks=own.lstrip_blocks,
            extensions=[type(extension) for extension in own.extensions.values()],
        )
        self.own = own
        self.globals.update(own.globals)
        self.globals.pop("lipsum", None)
        self.filters = {
            name: self._metered(name) for name in own.filters if name not in LEFT_OUT
        } | {
            STEPPED: _stepped,
            PAID: _paid_in_template,
            COPIED: _copied,
            COMPARED: _compared,
            JOINED: _joined,
        }
        self.tests = own.tests
        # With the context, so that no output is computed when the template is compiled.
        self.finalize = pass_context(lambda context, value: _paid(value))

    def _metered(self, name: str) -> Callable[..., Any]:
        making = FILTERS.get(name)

        @pass_context
        def metered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
            if name in GIVEN_BACK:
                _pay(STEP)
                return self.own.call_filter(name, value, args, kwargs, context, context.eval_ctx)
            if name in IN_TURN and hasattr(value, "__next__"):
                value = list(value)
            _pay(STEP + _weight(value))
            for each in (*args, *kwargs.values()):
                _pay(_times(each))
            if name in IN_TURN:  # a separator, or what each is compared with
                count = len(value) if hasattr(value, "__len__") else 0
                _pay(count * sum(map(_weight, (*args, *kwargs.values()))))
            elif making is not None:
                making(str(value) if name in OF_TEXT else value, *args, **kwargs)
            made = self.own.call_filter(name, value, args, kwargs, context, context.eval_ctx)
            return _paid(made)

        return metered

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """As the sandbox has it, and no bytes: what they can do is not reckoned here."""
        made = isinstance(obj, bytes) or attr in ("encode", "to_bytes")
        return not made and super().is_safe_attribute(obj, attr, value)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call something, and pay for it."""
        of = getattr(obj, "__self__", None)
        name = getattr(obj, "__name__", None)
        if name in ("format", "format_map"):  # which the sandbox has put its own round
            of = getattr(getattr(obj, "__wrapped__", None), "__self__", of)
        cost = STEP
        if isinstance(of, (str, int)):
            cost += len(of) if isinstance(of, str) else 0
            if name == "join" and args and not isinstance(args[0], (str, Sequence)):
                args = (list(args[0]), *args[1:])
            cost += sum(map(_times, args)) + sum(map(_times, kwargs.values()))
            _pay(cost)
            if name == "join" and args and isinstance(of, str):
                _pay(len(args[0]) * len(of))
            elif name in METHODS and isinstance(of, str):
                METHODS[name](of, *args, **kwargs)
        else:
            cost += _weight(of) if isinstance(of, (list, tuple)) else 0
            _pay(cost + sum(map(_weight, args)) + sum(map(_weight, kwargs.values())))
        return _paid(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute one, and pay for it."""
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() + right.bit_length()
            if operator == "**":
                bits = left.bit_length() * abs(right)
            if operator in ("*", "**") and bits > MOST_BITS:
                raise TemplateLimitError("computes a number of thousands of digits")
            _pay(1)
        elif operator == "*":
            _pay(_length(left) * _length(right))
        elif operator == "%" and isinstance(left, str):
            _pay_formatting(left, right)
        else:
            _pay(_length(left) + _length(right))
        return super().call_binop(context, operator, left, right)


def _length(value: Any) -> int:
    """Of a text or a list, its length; of a number how often it repeats one."""
    if isinstance(value, int):
        return abs(value)
    if isinstance(value, (str, bytes)):
        return len(value)
    return NODE * len(value) if isinstance(value, (list, tuple)) else 1


# ---- what the environment cannot hook into is written into the template ----

# No template can use these filters: their names are no names to Jinja.
STEPPED, PAID, COPIED = "(stepped)", "(paid)", "(copied)"
COMPARED, JOINED = "(compared)", "(joined)"


@pass_context
def _stepped(_: Context, value: Any, text: int = 0) -> Any:
    _pay(TURN + text)
    return value


@pass_context
def _paid_in_template(_: Context, value: Any) -> Any:
    return _paid(value)


@pass_context
def _copied(_: Context, value: Any) -> Any:
    # A part of a list has the same entries, of which nothing is copied.
    _pay(_length(value))
    return value


@pass_context
def _compared(_: Context, value: Any) -> Any:
    # Texts are compared sixteen characters at a time, or more.
    _pay(1 + len(value) // 16 if type(value) is str else _weight(value))
    return value


@pass_context
def _joined(context: Context, parts: Sequence[Any]) -> str:
    _pay(_weight(parts))
    return (markup_join if context.eval_ctx.autoescape else str_join)(parts)


def _through(name: str, node: Any, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


class _Metered(NodeTransformer):
    """Puts into a template what pays for its loops, comparisons, texts joined, and lists made."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        """Pay for each turn, with what of the template it prints."""
        text = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        turn = _through(STEPPED, nodes.Const(None, lineno=node.lineno), nodes.Const(text))
        if node.test is not None:  # a turn that it leaves out is one, too
            node.test = _through(STEPPED, node.test)
        node.body.insert(0, nodes.ExprStmt(turn, lineno=node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        """Pay for texts joined by `~`."""
        self.generic_visit(node)
        return _through(JOINED, nodes.List(node.nodes, lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        """Pay for what is compared."""
        self.generic_visit(node)
        operands = [node.expr, *(operand.expr for operand in node.ops)]
        held_in = any(operand.op in ("in", "notin") for operand in node.ops)
        if len(operands) == 2 and any(map(_is_constant, operands[held_in:])):
            return node  # no longer than what stands in the template
        node.expr = _unless_constant(node.expr)
        for operand in node.ops:
            operand.expr = _unless_constant(operand.expr)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Test:  # noqa: N802
        """As for `Compare`, of tests that take arguments."""
        self.generic_visit(node)
        if node.args:
            node.node = _unless_constant(node.node)
            node.args = [_unless_constant(each) for each in node.args]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        """Pay for a part of a text or a list, which is a copy."""
        self.generic_visit(node)
        return _through(COPIED, node) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.List | nodes.Tuple | nodes.Dict) -> nodes.Expr:  # noqa: N802
        """Pay for all that is in it: lists of lists would else double with each."""
        self.generic_visit(node)
        stored = getattr(node, "ctx", "load") != "load"
        return node if stored or not node.items or _is_constant(node) else _through(PAID, node)

    visit_Tuple = visit_Dict = visit_List  # noqa: N815


def _is_constant(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) or (
        isinstance(node, (nodes.List, nodes.Tuple))
        and all(isinstance(item, nodes.Const) for item in node.items)
    )


def _unless_constant(node: nodes.Expr) -> nodes.Expr:
    return node if _is_constant(node) else _through(COMPARED, node)
