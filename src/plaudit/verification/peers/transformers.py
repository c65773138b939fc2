"""transformers alone: `--against transformers`, or `transformers=FOLDER` for another copy.

The folder is read as whoever has nothing but transformers reads it: `AutoTokenizer`,
`AutoModelForSequenceClassification`, the tokenizer's own chat template, padding side and longest
length, the configuration's own pad token and pooling; of a folder with an adapter peft puts it on
its base model, unmerged. In float32, eight rows at once. What a model card of plaudit says about
how a row is laid out is followed where there is no chat template: the separator, and an ending.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plaudit.errors import PlauditError
from plaudit.model import base_models
from plaudit.model.encoding import plain_text
from plaudit.model.loading import located
from plaudit.model.poolings import POOLINGS
from plaudit.model.reward_model import RewardModel
from plaudit.model.saving import code_of
from plaudit.verification.peers import Peer, There
from plaudit.verification.peers._texts import text_of
from plaudit.verification.rows import Row

AT_ONCE = 8
ADAPTER = "adapter_config.json"


class Transformers(There):
    """A folder under transformers."""

    def __init__(self, folder: str, like: RewardModel) -> None:
        self.name = f"transformers {transformers.__version__} on {folder}"
        self._encoding = like.encoding
        options: dict[str, Any] = {"trust_remote_code": _is_ours(folder, like)}
        with base_models.loading(base_models.Source(folder)):
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **options)
            if (Path(folder) / ADAPTER).is_file():
                self._model = _adapted(folder)
            else:
                auto = AutoModelForSequenceClassification
                self._model = auto.from_pretrained(folder, dtype=torch.float32, **options)
        self._model.eval()
        if self._tokenizer.pad_token_id is None:  # else there are no batches
            self._tokenizer.pad_token = self._tokenizer.eos_token

    @property
    def model(self) -> Any:
        """See `There`."""
        return self._model

    @property
    def tokenizer(self) -> Any:
        """See `There`."""
        return self._tokenizer

    def rewards(self, rows: Sequence[Row]) -> list[float]:
        """See `There`; of two labels the second one's logit less the first one's."""
        found: list[float] = []
        for start in range(0, len(rows), AT_ONCE):
            encoded = [self._encoded(row) for row in rows[start : start + AT_ONCE]]
            batch = self._tokenizer.pad(encoded, return_tensors="pt")
            batch.pop("special_tokens_mask", None)
            with torch.no_grad():
                logits = self._model(**batch).logits.float()
            if logits.shape[1] > 2:
                raise PlauditError(
                    f"transformers gives {logits.shape[1]} numbers for a row, and does not know "
                    "which of them are the reward: verify the folder that `plaudit export "
                    "--format folder` writes"
                )
            found += (logits[:, -1] - (logits[:, 0] if logits.shape[1] == 2 else 0)).tolist()
        return found

    def tokens(self, rows: Sequence[Row]) -> list[list[int]]:
        """See `There`."""
        return [list(self._encoded(row)["input_ids"]) for row in rows]

    def _encoded(self, row: Row) -> dict[str, Any]:
        tokenizer, cut = self._tokenizer, {"truncation": True, "verbose": False}
        if self._encoding.kind == "encoder":
            # Of a list of pairs: an empty second text alone counts as none.
            pairs = tokenizer([plain_text(row.prompt)], [plain_text(row.completion)], **cut)
            return {name: values[0] for name, values in pairs.items()}
        text = text_of(row, self._encoding, tokenizer)
        if self._encoding.template == "chat":
            return dict(tokenizer(text, add_special_tokens=False, **cut))
        encoded = dict(tokenizer(text, **cut))
        if encoded["input_ids"][-2:] == [tokenizer.eos_token_id] * 2:  # it puts one there itself
            return dict(tokenizer(text.removesuffix(tokenizer.eos_token), **cut))
        return encoded


def _is_ours(folder: str, like: RewardModel) -> bool:
    """Whether code is to be run that lies in the folder: only what plaudit itself saves there."""
    network = POOLINGS.get(like.pooling).network
    if network is None:
        return False
    file, code = code_of(network, like.model.config)
    path = Path(folder) / file
    if not path.is_file() or path.read_text(encoding="utf-8") != code:
        raise PlauditError(
            f"transformers: {folder} is of a class of its own, in {file}, and that is not as this "
            "version of plaudit writes it, so it is not run; save the model anew"
        )
    return True


def _adapted(folder: str) -> Any:
    """An adapter on its base model, as peft loads it."""
    from peft import AutoPeftModelForSequenceClassification

    return AutoPeftModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32
    )


@contextmanager
def open_peer(address: str, name: str, model: RewardModel) -> Iterator[There]:
    """See `Peer`."""
    folder = address or name
    if not address:
        source, adapter = located(name)
        folder = str(adapter.folder) if adapter else source.name
        if source.options:
            raise PlauditError(
                f"transformers: {name} is no folder that transformers loads as a classifier; "
                "name a copy of it: --against transformers=FOLDER"
            )
    elif (Path(address) / "model" / "config.json").is_file():
        folder = str(Path(address) / "model")
    yield Transformers(folder, model)


PEER = Peer(open_peer)
