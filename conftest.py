"""What all tests share: no network, no noise, and tiny models that are made once.

It lies above `tests` because the examples in the docstrings of `src` are tests too: they run in a
folder of their own, which has the trained runs, the data and the policy that they name.
"""

import gc
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import csv
import json
import shutil
from unittest import mock

import pytest
import transformers
from hypothesis import settings

import tiny
from plaudit import Policy, RewardModel, train
from plaudit.bundled.sample import write_sample

gc.disable()  # until the tests are imported, with all that they import; `swept` says why
transformers.utils.logging.disable_progress_bar()
settings.register_profile("plaudit", deadline=None, derandomize=True)
settings.register_profile("drawn-anew", deadline=None, print_blob=True)
settings.load_profile("drawn-anew" if os.environ.get("CI") else "plaudit")


@pytest.fixture(scope="module", autouse=True)
def swept():
    """Sets aside what is there before a module: no collection of garbage looks at it again.

    The libraries are half a million objects, and a collection, which each training starts several
    times, would look at all of them: that took half of the time of a test that trains.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The folder of a tiny base model by its name, of `tiny.DECODERS` or `tiny.ENCODERS`."""
    root = tmp_path_factory.mktemp("bases")

    def folder(name):
        if not (root / name).exists():
            tiny.make(name, root / name)
        return root / name

    return folder


@pytest.fixture(scope="session")
def reward_model(base):
    """A tiny reward model by base model and pooling, in float32, under a head that is drawn."""
    made = {}

    def get(name, pooling="auto") -> RewardModel:
        if (name, pooling) not in made:
            folder = base(name)
            made[name, pooling] = RewardModel.load(
                folder, pooling=pooling, dtype="float32", device="cpu"
            )
            made[name, pooling].new_head = False  # as if it were trained: nobody is to be warned
        return made[name, pooling]

    return get


@pytest.fixture(scope="session")
def trained(tmp_path_factory, base):
    """What a reader of a guide or of an example has: runs, data, prompts, a policy. Copy it."""
    folder = tmp_path_factory.mktemp("trained")
    ranked, pairs = write_sample(folder, n=24)
    ranked.rename(folder / "answers_ranked.csv")
    pairs.rename(folder / "pairs.jsonl")
    train(
        str(folder / "answers_ranked.csv"), output=folder / "runs" / "first",
        base=str(base("bert")), max_length=64, max_steps=2, dtype="float32",
    )  # fmt: skip
    for seed, name in enumerate(("second", "third"), start=1):
        other = RewardModel.load(base("bert"), max_length=64, seed=seed)
        other.save(folder / "runs" / name / "model")
    policy = Policy.load(base("qwen2"), device="cpu", dtype="float32")
    # Many tokens end a completion: of a few that are drawn at random some are finished.
    policy.model.generation_config.eos_token_id = list(range(30, 300, 12))
    policy.model.save_pretrained(folder / "policy")
    policy.tokenizer.save_pretrained(folder / "policy")
    answers = {}
    with (folder / "answers_ranked.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            answers.setdefault(row["prompt"], []).append(row["answer"])
    with (folder / "completions.jsonl").open("w") as file:
        for prompt, completions in answers.items():
            file.write(json.dumps({"prompt": prompt, "completions": completions}) + "\n")
    (folder / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in answers))
    shutil.copytree(base("bert"), folder / "base")
    return folder


@pytest.fixture(autouse=True)
def environment():
    """Puts the environment's variables back after each test, an example that sets one included."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def doctest_namespace(request, tmp_path, monkeypatch):
    """Runs an example in a folder of its own; one that reads a file finds those of `trained`."""
    here = tmp_path / "here"
    source = "".join(example.source for example in request.node.dtest.examples)
    if any(f'"{name}' in source for name in ("runs/", "policy", "base", "answers_", "pairs.")):
        shutil.copytree(request.getfixturevalue("trained"), here)
    else:
        here.mkdir()
    monkeypatch.chdir(here)
    return {}


@pytest.fixture(scope="module")  # as long as it is open, no test may run an event loop
def browser():
    """The Chromium that is installed; where there is none, tests in a browser are skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("there is no Chromium to open pages in")
    with playwright.sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = started.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
