"""The flat layout against padded rows through PyTorch's own attention: same rewards, gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from plaudit import PlauditError, RewardModel
from plaudit.data.rankings import Ranking
from plaudit.model import attention
from plaudit.model.batches import Flat, Padded, model_inputs, per_ranking
from plaudit.training.objectives.bradley_terry import bradley_terry

MODELS = [
    *(("gpt2", "last"), ("llama", "last"), ("qwen2", "last"), ("mistral", "last")),
    *(("bert", "cls"), ("roberta", "cls"), ("modernbert", "cls")),
    *(("llama", "mean"), ("bert", "mean"), ("modernbert", "mean")),
]
tokens = st.integers(5, 250)


@st.composite
def encoded(draw, decoder):
    """Random tokens: K from 2 to 12, empty and full shared prefixes, rows of one token, ties."""
    rankings = []
    for _ in range(draw(st.integers(1, 3))):
        shared = draw(st.lists(tokens, max_size=20))
        own = draw(
            st.lists(
                st.lists(tokens, min_size=0 if shared else 1, max_size=20), min_size=2, max_size=12
            )
        )
        rows = [shared + row for row in own]
        ranks = draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
        rankings.append(
            {"input_ids": rows, "shared": len(shared) if decoder else 0}
            | {"length": max(map(len, rows)), "ranks": ranks, "margin": 0.0, "weight": 1.0}
        )
    return rankings


@pytest.fixture(scope="module")
def both(base):
    """A model on the flat layout and the same one padded, under PyTorch's own attention."""
    made = {}

    def get(name, pooling):
        if (name, pooling) not in made:
            made[name, pooling] = [
                RewardModel.load(
                    base(name), pooling=pooling, dtype="float32", device="cpu", layout=layout
                )
                for layout in ("flat", "padded")
            ]
        return made[name, pooling]

    return get


def rewards_and_gradients(model, rankings):
    model.model.zero_grad()
    (batch,) = model.layout.divide(rankings, 10**6)
    rewards = model.model(**model_inputs(batch)).logits[:, 0]
    laid = per_ranking(rewards, batch["ranks"])
    bradley_terry(laid, batch["ranks"])[batch["position"].argsort()].sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.model.named_parameters() if p.grad is not None}
    return laid[batch["position"].argsort()].detach(), gradients


def assert_same(ours, our_gradients, theirs, their_gradients):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert our_gradients.keys() == their_gradients.keys()
    largest = max(g.abs().max() for g in their_gradients.values())
    for parameter, gradient in their_gradients.items():
        difference = (our_gradients[parameter] - gradient).abs().max()
        # A gradient that is zero but for rounding is measured against the others; all of them are
        # where rows are equal.
        assert difference <= 1e-4 * max(gradient.abs().max(), 1e-2 * largest, 1e-2), parameter


@pytest.mark.parametrize(("name", "pooling"), MODELS)
@settings(max_examples=15)
@given(data=st.data())
def test_rewards_and_gradients_are_those_of_padded_rows(name, pooling, data, both):
    flat, padded = both(name, pooling)
    assert isinstance(flat.layout, Flat)
    assert isinstance(padded.layout, Padded)
    rankings = data.draw(encoded(name in tiny.DECODERS))
    ours, our_gradients = rewards_and_gradients(flat, rankings)
    theirs, their_gradients = rewards_and_gradients(padded, rankings)
    assert_same(ours, our_gradients, theirs, their_gradients)


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_gradient_checkpointing_changes_nothing(name, base):
    rows = [[9, 8, 7, 6], [9, 8, 5], [9, 8, 4, 3, 2, 11]]
    ranking = {"input_ids": rows, "shared": 0 if name == "bert" else 2, "length": 6}
    ranking |= {"ranks": [0, 1, 2], "margin": 0.0, "weight": 1.0}
    model = RewardModel.load(base(name), dtype="float32", layout="flat")
    expected, gradients = rewards_and_gradients(model, [ranking])
    model.model.gradient_checkpointing_enable()
    for module in model.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.model.train()  # transformers checkpoints in training mode only
    assert_same(*rewards_and_gradients(model, [ranking]), expected, gradients)


