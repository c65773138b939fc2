"""How uncertain a head is: the covariance of its weights, in a small file beside a model's own.

A reward is r = w·φ + b, where φ is what the last linear layer is given of a completion. Where its
weights have the covariance Σ, the rewards of K completions have Φ Σ Φᵀ. Weights and configuration
know nothing of it: a model without the file is as it was, and other programs do not see it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from plaudit.errors import PlauditError
from plaudit.model.tensors_file import as_readable, reading

# Safetensors under another ending: some programs take all `*.safetensors` of a folder for weights.
FILE = "uncertainty.plaudit"
VERSION = "1"
TENSORS = ("scale", "directions", "centre")


@dataclass(frozen=True)
class HeadUncertainty:
    """The covariance Σ = `isotropic` · I + Σ_k `scale`_k u_k u_kᵀ of a head's D weights.

    Attributes:
        kind: which of `plaudit.training.posteriors` made it.
        prior_precision: of the prior that it was made with.
        isotropic: 0 or more.
        scale: `[R]`, below 0 where the data say more than the prior.
        directions: `[R, D]`, the u_k.
        centre: `[D]`, the mean φ of the training completions, from which features are taken.

    >>> along = torch.tensor([[1.0, 0.0]])
    >>> spread = HeadUncertainty("laplace", 1.0, 1.0, torch.tensor([-0.75]), along, torch.zeros(2))
    >>> spread.variance(torch.eye(2)).tolist()
    [0.25, 1.0]
    """

    kind: str
    prior_precision: float
    isotropic: float
    scale: Tensor
    directions: Tensor
    centre: Tensor

    def variance(self, differences: Tensor) -> NDArray[np.float64]:
        """The variances `[N]` of reward differences whose features differ by `[N, D]`."""
        given = differences.double()
        along = given @ self.directions.double().T
        found = self.isotropic * (given**2).sum(1) + along**2 @ self.scale.double()
        variances: NDArray[np.float64] = found.clamp(min=0).numpy()
        return variances

    def covariances(self, features: Sequence[Tensor]) -> list[NDArray[np.float64]]:
        """Of the rewards of each prompt, whose completions have the features `[K, D]`."""
        given = torch.cat(list(features)).double() - self.centre.double()
        along = given @ self.directions.double().T
        sizes = [len(each) for each in features]
        scale = self.scale.double()
        return [
            (self.isotropic * own @ own.T + (part * scale) @ part.T).numpy()
            for own, part in zip(given.split(sizes), along.split(sizes), strict=True)
        ]

    def digest(self) -> str:
        """Of all that decides what it gives."""
        about = f"{VERSION} {self.kind} {self.isotropic!r}".encode()
        digest = hashlib.blake2b(about, digest_size=16)
        for name in TENSORS:
            digest.update(getattr(self, name).contiguous().numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write it into an existing model folder."""
        about = {
            "version": VERSION,
            "kind": self.kind,
            "isotropic": repr(self.isotropic),
            "prior_precision": repr(self.prior_precision),
        }
        tensors = {name: getattr(self, name).contiguous() for name in TENSORS}
        save_file(tensors, folder / FILE, metadata=about)
        as_readable(folder / FILE)


def read_uncertainty(file: Path, width: int) -> HeadUncertainty:
    """What `save` wrote, of a head of so many weights.

    Raises:
        PlauditError: when the file is damaged, of a later version, or of another model.
    """
    without = "delete it, and the model is as one without"
    with reading(file, "pt", VERSION, without) as (stored, about):
        tensors = {name: stored.get_tensor(name) for name in TENSORS}
        uncertainty = HeadUncertainty(
            kind=about["kind"],
            prior_precision=float(about["prior_precision"]),
            isotropic=float(about["isotropic"]),
            **tensors,
        )
    shapes = [tuple(tensors[name].shape) for name in TENSORS[1:]]
    if shapes != [(len(tensors["scale"]), width), (width,)]:
        raise PlauditError(
            f"{file}: belongs to another model, whose head has {tensors['centre'].numel():,} "
            f"weights and not {width:,}; delete it"
        )
    return uncertainty
