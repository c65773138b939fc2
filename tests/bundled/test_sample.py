"""The sample is checked by reading it: a prompt's numbers are parsed and solved again here."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.bundled.sample import FAULTS, sample_pairs, sample_rankings, write_sample
from plaudit.data.rankings import Ranking, check
from plaudit.errors import PlauditError

NUMBER = re.compile(r"(?P<money>[$€£]|CHF )?(?P<value>\d[\d,]*(?:\.\d+)?)(?P<percent>%)?")

# 1 + rate, four quarters, twelve months.
IN_FORMULAS = [("#", 1.0), ("#", 4.0), ("#", 12.0)]

# How a kind of question is recognised; the units of its value on the way and of its result; and
# both values, recomputed from the amounts, percentages (4.5 is 4.5%) and other numbers in the order
# in which the prompt has them, in other ways than the package computes them where there are any.
Numbers = list[float]
Solution = Callable[[Numbers, Numbers, Numbers], tuple[float, float]]


def annuity(p: float, rate: float, months: float) -> float:
    """The payment at which month after month of interest and repayment ends at nothing owed."""
    low, high = 0.0, 2 * p
    for _ in range(50):
        middle = (low + high) / 2
        owed = p
        for _ in range(int(months)):
            owed += owed * rate / 1200 - middle
        low, high = (middle, high) if owed > 0 else (low, middle)
    return low


def compounded(p: float, rate: float, years: float) -> float:
    for _ in range(int(years)):
        p += p * rate / 100
    return p


def deflated(p: float, rate: float, years: float) -> float:
    for _ in range(int(years)):
        p /= 1 + rate / 100
    return p


SOLUTIONS: dict[str, tuple[str, Solution]] = {
    r"compound(ed|ing)? (yearly|annually|once a year)|annual compounding": (
        "$$",
        lambda m, p, c: (compounded(m[0], p[0], 1), compounded(m[0], p[0], c[0])),
    ),
    r"simple interest": ("$$", lambda m, p, c: (m[0] * p[0] / 100, c[0] * m[0] * p[0] / 100)),
    r"equal (monthly|instalments)|level monthly": (
        "#$",
        lambda m, p, c: (12 * c[0], annuity(m[0], p[0], 12 * c[0])),
    ),
    r"instalments of|is interest\?|finance charge|on top of the loan": (
        "$$",
        lambda m, p, c: (
            sum(m[1] for _ in range(int(c[0]))),
            sum(m[1] for _ in range(int(c[0]))) - m[0],
        ),
    ),
    r"p/e|price-earnings": ("$#", lambda m, p, c: (m[1] / c[0], m[0] * c[0] / m[1])),
    r"quarter": ("$%", lambda m, p, c: (m[0] + m[0] + m[0] + m[0], 100 * 4 * m[0] / m[1])),
    r"\d shares(,| that)|dividends? (on|of .* on each)": (
        "$$",
        lambda m, p, c: (m[0] * c[0], m[0] * c[0] - m[0] * c[0] * p[0] / 100),
    ),
    r"gross margin": ("$%", lambda m, p, c: (m[1] - m[0], 100 - 100 * m[0] / m[1])),
    r"of the selling price|selling price gives|on the selling price": (
        "%$",
        lambda m, p, c: (100 - p[0], 100 * m[0] / (100 - p[0])),
    ),
    r"break[- ]even": (
        "$#",
        lambda m, p, c: (
            m[1] - m[2],
            next(units for units in range(10**6) if units * (m[1] - m[2]) >= m[0]),
        ),
    ),
    r"swiss francs": (
        "$F",
        lambda m, p, c: (m[0] - m[0] * p[0] / 100, c[0] * (m[0] - m[0] * p[0] / 100)),
    ),
    r"\broi\b|return on (the )?investment": (
        "$%",
        lambda m, p, c: (m[1] - m[0], 100 * m[1] / m[0] - 100),
    ),
    r"return is that, compounded|growth rate|cagr|growth a year": (
        "#%",
        lambda m, p, c: (m[1] / m[0], 100 * math.expm1(math.log(m[1] / m[0]) / c[0])),
    ),
    r"straight-line": (
        "$$",
        lambda m, p, c: (
            (m[0] - m[1]) / c[0],
            m[0] - sum((m[0] - m[1]) / c[0] for _ in range(int(c[1]))),
        ),
    ),
    r"every year\. what is it worth|declining|camper": (
        "$$",
        lambda m, p, c: (compounded(m[0], -p[0], 1), compounded(m[0], -p[0], c[0])),
    ),
    r"inflation|prices rise": (
        "%$",
        lambda m, p, c: (compounded(100, p[0], c[0]) - 100, deflated(m[0], p[0], c[0])),
    ),
    r"stocks": ("$%", lambda m, p, c: (sum(m), 100 * m[0] / sum(m))),
    r"tax-free|allowance": ("$$", lambda m, p, c: (m[0] - m[1], (m[0] - m[1]) / 100 * p[0])),
    r"\bvat\b": ("%$", lambda m, p, c: (100 + p[0], m[0] / (100 + p[0]) * 100)),
    r"save\?|savings rate|left to save|can i save": (
        "$%",
        lambda m, p, c: (sum(m[1:]), 100 - 100 * sum(m[1:]) / m[0]),
    ),
    r"many months (will|to)|boat|months to go": (
        "$#",
        lambda m, p, c: (
            m[0] - m[1],
            next(months for months in range(10**4) if m[1] + months * m[2] >= m[0] - 1e-9),
        ),
    ),
    r"\bbond\b": ("$%", lambda m, p, c: (m[0] * p[0] / 100, m[0] * p[0] / m[1])),
    r"\d% off (and|the|that|what remains)": (
        "$$",
        lambda m, p, c: (m[0] - m[0] * p[0] / 100, (m[0] - m[0] * p[0] / 100) * (1 - p[1] / 100)),
    ),
}


def parse(text: str) -> list[tuple[str, float]]:
    """The numbers of a text, in order, with what they are: $ money, F francs, % or # anything."""
    return [
        (
            "F" if match["money"] == "CHF " else "$" if match["money"] else match["percent"] or "#",
            float(match["value"].replace(",", "")),
        )
        for match in NUMBER.finditer(text)
    ]


