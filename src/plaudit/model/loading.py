"""From a name to a reward model's parts: its classifier, its tokenizer, its settings.

A name is a run folder, a model folder, a `.pt` file, a hub name or an embedded base model. What the
model was trained with is in its config.json, under `CONFIG_KEY`; settings that are given must agree
with it. A base model without a head gets one, drawn at random.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Unpack, get_args

import torch
from typing_extensions import TypedDict

from plaudit.console import say
from plaudit.errors import PlauditError
from plaudit.files import read_json
from plaudit.model import base_models, pt_file
from plaudit.model.adapter import CONFIG as ADAPTER_CONFIG
from plaudit.model.adapter import Adapter, left_aside, read_adapter
from plaudit.model.batches import Flat, Layout, Padded
from plaudit.model.chat_templates import set_chat_template
from plaudit.model.checkpoint import (
    CONFIG_KEY,
    Attributes,
    Checkpoint,
    is_classifier,
    load_by_own_code,
    load_model,
    own_pooling,
    read_checkpoint,
    set_pooling,
)
from plaudit.model.classifier import exact, head_of, try_flat
from plaudit.model.devices import Dtype, best_device
from plaudit.model.encoding import Encoding
from plaudit.model.hub import README
from plaudit.model.normalisation import Normalisation
from plaudit.model.own_code import as_scores
from plaudit.model.poolings import DEFAULTS, POOLINGS, poolings_for
from plaudit.model.precision import Precision, choose_precision, work_of
from plaudit.model.reading import describe_left_as_it_is, describe_reading, is_cross_encoder
from plaudit.model.trained_on import FILE as TRAINED_ON
from plaudit.model.trained_on import Kept
from plaudit.model.uncertainty import FILE as UNCERTAINTY
from plaudit.model.uncertainty import HeadUncertainty, read_uncertainty
from plaudit.settings import INT8_IS_EXPORTED, ReadAs

Template = Literal["auto", "chat", "plain"]
LayoutName = Literal["auto", "flat", "padded"]

# Tokens of a row under a new head, unless asked for: what a laptop's pass takes, and about what the
# field trains reward models with. A model that reads more could take memory that nobody meant.
LONGEST_NEW = 4096
# What stands for a pooling where a class of the checkpoint's own does it.
BY_OWN_CODE = "its own code"


@dataclass(frozen=True)
class WhereItApplies:
    """`encoder_text` or `separator` for several models: for those whose files do not say theirs.

    The others stay as they are.
    """

    asked: Any


@dataclass(frozen=True)
class TrainedWith:
    """`separator` in training, where plain text is trained with it whatever the base was saved
    with, so that a run that is resumed goes on with what its settings say.

    It leaves the template as it is, and is of no account where none of it stands in a row.
    """

    separator: str


def why_not_read_as(
    way: ReadAs, kind: str, stored: Mapping[str, Any], *, pairs: bool = False
) -> str:
    """Why a model among several is not read in the `way` that is asked for, or nothing.

    `pairs` says that its files are those of a program that trains on pairs.
    """
    if kind == "decoder":
        return "it is a decoder"
    own = stored.get("encoder_text", "pair") if stored else "pair" if pairs else way
    return "" if own == way else f"its files say {own}"


def why_not_separated_by(
    separator: str, kind: str, stored: Mapping[str, Any], *, one_text: bool, has_template: bool
) -> str:
    """Why a model among several does not take the `separator` that is asked for, or nothing.

    `one_text` says that it reads prompt and completion as one, `has_template` that its tokenizer
    has a chat template.
    """
    if not one_text:
        return "it reads a pair"
    if stored.get("template") == "chat":
        return "its files say that it reads the chat template"
    if not stored and kind == "decoder" and has_template:
        return "its tokenizer has a chat template; export it with --separator first to read it so"
    own = stored.get("separator", separator)
    return "" if own == separator else f"its files say {own!r}"


class Loading(TypedDict, total=False):
    """What `RewardModel.load` takes beside names; it says what each means."""

    pooling: str
    template: Template
    max_length: int | None
    separator: str | WhereItApplies | TrainedWith | None
    encoder_text: ReadAs | WhereItApplies | None
    chat_template: str | Path | None
    chat_template_args: Mapping[str, Any] | None
    dtype: Dtype | torch.dtype
    layout: LayoutName
    device: str
    seed: int
    normalised: bool
    length_penalty: float
    new_head: bool
    trained_only: bool
    revision: str | None
    subfolder: str | None
    attn_implementation: str | None
    device_map: str | Mapping[str, Any] | None
    attributes: Attributes | None
    trust_remote_code: bool


@dataclass(frozen=True)
class Loaded:
    """The parts of a reward model; see `RewardModel`."""

    model: Any
    encoding: Encoding
    pooling: str
    device: torch.device
    dtype: torch.dtype
    ratio: float | None
    layout: Layout
    new_head: bool
    normalisation: Normalisation | None
    length_penalty: float
    uncertainty: HeadUncertainty | None
    attributes: dict[str, float]
    own_code: str
    origin: str
    card: str
    trained_on: Kept | None
    reading: str


def for_several(options: Mapping[str, Any]) -> dict[str, Any]:
    """`Loading` where it goes to several models, of which an option may be for some alone.

    Of one model, an option that does not fit it is a mistake.
    """
    several = dict(options)
    if isinstance(way := options.get("encoder_text"), str):
        several["encoder_text"] = WhereItApplies(_known(way))
    if isinstance(separator := options.get("separator"), str):
        several["separator"] = WhereItApplies(separator)
    return several


def load(name: str | Path, **options: Unpack[Loading]) -> Loaded:
    """The parts of one model; `RewardModel.load` says what the options mean.

    Raises:
        PlauditError: when there is no such model, or a setting does not fit it.
    """
    path = Path(name)
    if path.suffix == ".pt" and path.is_file():
        if options.get("revision") or options.get("subfolder"):
            raise PlauditError(
                f"revision: {name} is a file, which has no revision and no subfolder; leave them "
                "out"
            )
        with pt_file.unpacked(path) as folder:
            return replace(_load(name, folder, **options), origin=str(name))
    return _load(name, name, **options)


def _load(
    name: str | Path,
    where: str | Path,
    *,
    pooling: str = "auto",
    template: Template = "auto",
    max_length: int | None = None,
    separator: str | WhereItApplies | TrainedWith | None = None,
    encoder_text: ReadAs | WhereItApplies | None = None,
    chat_template: str | Path | None = None,
    chat_template_args: Mapping[str, Any] | None = None,
    dtype: Dtype | torch.dtype = "auto",
    layout: LayoutName = "auto",
    device: str = "auto",
    seed: int = 0,
    normalised: bool = True,
    length_penalty: float = 0.0,
    new_head: bool = False,
    trained_only: bool = False,
    revision: str | None = None,
    subfolder: str | None = None,
    attn_implementation: str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    attributes: Attributes | None = None,
    trust_remote_code: bool = False,
) -> Loaded:
    """The parts of a model that lies `where` its name says, or where it is unpacked."""
    check_penalty(length_penalty)
    place, asked = _placed(device, device_map), _precision(dtype)
    # Under a new head there is no need of a class that the old one came with.
    trusted = trust_remote_code and not new_head
    source, adapter = located(where, revision, subfolder, trusted=trusted)
    if left_aside(source):
        say(
            f"{name} has a whole model, which is loaded, and a LoRA adapter beside it, which is "
            f"left aside; to load the adapter, copy its {ADAPTER_CONFIG} and its weights to a "
            "folder of their own"
        )
    with base_models.reading(name):
        found = read_checkpoint(
            str(name),
            source,
            adapter,
            new_head=new_head,
            normalised=normalised,
            attributes=attributes,
        )
    stored = found.stored
    tokenizer = base_models.load_tokenizer(adapter.tokenizer if adapter else source)
    if chat_template is not None or chat_template_args:
        _check_own_template(found.kind, template, stored, separator)
        set_chat_template(tokenizer, chat_template, chat_template_args)
    pooling = _resolve_pooling(pooling, found)
    read_as = _resolve_encoder_text(encoder_text, found)
    between, left = _resolve_separator(separator, found, read_as, template, tokenizer)
    if isinstance(separator, str | WhereItApplies) and (
        between is not None and template == "auto" and not stored
    ):
        template = "plain"  # a chat template would leave no place for what is asked for
    model, drawn, of, word = _load_for(tokenizer, found, pooling, seed, attn_implementation)
    if drawn and trained_only:
        raise PlauditError(untrained(str(name)))
    model.config.use_cache = False  # there is nothing to generate
    of_stored_head = not (new_head or (adapter and (adapter.labels or found.head)))
    with base_models.reading(name):
        encoding = Encoding(
            tokenizer=tokenizer,
            kind=found.kind,
            template=_resolve_template(template, found.kind, tokenizer, stored.get("template")),
            max_length=_resolve_max_length(max_length, model, tokenizer, stored, drawn),
            separator=_separator_of(stored, read_as) if between is None else between,
            pooling=pooling,
            configured_pad=word,
            encoder_text=read_as,
        )
        summed = of or dict(stored.get("attributes") or {} if of_stored_head else {})
        card = _card(source) if stored and not new_head and not adapter else ""
    if found.code:
        model = as_scores(model, encoding, str(name))
        why_padded = f"its own {found.code.name} computes it"
    else:
        model = exact(model, POOLINGS.get(pooling), pooling).eval()
        why_padded = f"its attention is to be {attn_implementation}" if attn_implementation else ""
    if place.type != "cpu":  # where it is already; FSDP may have it hold no data yet
        model = model.to(place)
    flat = layout != "padded" and not why_padded and model.base_model._can_set_attn_implementation()
    precision = choose_precision(asked, place, work_of(model, found.kind, flat))
    reading = ""
    if found.brings_head and not stored:  # of plaudit's own the folder says it
        chose = (encoder_text if found.kind == "encoder" else between) is None
        reading = describe_reading(found, encoding, precision, pooling, chose=chose)
    if isinstance(encoder_text, WhereItApplies) and (why := _why_not(encoder_text, found)):
        flag = f"--encoder-text {encoder_text.asked}"
        reading = describe_left_as_it_is(reading, found.name, encoding, flag, why)
    if left:
        reading = describe_left_as_it_is(reading, found.name, encoding, "--separator", left)
    if reading:
        say(reading)
    return Loaded(
        model=model,
        encoding=encoding,
        pooling=pooling,
        device=place,
        dtype=precision.dtype,
        ratio=precision.ratio,
        layout=choose_layout(layout, model, encoding, precision, why_padded),
        new_head=drawn,
        normalisation=found.normalisation,
        length_penalty=length_penalty,
        uncertainty=_uncertainty(source, model) if stored and not (new_head or adapter) else None,
        attributes=summed,
        own_code=found.code.name if found.code else "",
        origin=str(adapter.source if adapter else source),
        card=card,
        trained_on=_trained_on(source) if stored else None,
        reading=reading,
    )


def untrained(name: str) -> str:
    """Why a model that gets a new head is refused where its rewards are to be used."""
    return (
        f"{name}: has no trained reward head: its rewards would be random numbers. Train it first: "
        f"plaudit train DATA --base {name}"
    )


def _load_for(
    tokenizer: Any, found: Checkpoint, pooling: str, seed: int, attention: str | None
) -> tuple[Any, bool, dict[str, float], int | None]:
    """What `load_model` gives, with the tokenizer's pad token, which is set, and all its tokens,
    and what `_set_pad_token` returns.

    Raises:
        PlauditError: where the model has no embedding of a token that the tokenizer came with.
    """
    highest = max(tokenizer.get_vocab().values(), default=-1)
    as_is = found.brings_head and found.kind == "decoder"
    text = found.config.get_text_config()  # of a model that reads images too, a part of its own
    word = _set_pad_token(tokenizer, getattr(text, "pad_token_id", None), as_is=as_is)
    pad = tokenizer.pad_token_id if word is None else word
    if found.code:
        model = load_by_own_code(found, found.code, attention)
        _check_vocabulary(model, highest, found.name)
        return model, False, {}, word
    # A pad token that is new has no embedding before the model is loaded and resized.
    text.pad_token_id = found.config.pad_token_id = pad if pad < text.vocab_size else None
    set_pooling(found.config, pooling)
    model, drawn, of = load_model(found, POOLINGS.get(pooling), seed, attention)
    if len(tokenizer) > _check_vocabulary(model, highest, found.name):
        with base_models.quiet():
            model.resize_token_embeddings(len(tokenizer))
    model.config.pad_token_id = model.config.get_text_config().pad_token_id = pad
    return model, drawn, of, word


def _check_vocabulary(model: Any, highest: int, name: str) -> int:
    """How many tokens a model has embeddings for, which are more than the tokenizer's `highest`.

    Raises:
        PlauditError: where they are not.
    """
    try:
        embedded = int(model.get_input_embeddings().num_embeddings)
    except NotImplementedError:  # of code of its own, which may not say where they are
        embedded = int(model.config.get_text_config().vocab_size)
    if highest >= embedded:
        raise PlauditError(
            f"{name}: its tokenizer has tokens up to number {highest} and the model's "
            f"vocabulary {embedded} rows: they are not of one model, or tokens were added to the "
            "tokenizer alone; copy the tokenizer that the model was saved with"
        )
    return embedded


def check_penalty(length_penalty: float) -> None:
    """Raise `PlauditError` for a penalty that is none."""
    if not (length_penalty >= 0 and math.isfinite(length_penalty)):
        raise PlauditError(f"length_penalty: {length_penalty} is not a number of 0 or more")


def _card(source: base_models.Source) -> str:
    """The card that a run wrote beside a model that it trained; empty where there is none."""
    file = base_models.file_beside(source, README)
    return "" if file is None else file.read_text(encoding="utf-8")


def _uncertainty(source: base_models.Source, model: Any) -> HeadUncertainty | None:
    """What lies beside the weights of a trained model, if anything does."""
    file = base_models.file_beside(source, UNCERTAINTY)
    return None if file is None else read_uncertainty(file, head_of(model).in_features)


def _trained_on(source: base_models.Source) -> Kept | None:
    """The hashes of a trained model's training texts, if they lie beside it."""
    file = base_models.file_beside(source, TRAINED_ON)
    return None if file is None else Kept(file)


