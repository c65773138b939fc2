"""A standard folder for transformers, sentence-transformers, vLLM, SGLang and TEI to load as it is.

It holds what a saved model does, weights in safetensors, config.json and the tokenizer, and what
those programs need beyond it so that the number they give is the reward:

- `problem_type: regression` and sentence-transformers' `activation_fn` say that no sigmoid follows;
- normalisation is part of the head: its weight, and its bias where the class has one. A decoder's
  has none: there the mean stays in config.json for plaudit, and the README says what to subtract;
- the tokenizer's `model_max_length` and `sentence_bert_config.json` say how much the model reads;
- a decoder's chat template also takes the roles `query` and `document`, by which
  sentence-transformers and vLLM hand over a pair, and lays out plain rows where those are what the
  model reads;
- the README says how a text is laid out and which program gives which number.

A LoRA adapter is merged when it is loaded, so this is its merged model. Weights keep the precision
that they are given in. Rewards by transformers are compared with the model's before the folder
appears.
"""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from plaudit.console import say
from plaudit.data.rankings import Text
from plaudit.model import base_models
from plaudit.model.checkpoint import weighted
from plaudit.model.classifier import head_of
from plaudit.model.encoding import Encoding
from plaudit.model.engines import Session
from plaudit.model.exports import FolderExport
from plaudit.model.exports._checked import Network, check
from plaudit.model.exports._consumers import SGLANG_WITH_BIAS, Consumer, consumers
from plaudit.model.normalisation import Normalisation
from plaudit.model.poolings import POOLINGS
from plaudit.model.reward_model import RewardModel
from plaudit.model.saving import layout_in_python, save_model
from plaudit.model.template_limits import within_limits

IDENTITY = "torch.nn.modules.linear.Identity"
# Prompts and completions on which a chat template is compared with the model's rows.
PAIRS: list[tuple[Text, str]] = [
    ("What is two plus two?", "Four."),
    ("  Say\n\nit. ", "\tIt 🙂 \n"),
]
DIALOGUES: list[tuple[Text, str]] = [
    (
        [
            {"role": "user", "content": "Is that so?"},
            {"role": "assistant", "content": "Yes, it is!"},
            {"role": "user", "content": "Why?"},
        ],
        "Ask another.",
    ),
]
# Put before a chat template: who asks and who answers by other names.
OTHER_ROLES = """\
{%- set known = {"query": "user", "document": "assistant"} -%}
{%- set named = namespace(messages=[]) -%}
{%- for message in messages -%}
{%- set role = known.get(message["role"], message["role"]) -%}
{%- set named.messages = named.messages + [dict(message, role=role)] -%}
{%- endfor -%}
{%- set messages = named.messages %}
"""
# A prompt and its completion as plain rows have them, with what stands between.
PLAIN = """\
{%- set asked = messages[:-1] -%}
{{- BEGINS -}}
{%- for message in asked -%}
{%- if not loop.first -%}{{- "\\n\\n" -}}{%- endif -%}
{%- if asked | length > 1 -%}{{- message["role"] | capitalize + ": " -}}{%- endif -%}
{{- message["content"] -}}
{%- if loop.last and (message["content"] or asked | length > 1) -%}{{- SEPARATOR -}}{%- endif -%}
{%- endfor -%}
{{- messages[-1]["content"] -}}
{{- ENDS -}}
"""
README = """\
---
library_name: transformers
pipeline_tag: text-classification
tags: [reward-model, plaudit]
---

# A reward model

It gives a completion of a prompt one number, the reward; a higher one is better. A text has at most
{max_length:,} tokens and is laid out so:

```python
{layout}
```

{notes}
| program | loads it | how |
| --- | --- | --- |
{table}

Written by `plaudit export --format folder`; `RewardModel.load` of plaudit loads it too.
"""


def fill(model: RewardModel, folder: Path, path: Path) -> None:
    """Write the folder, and say which programs load it.

    Raises:
        PlauditError: when transformers gives other rewards of it.
    """
    exported, notes = _normalising(model)
    if model.attributes:
        notes.append(f"its head had several labels: the reward is {weighted(model.attributes)}")
    tokenizer, pairs = _tokenizer(model.encoding)
    exported.encoding = replace(model.encoding, tokenizer=tokenizer)
    config = exported.model.config
    if (word := model.encoding.configured_pad) is not None:
        pad = _pad_of_batches(exported.encoding)
        if pad is None:
            notes.append(
                f"config.json names {tokenizer.decode([word])!r} as the pad token, a word to the "
                "tokenizer: give it one row at a time elsewhere, without padding"
            )
        else:
            exported.encoding = replace(exported.encoding, configured_pad=None)
            config.pad_token_id = config.get_text_config().pad_token_id = pad
    config.problem_type = "regression"
    config.sentence_transformers = {"activation_fn": IDENTITY}
    if config.model_type == "modernbert":  # TEI reads them by these names alone
        for name, layers in (("global", "full_attention"), ("local", "sliding_attention")):
            setattr(config, f"{name}_rope_theta", config.rope_parameters[layers]["rope_theta"])
    if config.model_type in SGLANG_WITH_BIAS and model.pooling == "last":
        head = head_of(exported.model)
        head.bias = nn.Parameter(torch.zeros(1, dtype=head.weight.dtype))
        notes.append("`score.bias` is 0 and for SGLang; transformers leaves it aside, and says so")
    save_model(
        exported.model,
        exported.encoding,
        exported.pooling,
        folder,
        exported.normalisation,
        attributes=exported.attributes,
    )
    length = {"max_seq_length": model.max_length, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(length), encoding="utf-8")
    found = consumers(model, pairs)
    (folder / "README.md").write_text(_readme(model, found, notes), encoding="utf-8")
    _check(exported, folder, path)
    for line in [*notes, *found]:
        say(str(line))


