"""A folder with a LoRA adapter: its base model found, the adapter merged, its head demanded.

peft saves an adapter with the head that was trained beside it, unless whoever trained it forgot to
say so; then the head is lost, and what is loaded would give random rewards. `TrainedAdapter` writes
such a folder.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from plaudit.errors import PlauditError
from plaudit.files import read_json
from plaudit.model import base_models
from plaudit.model.base_models import Source

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # of names in an adapter's file
# What transformers' classifiers call the linear layer that gives their logits.
HEADS = ("score.weight", "classifier.weight", "classifier.out_proj.weight")


@dataclass(frozen=True)
class Adapter:
    """An adapter, the base model it belongs to, and how many labels its head has: 0 where it has
    none, and then the base's own is meant unless it `trained_head`. `folder` is where its files
    are, of one on the hub that of their copies."""

    source: Source
    folder: Path
    base: Source
    labels: int
    trained_head: bool  # whether its configuration says that a head was trained with it
    names: frozenset[str]  # of the weights that it has, as the base model's classifier names them
    beside: dict[str, Any]  # a `config.json` that lies there, else empty

    @property
    def tokenizer(self) -> Source:
        """Where the tokenizer lies: beside the adapter, or with the base model."""
        return self.source if base_models.has_tokenizer(self.source) else self.base

    def without_head(self) -> PlauditError:
        """What to say where nothing has a head for it."""
        return PlauditError(
            f"{self.source} is a LoRA adapter of {self.base} without a head: none of "
            f"its weights ends in {' or '.join(HEADS)}, and a new head's rewards are random. "
            "Whoever trained it can save it with `modules_to_save` in the LoraConfig"
        )

    def merged(self, model: Any, drawn: Collection[str]) -> Any:
        """The base model's classifier with the adapter in its weights, and the adapter's head.

        `drawn` are the weights that the base model lacks, and the adapter must have.
        """
        from peft import PeftConfig, PeftModel, TaskType, get_peft_model_state_dict

        if lost := sorted(set(drawn) - self.names):
            raise PlauditError(
                f"{self.source} is a LoRA adapter of {self.base}, and neither has the "
                f"weights {', '.join(lost[:3])}: they were drawn at random when it was trained and "
                "not saved. Whoever trained it can save them with `modules_to_save` in the "
                "LoraConfig"
            )
        try:
            with base_models.quiet():
                config = PeftConfig.from_pretrained(str(self.folder))
                if config.task_type != TaskType.SEQ_CLS:  # for which peft wants a model that writes
                    config.task_type = None
                adapted = PeftModel.from_pretrained(model, str(self.folder), config=config)
                self._check_names(get_peft_model_state_dict(adapted))
                return adapted.merge_and_unload().requires_grad_(True)  # which peft froze
        except PlauditError:
            raise
        except Exception as error:  # weights of another base model fail in many ways
            reason = " ".join(str(error).split())[:200]
            raise PlauditError(
                f"{self.source} is a LoRA adapter that does not fit its base model "
                f"{self.base} ({reason})"
            ) from error

    def _check_names(self, expected: Collection[str]) -> None:
        """Hold the names of the file's weights against those that the adapted model has."""
        names = {name.removeprefix(PREFIX) for name in expected}
        known = {name for name in names | self.names if name.endswith(HEADS)}
        lost, left = names - self.names - known, self.names - names - known
        if lost or left:
            what = f"lacks {sorted(lost)[0]}" if lost else f"has {sorted(left)[0]} besides"
            raise PlauditError(
                f"{self.source} is a LoRA adapter that does not fit its base model "
                f"{self.base}: of what its {CONFIG} adapts it {what}"
            )


def left_aside(source: Source) -> bool:
    """Whether there is an adapter beside a whole model, whose weights and head are the ones meant.

    A `config.json` alone is no model: some trainers put that of the base beside an adapter.
    """
    if source.is_gguf or not base_models.file_beside(source, CONFIG):
        return False
    whole = base_models.file_beside(source, "config.json") is not None
    return whole and base_models.has_weights(source)


