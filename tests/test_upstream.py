"""What plaudit uses of other libraries without their promise to keep it.

Each entry is a private or undocumented name, with the file that uses it and the reason. Where one
of these tests fails after an upgrade, look at that file first.
"""

import argparse
import ast
import importlib
import inspect
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, Trainer

import plaudit

# (object, name): where plaudit uses it, and for what.
PRIVATE = {
    ("transformers:Trainer", "_get_num_items_in_batch"): (
        "training/trainer.py: overridden, so that a step is divided by the weight of its rankings"
    ),
    ("transformers:Trainer", "_run_epoch"): (
        "training/trainer.py: overridden, so that a run resumed at its end takes no step"
    ),
    ("transformers:Trainer", "_save_checkpoint"): (
        "training/trainer.py: overridden, so that a checkpoint appears whole or not at all"
    ),
    ("transformers:Trainer", "_finalize_training"): (
        "training/trainer.py: overridden, so that a run ends with its best checkpoint or an error"
    ),
    ("transformers:Trainer", "_prepare_inputs"): (
        "training/trainer.py: called, to put a batch of validation on the device"
    ),
    ("trl:RewardTrainer", "_prepare_dataset"): (
        "training/trainer.py: overridden, since rankings are encoded already"
    ),
    ("transformers:PreTrainedModel", "_init_weights"): (
        "model/checkpoint.py: called, to draw a head in the place of another one"
    ),
    ("transformers:PreTrainedModel", "_can_set_attn_implementation"): (
        "model/classifier.py: says whether a model uses the attention interface"
    ),
    ("transformers:PreTrainedModel", "_supports_sdpa"): (
        "model/modeling_mean.py: overridden, to be what the base model says"
    ),
    ("transformers:PreTrainedModel", "_supports_flash_attn"): (
        "model/modeling_mean.py: overridden, to be what the base model says"
    ),
    ("transformers:PreTrainedConfig", "_attn_implementation"): (
        "model/classifier.py: read, to go back to it where the flat layout does not suit"
    ),
    ("accelerate.state:PartialState", "_shared_state"): (
        "rlhf.py: says whether accelerate has been started in this process"
    ),
    ("transformers.integrations.deepspeed:", "_hf_deepspeed_config_weak_ref"): (
        "rlhf.py: put aside, so that a reward model is loaded whole beside a sharded policy"
    ),
    ("transformers.modeling_gguf_pytorch_utils:", "tqdm"): (
        "model/base_models.py: exchanged, to silence the bar that no switch reaches"
    ),
    ("torch:Tensor", "_version"): (
        "model/cast_once.py: grows with every change in place, after which weights are cast anew"
    ),
    ("torch:", "_softmax_backward_data"): (
        "model/products_attention.py: the gradient of a softmax in one pass over the scores"
    ),
    ("torch:Tensor", "_is_view"): (
        "model/attention.py: says whether a tensor is a view: a kernel is compiled for each"
    ),
    ("transformers.utils.chat_template_utils:", "_compile_jinja_template"): (
        "model/template_limits.py: exchanged, so that chat templates are rendered within limits"
    ),
    ("argparse:ArgumentParser", "_option_string_actions"): (
        "flags.py: the flags that there are, to propose the nearest"
    ),
    ("torch:", "_dynamo"): (
        "model/attention.py: its limit of recompilations, for a kernel of several shapes"
    ),
}


@pytest.mark.parametrize(("where", "name"), PRIVATE)
def test_a_private_name_is_still_there(where, name):
    module, _, attribute = where.partition(":")
    owner = importlib.import_module(module)
    if attribute:
        owner = getattr(owner, attribute)
    if owner is argparse.ArgumentParser:
        owner = owner()  # which makes it
    if name == "_dynamo":
        importlib.import_module(f"torch.{name}")  # torch imports it when it is first needed
    assert hasattr(owner, name), f"{where} has no {name} any more. {PRIVATE[where, name]}"


def test_a_trainer_calls_what_is_overridden():
    source = inspect.getsource(Trainer)
    for where, name in PRIVATE:
        if where == "transformers:Trainer":
            assert f"self.{name}(" in source, f"{name} is not called. {PRIVATE[where, name]}"


def test_a_four_dimensional_mask_is_handed_to_attention_as_it_is():
    """model/classifier.py: what keeps transformers from making a mask for a flat batch."""
    config = BertConfig(
        vocab_size=8,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        attn_implementation="eager",
    )
    model, masks = BertModel(config).eval(), []
    layer = model.encoder.layer[0].attention.self
    layer.register_forward_pre_hook(
        lambda module, args, kwargs: masks.append(kwargs["attention_mask"]), with_kwargs=True
    )
    given = torch.zeros(1, 1, 1, 1)
    with torch.no_grad():
        model(torch.tensor([[1, 2, 3]]), attention_mask=given)
    assert masks[0] is given


def private_attributes():
    """Private names that plaudit's source takes from objects other than its own `self` or `cls`."""
    own, used = set(), {}
    for path in Path(plaudit.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Attribute) and not node.attr.startswith("__"):
                if isinstance(node.ctx, ast.Store):
                    own.add(node.attr)
                elif node.attr.startswith("_"):
                    used.setdefault(node.attr, path.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                own.add(node.target.id)
    return {name: file for name, file in used.items() if name not in own}


def test_no_private_name_is_missing_above():
    listed = {name for _, name in PRIVATE} | {
        "_asdict",
        "_fields",
        "_replace",
        "_exit",
    }  # documented
    missing = {name: file for name, file in private_attributes().items() if name not in listed}
    assert not missing, f"private names of other libraries that this file does not list: {missing}"
