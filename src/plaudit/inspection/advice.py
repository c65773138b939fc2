"""What an inspection found, in words: the facts, and what to do about them, weightiest first.

Takes the report of `inspection.inspect_rankings` and reads no data. Advice begins at the thresholds
named below, so that clean data get a clean bill; what lies below them still stands in the facts.
"""

import shlex
from collections.abc import Iterator
from typing import Any, NamedTuple

from plaudit import console
from plaudit.data.cells import excerpt
from plaudit.data.grouping import NOT_COUNTED
from plaudit.data.parse import BELOW_ZERO
from plaudit.data.rankings import TIED
from plaudit.evaluation.agreement import agreement_sentence
from plaudit.inspection.flaws import NO_FULL_STOP
from plaudit.model.base_models import EMBEDDED
from plaudit.model.encoding import EQUAL, too_many_equal

LISTED = 12  # categories and models, in the text
SHOWN = 10  # of the pairs most likely to be mislabelled, in the text

# From where on a finding is worth a word; shares of rows, completions or pairs.
REJECTED = 0.01
SKEWED = 0.1  # of the share of pairs whose better completion is longer, from a half
FLAWED = 0.01
MANY = 0.1  # that look cut off, where the better and the worse do as often
ALIKE = 0.005
CANNED = 0.05


RANK_OR_RATING = (
    "; that is rare: see that the lowest rank is the best one, and otherwise read it as a rating "
    "with --columns rating=NAME"
)


class Advice(NamedTuple):
    """One finding and what to do about it; `mend` where it is a fault, and not only worth knowing.

    A fault spoils what is learnt or measured as long as it stands.
    """

    finding: str
    advice: str
    command: str = ""
    mend: bool = True


def advise(report: dict[str, Any]) -> list[Advice]:
    """What to do, the findings that matter most first; nothing for clean data.

    >>> from plaudit.inspection.rankings import inspect_rankings
    >>> from plaudit.data.rankings import Ranking
    >>> advise(inspect_rankings([Ranking("2+2?", ["4", "5"], [0, 1])]))
    []
    """
    return list(_advise(report))


def _are(count: int, what: str) -> str:
    return f"{console.counted(count, what)} {'is' if count == 1 else 'are'}"


def _faulty_rows(report: dict[str, Any]) -> int:
    """How many rows were rejected for a fault of their own."""
    return sum(
        told["rows"]
        for kind, told in report["rejected"].items()
        if kind not in (*NOT_COUNTED, EQUAL, TIED) and not kind.startswith("contradiction")
    )


