"""What somebody's checkpoint says of itself, and whether what was loaded is what it says.

A checkpoint whose configuration names a `…ForSequenceClassification` brings a head of its own: its
rewards must be what transformers gives, so its pooling, its pad token and all of its weights are
taken as they are. Any other checkpoint is a base model, which gets a new head. Either way a weight
that is left over, or one that is missing, is an error that names it: a reward that is wrong without
a word is worse than none.
"""

import copy
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification

from plaudit.console import say
from plaudit.errors import PlauditError
from plaudit.files import read_json
from plaudit.model import base_models
from plaudit.model.adapter import Adapter
from plaudit.model.base_models import Kind, Source, Weights
from plaudit.model.modeling_mean import without_pooler
from plaudit.model.normalisation import Normalisation
from plaudit.model.own_code import OwnCode, load_own, own_code, own_kind
from plaudit.model.poolings import Pooling
from plaudit.model.value_head import (
    OPENRLHF,
    ValueHead,
    adds_nothing,
    has_file_of_head,
    read_value_head,
)

# Where config.json keeps what plaudit needs beyond transformers' own fields.
CONFIG_KEY = "plaudit"
CLASSIFIER = "ForSequenceClassification"
# What such a head may be given: the first token, or the mean of all. A name that a model's own
# `classifier_pooling` may have → the pooling of that.
POOLED_BY = {"cls": "cls", "bos": "cls", "mean": "own-mean"}
# What `classifier_pooling` calls the first token, where that is not `cls`.
FIRST_TOKEN = {"eurobert": "bos"}
# Of what pretraining needed beside the model, which files keep and the class that they name lacks.
PRETRAINING = re.compile(
    r"(^|\.)(cls|pooler|lm_head|lm_predictions|mask_predictions|predictions|seq_relationship|"
    r"generator_predictions|discriminator_predictions|mtp|position_ids|masked_bias|inv_freq)(\.|$)"
)
# What other tools call the layer that gives their rewards, and whose it is.
HEADS_ELSEWHERE = {
    "v_head": "a value head of TRL's PPO",
    "value_head": "a value head, as OpenRLHF names it",
    "gating": "gating layers, as ArmoRM has them",
    "regression_layer": "a regression layer of code of its own",
    "summary": "a value head",
}
# What heads of other tasks give.
OTHER_TASKS = {
    "ForTokenClassification": "a number for each token, as process reward models do",
    "ForQuestionAnswering": "the places in a text where an answer begins and ends",
    "ForMultipleChoice": "numbers for choices that are read together",
    "ForNextSentencePrediction": "whether a sentence follows another",
}
MOST_NAMED = 3
CROSS_ENCODER = "config_sentence_transformers.json"
# A label by its name, or labels with weights.
Attributes = str | Mapping[str, float]


@dataclass(frozen=True)
class Checkpoint:
    """What lies under a name: where, its configuration, and what gives its rewards.

    `config` may be changed before the weights are loaded. `stored` is what plaudit noted of a model
    that it trained, else empty; `adapter` and `head` are there where they are; `new_head` says that
    a head is to be drawn, whatever the checkpoint brings; `asked` is which of its labels give the
    reward, as a user wrote it; `code` is the class of its own that gives them, where there is one.
    """

    name: str
    source: Source
    config: Any
    kind: Kind
    stored: dict[str, Any]
    normalisation: Normalisation | None
    adapter: Adapter | None
    head: ValueHead | None
    new_head: bool
    asked: Attributes | None
    code: OwnCode | None

    @property
    def brings_head(self) -> bool:
        """Whether its rewards are those of a head that somebody trained."""
        if self.new_head:
            return False
        return bool(self.code or self.adapter or self.head or is_classifier(self.config))