def located(
    name: str | Path,
    revision: str | None = None,
    subfolder: str | None = None,
    *,
    trusted: bool = False,
) -> tuple[base_models.Source, Adapter | None]:
    """Where the model lies that a run folder, a model folder or a hub name means; of a folder with
    an adapter where its base model does, and the adapter."""
    path = Path(name)
    if (path / "adapter_config.json").is_file() or subfolder:
        pass  # not a run's folder
    elif (path / "model" / "config.json").is_file():
        path = path / "model"
    elif (path / "config.yaml").is_file():
        raise PlauditError(_why_no_model(path))
    elif others := _runs_beside(path):
        raise PlauditError(f"{name}: there is no such run; {path.parent} has {others}")
    source = base_models.locate(
        str(path) if path.exists() else str(name), revision, subfolder, trusted=trusted
    )
    adapter = read_adapter(source)
    return (adapter.base, adapter) if adapter else (source, None)


def _precision(dtype: Dtype | torch.dtype) -> Dtype:
    """A name of a precision, which transformers' users write as torch's type.

    Raises:
        PlauditError: for one that there is not.
    """
    names = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
    name: Any = names.get(dtype, str(dtype)) if isinstance(dtype, torch.dtype) else dtype
    if name == "int8":
        raise PlauditError(f"dtype: {INT8_IS_EXPORTED}")
    if name not in get_args(Dtype):
        raise PlauditError(f"dtype: there is no {name}; choose {', '.join(get_args(Dtype))}")
    chosen: Dtype = name
    return chosen


