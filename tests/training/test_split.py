"""A ranking that is larger than a pass against the gradients of the whole, by autograd."""

import pytest
import torch

from plaudit.data.rankings import PADDING, Ranking
from plaudit.model.batches import by_completions, completions, model_inputs
from plaudit.model.reward_model import RewardModel
from plaudit.settings import Settings
from plaudit.training.objectives import OBJECTIVES
from plaudit.training.parts import encoded
from plaudit.training.setup import build_trainer, prepared

WORDS = "fox dog answer reward better worse two plus four user talk lazy quick"
WHOLE = 10**6


def ranking(k, number=0, weight=1.0):
    """K completions of unequal lengths behind a prompt of some length, one tie among them."""
    texts = [
        " ".join(WORDS.split()[(number + i * j) % 13] for j in range(2 + 3 * i % 8))
        for i in range(k)
    ]
    ranks = [1, 0, 0, *range(2, k - 1)] if k > 2 else [1, 0]
    return Ranking(
        f"What is {number} plus two plus four and a dog?",
        [f"{text} {i}" for i, text in enumerate(texts)],
        ranks,
        margin=0.3,
        weight=weight,
        strength=2.0,
        ratings=[float(9 - rank) for rank in ranks],
        attributes={"depth": [float(i % 4) for i in range(k)], "tone": [1.0] * (k - 1) + [3.0]},
    )


DATA = [ranking(7, 1, weight=2.0), ranking(2, 2), ranking(3, 3, weight=0.5)]


def made(base, folder, tokens, layout="auto", data=DATA, **options):
    """A trainer whose passes have so many tokens, and its rows."""
    chosen = Settings.build(
        **{
            "data": "d", "base": str(base), "dtype": "float32", "max_length": 64, "seed": 1,
            "recipe": "plain", "max_tokens_per_batch": tokens, "layout": layout, **options,
        }
    )  # fmt: skip
    model = RewardModel.load(
        base, dtype="float32", device="cpu", max_length=64, layout=layout, seed=1
    )
    start = prepared(chosen, data)
    more = {"control": chosen.control, "attributes": start.attributes}
    rows = encoded(data, model.encoding, "encoding", **more)
    trainer = build_trainer(model, rows, None, chosen, folder, checkpoints=False, start=start)
    trainer.state.max_steps = 4
    if chosen.gradient_checkpointing and not options.get("max_steps"):  # as `trainer.train` does
        trainer.model.gradient_checkpointing_enable()
    return trainer, list(rows)


def a_step(trainer, rows):
    """The loss of one step and all its gradients."""
    batches = trainer.data_collator(rows)
    weight = trainer._get_num_items_in_batch([batches], torch.device("cpu"))
    loss = trainer.training_step(trainer.model, batches, weight)
    return loss, gradients(trainer)


def gradients(trainer):
    named = [*trainer.model.named_parameters(), *trainer._beside.items()]
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def assert_same(ours, expected, atol=1e-5):
    assert ours.keys() == expected.keys()
    assert any(gradient.abs().max() > 1e-3 for gradient in expected.values())
    for name, gradient in expected.items():
        assert torch.allclose(ours[name], gradient, atol=atol), name


@pytest.mark.parametrize("layout", ["flat", "padded"])
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_gradients_are_those_of_the_whole_ranking(base, tmp_path, name, layout):
    """Held against Bradley-Terry written out, on each completion run alone."""
    trainer, rows = made(base(name), tmp_path, 100, layout)
    sizes = []
    forward = trainer._logits
    trainer._logits = lambda model, batch: sizes.append(batch) or forward(model, batch)
    loss, ours = a_step(trainer, rows)
    assert max(batch["input_ids"].numel() for batch in sizes) <= 100
    assert max(completions(batch) for batch in sizes) < 7

    trainer.model.zero_grad()
    total = torch.zeros(())
    for row, of in zip(rows, DATA, strict=True):
        rewards = []
        for i, ids in enumerate(row["input_ids"]):
            given = {"input_ids": torch.tensor([ids])}
            if row.get("token_type_ids") is not None:
                given["token_type_ids"] = torch.tensor([row["token_type_ids"][i]])
            rewards.append(trainer.model(**given).logits.squeeze())
        pairs = [(a, b) for a in range(len(of.ranks)) for b in range(len(of.ranks))]
        better = [(a, b) for a, b in pairs if of.ranks[a] < of.ranks[b]]
        each = [-torch.nn.functional.logsigmoid(rewards[a] - rewards[b] - 0.3) for a, b in better]
        total = total + of.weight * torch.stack(each).mean()
    total = total / sum(of.weight for of in DATA)
    total.backward()
    assert loss.item() == pytest.approx(total.item(), abs=1e-5)
    assert_same(ours, gradients(trainer))


def held_against_one_pass(base, tmp_path, layout="flat", tokens=60, **options):
    """A step in parts beside a step whose rankings are run whole: loss, gradients, log figures."""
    whole, rows = made(base, tmp_path / "whole", WHOLE, layout, **options)
    parts, _ = made(base, tmp_path / "parts", tokens, layout, **options)
    passes = [p for batch in parts.data_collator(rows) for p in by_completions(batch, tokens)]
    assert len(passes) > len(rows)
    (expected, by_autograd), (loss, ours) = a_step(whole, rows), a_step(parts, rows)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert_same(ours, by_autograd)
    assert torch.allclose(parts._sums, whole._sums, rtol=1e-5)
    return ours


@pytest.mark.parametrize("loss", list(OBJECTIVES))
def test_with_every_objective(base, tmp_path, loss):
    """And with what each learns beside the model."""
    ours = held_against_one_pass(base("llama"), tmp_path, loss=loss)
    if OBJECTIVES.get(loss).prepare is not None and prepared_learns(base, loss):
        assert len(ours) > sum(1 for name in ours if "." in name)


