"""The registry of plots: which are drawn, where they stand, and in which file."""

import pytest

from plaudit import Ranking
from plaudit.plugins import Registry
from plaudit.reporting.contents import evaluation_report
from plaudit.reporting.drawing import Drawing
from plaudit.reporting.evaluation import measure
from plaudit.reporting.plots import PLOTS, Log, Plot, drawings, plots_of, write_plots

LINE = Drawing("A line", "2 points", lambda axes, theme: axes[0].plot([0, 1]), 3)
SORTED = [Ranking(f"{n}?", ["a", "bb"], [0, 1], category="xy"[n % 2]) for n in range(8)]
REWARDS = [[1.0, 0.0]] * 8


@pytest.fixture
def added(monkeypatch):
    """Adds a plot under a name, as another package's would be."""

    def add(name, plot):
        everything = {**{each: PLOTS.get(each) for each in PLOTS}, name: plot}
        names, get = Registry.names, Registry.get
        monkeypatch.setattr(
            Registry, "names", lambda self: sorted(everything) if self is PLOTS else names(self)
        )
        monkeypatch.setattr(
            Registry, "get", lambda self, each: (everything.get if self is PLOTS else
                                                 lambda name: get(self, name))(each),
        )  # fmt: skip

    return add


def test_every_plot_of_plaudit_has_a_place_of_its_own():
    every = [PLOTS.get(name) for name in PLOTS]
    files = [plot.file for plot in every if plot.file]
    assert sorted(files) == sorted(set(files))
    for subject in ("evaluation", "run", "cross-validation", "search", "comparison"):
        places = [plot.position for plot in plots_of(subject)]
        assert places == sorted(set(places))
        assert places


def test_a_plot_that_is_added_is_in_the_report_and_in_the_folder(added, tmp_path):
    added("line", Plot("evaluation", lambda given: LINE, section="Is it right?", file="line.png"))
    evaluation = measure(SORTED, REWARDS)
    [section, *_] = evaluation_report(evaluation, title="x", facts={}).sections
    assert [plot.heading for plot in section.plots][-1] == "A line"
    evaluation.write(tmp_path)
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    ours = {"rewards.png", "margins.png", "reward_against_length.png", "accuracy_by_category.png"}
    ours |= {"abstention.png"}
    assert names == {*ours, "line.png"}
    assert 'alt="Plot. A line. 2 points."' in (tmp_path / "report.html").read_text()


def test_a_new_heading_comes_last_and_of_another_subject_there_is_nothing(added):
    added("line", Plot("run", lambda log: LINE, section="How fast?"))
    evaluation = measure(SORTED, REWARDS)
    log = Log([{"step": 1, "loss": 0.5}], None)
    sections = evaluation_report(evaluation, title="x", facts={}, log=log).sections
    assert [section.title for section in sections][-2:] == ["How it was trained", "How fast?"]
    assert "How fast?" not in drawings("evaluation", evaluation)


def test_where_there_is_nothing_to_draw_no_file_stays(added, tmp_path):
    (tmp_path / "line.png").write_text("of an earlier time")
    added("line", Plot("search", lambda search: None, section="The search", file="line.png"))
    search = {"trials": [], "metric": "log_loss"}
    write_plots("search", search, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert [each.heading for each in drawings("search", search)["The search"]] == [
        "No trial was completed"
    ]
