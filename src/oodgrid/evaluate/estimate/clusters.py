"""Two clusters in a pool of scores: the two Gaussians that fit it best, of which the upper one is taken for ID."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

MOST_POINTS = 256  # quantiles that stand for a larger pool
ROUNDS = 60
SMALLEST = 1e-3  # of a cluster's deviation, in deviations of the pool: no cluster is a single value
STILL = 1e-5  # of the mean log-likelihood
ROUNDING = 1e-15  # of the largest score: differences of no more are taken for none


@dataclass(frozen=True)
class Clusters:
    """A mixture of two Gaussians, in standard deviations of the pool about its mean.

    Attributes:
        means: Of the lower cluster, taken for OOD, and of the upper.
        deviations: Likewise.
        share: Of the lower cluster.
    """

    means: tuple[float, float]
    deviations: tuple[float, float]
    share: float

    @property
    def separation(self) -> float:
        """The distance of both means over the root of the sum of both variances; 0 where all scores are equal."""
        spread = sqrt(sum(each**2 for each in self.deviations))
        return (self.means[1] - self.means[0]) / spread if spread else 0.0

    def rates(self) -> dict[str, float]:
        """Return AUROC and both false-positive rates, were the upper cluster the ID and the lower one the OOD."""
        (low, high), (of_low, of_high) = self.means, self.deviations
        if not of_low or not of_high:
            return {"auroc": 0.5, "fpr95_id_pos": 0.95, "fpr95_ood_pos": 0.95}
        kept, caught = high - ndtri(0.95) * of_high, low + ndtri(0.95) * of_low
        return {
            "auroc": float(ndtr(self.separation)),
            "fpr95_id_pos": float(ndtr((low - kept) / of_low)),
            "fpr95_ood_pos": float(ndtr((caught - high) / of_high)),
        }


def two_clusters(pool: NDArray[np.float64]) -> Clusters:
    """Return the two Gaussians that fit a pool best, by expectation maximisation from its best split in two.

    Of more than 256 scores as many quantiles stand for the pool. The same pool gives the same clusters in any order.

    Args:
        pool: Scores, shape (M,).
    """
    points = np.sort(pool)
    if len(points) > MOST_POINTS:
        points = points[((np.arange(MOST_POINTS) + 0.5) * len(points) / MOST_POINTS).astype(np.int64)]
    points = centred(points)
    spread = float(points.std())
    if not spread:
        return Clusters((0.0, 0.0), (0.0, 0.0), 0.0)
    points = (points - points.mean()) / spread
    return _maximised(points, _best_split(points))


def centred(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores less their median, over the largest of what is left; zeros where they differ by rounding alone.

    So no square of them over- or underflows, and scores that differ little beside their size still differ.
    """
    if np.abs(scores).max() > 1e300:
        scores = scores / 4  # no difference of two overflows
    left = scores - np.median(scores)
    most = np.abs(left).max()
    return left / most if most > ROUNDING * np.abs(scores).max() else np.zeros_like(left)


def _best_split(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 for the lower points, of the split that leaves the least variance within both parts (Otsu 1979)."""
    count, sums = np.arange(1, len(points)), np.cumsum(points)[:-1]
    between = sums**2 / count + (points.sum() - sums) ** 2 / (len(points) - count)
    between[points[1:] == points[:-1]] = -np.inf  # equal scores stay together
    return (np.arange(len(points)) <= int(np.argmax(between))).astype(np.float64)


def _maximised(points: NDArray[np.float64], lower: NDArray[np.float64]) -> Clusters:
    """Return the mixture to which expectation maximisation comes from a first membership of the lower cluster, (M,)."""
    before = -np.inf
    for _ in range(ROUNDS):
        parts = np.stack([lower, 1 - lower])  # (2, M)
        weights = np.maximum(parts.sum(axis=1), 1e-9)
        means = parts @ points / weights
        variances = (parts * (points - means[:, None]) ** 2).sum(axis=1) / weights
        deviations = np.maximum(np.sqrt(variances), SMALLEST)
        shares = weights / weights.sum()
        logs = -0.5 * ((points - means[:, None]) / deviations[:, None]) ** 2 - np.log(deviations / shares)[:, None]
        highest = logs.max(axis=0)
        densities = np.exp(logs - highest)
        likelihood = float(np.mean(highest + np.log(densities.sum(axis=0))))
        lower = densities[0] / densities.sum(axis=0)
        if likelihood - before < STILL:
            break
        before = likelihood
    low, high = np.argsort(means, kind="stable")
    return Clusters(
        (float(means[low]), float(means[high])), (float(deviations[low]), float(deviations[high])), float(shares[low])
    )
