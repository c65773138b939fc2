"""`plaudit doctor`: what it tells, what it calls a fault, and that it ends whatever is missing."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest
from pydantic import TypeAdapter

from plaudit import installation
from plaudit.cli import main
from plaudit.results import InstallationRecord
from running import inside


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A folder to work in, with the caches in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_it_tells_what_is_here(folders, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert main(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = dict(line.split(maxsplit=1) for line in out.splitlines() if "  " in line)
    assert rows["torch"] == metadata.version("torch")
    assert rows["hub"].endswith("not asked, as HF_HUB_OFFLINE says; a token is set")
    assert rows["runs"].startswith(f"{folders}/runs, ")
    assert rows["serve"] == "installed"
    assert out.endswith("\nall well\n")
    assert main(["doctor", "--json"]) == 0
    printed = capsys.readouterr().out
    assert "secret" not in printed + out
    record = json.loads(printed)
    assert TypeAdapter(InstallationRecord).validate_python(record, strict=True) == record
    assert record["passed"] is True
    assert record["usable_cores"] == len(os.sched_getaffinity(0))
    assert record["number_type"]["auto"] in ("float32", "bfloat16")
    needed = {need.name for need, extra in installation._needs() if extra is None}
    assert record["versions"].keys() == {"python", "plaudit"} | needed
    assert not list(folders.glob("runs*"))  # it looks, and makes nothing but its cache


def test_every_extra_has_a_purpose_and_a_command():
    extras = set(metadata.metadata("plaudit").get_all("Provides-Extra")) - set(installation.ALONE)
    assert set(installation.PURPOSES) == extras
    told = {part["name"]: part for part in [*installation._optional([]), *installation._embedded()]}
    assert told.keys() == extras | {"embedded:minilm", "embedded:smollm2"}
    assert told["serve"]["install"] == "pip install 'plaudit[serve]'"


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({"torch": "2.3.0"}, "torch 2.3.0 is installed, and plaudit needs <3,>=2.11: pip install"),
        ({"trl": None}, "trl is not installed: pip install 'trl<2,>=1.10'"),
        ({"uvicorn": "0.1"}, "uvicorn 0.1 is installed, and plaudit needs >=0.30: pip install "
                             "'plaudit[serve]'"),
        ({"fastapi": None, "uvicorn": None, "httptools": None, "prometheus-client": None,
          "uvloop": None, "optuna": None}, None),
    ],
)  # fmt: skip
def test_what_is_missing_or_too_old_is_to_be_mended_unless_it_is_optional(
    folders, monkeypatch, versions, said
):
    real = installation._version
    monkeypatch.setattr(installation, "_version", lambda name: versions.get(name, real(name)))
    monkeypatch.setattr(installation, "_import_all", lambda mend: None)
    found = installation.examine()
    assert found.passed == (said is None)
    if said is not None:
        [line] = found.summary["mend"]
        assert line.startswith(said)
        assert str(found).endswith(f"1 to mend:\n- {line}")


def test_without_torch_it_still_answers(folders):
    """As where its installation broke off: one line says so, and no traceback."""
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'transformers', 'trl')))\n"
        "from plaudit.cli import main\n"
        "sys.exit(main(['doctor']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    *_, head, line = done.stdout.splitlines()
    assert head == "1 to mend:"
    assert line.startswith("- training cannot be imported (ModuleNotFoundError: ")


def test_a_folder_that_cannot_be_written_or_is_full_is_told(folders, monkeypatch):
    (folders / "cache").touch()
    monkeypatch.setattr(installation, "LITTLE", 2**80)
    mend = []
    told = {folder["use"]: folder for folder in installation._folders(mend)}
    assert [told[use]["writable"] for use in ("runs", "cache")] == [True, False]
    assert mend[0].endswith("GB are free; make room, or work in another folder")
    assert mend[1] == (
        f"{folders}/cache/plaudit, for cache: {folders}/cache cannot be written; make it so, or "
        "name another one in XDG_CACHE_HOME"
    )


def test_the_hub_is_asked_and_may_be_silent(monkeypatch):
    from fastapi import FastAPI
    from huggingface_hub import constants

    app, status = FastAPI(), [200]

    @app.api_route("/{path:path}", methods=["GET", "HEAD"])
    def answer(path: str):
        from fastapi import Response

        return Response(status_code=status[0])

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with inside(app) as client:
        monkeypatch.setattr(constants, "ENDPOINT", str(client.base_url))
        assert installation._Hub().record()["reached"] is True
        status[0] = 403
        refused = installation._Hub().record()
        assert (refused["reached"], refused["answer"]) == (False, "answers 403")
    gone = installation._Hub().record()
    assert gone["reached"] is False
    assert "ConnectError" in gone["answer"]
