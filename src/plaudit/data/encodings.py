"""How the text of a file is written: in which encoding, and what stands between fields.

Whatever a file is in, what is above this module reads UTF-8. Only a byte-order mark, which leaves
no doubt, is acted on unasked; other encodings are named by the user. A byte that does not belong to
the encoding comes out as no UTF-8, so that the row it stands in can be blamed.
"""

import codecs
import io
import re
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple, cast

from plaudit.errors import PlauditError

BYTES_AT_ONCE = 1 << 16
# The longer marks first: UTF-32's begins with UTF-16's.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What spreadsheets and databases write between fields, the likeliest first.
DELIMITERS = (",", ";", "\t", "|")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


class Dialect(NamedTuple):
    """What stands between the fields of a table, whether a byte-order mark before them, and whether
    a first line `sep=` says what."""

    delimiter: str = ","
    mark: bool = False
    stated: bool = False


def check_encoding(name: str) -> str:
    """The encoding's name, as Python has it.

    Raises:
        PlauditError: where Python knows none of that name.

    >>> check_encoding("Latin-1"), check_encoding("windows-1252")
    ('iso8859-1', 'cp1252')
    """
    try:
        "".encode(name)  # which refuses codecs that are not of text
        codecs.getincrementaldecoder(name)(errors="plaudit-blame").decode(
            b"\xff"
        )  # and those of names
        return codecs.lookup(name).name
    except (LookupError, ValueError) as error:
        raise PlauditError(
            f"encoding: there is no {name}; there are utf-8, utf-16, cp1252 (Windows), latin-1, "
            "mac-roman, shift-jis and all others that Python knows"
        ) from error


def as_utf8(file: BinaryIO, encoding: str | None) -> BinaryIO:
    """The bytes of a file as UTF-8, which they are by default, or by their mark are not."""
    buffered: Any = file if isinstance(file, io.BufferedReader) else _buffered(file)
    start = buffered.peek(4)[:4]
    if start.startswith(codecs.BOM_UTF8):  # whatever the user named: it leaves no doubt
        return cast(BinaryIO, buffered)
    marked = next((name for mark, name in MARKS if start.startswith(mark)), None)
    encoding = marked or encoding
    if encoding is None or check_encoding(encoding) == "utf-8":
        return cast(BinaryIO, buffered)
    return _buffered(_Recoded(buffered, encoding))


def is_marked(start: bytes) -> bool:
    """Whether a file with these first bytes begins with a byte-order mark.

    >>> is_marked("\ufeffprompt".encode()), is_marked(b"prompt")
    (True, False)
    """
    return start.startswith((codecs.BOM_UTF8, *(mark for mark, _ in MARKS)))


def _buffered(file: Any) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(file, BYTES_AT_ONCE))


class _Recoded(io.RawIOBase):
    """The bytes of a file in one encoding, in UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="plaudit-blame")
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, target: bytearray) -> int:  # type: ignore[override]
        while not self._ready and not self._ended:
            piece = self._file.read(BYTES_AT_ONCE)
            self._ended = not piece
            text = self._decoder.decode(piece, final=self._ended)
            self._ready = text.encode("utf-8", "surrogatepass")
        taken = min(len(target), len(self._ready))
        target[:taken] = self._ready[:taken]
        self._ready = self._ready[taken:]
        return taken


def _blame(error: UnicodeError) -> tuple[str, int]:
    """A lone surrogate for what cannot be decoded: no text has one, so that the row is found."""
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error("plaudit-blame", _blame)


def likely_encoding(data: bytes) -> str:
    """What bytes that are no UTF-8 probably are in, to propose it.

    >>> likely_encoding("Übung".encode("cp1252")), likely_encoding("ab".encode("utf-16-le"))
    ('cp1252', 'utf-16-le')
    """
    if data[1::2].count(0) > len(data) // 4:
        return "utf-16-le"
    if data[::2].count(0) > len(data) // 4:
        return "utf-16-be"
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def delimiter_of(head: Sequence[str]) -> tuple[str, int]:
    """What stands between the fields of a table, and how many lines to leave out before it.

    The header decides: it is the character, outside quotes, that divides it into the most fields,
    and a comma in doubt. A first line `sep=;`, which some spreadsheets write and read, says it.

    >>> delimiter_of(["prompt;answer, in full;rank"]), delimiter_of(["sep=;", "a;b"])
    ((';', 0), (';', 1))
    """
    if head and (stated := re.fullmatch(r"sep=(.)", head[0].strip("\ufeff\r\n"))):
        return stated[1], 1
    counts = dict.fromkeys(DELIMITERS, 0)
    quoted = False
    for character in "".join(head).lstrip():
        if character == '"':
            quoted = not quoted
        elif not quoted and character == "\n":
            break
        elif not quoted and character in counts:
            counts[character] += 1
    return max(DELIMITERS, key=lambda each: counts[each]), 0