def _normalising(model: RewardModel) -> tuple[RewardModel, list[str]]:
    """A copy of the model whose head normalises its rewards, as far as it can; what is to be known
    of it."""
    network = copy.deepcopy(model.model).to("cpu")
    known = model.normalisation
    exported = replace(
        model, model=network, device=torch.device("cpu"), normalisation=None, uncertainty=None
    )
    notes = []
    if model.uncertainty is not None:
        notes.append("how uncertain a reward is was left out: no program but plaudit reads it")
    if known is None:
        return exported, notes
    head = head_of(network)
    mean = known.mean / known.std
    with torch.no_grad():
        head.weight.copy_(head.weight.double() / known.std)
        if head.bias is not None:
            head.bias.copy_(head.bias.double() / known.std - mean)
    if head.bias is not None or not mean:
        notes.append("rewards are normalised: the head does it")
    else:
        exported.normalisation = Normalisation(mean, 1.0, known.completions, known.data)
        notes.append(
            f"rewards are normalised but for their mean, as the head has no bias: {mean:.6g} is to "
            "be subtracted, which plaudit does and others do not; the order is the same"
        )
    return exported, notes


def _tokenizer(encoding: Encoding) -> tuple[Any, bool]:
    """A copy of the tokenizer that says what the model reads, and whether it lays out a pair."""
    tokenizer = copy.deepcopy(encoding.tokenizer)
    tokenizer.model_max_length = encoding.max_length
    if encoding.kind == "encoder":
        return tokenizer, encoding.is_pair
    own = tokenizer.chat_template
    if encoding.template == "plain":
        tokenizer.chat_template = _plain_template(encoding)
    elif isinstance(own, str) and not own.startswith(OTHER_ROLES):
        tokenizer.chat_template = OTHER_ROLES + own
    whole = replace(encoding, max_length=1_000_000)
    tried = PAIRS + (DIALOGUES if encoding.template == "plain" else [])
    for prompt, completion in tried:
        row = whole.encode_texts([(prompt, [completion])])[0]["input_ids"][0]
        for asks, answers in (("user", "assistant"), ("query", "document")):
            asked = [{"role": asks, "content": prompt}] if isinstance(prompt, str) else prompt
            messages = [*asked, {"role": answers, "content": completion}]
            try:
                with within_limits(messages):
                    given = tokenizer.apply_chat_template(messages, return_dict=False)
            except Exception:  # what a template raises is its own
                given = None
            if given != row:
                tokenizer.chat_template = own
                return tokenizer, False
    return tokenizer, True


def _pad_of_batches(encoding: Encoding) -> int | None:
    """The tokenizer's pad token, with which other programs fill batches, where rows are the same by
    it as by a word that the configuration names: where none ends in that word. Else None."""
    own = replace(encoding, configured_pad=None)
    if (pad := encoding.tokenizer.pad_token_id) is None:
        return None
    tried = [("a", [f"b{encoding.tokenizer.decode([encoding.configured_pad])}"])]
    return int(pad) if own.encode_texts(tried) == encoding.encode_texts(tried) else None


def _plain_template(encoding: Encoding) -> str:
    """A chat template that writes a prompt and a completion as plain rows have them."""
    tokenizer = encoding.tokenizer
    row = encoding.encode_texts([("a", ["b"])])[0]["input_ids"][0]
    begins = tokenizer.bos_token if row[0] == tokenizer.bos_token_id else ""
    ends = tokenizer.eos_token if row[-1] == tokenizer.eos_token_id else ""
    written = {"BEGINS": begins, "ENDS": ends, "SEPARATOR": encoding.separator}
    template = PLAIN
    for name, text in written.items():
        template = template.replace(name, json.dumps(text, ensure_ascii=False))
    return template


def _readme(model: RewardModel, found: list[Consumer], notes: list[str]) -> str:
    rows = [f"| {each.name} | {'yes' if each.loads else 'no'} | {each.how} |" for each in found]
    return README.format(
        max_length=model.max_length,
        layout=layout_in_python(model.encoding),
        notes="".join(f"- {note}\n" for note in notes),
        table="\n".join(rows),
    )


def _check(exported: RewardModel, folder: Path, path: Path) -> None:
    """Compare what transformers gives of the folder with the model itself."""
    network_class = POOLINGS.get(exported.pooling).network or AutoModelForSequenceClassification
    network = Network(exported, copied=False)  # which was written, and is ours

    def session() -> Session:
        with base_models.quiet():
            config = AutoConfig.from_pretrained(folder)  # whose class that of ours does not know
            loaded = network_class.from_pretrained(folder, config=config, dtype=torch.float32)
        loaded.eval()
        return lambda tokens: loaded(**tokens).logits[:, 0]

    check(session, network, exported, path, "transformers")


EXPORT = FolderExport(fill, half=True)
