"""Train a policy against a reward model: GRPO or RLOO, and did the reward rise?

    python examples/grpo.py -o runs/grpo                       # everything it needs is bundled
    python examples/grpo.py --model runs/first --policy NAME --prompts prompts.txt -o runs/grpo

The policy learns with LoRA adapters on most of the prompts, held to where it began by a KL penalty.
What came of it is measured on prompts kept apart, sampled before and after with the same random
numbers: the mean reward and its difference with an interval over prompts, beside the length of the
completions and how many of them are cut off, since longer is what policies learn first where the
reward model likes it. Some completions are printed for reading: a reward that rises says nothing of
what the reward model cannot see.
"""

import argparse
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from plaudit import PlauditError, Policy, RewardModel, reward_func, train
from plaudit.bundled.sample import sample_rankings, write_sample
from plaudit.evaluation.statistics import bootstrap
from plaudit.files import write_json, writing_folder

ALGORITHMS = {"grpo": (GRPOTrainer, GRPOConfig), "rloo": (RLOOTrainer, RLOOConfig)}


def main(argv: list[str] | None = None) -> int:
    """Train, measure, save; 1 where the user is to mend something."""
    args = parse(argv)
    try:
        run(args)
    except PlauditError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The settings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", help="a trained reward model; by default one is trained on the bundled sample")
    add("--policy", default="embedded:smollm2", help="a causal language model")
    add("--prompts", type=Path, help="one a line; by default questions like the sample's, but new")
    add("--algorithm", choices=ALGORITHMS, default="grpo")
    add("--steps", type=int, default=14)
    add("--prompts-per-step", type=int, default=2)
    add("--generations", type=int, default=8, help="completions of each prompt in a step")
    add("--max-new-tokens", type=int, default=32, help="length of a completion at most")
    add("--learning-rate", type=float, default=1e-3)
    add("--beta", type=float, default=0.02, help="weight of the KL divergence from the start")
    add("--lora-r", type=int, default=16)
    add("--held-out", type=int, default=24, help="prompts to measure on")
    add("--samples", type=int, default=4, help="completions of each of them")
    add("--seed", type=int, default=0)
    add("-o", "--output", type=Path, required=True, help="folder for the policy and result.json")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """The whole road."""
    args.output.mkdir(parents=True, exist_ok=True)
    model = RewardModel.load(args.model or train_on_the_sample(args.output / "reward"))
    learning, held_out = divide(read_prompts(args), args.held_out, args.seed)

    policy = Policy.load(args.policy)
    before = measure(policy, model, held_out, args)
    trainer = trainer_for(policy, model, learning, args)
    trainer.train()
    policy.model = trainer.model.merge_and_unload().eval()
    after = measure(policy, model, held_out, args)

    with writing_folder(args.output / "policy") as folder:
        policy.model.save_pretrained(folder)
        policy.tokenizer.save_pretrained(folder)
    result = compare(before, after, args.max_new_tokens)
    result["log"] = [row for row in trainer.state.log_history if "reward" in row]
    result["settings"] = {name: str(value) for name, value in vars(args).items()}
    write_json(args.output / "result.json", result)
    show(held_out, before, after, result)


def train_on_the_sample(folder: Path) -> Path:
    """A reward model from the bundled data: a head on a small encoder, a minute on a CPU."""
    if not (folder / "run" / "model").exists():
        ranked, _ = write_sample(folder, n=300, overwrite=True)
        train(str(ranked), output=folder / "run", overwrite=True, freeze_layers=-1)
    return folder / "run"


def read_prompts(args: argparse.Namespace) -> list[str]:
    """Those of the file, or questions that the reward model was not trained on."""
    if args.prompts is None:
        known = {ranking.prompt for ranking in sample_rankings(300)}
        new = [str(ranking.prompt) for ranking in sample_rankings(300, seed=1)]
        return [prompt for prompt in new if prompt not in known]
    lines = args.prompts.read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def divide(prompts: list[str], held_out: int, seed: int) -> tuple[list[str], list[str]]:
    """Prompts to learn from and prompts to measure on."""
    if len(prompts) <= held_out:
        raise PlauditError(f"{len(prompts)} prompts: fewer than are to be held out ({held_out})")
    random.Random(seed).shuffle(prompts)
    return prompts[held_out:], prompts[:held_out]


