"""Whether the Hugging Face hub can be reached, asked once and not again for a minute.

Its libraries try every file again and again, which takes minutes where there is no network.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

SECONDS = 10.0  # for an answer, as the hub's own library waits
AGAIN = 60.0  # seconds until it is asked again

_asked: tuple[float, str] | None = None  # when, and why it was not reached
_switching = threading.Lock()
_before: list[tuple[Any, bool]] = []  # what was set in each library, while somebody is within
_within = 0  # how many are


@contextlib.contextmanager
def asking_hub() -> Iterator[str]:
    """Within it the hub's libraries do not ask a hub that is not reached, and look among the files
    that they kept, as `HF_HUB_OFFLINE` has them do. Gives why it is not reached, else nothing.

    What the libraries do is the whole process's: the last of several threads to leave restores it.
    """
    global _within
    from huggingface_hub import constants

    with _switching:
        why = "" if constants.HF_HUB_OFFLINE and not _within else _why_not_reached()
        if why:
            told: list[Any] = [constants]
            if "datasets" in sys.modules:  # which has a copy of what that says
                told.append(sys.modules["datasets"].config)
            if not _within:
                _before[:] = [(module, module.HF_HUB_OFFLINE) for module in told]
            for module in told:
                module.HF_HUB_OFFLINE = True
            _within += 1
    try:
        yield why
    finally:
        if why:
            with _switching:
                _within -= 1
                if not _within:
                    for module, offline in _before:
                        module.HF_HUB_OFFLINE = offline


def is_missing(error: BaseException | None) -> bool:
    """Whether an error says, itself or by what it comes of, that a file is not among those that
    were kept, or that there is no connection to ask for it."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    if error is None:
        return False
    if isinstance(error, ConnectionError | LocalEntryNotFoundError):
        return True
    return is_missing(error.__cause__ or error.__context__)


def _is_slow(error: Exception) -> bool:
    """Whether the hub was reached and did not answer in time."""
    # By name: which library asks depends on the hub's version, and each has classes of its own.
    return any("ReadTimeout" in kind.__name__ for kind in type(error).__mro__)


def _why_not_reached() -> str:
    global _asked
    if _asked is not None and time.monotonic() - _asked[0] < AGAIN:
        return _asked[1]
    from huggingface_hub import constants, get_session

    why = ""
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)  # by a proxy, where one is set
    except Exception as error:  # whatever the libraries between here and there raise
        # A slow hub may yet answer, and its libraries wait longer and try again.
        if not _is_slow(error):
            why = " ".join(str(error).split())[:200] or type(error).__name__
    _asked = time.monotonic(), why
    return why
