"""Models of real shapes with random weights, their tokenizer, and rankings of chosen lengths.

No pretrained weights are needed: neither speed nor equality depends on what the weights are. Small
shapes are for comparing numbers, real ones for speed; `tiny` replaces the latter in a rehearsal.
"""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from plaudit.model.classifier import exact
from plaudit.model.encoding import Encoding
from plaudit.model.loading import choose_layout
from plaudit.model.poolings import POOLINGS
from plaudit.model.precision import Work, choose_precision
from plaudit.model.reward_model import RewardModel

SPECIAL = {"pad_token": "<pad>", "eos_token": "<eos>", "cls_token": "<cls>", "sep_token": "<sep>"}
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
VOCABULARY = 2000
ENCODERS = ("bert", "modernbert", "deberta-v2")

# The shapes of published models, by transformers' names for their fields.
REAL: dict[str, dict[str, Any]] = {
    "smollm2-135m": {
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
    "qwen2.5-0.5b": {
        "model_type": "qwen2",
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
    },
    "qwen2.5-7b": {
        "model_type": "qwen2",
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
    },
    "modernbert-base": {
        "model_type": "modernbert",
        "vocab_size": 50368,
        "hidden_size": 768,
        "intermediate_size": 1152,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "max_position_embeddings": 8192,
        "global_attn_every_n_layers": 3,
        "local_attention": 128,
        "classifier_pooling": "cls",
    },
}
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
    # Wide, so that the rewards of different texts differ by far more than rounding.
    "initializer_range": 0.1,
}
GROUPED = {"num_key_value_heads": 2}
COMPARED: dict[str, dict[str, Any]] = {
    "gpt2": {
        "vocab_size": VOCABULARY,
        "n_embd": 128,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 1024,
        "initializer_range": 0.1,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    },
    "llama": SMALL | GROUPED,
    "qwen2": SMALL | GROUPED,
    "qwen3": SMALL | GROUPED | {"head_dim": 32},
    "bert": SMALL | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "modernbert": SMALL | {"local_attention": 64, "classifier_pooling": "cls"},
    "deberta-v2": SMALL
    | {
        "relative_attention": True,
        "position_buckets": 64,
        "max_relative_positions": -1,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
        "type_vocab_size": 0,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
}


def tokenizer(texts: Iterable[str], chat: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer trained on the texts, for decoders and encoders alike."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    if not chat:
        bpe.post_processor = TemplateProcessing(
            single="<cls> $A <sep>",
            pair="<cls> $A <sep> $B <sep>",
            special_tokens=[(t, bpe.token_to_id(t)) for t in ("<cls>", "<sep>")],
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe, model_input_names=["input_ids", "attention_mask"], **SPECIAL
    )
    if chat:
        fast.chat_template = CHAT
    return fast


def config_of(sizes: dict[str, Any], kind: str | None = None) -> Any:
    """A configuration with the ids that `tokenizer` gives its special tokens."""
    sizes = dict(sizes)
    kind = kind or sizes.pop("model_type")
    sizes.pop("model_type", None)
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
    if kind == "modernbert":
        ids |= {"cls_token_id": 2, "sep_token_id": 3}
    return AutoConfig.for_model(kind, **sizes, **ids, num_labels=1)


def small_model(name: str, folder: Path, texts: Iterable[str]) -> Path:
    """A folder with a small random model of `COMPARED` and its tokenizer."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config_of(COMPARED[name], name))
    with torch.no_grad():  # a head as wide as the rest, or all rewards would be about zero
        for parameter_name, weight in model.named_parameters():
            if parameter_name in ("score.weight", "classifier.weight"):
                weight.normal_(std=0.5)
    model.save_pretrained(folder)
    tokenizer(texts, chat=name not in ENCODERS).save_pretrained(folder)
    return folder


def classifier(
    name: str, device: str, *, tiny: bool = False, weights: torch.dtype = torch.float32
) -> Any:
    """transformers' own random classifier of one of the shapes of `REAL`, made on the device."""
    sizes = dict(REAL[name])
    if tiny:
        sizes |= {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
        sizes |= {"num_attention_heads": 4, "vocab_size": VOCABULARY}
        if "num_key_value_heads" in sizes:
            sizes["num_key_value_heads"] = 2
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForSequenceClassification.from_config(config_of(sizes), dtype=weights)
    model.config.use_cache = False  # there is nothing to generate
    return model


def reward_model(
    name: str,
    device: str,
    *,
    tiny: bool = False,
    layout: Any = "auto",
    dtype: Any = "auto",
    max_length: int = 4096,
    weights: torch.dtype = torch.float32,
) -> RewardModel:
    """A random reward model of one of the shapes of `REAL`, made on the device, never on disk.

    Its tokenizer knows few words: data are rows of tokens from `rankings`.
    """
    encoder = REAL[name]["model_type"] in ENCODERS
    pooling = "cls" if encoder else "last"
    model = exact(
        classifier(name, device, tiny=tiny, weights=weights), POOLINGS.get(pooling), pooling
    ).eval()
    words = tokenizer(["one two three"], chat=not encoder)
    kind = "encoder" if encoder else "decoder"
    encoding = Encoding(words, kind, "plain", max_length, "\n\n", pooling)
    place = torch.device(device)
    precision = choose_precision(dtype, place, Work({}))
    chosen = choose_layout(layout, model, encoding, precision)
    return RewardModel(model, encoding, pooling, place, precision.dtype, chosen)


def rankings(
    count: int,
    *,
    prompt: int,
    completion: int,
    k: int = 8,
    vocabulary: int = VOCABULARY,
    shares: bool = True,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rankings of random tokens, as `Encoding.encode` would make them.

    `prompt` and `completion` are mean lengths in tokens; each length is drawn within a quarter of
    them, so that no two batches are alike. Without `shares` (an encoder) each row has a prompt of
    its own to compute.
    """
    drawn = random.Random(seed)

    def tokens(mean: int) -> list[int]:
        length = drawn.randint(mean - mean // 4, mean + mean // 4)
        return [drawn.randrange(10, vocabulary) for _ in range(length)]

    made = []
    for _ in range(count):
        begins = tokens(prompt)
        rows = [begins + tokens(completion) for _ in range(k)]
        made.append(
            {
                "input_ids": rows,
                "shared": len(begins) if shares else 0,
                "length": max(map(len, rows)),
                "ranks": drawn.sample(range(k), k),
                "margin": 0.0,
                "weight": 1.0,
                "completion_tokens": [len(row) - len(begins) for row in rows],
            }
        )
    return made


def texts_of(path: Path) -> list[str]:
    """All texts of a ranked CSV file."""
    import csv

    with path.open(newline="") as file:
        return [cell for row in csv.DictReader(file) for cell in (row["prompt"], row["answer"])]
