"""The lower bounds of the project are the versions that it is tested with at the lower end."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("client", "embedded", "onnx", "openvino", "serve", "tune", "xlsx")


def lowest():
    """The lower bound of every package that plaudit or one of EXTRAS needs."""
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]:
        need = Requirement(line)
        (bound,) = (part.version for part in need.specifier if part.operator == ">=")
        yield need.name, Version(bound)


def pins(name):
    lines = re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / name).read_text(), flags=re.MULTILINE)
    return {package: Version(version) for package, version in lines}


def test_the_lower_constraints_are_the_lower_bounds():
    # torch at its bound is a large download; 2.11 is what the check on a GPU runs on.
    assert pins("constraints-lower.txt") == dict(lowest()) | {"torch": Version("2.13.0")}


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-lower.txt"])
def test_what_is_tested_is_allowed(file):
    needs = {need.name: need.specifier for need in map(Requirement, PROJECT["dependencies"])}
    tested = {name: version for name, version in pins(file).items() if name in needs}
    assert all(version in needs[name] for name, version in tested.items())