def read_checkpoint(
    name: str,
    source: Source,
    adapter: Adapter | None,
    *,
    new_head: bool,
    normalised: bool,
    attributes: Attributes | None = None,
) -> Checkpoint:
    """What lies under a name, but for its weights; `normalised` asks for what normalises rewards.

    Raises:
        PlauditError: where it cannot give a reward for a completion.
    """
    given = base_models.config_file(source)
    code = None if new_head or given.get(CONFIG_KEY) else own_code(given, source)
    if code and not source.trusted and not is_read_elsewhere(given):
        raise code.refusal(name)
    config = base_models.load_config(source)
    stored = getattr(config, CONFIG_KEY, None) or {}
    if adapter and CONFIG_KEY in adapter.beside:  # plaudit trained it, and notes its own
        stored = adapter.beside[CONFIG_KEY]
        pad = adapter.beside.get("pad_token_id")
        config.pad_token_id = config.get_text_config().pad_token_id = pad
    if not isinstance(stored, dict):
        raise PlauditError(
            f"{name}: {CONFIG_KEY!r} in its config.json is damaged; copy config.json again "
            "from where the model was saved"
        )
    # Taken out of the configuration, so that no checkpoint of a model trained from here has it.
    kept = stored.pop("normalisation", None)
    # What the base's rewards are normalised by says nothing of an adapter's.
    own = normalised and not (new_head or adapter)
    normalisation = Normalisation.read(kept, name) if own else None
    if code and source.trusted:
        return _of_own_code(name, source, config, given, code, adapter, attributes)
    kind = base_models.kind_of(config, name)
    head = None
    if not new_head and kind == "decoder" and (adapter or not is_classifier(config)):
        head = read_value_head(adapter.source if adapter else source, config)
    if kind == "encoder" and not (new_head or stored) and has_file_of_head(source):
        raise PlauditError(
            f"{name} is an encoder with a value head beside it; plaudit reads such a head of "
            "a decoder only; --new-head trains a head in its place"
        )
    if not (new_head or stored or head):
        check_architecture(config, name)
    if normalised and head:
        normalisation = normalisation or head.normalisation
    if adapter and not (new_head or head or adapter.labels):
        if adapter.trained_head or not is_classifier(config):
            raise adapter.without_head()
        say(f"{name} has no head of its own: the rewards are those of the head of {adapter.base}")
    if adapter and adapter.labels:
        config.num_labels = adapter.labels
    elif head or new_head or not is_classifier(config):
        config.num_labels = 1
    found = Checkpoint(
        name, source, config, kind, stored, normalisation, adapter, head, new_head, attributes, None
    )
    if attributes is not None and not found.brings_head:
        raise PlauditError(
            f"attributes: {name} has no head of its own, so no labels to choose from; leave it out"
        )
    return found


def is_read_elsewhere(given: Mapping[str, Any]) -> bool:
    """Whether the heads of a class that is none of transformers' are read without its code."""
    return OPENRLHF in (given.get("architectures") or ())


def _of_own_code(
    name: str,
    source: Source,
    config: Any,
    given: Mapping[str, Any],
    code: OwnCode,
    adapter: Adapter | None,
    attributes: Attributes | None,
) -> Checkpoint:
    """A checkpoint that its own code is to run."""
    if adapter:
        raise PlauditError(
            f"{adapter.source} is a LoRA adapter of {name}, a {code.name} of its own code, "
            "into which it is not merged here; merge it with peft and save that"
        )
    if attributes is not None:
        raise PlauditError(
            f"attributes: {name} computes one reward of its labels in its own code; leave it out"
        )
    kind = own_kind(config, given, name)
    return Checkpoint(name, source, config, kind, {}, None, None, None, False, None, code)


def load_model(
    found: Checkpoint, pooling: Pooling, seed: int, attention: str | None = None
) -> tuple[Any, bool, dict[str, float]]:
    """The classifier with one label; whether its head is new, and then drawn from `seed`; and the
    weights of the labels that its reward is of, where there were several.

    `attention` is one of transformers' implementations; None leaves it the choice.

    Raises:
        PlauditError: where weights are left over or missing, or do not fit.
    """
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are the caller's
        torch.manual_seed(seed)
        if pooling.network is not None and not found.stored:
            return _under_network(found, pooling.network, attention), True, {}
        model, drawn = _classifier(found, pooling, attention)
        if found.head:
            found.head.put_into(model)
            drawn = set()
        if found.adapter:
            model = found.adapter.merged(model, () if found.new_head else drawn)
            drawn = set()
        if found.new_head:
            _leave_one_row(model, torch.zeros(model.config.num_labels))
            draw_head(model)
    of = as_one_reward(model, found.name, found.asked) if found.brings_head else {}
    if found.brings_head and not found.stored and (activation := noted_activation(found)):
        say(f"{found.name} notes {activation} for its scores: the reward is the logit before it")
    return model, found.new_head or bool(drawn), of


