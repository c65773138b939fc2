"""From preference data to a better policy, and a judge that says whether it is one.

    python examples/end_to_end.py answers_ranked.csv --judge-data others.jsonl -o runs/end-to-end

A reward model learns from the first data, a judge from the second. Short prompts of the first data
are kept away from both. On some of them a policy learns by GRPO, once from the reward model and
once from a reward that is the length of an answer and nothing else; on the others all policies
answer, best-of-n among them, and the judge compares their answers with answers of the untrained
policy. `table.md` and `table.json` say what came of it, beside the length of the answers;
`answers.jsonl` has what was written.

What is done is kept in the output folder, and the same command goes on from there. A GRPO that was
cut off goes on from its last checkpoint, and does not give bit for bit what an undisturbed one
gives. docs/end-to-end.md explains what comes out.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from peft import LoraConfig, PeftModel
from scipy.stats import spearmanr
from transformers.trainer_utils import get_last_checkpoint
from trl import GRPOConfig, GRPOTrainer

from plaudit import (
    PlauditError,
    Policy,
    Ranking,
    RewardModel,
    load_rankings,
    reward_func,
    train,
)
from plaudit.console import say
from plaudit.evaluation.statistics import Figure, ratios, resample
from plaudit.evaluation.summary import LENGTH_RULE
from plaudit.files import read_json, write_json, write_jsonl, writing, writing_folder
from plaudit.model.trained_on import TrainedOn, overlap

# What `--short` changes: enough to see that all of it runs, too little to learn anything from.
SHORT = {
    "train_rankings": 60, "judge_rankings": 60, "learning": 8, "held_out": 8, "n": 4, "samples": 2,
    "max_new_tokens": 24, "steps": 2, "generations": 4,
}  # fmt: skip
CLOSE = 0.1  # lengths that differ by no more than this share of the longer one count as equal


def main(argv: list[str] | None = None) -> int:
    """The whole road; 1 where the user is to mend something."""
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
    add("preferences", help="preference data that the reward model learns from")
    add("--judge-data", required=True, help="other preference data, that the judge learns from")
    add("-o", "--output", type=Path, required=True, help="folder for all that is made")
    add("--short", action="store_true", help="a try of all the steps, too short to mean anything")
    add("--policy", default="embedded:smollm2", help="a causal language model")
    add("--reward-base", default="embedded:minilm", help="base model of the reward model")
    add("--judge-base", default="embedded:smollm2", help="of the judge; not that of the reward")
    add("--train-rankings", type=int, default=200, help="rankings for the reward model at most")
    add("--judge-rankings", type=int, help="rankings for the judge at most")
    add("--reward-length", type=int, default=128, help="tokens that the reward model reads")
    add("--judge-length", type=int, default=128, help="tokens that the judge reads")
    add("--words", type=int, default=16, help="words of a prompt that the policy is asked, at most")
    add("--judge-words", type=int, default=24, help="words of a prompt the judge learns from")
    add("--instruction", default="Answer in one short sentence.", help="what each prompt ends with")
    add("--learning", type=int, default=80, help="prompts that the policy learns on")
    add("--held-out", type=int, default=40, help="prompts that it is measured on")
    add("--n", type=int, default=8, help="answers to choose the best of; 1, 2, 4 … up to it")
    add("--samples", type=int, default=3, help="answers of each policy to a prompt")
    add("--max-new-tokens", type=int, default=96, help="tokens of an answer at most")
    add("--temperature", type=float, default=0.7)
    add("--steps", type=int, default=40, help="steps of GRPO")
    add("--prompts-per-step", type=int, default=1)
    add("--generations", type=int, default=8, help="answers to each prompt of a step")
    add("--learning-rate", type=float, default=3e-4)
    add("--beta", type=float, default=0.0, help="weight of the KL divergence from the start")
    add("--lora-r", type=int, default=16)
    add("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.short:
        vars(args).update(SHORT)
    return args


# ---- the road ----

# What is rewarded.
KINDS = {"reward": "by the reward model", "length": "by length alone"}


def run(args: argparse.Namespace) -> None:
    """Data, reward model, judge, policies, answers, table."""
    args.output.mkdir(parents=True, exist_ok=True)
    same_settings(args)
    clock = Clock(args.output / "seconds.json")
    data = prepare(args)
    say(data.describe())
    with clock("reward model"):
        reward = trained(data.reward, args.output / "reward", args.reward_base, args.reward_length)
    with clock("judge"):
        judge = trained(data.judge, args.output / "judge", args.judge_base, args.judge_length)

    answers = Written(args, [with_instruction(prompt, args) for prompt in data.held_out])
    with clock("answers of the base policy"):
        base = cache(partial(Policy.load, args.policy))
        # Best-of-n must not choose among the answers that it is compared with.
        answers.by(base, "reference", args.samples, args.seed + 1)
        answers.by(base, "base", args.n, args.seed)
    for kind, function in (("reward", reward_func(reward, name="reward")), ("length", in_tokens)):
        with clock(f"GRPO, {KINDS[kind]}"):
            folder = args.output / f"grpo-{kind}"
            adapter = grpo(function, data.learning, folder, args)
            answers.by(partial(adapted, args.policy, adapter), folder.name, args.samples, args.seed)
    with clock("rewards of all answers"):
        rated = {name: answers.rated(name, reward, judge) for name in answers.names}

    sets = {"base policy": rated["base"]}
    for n in powers_of_two(args.n):
        sets[f"best of {n}, {KINDS['reward']}"] = best(rated["base"], n, "own")
    sets[f"best of {args.n}, {KINDS['length']}"] = best(rated["base"], args.n, "tokens")
    sets |= {f"GRPO, {KINDS[kind]}": rated[f"grpo-{kind}"] for kind in KINDS}
    result = measured(rated["reference"], sets)
    # Where both ended up at one length, this is what the reward model knows beside length.
    slope = slope_in_length(rated["reference"])
    between = compared(rated["grpo-reward"], rated["grpo-length"], slope)
    result["grpo_by_reward_against_length"] = between
    for name in ("reward", "judge"):
        result[name] = accuracies(read_json(args.output / name / "metrics.json")["test"])
    result["training"] = {
        kind: read_json(args.output / f"grpo-{kind}" / "log.json") for kind in KINDS
    }
    result |= {"data": data.describe(), "processor_seconds": clock.seconds, "settings": facts(args)}
    write_json(args.output / "table.json", result)
    write_jsonl(args.output / "answers.jsonl", answers.rows())
    table = as_markdown(result)
    with writing(args.output / "table.md") as file:
        file.write(table)
    print(table)


def accuracies(test: dict[str, Any]) -> dict[str, Any]:
    """How good a model is on the prompts of its own data that its training held out."""
    return {
        "accuracy": test["pairwise_accuracy"],
        "preferring_the_longer": test["baselines"][LENGTH_RULE]["pairwise_accuracy"],
        "length_controlled_accuracy": test["length_controlled_accuracy"],
    }


def facts(args: argparse.Namespace) -> dict[str, Any]:
    """The settings, but for where the result goes."""
    return {k: v for k, v in vars(args).items() if k != "output"}


def same_settings(args: argparse.Namespace) -> None:
    """Keep the settings in the folder, or refuse to go on with others in it."""
    file = args.output / "settings.json"
    if not file.exists():
        write_json(file, facts(args))
        return
    before, now = read_json(file), facts(args)
    if changed := [name for name in now if before.get(name) != now[name]]:
        name = changed[0]
        raise PlauditError(
            f"{args.output}: was begun with --{name.replace('_', '-')} {before.get(name)}, not "
            f"{now[name]}; give another folder, or the settings that it was begun with"
        )


class Clock:
    """Seconds of processor time that each step took, over all the runs that it took."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seconds: dict[str, float] = read_json(file) if file.exists() else {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Count what the block takes."""
        began = time.process_time()
        say(f"— {step}")
        try:
            yield
        finally:
            spent = self.seconds.get(step, 0) + time.process_time() - began
            self.seconds[step] = round(spent, 1)
            write_json(self.file, self.seconds)


