"""Mahalanobis distance to the nearest class mean."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from oodgrid.registry import score
from oodgrid.score.contract import Bank, Skip, by_rows


@score(
    needs=("features", "bank"),
    family="features",
    paper="Lee et al. 2018 (NeurIPS), equations 1-2; covariance: Ledoit & Wolf 2004 (J. Multivariate Analysis)",
)
def mahalanobis(features: np.ndarray, bank: Bank) -> np.ndarray:
    """Mahalanobis: -min_c (x - mu_c)ᵀ S⁻¹ (x - mu_c), class means and tied covariance S of the bank.

    S is the Ledoit-Wolf estimate on the residuals x_i - mu_{y_i}: with few shots the published estimator, a
    pseudo-inverse of the empirical covariance, is singular and differs by points of AUROC.

    Args:
        features: Shape (N, D), normalised.
        bank: At least two shots a class.

    Returns:
        Shape (N,), at most 0.

    Raises:
        Skip: No class has two shots that differ, so that there are no residuals; or S is singular all the same.
    """
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(bank.residuals, assume_centered=True)
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:  # residuals that are all plus or minus one vector are not shrunk
        raise Skip("the tied covariance of these shots is singular") from None
    # In coordinates where S is the identity the distance is Euclidean.
    whitened = _whiten(factor, bank.means)
    return -by_rows(lambda block: _nearest(_whiten(factor, block), whitened), features)


def _whiten(factor: np.ndarray, points: np.ndarray) -> np.ndarray:
    return solve_triangular(factor, points.T, lower=True).T


def _nearest(points: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distance to the nearest mean, shape (N,)."""
    squares = (points**2).sum(axis=1)[:, None] - 2 * points @ means.T + (means**2).sum(axis=1)
    return squares.min(axis=1).clip(min=0)
