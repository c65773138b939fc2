"""Every picture is a whole PNG whose heading tells the truth, for ordinary and degenerate data."""

import logging

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import spearmanr

from plaudit.errors import PlauditError
from plaudit.evaluation import plots
from plaudit.evaluation.metrics import summarise

pytestmark = pytest.mark.filterwarnings("error")


def heading(path):
    """The heading of the PNG at `path`, once it is known to be one that decodes."""
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width >= 1200
        # Something is drawn below the heading.
        assert len(np.unique(np.asarray(picture.convert("L"))[150:])) > 5
        return picture.info["Title"]


def detail(path):
    with Image.open(path) as picture:
        return picture.info["Description"]


def training_log(steps=120):
    rng = np.random.default_rng(0)
    for step in range(1, steps + 1):
        yield {"step": step, "loss": 0.7 - step / 400 + rng.normal() / 20, "accuracy": rng.random()}
        if step % 20 == 0:
            loss = 0.6 + abs(step - 80) / 1000
            yield {"step": step, "eval_log_loss": loss, "eval_pairwise_accuracy": 1.3 - loss}


def test_training_curves(tmp_path):
    path = plots.training_curves(list(training_log()), tmp_path / "curves.png", best_step=80)
    assert path == tmp_path / "curves.png"
    assert heading(path) == (
        "Validation loss is lowest, 0.600, at step 80; pairwise accuracy there 70.0 %"
    )
    assert detail(path) == "120 training rows, 6 evaluations; the checkpoint of step 80 was kept"


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ([], "Nothing was logged yet"),
        ([{"step": 5, "loss": 0.7, "accuracy": 0.5}], "Training loss went from 0.700 to 0.700"),
        ([{"step": 5, "loss": 0.7}, {"step": 6, "loss": 0.5}], "went from 0.700 to 0.500"),
        ([{"step": 5, "eval_log_loss": 0.6}], "Validation loss is lowest, 0.600, at step 5"),
        ([{"step": 5, "loss": float("nan")}], "Nothing was logged yet"),
        ([{"step": i, "loss": 0.5, "accuracy": 1.0} for i in range(80)], "from 0.500 to 0.500"),
    ],
)
def test_training_curves_of_little(tmp_path, log, says):
    assert says in heading(plots.training_curves(log, tmp_path / "a.png", best_step=5))


def test_no_checkpoint_kept_yet(tmp_path):
    path = plots.training_curves(list(training_log()), tmp_path / "a.png")
    assert "Validation loss is lowest" in heading(path)
    assert "kept" not in detail(path)


def test_nothing_to_compare(tmp_path):
    path = plots.comparison([], [], [], tmp_path / "a.png")
    assert heading(path) == "No completions to compare"
    path = plots.reward_against_length([1.0, 2.0], [5, 5], tmp_path / "a.png")
    assert heading(path) == "Too little varies to relate reward to length"


def test_reward_distributions(tmp_path):
    path = plots.reward_distributions([1.0, 2.0, 9.0], [0.5, 0.25], tmp_path / "a.png")
    assert heading(path) == "Median reward: chosen 1.62 above rejected"
    assert detail(path) == "rewards of 3 chosen, 2 rejected"
    path = plots.reward_distributions([1.0], [2.0], tmp_path / "a.png")
    assert heading(path) == "Median reward: chosen 1.00 below rejected"


def test_margins(tmp_path):
    path = plots.margins([1.0, 2.0, 3.0, -1.0, 0.0], tmp_path / "a.png")
    assert heading(path) == "60 % of margins are above zero"
    assert detail(path) == "5 pairs, mean margin +1.00, 20 % exactly zero"
    almost = np.append(np.ones(999), -1)
    assert heading(plots.margins(almost, path)) == "> 99.5 % of margins are above zero"
    assert heading(plots.margins(-almost, path)) == "< 0.5 % of margins are above zero"


