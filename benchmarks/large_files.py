"""A file of a million pairs: how long each command takes with it, and how much memory.

Makes a file of invented pairs (400 bytes a row, words as frequent as in a language, with near
duplicates, contradictions, refusals, texts cut off and rows without an answer), then runs each
command in a child process, as a user does, and samples the memory of that process and all below it.
Of training it is the time to the first step that counts, imports and loading included; training is
then stopped.

    python benchmarks/large_files.py [--rows 1000000] [--command inspect] [--json FILE]
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import transformers
from contenders import machine, show

COMMON = (  # noqa: SIM905 (a list of that many is hard to read)
    "the of and to a in is it you that for on are with as be this at have from or by not can but "
    "what how when which your more an will do if one would there so about than them they some "
    "into other only time very most also any like we our its these make over such first new work "
    "use year way even good give take well back should need people money bank account because "
    "where after before between each many much without through under while"
).split()
STARTS = ("b", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "v", "st", "pr", "tr", "con")
MIDDLES = ("a", "e", "i", "o", "u", "ea", "ou", "al", "er", "in", "or", "en")
ENDS = ("", "t", "n", "r", "s", "ng", "nd", "l", "m", "tion", "ment", "ly", "ed")
VOCABULARY = 20_000
QUESTIONS = ("What is", "How do I get", "Why does", "Explain", "Is it true that", "Can you compare")
REFUSAL = "I'm sorry, but I can't help with that. "
# Of a thousand rows: how many are a near duplicate of an earlier prompt, contradict an earlier row,
# refuse, stop in the middle of a sentence, and have no rejected answer.
NEAR, CONTRADICTING, REFUSED, CUT_OFF, BLANK = 5, 1, 3, 3, 1
AT_ONCE = 10_000  # rows that are drawn together
BETWEEN_SAMPLES = 0.1  # seconds
COMMANDS = ("inspect", "pairs", "train")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--command", action="append", choices=COMMANDS, help="may be repeated; all")
    parser.add_argument("--base", action="append", help="of training; by default two")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "pairs.jsonl"
        write_file(data, options.rows, options.seed)
        megabytes = data.stat().st_size / 1e6
        print(f"{options.rows:,} rows, {megabytes:,.0f} MB")
        measured: dict[str, dict[str, float]] = {}
        for command in options.command or COMMANDS:
            for title, arguments, log in runs(command, data, folder, options.base):
                measured[title] = run(arguments, log)
                print(f"  {title}: {measured[title]}", flush=True)
    rows = [
        (title, f"{it['seconds']:.1f}", f"{it['cpu_seconds']:.1f}", f"{it['peak_mb']:,.0f}")
        for title, it in measured.items()
    ]
    show(("", "seconds", "seconds of processors", "peak MB"), rows)
    if options.json:
        of = {"machine": machine("float32", None), "rows": options.rows, "megabytes": megabytes}
        Path(options.json).write_text(json.dumps({**of, "commands": measured}, indent=2))


def runs(
    command: str, data: Path, folder: Path, bases: list[str] | None
) -> Iterator[tuple[str, list[str], Path | None]]:
    """Each as its title, what to run, and of training the log to wait for."""
    if command == "inspect":
        yield "inspect", ["inspect", str(data)], None
    elif command == "pairs":
        yield "pairs", ["pairs", str(data), "-o", str(folder / "out.jsonl")], None
    else:
        for base in bases or (str(tiny_bert(folder / "tiny", data)), "embedded:minilm"):
            for again in ("", ", again"):
                output = folder / f"run-{len(list(folder.iterdir()))}"
                options = ["--base", base, "--recipe", "plain", "--output", str(output)]
                title = f"train {Path(base).name}, to the first step{again}"
                yield title, ["train", str(data), *options], output / "log.jsonl"


def run(arguments: list[str], log: Path | None) -> dict[str, float]:
    """Seconds on the clock and of processors, and the peak of the resident memory in megabytes.

    They are of a child and all below it; memory that processes share counts once for each of them.
    With a `log` it is stopped at the first step that the log has.
    """
    started = time.monotonic()
    errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
    child = subprocess.Popen(
        [sys.executable, "-m", "plaudit", *arguments], stdout=subprocess.DEVNULL, stderr=errors
    )
    tree, peak = psutil.Process(child.pid), 0
    worked: dict[int, float] = {}  # by process, the seconds of processors that it has taken
    while child.poll() is None:
        peak = max(peak, sample(tree, worked))
        if log is not None and stepped(log):
            break
        time.sleep(BETWEEN_SAMPLES)
    seconds = time.monotonic() - started
    found = {"seconds": seconds, "cpu_seconds": sum(worked.values()), "peak_mb": peak / 1e6}
    if child.returncode is None:
        stop(tree)
        return found
    if child.returncode:
        errors.seek(0)
        raise SystemExit(f"plaudit {' '.join(arguments)}: {errors.read().decode()[-2000:]}")
    if log is not None:
        raise SystemExit(f"{log}: has no step")
    return found


def sample(tree: psutil.Process, worked: dict[int, float]) -> int:
    """The resident memory in bytes; `worked` gets what each process has taken so far."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [tree, *tree.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
                times = process.cpu_times()
                worked[process.pid] = times.user + times.system
    return total


