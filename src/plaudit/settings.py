"""Every setting, declared once: its name, type, default, bounds and one sentence of help.

`Settings` are those of a training run. What a command takes besides is declared in the signature of
its function in `commands`, with the types below where several commands take the same. Command-line
flags, `--help`, checks and `docs/settings.md` are made from these declarations; `Option` is what
they read. Names are the same in YAML, on the command line (with dashes) and in Python. Where
transformers has a name for a setting, it is that name.
"""

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ForwardRef, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from plaudit import sources
from plaudit.errors import PlauditError
from plaudit.files import writing
from plaudit.json_text import RepeatedKeyError, from_json
from plaudit.recipes import RECIPES

if TYPE_CHECKING:
    from plaudit.plugins import Registry

Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
AtLeastZero = Annotated[float, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0)]
AtLeast0 = Annotated[int, Field(ge=0)]
# What checkpoints and trials can be chosen by.
ValidationMetric = Literal["log_loss", "pairwise_accuracy", "length_controlled_accuracy"]


@dataclass(frozen=True)
class Help:
    """What `--help` says of an option, where its type does not tell.

    `metavar` stands for its value. A `flag` is one on the command line though its parameter is
    positional in Python; `default` is then what it is where the flag is not given. `many` takes
    several values.
    """

    text: str
    metavar: str = ""
    flag: bool = False
    default: Any = inspect.Parameter.empty
    many: bool = False


class Without:
    """Names of options that a function does not take of the class that stands before."""

    def __init__(self, *names: str) -> None:
        self.names = names


def _registry(kind: str) -> "Registry[Any]":
    """The registry of a kind of plugin, imported when it is first asked."""
    from plaudit.plugins import KINDS

    module, attribute = KINDS[kind].split(":")
    registry: Registry[Any] = getattr(import_module(module), attribute)
    return registry


def _check(kind: str, *others: str) -> AfterValidator:
    """That a name is one of a registry, or one of these others."""
    return AfterValidator(lambda name: name if name in others else _registry(kind).check(name))


def _names(kind: str, *others: str) -> Any:
    """The names of a registry, and these others, for the JSON schema.

    They are listed when the schema is asked for, and not on import: what other packages bring may
    be an error.
    """
    return Field(json_schema_extra=lambda schema: schema.update(enum=[*others, *_registry(kind)]))


# ---- what several commands take ----

ExportFormat = Annotated[str, _check("export"), _names("export")]

_COLUMNS = Field(description="other column names, ours=yours: prompt=question")
Columns = Annotated[Mapping[str, str] | None, _COLUMNS]
Streaming = Annotated[
    bool | None, Field(description="read with flat memory; by default from 256 MiB on")
]
Encoding = Annotated[
    str | None,
    Field(description="of text files that are not in UTF-8: cp1252, latin-1, utf-16 …"),
]
OnBadRow = Annotated[
    Literal["reject", "stop"],
    Field(description="a row that cannot be used: reject it, with the reason, or stop there"),
]
MaxRejected = Annotated[
    float,
    Field(ge=0, le=1, description="stop when more than this share of the rows is rejected"),
]
ChatTemplate = Annotated[
    str | None,
    Field(description="Jinja file of a chat template, instead of the tokenizer's own"),
]


