"""What the benchmarks share: cases (data and a model to start from) and contenders (who trains).

A case is rankings and a saved reward model with a new head, from which every contender starts, so
that model, head and tokens are the same for all. A contender lives in a process of its own
(`Remote`), idle while others are timed, so that its peak memory is its own. Time runs from
`on_train_begin` to `on_train_end`: collation and weight updates are in, tokenising and set-up not.
"""

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import random
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import datasets
import torch
import transformers
import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
    TrainerCallback,
)
from transformers.trainer_callback import PrinterCallback
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from plaudit import Ranking, RewardModel, Settings, load_rankings
from plaudit.memory import keep_freed_memory
from plaudit.model.batches import unique_tokens
from plaudit.model.encoding import Encoding, plain_text
from plaudit.model.precision import FLAGS, processor_and_flags
from plaudit.training.parts import encoded
from plaudit.training.setup import build_trainer, load_base

MAX_LENGTH = 512
K = 8
DTYPES = ("float32", "bfloat16")
GIB = 2**30

# ---- cases ----


@dataclass(frozen=True)
class Case:
    """Rankings of each round, some short ones to compare gradients on, and the common start."""

    start: str  # the folder of a reward model whose head is new
    encoding: Encoding
    rounds: list[list[Ranking]]
    short: list[Ranking]  # all of the same number of pairs

    def unique_tokens(self, rankings: Sequence[Ranking]) -> int:
        """What no layout can leave out: a decoder's shared prefix counts once."""
        return sum(map(unique_tokens, self.encoding.encode(rankings)))


def make_case(
    name: str,
    data: str,
    folder: Path,
    per_round: int,
    rounds: int,
    seed: int,
    whole: bool = False,
    base: str | None = None,
    **load: Any,
) -> Case:
    """Write the start of case `name` to `folder` and draw the rankings of every round.

    `whole` leaves out rankings of which anything is truncated; `base` takes the place of the case's
    own base model; `load` goes to `RewardModel.load`.
    """
    rankings = [r for r in load_rankings(data) if len(r.completions) == K]
    of_case = base or BASES[name]
    if not isinstance(of_case, str):
        of_case(folder / "base", (text for r in rankings for text in (r.prompt, *r.completions)))
        of_case = str(folder / "base")
    model = RewardModel.load(of_case, max_length=MAX_LENGTH, dtype="float32", device="cpu", **load)
    model.save(folder / "start")
    random.Random(seed).shuffle(rankings)
    if whole:
        rows = model.encoding.encode(rankings)
        cut = [any(row["prompt_cut"]) or any(row["completion_cut"]) for row in rows]
        rankings = [r for r, is_cut in zip(rankings, cut, strict=True) if not is_cut]
    if name == "prefix-pairs":
        per_round *= K // 2  # as many rows a step as the other cases
        rankings = prefix_pairs(rankings, model.encoding, per_round * rounds, seed)
    if len(rankings) < per_round * rounds:
        raise SystemExit(f"{data}: {len(rankings)} rankings of {K}, {per_round * rounds} needed")
    pairs = Counter(len(r.pairs()) for r in rankings).most_common(1)[0][0]
    alike = [r for r in rankings if len(r.pairs()) == pairs]
    lengths = {
        id(r): row["length"] for r, row in zip(alike, model.encoding.encode(alike), strict=True)
    }
    return Case(
        start=str(folder / "start"),
        encoding=model.encoding,
        rounds=[rankings[i * per_round : (i + 1) * per_round] for i in range(rounds)],
        short=sorted(alike, key=lambda r: lengths[id(r)])[:2],
    )


