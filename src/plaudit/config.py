"""Every setting of a training run, once: typed, documented, checked.

The same names serve in YAML, as command-line flags (with dashes) and in Python. Where transformers
has a name for a setting, it is that name. The command line makes its flags and its help from this
class, and a run stores the settings it resolved as `config.yaml`.
"""

import difflib
import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from plaudit.errors import PlauditError
from plaudit.files import writing
from plaudit.model.poolings import POOLINGS, check_pooling
from plaudit.plugins import Registry
from plaudit.training.objectives import OBJECTIVES

Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


def _one_of(registry: Registry[Any], *others: str) -> Callable[[dict[str, Any]], None]:
    """Have a setting's schema say that its values are the names of a registry, and these others.

    They are listed when the schema is asked for, and not when this module is imported: what other
    packages bring may be an error.
    """
    return lambda schema: schema.update(enum=[*others, *registry])


class Settings(BaseModel):
    """Settings of one training run; `Settings.build` makes and checks them.

    >>> Settings.build(data="ranked.csv", learning_rate=1e-5).learning_rate
    1e-05
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )

    # -- data --
    data: str | Annotated[list[str], Field(min_length=1)] = Field(
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
        None, description="read with flat memory; by default from 256 MiB on"
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
    pooling: Annotated[str, AfterValidator(check_pooling)] = Field(
        "auto",
        description="auto: last for decoders; for encoders cls, or as they were pretrained",
        json_schema_extra=_one_of(POOLINGS, "auto"),
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
    layout: Literal["auto", "flat", "padded"] = Field(
        "auto",
        description="of tokens in a batch; auto: flat, each unique one once, if the model allows",
    )
    lora_r: Annotated[int, Field(ge=0)] = Field(
        0, description="rank of LoRA adapters; 0 trains all weights"
    )
    lora_alpha: Count = Field(32, description="scale of LoRA adapters")
    lora_dropout: Fraction = Field(0.0, description="dropout inside LoRA adapters")
    lora_target_modules: str | list[str] | None = Field(
        None, description="modules that LoRA adapts; by default peft's choice for the base model"
    )
    freeze_layers: Annotated[int, Field(ge=-1)] = Field(
        0,
        description="train without the embeddings and so many of the lowest layers; -1: head alone",
    )
    features_cache: str | None = Field(
        None, description="folder for what frozen layers give; by default in the user's cache"
    )
    features_cache_gb: Annotated[float, Field(ge=0)] = Field(
        10.0, description="gigabytes that this folder may take; 0 computes it anew each time"
    )
    gradient_checkpointing: bool = Field(False, description="trade speed for memory")

    # -- loss --
    loss: Annotated[str, AfterValidator(OBJECTIVES.check)] = Field(
        "bradley-terry",
        description="what is learnt from a ranking",
        json_schema_extra=_one_of(OBJECTIVES),
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
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        1e-4, description="peak learning rate; 0.01 unless given where only the head is trained"
    )
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
        2,
        description="passes over the training rankings; 10 unless given with the head alone",
    )
    max_steps: Annotated[int, Field(ge=-1)] = Field(
        -1, description="stop after this many steps; -1 goes by epochs"
    )
    per_device_train_batch_size: Count = Field(8, description="rankings of a step on each device")
    per_device_eval_batch_size: Count = Field(
        16, description="rankings of an evaluation batch on each device"
    )
    gradient_accumulation_steps: Count = Field(1, description="batches gathered into one step")
    max_tokens_per_batch: Count | None = Field(
        None,
        description="tokens of a forward pass, padding included; a larger step is divided, "
        "exactly; by default 4096, on a GPU 32768",
    )
    # Below 2^32, since that is what numpy takes.
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0, description="of the split, the head's weights and the order of the data"
    )

    # -- logging, evaluation, checkpoints --
    logging_steps: Count = Field(10, description="log the loss every so many steps")
    save_steps: Count = Field(
        50,
        description="validate and save a checkpoint every so many steps; 200 with the head alone",
    )
    save_total_limit: Annotated[int, Field(ge=1)] = Field(
        2, description="checkpoints kept, the best one always among them"
    )
    metric_for_best_model: Literal["log_loss", "pairwise_accuracy"] = Field(
        "log_loss", description="what makes a checkpoint the best on the validation prompts"
    )
    early_stopping_patience: Annotated[int, Field(ge=0)] = Field(
        0,
        description="stop after so many validations without a better one; 0 never stops early",
    )
    max_validation_rankings: Count = Field(
        1000,
        description="rankings held out to validate, and again to test, when `data` is streamed",
    )
    report_to: list[str] = Field(
        default_factory=list, description="trackers to log to as well: tensorboard, wandb, …"
    )

    @model_validator(mode="before")
    @classmethod
    def _head_alone(cls, values: Any) -> Any:
        # A head on fixed features is a small convex problem: with the steps that suit a whole model
        # it would stay where it was drawn.
        if isinstance(values, dict) and values.get("freeze_layers") == -1:
            return {"learning_rate": 0.01, "num_train_epochs": 10, "save_steps": 200} | values
        return values

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        # To pydantic `true` is 1, and so then is YAML's `yes`.
        if isinstance(value, bool) and "true or false" not in allowed(str(info.field_name)):
            raise ValueError("a boolean")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        if self.max_steps == 0:
            raise ValueError("max_steps: 0 trains nothing; take 1 or more, or -1 to go by epochs")
        if self.freeze_layers == -1 and self.lora_r:
            raise ValueError(
                "freeze_layers: -1 leaves LoRA nothing to adapt; set lora_r 0, or freeze fewer"
            )
        return self

    @classmethod
    def build(cls, config: str | Path | None = None, **settings: Any) -> "Settings":
        """Settings from a YAML file, with `settings` going before what it says.

        Raises `PlauditError` for an unknown or ill-typed setting, naming it, the nearest valid name
        and the allowed values.
        """
        in_file: dict[str, Any] = read_yaml(config) if config is not None else {}
        values = in_file | settings
        try:
            return cls(**values)
        except ValidationError as error:
            faulty = {problem["loc"][0] for problem in error.errors() if problem["loc"]}
            where = f"{config}: " if faulty & in_file.keys() - settings.keys() else ""
            raise PlauditError(where + explain(error, values)) from error

    def save(self, path: str | Path) -> None:
        """Write the resolved settings as YAML that `build` reads back."""
        with writing(path) as file:
            # Not `allow_unicode`, with which PyYAML does not read back every text that it wrote.
            yaml.safe_dump(self.model_dump(), file, sort_keys=False)


def from_flag(name: str, text: str) -> Any:
    """The value of one setting from the text that a flag gives it.

    Raises `ValueError` that says what is allowed.

    >>> from_flag("max_steps", "100")
    100
    """
    kinds = _schema(name)
    if text == "null" and {"type": "null"} in kinds:
        return None
    field = Settings.model_fields[name]
    # The annotation and its bounds, without the checks that need other settings.
    adapter = TypeAdapter[Any](Annotated[field.annotation, field])  # type: ignore[arg-type]
    try:
        value = adapter.validate_python(text)
    except ValidationError as error:
        raise ValueError(f"{text!r} is not {allowed(name)}") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{text!r} is not {allowed(name)}")
    return value


def nearest(name: str) -> str | None:
    """The setting whose name is most like `name`, None when none is.

    >>> nearest("learning_rat")
    'learning_rate'
    """
    near = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.5)
    return near[0] if near else None


def allowed(name: str) -> str:
    """What values a setting takes, for a person.

    >>> allowed("max_steps"), allowed("lora_dropout")
    ('a whole number, -1 or more', 'a number, 0 or more, below 1')
    >>> allowed("streaming")
    'true or false, or null'
    """
    return ", or ".join(_in_words(kind) for kind in _schema(name))


def choices(name: str) -> list[str]:
    """The values that a setting has to be one of; none where it is no such setting.

    >>> choices("template")
    ['auto', 'chat', 'plain']
    """
    return [str(value) for kind in _schema(name) for value in kind.get("enum", ())]


def explain(error: ValidationError, values: Mapping[str, Any]) -> str:
    """One line for a person: which of the settings are wrong and what they may be."""
    said = {}
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "extra_forbidden":
            near = nearest(name)
            hint = f"; the nearest is {near}" if near else ""
            said[name] = f"there is no setting {name}{hint}"
        elif problem["type"] == "missing":
            said[name] = f"{name} is needed: {Settings.model_fields[name].description}"
        elif name:
            given = "null" if values[name] is None else repr(values[name])
            said[name] = f"{name}: {given} is not {allowed(name)}"
        else:
            said[name] = problem["msg"].removeprefix("Value error, ")
    return "; ".join(said.values())


def _schema(name: str) -> list[dict[str, Any]]:
    """The kinds of values that a setting takes, each as JSON schema has it."""
    schema = _schemas()[name]
    return schema.get("anyOf", [schema])


@cache
def _schemas() -> dict[str, dict[str, Any]]:
    return Settings.model_json_schema()["properties"]


def _in_words(kind: dict[str, Any]) -> str:
    if "enum" in kind:
        return ", ".join(kind["enum"][:-1]) + " or " + kind["enum"][-1]
    words = [
        {
            "array": "a list of texts",
            "boolean": "true or false",
            "integer": "a whole number",
            "null": "null",
            "number": "a number",
            "object": "pairs of texts",
            "string": "text",
        }[kind["type"]]
    ]
    bounds = {
        "minimum": "{} or more",
        "exclusiveMinimum": "above {}",
        "maximum": "{} or less",
        "exclusiveMaximum": "below {}",
        "minItems": "{} or more",
    }
    words += [text.format(kind[bound]) for bound, text in bounds.items() if bound in kind]
    return ", ".join(words)


# ---- YAML ----


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file, names with underscores for dashes.

    Raises `PlauditError` where it cannot be read as such.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_OneValueEach)
    except OSError as error:
        raise PlauditError(f"{path}: {error.strerror or 'cannot be read'}") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise PlauditError(f"{path}{line}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or no date (2024-13-01)
        raise PlauditError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise PlauditError(
            f"{path}: settings are `name: value` lines, not a {type(values).__name__}"
        )
    settings: dict[str, Any] = {}
    for name, value in values.items():
        plain = str(name).replace("-", "_")
        if plain in settings:
            raise PlauditError(f"{path}: {plain} is set twice, with a dash and without")
        settings[plain] = value
    return settings


class _OneValueEach(yaml.SafeLoader):
    """YAML in which a name has one value; of several, PyYAML takes the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, when no name in it comes twice."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value} is set twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)
