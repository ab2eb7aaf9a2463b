"""NCI: alignment with the weights of the predicted class, as neural collapse has it."""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeFloat

from oodgrid.registry import score
from oodgrid.score.contract import ROUNDING, Bank, Head, by_rows


@score(
    title="NCI",
    needs=("features", "logits", "head", "bank"),
    family="features",
    paper="Liu & Qin 2025 (CVPR), section 4; github.com/litianliu/NCI-OOD",
    adapted="the norm that filters is of unit features: it says how many dimensions they spread over",
)
def nci(
    features: np.ndarray, logits: np.ndarray, head: Head, bank: Bank, *, alpha: NonNegativeFloat = 1e-4
) -> np.ndarray:
    """Neural collapse inspired: w_y · (x - mu) / ||x - mu|| + alpha ||x||_1, y the predicted class.

    The published alpha is picked for each ID set with OOD validation samples, which is no choice here: the default is
    that of the published configuration. On weights of CLIP's 100 cosines it would be .01.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K); only their largest counts.
        head: Weights on the cosine scale.
        bank: The shots, whose mean is mu; their labels do not count.
        alpha: Weight of the norm.

    Returns:
        Shape (N,), at most max_k ||w_k|| + alpha sqrt(D).
    """

    def of_block(rows: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        centred = rows - bank.centre
        aligned = np.einsum("nd,nd->n", centred, head.weights[predicted])
        return aligned / np.linalg.norm(centred, axis=1).clip(min=ROUNDING) + alpha * np.abs(rows).sum(axis=1)

    return by_rows(of_block, features, logits.argmax(axis=1))