def _advise(report: dict[str, Any]) -> Iterator[Advice]:
    data = data_in_words(report)
    # First what makes figures worthless, then what teaches falsely, then what wastes or weakens.
    for shared in report["shared_prompts"]:
        number = shared["same"] + shared["nearly_the_same"]
        if number:
            yield Advice(
                f"{number:,} of the {shared['prompts']:,} prompts of {shared['second']} "
                f"{'is' if number == 1 else 'are'} also in {shared['first']}",
                "take them out of one side, or every figure measured there is too good",
            )
    cycles = report["cycles"]
    if cycles["pairs"]:
        yield Advice(
            f"{cycles['pairs']:,} pairs of {console.counted(cycles['prompts'], 'prompt')} "
            "contradict each other",
            "at least one row of each example is wrong: judge them anew, or leave them out",
        )
    if report["contradictions"]:
        yield Advice(
            f"{report['contradictions']:,} rows contradict another row of their prompt"
            f"{_first_contradiction(report)}, and none of these is used",
            "find out which is right and take the other out; where several people judged, say who "
            "in a column annotator, as people may differ",
            f"plaudit inspect {data}{_of_model(report)} --rejected rejected.jsonl",
        )
    labels = report.get("mislabelled")
    doubtful = labels is not None and labels["judge"]["above_length"]["value"] <= 0
    if labels and labels["suspects"] and not doubtful:
        yield _about_suspects(report, data)
    rejected = _faulty_rows(report)
    if rejected > REJECTED * report["rows"]:
        yield Advice(
            f"{rejected:,} of {report['rows']:,} rows cannot be used",
            "see the reasons above; --rejected FILE writes each with its line",
            f"plaudit inspect {data}{_of_model(report)} --rejected rejected.jsonl",
        )
    yield from _about_model(report)
    yield from _about_lengths(report)
    if below := report["notes"].get(BELOW_ZERO):
        yield Advice(
            f"in {console.counted(below, 'row')} a rank is below 0",
            "see that it does not stand for “not ranked”: it is read as better than 0 or more",
            mend=False,
        )
    refused = report["refused"]
    if refused["share_of_best"] >= max(FLAWED, refused["share_of_worst"]):
        yield Advice(
            f"{refused['share_of_best']:.1%} of the best completions look refused, of the worst "
            f"{refused['share_of_worst']:.1%}",
            "see that this is meant: the model will learn to prefer refusing",
            mend=False,
        )
    yield from _about_cut_off(report)
    near = report["near_duplicates"]
    if near["prompts"]["groups"]:
        yield Advice(
            f"{near['prompts']['texts']:,} prompts are nearly the same as another "
            f"({_groups(near['prompts'])})",
            "a split goes by the exact prompt and may part a group, so that figures measured there "
            "are too good: keep one prompt of each group, or divide the data yourself and give "
            "train --validation-data and --test-data. All groups stand in the JSON, under "
            "near_duplicates.prompts.places",
            f"plaudit inspect {data}{_of_model(report)} --json > inspect.json",
        )
    if near["pairs"] > ALIKE * report["pairs"]:
        yield Advice(
            f"the completions of {console.counted(near['pairs'], 'pair')} are nearly the same",
            "look whether a judge could tell them apart; otherwise drop the pair or call it a tie",
            mend=False,
        )
    repeated = report["duplicates"]
    if repeated["repeated_pairs"]:
        yield Advice(
            f"{_are(repeated['repeated_pairs'], 'pair')} given more than once",
            "keep one of each, or mean it: a pair counts as often as it stands there",
            mend=False,
        )
    canned = repeated["completions_under_several_prompts"]
    if canned > CANNED * report["completions"]:
        yield Advice(
            f"{_are(canned, 'completion')} given under several prompts",
            "see that they are not stock answers, which a model can learn by heart",
            mend=False,
        )
    tied = report["rejected"].get(TIED, {"rows": 0})["rows"]
    if tied > REJECTED * report["rows"]:
        yield Advice(
            f"{tied:,} of {report['rows']:,} rows are of prompts whose completions are all tied",
            "they are left out, as they call nothing better: a tie is no fault",
            mend=False,
        )
    if report["prompts_not_adjacent"]:
        yield Advice(
            f"prompts came back {report['prompts_not_adjacent']:,} times after other prompts",
            "sort the file by prompt, or read without --streaming",
            f"plaudit inspect {data} --no-streaming",
        )
    if labels and labels["suspects"] and doubtful:
        yield _about_suspects(report, data)


def _first_contradiction(report: dict[str, Any]) -> str:
    """Where the first rows that contradict each other stand, in brackets; empty if unknown."""
    places = [
        place
        for kind, told in report["rejected"].items()
        if kind.startswith("contradiction")
        for place in told["examples"]
    ]
    return f" ({', '.join(places[:2])})" if places else ""


def _about_suspects(report: dict[str, Any], data: str) -> Advice:
    """Labels that a judge finds wrong: a fault where it is better than length, else to be known."""
    labels = report["mislabelled"]
    weak = labels["judge"]["above_length"]["value"] <= 0
    file, predictions = labels.get("suspects_file"), labels.get("predictions")
    read = f"read {file or 'the suspects'} from the top and mend or drop those that are wrong, "
    better = f"plaudit cv {data} -o runs/cv"
    by = f"--predictions {shlex.quote(predictions)}" if predictions else "--mislabelled"
    written = f"plaudit inspect {data} {by} --suspects suspects.jsonl"
    return Advice(
        f"about {labels['expected']:,.0f} of {labels['pairs']:,} pairs are probably labelled "
        "the wrong way round" + (", says a judge no better than length" if weak else ""),
        read
        + "until most of what you read is right"
        + ("; with --predictions of a better model the list gets better, too" if weak else ""),
        (better if weak else "") if file else written,
        mend=not weak,
    )


