"""Norms, gates and rotary embeddings compiled: the same numbers, in training and nowhere else."""

import inspect

import pytest
import torch

from plaudit import RewardModel
from plaudit.errors import PlauditError
from plaudit.model import fused

needs_compiler = pytest.mark.skipif(fused.compiler() is None, reason="no C++ compiler is there")
KINDS: dict[str, set[str]] = {
    "bert": set(),
    "gpt2": {"GPT2MLP"},
    "modernbert": {"ModernBertMLP"},
    "mistral": {"MistralRMSNorm", "MistralMLP"},
    "qwen2": {"Qwen2RMSNorm", "Qwen2MLP"},
}
ROWS = torch.randint(5, 40, (2, 37), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def loaded(base):
    """A tiny model of a kind, the same at each call, without dropout as in training."""

    def load(kind):
        model = RewardModel.load(base(kind), dtype="bfloat16", seed=3).model
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return model

    return load


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        model(input_ids=ROWS).logits.float().square().sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@needs_compiler
def test_fused_gradients_are_those_of_plain_layers(loaded) -> None:
    plain, compiled = loaded("llama"), loaded("llama")
    wanted = gradients(plain)
    before = {name for name, _ in compiled.state_dict().items()}
    count = fused.fuse(compiled)
    changed = {type(m).__name__ for m in compiled.modules() if hasattr(type(m), "_plain")}
    assert changed == {"LlamaRMSNorm", "LlamaMLP"}
    assert count == sum(type(m).__name__ in changed for m in plain.modules())
    found = gradients(compiled)
    assert found.keys() == wanted.keys()
    whole = torch.cat([(found[n] - wanted[n]).flatten() for n in wanted]).norm()
    # bfloat16 rounds by 2⁻⁹ at every one of some twenty steps.
    assert whole / torch.cat([g.flatten() for g in wanted.values()]).norm() < 0.03
    assert set(compiled.state_dict()) == before


@needs_compiler
def test_rewards_do_not_depend_on_what_is_compiled(loaded) -> None:
    plain, compiled = loaded("llama"), loaded("llama")
    fused.fuse(compiled)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plain(input_ids=ROWS).logits, compiled(input_ids=ROWS).logits)


@needs_compiler
def test_one_code_serves_all_lengths(loaded) -> None:
    model = loaded("llama")
    fused.fuse(model)
    torch._dynamo.utils.counters.clear()
    for length in (3, 11, 29, 37):
        with torch.autocast("cpu", torch.bfloat16):
            model(input_ids=ROWS[:1, :length]).logits.float().sum().backward()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3  # a norm, an MLP, rotary
    assert not torch._dynamo.utils.counters["graph_break"]


def test_what_can_be_compiled_is_found_by_what_it_is_made_of(loaded) -> None:
    found = {kind: {type(m).__name__ for m in fused._chains(loaded(kind))} for kind in KINDS}
    assert found == KINDS


def test_a_model_without_such_layers_stays_as_it_is(loaded) -> None:
    model = loaded("bert")
    if fused.compiler() is not None:
        assert fused.fuse(model) == 0


def test_without_a_compiler_it_says_what_to_do(loaded, monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    model = loaded("llama")
    with pytest.raises(PlauditError, match="CXX is 'no-such-compiler', which is no program here"):
        fused.fuse(model)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PlauditError, match="install g"):
        fused.fuse(model)
    assert not any(hasattr(type(m), "_plain") for m in model.modules())


@needs_compiler
def test_what_is_changed_for_all_models_of_a_kind_is_put_back(loaded) -> None:
    from transformers.models.llama import modeling_llama

    plain, model = inspect.unwrap(modeling_llama.apply_rotary_pos_emb), loaded("llama")
    fused.fuse(model)
    assert modeling_llama.apply_rotary_pos_emb is not plain
    fused.unfuse(loaded("llama"))  # of the next run
    assert modeling_llama.apply_rotary_pos_emb is plain


@needs_compiler
def test_a_compiler_that_gives_other_numbers_is_refused(loaded, monkeypatch) -> None:
    model = loaded("llama")
    monkeypatch.setattr(torch, "compile", lambda chain, dynamic: lambda m, x: 2 * chain(m, x))
    fused._fused.cache_clear()
    try:
        with pytest.raises(PlauditError, match="gives other numbers here"):
            fused.fuse(model)
    finally:
        fused._fused.cache_clear()
    assert not any(hasattr(type(m), "_plain") for m in model.modules())
