"""Model, loss, layout and settings put together into a trainer, and the model taken out again.

Settings become TRL's and transformers' own terms here and nowhere else.
"""

import functools
import inspect
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor
from transformers import EarlyStoppingCallback, set_seed
from trl import RewardConfig

from plaudit import console
from plaudit.data.cells import lengths_of
from plaudit.data.rankings import Ranking
from plaudit.data.readers import Rankings
from plaudit.errors import PlauditError
from plaudit.evaluation.measures import MEASURES
from plaudit.memory import keep_freed_memory
from plaudit.model.adapter import TrainedAdapter, check_savable
from plaudit.model.attention import SDPA, Ways
from plaudit.model.base_models import quiet
from plaudit.model.batches import Flat, of_rankings
from plaudit.model.classifier import backbone, head_of
from plaudit.model.devices import best_device, tokens_per_batch
from plaudit.model.encoding import without_tokens
from plaudit.model.four_bit import compute_in, pack, unpack, with_adapters
from plaudit.model.freezing import FrozenLayout, freeze
from plaudit.model.head import narrow, widen
from plaudit.model.loading import TrainedWith, located
from plaudit.model.poolings import POOLINGS
from plaudit.model.precision import choose_precision, work_of
from plaudit.model.reward_model import RewardModel
from plaudit.settings import Settings
from plaudit.training.control import Control, check_columns, sample
from plaudit.training.expert import make_expert
from plaudit.training.objectives import DATA, OBJECTIVES, Prepared
from plaudit.training.odin import Odin
from plaudit.training.parts import SHUFFLE_BUFFER, attribute_table
from plaudit.training.processes import (
    processes,
    refuse_deepspeed,
    say_once,
    shard_on_cpu,
    sharded,
)
from plaudit.training.suites import Watched
from plaudit.training.text_loss import TextLoss
from plaudit.training.trainer import (
    CheckpointWhenInterrupted,
    LogEnds,
    RankingTrainer,
    RunLog,
    quiet_callbacks,
)


def load_base(settings: Settings) -> RewardModel:
    """The base model under a new head, where this process will train it.

    There the layout is tried, too. Only FSDP wants a model that is still on the CPU. With
    `load_in_4bit` it is in 4 bits, which is done layer by layer on the way from there.
    """
    if sharded():
        # `accelerate launch` has one process alone read the weights, and the others none to try.
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    place = processes().device
    model = RewardModel.load(
        settings.base,
        pooling=settings.pooling,
        template=settings.template,
        max_length=settings.max_length,
        separator=TrainedWith(settings.separator),
        chat_template=settings.chat_template,
        chat_template_args=settings.chat_template_args,
        dtype=settings.dtype,
        layout=settings.layout,
        device="cpu" if sharded() or settings.load_in_4bit else str(place),
        seed=settings.seed,
        new_head=settings.new_head,
        attributes=settings.attributes,
        normalised=False,  # what is trained further gives other rewards
    )
    model.uncertainty, model.attributes, model.card = None, {}, ""  # likewise
    model.reading = ""  # what is trained here is nobody else's
    if settings.load_in_4bit:
        if sharded():
            raise PlauditError("load_in_4bit: does not go with FSDP; leave it out")
        work = work_of(model.model, model.encoding.kind, flat=False)
        dtype = choose_precision(settings.dtype, place, work).dtype
        pack(model.model, place, dtype)
        model = replace(model, device=place, dtype=dtype, max_tokens_per_batch=0)
    return model


def in_one_way(model: RewardModel, attention: Ways | None = None) -> None:
    """Have all processes compute as the first one has measured to be fastest: in one number type,
    and by one attention on a CPU, or the `attention` that is given.

    Each has measured for itself, and on a busy machine they may not agree.
    """
    measured = model.dtype, attention or ways_of(model)
    (found,) = broadcast_object_list([measured])
    model.dtype, ways = found
    if isinstance(model.layout, Flat):
        model.layout = replace(model.layout, ways=ways)
    compute_in(model.model, model.dtype)


def ways_of(model: RewardModel) -> Ways:
    """How a model computes attention on a CPU."""
    return model.layout.ways if isinstance(model.layout, Flat) else SDPA


def load_plain(settings: Settings) -> RewardModel:
    """`load_base` as an ordinary model: of what is in 4 bits the same values."""
    model = load_base(settings)
    if settings.load_in_4bit:
        unpack(model.model)
    return model


def pass_tokens(settings: Settings) -> int:
    """How many tokens a forward pass takes at most."""
    return settings.max_tokens_per_batch or tokens_per_batch(torch.device(best_device()))