def _under_network(found: Checkpoint, network: Any, attention: str | None) -> Any:
    """A base model under a head of a class of plaudit's own."""
    given = copy.deepcopy(found.config)
    how = without_pooler(found.config) | _asked(attention)
    loaded = base_models.load_weights(found.source, AutoModel, **how)
    check_weights(loaded, given, found.name, head_replaced=found.new_head)
    backbone = loaded.model
    # The embedding may have been resized since the configuration was read.
    with base_models.quiet():
        model = network(found.config)
    model.model = backbone
    model.config = backbone.config
    model.config.num_labels = 1
    return model


def noted_activation(found: Checkpoint) -> str:
    """What sentence-transformers puts a cross-encoder's logits through; empty for nothing.

    Versions before 4 noted it under a name of its own, 4 and 5 in `config.json`, later ones in a
    file of their own.
    """
    given = getattr(found.config, "sentence_transformers", None)
    named = given.get("activation_fn") if isinstance(given, dict) else None
    named = named or getattr(found.config, "sbert_ce_default_activation_function", None)
    if not named and (file := base_models.file_beside(found.source, CROSS_ENCODER)):
        noted = read_json(file)
        named = noted.get("activation_fn") if noted.get("model_type") == "CrossEncoder" else None
    name = str(named or "").rpartition(".")[2]
    return "" if name == "Identity" else name


def _asked(attention: str | None) -> dict[str, Any]:
    return {} if attention is None else {"attn_implementation": attention}


def _classifier(found: Checkpoint, pooling: Pooling, attention: str | None) -> tuple[Any, set[str]]:
    """The classifier of a checkpoint, and the names of its weights that no file has."""
    given = copy.deepcopy(found.config)
    # A GGUF file's configuration is read anew, together with how its weights are packed.
    options: dict[str, Any] = (
        {"num_labels": 1} if found.source.is_gguf else {"config": found.config}
    )
    replaced = found.new_head or bool(found.adapter and (found.head or found.adapter.labels))
    loaded = base_models.load_weights(
        found.source,
        pooling.network or AutoModelForSequenceClassification,
        trained=bool(found.stored) and not (found.head or found.adapter),
        **options,
        **_asked(attention),
    )
    known = found.head.names if found.head else set()
    biases = {key for key in loaded.unexpected if key.endswith("score.bias")}
    known |= {key for key in biases if adds_nothing(found.source, key)}
    loaded = loaded._replace(unexpected=loaded.unexpected - known)
    check_weights(loaded, given, found.name, head_replaced=replaced)
    return loaded.model, loaded.missing


def load_by_own_code(found: Checkpoint, code: OwnCode, attention: str | None = None) -> Any:
    """A model of a class that the checkpoint brings, with every one of its weights.

    Raises:
        PlauditError: where weights are left over or missing, or the code fails.
    """
    loaded = load_own(code, found.source, found.config, **_asked(attention))
    check_shapes(loaded, found.name, head_replaced=False)
    if loaded.missing:
        raise PlauditError(
            f"{found.name} is incomplete: it lacks the weights {_named(loaded.missing)} of "
            f"its {code.name}; copy all its files"
        )
    if left := {key for key in loaded.unexpected if not PRETRAINING.search(key)}:
        raise PlauditError(
            f"{found.name} has weights that its own {code.name} does not use: "
            f"{_named(left)}; without them its rewards would be others"
        )
    return loaded.model


def is_classifier(config: Any) -> bool:
    """Whether a checkpoint says that it brings a head which gives a number for a text."""
    return any(str(name).endswith(CLASSIFIER) for name in config.architectures or ())


