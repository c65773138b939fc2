"""Text Embeddings Inference: `--against tei=URL`.

It is asked `/predict`, of an encoder with pairs, of a decoder with texts that were laid out here,
for raw scores, and not to truncate: a row that is too long for it is refused, and so seen. The
shapes are those of router/src/http/types.rs of text-embeddings-inference 1.8.
"""

from collections.abc import Sequence

from plaudit.model.encoding import plain_text
from plaudit.verification.peers._http import Service, peer_of
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
        # It sorts labels by their scores, so that of several nobody knows which is which.
        labels = [self.each(of, 1) for of in self.each(answer, len(rows))]
        return [self.number(of, 0, "score") for of in labels]

    def _input(self, row: Row) -> list[str]:
        if self.local.encoding.is_pair:
            return [plain_text(row.prompt), plain_text(row.completion)]
        return [text_of(row, self.local.encoding)]


PEER = peer_of(TEI, "tei", "TEI")
