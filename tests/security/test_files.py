"""Files of strangers: no pickle runs, no YAML tag makes an object, no name leads out of a folder,
and no symbolic link that somebody laid is written through unseen."""

import contextlib
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from plaudit import PlauditError, RewardModel, export, train
from plaudit.bundled.sample import write_sample
from plaudit.evaluation.suites import SUITES
from plaudit.files import writing, writing_folder
from plaudit.model.poolings import POOLINGS
from plaudit.scoring.bench import _slug
from plaudit.training.objectives import OBJECTIVES
from plaudit.yaml_file import read_yaml


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return Path.touch, (Path(self.marker),)


@pytest.fixture
def evil(tmp_path):
    """Writes pickles, bare or in torch's own form, that leave a mark where they run."""

    class Pickles:
        marker = tmp_path / "it-ran"

        def write(self, path, bare=False):
            if bare:
                path.write_bytes(pickle.dumps(Evil(self.marker)))
            else:
                torch.save({"weight": Evil(self.marker)}, path)
            return path

        def ran(self):
            return self.marker.exists()

    made = Pickles()
    torch.load(made.write(tmp_path / "try.pt"), weights_only=False)  # the test can fail
    assert made.ran()
    made.marker.unlink()
    return made


@pytest.mark.parametrize("bare", [True, False])
def test_no_weights_of_a_stranger_run(base, tmp_path, evil, bare):
    for name in ("model.pt", "model.ckpt"):
        with pytest.raises((PlauditError, OSError)):
            RewardModel.load(evil.write(tmp_path / name, bare))
    for name in ("pytorch_model.bin", "value_head.bin"):
        folder = tmp_path / name.partition(".")[0]
        shutil.copytree(base("qwen2"), folder)
        if name == "pytorch_model.bin":
            for weights in folder.glob("*.safetensors*"):
                weights.unlink()
        evil.write(folder / name, bare)
        with pytest.raises(PlauditError):
            RewardModel.load(folder)
    assert not evil.ran()


def test_no_state_of_a_checkpoint_runs_when_a_run_is_resumed(base, tmp_path, evil):
    ranked, _ = write_sample(tmp_path, n=12)
    run = tmp_path / "run"
    train(
        str(ranked), output=run, base=str(base("bert")), max_length=32, max_steps=4, save_steps=2,
        validation_fraction=0, dtype="float32", recipe="plain", report=False,
    )  # fmt: skip
    (run / "metrics.json").unlink()
    shutil.rmtree(run / "checkpoints" / "checkpoint-4")
    checkpoint = run / "checkpoints" / "checkpoint-2"
    states = [path for path in checkpoint.iterdir() if path.suffix in (".pt", ".pth", ".bin")]
    assert {"optimizer.pt", "scheduler.pt", "rng_state.pth"} <= {path.name for path in states}
    for path in states:
        evil.write(path)
    with contextlib.suppress(Exception):  # that it cannot be read is told by other tests
        train(output=run, resume=True)
    assert not evil.ran()


@pytest.mark.parametrize(
    "text",
    [
        "base: !!python/object/apply:os.system ['touch {}']",
        "!!python/object/new:pathlib.Path ['{}']: 1",
        "base: !!python/name:os.system",
        "base: !unknown {{a: 1}}",
        "a: &a [1]\nb: &b [*a, *a, *a]\nbase: !!python/tuple [*b]",
    ],
)
def test_no_tag_of_yaml_makes_an_object(tmp_path, text):
    file = tmp_path / "config.yaml"
    marker = tmp_path / "it-ran"
    file.write_text(text.format(marker))
    with pytest.raises(PlauditError, match=r"config\.yaml"):
        read_yaml(file)
    assert not marker.exists()


LEADING_OUT = ("../outside", "..\\outside", "/tmp/outside", "a/../../outside", "..", ".", "", "a/b",
               "c:outside", "\0")  # fmt: skip


@pytest.fixture(scope="module")
def model(reward_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    reward_model("bert").save(folder)
    return folder


@pytest.mark.parametrize("name", LEADING_OUT)
def test_no_file_in_an_exported_model_leads_out_of_its_folder(model, tmp_path, name):
    export(model, tmp_path / "model.pt", format="pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    content["tokenizer"][name] = b"x"
    torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(PlauditError, match=r"damaged|cannot be unpacked"):
        RewardModel.load(tmp_path / "bad.pt")


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "/etc/passwd", "a\\..\\b", "\0", "\n"])
def test_no_name_of_a_model_or_of_data_leads_out_of_the_folder_of_a_bench(name):
    for given in (name, f"{name}/{name}"):
        slug = _slug(given)
        assert Path(slug).name == slug
        assert slug not in ("", ".", "..")
        assert slug.isprintable()
    assert _slug(name) != _slug(name + "x")


@pytest.mark.parametrize("name", ["../os", "os.path", "..", "bradley_terry.__init__", "/tmp/x"])
def test_no_name_of_a_plug_in_imports_another_module(name):
    for registry in (OBJECTIVES, POOLINGS, SUITES):
        with pytest.raises(PlauditError, match="there is no"):
            registry.get(name)


def test_what_somebody_laid_beside_an_output_is_not_written_through(tmp_path):
    """Temporary names cannot be foreseen, are made anew, and are those of one's own user."""
    names = set()
    for _ in range(20):
        with writing(tmp_path / "out.json") as file:
            names.add(file.name)
            assert os.lstat(file.name).st_nlink == 1
            file.write("x")
    assert len(names) == 20
    with writing_folder(tmp_path / "out") as folder:
        assert len(folder.name) > len("out") + 8


def test_an_output_through_a_symbolic_link_goes_where_it_points_and_the_link_stays(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    with writing(link) as file:
        file.write("new")
    assert link.is_symlink()
    assert real.read_text() == "new"
