"""What all tests share: no network, no noise, and tiny models that are made once."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import shutil

import pytest
import transformers
from hypothesis import settings

import tiny
from plaudit.model.reward_model import RewardModel

transformers.utils.logging.disable_progress_bar()
settings.register_profile("plaudit", deadline=None, derandomize=True)
settings.load_profile("plaudit")


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
