"""Rewards of one prompt with how uncertain they are, and the probability that follows.

Nothing here imports torch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit


def moderated(margin: ArrayLike, variance: ArrayLike) -> NDArray[np.float64]:
    """The log odds that a is preferred to b, where r_a − r_b is only known to be about `margin`.

    If the difference is normal with this mean and this variance v, the mean of its σ is about
    σ(margin / √(1 + π v / 8)): nearer to one half, the less is known. Source: MacKay 1992, "The
    Evidence Framework Applied to Classification Networks", eq. 10.

    >>> moderated([2.0, 2.0], [0.0, 4.0]).round(3).tolist()
    [2.0, 1.247]
    """
    given, spread = np.asarray(margin, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    moderate: NDArray[np.float64] = given / np.sqrt(1 + np.pi * spread / 8)
    return moderate


def pair_variance(
    covariance: NDArray[np.float64], a: ArrayLike, b: ArrayLike
) -> NDArray[np.float64]:
    """The variance of r_a − r_b by the covariance `[K, K]` of rewards; a and b may be arrays.

    >>> pair_variance(np.array([[4.0, 1.0], [1.0, 1.0]]), 0, 1).item()
    3.0
    """
    first, second = np.asarray(a, dtype=np.intp), np.asarray(b, dtype=np.intp)
    own = covariance[first, first] + covariance[second, second]
    return np.maximum(own - 2 * covariance[first, second], 0.0)  # rounding may go below


@dataclass(frozen=True)
class Posterior:
    """The rewards `[K]` of a prompt's completions and their covariance `[K, K]`.

    Rewards have no zero: a reward's own deviation is that of its difference from the mean reward of
    the training completions. `scale` is the scorer's.

    >>> both = Posterior(np.array([1.0, 0.0]), np.array([[0.5, 0.1], [0.1, 0.5]]))
    >>> both.deviations.round(3).tolist(), round(both.probability(0, 1), 3)
    ([0.707, 0.707], 0.705)
    """

    rewards: NDArray[np.float64]
    covariance: NDArray[np.float64]
    scale: float = 1.0

    @property
    def deviations(self) -> NDArray[np.float64]:
        """The standard deviation of each reward, `[K]`."""
        return np.sqrt(np.maximum(np.diagonal(self.covariance), 0.0))

    def probability(self, a: int, b: int) -> float:
        """That completion a is preferred to completion b; see `moderated`."""
        margin = self.scale * (self.rewards[a] - self.rewards[b])
        variance = self.scale**2 * pair_variance(self.covariance, a, b)
        return float(expit(moderated(margin, variance)))
