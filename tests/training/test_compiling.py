"""Whether a run compiles its norms and gates: by settings, by how long it is, and as it began."""

import json

import pytest
import torch

from plaudit import cross_validate, train
from plaudit.errors import PlauditError
from plaudit.model import loading
from plaudit.model.attention import Ways
from plaudit.model.fused import compiler
from plaudit.model.precision import DTYPES, Precision
from plaudit.training import compiling
from plaudit.training.checksums import seal
from plaudit.training.folder import STEP
from plaudit.training.trainer import RankingTrainer
from ranked_file import write_ranked

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler is there")


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """A ranked file."""
    return write_ranked(tmp_path_factory.mktemp("data") / "ranked.csv")


@pytest.fixture
def chosen(base):
    """Settings of a run of two steps, in bfloat16."""
    return {
        "base": str(base("llama")), "recipe": "plain", "dtype": "bfloat16", "max_length": 48,
        "max_steps": 2, "save_steps": 1, "stress": 0, "seed": 1, "learning_rate": 1e-3,
        "report": False,
    }  # fmt: skip


def compiled(run) -> bool:
    """What a run's folder says of it."""
    return json.loads((run.folder / "checkpoints" / STEP).read_text())["compiled"]


@needs_compiler
def test_it_learns_the_same_but_for_rounding(ranked, chosen, tmp_path):
    plain, fused = (
        train(ranked, output=tmp_path / how, **chosen, compile=how) for how in ("off", "on")
    )
    assert (compiled(plain), compiled(fused)) == (False, True)
    texts = [("What is 1 plus 1?", ["fox fox", "dog dog", "one and two"])]
    [then], [now] = (run.model.score_all(texts) for run in (plain, fused))
    assert now == pytest.approx(then, abs=0.1 * (max(then) - min(then)))
    assert now != then  # or nothing of it was used
    after = train(ranked, output=tmp_path / "after", **chosen, compile="off")
    assert [*after.model.score_all(texts)] == [then]  # nothing is left of it in this process


@needs_compiler
def test_auto_compiles_where_the_run_is_long(ranked, chosen, tmp_path, monkeypatch, capsys):
    assert not compiled(train(ranked, output=tmp_path / "short", **chosen))
    monkeypatch.setattr(compiling, "ENOUGH", 1)
    assert compiled(train(ranked, output=tmp_path / "long", **chosen))
    assert "compiling norms and gates" in capsys.readouterr().err