def _from_json(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return from_json(value)
        except RepeatedKeyError:
            raise
        except (ValueError, RecursionError) as error:
            raise ValueError("not JSON") from error
    return value


ChatTemplateArgs = Annotated[
    dict[str, Any],
    BeforeValidator(_from_json),
    Field(
        description="arguments of the chat template, as JSON: '{\"enable_thinking\": false}'; "
        "saved with it"
    ),
]
MaxLength = Annotated[
    Count | None,
    Field(
        description="tokens of a row; by default what the model was trained with, else what it "
        "reads, a new one 4096 at most"
    ),
]
INT8_IS_EXPORTED = (
    "int8 is made once and tried on your own rows: plaudit export MODEL --format openvino "
    "--dtype int8 --data ROWS -o FOLDER; then name FOLDER in the place of MODEL, without --dtype"
)


class InsteadError(ValueError):
    """A value is refused, and what to do instead is said."""


def _not_int8(dtype: Any) -> Any:
    if dtype == "int8":
        raise InsteadError(INT8_IS_EXPORTED)
    return dtype


Dtype = Annotated[
    Literal["auto", "float32", "bfloat16"],
    BeforeValidator(_not_int8),
    Field(
        description="what matrix products run in; auto: bfloat16 where it is measured to be faster"
    ),
]
_ATTRIBUTES = "which of a head's labels give the reward: NAME, or the sum NAME=0.65,NAME=-0.2"
Attributes = Annotated["str | Mapping[str, float] | None", Help(_ATTRIBUTES, "NAMES")]
# How an encoder reads prompt and completion: as a pair; as one text; as one text with the
# tokenizer's end-of-text token after it, where it has one, as TRL's trainer writes it.
ReadAs = Literal["pair", "one", "trl"]
EncoderText = Annotated[
    ReadAs | None,
    Help(
        "how an encoder from elsewhere reads prompt and completion: pair; one text; trl: one text "
        "that ends as TRL ends it (pair)"
    ),
]
Separator = Annotated[
    str | None,
    Help(
        "what stands between prompt and completion where a model from elsewhere reads plain text; "
        '"" for nothing, as TRL trains (a blank line)'
    ),
]
TrustRemoteCode = Annotated[
    bool, Help("run the modelling code that a model brings, as your own; read it first")
]
Partial = Annotated[
    bool, Help("score a --suite of which rows are missing, or are not the published ones")
]
Also = Annotated[list[str] | None, Help("an ensemble with this model; may be repeated", "MODEL")]
Combine = Annotated[
    Literal["mean", "min", "mean-spread"] | None, Help("the rewards of an ensemble (mean)")
]
Spread = Annotated[
    AtLeastZero | None, Help("standard deviations of the models that mean-spread subtracts (1)")
]
LengthPenalty = Annotated[AtLeastZero, Help("what a token of the completion costs in reward")]
Limit = Annotated[Count | None, Help("take only the first so many distinct prompts")]
N = Annotated[Count, Help("completions of each prompt")]
MaxNewTokens = Annotated[Count, Help("tokens of a completion, at most")]
Temperature = Annotated[AtLeastZero, Help("of the sampling; 0 takes the likeliest, with -n 1")]
TopP = Annotated[float, Field(gt=0, le=1), Help("draw from the likeliest tokens of this share")]
BatchSize = Annotated[Count, Help("prompts sampled at once")]
# Below 2^32, since that is what numpy takes.
Seed = Annotated[int, Field(ge=0, lt=2**32), Help("of chance")]
Overwrite = Annotated[bool, Help("replace what an earlier command wrote there")]


class Settings(BaseModel):
    """Settings of one training run; `Settings.build` makes and checks them.

    >>> Settings.build(data="ranked.csv", learning_rate=1e-5).learning_rate
    1e-05
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        defer_build=True,  # until settings are made: `--help` does without
    )

    recipe: Literal["default", "fast", "best", "plain"] = Field(
        "default",
        description="settings under one name, before which goes what is given. fast: the head "
        "alone; best: more and smaller steps; plain: no control, no head fitted first",
    )

    # -- data --
    data: (
        str
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[dict[str, float], Field(min_length=1)]
    ) = Field(
        description="ranked or paired preference data: file, folder, glob or hub name; several "
        "with a weight each, as in a.csv:0.7, are a mixture"
    )
    mixture: Literal["once", "repeat"] = Field(
        "once",
        description="of sources with weights, in an epoch. once: no ranking twice, as many as the "
        "scarcest source allows; repeat: every ranking, those of scarce sources again and again",
    )
    validation_data: str | Annotated[list[str], Field(min_length=1)] | dict[str, str] | None = (
        Field(
            None,
            description="validate on this instead of a part of `data`; sets with a name each, as "
            "expert=a.csv, are measured apart",
        )
    )
    validation_set: str = Field(
        "mean",
        description="which of several named sets to validate on chooses the checkpoint; mean: the "
        "mean of their metrics",
    )
    test_data: str | None = Field(None, description="test on this instead of a part of `data`")
    validation_fraction: Fraction = Field(
        0.1, description="share of the prompts held out to choose the best checkpoint"
    )
    test_fraction: Fraction = Field(
        0.2, description="share of the prompts held out to measure the result"
    )
    columns: Annotated[dict[str, str], _COLUMNS] = {}
    encoding: Encoding = None
    streaming: Streaming = None
    on_bad_row: OnBadRow = "reject"
    max_rejected: MaxRejected = 0.1

    # -- model --
    base: str = Field(
        "embedded:minilm",
        description="base model: hub name, folder, embedded:minilm or embedded:smollm2",
    )
    new_head: bool = Field(
        False,
        description="draw a new head where the base model brings one, or weights that are not used",
    )
    attributes: str | None = Field(None, description=_ATTRIBUTES)
    pooling: Annotated[str, _check("pooling", "auto"), _names("pooling", "auto")] = Field(
        "auto",
        description="auto: last for decoders; for encoders cls, but layers where they were "
        "pretrained to be mean-pooled or only the head is trained",
    )
    template: Literal["auto", "chat", "plain"] = Field(
        "auto",
        description="layout of a decoder's text; auto: chat where the tokenizer has a template",
    )
    separator: str = Field(
        "\n\n",
        description="between prompt and completion in a plain decoder's text, whatever the base "
        "model was saved with",
    )
    chat_template: ChatTemplate = None
    chat_template_args: ChatTemplateArgs = {}
    max_length: MaxLength = None
    dtype: Dtype = "auto"
    layout: Literal["auto", "flat", "padded"] = Field(
        "auto",
        description="of tokens in a batch; auto: flat, each unique one once, if the model allows",
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="a decoder's norms and gates, for training on a CPU in bfloat16; auto: where "
        "the run is long enough and a C++ compiler is there",
    )
    lora_r: Annotated[int, Field(ge=0)] = Field(
        0, description="rank of LoRA adapters; 0 trains all weights"
    )
    lora_alpha: Count = Field(32, description="scale of LoRA adapters")
    lora_dropout: Fraction = Field(0.0, description="dropout inside LoRA adapters")
    lora_target_modules: str | list[str] | None = Field(
        None, description="modules that LoRA adapts; by default peft's choice for the base model"
    )
    use_dora: bool = Field(
        False, description="LoRA with the weights' lengths learnt apart (DoRA); slower"
    )
    use_rslora: bool = Field(
        False, description="scale LoRA by the root of its rank, which suits high ranks (rsLoRA)"
    )
    load_in_4bit: bool = Field(
        False, description="train LoRA on a base model kept in 4 bits (QLoRA)"
    )
    save_adapter: bool = Field(
        False,
        description="save the LoRA adapter by itself, too, in the run's adapter/, for peft and TRL",
    )
    freeze_layers: Annotated[int, Field(ge=-1)] = Field(
        0,
        description="train without the embeddings and so many of the lowest layers; -1: head alone",
    )
    head_epochs: Annotated[float, Field(ge=0)] = Field(
        10.0,
        description="passes for a new head alone, over 2,000 rankings at most, before the whole "
        "model is trained; 0: none",
    )
    features_cache: str | None = Field(
        None, description="folder for what frozen layers give; by default in the user's cache"
    )
    features_cache_gb: Annotated[float, Field(ge=0)] = Field(
        10.0, description="gigabytes that this folder may take; 0 computes it anew each time"
    )
    gradient_checkpointing: bool = Field(False, description="trade speed for memory")

    # -- loss --
    loss: Annotated[str, _check("objective"), _names("objective")] = Field(
        "bradley-terry", description="what is learnt from a ranking"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="share of pairs thought to be labelled the wrong way round"
    )
    center_rewards_coefficient: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight of the term that draws rewards to mean zero"
    )
    sft_coefficient: AtLeastZero = Field(
        0.0,
        description="weight of a language-model loss on each ranking's best completion, which "
        "keeps a decoder's states general",
    )
    disable_dropout: bool = Field(
        True, description="train without dropout, which also doubles the speed on a CPU"
    )
    control: list[str] = Field(
        ["length"],
        description="nuisances whose share is taken out of training, as in length,markdown; "
        "column:NAME is an attribute in the data; none: nothing is",
    )
    control_method: Literal["expert", "odin", "two-stage"] = Field(
        "expert",
        description="how: a curve of them in the loss, fitted to the preferences (expert) or to a "
        "first training's rewards (two-stage), or a head of their own (odin)",
    )
    control_weight: Literal["fitted", "learned"] | float = Field(
        "fitted",
        description="of a nuisance: a curve fitted first, one learned along, or so much for a unit",
    )
    control_strength: AtLeastZero = Field(
        0.5, description="how much of what the nuisances explain is taken out; 0: nothing, 1: all"
    )
    control_anneal: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of the strength that is given up, step by step, until the last one"
    )

    # -- optimisation --
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        2e-5,
        description="peak learning rate; unless given, 1e-4 for LoRA and under a head that is not "
        "fitted first; where only the head is trained 0.01, or 0.001 if its pooling is layers",
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
        1.0,
        description="passes over the training rankings; unless given, 2 for LoRA and under a head "
        "that is not fitted first, 10 with the head alone",
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
        description="tokens of a forward pass, padding included; a larger step, or ranking, is "
        "divided, exactly; by default 4096, on a GPU 32768",
    )
    # Below 2^32, since that is what numpy takes.
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0,
        description="of the head's weights and the order of the data, and of the split unless "
        "split_seed says otherwise",
    )
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = Field(
        None,
        description="of the split into train, validation and test, and of folds; by default seed",
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
    metric_for_best_model: Literal[
        "auto", ValidationMetric, "calibrated_log_loss", "controlled_log_loss", "last"
    ] = Field(
        "auto",
        description="what makes a checkpoint the best on the validation prompts; last: keep the "
        "last; auto: log_loss, with a control controlled_log_loss",
    )
    early_stopping_patience: Annotated[int, Field(ge=0)] = Field(
        0,
        description="stop after so many validations without a better one; 0 never stops early",
    )
    eval_suite: list[str] = Field(
        default_factory=list,
        description="benchmark to score at every validation and log as eval_NAME, which chooses no "
        "checkpoint: file, folder or hub name, or NAME=DATA",
    )
    eval_suite_items: Count = Field(
        200, description="items of each `eval_suite` to score, drawn once, by `seed`"
    )
    max_validation_rankings: Count = Field(
        1000,
        description="rankings held out to validate, and again to test, when `data` is streamed",
    )
    stress: AtLeast0 = Field(
        50,
        description="test rankings to score again with rewritten answers; 0 for none",
    )
    uncertainty: Annotated[str, _check("posterior", "none"), _names("posterior", "none")] = Field(
        "none",
        description="store with the model how uncertain its head is; laplace knows what is unlike "
        "the training data, sandwich what hangs on a few prompts",
    )
    training_hashes: bool = Field(
        True,
        description="keep hashes of the training texts with the model, by which measuring it "
        "notices rows that it was trained on",
    )
    report: bool = Field(
        True,
        description="write plots/ and report.html, which `plaudit report` can write later",
    )
    report_to: list[str] = Field(
        default_factory=list, description="trackers to log to as well: tensorboard, wandb, …"
    )

    @model_validator(mode="before")
    @classmethod
    def _by_recipe(cls, values: Any) -> Any:
        # A head on fixed features is a small convex problem: with the steps that suit a whole model
        # it would stay where it was drawn. On the features of all layers it takes smaller ones.
        if isinstance(values, dict):
            values = {**RECIPES.get(str(values.get("recipe", "default")), {}), **values}
        if isinstance(values, dict) and values.get("freeze_layers") == -1:
            rate = 1e-3 if values.get("pooling") == "layers" else 0.01
            return {"learning_rate": rate, "num_train_epochs": 10, "save_steps": 200} | values
        # What begins at random has further to go than a model under a head that fits it.
        if isinstance(values, dict) and (values.get("head_epochs") == 0 or values.get("lora_r")):
            return {"learning_rate": 1e-4, "num_train_epochs": 2} | values
        return values

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        # To pydantic `true` is 1, and so then is YAML's `yes`.
        if isinstance(value, bool) and "true or false" not in allowed(str(info.field_name)):
            raise ValueError("a boolean")
        return value

    @field_validator("data", mode="before")
    @classmethod
    def _sources(cls, value: Any) -> Any:
        return sources.data_of(value)

    @field_validator("validation_data", mode="before")
    @classmethod
    def _sets(cls, value: Any) -> Any:
        return sources.sets_of(value)

    @field_validator("control", mode="before")
    @classmethod
    def _between_commas(cls, value: Any) -> Any:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            return value
        names = [name.strip() for text in texts for name in text.split(",")]
        return [name for name in dict.fromkeys(names) if name not in ("", "none")]

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        for name in self.control:
            if not name.startswith("column:") and name not in _registry("nuisance"):
                names = _registry("nuisance").names()
                raise ValueError(
                    f"control: there is no nuisance {name}{nearest_of(name, names)}; there are "
                    f"{', '.join(names)} and column:NAME"
                )
        if self.compile == "on" and self.dtype == "float32":
            raise ValueError("compile: on is for bfloat16, and dtype is float32; leave one out")
        if self.control_method != "expert":
            if not self.control:
                raise ValueError(
                    f"control_method: {self.control_method} needs a control, as in control length"
                )
            if self.control_weight != "fitted":
                raise ValueError(
                    "control_weight: only goes with control_method expert; leave it out or set that"
                )
        if self.metric_for_best_model == "controlled_log_loss" and not self.control:
            raise ValueError(
                "metric_for_best_model: controlled_log_loss needs a control, as in control length"
            )
        if self.metric_for_best_model == "last" and self.early_stopping_patience:
            raise ValueError(
                "early_stopping_patience: metric_for_best_model last leaves no metric to watch"
            )
        if self.mixture != "once" and not isinstance(self.data, dict):
            raise ValueError(
                f"mixture: {self.mixture} is for data with weights, as in a.csv:0.7 b.jsonl:0.3"
            )
        if self.validation_set != "mean" and self.validation_set not in self.validation_sets:
            sets = ", ".join(self.validation_sets) or "none; name them: validation_data NAME=FILE"
            raise ValueError(
                f"validation_set: there is no set {self.validation_set}"
                f"{nearest_of(self.validation_set, self.validation_sets)}; there are {sets}"
            )
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        if self.max_steps == 0:
            raise ValueError("max_steps: 0 trains nothing; take 1 or more, or -1 to go by epochs")
        if self.freeze_layers == -1 and self.lora_r:
            raise ValueError(
                "freeze_layers: -1 leaves LoRA nothing to adapt; set lora_r 0, or freeze fewer"
            )
        for name in ("use_dora", "use_rslora", "load_in_4bit", "save_adapter"):
            if getattr(self, name) and not self.lora_r:
                raise ValueError(f"{name}: needs LoRA; set lora_r, for example to 16")
        if self.load_in_4bit and self.save_adapter:
            raise ValueError(
                "save_adapter: does not go with load_in_4bit, since elsewhere the base model is "
                "not in 4 bits, and rewards would be others; model/ has the merged model"
            )
        if self.load_in_4bit and (self.freeze_layers or self.sft_coefficient):
            other = "freeze_layers" if self.freeze_layers else "sft_coefficient"
            raise ValueError(f"load_in_4bit: does not go with {other}; set it to 0")
        return self

    @property
    def seed_of_split(self) -> int:
        """The seed by which prompts are divided."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def validation_sets(self) -> list[str]:
        """The names of the sets to validate on; none where there is one without a name."""
        return [*self.validation_data] if isinstance(self.validation_data, dict) else []

    @property
    def checkpoint_metric(self) -> str | None:
        """The metric of `metric_for_best_model`, `auto` resolved; None where the last is kept."""
        if self.metric_for_best_model == "auto":
            return "controlled_log_loss" if self.control else "log_loss"
        return None if self.metric_for_best_model == "last" else self.metric_for_best_model

    @classmethod
    def build(cls, config: str | Path | None = None, **settings: Any) -> "Settings":
        """Settings from a YAML file, with `settings` going before what it says.

        Raises `PlauditError` for an unknown or ill-typed setting, naming it, the nearest valid name
        and the allowed values.
        """
        from plaudit.yaml_file import read_yaml

        in_file = renamed(read_yaml(config), f"{config}: ") if config is not None else {}
        given = renamed(settings)
        recipe = RECIPES.get(str(given.get("recipe")), {})  # asked for now: before the file
        if given.get("recipe", in_file.get("recipe")) != in_file.get("recipe"):
            in_file = cls._without_recipe(in_file)
        values = {**in_file, **recipe, **given}
        try:
            return cls(**values)
        except ValidationError as error:
            faulty = {problem["loc"][0] for problem in error.errors() if problem["loc"]}
            where = f"{config}: " if faulty & in_file.keys() - settings.keys() else ""
            raise PlauditError(where + explain(error, values)) from error

    @classmethod
    def _without_recipe(cls, in_file: dict[str, Any]) -> dict[str, Any]:
        """What a file that names a recipe, as a run's `config.yaml` does, says besides: with
        another recipe, what stands there because of this one does not count as given."""
        if (recipe := in_file.get("recipe")) not in RECIPES:
            return in_file
        alone = {"data": "unused", "recipe": recipe}
        kept = {name: in_file[name] for name in ("freeze_layers", "pooling") if name in in_file}
        try:
            meant = cls.model_validate(alone | kept).model_dump()
            its_own = cls.model_validate(alone).model_dump()
            meant |= {name: its_own[name] for name in kept}
        except ValidationError:  # which is said of the file as it is
            return in_file
        del meant["data"]
        return {k: v for k, v in in_file.items() if k not in meant or v != meant[k]}

    def yaml(self) -> str:
        """The resolved settings as YAML that `build` reads back."""
        import yaml

        # Not `allow_unicode`, with which PyYAML does not read back every text that it wrote.
        return yaml.safe_dump(self.model_dump(), sort_keys=False)

    def save(self, path: str | Path) -> None:
        """Write them to a file, as `yaml` gives them."""
        with writing(path) as file:
            file.write(self.yaml())


def renamed(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Settings under their present names, whatever earlier versions called them.

    Raises `PlauditError`, which begins with `where`, for a value that is no good.

    >>> renamed({"strict": True, "seed": 1})
    {'seed': 1, 'on_bad_row': 'stop'}
    """
    given = dict(values)
    if "strict" in given:
        strict = given.pop("strict")
        if not isinstance(strict, bool):
            raise PlauditError(f"{where}strict: {strict!r} is not true or false")
        given.setdefault("on_bad_row", "stop" if strict else "reject")
    return given


# ---- an option, whatever it is an option of ----


@dataclass(frozen=True)
class Option:
    """A declared option: a setting, or a parameter of a command's function.

    `help` holds its sentence and how the command line shows it; `positional` is whether Python
    takes it by position.
    """

    name: str
    type: Any
    default: Any
    help: Help
    positional: bool = False

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def shown_default(self) -> str:
        """Its default, for a person; empty where that is nothing."""
        if self.required or self.default is None or self.default in ((), [], {}):
            return ""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        plain = isinstance(self.default, str) and self.default.isprintable()
        return str(self.default) if plain else repr(self.default)

    @cached_property
    def kinds(self) -> list[dict[str, Any]]:
        """The kinds of values that it takes, each as JSON schema has it."""
        schema = self._adapter.json_schema()
        kinds: list[dict[str, Any]] = schema.get("anyOf", [schema])
        return kinds

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        base = get_args(self.type)[0] if get_args(self.type) else self.type
        # A name of a type that would have to be imported: on the command line it is text.
        return TypeAdapter(str if isinstance(base, ForwardRef) else self.type)

    def allowed(self) -> str:
        """What values it takes, for a person."""
        return ", or ".join(dict.fromkeys(map(_in_words, self.kinds)))

    def choices(self) -> list[str]:
        """The values that it has to be one of; none where any text or number will do."""
        return [str(value) for kind in self.kinds for value in kind.get("enum", ())]

    def is_of(self, *types: str) -> bool:
        """Whether values of one of these types of JSON schema are allowed."""
        return any(kind.get("type") in types for kind in self.kinds)

    def value(self, text: str) -> Any:
        """The value that a flag's text stands for; raises `ValueError` that says what is allowed.

        The checks that need other settings come later.
        """
        if text == "null" and self.is_of("null"):
            return None
        try:
            value = self._adapter.validate_python(text)
        except ValidationError as error:
            why = next(filter(None, map(_own_words, error.errors())), self.refusal(text))
            raise ValueError(why) from error
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(self.refusal(text))
        return value

    @property
    def is_json(self) -> bool:
        """Whether its value is any JSON object, and no pairs of texts."""
        return any(_is_any_object(kind) for kind in self.kinds)

    def refusal(self, value: Any) -> str:
        """That a value is none of those allowed, and which of them it is most like."""
        shown = "null" if value is None else repr(value)
        return f"{shown} is not {self.allowed()}{nearest_of(str(value), self.choices())}"


def options_of(declared: Callable[..., Any]) -> Iterator[Option]:
    """The options that a class of settings or a function declares, in order.

    The type of `**settings` names the classes whose options the function takes too.
    """
    if isinstance(declared, type) and issubclass(declared, BaseModel):
        for name, field in declared.model_fields.items():
            default = field.get_default(call_default_factory=True)
            if default is PydanticUndefined:
                default = inspect.Parameter.empty
            kind: Any = field.annotation
            yield Option(name, Annotated[kind, field], default, Help(field.description or ""))
        return
    parameters = inspect.signature(declared).parameters
    for parameter in parameters.values():
        notes = getattr(parameter.annotation, "__metadata__", ())
        if parameter.kind is parameter.VAR_KEYWORD:
            without = {name for note in notes if isinstance(note, Without) for name in note.names}
            for option in options_of(notes[0]) if notes else ():
                if option.name not in without | parameters.keys():
                    yield option
            continue
        shown = next((note for note in notes if isinstance(note, Help)), None)
        if shown is None:
            texts = [n.description for n in notes if isinstance(n, FieldInfo) and n.description]
            if not texts:
                continue  # of Python alone
            shown = Help(texts[-1])
        default = parameter.default if parameter.default is not parameter.empty else shown.default
        positional = parameter.kind is parameter.POSITIONAL_OR_KEYWORD and not shown.flag
        yield Option(parameter.name, parameter.annotation, default, shown, positional)


@cache
def _settings() -> dict[str, Option]:
    return {option.name: option for option in options_of(Settings)}


# What other programs, and people, call some of them.
ELSEWHERE = {
    **dict.fromkeys(("model", "model_name", "model_name_or_path"), "base"),
    **dict.fromkeys(("epochs", "num_epochs"), "num_train_epochs"),
    **dict.fromkeys(("batch_size", "train_batch_size"), "per_device_train_batch_size"),
    "lr": "learning_rate",
    "output_dir": "output",
}


def nearest(name: str) -> str | None:
    """The setting that others call `name`, or whose name is most like it; None when none is.

    >>> nearest("learning_rat"), nearest("model")
    ('learning_rate', 'base')
    """
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    near = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.5)
    return near[0] if near else None


def nearest_of(word: str, names: Iterable[str]) -> str:
    """A hint to the name that is most like a mistyped word; empty where none is.

    >>> nearest_of("lst", ["auto", "last"])
    '; the nearest is last'
    >>> nearest_of("--separate", ["--spread", "--base"])
    ''
    """
    bare = {name.lstrip("-"): name for name in names}  # all flags begin alike, which says nothing
    near = difflib.get_close_matches(word.lstrip("-"), list(bare), n=1, cutoff=0.6)
    return f"; the nearest is {bare[near[0]]}" if near else ""


def allowed(name: str) -> str:
    """What values a setting takes, for a person.

    >>> allowed("max_steps"), allowed("lora_dropout")
    ('a whole number, -1 or more', 'a number, 0 or more, below 1')
    >>> allowed("streaming")
    'true or false, or null'
    """
    return _settings()[name].allowed()


def _own_words(problem: Mapping[str, Any]) -> str:
    """What is wrong with a value, where that says more than what is allowed; else empty."""
    error = problem.get("ctx", {}).get("error")
    own = (sources.SourceError, RepeatedKeyError, InsteadError)
    return str(error) if isinstance(error, own) else ""


def explain(error: ValidationError, values: Mapping[str, Any]) -> str:
    """One line for a person: which of the settings are wrong and what they may be."""
    problems = {}
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "extra_forbidden":
            near = nearest(name)
            hint = f"; the nearest is {near}" if near else ""
            problems[name] = f"there is no setting {name}{hint}"
        elif problem["type"] == "missing":
            problems[name] = f"{name} is needed: {Settings.model_fields[name].description}"
        elif why := _own_words(problem):
            problems[name] = f"{name}: {why}"
        elif name:
            problems[name] = f"{name}: {_settings()[name].refusal(values[name])}"
        else:
            problems[name] = problem["msg"].removeprefix("Value error, ")
    return "; ".join(problems.values())


def _is_any_object(kind: dict[str, Any]) -> bool:
    return kind.get("type") == "object" and kind.get("additionalProperties") is True


def _in_words(kind: dict[str, Any]) -> str:
    if _is_any_object(kind):
        return "a JSON object"
    if "enum" in kind:
        names: list[str] = kind["enum"]
        return ", ".join(names[:-1]) + " or " + names[-1]
    values = kind.get("additionalProperties") or {}
    words = [
        {
            "array": "a list of texts",
            "boolean": "true or false",
            "integer": "a whole number",
            "null": "null",
            "number": "a number",
            "object": "names with numbers" if values.get("type") == "number" else "pairs of texts",
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
