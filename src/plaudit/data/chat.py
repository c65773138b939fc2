"""Prompt and completions as one dialogue, in which nothing stands twice.

Within one ranking the prompt and its completions are of the same kind, text or messages. A
completion never repeats its prompt: data sets often give whole dialogues beside the prompt, not
always to the letter. Where a pair has no prompt, the prompt is what both sides begin with.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from plaudit.data.cells import is_blank
from plaudit.data.rankings import ASKERS, BadRowError, Fault, Message, Text

# What comes right before an answer in transcripts: "\n\nAssistant:", "### Response:",
# "<|assistant|>", "<|im_start|>assistant".
TURN = re.compile(
    r"(?:^|\n)(?:#+[ ]*|<\|(?:im_start\|>)?)?(?:assistant|ai|bot|response|answer)(?:\|>|:|(?=\n))",
    re.IGNORECASE,
)
# What comes right before a question in them.
ASKS = re.compile(
    r"\s*(?:#+[ ]*|<\|(?:im_start\|>)?)?(?:human|user|question|instruction|prompt)(?:\|>|:|\n)\s*",
    re.IGNORECASE,
)
# Marks of a chat template that a text went through already.
RENDERED = re.compile(
    r"<\|(?:im_start|start_header_id|user|assistant|system|endoftext|eot_id)\|>|\[INST\]"
    r"|<start_of_turn>|(?:^|\n)### (?:Human|Instruction|Response)|(?:^|\n)(?:Human|Assistant):",
)
# Without one of these a text shows none of them: a look for them is faster.
IN_RENDERED = ("<|", "[INST]", "<start_of_turn>", "###", "Human:", "Assistant:")
# What comes right after one.
ENDS = re.compile(r"\A\s*(?:<\|(?:im_end|eot_id)\|>|<end_of_turn>|</s>)?\s*")
LONGEST_SIGN = 40  # characters, of either
# What was done to rows, which readers count and tell the user.
REPEATED = "the completions begin with the prompt, which is read once"
NEARLY_REPEATED = (
    "the completions begin with the prompt but for white space or a system turn, which is read once"
)
ALREADY_RENDERED = "the text shows the marks of a chat template that it went through already"


def fit(
    prompt: Text, completions: Sequence[Text], notes: Counter[str] | None = None
) -> tuple[Text, list[Text]]:
    """Prompt and completions of one kind, no completion repeating the prompt.

    Beside messages, a prompt that is a string becomes a message of the user's and a completion one
    of the assistant's. Turns at the start of a completion that are those of the prompt go, also
    where they differ in white space at their ends, or where one side has a system turn that the
    other lacks: then the prompt keeps it. Of texts the prompt goes where all completions are
    transcripts that begin with it ("Human: Hi" … "Assistant: Yes?").

    `notes` counts what was done. Raises `BadRowError` for a completion that has nothing but the
    prompt, or goes on with another turn of the same speaker.

    >>> fit("Hi", [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]])
    ([{'role': 'user', 'content': 'Hi'}], [[{'role': 'assistant', 'content': 'Yes?'}]])
    """
    if isinstance(prompt, str) and all(isinstance(text, str) for text in completions):
        return _fit_texts(prompt, completions, notes)  # type: ignore[arg-type]
    asked = [user(prompt)] if isinstance(prompt, str) else prompt
    whole, fitted = asked, []
    for text in completions:
        if isinstance(text, str):
            fitted.append([assistant(text)])
            continue
        repeated = _repeated(asked, text)
        if repeated is not None:
            begins, text = repeated
            if not text:
                raise BadRowError(
                    Fault.REPEATS, "the completion is blank: it only repeats the prompt"
                )
            _note(notes, REPEATED if begins == asked else NEARLY_REPEATED)
            if begins != asked:
                if whole not in (asked, begins):
                    raise BadRowError(
                        Fault.REPEATS,
                        "the completions repeat the prompt with different system turns",
                    )
                whole = begins
        role = text[0]["role"]
        if asked and (role == "system" or role == asked[-1]["role"] == "user"):
            raise BadRowError(
                Fault.REPEATS,
                f"the completion begins with a turn of the {role}'s, and not with an "
                "answer to the prompt",
            )
        fitted.append(text)
    return whole, fitted  # type: ignore[return-value]


def note_rendered(prompt: Text, notes: Counter[str]) -> None:
    """Count a prompt that is plain text and shows the marks of a chat template.

    >>> notes = Counter()
    >>> note_rendered("<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n", notes)
    >>> notes.total()
    1
    """
    words = prompt if isinstance(prompt, str) else prompt[-1]["content"] if prompt else ""
    if not isinstance(words, str) or not any(sign in words for sign in IN_RENDERED):
        return
    if RENDERED.search(words):
        notes[ALREADY_RENDERED] += 1


def begins_rendered(text: str) -> str:
    """The mark of a chat template that a text begins with; empty where it does not.

    >>> begins_rendered("<|im_start|>user\\nHi<|im_end|>\\n")
    '<|im_start|>'
    >>> begins_rendered("What is <|im_start|>?")
    ''
    """
    found = RENDERED.match(text.lstrip()) if any(sign in text for sign in IN_RENDERED) else None
    return found[0].strip() if found else ""


def without_reply(text: Text) -> str:
    """Why a completion in messages answers nothing; empty where it does.

    >>> without_reply([assistant("Yes?"), user("Where is Rome?")])
    "it ends with the user's turn"
    """
    if isinstance(text, str) or not text:
        return ""
    roles = [message["role"].lower() for message in text]
    if roles[-1] in (*ASKERS, "system", "developer"):
        return f"it ends with the {text[-1]['role']}'s turn"
    return "none of its turns is the assistant's" if set(roles) <= {"tool"} else ""


def _note(notes: Counter[str] | None, what: str) -> None:
    if notes is not None:
        notes[what] += 1


def user(content: Any) -> Message:
    """A message of the user's."""
    return {"role": "user", "content": content}


