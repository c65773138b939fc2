"""What a model sees of rankings: which of them it takes, and what is left of those.

Rankings are encoded as in training, a window at a time. What the chat template or the tokenizer
refuses is left out of the data with the reason, so that it is in `rejected.jsonl` as what could not
be read is.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from plaudit.console import progress, say
from plaudit.data.rankings import Ranking
from plaudit.data.readers import BadRows, Rankings
from plaudit.model.encoding import Encoding, RefusedError, count_truncation

ENCODE_AT_ONCE = 256  # rankings; a tokenizer works in parallel over the rows of one call


def each_encoded(
    rankings: Iterable[Ranking], encoding: Encoding
) -> Iterator[tuple[Ranking, dict[str, Any] | RefusedError]]:
    """Each ranking with its rows of tokens, or with why there are none; memory stays flat."""
    left = iter(rankings)
    while window := list(islice(left, ENCODE_AT_ONCE)):
        yield from zip(window, encoding.encode_each(window), strict=True)


def each_encoded_ahead(
    rankings: Iterable[Ranking], encoding: Encoding
) -> Iterator[tuple[Ranking, dict[str, Any] | RefusedError]]:
    """`each_encoded`, the next window being encoded in a thread while the present one is used.

    Tokenizers and models compute outside of Python, so one need not wait for the other. Rankings
    are read here and not in the thread, so that what is counted of them is the same every time.
    """
    left = iter(rankings)
    present = list(islice(left, ENCODE_AT_ONCE))
    with ThreadPoolExecutor(1) as thread:
        encoded = thread.submit(encoding.encode_each, present)
        while present:
            following = list(islice(left, ENCODE_AT_ONCE))
            encoded_next = thread.submit(encoding.encode_each, following)
            yield from zip(present, encoded.result(), strict=True)
            present, encoded = following, encoded_next


def taken(
    rankings: Iterable[Ranking],
    encodings: Sequence[Encoding],
    data: Rankings | BadRows | None,
    what: str = "encoding",
    counts: dict[str, int] | None = None,
) -> list[Ranking]:
    """The rankings that can be encoded in all these ways; the others are left out of `data`.

    `data` are what these rankings are part of, or belong to. Where there are none, as of rankings
    made in Python, what is left out is only said. `counts` gets what the first of these encodings
    truncates (`count_truncation`).

    Raises:
        PlauditError: when more are refused than `data` allow.
    """
    rejects = data
    if rejects is None:
        rejects = Rankings(files=[], format="records", columns={}, streaming=False, max_rejected=1)
    kept = list(rankings)
    for number, encoding in enumerate(encodings):
        before, kept = kept, []
        for ranking, row in each_encoded(progress(before, what), encoding):
            if isinstance(row, RefusedError):
                rejects.leave_out(ranking, row)
            else:
                kept.append(ranking)
                if counts is not None and not number:
                    count_truncation([row], counts, encoding.unknown)
    rejects.stop_if_too_many()
    if data is None and isinstance(rejects, Rankings) and (line := rejects.describe_left_out()):
        say(line)
    return kept
