"""What the formats share that another program runs: the network, and a comparison with PyTorch.

Such a format holds a network from tokens to rewards, made from one example. Whether it gives the
model's rewards is looked at on batches of other sizes and lengths, with padding, before it appears.
"""

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from plaudit.errors import PlauditError
from plaudit.model.batches import model_inputs
from plaudit.model.classifier import reward_difference
from plaudit.model.engines import Session
from plaudit.model.engines._errors import first_line
from plaudit.model.reward_model import RewardModel
from plaudit.model.saving import layout_in_python, stored_settings

EXAMPLE_SHAPE = (3, 9)  # rows, tokens
# Other numbers of rows, and other lengths, as far as the model reads.
CHECKED_SHAPES = ((1, 1), (5, 7), (1, 33), (2, 200), (2, 512))
TOLERANCE = 1e-4


class Network(nn.Module):
    """Tokens in, in the order of `names`, rewards `[N]` out: the model's network, in float32.

    It is a copy, unless `copied` is False: then the model's own is changed to float32.
    """

    def __init__(self, model: RewardModel, copied: bool = True) -> None:
        super().__init__()
        network = copy.deepcopy(model.model) if copied else model.model
        self.model = network.to("cpu", torch.float32).eval()
        self.example = batch(model, *EXAMPLE_SHAPE)

    @property
    def names(self) -> list[str]:
        """What the inputs are called."""
        return list(self.example)

    @property
    def free_shapes(self) -> tuple[tuple[dict[int, torch.export.Dim], ...]]:
        """What the exporters of torch are to take as free: rows and tokens of every input."""
        free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        return ((free,) * len(self.example),)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Rewards `[N]` of inputs `[N, L]`."""
        return self.rewards(dict(zip(self.names, inputs, strict=True)))

    def rewards(self, tokens: dict[str, Tensor]) -> Tensor:
        """Rewards `[N]` of a batch by its names: the network as a `Session`."""
        return self.model(**tokens).logits[:, 0]


def batch(model: RewardModel, rows: int, length: int) -> dict[str, Tensor]:
    """A batch of random tokens `[rows, length]`, of which all but the first row are padded.

    None is the pad token: transformers finds the last token of a decoder's row by it.
    """
    draw = torch.Generator().manual_seed(rows * length)
    pad = model.encoding.pad_token_id
    ids = torch.randint(len(model.encoding.tokenizer) - 1, (rows, length), generator=draw)
    ids += ids >= pad
    kept = torch.randint(1, length + 1, (rows, 1), generator=draw)
    kept[0] = length
    mask = (torch.arange(length) < kept).long()
    tokens = {"input_ids": ids.where(mask == 1, pad), "attention_mask": mask}
    if "token_type_ids" in model.encoding.encode_texts([("a", ["b"])])[0]:
        kinds = getattr(model.model.config, "type_vocab_size", 0) or 1
        second = torch.arange(length) >= length // 2
        tokens["token_type_ids"] = (second * mask).clamp(max=kinds - 1)
    return model_inputs(tokens)


def check(
    session: Callable[[], Session], network: Network, model: RewardModel, path: Path, runtime: str
) -> None:
    """Compare what `session` loads with PyTorch, on padded batches of several sizes and lengths.

    Raises:
        PlauditError: when the `runtime` cannot run it, or a reward differs by more than 1e-4,
            relative to rewards above 1. It begins with `path`.
    """
    what = type(model.model).__name__
    try:
        worst = largest_difference(session(), network, model)
    except Exception as error:  # the runtimes' exceptions share no base but this
        raise PlauditError(
            f"{path}: {runtime} cannot run {what}; choose pt ({first_line(error)})"
        ) from error
    if worst > TOLERANCE:
        raise PlauditError(
            f"{path}: the rewards of {what} in {runtime} differ from PyTorch's by {worst:.1g}; "
            "nothing was written; choose pt"
        )


@torch.no_grad()
def largest_difference(session: Session, network: Network, model: RewardModel) -> float:
    """Of the rewards that `session` and `network` give, relative to rewards above 1."""
    return max(
        reward_difference(session(tokens), network.rewards(tokens))
        for rows, length in CHECKED_SHAPES
        for tokens in [batch(model, rows, min(length, model.encoding.max_length))]
    )


def described(model: RewardModel) -> str:
    """JSON of what the file itself cannot say: how texts are laid out and rewards normalised."""
    encoding = model.encoding
    settings = stored_settings(encoding, model.pooling, model.normalisation, model.attributes)
    settings |= {"layout": layout_in_python(encoding), "kind": encoding.kind}
    if encoding.configured_pad is not None:
        settings["configured_pad"] = encoding.configured_pad
    if model.new_head:
        settings["new_head"] = True
    return json.dumps(settings)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' notes, printed, logged and warned, from the user's screen."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