def stepped(log: Path) -> bool:
    """Whether a training step stands in a run's log."""
    if not log.is_file():
        return False
    lines = log.read_text().splitlines(keepends=True)
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return any("loss" in row and row["step"] for row in rows)


def stop(tree: psutil.Process) -> None:
    processes = [tree, *tree.children(recursive=True)]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


def tiny_bert(folder: Path, data: Path) -> Path:
    """A BERT of two layers with random weights, that knows the words of the first rows."""
    words: dict[str, None] = {}
    with data.open(encoding="utf-8") as file:
        for line in islice(file, 2_000):
            for text in json.loads(line).values():
                words |= dict.fromkeys(re.findall(r"\w+|[^\w\s]", text.lower()))
    letters = sorted({letter for word in words for letter in word})
    pieces = dict.fromkeys([*letters, *(f"##{letter}" for letter in letters), *words])
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]
    tokenizer = transformers.BertTokenizer(vocab={piece: i for i, piece in enumerate(vocabulary)})
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=512,
    )  # fmt: skip
    transformers.AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_file(path: Path, rows: int, seed: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in islice(invented(np.random.default_rng(seed)), rows):
            file.write(json.dumps(row) + "\n")


def invented(chance: np.random.Generator) -> Iterator[dict[str, str]]:
    """Rows without end."""
    words = vocabulary(chance)
    frequency = 1 / (np.arange(VOCABULARY) + 2.7)  # Zipf's law, as Mandelbrot mended it
    bounds = np.cumsum(frequency / frequency.sum())
    number = 0
    while True:
        drawn = iter(np.searchsorted(bounds, chance.random(AT_ONCE * 100)).tolist())
        lengths = chance.gamma(4, 0.25, (AT_ONCE, 3)) * (8.5, 24, 22) + (3, 4, 4)
        kinds = chance.integers(0, 1000, AT_ONCE).tolist()
        kept: list[dict[str, str]] = []
        for kind, (asked, better, worse) in zip(kinds, lengths.astype(int).tolist(), strict=True):
            number += 1
            question = " ".join(words[i] for i in islice(drawn, asked))
            row = {
                "prompt": f"{QUESTIONS[number % len(QUESTIONS)]} {question}?",
                "chosen": sentences([words[i] for i in islice(drawn, better)]),
                "rejected": sentences([words[i] for i in islice(drawn, worse)]),
            }
            spoil(row, kind, kept[number * 7919 % len(kept)] if kept else row)
            kept.append(row)
            yield row


def spoil(row: dict[str, str], kind: int, earlier: dict[str, str]) -> None:
    """Give the row one of the faults, if it is its turn."""
    if kind < (until := NEAR):
        row["prompt"] = earlier["prompt"].replace("?", ", please?")
    elif kind < (until := until + CONTRADICTING):
        row |= {"prompt": earlier["prompt"], "chosen": earlier["rejected"]}
        row["rejected"] = earlier["chosen"]
    elif kind < (until := until + REFUSED):
        row["rejected"] = REFUSAL + row["rejected"]
    elif kind < (until := until + CUT_OFF):
        row["chosen"] = row["chosen"].rstrip(".") + " and the"
    elif kind < until + BLANK:
        row["rejected"] = ""


def vocabulary(chance: np.random.Generator) -> list[str]:
    """Words, the most frequent first: those of English, then others that look like words, which
    are the longer the rarer they are."""
    words = dict.fromkeys(COMMON)
    while len(words) < VOCABULARY:
        syllables = 1 + int(chance.integers(0, 3))
        word = "".join(chance.choice(STARTS) + chance.choice(MIDDLES) for _ in range(syllables))
        words[word + chance.choice(ENDS)] = None
    return COMMON + sorted([*words][len(COMMON) :], key=len)


def sentences(words: list[str]) -> str:
    """Words in sentences of eleven."""
    parts = [" ".join(words[i : i + 11]) for i in range(0, len(words), 11)]
    return " ".join(part.capitalize() + "." for part in parts)


if __name__ == "__main__":
    main()
