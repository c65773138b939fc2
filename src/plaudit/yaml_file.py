"""YAML files of settings: every mistake in one is an error that names the line."""

import json
from pathlib import Path
from typing import Any

import yaml

from plaudit.errors import PlauditError

# What PyYAML raises for text that is no UTF-8, no date (2024-13-01), no number (`!!int x`) …
NO_VALUE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file, names with underscores for dashes.

    Raises `PlauditError` where it cannot be read as such.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        values = yaml.load(text, Loader=_OneValueEach)  # nosec B506 # a SafeLoader, see below
        # Half a character in a text, and a value that is within itself, are found here.
        json.dumps(values, ensure_ascii=False, default=str, skipkeys=True).encode()
    except OSError as error:
        raise PlauditError(f"{path}: {error.strerror or 'cannot be read'}") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise PlauditError(f"{path}{line}: not YAML: {error.problem}") from error
    except RecursionError as error:
        raise PlauditError(f"{path}: not YAML: nested too deeply") from error
    except (yaml.YAMLError, *NO_VALUE) as error:
        raise PlauditError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise PlauditError(
            f"{path}: write the settings as `name: value` lines; this is a {type(values).__name__}"
        )
    settings: dict[str, Any] = {}
    for name, value in values.items():
        plain = str(name).replace("-", "_")
        if plain in settings:
            raise PlauditError(f"{path}: {plain} is set twice, with a dash and without; keep one")
        settings[plain] = value
    return settings


class _OneValueEach(yaml.SafeLoader):
    """YAML in which a name has one value; of several, PyYAML takes the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, when no name in it comes twice."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value} is set twice; keep one", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)
