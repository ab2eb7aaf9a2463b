"""Entropy of the prediction."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import negative_entropies


@score(
    title="Entropy",
    needs=("logits",),
    family="logits",
    paper="Hendrycks & Gimpel 2017 (ICLR); as a CLIP baseline: Ming et al. 2022, MCM's code",
)
def entropy(logits: np.ndarray, *, T: PositiveFloat = 0.01) -> np.ndarray:
    """Negative entropy: sum_k p_k log p_k of p = softmax(s / T).

    T = .01 is the entropy of the classifier's own softmax; MCM's code, on cosines, uses T = 1 (`entropy@T=1`).

    Args:
        logits: Shape (N, K), on the cosine scale.
        T: Temperature on cosines.

    Returns:
        Shape (N,), in [-log K, 0].
    """
    return negative_entropies(logits, T=T)
