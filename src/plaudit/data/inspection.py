"""What is in preference data, before anything is trained on it: counts, lengths, faults, skew.

One pass over the rankings, in memory that does not grow with their text: what must be told apart
(prompts, completions, pairs) is kept as 8-byte hashes, lengths as a histogram. What is counted here
is what later spoils a reward model: contradictions, repeated prompts, and longer answers winning.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from plaudit.data.cells import characters
from plaudit.data.rankings import Ranking, text_key
from plaudit.data.readers import Rankings
from plaudit.data.rows import place

EXAMPLES = 3  # of rejected rows, for each reason
LISTED = 12  # categories and models, in the text


def inspect_rankings(rankings: Rankings | Sequence[Ranking]) -> dict[str, Any]:
    """Everything worth knowing about `rankings`, as a dict that can be written as JSON.

    Lengths are in characters. `longer_is_better` is the share of strictly ordered pairs in which
    the better completion is the longer one, equal lengths counting half: what a reward model that
    knows nothing but length would get right.

    >>> report = inspect_rankings([Ranking("2+2?", ["4", "four", "5"], [0, 0, 1])])
    >>> report["pairs"], report["ties"]["pairs"], report["longer_is_better"]
    (2, 1, 0.75)
    """
    if not isinstance(rankings, Rankings):
        rankings = Rankings.from_list(rankings)
    count = pairs = tied_rankings = tied_pairs = completions = 0
    longer = 0.0
    sizes: Counter[int] = Counter()
    prompt_lengths: Counter[int] = Counter()
    lengths: Counter[int] = Counter()
    categories: Counter[str] = Counter()
    models: Counter[str] = Counter()
    prompts: dict[int, bool] = {}  # hash → whether it came more than once
    prompt_of: dict[int, int] = {}  # hash of a completion → that of its prompt, or MANY
    pairs_seen: set[int] = set()
    repeated_pairs = 0
    # `iter`, since a stream has no length to show progress by.
    for ranking in iter(rankings):
        k = len(ranking.completions)
        better = ranking.pairs()
        of_ranking = [characters(text) for text in ranking.completions]
        count, completions, pairs = count + 1, completions + k, pairs + len(better)
        sizes[k] += 1
        tied = k * (k - 1) // 2 - len(better)
        tied_rankings, tied_pairs = tied_rankings + bool(tied), tied_pairs + tied
        prompt_lengths[characters(ranking.prompt)] += 1
        lengths.update(of_ranking)
        longer += sum(
            (of_ranking[i] > of_ranking[j]) + (of_ranking[i] == of_ranking[j]) / 2
            for i, j in better
        )
        prompt = hash(ranking.key)
        prompts[prompt] = prompt in prompts
        hashes = [hash(text_key(text)) for text in ranking.completions]
        for completion in hashes:
            if prompt_of.setdefault(completion, prompt) != prompt:
                prompt_of[completion] = MANY
        for i, j in better:
            pair = hash((prompt, hashes[i], hashes[j]))
            repeated_pairs += pair in pairs_seen
            pairs_seen.add(pair)
        if ranking.categories:
            categories.update(name for name in ranking.categories if name)
        elif ranking.category:
            categories[ranking.category] += 1
        models.update(name for name in ranking.models or () if name)
    return {
        "files": rankings.files,
        "format": rankings.format,
        "columns": rankings.columns,
        "rows": rankings.rows_read,
        "rankings": count,
        "prompts": len(prompts),
        "completions": completions,
        "pairs": pairs,
        "completions_per_ranking": {str(k): sizes[k] for k in sorted(sizes)},
        "ties": {"rankings": tied_rankings, "pairs": tied_pairs},
        "prompt_characters": _lengths(prompt_lengths),
        "completion_characters": _lengths(lengths),
        "longer_is_better": longer / pairs if pairs else None,
        "duplicates": {
            "prompts_in_several_rankings": sum(prompts.values()),
            "completions_under_several_prompts": sum(p == MANY for p in prompt_of.values()),
            "repeated_pairs": repeated_pairs,
        },
        "contradictions": sum(
            number
            for reason, number in rankings.rejected_by_reason.items()
            if reason.startswith("contradiction")
        ),
        "prompts_not_adjacent": rankings.prompts_not_adjacent,
        "rejected": _rejected(rankings),
        "categories": dict(categories.most_common()),
        "models": dict(models.most_common()),
    }


# No hash: `hash` of text is a 64-bit number.
MANY = 1 << 64


def _lengths(histogram: Counter[int]) -> dict[str, int]:
    """Median, 95th percentile and maximum: the least length that covers so many (nearest rank)."""
    total, reached = sum(histogram.values()), 0
    wanted = {"median": 0.5, "p95": 0.95, "max": 1.0}
    found: dict[str, int] = {}
    for length in sorted(histogram):
        reached += histogram[length]
        for name, share in wanted.items():
            if name not in found and reached >= share * total:
                found[name] = length
    return found


def _rejected(rankings: Rankings) -> dict[str, Any]:
    examples: dict[str, list[str]] = {}
    details: dict[str, set[str]] = {}
    for item in rankings.rejected:
        kind, _, detail = item.reason.partition(": ")
        of_kind = examples.setdefault(kind, [])
        if len(of_kind) < EXAMPLES:
            of_kind.append(place(item.file, item.line))
            details.setdefault(kind, set()).add(detail)
    return {
        reason: {
            "rows": number,
            "examples": examples.get(reason, []),
            "details": sorted(details.get(reason, set()) - {""}),
        }
        for reason, number in rankings.rejected_by_reason.most_common()
    }


def format_inspection(report: dict[str, Any]) -> str:
    """The report of `inspect_rankings` as text for a person."""
    lines: list[str] = []

    def add(name: str, value: Any) -> None:
        lines.append(f"{name:<24}{value:,}" if isinstance(value, int) else f"{name:<24}{value}")

    files = report["files"]
    if files:
        add("data", files[0] + (f" and {len(files) - 1} more" if len(files) > 1 else ""))
    columns = ", ".join(
        ours if ours == theirs else f"{ours} from '{theirs}'"
        for ours, theirs in report["columns"].items()
    )
    add("format", report["format"] + (f" ({columns})" if columns else ""))
    for name in ("rows", "rankings", "prompts", "completions", "pairs"):
        add(name, report[name])
    sizes = report["completions_per_ranking"]
    add("completions a ranking", ", ".join(f"{k}: {number:,}" for k, number in sizes.items()))
    ties = report["ties"]
    add("ties", f"{ties['pairs']:,} pairs in {ties['rankings']:,} rankings")
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
    repeated = report["duplicates"]
    add(
        "repeated",
        f"{repeated['prompts_in_several_rankings']:,} prompts in several rankings, "
        f"{repeated['completions_under_several_prompts']:,} completions under several prompts, "
        f"{repeated['repeated_pairs']:,} pairs",
    )
    add("contradictions", report["contradictions"])
    if report["prompts_not_adjacent"]:
        add(
            "not adjacent",
            f"prompts came back {report['prompts_not_adjacent']:,} times; sort the "
            "file by prompt, or read without --streaming",
        )
    for name in ("categories", "models"):
        named = report[name]
        if named:
            listed = [f"{one} {number:,}" for one, number in list(named.items())[:LISTED]]
            more = [f"and {len(named) - LISTED} more"] if len(named) > LISTED else []
            add(name, ", ".join(listed + more))
    rejected = report["rejected"]
    add("rows rejected", sum(reason["rows"] for reason in rejected.values()))
    for reason, told in rejected.items():
        where = f" ({', '.join(told['examples'])})" if told["examples"] else ""
        what = ": ".join([reason, "; ".join(told["details"])]) if told["details"] else reason
        lines.append(f"  {told['rows']:,} × {what}{where}")
    return "\n".join(lines)
