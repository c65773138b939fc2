"""Unpaired preferences, as KTO takes them: one `completion` a row, and whether it is good.

`label` true is better than false; a prompt needs completions of both kinds. Source: TRL's "dataset
formats", unpaired preference; Ethayarajh et al. 2024, arXiv:2402.01306.
"""

from typing import Any

from plaudit.data.layouts import Cells, Given, Layout, common
from plaudit.data.layouts._shapes import verdict, word
from plaudit.data.layouts._written import beside
from plaudit.data.rankings import Ranking

LABELS = {"true": (0,), "false": (1,), "1": (0,), "0": (1,)}


def give(cell: Cells) -> Given:
    """One completion; the rows of a prompt make its ranking."""
    return Given(
        prompt=cell("prompt"),
        completions=(cell("completion"),),
        ranks=verdict(cell("label"), "label", LABELS),
        **common(cell),
    )


def write(ranking: Ranking) -> list[dict[str, Any]]:
    """A row for each completion: the best ones are good, all others are not."""
    return [
        {
            "prompt": ranking.prompt,
            "completion": completion,
            "label": rank == min(ranking.ranks),
            **beside(ranking, i),
        }
        for i, (completion, rank) in enumerate(zip(ranking.completions, ranking.ranks, strict=True))
    ]


LAYOUT = Layout(
    texts={"prompt": ("prompt",), "completion": ("completion",)},
    order={"label": ("label",)},
    single=("completion",),
    give=give,
    row="completion",
    rewards=("reward",),
    precedence=60,  # a rank or score beside the label says more
    fits=lambda cell: isinstance(cell("label"), bool) or word(cell("label")) in ("true", "false"),
    better="label true",
    write=write,
)
