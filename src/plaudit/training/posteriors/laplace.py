"""Laplace's approximation: the data fix the weights as far as the objective is curved."""

from collections.abc import Callable

from plaudit.training.posteriors import Covariance, Curvature, Posterior, leading


def laplace(curvature: Curvature) -> Callable[[float], Covariance]:
    """The covariance (H + λ I)⁻¹, with H the second derivatives and λ the precision of the prior.

    So a reward is the more uncertain, the less the training rankings say of what the head sees; far
    from all of them it is as uncertain as the prior. For Bradley–Terry, H = Σ w p (1 − p) Δφ Δφᵀ
    over ordered pairs. Of H the largest eigenvalues are kept: in other directions only the prior
    counts, which makes the covariance too large and never too small.

    Source: MacKay 1992, "The Evidence Framework Applied to Classification Networks"; for the last
    layer alone Kristiadi, Hein and Hennig 2020, and Daxberger et al. 2021.

    >>> import torch
    >>> one = torch.ones(1, 1)
    >>> found = laplace(Curvature(3 * one, one))(1.0)
    >>> found.isotropic + found.scale.item()
    0.25
    """
    values, directions = leading(curvature.information)

    def covariance(precision: float) -> Covariance:
        scale = -values / (precision * (values + precision))
        return Covariance(1 / precision, scale, directions)

    return covariance


POSTERIOR = Posterior(laplace)
