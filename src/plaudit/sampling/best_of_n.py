"""Best-of-n and rejection sampling at size: prompts in, a training set of the best samples out.

The policy completes each prompt n times, the reward model scores what it wrote, and of each prompt
the best are kept: as rows to fine-tune on, or as preference pairs. Prompts stream through and
memory stays flat but for a hash of each. A kill costs a batch: completions depend on the seed, the
prompt and, in their last bits, on the batch, and batches are the same ones after a resume, so the
output is the same byte for byte.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.console import progress, say
from plaudit.data.prompts import Prompt, stream_prompts, usable
from plaudit.data.rankings import Rejected, Text, text_key
from plaudit.data.readers import BadRows, OnBadRow
from plaudit.data.rows import find_sources
from plaudit.data.splits import prompt_hash
from plaudit.errors import PlauditError
from plaudit.files import refuse_to_overwrite
from plaudit.memory import keep_freed_memory
from plaudit.model.reward_model import as_scorer
from plaudit.results import GenerationSummary
from plaudit.resumable import check_output, resumable
from plaudit.sampling.policy import Completion, Policy, check_sampling, refusal_by
from plaudit.sampling.selection import (
    Choice,
    Keep,
    NothingKeptError,
    Pairs,
    Scored,
    candidates,
    top,
)
from plaudit.sampling.selection import pairs as pairs_of
from plaudit.sampling.tally import Tally

if TYPE_CHECKING:
    from plaudit.model.devices import Dtype
    from plaudit.model.scorer import Scorer

# When more completions than this share are cut, the set is one of short completions.
MANY_UNFINISHED = 0.2


@dataclass(frozen=True)
class Generation:
    """What `generate` made: the file, where its rejected rows are, and the figures of both."""

    output: Path
    rejected_to: Path | None
    summary: GenerationSummary
    text: str

    def __str__(self) -> str:
        return self.text

    def as_json(self) -> GenerationSummary:
        """What `--json` prints."""
        return self.summary


def generate(
    model: "Scorer | str | Path | Sequence[str | Path]",
    policy: Policy | str | Path,
    prompts: str | Path | Sequence[Text],
    output: str | Path,
    *,
    n: int,
    keep: Keep,
    k: int = 4,
    pairs: Pairs = "best-worst",
    min_reward: float | None = None,
    min_margin: float = 0.0,
    keep_unfinished: bool,
    messages: bool,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    batch_size: int,
    seed: int,
    limit: int | None,
    columns: Mapping[str, str] | None,
    encoding: str | None,
    on_bad_row: OnBadRow,
    max_rejected: float,
    resume: bool,
    overwrite: bool,
    dtype: "Dtype",
    loading: Mapping[str, Any] | None = None,
) -> Generation:
    """Sample n completions of each prompt and keep the best; see `plaudit.generate`.

    Blank completions and repeats among the n are left out before anything is chosen, and so are
    those that the policy did not finish. A pair has no `margin`, since trainers of reward models
    take that for the margin to train for.
    """
    choice = Choice(
        keep=keep, k=k, pairs=pairs, min_reward=min_reward, min_margin=min_margin,
        keep_unfinished=keep_unfinished,
    )  # fmt: skip
    check_sampling(n, max_new_tokens, temperature, top_p, batch_size)
    if keep == "pairs" and n < 2:
        raise PlauditError("n: pairs need 2 completions of a prompt or more")
    check_output(output, resume, overwrite)
    if isinstance(prompts, str | Path):
        text = Path(prompts).suffix == ".txt"
        files = [prompts] if text else [one.name for one in find_sources(prompts, None, True)]
        refuse_to_overwrite(output, True, inputs=files)

    def items() -> Iterator[Prompt | Rejected]:
        for item in stream_prompts(prompts, limit, columns, encoding):
            yield item.in_messages() if messages and isinstance(item, Prompt) else item

    def bad_rows() -> BadRows:
        name = str(prompts) if isinstance(prompts, str | Path) else "prompts"
        return BadRows(name, on_bad_row, max_rejected, keep=False)

    count, plain, digest = _survey(usable(items(), bad_rows()), prompts)
    sampling: dict[str, Any] = {
        "n": n, "max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p,
        "batch_size": batch_size, "seed": seed,
    }  # fmt: skip
    if isinstance(model, str | Path | Sequence):
        say("loading the reward model")
    model = as_scorer(model, dtype=dtype, **loading or {})
    if isinstance(policy, str | Path):
        say(f"loading the policy {policy}")
        policy = Policy.load(policy, dtype=dtype)
    refusal = refusal_by(policy, [model])
    if on_bad_row == "stop" or max_rejected < 1:
        # Once before anything is sampled, so that bad prompts do not end a night's work.
        deque(usable(progress(items(), "checking prompts"), bad_rows(), refusal), maxlen=0)
    facts: dict[str, Any] = {"prompts": digest}
    facts |= {"model": model.identity(), "policy": policy.identity()}
    facts |= {**sampling, **asdict(choice), "messages": messages}
    model.warn_if_untrained()
    if plain and policy.tokenizer.chat_template:
        say(
            "the policy has a chat template, which trainers do not apply to plain text; --messages "
            "writes plain prompts and their completions as messages"
        )
    keep_freed_memory()
    with model.telling_truncation(), resumable(output, facts, resume, overwrite) as out:
        tally = Tally(**out.note or {})
        rest = islice(usable(items(), bad_rows(), refusal), out.done, None)
        waiting: list[Prompt | Rejected] = []  # read, and not committed

        def texts() -> Iterator[Text]:
            for item in rest:
                waiting.append(item)
                if isinstance(item, Prompt):
                    yield item.text

        # Nothing is read ahead of a batch, so what waits is what the batch was made from.
        completed = policy.complete(texts(), **sampling)
        completed = progress(completed, "generating", total=count - tally.prompts)
        while not out.complete:
            batch = list(islice(completed, batch_size))
            if not waiting:
                break
            rows, rejected = _select(model, waiting, batch, choice, seed, tally)
            out.commit(rows, rejected, out.done + len(waiting), note=asdict(tally))
            waiting.clear()
        if not tally.rows:
            out.finish(rows=False)
            raise PlauditError(_why_nothing(tally, out.rejected_to))
    _warn(tally, keep_unfinished, max_new_tokens)
    rejected_to = out.rejected_to if out.rejected else None
    return Generation(Path(output), rejected_to, tally.summary(), tally.as_text(keep_unfinished))


def _survey(items: Iterator[Prompt | Rejected], source: Any) -> tuple[int, bool, str]:
    """How many prompts there are, whether any is plain text, and a digest of all rows in order."""
    digest = hashlib.blake2b(digest_size=16)
    count, plain = 0, False
    for item in progress(items, "reading prompts"):
        if isinstance(item, Prompt):
            count += 1
            plain = plain or isinstance(item.text, str)
        what = item.text if isinstance(item, Prompt) else item.reason
        digest.update(prompt_hash(text_key(what), 0).to_bytes(8, "big"))
    if not count:
        where = source if isinstance(source, str | Path) else "prompts"
        raise PlauditError(
            f"{where}: there is no prompt in it; give a prompt a line (.txt), or data with a "
            "prompt column"
        )
    return count, plain, digest.hexdigest()


def _select(
    model: "Scorer",
    items: Sequence[Prompt | Rejected],
    batch: Sequence[list[Completion]],
    choice: Choice,
    seed: int,
    tally: Tally,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What of a batch is kept, in rows, and the rows of prompts of which nothing is."""
    prompts = [item for item in items if isinstance(item, Prompt)]
    # What a message says begins with no white space; what is scored is what will be written.
    batch = [
        completions
        if isinstance(prompt.text, str)
        else [one._replace(text=one.text.strip()) for one in completions]
        for prompt, completions in zip(prompts, batch, strict=True)
    ]
    # Equal completions are scored once.
    distinct = [list(dict.fromkeys(one.text for one in completions)) for completions in batch]
    texts = (prompt.text for prompt in prompts)
    rewards = model.score_all(zip(texts, distinct, strict=True))
    scored = zip(batch, distinct, rewards, strict=True)
    rows: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item, Rejected):
            tally.unreadable += 1
            rejected.append(item.as_dict())
            continue
        completions, unlike, values = next(scored)
        reward_of = dict(zip(unlike, values, strict=True))
        drawn = [Scored(*one, reward_of[one.text]) for one in completions]
        found = candidates(drawn, choice.keep_unfinished)
        kept: list[tuple[Scored, ...]] = []
        try:
            if choice.keep == "pairs":
                kept += pairs_of(found, choice, prompt_hash(text_key(item.text), seed))
            else:
                kept += [(one,) for one in top(found, choice)]
        except NothingKeptError as reason:
            row = {**item.ids, "prompt": item.text}
            rejected.append(Rejected(item.file, item.line, str(reason), row).as_dict())
        tally.add(drawn, found, kept)
        rows += _rows(item, kept, choice, len(drawn))
    return rows, rejected


