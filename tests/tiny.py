"""Tiny base models with random weights, and tokenizers trained on the spot.

`make(name, folder)` fills a standard base model folder. The decoders differ in what trips reward
models up: where the pad token comes from, whether there is a beginning, an ending, a chat template.
Weights are drawn wide, so that the rewards of different texts differ by far more than rounding.
"""

import json
import re
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)
from transformers import PreTrainedTokenizerFast as Fast

VOCABULARY = 300
POSITIONS = 128
CORPUS = [
    "The quick brown fox jumps over the lazy dog. Is that so? Yes, it is!",
    "A reward model gives a better answer a higher reward than a worse answer.",
    "What is two plus two? Two plus two is four. User and assistant talk on and on.",
    "0 1 2 3 4 5 6 7 8 9 ( ) [ ] { } < > | / : ; , . ' \" - _ + * = # @ %",
]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.3,
}
DECODERS = ("gpt2", "llama", "qwen2", "mistral")
ENCODERS = ("bert", "roberta", "modernbert", "deberta-v2")


def make(name: str, folder: Path, tokenizer=None, **config) -> Path:
    """Write the base model `name` (of `DECODERS` or `ENCODERS`) with its tokenizer to `folder`."""
    tokenizer = tokenizer or TOKENIZERS[name]()
    sizes = {"pad_token_id": tokenizer.pad_token_id}
    if name != "gpt2":
        sizes |= SIZES
    else:
        sizes |= {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4}
        sizes |= {"n_positions": POSITIONS, "initializer_range": 0.3}
    if name in ("llama", "qwen2", "mistral"):
        sizes["num_key_value_heads"] = 2
    if name == "roberta":  # positions count from the pad token's id on
        sizes["max_position_embeddings"] = POSITIONS + tokenizer.pad_token_id + 1
    if name == "modernbert":
        sizes |= {"local_attention": 16, "global_attn_every_n_layers": 2}
        sizes |= {"classifier_pooling": "mean"}  # as the published one; ours is to be `cls`
        sizes |= {f"{t}_token_id": getattr(tokenizer, f"{t}_token_id") for t in ("cls", "sep")}
    if name == "deberta-v2":  # as microsoft/deberta-v3
        sizes |= {"relative_attention": True, "position_buckets": 16, "type_vocab_size": 0}
        sizes |= {
            "pos_att_type": ["p2c", "c2p"],
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
        }
        sizes |= {"position_biased_input": False, "max_relative_positions": -1}
    auto = AutoModelForCausalLM if name in DECODERS else AutoModelForMaskedLM
    for special in ("bos", "eos"):
        sizes[f"{special}_token_id"] = getattr(tokenizer, f"{special}_token_id")
    torch.manual_seed(0)
    model = auto.from_config(AutoConfig.for_model(name, **sizes | config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def classifier(name: str, folder: Path) -> Path:
    """A reward model as transformers makes it, with a head of one number, whose rewards differ."""
    make(name, folder)
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, initializer_range=0.5
    )
    model.save_pretrained(folder)
    return folder


def write_rankings(path: Path, prompts: int) -> Path:
    """A ranked file in which the better one of three answers says `fox` more often."""
    with path.open("w") as file:
        for number in range(prompts):
            for rank in range(3):
                text = "fox " * (3 - rank) + "dog " * (rank + number % 3)
                row = {"prompt": f"What is {number}?", "answer": text, "rank": rank + 1}
                file.write(json.dumps(row) + "\n")
    return path


def head_alone(base, folder: Path, **more) -> dict:
    """Settings that train the head of the tiny BERT, its features kept in a folder."""
    settings = {"base": str(base("bert")), "dtype": "float32", "max_length": 48, "seed": 1}
    settings |= {"recipe": "plain", "freeze_layers": -1, "features_cache": str(folder / "features")}
    return settings | more


def byte_bpe(
    bos: str | None = None,
    eos: str | None = None,
    pad: str | None = None,
    chat: bool = False,
    pair: tuple[str, str] | None = None,
    frame: tuple[str, str] = ("", ""),
    **specials: str,
):
    """A byte-level BPE tokenizer, which loses no text. `frame` goes round a single text, `pair` is
    what TemplateProcessing puts round one text and two."""
    extra = ["<|im_start|>", "<|im_end|>"] if chat else []
    named = {"bos_token": bos, "eos_token": eos, "pad_token": pad} | specials
    named = {key: token for key, token in named.items() if token is not None}
    special = list(dict.fromkeys([*named.values(), *extra]))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    if pair is not None or any(frame):
        single, double = pair or (f"{frame[0]} $A {frame[1]}", f"{frame[0]} $A $B {frame[1]}")
        tokenizer.post_processor = TemplateProcessing(
            single=single.strip(),
            pair=double.strip(),
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in special],
        )
    fast = Fast(tokenizer_object=tokenizer, **named)
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    return fast


def wordpiece():
    """BERT's tokenizer: lower case, WordPiece, token types."""
    words = sorted({word for text in CORPUS for word in re.findall(r"\w+|[^\w\s]", text.lower())})
    letters = sorted({letter for word in words for letter in word})
    pieces = dict.fromkeys([*letters, *(f"##{letter}" for letter in letters), *words])
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]
    return transformers.BertTokenizer(vocab={piece: i for i, piece in enumerate(vocabulary)})


def unigram():
    """DeBERTa-v3's tokenizer: SentencePiece's Unigram, with token types."""
    words = sorted({f"▁{word}" for text in CORPUS for word in text.split()})
    letters = sorted({letter for word in words for letter in word})
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    pieces = [(piece, 0.0) for piece in special]
    pieces += [(letter, -10.0) for letter in letters] + [(word, -8.0) for word in words]
    return transformers.DebertaV2Tokenizer(vocab=[*pieces, ("[MASK]", 0.0)])


TOKENIZERS = {
    # bos == eos and no pad token, nothing added by the tokenizer
    "gpt2": lambda: byte_bpe(bos="<|endoftext|>", eos="<|endoftext|>"),
    # a beginning that the tokenizer adds, an ending that it does not, no pad token
    "llama": lambda: byte_bpe(bos="<s>", eos="</s>", frame=("<s>", "")),
    # a chat template, a pad token of its own
    "qwen2": lambda: byte_bpe(eos="<|im_end|>", pad="<|endoftext|>", chat=True),
    # neither a pad token nor an ending
    "mistral": lambda: byte_bpe(bos="<s>", frame=("<s>", "")),
    "bert": wordpiece,
    "roberta": lambda: byte_bpe(
        bos="<s>",
        eos="</s>",
        pad="<pad>",
        pair=("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
        cls_token="<s>",
        sep_token="</s>",
        mask_token="<mask>",
    ),
    "modernbert": lambda: byte_bpe(
        pad="[PAD]",
        pair=("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]"),
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ),
    "deberta-v2": unigram,
}
