"""SGLang's server: `--against sglang=URL`.

Of a decoder it is asked `/classify` with texts that the tokenizer's chat template laid out here, as
its guide to reward models does; of an encoder `/v1/rerank` with a prompt and its completions. The
shapes are those of sglang/srt/entrypoints and its documentation "Reward models" of SGLang 0.5.
"""

from collections.abc import Sequence

from plaudit.model.encoding import plain_text
from plaudit.verification.peers._http import Service, peer_of
from plaudit.verification.peers._texts import text_of
from plaudit.verification.rows import Row


class SGLang(Service):
    """A server with `--is-embedding`."""

    def some(self, rows: Sequence[Row]) -> list[float]:
        """See `Service`."""
        if self.local.encoding.is_pair:
            return [self._reranked(row) for row in rows]
        texts = [text_of(row, self.local.encoding) for row in rows]
        answer = self.ask("/classify", {"text": texts})
        return [self.reward(self.part(of, "embedding")) for of in self.each(answer, len(rows))]

    def _reranked(self, row: Row) -> float:
        body = {"query": plain_text(row.prompt), "documents": [plain_text(row.completion)]}
        [of] = self.each(self.ask("/v1/rerank", body), 1)
        return self.number(of, "score")


PEER = peer_of(SGLang, "sglang", "SGLang")
