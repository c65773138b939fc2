"""Sampling from a policy: drawn from its distribution, the same every time, whatever stands beside
it in the batch, and known to be finished or not."""

import pytest
import torch
from scipy.stats import chisquare

import tiny
from plaudit.errors import PlauditError
from plaudit.sampling.policy import Policy, _numbers, choose

PROMPTS = ["Is it so?", "What is two plus two? " * 3, "dog", "The quick brown fox", "0 1 2 3"]
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "dog"}]


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
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -torch.inf, -1.0])
    probabilities = (logits / temperature).softmax(0)
    # The smallest set that reaches top_p, by hand.
    order = probabilities.argsort(descending=True)
    before = probabilities[order].cumsum(0) - probabilities[order]
    probabilities[order[before >= top_p]] = 0
    probabilities /= probabilities.sum()

    count = 20_000
    numbers = torch.from_numpy(_numbers("p", 0, 0, count)).double()
    tokens = choose(logits.expand(count, -1), numbers, temperature, top_p)
    drawn = torch.bincount(tokens, minlength=6).double()
    possible = probabilities > 0
    assert drawn[~possible].sum() == 0
    expected = probabilities[possible].double() * count
    expected *= count / expected.sum()
    assert chisquare(drawn[possible], expected).pvalue > 1e-3


@pytest.mark.parametrize(("number", "token"), [(0.0, 1), (0.5, 3), (1 - 2**-24, 3)])
def test_the_ends_of_the_numbers_draw_no_token_without_a_chance(number, token):
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    assert choose(logits, torch.tensor([number]).double(), 1.0, 1.0).item() == token


def test_the_likeliest_tokens_are_looked_for_until_they_suffice(monkeypatch):
    torch.manual_seed(0)
    logits = 2 * torch.randn(200, 100)
    numbers = torch.rand(200).double()
    everything = choose(logits, numbers, 1.0, 0.9)
    monkeypatch.setattr("plaudit.sampling.policy.LIKELIEST", 2)
    assert torch.equal(choose(logits, numbers, 1.0, 0.9), everything)


def naive(policy, prompt, k, count, stops):
    """A completion without batches, padding or cache: its tokens, and whether it ended."""
    text = policy._render(prompt)
    ids = policy.tokenizer(text, add_special_tokens=not policy.tokenizer.chat_template)["input_ids"]
    numbers, new = torch.from_numpy(_numbers(prompt, k, 7, count)).double(), []
    with torch.inference_mode():
        for step in range(count):
            logits = policy.model(torch.tensor([ids + new])).logits[:, -1].float()
            new.append(choose(logits, numbers[step : step + 1], 0.9, 0.95).item())
            if new[-1] in stops:
                return new, True
    return new, False


@pytest.mark.parametrize(
    ("name", "config"),
    [("gpt2", {}), ("llama", {}), ("qwen2", {}), ("mistral", {"sliding_window": 8})],
)
def test_completions_are_those_of_a_plain_loop(name, config, tmp_path):
    """With one computation of a prompt for all n, and rows leaving the batch as they end."""
    tokenizer = tiny.TOKENIZERS["llama" if name == "mistral" else name]()  # Mistral's has no EOS
    folder = tiny.make(name, tmp_path, tokenizer, **config)
    ours = Policy.load(folder, device="cpu", dtype="float32")
    stops = list(range(40, 300, 20))
    ours.model.generation_config.eos_token_id = stops
    stops = [*stops, ours.tokenizer.eos_token_id]
    assert ours.stops == sorted(set(stops) - {None})
    prompts, n, count = [*PROMPTS[:2], CHAT], 4, 12
    found = list(ours.complete(
        prompts, n=n, max_new_tokens=count, seed=7, temperature=0.9, batch_size=2
    ))  # fmt: skip
    lengths = set()
    for prompt, completions in zip(prompts, found, strict=True):
        for k, completion in enumerate(completions):
            tokens, finished = naive(ours, prompt, k, count, stops)
            text = ours.tokenizer.decode(tokens, skip_special_tokens=True)
            assert completion.text.strip() == text.strip()
            assert completion.finished is finished
            lengths.add(len(tokens))
    assert len(lengths) > 1  # some ended early


def test_a_plain_completion_keeps_the_space_it_begins_with(policy):
    texts = {}
    for name in ("gpt2", "qwen2"):
        drawn = list(policy(name).complete(PROMPTS, n=20, max_new_tokens=8))
        texts[name] = [one.text for completions in drawn for one in completions]
        assert all(text == text.rstrip() for text in texts[name])
    assert any(text.startswith(" ") for text in texts["gpt2"])
    assert not any(text.startswith(" ") for text in texts["qwen2"])


def test_numbers_of_different_completions_have_nothing_in_common():
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
        ({"n": 0}, "n: 0 is not a number of 1 or more"),
        ({"batch_size": 0}, "batch_size: 0 is not"),
        ({"max_new_tokens": 0}, "max_new_tokens: 0 is not"),
        ({"max_new_tokens": 128}, "max_new_tokens: 128 fill all 128 tokens"),
        ({"temperature": -1}, "temperature: -1 is not a number of 0 or more"),
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
    broken = Policy.load(base("gpt2"), device="cpu", dtype="float32")
    with torch.no_grad():
        broken.model.transformer.ln_f.bias.fill_(value)
    with pytest.raises(PlauditError, match="policy: its logits are not finite"):
        sampled(broken, n=1, temperature=temperature)


def test_a_policy_must_be_able_to_generate(base, reward_model, tmp_path):
    reward_model("qwen2").save(tmp_path / "reward")
    with pytest.raises(PlauditError, match=r"lacks weights .*lm_head.* is it a reward model"):
        Policy.load(tmp_path / "reward")
    with pytest.raises(PlauditError, match="is an encoder; only a decoder generates"):
        Policy.load(base("bert"))
    with pytest.raises(PlauditError, match="cannot be loaded"):
        Policy.load(tmp_path)
