"""An engine for networks that count: the reward is the number of tokens.

It runs folders with a tokenizer and `counting.json`, which says how texts become tokens.
"""

from pathlib import Path

from torch import Tensor
from transformers import AutoTokenizer

from plaudit.model.engines import Engine, Opened, read_described

NOTED = "counting.json"


def count(tokens: dict[str, Tensor]) -> Tensor:
    """`[N]`, of rows `[N, L]`."""
    return tokens["attention_mask"].sum(1).float()


def open_folder(path: Path, bfloat16: bool) -> Opened:
    """See `Engine`."""
    described = read_described((path / NOTED).read_text(), path)
    return Opened(count, described, AutoTokenizer.from_pretrained(path))


ENGINE = Engine(
    name="Counting",
    reads=lambda path: (path / NOTED).is_file(),
    open=open_folder,
    files=lambda path: [path / NOTED],
)