def _placed(device: str, device_map: str | Mapping[str, Any] | None) -> torch.device:
    """The one device that a model goes to; `device_map` is how transformers would be told.

    Raises:
        PlauditError: where several are asked for.
    """
    if device_map is not None:
        if device != "auto":
            raise PlauditError("device_map: says the same as device; give one of them")
        if isinstance(device_map, Mapping):
            if len(places := {str(place) for place in device_map.values()}) != 1:
                raise PlauditError(
                    "device_map: names several devices, and a reward model is put on one; bulk "
                    "scoring takes one model for each device"
                )
            [device] = places
        else:
            device = device_map
    device = f"cuda:{device}" if device.isdigit() else device
    try:
        return torch.device(best_device() if device == "auto" else device)
    except RuntimeError as error:
        raise PlauditError(
            f"{'device' if device_map is None else 'device_map'}: {device!r} is no device; take "
            "auto, cpu, cuda or cuda:1"
        ) from error


def suited_pooling(name: str, *, head_alone: bool) -> str:
    """The pooling that suits training from a base model, where none is asked for.

    That is `layers` for an encoder that was pretrained to be mean-pooled, and for every one of
    which only the head is trained: its last layer alone has lost much of what a head could use.
    Others, whose own classifier any server runs, and models that were trained already keep `auto`.
    """
    source, adapter = located(name)
    config = base_models.load_config(source)
    noted = (getattr(config, CONFIG_KEY, None) or {}).get("pooling")
    if adapter or noted or is_classifier(config) or base_models.kind_of(config, name) != "encoder":
        return "auto"
    by_mean = base_models.noted_pooling(source).get(POOLINGS.get("mean").noted_as)
    return "layers" if head_alone or by_mean else "auto"