# ---- data ----


@dataclass
class Data:
    """Who learns from what: no prompt of one is nearly that of another."""

    reward: list[Ranking]
    judge: list[Ranking]
    learning: list[str]
    held_out: list[str]
    near: int  # rankings left out because their prompt, or two of their answers, are elsewhere

    def describe(self) -> str:
        """How many there are of each, in a line."""
        return (
            f"{len(self.reward)} rankings for the reward model, {len(self.judge)} for the judge, "
            f"{len(self.learning)} prompts to learn on, {len(self.held_out)} to measure on; "
            f"{self.near} rankings left out as near copies of others"
        )


def prepare(args: argparse.Namespace) -> Data:
    """Read both data sets, keep short prompts of the first apart, and leave near copies out."""
    first = shuffled(load_rankings(args.preferences), args.seed)
    second = shuffled(load_rankings(args.judge_data), args.seed)
    judge = up_to(args.judge_words, second)[: args.judge_rankings]
    needed = args.learning + args.held_out
    others = unlike(first, second)
    short = up_to(args.words, others)
    if len(short) < needed:
        raise PlauditError(
            f"{args.preferences}: {len(short)} prompts of at most {args.words} words, fewer than "
            f"{needed}; raise --words, or lower --learning and --held-out"
        )
    held_out = short[: args.held_out]
    learning = unlike(short[args.held_out :], held_out)[: args.learning]
    asked = {id(ranking) for ranking in held_out + learning}
    rest = [ranking for ranking in others if id(ranking) not in asked]
    reward = unlike(rest, held_out + learning)
    near = len(first) - len(others) + len(rest) - len(reward)
    prompts = [[str(ranking.prompt) for ranking in part] for part in (learning, held_out)]
    return Data(reward[: args.train_rankings], judge, *prompts, near)


