"""The probability that a classifier of pairs gives to in-distribution."""

from __future__ import annotations

import numpy as np

from oodgrid.registry import score


@score(
    title="pair probability",
    needs=("pair_logits",),
    family="vision-language",
    paper="Duong et al. 2024 (TMLR), WOOD, its binary module; reconstructed",
)
def pair_probability(pair_logits: np.ndarray) -> np.ndarray:
    """Probability of in-distribution by the classifier of pairs that a method learned: sigmoid of its logit.

    Args:
        pair_logits: Shape (N,).

    Returns:
        Shape (N,), in [0, 1].
    """
    from scipy.special import expit

    return expit(pair_logits)
