"""plaudit: from preference data to a reward model that people trust.

The public names. They are imported when they are first used, since some of them bring torch along.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plaudit.config import Settings
    from plaudit.data.rankings import Ranking
    from plaudit.data.readers import Rankings, load_rankings
    from plaudit.errors import PlauditError
    from plaudit.model.ensemble import Ensemble
    from plaudit.model.reward_model import RewardModel
    from plaudit.reporting.evaluation import Evaluation, evaluate
    from plaudit.rlhf import reward_func
    from plaudit.sampling.best_of_n import Generation, generate
    from plaudit.sampling.comparing import compare
    from plaudit.sampling.policy import Policy
    from plaudit.scoring.normalise import normalise
    from plaudit.scoring.score import score_file
    from plaudit.training.run import Run, train

_HOME = {
    "Ensemble": "plaudit.model.ensemble",
    "Evaluation": "plaudit.reporting.evaluation",
    "Generation": "plaudit.sampling.best_of_n",
    "PlauditError": "plaudit.errors",
    "Policy": "plaudit.sampling.policy",
    "Ranking": "plaudit.data.rankings",
    "Rankings": "plaudit.data.readers",
    "RewardModel": "plaudit.model.reward_model",
    "Run": "plaudit.training.run",
    "Settings": "plaudit.config",
    "compare": "plaudit.sampling.comparing",
    "evaluate": "plaudit.reporting.evaluation",
    "generate": "plaudit.sampling.best_of_n",
    "load_rankings": "plaudit.data.readers",
    "normalise": "plaudit.scoring.normalise",
    "reward_func": "plaudit.rlhf",
    "score_file": "plaudit.scoring.score",
    "train": "plaudit.training.run",
}

__all__ = [
    "Ensemble",
    "Evaluation",
    "Generation",
    "PlauditError",
    "Policy",
    "Ranking",
    "Rankings",
    "RewardModel",
    "Run",
    "Settings",
    "compare",
    "evaluate",
    "generate",
    "load_rankings",
    "normalise",
    "reward_func",
    "score_file",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("plaudit")
    if name not in _HOME:
        raise AttributeError(f"module 'plaudit' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
