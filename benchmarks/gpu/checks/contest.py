"""Contests of speed: the same rankings trained on and scored by several contenders, timed alike.

A contender's training is a whole trainer's: reading rows, collating them, the optimiser's step and
whatever the trainer does around it. Timed are laps over the same few batches, after warm-up; the
device is waited for at the ends of a lap only. One more lap under the profiler then tells for how
long the device is busy. All contenders of a shape start from weights drawn alike, in float32, and
multiply in bfloat16 (on a CPU as each chooses).
"""

import gc
import itertools
import random
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

import datasets
import torch
from transformers import TrainerCallback
from trl import RewardConfig, RewardTrainer

from checks import shapes, timing
from checks.setting import Report, Setting
from plaudit import Settings
from plaudit.errors import PlauditError
from plaudit.model import attention
from plaudit.model.base_models import first_position
from plaudit.model.batches import Flat, unique_tokens
from plaudit.training.setup import build_trainer

K = 8
PAIRS = K * (K - 1) // 2
PROMPTS = (200, 1500)
COMPLETION = 300
LEARNING_RATE = 1e-6  # small enough that random weights stay finite, whatever they are taught
WARM_UP = 2  # steps
MOST_LAPS = 40
LOOP_ROWS = 32  # of a batch of the plain loop
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """Rankings of one mean length of prompt, for a model of one shape.

    `rows` are those of a lap, `per_step` rankings of each optimiser step.
    """

    shape: str
    prompt: int
    rows: list[Row]
    warm: list[Row]
    per_step: int

    @property
    def lap(self) -> int:
        """Optimiser steps of a lap."""
        return len(self.rows) // self.per_step

    def names(self, contender: str) -> dict[str, Any]:
        """The columns that say which contest this is."""
        return {"shape": self.shape, "prompt": self.prompt, "contender": contender}


def prompts(setting: Setting) -> tuple[int, ...]:
    """The mean lengths of prompts; one will do for a rehearsal."""
    return PROMPTS[:1] if setting.tiny else PROMPTS