def _resolve_pooling(asked: str, found: Checkpoint) -> str:
    """What a trained model was trained with; that of a head that is brought; of a base model what
    is asked for, or suits it."""
    if trained := found.stored.get("pooling"):
        if trained not in POOLINGS:
            raise PlauditError(
                f"{found.name}: was trained with pooling {trained}, which no installed package "
                f"has; there are {', '.join(POOLINGS)}"
            )
        if asked not in ("auto", trained):
            raise PlauditError(
                f"pooling: this model was trained with {trained}, not {asked}; leave it out"
            )
        return str(trained)
    if found.code:
        if asked != "auto":
            raise PlauditError(f"pooling: {found.name} pools by its own code; leave it out")
        return BY_OWN_CODE
    if found.brings_head:
        own = own_pooling(found.config, found.kind, found.name)
        if asked not in ("auto", own):
            raise PlauditError(
                f"pooling: the head of {found.name} itself takes {own}, not {asked}; leave it "
                "out, or train a head in its place with --new-head"
            )
        return own
    if asked == "auto":
        noted = base_models.noted_pooling(found.source) if found.kind == "encoder" else {}
        known = [name for name in POOLINGS if noted.get(POOLINGS.get(name).noted_as)]
        return known[0] if known else DEFAULTS[found.kind]
    if found.kind not in POOLINGS.get(asked).kinds:
        fits = " or ".join(poolings_for(found.kind))
        raise PlauditError(f"pooling: {asked} does not suit this {found.kind}; choose {fits}")
    return asked


