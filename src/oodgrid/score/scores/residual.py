"""Residual: what of a feature lies outside the principal space."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import Bank
from oodgrid.score.subspaces import residual_norms


@score(
    title="Residual",
    needs=("features", "bank"),
    family="features",
    paper="Wang et al. 2022 (CVPR), ViM, section 3; github.com/haoqiwang/vim",
    adapted="about 0, which is ViM's origin for heads without bias, so that no method matters",
)
def residual(features: np.ndarray, bank: Bank, *, dim: PositiveInt | None = None) -> np.ndarray:
    """Residual: -||x outside the principal space||, of the first `dim` eigenvectors of sum_i x_i x_iᵀ over the bank.

    Args:
        features: Shape (N, D), normalised.
        bank: The shots; their labels do not count.
        dim: Dimension of the principal space. By default 1000 for D >= 2048 and 512 for D >= 768, as published, and
            D / 2 below. Fewer than D shots span no more than their number, and have no residuals about that: then
            the same share of what they span.

    Returns:
        Shape (N,), in [-1, 0].

    Raises:
        Skip: The bank spans less than `dim`, or `dim` leaves nothing out.
    """
    return -residual_norms(features, bank, dim=dim)
