"""The reward model: a base model, a pooling and a head, with the way its texts are encoded.

The main road is `RewardModel.load` → `score` → `save`. Inside it is transformers' own sequence
classifier with one label, so that the saved folder is a standard one; `classifier` says what is
ours about it. Batches are cut to a budget of tokens. A completion's reward depends on its own
tokens alone, whatever else is in its batch.
"""

import importlib.resources
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModel, AutoModelForSequenceClassification

from plaudit.console import say
from plaudit.data.rankings import Text
from plaudit.errors import PlauditError
from plaudit.files import read_json, writing_folder
from plaudit.model import base_models, pt_file
from plaudit.model.batches import Flat, Layout, Padded, model_inputs, unique_tokens
from plaudit.model.classifier import exact, try_flat
from plaudit.model.encoding import Encoding, count_truncation
from plaudit.model.modeling_mean import MeanScoreForSequenceClassification, without_pooler
from plaudit.model.normalisation import Normalisation
from plaudit.model.scorer import Scorer

if TYPE_CHECKING:
    from plaudit.model.ensemble import Combine, Ensemble

Pooling = Literal["auto", "last", "cls", "mean"]
Template = Literal["auto", "chat", "plain"]
Dtype = Literal["auto", "float32", "bfloat16"]
LayoutName = Literal["auto", "flat", "padded"]

# Tokens of one forward pass, padding included. On a CPU small enough for a laptop and large enough
# to be fast; on a GPU more, since its host takes as long to launch a pass of few as one of many.
MAX_TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 32768}
# What `classifier_pooling` calls the first token, where a model's configuration has it.
FIRST_TOKEN = {"modernbert": "cls", "eurobert": "bos"}
# Where config.json keeps what plaudit needs beyond transformers' own fields.
CONFIG_KEY = "plaudit"


