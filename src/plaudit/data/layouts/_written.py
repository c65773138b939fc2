"""What layouts share when rankings are written in them: the way back from a record to rows."""

from typing import Any

from plaudit.data.chat import assistant, user
from plaudit.data.rankings import BadRowError, Fault, Message, Ranking, Text


def asked(prompt: Text) -> list[Message]:
    """A prompt as messages.

    >>> asked("2+2?")
    [{'role': 'user', 'content': '2+2?'}]
    """
    return [user(prompt)] if isinstance(prompt, str) else list(prompt)


def replied(completion: Text) -> list[Message]:
    """A completion as messages.

    >>> replied("4")
    [{'role': 'assistant', 'content': '4'}]
    """
    return [assistant(completion)] if isinstance(completion, str) else list(completion)


def one_reply(completion: Text) -> Message:
    """A completion as the one message that it is; `BadRowError` where it is several."""
    first, *more = replied(completion)
    if more:
        raise BadRowError(Fault.NOT_TEXT, "a completion of several messages does not fit it")
    return first


def plain(text: Text) -> str:
    """A text that is no messages; `BadRowError` where it is."""
    if not isinstance(text, str):
        raise BadRowError(Fault.NOT_TEXT, "it holds plain text and no messages")
    return text


def beside(ranking: Ranking, *places: int) -> dict[str, Any]:
    """What else is known of the completions at `places`, or of all: what is not, has no key.

    >>> beside(Ranking("p", ["a", "b"], [0, 1], models=["x", "y"], annotator="Ada"), 1)
    {'model': 'y', 'annotator': 'Ada'}
    """
    known: dict[str, Any] = {"annotator": ranking.annotator, "margin": ranking.margin}
    known["weight"] = None if ranking.weight == 1 else ranking.weight
    of = places or range(len(ranking.completions))
    models = [ranking.models[i] if ranking.models else None for i in of]
    categories = [ranking.categories[i] if ranking.categories else ranking.category for i in of]
    # Of a pair the category is that of the completion that was not chosen.
    category = categories[-1] if len(of) < 3 or len(set(categories)) == 1 else categories
    model = (models[0] if len(of) == 1 else models) if any(models) else None
    found = {"category": category, "model": model, **known}
    return {name: value for name, value in found.items() if value is not None}
