"""Mahalanobis distance to the nearest class mean."""

from __future__ import annotations

import numpy as np

from oodgrid.registry import score
from oodgrid.score.contract import Bank
from oodgrid.score.gaussians import Covariance, nearest_class


@score(
    title="Mahalanobis",
    needs=("features", "bank"),
    family="features",
    paper="Lee et al. 2018 (NeurIPS), equations 1-2; covariance: Ledoit & Wolf 2004 (J. Multivariate Analysis); "
    "github.com/pokaxpoka/deep_Mahalanobis_detector",
    adapted="last features only: no input perturbation, no ensemble of layers; covariance shrunk for few shots",
)
def mahalanobis(features: np.ndarray, bank: Bank, *, covariance: Covariance = "ledoit_wolf") -> np.ndarray:
    """Mahalanobis: -min_c (x - mu_c)ᵀ S⁻¹ (x - mu_c), class means and tied covariance S of the bank.

    Few shots leave S without full rank wherever they are fewer than D plus the classes, and a pseudo-inverse then
    ignores what lies outside of their span: the two estimators differ by points of AUROC.

    Args:
        features: Shape (N, D), normalised.
        bank: At least two shots per class.
        covariance: How S is estimated of the residuals x_i - mu_{y_i}: "ledoit_wolf", or "empirical", the published
            estimator with its pseudo-inverse.

    Returns:
        Shape (N,), at most 0.

    Raises:
        Skip: No class has two shots that differ, so that there are no residuals; or S is singular though shrunk.
    """
    return -nearest_class(features, bank, covariance=covariance)
