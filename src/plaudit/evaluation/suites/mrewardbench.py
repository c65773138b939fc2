"""M-RewardBench (2024), by Cohere Labs Community: RewardBench translated into 23 languages."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plaudit.data.cells import read_label
from plaudit.data.rankings import BadRowError, Fault
from plaudit.data.rows import Row
from plaudit.evaluation.suite import (
    Item,
    Means,
    Part,
    Suite,
    categories_of,
    higher_is_right,
    make_item,
    read_category,
    together,
)

# Section → subset → its weight within the section, EXAMPLE_COUNTS of analysis/plot_utils.py.
MREWARDBENCH_SECTIONS: dict[str, dict[str, int]] = {
    "Chat": {
        "alpacaeval-easy": 79,
        "alpacaeval-length": 79,
        "alpacaeval-hard": 76,
        "mt-bench-easy": 24,
        "mt-bench-med": 38,
    },
    "Chat Hard": {
        "mt-bench-hard": 35,
        "llmbar-natural": 76,
        "llmbar-adver-neighbor": 124,
        "llmbar-adver-GPTInst": 87,
        "llmbar-adver-GPTOut": 42,
        "llmbar-adver-manual": 43,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 247,
        "donotanswer": 135,
    },
    "Reasoning": {
        "math-prm": 983,  # 447 items, weighted as much as the six programming languages together
        "hep-cpp": 164,
        "hep-go": 164,
        "hep-java": 164,
        "hep-js": 164,
        "hep-python": 163,
        "hep-rust": 164,
    },
}
ITEMS = 2869  # of each language
LANGUAGES = (  # experiments/run_rm_evals.sh
    *("arb_Arab", "ces_Latn", "deu_Latn", "ell_Grek", "fra_Latn", "heb_Hebr", "hin_Deva"),
    *("ind_Latn", "ita_Latn", "jpn_Jpan", "kor_Hang", "nld_Latn", "pes_Arab", "pol_Latn"),
    *("por_Latn", "ron_Latn", "rus_Cyrl", "spa_Latn", "tur_Latn", "ukr_Cyrl", "vie_Latn"),
    *("zho_Hans", "zho_Hant"),
)
ENGLISH = "eng_Latn"


def read_mrewardbench(row: Row) -> Item:
    """`prompt`, `chosen`, `rejected`, `source` (the subset) and `language`: chosen first.

    The language is known by its code in FLORES, arb_Arab for example, which the published files'
    folders, and subsets on the hub, are called; else by what the column says.
    """
    cell = row.values or {}
    subsets = [subset for section in MREWARDBENCH_SECTIONS.values() for subset in section]
    known = (*LANGUAGES, ENGLISH)
    named = [code for code in re.findall(r"[a-z]{3}_[A-Z][a-z]{3}", row.file) if code in known]
    language = named[-1] if named else read_label(cell.get("language"), "language")
    if language not in known:
        raise BadRowError(
            Fault.UNKNOWN, f"unknown language: {language!r}, wanted a code as arb_Arab"
        )
    return make_item(
        row,
        language,
        cell.get("prompt"),
        [cell.get("chosen"), cell.get("rejected")],
        [0, 1],
        names=("chosen", "rejected"),
        id=cell.get("id"),
        about=read_category(cell.get("source"), "source", subsets),
    )


def score_mrewardbench(
    items: Sequence[Item], rewards: Sequence[Sequence[float]], mean: Means
) -> Part:
    """Of each language the plain average of four sections; the plain average of the languages.

    English, where it is there, is beside the average and not in it. Gureja et al. 2024,
    arXiv:2410.15522; `get_scores` of analysis/plot_utils.py, `get_leaderboard` of
    analysis/_plot_leaderboard.py.
    """
    right, languages = higher_is_right(items, rewards), categories_of(items)
    subsets = np.array([item.about for item in items])

    def part(among: NDArray[np.bool_]) -> Part:
        sections = {}
        for section, weights in MREWARDBENCH_SECTIONS.items():
            parts = {
                subset: mean.part(right, among & (subsets == subset))
                for subset in weights
                if (among & (subsets == subset)).any()
            }
            if parts:
                whole = together(parts, [weights[subset] for subset in parts])
                whole.parts = {}  # 23 subsets of 23 languages are more than anybody reads
                sections[section] = whole
        return together(sections)

    there = [code for code in (*LANGUAGES, ENGLISH) if code in languages]
    parts = {code: part(languages == code) for code in there}
    return together(parts, [float(code != ENGLISH or there == [ENGLISH]) for code in there])


SUITE = Suite(
    title="M-RewardBench",
    fields=("prompt", "chosen", "rejected", "language", "source"),
    lists=False,
    read=read_mrewardbench,
    score=score_mrewardbench,
    counts=dict.fromkeys(LANGUAGES, ITEMS),
    beside=(ENGLISH,),
    definition="the average of the languages but English, each the average of Chat, Chat Hard, "
    "Safety and Reasoning, each the average of its subsets by their published sizes, mathematics "
    "weighted as much as code; equal rewards count as wrong",
    source="Gureja et al. 2024, arXiv:2410.15522; Cohere-Labs-Community/m-rewardbench: "
    "scripts/run_rewardbench.py, get_scores of analysis/plot_utils.py, get_leaderboard of "
    "analysis/_plot_leaderboard.py",
    hub="CohereLabsCommunity/multilingual-reward-bench",
    split="test",
)
