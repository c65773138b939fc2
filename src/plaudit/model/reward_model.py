"""The reward model: a base model, a pooling and a head, with the way its texts are encoded.

The main road is `RewardModel.load` → `score` → `save`. Inside it is transformers' own sequence
classifier with one label, so that the saved folder is a standard one; `classifier` says what is
ours about it. Batches are cut to a budget of tokens. A completion's reward depends on its own
tokens alone, whatever else is in its batch.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
import torch
from torch import Tensor

from plaudit.console import say
from plaudit.data.rankings import Text
from plaudit.errors import PlauditError
from plaudit.files import writing_folder
from plaudit.model import loading
from plaudit.model.batches import Batch, Layout, Padded, model_inputs, unique_tokens
from plaudit.model.cast_once import Casts, cast_once, keeping_casts
from plaudit.model.classifier import features_shown
from plaudit.model.devices import free_memory, tokens_per_batch
from plaudit.model.encoding import Encoding, count_truncation
from plaudit.model.engines import engine_of
from plaudit.model.engines._network import EngineNetwork
from plaudit.model.ensemble import Combine, Ensemble
from plaudit.model.exported import load_exported
from plaudit.model.hub import push, short_card
from plaudit.model.identity import weights_digest
from plaudit.model.loading import Loading
from plaudit.model.normalisation import Normalisation
from plaudit.model.posterior import Posterior
from plaudit.model.remembered import Remembered, key_of
from plaudit.model.saving import save_model, stored_settings
from plaudit.model.scorer import UNTRAINED, Scorer
from plaudit.model.trained_on import Kept, TrainedOn
from plaudit.model.uncertainty import HeadUncertainty


@dataclass
class RewardModel(Scorer):
    """A scalar reward for a completion of a prompt.

    >>> model = RewardModel.load("runs/first")
    >>> rewards = model.score("What is 2 + 2?", ["4", "I'd rather not."])
    >>> len(rewards), type(rewards[0])
    (2, <class 'float'>)
    """

    model: Any
    encoding: Encoding
    pooling: str
    device: torch.device
    dtype: torch.dtype
    layout: Layout
    max_tokens_per_batch: int = 0  # of one forward pass; 0 stands for what suits the device
    new_head: bool = False  # drawn at random and not trained yet
    truncation: dict[str, int] = field(default_factory=dict)  # since the last report
    normalisation: Normalisation | None = None
    length_penalty: float = 0.0  # of each token of the completion
    uncertainty: HeadUncertainty | None = None
    attributes: dict[str, float] = field(default_factory=dict)  # labels that it is a sum of
    own_code: str = ""  # the class that its repository brings, where that computes it
    origin: str = ""  # the name that it was loaded by
    ratio: float | None = None  # of speed in bfloat16 to float32, where that was measured
    card: str = ""  # that a run wrote of it
    trained_on: TrainedOn | Kept | None = None  # hashes of its training texts
    reading: str = ""  # how a model from elsewhere is read, in a line

    def __post_init__(self) -> None:
        if not self.max_tokens_per_batch:
            self.max_tokens_per_batch = tokens_per_batch(self.device)
        if self.device.type == "cpu":
            keeping_casts(self.model)
        self._remembered: Remembered | None = None
        self._casts: Casts | None = None  # of weights, for as long
        self._remembering = 0  # how many ask for it
        self._fits = math.inf  # tokens of a pass: fewer where memory was not enough for more

    # ---- load ----

    @overload
    @classmethod
    def load(  # type: ignore[overload-overlap]
        cls, name: str | Path, **options: Unpack[Loading]
    ) -> "RewardModel": ...
    @overload
    @classmethod
    def load(
        cls,
        name: Sequence[str | Path],
        *,
        combine: Combine = "mean",
        spread: float = 1.0,
        **options: Unpack[Loading],
    ) -> Ensemble: ...

    @classmethod
    def load(cls, name: Any, **options: Any) -> Any:
        """Load a trained reward model, or a base model under a new head drawn from `seed`.

        Anybody's: a checkpoint that is one of transformers' sequence classifiers is read as its own
        configuration says, with its own head, pooling and pad token, so that the rewards are those
        of transformers: its logits, to which no activation is applied. Of two labels the reward is
        the difference of logits; of more, those that `attributes` names. So is a folder with a LoRA
        adapter, which is merged.

        Args:
            name: a run folder, a model folder, what plaudit exported as `.pt`, for ONNX Runtime or
                for OpenVINO, a hub name (`owner/name`, `owner/name@REVISION`), or
                `embedded:minilm` / `embedded:smollm2`.
                Several names give an `Ensemble`, which says what `combine` and `spread` do.
            pooling: `last` (decoders), `cls` (encoders) or `mean` of the tokens' scores; `auto`
                takes what the model was trained with, else `last` for decoders and for encoders
                `cls`, or `mean` where sentence-transformers notes that they were pretrained so.
            template: `chat`, `plain`, or `auto`: chat where the tokenizer has a template.
            max_length: tokens of a row; None takes what the model was trained with, else all that
                it reads by its positions and tokenizer, and under a new head 4,096 at most.
            chat_template: a Jinja file, instead of the tokenizer's own template. It is saved with
                the tokenizer; a model that plaudit trained keeps the one it was trained with.
            chat_template_args: arguments of the template, such as `{"enable_thinking": False}`,
                written into it, so that they are saved too.
            separator: what stands between prompt and completion in a plain decoder's row, and in
                that of an encoder that reads one text, where it is nothing unless given. A decoder
                of somebody else's is then read without its tokenizer's chat template. A saved model
                keeps its own. Of several models it is for those whose files do not say theirs.
            encoder_text: how an encoder of somebody else's reads prompt and completion: as a
                `pair`, the default; as `one` text; or as `trl`, one text with the tokenizer's
                end-of-text token after it, where it has one. A saved model keeps it. Of several
                models it is for the encoders whose files do not say how they read.
            dtype: what matrix products run in. `auto` is bfloat16 where that is measured to be
                faster on this machine, else float32. Rewards agree within 1e-5 at any batching in
                float32.
            layout: of tokens in a batch. `flat` has each unique token once and no padding, with
                the same rewards; `auto` takes it where the base model's attention allows it.
            device: `auto`, or a torch device.
            seed: of a new head's weights.
            normalised: whether to normalise rewards where the model says how (`normalise`); False
                gives them as the model was trained to give them.
            length_penalty: subtracted from the reward, normalised where it is, for each token of
                the completion: 0 or more. Counted are the tokens that the model reads of it, after
                truncation, without the special tokens that end a row; in a chat template all that
                follows the prompt and the beginning of the turn, so its ending too.
            new_head: whether to draw a head in the place of the one that a model brings.
            trained_only: whether to refuse a model whose head is drawn, and whose rewards are so
                random: a base model.
            revision: of a model on the hub: a branch, a tag or a commit. `owner/name@REVISION` as
                the name says the same. Configuration, weights, tokenizer, and whatever else is read
                of it, are of that revision.
            subfolder: of a folder, or of a repository on the hub, in which all of that is.
            attn_implementation: one of transformers' (`eager`, `sdpa`, `flash_attention_2` …). Rows
                are then padded, since the flat layout has its own.
            device_map: `device` as transformers' users write it: `"cuda:1"`, `{"": 0}`, or
                `"auto"`, the best one. A model is put on one device, never spread over several.
            attributes: which labels of a head with several give the reward: a name of its
                `id2label`, or names with weights, `{"helpfulness": 0.65, "verbosity": -0.2}` or
                `"helpfulness=0.65,verbosity=-0.2"`, whose logits are then summed. A number may
                stand for a name. A saved model keeps the one row, and notes what it is of.
            trust_remote_code: run the modelling code that a model brings, where its rewards are
                those of a class of its own. It may do anything that you may: read it first, and
                name a `revision`. Such a model computes by its own forward, and is not saved.

        Raises:
            PlauditError: when there is no such model, a setting does not fit it, or the files have
                weights that the model does not use, or lack some.
        """
        if isinstance(name, str | Path):
            return cls(**vars(_parts(name, **options)))
        if options.get("revision") or options.get("subfolder"):
            raise PlauditError("revision: of several models, name each as owner/name@REVISION")
        how = {key: options.pop(key) for key in ("combine", "spread") if key in options}
        if len(name) > 1:
            options = loading.for_several(options)
        return Ensemble([cls(**vars(_parts(each, **options))) for each in name], **how)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, **options: Unpack[Loading]
    ) -> "RewardModel":
        """`load`, by the name that transformers' users look for.

        >>> RewardModel.from_pretrained("runs/first", device_map="cpu").device
        device(type='cpu')
        """
        return cls.load(pretrained_model_name_or_path, **options)

    # ---- score ----

    @property
    def scale(self) -> float:
        """1.0, or the standard deviation that normalised rewards were divided by.

        A length penalty counts: the probability is then of what the penalised rewards prefer.
        """
        return self.normalisation.std if self.normalisation else 1.0

    @property
    def normalised(self) -> bool:
        """See `Scorer`."""
        return self.normalisation is not None

    def identity(self) -> dict[str, Any]:
        """See `Scorer`.

        >>> RewardModel.load("runs/first").identity()
        {'weights': '...', 'dtype': 'torch.float32', ...}
        """
        tokenizer = self.encoding.tokenizer
        beside = {} if self.uncertainty is None else {"uncertainty": self.uncertainty.digest()}
        return {
            "weights": weights_digest(self.model, (len(tokenizer), tokenizer.chat_template)),
            "dtype": str(self.dtype),
            "length_penalty": self.length_penalty,
            "max_tokens_per_batch": self.max_tokens_per_batch,
            **stored_settings(self.encoding, self.pooling, self.normalisation),
            **beside,
        }

    @property
    def encodings(self) -> list[Encoding]:
        """See `Scorer`."""
        return [self.encoding]

    @property
    def max_length(self) -> int:
        """See `Scorer`."""
        return self.encoding.max_length

    @property
    def readings(self) -> list[str]:
        """See `Scorer`."""
        return [self.reading] if self.reading else []

    def training_texts(self) -> list[TrainedOn | None]:
        """See `Scorer`."""
        if isinstance(self.trained_on, Kept):
            self.trained_on = self.trained_on.read()
        return [self.trained_on]

    def encode(self, prompts: Sequence[tuple[Text, Sequence[Text]]]) -> list[dict[str, Any]]:
        """See `Scorer`."""
        encoded = self.encoding.encode_texts(prompts)
        count_truncation(encoded, self.truncation)
        return encoded

    def encode_rendered(
        self, texts: Sequence[str], prompts: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """See `Scorer`."""
        encoded = self.encoding.encode_rendered(texts, prompts)
        if self.length_penalty and not all("completion_tokens" in row for row in encoded):
            raise PlauditError(
                "length_penalty: a text holds prompt and completion in one, so nobody knows how "
                "long the completion is; give them apart, or load the model without a penalty"
            )
        count_truncation(encoded, self.truncation)
        return encoded

    def tokens(self, row: dict[str, Any]) -> int:
        """See `Scorer`."""
        return unique_tokens(row) if "input_ids" in row else 0

    def rewards(self, encoded: Sequence[dict[str, Any]]) -> list[list[float]]:
        """See `Scorer`; they are normalised, and less the length penalty, where there is either."""
        return self._as_given(self._each(encoded, self._forward), encoded)

    @property
    def uncertain(self) -> bool:
        """See `Scorer`."""
        return self.uncertainty is not None

    def posteriors(self, encoded: Sequence[dict[str, Any]]) -> list[Posterior]:
        """See `Scorer`; the covariance is that of the rewards as they are given."""
        if self.uncertainty is None:
            return super().posteriors(encoded)
        shown = self.with_features(encoded)
        rewards = self._as_given([[float(row[0]) for row in rows] for rows in shown], encoded)
        width = len(self.uncertainty.centre)
        features = [torch.stack(rows)[:, 1:] if rows else torch.empty(0, width) for rows in shown]
        unit = self.normalisation.std if self.normalisation else 1.0
        return [
            Posterior(np.array(given), covariance / unit**2, self.scale)
            for given, covariance in zip(
                rewards, self.uncertainty.covariances(features), strict=True
            )
        ]

    def with_features(self, encoded: Sequence[dict[str, Any]]) -> list[list[Tensor]]:
        """`[1 + D]` for each completion: its reward as the model gives it, and what the last linear
        layer is given for it."""
        with features_shown(self.model):
            return self._each(encoded, self._logits)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """See `Scorer`; weights and settings must stay as they are within it."""
        self._remembering += 1
        self._remembered = self._remembered or Remembered()
        self._casts = {} if self._casts is None else self._casts
        try:
            yield
        finally:
            self._remembering -= 1
            if not self._remembering:
                self._remembered = self._casts = None

    def _as_given(
        self, rewards: list[list[float]], encoded: Sequence[dict[str, Any]]
    ) -> list[list[float]]:
        """Rewards of the model's own, normalised and penalised where that is asked for."""
        if normalisation := self.normalisation:
            rewards = [[normalisation.apply(r) for r in of_prompt] for of_prompt in rewards]
        if penalty := self.length_penalty:
            rewards = [
                [r - penalty * n for r, n in zip(of_prompt, row["completion_tokens"], strict=True)]
                if of_prompt
                else of_prompt
                for of_prompt, row in zip(rewards, encoded, strict=True)
            ]
        return rewards

    def _each(
        self, encoded: Sequence[dict[str, Any]], forward: Callable[[Batch], Tensor]
    ) -> list[list[Any]]:
        """What `forward` makes of the batches, a value or a row for each completion.

        Each distinct row of tokens is computed once, so that equal texts have equal rewards to the
        last bit, in whatever batch they would have stood; within `remembering` in other calls too.
        """
        results: list[list[Any]] = [[None] * len(row.get("input_ids", ())) for row in encoded]
        known = self._remembered
        distinct, keys, where, found = _distinct(encoded, forward.__name__, known)
        waiting = [
            (row["first"] + start, piece)
            for row in distinct
            for start, piece in _pieces(row, self._pass_tokens, isinstance(self.layout, Padded))
        ]
        made: dict[int, Any] = {}
        casts = {} if self._casts is None else self._casts
        while waiting:
            given: list[tuple[list[int], Tensor]] = []
            problem = ""
            try:
                pieces = [piece for _, piece in waiting]
                for batch in self.layout.divide(pieces, self._pass_tokens):
                    with cast_once(casts):
                        given.append((batch["position"].tolist(), forward(batch)))
            except torch.OutOfMemoryError as error:
                # The error itself would keep alive what took the memory.
                problem = str(error) or "out of memory"
            for positions, of_batch in given:  # only now is the device waited for
                numbers = iter(of_batch.tolist() if of_batch.dim() == 1 else of_batch.cpu())
                for position in positions:
                    first, piece = waiting[position]
                    for number in range(first, first + len(piece["input_ids"])):
                        made[number] = next(numbers)
            left = [(first, piece) for first, piece in waiting if first not in made]
            if problem:
                self._halve(problem, [piece for _, piece in left])
            waiting = [
                (first + start, part)
                for first, piece in left
                for start, part in _pieces(piece, self._pass_tokens)
            ]
        fresh = {keys[number]: result for number, result in made.items()}
        for key, result in (found | fresh).items():
            for index, k in where[key]:
                results[index][k] = result
        if known is not None:
            for key, result in fresh.items():
                known.put(key, result)
        return results

    @property
    def _pass_tokens(self) -> int:
        """How many tokens a forward pass takes at most, as far as is known."""
        return int(min(self.max_tokens_per_batch, self._fits))

    def _halve(self, problem: str, waiting: Sequence[dict[str, Any]]) -> None:
        """Halve the tokens of a pass from now on, since `waiting` did not fit into memory.

        Raises `PlauditError` where one row alone does not.
        """
        longest = max(piece["length"] for piece in waiting)
        tokens = sum(len(piece["input_ids"]) * piece["length"] for piece in waiting)
        largest = min(tokens, self._pass_tokens)
        if largest <= longest:
            raise PlauditError(
                f"the {self.device.type} device has too little memory to score {longest:,} tokens: "
                "load the model with a smaller max_length, in bfloat16, or on another device "
                f"({problem.splitlines()[0]})"
            )
        self._fits = max(largest // 2, longest)
        free_memory(self.device)
        say(
            f"out of memory on the {self.device.type} device: from now on at most "
            f"{self._fits:,} tokens are scored at once"
        )

    def _forward(self, batch: Batch) -> Tensor:
        """Rewards `[N]` of a batch, on the device."""
        return self._logits(batch)[:, 0]

    @torch.no_grad()  # in inference mode a GPU's kernel would be compiled once more
    def _logits(self, batch: Batch) -> Tensor:
        self.model.eval()
        with self.autocast():
            logits: Tensor = self.model(**model_inputs(batch, self.device)).logits
            return logits.float()

    def autocast(self) -> torch.autocast:
        """Within it matrix products run in the model's own precision."""
        low = self.dtype != torch.float32
        dtype = self.dtype if low else torch.bfloat16  # there is none to name for what is off
        return torch.autocast(self.device.type, dtype, enabled=low)

    # ---- save ----

    def save(self, folder: str | Path, *, training_hashes: bool = True) -> None:
        """Write a standard model folder: weights (safetensors), config, tokenizer, chat template.

        With pooling `last` or `cls`, `AutoModelForSequenceClassification.from_pretrained(folder)`
        gives the same rewards; with `mean` and `layers` it does so with `trust_remote_code=True`. A
        folder that already stands there is replaced. Normalisation is stored, and only plaudit
        applies it. Hashes of its training texts go along, where there are some, unless
        `training_hashes` is False.

        Raises:
            PlauditError: when the folder cannot be written, or code of the model's own computes
                its rewards: that is not copied.
        """
        self.refuse_own_code("save")
        with writing_folder(folder) as partial:
            save_model(
                self.model,
                self.encoding,
                self.pooling,
                partial,
                self.normalisation,
                self.uncertainty,
                self.attributes,
                self.trained_on if training_hashes else None,
            )

    def refuse_own_code(self, doing: str) -> None:
        """Refuse to write the model elsewhere where its rewards are those of code of its own.

        Raises:
            PlauditError: where they are; it begins with what was to be done.
        """
        if isinstance(self.model, EngineNetwork):
            raise PlauditError(
                f"{doing}: {self.origin} is an exported network, which has no weights for PyTorch; "
                "take the model that it was exported from"
            )
        if self.own_code:
            raise PlauditError(
                f"{doing}: the rewards are those of {self.own_code}, code of the model's own, "
                f"which plaudit does not copy; copy {self.origin} as it is"
            )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        token: str | None = None,
    ) -> str:
        """Upload what `save` writes to a repository on the hub, with a model card.

        Hashes of its training texts stay here: who has a text could ask them whether it was one.
        The card is the run's, of a model that plaudit trained; else a short one, which says that
        nothing was measured.

        Args:
            repo_id: `owner/name`; it is made where it is not there.
            private: whether it is, where it is made; None leaves that to the hub.
            revision: a branch to commit to, made where it is not there; by default the main one.
            commit_message: of the one commit.
            token: one that may write; by default that of `hf auth login` or of `HF_TOKEN`.

        Returns:
            The address of the commit.

        Raises:
            PlauditError: when the head was not trained, or the hub refuses or cannot be reached.
        """
        if self.new_head:
            raise PlauditError(f"push: {UNTRAINED}")
        card = self.card or short_card(
            self.origin or "memory", self.encoding, self.pooling, self.attributes
        )
        return push(
            functools.partial(self.save, training_hashes=False), card, repo_id, private=private,
            revision=revision, commit_message=commit_message, token=token,
        )  # fmt: skip


