"""Rows of tokens against what the tokenizers themselves make; batches against plain counting."""

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tiny
from plaudit.data.rankings import Ranking
from plaudit.errors import PlauditError
from plaudit.model.encoding import (
    PROMPT_SHARE,
    Encoding,
    RefusedError,
    plain_text,
)
from plaudit.model.saving import layout_in_python

WORDS = ["dog", "lazy", "four", "reward", "Ünï", "🙂👍🏽", "2+2", "×", "日本", "answer.", "is"]
PLAIN = ("gpt2", "llama", "mistral")
texts = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join),
)
words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=25).map(" ".join)


def row_of(encoding, prompt, completion):
    """The first row of one prompt with one completion: its tokens, types and cuts."""
    encoded = encoding.encode_texts([(prompt, [completion])])[0]
    assert encoded["length"] == len(encoded["input_ids"][0])
    return {name: rows[0] for name, rows in encoded.items() if name not in ("length", "shared")}


@pytest.fixture(scope="module")
def encoding(reward_model):
    """The encoding of a tiny model; its row length does not bind unless it is set."""

    def get(name, max_length=10_000) -> Encoding:
        return replace(reward_model(name).encoding, max_length=max_length)

    return get


# ---- encoders ----


@pytest.mark.parametrize("name", tiny.ENCODERS)
@given(prompt=texts, completion=texts)
@example(prompt="", completion="four")
@example(prompt="", completion="")
@example(prompt="a [SEP] b </s> [PAD]<pad>", completion="[CLS] c [SEP]<pad>")
def test_an_encoder_row_is_the_tokenizers_own_pair(encoding, name, prompt, completion):
    encoding = encoding(name)
    row = row_of(encoding, prompt, completion)
    # As a batch of one: given two bare strings, it takes an empty second one for none.
    expected = encoding.tokenizer([prompt], [completion])
    assert row["input_ids"] == expected["input_ids"][0]
    assert [row.get("token_type_ids")] == expected.get("token_type_ids", [None])
    assert (row["prompt_cut"], row["completion_cut"]) == (0, 0)


def around(name, tokenizer):
    """The special tokens before, between and after a pair, as each architecture documents them."""
    cls, sep = [tokenizer.cls_token_id], [tokenizer.sep_token_id]
    return cls, sep + sep if name == "roberta" else sep, sep


@pytest.mark.parametrize("name", tiny.ENCODERS)
@given(prompt=texts, completion=texts, max_length=st.integers(8, 40))
def test_a_truncated_encoder_row_keeps_what_it_promises(
    encoding, name, prompt, completion, max_length
):
    encoding = encoding(name, max_length)
    asked = encoding.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    said = encoding.tokenizer(completion, add_special_tokens=False)["input_ids"]
    before, between, after = around(name, encoding.tokenizer)
    room = max_length - len(before + between + after)
    row = row_of(encoding, prompt, completion)

    kept_prompt, kept_completion = kept(asked, said, room)
    assert row["input_ids"] == before + kept_prompt + between + kept_completion + after
    assert len(row["input_ids"]) <= max_length
    assert row["prompt_cut"] == len(asked) - len(kept_prompt)
    assert row["completion_cut"] == len(said) - len(kept_completion)
    if "token_type_ids" in row:
        first = len(before + kept_prompt + between)
        assert row["token_type_ids"] == [0] * first + [1] * (len(row["input_ids"]) - first)


def kept(asked, said, room):
    """The rule in words: the whole completion and the end of the prompt; else a share of each."""
    if len(said) <= room:
        return asked[max(0, len(asked) - (room - len(said))) :], said
    share = min(len(asked), int(PROMPT_SHARE * room))
    return asked[len(asked) - share :], said[: room - share]


def test_an_encoder_reads_a_dialogue_as_labelled_turns(encoding):
    dialogue = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    encoding = encoding("bert")
    row = row_of(encoding, dialogue, [{"role": "assistant", "content": "four"}])
    assert row["input_ids"] == encoding.tokenizer("User: Hi\n\nAssistant: Yo", "four")["input_ids"]
    assert plain_text(dialogue[:1]) == "Hi"


