"""What a model leans on: counts of formatting, and rules that look at nothing else."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import spearmanr

from drawn import RANKINGS, ordered_pairs, plain_bootstrap, some_rankings
from plaudit.evaluation.style import count_list_items, count_markdown_marks
from plaudit.evaluation.summary import summarise


@pytest.mark.parametrize(
    ("text", "items", "marks"),
    [
        ("", 0, 0),
        ("Just a sentence - with a dash, 3.5 % of it.", 0, 0),
        ("- one\n* two\n+ three\n• four", 4, 0),
        ("1. one\n2) two\n  10. three\n1994. was no year for it", 3, 0),
        ("-no space\n2.5 million\n-", 0, 0),
        ("# Title\n## Part\n#hashtag", 0, 2),
        ("**bold** __bold__ *italic* `code` [a](b) ![c](d)", 0, 6),
        ("2 * 3 * 4 and a*b*c and snake_case_name", 0, 0),
        ("- **Cost**: low\n- **Time**: short", 2, 2),
        ("```python\n# a comment\nx = `y`\n```", 0, 1),
        ("```\nthis never ends\n", 0, 1),
        ("| a | b |\n| - | - |\n> quoted", 0, 3),
        ([{"role": "user", "content": "- a"}, {"role": "assistant", "content": "# b"}], 1, 1),
        ([{"role": "assistant", "content": [{"type": "text", "text": "- **a**"}]}], 1, 1),
    ],
)
def test_counts(text, items, marks):
    assert (count_list_items(text), count_markdown_marks(text)) == (items, marks)


@pytest.mark.parametrize("piece", ["*", "`", "[", "[a](", "|", "| ", "```\n", "> ", "_", "\n", " "])
def test_counting_takes_time_in_proportion_to_the_text(piece):
    def seconds(count, size):
        text = piece * size
        start = time.process_time()
        count(text)
        return time.process_time() - start

    for count in (count_list_items, count_markdown_marks):
        # Quadratic time would take 64 times as long for 8 times the text, and 2 s or more.
        short = min(seconds(count, 5_000) for _ in range(3))
        long = min(seconds(count, 40_000) for _ in range(3))
        assert long < max(24 * short, 0.05)


def leaning(rewards, amounts, ranks, *, prompts=None, **options):
    """What a summary says of an amount."""
    prompts = range(len(ranks)) if prompts is None else prompts
    return summarise(rewards, ranks, prompts=prompts, lengths=amounts, **options)["style"]["length"]


def plain_halves(rewards, amounts, ranks):
    """Lists of right and wrong where the better has more, and where it has less."""
    halves = [], []
    for r, a, k in zip(rewards, amounts, ranks, strict=True):
        for i, j in ordered_pairs(k):
            if a[i] != a[j]:
                halves[int(a[i] < a[j])].append(0.5 * (1 + np.sign(r[i] - r[j])))
    return halves


@given(RANKINGS)
@settings(max_examples=100)
def test_leanings_agree_with_plain_loops(rankings):
    rewards, ranks, amounts, _, _ = map(list, zip(*rankings, strict=True))
    more, less = plain_halves(rewards, amounts, ranks)
    rhos = [
        spearmanr(r, a).statistic if len(set(r)) > 1 else 0.0
        for r, a, k in zip(rewards, amounts, ranks, strict=True)
        if len(set(k)) > 1 and len(set(a)) > 1
    ]

    summary = leaning(rewards, amounts, ranks, resamples=0) or {}
    both = (np.mean(more) + np.mean(less)) / 2 if more and less else None
    for name, expected in (
        ("accuracy_where_more", np.mean(more) if more else None),
        ("accuracy_where_less", np.mean(less) if less else None),
        ("controlled_accuracy", both),
        ("correlation", np.mean(rhos) if more or less else None),
    ):
        record = summary.get(name)
        if expected is None:
            assert record is None, name
        else:
            assert record["value"] == pytest.approx(expected, abs=1e-9), name


def test_a_rule_that_looks_at_the_amount_alone_scores_one_half():
    _, ranks, lengths, prompts = some_rankings()
    rule = leaning(lengths, lengths, ranks, prompts=prompts)
    assert rule["controlled_accuracy"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert rule["accuracy_where_more"]["value"] == 1
    assert rule["accuracy_where_less"]["value"] == 0
    assert rule["correlation"]["value"] == pytest.approx(1)
    against = leaning([-length for length in lengths], lengths, ranks)
    assert against["controlled_accuracy"]["value"] == 0.5
    assert against["correlation"]["value"] == pytest.approx(-1)


def test_a_model_that_knows_and_does_not_lean_keeps_its_accuracy_under_control():
    _, ranks, lengths, _ = some_rankings()
    perfect = leaning([-rank for rank in ranks], lengths, ranks)
    figure = perfect["controlled_accuracy"]
    assert (figure["value"], figure["high"]) == (1, 1)
    assert 0.8 < figure["low"] < 1  # all right is no certainty
    assert perfect["correlation"] == perfect["correlation_in_data"]


def test_intervals_are_those_of_a_plain_bootstrap_over_prompts():
    rewards, ranks, lengths, prompts = some_rankings()

    def measure(rows):
        chosen = ([of[i] for i in rows] for of in (rewards, lengths, ranks))
        more, less = plain_halves(*chosen)
        return (np.mean(more) + np.mean(less)) / 2

    # The half that rests on fewer prompts says how wide the interval is.
    halves = ([], [])
    for a, k in zip(lengths, ranks, strict=True):
        signs = [np.sign(a[i] - a[j]) for i, j in ordered_pairs(k)]
        for half, sign in zip(halves, (1, -1), strict=True):
            half.append(signs.count(sign))
    trials = sum(map(sum, halves))
    both = [plain_bootstrap(measure, prompts, seed=7, items=half, trials=trials) for half in halves]
    expected = max(both, key=lambda ends: ends[1] - ends[0])
    found = leaning(rewards, lengths, ranks, prompts=prompts, resamples=50, seed=7)
    figure = found["controlled_accuracy"]
    assert (figure["low"], figure["high"]) == pytest.approx(expected, abs=1e-4)