class Loading(TypedDict, total=False):
    """What `RewardModel.load` takes beside names; it says what each means."""

    pooling: Pooling
    template: Template
    max_length: int | None
    separator: str | None
    dtype: Dtype
    layout: LayoutName
    device: str
    seed: int
    normalised: bool
    length_penalty: float


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
    pooling: Pooling
    device: torch.device
    dtype: torch.dtype
    layout: Layout
    max_tokens_per_batch: int = 0  # of one forward pass; 0 stands for what suits the device
    new_head: bool = False  # drawn at random and not trained yet
    truncation: dict[str, int] = field(default_factory=dict)  # since the last report
    normalisation: Normalisation | None = None
    length_penalty: float = 0.0  # of each token of the completion

    def __post_init__(self) -> None:
        if not self.max_tokens_per_batch:
            self.max_tokens_per_batch = tokens_per_batch(self.device)
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
        combine: "Combine" = "mean",
        spread: float = 1.0,
        **options: Unpack[Loading],
    ) -> "Ensemble": ...

    @classmethod
    def load(cls, name: Any, **options: Any) -> Any:
        """Load a trained reward model, or a base model under a new head drawn from `seed`.

        Args:
            name: a run folder, a model folder, a `.pt` file that plaudit exported, a hub name, or
                `embedded:minilm` / `embedded:smollm2`. Several names give an `Ensemble`, which
                says what `combine` and `spread` do.
            pooling: `last` (decoders), `cls` (encoders) or `mean` of the tokens' scores; `auto`
                takes what the model was trained with, else `last` for decoders and for encoders
                `cls`, or `mean` where sentence-transformers notes that they were pretrained so.
            template: `chat`, `plain`, or `auto`: chat where the tokenizer has a template.
            max_length: tokens of a row; None takes what the model was trained with, else 512 or
                what the model's positions reach.
            separator: what stands between prompt and completion in a plain decoder's row.
            dtype: what matrix products run in. `auto` is bfloat16 where the machine has units for
                it, else float32. Rewards agree within 1e-5 at any batching in float32.
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

        Raises:
            PlauditError: when there is no such model, or a setting does not fit it.
        """
        if isinstance(name, str | Path):
            return _load_any(cls, name, **options)
        from plaudit.model.ensemble import Ensemble

        how = {key: options.pop(key) for key in ("combine", "spread") if key in options}
        return Ensemble([_load_any(cls, each, **options) for each in name], **how)

    # ---- score ----

    @property
    def scale(self) -> float:
        """1.0, or the standard deviation that normalised rewards were divided by.

        A length penalty counts: the probability is then of what the penalised rewards prefer.
        """
        return self.normalisation.std if self.normalisation else 1.0

    @property
    def max_length(self) -> int:
        """See `Scorer`."""
        return self.encoding.max_length

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
        rewards = self._raw_rewards(encoded)
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

    def _raw_rewards(self, encoded: Sequence[dict[str, Any]]) -> list[list[float]]:
        """As the model gives them. Each distinct row of tokens is computed once, so that equal
        texts have equal rewards to the last bit, in whatever batch they would have stood."""
        results: list[list[float]] = [[0.0] * len(row.get("input_ids", ())) for row in encoded]
        distinct, where = _distinct(encoded)
        waiting = [
            (row["first"] + start, piece)
            for row in distinct
            for start, piece in _pieces(row, self._pass_tokens)
        ]
        rewards: dict[int, float] = {}
        while waiting:
            given: list[tuple[list[int], Tensor]] = []
            problem = ""
            try:
                pieces = [piece for _, piece in waiting]
                for batch in self.layout.divide(pieces, self._pass_tokens):
                    given.append((batch["position"].tolist(), self._forward(batch)))
            except torch.OutOfMemoryError as error:
                # The error itself would keep alive what took the memory.
                problem = str(error) or "out of memory"
            for positions, of_batch in given:  # only now is the device waited for
                numbers = iter(of_batch.tolist())
                for position in positions:
                    first, piece = waiting[position]
                    for number in range(first, first + len(piece["input_ids"])):
                        rewards[number] = next(numbers)
            left = [(first, piece) for first, piece in waiting if first not in rewards]
            if problem:
                self._halve(problem, [piece for _, piece in left])
            waiting = [
                (first + start, part)
                for first, piece in left
                for start, part in _pieces(piece, self._pass_tokens)
            ]
        for number, places in enumerate(where):
            for index, k in places:
                results[index][k] = rewards[number]
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

    @torch.no_grad()  # in inference mode a GPU's kernel would be compiled once more
    def _forward(self, batch: dict[str, Any]) -> Tensor:
        """Rewards `[N]` of a batch, on the device."""
        self.model.eval()
        with self.autocast():
            return self.model(**model_inputs(batch, self.device)).logits[:, 0].float()

    def autocast(self) -> torch.autocast:
        """Within it matrix products run in the model's own precision."""
        low = self.dtype != torch.float32
        dtype = self.dtype if low else torch.bfloat16  # there is none to name for what is off
        return torch.autocast(self.device.type, dtype, enabled=low)

    # ---- save ----

    def save(self, folder: str | Path) -> None:
        """Write a standard model folder: weights (safetensors), config, tokenizer, chat template.

        With pooling `last` or `cls`, `AutoModelForSequenceClassification.from_pretrained(folder)`
        gives the same rewards; with `mean` it does so with `trust_remote_code=True`. A folder that
        already stands there is replaced. Normalisation is stored, and only plaudit applies it.
        """
        with writing_folder(folder) as partial:
            save_model(self.model, self.encoding, self.pooling, partial, self.normalisation)


