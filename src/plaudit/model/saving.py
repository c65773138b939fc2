"""A reward model as a standard folder: weights, config.json with plaudit's settings, tokenizer."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from plaudit.model import base_models
from plaudit.model.adapter import TrainedAdapter
from plaudit.model.checkpoint import CONFIG_KEY
from plaudit.model.encoding import Encoding
from plaudit.model.normalisation import Normalisation
from plaudit.model.poolings import POOLINGS
from plaudit.model.trained_on import Kept, TrainedOn
from plaudit.model.uncertainty import HeadUncertainty


def save_model(
    model: Any,
    encoding: Encoding,
    pooling: str,
    folder: Path,
    normalisation: Normalisation | None = None,
    uncertainty: HeadUncertainty | None = None,
    attributes: Mapping[str, float] | None = None,
    trained_on: TrainedOn | Kept | None = None,
) -> None:
    """Write model and tokenizer into an existing folder, and what is known beside the weights."""
    stored = stored_settings(encoding, pooling, normalisation, attributes)
    setattr(model.config, CONFIG_KEY, stored)
    model.config.architectures = [type(model).__name__]
    if (network := POOLINGS.get(pooling).network) is not None:
        file, code = code_of(network, model.config)
        model.config.auto_map = mapped_to(network, file)
        (folder / file).write_text(code, encoding="utf-8")
    try:
        with base_models.quiet():
            model.save_pretrained(folder)
            encoding.tokenizer.save_pretrained(folder)
        for path in folder.rglob("*.safetensors"):  # which are made for their owner alone
            path.chmod((folder / "config.json").stat().st_mode)
        if uncertainty is not None:
            uncertainty.save(folder)
        if trained_on is not None:
            trained_on.save(folder)
    except SafetensorError as error:  # what a full disk looks like from there
        raise OSError(str(error)) from error


def save_adapter(
    adapter: TrainedAdapter,
    model: Any,
    encoding: Encoding,
    pooling: str,
    folder: Path,
    attributes: Mapping[str, float] | None = None,
) -> None:
    """Write an adapter, which was merged into `model`, with its tokenizer into an existing folder.

    peft loads it onto the base model. What plaudit notes in `config.json` lies beside it, so that
    loaded from there it encodes as it did in training.
    """
    setattr(model.config, CONFIG_KEY, stored_settings(encoding, pooling, None, attributes))
    try:
        with base_models.quiet():
            adapter.save(folder, model)
            model.config.save_pretrained(folder)
            encoding.tokenizer.save_pretrained(folder)
    except SafetensorError as error:  # what a full disk looks like from there
        raise OSError(str(error)) from error


def code_of(network: Any, config: Any) -> tuple[str, str]:
    """The name and the text of the file that a saved model of such a class has beside its weights.

    transformers wants the class that the configuration has: see `modeling_mean`.
    """
    file = Path(inspect.getfile(network))
    code, name = file.read_text(encoding="utf-8"), type(config).__name__
    code = code.replace("config_class = PreTrainedConfig", f"config_class = {name}")
    return file.name, code.replace("PreTrainedConfig, PreTrainedModel", f"{name}, PreTrainedModel")


def mapped_to(network: Any, file: str) -> dict[str, str]:
    """The `auto_map` of a saved model whose class `network` is in a file beside its weights."""
    return {"AutoModelForSequenceClassification": f"{Path(file).stem}.{network.__name__}"}


def layout_in_python(encoding: Encoding) -> str:
    """How a `prompt` and a `completion` become a row of tokens by transformers alone, as Python."""
    if encoding.is_pair:
        return "tokenizer(prompt, completion)"
    if encoding.template == "chat":
        turns = ("user", "prompt"), ("assistant", "completion")
        messages = ", ".join(f'{{"role": "{role}", "content": {text}}}' for role, text in turns)
        return f"tokenizer.apply_chat_template([\n    {messages},\n])"
    tokenizer = encoding.tokenizer
    by_itself = tokenizer("a")["input_ids"][-1:] == [tokenizer.eos_token_id]
    ended = not by_itself and tokenizer.eos_token_id not in (None, encoding.pad_token_id)
    if encoding.kind == "encoder":
        ended = encoding.encoder_text == "trl" and tokenizer.eos_token is not None
    ending = " + tokenizer.eos_token" if ended else ""
    between = f"{encoding.separator!r} + " if encoding.separator else ""
    return f"tokenizer(prompt + {between}completion{ending})"


def stored_settings(
    encoding: Encoding,
    pooling: str,
    normalisation: Normalisation | None = None,
    attributes: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What `config.json` keeps, so that a loaded model encodes as it did in training.

    `attributes` are the labels that a head had of which the reward is now a sum, and their weights.
    """
    settings: dict[str, Any] = {
        "pooling": pooling,
        "template": encoding.template,
        "max_length": encoding.max_length,
        "separator": encoding.separator,
    }
    if encoding.encoder_text != "pair":  # else outputs begun by earlier versions are not resumed
        settings["encoder_text"] = encoding.encoder_text
    if normalisation:
        settings["normalisation"] = asdict(normalisation)
    if attributes:
        settings["attributes"] = dict(attributes)
    return settings
