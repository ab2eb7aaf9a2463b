"""Relative Mahalanobis distance (RMD)."""

from __future__ import annotations

import numpy as np

from oodgrid.registry import score
from oodgrid.score.contract import Bank
from oodgrid.score.gaussians import Covariance, nearest_class, whole_bank


@score(
    needs=("features", "bank"),
    family="features",
    paper="Ren et al. 2021 (arXiv 2106.09022), section 2; "
    "github.com/google/uncertainty-baselines/tree/main/experimental/near_ood",
    adapted="both covariances shrunk for few shots",
)
def relative_mahalanobis(features: np.ndarray, bank: Bank, *, covariance: Covariance = "ledoit_wolf") -> np.ndarray:
    """Relative Mahalanobis: -min_c (M_c - M_0), class distances less the distance to the bank as one Gaussian.

    M_c has the class means and their tied covariance, as `mahalanobis`; M_0 mean and covariance of all shots, as
    `single_gaussian`. M_0 does not depend on the class, so this is the difference of those two scores.

    Args:
        features: Shape (N, D), normalised.
        bank: At least two shots a class.
        covariance: How both covariances are estimated: "ledoit_wolf", or "empirical", the published estimator with
            its pseudo-inverse. Of fewer than D shots the two pseudo-inverses ignore different directions.

    Returns:
        Shape (N,); of either sign.

    Raises:
        Skip: No class has two shots that differ, or a covariance is singular though shrunk.
    """
    near = nearest_class(features, bank, covariance=covariance)
    return whole_bank(features, bank, covariance=covariance) - near
