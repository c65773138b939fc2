"""What the tests of sampling share."""

import pytest

from plaudit.sampling.policy import Policy


@pytest.fixture(scope="session")
def policy(base):
    """Two policies that differ in most: no chat template and no pad token against both."""
    loaded = {
        name: Policy.load(base(name), device="cpu", dtype="float32") for name in ("gpt2", "qwen2")
    }
    return loaded.__getitem__