def _rows(
    prompt: Prompt, kept: Sequence[tuple[Scored, ...]], choice: Choice, n: int
) -> Iterator[dict[str, Any]]:
    """A row for each completion or pair that is kept, the best first."""
    for rank, both in enumerate(kept, start=1):
        row: dict[str, Any] = {**prompt.ids, "prompt": prompt.text}
        parts = ("completion",) if len(both) == 1 else ("chosen", "rejected")
        for part, one in zip(parts, both, strict=True):
            plain = isinstance(prompt.text, str)
            row[part] = one.text if plain else [{"role": "assistant", "content": one.text}]
        for part, one in zip(parts, both, strict=True):
            suffix = "" if len(both) == 1 else f"_{part}"
            row[f"reward{suffix}"] = one.reward
            if choice.keep_unfinished:
                row[f"finished{suffix}"] = one.finished
        if choice.keep == "top-k":
            row["rank"] = rank
        yield row | {"n": n}


def _why_nothing(tally: Tally, rejected_to: Path) -> str:
    advice = ""
    if tally.unfinished > tally.completions / 2:
        advice = (
            f"; {tally.unfinished:,} of {tally.completions:,} completions are unfinished: raise "
            "--max-new-tokens, or take them with --keep-unfinished"
        )
    return f"no prompt yielded a row; the reasons are in {rejected_to}{advice}"


def _warn(tally: Tally, keep_unfinished: bool, max_new_tokens: int) -> None:
    """Say what the user of the output should know before training on it."""
    if tally.cut > MANY_UNFINISHED * tally.completions:
        so = "what is kept of them breaks off" if keep_unfinished else "long ones are missing"
        say(
            f"{tally.cut / tally.completions:.0%} of the completions were cut at {max_new_tokens} "
            f"tokens, so {so}; raise --max-new-tokens"
        )
    if tally.leans_on_length():
        say(
            f"the best is the longest in {tally.longest / tally.correlated:.0%} of the prompts "
            f"({tally.longest_by_chance / tally.correlated:.0%} by chance): best-of-n mostly takes "
            "the longest; see docs/best-of-n.md"
        )
