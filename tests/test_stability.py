"""What docs/stability.md promises is kept, and what is new is promised."""

import json

import pytest

import stable

KEPT = """
{0}

These were promised for all of this major version (docs/stability.md). Let the old name go on
working. Where that cannot be, say so in CHANGELOG.md, and `make stable` renews the promise.
"""
NEW = """
{0}

These are not promised yet. `make stable` writes them to tests/stable.json: commit it too.
"""


@pytest.fixture(scope="module")
def promised():
    return json.loads(stable.PROMISED.read_text())


@pytest.fixture(scope="module")
def is_now():
    return json.loads(json.dumps(stable.promise()))


def test_what_was_promised_is_kept(promised, is_now):
    gone = list(stable.broken(promised, is_now))
    assert not gone, KEPT.format("\n".join(gone))


def test_what_is_new_is_promised(promised, is_now):
    added = list(stable.new(promised, is_now))
    assert not added, NEW.format("\n".join(added))


def changed(value, *path, to):
    """A copy of a promise with something else at a path; None takes it away."""
    copy = json.loads(json.dumps(value))
    *above, last = path
    place = copy
    for name in above:
        place = place[name]
    if to is None:
        place.remove(last) if isinstance(place, list) else place.pop(last)
    else:
        place[last] = to
    return copy


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("commands", "cv"), None, "commands cv: is gone"),
        (("settings", "seed"), None, "settings seed: is gone"),
        (("commands", "train", "--check"), None, "commands train --check: is gone"),
        (("commands", "evaluate", "--resamples", "default"), "500",
         "commands evaluate --resamples default: was '1000', is '500'"),
        (("commands", "score", "--engine", "names", "ray"), None,
         "commands score --engine names ray: is gone"),
        (("commands", "score", "--new"), f"{stable.MUST}, text",
         "commands score --new: must be given, text, and was not there before"),
        (("python", "Client", "score"), None, "python Client score: is gone"),
        (("python", "train", "resume"), "by place, False",
         "python train resume: was 'by name, False', is 'by place, False'"),
        (("python", "pairs", "new"), f"{stable.MUST}, by name",
         "python pairs new: must be given, by name, and was not there before"),
        (("results", "train", "data.rankings.test"), "string",
         "results train data.rankings.test: was 'integer', is 'string'"),
        (("service", "POST /rerank"), ["rerank"], "service POST /rerank tei-rerank: is gone"),
        (("plugins", "plaudit.objectives"), None, "plugins plaudit.objectives: is gone"),
    ],
)  # fmt: skip
def test_a_promise_that_is_broken_is_told_by_its_name(promised, path, to, said):
    now = changed(promised, *path, to=to)
    assert list(stable.broken(promised, now)) == [said]


def test_what_comes_new_breaks_no_promise_but_is_told(promised):
    now = changed(promised, "commands", "train", "--new", to={"takes": "text"})
    now["plugins"].append("plaudit.news")
    assert list(stable.broken(promised, now)) == []
    assert list(stable.new(promised, now)) == ["commands train --new", "plugins plaudit.news"]
