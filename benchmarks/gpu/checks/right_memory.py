"""Does running out of memory halve a pass and go on with the same results, or say what to set?

A model is scored and trained with passes that are too large for the memory that is allowed, which
lies between what a pass of half the tokens takes and what a whole one does. The rewards, and the
weights after two steps, must be those of small passes within 1e-4. Then so little is allowed that
one ranking alone does not fit, which must be an error in words that names a setting.

On CUDA `torch.cuda.set_per_process_memory_fraction` limits the memory; in a rehearsal on a CPU the
same error is raised before a forward pass of more than so many tokens.
"""

import contextlib
import gc
import io
import re
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from checks import shapes
from checks.right_rewards import in_one, reward_differences
from checks.setting import Report, Setting
from plaudit.errors import PlauditError
from plaudit.model.reward_model import RewardModel
from plaudit.settings import Settings
from plaudit.training.setup import build_trainer, load_base

ORDER = 40
LIMIT = 90
ALONE = False

CLOSE = 1e-4
# Large enough that what a pass keeps is far more than weights and workspaces.
SIZES: dict[str, Any] = {
    "vocab_size": shapes.VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 4096,
    "initializer_range": 0.05,
}
TINY = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
# What the error of a ranking that does not fit may tell to set.
SETTINGS = ("max_length", "gradient_checkpointing", "lora", "freeze_layers", "dtype")
HALVED = re.compile(r"out of memory.*?([\d,]+) tokens", re.IGNORECASE)
Encoded = list[dict[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """Of one comparison, in tokens: of a pass that does not fit, and of one that surely does."""

    large: int
    small: int
    rankings: Encoded  # of about `large` tokens together
    too_long: Encoded  # one ranking that does not fit where little is allowed


def check(setting: Setting, report: Report) -> None:
    """Provoke it in scoring and in training, on both layouts."""
    folder = _base(setting)
    sizes = _sizes(2**9 if setting.tiny else 2**14)
    for layout in ("flat", "padded"):
        for what, judge in (("scoring", _scoring), ("training", _training)):
            started = time.monotonic()
            _free(setting)
            try:
                judge(layout, folder, sizes, setting, report)
            except Exception as error:
                traceback.print_exc()
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                report.holds(f"{what}, {layout}, goes through; {reason}", False)
            finally:
                _allow_all(setting)
            report.row("seconds", of=f"{what}, {layout}", seconds=time.monotonic() - started)


def _base(setting: Setting) -> Path:
    """A folder with a decoder that is larger than those that numbers are compared on."""
    folder = setting.scratch / "base"
    torch.manual_seed(0)
    sizes = SIZES | (TINY if setting.tiny else {})
    model = AutoModelForSequenceClassification.from_config(shapes.config_of(sizes, "llama"))
    nn.init.normal_(model.score.weight, std=0.5)
    model.save_pretrained(folder)
    shapes.tokenizer(["one two three"]).save_pretrained(folder)
    return folder


def _sizes(large: int) -> Sizes:
    """Rankings of K = 4 that share nothing, so that both layouts have about as many tokens."""
    row = large // 64
    options: dict[str, Any] = {"prompt": row // 4, "completion": row - row // 4, "shares": False}
    rankings = shapes.rankings(16, k=4, **options)
    too_long = shapes.rankings(1, k=2, prompt=large // 64, completion=large // 8, shares=False)
    return Sizes(large * 2, large // 4, rankings, too_long)


# ---- scoring ----


def _scoring(layout: Any, folder: Path, sizes: Sizes, setting: Setting, report: Report) -> None:
    longest = 128 if setting.tiny else 4096
    model = RewardModel.load(
        folder, device=setting.device, dtype="float32", layout=layout, max_length=longest
    )
    model.max_tokens_per_batch = sizes.small
    model.rewards(sizes.rankings[:2])  # compiled, and workspaces made, before memory is measured
    need_small, expected = _needs(lambda: model.rewards(sizes.rankings), setting)
    model.max_tokens_per_batch = sizes.large
    need_large, in_one = _needs(lambda: model.rewards(sizes.rankings), setting)
    # Back to a model that has not met the large pass; it halves for good.
    model.max_tokens_per_batch = sizes.large
    with _little_memory(model.model, sizes, need_small, need_large, setting), _listening() as talk:
        rewards = model.rewards(sizes.rankings)
        again = model.rewards(sizes.rankings)
    said = HALVED.search(talk.getvalue())
    left = int(said[1].replace(",", "")) if said else sizes.large
    difference = max(_difference(some, expected) for some in (rewards, again, in_one))
    _report(report, f"scoring, {layout}", talk, sizes, need_small, need_large)
    report.holds(
        f"scoring, {layout}: out of memory in a pass of {sizes.large:,} tokens, it goes on with "
        f"{left:,} from then on and says so",
        bool(said) and left < sizes.large,
    )
    report.holds(
        f"scoring, {layout}: rewards are those of passes of {sizes.small:,} tokens within "
        f"{CLOSE:g} (largest difference {difference:.2g})",
        difference <= CLOSE,
    )
    model.max_tokens_per_batch = sizes.large
    _states_what_to_set(
        f"scoring, {layout}", lambda: model.rewards(sizes.too_long), model.model, setting, report
    )


def _difference(ours: list[list[float]], theirs: list[list[float]]) -> float:
    return reward_differences(in_one(ours), in_one(theirs), "float32")[0]


# ---- training ----


def _training(layout: Any, folder: Path, sizes: Sizes, setting: Setting, report: Report) -> None:
    run = setting.scratch / f"run {layout}"
    before = None

    def trainer(tokens: int, rows: Encoded, steps: int = 2) -> Any:
        nonlocal before
        # Plain gradient descent, unclipped: weights then differ by what gradients do, no more.
        settings = Settings.build(
            recipe="plain", data="none", base=str(folder), dtype="float32", layout=layout,
            max_steps=steps,
            max_tokens_per_batch=tokens, per_device_train_batch_size=len(rows), optim="sgd",
            learning_rate=0.003, warmup_steps=0, weight_decay=0, max_grad_norm=0,
            lr_scheduler_type="constant", logging_steps=1,
        )  # fmt: skip
        model = load_base(settings)
        before = before or _weights(model.model)
        data = datasets.Dataset.from_list(rows)
        return build_trainer(model, data, None, settings, run, checkpoints=False)

    def trained(tokens: int, steps: int = 2) -> dict[str, Tensor]:
        made = trainer(tokens, sizes.rankings, steps)
        made.train()
        return _weights(made.model)

    run.mkdir()
    trained(sizes.small, steps=1)  # compiled, and workspaces made, before memory is measured
    need_small, expected = _needs(lambda: trained(sizes.small), setting)
    need_large, _ = _needs(lambda: trained(sizes.large, steps=1), setting)
    made = trainer(sizes.large, sizes.rankings)
    with _little_memory(made.model, sizes, need_small, need_large, setting), _listening() as talk:
        made.train()
    ours = _weights(made.model)
    said = HALVED.search(talk.getvalue())
    difference, moved = _apart(ours, expected), _apart(expected, before)
    _report(report, f"training, {layout}", talk, sizes, need_small, need_large)
    times = len(HALVED.findall(talk.getvalue()))
    report.holds(
        f"training, {layout}: out of memory in a pass of {sizes.large:,} tokens, it goes on with "
        f"{said[1] if said else 'no word of how many'} and says so ({times} times)",
        bool(said),
    )
    report.holds(
        f"training, {layout}: two steps give the weights of passes of {sizes.small:,} tokens "
        f"within {CLOSE:g} (largest difference {difference:.2g}, they moved by up to {moved:.2g})",
        difference <= CLOSE and moved > 10 * difference and moved > CLOSE,
    )
    del made
    _free(setting)
    made = trainer(sizes.large, [*sizes.too_long, *sizes.rankings])
    _states_what_to_set(f"training, {layout}", made.train, made.model, setting, report)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().to("cpu", copy=True) for name, p in model.named_parameters()}


def _apart(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    return max((ours[name] - theirs[name]).abs().max().item() for name in theirs)


# ---- both ----


def _report(
    report: Report,
    of: str,
    talk: io.StringIO,
    sizes: Sizes,
    need_small: int,
    need_large: int,
) -> None:
    lines = [line for line in talk.getvalue().splitlines() if "memory" in line]
    report.row(
        "memory",
        of=of,
        **{"tokens of all rows": sum(len(r) for x in sizes.rankings for r in x["input_ids"])},
        **{"MiB beyond the model, small passes": need_small / 2**20},
        **{"in one pass": need_large / 2**20},
        said=lines[0] if lines else "",
    )


def _states_what_to_set(
    of: str, run: Callable[[], Any], model: nn.Module, setting: Setting, report: Report
) -> None:
    """State that what does not fit at all is an error for the person who reads it."""
    with _no_memory(model, setting), _listening():
        try:
            run()
            outcome = "no error"
        except PlauditError as error:
            outcome = str(error)
        except Exception as error:
            traceback.print_exc()
            outcome = f"a {type(error).__name__}, not a PlauditError"
    report.holds(
        f"{of}: one ranking that does not fit is a PlauditError that says what to set; {outcome}",
        any(name in outcome for name in SETTINGS),
    )


@contextlib.contextmanager
def _listening() -> Iterator[io.StringIO]:
    """What is said on stderr within the block."""
    talk = io.StringIO()
    try:
        with contextlib.redirect_stderr(talk):
            yield talk
    finally:
        print(talk.getvalue(), flush=True)


def _free(setting: Setting) -> None:
    """Give back what nobody uses; trainers hold their models in circles."""
    gc.collect()
    if setting.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def _needs(run: Callable[[], Any], setting: Setting) -> tuple[int, Any]:
    """The bytes that `run` has allocated at most beyond what there was, and its result."""
    if setting.device != "cuda":
        return 0, run()
    _free(setting)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before, result


@contextlib.contextmanager
def _little_memory(
    model: nn.Module, sizes: Sizes, need_small: int, need_large: int, setting: Setting
) -> Iterator[None]:
    """Within the block a pass with all rows does not fit, and one with half of them does.

    What a pass needs grows with its tokens, and the small ones have a quarter of all.
    """
    if setting.device == "cuda":
        _free(setting)
        _limit(torch.cuda.memory_reserved() + need_small + (need_large - need_small) * 3 // 4)
        try:
            yield
        finally:
            _allow_all(setting)
    else:
        rows = sum(len(row) for ranking in sizes.rankings for row in ranking["input_ids"])
        with _refusing(model, rows * 3 // 4):
            yield


@contextlib.contextmanager
def _no_memory(model: nn.Module, setting: Setting) -> Iterator[None]:
    """Within the block there is no more memory than what is taken, and a little."""
    if setting.device == "cuda":
        _free(setting)
        _limit(torch.cuda.memory_reserved() + 2**23)
        try:
            yield
        finally:
            _allow_all(setting)
    else:
        with _refusing(model, 1):
            yield


def _limit(size: int) -> None:
    """Let this process have so many bytes of the device, all that it holds now included."""
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    torch.cuda.set_per_process_memory_fraction(min(size / total, 1.0))


def _allow_all(setting: Setting) -> None:
    if setting.device == "cuda":
        torch.cuda.set_per_process_memory_fraction(1.0)
    _free(setting)


@contextlib.contextmanager
def _refusing(model: nn.Module, tokens: int) -> Iterator[None]:
    """Within the block a forward pass of more tokens ends as one on a GPU without memory would."""

    def refuse(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        if ids.numel() > tokens:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {ids.numel()} tokens (rehearsed)")

    hook = model.register_forward_pre_hook(refuse, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