def _resolve_template(asked: Template, kind: str, tokenizer: Any, stored: str | None) -> Any:
    has_template = bool(getattr(tokenizer, "chat_template", None)) and kind == "decoder"
    if asked == "auto":
        return stored or ("chat" if has_template else "plain")
    if asked == "chat" and not has_template:
        raise PlauditError(
            "template: chat needs a decoder whose tokenizer has a chat template; choose plain"
        )
    return asked


def _known(way: str) -> Any:
    if way not in get_args(ReadAs):
        raise PlauditError(f"encoder_text: there is no {way}; choose {', '.join(get_args(ReadAs))}")
    return way


def _why_not(asked: WhereItApplies, found: Checkpoint) -> str:
    return why_not_read_as(asked.asked, found.kind, found.stored, pairs=is_cross_encoder(found))


def _resolve_encoder_text(asked: ReadAs | WhereItApplies | None, found: Checkpoint) -> Any:
    """What a trained model was trained with, else what is asked for, else a pair."""
    stored = found.stored.get("encoder_text", "pair") if found.stored else None
    if isinstance(asked, WhereItApplies):
        return (stored or "pair") if _why_not(asked, found) else asked.asked
    if asked is None:
        return stored or "pair"
    if found.kind == "decoder":
        raise PlauditError(
            f"encoder_text: {found.name} is a decoder, which reads one text in any case; leave it "
            "out"
        )
    if stored not in (None, _known(asked)):
        raise PlauditError(
            f"encoder_text: this model was trained or saved with {stored}, not {asked}; leave it "
            "out"
        )
    return asked


