"""What a model will see of preference data: counts of all, and some rankings to the token.

Rankings are encoded as for training. What the chat template or the tokenizer refuses, and what is
the same tokens for all its completions, is left out of the data with the reason, as training does.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from plaudit.console import progress
from plaudit.data.cells import excerpt, excerpt_of_end
from plaudit.data.rankings import Ranking
from plaudit.data.readers import Rankings
from plaudit.model.encoding import (
    Encoding,
    RefusedError,
    count_truncation,
    describe_pairs,
    describe_truncation,
    why_all_equal,
)
from plaudit.model.loading import token_limit
from plaudit.model.reward_model import RewardModel
from plaudit.model.seen import each_encoded
from plaudit.results import ModelView, ShownRanking, ShownRow

POOLED = {"last": "the last token", "cls": "the first token", "mean": "the mean over all tokens"}
WITHOUT_END = 10**9  # tokens: no truncation


def view(rankings: Rankings, model: RewardModel, name: str, show: int = 0) -> ModelView:
    """Count what `model` takes, truncates and sees as equal, and show the first `show` rankings.

    >>> from plaudit import load_rankings
    >>> seen = view(load_rankings("pairs.jsonl"), RewardModel.load("runs/first"), "runs/first", 1)
    >>> seen["counts"]["pairs"], seen["shown"][0]["completions"][0]["pooled"]
    (24, 'the first token, 0: [CLS]')
    """
    encoding = model.encoding
    counts: dict[str, int] = {}
    longest = 0
    shown = [_shown(ranking, encoding) for ranking in islice(rankings, show)]
    for ranking, row in each_encoded(progress(rankings, "encoding"), encoding):
        if isinstance(row, RefusedError):
            rankings.leave_out(ranking, row)
            continue
        count_truncation([row], counts, encoding.unknown)
        cuts = zip(row["prompt_cut"], row["completion_cut"], strict=True)
        sizes = [len(ids) + sum(cut) for ids, cut in zip(row["input_ids"], cuts, strict=True)]
        longest = max(longest, *sizes)
        if equal := why_all_equal(row, encoding.unknown):
            rankings.leave_out(ranking, equal)
    return {
        "model": name,
        "trained": not model.new_head,
        "kind": encoding.kind,
        "template": encoding.template,
        "pooling": model.pooling,
        "max_length": encoding.max_length,
        "reads": token_limit(model.model, encoding.tokenizer),
        "longest": longest,
        "left_out": dict(rankings.left_out),
        "counts": counts,
        "shown": shown,
    }


def _shown(ranking: Ranking, encoding: Encoding) -> ShownRanking:
    [row] = encoding.encode_each([ranking])
    at = ranking.origin or "a ranking"
    if isinstance(row, RefusedError):
        return {"at": at, "refused": str(row), "completions": []}
    [whole] = replace(encoding, max_length=WITHOUT_END).encode([ranking])
    each = range(len(ranking.completions))
    return {
        "at": at,
        "refused": None,
        "completions": [_shown_row(row, whole, k, encoding) for k in each],
    }


def _shown_row(row: dict[str, Any], whole: dict[str, Any], k: int, encoding: Encoding) -> ShownRow:
    tokenizer, ids = encoding.tokenizer, row["input_ids"][k]
    tokens = [tokenizer.decode([token]) for token in ids]
    pooled = POOLED.get(encoding.pooling, f"pooling {encoding.pooling}")
    if encoding.pooling in ("last", "cls"):
        at = len(ids) - 1 if encoding.pooling == "last" else 0
        pooled += f", {at}: {tokens[at]}"
    return {
        "rank": row["ranks"][k] if row["ranks"] else None,
        "text": tokenizer.decode(ids, clean_up_tokenization_spaces=False),
        "tokens": tokens,
        "shared": row["shared"],
        "pooled": pooled,
        "prompt_cut": row["prompt_cut"][k],
        "completion_cut": row["completion_cut"][k],
        "cut": [
            tokenizer.decode(part)
            for part in _cut(
                ids, whole["input_ids"][k], row["prompt_cut"][k], row["completion_cut"][k]
            )
        ],
    }


def _cut(
    kept: Sequence[int], whole: Sequence[int], prompt_cut: int, completion_cut: int
) -> list[Sequence[int]]:
    """The tokens that are in `whole` and not in `kept`: of the prompt, of the completion."""
    parts = []
    for count in (prompt_cut, completion_cut):
        if count:
            pairs = enumerate(zip(kept, whole, strict=False))
            start = next((at for at, (a, b) in pairs if a != b), min(len(kept), len(whole)))
            parts.append(whole[start : start + count])
            whole = [*whole[:start], *whole[start + count :]]
    return parts


def format_view(seen: ModelView) -> list[str]:
    """What `view` found, in lines for a person."""
    counts, reads = seen["counts"], seen["reads"]
    of = f" of the {reads:,} that it reads" if reads and reads > seen["max_length"] else ""
    lines = [
        "",
        f"what {seen['model']} sees ({seen['kind']}, {seen['template']} text, pooling "
        f"{seen['pooling']}, up to {seen['max_length']:,} tokens{of})",
        f"  the longest of {counts.get('completions', 0):,} completions is {seen['longest']:,} "
        "tokens with its prompt",
    ]
    cut = describe_truncation(counts, seen["max_length"]) or "nothing is truncated"
    lines += [f"  {line}" for line in (cut, *describe_pairs(counts))]
    lines += [f"  {count:,} × {kind}: left out" for kind, count in seen["left_out"].items()]
    for ranking in seen["shown"]:
        if ranking["refused"]:
            lines += ["", f"{ranking['at']}: not taken: {ranking['refused']}"]
        for number, row in enumerate(ranking["completions"], start=1):
            rank = "" if row["rank"] is None else f", rank {row['rank'] + 1}"
            of = f"{number} of {len(ranking['completions'])}"
            lines += ["", f"{ranking['at']}, completion {of}{rank}"]
            lines += [f"  │ {line}" for line in row["text"].split("\n")]
            lines.append(f"  {len(row['tokens'])} tokens: {' '.join(map(repr, row['tokens']))}")
            shared = f"the first {row['shared']} tokens stand in all and are computed once"
            lines.append(f"  shared: {shared if row['shared'] else 'nothing'}")
            lines.append(f"  pooled: {row['pooled']}")
            lines.append(f"  cut: {_cut_in_words(row)}")
    return lines


def _cut_in_words(row: ShownRow) -> str:
    parts, texts = [], iter(row["cut"])
    if row["prompt_cut"]:
        words = excerpt(next(texts))
        parts.append(f"{row['prompt_cut']:,} tokens at the prompt's beginning: “{words}”")
    if row["completion_cut"]:
        words = excerpt_of_end(next(texts))
        parts.append(f"{row['completion_cut']:,} tokens at the completion's end: “{words}”")
    return "; ".join(parts) or "nothing"