# ---- decoders without a chat template ----


@pytest.mark.parametrize("name", PLAIN)
@given(prompt=texts, completion=texts)
@example(prompt="", completion="four")
@example(prompt="two plus two?", completion="")
def test_a_plain_row_is_the_tokenizers_own_text(encoding, name, prompt, completion):
    encoding = encoding(name)
    joined = prompt + "\n\n" + completion if prompt else completion
    ids = encoding.tokenizer(joined)["input_ids"]
    if name == "mistral" or encoding.tokenizer.eos_token_id == encoding.tokenizer.pad_token_id:
        ending = []
    else:
        ending = [encoding.tokenizer.eos_token_id]
    expected = ids + ending or [encoding.tokenizer.pad_token_id]  # a row has a token at least
    assert row_of(encoding, prompt, completion)["input_ids"] == expected


def with_an_ending(max_length=10_000, **changes):
    """A plain decoder's encoding whose EOS is not its pad token."""
    tokenizer = tiny.byte_bpe(bos="<s>", eos="</s>", pad="<pad>", frame=("<s>", ""))
    return Encoding(tokenizer, "decoder", "plain", max_length, **changes)


def test_an_ending_is_added_once_where_it_is_not_the_pad_token():
    encoding = with_an_ending(separator=" ")
    tokenizer = encoding.tokenizer
    ending = [tokenizer.eos_token_id]
    for completion in ("four", "four</s>"):
        row = row_of(encoding, "two?", completion)["input_ids"]
        assert row == tokenizer("two? four")["input_ids"] + ending
    assert row_of(encoding, "two?", "fo</s>ur")["input_ids"] == (
        tokenizer("two? fo</s>ur")["input_ids"] + ending
    )


@pytest.mark.parametrize("completion", ["", "four", "four</s>", "</s>"])
def test_the_ending_that_a_tokenizer_adds_by_itself_stands_once(completion):
    tokenizer = tiny.byte_bpe(bos="<s>", eos="</s>", pad="<pad>", frame=("<s>", "</s>"))
    encoding = Encoding(tokenizer, "decoder", "plain", 10_000)
    row = row_of(encoding, "two?", completion)
    assert row["input_ids"] == tokenizer("two?\n\n" + completion)["input_ids"]
    words = tokenizer(completion, add_special_tokens=False)["input_ids"]
    assert row["completion_tokens"] == len(words)
    assert layout_in_python(encoding) == r"tokenizer(prompt + '\n\n' + completion)"


@pytest.mark.parametrize("name", tiny.DECODERS)
@pytest.mark.parametrize("completion", ["four{}", "{}", "{}{}", "fo{}ur", "fo{}ur{}{}"])
def test_a_decoder_row_never_ends_in_the_pad_token(encoding, name, completion):
    encoding = encoding(name)
    pad = encoding.tokenizer.pad_token
    text = completion.replace("{}", pad)
    row = row_of(encoding, "two plus two?", text)["input_ids"]
    assert row[-1] != encoding.tokenizer.pad_token_id
    if encoding.template == "plain":
        whole = encoding.tokenizer("two plus two?\n\n" + text.removesuffix(pad).removesuffix(pad))
        assert row == whole["input_ids"]


@given(prompt=words, completion=words, max_length=st.integers(8, 40))
def test_a_truncated_plain_row_keeps_what_it_promises(prompt, completion, max_length):
    encoding = with_an_ending(max_length)
    tokenizer = encoding.tokenizer
    asked = tokenizer(prompt + "\n\n", add_special_tokens=False)["input_ids"]
    said = tokenizer(completion, add_special_tokens=False)["input_ids"]
    row = row_of(encoding, prompt, completion)
    kept_prompt, kept_completion = kept(asked, said, max_length - 2)
    expected = [tokenizer.bos_token_id, *kept_prompt, *kept_completion]
    if kept_completion == said:  # an ending says that the completion is whole
        expected.append(tokenizer.eos_token_id)
    assert row["input_ids"] == expected
    assert len(expected) <= max_length
    assert row["prompt_cut"] == len(asked) - len(kept_prompt)
    assert row["completion_cut"] == len(said) - len(kept_completion)


