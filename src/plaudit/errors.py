"""The one exception that plaudit raises for a mistake of its user's.

Its text is for the person who reads it: what is wrong, in which file and line or setting, and what
to do about it. The command line prints it on one line and exits 1; anything else that escapes is a
bug of ours and keeps its traceback.
"""


class PlauditError(Exception):
    """Something the user can mend: the message says what, where and how."""


def check_at_most_one(**options: object) -> None:
    """Raise `PlauditError` where more than one of these options is given.

    >>> check_at_most_one(resume=True, overwrite=True)
    Traceback (most recent call last):
    plaudit.errors.PlauditError: --resume and --overwrite exclude each other; give one
    """
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if len(given) > 1:
        raise PlauditError(f"{' and '.join(given)} exclude each other; give one")