def _distinct(
    encoded: Sequence[dict[str, Any]], kind: str, known: Remembered | None
) -> tuple[list[dict[str, Any]], list[bytes], dict[bytes, list[tuple[int, int]]], dict[bytes, Any]]:
    """Encoded prompts without the rows of tokens that stood in one before, or are known.

    Returns the prompts that have any left, with the number of the first of their rows among all
    that are left in `first`; the keys of these rows; for each distinct row where it stood, as
    (prompt, completion); and the results that are known. `kind` is that of the results.
    """
    distinct: list[dict[str, Any]] = []
    keys: list[bytes] = []
    where: dict[bytes, list[tuple[int, int]]] = {}
    found: dict[bytes, Any] = {}
    for index, row in enumerate(encoded):
        kept, first = [], len(keys)
        types = row.get("token_type_ids")
        for k, ids in enumerate(row.get("input_ids", ())):
            key = key_of(ids, types[k] if types else None, kind=kind)
            if key not in where:
                where[key] = []
                if known is not None and (result := known.get(key)) is not None:
                    found[key] = result
                else:
                    keys.append(key)
                    kept.append(k)
            where[key].append((index, k))
        if kept:
            names = [name for name in ("input_ids", "token_type_ids") if row.get(name)]
            some = {name: [row[name][k] for k in kept] for name in names}
            distinct.append(
                some | {"length": row["length"], "shared": row["shared"], "first": first}
            )
    return distinct, keys, where, found


