"""What the documents tell people to type is there to be typed."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from plaudit.cli import build_parser
from plaudit.settings import Settings

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


def test_every_setting_is_documented():
    assert all(field.description for field in Settings.model_fields.values())
