"""Frozen layers: the lower part of a model, not trained, whose outputs are computed once and kept.

What leaves the last frozen layer are a ranking's *features*. They depend on its tokens alone, so
training takes them from a `FeatureCache` and runs only what lies above. With the whole base model
frozen they are what the head looks at: one vector for each completion. Rewards and gradients are
those of running everything. No architecture has code of its own here: for the time of a call,
frozen modules are exchanged for stand-ins that answer with the features.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from plaudit.console import FOUND, say
from plaudit.errors import PlauditError
from plaudit.model.batches import Batch, Encoded, Flat, Layout, Pooled, model_inputs, unique_tokens
from plaudit.model.classifier import backbone, reward_difference, small_rankings
from plaudit.model.feature_cache import RECORD, FeatureCache, default_folder
from plaudit.model.poolings import POOLINGS, Pooling
from plaudit.model.reward_model import RewardModel
from plaudit.model.states import States

FILL_AT_ONCE = 256  # rankings among which batches of rows alike in length are looked for
# What of a configuration changes no hidden state.
ONLY_NAMES = ("_name_or_path", "architectures", "auto_map", "dtype", "plaudit")


def freeze(model: RewardModel, layers: int) -> "FrozenLayout":
    """Train `model` from now on without the embeddings and this many of its lowest layers.

    Args:
        model: whose parameters change to `requires_grad` False where they are frozen, and whose
            forward pass takes `features` from now on.
        layers: 1 or more, or −1 for the whole base model. BERT's pooler, the layer between the
            first token and the head, counts as part of the head, as it does in other encoders.

    Returns the layout to train with.

    Raises:
        PlauditError: when the model has fewer layers, or does not hand hidden states, and nothing
            else that is trained, from each layer to the next. The model is then as it was.

    >>> frozen = freeze(RewardModel.load("embedded:minilm"), 4)
    >>> frozen.describe()
    'frozen: the embeddings and 4 of 6 layers, 19.0 of 22.6 M parameters'
    """
    inner, base = model.model, type(model.model.base_model).__name__
    if layers < -1 or layers == 0:
        raise PlauditError(f"freeze_layers: {layers} freezes nothing; choose 1 or more, or -1")
    if layers != -1 and POOLINGS.get(model.pooling).of_all_layers:
        raise PlauditError(
            f"freeze_layers: pooling {model.pooling} looks at every layer, and of {layers} only "
            "the last is kept; choose 0 or -1"
        )
    names = [_name_of(inner, backbone(inner))] if layers == -1 else _layers(inner)
    if layers > len(names):
        raise PlauditError(
            f"freeze_layers: {layers} is more than the {len(names)} layers of {base}; -1 "
            "freezes the whole base model"
        )
    try:
        modules = FrozenModules(model, names, layers)
        frozen = FrozenLayout(modules, model.layout if layers != -1 else Pooled())
        difference = frozen.difference()
        reason = f"its rewards from kept features differ by {difference:.1g}"
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        difference, reason = float("inf"), " ".join(str(error).split())[:100]
    if difference > 1e-4:
        instead = "0" if layers == -1 else "0 or -1"
        raise PlauditError(
            f"freeze_layers: {layers} does not suit {base} ({reason}); choose {instead}"
        )
    modules.install()
    return frozen


class FrozenModules:
    """The frozen part of a reward model: what belongs to it, and how to run it or leave it out.

    Args:
        model: is not changed before `install`.
        names: of the modules that can be frozen, from bottom to top.
        layers: how many of them are, or −1 where the only one is all of the base model.
    """

    def __init__(self, model: RewardModel, names: Sequence[str], layers: int) -> None:
        self.model = model
        self.inner = model.model
        self.names = names if layers == -1 else names[:layers]
        self.whole = len(self.names) == len(names)
        self.what = (
            "all but the head"
            if layers == -1
            else f"the embeddings and {layers} of {len(names)} layers"
        )
        (batch,) = model.layout.divide(_small_rankings(model), 10**6)
        with _all_trained(self.inner):
            output = self._output(batch)
        self._as_output = _made_like(output)
        # Whatever has a part in the features, such as positions that all layers share, must stay.
        frozen = {id(parameter) for parameter in _parameters_behind(_hidden(output))}
        for name in self.names:
            frozen |= {id(parameter) for parameter in self.inner.get_submodule(name).parameters()}
        self.parameters = {n: p for n, p in self.inner.named_parameters() if id(p) in frozen}

    def install(self) -> None:
        """Freeze the parameters, and let the model's forward pass take `features`."""
        self._trained = [p for p in self.parameters.values() if p.requires_grad]
        for parameter in self.parameters.values():
            parameter.requires_grad_(False)
        self._own = own = type(self.inner)
        name = own.__name__
        self.inner.__class__ = type(name, (_TakesFeatures, own), {"__module__": own.__module__})
        self.inner.given = self.given

    def remove(self) -> None:
        """Undo `install`."""
        for parameter in self._trained:
            parameter.requires_grad_(True)
        self.inner.__class__ = self._own
        del self.inner.given

    def size(self) -> int:
        """How many parameters are frozen."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    def pattern(self) -> str:
        """A regular expression for the names of all modules within the frozen ones."""
        return f"({'|'.join(map(re.escape, self.names))})\\..*"

    def fingerprint(self) -> bytes:
        """Of all in the model that decides the features."""
        digest = hashlib.blake2b(digest_size=16)
        config = {k: v for k, v in self.inner.config.to_dict().items() if k not in ONLY_NAMES}
        config["transformers_version"] = transformers.__version__
        about = [config, len(self.names), str(self.model.dtype)]
        digest.update(json.dumps(about, sort_keys=True, default=str).encode())
        # Which buffers have a part in the features nobody knows; training changes none of them.
        for name, tensor in sorted([*self.parameters.items(), *self.inner.named_buffers()]):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.detach().cpu().reshape(-1).contiguous()
            digest.update(flat.view(torch.uint8).numpy())
        return digest.digest()

    def run(self, batch: Batch) -> Tensor:
        """The hidden states that leave the last frozen module, without gradients or dropout."""
        with torch.no_grad(), self.model.autocast():
            return _hidden(self._output(batch))

    def _output(self, batch: Batch) -> Any:
        """What the last frozen module gives for a batch; no more is run."""
        name = self.names[-1]
        last = self.inner.get_submodule(name)

        def stop(*args: Any, **kwargs: Any) -> Any:
            raise _Reached(last(*args, **kwargs))

        try:
            with _evaluating(self.inner), _exchanged(self.inner, {name: _StandIn(last, stop)}):
                self.inner(**model_inputs(batch, self.model.device))
        except _Reached as reached:
            return reached.output
        raise RuntimeError(f"{name} is no part of its forward pass")

    @contextmanager
    def given(self, features: Tensor) -> Iterator[None]:
        """Within the block the model computes no frozen module, but takes these features."""

        def answer(*_: Any, **__: Any) -> Any:
            return self._as_output(features)

        real = {name: self.inner.get_submodule(name) for name in self.names}
        with _exchanged(self.inner, {name: _StandIn(r, answer) for name, r in real.items()}):
            yield


class FrozenLayout:
    """The `Layout` to train a model with frozen modules on; `freeze` makes it.

    Its batches are those of the model's own layout, with the `features` that leave the last frozen
    layer, `[1, T, H]` flat and `[N, L, H]` padded; or, with the whole base model frozen, those of
    `Pooled`.
    """

    def __init__(self, modules: FrozenModules, layout: Layout) -> None:
        self.modules = modules
        self.model = modules.model
        self.whole = modules.model.layout  # of the batches that frozen modules run on
        self.layout = layout  # of the batches to train on
        self.cache: FeatureCache | None = None
        self.stopped = ""  # why nothing more is put into the cache
        self.found = self.computed = 0  # rankings, before training and in all
        self.seconds = 0.0  # of computing

    def describe(self) -> str:
        """What is frozen, for the log."""
        total = sum(parameter.numel() for parameter in self.model.model.parameters())
        share = f"{self.modules.size() / 1e6:.1f} of {total / 1e6:.1f} M parameters"
        return f"frozen: {self.modules.what}, {share}"

    def report(self, gather: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """What is frozen, and was found and computed, for `metrics.json`.

        Args:
            gather: collects the rows `[P, 3]` of P processes, all of which must call this.
        """
        mine = [[self.found, self.computed, self.seconds]]
        every = gather(torch.tensor(mine, device=self.model.device))
        found, computed, _ = every.sum(0).tolist()
        return {
            "what": self.modules.what,
            "parameters": self.modules.size(),
            "found": round(found),
            "computed": round(computed),  # what was run anew each time counts each time
            "seconds": round(every[:, 2].max().item(), 1),
            "cache_bytes": self.cache.size() if self.cache is not None else 0,
        }

    def describe_cache(self, gather: Callable[[Tensor], Tensor]) -> str:
        """The same for the log."""
        report = self.report(gather)
        if self.cache is None:
            return "features_cache_gb is 0: frozen layers run anew each time"
        return (
            f"frozen layers ran for {report['computed']:,} rankings in {report['seconds']} s, "
            f"{report['found']:,} were found; {report['cache_bytes'] / 1e6:,.1f} MB in "
            f"{self.cache.folder}"
        )

    def close(self) -> None:
        """Leave the cache to others, and let the model run whole again to score."""
        self.model.layout = self.whole
        if self.cache is not None:
            self.cache.close()
            self.cache = None

    def release(self) -> None:
        """`close`, and let all of the model be trained that was before it was frozen."""
        self.close()
        self.modules.remove()

    def keep(self, folder: str | Path | None, gigabytes: float) -> None:
        """Keep features on disk from now on: in `folder`, by default the user's own cache,
        and no more than this in all; 0 keeps nothing. Until `close` the model scores from them too.

        Raises:
            PlauditError: when the folder cannot be written.
        """
        if gigabytes:
            self.cache = FeatureCache(folder or default_folder(), self._key(), gigabytes * 1e9)
        self.model.layout = self
        self.computed, self.seconds = 0, 0.0  # without what `freeze` tried

    def shares_kept(
        self,
        folder: str | Path | None,
        gigabytes: float,
        parts: Sequence[Iterable[dict[str, Any]]],
    ) -> list[float]:
        """Which share of the encoded rankings of each part has its features in such a cache; makes
        none."""
        none = [0.0] * len(parts)
        try:
            root = Path(folder or default_folder()).expanduser()
        except RuntimeError:  # a home that is not known, which `keep` tells
            return none
        if not root.is_dir() or not any(root.iterdir()):
            return none  # before the key, which reads all weights
        key = self._key()
        if not (root / key).is_dir():
            return none
        cache = FeatureCache(root, key, gigabytes * 1e9)
        try:
            names = [[_name(row) for row in part] for part in parts]
            return [sum(name in cache for name in each) / max(len(each), 1) for each in names]
        finally:
            cache.close()

    def fill(self, rankings: Iterable[dict[str, Any]], max_tokens: int) -> None:
        """Compute and keep the features of encoded rankings, as far as there is room for them."""
        for _ in self.filling(rankings, max_tokens):
            pass

    def filling(self, rankings: Iterable[dict[str, Any]], max_tokens: int) -> Iterator[Any]:
        """`fill`, one item for each ranking that is done with, to show progress by; `FOUND` for
        those that were kept before."""
        rows = iter(rankings)
        while window := list(islice(rows, FILL_AT_ONCE)):
            if self.cache is None or self.stopped:
                return
            missing = [row for row in window if _name(row) not in self.cache]
            self.found += len(window) - len(missing)
            yield from repeat(FOUND, len(window) - len(missing))
            for places, _ in self._compute(missing, max_tokens):
                yield from places
                if self.stopped:
                    return

    def divide(self, encoded: Encoded, max_tokens: int) -> list[Batch]:
        """See `Layout`; features that are not kept are computed."""
        cached = self.cache.get if self.cache is not None else lambda _: None
        features = [cached(_name(row)) for row in encoded]
        missing = [index for index, feature in enumerate(features) if feature is None]
        for places, computed in self._compute([encoded[i] for i in missing], max_tokens):
            for place, feature in zip(places, computed, strict=True):
                features[missing[place]] = feature
        rows = [dict(r, features=f) for r, f in zip(encoded, features, strict=True)]
        return self.layout.divide(rows, max_tokens)

    def difference(self) -> float:
        """`reward_difference` of small rankings' rewards from features to the whole model's."""
        encoded = _small_rankings(self.model)
        rewards = []
        for layout in (self.whole, self):
            (batch,) = layout.divide(encoded, 10**6)
            inputs = model_inputs(batch, self.model.device)
            with ExitStack() as stack:
                stack.enter_context(_evaluating(self.model.model))
                stack.enter_context(torch.no_grad())
                stack.enter_context(self.model.autocast())
                if "features" in inputs:
                    stack.enter_context(self.modules.given(inputs.pop("features")))
                rewards.append(self.model.model(**inputs).logits[:, 0].float())
        whole, ours = rewards
        return reward_difference(ours, whole)

    def _compute(
        self, encoded: Encoded, max_tokens: int
    ) -> Iterator[tuple[list[int], list[Tensor]]]:
        """Run the frozen part, one batch after another, and keep what fits.

        Yields which of `encoded` were in a batch, and the features of each: `[tokens, H]` in the
        order in which its layout has them, or `[K, H]`.
        """
        if not encoded:
            return
        for batch in self.whole.divide(encoded, max_tokens):
            started = time.monotonic()
            try:
                hidden = self.modules.run(batch)
            except torch.OutOfMemoryError as error:
                raise PlauditError(
                    f"out of memory in the frozen layers, with {batch['input_ids'].numel():,} "
                    "tokens at once: set a smaller max_tokens_per_batch or max_length "
                    f"({' '.join(str(error).split())[:200]})"
                ) from error
            places = batch["position"].tolist()
            features = [f.cpu() for f in self._per_ranking(hidden, batch, encoded)]
            self._put({_name(encoded[i]): f for i, f in zip(places, features, strict=True)})
            self.computed += len(places)
            self.seconds += time.monotonic() - started
            yield places, features

    def _put(self, features: dict[bytes, Tensor]) -> None:
        """Into the cache, until it takes no more: training goes on without, and says so once."""
        if self.cache is None or self.stopped:
            return
        try:
            if not self.cache.put(features):
                self.stopped = (
                    "features_cache_gb leaves no room for more: raise it, or delete what no run "
                    f"needs in {self.cache.root}"
                )
        except PlauditError as error:
            self.stopped = str(error)
        if self.stopped:
            say(
                f"{self.stopped}; this run goes on, the frozen layers run anew for what is not kept"
            )

    def _per_ranking(self, hidden: Tensor, batch: Batch, encoded: Encoded) -> Sequence[Tensor]:
        rankings = [encoded[place] for place in batch["position"].tolist()]
        if isinstance(self.layout, Pooled):
            pooled = _pool(hidden, batch, POOLINGS.get(self.model.pooling))
            return pooled.split([len(ranking["input_ids"]) for ranking in rankings])
        if isinstance(self.layout, Flat):
            return hidden[0].split([unique_tokens(ranking) for ranking in rankings])
        present = batch["attention_mask"].bool().to(hidden.device)
        return hidden[present].split([sum(map(len, r["input_ids"])) for r in rankings])

    def _key(self) -> str:
        """A digest of all that decides features, but for the tokens, and of how they are kept."""
        pooling = self.model.pooling if isinstance(self.layout, Pooled) else None
        about = f"{RECORD.descr} {type(self.whole).__name__} {pooling}"
        digest = hashlib.blake2b(self.modules.fingerprint() + about.encode(), digest_size=16)
        return digest.hexdigest()


class _TakesFeatures:
    """Mixed into a classifier: `features` in its inputs stand for the frozen modules' work."""

    given: Callable[[Tensor], Any]

    def forward(self, input_ids: Tensor, features: Tensor | None = None, **inputs: Any) -> Any:
        if features is None:
            return super().forward(input_ids, **inputs)  # type: ignore[misc]
        with self.given(features):
            return super().forward(input_ids, **inputs)  # type: ignore[misc]