def _about_lengths(report: dict[str, Any]) -> Iterator[Advice]:
    share = report["length_skew"]["longer"]
    # Twice the standard error of a share of a half: below that it may be chance. It is over
    # prompts, since the pairs of one prompt share their completions and go the same way.
    if share is None or abs(share - 0.5) < max(SKEWED, report["prompts"] ** -0.5):
        return
    longer = share > 0.5
    yield Advice(
        f"the {'longer' if longer else 'shorter'} completion is the better one in "
        f"{share if longer else 1 - share:.0%} of the pairs",
        f"hold accuracy against that figure, and add pairs whose "
        f"{'shorter' if longer else 'longer'} completion is the better one"
        + "; or see what it costs and gains to take length out of training"
        + ("" if longer or "rank" not in report["columns"] else RANK_OR_RATING),
        f"plaudit frontier {data_in_words(report)}",
        # A rank that is a rating turns all labels round.
        mend=not longer and "rank" in report["columns"],
    )


def _about_cut_off(report: dict[str, Any]) -> Iterator[Advice]:
    truncated = report["truncated"]
    if truncated["share"] < FLAWED:
        return
    best, worst = truncated["share_of_best"], truncated["share_of_worst"]
    # Many a text ends without a full stop: alone that is a sign only where it goes with the labels.
    signs = sum(n for sign, n in truncated["signs"].items() if sign != NO_FULL_STOP)
    differ = _differ(best, worst, report["prompts"])
    mend = differ or signs >= MANY * report["completions"]
    if not mend and signs < FLAWED * report["completions"]:
        return
    advice = "look at the examples above, whether they are"
    if mend:
        advice = "generate them anew with a higher limit, or drop them"
    if differ:
        advice += f": the model learns that no end is {'worse' if worst > best else 'better'}"
    yield Advice(
        f"{truncated['share']:.1%} of the completions look cut off, {best:.1%} of the best and "
        f"{worst:.1%} of the worst",
        advice,
        mend=mend,
    )


def _differ(one: float, other: float, number: int) -> bool:
    """Whether two shares of `number` each differ by more than chance may make them.

    The 95 % interval of Agresti and Caffo (2000), with one of each kind added to both, which holds
    for few and rare ones, too. It is over prompts, since the completions of one go together.

    >>> _differ(0, 4 / 240, 240), _differ(0, 12 / 240, 240), _differ(1, 0, 3)
    (False, True, True)
    """
    shares = [(share * number + 1) / (number + 2) for share in (one, other)]
    error = sum(share * (1 - share) / (number + 2) for share in shares) ** 0.5
    return abs(shares[0] - shares[1]) > 1.96 * error


def data_in_words(report: dict[str, Any]) -> str:
    """The files as words of a shell's command, with the flags that they were read with."""
    return " ".join([shlex.join(report["files"]) or "DATA", *map(shlex.quote, report["read_with"])])


def _of_model(report: dict[str, Any]) -> str:
    """The options that name the model whose view was taken, where one was."""
    seen = report.get("model_sees")
    if not seen:
        return ""
    return f" --{'model' if seen['trained'] else 'base'} {shlex.quote(seen['model'])}"


def _about_model(report: dict[str, Any]) -> Iterator[Advice]:
    seen = report.get("model_sees")
    if not seen:
        return
    counts, longest, reads = seen["counts"], seen["longest"], seen["reads"]
    enough = longest if reads is None else min(longest, reads)
    base, longer = shlex.quote(seen["model"]), ""
    raise_it = f"take a base model that reads {longest:,} tokens{_that_reads_more(reads)}"
    raise_it += ", or shorten the texts"
    if seen["max_length"] < enough:
        raise_it = f"raise --max-length to {enough}, " + (
            "what the longest takes" if enough == longest else "all that the model reads"
        )
        longer = f"plaudit train {data_in_words(report)} --base {base} --max-length {enough}"
    cut, unknown = counts.get("equal_truncated", 0), counts.get("equal_unknown", 0)
    other = counts.get("equal_left_out", 0)
    pairs = counts.get("pairs", 0)
    mend = too_many_equal(counts)  # as the check of training has it
    if cut > FLAWED * pairs:
        yield Advice(
            f"{cut:,} of {pairs:,} pairs are the same tokens after truncation",
            raise_it,
            longer,
            mend=mend,
        )
    if unknown + other > FLAWED * pairs:
        yield Advice(
            f"{unknown + other:,} of {pairs:,} pairs are the same tokens to the model",
            "look at some with --show: another base model, or --template plain, may keep what they "
            "differ in",
            f"plaudit inspect {data_in_words(report)}{_of_model(report)} --show 3",
            mend=mend,
        )
    worse, better = counts.get("only_worse_cut", 0), counts.get("only_better_cut", 0)
    if worse - better > FLAWED * pairs:
        yield Advice(
            f"in {console.counted(worse, 'pair')} only the worse completion loses its end to "
            f"truncation, in {better:,} only the better one",
            f"{raise_it}: otherwise the model learns that what has no end is worse",
            longer,
            mend=False,
        )
    elif counts.get("truncated", 0) > FLAWED * counts.get("completions", 0) and not cut:
        yield Advice(
            f"{_are(counts['truncated'], 'completion')} truncated to {seen['max_length']:,} tokens",
            raise_it,
            longer,
            mend=False,
        )


