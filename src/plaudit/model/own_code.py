"""A reward model of a class that its repository brings, run by that class's own forward.

Its code runs only where the user trusts it. What it returns is read by what such classes agree on:
`score` (ArmoRM, QRM), else `logits` (InternLM2's reward models), or of a tuple the one tensor with
a number for each row (GRM's last). It gets rows that are padded on the right, on whatever side they
were padded; where that changes a reward, because the class knows of no padding, each row is
computed alone. The shapes are those of the code in the repositories
RLHFlow/ArmoRM-Llama3-8B-v0.1, nicolinho/QRM-Llama3.1-8B, Ray2333/GRM-llama3-8B-sftreg and
internlm/internlm2-7b-reward.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from plaudit.errors import PlauditError
from plaudit.model import base_models
from plaudit.model.base_models import Kind, Source, Weights

# What `auto_map` calls the classes that may give rewards, the likeliest first.
MAPPED = ("AutoModelForSequenceClassification", "AutoModel", "AutoModelForCausalLM")
NAMED = ("score", "scores", "logits", "rewards", "reward")
# Texts of documentation that modelling files import, and transformers 5 has no longer.
IMPORTED = re.compile(r"^from (transformers[\w.]*) import (\([^)]*\)|.*)", re.MULTILINE)
DOCUMENTATION = re.compile(r"\b[A-Z0-9_]+_(?:DOCSTRING|FOR_DOC)\b")
TRIED = ("What is 2 + 2?", ["4", "It is four, as far as I know, and so says everyone else."])
TOLERANCE = 1e-5


@dataclass(frozen=True)
class OwnCode:
    """The class that a checkpoint names, and the file that has it, maybe of another repository."""

    name: str
    reference: str
    file: str
    where: str

    def refusal(self, base: str) -> PlauditError:
        """What to say where nobody trusts it."""
        return PlauditError(
            f"{base} is a {self.name}, a class of its own code: {self.file} of {self.where}; "
            "without it the rewards would be others, and code that a model brings is not run "
            "unasked. Read that file, and where you trust it add --trust-remote-code to a command "
            "that scores with it (in Python trust_remote_code=True); it is not trained further, "
            "saved or exported, but plaudit train --new-head trains a head on its base model"
        )


def own_code(given: Mapping[str, Any], source: Source) -> OwnCode | None:
    """The class of its own that `config.json` says gives the rewards; None where that is one of
    transformers', unless the source is trusted and brings another."""
    mapped = given.get("auto_map") or {}
    named = str((given.get("architectures") or [""])[0])
    if not isinstance(mapped, Mapping) or not (source.trusted or not hasattr(transformers, named)):
        return None
    each = [mapped[key] for key in MAPPED if isinstance(mapped.get(key), str)]
    same = [reference for reference in each if reference.rpartition(".")[2] == named]
    if not each or (hasattr(transformers, named) and not same):
        return None  # what is left of its base model's
    reference = (same or each)[0]
    repository, _, place = reference.rpartition("--")
    module, _, name = place.rpartition(".")
    commit = base_models.commit_of(source)
    at = f"{source.name} at revision {commit}" if commit else str(source)
    elsewhere = repository not in ("", source.name)
    where = f"the repository {repository}, at its newest revision" if elsewhere else at
    return OwnCode(name, reference, f"{module.replace('.', '/')}.py", where)


def own_kind(config: Any, given: Mapping[str, Any], name: str) -> Kind:
    """Whether it reads in both directions, as far as anything says; else it is a decoder."""
    try:
        return base_models.kind_of(config, name)
    except PlauditError:
        masked = "AutoModelForMaskedLM" in (given.get("auto_map") or {})
        return "encoder" if masked else "decoder"