class _StandIn(nn.Module):
    """Stands where `real` stood, and answers for it."""

    def __init__(self, real: nn.Module, answer: Callable[..., Any]) -> None:
        super().__init__()
        self.__dict__["real"] = real  # past nn.Module, since it is no part of this one
        self.answer = answer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.answer(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["real"], name)  # models ask their layers for this and that


class _Reached(Exception):  # noqa: N818  it is no error
    """Carries what the last frozen module gave out of the forward pass."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout; then every module is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _all_trained(model: nn.Module) -> Iterator[None]:
    """Gradients for all parameters, those too that somebody has frozen already."""
    asked = {p: p.requires_grad for p in model.parameters() if p.is_floating_point()}
    try:
        for parameter in asked:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for parameter, wanted in asked.items():
            parameter.requires_grad_(wanted)


@contextmanager
def _exchanged(model: nn.Module, stand_ins: dict[str, nn.Module]) -> Iterator[None]:
    real = {name: model.get_submodule(name) for name in stand_ins}
    try:
        for name, module in stand_ins.items():
            model.set_submodule(name, module)
        yield
    finally:
        for name, module in real.items():
            model.set_submodule(name, module)


def _hidden(output: Any) -> Tensor:
    """The hidden states in what a module gives, alone or before others."""
    return output if isinstance(output, Tensor) else output[0]


def _made_like(output: Any) -> Callable[[Tensor], Any]:
    """What makes hidden states into such an output; of what comes with them nothing is left."""
    if isinstance(output, Tensor):
        return lambda hidden: hidden
    if isinstance(output, tuple):
        others = (None,) * (len(output) - 1)
        return lambda hidden: (hidden, *others)
    made = type(output)
    return lambda hidden: made(last_hidden_state=hidden)


def _pool(hidden: Tensor, batch: Batch, pooling: Pooling) -> Tensor:
    """`[N, H]`, what the head is given of each completion."""
    if pooling.own_head:
        return hidden[:, 0]  # of a flat batch, too: see `classifier`
    if "segments" in batch:
        return pooling.vectors(States(hidden[0], batch["segments"]))
    return pooling.vectors(States(hidden, batch["attention_mask"].to(hidden.device)))


def _parameters_behind(output: Tensor) -> Iterator[Tensor]:
    """The parameters that `output` was computed from, found in the graph that autograd keeps."""
    seen, waiting = set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            if hasattr(node, "variable"):
                yield node.variable
            waiting += [before for before, _ in node.next_functions]


def _layers(model: Any) -> list[str]:
    """The names of the base model's layers, from bottom to top."""
    base, count = model.base_model, model.config.get_text_config().num_hidden_layers
    lists = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    outer = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    if len(outer) != 1:
        raise PlauditError(
            f"freeze_layers: {type(base).__name__} has no one list of its {count} layers; choose "
            "0 or -1"
        )
    return [f"{outer[0]}.{number}" for number in range(count)]


def _name_of(model: nn.Module, wanted: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is wanted)


def _small_rankings(model: RewardModel) -> list[dict[str, Any]]:
    return small_rankings(model.encoding.kind, model.encoding.pad_token_id)


def _name(row: dict[str, Any]) -> bytes:
    """A digest of an encoded ranking's tokens, as the cache names it."""
    digest = hashlib.blake2b(digest_size=16)
    rows = row["input_ids"]
    digest.update(np.array([row["shared"], *map(len, rows)], dtype=np.int64).tobytes())
    for ids in [*rows, *(row.get("token_type_ids") or [])]:
        digest.update(np.array(ids, dtype=np.int32).tobytes())
    return digest.digest()
