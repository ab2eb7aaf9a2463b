"""Relative Mahalanobis distance (RMD)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from oodgrid.registry import score
from oodgrid.score.contract import Bank
from oodgrid.score.gaussians import Covariance, nearest_class, whole_bank


@score(
    title="Relative Mahalanobis",
    needs=("features", "bank"),
    family="features",
    one_class=False,
    paper="Ren et al. 2021 (arXiv 2106.09022), section 2; "
    "github.com/google/uncertainty-baselines/tree/main/experimental/near_ood",
    adapted="covariance within the classes shrunk for few shots, alike in both distances",
)
def relative_mahalanobis(
    features: np.ndarray, bank: Bank, *, covariance: Covariance | Literal["total"] = "total"
) -> np.ndarray:
    """Relative Mahalanobis: -min_c (M_c - M_0), class distances less the distance to the bank as one Gaussian.

    M_c has the class means and their tied covariance S, as `mahalanobis`; M_0 mean and covariance S_0 of all shots, as
    `single_gaussian`. In directions in which the classes do not differ both distances must be the same, or what the
    shots say nothing of decides: S_0 = S + B, B the covariance of the class means, which holds for the published
    estimators. Where shots are few, their pseudo-inverses ignore different directions, and shrinking S and S_0 each
    for itself gives these different variances: either can turn the score around (AUROC below .05 on real features of
    2 to 16 shots).

    Args:
        features: Shape (N, D), normalised.
        bank: At least two shots per class.
        covariance: "total": S by Ledoit-Wolf as in `mahalanobis`, and S_0 = S + B; "ledoit_wolf": each for itself;
            "empirical": the published estimators with their pseudo-inverses, for at least D shots more than classes.
            With the latter two this is `mahalanobis` less `single_gaussian`.

    Returns:
        Shape (N,); of either sign.

    Raises:
        Skip: No class has two shots that differ, or a covariance is singular though shrunk.
    """
    tied: Covariance = "ledoit_wolf" if covariance == "total" else covariance
    near = nearest_class(features, bank, covariance=tied)
    return whole_bank(features, bank, covariance=covariance) - near