def load_own(code: OwnCode, source: Source, config: Any, **options: Any) -> Weights:
    """The model, its weights in float32, by transformers' own way of loading.

    That is passed by where a class has a `from_pretrained` of its own, such as QRM's, which asks
    for FlashAttention and forgets revision and precision.

    Raises:
        PlauditError: where its code cannot be run.
    """
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    with base_models.loading(source):
        _lend_documentation(code, source)
        # Of another repository's code the newest: a revision is one of the model's own.
        of_class: Any = get_class_from_dynamic_module(
            code.reference, source.name, revision=source.options.get("revision")
        )
    if not (inspect.isclass(of_class) and issubclass(of_class, PreTrainedModel)):
        raise PlauditError(
            f"{source}: its class {code.name} is no PreTrainedModel, and so cannot be loaded"
        )
    # What transformers 4 took, and 5 does not: a list, and no call of `post_init`.
    if isinstance(of_class._tied_weights_keys, list):
        of_class._tied_weights_keys = None
    if not hasattr(of_class, "all_tied_weights_keys"):
        of_class.all_tied_weights_keys = {}
    loaded = base_models.load_weights(source, _Loader(of_class), config=config, **options)
    # A class may have made a weight in a precision of its own.
    return loaded._replace(model=loaded.model.float())


class _Loader:
    """What `load_weights` takes for an auto class."""

    def __init__(self, of_class: Any) -> None:
        self._class = of_class

    def from_pretrained(self, name: str, **options: Any) -> Any:
        """`PreTrainedModel`'s, for this class."""
        del options["trust_remote_code"]  # the class is here
        return PreTrainedModel.from_pretrained.__func__(self._class, name, **options)  # type: ignore[attr-defined]


def _lend_documentation(code: OwnCode, source: Source) -> None:
    """Give transformers' modules those texts of documentation that a file imports and that are
    there no longer: nothing is computed with them."""
    repository = code.reference.rpartition("--")[0]
    place = source if repository in ("", source.name) else Source(repository)
    file = base_models.file_beside(place, code.file)
    for module, names in IMPORTED.findall(file.read_text(encoding="utf-8") if file else ""):
        for name in DOCUMENTATION.findall(names):
            if not hasattr(imported := import_module(module), name):
                setattr(imported, name, "")


class _Scores:
    """Mixed into a class of its own code: the rewards `[N, 1]` as `logits`, whatever it returns.

    `alone` computes each row by itself, without padding. `ending` is a token that it reads its
    reward at, which its tokenizer does not append (InternLM2's `reward_token_id`).
    """

    alone = False
    ending: int | None = None

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> SequenceClassifierOutput:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if not mask[:, 0].all():
            order = mask.long().argsort(dim=-1, descending=True, stable=True)
            input_ids, mask = input_ids.gather(1, order), mask.gather(1, order)
            kwargs = {
                name: value.gather(1, order) if _has_rows(value, order) else value
                for name, value in kwargs.items()
            }
        lengths = mask.sum(-1)
        if self.ending is not None:
            # To rows that end in it already, by their template, it is not appended once more.
            ends = input_ids.gather(1, lengths[:, None] - 1) == self.ending
            place = lengths[:, None] - ends.long()
            last = torch.full_like(input_ids[:, :1], self.ending)
            input_ids = torch.cat([input_ids, input_ids[:, :1]], -1).scatter(1, place, last)
            mask = torch.cat([mask, torch.zeros_like(last)], -1).scatter(1, place, 1)
            lengths = mask.sum(-1)
        if not self.alone:
            return SequenceClassifierOutput(logits=self._run(input_ids, mask, kwargs))
        rows = [
            self._run(
                input_ids[n : n + 1, :length],
                mask[n : n + 1, :length],
                {
                    name: value[n : n + 1, :length] if _has_rows(value, input_ids) else value
                    for name, value in kwargs.items()
                },
            )
            for n, length in enumerate(lengths.tolist())
        ]
        return SequenceClassifierOutput(logits=torch.cat(rows))

    def _run(self, input_ids: Tensor, mask: Tensor, more: dict[str, Any]) -> Tensor:
        output = super().forward(  # type: ignore[misc]
            input_ids=input_ids, attention_mask=mask, **more
        )
        return rewards_of(output, len(input_ids), type(self).__name__)