def prepared_learns(base, loss):
    chosen = Settings.build(data="d", base=str(base("llama")), loss=loss)
    return bool(prepared(chosen, DATA).learnt)


@pytest.mark.parametrize("layout", ["flat", "padded"])
@pytest.mark.parametrize(
    "options",
    [
        {"center_rewards_coefficient": 0.1},
        {"sft_coefficient": 0.5},
        {"control": "length", "control_weight": "learned"},
        {"gradient_checkpointing": True},
        {"freeze_layers": 1, "features_cache_gb": 0},
        {"lora_r": 2, "lora_target_modules": ["q_proj", "v_proj"]},
    ],
    ids=lambda options: next(iter(options)),
)
def test_with_what_else_is_in_a_loss(base, tmp_path, layout, options):
    held_against_one_pass(base("llama"), tmp_path, layout, **options)


@pytest.mark.parametrize("layout", ["flat", "padded"])
def test_with_a_head_of_the_nuisances(base, tmp_path, layout):
    """Its correlations are of all completions of a pass: a pass of one ranking is that ranking."""
    options = {"control": "length", "control_method": "odin", "data": DATA[:1]}
    ours = held_against_one_pass(base("llama"), tmp_path, layout, **options)
    assert ours["score.weight"].shape[0] == 2


@pytest.mark.parametrize("layout", ["flat", "padded"])
def test_both_passes_of_a_part_draw_the_same_dropout(base, tmp_path, layout):
    options = {"disable_dropout": False, "data": DATA[:1]}
    trainer, rows = made(base("bert"), tmp_path, 100, layout, **options)
    trainer.model.train()
    assert any(m.p > 0 for m in trainer.model.modules() if isinstance(m, torch.nn.Dropout))
    torch.manual_seed(5)
    loss, ours = a_step(trainer, rows)
    after = torch.rand(1)

    # The same masks on one graph: the first part is run last, when the others' rewards are known.
    trainer.model.zero_grad()
    [whole] = trainer.data_collator(rows)
    first, *others = by_completions(whole, 100)
    torch.manual_seed(5)
    later = [trainer.model(**model_inputs(part)).logits for part in others]
    logits = torch.cat([trainer.model(**model_inputs(first)).logits, *later])
    rewards = logits[:, 0].unsqueeze(0)
    objective = OBJECTIVES.get("bradley-terry")
    expected = objective.loss(rewards, whole["ranks"], margin=whole["margin"]).sum()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert_same(ours, gradients(trainer))
    assert torch.rand(1) == after  # and what comes after is drawn as if nothing had been repeated


@pytest.mark.parametrize("name", ["llama", "bert"])
@pytest.mark.parametrize("layout", ["flat", "padded"])
def test_a_ranking_by_completions(base, name, layout):
    """Each part within the bound or one completion, and none of them lost."""
    model = RewardModel.load(base(name), dtype="float32", device="cpu", layout=layout, seed=1)
    rows = model.encoding.encode([ranking(7), ranking(3, 5)])
    whole = model.layout.collate(rows[:1], [0])
    for bound in (1, 60, 100, WHOLE):
        parts = by_completions(whole, bound)
        assert all(p["input_ids"].numel() <= bound or completions(p) == 1 for p in parts)
        assert sum(map(completions, parts)) == 7
        assert len(parts) == {1: 7, WHOLE: 1}.get(bound, len(parts))
        ranks = torch.cat([part["ranks"] for part in parts], 1)
        assert torch.equal(ranks, whole["ranks"])
        with torch.no_grad():
            rewards = [model.model(**model_inputs(part)).logits for part in parts]
            expected = model.model(**model_inputs(whole)).logits
        assert torch.allclose(torch.cat(rewards), expected, atol=1e-5)
    both = model.layout.collate(rows, [0, 1])
    assert by_completions(both, 1) == [both]
    assert (both["ranks"] == PADDING).any()


def test_validation_divides_a_ranking_too(base, tmp_path):
    whole, rows = made(base("llama"), tmp_path / "a", WHOLE)
    parts, _ = made(base("llama"), tmp_path / "b", 100)
    sizes = []
    forward = parts._logits
    parts._logits = lambda model, batch: (
        sizes.append(batch["input_ids"].numel()) or forward(model, batch)
    )
    for trainer in (whole, parts):
        trainer.model.eval()
    expected, given = (
        trainer.prediction_step(trainer.model, trainer.data_collator(rows), False)
        for trainer in (whole, parts)
    )
    assert max(sizes) <= 100
    assert given[0].item() == pytest.approx(expected[0].item(), abs=1e-5)
    assert torch.equal(given[2], expected[2])
    there = given[2] != PADDING
    assert torch.allclose(given[1][there], expected[1][there], atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "modernbert"])
@pytest.mark.parametrize("layout", ["flat", "padded"])
def test_activation_checkpointing_keeps_less_and_changes_no_gradient(base, tmp_path, name, layout):
    found, kept = [], []
    for checkpointing in (False, True):
        folder = tmp_path / str(checkpointing)
        options = {"gradient_checkpointing": checkpointing}
        trainer, rows = made(base(name), folder, WHOLE, layout, **options)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x
        ):
            found.append(a_step(trainer, rows))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2
    assert found[1][0].item() == pytest.approx(found[0][0].item(), abs=1e-6)
    assert_same(found[1][1], found[0][1], atol=1e-6)


def test_a_run_with_gradient_checkpointing_has_it(base, tmp_path):
    trainer, _ = made(base("llama"), tmp_path, WHOLE, gradient_checkpointing=True, max_steps=1)
    trainer.train()
    assert trainer.model.is_gradient_checkpointing
