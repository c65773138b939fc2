"""HelpSteer and HelpSteer2: a `response` a row, with five attributes from 0 to 4.

The more helpful response to a prompt is better, as in the preference pairs that HelpSteer2's
authors make of it; all five attributes are kept. Sources: the cards of nvidia/HelpSteer and
nvidia/HelpSteer2; Wang et al. 2024, arXiv:2406.08673, on pairs for DPO.
"""

from plaudit.data.layouts import COMMON, Cells, Given, Layout, common

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def give(cell: Cells) -> Given:
    """One response; the rows of a prompt make its ranking."""
    return Given(
        prompt=cell("prompt"),
        completions=(cell("response"),),
        ratings=(cell("helpfulness"),),
        order_name="helpfulness",
        attributes={name: (cell(name),) for name in ATTRIBUTES},
        **common(cell),
    )


LAYOUT = Layout(
    texts={"prompt": ("prompt",), "response": ("response",)},
    order={"helpfulness": ("helpfulness",)},
    optional={**COMMON, **{name: (name,) for name in ATTRIBUTES[1:]}},
    give=give,
    row="completion",
    rewards=("reward",),
    fits=lambda cell: cell.columns.keys() >= set(ATTRIBUTES),
    better="the higher helpfulness",
)
