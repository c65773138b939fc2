"""The head of a decoder that another trainer saved under a name of its own.

TRL's PPO models and LLaMA-Factory's have `v_head.summary`, with a bias, in the model's files or in
`value_head.safetensors` beside them; OpenRLHF's have a layer that their configuration names, and
may say what rewards are normalised by; GGUF files have `cls.output`. All read the last token of a
row, as `last` does. The bias is no part of transformers' classifiers: it becomes part of the
normalisation.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import safe_open
from torch import Tensor, nn

from plaudit.errors import PlauditError
from plaudit.files import read_json
from plaudit.model import base_models
from plaudit.model.base_models import INDEX, WEIGHTS, Source
from plaudit.model.normalisation import Normalisation

TRL = "v_head.summary"
# How OpenRLHF calls a reward model's class, and its head where the configuration names none.
OPENRLHF, ITS_HEAD = "RewardModel", "score"
GGUF = "cls.output"
BESIDE = ("value_head.safetensors", "value_head.bin")


@dataclass(frozen=True)
class ValueHead:
    """A linear layer to one number: `weight[1, H]`, and how the checkpoint calls it."""

    name: str
    weight: Tensor
    bias: float
    mean: float
    std: float
    file: str

    @property
    def names(self) -> set[str]:
        """What the checkpoint calls its weights."""
        return {f"{self.name}.weight", f"{self.name}.bias"}

    def put_into(self, model: Any) -> None:
        """Give a classifier this head.

        Raises:
            PlauditError: where it is for states of another width.
        """
        if self.weight.shape != model.score.weight.shape:
            ours, its = (tuple(weight.shape) for weight in (model.score.weight, self.weight))
            raise PlauditError(
                f"the value head in {self.file} has the shape {its} and this model needs "
                f"{ours}: they are not of one model; copy all files of one model"
            )
        model.score.weight = nn.Parameter(self.weight.float())

    @property
    def normalisation(self) -> Normalisation | None:
        """The bias, and what the configuration normalises by; None where there is neither."""
        mean = self.mean - self.bias
        return Normalisation(mean, self.std, 0, [self.file]) if (mean, self.std) != (0, 1) else None


def read_value_head(place: Source, config: Any) -> ValueHead | None:
    """The head of another trainer's that a checkpoint has; None where there is none.

    `place` is the checkpoint, or the adapter which lies on it, where there is one.

    Raises:
        PlauditError: when a file that has it cannot be read.
    """
    if place.is_gguf:
        return _of_gguf(place)
    named = getattr(config, "value_head_prefix", None) or (ITS_HEAD if is_openrlhf(config) else "")
    for head in filter(None, (TRL, named)):
        for file in _files(place, f"{head}.weight"):
            found = _read(file, head)
            if f"{head}.weight" not in found:
                continue
            for other in _files(place, f"{head}.bias"):  # which may be in another shard
                if f"{head}.bias" not in found:
                    found |= _read(other, head)
            weight, bias = found[f"{head}.weight"], found.get(f"{head}.bias", torch.zeros(1))
            if weight.dim() != 2 or len(weight) != 1 or bias.numel() != 1:
                raise PlauditError(
                    f"the value head in {file} has the shape {tuple(weight.shape)}; one that "
                    "gives a reward has one row"
                )
            return ValueHead(head, weight, bias.item(), *_normalised_by(config), file=file.name)
    return None


def _of_gguf(place: Source) -> ValueHead | None:
    """The head in a GGUF file, which transformers leaves there; None where there is none.

    llama.cpp calls a classifier's layers `cls` and `cls.output` (gguf/constants.py, 0.19.0); of a
    decoder the second alone reads the last token.
    """
    file = base_models.file_beside(place, place.options["gguf_file"])
    if file is None:
        return None
    with base_models.loading(place):
        from gguf import GGUFReader, dequantize  # the reader that is kept within this block

        reader = GGUFReader(file)
        found = {
            tensor.name: torch.tensor(dequantize(tensor.data, tensor.tensor_type).copy())
            for tensor in reader.tensors
            if tensor.name.startswith("cls.")
        }
        field = reader.fields.get(
            f"{reader.fields['general.architecture'].contents()}.classifier.output_labels"
        )
        labels = [] if field is None else [str(label) for label in field.contents()]
    if not found:
        return None
    weight, bias = found.pop(f"{GGUF}.weight", None), found.pop(f"{GGUF}.bias", torch.zeros(1))
    if weight is None or found:
        raise PlauditError(
            f"{place} has a head with the weights {', '.join(sorted(found))}; plaudit reads "
            f"a GGUF file's head only where it is one linear layer, {GGUF}; --new-head trains a "
            "head in its place"
        )
    if len(weight) != 1:
        named = f" ({', '.join(labels)})" if labels else ""
        raise PlauditError(
            f"{place} gives {len(weight)} numbers for a text{named}, and a reward is one; "
            "load the model that the file was made from with --attributes"
        )
    return ValueHead(GGUF, weight.float(), bias.item(), 0.0, 1.0, file=file.name)


def _normalised_by(config: Any) -> tuple[float, float]:
    """The mean and deviation that OpenRLHF normalises by; 0 and 1 where it does not."""
    if not getattr(config, "normalize_reward", False):
        return 0.0, 1.0
    mean, std = getattr(config, "mean", 0.0), getattr(config, "std", 1.0)
    numbers = all(isinstance(x, int | float) and math.isfinite(x) for x in (mean, std))
    if not numbers or std <= 0:
        raise PlauditError(
            f"config.json normalises rewards by mean {mean!r} and std {std!r}; mend them: "
            "both must be numbers, and std above 0"
        )
    return float(mean), float(std)


def has_file_of_head(source: Source) -> bool:
    """Whether a folder has a file that LLaMA-Factory keeps a value head in."""
    return any(base_models.file_beside(source, name) for name in BESIDE)


def adds_nothing(place: Source, weight: str) -> bool:
    """Whether a weight of a checkpoint's files is 0 everywhere, as a bias may be that a program
    asks for (SGLang does)."""
    head = weight.rpartition(".")[0]
    found = [_read(file, head).get(weight) for file in _files(place, weight)]
    return any(values is not None and not values.any() for values in found)


def is_openrlhf(config: Any) -> bool:
    """Whether a configuration is that of OpenRLHF's reward model."""
    return OPENRLHF in (config.architectures or ())


def _files(place: Source, weight: str) -> Iterator[Path]:
    """The files of a checkpoint that may have a weight: of one in shards, that which says so."""
    for name in BESIDE:
        if file := base_models.file_beside(place, name):
            yield file
    for name in WEIGHTS:
        shard: str | None = name
        if index := base_models.file_beside(place, f"{name}{INDEX}"):
            shard = read_json(index)["weight_map"].get(weight)
        file = base_models.file_beside(place, shard) if shard else None
        if file:
            yield file
        if file or index:  # transformers reads no others beside these
            return


def _read(file: Path, head: str) -> dict[str, Tensor]:
    """Those weights of a file that are a head's, by their names; no code of a file's is run."""
    with base_models.loading(Source(str(file.parent))):
        if file.suffix == ".bin":
            every = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zipfile(file))
            return {name: every[name] for name in every if name.startswith(f"{head}.")}
        with safe_open(file, framework="pt") as weights:
            names = [name for name in weights.keys() if name.startswith(f"{head}.")]  # noqa: SIM118
            return {name: weights.get_tensor(name) for name in names}
