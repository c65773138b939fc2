"""The number type is what was measured; what was measured is kept, and never stops anybody."""

import json
import time

import pytest
import torch

from plaudit import RewardModel
from plaudit.model import precision
from plaudit.model.attention import Ways
from plaudit.model.batches import Flat
from plaudit.model.precision import Work, choose_precision, dtype_in_words, work_of

CPU = torch.device("cpu")
WORK = Work({(1024, 1024): 4}, layers=2, heads=4, key_heads=2, head_size=16)


def seconds(products, attention):
    """A trial's answer: products by type, attention by type and way, the same in both uses."""
    return {"products": products, "scoring": attention, "training": attention}


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Have trials answer what is put here, and keep it in a folder of the test's own."""
    answers = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(precision, "_known", {})
    monkeypatch.setattr(precision, "trial", lambda work, tokens: answers[0])
    return answers


FAST = {"float32, sdpa": 1.0, "float32, products": 2.0}
SLOW = {"bfloat16, sdpa": 3.0, "bfloat16, products": 0.5, "bfloat16, sdpa in float32": 1.1}


def test_the_faster_type_is_taken_with_the_fastest_attention_of_it(measured):
    measured.append((seconds({"float32": 4.0, "bfloat16": 1.0}, FAST | SLOW), True))
    chosen = choose_precision("auto", CPU, WORK)
    assert chosen.dtype == torch.bfloat16
    assert chosen.ways == Ways("products", "products")
    assert chosen.ratio == pytest.approx((3 * 4 + 2 * 1.0) / (3 * 1 + 2 * 0.5))  # two layers
    chosen = choose_precision("float32", CPU, WORK)
    assert (chosen.dtype, chosen.ways) == (torch.float32, Ways("sdpa", "sdpa"))


def test_attention_may_stay_in_float32_where_products_do_not(measured):
    slow = {"bfloat16, sdpa": 3.0, "bfloat16, products": 2.0, "bfloat16, sdpa in float32": 1.1}
    measured.append((seconds({"float32": 9.0, "bfloat16": 2.0}, FAST | slow), True))
    chosen = choose_precision("auto", CPU, WORK)
    assert (chosen.dtype, chosen.ways.training) == (torch.bfloat16, "sdpa in float32")


@pytest.mark.parametrize("bfloat16", [4.0, 3.6, 100.0])
def test_what_wins_little_or_nothing_is_not_taken(measured, bfloat16):
    measured.append((seconds({"float32": 4.0, "bfloat16": bfloat16}, {}), True))
    assert choose_precision("auto", CPU, Work(WORK.linear)).dtype == torch.float32
    assert choose_precision("bfloat16", CPU, Work(WORK.linear)).dtype == torch.bfloat16


def test_a_verdict_is_kept_and_read_again_by_the_next_process(measured, monkeypatch, tmp_path):
    measured.append((seconds({"float32": 4.0, "bfloat16": 1.0}, {}), True))
    work = Work(WORK.linear)
    assert choose_precision("auto", CPU, work).dtype == torch.bfloat16
    monkeypatch.setattr(precision, "_known", {})  # as in another process
    measured[0] = (seconds({"float32": 1.0, "bfloat16": 9.0}, {}), True)
    assert choose_precision("auto", CPU, work).dtype == torch.bfloat16
    # Of other shapes, or another number of tokens, nothing is known.
    assert choose_precision("auto", CPU, Work({(2048, 2048): 1})).dtype == torch.float32
    assert choose_precision("auto", CPU, work, tokens=8).dtype == torch.float32
    for file in (tmp_path / "plaudit" / "speed").iterdir():
        assert precision.processor() in json.loads(file.read_text())["of"]


def test_what_was_measured_on_a_busy_machine_is_not_kept(measured, monkeypatch, tmp_path):
    measured.append((seconds({"float32": 4.0, "bfloat16": 1.0}, {}), False))
    work = Work(WORK.linear)
    assert choose_precision("auto", CPU, work).dtype == torch.bfloat16
    assert not list((tmp_path / "plaudit" / "speed").iterdir())
    measured[0] = (seconds({"float32": 1.0, "bfloat16": 9.0}, {}), True)
    assert choose_precision("auto", CPU, work).dtype == torch.bfloat16  # within this process
    monkeypatch.setattr(precision, "_known", {})
    assert choose_precision("auto", CPU, work).dtype == torch.float32


