"""What a model may lean on instead of quality: length, lists, markdown.

People who rank completions like the longer and better formatted ones too, so to prefer those is no
fault by itself. It is one where it outweighs what was asked: when the chosen completion is the
shorter of the two. So every amount (of characters, list items, markdown marks) is held against the
rewards in the same way (`items.accuracy_by_amount`). Here amounts are counted.
"""

import re

from plaudit.data.cells import said
from plaudit.data.rankings import Text

LIST_ITEM = re.compile(r"^[ \t]*(?:[-*+•‣]|\d{1,3}[.)])[ \t]+\S", re.MULTILINE)
CODE_BLOCK = re.compile(r"^[ \t]*```.*?^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)
MARKDOWN_MARK = re.compile(
    r"""^[ \t]{0,3}\#{1,6}[ \t]+\S         # a heading
    | ^[ \t]{0,3}>[ \t]?\S                 # a line of a quotation
    | ^[ \t]*\|.*\|[ \t]*$                 # a row of a table
    | ^[ \t]*```                           # a code block that does not end
    | \*\*[^*\n]+\*\* | __[^_\n]+__        # bold
    | (?<![*\w])\*[^*\s][^*\n]*\*(?![*\w]) # italic
    | `[^`\n]+`                            # code
    | \[[^\[\]\n]+\]\([^()\s]+\)           # a link or a picture
    """,
    re.MULTILINE | re.VERBOSE,
)


def count_list_items(text: Text) -> int:
    """Lines that begin as an item of a bulleted or numbered list.

    >>> count_list_items("Two reasons:\\n- cost\\n- time\\n\\n1. First\\n2024 was dry")
    3
    """
    return len(LIST_ITEM.findall(said(text)))


def count_markdown_marks(text: Text) -> int:
    """Headings, bold and italic spans, code, code blocks, links, quoted lines and table rows.

    A code block counts once, whatever is in it. List items are not among them.

    >>> count_markdown_marks("# Title\\n**Bold**, `code`, 2 * 3 * 4\\n```\\n# a comment\\n```")
    4
    """
    prose, blocks = CODE_BLOCK.subn("", said(text))
    return blocks + len(MARKDOWN_MARK.findall(prose))
