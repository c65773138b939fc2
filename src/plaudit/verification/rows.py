"""The rows that are scored here and there: the user's own, or some that tend to part programs.

Where no data are given, the rows are made: of many lengths up to what the model reads, empty,
doubled, with white space, code, other scripts, words of a tokenizer's own, and of several turns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plaudit.console import counted, say
from plaudit.data.cells import excerpt, said
from plaudit.data.columns import mapped_in_each
from plaudit.data.rankings import Rejected, Text
from plaudit.data.rows import find_sources
from plaudit.data.tasks import Tasks
from plaudit.model.reward_model import RewardModel
from plaudit.model.scorer import gathered

# Words of a made row that is to be long, as a share of the tokens that the model reads.
LENGTHS = (0.1, 0.3, 0.6, 0.9)
LONGEST = 1024  # tokens of a made row: what a processor scores within seconds
SENTENCE = "Interest is paid twice a year, and the sum is paid back at the end. "

_TURNS = [
    {"role": "user", "content": "What is a bond?"},
    {"role": "assistant", "content": "A loan to a company or a state."},
    {"role": "user", "content": "And a share?"},
]
_SHORT: tuple[tuple[Text, tuple[str, ...]], ...] = (
    (
        "What is a bond?",
        ("A loan to a company or a state, with interest.", "It depends.", "No.", ""),
    ),
    ("Why do prices rise?", ("Demand grows faster than supply.", "Nobody knows why.")),
    ("2 + 2?", ("4", "5", "4.", " 4", "4\n")),
    ("Write a loop.", ("for i in range(3):\n    print(i)\n", "```python\nwhile True: pass\n```")),
    ("Qu'est-ce qu'une obligation ?", ("Un prêt à une entreprise, à intérêts.", "Je ne sais pas.")),
    ("什么是债券?", ("债券是一种债务工具。", "不知道。 🤷‍♀️")),
    ("Say nothing.", ("…", "   ", "-")),
    (
        "How does a row end?",
        ("With <|im_end|>, </s> or [SEP].", "With </s>", "With [SEP]", "With <|endoftext|>"),
    ),
    (" \tIndented?\n", ("Yes, by a tab.", "No")),
    (_TURNS, ("A part of a company.", "The same as a bond.")),
)


@dataclass(frozen=True)
class Row:
    """A completion of a prompt; those of one `prompt_number` are put in order."""

    number: int
    prompt_number: int
    prompt: Text
    completion: Text

    @property
    def name(self) -> str:
        """A line that tells it from others."""
        return f'"{excerpt(said(self.prompt))}" → "{excerpt(said(self.completion))}"'


def rows_of(prompts: Sequence[tuple[Text, Sequence[Text]]]) -> list[Row]:
    """A row for each completion.

    >>> [row.prompt_number for row in rows_of([("2+2?", ["4", "5"]), ("3+3?", ["6"])])]
    [0, 0, 1]
    """
    each = [(place, p, c) for place, (p, completions) in enumerate(prompts) for c in completions]
    return [Row(number, *of) for number, of in enumerate(each)]


def read_rows(
    data: Any, count: int, columns: Mapping[str, str] | None = None, encoding: str | None = None
) -> list[Row]:
    """The rows of `read_prompts`, which says what the arguments mean.

    Raises:
        PlauditError: when they cannot be read.
    """
    return rows_of(read_prompts(data, count, columns, encoding))


def read_prompts(
    data: Any, count: int, columns: Mapping[str, str] | None = None, encoding: str | None = None
) -> list[tuple[Text, list[Text]]]:
    """The first `count` completions of data that `plaudit score` reads, those of one prompt
    together; what is rejected is counted and told.

    Raises:
        PlauditError: when they cannot be read.
    """
    found: list[tuple[Text, Sequence[Text]]] = []
    left, rejected = count, 0
    sources = find_sources(data, None, True, encoding)
    for source, mapped in zip(sources, mapped_in_each(sources, columns), strict=True):
        for task in Tasks(source, mapped):
            if left <= 0:
                break
            if isinstance(task, Rejected):
                rejected += 1
                if rejected == 1:
                    say(f"{source.name}: row rejected: {task.reason}")
                continue
            found.append((task.prompt, task.completions))
            left -= len(task.completions)
    if rejected:
        say(f"{counted(rejected, 'row')} rejected in all")
    return list(gathered(found).values())


def made_rows(model: RewardModel) -> list[Row]:
    """Rows that tend to part programs, as far as the model takes them; the same for each call."""
    reads = min(model.max_length, LONGEST)
    words = [SENTENCE * max(int(share * reads / _tokens(model, SENTENCE)), 1) for share in LENGTHS]
    long = [("What is a bond?", (words[0], words[0] + "No.")), *((w, ("Yes.",)) for w in words[1:])]
    long.append(("Tell me more.", tuple(words[1:])))
    taken = [(p, c) for p, c in (*_SHORT, *long) if model.refusal(p, c) is None]
    return rows_of(taken)


def batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """The places of rows in batches of a size, those alike in length together: little is padded.

    >>> batches([3, 9, 4], 2)
    [[0, 2], [1]]
    """
    order = sorted(range(len(lengths)), key=lambda place: lengths[place])
    return [order[start : start + size] for start in range(0, len(order), size)]


def _tokens(model: RewardModel, text: str) -> int:
    """How many tokens a text has that is put at the end of another; at least one."""
    rows = model.encoding.encode_texts([("a", [text, text + text])])[0]["input_ids"]
    return max(len(rows[1]) - len(rows[0]), 1)
