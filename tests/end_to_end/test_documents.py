"""What the documents tell people to type is there to be typed."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from plaudit.cli import COMMANDS, build_parser
from plaudit.reference import pages
from plaudit.settings import Settings, options_of

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(path):
    blocks = re.findall(r"```(?:bash|sh|console)?\n(.*?)```", path.read_text(), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("plaudit ")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_parses(path):
    parser = build_parser()
    for line in commands(path):
        parser.parse_args(shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_within_the_project_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_is_valid(path):
    settings = Settings.build(path)
    assert set(yaml.safe_load(path.read_text())) <= set(Settings.model_fields)
    assert settings.data


@pytest.mark.parametrize("name", pages())
def test_what_is_generated_is_current(name):
    """`make reference` writes it anew."""
    assert (ROOT / "docs" / name).read_text() == pages()[name]


def test_every_option_is_documented():
    for function in COMMANDS.values():
        for option in options_of(function):
            assert option.help.text, option.name
            assert option.help.text in (ROOT / "docs" / "settings.md").read_text()
