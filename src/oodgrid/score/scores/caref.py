"""CARef: relative distance to the mean of the predicted class."""

from __future__ import annotations

import numpy as np

from oodgrid.registry import score
from oodgrid.score.contract import ROUNDING, Bank
from oodgrid.score.fitted import means_by_prediction


@score(
    title="CARef",
    needs=("features", "logits", "bank"),
    bank_logits=True,
    family="features",
    paper="Ling et al. 2025 (CVPR), section 3, CARef; github.com/LingAndZero/CADRef",
    adapted="made for rectified features of any norm",
)
def caref(features: np.ndarray, logits: np.ndarray, bank: Bank) -> np.ndarray:
    """Class-aware relative feature: -||x - mu_y||_1 / ||x||_1, mu_y the mean of the shots predicted as y, as x is.

    Of few shots none may be predicted as y, where the published code has no mean: it is then that of the shots of
    class y, and that of the bank if there are none.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K); only their largest counts.
        bank: The labelled shots, with the logits of the same method.

    Returns:
        Shape (N,), at most 0.

    Raises:
        Skip: The method leaves no logits of its shots.
    """
    differences = features - means_by_prediction(bank, correct=False)[logits.argmax(axis=1)]
    return -np.abs(differences).sum(axis=1) / np.abs(features).sum(axis=1).clip(min=ROUNDING)
