"""vLLM's server: `--against vllm=URL`.

Of a decoder with a chat template it is asked `/classify` with messages, which its own copy of the
template lays out; of another decoder with texts; of an encoder `/score` with pairs. Rewards are
asked for without activation. `/tokenize` tells which tokens it reads of a dialogue or a text. The
shapes are those of vllm/entrypoints/pooling (classify, scoring, base) of vLLM 0.11 and later.
"""

from collections.abc import Sequence
from typing import Any

from plaudit.errors import PlauditError
from plaudit.model.encoding import plain_text
from plaudit.verification.peers._http import Service, peer_of
from plaudit.verification.peers._texts import messages_of, text_of
from plaudit.verification.rows import Row

# Its newer and its older names for: give the number of the head itself.
RAW = {"use_activation": False, "activation": False}


class VLLM(Service):
    """A server with `--runner pooling`, or of a class that is a classifier by itself."""

    def connect(self) -> None:
        """See `Service`."""
        self._model = self.model_name()

    def some(self, rows: Sequence[Row]) -> list[float]:
        """See `Service`; of a chat one row a request, since a request is one dialogue."""
        encoding = self.local.encoding
        if encoding.is_pair:
            pairs = {
                "text_1": [plain_text(row.prompt) for row in rows],
                "text_2": [plain_text(row.completion) for row in rows],
            }
            answer = self.ask("/score", {"model": self._model, **pairs, **RAW})
            return [self.number(of, "score") for of in self.each(answer, len(rows), "data")]
        if encoding.template == "chat":
            return [self._of(self._asked(row), 1)[0] for row in rows]
        return self._of({"input": [text_of(row, encoding) for row in rows]}, len(rows))

    def _asked(self, row: Row) -> dict[str, Any]:
        """A dialogue; as a text where it went through a template already."""
        if self.local.encoding.is_rendered(row.prompt, row.completion):
            return {"input": text_of(row, self.local.encoding), "add_special_tokens": False}
        return {"messages": messages_of(row)}

    def _of(self, asked: dict[str, Any], count: int) -> list[float]:
        answer = self.ask("/classify", {"model": self._model, **asked, **RAW})
        return [self.reward(self.part(of, "probs")) for of in self.each(answer, count, "data")]

    def tokens(self, rows: Sequence[Row]) -> list[list[int]] | None:
        """See `There`."""
        encoding = self.local.encoding
        if encoding.is_pair:
            return None
        found = []
        for row in rows:
            asked: dict[str, Any] = {"input": text_of(row, encoding)}
            if encoding.template == "chat":
                asked = self._asked(row)
            if "input" in asked:
                asked["prompt"] = asked.pop("input")
            else:
                asked["add_generation_prompt"] = False
            try:
                answer = self.ask("/tokenize", {"model": self._model, **asked})
            except PlauditError:  # it need not have that endpoint
                return None
            found.append([int(token) for token in self.part(answer, "tokens")])
        return found


PEER = peer_of(VLLM, "vllm", "vLLM")
