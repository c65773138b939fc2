"""Text Embeddings Inference: `--against tei=URL`.

It is asked `/predict`, of an encoder with pairs, of a decoder with texts that were laid out here,
for raw scores, and not to truncate: a row that is too long for it is refused, and so seen. The
shapes are those of router/src/http/types.rs of text-embeddings-inference 1.8.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from plaudit.errors import PlauditError
from plaudit.model.encoding import plain_text
from plaudit.model.reward_model import RewardModel
from plaudit.verification.peers import Peer, There
from plaudit.verification.peers._http import Service, checked_address
from plaudit.verification.peers._texts import text_of
from plaudit.verification.rows import Row


class TEI(Service):
    """A server of a classifier."""

    def some(self, rows: Sequence[Row]) -> list[float]:
        """See `Service`."""
        answer = self.ask(
            "/predict",
            {"inputs": [self._input(row) for row in rows], "raw_scores": True, "truncate": False},
        )
        return [self._reward(answer, place) for place in range(len(rows))]

    def _input(self, row: Row) -> list[str]:
        if self.local.encoding.kind == "encoder":
            return [plain_text(row.prompt), plain_text(row.completion)]
        return [text_of(row, self.local.encoding)]

    def _reward(self, answer: object, place: int) -> float:
        if (count := len(self.part(answer, place))) != 1:
            raise PlauditError(
                f"{self.name} gives {count} labels for a row, and which are the reward it does not "
                "know: serve the folder that `plaudit export --format folder` writes"
            )
        return self.number(answer, place, 0, "score")


@contextmanager
def open_peer(address: str, name: str, model: RewardModel) -> Iterator[There]:
    """See `Peer`."""
    yield TEI(checked_address(address, "tei"), "TEI", model)


PEER = Peer(open_peer)
