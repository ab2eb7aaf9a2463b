"""SHE: simplified Hopfield energy."""

from __future__ import annotations

import numpy as np

from oodgrid.registry import score
from oodgrid.score.contract import Bank, by_rows
from oodgrid.score.fitted import means_by_prediction


@score(
    title="SHE",
    needs=("features", "logits", "bank"),
    bank_logits=True,
    family="features",
    paper="Zhang et al. 2023 (ICLR), section 3, SHE; github.com/zjs975584714/SHE_ood_detection",
    adapted="made for rectified features of any norm; of unit features it is a cosine times the pattern's norm",
)
def she(features: np.ndarray, logits: np.ndarray, bank: Bank) -> np.ndarray:
    """Simplified Hopfield energy: x · S_y, S_y the mean of the shots of the predicted class y that are predicted as y.

    Of few shots a class may have none that is classified correctly, where the published code has no pattern: it
    has the mean of all its shots here, and the mean of the bank if it has no shots.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K); only their largest counts.
        bank: The labelled shots, with the logits of the same method.

    Returns:
        Shape (N,), in [-1, 1].

    Raises:
        Skip: The method leaves no logits of its shots.
    """
    patterns = means_by_prediction(bank, correct=True)
    return by_rows(lambda x, y: np.einsum("nd,nd->n", x, patterns[y]), features, logits.argmax(axis=1))
