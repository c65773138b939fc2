"""OffsetBias: an `instruction`, perhaps with its `input`, and two outputs.

`label` is the number, 1 or 2, of the better output. Source: the card of NCSOFT/offsetbias; Park et
al. 2024, arXiv:2407.06551.
"""

from plaudit.data.layouts import COMMON, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import FIRST, SECOND, instruction_and_input, verdict


def give(cell: Cells) -> Given:
    """Output 1 first."""
    return Given(
        prompt=instruction_and_input(cell("instruction"), cell("input")),
        completions=(cell("output_1"), cell("output_2")),
        names=("output_1", "output_2"),
        ranks=verdict(cell("label"), "label", {"1": FIRST, "2": SECOND}),
        **common(cell),
    )


LAYOUT = Layout(
    texts={
        "instruction": ("instruction",),
        "output_1": ("output_1",),
        "output_2": ("output_2",),
    },
    order={"label": ("label",)},
    optional={**COMMON, "input": ("input",)},
    give=give,
    row="pair",
    better="that of label",
)
