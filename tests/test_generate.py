"""Sampling from a policy and comparing: drawn from the policy's distribution, the same every time,
whatever stands beside it in the batch."""

import json
import os

import pytest
import torch
from scipy.stats import chisquare, pearsonr

from plaudit.errors import PlauditError
from plaudit.generate import Comparison, Policy, compare, format_comparison

PROMPTS = ["Is it so?", "What is two plus two? " * 3, "dog", "The quick brown fox", "0 1 2 3"]
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "dog"}]


@pytest.fixture(scope="module")
def policy(base):
    """Two that differ in most: no chat template and no pad token against both."""
    loaded = {name: Policy.load(base(name), device="cpu") for name in ("gpt2", "qwen2")}
    return loaded.__getitem__


def sampled(policy, prompts=PROMPTS, **options):
    return list(policy.sample(prompts, **{"n": 3, "max_new_tokens": 8, **options}))


@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
@pytest.mark.parametrize("temperature", [0, 0.8])
def test_completions_depend_on_nothing_beside_them(policy, name, temperature):
    n = 3 if temperature else 1
    options = {"temperature": temperature, "n": n}
    everything = sampled(policy(name), batch_size=5, **options)
    assert [len(completions) for completions in everything] == [n] * 5
    assert sampled(policy(name), batch_size=1, **options) == everything
    assert sampled(policy(name), batch_size=3, **options) == everything
    assert sampled(policy(name), PROMPTS[::-1], batch_size=2, **options) == everything[::-1]
    assert sampled(policy(name), PROMPTS[:2], **options) == everything[:2]
    first = sampled(policy(name), temperature=temperature, n=1)
    assert first == [completions[:1] for completions in everything]


def test_another_seed_gives_other_completions_and_ours_leaves_chance_alone(policy):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a, b = sampled(policy("gpt2"), seed=0), sampled(policy("gpt2"), seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert len({text for completions in a + b for text in completions}) == 30


@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_greedy_decoding_takes_the_likeliest_token(policy, name):
    """Against a loop without batches, padding, cache or `generate`."""
    ours = policy(name)
    text = PROMPTS[1]
    if name == "qwen2":
        text = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    ids = ours.tokenizer(text, return_tensors="pt")["input_ids"]
    start = ids.shape[1]
    with torch.inference_mode():
        for _ in range(8):
            token = ours.model(ids).logits[:, -1].argmax(1, keepdim=True)
            if token.item() == ours.tokenizer.eos_token_id:
                break
            ids = torch.cat([ids, token], 1)
    expected = ours.tokenizer.decode(ids[0, start:], skip_special_tokens=True).strip()
    assert sampled(ours, n=1, temperature=0)[1] == [expected]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.8)])
def test_tokens_are_drawn_with_the_policys_probabilities(policy, temperature, top_p):
    from plaudit.generate import _Choose, _numbers

    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -torch.inf, -1.0])
    probabilities = (logits / temperature).softmax(0)
    # The smallest set that reaches top_p, by hand.
    order = probabilities.argsort(descending=True)
    before = probabilities[order].cumsum(0) - probabilities[order]
    probabilities[order[before >= top_p]] = 0
    probabilities /= probabilities.sum()

    count = 20_000
    numbers = torch.from_numpy(_numbers("p", 0, 0, count))[:, None]
    chosen = _Choose(numbers, temperature, top_p)(None, logits.expand(count, -1))
    tokens = chosen.argmax(1)
    assert torch.isfinite(chosen).sum(1).eq(1).all()
    drawn = torch.bincount(tokens, minlength=6).double()
    possible = probabilities > 0
    assert drawn[~possible].sum() == 0
    expected = probabilities[possible].double() * count
    expected *= count / expected.sum()
    assert chisquare(drawn[possible], expected).pvalue > 1e-3


@pytest.mark.parametrize(("number", "token"), [(0.0, 1), (0.5, 3), (1 - 2**-24, 3)])
def test_the_ends_of_the_numbers_draw_no_token_without_a_chance(number, token):
    from plaudit.generate import _Choose

    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    chosen = _Choose(torch.tensor([[number]]), 1.0, 1.0)(None, logits)
    assert chosen.argmax(1).item() == token


def test_numbers_of_different_completions_have_nothing_in_common():
    from plaudit.generate import _numbers

    keys = [(p, k, s) for p in ("a", "b", CHAT) for k in (0, 1) for s in (0, 1)]
    rows = [tuple(_numbers(p, k, s, 4)) for p, k, s in keys]
    assert len({number for row in rows for number in row}) == 4 * len(keys)
    assert tuple(_numbers("a", 0, 0, 9)[:4]) == rows[0]


def test_a_tiny_temperature_is_greedy(policy):
    almost = sampled(policy("gpt2"), n=1, temperature=1e-30, top_p=1.0)
    assert almost == sampled(policy("gpt2"), n=1, temperature=0)


def test_a_dialogue_goes_through_the_chat_template(policy):
    plain = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\ndog<|im_end|>\n"
    assert policy("qwen2")._render(CHAT) == plain + "<|im_start|>assistant\n"
    assert policy("gpt2")._render(CHAT) == "System: Be brief.\n\nUser: dog"
    assert len(sampled(policy("gpt2"), [CHAT])[0]) == 3