def trainer_for(
    policy: Policy, model: RewardModel, prompts: list[str], args: argparse.Namespace
) -> GRPOTrainer | RLOOTrainer:
    """TRL's trainer, with LoRA adapters, so that the policy without them is what KL refers to."""
    make_trainer, make_config = ALGORITHMS[args.algorithm]
    chat = bool(policy.tokenizer.chat_template)
    asked = [[{"role": "user", "content": p}] if chat else p for p in prompts]
    config = make_config(
        output_dir=str(args.output / "training"),
        max_steps=args.steps,
        per_device_train_batch_size=args.prompts_per_step * args.generations,
        num_generations=args.generations,
        max_completion_length=args.max_new_tokens,
        learning_rate=args.learning_rate,
        lr_scheduler_type="constant",
        beta=args.beta,
        temperature=1.0,
        seed=args.seed,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=policy.device.type == "cpu",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
    )
    return make_trainer(
        policy.model,
        reward_funcs=reward_func(model, name="plaudit"),
        args=config,
        train_dataset=Dataset.from_dict({"prompt": asked}),
        processing_class=policy.tokenizer,
        peft_config=LoraConfig(
            r=args.lora_r, lora_alpha=2 * args.lora_r, target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )  # fmt: skip


@dataclass
class Sampled:
    """Completions of P prompts, n of each: texts, rewards and lengths in tokens, each [P, n]."""

    completions: list[list[str]]
    rewards: np.ndarray
    lengths: np.ndarray


def measure(
    policy: Policy, model: RewardModel, prompts: list[str], args: argparse.Namespace
) -> Sampled:
    """Completions of the prompts, always drawn with the same random numbers, and their rewards."""
    completions = list(
        policy.sample(
            prompts, n=args.samples, max_new_tokens=args.max_new_tokens,
            temperature=1.0, top_p=1.0, batch_size=8, seed=args.seed,
        )
    )  # fmt: skip
    rewards = list(model.score_all(zip(prompts, completions, strict=True)))
    lengths = [
        [len(ids) for ids in policy.tokenizer(texts, add_special_tokens=False)["input_ids"]]
        for texts in completions
    ]
    return Sampled(completions, np.array(rewards), np.array(lengths))


def compare(before: Sampled, after: Sampled, most: int) -> dict[str, Any]:
    """Means before and after, and the rise, with 95 % intervals over prompts."""

    def figure(values: np.ndarray) -> dict[str, float | None]:
        counts = np.full((len(values), 1), values.shape[1])
        return bootstrap(values.sum(1, keepdims=True), counts)[0].as_dict()

    return {
        "prompts": len(before.rewards),
        "completions": before.rewards.size,
        "reward_before": figure(before.rewards),
        "reward_after": figure(after.rewards),
        "rise": figure(after.rewards - before.rewards),
        "tokens_before": figure(before.lengths),
        "tokens_after": figure(after.lengths),
        "at_the_limit_before": figure(before.lengths >= most - 1),
        "at_the_limit_after": figure(after.lengths >= most - 1),
    }


def show(prompts: list[str], before: Sampled, after: Sampled, result: dict[str, Any]) -> None:
    """Some completions to read, and the figures."""
    for number in range(min(3, len(prompts))):
        print(f"\n{prompts[number]}")
        for when, sampled in (("before", before), ("after", after)):
            text = " ".join(sampled.completions[number][0].split())
            print(f"  {when:6} {sampled.rewards[number][0]:+.2f}  {text}")
    print(f"\n{result['prompts']} prompts kept apart, {result['completions']} completions:")
    for name, found in result.items():
        if isinstance(found, dict) and "low" in found:
            interval = (
                f"({found['low']:+.3f} to {found['high']:+.3f})" if found["low"] is not None else ""
            )
            print(f"  {name.replace('_', ' '):20} {found['value']:+8.3f} {interval}")
    first, last = result["log"][0], result["log"][-1]
    print(f"  in training: KL from the start {first['kl']:.3f} → {last['kl']:.3f}, ", end="")
    print(f"entropy {first['entropy']:.2f} → {last['entropy']:.2f} nats a token")


if __name__ == "__main__":
    raise SystemExit(main())
