"""From rankings to tokens: how prompts and completions become rows.

A decoder reads prompt and completion as one text: through the tokenizer's chat template where it
has one, else joined by a separator. An encoder reads them as a pair of sentences, with the
tokenizer's own special tokens, or as one text where it was trained so. A row whose last token is
pooled never ends in the pad token: transformers finds that token by its id, and so pools where we
do by mask.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from itertools import combinations
from typing import Any, Literal, get_args

from plaudit.data.chat import begins_rendered
from plaudit.data.rankings import BadRowError, Fault, Message, Ranking, Text
from plaudit.errors import PlauditError
from plaudit.settings import ReadAs

# What a truncated row keeps for the prompt when the completion alone fills it.
PROMPT_SHARE = 0.25
# How the tokens look with which a policy of another family ends what it writes.
POLICY_ENDING = r"<\|[^\s<>|]+\|>|</s>"
# And with which one begins what it is given.
POLICY_BEGINNING = r"<s>|<bos>|<\|begin_of_text\|>"
# Turns whose words a chat template must write as they are, but for white space at their ends. It
# may strip the reasoning of an assistant's turn, and write a tool's as JSON.
WRITTEN_AS_THEY_ARE = ("system", "developer", "user")
# How many of the pairs must be equal before it is said.
TOO_MANY = 0.05
# The kind of the reason with which a ranking is left out of which nothing can be learnt.
EQUAL = "the model sees its completions as equal"


class Equal(Enum):
    """Why rows of different texts are the same tokens."""

    TRUNCATED = "truncated before they differ"
    UNKNOWN = "made of characters that the tokenizer does not know"
    LEFT_OUT = "different only in what the chat template or the tokenizer leaves out"


class RefusedError(BadRowError, PlauditError):
    """A dialogue that the chat template or the tokenizer does not take; the reason says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(Fault.REFUSED, reason)


