"""What a model may lean on instead of quality: length, lists, markdown, and whitespace.

People who rank completions like the longer and better formatted ones too, so to prefer those is no
fault by itself. It is one where it outweighs what was asked: when the chosen completion is the
shorter of the two. So every amount (of characters, list items, markdown marks) is held against the
rewards in the same way, and a rule that looks at that amount alone scores 0.5 under control.
"""

import re

import numpy as np

from plaudit.data.cells import said
from plaudit.data.rankings import Text
from plaudit.evaluation import items
from plaudit.evaluation.items import Items, means
from plaudit.evaluation.layout import Floats, Layout
from plaudit.evaluation.statistics import Statistic

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


def change_whitespace(text: Text, rng: np.random.Generator) -> Text:
    """The text with its whitespace changed in a way that means nothing, drawn from those that fit.

    A trailing newline; blank lines between its lines; two spaces after each sentence. Texts with a
    code block get only the first. Of messages the last is changed.

    >>> change_whitespace("Yes.", np.random.default_rng(0))
    'Yes.\\n'
    """
    if not isinstance(text, str):
        last = text[-1]
        if not isinstance(last["content"], str):
            return text
        return [*text[:-1], last | {"content": change_whitespace(last["content"], rng)}]
    ways = [text + "\n"]
    if "```" not in text:
        ways += [text.replace("\n", "\n\n"), re.sub(r"(?<=[.!?]) (?=\S)", "  ", text)]
    ways = [way for way in ways if way != text]
    return ways[rng.integers(len(ways))]


def halves(layout: Layout, score: Floats, amount: Floats) -> tuple[Items, Items]:
    """Whether pairs are right, those whose better completion has more, and those where it has less.

    Items as those of `items.pairwise_accuracy`.
    """
    right, ranking = items.pairwise_accuracy(layout, score)
    gap = amount[layout.better] - amount[layout.worse]
    more, less = (Items(right[half], ranking[half]) for half in (gap > 0, gap < 0))
    return more, less


def controlled(layout: Layout, more: Items, less: Items) -> Statistic:
    """Pairwise accuracy with an amount, length for example, taken out of play.

    The mean of the accuracy where the better completion has more of it and where it has less: what
    pairwise accuracy would be if both were equally common. A rule that looks at nothing but the
    amount is always right in one half and always wrong in the other, so it scores exactly 0.5,
    whatever the data prefer; so does a coin toss. Pairs of equal amounts have no say. It is the
    balanced accuracy of Brodersen et al. 2010, ICPR, with the halves as its two classes. NaN where
    a half is empty.
    """
    both = means(layout, [more, less], shares=True)

    def of(weights: Floats) -> Floats:
        return both.of(weights).mean(axis=1, keepdims=True)

    trials = np.array([float(len(more.values) + len(less.values))])
    return Statistic(both.values.mean(keepdims=True), of, both.prompts.min(keepdims=True), trials)
