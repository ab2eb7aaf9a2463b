"""The two modules of WOOD in one score."""

from __future__ import annotations

from typing import Literal

import numpy as np

from oodgrid.registry import score


@score(
    title="pair fused",
    needs=("features", "pair_texts", "pair_logits"),
    family="vision-language",
    paper="Duong et al. 2024 (TMLR), WOOD, equation 8, reconstructed; rule: product: github.com/yanyanfu/COOD c54de12",
)
def pair_fused(
    features: np.ndarray, pair_texts: np.ndarray, pair_logits: np.ndarray, *, rule: Literal["mean", "product"] = "mean"
) -> np.ndarray:
    """Cosine and classifier of a pair, fused as two probabilities of in-distribution: ((1 + cos) / 2 + sigmoid(z)) / 2.

    Reconstructed: that equation 8 fuses the two is known, how is not. `rule: product` is COOD's code:
    sigmoid(cos) · sigmoid(z), at its temperature of 1.

    Args:
        features: Shape (N, D), normalised, of images.
        pair_texts: Shape (N, D), normalised, of the text of each.
        pair_logits: Shape (N,), of the classifier of pairs.
        rule: mean or product.

    Returns:
        Shape (N,), in [0, 1].
    """
    from scipy.special import expit

    cosines = np.einsum("nd,nd->n", features, pair_texts)
    if rule == "product":
        return expit(cosines) * expit(pair_logits)
    return ((1 + cosines) / 2 + expit(pair_logits)) / 2
