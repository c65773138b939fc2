"""Rows in the shape that data sets are published in, all texts invented."""

import json
from dataclasses import dataclass, field
from typing import Any

GOOD, BAD, ASKED = "At nine.", "No idea, really.", "When does it open?"


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def system(content):
    return {"role": "system", "content": content}


ASKED_IN_MESSAGES = [user(ASKED)]
AS_MESSAGES = ([assistant(GOOD)], [assistant(BAD)])


@dataclass
class Published:
    """Rows of a data set, and what they are.

    `tie` and `unknown` are changes of the last row; `kept` is what else the record has. `csv` says
    that the data are published as CSV, too.
    """

    layout: str
    rows: list[dict[str, Any]]
    prompt: Any = ASKED
    completions: tuple[Any, Any] = (GOOD, BAD)
    tie: dict[str, Any] | None = None
    unknown: dict[str, Any] | None = None
    kept: dict[str, Any] = field(default_factory=dict)
    csv: bool = False


def _of_two(first, second, **more):
    return [{**more, **first}, {**more, **second}]


def _completion(model, response, score, rating):
    return {
        "annotations": {
            aspect: {"Rating": rating, "Rationale": "-"}
            for aspect in ("helpfulness", "honesty", "instruction_following", "truthfulness")
        },
        "custom_system_prompt": "You are a helpful assistant.",
        "model": model,
        "principle": "helpfulness",
        "response": response,
        "critique": "-",
        "fine-grained_score": 2.5,
        "overall_score": score,
    }


def _parts(text):
    return [{"type": "text", "text": text, "image": None, "mimeType": None}]


def _in_parts(text):
    return [
        {"role": "user", "content": _parts(ASKED)},
        {"role": "assistant", "content": _parts(text)},
    ]


def _dialogue(text):
    return [user(ASKED), assistant(text)]


SECOND_TURN = [user("And on Sunday?"), assistant("Closed.")]
INFO = {"id": "t3", "post": "It opens at nine.", "title": "Opening", "subreddit": "zoo"}
TL_DR = "SUBREDDIT: r/zoo\n\nTITLE: Opening\n\nPOST: It opens at nine.\n\nTL;DR:"
ARENA = {"question_id": "q", "model_a": "m1", "model_b": "m2", "winner": "model_b", "judge": "j"}
ARENA_ROW = {**ARENA, "conversation_a": _dialogue(BAD), "conversation_b": _dialogue(GOOD)}
STEER = {"prompt": ASKED, "correctness": 3, "coherence": 4, "complexity": 1, "verbosity": 2}
TASK = {"prompt": ASKED, "answer1": BAD, "answer2": GOOD}


def _annotations(*sides):
    return [
        {
            "id": n,
            "completed_by": n,
            "was_cancelled": False,
            "result": [
                {
                    "value": {"selected": side},
                    "from_name": "comparison",
                    "to_name": "answer1,answer2",
                    "type": "pairwise",
                }
            ],
        }
        for n, side in enumerate(sides)
    ]


def _argilla(*ranks):
    value = [{"rank": rank, "value": f"response{n}"} for n, rank in enumerate(ranks, start=1)]
    return [{"user_id": "u", "value": value, "status": "submitted"}]