@dataclass(frozen=True)
class Encoding:
    """How texts become rows of tokens; saved with the model, so that serving equals training.

    `kind` is what the base model is. `template` "chat" renders messages (and plain text as one user
    and one assistant turn) with the tokenizer's chat template; "plain" joins plain texts with
    `separator`. `encoder_text` says how an encoder reads them. `max_length` is in tokens and counts
    special tokens. `configured_pad` is the pad token of a model's configuration where that is an
    ordinary word, and so not the tokenizer's.
    """

    tokenizer: Any
    kind: Literal["decoder", "encoder"]
    template: Literal["chat", "plain"]
    max_length: int
    separator: str = "\n\n"
    pooling: str = "last"
    configured_pad: int | None = None
    encoder_text: ReadAs = "pair"

    def __post_init__(self) -> None:
        """Raise `ValueError` for what a model's files may say and no model has."""
        number = type(self.max_length) is int and self.max_length > 0
        known = self.kind in ("decoder", "encoder") and self.template in ("chat", "plain")
        known = known and self.encoder_text in get_args(ReadAs)
        if not (number and known and isinstance(self.separator, str)):
            said = f"{self.kind!r}, {self.template!r}, {self.max_length!r}, {self.separator!r}"
            said += f", {self.encoder_text!r}"
            raise ValueError(f"kind, template, max_length, separator, encoder_text are {said}")

    @property
    def is_pair(self) -> bool:
        """Whether prompt and completion are read as a pair of sentences."""
        return self.kind == "encoder" and self.encoder_text == "pair"

    @property
    def pad_token_id(self) -> int:
        """What fills batches of rows, and ends no row whose last token is pooled."""
        own: int = self.tokenizer.pad_token_id
        return own if self.configured_pad is None else self.configured_pad

    def encode(self, rankings: Sequence[Ranking]) -> list[dict[str, Any]]:
        """Rows of tokens for every completion of every ranking.

        Returns one dict for each ranking: `input_ids` (K lists of int), `token_type_ids` where the
        tokenizer makes them, `ranks`, `margin`, `weight`, `strength` (NaN where there is none),
        `ratings` (K, NaN where there are none), `origin`, `length` (of the longest row, in tokens),
        `shared` (how many tokens all its rows begin with and can be computed once: none for an
        encoder, in which they see what follows), and, K ints each, in tokens: how much truncation
        cut, `prompt_cut` and `completion_cut`, and what is left of the completion,
        `completion_tokens`, without the special tokens around it but for those of a chat template.

        Raises `RefusedError` for what the chat template or the tokenizer does not take.
        """
        return _taken(self.encode_each(rankings))

    def encode_each(self, rankings: Sequence[Ranking]) -> list[dict[str, Any] | RefusedError]:
        """`encode`, with the reason in the place of a ranking that is refused."""
        rows = self._rows([(r.prompt, list(r.completions)) for r in rankings])
        return [
            row if isinstance(row, RefusedError) else row | without_tokens(ranking)
            for ranking, row in zip(rankings, rows, strict=True)
        ]

    def encode_texts(self, prompts: Sequence[tuple[Text, Sequence[Text]]]) -> list[dict[str, Any]]:
        """`encode` for prompts whose completions have no ranks yet."""
        return _taken(self._rows([(prompt, list(completions)) for prompt, completions in prompts]))

    def encode_rendered(
        self, texts: Sequence[str], prompts: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """`encode_texts` for rows that another program laid out: each text is a whole row.

        Args:
            texts: prompt and completion in one, special tokens in them being what they say.
            prompts: what each text begins with, where the other program tells (OpenRLHF does). Then
                text and prompt are taken apart and encoded as in training, with the separator or as
                a pair; but not where the prompt ends as the chat template opens a turn, for then it
                is laid out already, nor where the text does not begin with it.

        A text that stays whole is read as it stands by a decoder, and as one sentence by an
        encoder. Begun and ended it is as rows of training are, by what the chat template writes
        around a dialogue, else by the tokenizer's own tokens: special tokens at its end (the
        policy's end of text, padding) go first. Where it is too long, its beginning is cut.
        It has no `completion_tokens`: where the completion begins is not known.

        Raises `RefusedError` where a text or a prompt begins with a mark of a chat template which
        this model's own does not write: another family's template laid it out.
        """
        encoded = []
        self._check_marks([*texts, *(prompts or ())])
        known = [None] * len(texts) if prompts is None else prompts
        for text, prompt in zip(texts, known, strict=True):
            parts = self._take_apart(text, prompt) if prompt is not None else None
            encoded.append(self.encode_texts([parts])[0] if parts else self._whole_row(text))
        return encoded

    def _rows(self, prompts: list[tuple[Text, list[Text]]]) -> list[dict[str, Any] | RefusedError]:
        rendered = [self._rendered(prompt, completions) for prompt, completions in prompts]
        pairs = [pair for each in rendered if not isinstance(each, RefusedError) for pair in each]
        firsts, seconds = [first for first, _ in pairs], [second for _, second in pairs]
        of_one = self._one_rows if self.kind == "encoder" else self._joined_rows
        tokenize: Any = self._pair_rows if self.is_pair else of_one
        try:
            rows = iter(list(tokenize(firsts, seconds)))
        except RefusedError as refused:  # one of them: each alone says which
            if len(prompts) == 1:
                return [refused]
            return [row for prompt in prompts for row in self._rows([prompt])]
        encoded: list[dict[str, Any] | RefusedError] = []
        for each in rendered:
            if isinstance(each, RefusedError):
                encoded.append(each)
                continue
            mine = [next(rows) for _ in each]
            ranking: dict[str, Any] = {
                name: [row[name] for row in mine] for name in (mine[0] if mine else ())
            }
            ids = [row["input_ids"] for row in mine]
            ranking["length"] = max(map(len, ids), default=0)
            ranking["shared"] = (
                _common_prefix(min(ids), max(ids)) if self.kind == "decoder" and ids else 0
            )
            encoded.append(ranking)
        return encoded

    def _rendered(
        self, prompt: Text, completions: list[Text]
    ) -> list[tuple[str, str]] | RefusedError:
        """The two texts of each completion's row, or why there are none."""
        render = self._render_pair if self.is_pair else self._render_joined
        try:
            return [render(prompt, completion) for completion in completions]
        except RefusedError as refused:
            return refused

    def is_rendered(self, prompt: Text, completion: Text) -> bool:
        """Whether these texts went through the chat template already, and so are read as they
        stand, one after the other.

        They did where the prompt, or the completion where there is no prompt, begins with a mark
        that the template itself writes. An encoder and template plain use no chat template.
        """
        if self.kind == "encoder" or self.template == "plain":
            return False
        if not (isinstance(prompt, str) and isinstance(completion, str)):
            return False
        mark = begins_rendered(prompt or completion)
        return bool(mark) and mark in self._written

    @cached_property
    def unknown(self) -> int | None:
        """The token of what the tokenizer does not know, where it stands for nothing else."""
        tokenizer = self.tokenizer
        others = (tokenizer.eos_token_id, tokenizer.bos_token_id, self.pad_token_id)
        return None if tokenizer.unk_token_id in others else tokenizer.unk_token_id

    # ---- decoders: one text ----

    def _render_joined(self, prompt: Text, completion: Text) -> tuple[str, str]:
        """The text up to the completion, and the whole text."""
        if self.template == "plain":
            before = plain_text(prompt)
            before += self.separator if before else ""
            return before, before + plain_text(completion)
        if self.is_rendered(prompt, completion):
            return str(prompt), f"{prompt}{completion}"
        asked = _messages(prompt, "user") if prompt else []
        answered = _messages(completion, "assistant")
        whole = self._chat(asked + answered)
        for message in asked + answered:
            if lost := [name for name in _called(message) if name not in whole]:
                raise RefusedError(
                    f"the chat template has no place for tool calls: it leaves out {lost[0]}"
                )
        for message in asked:
            words = message.get("content")
            if (
                message["role"] in WRITTEN_AS_THEY_ARE
                and isinstance(words, str)
                and words.strip() not in whole
            ):
                raise RefusedError(
                    f"the chat template has no place for a turn of the {message['role']}'s: "
                    "it leaves the words out"
                )
        before = self._chat(asked, add_generation_prompt=True)
        if not whole.startswith(before):
            before = self._chat(asked)
        return before, whole

    def _chat(self, messages: list[Message], **options: bool) -> str:
        if not messages:
            return ""  # templates refuse to render nothing
        # Only here: it needs transformers, which takes its time to import.
        from plaudit.model.template_limits import TemplateLimitError, render

        try:
            return render(self.tokenizer, messages, **options)
        except TemplateLimitError:
            raise
        except Exception as error:  # its own, or Python's own of an operation within it
            roles = ", ".join(str(message.get("role")) for message in messages)
            why = " ".join(str(error).split())
            raise RefusedError(
                f"the chat template refuses the dialogue: {roles} ({why}); mend it, or choose "
                "template plain"
            ) from error

    def _joined_rows(self, firsts: list[str], wholes: list[str]) -> Iterator[dict[str, Any]]:
        special = self.template == "plain"  # a chat template writes its own special tokens
        distinct = list(dict.fromkeys(firsts))
        before = dict(zip(distinct, self._tokenize(distinct, special), strict=True))
        tokenizer = self.tokenizer
        ending = self._plain_ending() if special else []
        closed = bool(ending) and _single_frame(tokenizer)[1] == ending
        for first, row in zip(firsts, self._tokenize(wholes, special), strict=True):
            head = row[:1] if row and row[0] == tokenizer.bos_token_id else []
            if ending and row[len(head) :][-1:] == ending:  # which is put there again
                row = row[:-1]
            asked = before[first]
            if closed and asked[-1:] == ending:  # by the tokenizer, after the prompt alone
                asked = asked[:-1]
            start = max(_common_prefix(asked, row), len(head))
            prompt, completion = row[len(head) : start], row[start:]
            prompt, completion, cut = self._truncate(prompt, completion, len(head) + len(ending))
            ids = head + prompt + completion + (ending if not cut["completion_cut"] else [])
            while self.pooling == "last" and len(ids) > 1 and ids[-1] == self.pad_token_id:
                ids.pop()
                completion = completion[:-1]
            ids = ids or [self.pad_token_id]
            yield {"input_ids": ids, "completion_tokens": len(completion), **cut}

    def _plain_ending(self) -> list[int]:
        # An ending says that the completion is whole. It cannot be the pad token: see above.
        eos = self.tokenizer.eos_token_id
        return [] if eos in (None, self.pad_token_id) else [eos]

    # ---- rows that another program laid out ----

    def _check_marks(self, texts: Sequence[str]) -> None:
        if self.template != "chat":
            return
        for text in texts:
            mark = begins_rendered(self._beginning.sub("", text))
            if mark and mark not in self._written:
                raise RefusedError(
                    f"the row begins with {mark}, which the chat template of this model does not "
                    "write: another model's template laid it out. Send messages, or prompt and "
                    "completion, to /score, as examples/remote_reward.py does"
                )

    def _take_apart(self, text: str, prompt: str) -> tuple[str, list[str]] | None:
        bos = self.tokenizer.bos_token or ""
        text, prompt = text.removeprefix(bos), prompt.removeprefix(bos)
        if not text.startswith(prompt):
            return None
        opening = self._chat_frame.opening if self.template == "chat" else ""
        # Nothing tells of a template that opens no turn but the marks that it begins with.
        laid_out = prompt.rstrip().endswith(opening) if opening else self.is_rendered(prompt, "")
        if laid_out:
            return None
        completion = self._without_ending(text[len(prompt) :])
        if self.template == "plain" and not self.is_pair and self.separator:
            prompt = prompt.removesuffix(self.separator)  # which encoding puts there again
        return prompt, [completion]

    def _whole_row(self, text: str) -> dict[str, Any]:
        tokenizer = self.tokenizer
        text = self._without_ending(text).removeprefix(tokenizer.bos_token or "")
        ending: list[int] = []
        if self.template == "chat":
            text = self._chat_frame.around(text)
            body = self._tokenize([text], False)[0]
            length = int(body[:1] == [tokenizer.bos_token_id])
            head, body = body[:length], body[length:]
        else:
            body = self._tokenize([text], False)[0]
            head, ending = _single_frame(tokenizer)
            own = self._plain_ending() if self.kind == "decoder" else self._trl_ending()
            ending = own if self.kind == "decoder" else [*own, *ending]
        kept, _, cut = self._truncate(body, [], len(head) + len(ending))
        ids = head + kept + ending
        while self.pooling == "last" and len(ids) > 1 and ids[-1] == self.pad_token_id:
            ids.pop()
        ids = ids or [self.pad_token_id]
        row: dict[str, Any] = {"input_ids": [ids], "length": len(ids), "shared": 0}
        row |= {name: [count] for name, count in cut.items()}
        if self.kind == "encoder" and "token_type_ids" in tokenizer("a"):
            row["token_type_ids"] = [[0] * len(ids)]
        return row

    @cached_property
    def _beginning(self) -> re.Pattern[str]:
        """What stands before what a chat template writes: BOS of any family, and padding."""
        tokenizer = self.tokenizer
        ours = filter(None, (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token))
        return re.compile(rf"\A(?:\s*(?:{'|'.join([*map(re.escape, ours), POLICY_BEGINNING])}))+")

    @cached_property
    def _written(self) -> str:
        """The chat template with what it writes of a dialogue: it may put marks together itself."""
        asked: list[Message] = [{"role": "user", "content": "a"}]
        dialogue: list[Message] = [*asked, {"role": "assistant", "content": "b"}]
        written = [str(self.tokenizer.chat_template)]
        for tried in (dialogue, [{"role": "system", "content": "c"}, *dialogue]):
            with suppress(RefusedError):  # some take no turn of the system's
                written.append(self._chat(tried))
        return "\n".join(written)

    def _without_ending(self, text: str) -> str:
        """A text without what ends a row: one that ends as rows of training do is whole, and what
        stands before that is the completion's own, though it may look like an ending."""
        own = self.own_ending
        if not (own and text.endswith(own)):
            return self._ending.sub("", text)
        while text.endswith(own):  # more than one where it is the policy's padding too
            text = text.removesuffix(own)
        return text

    @cached_property
    def own_ending(self) -> str:
        """What ends a row of training, as text; empty where nothing does."""
        if self.template == "chat" and self.kind == "decoder":
            after = self._chat_frame.after
            return after if after.strip() else ""
        ends = self.kind == "decoder" and self._plain_ending()
        return str(self.tokenizer.eos_token) if ends else ""

    @cached_property
    def _ending(self) -> re.Pattern[str]:
        """Special tokens at the end of a text, and what white space is between and after them."""
        added = self.tokenizer.added_tokens_decoder.values()
        ours = {str(token) for token in added if token.special}
        ours |= set(self.tokenizer.all_special_tokens)
        longest_first = sorted(ours, key=len, reverse=True)
        either = "|".join([*map(re.escape, longest_first), POLICY_ENDING])
        return re.compile(rf"(?:(?:{either})\s*)+\Z")

    @cached_property
    def _chat_frame(self) -> "_ChatFrame":
        asked: list[Message] = [{"role": "user", "content": "PROBE"}]
        whole = self._chat([*asked, {"role": "assistant", "content": "REPLY\n\t"}])
        after = whole[whole.rindex("REPLY") + len("REPLY") :]
        bos = self.tokenizer.bos_token
        opened = self._chat(asked, add_generation_prompt=True)
        return _ChatFrame(
            before=bos if bos and whole.startswith(bos) else "",
            opening=opened[opened.rindex("PROBE") + len("PROBE") :].strip(),
            after=after.removeprefix("\n\t"),
            trims=not after.startswith("\n\t"),
        )

    # ---- encoders: one text ----

    def _one_rows(self, firsts: list[str], wholes: list[str]) -> Iterator[dict[str, Any]]:
        head, after = _single_frame(self.tokenizer)
        types = "token_type_ids" in self.tokenizer("a")
        distinct = list(dict.fromkeys(firsts))
        before = dict(zip(distinct, self._tokenize(distinct, False), strict=True))
        for first, row in zip(firsts, self._tokenize(wholes, False), strict=True):
            ending = self._trl_ending()
            if ending and row[-1:] == ending:  # which is put there again
                row = row[:-1]
            start = _common_prefix(before[first], row)
            special = len(head) + len(ending) + len(after)
            prompt, completion, cut = self._truncate(row[:start], row[start:], special)
            ending = ending if not cut["completion_cut"] else []
            ids = [*head, *prompt, *completion, *ending, *after]
            encoded: dict[str, Any] = {"input_ids": ids, "completion_tokens": len(completion)}
            yield encoded | ({"token_type_ids": [0] * len(ids)} if types else {}) | cut

    def _trl_ending(self) -> list[int]:
        eos = self.tokenizer.eos_token_id
        return [] if self.encoder_text != "trl" or eos is None else [eos]

    # ---- encoders: a pair of sentences ----

    def _render_pair(self, prompt: Text, completion: Text) -> tuple[str, str]:
        return plain_text(prompt), plain_text(completion)

    def _pair_rows(self, firsts: list[str], seconds: list[str]) -> Iterator[dict[str, Any]]:
        frame = _frame(self.tokenizer)
        distinct = list(dict.fromkeys(firsts))
        tokens = dict(zip(distinct, self._tokenize(distinct, False), strict=True))
        for first, completion in zip(firsts, self._tokenize(seconds, False), strict=True):
            prompt, completion, cut = self._truncate(tokens[first], completion, frame.size)
            ids = [*frame.before, *prompt, *frame.between, *completion, *frame.after]
            row: dict[str, Any] = {"input_ids": ids, "completion_tokens": len(completion)}
            if frame.types is not None:
                split = len(frame.before) + len(prompt) + frame.first_sentence_end
                row["token_type_ids"] = [frame.types[0]] * split
                row["token_type_ids"] += [frame.types[1]] * (len(ids) - split)
            yield row | cut

    def _truncate(
        self, prompt: list[int], completion: list[int], special: int
    ) -> tuple[list[int], list[int], dict[str, int]]:
        """Keep the whole completion and the end of the prompt; where even the completion does not
        fit, keep its beginning and a share of the prompt."""
        room = self.max_length - special
        if len(completion) <= room:
            kept_prompt = min(len(prompt), room - len(completion))
        else:
            kept_prompt = min(len(prompt), int(room * PROMPT_SHARE))
        kept_completion = min(len(completion), room - kept_prompt)
        cut = {
            "prompt_cut": len(prompt) - kept_prompt,
            "completion_cut": len(completion) - kept_completion,
        }
        return prompt[len(prompt) - kept_prompt :], completion[:kept_completion], cut

    def _tokenize(self, texts: list[str], special: bool) -> list[list[int]]:
        if not texts:
            return []
        # verbose=False: the tokenizer warns of texts beyond the model's length, which we truncate.
        try:
            return self.tokenizer(texts, add_special_tokens=special, verbose=False)["input_ids"]
        except Exception as error:  # what a tokenizer raises is its own affair
            if len(texts) > 1:
                reason = "one of these texts"
            else:
                reason = " ".join(str(error).split())[:200]
            raise RefusedError(f"the tokenizer refuses the text: {reason}") from error


def _taken(rows: Sequence[dict[str, Any] | RefusedError]) -> list[dict[str, Any]]:
    """Rows of which none is refused; raises the first refusal."""
    for row in rows:
        if isinstance(row, RefusedError):
            raise row
    return list(rows)  # type: ignore[arg-type]


def without_tokens(ranking: Ranking) -> dict[str, Any]:
    """What a row of `Encoding.encode` has of a ranking that is not of its texts."""
    unrated = [math.nan] * len(ranking.ranks)
    return {
        "ranks": list(ranking.ranks),
        "margin": ranking.margin if ranking.margin is not None else 0.0,
        "weight": ranking.weight,
        "strength": math.nan if ranking.strength is None else float(ranking.strength),
        "ratings": unrated if ranking.ratings is None else [float(r) for r in ranking.ratings],
        "origin": ranking.origin,
    }


def count_truncation(
    rows: Sequence[dict[str, Any]], counts: dict[str, int], unknown: int | None = None
) -> None:
    """Add to `counts` what truncation did to encoded completions, and to pairs of known ranks.

    Of completions: how many there are, how many are truncated, lose the beginning of the prompt and
    the end of the completion, and how many tokens are cut. Of pairs: how many are the same tokens
    to the model, because of what (`Equal`), and in how many only the worse or only the better
    completion loses its end. `unknown` is the token of what the tokenizer does not know.
    """
    added: Counter[str] = Counter()
    for row in rows:
        cuts = zip(row.get("prompt_cut", ()), row.get("completion_cut", ()), strict=True)
        for before, after in cuts:
            added["completions"] += 1
            added["truncated"] += bool(before or after)
            added["prompt_cut"] += bool(before)
            added["completion_cut"] += bool(after)
            added["tokens_cut"] += before + after
        if "ranks" in row:
            _count_pairs(row, added, unknown)
    for name, count in added.items():
        counts[name] = counts.get(name, 0) + count


def _count_pairs(row: dict[str, Any], counts: Counter[str], unknown: int | None) -> None:
    ranks, cut, ids = row["ranks"], row["completion_cut"], row["input_ids"]
    for i, j in combinations(range(len(ranks)), 2):
        if ranks[i] == ranks[j]:
            continue
        better, worse = (i, j) if ranks[i] < ranks[j] else (j, i)
        counts["pairs"] += 1
        counts["only_worse_cut"] += bool(cut[worse] and not cut[better])
        counts["only_better_cut"] += bool(cut[better] and not cut[worse])
        if ids[i] == ids[j]:
            counts["equal_pairs"] += 1
            counts[f"equal_{_why_equal(row, i, unknown).name.lower()}"] += 1


def _why_equal(row: dict[str, Any], index: int, unknown: int | None) -> Equal:
    if row["completion_cut"][index]:
        return Equal.TRUNCATED
    return Equal.UNKNOWN if unknown in row["input_ids"][index] else Equal.LEFT_OUT


def why_all_equal(row: dict[str, Any], unknown: int | None = None) -> BadRowError | None:
    """Why nothing can be learnt from an encoded ranking: all its completions that are of different
    ranks are the same tokens. None where something can."""
    ranks, ids = row["ranks"], row["input_ids"]
    pairs = [(i, j) for i, j in combinations(range(len(ranks)), 2) if ranks[i] != ranks[j]]
    if not pairs or any(ids[i] != ids[j] for i, j in pairs):
        return None
    why = _why_equal(row, pairs[0][0], unknown).value
    return BadRowError(Fault.EQUAL, f"{EQUAL}: {why}")


def too_many_equal(counts: Mapping[str, int]) -> bool:
    """Whether truncation, or the tokenizer, takes away what so many pairs differ in that it is to
    be mended; as many lose it by accident."""
    pairs, equal = counts.get("pairs", 0), counts.get("equal_pairs", 0)
    return equal > 0 and equal >= TOO_MANY * pairs


def describe_truncation(counts: Mapping[str, int], max_length: int) -> str:
    """One line that says what was truncated; empty where nothing was."""
    if not counts.get("truncated"):
        return ""
    tokens = counts.get("tokens_cut", 0)
    return (
        f"{counts['truncated']:,} of {counts['completions']:,} completions are truncated to "
        f"{max_length} tokens: the beginning of the prompt is lost in {counts['prompt_cut']:,}, "
        f"the end of the completion in {counts['completion_cut']:,}"
        + (f"; {tokens:,} tokens in all" if tokens else "")
    )


def describe_pairs(counts: Mapping[str, int]) -> list[str]:
    """Lines that say which pairs the model sees as equal, and where a cut gives the worse away."""
    lines = []
    pairs, equal = counts.get("pairs", 0), counts.get("equal_pairs", 0)
    if equal:
        causes = [
            f"{count:,} × {cause.value}"
            for cause in Equal
            if (count := counts.get(f"equal_{cause.name.lower()}", 0))
        ]
        share = f" ({equal / pairs:.0%})" if equal / pairs > 0.005 else ""
        lines.append(
            f"{equal:,} of {pairs:,} pairs{share} are the same tokens to the model, which cannot "
            f"tell their completions apart: {', '.join(causes)}"
        )
    worse, better = counts.get("only_worse_cut", 0), counts.get("only_better_cut", 0)
    if worse or better:
        lines.append(
            f"in {worse:,} of {pairs:,} pairs only the worse completion loses its end, in "
            f"{better:,} only the better one"
            + (
                ": the model may learn that what has no end is worse; raise max_length or drop them"
                if worse > better
                else ""
            )
        )
    return lines


def plain_text(text: Text) -> str:
    """A text or a dialogue without a chat template: a single message is its content.

    >>> plain_text([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}])
    'User: Hi\\n\\nAssistant: Yo'
    """
    if isinstance(text, str):
        return text
    if len(text) == 1:
        return _words(text[0])
    return "\n\n".join(f"{m['role'].capitalize()}: {_words(m)}" for m in text)


def _words(message: Message) -> str:
    """What a message says: nothing where it only calls tools, and of parts those that are text."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content if isinstance(part, dict))


def _messages(text: Text, role: str) -> list[Message]:
    if not isinstance(text, str):
        return list(text)
    return [{"role": role, "content": text}]


def _common_prefix(a: list[int], b: list[int]) -> int:
    for position, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return position
    return min(len(a), len(b))


@dataclass(frozen=True)
class _ChatFrame:
    """What a chat template writes around a dialogue, found by rendering one."""

    before: str  # BOS, or nothing
    opening: str  # from the user's words to where the assistant's begin
    after: str  # what follows an assistant's words
    trims: bool  # whether white space at their end goes

    def around(self, text: str) -> str:
        """The text of a dialogue begun and ended as the template does it."""
        if not self.after.strip():  # no special token, which would be off the text by now
            text = text.removesuffix(self.after)
        return self.before + (text.rstrip() if self.trims else text) + self.after


@dataclass(frozen=True)
class _Frame:
    """The special tokens that a tokenizer puts around a pair of sentences."""

    before: list[int]
    between: list[int]
    after: list[int]
    types: tuple[int, int] | None
    first_sentence_end: int  # how many tokens of `between` belong to the first sentence

    @property
    def size(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)


def _frame(tokenizer: Any) -> _Frame:
    """Read the frame off an encoded pair, which every tokenizer can make, whatever its format."""
    probe = tokenizer("a", "a", return_special_tokens_mask=True)
    ids, special = probe["input_ids"], probe["special_tokens_mask"]
    words = [position for position, flag in enumerate(special) if not flag]
    inner = range(words[0], words[-1] + 1)
    gap = [position for position in inner if special[position]]
    types = probe.get("token_type_ids")
    return _Frame(
        before=ids[: words[0]],
        between=ids[gap[0] : gap[-1] + 1] if gap else [],
        after=ids[words[-1] + 1 :],
        types=(types[words[0]], types[words[-1]]) if types is not None else None,
        first_sentence_end=sum(types[p] == types[words[0]] for p in gap) if types else 0,
    )


def _single_frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer puts before and after a single text."""
    probe = tokenizer("a", return_special_tokens_mask=True)
    ids, special = probe["input_ids"], probe["special_tokens_mask"]
    words = [position for position, flag in enumerate(special) if not flag]
    return ids[: words[0]], ids[words[-1] + 1 :]


def _called(message: Message) -> list[str]:
    """The names of the tools that a message calls, as far as it says them in OpenAI's way."""
    calls = message.get("tool_calls")
    records = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    functions = [call.get("function", call) for call in records]
    return [str(f["name"]) for f in functions if isinstance(f, dict) and f.get("name")]
