"""The registry: a module is found by its file's name, another package's by its entry point."""

import subprocess
import sys

import pytest

from plaudit.errors import PlauditError
from plaudit.plugins import Registry
from plaudit.training.objectives import OBJECTIVES, Objective


@pytest.fixture
def other_package(tmp_path, monkeypatch):
    """Makes a distribution on the path that adds objectives under the names given."""

    def make(modules, entries):
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        info = tmp_path / "other_rewards-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-rewards\nVersion: 1.2\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[plaudit.objectives]", *lines]) + "\n")
        monkeypatch.syspath_prepend(tmp_path)
        return Registry("objective", OBJECTIVES.package, "OBJECTIVE", Objective)

    return make


HINGE = """
from plaudit.training.objectives import Objective
from plaudit.training.pairs import mean_over, ordered_pairs


def hinge(rewards, ranks):
    difference, better = ordered_pairs(rewards, ranks)
    return mean_over((1 - difference).clamp(min=0), better)


OBJECTIVE = Objective(hinge)
"""


def test_names_are_those_of_the_files():
    assert OBJECTIVES.names() == ["bradley-terry", "plackett-luce"]
    assert set(OBJECTIVES.origins().values()) == {OBJECTIVES.origins()["bradley-terry"]}
    assert OBJECTIVES.origins()["bradley-terry"].startswith("plaudit ")


def test_names_are_listed_without_importing_torch():
    code = "import sys; from plaudit.training.objectives import OBJECTIVES; OBJECTIVES.names(); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_another_package_adds_its_own(other_package):
    objectives = other_package({"their_hinge": HINGE}, {"hinge": "their_hinge:OBJECTIVE"})
    assert objectives.names() == ["bradley-terry", "hinge", "plackett-luce"]
    assert objectives.origins()["hinge"] == "other-rewards 1.2"
    assert isinstance(objectives.get("hinge"), Objective)
    assert not objectives.get("hinge").takes("margin")


def test_what_is_not_there_is_said_with_the_nearest_name():
    with pytest.raises(PlauditError, match="bradley-tery; the nearest is bradley-terry"):
        OBJECTIVES.get("bradley-tery")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import a_package_that_is_not_there", "cannot be loaded: ModuleNotFoundError"),
        ("OBJECTIVE = 3", "is a int, not a Objective"),
        ("", "cannot be loaded: AttributeError"),
    ],
)
def test_what_cannot_be_used_says_whose_it_is(text, reason, other_package):
    objectives = other_package({"broken_objective": text}, {"odd": "broken_objective:OBJECTIVE"})
    sys.modules.pop("broken_objective", None)
    with pytest.raises(PlauditError, match=f"objective odd of other-rewards 1.2 {reason}"):
        objectives.get("odd")


def test_two_of_one_name_are_an_error(other_package):
    objectives = other_package({"their_pl": HINGE}, {"plackett-luce": "their_pl:OBJECTIVE"})
    with pytest.raises(PlauditError, match=r"is plaudit's own, and other-rewards 1\.2"):
        objectives.names()
