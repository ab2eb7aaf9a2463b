"""Variance of the prediction."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import probabilities


@score(
    title="Variance",
    needs=("logits",),
    family="logits",
    paper="no paper: a baseline in MCM's code, github.com/deeplearning-wisc/MCM (utils/detection_util.py, score var)",
)
def variance(logits: np.ndarray, *, T: PositiveFloat = 1.0) -> np.ndarray:
    """Variance: mean_k (p_k - 1/K)² of p = softmax(s / T); T = 1 on cosines, as in MCM's code.

    Args:
        logits: Shape (N, K), on the cosine scale.
        T: Temperature on cosines.

    Returns:
        Shape (N,), in [0, (K - 1) / K²].
    """
    return probabilities(logits, T=T).var(axis=1)
