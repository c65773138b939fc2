"""Conversations as chat logs have them: `messages` or `conversations`, the last reply among them.

Nothing says how good the reply is, so nothing is learnt from such rows. To be scored the turns of
the assistant at the end are the completion, and what stands before them is the prompt.
"""

from plaudit.data.cells import is_messages, read_text
from plaudit.data.chat import without_reply
from plaudit.data.layouts import COMMON, COMPLETION, COMPLETIONS, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import messages, opened
from plaudit.data.rankings import BadRowError, Fault

# Beside one of these the messages are a prompt, or one of several dialogues.
REPLIES = (*COMPLETION, *COMPLETIONS, "reply", "chosen", "rejected", "response_a", "response_b")


def give(cell: Cells) -> Given:
    """The reply at the end."""
    turns = read_text(cell("conversation"), "conversation", True)
    if isinstance(turns, str):
        raise BadRowError(Fault.NOT_TEXT, "the conversation is no messages: plain text")
    if lacks := without_reply(turns[-1:]):
        raise BadRowError(Fault.NO_REPLY, f"the conversation has no reply: {lacks}")
    start = len(turns) - 1
    while start and turns[start - 1]["role"] == turns[-1]["role"]:
        start -= 1
    return Given(
        prompt=opened(turns[:start], cell("system"), cell("tools")),
        completions=(turns[start:],),
        **common(cell),
    )


def _fits(cell: Cells) -> bool:
    if "reply" in cell.columns:
        return False
    try:
        return is_messages(messages(cell("conversation")))
    except BadRowError:
        return False


LAYOUT = Layout(
    texts={"conversation": ("messages", "conversations", "conversation")},
    order={},
    optional={**COMMON, "reply": REPLIES, "system": ("system",), "tools": ("tools",)},
    give=give,
    row="completion",
    learnt=False,
    rewards=("reward",),
    precedence=95,  # what names a completion of its own says more
    fits=_fits,
)