def _that_reads_more(than: int | None) -> str:
    """The embedded model that reads most, where that is more than so many tokens."""
    name, embedded = max(EMBEDDED.items(), key=lambda item: item[1].reads)
    if than is None or embedded.reads <= than:
        return ""
    return f" (embedded:{name} reads {embedded.reads:,})"


def verdict(report: dict[str, Any]) -> dict[str, str]:
    """What to do first: mend the weightiest fault, else train, knowing what else was found.

    >>> from plaudit.inspection.rankings import inspect_rankings
    >>> from plaudit.data.rankings import Ranking
    >>> verdict(inspect_rankings([Ranking("2+2?", ["4", "5"], [0, 1])]))["command"]
    'plaudit train DATA'
    """
    found = advise(report)
    if first := next((one for one in found if one.mend), None):
        return {"text": f"mend first: {first.finding}: {first.advice}", "command": first.command}
    seen = report.get("model_sees")
    base = f" --base {shlex.quote(seen['model'])}" if seen else ""
    known = f"; know that {found[0].finding}: {found[0].advice}" if found else ""
    return {
        "text": f"ready to train on{known}",
        "command": f"plaudit train {data_in_words(report)}{base}",
    }


def format_inspection(report: dict[str, Any]) -> str:
    """The report of `inspect_rankings` as text for a person, with what to do at the end."""
    lines: list[str] = []

    def add(name: str, value: Any) -> None:
        lines.append(_line(name, value))

    files = report["files"]
    if files:
        add("data", files[0] + (f" and {len(files) - 1} more" if len(files) > 1 else ""))
    columns = ", ".join(
        ours if ours == theirs else f"{ours} from '{theirs}'"
        for ours, theirs in report["columns"].items()
    )
    add("format", report["format"] + (f" ({columns})" if columns else ""))
    lines += [f"  {count:,} × {note}" for note, count in report["notes"].items()]
    add("better", report["better"])
    if report["unused_columns"]:
        add("columns not used", ", ".join(map(excerpt, report["unused_columns"])))
    for name in ("rows", "rankings", "prompts", "completions", "pairs"):
        add(name, report[name])
    sizes = report["completions_per_ranking"]
    add("completions a ranking", ", ".join(f"{k}: {number:,}" for k, number in sizes.items()))
    ties = report["ties"]
    tied, those = (console.counted(ties[f"{what}s"], what) for what in ("pair", "ranking"))
    add("ties", f"{tied} in {those}")
    for name in ("prompt", "completion"):
        sized = report[f"{name}_characters"]
        add(
            f"{name} length",
            f"median {sized['median']:,}, 95 % up to {sized['p95']:,}, longest {sized['max']:,} "
            "characters",
        )
    share = report["longer_is_better"]
    if share is not None:
        add(
            "longer is better",
            f"in {share:.1%} of the pairs, what a model that only measures length would get right",
        )
        lines += _about_skew(report["length_skew"])
    repeated = report["duplicates"]
    add(
        "repeated",
        f"{console.counted(repeated['prompts_in_several_rankings'], 'prompt')} in several "
        f"rankings, {console.counted(repeated['completions_under_several_prompts'], 'completion')} "
        f"under several prompts, {console.counted(repeated['repeated_pairs'], 'pair')}",
    )
    lines += _about_duplicates(report)
    add("contradictions", report["contradictions"])
    lines += _about_cycles(report)
    if report["annotators"]:
        add("annotators", _about_annotators(report["annotators"]))
    for name, what in (("truncated", "look cut off"), ("refused", "look refused")):
        lines += _about_flaws(name, what, report[name])
    for shared in report["shared_prompts"]:
        lines += _about_shared(shared)
    if report["prompts_not_adjacent"]:
        add("not adjacent", f"prompts came back {report['prompts_not_adjacent']:,} times")
    for name in ("categories", "models"):
        named = report[name]
        if named:
            listed = [f"{excerpt(one)} {number:,}" for one, number in list(named.items())[:LISTED]]
            more = [f"and {len(named) - LISTED} more"] if len(named) > LISTED else []
            add(name, ", ".join(listed + more))
    rejected = report["rejected"]
    besides = {kind for kind in rejected if kind in (*NOT_COUNTED, EQUAL)}
    add("rows rejected", sum(rejected[kind]["rows"] for kind in rejected.keys() - besides))
    # Copies and such are in the file of rejected rows too, but cost nothing that says something.
    for reason in sorted(rejected, key=lambda kind: kind in besides):
        told = rejected[reason]
        where = f" ({', '.join(told['examples'])})" if told["examples"] else ""
        what = ": ".join([reason, "; ".join(told["details"])]) if told["details"] else reason
        lead = "besides, " if reason in besides else ""
        lines.append(f"  {lead}{told['rows']:,} × {what}{where}")
    if "mislabelled" in report:
        lines += _about_labels(report["mislabelled"])
    if "model_sees" in report:
        from plaudit.inspection.model_view import format_view  # which needs torch

        lines += format_view(report["model_sees"])
    found = advise(report)
    for heading, mend in (("what to mend", True), ("what to know", False)):
        some = [one for one in found if one.mend == mend]
        if some or mend:
            lines += ["", heading]
        lines += [f"{n:>3}. {one.finding}: {one.advice}." for n, one in enumerate(some, start=1)]
        if mend and not some:
            few = _faulty_rows(report)
            own = "a fault of its own" if few == 1 else "faults of their own"
            but = f" but {console.counted(few, 'row')} with {own}, rejected above" if few else ""
            lines.append(f"  nothing: no fault found that is looked for{but}")
    conclusion = verdict(report)
    lines += ["", f"verdict: {conclusion['text']}"]
    if conclusion["command"]:
        lines.append(f"  {conclusion['command']}")
    return "\n".join(lines)


