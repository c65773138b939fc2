"""What fuzzed files and requests are drawn from: odd values, and ways to spoil right bytes.

Everything comes of a `random.Random` that is given, so that a case can be drawn again.
"""

import json
from random import Random
from typing import Any

DEEP = 3000  # further than Python's parsers go
TEXTS = [
    *("", " ", "\n", "a", "Ünï", "\0", "\ufeff", "\ufffe", "\u202e", "\x1b[2J", "a" * 5000),
    *("\ud800", "x\udcff", "😀", "null", "NaN", "true", "1", "-1", "1e999", "0x10", "1_0", "1,5"),
    *(
        '"',
        "'",
        ",",
        ";",
        "\t",
        "\r",
        "\r\n",
        "=1+1",
        "[",
        "{}",
        "[1, 2]",
        '{"a": 1}',
        "{{ 7 * 7 }}",
    ),
    *("9999-12-31", "10000-01-01T00:00:00", "../../etc/passwd", "<|im_end|>", "#DIV/0!"),
    *('[{"role": "user", "content": "Hi"}]', "[{'role': 'user', 'content': 'Hi'}]", "[{'role': 1"),
    *('[{"role": "user"}]', "[" * DEEP, '{"a": 1, "a": 2}', "9" * 5000, "[" + "9" * 5000 + "]"),
]
NUMBERS = [
    *(0, 1, -1, 2, 0.5, -0.0, 1e308, -1e308, 5e-324, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64),
    *(10**400, -(10**400), float("nan"), float("inf"), float("-inf"), True, False),
]
ROLES = ["user", "assistant", "system", "tool", "developer", "function", "", "\ud800", None, 1]
# What stands for nesting too deep for `json.dumps`, and is put into the text that it makes.
NESTED = "nested here"


def odd(draw: Random, depth: int = 0) -> Any:
    """A value that nobody meant to write; one in a few is what somebody would."""
    kind = draw.randrange(10 if depth < 4 else 6)
    if kind < 3:
        return draw.choice(TEXTS)
    if kind < 5:
        return draw.choice(NUMBERS)
    if kind == 5:
        return draw.choice([None, [], {}, [[]], [None], {"": None}, NESTED])
    if kind == 6:
        return [odd(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind == 7:
        return {str(odd(draw, 9)): odd(draw, depth + 1) for _ in range(draw.randrange(4))}
    return messages(draw, depth)


def messages(draw: Random, depth: int = 0) -> list[Any]:
    """Messages of a chat, of which some are none."""
    found = []
    for _ in range(draw.randrange(1, 4)):
        content = draw.choice(["Hi", odd(draw, depth + 2), [{"type": "text", "text": "Hi"}]])
        message = {"role": draw.choice(ROLES), "content": content}
        if draw.random() < 0.3:
            arguments = draw.choice(['{"a": 1}', "{", odd(draw, depth + 2)])
            call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
            message["tool_calls"] = draw.choice([[call], call, [1], odd(draw, depth + 2)])
        if draw.random() < 0.1:
            message[draw.choice(["name", "", "\ud800", "weight"])] = odd(draw, depth + 2)
        found.append(draw.choice([message] * 6 + [odd(draw, depth + 2)]))
    return found


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every object and list within a value, with each of its keys or places."""
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            found.append((value, key))
            found += places(value[key])
    return found


def spoil(draw: Random, value: Any, fields: list[str]) -> None:
    """Change a few things within an object or a list."""
    for _ in range(draw.randint(1, 3)):
        found = places(value)
        change = draw.randrange(6)
        if change == 0 or not found:
            target = draw.choice([each for each, _ in found if isinstance(each, dict)] or [value])
            if isinstance(target, dict):
                target[draw.choice([*fields, *TEXTS[:20]])] = odd(draw)
            continue
        where, key = draw.choice(found)
        if change == 1:
            del where[key]
        elif change == 2:
            where[key] = [where[key]] * draw.randrange(40)
        elif change == 3 and isinstance(where[key], str):
            text = where[key]
            at = draw.randint(0, len(text))
            where[key] = text[:at] + draw.choice(TEXTS) + text[at:]
        elif change == 4 and isinstance(where, dict):
            where[draw.choice(fields)] = where.pop(key)
        else:
            where[key] = odd(draw)


def as_json(draw: Random, value: Any) -> str:
    """A value as JSON, now and then with a key twice, in which it is nested as deeply as drawn."""
    text = json.dumps(value, ensure_ascii=draw.random() < 0.5)
    deep = draw.choice(["[", '{"a":'])
    text = text.replace(f'"{NESTED}"', deep * DEEP + ("]" if deep == "[" else "1}") * DEEP)
    if draw.random() < 0.05 and text[:1] == "{" and len(text) > 2:
        text = text[:-1] + ", " + text[1:]
    return text


def as_bytes(text: str) -> bytes:
    """A text in UTF-8, half a character as the bytes that it would be."""
    return text.encode("utf-8", "surrogatepass")


PIECES = [
    *(
        b"\0",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\n",
        b"\r",
    ),
    *(
        b'"',
        b"'",
        b",",
        b";",
        b"\t",
        b"[",
        b"]",
        b"{",
        b"}",
        b"\\",
        b"\\ud800",
        b"\\u0000",
        b":",
        b" ",
    ),
    *(
        b"NaN",
        b"1e999",
        b"9" * 400,
        b"-",
        b"null",
        b"true",
        b'"a":1,',
        b"[" * 500,
        b"\x1f\x8b",
        b"PK",
    ),
]


def damage(draw: Random, data: bytes, *, lines: bool = True, times: int = 3) -> bytes:
    """Bytes with a few of them flipped, put in, taken away or doubled; without `lines` no end of a
    line comes or goes."""
    found = bytearray(data)
    for _ in range(draw.randint(1, times)):
        at = draw.randint(0, len(found))
        until = min(len(found), at + draw.choice([1, 1, 2, 8, 64]))
        change = draw.randrange(5)
        if change == 0 and at < len(found):
            found[at] ^= 1 << draw.randrange(8)
        elif change == 1:
            found[at:at] = draw.choice(PIECES)
        elif change == 2:
            del found[at:until]
        elif change == 3:
            found[at:at] = found[at:until]
        else:
            found[at:until] = draw.choice(PIECES)
    if not lines:
        return bytes(found).replace(b"\n", b" ").replace(b"\r", b" ")
    return bytes(found)


def cut(draw: Random, data: bytes) -> bytes:
    """Bytes of which the end is missing."""
    return data[: draw.randint(0, len(data))]