def bound_loss(settings: Settings) -> Callable[..., Tensor]:
    """The loss of the settings, with those of its options that settings give."""
    objective = OBJECTIVES.get(settings.loss)
    if not settings.label_smoothing:
        return objective.loss
    if not objective.takes("label_smoothing"):
        raise PlauditError(
            f"label_smoothing: the {settings.loss} loss has no such option; leave it out"
        )
    return functools.partial(objective.loss, label_smoothing=settings.label_smoothing)


def prepared(settings: Settings, train: Iterable[Ranking]) -> Prepared:
    """What the loss takes from the training rankings: of a stream, from the first of them.

    Raises:
        PlauditError: where they have none of what it needs, or it cannot be used.
    """
    objective = OBJECTIVES.get(settings.loss)
    if objective.prepare is None:
        return Prepared()
    known = list(islice(train, SHUFFLE_BUFFER if isinstance(train, Rankings) else None))
    rows, names = [without_tokens(ranking) for ranking in known], list[str]()
    if objective.takes("attributes"):
        names = list(dict.fromkeys(name for ranking in known for name in ranking.attributes or ()))
    if names:
        tables = [attribute_table(ranking, names) for ranking in known]
        rows = [{**row, "attributes": t} for row, t in zip(rows, tables, strict=True)]
    every = of_rankings(rows, [])
    for name in objective.needs():
        if name not in every or every[name].isnan().all():
            raise PlauditError(
                f"loss: {settings.loss} learns from {name}, and the training data have none; "
                "choose another loss, or give data with them"
            )
    wanted = inspect.signature(objective.prepare).parameters
    return replace(objective.prepare(**{name: every[name] for name in wanted}), attributes=names)


def build_trainer(
    model: RewardModel,
    train_set: Any,
    validation_set: Any,
    settings: Settings,
    folder: Path,
    *,
    checkpoints: bool = True,
    validation: Sequence[Ranking] = (),
    start: Prepared | None = None,
    log: bool = True,
    suites: Sequence[Watched] = (),
) -> RankingTrainer:
    """Put model, data, loss and settings together; the run's folder is not touched yet.

    `validation_set` may be None; `validation` are its rankings, for what depends on lengths.
    `start` is what the loss took from the training data, where it takes something. Without
    `checkpoints` none are written, and the model that training leaves is the last one, not the best
    on the validation prompts. Without `log` its steps are shown, and not written down. `suites`
    are scored at every validation.
    """
    refuse_deepspeed()
    keep_freed_memory()
    in_one_way(model)
    start = start or Prepared()
    objective = OBJECTIVES.get(settings.loss)
    expert = make_control(settings, train_set) if settings.control else None
    if settings.save_adapter:
        _check_savable(settings, model.pooling)
    learns = f"loss: {settings.loss}" if start.learnt else ""
    if expert is not None and expert.learnt():
        learns = "control_weight: learned"
    if expert is not None and expert.rows:
        learns = f"control_method: {settings.control_method}"
    text_loss = None
    if settings.sft_coefficient:
        if sharded() or settings.freeze_layers == -1:
            other = "FSDP" if sharded() else "freeze_layers -1, which leaves no states to train"
            raise PlauditError(f"sft_coefficient: does not go with {other}; set it to 0")
        text_loss = TextLoss(model, settings.base, settings.sft_coefficient)
    if learns and sharded():
        raise PlauditError(
            f"{learns} learns numbers of its own, which does not go with FSDP; choose LoRA instead"
        )
    mixed = objective.mix(start.learnt).numel() if objective.mix else 1
    if (rows := mixed + (expert.rows if expert else 0)) > 1:
        widen(model.model, rows, settings.seed)
    frozen = _freeze(model, settings) if settings.freeze_layers else None
    try:
        inner, adapters = model.model, _lora(settings, model.model, frozen)
        if settings.load_in_4bit and adapters is not None:
            set_seed(settings.seed)  # as the trainer does before it makes adapters
            inner, adapters = with_adapters(inner, adapters), None
        with quiet():
            arguments = training_arguments(
                settings, folder, model.dtype, validation_set is not None, checkpoints
            )
            shard_on_cpu()
            trainer = RankingTrainer(
                loss=functools.partial(bound_loss(settings), **start.fixed),
                data=[name for name in DATA if objective.takes(name)],
                learnt=start.learnt,
                mix=objective.mix,
                layout=frozen or model.layout,
                max_tokens_per_batch=pass_tokens(settings),
                lengths=lengths_of(validation) if validation else None,
                sets=[r.source for r in validation] if settings.validation_sets else (),
                chosen_set=settings.validation_set,
                suites=suites,
                text_loss=text_loss,
                expert=expert,
                model=inner,
                args=arguments,
                train_dataset=train_set,
                eval_dataset=validation_set,
                processing_class=model.encoding.tokenizer,
                peft_config=adapters,
            )
            # TRL names the tokenizer's; ours may be another, by which rows were laid out.
            config = model.model.config
            config.pad_token_id = config.get_text_config().pad_token_id = (
                model.encoding.pad_token_id
            )
            if not trainer.is_fsdp_enabled:
                trainer.create_optimizer()  # where optim may turn out not to be installed
    except (ValueError, TypeError, ImportError, RuntimeError, OSError, re.error) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise PlauditError(f"{error.filename}: cannot be written: {error.strerror}") from error
        # The libraries' own checks of what only they know: optim, report_to, LoRA's modules.
        raise PlauditError(" ".join(str(error).split())) from error
    for name, module in model.model.named_modules():
        # TRL switches dropout off after LoRA's own has been put in, which is asked for by itself.
        if isinstance(module, torch.nn.Dropout) and "lora_dropout" in name:
            module.p = settings.lora_dropout
    model.device = arguments.device
    if frozen is not None:
        if log:
            say_once(frozen.describe())
        frozen.keep(settings.features_cache, settings.features_cache_gb)
    quiet_callbacks(trainer)
    trainer.add_callback(LogEnds())
    if processes().is_main_process:
        trainer.add_callback(
            RunLog(folder / "log.jsonl" if log else None, [each.name for each in suites])
        )
    if checkpoints and processes().num_processes == 1:  # several would not be told at the same step
        trainer.add_callback(CheckpointWhenInterrupted())
    if settings.early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(settings.early_stopping_patience))
    return trainer