@pytest.mark.parametrize("count", [50, 2500])
def test_reward_against_length(tmp_path, count):
    rng = np.random.default_rng(1)
    lengths = rng.integers(5, 4000, count)
    rewards = np.log(lengths) + rng.normal(size=count) / 4
    path = plots.reward_against_length(rewards, lengths, tmp_path / "a.png")
    rho = spearmanr(rewards, lengths).statistic
    assert heading(path) == f"Reward rises with length: Spearman's ρ = {rho:+.2f}"
    path = plots.reward_against_length(-rewards, lengths, tmp_path / "a.png")
    assert heading(path) == f"Reward falls with length: Spearman's ρ = {-rho:+.2f}"


def test_accuracy_by_category(tmp_path):
    summary = summarise(
        [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [2.0, 1.0]],
        [[0, 1]] * 4,
        prompts=range(4),
        lengths=[[2, 1], [2, 1], [1, 2], [1, 2]],
        categories=["maths", "maths", "code", "a category with " + "a long name " * 9],
    )
    path = plots.accuracy_by_category(summary["by_category"], tmp_path / "a.png")
    assert heading(path) == "Above the length baseline in 2 of 3 categories"
    assert heading(plots.accuracy_by_category({}, path)) == "The data name no categories"


def test_comparison(tmp_path):
    path = plots.comparison(
        ["What is $x$ and $y?", "long " * 200],
        [["a", "b", "c"], ["", "two\nlines", "three " * 100]],
        [[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]],
        tmp_path / "a.png",
    )
    assert heading(path) == "Best-of-3 gains 1.50 reward over the mean completion"  # (3 + 0) / 2
    assert detail(path) == "2 prompts, 6 completions"


def test_comparison_says_how_many_prompts_it_leaves_out(tmp_path):
    path = plots.comparison(
        [f"prompt {i}" for i in range(60)], [["a"]] * 60, [[1.0]] * 60, tmp_path / "a.png"
    )
    assert detail(path) == "60 prompts, 60 completions; the first 40 prompts are drawn"


def test_characters_that_the_font_lacks_are_no_error(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        heading(plots.comparison(["你好 🙂"], [["ᚠᛇᚻ", "b"]], [[1.0, 2.0]], tmp_path / "a.png"))
    assert not caplog.records


@pytest.mark.parametrize("values", [[], [3.0], [0.0, 0.0], [-1e-12, 1e-12], [-1e9, 0.5, 1e9]])
def test_degenerate_values_are_drawn_without_warnings(tmp_path, values):
    path = tmp_path / "a.png"
    heading(plots.margins(values, path))
    heading(plots.reward_distributions(values, values, path))
    heading(plots.reward_distributions(values, [], path))
    heading(plots.reward_against_length(values, range(len(values)), path))
    heading(plots.comparison(["p"], [["text"] * len(values)], [values], path))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
@settings(max_examples=100)
def test_bins_hold_every_margin_and_none_straddles_zero(values):
    values = np.array(values)
    edges = plots._edges(values, through_zero=True)
    assert 1 <= len(edges) - 1 <= 70
    assert np.histogram(values, edges)[0].sum() == len(values)
    assert not ((edges[:-1] < 0) & (edges[1:] > 0)).any()


def test_nothing_global_changes(tmp_path):
    with mpl.rc_context({"axes.facecolor": "black", "text.parse_math": True}):
        before = dict(mpl.rcParams), mpl.get_backend()
        plots.margins([1.0, -1.0], tmp_path / "dark.png")
        assert (dict(mpl.rcParams), mpl.get_backend()) == before
    plots.margins([1.0, -1.0], tmp_path / "plain.png")
    # The caller's style does not leak in either.
    assert (tmp_path / "dark.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_a_failure_leaves_no_file_and_no_settings_behind(tmp_path):
    before = dict(mpl.rcParams)
    with pytest.raises(ValueError, match="finite"):
        plots.margins([1.0, float("nan")], tmp_path / "a.png")
    with pytest.raises(ValueError, match="a reward for each"):
        plots.comparison(["p"], [["a", "b"]], [[1.0]], tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(PlauditError, match="cannot be written"):
        plots.margins([1.0], tmp_path / "file" / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert dict(mpl.rcParams) == before