def _distinct(
    encoded: Sequence[dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[list[tuple[int, int]]]]:
    """Encoded prompts without the rows of tokens that stood in one before.

    Returns the prompts that have any left, with the number of the first of their rows among all
    distinct ones in `first`; and for each distinct row where it stood: (prompt, completion).
    """
    distinct: list[dict[str, Any]] = []
    numbers: dict[Any, int] = {}
    where: list[list[tuple[int, int]]] = []
    for index, row in enumerate(encoded):
        kept, first = [], len(where)
        types = row.get("token_type_ids")
        for k, ids in enumerate(row.get("input_ids", ())):
            key = (tuple(ids), tuple(types[k]) if types else None)
            if key not in numbers:
                numbers[key] = len(where)
                where.append([])
                kept.append(k)
            where[numbers[key]].append((index, k))
        if kept:
            names = [name for name in ("input_ids", "token_type_ids") if row.get(name)]
            some = {name: [row[name][k] for k in kept] for name in names}
            distinct.append(
                some | {"length": row["length"], "shared": row["shared"], "first": first}
            )
    return distinct, where


def _pieces(row: dict[str, Any], max_tokens: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """An encoded prompt in parts of so many completions as fit into a batch, each with the place of
    its first one. To be scored, unlike to be trained on, completions need not be together."""
    size = max(max_tokens // max(row["length"], 1), 1)
    for start in range(0, len(row.get("input_ids", ())), size):
        some = {
            name: row[name][start : start + size]
            for name in ("input_ids", "token_type_ids")
            if name in row
        }
        yield start, some | {"length": row["length"], "shared": row["shared"]}


def save_model(
    model: Any,
    encoding: Encoding,
    pooling: Pooling,
    folder: Path,
    normalisation: Normalisation | None = None,
) -> None:
    """Write model and tokenizer into an existing folder."""
    setattr(model.config, CONFIG_KEY, stored_settings(encoding, pooling, normalisation))
    model.config.architectures = [type(model).__name__]
    if pooling == "mean":
        module = "modeling_mean"
        model.config.auto_map = {
            "AutoModelForSequenceClassification": f"{module}.{type(model).__name__}"
        }
        code = importlib.resources.files("plaudit.model").joinpath(f"{module}.py").read_text()
        name = type(model.config).__name__
        code = code.replace("config_class = PreTrainedConfig", f"config_class = {name}")
        code = code.replace("PreTrainedConfig, PreTrainedModel", f"{name}, PreTrainedModel")
        (folder / f"{module}.py").write_text(code)
    try:
        with base_models.quiet():
            model.save_pretrained(folder)
            encoding.tokenizer.save_pretrained(folder)
        for path in folder.rglob("*.safetensors"):  # which are made for their owner alone
            path.chmod((folder / "config.json").stat().st_mode)
    except SafetensorError as error:  # what a full disk looks like from there
        raise OSError(str(error)) from error


def stored_settings(
    encoding: Encoding, pooling: Pooling, normalisation: Normalisation | None = None
) -> dict[str, Any]:
    """What `config.json` keeps, so that a loaded model encodes as it did in training."""
    settings = {
        "pooling": pooling,
        "template": encoding.template,
        "max_length": encoding.max_length,
        "separator": encoding.separator,
    }
    return settings | ({"normalisation": asdict(normalisation)} if normalisation else {})


def best_device() -> str:
    """CUDA, else MPS, else the CPU."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def free_memory(device: torch.device) -> None:
    """Give back what the allocator keeps, so that it need not be in pieces of the old sizes."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def tokens_per_batch(device: torch.device) -> int:
    """How many tokens a forward pass takes at most where nobody says."""
    return MAX_TOKENS_PER_BATCH["cuda" if device.type == "cuda" else "cpu"]


def compute_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """What matrix products run in; `auto` asks the machine for units that make bfloat16 faster.

    A CPU without AMX multiplies bfloat16 slower than float32, even where it has AVX-512 BF16.
    """
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def as_scorer(model: "Scorer | str | Path | Sequence[str | Path]", **options: Any) -> Scorer:
    """A scorer as it is; of a name or several what `RewardModel.load` makes of them.

    >>> type(as_scorer(["runs/second", "runs/third"], combine="mean")).__name__
    'Ensemble'
    """
    if isinstance(model, str | Path | Sequence):
        return RewardModel.load(model, **options)
    return model


# ---- the parts of loading ----


def _load_any(cls: type[RewardModel], name: str | Path, **options: Any) -> RewardModel:
    """One model, of a folder or unpacked from a file; see `RewardModel.load`."""
    path = Path(name)
    if path.suffix == ".pt" and path.is_file():
        with pt_file.unpacked(path) as folder:
            return _load(cls, folder, **options)
    return _load(cls, name, **options)


def _load(
    cls: type[RewardModel],
    name: str | Path,
    *,
    pooling: Pooling = "auto",
    template: Template = "auto",
    max_length: int | None = None,
    separator: str | None = None,
    dtype: Dtype = "auto",
    layout: LayoutName = "auto",
    device: str = "auto",
    seed: int = 0,
    normalised: bool = True,
    length_penalty: float = 0.0,
) -> RewardModel:
    """One model of a folder or the hub; see `RewardModel.load`."""
    if not (length_penalty >= 0 and math.isfinite(length_penalty)):
        raise PlauditError(f"length_penalty: {length_penalty} is not a number of 0 or more")
    path = Path(name)
    if (path / "model" / "config.json").is_file():
        path = path / "model"
    elif (path / "config.yaml").is_file():
        raise PlauditError(_why_no_model(path))
    elif others := _runs_beside(path):
        raise PlauditError(f"{name}: there is no such run; {path.parent} has {others}")
    source = base_models.locate(str(path) if path.exists() else str(name))
    config = base_models.load_config(source)
    stored = getattr(config, CONFIG_KEY, None) or {}
    # Taken out of the configuration, so that no checkpoint of a model trained from here has it.
    kept = stored.pop("normalisation", None)
    normalisation = Normalisation.read(kept, str(name)) if normalised else None
    kind = base_models.kind_of(config, str(name))
    tokenizer = base_models.load_tokenizer(source)
    if pooling == "auto" and not stored and kind == "encoder":
        pooling = base_models.pretrained_pooling(source) or pooling
    pooling = _resolve_pooling(pooling, kind, stored.get("pooling"))
    _set_pad_token(tokenizer)
    config.num_labels = 1
    # A pad token that is new has no embedding before the model is loaded and resized.
    known = tokenizer.pad_token_id < config.get_text_config().vocab_size
    config.pad_token_id = tokenizer.pad_token_id if known else None
    if config.model_type in FIRST_TOKEN:  # whose heads can pool in several ways
        config.classifier_pooling = FIRST_TOKEN[config.model_type]
    model, new_head = _load_model(source, config, pooling, stored, seed)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        with base_models.quiet():
            model.resize_token_embeddings(len(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.use_cache = False  # there is nothing to generate
    encoding = Encoding(
        tokenizer=tokenizer,
        kind=kind,
        template=_resolve_template(template, kind, tokenizer, stored.get("template")),
        max_length=_resolve_max_length(max_length, model, tokenizer, stored),
        separator=separator if separator is not None else stored.get("separator", "\n\n"),
        pooling=pooling,
    )
    place = torch.device(best_device() if device == "auto" else device)
    model = exact(model, pooling).eval()
    if place.type != "cpu":  # where it is already; FSDP may have it hold no data yet
        model = model.to(place)
    precision = compute_dtype(dtype, place)
    return cls(
        model, encoding, pooling, place, precision,
        choose_layout(layout, model, encoding, precision), new_head=new_head,
        normalisation=normalisation, length_penalty=length_penalty,
    )  # fmt: skip


def _resolve_pooling(asked: Pooling, kind: base_models.Kind, stored: Pooling | None) -> Pooling:
    if stored is not None and asked not in ("auto", stored):
        raise PlauditError(f"pooling: this model was trained with {stored}, not {asked}")
    pooling = stored or asked
    if pooling == "auto":
        return "last" if kind == "decoder" else "cls"
    if (pooling, kind) in {("last", "encoder"), ("cls", "decoder")}:
        fits = "last or mean" if kind == "decoder" else "cls or mean"
        raise PlauditError(f"pooling: {pooling} does not suit this {kind}; choose {fits}")
    return pooling


def _resolve_template(asked: Template, kind: str, tokenizer: Any, stored: str | None) -> Any:
    has_template = bool(getattr(tokenizer, "chat_template", None)) and kind == "decoder"
    if asked == "auto":
        return stored or ("chat" if has_template else "plain")
    if asked == "chat" and not has_template:
        raise PlauditError(
            "template: chat needs a decoder whose tokenizer has a chat template; choose plain"
        )
    return asked


def _resolve_max_length(
    asked: int | None, model: Any, tokenizer: Any, stored: dict[str, Any]
) -> int:
    limits = [base_models.position_limit(model), getattr(tokenizer, "model_max_length", None)]
    limit = min((int(x) for x in limits if x and x < 1e9), default=None)
    if asked is None:
        return stored.get("max_length") or min(512, limit or 512)
    if limit is not None and asked > limit:
        raise PlauditError(f"max_length: {asked} is more than the {limit} tokens this model reads")
    if asked < 8:
        raise PlauditError(f"max_length: {asked} leaves no room for text; take 8 or more")
    return asked


def choose_layout(asked: LayoutName, model: Any, encoding: Encoding, dtype: torch.dtype) -> Layout:
    """The layout that is asked for, or the best one that gives the model's own rewards."""
    first_position = base_models.first_position(model)
    reason = ""
    if asked != "padded":
        reason = try_flat(model, encoding.kind, first_position, encoding.max_length, dtype)
    if asked == "flat" and reason:
        raise PlauditError(f"layout: flat does not suit this model: {reason}; choose auto")
    if asked == "padded" or reason:
        return Padded(encoding.tokenizer.pad_token_id, reason)
    return Flat(first_position)


def _set_pad_token(tokenizer: Any) -> None:
    """The tokenizer's own pad token, else EOS, else a new one."""
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})


def _load_model(
    source: base_models.Source,
    config: Any,
    pooling: Pooling,
    stored: dict[str, Any],
    seed: int,
) -> tuple[Any, bool]:
    """The classifier, and whether its head is new; then it is drawn from `seed`."""
    trained = bool(stored)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are the caller's
        torch.manual_seed(seed)
        if pooling == "mean" and trained:
            model, _ = base_models.load_weights(
                source, MeanScoreForSequenceClassification, trained=True, config=config
            )
            return model, False
        if pooling == "mean":
            backbone, _ = base_models.load_weights(source, AutoModel, **without_pooler(config))
            # The embedding may have been resized since the configuration was read.
            with base_models.quiet():
                model = MeanScoreForSequenceClassification(config)
            model.model = backbone
            model.config = backbone.config
            model.config.num_labels = 1
            return model, True
        # A GGUF file's configuration is read anew, together with how its weights are packed.
        options = {"num_labels": 1} if "gguf_file" in source.options else {"config": config}
        model, missing = base_models.load_weights(
            source, AutoModelForSequenceClassification, trained=trained, **options
        )
        return model, bool(missing)


def _runs_beside(path: Path) -> str:
    """The runs and models in the folder of what is not there, lest a mistyped one be looked for on
    the hub; empty where it is there, or where no run is."""
    if path.exists() or path.parent == Path() or not path.parent.is_dir():
        return ""
    files = ("config.yaml", "config.json")
    found = [p.name for p in path.parent.iterdir() if any((p / file).is_file() for file in files)]
    return ", ".join(sorted(found)[:20])


def _why_no_model(run: Path) -> str:
    """Why a folder that plaudit filled has no model of its own, and where to find one."""
    plan = run / "plan.json"  # of what `cv` and `tune` made
    command = read_json(plan)["command"] if plan.is_file() else "train"
    if command == "cv":
        return (
            f"{run}: a cross-validation keeps no model; train one with its settings: "
            f"plaudit train --config {run / 'config.yaml'}"
        )
    if (run / "best" / "model" / "config.json").is_file():
        return f"{run}: is a search; the model it made is {run / 'best'}"
    return f"{run}: this run is not finished; plaudit {command} -o {run} --resume continues it"
