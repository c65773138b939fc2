"""The road of `plaudit verify`: the rows, the model alone, then each peer on the same rows.

A peer is asked for all rows together and for some of them alone. Where a reward is another one by
more than the tolerance, or two completions of a prompt change places, the peer does not pass, and
the rows are named with what was found to be the cause. Rows that the model reads only in part are
told apart: programs cut in ways of their own.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from plaudit.console import counted, progress, say
from plaudit.errors import PlauditError
from plaudit.files import SCHEMA_VERSION
from plaudit.model.reward_model import RewardModel
from plaudit.results import (
    AloneRecord,
    CauseRecord,
    PeerRecord,
    RowRecord,
    VerificationRecord,
)
from plaudit.verification.alone import (
    CHECKS,
    SOME,
    Scale,
    check_alone,
    differences,
    raw,
    score_rows,
    turned_pairs,
)
from plaudit.verification.causes import Cause, Parted, find_causes
from plaudit.verification.peers import PEERS, RefusedError, There
from plaudit.verification.rows import Row, made_rows, read_rows

SHOWN = 3  # rows of a peer that does not pass, the largest differences first
MARKS = {True: "ok", False: "FAIL", None: "note"}


@dataclass(frozen=True)
class Verification:
    """Whether the rewards are the same here and there; `passed` is the exit code's."""

    record: VerificationRecord

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return self.record["passed"]

    def as_json(self) -> VerificationRecord:
        """What `--json` prints."""
        return self.record

    def __str__(self) -> str:
        record = self.record
        lines = [f"{record['model']}, {counted(record['rows'], 'row')}", "", "the model alone"]
        width = max(len(check["name"]) for check in record["alone"])
        for check in record["alone"]:
            mark = MARKS[check["passed"]]
            lines.append(f"  {mark:4}  {check['name']:{width}}  {check['seen']}")
        for peer in record["peers"]:
            lines += ["", *_lines(peer, record["tolerance"])]
        verdict = "the rewards are the same" if self.passed else "NOT the same: see FAIL above"
        if not record["peers"]:
            verdict = "nothing failed" if self.passed else "failed: see FAIL above"
        return "\n".join([*lines, "", verdict])


def _lines(peer: PeerRecord, tolerance: float) -> Iterator[str]:
    yield f"against {peer['name']}"
    compared = peer["rows"] - peer["refused"] - peer["cut"]
    if compared:
        yield (
            f"  {MARKS[not peer['parted']]:4}  reward  largest difference {peer['largest']:.2g}, "
            f"99th percentile {peer['percentile_99']:.2g}, where rewards have a standard deviation "
            f"of {peer['spread']:.3g}; {peer['parted']} of {counted(compared, 'row')} beyond "
            f"{tolerance:g} of that"
        )
        yield (
            f"  {MARKS[not peer['turned']]:4}  order   {peer['turned']} of "
            f"{counted(peer['pairs'], 'pair')} of completions of one prompt change places"
        )
    else:
        yield "  FAIL  nothing could be compared"
    if peer["refused"]:
        yield f"  FAIL  {counted(peer['refused'], 'row')} refused there, or without a number"
    if peer["cut"]:
        yield (
            f"  note  {counted(peer['cut'], 'row')} of {peer['rows']} longer than is read here: "
            "not compared; plaudit keeps the completion and the end of the prompt, truncation of "
            "transformers cuts elsewhere, and so gives such rows other rewards"
        )
    yield from (f"  note  {note}" for note in peer["notes"])
    for cause in peer["causes"]:
        yield f"  why   {cause['name']}: {cause['says']} ({counted(cause['rows'], 'row')})"
    if peer["parted"] and not peer["causes"]:
        yield (
            "  why   not known: no guess explains it (template, BOS, ending, truncation, pooling, "
            "padding, dtype, bias, label order); has it the same weights, tokenizer and template?"
        )
    for row in peer["examples"]:
        there = row.get("refused") or f"{row['there']:.6g}"
        yield f"        {row['here']:.6g} here, {there} there: {row['row']}"


def verify(
    model: RewardModel,
    name: str,
    against: Sequence[str] = (),
    *,
    data: Any = None,
    rows: int = 200,
    tolerance: float = 1e-4,
    **reading: Any,
) -> Verification:
    """Hold a model's rewards against themselves, and against those that peers give.

    Args:
        model: in float32, as it is loaded of `name`.
        name: a run, a folder or a hub name.
        against: peers, each `NAME` or `NAME=ADDRESS`.
        data: what `plaudit score` reads, of which the first `rows` are scored; None makes some.
        rows: how many completions, of `data` or of those that are made.
        tolerance: how far rewards may be apart, as a share of their standard deviation.
        **reading: `columns` and `encoding`, as `read_rows` takes them.

    Raises:
        PlauditError: when data cannot be read, there is no such peer, or one cannot be reached.
    """
    every = read_rows(data, rows, **reading) if data is not None else made_rows(model)[:rows]
    taken = [row for row in every if model.refusal(row.prompt, [row.completion]) is None]
    if len(taken) < len(every):
        say(f"{counted(len(every) - len(taken), 'row')} refused by the model's own chat template")
    if not taken:
        raise PlauditError(
            "verify: the model's chat template refuses every row; give others with --data"
        )
    taken = [Row(number, r.prompt_number, r.prompt, r.completion) for number, r in enumerate(taken)]
    with ExitStack() as open_peers:  # all are reached before anything takes time
        peers = [open_peers.enter_context(_opened(each, name, model)) for each in against]
        alone = list(progress(check_alone(model, taken), "checking the model alone", len(CHECKS)))
        compared = []
        for peer in peers if len(alone) > 1 else ():  # without rewards there is nothing to compare
            say(f"asking {peer.name}")
            compared.append(_against(model, peer, taken, tolerance))
    passed = all(check.passed is not False for check in alone)
    record = VerificationRecord(
        schema_version=SCHEMA_VERSION,
        model=name,
        passed=passed and all(peer["passed"] for peer in compared),
        rows=len(taken),
        tolerance=tolerance,
        alone=[
            AloneRecord(name=c.name, passed=c.passed, seen=c.seen, measured=c.measured)
            for c in alone
        ],
        peers=compared,
    )
    return Verification(record)


