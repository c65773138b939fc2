"""A model that an engine runs gives PyTorch's rewards, wherever a model is taken by its name."""

import base64
import json
import shutil
from dataclasses import replace

import pytest

from plaudit.errors import PlauditError
from plaudit.model.export import export
from plaudit.model.normalisation import Normalisation
from plaudit.model.reward_model import RewardModel
from plaudit.scoring.score import score_file

PROMPTS = [
    ("What is two plus two?", ["four", "Two plus two is four.", "four"]),
    ("", ["yes, it is!", "no"]),
    ("Is that so? " * 40, ["Yes.", "talk and talk " * 60]),
]
NAMES = {"onnx": "model.onnx", "openvino": "model"}


@pytest.fixture(params=["onnx", "openvino"], scope="module")
def engine(request):
    return request.param


def exported(model, engine, folder):
    path = folder / NAMES[engine]
    export(model, path, engine)
    return path


@pytest.fixture(scope="module")
def encoder(reward_model, tmp_path_factory):
    """The path of an encoder that was exported to an engine; it is not to be changed."""
    made = {}

    def path(engine):
        if engine not in made:
            folder = tmp_path_factory.mktemp(engine)
            made[engine] = exported(reward_model("bert", "cls"), engine, folder)
        return made[engine]

    return path


@pytest.mark.parametrize(
    ("name", "pooling"), [("bert", "cls"), ("bert", "mean"), ("llama", "last"), ("qwen2", "last")]
)
def test_an_engine_gives_the_rewards_of_pytorch(reward_model, name, pooling, engine, tmp_path):
    normalisation = Normalisation(0.3, 2.0, 10, ["rows.csv"])
    model = replace(reward_model(name, pooling), normalisation=normalisation, truncation={})
    there = RewardModel.load(exported(model, engine, tmp_path))
    assert there.normalised
    ours, theirs = list(model.score_all(PROMPTS)), list(there.score_all(PROMPTS))
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert there.truncation == model.truncation != {}
    assert theirs[0][0] == theirs[0][2]  # equal texts, to the last bit
    raw = RewardModel.load(tmp_path / NAMES[engine], normalised=False, length_penalty=0.5)
    penalised = replace(model, normalisation=None, length_penalty=0.5)
    assert raw.score(*PROMPTS[0]) == pytest.approx(penalised.score(*PROMPTS[0]), abs=1e-4)


def test_a_reward_is_that_of_its_text_alone(encoder, engine):
    there = RewardModel.load(encoder(engine))
    together = [reward for row in there.score_all(PROMPTS) for reward in row]
    alone = [there.score(prompt, [each])[0] for prompt, some in PROMPTS for each in some]
    assert together == pytest.approx(alone, abs=1e-5)


def test_files_are_scored_by_an_engine_and_not_resumed_by_another(
    reward_model, encoder, engine, tmp_path
):
    model, path = reward_model("bert", "cls"), encoder(engine)
    data = tmp_path / "rows.jsonl"
    prompts = [PROMPTS[0], PROMPTS[2]]  # a file with an empty prompt is rejected
    rows = [{"prompt": p, "completion": c} for p, some in prompts for c in some]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert score_file(str(path), data, tmp_path / "out.jsonl") == len(rows)
    found = [json.loads(line)["reward"] for line in (tmp_path / "out.jsonl").open()]
    expected = [reward for row in model.score_all(prompts) for reward in row]
    assert found == pytest.approx(expected, abs=1e-4)
    assert RewardModel.load(path).identity() != model.identity()


def test_what_is_fixed_in_an_export_is_refused(encoder, engine, tmp_path):
    path = encoder(engine)
    with pytest.raises(PlauditError, match=r"pooling: .* is an exported network"):
        RewardModel.load(path, pooling="mean")
    with pytest.raises(PlauditError, match=r"separator: .* is an exported network"):
        RewardModel.load(path, separator="")
    with pytest.raises(PlauditError, match=r"max_length: .* reads 128 tokens"):
        RewardModel.load(path, max_length=129)
    there = RewardModel.load(path, max_length=20)
    there.score(*PROMPTS[2])
    assert there.max_length == 20
    assert there.truncation["truncated"] == 2
    with pytest.raises(PlauditError, match=r"save: .* is an exported network"):
        there.save(tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_file_of_another_program_is_refused(encoder, tmp_path):
    import onnx

    path = tmp_path / "model.onnx"
    other = onnx.load(encoder("onnx"))
    del other.metadata_props[:]
    onnx.save(other, path)
    with pytest.raises(PlauditError, match="does not say how texts become tokens"):
        RewardModel.load(path)
    shutil.copy(__file__, path)
    with pytest.raises(PlauditError, match="onnxruntime cannot read it"):
        RewardModel.load(path)


def test_int8_of_a_model_of_pytorch_is_explained(reward_model, tmp_path):
    reward_model("bert", "cls").save(tmp_path / "model")
    with pytest.raises(PlauditError, match=r"dtype: int8 is made once .*--dtype int8 --data ROWS"):
        RewardModel.load(tmp_path / "model", dtype="int8")


def test_a_missing_extra_is_named(encoder, engine, monkeypatch):
    path = encoder(engine)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PlauditError, match=rf"pip install 'plaudit\[{engine}\]'"):
        RewardModel.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda files: {name: [content] for name, content in files.items()},
        lambda files: {**files, "tokenizer_config.json": _as_bytes({"tokenizer_class": "none"})},
    ],
)
def test_a_tokenizer_that_is_damaged_in_an_export_is_told(reward_model, tmp_path, change):
    import onnx

    path = exported(reward_model("bert", "cls"), "onnx", tmp_path)
    other = onnx.load(path)
    [noted] = [noted for noted in other.metadata_props if noted.key == "plaudit_tokenizer"]
    noted.value = json.dumps(change(json.loads(noted.value)))
    onnx.save(other, path)
    with pytest.raises(PlauditError, match=r"model\.onnx"):
        RewardModel.load(path)


def _as_bytes(value):
    return base64.b64encode(json.dumps(value).encode()).decode()
