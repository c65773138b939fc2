"""Which programs load an exported folder as it is, and what number each gives for a text.

Read off their sources: those of transformers 5.23 and sentence-transformers 6.2, which give the
rewards where they were run; and those of vLLM 0.33 (`model_executor/models/registry.py`,
`adapters.py`, `layers/pooler/activations.py`), SGLang 0.5.23 (`srt/configs/model_config.py`,
`srt/layers/pooler.py`, `srt/models/*_classification.py`), text-embeddings-inference at 0d124dc
(`router/src/lib.rs`, `backends/candle/src/models`) and llama.cpp at 00395eb (`build_pooling` of
`src/llama-graph.cpp`, `src/models/bert.cpp`, `conversion/bert.py`), which were not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from plaudit.model.poolings import POOLINGS
from plaudit.model.reward_model import RewardModel

# Encoders with a class of their own for `…ForSequenceClassification`, by `model_type`.
VLLM_ENCODERS = ("bert", "modernbert", "roberta", "xlm-roberta")
SGLANG_ENCODERS = ("bert", "xlm-roberta")
TEI_ENCODERS = (
    "bert", "camembert", "deberta-v2", "distilbert", "modernbert", "roberta", "xlm-roberta",
)  # fmt: skip
LLAMA_CPP_ENCODERS = ("roberta", "xlm-roberta")
# Decoders with such a class in SGLang; vLLM makes one of every decoder that it runs.
SGLANG_DECODERS = ("gemma2", "llama", "qwen2", "qwen3")
# In those SGLang gives the head a bias, which stays random where the folder has none.
SGLANG_WITH_BIAS = ("qwen2", "qwen3")
VLLM = "vllm serve FOLDER --runner pooling --dtype float32"
SGLANG = "sglang.launch_server --model-path FOLDER --is-embedding --dtype float32"
# An encoder's row is read at once, and none begins with another's.
WHOLE = "--disable-radix-cache --chunked-prefill-size -1"
TEI = "text-embeddings-router --model-id FOLDER --dtype float32"
LLAMA_CPP = "convert_hf_to_gguf.py FOLDER --outtype f32; llama-server -m FILE --rerank"
BY_MEAN = (
    '--hf-overrides \'{{"architectures": ["{}ForSequenceClassification"]}}\' '
    '--pooler-config \'{{"pooling_type": "MEAN", "use_activation": false}}\''
)


@dataclass(frozen=True)
class Consumer:
    """A program, whether it loads the folder and gives the reward, and how, or why not."""

    name: str
    loads: bool
    how: str

    def __str__(self) -> str:
        return f"{self.name}: {'' if self.loads else 'no: '}{self.how}"


def consumers(model: RewardModel, pairs: bool = True) -> list[Consumer]:
    """What each program makes of a model's folder.

    `pairs` says whether its chat template lays out a prompt and a completion as the model reads
    them; of an encoder the tokenizer does.

    >>> for each in consumers(RewardModel.load("runs/first")):
    ...     print(each)
    transformers: `AutoModelForSequenceClassification...
    """
    own_class = POOLINGS.get(model.pooling).network is not None
    code = ", trust_remote_code=True" if own_class else ""
    found = [
        Consumer(
            "transformers",
            True,
            f"`AutoModelForSequenceClassification.from_pretrained(folder{code})`: the logit",
        ),
        Consumer(
            "sentence-transformers",
            pairs,
            f"`CrossEncoder(folder{code}).predict([(prompt, completion)])`"
            if pairs
            else "it would lay out a pair otherwise than the model reads it",
        ),
    ]
    messages = "`messages`" if pairs else "`input`, laid out"
    if own_class:
        found += _of_own_class(model, messages)
    elif model.encoding.kind == "encoder":
        found += _of_encoder(model)
    else:
        found += _of_decoder(model, messages)
    return [*found, _of_llama_cpp(model)]


def _of_encoder(model: RewardModel) -> list[Consumer]:
    kind = model.model.config.model_type
    if not model.encoding.is_pair:
        one = (
            ("vLLM", VLLM_ENCODERS, f"`{VLLM}`: `/classify` of `input`, laid out"),
            ("SGLang", SGLANG_ENCODERS, f"`{SGLANG} {WHOLE}`: `/classify` of `text`, laid out"),
            ("TEI", TEI_ENCODERS, f"`{TEI}`: `/predict` of `inputs`, laid out, with `raw_scores`"),
        )
        return _for_kind(one, kind)
    pair = "{0}, the prompt, and {1}"
    ways = (
        ("vLLM", VLLM_ENCODERS, f"`{VLLM}`: `/score` of {pair.format('text_1', 'text_2')}"),
        (
            "SGLang",
            SGLANG_ENCODERS,
            f"`{SGLANG} {WHOLE}`: `/v1/rerank` of {pair.format('query', 'documents')}",
        ),
        ("TEI", TEI_ENCODERS, f"`{TEI}`: `/rerank` with `raw_scores`, without it the sigmoid"),
    )
    return _for_kind(ways, kind)


def _for_kind(ways: Sequence[tuple[str, Sequence[str], str]], kind: str) -> list[Consumer]:
    return [
        Consumer(name, kind in kinds, how if kind in kinds else f"it has no classifier of {kind}")
        for name, kinds, how in ways
    ]


def _of_decoder(model: RewardModel, messages: str) -> list[Consumer]:
    kind = model.model.config.model_type
    has = kind in SGLANG_DECODERS
    how = (
        f"`{SGLANG}`: `/classify` of `text`, laid out" if has else f"it has no classifier of {kind}"
    )
    return [
        Consumer(
            "vLLM", True, f"`{VLLM}`, where it runs {_named(kind)}: `/classify` of {messages}"
        ),
        Consumer("SGLang", has, how),
        Consumer("TEI", False, "it has classifiers of encoders alone"),
    ]


def _of_own_class(model: RewardModel, messages: str) -> list[Consumer]:
    """Of a model whose pooling transformers has no class for."""
    why = f"it has no class for pooling {model.pooling} and runs none of a folder's"
    none = [Consumer(name, False, why) for name in ("vLLM", "SGLang", "TEI")]
    if model.encoding.kind == "encoder" or model.pooling != "mean":
        return none
    kind = _named(model.model.config.model_type)
    flags = f"{VLLM} {BY_MEAN.format(kind)}"
    vllm = Consumer("vLLM", True, f"`{flags}`, where it runs {kind}: `/classify` of {messages}")
    return [vllm, *none[1:]]


def _of_llama_cpp(model: RewardModel) -> Consumer:
    kind, encoder = model.model.config.model_type, model.encoding.kind == "encoder"
    if encoder and not model.encoding.is_pair:
        return Consumer("llama.cpp", False, "it reads a pair, and this model one text")
    if kind in LLAMA_CPP_ENCODERS and model.pooling == "cls":
        return Consumer(
            "llama.cpp", True, f"`{LLAMA_CPP}`: `/rerank` of query, the prompt, within 1e-3"
        )
    if not encoder:
        why = (
            "it pools the first token of a decoder; of Qwen3 the last, and puts a softmax after it"
        )
    elif kind == "bert" and model.pooling == "cls":
        why = (
            "it reads the completion as the first of a pair, and its converter drops BERT's pooler"
        )
    else:
        why = f"it has no classifier of {kind} with pooling {model.pooling}"
    return Consumer("llama.cpp", False, why)


def _named(kind: str) -> str:
    """What transformers' classes of a `model_type` begin with, as `Llama`."""
    name = MODEL_MAPPING_NAMES[kind]
    return (name if isinstance(name, str) else name[0]).removesuffix("Model")
