"""From an export for an engine to a reward model's parts: the network runs there, the rest is ours.

What was noted at the export says how texts become tokens and how rewards are normalised. Settings
that would make another network of it are refused: they belong to the export.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import torch

from plaudit.console import say
from plaudit.errors import PlauditError
from plaudit.model import base_models
from plaudit.model.batches import Batch, Encoded, Padded
from plaudit.model.encoding import Encoding
from plaudit.model.engines import Engine
from plaudit.model.engines._network import EngineNetwork
from plaudit.model.loading import (
    Loaded,
    Loading,
    WhereItApplies,
    check_penalty,
    untrained,
    why_not_read_as,
    why_not_separated_by,
)
from plaudit.model.normalisation import Normalisation
from plaudit.model.reading import describe_left_as_it_is

# What may be set of an export; of the rest only what leaves it as it is.
OURS = ("dtype", "max_length", "normalised", "length_penalty", "seed", "trained_only")
AS_IT_IS = (None, "auto", "cpu", "padded", False, "")

# Tokens of a pass. Batches of 512 to 1,024 stay in a core's cache: on an encoder of 22 million
# weights in int8 OpenVINO takes 15 % longer for 2,048, and 25 % for 4,096.
TOKENS_AT_ONCE = 1024


class SmallBatches(Padded):
    """`Padded`, in batches of at most `TOKENS_AT_ONCE` tokens."""

    def divide(self, encoded: Encoded, max_tokens: int) -> list[Batch]:
        """See `Layout`."""
        return super().divide(encoded, min(max_tokens, TOKENS_AT_ONCE))


def load_exported(path: str | Path, engine: Engine, **options: Unpack[Loading]) -> Loaded:
    """The parts of a model that an engine runs; `RewardModel.load` says what the options mean.

    Raises:
        PlauditError: when the engine is not installed or cannot read it, or a setting does not fit.
    """
    read_as, separator = options.get("encoder_text"), options.get("separator")
    if isinstance(read_as, WhereItApplies):
        options["encoder_text"] = None
    if isinstance(separator, WhereItApplies):
        options["separator"] = None
    for option, value in options.items():
        unset = value in AS_IT_IS or (isinstance(value, Mapping) and not value)
        unset &= option != "separator" or value is None  # an empty one is one, too
        if option not in OURS and not unset:
            raise PlauditError(
                f"{option}: {path} is an exported network, whose {option} is fixed; export the "
                f"model again with the {option} that it is to have"
            )
    penalty = options.get("length_penalty", 0.0)
    check_penalty(penalty)
    bfloat16 = _bfloat16(options.get("dtype", "auto"), engine, path)
    opened = engine.open(Path(path), bfloat16)
    noted = opened.described
    if options.get("trained_only") and noted.get("new_head"):
        raise PlauditError(untrained(str(path)))
    with base_models.reading(path):
        normalisation = Normalisation.read(noted.get("normalisation"), str(path))
        encoding = Encoding(
            tokenizer=opened.tokenizer,
            kind=noted["kind"],
            template=noted["template"],
            max_length=_max_length(options.get("max_length"), noted["max_length"], path),
            separator=noted["separator"],
            pooling=noted["pooling"],
            configured_pad=noted.get("configured_pad"),
            encoder_text=noted.get("encoder_text", "pair"),
        )
        if not isinstance(encoding.pad_token_id, int):
            raise ValueError("its tokenizer has no pad token")
        attributes = dict(noted.get("attributes") or {})
    reading = ""
    if isinstance(read_as, WhereItApplies) and (
        why := why_not_read_as(read_as.asked, encoding.kind, noted)
    ):
        flag = f"--encoder-text {read_as.asked}"
        reading = describe_left_as_it_is("", str(path), encoding, flag, why)
    if isinstance(separator, WhereItApplies) and (
        why := why_not_separated_by(
            separator.asked, encoding.kind, noted, one_text=not encoding.is_pair, has_template=False
        )
    ):
        reading = describe_left_as_it_is(reading, str(path), encoding, "--separator", why)
    if reading:
        say(reading)
    return Loaded(
        model=EngineNetwork(opened.run, engine.files(Path(path))).eval(),
        encoding=encoding,
        pooling=noted["pooling"],
        device=torch.device("cpu"),
        dtype=torch.bfloat16 if bfloat16 else torch.float32,
        ratio=None,
        layout=SmallBatches(encoding.pad_token_id, f"{engine.name} runs it"),
        new_head=bool(noted.get("new_head")),
        normalisation=normalisation if options.get("normalised", True) else None,
        length_penalty=penalty,
        uncertainty=None,
        attributes=attributes,
        own_code=engine.name,
        origin=str(path),
        card="",
        trained_on=None,
        reading=reading,
    )


def _bfloat16(dtype: Any, engine: Engine, path: str | Path) -> bool:
    if dtype in ("auto", "float32", torch.float32):
        return False
    if dtype in ("bfloat16", torch.bfloat16) and engine.bfloat16:
        return True
    raise PlauditError(f"dtype: {engine.name} does not run {path} in {dtype}; leave dtype out")


def _max_length(asked: int | None, of_model: int, path: str | Path) -> int:
    if asked is not None and asked > of_model:
        raise PlauditError(
            f"max_length: {path} was exported from a model that reads {of_model:,} tokens, not "
            f"{asked:,}"
        )
    return asked or of_model