def own_pooling(config: Any, kind: Kind, name: str) -> str:
    """How the head that a checkpoint brings is given a text's tokens.

    Raises:
        PlauditError: where it pools in a way that there is none of here.
    """
    if kind == "decoder":
        return "last"
    pooled = getattr(config, "classifier_pooling", None) or "cls"
    if pooled not in POOLED_BY:
        raise PlauditError(
            f"{name} pools its tokens by `classifier_pooling: {pooled}`, which plaudit does "
            f"not know; it reads heads that pool by {', '.join(POOLED_BY)}. --new-head trains a "
            "head in its place"
        )
    return POOLED_BY[pooled]


def set_pooling(config: Any, pooling: str) -> None:
    """Have the head of a classifier pool so, where its configuration can say how.

    Raises:
        PlauditError: where its head pools the first token whatever is said.
    """
    if hasattr(config, "classifier_pooling"):
        first = FIRST_TOKEN.get(config.model_type, "cls")
        config.classifier_pooling = "mean" if pooling == "own-mean" else first
    elif pooling == "own-mean":
        raise PlauditError(
            f"pooling: the classifier of a {config.model_type} model is given the first token; "
            "choose cls, or mean for a mean of the tokens' scores"
        )


def draw_head(model: Any) -> None:
    """Draw the weights of a classifier's head anew, as transformers draws those of a new one."""
    for name, part in model.named_children():
        if name == model.base_model_prefix:
            continue
        for module in part.modules():
            for weight, values in list(module.named_parameters(recurse=False)):
                # What was loaded bears a mark by which it would be left alone.
                setattr(module, weight, nn.Parameter(torch.empty_like(values)))
            model._init_weights(module)


def check_architecture(config: Any, name: str) -> None:
    """Refuse what is trained to give something else than a number for a text.

    Raises:
        PlauditError: where the checkpoint's own class gives a number for each token, or is not one
            of transformers'.
    """
    for given in config.architectures or ():
        for task, what in OTHER_TASKS.items():
            if str(given).endswith(task):
                raise PlauditError(
                    f"{name} is a {given}: it gives {what}, and not one number for a "
                    "completion. --new-head trains a head in its place"
                )
        if not hasattr(transformers, str(given)):
            raise PlauditError(
                f"{name} is a {given}, a class of its own code, which plaudit does not run; "
                "without it the rewards would be others. Where its code converts it to a "
                f"…{CLASSIFIER} of transformers, load that; --new-head trains a head on its base "
                "model"
            )


def check_shapes(loaded: Weights, name: str, *, head_replaced: bool) -> None:
    """Refuse weights that have another shape than the model's: they were not loaded.

    Raises:
        PlauditError: it names the first, and both shapes. A head's may differ where it is replaced.
    """
    for key, has, asks in loaded.mismatched:
        if _of_base(loaded.model, key) or not head_replaced:
            raise PlauditError(
                f"{name} cannot be loaded: its weight {key} has the shape {has}, and its "
                f"config.json asks for {asks}: they are not of one model; copy all its files"
            )


def check_weights(loaded: Weights, config: Any, name: str, *, head_replaced: bool) -> None:
    """Hold what was loaded against what the checkpoint has.

    `config` is the checkpoint's own. With `head_replaced`, by a new head or an adapter's, what a
    head of the checkpoint's has is left aside.

    Raises:
        PlauditError: it names the weights, and the way out.
    """
    check_shapes(loaded, name, head_replaced=head_replaced)
    model, missing, unexpected, _ = loaded
    lost = [key for key in missing if _of_base(model, key) and "pooler." not in key]
    if lost:
        raise PlauditError(
            f"{name} is incomplete: it lacks the weights {_named(lost)}; copy all its files"
        )
    with_head = hasattr(model, model.base_model_prefix)
    if is_classifier(config) and not head_replaced and with_head and (lost := list(missing)):
        raise PlauditError(
            f"{name} says that it is a {config.architectures[0]}, but lacks the weights "
            f"{_named(lost)} of its head, without which its rewards are random; copy all of "
            "its files, or train a head in its place with --new-head"
        )
    if head_replaced:
        return
    left = {key for key in unexpected if not PRETRAINING.search(key)}
    if left := left and left - _named_weights(config):
        kinds = (what for head, what in HEADS_ELSEWHERE.items() if any(head in key for key in left))
        what = next(kinds, "")
        raise PlauditError(
            f"{name} has weights that {type(model).__name__} does not use: {_named(left)}"
            f"{f' ({what})' if what else ''}; without them its rewards would be others. Load it "
            f"with the code that it was made for and save it as a …{CLASSIFIER} of transformers, "
            "or train a head on its base model with --new-head"
        )


