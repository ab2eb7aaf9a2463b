"""Mahalanobis distance to the whole bank as one Gaussian."""

from __future__ import annotations

import numpy as np

from oodgrid.registry import score
from oodgrid.score.contract import Bank, directions, of_directions
from oodgrid.score.gaussians import Covariance, whole_bank


@score(
    title="Single Gaussian",
    needs=("features", "bank"),
    family="features",
    paper="Sehwag et al. 2021, SSD (ICLR), equation 1 with one cluster, github.com/inspire-group/SSD; "
    "Li et al. 2023, MOOD (CVPR), section 3, github.com/dvlab-research/MOOD",
    adapted="covariance shrunk for few shots",
)
def single_gaussian(features: np.ndarray, bank: Bank, *, covariance: Covariance = "ledoit_wolf") -> np.ndarray:
    """Single Gaussian: -(x - mu)ᵀ S⁻¹ (x - mu), mean and covariance of all shots, without their labels.

    SSD standardises every dimension first, which changes nothing where S has full rank.

    Args:
        features: Shape (N, D), normalised.
        bank: One shot per class is enough. Fewer than D shots leave S without full rank.
        covariance: How S is estimated: "ledoit_wolf", or "empirical", the published estimator with its
            pseudo-inverse.

    Returns:
        Shape (N,), at most 0.

    Raises:
        Skip: The bank has no two samples that differ, or S is singular though shrunk.
    """
    return -whole_bank(directions(features), of_directions(bank), covariance=covariance)
