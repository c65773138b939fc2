"""Posteriors: how the head's weights might also be. Each is one module here, found by its name.

A module defines `POSTERIOR`, a `Posterior` whose `fit` takes what is known of the training
objective about the trained weights, its `Curvature`, and returns the covariance of the weights for
any precision of the prior. Which precision, validation decides. Its name is the setting
`uncertainty`. Importing this package does not import torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from plaudit.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor

MOST = 256  # directions that are kept of a covariance, as many of the file's rows


class Curvature(NamedTuple):
    """How the training objective, summed over rankings, changes about the trained weights.

    `information[D, D]` are its second derivatives by the D weights of the head; `scatter[D, D]` is
    Σ (g − ḡ)(g − ḡ)ᵀ over the gradients g of the rankings.
    """

    information: "Tensor"
    scatter: "Tensor"


class Covariance(NamedTuple):
    """`isotropic` · I + Σ_k `scale[R]`_k u_k u_kᵀ, with u_k the rows of `directions[R, D]`."""

    isotropic: float
    scale: "Tensor"
    directions: "Tensor"


@dataclass(frozen=True)
class Posterior:
    """`fit` makes of a `Curvature` what gives the `Covariance` for a precision of the prior."""

    fit: Callable[[Curvature], Callable[[float], Covariance]]


POSTERIORS = Registry("posterior", __name__, "POSTERIOR", Posterior)


def leading(matrix: "Tensor") -> "tuple[Tensor, Tensor]":
    """The largest eigenvalues `[R]` of a symmetric matrix `[D, D]`, at most `MOST`, and the
    eigenvectors `[R, D]`; what rounding leaves below 0 is 0.

    >>> import torch
    >>> leading(torch.diag(torch.tensor([1.0, 3.0])))[0].tolist()
    [1.0, 3.0]
    """
    import scipy.linalg
    import torch

    size = len(matrix)
    wanted = (max(size - MOST, 0), size - 1)
    values, vectors = scipy.linalg.eigh(matrix.double().numpy(), subset_by_index=wanted)
    return torch.from_numpy(values).clamp(min=0), torch.from_numpy(vectors.T.copy())
