"""Best-of-n at size: what is kept is what plain loops over all n completions keep, trainers take
it, and after a kill at any moment the output is the same byte for byte."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from datasets import Dataset
from scipy.stats import spearmanr

from plaudit import generate, load_rankings
from plaudit.errors import PlauditError
from plaudit.resumable import Output
from plaudit.sampling.policy import Policy

PROMPTS = ["Is it so?", "What is two plus two?", "dog", "The quick brown fox", "0 1 2 3", "fox"]
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "dog"}]
SAMPLING = {"n": 16, "max_new_tokens": 6, "temperature": 0.6, "batch_size": 4, "seed": 2}


@pytest.fixture(scope="module")
def policy(base):
    """One in which many tokens end a completion: some are blank, some equal, some unfinished."""

    def load(name):
        loaded = Policy.load(base(name), device="cpu", dtype="float32")
        loaded.model.generation_config.eos_token_id = list(range(30, 300, 12))
        return loaded

    loaded = {name: load(name) for name in ("gpt2", "qwen2")}
    return loaded.__getitem__


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def made(tmp_path, model, policy, prompts=PROMPTS, **options):
    """The rows, and the rejected ones by their prompt."""
    result = generate(model, policy, prompts, tmp_path / "out.jsonl", **SAMPLING | options)
    rejected = rows_of(result.rejected_to) if result.rejected_to else []
    return result, rows_of(tmp_path / "out.jsonl"), {
        json.dumps(row["row"]["prompt"]): row["reason"] for row in rejected
    }  # fmt: skip


def everything(model, policy, prompts=PROMPTS):
    """Of each prompt all n: (text, finished, reward), each scored alone."""
    for prompt, drawn in zip(prompts, policy.complete(prompts, **SAMPLING), strict=True):
        yield prompt, [(c.text, c.finished, *model.score(prompt, [c.text])) for c in drawn]


def usable(drawn, unfinished=False):
    """Distinct texts that are not blank, and finished unless others do too."""
    found = {}
    for text, finished, reward in drawn:
        if text.strip() and (finished or unfinished):
            found.setdefault(text.strip(), (text, reward))
    return sorted(found.values(), key=lambda one: -one[1])


# ---- what is kept ----


@pytest.mark.parametrize("unfinished", [False, True])
def test_the_best_is_kept(policy, reward_model, tmp_path, unfinished):
    ours, model = policy("gpt2"), reward_model("llama")
    result, rows, rejected = made(tmp_path, model, ours, keep_unfinished=unfinished)
    kept = iter(rows)
    counts = Counter()
    for prompt, drawn in everything(model, ours):
        best = usable(drawn, unfinished)[:1]
        counts["cut"] += sum(not finished for _, finished, _ in drawn)
        counts["blank"] += sum(not text.strip() for text, *_ in drawn)
        if not best:
            assert rejected[json.dumps(prompt)].startswith("no completion left: ")
            continue
        row = next(kept)
        assert (row["prompt"], row["completion"], row["n"]) == (prompt, best[0][0], 16)
        assert row["reward"] == pytest.approx(best[0][1], abs=1e-5)
        assert set(row) - {"finished"} == {"prompt", "completion", "reward", "n"}
        assert ("finished" in row) is unfinished
    assert next(kept, None) is None
    # What the test is about did occur.
    assert 0 < counts["cut"] < 96
    assert result.summary["unfinished"] == counts["cut"]
    assert result.summary["blank_left_out"] == counts["blank"] > 0
    assert result.summary["duplicates_left_out"] > 0


def test_the_k_best_are_kept_above_the_least_reward(policy, reward_model, tmp_path):
    ours, model = policy("gpt2"), reward_model("llama")
    every = list(everything(model, ours))
    rewards = [reward for _, drawn in every for _, reward in usable(drawn)]
    least = float(np.median(rewards)) + 1e-3
    _, rows, rejected = made(tmp_path, model, ours, keep="top-k", k=3, min_reward=least)
    expected = [
        (prompt, text, rank)
        for prompt, drawn in every
        for rank, (text, reward) in enumerate(usable(drawn)[:3], start=1)
        if reward >= least
    ]
    assert [(row["prompt"], row["completion"], row["rank"]) for row in rows] == expected
    without = [p for p, drawn in every if not any(r >= least for _, r in usable(drawn))]
    assert sorted(rejected) == sorted(map(json.dumps, without))


@pytest.mark.parametrize("which", ["best-worst", "best-random", "all"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_pairs_are_of_unequal_completions_beyond_the_least_margin(
    policy, reward_model, tmp_path, which, share
):
    ours, model = policy("gpt2"), reward_model("llama")
    every = [(prompt, usable(drawn)) for prompt, drawn in everything(model, ours)]
    spans = [found[0][1] - found[-1][1] for _, found in every if len(found) > 1]
    least = share * max(spans)
    result, rows, rejected = made(
        tmp_path, model, ours, keep="pairs", pairs=which, min_margin=least
    )
    for prompt, found in every:
        mine = [row for row in rows if row["prompt"] == prompt]
        possible = {
            (a, b): ra - rb for a, ra in found for b, rb in found if ra > rb and ra - rb >= least
        }
        if which != "all":
            possible = {pair: m for pair, m in possible.items() if pair[0] == found[0][0]}
        if which == "best-worst":
            possible = {pair: m for pair, m in possible.items() if pair[1] == found[-1][0]}
        pairs = [(row["chosen"], row["rejected"]) for row in mine]
        if which == "best-random":
            assert len(pairs) == bool(possible)
            assert set(pairs) <= set(possible)
        else:
            assert sorted(pairs) == sorted(possible)
        assert (json.dumps(prompt) in rejected) is (not mine)
        for row, pair in zip(mine, pairs, strict=True):
            margin = row["reward_chosen"] - row["reward_rejected"]
            assert margin == pytest.approx(possible[pair], abs=2e-5)
            assert "margin" not in row
    margins = [row["reward_chosen"] - row["reward_rejected"] for row in rows]
    assert result.summary["mean_margin"] == pytest.approx(np.mean(margins))


def test_a_random_partner_is_not_always_the_worst(policy, reward_model, tmp_path):
    ours, model = policy("gpt2"), reward_model("llama")
    found = {}
    for seed in range(3):
        _, rows, _ = made(
            tmp_path, model, ours, keep="pairs", pairs="best-random", seed=seed, overwrite=True
        )
        for row in rows:
            found[seed, row["prompt"]] = row["reward_rejected"]
    _, rows, _ = made(tmp_path, model, ours, keep="pairs", seed=2, overwrite=True)
    worst = {(2, row["prompt"]): row["reward_rejected"] for row in rows}
    assert any(found[key] > worst[key] for key in worst)


def test_the_figures_by_hand(policy, reward_model, tmp_path):
    ours, model = policy("gpt2"), reward_model("llama")
    result, rows, _ = made(tmp_path, model, ours)
    every = [(prompt, drawn) for prompt, drawn in everything(model, ours)]
    rewards = {prompt: [reward for *_, reward in drawn] for prompt, drawn in every}
    gains = [row["reward"] - np.mean(rewards[row["prompt"]]) for row in rows]
    correlations, longest = [], []
    for _, drawn in every:
        found = usable(drawn)
        lengths = [len(text) for text, _ in found]
        if len(set(lengths)) > 1:  # rewards all differ
            correlations.append(spearmanr(lengths, [reward for _, reward in found])[0])
            longest.append(lengths[0] == max(lengths))
    summary = result.summary
    assert (summary["prompts"], summary["completions"]) == (6, 96)
    assert summary["prompts_kept"] == summary["rows"] == len(rows)
    assert summary["mean_reward"] == pytest.approx(np.mean(list(rewards.values())), abs=1e-5)
    assert summary["mean_reward_of_kept"] == pytest.approx(np.mean([r["reward"] for r in rows]))
    assert summary["gain"] == pytest.approx(np.mean(gains), abs=1e-5)
    assert summary["reward_length_correlation"] == pytest.approx(np.mean(correlations), abs=1e-6)
    assert summary["best_is_longest"] == pytest.approx(np.mean(longest))
    assert f"{len(rows)} rows of {len(rows)} prompts" in str(result)


# ---- what it is made for ----


def test_messages_in_messages_out_and_trainers_take_them(base, policy, reward_model, tmp_path):
    """TRL's own trainers make their tokens of the rows, of prompts with and without messages."""
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    prompts = {"plain": PROMPTS, "chat": [CHAT, [{"role": "user", "content": "fox"}]]}
    quiet = {
        "output_dir": str(tmp_path), "report_to": [], "use_cpu": True, "bf16": False,
        "disable_tqdm": True,
    }  # fmt: skip
    for name, some in prompts.items():
        model, ours = reward_model("llama"), policy("qwen2")
        _, rows, _ = made(tmp_path, model, ours, some, overwrite=True)
        if name == "chat":
            assert rows[0]["prompt"] == CHAT
            assert [message["role"] for message in rows[0]["completion"]] == ["assistant"]
        args = SFTConfig(max_length=64, **quiet)
        trainer = SFTTrainer(
            model=ours.model, args=args, processing_class=ours.tokenizer,
            train_dataset=Dataset.from_list(rows),
        )  # fmt: skip
        text = ours.tokenizer.decode(trainer.train_dataset[0]["input_ids"])
        first = rows[0]["prompt"]
        assert text.startswith(first if name == "plain" else ours._render(first))

        _, rows, _ = made(tmp_path, model, ours, some, keep="pairs", overwrite=True)
        rankings = list(load_rankings(tmp_path / "out.jsonl"))
        assert [(r.prompt, *r.completions) for r in rankings] == [
            (row["prompt"], row["chosen"], row["rejected"]) for row in rows
        ]
        assert {r.margin for r in rankings} == {None}
        DPOTrainer(
            model=ours.model, args=DPOConfig(max_length=64, **quiet),
            processing_class=ours.tokenizer, train_dataset=Dataset.from_list(rows),
        )  # fmt: skip


