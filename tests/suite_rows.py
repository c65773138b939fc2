"""Rows in the form of the published files of benchmarks, all texts invented."""

import json

import pyarrow
import pyarrow.parquet


def helpsteer3_row(number, preference=-2, domain="general", language="english", **other):
    row = {"domain": domain, "language": language, "overall_preference": preference}
    row |= {"context": [{"role": "user", "content": f"Help with {number}."}]}
    row |= {"response1": f"One {number}.", "response2": f"Two {number}."}
    return row | {"individual_preference": [{"score": preference, "reasoning": "-"}]} | other


def shp_row(number, label=1, domain="askvet_test", ratio=2.5, **other):
    row = {"post_id": f"p{number}", "domain": domain, "history": f"Why {number}?"}
    row |= {"c_root_id_A": f"a{number}", "c_root_id_B": f"b{number}", "score_A": 9, "score_B": 3}
    row |= {"human_ref_A": f"This {number}.", "human_ref_B": f"That {number}.", "labels": label}
    return row | {"seconds_difference": 60.0, "score_ratio": ratio, "upvote_ratio": 0.9} | other


def mrewardbench_row(number, source="hep-go", language="deu_Latn", **other):
    row = {"id": number, "prompt": f"Schreib {number} ({language}, {source}).", "source": source}
    row |= {"chosen": f"Gut {number}.", "rejected": f"Nein {number}.", "language": language}
    return row | {"chosen_model": "a", "rejected_model": "b", "category": "Reasoning"} | other


def ifrewardbench_row(number, edges=((0, 1),), count=3, kind="Single_Turn", **other):
    row = {"id": number, "response_generation_model": "m", "instruction_type": kind}
    row |= {"messages": [{"role": "user", "content": f"In {number} words."}]}
    row |= {"checklist": ["words"], "constraint_type": [["count", "And"]]}
    row |= {
        "responses": [{"response": f"Answer {number}.{k}", "critique": "-"} for k in range(count)]
    }
    graph = [{"chosen": {"response_id": u}, "rejected": {"response_id": v}} for u, v in edges]
    return row | {"preference_graph": graph} | other


def ppehumanpreference_row(number, winner="model_a", language="English", **other):
    row = {"question_id": f"q{number}", "model_a": "x", "model_b": "y", "winner": winner}
    row |= {"prompt": f"Tell {number}.", "response_1": f"Yes {number}.", "response_2": "No."}
    row |= {"language": language, "hard_prompt": number % 2 == 0, "easy_prompt": number % 2 == 1}
    return row | {"if_prompt": False, "is_code": number % 3 == 0, "math_prompt": False} | other


def ppecorrectness_row(number, right=(0, 5), pairs=((0, 1), (2, 5)), subset="MATH", **other):
    row = {"question_id": f"q{number}", "prompt": f"Solve {number}.", "model_name": "m"}
    row |= {f"response_{k + 1}": f"It is {number}.{k}" for k in range(32)}
    row |= {"scores": [k in right for k in range(32)], "mean_score": len(right) / 32}
    return (
        row | {"sampled_conflict_pairs": [list(pair) for pair in pairs], "subset": subset} | other
    )


def write(path, rows):
    """The rows as a file of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