def make_control(settings: Settings, train_set: Any) -> Control:
    """The control that the settings ask for, as it begins. Raises as `check_columns` does."""
    training = sample(train_set)
    check_columns(settings.control, training)
    if settings.control_method == "odin":
        return Odin(settings.control, settings.control_strength, settings.control_anneal)
    return make_expert(settings, training)


def check_sets(settings: Settings, validation: Sequence[Ranking]) -> None:
    """Raise `PlauditError` where a set to validate on is empty, or one that chooses the checkpoint
    cannot show what it is chosen by."""
    if not settings.validation_sets:
        check_metric(settings.checkpoint_metric, "metric_for_best_model", validation)
    for name in settings.validation_sets:
        those = [ranking for ranking in validation if ranking.source == name]
        if not those:
            raise PlauditError(
                f"validation_data: the set {name} has no ranking that can be used; "
                "leave it out, or give others"
            )
        if settings.validation_set in ("mean", name):
            check_metric(settings.checkpoint_metric, f"metric_for_best_model of {name}", those)


def check_metric(name: str | None, setting: str, validation: Sequence[Ranking]) -> None:
    """Raise `PlauditError` where validation rankings cannot show what a metric of lengths asks."""
    measure = MEASURES.get(name) if name and name in MEASURES else None
    if measure is None or not measure.takes_length or not validation:
        return
    ranks = [ranking.ranks for ranking in validation]
    try:
        measure(ranks, ranks, lengths=lengths_of(validation), resamples=0)
    except PlauditError as error:
        raise PlauditError(
            f"{setting}: {name} needs validation pairs whose better completion is the longer one, "
            "and others where it is the shorter one: hold out more, or choose by another"
        ) from error


def _freeze(model: RewardModel, settings: Settings) -> FrozenLayout:
    if sharded():
        raise PlauditError("freeze_layers: does not go with FSDP; choose LoRA instead")
    frozen = freeze(model, settings.freeze_layers)
    if frozen.modules.whole and settings.lora_r:
        raise PlauditError(
            f"freeze_layers: {settings.freeze_layers} leaves LoRA nothing to adapt; set lora_r 0, "
            "or freeze fewer"
        )
    return frozen


def run_frozen_layers(trainer: RankingTrainer, settings: Settings) -> FrozenLayout | None:
    """Compute once what frozen layers give for every ranking that is at hand before training.

    Returns None where none are frozen. Each of several processes computes its share; for a stream
    the layers run when a ranking is first read.
    """
    frozen = trainer.layout
    if not isinstance(frozen, FrozenLayout):
        return None
    here = processes()
    if frozen.cache is not None:
        console.keeps(
            "what the frozen layers gave so far is, in the features cache: the same command is "
            "faster now"
        )
    for rows in (trainer.train_dataset, trainer.eval_dataset):
        if isinstance(rows, datasets.Dataset):
            share = range(here.process_index, len(rows), here.num_processes)
            filling = frozen.filling((rows[i] for i in share), pass_tokens(settings))
            for _ in console.progress(filling, "running the frozen layers", total=len(share)):
                pass
    here.wait_for_everyone()
    say_once(frozen.describe_cache(trainer.accelerator.gather))
    return frozen


