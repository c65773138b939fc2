"""Pairs: `chosen` and `rejected`, with their `prompt` or both beginning with it."""

from plaudit.data.layouts import COMMON, PROMPT, Cells, Given, Layout, common


def give(cell: Cells) -> Given:
    """The chosen completion first."""
    return Given(
        prompt=cell("prompt"),
        completions=(cell("chosen"), cell("rejected")),
        names=("chosen", "rejected"),
        implicit="prompt" not in cell.columns,
        ranks=(0, 1),
        **common(cell),
    )


LAYOUT = Layout(
    texts={"chosen": ("chosen",), "rejected": ("rejected",)},
    order={},
    optional={"prompt": PROMPT, **COMMON},
    give=give,
    row="pair",
    rewards=("reward_chosen", "reward_rejected"),
    precedence=10,
)
