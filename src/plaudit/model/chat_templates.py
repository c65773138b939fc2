"""A user's own chat template, and arguments of templates, made part of a tokenizer.

Arguments such as `enable_thinking` are written into the template itself, as Jinja's `set` before
it: a tokenizer keeps nothing else, and whoever loads it, with plaudit or without, then renders the
same.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaudit.errors import PlauditError
from plaudit.model.template_limits import TemplateLimitError, render

NAME = re.compile(r"[A-Za-z_]\w*")
PROBE = [{"role": "user", "content": "PROBE"}, {"role": "assistant", "content": "REPLY"}]


def set_chat_template(
    tokenizer: Any, file: str | Path | None = None, arguments: Mapping[str, Any] | None = None
) -> None:
    """Give a tokenizer the template in a Jinja file, or the arguments of its own, or both.

    Raises `PlauditError` where the file cannot be read, the template cannot render a dialogue of a
    user's and an assistant's turn, or an argument is no JSON.
    """
    if arguments is not None and not isinstance(arguments, Mapping):
        raise PlauditError(
            f"chat_template_args: a {type(arguments).__name__} is no arguments; give each a name, "
            'as in {"enable_thinking": false}'
        )
    if file is not None:
        tokenizer.chat_template = _read(file)
    if not tokenizer.chat_template:
        raise PlauditError(
            "chat_template_args: the tokenizer has no chat template to take them; give one with "
            "--chat-template FILE"
        )
    if arguments:
        before = "".join(
            f"{{% set {_name(name)} = {_literal(value, name)} %}}"
            for name, value in arguments.items()
        )
        own = tokenizer.chat_template
        tokenizer.chat_template = (
            {key: _begun(before, text) for key, text in own.items()}
            if isinstance(own, dict)
            else _begun(before, own)
        )
    _try(tokenizer, "chat_template" if file is None else str(file))


def _read(file: str | Path) -> str:
    try:
        text = Path(file).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise PlauditError(
            f"chat_template: {file} cannot be read: {error.strerror or error}"
        ) from error
    except UnicodeDecodeError as error:
        raise PlauditError(f"chat_template: {file} is not UTF-8 text") from error
    if not text.strip():
        raise PlauditError(f"chat_template: {file} is empty")
    return text


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise PlauditError(f"chat_template_args: {name!r} is no name of an argument")
    return name


def _literal(value: Any, name: str) -> str:
    """A JSON value as Jinja writes it, which differs in `none` alone.

    >>> _literal({"a": [1, None, "x\\n"]}, "a")
    '{"a": [1, none, "x\\\\n"]}'
    """
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(str(k))}: {_literal(v, name)}" for k, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(item, name) for item in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PlauditError(f"chat_template_args: {name} is not JSON: {error}") from error


def _begun(before: str, template: str) -> str:
    # Jinja drops the line break after a block, and not after what it prints.
    return before + ("{{ '' }}" if template.startswith("\n") else "") + template


def _try(tokenizer: Any, where: str) -> None:
    from jinja2 import TemplateSyntaxError

    try:
        text = render(tokenizer, PROBE)
    except TemplateSyntaxError as error:
        raise PlauditError(
            f"chat_template: {where}, line {error.lineno}: is not valid Jinja: {error.message}"
        ) from error
    except TemplateLimitError as error:
        raise PlauditError(f"chat_template: {where}: {error.what}") from error
    except Exception as error:  # the template's own, or Python's of an operation within it
        why = " ".join(str(error).split())[:200]
        raise PlauditError(f"chat_template: {where}: cannot render a dialogue: {why}") from error
    if "PROBE" not in text or "REPLY" not in text:
        raise PlauditError(
            f"chat_template: {where}: leaves out what the user or the assistant says; it must "
            "print message['content'] of each of `messages`"
        )
