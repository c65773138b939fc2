"""The language-model loss against the base model's own, and a model that is saved without it."""

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from plaudit.data.rankings import Ranking
from plaudit.errors import PlauditError
from plaudit.model.batches import model_inputs
from plaudit.model.reward_model import RewardModel
from plaudit.settings import Settings
from plaudit.training.parts import encoded
from plaudit.training.setup import build_trainer, trained_model
from plaudit.training.text_loss import TextLoss

DATA = [
    Ranking("What is it?", ["It is a dog, and so on.", "A fox.", "It is a fox."], [1, 0, 0]),
    Ranking("How many?", ["Two", "Two and two is four, is it?"], [1, 0]),
]


def by_the_base_model(folder, row, ending):
    """The mean over the tokens of the best completions, those that end a row among them."""
    model, losses = AutoModelForCausalLM.from_pretrained(folder).eval(), []
    for ids, rank, tokens in zip(
        row["input_ids"], row["ranks"], row["completion_tokens"], strict=True
    ):
        if rank == 0:
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0]
            count = tokens + (ids[-1] == ending)
            each = cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")
            losses += each[-count:].tolist()
    return sum(losses) / len(losses)


@pytest.mark.parametrize("layout", ["flat", "padded"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2"])
def test_it_is_the_base_models_own_loss(base, name, layout):
    """Whether the language head is the embedding (gpt2) or a layer of its own."""
    folder = base(name)
    model = RewardModel.load(folder, dtype="float32", device="cpu", layout=layout)
    loss = TextLoss(model, str(folder))
    rows = model.encoding.encode(DATA)
    ending = model.encoding.tokenizer.eos_token_id if model.encoding.template == "plain" else None
    if ending == model.encoding.tokenizer.pad_token_id:
        ending = None
    (batch,) = model.layout.divide(rows, 10**6)
    with torch.no_grad():
        model.model(**model_inputs(batch))
        got = loss(batch)
    for index, position in enumerate(batch["position"].tolist()):
        expected = by_the_base_model(folder, rows[position], ending)
        assert got[index].item() == pytest.approx(expected, rel=1e-4)


def trained(base, folder, **options):
    chosen = Settings.build(
        data="d", base=str(base), dtype="float32", max_length=64, max_steps=3, seed=1,
        learning_rate=1e-2, warmup_steps=0, optim="sgd", control="none", **options,
    )  # fmt: skip
    model = RewardModel.load(base, dtype="float32", device="cpu", max_length=64, seed=1)
    rows = encoded(DATA * 4, model.encoding, "encoding")
    trainer = build_trainer(model, rows, None, chosen, folder, checkpoints=False)
    trainer.train()
    return trained_model(trainer, model, chosen)


@pytest.mark.parametrize("more", [{}, {"lora_r": 2}, {"freeze_layers": 1}])
def test_the_saved_model_has_no_trace_of_it(base, tmp_path, more):
    plain = trained(base("llama"), tmp_path / "a", **more)
    model = trained(base("llama"), tmp_path / "b", sft_coefficient=1.0, **more)
    plain.save(tmp_path / "plain")
    model.save(tmp_path / "model")
    without, saved = (load_file(tmp_path / n / "model.safetensors") for n in ("plain", "model"))
    assert {k: v.shape for k, v in saved.items()} == {k: v.shape for k, v in without.items()}
    assert any(not torch.equal(saved[name], without[name]) for name in saved)
    prompt, texts = DATA[0].prompt, DATA[0].completions
    again = RewardModel.load(tmp_path / "model", dtype="float32", device="cpu")
    assert again.score(prompt, texts) == pytest.approx(model.score(prompt, texts), abs=1e-5)


def test_the_model_stays_better_at_what_the_best_completions_say(base, tmp_path):
    losses = []
    for coefficient in (0.0, 5.0):
        model = trained(base("gpt2"), tmp_path / str(coefficient), sft_coefficient=coefficient)
        loss = TextLoss(model, str(base("gpt2")))
        (batch,) = model.layout.divide(model.encoding.encode(DATA), 10**6)
        with torch.no_grad():
            model.model(**model_inputs(batch))
            losses.append(loss(batch).mean().item())
    assert losses[1] < losses[0] - 0.1


def test_where_it_cannot_be_had(base, tmp_path):
    with pytest.raises(PlauditError, match=r"sft_coefficient: .* is an encoder, .* set it to 0"):
        trained(base("bert"), tmp_path, sft_coefficient=0.1)
    with pytest.raises(PlauditError, match="does not go with freeze_layers -1"):
        trained(base("llama"), tmp_path, sft_coefficient=0.1, freeze_layers=-1)
    reward_model = RewardModel.load(base("llama"), dtype="float32", device="cpu")
    reward_model.save(tmp_path / "reward")
    with pytest.raises(PlauditError, match="has no language head"):
        trained(tmp_path / "reward", tmp_path, sft_coefficient=0.1)
