"""The one exception that plaudit raises for a mistake of its user's.

Its text is for the person who reads it: what is wrong, in which file and line or setting, and what
to do about it. The command line prints it on one line and exits 1; anything else that escapes is a
bug of ours and keeps its traceback.
"""


class PlauditError(Exception):
    """Something the user can mend: the message says what, where and how."""