def shuffled(rankings: Sequence[Ranking], seed: int) -> list[Ranking]:
    """The rankings in an order that the seed decides."""
    return random.Random(seed).sample(list(rankings), len(rankings))


def up_to(words: int, rankings: Sequence[Ranking]) -> list[Ranking]:
    """Those whose prompt is a text of no more than so many words."""
    return [
        each
        for each in rankings
        if isinstance(each.prompt, str) and len(each.prompt.split()) <= words
    ]


def unlike(rankings: Sequence[Ranking], others: Sequence[Ranking]) -> list[Ranking]:
    """Those whose prompt is not, or nearly, one of the others', nor are two of their answers."""
    seen = overlap([TrainedOn.of(others)], rankings).seen
    return [ranking for ranking, found in zip(rankings, seen, strict=True) if not found]


def with_instruction(prompt: str, args: argparse.Namespace) -> str:
    """What the policy is asked, and the reward model and the judge are told that it was asked."""
    return f"{prompt} {args.instruction}".strip()


def trained(rankings: Sequence[Ranking], folder: Path, base: str, max_length: int) -> RewardModel:
    """A reward model from rankings, trained now if it is not there yet."""
    if not (folder / "metrics.json").exists():
        train(
            rankings, output=folder, overwrite=True, base=base, recipe="fast",
            max_length=max_length, stress=0,
        )  # fmt: skip
    return RewardModel.load(folder)


# ---- policies ----


