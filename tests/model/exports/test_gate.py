"""int8 is written only where it keeps the order of the user's rows, and says how much of it."""

import copy
import json
import math
import random
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import plaudit
from plaudit.errors import PlauditError
from plaudit.model.classifier import head_of
from plaudit.model.export import export
from plaudit.model.exports._gate import GateRows, agreement, pass_gate
from plaudit.model.reward_model import RewardModel

WORDS = "yes no two four fox dog better worse answer reward talk over lazy quick brown"


def gate_rows(prompts=12, completions=8):
    draw = random.Random(0)
    return GateRows(
        [
            (
                " ".join(draw.choices(WORDS.split(), k=6)),
                [
                    " ".join(draw.choices(WORDS.split(), k=draw.randint(3, 20)))
                    for _ in range(completions)
                ],
            )
            for _ in range(prompts)
        ],
        ["rows.csv"],
    )


def test_agreement_counts_pairs_of_one_prompt():
    draw = np.random.default_rng(0)
    here = [list(draw.normal(size=size)) for size in (2, 5, 1, 7)]
    there = [list(np.array(row) + draw.normal(size=len(row))) for row in here]
    same = [
        (x[i] - x[j]) * (y[i] - y[j]) > 0
        for x, y in zip(here, there, strict=True)
        for i in range(len(x))
        for j in range(i)
    ]
    assert agreement(here, there) == (1 + 10 + 21, pytest.approx(np.mean(same)))
    assert 0 < np.mean(same) < 1


def test_what_has_no_order_in_float32_is_left_out_and_a_tie_in_int8_counts_against_it():
    assert agreement([[1.0, 1.0 + 1e-6, 2.0]], [[3.0, 1.0, 4.0]]) == (2, 1.0)
    assert agreement([[1.0, 2.0]], [[3.0, 3.0]]) == (1, 0.0)
    pairs, share = agreement([[1.0]], [[1.0]])
    assert pairs == 0
    assert math.isnan(share)


def test_too_few_pairs_tell_nothing(tmp_path):
    with pytest.raises(PlauditError, match="1 pair of completions cannot tell"):
        pass_gate([[1.0, 2.0]], [[1.0, 2.0]], GateRows([("a", ["b", "c"])], ["x"]), tmp_path)


def with_hidden_outliers(model):
    """The same rewards of weights that 8 bits cannot hold: every product of the layers has a weight
    of 10,000 for a number that is always 0, beside which the other weights round to nothing."""
    network = copy.deepcopy(model.model)
    for name, part in network.named_modules():
        if isinstance(part, torch.nn.LayerNorm):
            part.weight.data[0] = part.bias.data[0] = 0
        elif name.endswith(("query", "key", "value", "intermediate.dense")):
            part.weight.data[:, 0] = 1e4
    return replace(model, model=network)


def test_a_model_that_int8_breaks_is_refused_with_the_figure(reward_model, tmp_path):
    model = with_hidden_outliers(reward_model("bert", "mean"))
    with pytest.raises(PlauditError) as refused:
        export(model, tmp_path / "int8", "openvino", "int8", gate_rows())
    said = str(refused.value)
    share = float(re.search(r"in int8 ([\d.]+)% of 336 pairs", said)[1])
    assert share < 90
    assert "99.5% are asked for; nothing was written" in said
    assert list(tmp_path.iterdir()) == []
    export(model, tmp_path / "float32", "openvino")  # which has the same order, and is written


def of_two_kinds(prompts=250):
    """Of each prompt a completion of one kind and one of another."""
    draw = random.Random(0)

    def some(words):
        return " ".join(draw.choices(words.split(), k=draw.randint(4, 12)))

    kinds = "fox dog lazy quick", "yes no answer two"
    return GateRows([(some(WORDS), [some(kind) for kind in kinds]) for _ in range(prompts)], ["x"])


def with_fitted_head(model, rows):
    """The model with a head that tells the two kinds apart."""
    features = model.with_features(model.encode(rows.prompts))
    network = copy.deepcopy(model.model)
    apart = torch.stack([(first - second)[1:] for first, second in features])
    gram = apart.T @ apart + len(apart) * 0.1 * torch.eye(apart.shape[1])
    head_of(network).weight.data[0] = torch.linalg.solve(gram, apart.sum(0))  # ridge, towards 1
    return replace(model, model=network)


@pytest.mark.parametrize(("name", "pooling"), [("bert", "mean"), ("llama", "last")])
def test_int8_that_keeps_the_order_is_written_and_loads(reward_model, name, pooling, tmp_path):
    rows, path = of_two_kinds(), tmp_path / "int8"
    model = with_fitted_head(reward_model(name, pooling), rows)
    export(model, path, "openvino", "int8", rows)
    there = RewardModel.load(path)
    found = json.loads((path / "int8.json").read_text())
    pairs, share = agreement(
        list(model.score_all(rows.prompts)), list(there.score_all(rows.prompts))
    )
    assert (found["pairs"], found["agreement"]) == (pairs, share)
    assert share >= 0.995
    assert (found["data"], found["completions"]) == (["x"], 500)
    assert found["largest_difference"] > 1e-5  # or nothing was in int8
    export(model, tmp_path / "float32", "openvino")
    assert there.identity() != RewardModel.load(tmp_path / "float32").identity()


@pytest.mark.parametrize("format", ["pt", "onnx", "folder"])
def test_int8_needs_openvino_and_rows(reward_model, format, tmp_path):
    model = reward_model("bert", "mean")
    with pytest.raises(PlauditError, match="dtype: int8 needs format openvino"):
        export(model, tmp_path / "model", format, "int8", gate_rows())
    with pytest.raises(PlauditError, match="give --data ROWS"):
        export(model, tmp_path / "model", "openvino", "int8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "onnx", "dtype": "int8", "data": "no.csv"}, "int8 needs format openvino"),
        ({"format": "openvino", "dtype": "int8"}, "give --data ROWS"),
        ({"format": "openvino", "dtype": "float16"}, "float16 needs format folder"),
        ({"format": "pt", "data": "no.csv"}, "leave --data out"),
        ({"format": "pt", "columns": {"prompt": "q"}}, "columns: says how --data is read"),
        ({"format": "pt", "encoding": "cp1252"}, "encoding: says how --data is read"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(tmp_path, given, message):
    (tmp_path / "model").mkdir()  # which is no model
    with pytest.raises(PlauditError, match=message):
        plaudit.export(tmp_path / "model", tmp_path / "out", **given)


def test_int8_without_openvino_says_what_to_install(reward_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(PlauditError, match=r"pip install 'plaudit\[openvino\]'"):
        export(reward_model("bert", "mean"), tmp_path / "model", "openvino", "int8", gate_rows())
