"""The process that a check runs in: `list` names the checks, `work` runs the one it is told.

`work` imports the libraries first and then reads one line of JSON, so that a process can be made
ready while another one computes. No device is touched before that line is there.
"""

import ast
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

from checks.setting import Report, Setting

# 1 is what Python itself ends with after an error.
HELD, NOT_HELD, FAILED = 0, 10, 11
SHARED = {"__init__", "__main__", "contest", "setting", "shapes", "timing"}


def describe(path: Path) -> dict:
    """What a check's file says of it, read without importing it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("ORDER", "LIMIT", "ALONE")
    }
    question = ast.get_docstring(tree)
    if not question or constants.keys() != {"ORDER", "LIMIT", "ALONE"}:
        sys.exit(f"{path.name}: a check needs a docstring, ORDER, LIMIT and ALONE")
    return {
        "name": path.stem.replace("_", "-"),
        "question": question.splitlines()[0],
        "order": constants["ORDER"],
        "limit": constants["LIMIT"],
        "alone": constants["ALONE"],
    }


def listed() -> list[dict]:
    """All checks, the most worth first."""
    files = [p for p in Path(__file__).parent.glob("*.py") if p.stem not in SHARED]
    return sorted(map(describe, files), key=lambda check: check["order"])


def work() -> int:
    """Import, wait, run one check; the exit code that `run` knows."""
    problem = ""
    try:
        import torch

        import plaudit.training.run  # noqa: F401  the slow imports, TRL among them
    except BaseException:  # told once it is known which check it concerns
        problem = traceback.format_exc()
    if not (line := sys.stdin.readline()):
        return HELD  # nobody needs this process any more
    told = json.loads(line)
    report = Report(Path(told["report"]), judge_goals=not told["tiny"])
    print(f"\n==== {told['name']}", flush=True)
    try:
        report.write()
        if problem:
            raise ImportError(f"what the checks need cannot be imported:\n{problem}")
        scratch = Path(told["scratch"])
        scratch.mkdir(parents=True)
        setting = Setting(
            device=told["device"],
            tiny=told["tiny"],
            scratch=scratch,
            data=Path(os.environ["PLAUDIT_CHECK_DATA"]),
            ends=time.monotonic() + told["seconds"],
        )
        if setting.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("PyTorch sees no CUDA device here")
        module = importlib.import_module("checks." + told["name"].replace("-", "_"))
        module.check(setting, report)
        report.finished = True
        report.write()
    except BaseException:  # SystemExit too: a check that ends the process has not finished
        report.error = traceback.format_exc()
        report.write()
        print(report.error, flush=True)
        return FAILED
    return HELD if report.held() else NOT_HELD


if __name__ == "__main__":
    if sys.argv[1:] == ["list"]:
        print(json.dumps(listed()))
    else:
        sys.stdout.flush()
        code = work()
        sys.stdout.flush()
        os._exit(code)  # whatever threads a server or a compiler left behind
