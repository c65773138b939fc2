"""The report of a test of rewards under a policy's samples."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from importlib.metadata import version

from plaudit.console import counted
from plaudit.evaluation.optimisation import UnderPolicyRecord
from plaudit.evaluation.statistics import FigureRecord
from plaudit.reporting.page import Highlight, Report, Row, Section, Table, signed
from plaudit.reporting.plots import drawings
from plaudit.reporting.tables import INTERVAL, NBSP, UNDEFINED, interval, percent, plain
from plaudit.results import PolicyTestSummary

WHY = (
    "A policy learns from how rewards differ between its own samples of one prompt. Where they "
    "hardly do, training goes slowly however accurate the reward is (Razin et al. 2025). A flat "
    "prompt is one where they differ by less than a tenth of the deviation over all samples."
)
KL = (
    "The best of n stands for a policy trained against the reward: KL from the policy that samples "
    "is at most log n − (n − 1)/n nats. Gains are over a sample at random, in standard deviations "
    "within prompts."
)
UNKNOWN = (
    "There is no gold judge, so nothing here says whether what the reward picks is better, or from "
    "where on the reward is over-optimised. Give one with --gold."
)


def policy_test_report(summary: PolicyTestSummary, title: str) -> Report:
    """The report of `plaudit policy-test`, with its plots; numbers at the top are of one model."""
    models = summary["models"]
    several = len(models) > 1
    lead, more = list(models[0]["verdict"]), []
    if several:
        lead = [f"{model['model']}: {model['verdict'][0]}" for model in models]
        more = [f"{model['model']}: {' '.join(model['verdict'][1:])}" for model in models]
    sections = [
        Section(
            "Is there something to learn from?",
            (WHY,),
            tuple(_variance(model["model"], model["figures"]) for model in models),
        ),
        Section(
            "Is what it picks better, or longer?",
            (KL, *([] if summary["gold"] else [UNKNOWN]), *map(_unbroken, more)),
            tuple(_picks(model["model"], model["figures"]) for model in models),
        ),
    ]
    under = drawings("policy-test", summary)
    sections = [replace(each, plots=tuple(under.pop(each.title, ()))) for each in sections]
    sections += [Section(heading, plots=tuple(plots)) for heading, plots in under.items()]
    facts = {"policy": summary["policy"], "gold judge": summary["gold"] or "none"}
    facts |= {"date": date.today().isoformat(), "plaudit": version("plaudit")}
    return Report(
        title,
        tuple(map(_unbroken, lead)),
        {"model": ", ".join(model["model"] for model in models), **facts},
        () if several else _highlights(summary),
        tuple(sections),
        kind="Would it teach this policy?",
    )


def _highlights(summary: PolicyTestSummary) -> tuple[Highlight, ...]:
    record = summary["models"][0]["figures"]
    last = record["picks"]["reward"][-1]
    shown = (
        ("Variance within prompts", record["within"], percent),
        (f"Gold gained by best of {last['n']}", last["gold"], signed),
        ("Of what the gold's picks gain", last["attained"], percent),
    )
    numbers = [
        Highlight(label, form(figure["value"]), interval(figure, form))
        for label, figure, form in shown
        if figure is not None
    ]
    counts = Highlight(
        "Measured on", counted(summary["prompts"], "prompt"), counted(summary["samples"], "sample")
    )
    return (*numbers, counts)


def _variance(caption: str, record: UnderPolicyRecord) -> Table:
    shown = (
        ("Mean reward", record["mean"], plain),
        ("Variance within prompts", record["variance"], plain),
        ("Its share of all variance", record["within"], percent),
        ("Flat prompts", record["flat"], percent),
        ("Agreement with the gold on pairs", record["agreement"], percent),
    )
    rows = [
        Row(label, (form(figure["value"]), interval(figure, form)))
        for label, figure, form in shown
        if figure is not None
    ]
    return Table(caption, ("", "value", INTERVAL), tuple(rows))


def _picks(caption: str, record: UnderPolicyRecord) -> Table:
    """Best-of-n by the reward at each n, and beside it what length and the gold itself pick."""
    with_gold = "gold" in record["picks"]
    columns = ["n", "KL ≤", "own gain"]
    if with_gold:
        columns += ["gold's gain", "of attainable", "gold by length", "gold by the gold"]
    rows = []
    for place, pick in enumerate(record["picks"]["reward"]):
        cells = [f"{pick['kl']:.2f}", _cell(pick["reward"], signed)]
        if with_gold:
            by = [record["picks"][name][place]["gold"] for name in ("length", "gold")]
            cells += [_cell(pick["gold"], signed), _cell(pick["attained"], percent)]
            cells += [UNDEFINED if figure is None else signed(figure["value"]) for figure in by]
        cells.append(f"{pick['length']['value']:,.0f}")
        rows.append(Row(f"{pick['n']}", tuple(cells)))
    return Table(caption, (*columns, "characters"), tuple(rows), wide=True)


def _cell(figure: FigureRecord | None, form: Callable[[float], str]) -> str:
    if figure is None:
        return UNDEFINED
    ends = interval(figure, form) if figure["low"] != figure["high"] else ""
    return form(figure["value"]) + (f" ({ends})" if ends else "")


def _unbroken(sentence: str) -> str:
    return sentence.replace(" %", f"{NBSP}%")
