"""The prompt of what is to be summarised in summarize_from_feedback, as its authors put it."""

from typing import Any

from plaudit.data.layouts._shapes import EMPTY, record
from plaudit.data.rankings import BadRowError, Fault


def to_summarise(info: Any) -> str:
    """The prompt for a post of Reddit's, or for a news article.

    Its form is that of the authors' tasks (Stiennon et al. 2020, arXiv:2009.01325, appendix B.1).

    >>> to_summarise({"subreddit": "cats", "title": "A cat", "post": "It sleeps."})
    'SUBREDDIT: r/cats\\n\\nTITLE: A cat\\n\\nPOST: It sleeps.\\n\\nTL;DR:'
    """
    info = record(info, "info")
    if info.get("post") not in EMPTY:
        head = [("SUBREDDIT: r/", "subreddit"), ("TITLE: ", "title"), ("POST: ", "post")]
        parts = [label + str(info[key]) for label, key in head if info.get(key) not in EMPTY]
    elif info.get("article") not in EMPTY:
        parts = [f"Article:\n\n{info['article']}"]
    else:
        raise BadRowError(Fault.MISSING, "the post or article is missing")
    return "\n\n".join([*parts, "TL;DR:"])
