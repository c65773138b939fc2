"""Would a reward teach a policy? Its variance and best-of-n under the policy's own samples.

`policy_test` reads top to bottom: samples of each prompt, drawn or read; the rewards of each model
and of the gold judge; what is made of them in `evaluation.optimisation`. Sampling takes nearly all
of the time, so samples are kept in a file, and other models can be tested on the same ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from plaudit.console import counted, say
from plaudit.data.cells import characters
from plaudit.data.rankings import Ranking
from plaudit.data.readers import BadRows
from plaudit.errors import PlauditError
from plaudit.evaluation.optimisation import UnderPolicyRecord, under_policy, verdict
from plaudit.evaluation.rewards import rewards_of
from plaudit.evaluation.statistics import FigureRecord
from plaudit.files import SCHEMA_VERSION, make_way, write_jsonl, write_results
from plaudit.model.seen import taken
from plaudit.reporting.page import write_report
from plaudit.reporting.plots import write_plots
from plaudit.reporting.policy_test import policy_test_report
from plaudit.results import PolicyTestSummary, SampledReward
from plaudit.sampling.samples import with_enough

if TYPE_CHECKING:
    from plaudit.model.scorer import Scorer

GOLD_OF_DATA = "the samples' own ratings"


@dataclass(frozen=True)
class PolicyTest:
    """What rewards are like under a policy's samples.

    `rewards` holds for each model N_i rewards of the samples of each prompt; the ratings of
    `samples` are the gold judge's, where there is one.
    """

    summary: PolicyTestSummary
    samples: list[Ranking]
    rewards: dict[str, list[list[float]]]

    def __str__(self) -> str:
        return format_policy_test(self.summary)

    def as_json(self) -> PolicyTestSummary:
        """What `--json` prints."""
        return self.summary

    def rows(self) -> Iterator[dict[str, object]]:
        """One row for each sample, which `--samples` reads again; gold with `score=gold`."""
        for number, sample in enumerate(self.samples):
            for k, completion in enumerate(sample.completions):
                row: dict[str, object] = {"prompt": sample.prompt, "completion": completion}
                row["rewards"] = {name: each[number][k] for name, each in self.rewards.items()}
                yield row | ({"gold": sample.ratings[k]} if sample.ratings else {})

    def write(self, folder: str | Path) -> None:
        """Write `summary.json`, `rewards.jsonl`, `report.html` and `plots/` into a folder."""
        folder = Path(folder)
        make_way(folder)
        write_jsonl(folder / "rewards.jsonl", self.rows())
        write_plots("policy-test", self.summary, folder / "plots")
        report = policy_test_report(self.summary, folder.resolve().name)
        write_report(folder / "report.html", report)
        write_results(folder / "summary.json", self.summary)


def policy_test(
    models: Mapping[str, "Scorer"],
    samples: Sequence[Ranking],
    *,
    policy: str,
    gold: "tuple[str, Scorer] | None" = None,
    n: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
    bad: BadRows | None = None,
) -> PolicyTest:
    """Test each model on a policy's samples; see `plaudit.policy_test`.

    Args:
        models: the reward models by name.
        samples: prompts with their samples; their ratings are the gold where `gold` is None.
        policy: what the samples came from, for people.
        gold: the name of a judge, and the judge.
        n: the most samples to pick of; None takes what nine in ten prompts have.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        bad: gets the samples that a model refuses.
    """
    chosen, most = with_enough(samples, n)
    judges = [*models.values(), *([gold[1]] if gold else [])]
    chosen = taken(chosen, [each for judge in judges for each in judge.encodings], bad)
    if not chosen:
        raise PlauditError(
            "no prompt is left to test on: the models refuse them all"
            + ("" if bad is None else f". {bad.summary()}")
        )
    for model in models.values():
        model.warn_if_untrained()
    if gold:
        if chosen[0].ratings is not None:
            say(f"the ratings in the samples are not used: {gold[0]} is the gold judge")
        rated = rewards_of(gold[1], chosen, f"scoring with {gold[0]}")
        chosen = [replace(each, ratings=row) for each, row in zip(chosen, rated, strict=True)]
    known = [each.ratings for each in chosen if each.ratings is not None] or None
    lengths = [[*map(characters, each.completions)] for each in chosen]
    rewards = {
        name: rewards_of(model, chosen, f"scoring with {name}") for name, model in models.items()
    }
    tested: list[SampledReward] = []
    for name, given in rewards.items():
        record = under_policy(given, lengths, known, most=most, resamples=resamples, seed=seed)
        tested.append({"model": name, "verdict": verdict(record), "figures": record})
    judge = gold[0] if gold else GOLD_OF_DATA if known else None
    summary: PolicyTestSummary = {
        "schema_version": SCHEMA_VERSION,
        "policy": policy,
        "gold": judge,
        "prompts": len(chosen),
        "samples": sum(map(len, lengths)),
        "n": most,
        "models": tested,
    }
    return PolicyTest(summary, chosen, rewards)


# ---- for a person ----


def format_policy_test(summary: PolicyTestSummary) -> str:
    """The result of `policy_test` as text for a person."""
    gold = f"gold judge: {summary['gold']}" if summary["gold"] else "no gold judge"
    lines = [
        f"{counted(summary['prompts'], 'prompt')}, {counted(summary['samples'], 'sample')} of "
        f"{summary['policy']}; {gold}"
    ]
    for tested in summary["models"]:
        shown = [*_figures(tested["figures"]), "", *tested["verdict"]]
        lines += ["", tested["model"], *(f"  {line}".rstrip() for line in shown)]
    return "\n".join(lines)


def _figures(record: UnderPolicyRecord) -> Iterator[str]:
    for label, figure in (
        ("variance within prompts", record["variance"]),
        ("its share of all variance", record["within"]),
        ("prompts that are flat", record["flat"]),
        ("agrees with the gold on pairs", record["agreement"]),
    ):
        if figure is not None:
            yield f"{label:30}{_cell(figure)}"
    yield ""
    with_gold = "gold" in record["picks"]
    heads = ["own gain", *(["gold's gain", "gold by length", "gold by the gold"] * with_gold)]
    yield "best of   KL ≤" + "".join(f"{head:>22}" for head in [*heads, "characters"])
    for place, pick in enumerate(record["picks"]["reward"]):
        figures: list[FigureRecord | None] = [pick["reward"]]
        if with_gold:
            figures += [record["picks"][by][place]["gold"] for by in ("reward", "length", "gold")]
        cells = [_cell(figure, "+.2f") for figure in figures] + [_cell(pick["length"], ".0f")]
        yield f"{pick['n']:7}{pick['kl']:7.2f}" + "".join(f"{cell:>22}" for cell in cells)


def _cell(figure: FigureRecord | None, form: str = ".3f") -> str:
    if figure is None:
        return "–"
    value, low, high = figure["value"], figure["low"], figure["high"]
    ends = "" if low is None or high is None or low == high else f" [{low:{form}}, {high:{form}}]"
    return f"{value:{form}}{ends}"
