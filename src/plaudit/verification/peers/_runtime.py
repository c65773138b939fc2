"""What peers share that run a model's exported network here: tokens are plaudit's own, and what is
compared is the network alone."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from plaudit.model.batches import Padded, model_inputs
from plaudit.model.engines import Session
from plaudit.model.exports import EXPORTS
from plaudit.model.reward_model import RewardModel
from plaudit.verification.peers import There
from plaudit.verification.rows import Row, batches

AT_ONCE = 8


class Runtime(There):
    """A network that is run by a `Session`."""

    def __init__(self, name: str, run: Session, model: RewardModel) -> None:
        self.name = name
        self._run, self._encoding = run, model.encoding

    def rewards(self, rows: Sequence[Row]) -> list[float]:
        """See `There`."""
        encoded = self._encoding.encode_texts([(row.prompt, [row.completion]) for row in rows])
        padded = Padded(self._encoding.pad_token_id)
        found = [0.0] * len(rows)
        for places in batches([of["length"] for of in encoded], AT_ONCE):
            batch = padded.collate([encoded[place] for place in places], places)
            for place, reward in zip(places, self._run(model_inputs(batch)).tolist(), strict=True):
                found[place] = reward
        return found

    def tokens(self, rows: Sequence[Row]) -> list[list[int]]:
        """See `There`."""
        encoded = self._encoding.encode_texts([(row.prompt, [row.completion]) for row in rows])
        return [of["input_ids"][0] for of in encoded]


@contextmanager
def exported(
    address: str, model: RewardModel, format: str, session: Callable[[str], Session]
) -> Iterator[There]:
    """The network at an address, or one that is exported now and gone when the block ends."""
    if address:
        yield Runtime(f"{format} on {address}", session(address), model)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model.{format}"
        EXPORTS.get(format).put(model, path)
        yield Runtime(f"{format}, exported now", session(str(path)), model)
