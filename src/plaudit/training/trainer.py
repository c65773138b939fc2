"""TRL's `RewardTrainer`, taking rankings: each completion is encoded once, the loss sees them all.

Optimisers, schedules, resuming, logging, accelerate and peft are theirs. What is ours: a step is a
number of rankings, cut into forward passes of a bounded number of tokens whose gradients add up to
the same; the loss is an objective's; validation gives the metrics of `evaluate`; and a checkpoint
appears whole or not at all. Assumes a dataset of rows as `Encoding.encode` makes them.
"""

import contextlib
import functools
import json
import math
import os
import pickle  # nosec B403 # only for its error
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from transformers.trainer_callback import ProgressCallback
from transformers.trainer_utils import (
    PREFIX_CHECKPOINT_DIR,
    EvalLoopOutput,
    PredictionOutput,
    sort_checkpoints,
)
from trl import RewardConfig, RewardTrainer

from plaudit.console import (
    duration,
    hold_interruptions,
    interactive,
    is_interrupted,
    raise_interruption,
    rate,
    release_interruptions,
    say,
    show,
)
from plaudit.data.rankings import PADDING
from plaudit.errors import PlauditError
from plaudit.evaluation.layout import Floats
from plaudit.evaluation.metrics import (
    length_controlled_accuracy,
    log_loss,
    pairwise_accuracy,
    temperature,
)
from plaudit.files import read_json, write_jsonl
from plaudit.model.batches import (
    Batch,
    Layout,
    by_completions,
    completions,
    halves,
    model_inputs,
    per_ranking,
)
from plaudit.model.classifier import head_of
from plaudit.model.devices import free_memory
from plaudit.training.checksums import damaged, seal
from plaudit.training.control import Control
from plaudit.training.pairs import ordered_pairs, reward_centring
from plaudit.training.processes import no_answer
from plaudit.training.split import losses_by_parts
from plaudit.training.suites import Watched
from plaudit.training.text_loss import TextLoss

SECONDS_BETWEEN_LINES = 2.0
SECONDS_IN_SILENCE = 15.0  # while steps are taken
LEARNT = "objective.safetensors"  # of a checkpoint: what was learnt beside the model
# The learning rate of that. Its values are logarithms and the like, a few for all the data: with
# the model's rate, which suits weights, they would stay where they begin.
LOSS_RATE = 0.03
# What torch and safetensors raise for a file that is not as they write it, besides RuntimeError.
NOT_AS_WRITTEN = (
    *(AttributeError, EOFError, LookupError, OSError, TypeError, ValueError),
    *(pickle.UnpicklingError, SafetensorError),
)


