"""The sandwich: how the weights would vary had other prompts been drawn."""

from collections.abc import Callable

from plaudit.training.posteriors import Covariance, Curvature, Posterior, leading


def sandwich(curvature: Curvature) -> Callable[[float], Covariance]:
    """The covariance A⁻¹ S A⁻¹, with A = H + λ I and S the scatter of the rankings' gradients.

    To first order this is how heads vary that are refitted on bootstraps of the rankings, on the
    same features and with the ridge λ: an ensemble that shares its base model, with any number of
    members. It holds where preferences do not follow the objective, and where the pairs of a
    ranking depend on each other. Where no training ranking leads, it sees no uncertainty; `laplace`
    does.

    Source: Huber 1967; White 1982; as the infinitesimal jackknife, Efron 1982.

    >>> import torch
    >>> one = torch.ones(1, 1)
    >>> found = sandwich(Curvature(3 * one, 2 * one))(1.0)
    >>> (found.scale * found.directions**2).item()
    0.125
    """
    values, vectors = leading(curvature.information)
    spread, directions = leading(curvature.scatter)
    along = directions @ vectors.T

    def covariance(precision: float) -> Covariance:
        known = along * (values / (values + precision)) @ vectors
        return Covariance(0.0, spread, (directions - known) / precision)

    return covariance


POSTERIOR = Posterior(sandwich)