PUBLISHED = {
    "UltraFeedback": Published(
        "ultrafeedback",
        [
            {
                "source": "sharegpt",
                "instruction": ASKED,
                "models": ["m1", "m2"],
                "completions": [
                    _completion("m1", BAD, 3.0, "2"),
                    _completion("m2", GOOD, 8.5, "N/A"),
                ],
                "correct_answers": ["None"],
                "incorrect_answers": ["None"],
            }
        ],
        tie={"completions": [_completion(m, m, 5.0, "3") for m in ("m1", "m2")]},
        unknown={"completions": [_completion(m, m, "good", "3") for m in ("m1", "m2")]},
        kept={"models": ["m1", "m2"], "ratings": [3, 8.5]},
    ),
    "UltraFeedback binarized": Published(
        "annotated-pairs",
        [
            {
                "prompt": ASKED,
                "prompt_id": "ab",
                "chosen": _dialogue(GOOD),
                "rejected": _dialogue(BAD),
                "messages": _dialogue(GOOD),
                "score_chosen": 8.0,
                "score_rejected": 3.0,
            }
        ],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
        kept={"ratings": [8, 3]},
    ),
    "Nectar": Published(
        "nectar",
        [
            {
                "prompt": f"\n\nHuman: {ASKED}\n\nAssistant: ",
                "answers": [
                    {"answer": BAD, "model": "m1", "rank": 2.0},
                    {"answer": GOOD, "model": "m2", "rank": 1.0},
                ],
                "turns": 1,
                "num_responses": 2,
                "source": ["lmsys-chat-1m"],
                "good_natured": True,
            }
        ],
        prompt=f"\n\nHuman: {ASKED}\n\nAssistant: ",
        tie={"answers": [{"answer": m, "model": m, "rank": 1.0} for m in "ab"]},
        unknown={"answers": [{"answer": m, "model": m, "rank": "top"} for m in "ab"]},
        kept={"models": ["m1", "m2"]},
    ),
    "SHP": Published(
        "shp",
        [
            {
                "post_id": "p",
                "domain": "askzoo_train",
                "upvote_ratio": 0.99,
                "history": ASKED,
                "c_root_id_A": "a",
                "c_root_id_B": "b",
                "score_A": 3,
                "score_B": 40,
                "human_ref_A": BAD,
                "human_ref_B": GOOD,
                "labels": 0,
                "seconds_difference": 3.0,
                "score_ratio": 13.3,
            }
        ],
        unknown={"labels": 3},
        kept={"category": "askzoo_train", "ratings": [3, 40]},
    ),
    "Chatbot Arena 55k": Published(
        "arena-battles",
        [
            {
                "id": 1,
                "model_a": "m1",
                "model_b": "m2",
                "prompt": json.dumps([ASKED]),
                "response_a": json.dumps([BAD]),
                "response_b": json.dumps([GOOD]),
                "winner_model_a": 0,
                "winner_model_b": 1,
                "winner_tie": 0,
            }
        ],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
        tie={"winner_model_b": 0, "winner_tie": 1},
        unknown={"winner_model_a": 1},
        kept={"models": ["m1", "m2"]},
        csv=True,
    ),
    "Chatbot Arena conversations": Published(
        "arena-conversations",
        [{**ARENA_ROW, "turn": 1, "anony": True, "language": "English", "tstamp": 1.5}],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
        tie={"winner": "tie (bothbad)"},
        unknown={"winner": "model_c"},
        kept={"models": ["m1", "m2"]},
    ),
    "MT-bench judgments": Published(
        "arena-conversations",
        [
            {
                **ARENA,
                "question_id": 81,
                "conversation_a": _dialogue(BAD) + SECOND_TURN,
                "conversation_b": _dialogue(GOOD) + SECOND_TURN,
                "turn": 1,
            }
        ],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
        tie={"winner": "tie"},
        unknown={"winner": ""},
    ),
    "MT-bench judgments, second turn": Published(
        "arena-conversations",
        [
            {
                **ARENA,
                "conversation_a": _dialogue(BAD) + SECOND_TURN,
                "conversation_b": _dialogue(GOOD) + SECOND_TURN,
                "turn": 2,
            }
        ],
        prompt=ASKED_IN_MESSAGES,
        completions=([assistant(GOOD), *SECOND_TURN], [assistant(BAD), *SECOND_TURN]),
        unknown={"turn": 3},
    ),
    "Arena 140k": Published(
        "arena-conversations",
        [
            {
                "id": "x",
                "model_a": "m1",
                "model_b": "m2",
                "winner": "model_b",
                "evaluation_order": 1,
                "conversation_a": _in_parts(BAD),
                "conversation_b": [{**turn, "num_tokens": 5} for turn in _in_parts(GOOD)],
                "full_conversation": [{"user": user(_parts(ASKED))}],
                "category_tag": {"math_v0.1": {"math": False}},
                "language": "en",
                "is_code": False,
            }
        ],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
        tie={"winner": "both_bad"},
        unknown={"winner": "both_good"},
    ),
    "PKU-SafeRLHF": Published(
        "safe-rlhf",
        [
            {
                "prompt": ASKED,
                "response_0": BAD,
                "response_1": GOOD,
                "prompt_source": "x",
                "response_0_source": "m1",
                "response_1_source": "m2",
                "is_response_0_safe": True,
                "is_response_1_safe": False,
                "response_0_severity_level": 0,
                "response_1_severity_level": 2,
                "better_response_id": 1,
                "safer_response_id": 0,
            }
        ],
        unknown={"better_response_id": 2},
        kept={
            "models": ["m1", "m2"],
            "attributes": {"safe": [1, 0], "severity_level": [0, 2]},
        },
    ),
    "HelpSteer": Published(
        "helpsteer",
        _of_two({"response": BAD, "helpfulness": 1}, {"response": GOOD, "helpfulness": 4}, **STEER),
        tie={"helpfulness": 1},
        unknown={"helpfulness": "very"},
        kept={
            "ratings": [1, 4],
            "attributes": {
                "helpfulness": [1, 4],
                "correctness": [3, 3],
                "coherence": [4, 4],
                "complexity": [1, 1],
                "verbosity": [2, 2],
            },
        },
    ),
    "HelpSteer2-Preference": Published(
        "helpsteer-preference",
        [
            {
                "split": "train",
                "prompt": ASKED,
                "response_1": GOOD,
                "response_2": BAD,
                "preference_strength": -2,
                "preference_statement": "-",
                "preference_elaboration": "-",
            }
        ],
        tie={"preference_strength": 0},
        unknown={"preference_strength": 4},
        kept={"strength": 2},
    ),
    "HelpSteer3": Published(
        "helpsteer-preference",
        [
            {
                "domain": "general",
                "language": "english",
                "context": ASKED_IN_MESSAGES,
                "response1": BAD,
                "response2": GOOD,
                "overall_preference": 3,
                "individual_preference": [{"score": 3, "reasoning": "-", "feedback1": "-"}],
            }
        ],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
        tie={"overall_preference": 0},
        unknown={"overall_preference": -4},
        kept={"category": "general", "strength": 3},
    ),
    "stack-exchange-paired": Published(
        "stack-exchange-paired",
        [
            {
                "qid": 1,
                "question": ASKED,
                "date": "2020/01/01",
                "metadata": ["https://zoo.stackexchange.com"],
                "response_j": GOOD,
                "response_k": BAD,
            }
        ],
    ),
    "summarize_from_feedback, comparisons": Published(
        "summarize-comparisons",
        [
            {
                "info": {**INFO, "site": None, "article": None},
                "summaries": [
                    {"text": BAD, "policy": "p1", "note": None},
                    {"text": GOOD, "policy": "p2", "note": None},
                ],
                "choice": 1,
                "worker": "w",
                "batch": "b",
                "split": "train",
                "extra": {"confidence": 7},
            }
        ],
        prompt=TL_DR,
        unknown={"choice": 2},
        kept={"models": ["p1", "p2"]},
    ),
    "summarize_from_feedback, axis": Published(
        "summarize-axis",
        [
            {
                "info": {**INFO, "site": None, "article": None},
                "summary": {
                    "text": text,
                    "policy": policy,
                    "note": None,
                    "axes": {"overall": overall, "accuracy": 6, "coverage": 5, "coherence": 7},
                },
                "worker": "w",
                "batch": "b",
                "split": "test",
            }
            for text, policy, overall in ((BAD, "p1", 2), (GOOD, "p2", 7))
        ],
        prompt=TL_DR,
        tie={"summary": {"text": GOOD, "policy": "p2", "axes": {"overall": 2}}},
        unknown={"summary": {"text": GOOD, "policy": "p2", "axes": {"overall": "fine"}}},
        kept={"ratings": [2, 7], "models": ["p1", "p2"]},
    ),
    "webgpt_comparisons": Published(
        "webgpt",
        [
            {
                "question": {"dataset": "eli5", "id": "1", "full_text": ASKED},
                "quotes_0": {"title": ["t"], "extract": ["e"]},
                "answer_0": GOOD,
                "tokens_0": {"prefix": [1], "completion": [2]},
                "score_0": 0.5,
                "quotes_1": {"title": ["t"], "extract": ["e"]},
                "answer_1": BAD,
                "tokens_1": {"prefix": [1], "completion": [2]},
                "score_1": -0.5,
            }
        ],
        tie={"score_0": 0.0, "score_1": 0.0},
        unknown={"score_0": "good"},
        kept={"ratings": [0.5, -0.5]},
    ),
    "HH-RLHF": Published(
        "pairs",
        [
            {
                "chosen": f"\n\nHuman: {ASKED}\n\nAssistant: {GOOD}",
                "rejected": f"\n\nHuman: {ASKED}\n\nAssistant: {BAD}",
            }
        ],
        prompt=f"\n\nHuman: {ASKED}\n\nAssistant:",
        completions=(" " + GOOD, " " + BAD),
    ),
    "Skywork-Reward-Preference": Published(
        "pairs",
        [{"chosen": _dialogue(GOOD), "rejected": _dialogue(BAD), "source": "x"}],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
    ),
    "summarize_from_feedback, axis, news": Published(
        "summarize-axis",
        [
            {
                "info": {"id": "c", "post": None, "title": "Zoo", "article": "It opens at nine."},
                "summary": {
                    "text": text,
                    "policy": "p",
                    "note": None,
                    "axes": {"overall": overall},
                },
                "split": "validation",
            }
            for text, overall in ((BAD, 2), (GOOD, 7))
        ],
        prompt="Article:\n\nIt opens at nine.\n\nTL;DR:",
    ),
    "distilabel Capybara pairs": Published(
        "annotated-pairs",
        [
            {
                "source": "s",
                "conversation": [{"input": ASKED, "output": None}],
                "original_response": GOOD,
                "chosen": _dialogue(GOOD),
                "rejected": _dialogue(BAD),
                "rating_chosen": 5,
                "rating_rejected": 2,
                "chosen_model": "m1",
                "rejected_model": "m2",
            }
        ],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
        kept={"ratings": [5, 2], "models": ["m1", "m2"]},
    ),
    "Tulu 3 preference mixes": Published(
        "annotated-pairs",
        [
            {
                "id": "x",
                "source": "s",
                "prompt": ASKED,
                "chosen": _dialogue(GOOD),
                "rejected": _dialogue(BAD),
                "chosen_rating": 5.0,
                "rejected_rating": 1.0,
                "chosen_model": "m1",
                "rejected_model": "m2",
            }
        ],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
        kept={"ratings": [5, 1], "models": ["m1", "m2"]},
    ),
    "WSDM Cup": Published(
        "judged-pairs",
        [
            {
                "id": "0a1",
                "prompt": ASKED,
                "response_a": BAD,
                "response_b": GOOD,
                "winner": "model_b",
                "model_a": "m1",
                "model_b": "m2",
                "language": "English",
            }
        ],
        tie={"winner": "tie"},
        unknown={"winner": "model_c"},
        kept={"models": ["m1", "m2"]},
        csv=True,
    ),
    "OffsetBias": Published(
        "offsetbias",
        [
            {
                "instruction": "Translate.",
                "input": "Negen uur.",
                "output_1": BAD,
                "output_2": GOOD,
                "label": 2,
                "dataset": "alpaca",
            }
        ],
        prompt="Translate.\n\nNegen uur.",
        unknown={"label": 3},
    ),
    "Intel/orca_dpo_pairs": Published(
        "annotated-pairs",
        [{"system": "Be brief.", "question": ASKED, "chosen": GOOD, "rejected": BAD}],
        prompt=[system("Be brief."), user(ASKED)],
        completions=AS_MESSAGES,
    ),
    "distilabel-intel-orca-dpo-pairs": Published(
        "distilabel-orca",
        [
            {
                "system": "Be brief.",
                "input": ASKED,
                "chosen": GOOD,
                "rejected": BAD,
                "generations": [BAD, GOOD],
                "order": ["rejected", "chosen"],
                "labelling_model": "m",
                "rating": [2.0, 9.0],
                "rationale": "-",
                "status": "swapped",
                "original_chosen": BAD,
                "original_rejected": GOOD,
                "chosen_score": 9.0,
                "in_gsm8k_train": False,
            }
        ],
        prompt=[system("Be brief."), user(ASKED)],
        completions=AS_MESSAGES,
        tie={"status": "tie", "rating": [9.0, 9.0]},
        unknown={"status": "odd"},
        kept={"ratings": [9, 2]},
    ),
    "KTO": Published(
        "kto",
        _of_two(
            {"completion": BAD, "label": False}, {"completion": GOOD, "label": True}, prompt=ASKED
        ),
        tie={"label": False},
        csv=True,
    ),
    "KTO in messages": Published(
        "kto",
        _of_two(
            {"completion": [assistant(BAD)], "label": False},
            {"completion": [assistant(GOOD)], "label": True},
            prompt=ASKED_IN_MESSAGES,
        ),
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
    ),
    "NeMo-RL": Published(
        "nemo-rl",
        [
            {
                "context": ASKED_IN_MESSAGES,
                "completions": [
                    {"rank": 1, "completion": [assistant(BAD)]},
                    {"rank": 0, "completion": [assistant(GOOD)]},
                ],
                "task_name": "x",
            }
        ],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
        tie={"completions": [{"rank": 0, "completion": [assistant(m)]} for m in "ab"]},
        unknown={"completions": [{"rank": "best", "completion": [assistant(m)]} for m in "ab"]},
    ),
    "ms-swift": Published(
        "ms-swift",
        [{"messages": [system("Be brief."), *_dialogue(GOOD)], "rejected_response": BAD}],
        prompt=[system("Be brief."), user(ASKED)],
        completions=AS_MESSAGES,
    ),
    "ms-swift, whole dialogues": Published(
        "ms-swift",
        [{"messages": _dialogue(GOOD), "rejected_messages": _dialogue(BAD), "margin": 1.5}],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
        kept={"margin": 1.5},
    ),
    "LLaMA-Factory ShareGPT": Published(
        "sharegpt-pairs",
        [
            {
                "conversations": [{"from": "human", "value": ASKED}],
                "chosen": {"from": "gpt", "value": GOOD},
                "rejected": {"from": "gpt", "value": BAD},
                "system": "Be brief.",
                "tools": '[{"name": "clock"}]',
            }
        ],
        prompt=[
            system('Be brief.\n\nYou can call these tools:\n[{"name": "clock"}]'),
            user(ASKED),
        ],
        completions=AS_MESSAGES,
        unknown={"chosen": {"from": "elf", "value": GOOD}},
    ),
    "LLaMA-Factory Alpaca": Published(
        "annotated-pairs",
        [
            {
                "instruction": "Translate.",
                "input": "Negen uur.",
                "system": "Be brief.",
                "history": [["Is it open?", "Until nine."]],
                "chosen": GOOD,
                "rejected": BAD,
            }
        ],
        prompt=[
            system("Be brief."),
            user("Is it open?"),
            assistant("Until nine."),
            user("Translate.\n\nNegen uur."),
        ],
        completions=AS_MESSAGES,
    ),
    "LLaMA-Factory Alpaca, instruction and input": Published(
        "annotated-pairs",
        [{"instruction": "Translate.", "input": "Negen uur.", "chosen": GOOD, "rejected": BAD}],
        prompt="Translate.\n\nNegen uur.",
    ),
    "axolotl": Published(
        "message-pairs",
        [
            {
                "messages": [system("Be brief."), user(ASKED)],
                "chosen": assistant(GOOD),
                "rejected": assistant(BAD),
            }
        ],
        prompt=[system("Be brief."), user(ASKED)],
        completions=AS_MESSAGES,
    ),
    "OpenRLHF": Published(
        "pairs",
        [{"prompt": ASKED_IN_MESSAGES, "chosen": _dialogue(GOOD), "rejected": _dialogue(BAD)}],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
    ),
    "Argilla": Published(
        "argilla",
        [
            {
                "prompt": ASKED,
                "response1": BAD,
                "response2": GOOD,
                "preference": _argilla(2, 1),
                "preference-suggestion": None,
                "external_id": None,
                "metadata": "{}",
            }
        ],
        tie={"preference": _argilla(1, 1)},
        unknown={"preference": []},
    ),
    "Argilla 2": Published(
        "argilla",
        [
            {
                "id": "x",
                "status": "completed",
                "prompt": ASKED,
                "response1": BAD,
                "response2": GOOD,
                "preference.responses": [["response2", "response1"], ["response1", "response2"]],
                "preference.responses.users": ["u", "v"],
                "preference.responses.status": ["submitted", "draft"],
            }
        ],
        tie={"preference.responses.status": ["submitted", "submitted"]},
        unknown={"preference.responses": [["response3"], ["response1"]]},
    ),
    "Label Studio": Published(
        "label-studio",
        [{"id": 1, "annotations": _annotations("right", "right", "left"), "data": TASK}],
        tie={"annotations": _annotations("right", "left")},
        unknown={"annotations": _annotations("middle")},
        kept={"ratings": [1, 2]},
    ),
    "Label Studio, short": Published(
        "label-studio-min",
        [{**TASK, "id": 1, "annotator": 1, "comparison": [{"selected": "right"}]}],
        unknown={"comparison": [{"selected": "middle"}]},
        csv=True,
    ),
    "OpenAI preference fine-tuning": Published(
        "openai-preference",
        [
            {
                "input": {
                    "messages": ASKED_IN_MESSAGES,
                    "tools": [],
                    "parallel_tool_calls": True,
                },
                "preferred_output": [assistant(GOOD)],
                "non_preferred_output": [assistant(BAD)],
            }
        ],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
    ),
    "TRL, explicit prompt": Published(
        "pairs", [{"prompt": ASKED, "chosen": GOOD, "rejected": BAD}], csv=True
    ),
    "TRL, explicit prompt in messages": Published(
        "pairs",
        [
            {
                "prompt": ASKED_IN_MESSAGES,
                "chosen": [assistant(GOOD)],
                "rejected": [assistant(BAD)],
            }
        ],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
    ),
    "TRL, implicit prompt": Published(
        "pairs",
        [{"chosen": "The sky is blue.", "rejected": "The sky is green."}],
        prompt="The sky is",
        completions=(" blue.", " green."),
    ),
    "TRL, implicit prompt in messages": Published(
        "pairs",
        [{"chosen": _dialogue(GOOD), "rejected": _dialogue(BAD)}],
        prompt=ASKED_IN_MESSAGES,
        completions=AS_MESSAGES,
    ),
}