def _line(name: str, value: Any) -> str:
    return f"{name:<24}{value:,}" if isinstance(value, int) else f"{name:<24}{value}"


def _about_skew(skew: dict[str, Any]) -> list[str]:
    size = skew["effect_size"]
    if size is None:
        return []
    # Cohen's own words for his d: small from 0.2, medium from 0.5, large from 0.8 on.
    sizes = ((0.8, "a large"), (0.5, "a medium"), (0.2, "a small"))
    word = next((word for least, word in sizes if abs(size) >= least), "next to no")
    lines = [
        f"  the better one is {_signed(skew['mean_difference'])} characters longer on average, "
        f"{_signed(skew['median_difference'])} in the middle: {word} effect (d = {size:.2f})"
    ]
    extremes = sorted(
        ((one["longer"], name) for name, one in skew["by_category"].items() if one["pairs"] >= 10),
        reverse=True,
    )
    if len(extremes) > 1:
        (most, name), (least, other) = extremes[0], extremes[-1]
        most_in, least_in = excerpt(name), excerpt(other)
        lines.append(f"  most in {most_in} ({most:.0%} longer), least in {least_in} ({least:.0%})")
    return lines


def _signed(number: float) -> str:
    return f"{number:+,.0f}"


def _about_duplicates(report: dict[str, Any]) -> list[str]:
    near = report["near_duplicates"]
    lines = [
        _line(
            "nearly the same",
            f"{near['prompts']['texts']:,} prompts in {_groups(near['prompts'])}, "
            f"{near['completions']['texts']:,} completions in {_groups(near['completions'])}, "
            f"the two sides of {console.counted(near['pairs'], 'pair')}",
        )
    ]
    for what in ("prompts", "completions"):
        for group in near[what]["examples"]:
            texts = list(dict.fromkeys(one["text"] for one in group))
            places = dict.fromkeys(one["at"] for one in group if one["at"])
            more = ", …" * (len(group) > len(places) or near[what]["largest"] > len(group))
            lines.append(f"  {what} like “{texts[0]}” ({', '.join(places)}{more})")
    for one in near["pair_examples"]:
        lines.append(f"  “{one['better']}” over “{one['worse']}” ({one['at']})")
    return lines


