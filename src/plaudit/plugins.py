"""What varies is one file, found here: a registry of a package's modules and of other packages'.

A kind of thing (objectives, say) has a package of its own. Each module in it is one of them: its
file name is its name, with dashes for underscores, and it defines what it is under the name that
the kind asks for. A module whose name begins with an underscore is none. A distribution adds its
own through entry points, `plaudit.objectives` and so on:

    [project.entry-points."plaudit.objectives"]
    exponential = "my_package.exponential:OBJECTIVE"

Names are listed without importing anything; a module is imported when it is first asked for.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points, version
from typing import Generic, TypeVar

from plaudit.console import say
from plaudit.errors import PlauditError

T = TypeVar("T")

# Every kind, with the registry that lists it.
KINDS = {
    "engine": "plaudit.model.engines:ENGINES",
    "export": "plaudit.model.exports:EXPORTS",
    "layout": "plaudit.data.layouts:LAYOUTS",
    "measure": "plaudit.evaluation.measures:MEASURES",
    "nuisance": "plaudit.training.controls:NUISANCES",
    "objective": "plaudit.training.objectives:OBJECTIVES",
    "peer": "plaudit.verification.peers:PEERS",
    "plot": "plaudit.reporting.plots:PLOTS",
    "pooling": "plaudit.model.poolings:POOLINGS",
    "posterior": "plaudit.training.posteriors:POSTERIORS",
    "protocol": "plaudit.serving.protocols:PROTOCOLS",
    "rewrite": "plaudit.evaluation.rewrites:REWRITES",
    "suite": "plaudit.evaluation.suites:SUITES",
}


@dataclass(frozen=True)
class Registry(Generic[T]):
    """All things of one kind, by name.

    `kind` is its name in messages and of its entry points; `package` holds plaudit's own, a module
    each, which define `attribute`; `type` is what it must be. `word_break` stands in a name where
    its file's name has an underscore.
    """

    kind: str
    package: str
    attribute: str
    type: type[T]
    word_break: str = "-"

    @cached_property
    def _own(self) -> dict[str, str]:
        """The modules of plaudit's own, by name."""
        path = importlib.import_module(self.package).__path__
        return {
            module.name.replace("_", self.word_break): f"{self.package}.{module.name}"
            for module in pkgutil.iter_modules(path)
            if not module.name.startswith("_")
        }

    @cached_property
    def _theirs(self) -> dict[str, EntryPoint]:
        """What other packages add, by name."""
        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=f"plaudit.{self.kind}s"):
            if entry.name in self._own or entry.name in found:
                who = _distribution(found[entry.name]) if entry.name in found else OURS
                raise PlauditError(
                    f"{self.kind} {entry.name}: both {who} and {_distribution(entry)} have one; "
                    "uninstall one of them"
                )
            found[entry.name] = entry
        return found

    def names(self) -> list[str]:
        """All names, in order; nothing is imported for them.

        Raises:
            PlauditError: where two packages have one name.
        """
        return sorted([*self._own, *self._theirs])

    def get(self, name: str) -> T:
        """What has this name.

        Raises:
            PlauditError: when nothing has, with the nearest name; or it cannot be loaded.
        """
        names = self.names()
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; the nearest is {near[0]}" if near else ""
            raise PlauditError(
                f"there is no {self.kind} {name}{hint}; there are {', '.join(names)}"
            )
        try:
            if name in self._own:
                found = getattr(importlib.import_module(self._own[name]), self.attribute)
            else:
                found = self._theirs[name].load()
        except Exception as error:  # whatever a module raises when imported
            raise PlauditError(
                f"{self.kind} {name} of {self._origin(name)} cannot be loaded: {error!r}; "
                "mend or uninstall that package"
            ) from error
        if not isinstance(found, self.type):
            raise PlauditError(
                f"{self.kind} {name} of {self._origin(name)} is of type {type(found).__name__} "
                f"where {self.type.__name__} is wanted"
            )
        return found

    def check(self, name: str) -> str:
        """The name, where something has it; else `ValueError`, as validators of settings raise."""
        if name not in self.names():
            raise ValueError(f"there is no {self.kind} {name}")
        return name

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def each(self) -> Iterator[tuple[str, T]]:
        """All that can be loaded, by name; of another package's that cannot, one line says so.

        Raises:
            PlauditError: where two packages have one name.
        """
        for name in self.names():
            try:
                yield name, self.get(name)
            except PlauditError as error:
                if name in self._own:
                    raise
                _say_once(f"left aside: {error}")

    def origins(self) -> dict[str, str]:
        """Where each comes from: a distribution and its version, or several where they clash."""
        found = dict.fromkeys(self._own, OURS)
        for entry in entry_points(group=f"plaudit.{self.kind}s"):
            before = f"{found[entry.name]} and " if entry.name in found else ""
            found[entry.name] = before + _distribution(entry)
        return dict(sorted(found.items()))

    def _origin(self, name: str) -> str:
        return _distribution(self._theirs[name]) if name in self._theirs else OURS


@cache
def _say_once(text: str) -> None:
    say(text)


OURS = f"plaudit {version('plaudit')}"


def _distribution(entry: EntryPoint) -> str:
    """Which distribution an entry point is of, with its version."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def installed() -> dict[str, dict[str, str]]:
    """Of every kind all names, each with the distribution that brings it.

    >>> installed()["objective"]["bradley-terry"].split()[0]
    'plaudit'
    """
    found = {}
    for kind, where in KINDS.items():
        module, attribute = where.split(":")
        found[kind] = getattr(importlib.import_module(module), attribute).origins()
    return found
