"""plaudit: from preference data to a reward model that people trust.

The public names: every command is a function here. They are imported when they
are first used, since some of them bring torch along.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plaudit.client import AsyncClient, Client, ServiceError
    from plaudit.commands import (
        Inspection,
        bench,
        compare,
        convert,
        cross_validate,
        demo,
        doctor,
        evaluate,
        export,
        frontier,
        generate,
        inspect,
        label,
        list_plugins,
        normalise,
        pairs,
        policy_test,
        push,
        report,
        sample,
        score,
        serve,
        train,
        tune,
        variance,
        verify,
    )
    from plaudit.data.rankings import Ranking
    from plaudit.data.readers import Rankings, load_rankings
    from plaudit.errors import PlauditError
    from plaudit.model.ensemble import Ensemble
    from plaudit.model.reward_model import RewardModel
    from plaudit.reporting.evaluation import Evaluation
    from plaudit.rlhf import reward_func
    from plaudit.sampling.best_of_n import Generation
    from plaudit.sampling.comparing import Comparison
    from plaudit.sampling.policy import Policy
    from plaudit.sampling.policy_test import PolicyTest
    from plaudit.scoring.bench import Bench
    from plaudit.scoring.score import score_file
    from plaudit.settings import Settings
    from plaudit.training.crossval import CrossValidation
    from plaudit.training.frontier import Frontier
    from plaudit.training.run import Run
    from plaudit.training.search import Search
    from plaudit.training.variance import Variance
    from plaudit.verification.verify import Verification

# Where each is, but for the commands.
_HOME = {
    "AsyncClient": "plaudit.client",
    "Bench": "plaudit.scoring.bench",
    "Client": "plaudit.client",
    "Comparison": "plaudit.sampling.comparing",
    "CrossValidation": "plaudit.training.crossval",
    "Ensemble": "plaudit.model.ensemble",
    "Evaluation": "plaudit.reporting.evaluation",
    "Frontier": "plaudit.training.frontier",
    "Generation": "plaudit.sampling.best_of_n",
    "PlauditError": "plaudit.errors",
    "Policy": "plaudit.sampling.policy",
    "PolicyTest": "plaudit.sampling.policy_test",
    "Ranking": "plaudit.data.rankings",
    "Rankings": "plaudit.data.readers",
    "RewardModel": "plaudit.model.reward_model",
    "Run": "plaudit.training.run",
    "Search": "plaudit.training.search",
    "ServiceError": "plaudit.client",
    "Settings": "plaudit.settings",
    "Variance": "plaudit.training.variance",
    "Verification": "plaudit.verification.verify",
    "load_rankings": "plaudit.data.readers",
    "reward_func": "plaudit.rlhf",
    "score_file": "plaudit.scoring.score",
}

__all__ = [
    "AsyncClient",
    "Bench",
    "Client",
    "Comparison",
    "CrossValidation",
    "Ensemble",
    "Evaluation",
    "Frontier",
    "Generation",
    "Inspection",
    "PlauditError",
    "Policy",
    "PolicyTest",
    "Ranking",
    "Rankings",
    "RewardModel",
    "Run",
    "Search",
    "ServiceError",
    "Settings",
    "Variance",
    "Verification",
    "bench",
    "compare",
    "convert",
    "cross_validate",
    "demo",
    "doctor",
    "evaluate",
    "export",
    "frontier",
    "generate",
    "inspect",
    "label",
    "list_plugins",
    "load_rankings",
    "normalise",
    "pairs",
    "policy_test",
    "push",
    "report",
    "reward_func",
    "sample",
    "score",
    "score_file",
    "serve",
    "train",
    "tune",
    "variance",
    "verify",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("plaudit")
    if name not in __all__:
        raise AttributeError(f"module 'plaudit' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "plaudit.commands")), name)