def _groups(near: dict[str, Any]) -> str:
    return f"{near['groups']:,} group{'s' * (near['groups'] != 1)}"


def _quoted(one: dict[str, str]) -> str:
    return f"“{one['text']}”" + (f" ({one['at']})" if one["at"] else "")


def _about_cycles(report: dict[str, Any]) -> list[str]:
    cycles = report["cycles"]
    lines = [
        _line(
            "between rankings",
            f"{console.counted(cycles['contradictions'], 'contradiction')}, "
            f"{console.counted(cycles['cycles'], 'longer cycle')}, "
            f"in {console.counted(cycles['prompts'], 'prompt')}",
        )
    ]
    for one in cycles["examples"]:
        steps = [*one["completions"], one["completions"][0]]
        where = ", ".join(dict.fromkeys(place for place in one["at"] if place))
        order = " > ".join(f"“{text}”" for text in steps)
        lines.append(f"  “{one['prompt']}”: {order}" + (f" ({where})" if where else ""))
    return lines


def _about_annotators(annotators: dict[str, Any]) -> str:
    agreement = annotators["agreement"]
    told = agreement_sentence(agreement) if agreement else "No two of them judged the same pair."
    return f"{annotators['number']:,}. {told}"


def _about_flaws(name: str, what: str, flaws: dict[str, Any]) -> list[str]:
    lines = [
        _line(
            name,
            f"{console.counted(flaws['completions'], 'completion')} {what}: "
            f"{flaws['share_of_best']:.1%} of the best and {flaws['share_of_worst']:.1%} of the "
            "worst of their rankings",
        )
    ]
    for sign, number in flaws["signs"].items():
        if number:
            lines.append(f"  {number:,} × {sign}")
            lines += [f"      {_quoted(one)}" for one in flaws["examples"][sign]]
    return lines


def _about_shared(shared: dict[str, Any]) -> list[str]:
    lines = [
        _line(
            "shared prompts",
            f"{shared['same']:,} of the {shared['prompts']:,} prompts of {shared['second']} are in "
            f"{shared['first']}, {shared['nearly_the_same']:,} more are nearly the same as one",
        )
    ]
    for one in shared["examples"]:
        like = f"“{one['like']}” " if one["like"] != one["text"] else ""
        lines.append(f"  {_quoted(one)}: {like}({one['like_at']})")
    return lines


def _about_labels(labels: dict[str, Any]) -> list[str]:
    judged, above = (labels["judge"][k]["value"] for k in ("pairwise_accuracy", "above_length"))
    lines = [
        _line(
            "mislabelled",
            f"about {labels['expected']:,.0f} of {labels['pairs']:,} pairs "
            f"({labels['noise_rate']:.1%}), by rewards that get {judged:.1%} of them right, "
            f"{_above(above)} preferring the longer; the likeliest:",
        )
    ]
    for one in labels["examples"][:SHOWN]:
        others = "".join(
            f"; the {which} one won {won} of {console.counted(of, 'comparison')} in other rankings"
            for which, (won, of) in (("first", one["better_won"]), ("second", one["worse_won"]))
            if of
        )
        lines.append(
            f"  {one['probability']:.0%} {one['origin']}: “{one['better']}” over “{one['worse']}”, "
            f"rewards {one['reward_better']:.2f} and {one['reward_worse']:.2f}{others}"
        )
    return lines


def _above(share: float) -> str:
    """How far an accuracy is above another one, in words.

    >>> _above(0.034), _above(-0.05), _above(0.0)
    ('3.4 points above', '5.0 points below', 'as many as')
    """
    points = f"{100 * abs(share):.1f}"
    if points == "0.0":
        return "as many as"
    return f"{points} points {'above' if share > 0 else 'below'}"