def near(number: tuple[str, float], others: list[tuple[str, float]]) -> bool:
    """Whether `number` is one of `others` but for the rounding to two decimals."""
    unit, value = number
    return any(unit == other and abs(value - of) < 0.00501 for other, of in others)


def kind_of(prompt: str) -> str:
    kinds = [kind for kind in SOLUTIONS if re.search(kind, prompt.lower())]
    assert len(kinds) == 1, (prompt, kinds)
    return kinds[0]


def solved(prompt: str) -> list[tuple[str, float]]:
    """The value on the way and the result."""
    units, solution = SOLUTIONS[kind_of(prompt)]
    asked = parse(prompt)
    by_unit = ([value for unit, value in asked if unit == which] for which in "$%#")
    return list(zip(units, solution(*by_unit), strict=True))


def labelled(ranking: Ranking) -> list[tuple[str | None, str]]:
    """Each completion with its fault."""
    faults = ranking.categories or [None, ranking.category]
    return list(zip(faults, ranking.completions, strict=True))


def length_accuracy(rankings: list[Ranking]) -> dict[str, float]:
    """How often the longer of a pair is the better one: overall, and good against each fault."""
    right: dict[str, list[bool]] = defaultdict(list)
    for ranking in rankings:
        texts = labelled(ranking)
        for better, worse in ranking.pairs():
            longer = len(texts[better][1]) > len(texts[worse][1])
            right["all"].append(longer)
            if texts[better][0] is None:
                right[texts[worse][0]].append(longer)
    return {fault: sum(hits) / len(hits) for fault, hits in right.items()}


SETS = [sample_rankings, sample_pairs]


@pytest.mark.parametrize("sample", SETS)
@pytest.mark.parametrize("seed", [0, 12])
def test_arithmetic(sample, seed):
    counted = Counter()
    for ranking in sample(400, seed):
        half, result = solved(ranking.prompt)
        asked = parse(ranking.prompt)
        for fault, completion in labelled(ranking):
            stated = parse(completion)
            counted[fault] += 1
            if fault is None:
                assert near(result, stated), (ranking.prompt, completion, result)
                known = [*asked, half, result, *IN_FORMULAS]
                assert all(near(number, known) for number in stated), (ranking.prompt, completion)
            elif fault != "off-topic":
                assert not near(result, stated), (ranking.prompt, completion, result)
            if fault == "wrong sum":
                assert any(not near(number, asked) for number in stated), completion
    assert counted.keys() == {None, *FAULTS}
    assert min(counted.values()) >= 40


@pytest.mark.parametrize("sample", SETS)
def test_every_kind_of_question_comes_up_equally_often(sample):
    kinds = Counter(kind_of(ranking.prompt) for ranking in sample(400))
    assert kinds.keys() == SOLUTIONS.keys()
    assert max(kinds.values()) - min(kinds.values()) <= 1


@pytest.mark.parametrize("n", [100, 101, 400])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("sample", SETS)
def test_length_tells_nothing(sample, seed, n):
    accuracy = length_accuracy(sample(n, seed))
    assert accuracy.keys() == {"all", *FAULTS}
    assert 0.45 <= accuracy.pop("all") <= 0.55
    assert all(0.4 <= share <= 0.6 for share in accuracy.values()), accuracy


def test_good_answers_are_short_and_long_like_the_others():
    lengths = defaultdict(list)
    for ranking in sample_rankings(400):
        for fault, completion in labelled(ranking):
            lengths[fault].append(len(completion))
    for values in lengths.values():
        assert min(values) < 60
        assert max(values) > 280


