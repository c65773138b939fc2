"""A model's exported network against the model: made now, or some file's."""

import pytest

import plaudit
from plaudit import RewardModel
from plaudit.errors import PlauditError
from plaudit.model.export import export

FORMATS = ("onnx", "openvino")


def peer_of(folder, against):
    found = plaudit.verify(folder, against=[against])
    return found, found.record["peers"][0]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["bert", "qwen2"])
def test_the_exported_network_gives_the_same_rewards(reward_model, tmp_path, name, format):
    reward_model(name).save(tmp_path / "model")
    found, peer = peer_of(tmp_path / "model", format)
    assert found.passed, str(found)
    assert 0 < peer["largest"] < 1e-4
    assert peer["rows"] > 20


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_of_another_state_of_the_model_does_not_pass(base, tmp_path, format):
    for seed in (0, 1):
        RewardModel.load(base("bert"), seed=seed).save(tmp_path / str(seed))
    export(RewardModel.load(tmp_path / "0"), tmp_path / "old", format)
    found, peer = peer_of(tmp_path / "1", f"{format}={tmp_path / 'old'}")
    assert not found.passed
    assert peer["parted"]
    assert "has it the same weights" in str(found)
    assert peer_of(tmp_path / "0", f"{format}={tmp_path / 'old'}")[0].passed


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_no_such_file_is_named(reward_model, tmp_path, format):
    reward_model("bert").save(tmp_path / "model")
    (tmp_path / "file").write_text("no network")
    with pytest.raises(PlauditError, match=r"file.*cannot read it"):
        peer_of(tmp_path / "model", f"{format}={tmp_path / 'file'}")
