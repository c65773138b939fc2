"""Is plaudit's training TRL's? Same pairs, model, steps and settings through both, in float32.

Every batch holds the same pairs in both. Prints both loss curves, their largest difference and that
of the rewards afterwards, and writes JSON when asked.

    python benchmarks/parity_with_trl.py PAIRS.jsonl [--base NAME] [--steps 20] [--json FILE]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import datasets
import numpy as np
import torch
from transformers.trainer_callback import PrinterCallback
from trl import RewardConfig, RewardTrainer

from plaudit import RewardModel, Settings, load_rankings
from plaudit.model.batches import Padded
from plaudit.training.parts import encoded
from plaudit.training.setup import build_trainer

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("data")
parser.add_argument("--base", default="embedded:minilm")
# A classifier with a bias cannot be compared: no pair says anything of the bias, and Adam makes
# steps of the rounding errors that are its gradient. The mean over tokens' scores has none.
parser.add_argument("--pooling", default="mean")
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--max-length", type=int, default=128)
parser.add_argument("--json")
options = parser.parse_args()

SEED, LEARNING_RATE = 0, 5e-5
rankings = [r for r in load_rankings(options.data) if len(r.completions) == 2]
folder = Path(tempfile.mkdtemp())


def fresh() -> RewardModel:
    return RewardModel.load(
        options.base,
        pooling=options.pooling,
        max_length=options.max_length,
        dtype="float32",
        device="cpu",
        seed=SEED,
    )


def with_plaudit(model: RewardModel) -> tuple[list[float], float]:
    settings = Settings.build(
        recipe="plain",
        data=options.data,
        base=options.base,
        pooling=options.pooling,
        max_length=options.max_length,
        dtype="float32",
        learning_rate=LEARNING_RATE,
        max_steps=options.steps,
        per_device_train_batch_size=options.batch_size,
        logging_steps=1,
        save_steps=10**6,
        seed=SEED,
    )
    (folder / "plaudit").mkdir()
    train_set = encoded(rankings, model.encoding, "encoding")
    trainer = build_trainer(model, train_set, None, settings, folder / "plaudit")
    started = time.perf_counter()
    trainer.train()
    return losses(trainer), time.perf_counter() - started


def with_trl(model: RewardModel) -> tuple[list[float], float]:
    rows = model.encoding.encode(rankings)
    pairs = {
        f"{name}_{field}": [row[field_of][index] for row in rows]
        for index, name in enumerate(("chosen", "rejected"))
        for field, field_of in (("ids", "input_ids"), ("types", "token_type_ids"))
        if field_of in rows[0]
    }

    def collator(examples: list[dict]) -> dict[str, torch.Tensor]:
        # TRL's own collator knows no token types; apart from them this is the same.
        sides = [
            {
                "input_ids": [example[f"{name}_ids"]],
                "token_type_ids": [example[f"{name}_types"]]
                if f"{name}_types" in example
                else None,
            }
            for name in ("chosen", "rejected")
            for example in examples
        ]
        return Padded(model.encoding.tokenizer.pad_token_id).collate(sides, range(len(sides)))

    config = RewardConfig(
        output_dir=str(folder / "trl"),
        learning_rate=LEARNING_RATE,
        weight_decay=0.01,
        warmup_steps=0.1,
        max_steps=options.steps,
        per_device_train_batch_size=options.batch_size,
        optim="adamw_torch_fused",
        logging_steps=1,
        save_strategy="no",
        seed=SEED,
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = RewardTrainer(
        model=model.model,
        args=config,
        data_collator=collator,
        train_dataset=datasets.Dataset.from_dict(pairs),
        processing_class=model.encoding.tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    started = time.perf_counter()
    trainer.train()
    return losses(trainer), time.perf_counter() - started


def losses(trainer) -> list[float]:
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


ours, theirs = fresh(), fresh()
our_losses, our_seconds = with_plaudit(ours)
their_losses, their_seconds = with_trl(theirs)
held_out = [(r.prompt, r.completions) for r in rankings[:50]]
before = np.concatenate(list(fresh().score_all(held_out)))
our_rewards = np.concatenate(list(ours.score_all(held_out)))
their_rewards = np.concatenate(list(theirs.score_all(held_out)))

result = {
    "data": Path(options.data).name,
    "base": options.base,
    "steps": options.steps,
    "losses": {"plaudit": our_losses, "trl": their_losses},
    "largest_loss_difference": float(np.abs(np.subtract(our_losses, their_losses)).max()),
    "largest_reward_difference": float(np.abs(our_rewards - their_rewards).max()),
    "mean_reward_change_by_training": float(np.abs(our_rewards - before).mean()),
    "seconds": {"plaudit": our_seconds, "trl": their_seconds},
}
print(f"{'step':>4} {'plaudit':>10} {'TRL':>10}")
for step, (a, b) in enumerate(zip(our_losses, their_losses, strict=True), start=1):
    print(f"{step:>4} {a:>10.6f} {b:>10.6f}")
print(f"largest difference of the losses  {result['largest_loss_difference']:.1e}")
print(f"largest difference of the rewards {result['largest_reward_difference']:.1e}")
print(
    f"training changed rewards by       {result['mean_reward_change_by_training']:.1e} on average"
)
if options.json:
    Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