def _pieces(
    row: dict[str, Any], max_tokens: int, alone: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """An encoded prompt in parts of so many completions as fit into a batch, each with the place of
    its first one. To be scored, unlike to be trained on, completions need not be together: `alone`
    makes a part of each, so that those alike in length meet."""
    size = 1 if alone else max(max_tokens // max(row["length"], 1), 1)
    for start in range(0, len(row.get("input_ids", ())), size):
        some = {
            name: row[name][start : start + size]
            for name in ("input_ids", "token_type_ids")
            if name in row
        }
        length = max(map(len, some["input_ids"])) if alone else row["length"]
        yield start, some | {"length": length, "shared": row["shared"]}


def _parts(name: str | Path, **options: Unpack[Loading]) -> loading.Loaded:
    """Those of a model of PyTorch's, or of an export that an engine runs."""
    if engine := engine_of(name):
        return load_exported(name, engine, **options)
    return loading.load(name, **options)


def as_scorer(model: "Scorer | str | Path | Sequence[str | Path]", **options: Any) -> Scorer:
    """A scorer as it is; of a name or several what `RewardModel.load` makes of them.

    >>> type(as_scorer(["runs/second", "runs/third"], combine="mean")).__name__
    'Ensemble'
    """
    if isinstance(model, str | Path | Sequence):
        return RewardModel.load(model, **options)
    return model