def _has_rows(value: Any, like: Tensor) -> bool:
    """Whether an argument has something for each token of each row, as `like` has."""
    return isinstance(value, Tensor) and value.shape == like.shape


def rewards_of(output: Any, rows: int, name: str) -> Tensor:
    """`[N, 1]`, what a forward returns for N rows, however it calls it.

    Raises:
        PlauditError: where it is not one number for each row, or several things could be.
    """
    given: dict[str, Any]
    if isinstance(output, Tensor):
        given = {"its output": output}
    elif isinstance(output, Mapping) or hasattr(output, "logits"):
        every = output if isinstance(output, Mapping) else vars(output)
        given = {key: every[key] for key in NAMED if isinstance(every.get(key), Tensor)}
        given = dict(list(given.items())[:1])
    else:
        parts = output if isinstance(output, Sequence) else ()
        given = {str(n): part for n, part in enumerate(parts) if isinstance(part, Tensor)}
    fit = [x for x in given.values() if x.shape in ((rows,), (rows, 1))]
    if len(fit) != 1:
        shapes = ", ".join(f"{key} {tuple(x.shape)}" for key, x in given.items()) or "no tensor"
        raise PlauditError(
            f"{name} gives {shapes} for {rows} rows, and a reward is one number for each; "
            f"of what it returns {', '.join(NAMED)} are read, or a tensor of a tuple"
        )
    return fit[0].reshape(rows, 1)


def as_scores(model: Any, encoding: Any, name: str) -> Any:
    """Change the class of a loaded model so that it gives rewards, and find out how it takes rows.

    Raises:
        PlauditError: where its code fails, or does not give a number for each text.
    """
    own = type(model)
    model.__class__ = type(own.__name__, (_Scores, own), {"__module__": own.__module__})
    ending = getattr(model.config, "reward_token_id", None)
    model.ending = ending if isinstance(ending, int) and ending >= 0 else None
    pad = encoding.pad_token_id
    [row] = encoding.encode_texts([TRIED])
    rows = [torch.tensor([ids]) for ids in row["input_ids"]]
    types = [torch.tensor([ids]) for ids in row.get("token_type_ids", ())]
    length = max(ids.shape[1] for ids in rows)
    device = next(model.parameters()).device

    def padded(parts: list[Tensor], value: int) -> Tensor:
        return torch.cat(
            [torch.nn.functional.pad(x, (0, length - x.shape[1]), value=value) for x in parts]
        ).to(device)

    given = {
        "input_ids": padded(rows, pad),
        "attention_mask": padded([torch.ones_like(x) for x in rows], 0),
    }
    if types:
        given["token_type_ids"] = padded(types, 0)
    model.eval()
    try:
        with torch.no_grad():
            model.alone = True
            alone = model(**given).logits
            model.alone = getattr(model.config, "pad_token_id", None) is None
            if not model.alone:
                model.alone = not _same(model, given, alone)
    except PlauditError:
        raise
    except Exception as error:  # code of anybody's may raise anything
        reason = " ".join(str(error).split())[:200] or repr(error)
        version = getattr(model.config, "transformers_version", None)
        made = f"it was saved with transformers {version}, and " if version else ""
        raise PlauditError(
            f"{name}: the code of its {own.__name__} fails: {type(error).__name__}: "
            f"{reason}; {made}this is {transformers.__version__}"
        ) from error
    return model


def _same(model: Any, given: dict[str, Tensor], alone: Tensor) -> bool:
    """Whether padded rows have the rewards that each has alone."""
    try:
        together = model(**given).logits
    except Exception:  # a class may take one row at a time and no more
        return False
    return bool(((together - alone).abs() <= TOLERANCE * alone.abs().clamp(min=1)).all())
