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
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plaudit.errors import PlauditError
from plaudit.model import base_models
from plaudit.model.adapter import Adapter
from plaudit.model.base_models import Source
from plaudit.model.checkpoint import names_of_labels, weights_of_labels
from plaudit.model.encoding import plain_text
from plaudit.model.loading import located
from plaudit.model.poolings import POOLINGS
from plaudit.model.reward_model import RewardModel
from plaudit.model.saving import code_of, mapped_to
from plaudit.verification.peers import Peer, RefusedError, There
from plaudit.verification.peers._texts import text_of
from plaudit.verification.rows import Row, batches

AT_ONCE = 8


class Transformers(There):
    """A model's folder, or a repository on the hub, under transformers."""

    def __init__(self, source: Source, adapter: Adapter | None, like: RewardModel) -> None:
        place = str(adapter.source if adapter else source)
        self.name = f"transformers {transformers.__version__} on {place}"
        self._encoding = like.encoding
        self._attributes, self._own_code = like.attributes, like.own_code
        if source.is_gguf:
            raise PlauditError(
                f"transformers: {place} is a GGUF file; name the folder that it was made of: "
                "--against transformers=FOLDER"
            )
        options = source.options | {"trust_remote_code": _may_run(source, like)}
        tokenizer = adapter.tokenizer if adapter else source
        with base_models.loading(source):
            self._tokenizer = AutoTokenizer.from_pretrained(tokenizer.name, **tokenizer.keywords)
            if adapter and adapter.labels:  # else the head is its base's
                options["num_labels"] = adapter.labels
            self._model, info = AutoModelForSequenceClassification.from_pretrained(
                source.name, dtype=torch.float32, output_loading_info=True, **options
            )
            missing = info["missing_keys"]
            if adapter:
                self._model = PeftModel.from_pretrained(self._model, str(adapter.folder))
                missing -= adapter.names
        if missing:
            raise PlauditError(
                f"{self.name} lacks the weights {', '.join(sorted(missing)[:3])} and draws them at "
                "random: transformers alone cannot give this model's rewards; compare a folder "
                "that `plaudit export --format folder` writes"
            )
        self._model.eval()
        if self._tokenizer.pad_token_id is None:  # else there are no batches
            self._tokenizer.pad_token = like.encoding.tokenizer.pad_token

    @property
    def model(self) -> Any:
        """See `There`."""
        return self._model

    @property
    def tokenizer(self) -> Any:
        """See `There`."""
        return self._tokenizer

    def rewards(self, rows: Sequence[Row]) -> list[float]:
        """See `There`."""
        encoded = [self._encoded(row) for row in rows]
        found = [0.0] * len(rows)
        for places in batches([len(of["input_ids"]) for of in encoded], AT_ONCE):
            batch = self._tokenizer.pad([encoded[place] for place in places], return_tensors="pt")
            batch.pop("special_tokens_mask", None)
            try:
                with torch.no_grad():
                    output = self._model(**batch)
            except Exception as error:  # of rows that its positions do not reach, for one
                raise RefusedError(f"{self.name} fails: {' '.join(str(error).split())}") from error
            # A class of a repository's own may call its reward `score`.
            numbers = getattr(output, "score", None) if self._own_code else None
            each = self._rewards(output.logits if numbers is None else numbers).tolist()
            for place, reward in zip(places, each, strict=True):
                found[place] = reward
        return found

    def _rewards(self, numbers: torch.Tensor) -> torch.Tensor:
        """`[N]` of the numbers `[N]` or `[N, labels]` that it gives: the labels that are asked for,
        by its own names of them, else of two the second one less the first one."""
        each = numbers.float().reshape(len(numbers), -1)
        labels = names_of_labels(self._model.config, each.shape[1])
        weights = weights_of_labels(self._attributes or None, labels, self.name)
        return each @ torch.tensor(weights)

    def tokens(self, rows: Sequence[Row]) -> list[list[int]]:
        """See `There`."""
        return [list(self._encoded(row)["input_ids"]) for row in rows]

    def _encoded(self, row: Row) -> dict[str, Any]:
        tokenizer, cut = self._tokenizer, {"truncation": True, "verbose": False}
        if self._encoding.is_pair:
            # Of a list of pairs: an empty second text alone counts as none.
            pairs = tokenizer([plain_text(row.prompt)], [plain_text(row.completion)], **cut)
            return {name: values[0] for name, values in pairs.items()}
        text = text_of(row, self._encoding, tokenizer)
        if self._encoding.template == "chat":
            return dict(tokenizer(text, add_special_tokens=False, **cut))
        encoded = dict(tokenizer(text, **cut))
        twice = encoded["input_ids"][-2:] == [tokenizer.eos_token_id] * 2
        if self._encoding.kind == "decoder" and twice:  # it puts one there itself
            return dict(tokenizer(text.removesuffix(tokenizer.eos_token), **cut))
        return encoded


def _may_run(source: Source, like: RewardModel) -> bool:
    """Whether code is run that a model brings: what the user trusts, else what plaudit saves."""
    if like.own_code:
        return source.trusted
    network = POOLINGS.get(like.pooling).network
    if network is None:
        return False
    name, code = code_of(network, like.model.config)
    file = base_models.file_beside(source, name)
    mapped = base_models.config_file(source).get("auto_map")
    if (
        mapped != mapped_to(network, name)
        or file is None
        or file.read_text(encoding="utf-8") != code
    ):
        raise PlauditError(
            f"transformers: {source} is of a class of its own, and its {name} and the auto_map of "
            "its config.json are not as this version of plaudit writes them, so it is not run; "
            "save the model anew"
        )
    return True


@contextmanager
def open_peer(address: str, name: str, model: RewardModel) -> Iterator[There]:
    """See `Peer`; code is trusted of the model that was named, and of no other."""
    place = address or name
    if Path(place).is_file():
        raise PlauditError(
            f"transformers: {place} is a file, and transformers loads folders; name the folder "
            "that it was made of: --against transformers=FOLDER"
        )
    trusted = bool(model.own_code) and not address
    yield Transformers(*located(place, trusted=trusted), model)


PEER = Peer(open_peer)
