"""Every setting of a training run, once: typed, documented, checked.

The same names serve in YAML, as command-line flags (with dashes) and in Python. Where transformers
has a name for a setting, it is that name. The command line makes its flags and its help from this
class, and a run stores the settings it resolved as `config.yaml`.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from plaudit.errors import PlauditError
from plaudit.files import writing

Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Settings of one training run; `Settings.build` makes and checks them.

    >>> Settings.build(data="ranked.csv", learning_rate=1e-5).learning_rate
    1e-05
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    # -- data --
    data: str | list[str] = Field(
        description="ranked or paired preference data: file, folder, glob or hub name"
    )
    validation_data: str | None = Field(
        None, description="validate on this instead of a part of `data`"
    )
    test_data: str | None = Field(None, description="test on this instead of a part of `data`")
    validation_fraction: Fraction = Field(
        0.1, description="share of the prompts held out to choose the best checkpoint"
    )
    test_fraction: Fraction = Field(
        0.2, description="share of the prompts held out to measure the result"
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="other column names, ours=yours: prompt=question"
    )
    streaming: bool | None = Field(
        None, description="read while training, with flat memory; by default from 256 MiB on"
    )
    strict: bool = Field(False, description="stop at the first bad row instead of rejecting it")
    max_rejected: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="stop when more than this share of the rows is rejected"
    )

    # -- model --
    base: str = Field(
        "embedded:minilm",
        description="base model: hub name, folder, embedded:minilm or embedded:smollm2",
    )
    pooling: Literal["auto", "last", "cls", "mean"] = Field(
        "auto",
        description="how token states become one reward; auto: last for decoders, cls for encoders",
    )
    template: Literal["auto", "chat", "plain"] = Field(
        "auto",
        description="layout of a decoder's text; auto: chat where the tokenizer has a template",
    )
    separator: str = Field(
        "\n\n", description="between prompt and completion in a plain decoder's text"
    )
    max_length: Count | None = Field(
        None,
        description="tokens of a row with special ones; by default 512 or what the model reads",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="what matrix products run in; auto: bfloat16 if the machine has units for it",
    )
    lora_r: Annotated[int, Field(ge=0)] = Field(
        0, description="rank of LoRA adapters; 0 trains all weights"
    )
    lora_alpha: Count = Field(32, description="scale of LoRA adapters")
    lora_dropout: Fraction = Field(0.0, description="dropout inside LoRA adapters")
    lora_target_modules: str | list[str] | None = Field(
        None, description="modules that LoRA adapts; by default peft's choice for the base model"
    )
    gradient_checkpointing: bool = Field(False, description="trade speed for memory")

    # -- loss --
    loss: Literal["bradley-terry", "plackett-luce"] = Field(
        "bradley-terry", description="what is learnt from a ranking"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="share of pairs thought to be labelled the wrong way round"
    )
    center_rewards_coefficient: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight of the term that draws rewards to mean zero"
    )
    disable_dropout: bool = Field(
        True, description="train without dropout, which also doubles the speed on a CPU"
    )

    # -- optimisation --
    learning_rate: Annotated[float, Field(gt=0)] = Field(5e-5, description="peak learning rate")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        "linear", description="shape of the learning rate"
    )
    warmup_steps: Annotated[float, Field(ge=0)] = Field(
        0.1,
        description="steps over which the learning rate rises; below 1: as a share of all steps",
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="AdamW's weight decay")
    max_grad_norm: Annotated[float, Field(ge=0)] = Field(
        1.0, description="gradients are clipped to this norm; 0 does not clip"
    )
    optim: str = Field("adamw_torch_fused", description="optimizer, by transformers' name for it")
    num_train_epochs: Annotated[float, Field(gt=0)] = Field(
        2, description="passes over the training rankings"
    )
    max_steps: int = Field(-1, ge=-1, description="stop after this many steps; -1 goes by epochs")
    per_device_train_batch_size: Count = Field(8, description="rankings of a step on each device")
    per_device_eval_batch_size: Count = Field(
        16, description="rankings of an evaluation batch on each device"
    )
    gradient_accumulation_steps: Count = Field(1, description="batches gathered into one step")
    max_tokens_per_batch: Count = Field(
        8192,
        description="tokens of one forward pass, with padding; a larger step is divided, exactly",
    )
    seed: int = Field(
        0, ge=0, description="of the split, the head's weights and the order of the data"
    )

    # -- logging, evaluation, checkpoints --
    logging_steps: Count = Field(10, description="log the loss every so many steps")
    eval_steps: Count | None = Field(
        None, description="validate every so many steps; by default whenever a checkpoint is saved"
    )
    save_steps: Count = Field(50, description="save a checkpoint every so many steps")
    save_total_limit: Annotated[int, Field(ge=1)] = Field(
        2, description="checkpoints kept, the best one always among them"
    )
    metric_for_best_model: Literal["log_loss", "pairwise_accuracy"] = Field(
        "log_loss", description="what makes a checkpoint the best on the validation prompts"
    )
    early_stopping_patience: int = Field(
        0,
        ge=0,
        description="stop after so many validations without a better one; 0 never stops early",
    )
    max_validation_rankings: Count = Field(
        1000,
        description="rankings held out to validate, and again to test, when `data` is streamed",
    )
    report_to: list[str] = Field(
        default_factory=list, description="trackers to log to as well: tensorboard, wandb, …"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        if self.loss == "plackett-luce" and self.label_smoothing:
            raise ValueError(
                "label_smoothing belongs to the bradley-terry loss, not to plackett-luce"
            )
        if self.eval_steps and self.save_steps % self.eval_steps:
            raise ValueError(
                f"save_steps ({self.save_steps}) must be a multiple of eval_steps "
                f"({self.eval_steps}), so that every checkpoint has been measured"
            )
        return self

    @classmethod
    def build(cls, config: str | Path | None = None, **settings: Any) -> "Settings":
        """Settings from a YAML file, with `settings` going before what it says.

        Raises `PlauditError` for an unknown or ill-typed setting, naming it, the nearest valid name
        and the allowed values.
        """
        values: dict[str, Any] = read_yaml(config) if config is not None else {}
        where = f"{config}: " if config is not None else ""
        values.update(settings)
        try:
            return cls(**values)
        except ValidationError as error:
            raise PlauditError(where + explain(error, cls)) from error

    def save(self, path: str | Path) -> None:
        """Write the resolved settings as YAML that `build` reads back."""
        with writing(path) as file:
            yaml.safe_dump(self.model_dump(), file, sort_keys=False, allow_unicode=True)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file; `PlauditError` where it cannot be read as such."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PlauditError(f"{path}: {error.strerror or 'cannot be read'}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PlauditError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise PlauditError(
            f"{path}: settings are `name: value` lines, not a {type(values).__name__}"
        )
    return {str(name).replace("-", "_"): value for name, value in values.items()}


def explain(error: ValidationError, settings: type[BaseModel]) -> str:
    """One line for a person: which settings are wrong and what they may be."""
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, settings.model_fields, n=1, cutoff=0.5)
            hint = f"; the nearest is {near[0]}" if near else ""
            lines.append(f"there is no setting {name}{hint}")
        elif problem["type"] == "missing":
            lines.append(f"{name} is needed: {settings.model_fields[name].description}")
        elif name:
            given = problem.get("input")
            lines.append(f"{name}: {_lower(problem['msg'])}, not {given!r}")
        else:
            lines.append(problem["msg"].removeprefix("Value error, "))
    return "; ".join(dict.fromkeys(lines))


def _lower(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input ")
