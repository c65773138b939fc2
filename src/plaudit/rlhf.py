"""A reward model inside RLHF: a reward function in TRL's form.

`reward_func` makes what `GRPOTrainer` and `RLOOTrainer` take as `reward_funcs`: it scores prompts
and completions exactly as `RewardModel.score` does, template, separator and length included, which
the folder alone, given as a name, does not do for every model (docs/rlhf.md has the table). In a
run of several processes each scores its own part with a copy of its own. No gradient flows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.data.rankings import Text
from plaudit.errors import PlauditError

if TYPE_CHECKING:
    from plaudit.model.scorer import Scorer


def reward_func(
    model: "Scorer | str | Path | Sequence[str | Path]", *, name: str | None = None, **loading: Any
) -> "RewardFunc":
    """A reward model as a reward function of TRL's trainers.

    Args:
        model: a `RewardModel`, an `Ensemble`, or what `RewardModel.load` takes: a name or several.
        name: what the trainer calls the rewards in its log; by default the name of the run.
        **loading: what `RewardModel.load` takes beside the name, where `model` is one.

    A model given by name is loaded at the first call, in each process on that process's device, so
    the function can be pickled. Raises `PlauditError` where there is no such model, where a prompt
    and its completion cannot be read, or a reward is not a finite number.

    >>> reward = reward_func("runs/first")  # GRPOTrainer(policy, reward_funcs=reward, …)
    >>> len(reward(prompts=["2 + 2?", "3 + 3?"], completions=["4", "7"]))
    2
    """
    return RewardFunc(model, name or _name_of(model), loading)


class RewardFunc:
    """What `reward_func` returns; `prompts, completions -> rewards`, in their order."""

    def __init__(self, model: Any, name: str, loading: dict[str, Any]) -> None:
        self.__name__ = name  # where TRL looks for it
        self._model = model
        self._loading = loading
        named = isinstance(model, str | Path | list | tuple)
        if loading and not named:
            raise PlauditError(
                f"{', '.join(loading)}: the model is loaded already; give its name instead"
            )
        self._scorer: Scorer | None = None if named else model
        self._said = False

    def __call__(
        self,
        prompts: Sequence[Text],
        completions: Sequence[Text],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float]:
        """The reward of each completion of the prompt beside it.

        Args:
            prompts: plain texts or lists of messages; the same one again for each generation.
            completions: as many texts or lists of messages. An empty one is scored as such. One
                that generation cut off is scored as if it ended there.
            log_metric: TRL's, which is told the share of completions that had to be truncated.
            **columns: `completion_ids`, `trainer_state` and the data's own columns: not needed.
        """
        scorer = self.scorer
        pairs = ((p, [c]) for p, c in zip(prompts, completions, strict=True))
        # No reward is NaN, which TRL would take for "does not apply here".
        rewards = [reward for [reward] in scorer.score_all(pairs)]
        self._report_truncation(scorer, log_metric)
        return rewards

    @property
    def scorer(self) -> "Scorer":
        """The model, loaded now if it was not yet."""
        if self._scorer is None:
            from plaudit.model.reward_model import RewardModel

            with _not_sharded():
                self._scorer = RewardModel.load(
                    self._model, **{"device": _device()} | self._loading
                )
            self._scorer.warn_if_untrained()
        return self._scorer

    def _report_truncation(self, scorer: "Scorer", log_metric: Any) -> None:
        counts = dict(scorer.truncation)
        if counts.get("truncated") and not self._said:
            scorer.report_truncation()
            self._said = True  # once; the log has the share at each step
        if log_metric is not None and counts.get("completions"):
            share = counts.get("truncated", 0) / counts["completions"]
            log_metric(f"rewards/{self.__name__}/truncated", share)
        scorer.truncation.clear()

    def __getstate__(self) -> dict[str, Any]:
        named = self._scorer is not self._model
        return self.__dict__ | ({"_scorer": None} if named else {})


def _name_of(model: Any) -> str:
    """`first` for runs/first and for runs/first/model."""
    if not isinstance(model, str | Path):
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