def _of_base(model: Any, key: str) -> bool:
    """Whether a weight is the base model's: of a base model alone, which has no prefix, each is."""
    prefix: str = model.base_model_prefix
    return not hasattr(model, prefix) or key.startswith(f"{prefix}.")


def _named(keys: Collection[str]) -> str:
    """The first of some names of weights, and how many more there are."""
    more = len(keys) - MOST_NAMED
    return ", ".join(sorted(keys)[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _named_weights(config: Any) -> set[str]:
    """The weights of the class that a configuration names, which may be more than ours."""
    known: set[str] = set()
    for named in config.architectures or ():
        if own := getattr(transformers, str(named), None):
            with torch.device("meta"), base_models.quiet():
                known |= set(own(copy.deepcopy(config)).state_dict())
    return known


def as_one_reward(model: Any, name: str, asked: Attributes | None) -> dict[str, float]:
    """Leave of a head with several labels one row, which gives the reward; returns the weights of
    the labels in it, nothing where the head has but one.

    The reward is the sum of logits by the weights that are asked for. Without, of two labels it is
    the second one's logit less the first one's: the log-odds of the second. A line says which.

    Raises:
        PlauditError: for more than two labels of which none is asked for, or one there is not.
    """
    named = names_of_labels(model.config, model.config.num_labels)
    if len(named) == 1:
        if asked is not None:
            raise PlauditError(f"attributes: {name} gives one number, so there is none to choose")
        return {}
    chosen = weights_of_labels(asked, named, name)
    _leave_one_row(model, torch.tensor(chosen))
    labels_of = [f"{n}" if named.count(each) > 1 else each for n, each in enumerate(named)]
    of = {label: weight for label, weight in zip(labels_of, chosen, strict=True) if weight}
    say(f"{name} gives {len(named)} numbers; the reward is {weighted(of)}")
    return of


def names_of_labels(config: Any, count: int) -> list[str]:
    """What a configuration calls the `count` labels of a head; one without a name is its number.

    >>> names_of_labels(transformers.PreTrainedConfig(id2label={0: "bad", 1: "good"}), 2)
    ['bad', 'good']
    """
    return [str(config.id2label.get(number, number)) for number in range(count)]


def weights_of_labels(
    asked: Attributes | None, named: Sequence[str], whose: str = "this model"
) -> list[float]:
    """The weight of each label's logit in the reward, by the labels' names.

    These are the weights that are asked for; else, of two labels, the second one's logit less the
    first one's, which is the log-odds of the second. A single label is the reward, whatever was
    asked for: it is the sum already.

    Raises:
        PlauditError: for what `chosen_attributes` refuses, or where none is asked for of more than
            two, which begins with `whose` labels they are.

    >>> weights_of_labels(None, ["bad", "good"])
    [-1.0, 1.0]
    >>> weights_of_labels({"truth": 1.0}, ["help", "truth", "length"])
    [0.0, 1.0, 0.0]
    """
    if len(named) == 1:
        return [1.0]
    if asked is not None:
        return chosen_attributes(asked, named)
    if len(named) == 2:
        return [-1.0, 1.0]
    first, second = named[0], named[1]
    raise PlauditError(
        f"{whose} gives {len(named)} numbers for a text ({', '.join(named)}), and a reward is one; "
        f"choose it with --attributes {first}, or a sum with --attributes {first}=1,{second}=0.5 "
        f"(in Python attributes={{{first!r}: 1, {second!r}: 0.5}}), or train a head in their place "
        "with plaudit train --new-head"
    )


def chosen_attributes(asked: Attributes, named: Sequence[str]) -> list[float]:
    """The weight of each label, of one that is asked for by its name or number, or of several with
    their weights.

    Raises:
        PlauditError: for a label there is not, two that have that name, one that is named twice or
            without a weight beside others, or no weight that is not 0.

    >>> chosen_attributes("help=0.65,2=-0.2", ["help", "truth", "length"])
    [0.65, 0.0, -0.2]
    >>> chosen_attributes("truth", ["help", "truth", "length"])
    [0.0, 1.0, 0.0]
    """
    weights = [0.0] * len(named)
    by: dict[int, Any] = {}  # number of a label → as it was asked for
    for label, weight in _asked_labels(asked, named):
        if (count := named.count(str(label))) == 1:
            number = named.index(str(label))
        elif str(label).isdecimal() and int(label) < len(named):
            number = int(label)
        else:
            numbers = f"; a number from 0 to {len(named) - 1} will do too"
            why = f"there are {count}" if count else "there is no"
            raise PlauditError(
                f"attributes: {why} {label or 'label without a name'}; there are "
                f"{', '.join(named)}{numbers}"
            )
        if number in by:
            as_before = "" if str(by[number]) == str(label) else f", as {by[number]} and as {label}"
            raise PlauditError(
                f"attributes: {named[number]} is named twice{as_before}; give it one weight"
            )
        by[number] = label
        try:
            weights[number] = float(weight)
        except (TypeError, ValueError):
            weights[number] = math.nan
        if not math.isfinite(weights[number]):
            raise PlauditError(
                f"attributes: {label} has the weight {weight!r}, which is no number; write "
                f"{label}=0.5, or {label} alone"
            )
    if not any(weights):
        raise PlauditError(
            "attributes: every weight is 0, so every reward would be 0; give one another weight"
        )
    return weights


def _asked_labels(asked: Attributes, named: Sequence[str]) -> list[tuple[Any, Any]]:
    """Labels and their weights as they were asked for, a label twice where it stands twice."""
    if not isinstance(asked, str):
        return list(asked.items())
    if asked in named or not ("=" in asked or "," in asked):
        return [(asked, 1.0)]
    parts = [part.strip() for part in asked.split(",")]
    if without := [part for part in parts if "=" not in part]:
        what = f"{without[0]} has" if without[0] else "one label is blank and has"
        raise PlauditError(
            f"attributes: in {asked!r} {what} no weight; give every label a weight, as in "
            f"{','.join(f'{label}=0.5' for label in named[:2])}"
        )
    return [(label.strip(), weight) for label, _, weight in (x.rpartition("=") for x in parts)]


def weighted(attributes: Mapping[str, float]) -> str:
    """A sum of logits, for a person.

    >>> weighted({"bad": -1.0, "good": 1.0})
    "the logit of 'good' less that of 'bad'"
    >>> weighted({"helpful": 0.65, "verbose": -0.2})
    "0.65 × 'helpful' - 0.2 × 'verbose' of its logits"
    """
    if len(attributes) == 2 and sorted(attributes.values()) == [-1, 1]:
        less, more = sorted(attributes, key=attributes.__getitem__)
        return f"the logit of {more!r} less that of {less!r}"
    if list(attributes.values()) == [1]:
        return f"the logit of {next(iter(attributes))!r}"
    parts = [f"{'+' if weight > 0 else '-'} {abs(weight):g} × {label!r}"
             for label, weight in attributes.items()]  # fmt: skip
    return f"{' '.join(parts).removeprefix('+ ')} of its logits"


def _leave_one_row(model: Any, weights: Tensor) -> None:
    """Leave of a classifier's head the sum of its rows, times `weights[labels]`."""
    labels = model.config.num_labels
    if labels == 1:
        return
    head = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == labels][-1]
    head.weight = nn.Parameter((weights @ head.weight.detach())[None])
    if head.bias is not None:
        head.bias = nn.Parameter((weights @ head.bias.detach())[None])
    head.out_features = model.num_labels = model.config.num_labels = 1