@pytest.mark.parametrize("name", ["modernbert", "mistral"])
def test_a_sliding_window_is_seen(name, base, tmp_path):
    """Rows longer than the window, or it would not matter."""
    tokenizer = tiny.TOKENIZERS[name]()
    window = {"local_attention": 8} if name == "modernbert" else {"sliding_window": 5}
    tiny.make(name, tmp_path / "base", tokenizer, **window)
    models = [
        RewardModel.load(tmp_path / "base", dtype="float32", layout=layout)
        for layout in ("flat", "padded")
    ]
    shared = 7 if name == "mistral" else 0
    rows = [list(range(10, 17)) + list(range(20, 20 + n)) for n in (30, 3, 12)]
    ranking = {"input_ids": rows, "shared": shared, "length": 37}
    flat, padded = (model.rewards([ranking])[0] for model in models)
    assert flat == pytest.approx(padded, abs=1e-5)
    full = RewardModel.load(base(name), dtype="float32", layout="padded")
    if name == "mistral":
        assert full.rewards([ranking])[0] != pytest.approx(padded, abs=1e-3)


def test_a_model_with_its_own_attention_is_padded_and_says_why(base):
    model = RewardModel.load(base("deberta-v2"))
    assert "does not use transformers' attention interface" in model.layout.describe()
    with pytest.raises(PlauditError, match="layout: flat does not suit this model"):
        RewardModel.load(base("deberta-v2"), layout="flat")


def test_a_model_that_would_differ_is_padded(base, monkeypatch):
    """Attention that overlooks the segments: what an architecture of its own ways amounts to."""

    def all_see_all(module, query, key, value, mask, *, segments=None, **options):
        return real(module, query, key, value, mask, **options)

    real = attention.sdpa_attention_forward
    monkeypatch.setitem(attention.AttentionInterface._global_mapping, attention.NAME, all_see_all)
    model = RewardModel.load(base("llama"))
    assert isinstance(model.layout, Padded)
    assert "differ on it by" in model.layout.describe()


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_every_unique_token_is_computed_once(name, both):
    flat, _ = both(name, "mean")
    ranking = Ranking("the quick brown fox " * 3, ["one", "two is it", "one and two"], [0, 1, 2])
    (row,) = flat.encoding.encode([ranking])
    (batch,) = flat.layout.divide([row], 10**6)
    tokens = sum(map(len, row["input_ids"]))
    if name == "llama":
        assert row["shared"] > 3
        tokens -= 2 * row["shared"]
    assert batch["input_ids"].shape == (1, tokens)


@pytest.mark.parametrize(("name", "pooling"), [("llama", "last"), ("modernbert", "mean")])
@settings(max_examples=10)
@given(data=st.data())
def test_attention_in_blocks_is_attention_by_parts(name, pooling, data, both):
    """What a GPU runs, through the same interface. On a CPU it has no backward pass, so gradients
    are compared for the same blocks under PyTorch's SDPA."""
    flat, _ = both(name, pooling)
    rankings = data.draw(encoded(name in tiny.DECODERS))
    by_parts = flat.rewards(rankings)
    expected, gradients = rewards_and_gradients(flat, rankings)

    def in_blocks(*inputs, dropout, **options):
        assert dropout == 0
        return attention.attend_in_blocks(*inputs, **options)

    def under_a_mask(query, key, value, segments, *, causal, window, scale, dropout):
        total = query.shape[2]
        blocks = segments.block_mask(causal, window, query.device)
        sees = blocks.mask(causal, window).mask_mod
        places = torch.arange(total)
        mask = sees(None, None, places[:, None], places[None])
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, mask, scale=scale, enable_gqa=True
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "attend_by_parts", in_blocks)
        for ours, theirs in zip(flat.rewards(rankings), by_parts, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)
        patch.setattr(attention, "attend_by_parts", under_a_mask)
        rewards, its_gradients = rewards_and_gradients(flat, rankings)
    assert_same(rewards, its_gradients, expected, gradients)