def _resolve_separator(
    asked: str | WhereItApplies | TrainedWith | None,
    found: Checkpoint,
    read_as: str,
    template: Template,
    tokenizer: Any,
) -> tuple[str | None, str]:
    """The separator that is asked for, None where none is or it is not for this model; and why it
    is not.

    Raises:
        PlauditError: where it is asked of this model alone, and has no place in what that reads.
    """
    if asked is None:
        return None, ""
    if isinstance(asked, TrainedWith):
        return asked.separator, ""
    stored, name = found.stored, found.name
    one_text = found.kind == "decoder" or read_as != "pair"
    if isinstance(asked, WhereItApplies):
        why = why_not_separated_by(
            asked.asked, found.kind, stored,
            one_text=one_text, has_template=bool(getattr(tokenizer, "chat_template", None)),
        )  # fmt: skip
        return (None, why) if why else (asked.asked, "")
    if not one_text:
        how = "leave it out" if stored else "leave it out, or say --encoder-text one"
        raise PlauditError(
            f"separator: {name} is an encoder that reads prompt and completion as a pair, with "
            f"its own token between them; {how}"
        )
    if template == "chat" or (template == "auto" and stored.get("template") == "chat"):
        raise PlauditError(
            f"separator: {name} reads its tokenizer's chat template, which says what stands "
            "between prompt and completion; leave it out"
            + ("" if template == "auto" else ", or choose template plain")
        )
    own = asked if stored.get("template") == "chat" else stored.get("separator", asked)
    if own != asked:
        raise PlauditError(
            f"separator: {name} was trained or saved with {own!r}, not {asked!r}; leave it out"
        )
    return asked, ""


def _separator_of(stored: Mapping[str, Any], read_as: str) -> Any:
    """Who trains an encoder on one text elsewhere puts nothing between prompt and completion."""
    return stored.get("separator", "\n\n" if read_as == "pair" else "")


def _check_own_template(
    kind: str,
    template: Template,
    stored: Mapping[str, Any],
    separator: str | WhereItApplies | TrainedWith | None,
) -> None:
    """Refuse a chat template of the user's where none is used, or one was trained with."""
    if kind == "encoder":
        raise PlauditError(
            "chat_template: this is an encoder, which reads prompt and completion without a "
            "template; leave it out"
        )
    if template == "plain":
        raise PlauditError(
            "chat_template: template plain uses no chat template; leave one of the two out"
        )
    if isinstance(separator, str):
        raise PlauditError(
            "chat_template: says what stands between prompt and completion, and so does separator; "
            "leave one of the two out"
        )
    if stored:
        raise PlauditError(
            "chat_template: this model was trained with its own, and another gives other rewards; "
            "leave it out, or give it when a base model is trained"
        )


def token_limit(model: Any, tokenizer: Any) -> int | None:
    """How many tokens of a row a model reads by its positions and its tokenizer; None where neither
    says."""
    limits = [base_models.position_limit(model), getattr(tokenizer, "model_max_length", None)]
    limit = min((int(x) for x in limits if x and x < 1e9), default=None)
    # A token that a class of its own reads its reward at comes after the row: see `own_code`.
    appended = getattr(model.config, "reward_token_id", None) is not None
    return limit - 1 if limit and appended else limit