def read_adapter(source: Source) -> Adapter | None:
    """The adapter in a folder or on the hub; None where there is none, or a whole model beside it:
    one that was merged is often saved into its adapter's folder.

    Raises:
        PlauditError: when its base model cannot be told, or its weights cannot be read.
    """
    file = None if source.is_gguf else base_models.file_beside(source, CONFIG)
    if file is None or left_aside(source):
        return None
    folder = file.parent
    config = read_json(file)
    given = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(given, str) or not given:
        raise PlauditError(
            f"{source} is a LoRA adapter whose {CONFIG} names no base model; set its "
            "base_model_name_or_path"
        )
    beside = folder / given
    local = beside.is_dir() or Path(given).exists()
    base = base_models.locate(
        str(beside) if beside.is_dir() else given,
        None if local else config.get("revision"),
        trusted=source.trusted,
    )
    try:
        base_models.load_config(base)
    except PlauditError as error:
        raise PlauditError(
            f"{source} is a LoRA adapter of {given}, which cannot be loaded here; set "
            f"base_model_name_or_path in its {CONFIG} to a folder that has it ({error})"
        ) from error
    try:
        stored = base_models.file_beside(source, WEIGHTS) or folder / WEIGHTS
        with safe_open(stored, framework="pt") as weights:
            names = frozenset(key.removeprefix(PREFIX) for key in weights.keys())  # noqa: SIM118
            found = [key for key in weights.keys() if key.endswith(HEADS)]  # noqa: SIM118
            labels = [weights.get_slice(key).get_shape()[0] for key in found]
    except (OSError, SafetensorError) as error:
        old = base_models.file_beside(source, "adapter_model.bin")
        advice = f"; save the {old.name} that is there as safetensors" if old else ""
        raise PlauditError(
            f"{source} is a LoRA adapter without readable weights in {WEIGHTS}{advice} ({error})"
        ) from error
    # peft trains the head of this task whether it is named or not.
    named = {str(name).rpartition(".")[2] for name in config.get("modules_to_save") or ()}
    trained = config.get("task_type") == "SEQ_CLS" or bool(named & {"score", "classifier"})
    own = base_models.file_beside(source, "config.json")
    noted = read_json(own) if own else {}
    noted = noted if isinstance(noted, dict) else {}
    return Adapter(source, folder, base, labels[0] if labels else 0, trained, names, noted)


@dataclass(frozen=True)
class TrainedAdapter:
    """An adapter as training left it, before it was merged.

    `config` is peft's, and `weights` are named as in its file; those that LoRA has no part in, such
    as the head, are what they are in the model that it was merged into.
    """

    base: Source
    config: Any
    weights: "Mapping[str, Tensor]"

    @classmethod
    def of(cls, adapted: Any, base: Source) -> "TrainedAdapter":
        """The adapter of a `PeftModel`, which may be merged afterwards."""
        from peft import get_peft_model_state_dict

        # The embeddings are the base's: where a pad token was added, no text has it.
        weights = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        kept = {name: weight.detach().cpu().clone() for name, weight in weights.items()}
        return cls(base, adapted.peft_config["default"], kept)

    def save(self, folder: Path, merged: Any) -> None:
        """Write peft's two files into an existing folder; `merged` is the model with the adapter
        merged, of which the head is."""
        from safetensors.torch import save_file

        whole = merged.state_dict()
        weights = {
            name: weight if "lora_" in name else whole[name.removeprefix(PREFIX)].cpu()
            for name, weight in self.weights.items()
        }
        local = Path(self.base.name).is_dir()
        self.config.base_model_name_or_path = (
            str(Path(self.base.name).resolve()) if local else self.base.name
        )
        self.config.revision = self.base.options.get("revision")
        self.config.inference_mode = True
        self.config.save_pretrained(folder)
        contiguous = {name: weight.contiguous() for name, weight in weights.items()}
        save_file(contiguous, folder / WEIGHTS, metadata={"format": "pt"})


def check_savable(base: Source, adapter: Adapter | None, own_class: bool) -> None:
    """Raise `PlauditError` where an adapter of this base model could not be loaded from a folder.

    `own_class` says that the model's class is plaudit's own.
    """
    why = ""
    if adapter is not None:
        why = f"{adapter.source} is itself an adapter, whose merged weights are in no file"
    elif base.is_gguf:
        why = f"{base} is a GGUF file, which peft does not load adapters onto"
    elif own_class:
        why = (
            "the pooling has a class of plaudit's own, which peft does not know; choose pooling "
            "last or cls"
        )
    if why:
        raise PlauditError(f"save_adapter: {why}, or leave it out: model/ has the merged model")