@needs_compiler
def test_nothing_is_said_where_there_is_nothing_to_compile(
    ranked, chosen, base, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(compiling, "ENOUGH", 1)
    chosen |= {"base": str(base("bert"))}  # its norms are PyTorch's own
    assert not compiled(train(ranked, output=tmp_path / "auto", **chosen))
    assert "compil" not in capsys.readouterr().err
    assert not compiled(train(ranked, output=tmp_path / "on", **chosen, compile="on"))
    said = capsys.readouterr().err
    assert "compile: on changes nothing" in said
    assert "half a minute" not in said


@needs_compiler
def test_a_resumed_run_compiles_as_it_began(ranked, chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "ENOUGH", 1)
    whole = train(ranked, output=tmp_path / "whole", **chosen)
    killed_at_step_1(monkeypatch, train, ranked, output=tmp_path / "run", **chosen)
    monkeypatch.setattr(compiling, "ENOUGH", float("inf"))
    again = train(ranked, output=tmp_path / "run", resume=True, **chosen)
    texts = [("What is 1 plus 1?", ["fox fox", "dog dog"])]
    assert [*again.model.score_all(texts)] == [*whole.model.score_all(texts)]


def killed_at_step_1(monkeypatch, *given, **options):
    """A training, or several, that ends before its second step."""
    step = RankingTrainer.training_step

    def killed(self, *of_step):
        if self.state.global_step == 1:
            raise KeyboardInterrupt
        return step(self, *of_step)

    with monkeypatch.context() as patch:
        patch.setattr(RankingTrainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            given[0](*given[1:], **options)


def measures(monkeypatch, dtype, ways):
    """Have this be what is measured to be fastest, unless a type is asked for."""
    monkeypatch.setattr(
        loading,
        "choose_precision",
        lambda asked, *_: Precision(DTYPES[dtype if asked == "auto" else asked], ways, 2.0),
    )


PRODUCTS, BY_SDPA = Ways("products", "products"), Ways("sdpa", "sdpa")


def test_a_resumed_run_computes_as_it_began(ranked, chosen, tmp_path, monkeypatch):
    chosen |= {"dtype": "auto"}
    measures(monkeypatch, "bfloat16", PRODUCTS)
    whole = train(ranked, output=tmp_path / "whole", **chosen)
    killed_at_step_1(monkeypatch, train, ranked, output=tmp_path / "run", **chosen)
    measures(monkeypatch, "float32", BY_SDPA)
    again = train(ranked, output=tmp_path / "run", resume=True, **chosen)
    assert (again.model.dtype, again.model.layout.ways) == (torch.bfloat16, PRODUCTS)
    texts = [("What is 1 plus 1?", ["fox fox", "dog dog"])]
    assert [*again.model.score_all(texts)] == [*whole.model.score_all(texts)]


def test_folds_after_a_kill_compute_as_those_before(ranked, chosen, tmp_path, monkeypatch):
    chosen |= {"dtype": "auto", "k": 2}
    measures(monkeypatch, "bfloat16", PRODUCTS)
    whole = cross_validate(ranked, output=tmp_path / "whole", **chosen)
    killed_at_step_1(monkeypatch, cross_validate, ranked, output=tmp_path / "cv", **chosen)
    measures(monkeypatch, "float32", PRODUCTS)
    again = cross_validate(ranked, output=tmp_path / "cv", resume=True)
    assert again.rewards == whole.rewards


def test_what_began_compiled_goes_on_where_nothing_can_be(
    ranked, chosen, tmp_path, monkeypatch, capsys
):
    killed_at_step_1(monkeypatch, train, ranked, output=tmp_path / "run", **chosen)
    step = tmp_path / "run" / "checkpoints" / STEP
    step.write_text(json.dumps(json.loads(step.read_text()) | {"compiled": True}))
    seal(step.parent, [STEP])
    monkeypatch.setenv("CXX", "no-such-compiler")
    train(ranked, output=tmp_path / "run", resume=True)
    assert "compiling: CXX is 'no-such-compiler'" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[5]", '{"steps": 8}', '{"attention": 5}'])
def test_a_damaged_note_of_how_a_run_began_is_named(ranked, chosen, tmp_path, monkeypatch, content):
    killed_at_step_1(monkeypatch, train, ranked, output=tmp_path / "run", **chosen)
    (tmp_path / "run" / "checkpoints" / STEP).write_text(content)
    with pytest.raises(PlauditError, match=r"step\.json: is damaged"):
        train(ranked, output=tmp_path / "run", resume=True)


def test_several_runs_say_that_they_cannot_compile_before_they_begin(ranked, chosen, tmp_path):
    chosen |= {"dtype": "float32", "compile": "on", "k": 2}
    with pytest.raises(PlauditError, match="compile: on is for bfloat16"):
        cross_validate(ranked, output=tmp_path / "cv", **chosen)
    assert not (tmp_path / "cv").exists()


def test_on_says_why_it_cannot_be(ranked, chosen, tmp_path):
    with pytest.raises(PlauditError, match="compile: on is for bfloat16"):
        train(ranked, output=tmp_path / "run", **chosen | {"dtype": "float32", "compile": "on"})


def test_without_a_compiler_on_is_an_error_and_auto_is_not(ranked, chosen, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(compiling, "ENOUGH", 1)
    assert not compiled(train(ranked, output=tmp_path / "auto", **chosen))
    with pytest.raises(PlauditError, match="compile: CXX is"):
        train(ranked, output=tmp_path / "on", **chosen, compile="on")
    assert not [*(tmp_path / "on").rglob("*.*")]
