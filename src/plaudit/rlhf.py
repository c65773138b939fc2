"""A reward model inside RLHF: a reward function in TRL's form.

`reward_func` makes what `GRPOTrainer` and `RLOOTrainer` take as `reward_funcs`: it scores prompts
and completions exactly as `RewardModel.score` does, template, separator and length included, which
the folder alone, given as a name, does not do for every model (docs/rlhf.md has the table). In a
run of several processes each scores its own part with a copy of its own, or asks one service for
it (`plaudit serve`), whose address is given in place of the name. No gradient flows.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plaudit.console import say
from plaudit.data.rankings import Text
from plaudit.errors import PlauditError

if TYPE_CHECKING:
    from plaudit.client import Client
    from plaudit.model.scorer import Scorer

# Tries that a run waits for: about a minute, in which a service can be started anew.
RETRIES = 8


def reward_func(
    model: "Scorer | Client | str | Path | Sequence[str | Path]",
    *,
    name: str | None = None,
    refused: float | Literal["stop"] | None = None,
    **loading: Any,
) -> "RewardFunc":
    """A reward model as a reward function of TRL's trainers.

    Args:
        model: a `RewardModel`, an `Ensemble`, or what `RewardModel.load` takes: a name or several;
            a `Client`, or the address of a service, `http://…`, which then has the model.
        name: what the trainer calls the rewards in its log; by default the name of the run.
        refused: the reward of a dialogue that cannot be read, or that the reward model's chat
            template or tokenizer refuses. None is TRL's word for a reward that does not apply: such
            a completion teaches nothing. A trainer that needs a number gets the one given here;
            "stop" raises `PlauditError` with the index and the reason.
        **loading: what `RewardModel.load` takes beside the name, where `model` is one; what
            `Client` takes beside the address, where it is one.

    A model given by name is loaded at the first call, in each process on that process's device, so
    the function can be pickled. Raises `PlauditError` where there is no such model or service, or a
    reward is not a finite number.

    >>> reward = reward_func("runs/first")  # GRPOTrainer(policy, reward_funcs=reward, …)
    >>> len(reward(prompts=["2 + 2?", "3 + 3?"], completions=["4", "7"]))
    2
    """
    return RewardFunc(model, name or _name_of(model), loading, refused)


class RewardFunc:
    """What `reward_func` returns; `prompts, completions -> rewards`, in their order."""

    def __init__(
        self, model: Any, name: str, loading: dict[str, Any], refused: float | str | None = None
    ) -> None:
        number = isinstance(refused, int | float) and math.isfinite(refused)
        if not (refused is None or refused == "stop" or number):
            raise PlauditError(f"refused: {refused!r} is not a finite number, None or 'stop'")
        self._refused: Any = refused
        self.__name__ = name  # where TRL looks for it
        self._model = model
        self._loading = loading
        named = isinstance(model, str | Path | list | tuple)
        if loading and not named:
            raise PlauditError(
                f"{', '.join(loading)}: the model is loaded already; give its name instead"
            )
        self._remote = _is_address(model) or hasattr(model, "score_each")
        if hasattr(model, "__aenter__"):
            raise PlauditError("TRL does not await a reward: give a Client, not an AsyncClient")
        self._scorer: Any = None if named else model
        if _is_address(model):
            self._scorer = self._connected()  # costs nothing, and finds mistakes now
        self._said = self._said_refused = False

    def __call__(
        self,
        prompts: Sequence[Text],
        completions: Sequence[Text],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """The reward of each completion of the prompt beside it.

        Args:
            prompts: plain texts or lists of messages; the same one again for each generation.
            completions: as many texts or lists of messages. An empty one is scored as such. One
                that generation cut off is scored as if it ended there.
            log_metric: TRL's, which is told the shares of completions that had to be truncated and
                of those that were refused.
            **columns: `completion_ids`, `trainer_state` and the data's own columns: not needed.
        """
        from plaudit.model.scorer import checked

        scorer = self.scorer
        pairs: dict[int, tuple[Text, Sequence[Text]]] = {}
        refused: dict[int, str] = {}
        for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            try:
                pairs[index] = checked(prompt, [completion])
            except PlauditError as error:
                refused[index] = str(error)
        find: Any = _served if self._remote else _computed
        found = dict(zip(pairs, find(scorer, list(pairs.values())), strict=True))
        refused |= {i: str(why) for i, why in found.items() if isinstance(why, PlauditError)}
        self._report_refused(refused, len(prompts), log_metric)
        # No reward is NaN: that of a diverged model is an error, and not "does not apply here".
        rewards: list[float | None] = [self._refused] * len(prompts)
        for index in found.keys() - refused.keys():
            rewards[index] = found[index]
        self._report_truncation(scorer, log_metric)
        return rewards

    @property
    def scorer(self) -> "Scorer | Client":
        """The model, loaded now if it was not yet, or the client of the service that has it."""
        if self._scorer is None and self._remote:
            self._scorer = self._connected()
        if self._scorer is None:
            from plaudit.model.reward_model import RewardModel

            with _not_sharded():
                self._scorer = RewardModel.load(
                    self._model, **{"device": _device()} | self._loading
                )
            self._scorer.warn_if_untrained()
        return self._scorer

    def _connected(self) -> "Client":
        from plaudit.client import Client

        settings = list(signature(Client).parameters)[1:]  # after the address
        if others := [name for name in self._loading if name not in settings]:
            raise PlauditError(
                f"{', '.join(others)}: a service has its model loaded; what can be set is "
                f"{', '.join(settings)}"
            )
        return Client(self._model, **{"retries": RETRIES} | self._loading)

    def _report_refused(self, refused: Mapping[int, str], count: int, log_metric: Any) -> None:
        if refused:
            first = min(refused)
            problem = f"completion {first} of {count}: {refused[first]}"
            if self._refused == "stop":
                raise PlauditError(f"{self.__name__}: {problem}")
            if not self._said_refused:
                say(f"{self.__name__}: {problem}; its reward is {self._refused}, as of all refused")
                self._said_refused = True  # once; the log has the share at each step
        # TRL averages over the processes that log: one without a refusal has its say too.
        if log_metric is not None and count:
            log_metric(f"rewards/{self.__name__}/refused", len(refused) / count)

    def _report_truncation(self, scorer: "Scorer | Client", log_metric: Any) -> None:
        counts = dict(scorer.truncation)
        if counts.get("truncated") and not self._said and not self._remote:
            scorer.report_truncation()
            self._said = True  # once; the log has the share at each step
        if log_metric is not None and counts.get("completions"):
            share = counts.get("truncated", 0) / counts["completions"]
            log_metric(f"rewards/{self.__name__}/truncated", share)
        scorer.truncation.clear()

    def __getstate__(self) -> dict[str, Any]:
        named = self._scorer is not self._model
        return self.__dict__ | ({"_scorer": None} if named else {})


Pairs = Sequence[tuple[Text, Sequence[Text]]]


def _computed(scorer: "Scorer", pairs: Pairs) -> list[float | PlauditError]:
    """The reward of each pair of one prompt and one completion, or why it is refused."""
    from plaudit.model.encoding import RefusedError

    try:
        return [reward for [reward] in scorer.score_all(pairs)]
    except RefusedError:  # some pair is: each is asked, and the others go on
        scorer.truncation.clear()
    found: list[Any] = [scorer.refusal(*pair) for pair in pairs]
    rewards = scorer.score_all(pair for pair, why in zip(pairs, found, strict=True) if not why)
    return [why or next(rewards)[0] for why in found]


def _served(client: "Client", pairs: Pairs) -> list[float | PlauditError]:
    """`_computed` by a service: completions of one prompt in one request."""
    from plaudit.model.scorer import apart, gathered

    together = gathered(pairs)
    found: list[list[Any]] = list(client.score_each(together.values()))
    return [reward for [reward] in apart(pairs, together, found)]


def _is_address(model: Any) -> bool:
    return isinstance(model, str) and model.startswith(("http://", "https://"))


def _name_of(model: Any) -> str:
    """`first` for runs/first and for runs/first/model."""
    if not isinstance(model, str | Path) or _is_address(model):
        return "reward"
    path = Path(model)
    return path.parent.name if path.name == "model" and path.parent.name else path.name


def _device() -> str:
    """The device that this process trains on, where accelerate runs; else whatever there is."""
    from accelerate.state import PartialState

    return str(PartialState().device) if PartialState._shared_state else "auto"


@contextmanager
def _not_sharded() -> Iterator[None]:
    """Within the block a model is loaded whole, though DeepSpeed's ZeRO 3 shards the policy:
    transformers would cut up every model that it loads."""
    from transformers.integrations import deepspeed

    config = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        vars(deepspeed)["_hf_deepspeed_config_weak_ref"] = config
