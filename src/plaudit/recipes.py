"""Recipes: settings that belong together, under one name; what is given besides goes before them.

`default` is what stands in `Settings` itself. How they were chosen, and what each reaches in how
much time, is in docs/quality.md.
"""

from collections.abc import Mapping

RECIPES: Mapping[str, Mapping[str, object]] = {
    "default": {},
    # One pass through the base model, whatever the number of epochs.
    "fast": {"freeze_layers": -1},
    # More steps, of fewer rankings each.
    "best": {"num_train_epochs": 3, "per_device_train_batch_size": 2},
    # Bradley-Terry and nothing else: what other trainers do, and earlier versions did.
    "plain": {"control": [], "head_epochs": 0, "pooling": "auto"},
}
