"""What the site needs beside mkdocs.yml.

Guides link to recipes and benchmarks, which lie beside docs/: they become part of the site.
Examples in docstrings are shown as code.
"""

import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
BESIDE = ("examples/*.py", "examples/*.yaml", "benchmarks/**/*.md", "benchmarks/*.py")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies beside docs/ under the path that it has in the project."""
    for path in (path for pattern in BESIDE for path in sorted(ROOT.glob(pattern))):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Make links of guides lead there."""
    return re.sub(r"\]\(\.\./(?=(?:examples|benchmarks)/)", "](", markdown)


class ExamplesAsCode(griffe.Extension):
    """Puts a fence round the examples of a docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """See `griffe.Extension`."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^>>> .*(?:\n.+)*", r"```pycon\n\g<0>\n```", obj.docstring.value, flags=re.M
            )
