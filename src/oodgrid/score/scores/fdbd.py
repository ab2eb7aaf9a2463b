"""fDBD: distance to the decision boundaries."""

from __future__ import annotations

import numpy as np

from oodgrid.registry import score
from oodgrid.score.contract import ROUNDING, Bank, Head
from oodgrid.score.fitted import inverse_boundary_gaps


@score(
    title="fDBD",
    needs=("features", "logits", "head", "bank"),
    family="features",
    paper="Liu & Qin 2024 (ICML), section 3, regDistDB; github.com/litianliu/fDBD-OOD",
    adapted="made for rectified features; mu is the mean of the shots",
)
def fdbd(features: np.ndarray, logits: np.ndarray, head: Head, bank: Bank) -> np.ndarray:
    """Fast decision boundaries: mean_c (s_y - s_c) / ||w_y - w_c|| / ||x - mu||, y the prediction, c every other class.

    The published code sums over c, a constant factor. Classes with the weights of y, as two of one name, have no
    boundary with it and are left out of its mean.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), what the head makes of the features.
        head: Of at least two classes.
        bank: The shots, whose mean is mu; their labels do not count.

    Returns:
        Shape (N,), at least 0.

    Raises:
        Skip: A class has no boundary with any other.
    """
    top = logits.argmax(axis=1)
    margins = logits[np.arange(len(logits)), top][:, None] - logits
    distance = np.einsum("nk,nk->n", margins, inverse_boundary_gaps(head)[top])
    return distance / np.linalg.norm(features - bank.centre, axis=1).clip(min=ROUNDING)
