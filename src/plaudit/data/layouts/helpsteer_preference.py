"""HelpSteer2-Preference and HelpSteer3: two responses and how much which of them is preferred.

The preference is a whole number from -3, response 1 is much better, to 3, response 2 is much
better; its size is kept as the strength. It is no margin: the authors scale the loss by it, and
find that better than a margin. Sources: the cards of nvidia/HelpSteer2 (preference) and
nvidia/HelpSteer3; Wang et al. 2024, arXiv:2410.01257.
"""

from plaudit.data.layouts import COMMON, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import FIRST, SECOND, TIE, verdict, word

PREFERENCES: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("-3", "-2", "-1"), FIRST),
    "0": TIE,
    **dict.fromkeys(("1", "2", "3"), SECOND),
}


def give(cell: Cells) -> Given:
    """Response 1 first."""
    preference = word(cell("preference"))
    return Given(
        prompt=cell("prompt"),
        completions=(cell("response_1"), cell("response_2")),
        names=("response_1", "response_2"),
        ranks=verdict(cell("preference"), "preference", PREFERENCES),
        strength=abs(int(preference)) if preference in PREFERENCES else None,
        **common(cell),
    )


LAYOUT = Layout(
    texts={
        "prompt": ("prompt", "context"),
        "response_1": ("response_1", "response1"),
        "response_2": ("response_2", "response2"),
    },
    order={"preference": ("preference_strength", "overall_preference")},
    optional={**COMMON, "category": ("category", "domain")},
    give=give,
    row="pair",
    fits=lambda cell: "preference" in cell.columns,
    better="response 1 below zero, response 2 above",
)