@pytest.mark.parametrize("fault", ["wrong sum", "off-topic"])
def test_a_digit_tells_nothing_about_answers_with_a_number(fault):
    with_digit = [
        any(character.isdigit() for character in completion)
        for ranking in sample_rankings(200)
        for label, completion in labelled(ranking)
        if label in (None, fault)
    ]
    assert all(with_digit)


@pytest.mark.parametrize("fault", ["vague", "evasive"])
def test_vague_and_evasive_answers_often_repeat_the_questions_parse(fault):
    shares = [
        bool(set(parse(ranking.prompt)) & set(parse(completion)))
        for ranking in sample_rankings(400)
        for label, completion in labelled(ranking)
        if label == fault
    ]
    assert 0.4 < sum(shares) / len(shares) < 0.8


def test_off_topic_answers_answer_another_question():
    """So they hardly ever use the numbers of this one."""
    shared = [
        len(set(parse(ranking.prompt)) & set(parse(completion))) >= 2
        for ranking in sample_rankings(400)
        for label, completion in labelled(ranking)
        if label == "off-topic"
    ]
    assert sum(shared) / len(shared) < 0.05


def test_rankings_can_be_learnt_from():
    rankings = sample_rankings(400)
    assert len({ranking.prompt for ranking in rankings}) == 400
    sizes = Counter(len(ranking.completions) for ranking in rankings)
    assert sizes.keys() == {3, 4, 5}
    for ranking in rankings:
        assert check(ranking) is None
        assert len(set(ranking.completions)) == len(ranking.completions)
        assert all(completion.strip() == completion != "" for completion in ranking.completions)
        assert sorted(set(ranking.ranks)) == list(range(max(ranking.ranks) + 1))
    tied = [ranking for ranking in rankings if len(set(ranking.ranks)) < len(ranking.ranks)]
    assert 0.2 < len(tied) / len(rankings) < 0.9
    first_is_best = sum(ranking.ranks[0] == 0 for ranking in rankings)
    assert first_is_best < 240  # the order of the completions gives nothing away


def test_ranks_follow_the_faults():
    order = [{None}, {"wrong sum", "unfinished"}, {"vague"}, {"evasive"}, {"off-topic"}]
    level = {fault: i for i, faults in enumerate(order) for fault in faults}
    for ranking in sample_rankings(200):
        levels = [level[fault] for fault in ranking.categories]
        for i, rank in enumerate(ranking.ranks):
            assert rank == len({other for other in levels if other < levels[i]})


def test_pairs_are_rankings_of_two():
    pairs = sample_pairs(400)
    assert len({pair.prompt for pair in pairs}) == 400
    for pair in pairs:
        assert list(pair.ranks) == [0, 1]
        assert pair.category in FAULTS
        assert pair.completions[0] != pair.completions[1]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(-5, 2**40), n=st.integers(1, 40), more=st.integers(0, 40))
def test_a_larger_sample_begins_with_the_smaller(seed, n, more):
    for sample in SETS:
        assert sample(n + more, seed)[:n] == sample(n, seed)


def test_seeds_differ():
    for sample in SETS:
        assert not {r.prompt for r in sample(50, 0)} & {r.prompt for r in sample(50, 1)}


@pytest.mark.parametrize("n", [0, -3])
def test_no_prompts_is_a_mistake(n, tmp_path):
    for make in (*SETS, lambda n: write_sample(tmp_path / "none", n)):
        with pytest.raises(PlauditError, match=f"n = {n}.*at least 1"):
            make(n)
    assert not (tmp_path / "none").exists()


def test_files_hold_the_sets(tmp_path):
    ranked, pairs = write_sample(tmp_path / "new", n=60, seed=3)
    with ranked.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["prompt", "answer", "rank", "category"]
    expected = [
        (ranking.prompt, completion, str(1 + rank), fault or "")
        for ranking in sample_rankings(60, 3)
        for (fault, completion), rank in zip(labelled(ranking), ranking.ranks, strict=True)
    ]
    assert [tuple(row.values()) for row in rows] == expected

    lines = [json.loads(line) for line in pairs.read_text(encoding="utf-8").splitlines()]
    assert list(lines[0]) == ["prompt", "chosen", "rejected", "category"]
    assert [tuple(line.values()) for line in lines] == [
        (pair.prompt, *pair.completions, pair.category) for pair in sample_pairs(60, 3)
    ]


def test_same_seed_same_bytes_in_any_process(tmp_path):
    here = write_sample(tmp_path / "here", n=30, seed=5)
    program = (
        "import sys; from plaudit.bundled.sample import write_sample as w; w(sys.argv[1], 30, 5)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    there = tmp_path / "there"
    subprocess.run([sys.executable, "-c", program, str(there)], check=True, env=environment)
    for path in here:
        assert path.read_bytes() == (there / path.name).read_bytes()