def make_task(
    setting: Setting, shape: str, prompt: int, *, steps: int = 2, shares: bool = True
) -> Task:
    """Rankings for `steps` optimiser steps of a lap and for the warm-up."""
    per_step = 2 if setting.tiny else 8
    prompt_tokens, completion = (
        (prompt // 20, COMPLETION // 20) if setting.tiny else (prompt, COMPLETION)
    )
    rows = shapes.rankings(
        per_step * (steps + WARM_UP),
        prompt=prompt_tokens,
        completion=completion,
        k=K,
        shares=shares,
    )
    return Task(shape, prompt, rows[: per_step * steps], rows[per_step * steps :], per_step)


class Contest:
    """What the contests of a check share: the models, of which one is held at a time, the measured
    rate of products, and what was found so far."""

    def __init__(self, setting: Setting, report: Report) -> None:
        allow_many_graphs()
        self.setting, self.report = setting, report
        self.device = setting.device
        size = 256 if setting.tiny else 8192
        self.rate = timing.product_rate(self.device, size)
        report.row(
            "the machine",
            device=torch.cuda.get_device_name() if self.device == "cuda" else "CPU",
            **{f"TFLOP/s of a {size}³ bf16 product": self.rate / 1e12},
        )
        self.found: dict[tuple[str, int, str], dict[str, Any]] = {}
        self._key: tuple[str, str] | None = None
        self._model: Any = None

    # ---- models ----

    def model(self, kind: str, shape: str) -> Any:
        """A model of the shape; another one that is held goes first.

        `plaudit` is a `RewardModel` whose layout is flat, `transformers` the library's own
        classifier, `bfloat16` the latter with weights in that precision.
        """
        if self._key != (kind, shape):
            self.drop()
            tiny = self.setting.tiny
            started = time.perf_counter()
            if kind == "plaudit":
                made: Any = self.flat_model(shape)
            else:
                weights = torch.bfloat16 if kind == "bfloat16" else torch.float32
                made = shapes.classifier(shape, self.device, tiny=tiny, weights=weights)
            timing.synchronise(self.device)
            seconds = time.perf_counter() - started
            self._key, self._model = (kind, shape), made
            # plaudit's tries the flat layout, which compiles its attention in float32.
            self.report.row("making a model", kind=kind, shape=shape, seconds=seconds)
        return self._model

    def flat_model(self, shape: str) -> Any:
        """A `RewardModel` whose layout is flat; where trying it in float32 fails, that is said, and
        it is measured in bfloat16 all the same."""
        how: dict[str, Any] = {"tiny": self.setting.tiny}
        try:
            return shapes.reward_model(shape, self.device, **how, layout="flat")
        except PlauditError as error:
            self.report.holds(f"{shape} takes the flat layout: {error}", False)
        gc.collect()
        model = shapes.reward_model(shape, self.device, **how, layout="padded")
        model.model.set_attn_implementation(attention.NAME)
        model.layout = Flat(first_position(model.model))
        return model

    def drop(self) -> None:
        """Free the model that is held."""
        self._key = self._model = None
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    # ---- one contender ----

    def attempt(
        self, table: str, task: Task, contender: str, seconds: float, run: Callable[[], dict]
    ) -> None:
        """Let a contender run if about `seconds` are left for it, and report what it finds.

        What does not fit into time or memory is said to be left out; what fails otherwise is a
        statement that does not hold, and the others run all the same.
        """
        names = task.names(contender)
        needed = seconds if self.device == "cuda" else 0
        if self.setting.left() < needed + 3:
            why = f"the time was over: {self.setting.left():.0f} s were left"
            self.report.row("left out", what=table, **names, why=why)
            return
        out_of_memory = False
        try:
            figures = run()
        except Exception as error:
            out_of_memory = is_out_of_memory(error)
            if not out_of_memory:
                self.report.error += f"{names}\n{traceback.format_exc()}\n"
                self.report.holds(f"{contender} runs: {task.shape}, prompt {task.prompt}", False)
        else:
            self.found[table, task.shape, task.prompt, contender] = figures
            self.report.row(table, **names, **figures)
            return
        # Not within `except`: there the traceback holds on to what the frames held.
        if out_of_memory:
            self.report.row("left out", what=table, **names, why="does not fit into memory")
        self.drop()

    def figure(self, table: str, task: Task, contender: str, name: str) -> Any:
        """A figure of a contender that has run; None where it has not."""
        return self.found.get((table, task.shape, task.prompt, contender), {}).get(name)

    # ---- figures ----

    def speed(
        self,
        model: Any,
        rows: Sequence[Row],
        rankings_per_second: float,
        passes: int,
        computed: float,
    ) -> dict[str, Any]:
        """What rankings a second mean: tokens and shares of the rate of products.

        `computed` are the operations for a ranking in the way that the contender lays tokens out;
        the MFU counts those that no layout can leave out.
        """
        unique = mean(map(unique_tokens, rows))
        needed = timing.flop(model, rows, passes) / len(rows)
        return {
            "rankings/s": rankings_per_second,
            "unique tokens/s": rankings_per_second * unique,
            "all tokens/s": rankings_per_second * timing.all_tokens(rows) / len(rows),
            "MFU": rankings_per_second * needed / self.rate,
            "MFU with what is computed twice": rankings_per_second * computed / self.rate,
        }

    def train_plaudit(
        self, task: Task, layout: Any = None, *, checkpointing: bool = False, seconds: float = 2.0
    ) -> dict[str, Any]:
        """Figures of plaudit's trainer; `layout` takes the flat one's place."""
        model = self.model("plaudit", task.shape)
        own = task.rows
        if layout is not None:
            model = replace(model, layout=layout)
            own = apart(task.rows)
        order = [*range(len(task.rows), len(task.rows) + len(task.warm))]
        laps = self.laps(task.lap, seconds)
        order += list(range(len(task.rows))) * (laps.most + 1)
        folder = self.setting.scratch / "plaudit"
        folder.mkdir(exist_ok=True)
        chosen = Settings.build(
            recipe="plain",
            data="-",
            base="-",
            dtype="auto",
            max_steps=len(order) // task.per_step,
            per_device_train_batch_size=task.per_step,
            gradient_checkpointing=checkpointing,
            learning_rate=LEARNING_RATE,
        )
        stored = datasets.Dataset.from_list(task.rows + task.warm)
        before = allocated_gib(self.device)
        trainer = build_trainer(
            model, stored.select(order), None, chosen, folder, checkpoints=False
        )
        trainer.args.train_sampling_strategy = "sequential"
        try:
            self.time(trainer, laps)
            collated, divided = self.collating(trainer, stored, task.per_step)
        finally:
            release(trainer)
        per_second = task.per_step / laps.step_seconds
        computed = timing.flop(model.model, own, 3) / len(own)
        return (
            self.speed(model.model, task.rows, per_second, 3, computed)
            | laps.figures(before)
            | collated
            | {"a step is": f"{task.per_step} rankings in {len(divided)} passes"}
        )

    def train_trl(
        self, task: Task, pairs: int = 8, *, tuned: bool, checkpointing: bool, seconds: float = 2.0
    ) -> dict[str, Any]:
        """Figures of TRL's trainer, a step being a batch of `pairs` pairs.

        With its defaults but for what concerns memory and files; or tuned: with or without
        checkpointing, pairs sorted by length and read in sequence.
        """
        model = self.model("transformers", task.shape)
        lap = 3 if task.lap > 1 else 1
        warm, timed = pair_batches(task.rows, pairs, lap, in_order=tuned)
        laps = self.laps(lap, seconds)
        order = [*range(len(warm))] * WARM_UP
        order += [*range(len(warm), len(warm) + len(timed))] * (laps.most + 1)
        stored = datasets.Dataset.from_list(warm + timed)
        options: dict[str, Any] = {"bf16": True, "gradient_checkpointing": checkpointing}
        arguments = RewardConfig(
            output_dir=str(self.setting.scratch / "trl"),
            per_device_train_batch_size=pairs,
            max_length=None,  # its default would leave out pairs of more than 1,024 tokens
            max_steps=len(order) // pairs,
            learning_rate=LEARNING_RATE,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=self.device == "cpu",
            # The order was drawn at random where it is not by length; so laps are alike.
            train_sampling_strategy="sequential",
            **(options if tuned else {}),
        )
        before = allocated_gib(self.device)
        trainer = RewardTrainer(
            model=model,
            args=arguments,
            train_dataset=stored.select(order),
            processing_class=shapes.tokenizer(["one two three"]),
        )
        try:
            self.time(trainer, laps)
            collated, _ = self.collating(trainer, stored, pairs)
        finally:
            release(trainer)
        per_second = pairs / PAIRS / laps.step_seconds
        as_rows = [
            {"input_ids": [pair["chosen_ids"], pair["rejected_ids"]], "shared": 0} for pair in timed
        ]
        computed = timing.flop(model, as_rows, 3) / len(as_rows) * PAIRS
        return (
            self.speed(model, task.rows, per_second, 3, computed)
            | laps.figures(before)
            | collated
            | {"a step is": f"{pairs} pairs" + (", checkpointing" * checkpointing)}
        )

    def best_trl(self, task: Task, sizes: Sequence[int], estimate: float, **options: Any) -> dict:
        """`train_trl` tuned, at the best of several batch sizes that fit into time and memory."""
        best: dict[str, Any] = {}
        for pairs in sizes:
            if best and self.device == "cuda" and self.setting.left() < estimate:
                break
            # A size that does not fit leaves the model as it is.
            out_of_memory, figures = False, {}
            try:
                figures = self.train_trl(task, pairs, tuned=True, **options)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                out_of_memory = True
            self.report.row(
                "batch sizes of TRL tuned",
                shape=task.shape,
                prompt=task.prompt,
                pairs=pairs,
                **{"rankings/s": figures.get("rankings/s", "does not fit into memory")},
            )
            if out_of_memory:
                gc.collect()
                timing.reset_peak(self.device)
            elif figures["rankings/s"] > best.get("rankings/s", 0):
                best = figures
        if not best:
            raise torch.OutOfMemoryError("no batch size fits")
        return best

    def laps(self, lap: int, seconds: float) -> "Laps":
        """The clock for steps of which `lap` make a lap."""
        tiny = self.setting.tiny
        return Laps(self.device, lap, 0 if tiny else seconds, 1 if tiny else MOST_LAPS)

    def time(self, trainer: Any, laps: "Laps") -> None:
        """Train while `laps` watches."""
        trainer.add_callback(laps)
        timing.reset_peak(self.device)
        trainer.train()
        trainer.remove_callback(laps)

    def collating(self, trainer: Any, stored: Any, size: int) -> tuple[dict[str, float], Any]:
        """What the host takes to read a step's rows and to make batches of them; the batches."""
        repeats = 1 if self.setting.tiny else 3
        rows = [stored[i] for i in range(size)]
        reading = timing.seconds("cpu", lambda: [stored[i] for i in range(size)], repeats, 0)
        collating = timing.seconds("cpu", lambda: trainer.data_collator(rows), repeats, 1)
        return (
            {"read ms": 1000 * min(reading), "collate ms": 1000 * min(collating)},
            trainer.data_collator(rows),
        )

    # ---- scoring ----

    def score_plaudit(
        self, model: Any, rows: Sequence[Row], layout: Any = None, seconds: float = 1.5
    ) -> dict[str, Any]:
        """Figures of `RewardModel.rewards`; `layout` takes the flat one's place."""
        if layout is not None:
            model = replace(model, layout=layout)
        collating = timing.seconds(
            "cpu", lambda: model.layout.divide(rows, model.max_tokens_per_batch), repeats=1
        )
        figures = self.score(
            model.model,
            rows,
            lambda: model.rewards(rows),
            computed=rows if layout is None else apart(rows),
            seconds=seconds,
        )
        return figures | {"collate ms": 1000 * min(collating)}

    def score(
        self,
        model: Any,
        rows: Sequence[Row],
        run: Callable[[], Any],
        *,
        computed: Sequence[Row] | None = None,
        warm_up: Callable[[], Any] | None = None,
        seconds: float = 1.5,
    ) -> dict[str, Any]:
        """Figures of `run`, which scores `rows`; `computed` are the rows as it lays them out."""
        device = self.device
        before = allocated_gib(device)
        timing.reset_peak(device)
        timing.synchronise(device)
        started = time.perf_counter()
        (warm_up or run)()
        timing.synchronise(device)
        first = time.perf_counter() - started
        taken: list[float] = []
        started = time.perf_counter()
        while not taken or (not self.setting.tiny and time.perf_counter() - started < seconds):
            taken += timing.seconds(device, run, repeats=1, warm_up=0)
        peak = timing.peak_gib(device)
        busy = timing.busy_seconds(device, run)
        each = mean(taken)
        operations = timing.flop(model, rows if computed is None else computed, 1) / len(rows)
        return self.speed(model, rows, len(rows) / each, 1, operations) | {
            "completions/s": sum(len(row["input_ids"]) for row in rows) / each,
            "GPU idle %": idle_percent(busy, each),
            "peak GiB": peak,
            "GiB before": before,
            "first s": first,
        }


class Laps(TrainerCallback):
    """Times laps of optimiser steps after the warm-up, then watches one more; it ends the training.

    It goes on until `seconds` have passed or there were `most` laps.
    """

    def __init__(self, device: str, lap: int, seconds: float, most: int) -> None:
        self.device, self.lap, self.seconds, self.most = device, lap, seconds, most
        self.first = self.step_seconds = self.busy = self.peak = 0.0
        self._busy: timing.Busy | None = None
        self._ends = 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock of the first step."""
        timing.synchronise(self.device)
        self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at the clock where a lap ends."""
        step = state.global_step
        if step == 1:
            timing.synchronise(self.device)
            self.first = time.perf_counter() - self._started
        if step < WARM_UP or (step - WARM_UP) % self.lap:
            return
        timing.synchronise(self.device)
        now = time.perf_counter()
        if step == WARM_UP:
            self._started = now
        elif self._busy is None:
            done = (step - WARM_UP) // self.lap
            self.step_seconds = (now - self._started) / (step - WARM_UP)
            if now - self._started >= self.seconds or done >= self.most:
                self.peak = timing.peak_gib(self.device)
                self._busy = timing.Busy(self.device)
                self._busy.start()
        else:
            self.busy = self._busy.stop()
            control.should_training_stop = True

    def figures(self, before: float) -> dict[str, Any]:
        """What was measured; `before` is the memory that was taken before the trainer was made."""
        return {
            "GPU idle %": idle_percent(self.busy, self.step_seconds * self.lap),
            "peak GiB": self.peak,
            "GiB before": before,
            "first step s": self.first,
            "step ms": 1000 * self.step_seconds,
        }


# ---- rows in other layouts ----


def apart(rows: Sequence[Row]) -> list[Row]:
    """The rows with nothing shared, as padded ones are computed."""
    return [row | {"shared": 0} for row in rows]


def pair_batches(
    rows: Sequence[Row], size: int, lap: int, in_order: bool
) -> tuple[list[Row], list[Row]]:
    """Pairs of tokens of the rankings: the batch to warm up with, and those of a lap.

    In the order of their length, the batches are spread evenly over all lengths and the warm-up is
    the largest; else they are drawn at random.
    """
    pairs = [
        {"chosen_ids": row["input_ids"][better], "rejected_ids": row["input_ids"][worse]}
        for row in rows
        for better, worse in itertools.permutations(range(len(row["ranks"])), 2)
        if row["ranks"][better] < row["ranks"][worse]
    ]
    if in_order:
        pairs.sort(key=lambda pair: -max(map(len, pair.values())))
    else:
        random.Random(0).shuffle(pairs)
    batches = [pairs[i : i + size] for i in range(0, len(pairs) - size + 1, size)]
    chosen = [batches[int((i + 0.5) * len(batches) / lap)] for i in range(lap)]
    return batches[0], [pair for batch in chosen for pair in batch]


class PlainLoop:
    """What one writes in ten lines: rows sorted by length, in padded batches, in bfloat16."""

    def __init__(self, model: Any, rows: Sequence[Row], device: str) -> None:
        self.model, self.device = model.eval(), device
        self.rows = sorted((ids for row in rows for ids in row["input_ids"]), key=len, reverse=True)

    @torch.inference_mode()
    def score(self, batches: int | None = None) -> list[float]:
        """Rewards, longest row first; of the first `batches` alone where a number is given."""
        rewards: list[float] = []
        end = len(self.rows) if batches is None else batches * LOOP_ROWS
        for start in range(0, end, LOOP_ROWS):
            part = [torch.tensor(ids) for ids in self.rows[start : start + LOOP_ROWS]]
            ids = torch.nn.utils.rnn.pad_sequence(part, batch_first=True, padding_value=0)
            lengths = torch.tensor([len(row) for row in part])
            mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
            inputs = {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}
            rewards += self.model(**inputs).logits[:, 0].float().tolist()
        return rewards


# ---- PyTorch ----


def allow_many_graphs() -> None:
    """Several shapes in one process are more graphs of one function than Dynamo compiles before it
    gives up and runs what is left uncompiled."""
    torch._dynamo.config.recompile_limit = 64


# ---- memory ----


def allocated_gib(device: str) -> float:
    """What is allocated now; 0 on a CPU."""
    return torch.cuda.memory_allocated() / 2**30 if device == "cuda" else 0.0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it was for want of memory, in PyTorch's words or in plaudit's."""
    if isinstance(error, PlauditError):
        return "memory" in str(error)
    return isinstance(error, torch.OutOfMemoryError) or "ALLOC_FAILED" in str(error)  # cuBLAS


def release(trainer: Any) -> None:
    """Part the model from a trainer, and free what the trainer held: the model is used again."""
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    model.zero_grad(set_to_none=True)
    if any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        model.gradient_checkpointing_disable()
    if trainer.optimizer is not None:
        trainer.optimizer.state.clear()  # twice the weights, whoever still knows the optimizer
    trainer.optimizer = trainer.lr_scheduler = None
    trainer.callback_handler.optimizer = trainer.callback_handler.lr_scheduler = None
    trainer.callback_handler.train_dataloader = None
    trainer.accelerator.free_memory()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def idle_percent(busy: float, wall: float) -> Any:
    """Share of the time in which the device did nothing; a word where the profiler saw nothing."""
    return 100 * max(1 - busy / wall, 0.0) if busy else "not seen"