def prefix_pairs(
    rankings: Sequence[Ranking], encoding: Encoding, count: int, seed: int
) -> list[Ranking]:
    """Chat pairs with earlier turns before the prompt, so many that they are 3/4 of a row.

    Nothing is truncated: truncation would cut two rows of a pair at two places.
    """
    drawn = random.Random(seed)
    turns = [
        [
            {"role": "user", "content": plain_text(r.prompt)},
            {"role": "assistant", "content": plain_text(r.completions[r.ranks.index(0)])},
        ]
        for r in rankings
    ]
    pairs: list[Ranking] = []
    shares: list[float] = []
    for ranking in rankings:
        # Room for three times as much context.
        row = encoding.encode([ranking])[0]
        own = [len(ids) - row["shared"] for ids in row["input_ids"]]
        better_worse = [
            pair for pair in ranking.pairs() if all(own[i] < MAX_LENGTH / 4 for i in pair)
        ]
        if not better_worse:
            continue
        completions = [ranking.completions[i] for i in drawn.choice(better_worse)]
        prompt = [{"role": "user", "content": plain_text(ranking.prompt)}]
        pair, share = Ranking(prompt, completions, [0, 1]), 0.0
        for turn in drawn.sample(turns, min(len(turns), 40)):
            longer = replace(pair, prompt=turn + pair.prompt)
            row = encoding.encode([longer])[0]
            longer_share = mean(row["shared"] / len(ids) for ids in row["input_ids"])
            if turn[0] != prompt[0] and not any(row["prompt_cut"]) and longer_share < 0.78:
                pair, share = longer, longer_share
            if share > 0.72:
                pairs.append(pair)
                shares.append(share)
                break
        if len(pairs) == count:
            break
    if shares:
        print(f"prefix-pairs: the shared prefix is {mean(shares):.3f} of a row on average")
    return pairs


# Real sizes with random weights: speed does not depend on what the weights are.
GPT2_SMALL = {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}
DEBERTA_V3_SMALL = {
    "vocab_size": 128100,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "relative_attention": True,
    "position_buckets": 256,
    "max_relative_positions": -1,
    "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
    "type_vocab_size": 0,
}


def gpt2_small(folder: Path, texts: Iterable[str]) -> None:
    end = "<|endoftext|>"
    tokenizer = byte_bpe(texts, [end])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end)
    write_random(AutoModelForCausalLM, "gpt2", fast, folder, GPT2_SMALL)


def deberta_v3_small(folder: Path, texts: Iterable[str]) -> None:
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = byte_bpe(texts, list(named.values()))
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in named.values()],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **named
    )
    write_random(AutoModelForMaskedLM, "deberta-v2", fast, folder, DEBERTA_V3_SMALL)