def _opened(given: str, name: str, model: RewardModel) -> AbstractContextManager[There]:
    peer, _, address = given.partition("=")
    return PEERS.get(peer).open(address, name, model)


def _against(model: RewardModel, peer: There, rows: Sequence[Row], tolerance: float) -> PeerRecord:
    """Ask a peer and compare, in the rewards as the weights give them."""
    cut = _cut(model, rows)
    unit: Callable[[float], float] = partial(raw, model) if peer.normalised else float
    rewards, refused, notes = _ask(peer, [row for row in rows if row.number not in cut])
    answered = [row for row in rows if row.number in rewards]
    given = score_rows(model, answered)
    here = np.array([raw(model, reward) for reward in given])
    there = np.array([unit(rewards[row.number]) for row in answered])
    if model.normalisation and not peer.normalised and _are(given, there.tolist(), tolerance):
        notes.append("its rewards are normalised as those of `plaudit score` are")
        unit = partial(raw, model)
        there = np.array([unit(reward) for reward in there.tolist()])
    scale = Scale.of(here.tolist())
    far = differences(here.tolist(), there.tolist())
    same = scale.same(here.tolist(), there.tolist(), tolerance)
    beyond: list[int] = np.flatnonzero(~same).tolist()
    least = 2 * (tolerance * scale.spread + scale.noise)
    pairs, turned = turned_pairs(answered, here.tolist(), there.tolist(), least)
    causes: list[Cause] = []
    if beyond:
        # First what is known: whoever interrupts the search, which may take long, has that.
        say(
            f"{len(beyond)} of {counted(len(answered), 'row')} beyond {tolerance:g} of the "
            f"standard deviation, the largest by {far.max():.2g}; {len(turned)} of "
            f"{counted(pairs, 'pair')} change places; looking for the cause"
        )
        alone = there.copy()
        some = beyond[:: max(len(beyond) // SOME, 1)]
        for place in progress(some, "asking for rows alone"):
            with suppress(RefusedError):
                alone[place] = unit(peer.rewards([answered[place]])[0])
        parted = Parted(model, peer, answered, here, there, alone, here, there, scale, tolerance)
        causes = find_causes(parted.only(beyond))
    examples = [
        RowRecord(row=answered[n].name, here=float(here[n]), there=float(there[n]))
        for n in sorted(beyond, key=lambda n: -far[n])[:SHOWN]
    ]
    for row in [row for row in rows if row.number in refused][:SHOWN]:
        own = raw(model, score_rows(model, [row])[0])
        examples.append(RowRecord(row=row.name, here=own, there=None, refused=refused[row.number]))
    return PeerRecord(
        name=peer.name,
        passed=bool(answered) and not (beyond or turned or refused),
        rows=len(rows),
        parted=len(beyond),
        refused=len(refused),
        cut=len(cut),
        largest=float(far.max()) if answered else None,
        percentile_99=float(np.percentile(far, 99)) if answered else None,
        spread=scale.spread,
        pairs=pairs,
        turned=len(turned),
        notes=notes,
        causes=[CauseRecord(name=c.name, says=c.says, rows=c.rows) for c in causes],
        examples=examples,
    )


def _are(here: Sequence[float], there: Sequence[float], tolerance: float) -> bool:
    """Whether most rewards there are these."""
    return bool(here) and Scale.of(here).same(here, there, tolerance).mean() > 1 / 2


def _ask(peer: There, rows: Sequence[Row]) -> tuple[dict[int, float], dict[int, str], list[str]]:
    """The rewards of rows by their numbers, all asked for at once, or each by itself where that is
    refused; why those have none that are refused, or have no number; and what is to be noted."""
    rewards: dict[int, float] = {}
    refused: dict[int, str] = {}
    notes: list[str] = []
    try:
        found = peer.rewards(rows)
    except RefusedError as together:
        found = []
        for row in progress(rows, "asking for each row alone"):
            try:
                found += peer.rewards([row])
            except RefusedError as error:
                refused[row.number] = str(error)
                found.append(math.nan)
        if not refused:
            notes.append(f"it refuses rows together, and takes each alone: {together}")
    for row, reward in zip(rows, found, strict=True):
        if math.isfinite(reward):
            rewards[row.number] = reward
        else:
            refused.setdefault(row.number, f"{peer.name}: the reward is not a finite number")
    return rewards, refused, notes


def _cut(model: RewardModel, rows: Sequence[Row]) -> set[int]:
    """The numbers of rows of which the model reads only a part."""
    encoded = model.encoding.encode_texts([(row.prompt, [row.completion]) for row in rows])
    return {
        row.number
        for row, of in zip(rows, encoded, strict=True)
        if of["prompt_cut"][0] or of["completion_cut"][0]
    }