def in_tokens(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
    """The reward that is only length."""
    return [float(len(ids)) for ids in completion_ids]


def grpo(
    reward: Callable[..., Any], prompts: Sequence[str], folder: Path, args: argparse.Namespace
) -> Path:
    """The folder of LoRA adapters that a policy learnt by a reward; going on where it was cut."""
    adapter = folder / "adapter"
    if adapter.exists():
        return adapter
    policy = Policy.load(args.policy)
    chat = bool(policy.tokenizer.chat_template)
    texts = [with_instruction(prompt, args) for prompt in prompts]
    asked = [[{"role": "user", "content": text}] if chat else text for text in texts]
    config = GRPOConfig(
        output_dir=str(folder / "training"),
        max_steps=args.steps,
        per_device_train_batch_size=args.prompts_per_step * args.generations,
        num_generations=args.generations,
        max_completion_length=args.max_new_tokens,
        learning_rate=args.learning_rate,
        lr_scheduler_type="constant",
        beta=args.beta,
        temperature=args.temperature,
        seed=args.seed,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=policy.device.type == "cpu",
        logging_steps=1,
        save_steps=5,
        save_total_limit=1,
        report_to="none",
    )
    trainer = GRPOTrainer(
        policy.model,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": asked}),
        processing_class=policy.tokenizer,
        peft_config=LoraConfig(
            r=args.lora_r, lora_alpha=2 * args.lora_r, target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )  # fmt: skip
    begun = (folder / "training").exists()
    trainer.train(
        resume_from_checkpoint=get_last_checkpoint(str(folder / "training")) if begun else None
    )
    write_json(folder / "log.json", [row for row in trainer.state.log_history if "reward" in row])
    with writing_folder(adapter) as made:
        trainer.model.save_pretrained(made)
    return adapter


def adapted(name: str, adapter: Path) -> Policy:
    """The policy with what it learnt."""
    policy = Policy.load(name)
    policy.model = PeftModel.from_pretrained(policy.model, adapter).merge_and_unload()
    return policy


# Answers to P prompts, as many to each: rows by what they are of, `texts`, `tokens` (how many),
# `finished`, and once they are rated `own` and `judge`, the rewards.
Answers = dict[str, list[list[Any]]]


class Written:
    """What policies answered to the prompts, each policy's in a file: what is there stays."""

    def __init__(self, args: argparse.Namespace, asked: Sequence[str]) -> None:
        self.args, self.asked = args, asked
        self.folder = args.output / "answers"
        self.folder.mkdir(exist_ok=True)
        self.names: list[str] = []

    def by(self, load: Callable[[], Policy], name: str, n: int, seed: int) -> None:
        """n answers of a policy to each prompt; it is loaded where they are not there yet."""
        self.names.append(name)
        if self.file(name).exists():
            return
        policy = load()
        made = list(
            policy.complete(
                self.asked, n=n, max_new_tokens=self.args.max_new_tokens,
                temperature=self.args.temperature, top_p=1.0, batch_size=8, seed=seed,
            )
        )  # fmt: skip
        texts = [[each.text for each in row] for row in made]
        tokens = [
            [len(ids) for ids in policy.tokenizer(row, add_special_tokens=False)["input_ids"]]
            for row in texts
        ]
        finished = [[each.finished for each in row] for row in made]
        write_json(self.file(name), {"texts": texts, "tokens": tokens, "finished": finished})

    def rated(self, name: str, reward: RewardModel, judge: RewardModel) -> Answers:
        """The answers with the rewards that both models give them."""
        answers: Answers = read_json(self.file(name))
        for key, model in (("own", reward), ("judge", judge)):
            if key not in answers:
                pairs = zip(self.asked, answers["texts"], strict=True)
                answers[key] = list(model.score_all(pairs))
                write_json(self.file(name), answers)
        return answers

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row for each answer."""
        for name in self.names:
            answers = read_json(self.file(name))
            for place, prompt in enumerate(self.asked):
                row = {key: rows[place] for key, rows in answers.items()}
                for values in zip(*row.values(), strict=True):
                    yield {"policy": name, "prompt": prompt} | dict(zip(row, values, strict=True))

    def file(self, name: str) -> Path:
        """Where a policy's answers are."""
        return self.folder / f"{name}.json"


def powers_of_two(most: int) -> list[int]:
    """2, 4, 8 … up to the most."""
    return [2**k for k in range(1, most.bit_length()) if 2**k <= most]


def best(pool: Answers, n: int, key: str) -> Answers:
    """Of each n answers in turn the one with the most of `key`: of eight the four best of two.

    >>> best({"texts": [["a", "b", "c", "d"]], "own": [[5.0, 1.0, 0.0, 2.0]]}, 2, "own")["texts"]
    [['a', 'd']]
    """
    chosen = [
        [
            max(range(start, start + n), key=row.__getitem__)
            for start in range(0, len(row) - n + 1, n)
        ]
        for row in pool[key]
    ]
    return {
        name: [[row[i] for i in places] for row, places in zip(rows, chosen, strict=True)]
        for name, rows in pool.items()
    }


# ---- measuring ----


def measured(reference: Answers, sets: dict[str, Answers]) -> dict[str, Any]:
    """Each set of answers beside the reference's, and what the rewards have to do with length."""
    slope = slope_in_length(reference)
    return {
        "rows": {name: compared(given, reference, slope) for name, given in sets.items()},
        "reference_tokens": float(np.mean(reference["tokens"])),
        "own_with_length": within(reference["own"], reference["tokens"]),
        "judge_with_length": within(reference["judge"], reference["tokens"]),
        "own_with_judge": within(reference["own"], reference["judge"]),
    }


def compared(given: Answers, reference: Answers, slope: float) -> dict[str, Any]:
    """The figures of a set of answers beside the reference's to the same prompts.

    Gains are in standard deviations of the reference's rewards. *Beyond length* is what is left of
    the judge's gain without what it gives the reference's answers for being as much longer. Of wins
    equal rewards count half; each answer meets each of the reference's to the same prompt. All
    intervals are of 95 %, by bootstrap over prompts.
    """
    won, pairs, won_close, pairs_close = [], [], [], []
    for new, old, its, theirs in zip(
        given["judge"], reference["judge"], given["tokens"], reference["tokens"], strict=True
    ):
        wins = (np.sign(np.subtract.outer(new, old)) + 1) / 2
        apart = np.abs(np.subtract.outer(its, theirs))
        close = apart <= CLOSE * np.maximum.outer(its, theirs)
        won.append(wins.sum())
        pairs.append(wins.size)
        won_close.append(wins[close].sum())
        pairs_close.append(close.sum())

    def gain(key: str) -> np.ndarray:
        return (means(given[key]) - means(reference[key])) / float(np.std(reference[key]))

    longer = means(np.log1p(given["tokens"])) - means(np.log1p(reference["tokens"]))
    for_length = slope * longer / float(np.std(reference["judge"]))
    beginnings = Counter(" ".join(text.split()[:3]) for row in given["texts"] for text in row)
    return {
        "own": figure(gain("own")),
        "judge": figure(gain("judge")),
        "judge_beyond_length": figure(gain("judge") - for_length),
        "wins": figure(won, pairs, share=True),
        "wins_at_equal_length": figure(won_close, pairs_close, share=True),
        "pairs_at_equal_length": float(sum(pairs_close) / sum(pairs)),
        "tokens": figure(means(given["tokens"])),
        "unfinished": figure(1 - means(given["finished"]), share=True),
        "commonest_beginning": list(beginnings.most_common(1)[0]),
        "answers": sum(map(len, given["texts"])),
    }


def means(rows: Any) -> np.ndarray:
    """The mean of each row."""
    return np.asarray(rows, dtype=np.float64).mean(axis=1)


def figure(sums: Any, counts: Any = None, share: bool = False) -> dict[str, Any] | None:
    """A ratio of totals with its interval over prompts; None where there is nothing to count."""
    sums = np.asarray(sums, dtype=np.float64)[:, None]
    counts = np.ones_like(sums) if counts is None else np.asarray(counts, np.float64)[:, None]
    if not counts.any():
        return None
    [[found]] = resample([ratios(sums, counts, shares=share)], len(sums))
    return dict(found.as_dict())


def slope_in_length(answers: Answers) -> float:
    """What the judge's reward rises by for a unit of log(1 + tokens), within prompts."""
    x, y = np.log1p(answers["tokens"]), np.asarray(answers["judge"])
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    spread = float((x * x).sum())
    return float((x * y).sum()) / spread if spread else 0.0


def within(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> float | None:
    """The mean rank correlation between answers to the same prompt, where there is one."""
    found = [
        spearmanr(x, y)[0] for x, y in zip(a, b, strict=True) if len(set(x)) > 1 and len(set(y)) > 1
    ]
    return float(np.mean(found)) if found else None


COLUMNS = {
    "own": ("own reward", "+.2f"),
    "judge": ("judge", "+.2f"),
    "judge_beyond_length": ("judge, beyond length", "+.2f"),
    "wins": ("wins by the judge", ".2f"),
    "wins_at_equal_length": ("wins at equal length", ".2f"),
    "tokens": ("tokens", ".1f"),
    "unfinished": ("unfinished", ".2f"),
}


def as_markdown(result: dict[str, Any]) -> str:
    """The table, and below it what it rests on."""
    heads = [head for head, _ in COLUMNS.values()]
    lines = [f"| answers | {' | '.join(heads)} |", "| --- " * (len(heads) + 1) + "|"]
    for name, row in result["rows"].items():
        cells = [shown(row[key], form) for key, (_, form) in COLUMNS.items()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", result["data"]]
    for name, what in (("reward", "reward model"), ("judge", "judge")):
        found = {key: shown(value, ".3f") for key, value in result[name].items()}
        lines.append(
            f"{what}: accuracy {found['accuracy']} on held-out prompts of its own data, with "
            f"length controlled {found['length_controlled_accuracy']}; preferring the longer "
            f"answer {found['preferring_the_longer']}"
        )
    lines.append(
        "rank correlation between the base policy's answers to a prompt: "
        f"reward model and length {number(result['own_with_length'])}, judge and length "
        f"{number(result['judge_with_length'])}, both models {number(result['own_with_judge'])}"
    )
    between = {
        key: shown(result["grpo_by_reward_against_length"][key], form)
        for key, (_, form) in COLUMNS.items()
    }
    lines.append(
        f"GRPO by the reward model against GRPO by length alone: judge {between['judge']}, wins "
        f"{between['wins']}"
    )
    for name, row in result["rows"].items():
        words, times = row["commonest_beginning"]
        lines.append(f"{name}: {times} of {row['answers']} answers begin “{words}”")
    took = ", ".join(f"{step} {spent:.0f}" for step, spent in result["processor_seconds"].items())
    return "\n".join([*lines, f"seconds of processor time: {took}", ""])


def shown(value: dict[str, float] | None, form: str) -> str:
    """A figure with its interval, or a dash."""
    if value is None:
        return "–"
    return f"{value['value']:{form}} {Figure(**value).interval(form)}".strip()


def number(value: float | None) -> str:
    """A correlation, or a dash."""
    return "–" if value is None else f"{value:+.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