@pytest.mark.parametrize("content", ["", "{", "[]", '{"of": "something else"}'])
def test_a_damaged_verdict_is_measured_anew(measured, monkeypatch, tmp_path, content):
    measured.append((seconds({"float32": 4.0, "bfloat16": 1.0}, {}), True))
    work = Work(WORK.linear)
    choose_precision("auto", CPU, work)
    (file,) = (tmp_path / "plaudit" / "speed").glob("*.json")
    file.write_text(content)
    monkeypatch.setattr(precision, "_known", {})
    assert choose_precision("auto", CPU, work).dtype == torch.bfloat16
    assert json.loads(file.read_text())["seconds"]["products"] == {"float32": 4.0, "bfloat16": 1.0}


@pytest.mark.parametrize(
    "kept",
    [
        [],
        {"products": {}, "scoring": {}, "training": {}},
        seconds({"float32": 1.0, "bfloat16": None}, FAST | SLOW),
        seconds({"float32": 1.0, "bfloat16": 0.0}, FAST | SLOW),
        seconds({"float32": 1.0, "bfloat16": float("nan")}, FAST | SLOW),
        seconds({"float32": 1.0, "bfloat16": 9.0}, FAST),
    ],
)
def test_a_verdict_that_no_trial_gives_is_measured_anew(measured, monkeypatch, tmp_path, kept):
    measured.append((seconds({"float32": 4.0, "bfloat16": 1.0}, FAST | SLOW), True))
    choose_precision("auto", CPU, WORK)
    (file,) = (tmp_path / "plaudit" / "speed").glob("*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "seconds": kept}))
    monkeypatch.setattr(precision, "_known", {})
    assert choose_precision("auto", CPU, WORK).dtype == torch.bfloat16
    assert json.loads(file.read_text())["seconds"]["products"] == {"float32": 4.0, "bfloat16": 1.0}


def test_without_a_home_nothing_is_written_anywhere(measured, monkeypatch, tmp_path):
    def unknown(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(precision.Path, "expanduser", unknown)
    monkeypatch.chdir(tmp_path)
    measured.append((seconds({"float32": 4.0, "bfloat16": 1.0}, {}), True))
    assert choose_precision("auto", CPU, Work(WORK.linear)).dtype == torch.bfloat16
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_stops_nobody(measured, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    measured.append((seconds({"float32": 4.0, "bfloat16": 1.0}, {}), True))
    assert choose_precision("auto", CPU, Work(WORK.linear)).dtype == torch.bfloat16


def test_a_real_trial_is_short_and_times_every_way():
    started = time.perf_counter()
    found, settled = precision.trial(WORK, 64)
    assert time.perf_counter() - started < 30  # about one second; much more on a busy machine
    assert isinstance(settled, bool)
    assert found["products"].keys() == {"float32", "bfloat16"}
    assert found["scoring"].keys() == found["training"].keys() == FAST.keys() | SLOW.keys()
    assert all(0 < value < 30 for of in found.values() for value in of.values())


def test_small_models_are_not_timed(base, monkeypatch):
    monkeypatch.setattr(precision, "trial", lambda *_: pytest.fail("timed"))
    model = RewardModel.load(base("bert"), device="cpu")
    assert (model.dtype, model.ratio) == (torch.float32, None)


def test_the_work_of_a_model_is_that_of_its_linear_layers(base):
    llama = RewardModel.load(base("llama"), device="cpu").model
    config = llama.config
    work = work_of(llama, "decoder", flat=True)
    assert work.layers == config.num_hidden_layers
    assert (work.heads, work.key_heads) == (config.num_attention_heads, config.num_key_value_heads)
    # Every weight of two dimensions but the embedding and the head is a linear layer's.
    linear = sum(
        p.numel() for name, p in llama.named_parameters()
        if p.dim() == 2 and "embed" not in name and "score" not in name
    )  # fmt: skip
    assert work.weights == linear
    assert work_of(llama, "decoder", flat=False).heads == 0
    gpt2 = RewardModel.load(base("gpt2"), device="cpu").model
    assert work_of(gpt2, "decoder", flat=True).weights == sum(
        p.numel() for name, p in gpt2.named_parameters()
        if p.dim() == 2 and "wte" not in name and "wpe" not in name and "score" not in name
    )  # fmt: skip


def test_the_log_says_what_was_measured():
    assert dtype_in_words(torch.float32, None) == "float32"
    assert dtype_in_words(torch.float32, 0.42) == "float32, bfloat16 measured 0.4 × as fast here"


def test_rewards_in_float32_are_the_same_in_every_way(base):
    model = RewardModel.load(base("qwen2"), device="cpu", dtype="float32")
    rows = [("a prompt of some words", ["an answer", "another answer, longer", ""])]
    (expected,) = model.score_all(rows)
    assert isinstance(model.layout, Flat)
    model.layout = Flat(model.layout.first_position, Ways("products", "products"))
    (found,) = model.score_all(rows)
    assert found == pytest.approx(expected, abs=1e-5)
