"""What `benchmarks/gpu/pack` promises; a stand-in for pip writes small files as wheels."""

import importlib.util
import json
import os
import re
import tomllib
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from plaudit.data.readers import load_rankings

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu" / "pack"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_loader("pack", SourceFileLoader("pack", str(SCRIPT)))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def place(script, tmp_path, monkeypatch):
    """An empty folder to pack into, from a checkout with one check and two wheels to fetch."""
    here, place = tmp_path / "gpu", tmp_path / "place"
    (here / "checks" / "__pycache__").mkdir(parents=True)
    place.mkdir()
    (here / "run").write_text("#!/bin/sh\n")
    (here / "run").chmod(0o755)
    (here / "checks" / "right.py").write_text("HELD = True\n")
    (here / "checks" / "__pycache__" / "right.pyc").write_text("no")
    (here / "wheels.txt").write_text("# why\nsmall==1.0\nlarge==2.0  # needed by small\n")

    def pip(command, *arguments):
        if command == "wheel":
            (Path(arguments[arguments.index("--wheel-dir") + 1]) / "plaudit.whl").write_text("us")
        else:
            folder = next(a for a in arguments if a.startswith("--dest=")).removeprefix("--dest=")
            assert "--python-version=3.13" in arguments
            for pin in arguments[-2:]:
                size = 3 * script.MIB if pin.startswith("large") else 10
                (Path(folder) / f"{pin}.whl").write_bytes(bytes(size))

    monkeypatch.setattr(script, "HERE", here)

    def write_data(folder):
        folder.mkdir()
        (folder / "sample_ranked.csv").write_text("prompt,answer,rank,category\n")

    monkeypatch.setattr(script, "pip", pip)
    monkeypatch.setattr(script, "write_data", write_data)
    return place


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_wheel_is_pinned_to_a_version_that_the_suite_passed_with(script):
    wheels = dict(pin.split("==") for pin in script.wheel_pins(SCRIPT.parent / "wheels.txt"))
    tested = dict(pin.split("==") for pin in script.wheel_pins(ROOT / "constraints.txt"))
    assert {name: tested.get(name, version) for name, version in wheels.items()} == wheels


def test_the_wheels_are_within_the_bounds_of_the_project(script):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["serve"]
    bounds = {need.name: need.specifier for need in map(Requirement, wanted)}
    wheels = dict(pin.split("==") for pin in script.wheel_pins(SCRIPT.parent / "wheels.txt"))
    assert all(version in bounds.get(name, version) for name, version in wheels.items())


@pytest.mark.parametrize(
    "line", ["trl", "trl>=1.10", "trl==1.*", "trl==1.10; python_version > '3'", "-r more.txt"]
)
def test_a_line_that_pins_nothing_is_refused(script, tmp_path, line):
    path = tmp_path / "wheels.txt"
    path.write_text(f"dill==0.4.1\n\n{line}  # why\n")
    with pytest.raises(script.PackError, match=r"wheels.txt, line 3: not `name==version`"):
        script.wheel_pins(path)


def test_a_package_is_named_once(script, tmp_path):
    path = tmp_path / "wheels.txt"
    path.write_text("pydantic-core==2.50.4\nPydantic_Core==2.50.5\n")
    with pytest.raises(script.PackError, match=r"line 2: pydantic-core is named twice"):
        script.wheel_pins(path)


def test_a_packed_folder_holds_what_the_check_needs_and_says_so(script, place):
    files = script.pack(place / "packed", "3.13")
    assert set(files) == {
        "checks/right.py",
        "data/sample_ranked.csv",
        "packed.json",
        "run",
        "wheels/large==2.0.whl",
        "wheels/plaudit.whl",
        "wheels/small==1.0.whl",
    }
    assert files == script.packed_files(place / "packed")
    assert os.access(place / "packed" / "run", os.X_OK)
    about = json.loads((place / "packed" / "packed.json").read_text())
    assert about["python"] == "3.13"
    assert about["wheels"] == ["small==1.0", "large==2.0"]
    assert [path.name for path in place.iterdir()] == ["packed"]


def test_the_data_are_hundreds_of_rankings(script, tmp_path):
    script.write_data(tmp_path / "data")
    rankings = load_rankings(tmp_path / "data" / "sample_ranked.csv")
    assert len(rankings) >= 300


def test_a_folder_above_the_limit_is_not_made_and_its_largest_files_are_named(script, place):
    script.pack(place / "packed", "3.13")
    before = contents(place)
    with pytest.raises(script.PackError) as caught:
        script.pack(place / "packed", "3.13", max_mib=2.5)
    said = str(caught.value)
    assert re.match(r"3\.\d MiB are more than the 2\.5 allowed; the largest: ", said)
    assert "the largest: wheels/large==2.0.whl (3.0), " in said
    assert contents(place) == before


def test_nothing_is_left_where_a_wheel_cannot_be_had(script, place, monkeypatch):
    pip = script.pip

    def failing(command, *arguments):
        pip(command, *arguments)
        if command == "download":
            raise script.PackError("pip download: no such wheel")

    monkeypatch.setattr(script, "pip", failing)
    with pytest.raises(script.PackError, match="no such wheel"):
        script.pack(place / "packed", "3.13")
    assert not contents(place)


def test_a_folder_that_pack_made_is_replaced(script, place):
    script.pack(place / "packed", "3.13")
    (place / "packed" / "checks" / "right.py").write_text("HELD = False\n")
    (place / "packed" / "checks" / "__pycache__").mkdir()
    (place / "packed" / "checks" / "__pycache__" / "right.pyc").write_text("of a run")
    script.pack(place / "packed", "3.13")
    assert (place / "packed" / "checks" / "right.py").read_text() == "HELD = True\n"
    assert not (place / "packed" / "checks" / "__pycache__").exists()
    assert [path.name for path in place.iterdir()] == ["packed"]


@pytest.mark.parametrize("theirs", ["file", "folder", "empty", "packed.json", "link"])
def test_what_pack_did_not_make_stays(script, place, theirs):
    folder = place / "packed"
    if theirs == "file":
        folder.write_text("mine")
    elif theirs == "link":
        folder.symlink_to(place / "nowhere")
    else:
        folder.mkdir()
        if theirs != "empty":
            (folder / ("packed.json" if theirs == "packed.json" else "notes")).write_text("[]")
    before = contents(place)
    with pytest.raises(script.PackError, match="packed is there and was not made by pack"):
        script.pack(folder, "3.13")
    assert contents(place) == before
    assert [path.name for path in place.iterdir()] == ["packed"]


def test_results_within_a_packed_folder_are_not_lost(script, place):
    script.pack(place / "packed", "3.13")
    (place / "packed" / "out").mkdir()
    (place / "packed" / "out" / "results.json").write_text("{}")
    with pytest.raises(script.PackError, match=r"now also holds out/results\.json"):
        script.pack(place / "packed", "3.13")
    assert (place / "packed" / "out" / "results.json").exists()


def test_a_failure_is_one_line(script, place, monkeypatch, capsys):
    (script.HERE / "run").unlink()
    monkeypatch.setattr("sys.argv", ["pack", str(place / "packed")])
    assert script.main() == 1
    assert capsys.readouterr().err == f"pack: {script.HERE / 'run'} is missing\n"


def test_the_reason_of_pip_is_given(script, tmp_path):
    with pytest.raises(script.PackError) as caught:
        script.pip("download", "--no-index", f"--dest={tmp_path}", "never-there==1.0")
    assert "pip download: ERROR: No matching distribution found for never-there==1.0" in str(
        caught.value
    )