def test_a_prompt_that_is_too_long_keeps_its_end_and_is_told_of(policy, capsys):
    ours = policy("gpt2")
    prompt = "So it is, is it not? " * 60
    kept = ours.tokenizer.decode(ours.tokenizer(prompt)["input_ids"][-(128 - 8) :])
    (of_long,) = sampled(ours, [prompt], n=1, temperature=0)
    assert "a prompt is longer than the policy reads: its beginning is cut" in (
        capsys.readouterr().err
    )
    assert of_long == sampled(ours, [kept], n=1, temperature=0)[0]
    sampled(ours, [prompt, "dog", prompt + "?"], batch_size=1)
    assert "2 prompts are longer than the policy reads" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 0}, "n: 0 is not a number, 1 or more"),
        ({"batch_size": 0}, "batch_size: 0 is not"),
        ({"max_new_tokens": 0}, "max_new_tokens: 0 is not"),
        ({"max_new_tokens": 128}, "max_new_tokens: 128 fill all 128 tokens"),
        ({"temperature": -1}, "temperature: -1 is not a number, 0 or more"),
        ({"temperature": float("nan")}, "temperature: nan is not"),
        ({"temperature": 0}, "0 decodes greedily, which gives one completion; take n 1"),
        ({"top_p": 0}, "top_p: 0 is not a share"),
        ({"top_p": 1.5}, "top_p: 1.5 is not a share"),
        ({"prompts": [""]}, "a prompt is empty"),
    ],
)
def test_wrong_settings_are_refused(policy, options, said):
    with pytest.raises(PlauditError, match=said):
        sampled(policy("gpt2"), **options)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_broken_policy_is_told_of(base, value, temperature):
    broken = Policy.load(base("gpt2"), device="cpu")
    with torch.no_grad():
        broken.model.transformer.ln_f.bias.fill_(value)
    with pytest.raises(PlauditError, match="policy: its logits are not finite"):
        sampled(broken, n=1, temperature=temperature)


def test_a_policy_must_be_able_to_generate(base, tmp_path):
    with pytest.raises(PlauditError, match="is an encoder; only a decoder generates"):
        Policy.load(base("bert"))
    with pytest.raises(PlauditError, match="cannot be loaded"):
        Policy.load(tmp_path)


# ---- compare ----


def test_the_best_is_marked_and_everything_is_written(policy, reward_model, tmp_path, capsys):
    model = reward_model("bert")
    result = compare(
        model, policy("qwen2"), [*PROMPTS, CHAT], n=3, max_new_tokens=6, output=tmp_path / "out"
    )
    assert capsys.readouterr().out == ""
    written = (tmp_path / "out" / "completions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in written]
    assert rows == list(result.rows())
    assert len(rows) == 18
    for start in range(0, 18, 3):
        three = rows[start : start + 3]
        assert three[0]["prompt"] == [*PROMPTS, CHAT][start // 3]
        rewards = [row["reward"] for row in three]
        alone = model.score(three[0]["prompt"], [row["completion"] for row in three])
        assert rewards == pytest.approx(alone, abs=1e-5)
        assert [row["best"] for row in three].index(True) == rewards.index(max(rewards))
        assert sum(row["best"] for row in three) == 1
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary == result.summary()
    png = (tmp_path / "out" / "comparison.png").read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(os.listdir(tmp_path / "out")) == [
        "comparison.png", "completions.jsonl", "summary.json",
    ]  # fmt: skip


HAND = Comparison(["p", "q\nr"], [["aa", "b", "cccc"], ["d", "", "ee"]], [[1, 3, 2], [-1, -1, -4]])


def test_the_summary_by_hand():
    summary = HAND.summary()
    # Spearman is Pearson's of the ranks, here with ties by hand.
    lengths, rewards = [4.5, 2.5, 6, 2.5, 1, 4.5], [4, 6, 5, 2.5, 2.5, 1]
    expected = pearsonr(lengths, rewards)[0]
    assert summary.pop("reward_length_correlation") == pytest.approx(expected)
    assert summary == {
        "prompts": 2,
        "completions": 6,
        "mean_reward": 0,
        "mean_reward_of_first": 0,
        "mean_reward_of_best": 1,
    }
    assert HAND.best == [1, 0]


def test_the_table_reads_from_the_best_down():
    correlation = HAND.summary()["reward_length_correlation"]
    assert format_comparison(HAND).splitlines() == [
        "p", " ★   +3.000  b", "     +2.000  cccc", "     +1.000  aa", "",
        "q r", " ★   -1.000  d", "     -1.000  (empty)", "     -4.000  ee", "",
        "mean reward +0.000; the first of each prompt +0.000, the best of each +1.000",
        f"rank correlation of reward with length {correlation:+.2f}",
    ]  # fmt: skip
    alone = Comparison(["p"], [["x" * 200]], [[0.5]])
    table = format_comparison(alone, width=40)
    assert "★" not in table
    assert "correlation" not in table
    assert max(map(len, table.splitlines()[:2])) <= 41


def test_a_reward_that_is_no_number_is_not_ranked(policy, base, tmp_path):
    from plaudit.model.reward_model import RewardModel

    broken = RewardModel.load(base("gpt2"), dtype="float32", device="cpu")
    with torch.no_grad():
        broken.model.score.weight.fill_(float("inf"))
    with pytest.raises(PlauditError, match="reward of a completion is not a finite"):
        compare(broken, policy("gpt2"), ["dog"], max_new_tokens=4, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_completion_has_a_reward(reward_model):
    for name in ("bert", "gpt2", "qwen2", "llama"):
        (reward,) = reward_model(name).score("dog", [""])
        assert abs(reward) < 1e6


def test_no_prompts_are_refused(policy, reward_model):
    with pytest.raises(PlauditError, match="no prompt to complete"):
        compare(reward_model("bert"), policy("gpt2"), [])


def test_folders_do_as_well_as_loaded_models(base, reward_model, tmp_path, capsys):
    reward_model("bert").save(tmp_path / "model")
    result = compare(tmp_path / "model", base("gpt2"), ["dog", "dog"], n=1, max_new_tokens=4)
    assert "loading the policy" in capsys.readouterr().err
    assert result.completions[0] == result.completions[1]