def test_plain_prompts_become_messages_when_asked(policy, reward_model, tmp_path, capsys):
    model, ours = reward_model("llama"), policy("qwen2")
    made(tmp_path, model, ours)
    assert "--messages writes plain prompts" in capsys.readouterr().err
    _, rows, _ = made(tmp_path, model, ours, messages=True, overwrite=True)
    assert "--messages" not in capsys.readouterr().err
    assert rows[0]["prompt"] == [{"role": "user", "content": PROMPTS[0]}]
    alone = [model.score(row["prompt"], [row["completion"]])[0] for row in rows]
    assert [row["reward"] for row in rows] == pytest.approx(alone, abs=1e-5)


def test_ids_stay_and_rows_without_a_prompt_are_listed(policy, reward_model, tmp_path):
    data = tmp_path / "prompts.jsonl"
    lines = [{"prompt_id": k, "prompt": text, "other": 1} for k, text in enumerate(PROMPTS)]
    lines[3:3] = [{"prompt_id": 9, "prompt": " "}, {"prompt_id": 10, "prompt": PROMPTS[0]}]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{broken\n")
    _, plain, _ = made(tmp_path, reward_model("llama"), policy("gpt2"))
    result = generate(
        reward_model("llama"), policy("gpt2"), data, tmp_path / "two.jsonl", **SAMPLING
    )
    two = rows_of(tmp_path / "two.jsonl")
    assert [row.pop("prompt_id") for row in two] == [PROMPTS.index(row["prompt"]) for row in plain]
    assert two == plain  # but for the ids: neither a repeat nor a bad row changes anything
    rejected = [row for row in rows_of(result.rejected_to) if "no completion" not in row["reason"]]
    assert [row["line"] for row in rejected] == [4, 9]
    assert "blank" in rejected[0]["reason"]
    assert "JSON" in rejected[1]["reason"]
    assert result.summary["unreadable_rows"] == 2


# ---- kills ----


@pytest.mark.parametrize("between", [0.0, 1e9])
def test_after_a_kill_it_goes_on_to_the_same_bytes(
    policy, reward_model, tmp_path, monkeypatch, between
):
    """What lies on the disk before and after every step is what a kill at that moment leaves."""
    model, ours = reward_model("llama"), policy("gpt2")
    data = tmp_path / "prompts.jsonl"
    texts = [None, *(f"{text} {k}" for k in range(3) for text in PROMPTS), None, "x" * 3, None]
    data.write_text("".join(json.dumps({"id": k, "prompt": t}) + "\n" for k, t in enumerate(texts)))
    monkeypatch.setattr("plaudit.resumable.SECONDS_BETWEEN_STATES", between)
    folder, kills = tmp_path / "folder", []

    def run(**more):
        return generate(
            model, ours, data, folder / "out.jsonl", keep="top-k", k=2, **SAMPLING | more
        )

    def watched(step):
        def watching(*args, **options):
            for moment in ("before", "after"):
                kills.append(tmp_path / f"kill-{len(kills)}")
                shutil.copytree(folder, kills[-1])
                if moment == "before":
                    step(*args, **options)

        return watching

    folder.mkdir()
    with monkeypatch.context() as patch:
        for name in ("commit", "finish"):
            patch.setattr(Output, name, watched(getattr(Output, name)))
        whole = run()
    expected = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(expected) == ["out.jsonl", "rejected.jsonl"]
    assert len(kills) >= 12
    for kill in kills[:-1]:
        shutil.rmtree(folder)
        shutil.copytree(kill, folder)
        resumed = run(resume=True)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
        assert resumed.summary == whole.summary


def test_only_the_same_output_is_resumed(policy, reward_model, tmp_path, monkeypatch):
    model, ours = reward_model("llama"), policy("gpt2")
    commit = Output.commit

    def interrupted(self, rows, rejected, done, note):
        if self.done:
            raise KeyboardInterrupt
        commit(self, rows, rejected, done, note)

    with monkeypatch.context() as patch:
        patch.setattr(Output, "commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path, model, ours)
    for options, said in [
        ({}, "unfinished, 4 input rows are done; --resume goes on"),
        ({"resume": True, "n": 9}, "was begun with n 16, not 9"),
        ({"resume": True, "prompts": PROMPTS[1:]}, "was begun with .*prompts"),
        ({"resume": True, "keep": "pairs"}, "was begun with .*keep"),
    ]:
        with pytest.raises(PlauditError, match=said):
            made(tmp_path, model, ours, **options)
    _, rows, _ = made(tmp_path, model, ours, resume=True)
    _, again, _ = made(tmp_path, model, ours, overwrite=True)
    assert rows == again


# ---- warnings and errors ----


def test_best_of_n_that_takes_the_longest_is_told_of(policy, reward_model, tmp_path, capsys):
    """A reward that is the length, against one that has nothing to do with it."""
    model, ours = reward_model("llama"), policy("gpt2")
    prompts = [f"{text} {k}" for k in range(5) for text in PROMPTS]
    options = {"max_new_tokens": 12, "keep_unfinished": True}

    class Long(type(model)):
        def score_all(self, prompts):
            yield from ([float(len(text)) for text in texts] for _, texts in prompts)

    long = Long(**{name: getattr(model, name) for name in model.__dataclass_fields__})
    result, _, _ = made(tmp_path, long, ours, prompts, **options)
    assert "mostly takes the longest" in capsys.readouterr().err
    assert result.summary["best_is_longest"] == 1
    assert result.summary["reward_length_correlation"] == pytest.approx(1)
    result, _, _ = made(tmp_path, model, ours, prompts, overwrite=True, **options)
    assert "mostly takes" not in capsys.readouterr().err


def test_many_unfinished_completions_are_told_of(policy, reward_model, tmp_path, capsys):
    result, *_ = made(tmp_path, reward_model("llama"), policy("gpt2"))
    said = capsys.readouterr().err
    assert "of the completions were cut at 6 tokens, so long ones are missing" in said
    cut = result.summary["unfinished_left_out"]
    assert cut > 0
    assert f"6 prompts, 96 completions; left out: {cut} unfinished, " in str(result)


def test_unfinished_completions_that_are_kept_are_not_said_to_be_missing(
    policy, reward_model, tmp_path, capsys
):
    options = {"keep": "top-k", "k": 16, "keep_unfinished": True}
    result, rows, _ = made(tmp_path, reward_model("llama"), policy("gpt2"), **options)
    said = capsys.readouterr().err
    assert "cut at 6 tokens, so what is kept of them breaks off; raise --max-new-tokens" in said
    assert "missing" not in said
    drawn = [one for _, all_n in everything(reward_model("llama"), policy("gpt2")) for one in all_n]
    cut = sum(not finished for _, finished, _ in drawn)
    assert any(not row["finished"] for row in rows)
    first = str(result).splitlines()[0]
    assert first.startswith(f"6 prompts, 96 completions, {cut} of them unfinished; left out: ")
    assert first.count("unfinished") == 1


def test_what_is_loaded_and_sampled_is_said_before_it_is_done(
    base, reward_model, tmp_path, capsys, monkeypatch
):
    reward_model("llama").save(tmp_path / "model")
    for name in ("SECONDS_BEFORE_PROGRESS", "SECONDS_BETWEEN_LINES"):
        monkeypatch.setattr(f"plaudit.console.{name}", 0.0)
    options = SAMPLING | {"batch_size": 2, "keep_unfinished": True}
    prompts = ["Is it so?", "dog", "fox"]
    generate(tmp_path / "model", base("gpt2"), prompts, tmp_path / "out.jsonl", **options)
    said = capsys.readouterr().err
    places = [
        said.index(part)
        for part in (
            "loading the reward model\n",
            f"loading the policy {base('gpt2')}\n",
            "tokens of the first prompts: 2 of 6",
            "generating: 1 of 3",
        )
    ]
    assert places == sorted(places)
    assert said.count("tokens of the first prompts: 2 of 6") == 1


def test_where_nothing_is_kept_the_reasons_are(policy, reward_model, tmp_path):
    model, ours = reward_model("llama"), policy("gpt2")
    with pytest.raises(PlauditError, match="no prompt yielded a row; the reasons are in"):
        made(tmp_path, model, ours, min_reward=1e6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rejected.jsonl"]
    assert len(rows_of(tmp_path / "rejected.jsonl")) == 6


def test_a_policy_that_never_ends_is_told_how_to_go_on(base, reward_model, tmp_path):
    endless = Policy.load(base("llama"), device="cpu", dtype="float32")
    endless.model.generation_config.eos_token_id = endless.tokenizer.eos_token = None
    with pytest.raises(PlauditError, match="96 of 96 completions are unfinished: raise --max-new"):
        made(tmp_path, reward_model("llama"), endless)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": "worst"}, "keep: take one of best, top-k, pairs"),
        ({"keep": "pairs", "pairs": "some"}, "pairs: take one of best-worst, best-random, all"),
        ({"keep": "top-k", "k": 0}, "k: 0 is not a number of 1 or more"),
        ({"keep": "pairs", "min_margin": -1}, "min_margin: -1 is not a number of 0 or more"),
        ({"min_reward": float("nan")}, "min_reward: nan is not a finite"),
        ({"keep": "pairs", "n": 1}, "pairs need 2 completions"),
        ({"n": 0}, "n: 0 is not a number"),
        ({"prompts": []}, "there is no prompt in it"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_loaded(tmp_path, options, said):
    with pytest.raises(PlauditError, match=said):
        made(tmp_path, tmp_path / "no-model", tmp_path / "no-policy", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["prompts.jsonl", "prompts.txt"])
def test_the_prompts_are_not_replaced(policy, reward_model, tmp_path, name):
    prompts, output = tmp_path / name, tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Hi"}\n')
    if output != prompts:
        output.symlink_to(prompts)
    with pytest.raises(PlauditError, match="is the input"):
        generate(reward_model("llama"), policy("gpt2"), prompts, output, overwrite=True)
    assert prompts.read_text() == '{"prompt": "Hi"}\n'


def test_the_output_is_not_replaced(policy, reward_model, tmp_path):
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(PlauditError, match="already exists"):
        made(tmp_path, reward_model("llama"), policy("gpt2"))
    with pytest.raises(PlauditError, match="no kind of file"):
        generate(reward_model("llama"), policy("gpt2"), PROMPTS, tmp_path / "out.txt")
