"""Rows as they are laid out by whoever has a tokenizer and the model card, and no plaudit."""

from typing import Any

from plaudit.data.rankings import Text
from plaudit.model.encoding import Encoding, plain_text
from plaudit.model.template_limits import render
from plaudit.verification.peers import RefusedError
from plaudit.verification.rows import Row


def messages_of(row: Row) -> list[dict[str, Any]]:
    """A row as a dialogue."""
    return [*_turns(row.prompt, "user"), *_turns(row.completion, "assistant")]


def text_of(row: Row, encoding: Encoding, tokenizer: Any = None) -> str:
    """A row that is no pair as one text: by the chat template, else as a model card says.

    `tokenizer` is the peer's own, where that is another one than the model's.

    Raises:
        RefusedError: where the chat template does not take the dialogue.
    """
    tokenizer = tokenizer or encoding.tokenizer
    if encoding.is_rendered(row.prompt, row.completion):
        return f"{row.prompt}{row.completion}"
    if encoding.template == "chat":
        try:
            return render(tokenizer, messages_of(row))
        except Exception as error:  # its own, or Python's own of an operation within it
            raise RefusedError(f"the chat template: {' '.join(str(error).split())}") from error
    before = plain_text(row.prompt)
    before += encoding.separator if before else ""
    eos, pad = encoding.tokenizer.eos_token, encoding.tokenizer.pad_token
    if encoding.kind == "encoder":
        text = before + plain_text(row.completion)
        ended = encoding.encoder_text != "trl" or not eos or text.endswith(eos)
        return text if ended else text + eos
    return before + plain_text(row.completion) + (eos if eos and eos != pad else "")


def _turns(text: Text, role: str) -> list[dict[str, Any]]:
    if not isinstance(text, str):
        return list(text)
    return [{"role": role, "content": text}] if text or role == "assistant" else []