class RankingTrainer(RewardTrainer):
    """Trains on rankings. See `plaudit.training.run.train` for how it is put together.

    Args:
        loss: an `Objective`'s, its fixed options already bound; takes rewards `[R, K]`, ranks
            `[R, K]`, what `data` names of a batch and what is `learnt`; returns `[R]`.
        data: which of `objectives.DATA` the loss takes.
        learnt: options of the loss that are learnt with the model, by where they begin. They are
            no part of the model.
        mix: makes of them the weights of the head's rows in the reward; by default there is one.
        layout: what divides a step's rankings into the batches of its forward passes.
        max_tokens_per_batch: of one forward pass.
        text_loss: a further term of the loss, `[R]` of a batch that has gone through the model.
        expert: takes nuisances out of what the loss sees.
        lengths: of the completions of each validation ranking, in characters; without them nothing
            that depends on lengths is measured in validation.
        sets: the name of the set that each validation ranking is of, where there are several.
        chosen_set: whose metrics stand for all of them: the name of a set, or mean.
        suites: benchmarks to score at every validation.
        **options: `RewardTrainer`'s own.
    """

    args: RewardConfig

    def __init__(
        self,
        *,
        loss: Callable[..., Tensor],
        data: Sequence[str] = (),
        learnt: Mapping[str, Tensor] | None = None,
        mix: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
        layout: Layout,
        max_tokens_per_batch: int,
        text_loss: TextLoss | None = None,
        expert: Control | None = None,
        lengths: Sequence[ArrayLike] | None = None,
        sets: Sequence[str] = (),
        chosen_set: str = "mean",
        suites: Sequence[Watched] = (),
        **options: Any,
    ) -> None:
        self.ranking_loss = loss
        self.data = data
        self.mix = mix
        self.text_loss = text_loss
        self.layout = layout
        self.expert = expert
        self.lengths = lengths
        self.sets = np.array(sets)
        self.chosen_set = chosen_set
        self.suites = suites
        self._sums: Tensor | None = None  # of `_observe`, since the last log
        self._losses = FiniteLosses()
        self._fits = max_tokens_per_batch  # halved where a pass of so many did not
        # What a step that is repeated begins with: its batches so far, and the sums before them.
        self._step_begun = -1
        self._since_update: list[list[Batch]] = []
        self._sums_before: Tensor | None = None
        collator = functools.partial(layout.divide, max_tokens=max_tokens_per_batch)
        # A batch is a list of forward passes, not the dict that transformers' types expect.
        super().__init__(
            data_collator=cast(Any, collator), compute_metrics=self._validation_metrics, **options
        )
        self.learnt = {
            name: torch.nn.Parameter(value.to(self.args.device, torch.float32, copy=True))
            for name, value in (learnt or {}).items()
        }
        self._beside = dict(self.learnt)  # all that is learnt and is no part of the model
        if expert is not None:
            expert.to(self.args.device)
            self._beside |= expert.learnt()

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # already encoded, with nothing dropped

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """A checkpoint has no card: the run writes one for the model, with its results."""

    # ---- a step ----

    # `compute_loss` divides by the weight of all that a step sees, accumulated batches included.
    loss_is_scaled_for_ga = True

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """The weight of a step's rankings, as `_weight` says; called once for each step."""
        if batch_samples and self.accelerator.gradient_state.end_of_dataloader:
            self._count_once(batch_samples[-1])
        return self._weight(batch_samples, device)

    def _count_once(self, batch: list[Batch]) -> None:
        """Take the weight from rankings that accelerate repeats to fill an epoch's last batches.

        Batches are dealt to processes in turn, and those of the last round are filled from its end
        on. How many rankings a stream has is not known: there they count twice.
        """
        if self.accelerator.num_processes == 1 or not isinstance(self.train_dataset, Sized):
            return
        here = sum(len(part["ranks"]) for part in batch)
        number = self.accelerator.process_index
        left = len(self.train_dataset) % (here * self.accelerator.num_processes)
        for part in batch if left else ():
            repeated = number * here + part["position"] >= left
            part["weight"] = part["weight"].masked_fill(repeated, 0.0)

    def _weight(self, batch_samples: list[Any], device: torch.device) -> Tensor:
        """The weight of these rankings, the mean over processes, as gradients are averaged."""
        parts = [part["weight"].sum() for batch in batch_samples for part in batch]
        weight = sum(parts, torch.zeros((), device=device))
        total = self.accelerator.reduce(weight, "mean")
        return torch.where(total > 0, total, torch.ones_like(total))

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of one batch of rankings, one forward pass after another.

        `inputs` is the list of batches that `Layout.divide` makes. Each pass's loss is its share of
        the weighted mean over the rankings of the step, so that how a step is divided does not
        change its gradient. Processes exchange gradients once, on the last pass.

        Where a pass does not fit into the device's memory, the step is done anew with passes of
        half as many tokens, and so are all that follow. A ranking that is larger than a pass takes
        several, some of its completions in each.
        """
        if self._step_begun != self.state.global_step:
            self._step_begun, self._since_update = self.state.global_step, []
            self._sums_before = self._sums
        self._since_update.append(inputs)
        todo = [inputs]
        while True:
            divided = [[p for batch in batches for p in self._that_fit(batch)] for batches in todo]
            divided = [self._as_many(passes) for passes in divided]
            problem = ""
            try:
                for passes in divided:  # the last are this call's, whose loss is to be returned
                    loss = self._passes(model, passes, num_items_in_batch)
                break
            except torch.OutOfMemoryError as error:
                # The error itself would keep alive what took the memory.
                problem = str(error) or "out of memory"
            self._halve(problem, [p for passes in divided for p in passes])
            # What the failed pass left in the gradients cannot be told from the rest.
            model.zero_grad()
            self._clear_gradients()
            todo, self._sums = self._since_update, self._sums_before
        self._losses.add(self.state.global_step + 1, loss)
        return loss

    def _passes(self, model: Any, batches: list[Batch], weight: Any) -> Tensor:
        """Forward and backward of each; the sum of their losses."""
        loss = torch.zeros((), device=self.args.device)
        for number, batch in enumerate(batches, start=1):
            last = number == len(batches)
            parts = self._parts(batch)
            if len(parts) > 1:
                loss += self._by_parts(model, batch, parts, weight, last)
                continue
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                loss += super().training_step(model, batch, weight)  # type: ignore[no-untyped-call]
        return loss

    def _by_parts(
        self, model: Any, whole: Batch, parts: list[Batch], weight: Any, last: bool
    ) -> Tensor:
        """Forward and backward of one ranking, a part after another: see `split`."""
        model.train()
        if callable(prepare := getattr(self.optimizer, "train", None)):  # as of every other pass
            prepare()
        whole, parts = cast(Any, self._prepare_inputs(cast(Any, [whole, parts])))
        losses = losses_by_parts(
            parts,
            forward=lambda part: self._logits(model, part),
            loss=lambda logits: self._of_logits(model, logits, whole)[0].sum() / weight,
            further=lambda part: self._of_text(part, whole).sum() / weight,
            device=self.args.device,
        )
        total = torch.zeros((), device=self.args.device)
        for number in range(1, len(parts) + 1):
            exchange = last and number == len(parts)
            with contextlib.nullcontext() if exchange else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss = next(losses)
                self.accelerator.backward(loss)
            total += loss.detach()
        self._losses.note(total.unsqueeze(0), whole["origin"])
        return total

    def _that_fit(self, batch: Batch) -> list[Batch]:
        """The batch, divided until each part is known to fit into memory or is one ranking."""
        if batch["input_ids"].numel() <= self._fits or len(batch["ranks"]) == 1:
            return [batch]
        return [part for half in halves(batch) for part in self._that_fit(half)]

    def _parts(self, batch: Batch) -> list[Batch]:
        """A ranking that is larger than a pass by some of its completions at a time; anything else
        as it is, and with FSDP all, whose processes must take passes of the same kinds."""
        return [batch] if self.is_fsdp_enabled else by_completions(batch, self._fits)

    def _as_many(self, passes: list[Batch]) -> list[Batch]:
        """With FSDP, as many passes in each process as where there are most of them.

        In a pass all processes gather the weights of each layer, so that one with fewer passes
        would leave the others waiting. Those that are added have no weight in the loss.
        """
        if not self.is_fsdp_enabled:
            return passes
        here = torch.tensor([len(passes)], device=self.args.device)
        missing = int(self.accelerator.gather(here).max()) - len(passes)
        least = min(passes, key=lambda batch: batch["input_ids"].numel())
        return [*passes, *[{**least, "weight": torch.zeros_like(least["weight"])}] * missing]

    def _halve(self, problem: str, passes: list[Batch]) -> None:
        """Halve the tokens of a pass from now on.

        Raises `PlauditError` where no pass can be divided, or there are several processes.
        """
        parts = [part for batch in passes for part in self._parts(batch)]
        largest = max(part["input_ids"].numel() for part in parts)
        # A pass of one completion stays as it is: only the others can still get smaller.
        divisible = [part["input_ids"].numel() for part in parts if completions(part) > 1]
        if self.accelerator.num_processes > 1:
            advice = f"set max_tokens_per_batch below {largest:,}"
        elif not divisible:
            advice = (
                f"one completion of {largest:,} tokens is too large for it; set "
                "gradient_checkpointing, lora_r or a smaller max_length"
            )
        else:
            self._fits = max(divisible) // 2
            free_memory(self.args.device)
            say(
                f"out of memory on the {self.args.device.type} device: a pass takes at most "
                f"{self._fits:,} tokens from now on"
            )
            return
        raise PlauditError(
            f"out of memory on the {self.args.device.type} device at step "
            f"{self.state.global_step + 1}: {advice} ({problem.splitlines()[0]})"
        )

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The share of one forward pass in the step's loss; as outputs the rewards `[R, K]`, and
        what the objective saw in their place.

        Where no gradients are wanted, a ranking that is larger than a pass takes several.
        """
        parts = [inputs] if torch.is_grad_enabled() else self._parts(inputs)
        logits = torch.cat([self._logits(model, part) for part in parts])
        losses, rewards, seen = self._of_logits(model, logits, inputs)
        if model.training:
            losses = losses + self._of_text(inputs)
            self._losses.note(losses.detach(), inputs["origin"])
        loss = losses.sum() / num_items_in_batch
        return (loss, {"rewards": rewards, "seen": seen}) if return_outputs else loss

    def _logits(self, model: Any, batch: Batch) -> Tensor:
        """What the head makes of N completions, `[N, rows]`."""
        logits: Tensor = model(**model_inputs(batch)).logits
        return logits.float()

    def _of_logits(self, model: Any, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """What rankings cost `[R]`, their rewards `[R, K]` and what the objective saw in their
        place, of what the head makes of all their completions."""
        ranks = batch["ranks"]
        table = torch.stack([per_ranking(column, ranks) for column in logits.unbind(1)], -1)
        predictions = None
        if self.mix is None:
            rewards, others = table[..., 0], table[..., 1:]
        else:
            weights = self.mix(self.learnt)
            predictions, others = table[..., : len(weights)], table[..., len(weights) :]
            rewards = predictions.detach() @ weights
        done = self.state.global_step / self.state.max_steps if model.training else 0.0
        seen = self.seen(rewards, batch, done, others)
        losses = self.losses(rewards, seen, batch, predictions)
        if self.expert is not None and model.training and self.expert.rows:
            rows = head_of(model).weight.float()
            mixed = self.row_weights(len(rows)) @ rows
            head = torch.cat([mixed.unsqueeze(0), rows[-self.expert.rows :]])
            penalty = self.expert.penalty(rewards, others, batch["nuisances"], ranks, head, done)
            losses = losses + penalty * batch["weight"]
        if model.training:
            counted = batch["weight"].unsqueeze(1) > 0
            self._observe(rewards.detach(), ranks.masked_fill(~counted, PADDING))
        return losses, rewards, seen

    def _of_text(self, batch: Batch, whole: Batch | None = None) -> Tensor:
        """What the text of rankings costs, `[R]`; of a part of one, as `TextLoss` says."""
        if self.text_loss is None:
            return torch.zeros_like(batch["weight"])
        return self.text_loss(batch, whole) * batch["weight"]

    def row_weights(self, rows: int) -> Tensor:
        """What each of the head's rows counts for in the reward."""
        own = torch.ones(1, device=self.args.device)
        if self.mix is not None:
            own = self.mix(self.learnt)
        return torch.nn.functional.pad(own, (0, rows - len(own)))

    def seen(
        self, rewards: Tensor, batch: Batch, done: float, others: Tensor | None = None
    ) -> Tensor:
        """What the objective sees in place of rewards `[R, K]`: with a control, its offset added.

        Args:
            rewards: what the model gives.
            batch: whose rankings they are.
            done: the share of the training that is over.
            others: what a control's rows of the head give, `[R, K, rows]`.
        """
        if self.expert is None:
            return rewards
        return rewards + self.expert.offset(batch["nuisances"], batch["ranks"], done, others)

    def losses(
        self, rewards: Tensor, seen: Tensor, batch: Batch, predictions: Tensor | None = None
    ) -> Tensor:
        """`[R]`: what rewards cost, `seen` in their place, times the weight of each ranking.

        Where rewards are a mix, `predictions[R, K, A]` are what of.
        """
        ranks = batch["ranks"]
        given = {name: batch[name] for name in self.data}
        if predictions is not None:
            given["predictions"] = predictions
        losses = self.ranking_loss(seen, ranks, **given, **self.learnt)
        if self.args.center_rewards_coefficient:
            losses = losses + self.args.center_rewards_coefficient * reward_centring(rewards, ranks)
        return losses * batch["weight"]

    def _observe(self, rewards: Tensor, ranks: Tensor) -> None:
        """Add what `log` reports of a pass to the sums since the last log."""
        difference, better = ordered_pairs(rewards, ranks)
        present = ranks != PADDING
        correct = (difference > 0) + 0.5 * (difference == 0)
        terms = [correct * better, difference * better, better]
        terms += [rewards * present, rewards**2 * present, present]
        sums = torch.stack([x.sum(dtype=torch.float32) for x in terms])
        self._sums = sums if self._sums is None else self._sums + sums

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add accuracy, margin and the rewards' mean and spread since the last log, over all
        processes."""
        if "loss" in logs:
            here = torch.zeros(6, device=self.args.device) if self._sums is None else self._sums
            correct, margin, pairs, total, squares, count = self.accelerator.reduce(here).tolist()
            self._sums = None
            if pairs and count:
                mean = total / count
                spread = max(squares / count - mean * mean, 0.0) ** 0.5
                logs |= {"pairs": int(pairs), "accuracy": correct / pairs, "margin": margin / pairs}
                logs |= {"reward_mean": mean, "reward_std": spread}
        Trainer.log(self, logs, start_time)  # RewardTrainer's would add its own of the same

    # ---- what is learnt beside the model ----

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The model's optimiser, which also moves what is learnt beside it."""
        new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if new and self._beside:
            group = {"params": [*self._beside.values()], "lr": LOSS_RATE, "weight_decay": 0.0}
            optimizer.add_param_group(group)
            optimizer.register_step_pre_hook(self._average_gradients)
            optimizer.register_step_post_hook(self._clear_gradients)
        return optimizer

    def _average_gradients(self, *_: Any) -> None:
        """Over processes: the model's own are averaged by what wraps it."""
        for value in self._beside.values():
            if value.grad is not None:
                value.grad = cast(Tensor, self.accelerator.reduce(value.grad, "mean"))

    def _clear_gradients(self, *_: Any) -> None:
        for value in self._beside.values():
            value.grad = None

    def _load_learnt(self, checkpoint: str) -> None:
        for name, value in load_file(Path(checkpoint) / LEARNT).items() if self._beside else ():
            self._beside[name].data.copy_(value)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with _going_on_from(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            self._load_learnt(resume_from_checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with _going_on_from(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with _going_on_from(checkpoint):
            super()._load_rng_state(checkpoint)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self._load_learnt(str(self.state.best_model_checkpoint))

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing when the checkpoint that is resumed from was the last one."""
        stopped = any(
            isinstance(callback, EarlyStoppingCallback)
            and callback.early_stopping_patience_counter >= callback.early_stopping_patience
            for callback in self.callback_handler.callbacks
        )
        if self.state.global_step >= self.state.max_steps or stopped:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)  # type: ignore[no-untyped-call]

    # ---- validation ----

    def prediction_step(
        self,
        model: Any,
        inputs: Any,
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor, Any, Tensor]:
        """Loss, rewards `[R, K]` and ranks `[R, K]` of a batch, `PADDING` beyond a ranking's K.

        With a control it is rewards and what the objective saw in their place.
        """
        inputs = self._prepare_inputs(inputs)
        total = self._weight([inputs], self.args.device)
        width = max(batch["ranks"].shape[1] for batch in inputs)
        # Processes drop the examples that fill up their last batch by where they stand in it.
        order = torch.cat([batch["position"] for batch in inputs]).argsort()
        while True:
            passes = [part for batch in inputs for part in self._that_fit(batch)]
            own, passes = len(passes), self._as_many(passes)
            loss = torch.zeros((), device=self.args.device)
            rewards, seen, ranks, problem = [], [], [], ""
            try:
                with torch.no_grad(), self.compute_loss_context_manager():
                    for batch in passes:
                        part, outputs = self.compute_loss(model, batch, True, total)
                        loss += part
                        rewards.append(_widen(outputs["rewards"], width))
                        seen.append(_widen(outputs["seen"], width))
                        ranks.append(_widen(batch["ranks"], width))
                given = tuple(torch.cat(values[:own])[order] for values in (rewards, seen, ranks))
                return loss, given[0] if self.expert is None else given[:2], given[2]
            except torch.OutOfMemoryError as error:
                problem = str(error) or "out of memory"
            self._halve(problem, passes)

    def evaluation_loop(self, *args: Any, **options: Any) -> Any:
        """Validation, and after it the score of each suite, as `eval_NAME`."""
        output: Any = super().evaluation_loop(*args, **options)
        for suite in self.suites:
            name = f"{options.get('metric_key_prefix', 'eval')}_{suite.name}"
            output.metrics[name] = suite.score(self._rewards_of(suite.rows))
        return output

    def _rewards_of(self, rows: Any) -> list[list[float]]:
        """The rewards of encoded rankings, as validation computes them."""
        measure, self.compute_metrics = self.compute_metrics, None
        try:
            loader = self.get_eval_dataloader(rows)
            output: Any = super().evaluation_loop(loader, "suite", prediction_loss_only=False)
        finally:
            self.compute_metrics = measure
        return [row.tolist() for row in rewards_in(output)]

    def _validation_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """`validation_metrics`, with what the control adds to the rewards of the rankings."""
        offsets = None
        if self.expert is not None:
            given: Any = prediction.predictions
            (rewards, seen), ranks = given, prediction.label_ids
            offsets = [
                (with_control - reward)[order != PADDING].astype(np.float64)
                for reward, with_control, order in zip(rewards, seen, ranks, strict=True)
            ]
            prediction = EvalPrediction(rewards, ranks)
        if not len(self.sets):
            return validation_metrics(prediction, self.lengths, offsets)
        return metrics_of_sets(prediction, self.sets, self.chosen_set, self.lengths, offsets)

    # ---- checkpoints ----

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write the checkpoint under a hidden name and rename it when it is whole."""
        self._losses.check()
        run = Path(str(self.args.output_dir))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        staging = run / ".saving"
        try:
            if self.accelerator.is_main_process:
                _remove(staging)
            self.accelerator.wait_for_everyone()
            self.args.output_dir = str(staging)
            limit, self.args.save_total_limit = self.args.save_total_limit, None
            try:
                Trainer._save_checkpoint(self, model, trial)
            finally:
                self.args.output_dir, self.args.save_total_limit = str(run), limit
            self.accelerator.wait_for_everyone()
            self.state.best_model_checkpoint = self._best_checkpoint()
            if self.accelerator.is_main_process:
                if self._beside:
                    values = {name: value.detach() for name, value in self._beside.items()}
                    save_file(values, staging / name / LEARNT)
                self.state.save_to_json(str(staging / name / "trainer_state.json"))
                seal(staging / name)
                _remove(run / name)
                os.replace(staging / name, run / name)
                staging.rmdir()
                self._remove_old_checkpoints(run, run / name)
            self.accelerator.wait_for_everyone()
        except (OSError, RuntimeError, SafetensorError) as error:
            if no_answer(error):
                raise
            shutil.rmtree(staging, ignore_errors=True)
            raise PlauditError(
                f"{run / name}: the checkpoint cannot be written: {error}; the last whole "
                "checkpoint is kept, `--resume` continues from it"
            ) from error

    def _best_checkpoint(self) -> str | None:
        # Found anew every time: the run may have been moved since the path was stored.
        if not self.state.best_global_step:
            return None
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
        return os.path.join(str(self.args.output_dir), name)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        """Load the best checkpoint; without it the run must not end as if it had been."""
        self._losses.check()
        self.state.best_model_checkpoint = best = self._best_checkpoint()
        if best is not None and (why := _not_whole(Path(best))):
            raise PlauditError(
                f"{best}: is the best checkpoint, and {why}; --resume goes on from one before it, "
                "or from the start"
            )
        newest = (
            Path(str(self.args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        )
        if self.accelerator.is_main_process and newest.is_dir():
            # A kill right after it was written left those whose place it takes.
            self._remove_old_checkpoints(newest.parent, newest)
        return super()._finalize_training(*args, **kwargs)  # type: ignore[no-untyped-call]

    def _remove_old_checkpoints(self, run: Path, newest: Path) -> None:
        checkpoints = sort_checkpoints(str(run))
        # What has a later step is of before a resume that did not go on from it, and goes first.
        there = checkpoints.index(str(newest)) + 1
        keep = {str(newest), self.state.best_model_checkpoint}
        excess = len(checkpoints) - (self.args.save_total_limit or len(checkpoints))
        for checkpoint in checkpoints[there:] + checkpoints[:there]:
            if excess > 0 and checkpoint not in keep:
                _remove(Path(checkpoint))
                excess -= 1


@contextlib.contextmanager
def _going_on_from(checkpoint: str | None) -> Iterator[None]:
    """Say what to do where a checkpoint, whole as it is, does not suit what it is to be read by."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (*NOT_AS_WRITTEN, RuntimeError) as error:
        if no_answer(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PlauditError(
            f"{checkpoint}: cannot be resumed from ({reason}): it is damaged, or other versions of "
            "plaudit, transformers or torch wrote it, or the base model is another one. Resume "
            "with what the run was begun with; or remove this folder, and --resume goes on from "
            "the checkpoint before it; or --overwrite starts the run anew"
        ) from error


class DivergedError(PlauditError):
    """A loss of training is not finite."""


class FiniteLosses:
    """Watches that the losses of steps are finite, each looked at once it is there.

    A GPU is then never waited for: its losses are looked at some steps later.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Tensor, Any, list[tuple[Tensor, list[str]]]]] = []
        self._rankings: list[tuple[Tensor, list[str]]] = []  # of the passes since the last `add`

    def note(self, losses: Tensor, origins: list[str]) -> None:
        """Keep the losses `[R]` of a pass's rankings, and where each ranking came from."""
        self._rankings.append((losses, origins))

    def add(self, step: int, loss: Tensor) -> None:
        """Note the loss of a step; raise `PlauditError` if one that is known is not finite."""
        event = None
        if loss.device.type == "cuda":
            there, event = loss, torch.cuda.Event()
            loss = torch.empty((), dtype=there.dtype, pin_memory=True)
            loss.copy_(there.detach(), non_blocking=True)
            event.record()
        self._waiting.append((step, loss, event, self._rankings))
        self._rankings = []
        self.check(wait=False)

    def check(self, wait: bool = True) -> None:
        """Raise `PlauditError` if a loss is not finite; those not there yet are waited for, or
        left for the next time."""
        while self._waiting:
            step, loss, event, rankings = self._waiting[0]
            if event is not None and not wait and not event.query():
                return
            if event is not None:
                event.synchronize()
            self._waiting.pop(0)
            if not torch.isfinite(loss):
                raise DivergedError(_not_finite(step, loss.item(), rankings))


def _not_finite(step: int, loss: float, rankings: list[tuple[Tensor, list[str]]]) -> str:
    """What made a loss that is not finite: some rankings, which it names, or the weights."""
    origins = [origin for _, of_pass in rankings for origin in of_pass]
    finite = [bool(x) for losses, _ in rankings for x in torch.isfinite(losses)]
    faulty = [origin for origin, is_so in zip(origins, finite, strict=True) if not is_so]
    if not any(finite) or not faulty:
        return (
            f"the loss is {loss} at step {step}: training has diverged; lower "
            "learning_rate, or look for extreme margins or weights in the data"
        )
    more = f" and {len(faulty) - 3:,} more" if len(faulty) > 3 else ""
    return (
        f"the loss is {loss} at step {step}: {', '.join(faulty[:3])}{more} made it, the other "
        "rankings of the step have finite losses; look there for an extreme margin or weight, "
        "or leave the row out"
    )


def rewards_in(prediction: EvalPrediction | EvalLoopOutput | PredictionOutput) -> list[Floats]:
    """The rewards of each ranking, `[K_i]`; with a control these, and not what the loss saw."""
    given: Any = prediction.predictions
    rewards = given[0] if isinstance(given, tuple) else given
    return [
        np.asarray(row[order != PADDING], dtype=np.float64)
        for row, order in zip(rewards, np.asarray(prediction.label_ids), strict=True)
    ]


def validation_metrics(
    prediction: EvalPrediction,
    lengths: Sequence[ArrayLike] | None = None,
    offsets: Sequence[Floats] | None = None,
) -> dict[str, float]:
    """What validation rankings are measured by, length-controlled accuracy where it can be.

    `calibrated_log_loss` is that after division by the temperature that suits these rankings best,
    and `controlled_log_loss` that with `offsets`, one array [K_i] per ranking, added to the
    rewards.
    """
    rewards = rewards_in(prediction)
    ranks = [np.asarray(order[order != PADDING]) for order in prediction.label_ids]
    metrics = {
        "pairwise_accuracy": pairwise_accuracy(rewards, ranks, resamples=0).value,
        "log_loss": log_loss(rewards, ranks, resamples=0).value,
    }
    best = temperature(rewards, ranks, resamples=0).value
    calibrated = [reward / best for reward in rewards]
    metrics["calibrated_log_loss"] = log_loss(calibrated, ranks, resamples=0).value
    if offsets is not None:
        seen = [reward + offset for reward, offset in zip(rewards, offsets, strict=True)]
        metrics["controlled_log_loss"] = log_loss(seen, ranks, resamples=0).value
    if lengths is not None:
        with contextlib.suppress(PlauditError):  # where no better completion is the shorter one
            controlled = length_controlled_accuracy(rewards, ranks, lengths=lengths, resamples=0)
            metrics["length_controlled_accuracy"] = controlled.value
    return metrics


def metrics_of_sets(
    prediction: EvalPrediction,
    sets: NDArray[np.str_],
    chosen: str,
    lengths: Sequence[ArrayLike] | None = None,
    offsets: Sequence[Floats] | None = None,
) -> dict[str, float]:
    """`validation_metrics` of each set, its name before theirs, and those that stand for all.

    These, which have no name before them, are those of the `chosen` set or, for "mean", the means
    over the sets that have them, each set counting alike.
    """
    of_sets = {}
    rewards, ranks = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    for name in dict.fromkeys(sets.tolist()):
        where = np.flatnonzero(sets == name).tolist()
        of_sets[name] = validation_metrics(
            EvalPrediction(rewards[where], ranks[where]),
            None if lengths is None else [lengths[i] for i in where],
            None if offsets is None else [offsets[i] for i in where],
        )
    metrics = {f"{name}_{m}": value for name, of in of_sets.items() for m, value in of.items()}
    if chosen != "mean":
        return metrics | of_sets[chosen]
    for measured in dict.fromkeys(m for of in of_sets.values() for m in of):
        values = [of[measured] for of in of_sets.values() if measured in of]
        metrics[measured] = sum(values) / len(values)
    return metrics


def _widen(rows: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(rows, (0, width - rows.shape[1]), value=PADDING)


def _remove(folder: Path) -> None:
    """Delete a folder such that a kill midway leaves no partial one under its name."""
    if folder.exists():
        hidden = folder.with_name(f".removing-{folder.name}")
        shutil.rmtree(hidden, ignore_errors=True)
        os.replace(folder, hidden)
        shutil.rmtree(hidden)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run whose best one is whole, too; leftovers of a kill are
    cleared away, and what is left out is said."""
    for leftover in [*folder.glob(".saving"), *folder.glob(".removing-*")]:
        shutil.rmtree(leftover, ignore_errors=True)
    checkpoints = sort_checkpoints(str(folder)) if folder.is_dir() else []
    for checkpoint in map(Path, reversed(checkpoints)):
        why = _not_whole(checkpoint)
        if not why and (best := _best_of(checkpoint)) != checkpoint and (why := _not_whole(best)):
            why = f"was made when {best.name} was the best one, which {why}"
        if not why:
            return checkpoint
        say(f"{checkpoint}: {why}; the run goes on from before it")
    return None


def _not_whole(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, as the rest of a sentence."""
    if not checkpoint.is_dir():
        return "is gone"
    if name := damaged(checkpoint):
        return f"is damaged: {name} is not as it was written"
    try:
        _best_of(checkpoint)
    except (PlauditError, AttributeError):
        return "is damaged: trainer_state.json is not as it was written"
    names = {path.name for path in checkpoint.iterdir()}
    whole = "trainer_state.json" in names and any(n.startswith("rng_state") for n in names)
    if whole and any(name.startswith(("optimizer", "pytorch_model_fsdp")) for name in names):
        return None
    return "is not whole"


def _best_of(checkpoint: Path) -> Path:
    """The best checkpoint of the run when this one was made: itself, or one before it."""
    file = checkpoint / "trainer_state.json"
    step = read_json(file).get("best_global_step") if file.is_file() else None
    return checkpoint.with_name(f"{PREFIX_CHECKPOINT_DIR}-{step}") if step else checkpoint


class LogEnds(TrainerCallback):
    """Has the last step logged, wherever `logging_steps` ends."""

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for it."""
        control.should_log |= state.global_step >= state.max_steps


class CheckpointWhenInterrupted(TrainerCallback):
    """Has a training that is interrupted finish its step and write a checkpoint, and end then."""

    def on_step_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Hold interruptions from now on, in validations and between steps too."""
        hold_interruptions()

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for the checkpoint; a validation that is due comes first, as it always does."""
        control.should_save |= is_interrupted()

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """End an interrupted training."""
        if is_interrupted():
            self._end()

    def on_train_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Hold no more; what was held since the last step ends the command."""
        self._end()

    def _end(self) -> None:
        release_interruptions()
        raise_interruption()


class RunLog(TrainerCallback):
    """Writes `log.jsonl`, one object a line, and shows the loss, the accuracy and the time left.

    On a terminal it moves a bar; elsewhere it prints a line, unless the last one is a moment old.
    Without a path it only shows.
    """

    def __init__(self, path: Path | None, suites: Sequence[str] = ()) -> None:
        self.path = path
        self.suites = suites
        self.bar: Any = None
        self.started = self.shown = 0.0
        self.first_step: int | None = None  # None until it begins

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """A resumed run writes again what came after its checkpoint, so that is cut off the log."""
        self.first_step = None
        self.shown = time.monotonic() - SECONDS_BETWEEN_LINES
        if self.path is not None:
            kept = [row for row in read_log(self.path) if row.get("step", 0) <= state.global_step]
            write_jsonl(self.path, kept)

    def on_step_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock and, on a terminal, the bar: what comes before the first step, as finding
        the place where a resumed run goes on, takes its time once."""
        if self.first_step is not None:
            return
        self.started, self.first_step = time.monotonic(), state.global_step
        if state.is_world_process_zero and interactive():
            from tqdm import tqdm

            self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step")

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Move the bar."""
        raise_interruption()
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)
        elif time.monotonic() - self.shown > SECONDS_IN_SILENCE:  # until the loss is logged
            show(f"step {state.global_step:,} of {state.max_steps:,}: {self._pace(state)}")
            self.shown = time.monotonic()

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Append the line; show it."""
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        # A gradient norm may overflow without harm, but JSON has no word for that.
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v
                  for k, v in logs.items()}  # fmt: skip
        row = {"step": state.global_step, **finite}
        if not state.global_step and self.path and read_log(self.path):
            return  # what is measured before the first step, measured again by a resumed run
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        line = self._line(state, logs)
        if self.bar is not None:
            self.bar.write(line) if "eval_log_loss" in logs else self.bar.set_postfix_str(line)
        elif line and (
            time.monotonic() - self.shown > SECONDS_BETWEEN_LINES
            or state.global_step >= state.max_steps
        ):
            show(line)
            self.shown = time.monotonic()

    def on_train_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()

    def _line(self, state: TrainerState, logs: dict[str, Any]) -> str:
        where = f"step {state.global_step:,} of {state.max_steps:,}"
        if not state.max_steps:
            where = "before the first step"
        if "eval_log_loss" in logs:
            controlled = logs.get("eval_controlled_log_loss")
            names = [key[5:-9] for key in logs if re.fullmatch("eval_.+_log_loss", key)]
            sets = [name for name in names if f"eval_{name}_pairwise_accuracy" in logs]
            apart = [
                f"{name} {logs[f'eval_{name}_log_loss']:.3f} and "
                f"{logs[f'eval_{name}_pairwise_accuracy']:.3f}"
                for name in sets
            ]
            return (
                f"{where}: validation log loss {logs['eval_log_loss']:.3f}, "
                + (f"controlled {controlled:.3f}, " if controlled is not None else "")
                + f"pairwise accuracy {logs['eval_pairwise_accuracy']:.3f}"
                + (f" ({'; '.join(apart)})" if apart else "")
                + "".join(
                    f", {name} {logs[f'eval_{name}']:.3f}"
                    for name in self.suites
                    if f"eval_{name}" in logs
                )
            )
        if "loss" not in logs:
            return ""
        text = f"loss {logs['loss']:.3f}, accuracy {logs.get('accuracy', float('nan')):.3f}"
        return text if self.bar is not None else f"{where}: {text}, {self._pace(state)}"

    def _pace(self, state: TrainerState) -> str:
        """How fast steps are, and for how long there are more of them."""
        done = max(state.global_step - (self.first_step or 0), 1)
        seconds = time.monotonic() - self.started
        left = seconds / done * (state.max_steps - state.global_step)
        return f"{rate(done, seconds)}, {duration(left)} left"


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a `log.jsonl`; a line cut short by a kill is left out."""
    rows = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                rows.append(json.loads(line))
    return rows


def quiet_callbacks(trainer: Trainer) -> None:
    """Take transformers' own printers away: `RunLog` does their work."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
