"""A scorer gives completions rewards: what one reward model and an ensemble of several share.

Whoever scores (files, the service, best-of-n, evaluation) takes a `Scorer` and need not know which
it is. Texts become rows of tokens in `encode`, rows become rewards in `rewards`; the two may run in
threads of their own, as long as only one thread calls `rewards`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, overload

import torch

from plaudit.console import say
from plaudit.data.cells import excerpt, said
from plaudit.data.layouts import Given
from plaudit.data.parse import make_ranking
from plaudit.data.rankings import BadRowError, Text, text_key
from plaudit.errors import PlauditError
from plaudit.model.encoding import Encoding, RefusedError, describe_truncation
from plaudit.model.posterior import Posterior
from plaudit.model.trained_on import TrainedOn

# Completions read ahead while scoring a stream, to find rows alike in length.
WINDOW = 128
NO_UNCERTAINTY = (
    "this model has no uncertainty: train one with --uncertainty laplace; an ensemble has none"
)
UNTRAINED = "this model has no trained reward head: its rewards are random; train it first"


class Scorer(ABC):
    """What gives a completion of a prompt its reward.

    `truncation` counts what was truncated since the last report; `new_head` says that a head was
    drawn at random and not trained yet.
    """

    truncation: dict[str, int]
    new_head: bool
    device: torch.device
    _told = False  # that the head is new

    # ---- what a scorer must know ----

    @property
    @abstractmethod
    def scale(self) -> float:
        """σ(scale · (r_a − r_b)) is the probability that a is preferred to b."""

    @property
    @abstractmethod
    def normalised(self) -> bool:
        """Whether rewards are normalised; see `normalisation`."""

    @property
    @abstractmethod
    def encodings(self) -> Sequence[Encoding]:
        """How texts become rows of tokens: as many ways as there are models."""

    @property
    @abstractmethod
    def max_length(self) -> int:
        """Tokens of the longest row that is not truncated."""

    @abstractmethod
    def encode(self, prompts: Sequence[tuple[Text, Sequence[Text]]]) -> list[dict[str, Any]]:
        """Rows of tokens of (prompt, completions), which `rewards` takes; counts truncation.

        Raises `RefusedError` for texts that chat template or tokenizer do not take.
        """

    @abstractmethod
    def encode_rendered(
        self, texts: Sequence[str], prompts: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """`encode` for texts that another program laid out, prompt and completion in one.

        `prompts` are what the texts begin with, where that is known. Raises `PlauditError` where
        there is a length penalty and a completion's length remains unknown.
        """

    @abstractmethod
    def tokens(self, row: dict[str, Any]) -> int:
        """How many tokens a row of `encode` costs: unique ones of a prompt and its completions."""

    @abstractmethod
    def rewards(self, encoded: Sequence[dict[str, Any]]) -> list[list[float]]:
        """Rewards of encoded prompts, K numbers for each, batched to the token budget."""

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Within it equal texts get rewards that are equal to the last bit, in whichever of many
        calls they stand, and are computed once.

        A scorer that keeps no results does nothing here.
        """
        yield

    @property
    def readings(self) -> list[str]:
        """How each of its models that is from elsewhere is read, a line each."""
        return []

    def training_texts(self) -> list[TrainedOn | None]:
        """Hashes of what each of its models was trained on; None where nobody knows."""
        return [None]

    @property
    def uncertain(self) -> bool:
        """Whether there are `posteriors`."""
        return False

    def posteriors(self, encoded: Sequence[dict[str, Any]]) -> list[Posterior]:
        """Rewards of encoded prompts with their covariance: how uncertain the head is of them.

        Raises `PlauditError` where the model has no uncertainty.
        """
        raise PlauditError(NO_UNCERTAINTY)

    def check_uncertain(self, wanted: bool = True) -> None:
        """Raise `PlauditError` where `posteriors` are wanted and there are none."""
        if wanted and not self.uncertain:
            raise PlauditError(NO_UNCERTAINTY)

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What an output that is resumed must still be made with, as plain JSON.

        Two scorers with the same weights, tokens and settings have the same.
        """

    # ---- what every scorer does ----

    @overload
    def score(self, prompt: Text, completions: str) -> float: ...  # type: ignore[overload-overlap]
    @overload
    def score(self, prompt: Text, completions: Sequence[Text]) -> list[float]: ...

    def score(self, prompt: Text, completions: str | Sequence[Text]) -> float | list[float]:
        """The reward of each completion of `prompt`; a number for one string, a list for a list.

        A completion is a string or the messages of a turn. Rewards have no unit and no fixed zero:
        only their differences for one prompt mean something, σ(scale · (r_a − r_b)) being the
        probability that a is preferred to b. Those of a head that nobody trained are random, which
        a line says the first time.
        """
        if not self._told:
            self._told = True
            self.warn_if_untrained()
        if isinstance(completions, str):
            return self.score(prompt, [completions])[0]
        return next(self.score_all([checked(prompt, completions)]))

    def posterior(self, prompt: Text, completions: Sequence[Text]) -> Posterior:
        """The rewards of completions, their standard deviations, and how likely one beats another.

        Raises `PlauditError` where the model has no uncertainty.
        """
        completions = [completions] if isinstance(completions, str) else completions
        return next(self.posterior_all([checked(prompt, completions)]))

    def posterior_all(self, prompts: Iterable[tuple[Text, Sequence[Text]]]) -> Iterator[Posterior]:
        """`posterior` for a stream of (prompt, completions), in order, with flat memory."""
        self.check_uncertain()
        with self.remembering():
            for window in windows(prompts, WINDOW):
                found = self.posteriors(self.encode(window))
                for (prompt, _), each in zip(window, found, strict=True):
                    check_finite(each.rewards.tolist(), prompt)
                yield from found

    def score_all(self, prompts: Iterable[tuple[Text, Sequence[Text]]]) -> Iterator[list[float]]:
        """Rewards for a stream of (prompt, completions), in order, with flat memory.

        Equal texts get equal rewards, to the last bit, wherever in the stream they stand (within
        the latest 131,072 distinct ones).

        Raises `PlauditError` that names the prompt when a reward is not a finite number.
        """
        with self.remembering():
            for window in windows(prompts, WINDOW):
                yield from self._score_window(window)

    def _score_window(self, window: list[tuple[Text, Sequence[Text]]]) -> list[list[float]]:
        together = gathered(window)
        rewards = apart(window, together, self.rewards(self.encode(list(together.values()))))
        for (prompt, _), row in zip(window, rewards, strict=True):
            check_finite(row, prompt)
        return rewards

    def refusal(self, prompt: Text, completions: Sequence[Text]) -> RefusedError | None:
        """Why a chat template or a tokenizer does not take these texts, where one does not."""
        for encoding in self.encodings:
            try:
                encoding.encode_texts([(prompt, completions)])
            except RefusedError as refused:
                return refused
        return None

    def warn_if_untrained(self) -> None:
        """Say so when the head is new: its rewards are random numbers."""
        if self.new_head:
            members = getattr(self, "members", [self])
            names = [getattr(each, "origin", "") for each in members if each.new_head]
            named = ", ".join(filter(None, names))
            say(f"{named}: {UNTRAINED}" if named else UNTRAINED)

    @contextmanager
    def telling_truncation(self, what: str = "") -> Iterator[None]:
        """At the end of the block says what it truncated, and in doing `what`; what others did
        before is not its own."""
        self.truncation.clear()
        yield
        self.report_truncation(what)

    def report_truncation(self, what: str = "") -> None:
        """Say what was truncated since the last report, if anything was, in doing `what`."""
        if line := describe_truncation(self.truncation, self.max_length):
            say(f"{what}: {line}" if what else line)
        self.truncation.clear()


def checked(prompt: Text, completions: Sequence[Text]) -> tuple[Text, Sequence[Text]]:
    """The texts as data have them; raises `PlauditError` for what data would be rejected for."""
    try:
        given = Given(prompt=prompt, completions=tuple(completions), empty_prompt=True)
        ranking = make_ranking(given, order=False)
    except BadRowError as error:
        raise PlauditError(f"score: {error}") from error
    return ranking.prompt, ranking.completions


def windows(
    prompts: Iterable[tuple[Text, Sequence[Text]]], completions_at_once: int
) -> Iterator[list[tuple[Text, Sequence[Text]]]]:
    """A stream in parts, each ended by the prompt that makes it so many completions.

    >>> list(windows([("a", ["1", "2"]), ("b", ["1"]), ("c", ["1"])], 2))
    [[('a', ['1', '2'])], [('b', ['1']), ('c', ['1'])]]
    """
    window: list[tuple[Text, Sequence[Text]]] = []
    waiting = 0
    for prompt, completions in prompts:
        window.append((prompt, completions))
        waiting += max(len(completions), 1)
        if waiting >= completions_at_once:
            yield window
            window, waiting = [], 0
    if window:
        yield window


def check_finite(rewards: Sequence[float], prompt: Text, where: str = "") -> None:
    """Refuse rewards that are no numbers, as those of a model whose training diverged.

    Raises `PlauditError` that names the place, or the prompt where there is none.
    """
    if not all(map(math.isfinite, rewards)):
        where = where or f'the prompt "{excerpt(said(prompt))}"'
        raise PlauditError(
            f"{where}: the model's reward of a completion is not a finite number: the model has "
            "diverged or its numbers overflow; score in float32 (--dtype float32), or train with a "
            "lower learning rate"
        )


def gathered(
    parts: Iterable[tuple[Text, Sequence[Text]]],
) -> dict[str, tuple[Text, list[Text]]]:
    """Prompts with all their completions, in however many parts they came, by `text_key`.

    The tokens of a prompt are then computed once.

    >>> gathered([("a", ["1"]), ("b", ["2"]), ("a", ["3"])])
    {'a': ('a', ['1', '3']), 'b': ('b', ['2'])}
    """
    together: dict[str, tuple[Text, list[Text]]] = {}
    for prompt, completions in parts:
        together.setdefault(text_key(prompt), (prompt, []))[1].extend(completions)
    return together


def apart(
    parts: Iterable[tuple[Text, Sequence[Text]]],
    together: Iterable[str],
    rewards: Iterable[Sequence[float]],
) -> list[list[float]]:
    """The rewards of `gathered` prompts, for each part its own again.

    >>> apart([("a", ["1"]), ("b", ["2"]), ("a", ["3"])], ["a", "b"], [[0.1, 0.3], [0.2]])
    [[0.1], [0.2], [0.3]]
    """
    left = {key: iter(row) for key, row in zip(together, rewards, strict=True)}
    return [list(islice(left[text_key(prompt)], len(some))) for prompt, some in parts]
