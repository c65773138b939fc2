"""The levels of nuisances: what they count, and what settings may name."""

import math

import pytest

from plaudit.data.rankings import Ranking
from plaudit.errors import PlauditError
from plaudit.settings import Settings
from plaudit.training.controls import NUISANCES, levels

MARKED = "# Reasons\n- **cost**, `x`\n- time\n1. __both__"


@pytest.mark.parametrize(
    ("name", "text", "tokens", "amount"),
    [
        ("length", "Yes.", 7, 7),
        ("length", "", 0, 1),
        ("lists", MARKED, 20, 1 + 3),
        ("lists", "none - at all", 3, 1),
        ("markdown", MARKED, 20, 1 + 4),  # a heading, two bold spans, code
        ("bold", MARKED, 20, 1 + 2),
        ("bold", "<b>Yes</b> and <strong>no</strong>", 9, 1 + 2),
        ("bold", [{"role": "assistant", "content": "**Yes**"}], 3, 1 + 1),
    ],
)
def test_a_level_is_the_logarithm_of_an_amount(name, text, tokens, amount):
    assert NUISANCES.get(name).level(text, tokens) == pytest.approx(math.log(amount))


def test_a_column_is_an_attribute_that_the_data_give():
    given = {"harm": [3.0, -1.0], "tone": [1.0, math.nan]}
    ranking = Ranking("Why?", ["a", "b"], [0, 1], attributes=given)
    got = levels(["column:harm", "column:tone", "column:none"], ranking, [1, 1])
    assert got == [[pytest.approx(math.log(4)), 0.0, 0.0], [pytest.approx(-math.log(2)), 0.0, 0.0]]


def test_names_stand_in_a_list_or_between_commas():
    for given in ("length, markdown", ["length", "markdown"], ["length,markdown,length"]):
        assert Settings.build(data="d", control=given).control == ["length", "markdown"]
    assert Settings.build(data="d", control="none").control == []
    assert Settings.build(data="d", control="column:harm").control == ["column:harm"]
    with pytest.raises(PlauditError, match=r"there is no nuisance lenght; .* length"):
        Settings.build(data="d", control="lenght")
    with pytest.raises(PlauditError, match="control: 3 is not a list of texts"):
        Settings.build(data="d", control=3)


def test_what_a_checkpoint_is_chosen_by():
    def metric(**settings):
        return Settings.build(data="d", **settings).checkpoint_metric

    assert metric() == "controlled_log_loss"  # since length is controlled by default
    assert metric(control="none") == "log_loss"
    assert metric(control="length") == "controlled_log_loss"
    assert metric(control="length", metric_for_best_model="log_loss") == "log_loss"
    assert metric(metric_for_best_model="last") is None
    with pytest.raises(PlauditError, match="controlled_log_loss needs a control"):
        metric(control="none", metric_for_best_model="controlled_log_loss")
    with pytest.raises(PlauditError, match="last leaves no metric to watch"):
        metric(metric_for_best_model="last", early_stopping_patience=2)