def _resolve_max_length(
    asked: int | None, model: Any, tokenizer: Any, stored: dict[str, Any], new_head: bool
) -> int:
    """What is asked for, else what the model was trained with, else all that it reads; but no more
    than `LONGEST_NEW` under a new head, since what is trained must fit into memory."""
    limit = token_limit(model, tokenizer)
    if asked is None and not stored.get("max_length"):
        return limit if limit and not new_head else min(LONGEST_NEW, limit or LONGEST_NEW)
    if asked is None:
        return int(stored["max_length"])
    if limit is not None and asked > limit:
        raise PlauditError(
            f"max_length: {asked} is more than the {limit} tokens this model reads; take at most "
            f"{limit}, or a base model that reads more"
        )
    if asked < 8:
        raise PlauditError(f"max_length: {asked} leaves no room for text; take 8 or more")
    return asked


def choose_layout(
    asked: LayoutName,
    model: Any,
    encoding: Encoding,
    precision: Precision,
    reason: str = "",
) -> Layout:
    """The layout that is asked for, or the best one that gives the model's own rewards.

    A `reason` is one for padded rows. The flat layout has an attention of its own, so that another
    which is asked for is one.
    """
    first_position = base_models.first_position(model)
    if asked != "padded" and not reason:
        reason = try_flat(
            model, encoding.kind, first_position, encoding.max_length, precision.dtype
        )
    if asked == "flat" and reason:
        raise PlauditError(f"layout: flat does not suit this model: {reason}; choose auto")
    if asked == "padded" or reason:
        return Padded(encoding.pad_token_id, reason)
    return Flat(first_position, precision.ways)


def _set_pad_token(tokenizer: Any, configured: int | None, *, as_is: bool) -> int | None:
    """The tokenizer's own pad token, else EOS, else a new one.

    A decoder's own classifier, which is to be read `as_is`, finds a row's last token by the pad
    token of its configuration: that then is the one. Where it has none, it reads the very last
    token, so that the pad token must be none that ends a row.

    Returns the configured one where it is an ordinary word (many configurations say 0, which is `!`
    to GPT-2, Qwen and Llama 3). The tokenizer is left as it is then: made special, the word would
    part texts wherever the tokenizer is loaded from a file.
    """
    tokenizer.padding_side = "right"
    if as_is and configured is not None and 0 <= configured < len(tokenizer):
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        if configured not in special:
            return configured
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(configured)
    elif as_is and tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        others = [tokenizer.unk_token, tokenizer.bos_token]
        kept = [token for token in others if token not in (None, tokenizer.eos_token)]
        tokenizer.pad_token = kept[0] if kept else tokenizer.pad_token
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    return None


def _runs_beside(path: Path) -> str:
    """The runs and models in the folder of what is not there, lest a mistyped one be looked for on
    the hub; empty where it is there, or where no run is."""
    if path.exists() or path.parent == Path() or not path.parent.is_dir():
        return ""
    files = ("config.yaml", "config.json")
    found = [p.name for p in path.parent.iterdir() if any((p / file).is_file() for file in files)]
    return ", ".join(sorted(found)[:20])


def _why_no_model(run: Path) -> str:
    """Why a folder that plaudit filled has no model of its own, and where to find one."""
    plan = run / "plan.json"  # of what `cv` and `tune` made
    command = read_json(plan)["command"] if plan.is_file() else "train"
    if command in ("cv", "variance"):
        what = "a cross-validation" if command == "cv" else "a look at the variance"
        return (
            f"{run}: {what} keeps no model; train one with its settings: "
            f"plaudit train --config {run / 'config.yaml'}"
        )
    if command == "frontier":
        return f"{run}: is a frontier; its models are the runs in {run / 'strengths'}"
    if (run / "best" / "model" / "config.json").is_file():
        return f"{run}: is a search; the model it made is {run / 'best'}"
    return f"{run}: this run is not finished; plaudit {command} -o {run} --resume continues it"
