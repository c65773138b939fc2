"""webgpt_comparisons: a `question` with two answers, `answer_0` and `answer_1`, and their scores.

The higher score, from -1 to 1, is better; the two add up to 0, and equal ones are a tie. The quotes
behind each answer are not used. Source: the card of openai/webgpt_comparisons; Nakano et al. 2021,
arXiv:2112.09332.
"""

from plaudit.data.layouts import Cells, Given, Layout, common
from plaudit.data.layouts._shapes import is_record, record


def give(cell: Cells) -> Given:
    """Answer 0 first."""
    return Given(
        prompt=record(cell("question"), "question").get("full_text"),
        completions=(cell("answer_0"), cell("answer_1")),
        names=("answer_0", "answer_1"),
        ratings=(cell("score_0"), cell("score_1")),
        order_name="score",
        **common(cell),
    )


LAYOUT = Layout(
    texts={"question": ("question",), "answer_0": ("answer_0",), "answer_1": ("answer_1",)},
    order={"score_0": ("score_0",), "score_1": ("score_1",)},
    give=give,
    row="pair",
    fits=lambda cell: is_record(cell("question"), "full_text"),
    better="the higher score",
)