def training_arguments(
    settings: Settings,
    folder: Path,
    dtype: torch.dtype,
    validate: bool,
    checkpoints: bool = True,
) -> RewardConfig:
    """Our settings in TRL's and transformers' own terms."""
    if settings.early_stopping_patience and not validate:
        raise PlauditError(
            "early_stopping_patience: needs validation prompts to watch; hold some out by "
            "validation_fraction or validation_data"
        )
    if "tensorboard" in settings.report_to:
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder / "tensorboard"))
    same_names = (
        "learning_rate",
        "lr_scheduler_type",
        "warmup_steps",
        "weight_decay",
        "max_grad_norm",
        "optim",
        "num_train_epochs",
        "max_steps",
        "per_device_train_batch_size",
        "per_device_eval_batch_size",
        "gradient_accumulation_steps",
        "gradient_checkpointing",
        "disable_dropout",
        "seed",
        "logging_steps",
        "save_steps",
        "save_total_limit",
        "report_to",
    )
    best_by = settings.checkpoint_metric
    return RewardConfig(
        output_dir=str(folder / "checkpoints"),
        **{name: getattr(settings, name) for name in same_names},
        center_rewards_coefficient=settings.center_rewards_coefficient or None,
        eval_strategy="steps" if validate else "no",
        eval_steps=settings.save_steps,  # every checkpoint is measured, so the best one is kept
        save_strategy="steps" if checkpoints else "no",
        load_best_model_at_end=validate and checkpoints and best_by is not None,
        metric_for_best_model=best_by if validate else None,
        greater_is_better=best_by in ("pairwise_accuracy", "length_controlled_accuracy"),
        restore_callback_states_from_checkpoint=True,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a loss that is not finite is an error, not left out
        max_length=None,  # truncation is ours, and nothing is filtered
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=best_device() == "cpu",
        # Each process reads its own share of a stream: batches are no tensors to be sent around.
        # A step's own work goes on while the next one's tokens are copied.
        accelerator_config={"dispatch_batches": False, "non_blocking": torch.cuda.is_available()},
        bf16=dtype == torch.bfloat16,
        disable_tqdm=True,
    )


def _lora(settings: Settings, model: Any, frozen: FrozenLayout | None = None) -> Any:
    if not settings.lora_r:
        return None
    from peft import LoraConfig, TaskType

    modules = settings.lora_target_modules
    # All that stands outside the backbone is new or made for another task: trained whole.
    outside = [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and any(True for _ in module.parameters())
    ]
    if backbone(model) is not model.base_model:
        outside.append("pooler")
    return LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        use_dora=settings.use_dora,
        use_rslora=settings.use_rslora,
        target_modules=modules[0] if modules == ["all-linear"] else modules,
        exclude_modules=frozen.modules.pattern() if frozen else None,
        task_type=TaskType.SEQ_CLS,
        modules_to_save=outside,
    )


def _check_savable(settings: Settings, pooling: str) -> None:
    """Raise `PlauditError` where no adapter could be saved by itself."""
    if sharded():
        raise PlauditError("save_adapter: does not go with FSDP; leave it out")
    own_class = POOLINGS.get(pooling).network is not None
    check_savable(*located(settings.base), own_class=own_class)


def trained_adapter(trainer: RankingTrainer, settings: Settings) -> TrainedAdapter | None:
    """The adapter that training left, where it is to be saved; `trained_model` merges it."""
    if not settings.save_adapter:
        return None
    adapted = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    base, _ = located(settings.base)
    return TrainedAdapter.of(adapted, base)


def _unpacked(adapted: Any, settings: Settings) -> Any:
    """The same adapters on the base model unpacked: merged in 4 bits they would be rounded."""
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    plain = load_plain(settings).model
    widen(plain, head_of(adapted).out_features, settings.seed)
    inner = get_peft_model(plain, _lora(settings, plain))
    set_peft_model_state_dict(inner, get_peft_model_state_dict(adapted))
    return inner


def trained_model(trainer: RankingTrainer, model: RewardModel, settings: Settings) -> RewardModel:
    """The model that training left, whole and in one place, adapters merged.

    Every process must call this; where weights are sharded it gathers them.
    """
    if trainer.is_fsdp_enabled:
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        model = load_base(settings)
        inner = model.model
        if settings.lora_r:
            from peft import get_peft_model

            inner = get_peft_model(inner, _lora(settings, inner))
        if weights:  # only the first process has them
            inner.load_state_dict(weights)
    else:
        inner = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    if settings.load_in_4bit:
        inner = _unpacked(inner, settings)
    if settings.lora_r:
        inner = inner.merge_and_unload()
    if not trainer.is_fsdp_enabled:
        narrow(inner, trainer.row_weights(head_of(inner).out_features))
    if trainer.text_loss is not None:
        trainer.text_loss.close()
    if processes().is_main_process:
        model.model = inner.eval().to(trainer.args.device)
        model.device = trainer.args.device
    model.new_head = False
    return model
