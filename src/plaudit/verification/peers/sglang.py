"""SGLang's server: `--against sglang=URL`.

Of a decoder it is asked `/classify` with texts that the tokenizer's chat template laid out here, as
its guide to reward models does; of an encoder `/v1/rerank` with a prompt and its completions. The
shapes are those of sglang/srt/entrypoints and its documentation "Reward models" of SGLang 0.5.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from plaudit.model.encoding import plain_text
from plaudit.model.reward_model import RewardModel
from plaudit.verification.peers import Peer, There
from plaudit.verification.peers._http import Service, checked_address
from plaudit.verification.peers._texts import text_of
from plaudit.verification.rows import Row


class SGLang(Service):
    """A server with `--is-embedding`."""

    def some(self, rows: Sequence[Row]) -> list[float]:
        """See `Service`."""
        if self.local.encoding.kind == "encoder":
            return [self._reranked(row) for row in rows]
        texts = [text_of(row, self.local.encoding) for row in rows]
        answer = self.ask("/classify", {"text": texts})
        return [self.number(answer, place, "embedding", -1) for place in range(len(rows))]

    def _reranked(self, row: Row) -> float:
        body = {"query": plain_text(row.prompt), "documents": [plain_text(row.completion)]}
        return self.number(self.ask("/v1/rerank", body), 0, "score")


@contextmanager
def open_peer(address: str, name: str, model: RewardModel) -> Iterator[There]:
    """See `Peer`."""
    yield SGLang(checked_address(address, "sglang"), "SGLang", model)


PEER = Peer(open_peer)