def byte_bpe(texts: Iterable[str], special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=16000,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def write_random(auto: Any, kind: str, tokenizer: Any, folder: Path, sizes: dict) -> None:
    ids = {f"{n}_token_id": getattr(tokenizer, f"{n}_token_id") for n in ("bos", "eos", "pad")}
    torch.manual_seed(0)
    auto.from_config(AutoConfig.for_model(kind, **sizes, **ids)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


BASES: dict[str, str | Callable[[Path, Iterable[str]], None]] = {
    "ranked-decoder": "embedded:smollm2",
    "prefix-pairs": "embedded:smollm2",
    "ranked-encoder": "embedded:minilm",
    "ranked-gpt2": gpt2_small,
    "ranked-deberta": deberta_v3_small,
}


def run_cases(
    measure: Callable[..., dict[str, Any]], names: Iterable[str], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """What `measure(name, folder, options)` gives for every case asked for, by name.

    Says the machine first; with `--json` everything so far is written after each case.
    """
    about = machine(options.dtype, options.threads)
    print(described(about))
    cases: dict[str, dict[str, Any]] = {}
    for name in options.case or names:
        with tempfile.TemporaryDirectory() as folder:
            cases[name] = measure(name, Path(folder), options)
        if options.json:
            text = json.dumps({"machine": about, "cases": cases}, indent=2)
            Path(options.json).write_text(text + "\n")
    return cases


# ---- contenders ----


class Clock(TrainerCallback):
    """How long the last `train()` took, without its set-up."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start it."""
        self.started = time.perf_counter()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Stop it."""
        self.seconds = time.perf_counter() - self.started


class KeepGradients(TrainerCallback):
    """The gradients that the optimiser is about to use."""

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        """Keep them; clipping came before."""
        self.gradients = gradients_of(model)


class Plaudit:
    """plaudit as `plaudit train` puts it together; one optimiser step over all rankings given."""

    def __init__(self, case: Case, dtype: str, layout: str | None = None, **settings: Any) -> None:
        self.case, self.dtype, self.layout = case, dtype, layout
        if layout is not None:
            settings["layout"] = layout
        self.settings = {"data": "-", "base": case.start, "dtype": dtype, **settings}
        self.trainer: Any = None
        self.model: Any = None

    def prepare(self, rankings: Sequence[Ranking], folder: Path, **settings: Any) -> int:
        """Tokenise and set up, untimed; returns the number of optimiser steps."""
        if self.trainer is None:
            whole = {"per_device_train_batch_size": len(rankings), "num_train_epochs": 1}
            chosen = Settings.build(**{"recipe": "plain"} | whole | self.settings | settings)
            self.model = load_base(chosen)
            train_set = encoded(rankings, self.model.encoding, "encoding")
            self.trainer = build_trainer(self.model, train_set, None, chosen, folder)
            self.trainer.args.save_strategy = "no"
            self.trainer.add_callback(Clock())
        self.trainer.train_dataset = encoded(rankings, self.model.encoding, "encoding")
        return math.ceil(len(rankings) / self.trainer.args.per_device_train_batch_size)

    def train(self) -> float:
        """Train on what was prepared; returns seconds."""
        self.trainer.train()
        return clock_of(self.trainer)

    def run(self, rankings: Sequence[Ranking], folder: Path) -> float:
        """Seconds of training on these rankings."""
        self.prepare(rankings, folder)
        return self.train()

    def chosen_dtype(self) -> str:
        """What `dtype` came to on this machine."""
        return short_name(self.model.dtype)

    def compare(self, reference: Path, folder: Path) -> tuple[float, float]:
        """Largest relative differences of rewards and gradients, as this contender trains."""
        fresh = Plaudit(self.case, self.dtype, self.layout, max_grad_norm=0)
        fresh.prepare(self.case.short, folder)
        rows = self.case.encoding.encode(self.case.short)
        rewards = [r for ranking in fresh.model.rewards(rows) for r in ranking]
        return differences(torch.tensor(rewards), gradients_in(fresh.trainer), reference)


class Trl:
    """TRL's `RewardTrainer` on the pairs that the rankings make: with its defaults, or `tuned`.

    Tuned means: no gradient checkpointing, the faster precision, pairs sorted by length and read in
    sequence (what `group_by_length` makes of pairs as few as these), the fastest batch size that
    fits into memory, and an allocator that keeps freed memory, as plaudit's does. Packing and
    padding-free batches, which TRL's other trainers have, `RewardTrainer` has not. Its model is
    transformers' own classifier.
    """

    def __init__(self, case: Case, tuned: bool = False, batch_size: int = 8, **config: Any) -> None:
        self.case, self.tuned, self.config = case, tuned, config
        self.batch_size = batch_size
        self.trainer: Any = None

    def prepare(self, rankings: Sequence[Ranking], folder: Path) -> int:
        """Make pairs of tokens and set up, untimed; returns the number of optimiser steps."""
        pairs = self.pairs(rankings)
        if self.tuned:
            pairs.sort(key=pair_length, reverse=True)
        return self.set_pairs(pairs, folder)

    def set_pairs(self, pairs: list[dict], folder: Path) -> int:
        """`prepare` for pairs that are made and in order."""
        data = datasets.Dataset.from_list(pairs)
        if self.trainer is None:
            self.trainer = self.new_trainer(data, folder)
        self.trainer.train_dataset = data
        return math.ceil(len(pairs) / self.batch_size)

    def pairs(self, rankings: Sequence[Ranking]) -> list[dict]:
        """The tokens of every strictly ordered pair."""
        pairs = []
        for ranking, row in zip(rankings, self.case.encoding.encode(rankings), strict=True):
            for sides in ranking.pairs():
                pair = {}
                for side, index in zip(("chosen", "rejected"), sides, strict=True):
                    pair[f"{side}_ids"] = row["input_ids"][index]
                    if "token_type_ids" in row:
                        pair[f"{side}_types"] = row["token_type_ids"][index]
                pairs.append(pair)
        return pairs

    def new_trainer(self, data: Any, folder: Path, **config: Any) -> RewardTrainer:
        """TRL's trainer on the case's start."""
        if self.tuned:
            keep_freed_memory()
        tuned = {"gradient_checkpointing": False, "train_sampling_strategy": "sequential"}
        types = "chosen_types" in data.column_names
        tokenizer = self.case.encoding.tokenizer
        options = {
            "output_dir": str(folder / "trl"),
            "per_device_train_batch_size": self.batch_size,
            "max_length": MAX_LENGTH,
            "num_train_epochs": 1,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "dataloader_pin_memory": False,  # has no meaning on a CPU
            "use_cpu": True,
            "remove_unused_columns": not types,
        }
        arguments = RewardConfig(**options | (tuned if self.tuned else {}) | self.config | config)
        trainer = RewardTrainer(
            model=classifier(self.case.start),
            args=arguments,
            data_collator=WithTokenTypes(tokenizer.pad_token_id) if types else None,
            train_dataset=data,
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def train(self) -> float:
        """Train on what was prepared; returns seconds."""
        self.trainer.train()
        return clock_of(self.trainer)

    def run(self, rankings: Sequence[Ranking], folder: Path) -> float:
        """Seconds of training on the pairs of these rankings."""
        self.prepare(rankings, folder)
        return self.train()

    def compare(self, reference: Path, folder: Path) -> tuple[float, float]:
        """Largest relative differences of rewards and gradients, as this contender trains."""
        pairs = datasets.Dataset.from_list(self.pairs(self.case.short))
        # Batches of equal size, so that their mean is the mean over all pairs.
        size = math.gcd(len(pairs), self.batch_size)
        trainer = self.new_trainer(
            pairs,
            folder,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=len(pairs) // size,
            max_grad_norm=0,
        )
        model: Any = trainer.model
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=trainer.args.bf16):
            rewards = padded_rewards(model.eval(), self.case)
        return differences(rewards, gradients_in(trainer), reference)


@dataclass
class WithTokenTypes(DataCollatorForPreference):
    """TRL's own collator, which knows no token types, with them."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Pad the examples into one batch."""
        types = [
            torch.tensor(e[f"{side}_types"]) for side in ("chosen", "rejected") for e in examples
        ]
        return super().torch_call(examples) | {"token_type_ids": pad_sequence(types, True)}


class Reference:
    """transformers' own classifier on padded rows in float32, with Bradley–Terry written out."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def save(self, path: Path) -> None:
        """Rewards and gradients of the case's short rankings."""
        model = classifier(self.case.start).eval()
        rewards = padded_rewards(model, self.case)
        loss, start = 0.0, 0
        for ranking in self.case.short:
            r = rewards[start : start + len(ranking.completions)]
            start += len(r)
            pairs = ranking.pairs()
            for better, worse in pairs:
                loss = loss - torch.nn.functional.logsigmoid(r[better] - r[worse]) / len(pairs)
        (loss / len(self.case.short)).backward()
        torch.save((rewards.detach(), gradients_of(model)), path)


def classifier(folder: str) -> Any:
    """What anybody loads from the folder; mean pooling brings its class along."""
    return AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=True
    )


def padded_rewards(model: Any, case: Case) -> torch.Tensor:
    """Of the short rankings' completions, in order."""
    rankings = case.encoding.encode(case.short)
    ids = [torch.tensor(row) for ranking in rankings for row in ranking["input_ids"]]
    batch = {
        "input_ids": pad_sequence(ids, True, case.encoding.tokenizer.pad_token_id),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], True),
    }
    if "token_type_ids" in rankings[0]:
        types = [torch.tensor(row) for ranking in rankings for row in ranking["token_type_ids"]]
        batch["token_type_ids"] = pad_sequence(types, True)
    return model(**batch).logits[:, 0].float()


