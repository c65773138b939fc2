"""The space of a search: what of the settings varies, and between which values.

A space is a mapping, or YAML: for each setting a list of values, or a range of numbers. Every value
is checked as the setting itself would be, before the first trial.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from plaudit.errors import PlauditError
from plaudit.settings import Settings, nearest
from plaudit.training.objectives import OBJECTIVES
from plaudit.yaml_file import read_yaml

Space = dict[str, BaseDistribution]

# What a trial may not vary: then trials would not be measured on the same prompts.
NOT_SEARCHED = {
    *("data", "validation_data", "test_data", "validation_fraction", "test_fraction", "columns"),
    *("streaming", "on_bad_row", "max_rejected", "features_cache", "features_cache_gb", "seed"),
    *("save_steps", "save_total_limit", "logging_steps", "report_to", "metric_for_best_model"),
    *("early_stopping_patience", "max_validation_rankings", "lora_target_modules", "recipe"),
    "save_adapter",
    *("mixture", "validation_set", "encoding", "chat_template", "chat_template_args"),
}


def default_space(chosen: Settings, fixed: set[str]) -> Space:
    """What matters most, without the settings that are `fixed`."""
    head = chosen.freeze_layers == -1
    entries: dict[str, Any] = {
        "learning_rate": {"low": 1e-3, "high": 0.1, "log": True}
        if head
        else {"low": 1e-5, "high": 5e-4, "log": True},
        "num_train_epochs": [5, 10, 20, 40] if head else [1, 2, 3],
        "per_device_train_batch_size": [4, 8, 16, 32],
        "weight_decay": [0.0, 0.01, 0.1, 1.0],
    }
    if OBJECTIVES.get(chosen.loss).takes("label_smoothing"):
        entries["label_smoothing"] = [0.0, 0.05, 0.1, 0.2]
    if chosen.max_steps > 0:
        del entries["num_train_epochs"]
    return {name: distribution(name, e) for name, e in entries.items() if name not in fixed}


def read_space(space: str | Path | Mapping[str, Any], chosen: Settings) -> Space:
    """A search space from a mapping or a YAML file, every value in it allowed for its setting.

    Raises `PlauditError` that names the setting.

    >>> base = Settings.build(data="ranked.csv")
    >>> read_space({"loss": ["bradley-terry", "plackett-luce"]}, base)
    {'loss': CategoricalDistribution(choices=('bradley-terry', 'plackett-luce'))}
    """
    where = "space" if isinstance(space, Mapping) else str(space)
    entries = dict(space) if isinstance(space, Mapping) else read_yaml(space)
    entries = {name: _with_numbers(entry) for name, entry in entries.items()}
    if not entries:
        raise PlauditError(f"{where}: names no setting to vary")
    space_of: Space = {}
    for name, entry in entries.items():
        if name not in Settings.model_fields:
            near = nearest(name)
            hint = f"; the nearest is {near}" if near else ""
            raise PlauditError(f"{where}: there is no setting {name}{hint}")
        if name in NOT_SEARCHED:
            raise PlauditError(f"{where}: {name} cannot be searched; set it once for all trials")
        try:
            space_of[name] = distribution(name, entry)
        except (ValueError, TypeError) as error:
            why = str(error).rstrip(".")  # Optuna ends its own with one
            raise PlauditError(
                f"{where}: {name}: {why}; give a list of values, or low and high, with log: true "
                "or a step"
            ) from error
        values = [entry["low"], entry["high"]] if isinstance(entry, Mapping) else list(entry)
        for value in values:
            try:
                Settings.build(
                    **{"data": chosen.data, "freeze_layers": chosen.freeze_layers, name: value}
                )
            except PlauditError as error:
                raise PlauditError(f"{where}: {error}") from error
    return space_of


def distribution(name: str, entry: Any) -> BaseDistribution:
    """What Optuna draws a setting from; raises `ValueError` where `entry` is no list and no range.

    >>> distribution("num_train_epochs", {"low": 1, "high": 4})
    IntDistribution(high=4, log=False, low=1, step=1)
    """
    if isinstance(entry, Mapping):
        unknown = set(entry) - {"low", "high", "log", "step"}
        if unknown or not {"low", "high"} <= set(entry):
            raise ValueError(f"{dict(entry)} is no range")
        numbers = [entry[key] for key in ("low", "high", "step") if entry.get(key) is not None]
        if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
            raise ValueError(f"{dict(entry)} is no range of numbers")
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"{dict(entry)} has no end")
        if not isinstance(entry.get("log", False), bool):
            raise ValueError(f"log is {entry['log']!r}, neither true nor false")
        low, high, step, log = entry["low"], entry["high"], entry.get("step"), entry.get("log")
        kind = Settings.model_json_schema()["properties"][name].get("type")
        # Epochs may be broken, but whoever names whole ones means whole ones.
        epochs = name == "num_train_epochs" and all(isinstance(n, int) for n in numbers)
        if kind == "integer" or epochs:
            return IntDistribution(low, high, step=step or 1, log=bool(log))
        return FloatDistribution(low, high, step=step, log=bool(log))
    if not isinstance(entry, list | tuple) or not entry:
        raise ValueError(f"{entry!r} is no list of values")
    if any(isinstance(value, list | tuple | Mapping) for value in entry):
        raise ValueError(f"{entry!r} has more than plain values in it")
    return CategoricalDistribution(tuple(entry))


def _with_numbers(entry: Any) -> Any:
    """YAML takes 1e-3 for a text and 1.0e-3 for a number; to whoever writes it both are one."""
    if isinstance(entry, Mapping):
        return {key: _with_numbers(value) for key, value in entry.items()}
    if isinstance(entry, list | tuple):
        return [_with_numbers(value) for value in entry]
    is_number = isinstance(entry, str) and re.fullmatch(r"\d+(\.\d*)?[eE][+-]?\d+", entry)
    return float(entry) if is_number else entry


def describe_space(space: Space) -> dict[str, Any]:
    """A space as YAML and JSON have it, and as `read_space` reads it."""
    return {
        name: list(d.choices)
        if isinstance(d, CategoricalDistribution)
        else {
            key: getattr(d, key)
            for key in ("low", "high", "log", "step")
            if getattr(d, key) is not None and (key != "log" or d.log)  # type: ignore[attr-defined]
        }
        for name, d in space.items()
    }