@pytest.mark.parametrize("name", tiny.DECODERS)
@given(prompt=texts, completion=texts, max_length=st.integers(8, 40))
def test_no_row_is_longer_than_max_length_and_nothing_is_lost_uncounted(
    encoding, name, prompt, completion, max_length
):
    whole = row_of(encoding(name), prompt, completion)["input_ids"]
    row = row_of(encoding(name, max_length), prompt, completion)
    assert 1 <= len(row["input_ids"]) <= max_length
    assert len(row["input_ids"]) + row["prompt_cut"] + row["completion_cut"] == len(whole)


# ---- decoders with a chat template ----

turns = st.lists(texts, min_size=1, max_size=5).map(
    lambda contents: [
        {"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)
    ]
)


@given(prompt=turns, completion=texts)
def test_messages_go_through_the_chat_template(encoding, prompt, completion):
    encoding = encoding("qwen2")
    said = [{"role": "assistant", "content": completion}]
    expected = encoding.tokenizer.apply_chat_template(
        prompt + said, tokenize=True, return_dict=True
    )["input_ids"]
    assert row_of(encoding, prompt, said)["input_ids"] == expected
    assert row_of(encoding, prompt, completion)["input_ids"] == expected


@given(prompt=words, completion=words, max_length=st.integers(12, 60))
def test_a_truncated_chat_row_cuts_the_prompt_from_its_start(
    encoding, prompt, completion, max_length
):
    encoding = encoding("qwen2", max_length)
    tokenizer = encoding.tokenizer
    user = [{"role": "user", "content": prompt}]
    asked = tokenizer.apply_chat_template(
        user, tokenize=True, return_dict=True, add_generation_prompt=True
    )["input_ids"]
    said = tokenizer(completion + "<|im_end|>\n")["input_ids"]
    row = row_of(encoding, prompt, completion)
    kept_prompt, kept_completion = kept(asked, said, max_length)
    assert row["input_ids"] == kept_prompt + kept_completion
    assert row["prompt_cut"] == len(asked) - len(kept_prompt)
    assert row["completion_cut"] == len(said) - len(kept_completion)


def test_a_plain_prompt_is_a_user_turn_and_an_empty_one_is_none(encoding):
    encoding = encoding("qwen2")
    user = {"role": "user", "content": "two?"}
    assistant = {"role": "assistant", "content": "four"}
    for prompt, messages in (("two?", [user, assistant]), ("", [assistant])):
        expected = encoding.tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
        assert row_of(encoding, prompt, "four")["input_ids"] == expected


def test_a_template_that_refuses_the_roles_is_named():
    tokenizer = tiny.byte_bpe(eos="<|im_end|>", pad="<pad>", chat=True)
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    encoding = Encoding(tokenizer, "decoder", "chat", 64)
    with pytest.raises(PlauditError, match=r"refuses the dialogue: user, assistant \(roles must"):
        encoding.encode_texts([("two?", ["four"])])


# ---- rankings ----


@pytest.mark.parametrize("name", ["gpt2", "qwen2", "bert"])
def test_encoding_many_rankings_is_encoding_each(encoding, name):
    encoding = encoding(name)
    rankings = [
        Ranking("two plus two?", ["four", "five", "the quick brown fox"], [0, 1, 1], weight=2.0),
        Ranking("two plus two?", ["4", "5"], [1, 0], margin=0.5),
        Ranking("", ["yes", "no"], [0, 1]),
    ]
    together = encoding.encode(rankings)
    assert together == [encoding.encode([ranking])[0] for ranking in rankings]
    assert [row["ranks"] for row in together] == [[0, 1, 1], [1, 0], [0, 1]]
    assert [row["margin"] for row in together] == [0.0, 0.5, 0.0]
    assert [row["weight"] for row in together] == [2.0, 1.0, 1.0]
    for row in together:
        assert row["length"] == max(len(ids) for ids in row["input_ids"])


def test_a_prompt_without_completions_has_no_rows(encoding):
    assert encoding("gpt2").encode_texts([("p", []), ("p", ["a"])])[0]["length"] == 0


# ---- rows that another program laid out ----

LLAMA_2 = (  # BOS, alternating turns, text trimmed, a space before the ending
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] "
    "{{ m['content'] | trim }} [/INST]"
    "{% else %} {{ m['content'] | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)
HEADERS = (  # as Llama 3: no end of line after a turn
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n\n{{ m['content'] | trim }}"
    "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
NO_MARKS = (  # as Vicuna: no special token at all
    "{% for m in messages %}{{ m['role'] | upper }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
TEMPLATES = {
    "chatml": tiny.CHAT_TEMPLATE,
    "llama 2": LLAMA_2,
    "headers": HEADERS,
    "vicuna": NO_MARKS,
}


@pytest.fixture(scope="module", params=TEMPLATES)
def chatting(request):
    tokenizer = tiny.byte_bpe(bos="<s>", eos="</s>", pad="<|endoftext|>", chat=True)
    tokenizer.chat_template = TEMPLATES[request.param]
    return Encoding(tokenizer, "decoder", "chat", max_length=10_000)


@pytest.mark.parametrize("cut", [None, 30])
@pytest.mark.parametrize("ending", ["", "</s>", "<|im_end|>", "<|im_end|><|endoftext|>", "as is"])
def test_a_rendered_dialogue_is_the_row_of_training(chatting, ending, cut):
    chatting = replace(chatting, max_length=cut or chatting.max_length)
    dialogue = [{"role": "user", "content": "What is two plus two?"}]
    expected = row_of(chatting, dialogue, "Two plus two is four.")
    render = chatting.tokenizer.apply_chat_template
    text = render(dialogue, tokenize=False, add_generation_prompt=True) + "Two plus two is four."
    if "trim" in chatting.tokenizer.chat_template and "[INST]" in text:
        text = text.replace("[/INST]Two", "[/INST] Two")  # what the policy itself begins with
    if ending == "as is":  # what a client that renders the whole dialogue sends
        answer = {"role": "assistant", "content": "Two plus two is four."}
        text = render([*dialogue, answer], tokenize=False)
    for variant in (text + ending * (ending != "as is"), text.removeprefix("<s>")):
        [row] = chatting.encode_rendered([variant])
        assert row["input_ids"] == [expected["input_ids"]]
        assert row["prompt_cut"] == [expected["prompt_cut"]]


@given(asked=words, said=texts)
def test_any_words_survive_in_a_rendered_dialogue(encoding, asked, said):
    encoding = encoding("qwen2")
    text = f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n{said}"
    for whole in (text, text + "<|im_end|>", text + "<|im_end|>\n<|endoftext|>"):
        [row] = encoding.encode_rendered([whole])
        assert row["input_ids"][0] == row_of(encoding, asked, said)["input_ids"]


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "bert", "roberta", "deberta-v2"])
@given(asked=words, said=words, ending=st.sampled_from(["", "</s>", "<|endoftext|>", "<|im_end|>"]))
def test_with_the_prompt_known_a_text_is_taken_apart(encoding, name, asked, said, ending):
    encoding = encoding(name, 40)
    [row] = encoding.encode_rendered([asked + said + ending], [asked])
    assert row == encoding.encode_texts([(asked, [said])])[0]


def test_a_prompt_that_is_not_laid_out_becomes_a_dialogue(encoding):
    encoding = encoding("qwen2")
    [row] = encoding.encode_rendered(["What is 2+2?4<|im_end|>"], ["What is 2+2?"])
    assert row == encoding.encode_texts([("What is 2+2?", ["4"])])[0]
    rendered = "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n"
    [row] = encoding.encode_rendered([rendered + "4<|im_end|>"], [rendered])
    assert row["input_ids"] == encoding.encode_texts([("What is 2+2?", ["4"])])[0]["input_ids"]


@pytest.mark.parametrize("name", ["gpt2", "llama", "an ending", "bert", "roberta"])
def test_without_the_prompt_a_text_is_one_row_with_the_tokenizers_own_frame(encoding, name):
    encoding = with_an_ending(10_000) if name == "an ending" else encoding(name)
    tokenizer = encoding.tokenizer
    bos = tokenizer.bos_token or ""
    plain = tokenizer("four is four", add_special_tokens=False)["input_ids"]
    framed = tokenizer("four is four")["input_ids"]
    if name == "an ending":
        framed = [*framed, tokenizer.eos_token_id]
    for text in ("four is four", f"{bos}four is four", f"four is four{tokenizer.eos_token or ''}"):
        [row] = encoding.encode_rendered([text])
        assert row["input_ids"] == [framed]
    short = replace(encoding, max_length=len(framed) - 2)
    [row] = short.encode_rendered(["four is four"])
    start = framed.index(plain[0])
    assert row["input_ids"] == [framed[:start] + framed[start + 2 :]]
    assert row["prompt_cut"] == [2]
    assert ("token_type_ids" in row) == (name == "bert")


@pytest.mark.parametrize("name", ["qwen2", "llama", "gpt2"])
def test_rendered_texts_get_the_rewards_of_the_dialogue(reward_model, name):
    model = reward_model(name)
    prompts = ["What is two plus two?", "Is a reward four? Yes or no?"]
    answers = ["Two plus two is four.", "No 🙂", ""]
    for prompt in prompts:
        expected = model.score(prompt, answers)
        if name == "qwen2":
            before = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
            texts = [f"{before}{answer}<|im_end|><|endoftext|>" for answer in answers]
            encoded = model.encode_rendered(texts)
        else:
            texts = [f"{prompt}\n\n{answer}" for answer in answers]
            encoded = model.encode_rendered(texts)
        found = [reward for [reward] in model.rewards(encoded)]
        assert found == pytest.approx(expected, abs=1e-5)


def test_a_text_that_went_through_the_model_s_template_is_not_put_into_it_again(encoding):
    chat = encoding("qwen2")
    prompt = "<|im_start|>user\nWhat is two?<|im_end|>\n<|im_start|>assistant\n"
    [whole] = chat.encode_texts([(prompt, ["two<|im_end|>\n"])])
    [asked] = chat.encode_texts([("What is two?", ["two"])])
    assert whole["input_ids"] == asked["input_ids"]
    [about] = chat.encode_texts([("What is <|im_start|>?", ["two"])])
    text = chat.tokenizer.decode(about["input_ids"][0])
    assert text.count("<|im_start|>") == 3  # in a turn of the user's, and that of the assistant


LAID_OUT = {  # as the chat templates of these families write them
    "<|start_header_id|>": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi"
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "<start_of_turn>": "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
    "[INST]": "<s>[INST] Hi [/INST]",
}


@pytest.mark.parametrize("mark", LAID_OUT)
def test_a_row_that_another_family_s_template_laid_out_is_refused(encoding, mark):
    prompt = LAID_OUT[mark]
    chat = encoding("qwen2")
    refusal = rf"begins with {re.escape(mark)}, which the chat template of this model.*to /score"
    for prompts in (None, [prompt]):
        with pytest.raises(RefusedError, match=refusal):
            chat.encode_rendered([f"{prompt}Yo</s>"], prompts)
    encoding("llama").encode_rendered([f"{prompt}Yo</s>"])  # which has no template to miss


def test_rows_with_marks_that_the_template_puts_together_are_its_own():
    """As that of Phi-3.5: `'<|' + message['role'] + '|>'`."""
    tokenizer = tiny.byte_bpe(eos="<|end|>", pad="<|endoftext|>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    )
    encoding = Encoding(tokenizer, "decoder", "chat", 10_000)
    expected = encoding.encode_texts([("Hi", ["Yo"])])[0]["input_ids"]
    prompt = "<|user|>\nHi<|end|>\n<|assistant|>\n"
    [row] = encoding.encode_rendered([f"{prompt}Yo"])
    assert row["input_ids"] == expected
    [row] = encoding.encode_rendered([f"{prompt}Yo<|end|>"], [prompt])
    assert row["input_ids"] == expected
    assert encoding.encode_texts([(prompt, ["Yo<|end|>\n"])])[0]["input_ids"] == expected


def test_with_a_template_that_opens_no_turn_a_bare_prompt_becomes_a_dialogue():
    tokenizer = tiny.byte_bpe(eos="<|im_end|>", pad="<|endoftext|>", chat=True)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    encoding = Encoding(tokenizer, "decoder", "chat", 10_000)
    [row] = encoding.encode_rendered(["Hi?Yo"], ["Hi?"])
    assert row == encoding.encode_texts([("Hi?", ["Yo"])])[0]


def test_a_call_that_the_template_does_not_write_is_refused(encoding):
    call = {"type": "function", "function": {"name": "look_up", "arguments": {"word": "two"}}}
    answer = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    with pytest.raises(PlauditError, match="no place for tool calls: it leaves out look_up"):
        encoding("qwen2").encode_texts([("What is two?", [answer])])


@pytest.mark.parametrize("calls", ["look_up", ["look_up"], [{"function": "look_up"}], {"a": 1}])
def test_calls_of_another_shape_are_the_template_s_to_judge(encoding, calls):
    answer = [{"role": "assistant", "content": "two", "tool_calls": calls}]
    [row] = encoding("qwen2").encode_texts([("What is two?", [answer])])
    assert len(row["input_ids"]) == 1


@pytest.mark.parametrize(
    ("name", "prompt", "completion", "is_rendered"),
    [
        ("qwen2", "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n", "So.", True),
        ("qwen2", "", "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nSo.", True),
        ("qwen2", "Why?", "<|im_start|>So.", False),
        ("qwen2", "What is <|im_start|>?", "So.", False),
        ("qwen2", "[INST] Why? [/INST]", "So.", False),  # another template's
        ("qwen2", [{"role": "user", "content": "<|im_start|>"}], "So.", False),
        ("qwen2", "<|im_start|>user\nWhy?", [{"role": "assistant", "content": "So."}], False),
        ("llama", "<|im_start|>user\nWhy?<|im_end|>\n", "So.", False),
        ("bert", "<|im_start|>user\nWhy?<|im_end|>\n", "So.", False),
    ],
)
def test_whether_a_text_went_through_the_template_already(
    encoding, name, prompt, completion, is_rendered
):
    found = encoding(name)
    assert found.is_rendered(prompt, completion) is is_rendered
    if is_rendered:
        [row] = found.encode_texts([(prompt, [completion])])
        as_it_stands = found.tokenizer(prompt + completion, add_special_tokens=False)
        assert row["input_ids"] == [as_it_stands["input_ids"]]


@pytest.mark.parametrize("words", ["With </s>", "With <|endoftext|>", "Tokens: <|im_start|>"])
def test_a_rendered_row_that_ends_as_the_template_ends_it_keeps_its_words(encoding, words):
    qwen = encoding("qwen2")
    dialogue = [
        {"role": "user", "content": "How does it end?"},
        {"role": "assistant", "content": words},
    ]
    text = qwen.tokenizer.apply_chat_template(dialogue, tokenize=False)
    expected = row_of(qwen, "How does it end?", words)["input_ids"]
    assert qwen.encode_rendered([text])[0]["input_ids"] == [expected]
    padded = text + text[-len("<|im_end|>\n") :] * 2  # as a policy pads that ends so
    assert qwen.encode_rendered([padded])[0]["input_ids"] == [expected]