def gradients_of(model: Any) -> dict[str, torch.Tensor]:
    return {
        name.replace("_orig_mod.", ""): parameter.grad.detach().float().clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def gradients_in(trainer: Any) -> dict[str, torch.Tensor]:
    trainer.add_callback(keep := KeepGradients())
    trainer.train()
    return keep.gradients


def differences(
    rewards: torch.Tensor, gradients: dict[str, torch.Tensor], reference: Path
) -> tuple[float, float]:
    """Largest differences, relative to the largest reward and to a tensor's largest gradient.

    Gradients that are zero but for rounding (of a key's bias, of whatever moves all rewards alike)
    have no relative difference and are left out.
    """
    their_rewards, theirs = torch.load(reference, weights_only=True)
    largest = max(g.abs().max().item() for g in theirs.values())
    worst = 0.0
    for name, right in theirs.items():
        scale = right.abs().max().item()
        if scale > 1e-5 * largest:
            ours = gradients.get(name, torch.zeros_like(right))
            worst = max(worst, (ours - right).abs().max().item() / scale)
    relative = (rewards - their_rewards).abs().max() / their_rewards.abs().max()
    return relative.item(), worst


def pair_length(pair: dict) -> int:
    return max(len(pair["chosen_ids"]), len(pair["rejected_ids"]))


def clock_of(trainer: Any) -> float:
    return next(c for c in trainer.callback_handler.callbacks if isinstance(c, Clock)).seconds


# ---- processes ----


class RemoteError(Exception):
    """What went wrong in the process of a `Remote`, which has ended with it."""

    @property
    def out_of_memory(self) -> bool:
        """Whether it was memory: as PyTorch, Python, C++ and the system's killer say it."""
        signs = ("allocate memory", "MemoryError", "bad_alloc", "ended with code -9")
        return any(sign in str(self) for sign in signs)


PROCESSES: Any = multiprocessing.get_context("spawn")  # how a `Remote` starts


class Remote:
    """An object in a process of its own: `remote("method", …)` calls it and waits.

    >>> remote = Remote(threads, Trl, case)  # doctest: +SKIP
    >>> remote("train")                      # doctest: +SKIP
    """

    def __init__(
        self, threads: int | None, make: Callable[..., Any], *args: Any, **kw: Any
    ) -> None:
        self.pipe, theirs = PROCESSES.Pipe()
        self.process = PROCESSES.Process(
            target=_serve, args=(theirs, threads, make, args, kw), daemon=True
        )
        self.process.start()
        theirs.close()
        self._receive()

    def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        """What the method returns; `peak_memory` is a method of every process."""
        return self._receive((method, args, options))

    def _receive(self, question: tuple[str, Any, Any] | None = None) -> Any:
        try:
            if question:
                self.pipe.send(question)
            ok, result = self.pipe.recv()
        except (EOFError, ConnectionResetError, BrokenPipeError):
            raise RemoteError(f"the process ended with code {self._wait()}") from None
        if not ok:
            self.stop()
            raise RemoteError(result)
        return result

    def stop(self) -> None:
        """End the process."""
        self.pipe.close()
        self._wait()

    def _wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode


def _serve(pipe: Any, threads: int | None, make: Any, args: Any, kw: Any) -> None:
    quiet_libraries()
    if threads:
        torch.set_num_threads(threads)
    limit_memory()
    with contextlib.suppress(EOFError):  # nobody asks any more
        call = make
        while True:
            try:
                result = call(*args, **kw)
                if call is make:
                    target, result = result, None
                answer = (True, result)
            except Exception:
                answer = (False, traceback.format_exc())
            pipe.send(answer)
            method, args, kw = pipe.recv()
            call = peak_memory if method == "peak_memory" else getattr(target, method)


def limit_memory() -> None:
    """Let a batch that does not fit fail in its own process, before the machine runs out.

    What counts is what is free now, of the machine and of the container, where there is one.
    """
    meminfo, group = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
    if meminfo.is_file():
        free = int(re.search(r"MemAvailable:\s+(\d+)", meminfo.read_text())[1]) * 1024
        limit, taken = group / "memory.max", group / "memory.current"
        if limit.is_file() and (most := limit.read_text().strip()) != "max":
            free = min(free, int(most) - int(taken.read_text()))
        resource.setrlimit(resource.RLIMIT_DATA, (int(free * 0.9), resource.RLIM_INFINITY))


def peak_memory() -> float:
    """The most that this process has ever had in memory, in GiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux lets a new process inherit `ru_maxrss` from the one that forked it
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) * 1024 / GIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / GIB


def quiet_libraries() -> None:
    warnings.simplefilter("ignore", FutureWarning)
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


# ---- races ----


class OutOfMemoryError(Exception):
    """A contender needed more memory than there is: its name and its batches."""


class Racer:
    """A contender in its process, after its first, untimed time."""

    def __init__(
        self, name: str, folder: Path, first: Sequence[Ranking], start: Callable[[], Remote]
    ) -> None:
        self.name, self.folder = name, folder
        self.ended = False  # by an error
        self.tried: dict[str, float | str] = {}  # seconds of what it was chosen from
        folder.mkdir(exist_ok=True)  # one that ended may be started again
        with self.enough_memory():
            self.remote = start()
        self.first_seconds = self.run(first)

    def run(self, rankings: Sequence[Ranking]) -> float:
        """Seconds that these rankings take. Raises `OutOfMemoryError`."""
        return self.ask("run", rankings, self.folder)

    def ask(self, method: str, *args: Any) -> Any:
        """What a method of the contender returns. Raises `OutOfMemoryError`."""
        with self.enough_memory():
            return self.remote(method, *args)

    @contextlib.contextmanager
    def enough_memory(self) -> Iterator[None]:
        """What ends for want of memory within it says who it was."""
        try:
            yield
        except RemoteError as error:
            self.ended = True
            if not error.out_of_memory:
                raise
            raise OutOfMemoryError(f"out of memory: {self.name}") from None

    def stop(self) -> None:
        """End its process."""
        self.remote.stop()


def fastest(
    start: Callable[[str, int], Racer], dtypes: Sequence[str], sizes: Sequence[int]
) -> Racer:
    """The racer whose first time was shortest, of those that fit into memory.

    `start(dtype, size)` starts one in a process of its own, so that what was tried leaves no trace
    in the memory. Every type is tried with the first batch size, then larger ones in the fastest
    type, until one does not fit or is slower than the fastest by a tenth.

    Raises `OutOfMemoryError` when none fits.
    """
    best: tuple[Racer, str] | None = None
    tried: dict[str, float | str] = {}

    def attempt(dtype: str, size: int) -> bool:
        """Whether a larger batch may be faster still."""
        nonlocal best
        try:
            racer = start(dtype, size)
        except OutOfMemoryError as error:
            tried[f"{size}, {dtype}"] = "out of memory"
            print(f"  {error}", flush=True)
            return False
        taken = tried[f"{size}, {dtype}"] = racer.first_seconds
        print(f"  {racer.name}: {taken:.2f} s the first time", flush=True)
        if best is None:
            best = racer, dtype
            return True
        slower, fastest_yet = racer, best[0].first_seconds
        if taken < fastest_yet:
            slower, best = best[0], (racer, dtype)
        slower.stop()
        return taken < 1.1 * fastest_yet

    smallest, *larger = sorted(sizes)
    for dtype in dtypes:
        attempt(dtype, smallest)
    if best is None:
        raise OutOfMemoryError(f"out of memory: batches of {smallest} in any type")
    for size in larger:
        if not attempt(best[1], size):
            break
    best[0].tried = tried
    return best[0]


# ---- what is said ----


def arguments(description: str, cases: Sequence[str], **defaults: Any) -> argparse.ArgumentParser:
    """The options that the speed benchmarks have in common."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", help="ranked answers, with rankings of eight")
    parser.add_argument("--case", action="append", choices=cases, help="may be repeated; all")
    parser.add_argument("--base", help="a base model in the place of each case's own")
    parser.add_argument("--rankings", type=int, default=defaults.get("rankings", 4))
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--threads", type=int, help="by default as many as torch takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json")
    return parser


def short_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# What of a processor decides how fast it multiplies, by Linux's names.


def machine(dtype: str, threads: int | None) -> dict[str, Any]:
    cpu, flags = processor_and_flags()
    if not Path("/proc/cpuinfo").is_file():
        flags = ["unknown"]
    return {
        "cpu": cpu,
        "flags": " ".join(flags) or "none of " + " ".join(FLAGS),
        "cores": os.cpu_count(),
        "threads": threads or torch.get_num_threads(),
        "dtype": dtype,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
    }


def described(about: dict[str, Any]) -> str:
    """The machine in a line."""
    return ", ".join(f"{key} {value}" for key, value in about.items())


def spread(ratios: Sequence[float]) -> dict[str, float]:
    return {"median": median(ratios), "min": min(ratios), "max": max(ratios)}


def show(
    headers: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (0,)
) -> None:
    """Print a table; `left` are the columns of words, the others being figures."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    for row in (headers, *rows):
        first, *rest = (
            cell.ljust(w) if i in left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print(first, *rest, sep="  ")
    print(flush=True)
