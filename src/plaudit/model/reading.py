"""How a model from elsewhere is read, in one line: what plaudit takes it for, and what it chose.

A folder that plaudit saved says how its texts become tokens. One of another program's does not, and
a wrong choice gives other rewards without an error: so the choice is said. Nothing is switched by
what is only likely.
"""

import re

import torch

from plaudit.files import read_json
from plaudit.model import base_models
from plaudit.model.base_models import Source
from plaudit.model.checkpoint import CROSS_ENCODER, Checkpoint
from plaudit.model.encoding import Encoding
from plaudit.model.hub import README
from plaudit.model.precision import Precision, dtype_in_words

# What TRL's trainers write into the model card that they leave beside a model.
OF_TRL = re.compile(
    r"^\s*-\s*trl\s*$|^tags:.*\btrl\b|trained using \[TRL\]|^\s*-\s*TRL:\s*\d", re.MULTILINE
)
READ_AS = {
    "pair": "prompt and completion as a pair",
    "one": "prompt and completion as one text",
    "trl": "prompt and completion as one text, ended as TRL ends it",
}
# Training, for one, reads a model as it was saved.
ELSEWHERE = "Where a command has no {flag}, export the model with it first"


def describe_reading(
    found: Checkpoint, encoding: Encoding, precision: Precision, pooling: str, *, chose: bool
) -> str:
    """How a model from elsewhere is read; `chose` says that nobody said how its texts are
    laid out."""
    of = found.code.name if found.code else (found.config.architectures or ["a model"])[0]
    dtype = dtype_in_words(precision.dtype, precision.ratio)
    if precision.dtype == torch.bfloat16:
        dtype += " (--dtype float32 gives its rewards to 1e-5)"
    line = (
        f"{found.name}: {of}, {encoding.kind}; reads {_texts(encoding)}, in {dtype}, "
        f"pooling {pooling}, up to {encoding.max_length:,} tokens; of longer ones "
        "the prompt loses its beginning"
    )
    if encoding.kind == "encoder" and chose and not is_cross_encoder(found):
        ended = encoding.tokenizer.eos_token is not None
        if _is_of_trl(found.source):
            way = "trl" if ended else "one"
            return (
                f"{line}. It was made by TRL, which trains on one text: --encoder-text {way} reads "
                f"it so. {ELSEWHERE.format(flag='--encoder-text')}"
            )
        return (
            f"{line}. Nothing in its files says that it reads a pair: plaudit chose so; "
            "--encoder-text one reads prompt + completion as one text, as TRL trains"
            + (", or trl with the end that TRL adds" if ended else "")
            + f". {ELSEWHERE.format(flag='--encoder-text')}"
        )
    if encoding.kind == "decoder" and encoding.template == "plain" and chose:
        return (
            f"{line}. Nothing in its files says what stands between: plaudit chose so; "
            '--separator "" puts nothing there, as TRL trains. '
            + ELSEWHERE.format(flag="--separator")
        )
    if encoding.kind == "decoder" and encoding.template == "chat" and _is_of_trl(found.source):
        return (
            f"{line}. It was made by TRL, which uses no template for data that are plain text: "
            '--separator "" reads it so, and in training --template plain --separator ""'
        )
    return line


def describe_left_as_it_is(reading: str, name: str, encoding: Encoding, flag: str, why: str) -> str:
    """The line of a model that a `flag` for several is not for, and so leaves as it is."""
    reading = reading or f"{name}: reads {_texts(encoding)}"
    return f"{reading}. {flag} leaves it as it is: {why}"


def _texts(encoding: Encoding) -> str:
    """How prompt and completion are laid out."""
    if encoding.kind == "encoder":
        return READ_AS[encoding.encoder_text]
    if encoding.template == "chat":
        return "prompt and completion through the tokenizer's chat template"
    between = repr(encoding.separator) if encoding.separator else "nothing"
    ending = f" and {encoding.own_ending} after them" if encoding.own_ending else ""
    return f"prompt and completion as one text with {between} between them{ending}"


def is_cross_encoder(found: Checkpoint) -> bool:
    """Whether sentence-transformers left its marks, whose cross-encoders read a pair."""
    config = found.config
    if getattr(config, "sbert_ce_default_activation_function", None):
        return True
    if getattr(config, "sentence_transformers", None):
        return True
    file = base_models.file_beside(found.source, CROSS_ENCODER)
    return file is not None and read_json(file).get("model_type") == "CrossEncoder"


def _is_of_trl(source: Source) -> bool:
    """Whether the model card beside it is one that TRL wrote."""
    file = base_models.file_beside(source, README)
    if file is None:
        return False
    return OF_TRL.search(file.read_text(encoding="utf-8", errors="replace")) is not None