def assistant(content: Any) -> Message:
    """A message of the assistant's."""
    return {"role": "assistant", "content": content}


def _repeated(
    prompt: list[Message], dialogue: list[Message]
) -> tuple[list[Message], list[Message]] | None:
    """The prompt with the system turns of either side, and what follows it in the dialogue.

    None where the dialogue does not begin with the turns of the prompt.
    """
    if not prompt:
        return None
    own, theirs = _system_turns(prompt), _system_turns(dialogue)
    asked = prompt[own:]
    if own and theirs and not _same(prompt[:own], dialogue[:theirs]):
        return None
    end = theirs + len(asked)
    if end > len(dialogue) or not (asked or theirs) or not _same(asked, dialogue[theirs:end]):
        return None
    return prompt if own else dialogue[:theirs] + prompt, dialogue[end:]


def _system_turns(messages: Sequence[Message]) -> int:
    """How many messages at the start are the system's."""
    return next((n for n, m in enumerate(messages) if m["role"] != "system"), len(messages))


def _same(some: Sequence[Message], others: Sequence[Message]) -> bool:
    """Whether messages say the same but for white space at the ends of each."""
    return len(some) == len(others) and all(
        _trimmed(a) == _trimmed(b) for a, b in zip(some, others, strict=True)
    )


def _trimmed(message: Message) -> Message:
    content = message["content"]
    return message | {"content": content.strip() if isinstance(content, str) else content}


def _fit_texts(
    prompt: str, completions: Sequence[str], notes: Counter[str] | None
) -> tuple[Text, list[Text]]:
    rests = [_after_prompt(prompt.strip(), text) for text in completions]
    if not rests or None in rests:
        return prompt, list(completions)
    if any(rest is None or is_blank(rest) for rest in rests):
        raise BadRowError(Fault.REPEATS, "the completion is blank: it only repeats the prompt")
    _note(notes, REPEATED)
    return prompt.rstrip(), list(rests)  # type: ignore[arg-type]


def _after_prompt(prompt: str, text: str) -> str | None:
    """The answer in a transcript that begins with the prompt; None where `text` is none.

    An answer may well begin with the words of the question. It is a transcript where the prompt
    ends in the sign that an answer begins, or such a sign follows.
    """
    if prompt not in text[: len(prompt) + LONGEST_SIGN]:
        return None
    asks = ASKS.match(text)
    start = asks.end() if asks and not text.lstrip().startswith(prompt) else 0
    rest = text[start:].lstrip()
    if not prompt or not rest.startswith(prompt):
        return None
    rest = rest[len(prompt) :]
    end = prompt[-LONGEST_SIGN:]
    if any(sign.end() == len(end) for sign in TURN.finditer(end)):
        return rest
    rest = ENDS.sub("", rest, count=1)
    answers = TURN.match(rest)
    return rest[answers.end() :] if answers else None


def implicit_prompt(chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """Prompt, chosen and rejected of a pair whose prompt stands at the start of both.

    Of messages it is the longest common prefix. Of strings it is the longest common prefix cut back
    to the last sign that an answer begins ("\\n\\nAssistant:"), or else to the last white space,
    which stays with the completions; it may be empty. Both completions keep something. This is what
    TRL calls an implicit prompt (`trl.extract_prompt`), cut so that no word is split.

    >>> implicit_prompt("Human: Hi\\n\\nAssistant: Yes?", "Human: Hi\\n\\nAssistant: Yo")
    ('Human: Hi\\n\\nAssistant:', ' Yes?', ' Yo')
    >>> implicit_prompt("The sky is blue.", "The sky is black.")
    ('The sky is', ' blue.', ' black.')
    """
    if isinstance(chosen, str) and isinstance(rejected, str):
        common = chosen[: _common_length(chosen, rejected)]
        cuts = [match.end() for match in TURN.finditer(common)][::-1]
        cuts += [match.start() for match in re.finditer(r"\s+", common)][::-1]
        cut = next((cut for cut in cuts if chosen[cut:].strip() and rejected[cut:].strip()), 0)
        return common[:cut], chosen[cut:], rejected[cut:]
    # One side in messages: the other is an answer without its prompt.
    a, b = ([assistant(text)] if isinstance(text, str) else text for text in (chosen, rejected))
    system: list[Message] = []
    if bool(_system_turns(a)) != bool(_system_turns(b)):  # of one side alone it is of both
        turns = _system_turns(a) or _system_turns(b)
        system = (a if _system_turns(a) else b)[:turns]
        a, b = a[_system_turns(a) :], b[_system_turns(b) :]
    length = 0
    while length < min(len(a), len(b)) - 1 and a[length] == b[length]:
        length += 1
    return system + a[:length], a[length:], b[length:]


def _common_length(a: str, b: str) -> int:
    """How many characters two strings begin with in common, by halving."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
