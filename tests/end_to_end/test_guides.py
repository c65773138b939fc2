"""The guides for using a model, run as they stand: every command, every piece of Python, in order.

They run in a folder as a reader would have it: trained runs, data, prompts. The models are tiny,
and so is the policy in the place of the embedded one, which takes long to unpack. Blocks of
```text, for programs that are not ours, are not run.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

import forked
from plaudit.bundled.sample import write_sample
from plaudit.cli import main
from running import free_port

DOCS = Path(__file__).parents[2] / "docs"
# Sections of guides whose commands train, with a base model that takes a moment.
SECTIONS = (("data", "Several sources"), ("training", "Validation sets"))
GUIDES = ("bench", "bulk", "serving", "labelling", "best-of-n", "over-optimisation", "rlhf")
SHELL = re.compile(r"[|<>;&$`*]")


def blocks(guide):
    """The code blocks of a guide that are to be run: language and text."""
    text = (DOCS / f"{guide}.md").read_text()
    return re.findall(r"^```(bash|python)\n(.*?)^```", text, re.S | re.M)


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_runs_as_it_stands(guide, trained, tmp_path, monkeypatch, capfd):
    here = tmp_path / "here"
    subprocess.run(["cp", "-r", trained, here], check=True)
    (here / "pairs.jsonl").unlink()  # of the examples in docstrings; guides write one
    write_sample(here / "gold", n=6, seed=1)[0].rename(here / "gold.csv")
    (here / "examples").symlink_to(DOCS.parent / "examples")
    monkeypatch.chdir(here)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    found = blocks(guide)
    assert any(language == "bash" for language, _ in found)
    port = str(free_port())
    with services() as serve:
        for language, code in found:
            code = code.replace("8000", port).replace("embedded:smollm2", "policy")
            if language == "python":
                exec(compile(code, f"{guide}.md", "exec"), {"__name__": "guide"})
            elif code.startswith(("plaudit serve", "plaudit label")):
                serve(code if f"--port {port}" in code else f"{code.rstrip()} --port {port}", port)
            else:
                run(code)


@pytest.mark.parametrize(("guide", "section"), SECTIONS)
def test_a_section_that_trains_runs_as_it_stands(guide, section, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").symlink_to(trained / "base")
    shutil.copy(trained / "answers_ranked.csv", tmp_path)
    write_sample(tmp_path, n=24, seed=1)[0].rename(tmp_path / "expert.csv")
    pairs = [{"prompt": f"{i}?", "chosen": f"Yes, {i}.", "rejected": "No."} for i in range(40)]
    (tmp_path / "chat.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    text = (DOCS / f"{guide}.md").read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^```(bash|python)\n(.*?)^```", text, re.S | re.M)
    assert found
    quick = {"base": "base", "max_length": 64, "max_steps": 1, "recipe": "plain", "stress": 0}
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in quick.items())
    for language, code in found:
        if language == "python":
            code = code.replace("output=", f"**{quick}, output=")
            exec(compile(code, f"{guide}.md", "exec"), {"__name__": "guide"})
        else:
            run(code.replace(" -o ", f" {flags} -o "))
    assert all((path / "metrics.json").is_file() for path in (tmp_path / "runs").iterdir())


def run(code):
    """Commands of ours without a shell's help run in this process, which has torch loaded."""
    for line in code.replace("\\\n", " ").splitlines():
        line = re.sub(r"\s+#.*", "", line).strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("plaudit ") and not SHELL.search(line):
            assert main(shlex.split(line)[1:]) == 0, line
        else:
            subprocess.run(["bash", "-euo", "pipefail", "-c", line], check=True)


@contextmanager
def services():
    """Starts services in the background; each stops, as asked, when the next one starts."""
    running = []

    def stop():
        for process in running:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        running.clear()

    def serve(command, port):
        stop()
        words = shlex.split(command.replace("\\\n", " "), comments=True)
        process = forked.start("-m", *words)
        running.append(process)
        for _ in range(600):
            assert process.poll() is None, process.stderr
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5)
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError(f"not ready: {command}")

    try:
        yield serve
        stop()
    finally:
        for process in running:
            process.kill()
