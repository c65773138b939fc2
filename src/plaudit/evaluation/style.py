"""What a model may lean on instead of quality: length, lists, markdown, and whitespace.

People who rank completions like the longer and better formatted ones too, so to prefer those is no
fault by itself. It is one where it outweighs what was asked: when the chosen completion is the
shorter of the two. So every amount (of characters, list items, markdown marks) is held against the
rewards in the same way, and a rule that looks at that amount alone scores 0.5 under control.
"""

import re
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from plaudit.data.cells import said
from plaudit.data.rankings import Text
from plaudit.errors import PlauditError
from plaudit.evaluation import items
from plaudit.evaluation.items import Items, means
from plaudit.evaluation.layout import Floats, Layout, flatten, lay_out
from plaudit.evaluation.statistics import Figure, Statistic, resample

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


def correlation(
    rewards: Sequence[ArrayLike],
    amounts: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Mean over rankings of Spearman's ρ between rewards and an amount, length for example.

    Within rankings, since prompts that ask for long completions may well get higher rewards. Those
    in which all completions have the same amount are left out; constant rewards count 0. `amounts`
    holds one array [K_i] per ranking; other arguments as in `metrics.pairwise_accuracy`. Raises
    `PlauditError` also when no amounts differ.

    >>> correlation([[3.0, 2.0, 1.0]], [[10, 30, 20]], [[0, 1, 1]], resamples=0).value
    -0.5
    """
    layout = lay_out(ranks, prompts)
    reward, amount = flatten(rewards, layout, "reward"), flatten(amounts, layout, "amount")
    statistic = means(layout, [items.spearman(layout, reward, amount)])
    return _figure(statistic, layout, resamples, seed)


def accuracy_where(
    more: bool,
    rewards: Sequence[ArrayLike],
    amounts: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Pairwise accuracy over the pairs whose better completion has more, or less, of an amount.

    Arguments and errors as in `correlation`; also when there is no such pair.

    >>> rewards, lengths = [[3.0, 2.0, 1.0]], [[10, 20, 5]]  # the best is shorter than the second
    >>> accuracy_where(False, rewards, lengths, [[0, 1, 2]], resamples=0).value
    1.0
    """
    layout = lay_out(ranks, prompts)
    reward, amount = flatten(rewards, layout, "reward"), flatten(amounts, layout, "amount")
    half = halves(layout, reward, amount)[0 if more else 1]
    return _figure(means(layout, [half], shares=True), layout, resamples, seed)


def controlled_accuracy(
    rewards: Sequence[ArrayLike],
    amounts: Sequence[ArrayLike],
    ranks: Sequence[ArrayLike],
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Pairwise accuracy with an amount, length for example, taken out of play.

    The mean of the accuracy where the better completion has more of it and where it has less: what
    pairwise accuracy would be if both were equally common. A rule that looks at nothing but the
    amount is always right in one half and always wrong in the other, so it scores exactly 0.5,
    whatever the data prefer; so does a coin toss. Pairs of equal amounts say nothing of this and
    are left out. It is the balanced accuracy of Brodersen et al. 2010, ICPR, with the halves as its
    two classes.

    Arguments and errors as in `correlation`; also when one of the halves has no pair.

    >>> lengths, ranks = [[10, 20], [9, 5], [9, 4]], [[0, 1], [0, 1], [0, 1]]
    >>> controlled_accuracy(lengths, lengths, ranks, resamples=0).value
    0.5
    """
    layout = lay_out(ranks, prompts)
    reward, amount = flatten(rewards, layout, "reward"), flatten(amounts, layout, "amount")
    return _figure(controlled(layout, *halves(layout, reward, amount)), layout, resamples, seed)


def halves(layout: Layout, score: Floats, amount: Floats) -> tuple[Items, Items]:
    """Whether pairs are right, those whose better completion has more, and those where it has less.

    Items as those of `items.pairwise_accuracy`.
    """
    right, ranking = items.pairwise_accuracy(layout, score)
    gap = amount[layout.better] - amount[layout.worse]
    more, less = (Items(right[half], ranking[half]) for half in (gap > 0, gap < 0))
    return more, less


def controlled(layout: Layout, more: Items, less: Items) -> Statistic:
    """The mean of the means of both halves, ready to be resampled; NaN where one is empty."""
    both = means(layout, [more, less], shares=True)

    def of(weights: Floats) -> Floats:
        return both.of(weights).mean(axis=1, keepdims=True)

    trials = np.array([float(len(more.values) + len(less.values))])
    return Statistic(both.values.mean(keepdims=True), of, both.prompts.min(keepdims=True), trials)


def _figure(statistic: Statistic, layout: Layout, resamples: int, seed: int) -> Figure:
    if np.isnan(statistic.values[0]):
        raise PlauditError(
            "nothing to measure: no completions of a ranking differ in the amount as this needs; "
            "it takes data in which they do"
        )
    return resample([statistic], len(layout.asked), resamples=resamples, seed=seed)[0][0]
