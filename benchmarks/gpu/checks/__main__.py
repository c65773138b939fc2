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
    return {
        "name": path.stem.replace("_", "-"),
        "question": (ast.get_docstring(tree) or "").splitlines()[0],
        "order": constants["ORDER"],
        "limit": constants["LIMIT"],
        "alone": constants["ALONE"],
    }


def listed() -> list[dict]:
    """All checks, the most worth first."""
    files = [p for p in Path(__file__).parent.glob("*.py") if p.stem not in SHARED]
    return sorted(map(describe, files), key=lambda check: check["order"])


def work() -> int:
    """Import, wait, run one check; 0 where it held, 1 where not, 3 where it failed."""
    import torch

    import plaudit.training.run  # noqa: F401  the slow imports, TRL among them
    from checks.setting import Report, Setting

    if not (line := sys.stdin.readline()):
        return 0  # nobody needs this process any more
    told = json.loads(line)
    module = importlib.import_module("checks." + told["name"].replace("-", "_"))
    scratch = Path(told["scratch"])
    scratch.mkdir(parents=True)
    question = (module.__doc__ or "").splitlines()[0]
    report = Report(Path(told["report"]), question, judge_goals=not told["tiny"])
    report.write()
    setting = Setting(
        device=told["device"],
        tiny=told["tiny"],
        scratch=scratch,
        data=Path(os.environ["PLAUDIT_CHECK_DATA"]),
        ends=time.monotonic() + told["seconds"],
    )
    print(f"\n==== {told['name']}", flush=True)
    try:
        if setting.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("PyTorch sees no CUDA device here")
        module.check(setting, report)
    except Exception:
        report.error = traceback.format_exc()
        report.write()
        print(report.error, flush=True)
        return 3
    return 0 if report.held() else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["list"]:
        print(json.dumps(listed()))
    else:
        sys.stdout.flush()
        code = work()
        sys.stdout.flush()
        os._exit(code)  # whatever threads a server or a compiler left behind
