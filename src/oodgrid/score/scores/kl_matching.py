"""KL-matching: distance to the typical prediction of a class."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Bank, negative_entropies, probabilities, product
from oodgrid.score.patterns import log_means
from oodgrid.score.sharing import shared


@score(
    title="KL-Matching",
    needs=("logits", "val"),
    family="logits",
    paper="Hendrycks et al. 2022 (ICML), Scaling OOD detection, KL matching; github.com/hendrycks/anomaly-seg",
)
def kl_matching(logits: np.ndarray, val: Bank, *, T: PositiveFloat = 0.01) -> np.ndarray:
    """KL-matching: -min_c KL(p || d_c), d_c the mean p of the validation samples that are predicted as c.

    p = softmax(s / T). No label of the validation samples is used; a class that is never predicted has no d_c.
    Logarithms of d_c are taken before chances can underflow, so that the divergence is always finite.

    Args:
        logits: Shape (N, K), on the cosine scale.
        val: Validation samples with logits.
        T: Temperature on cosines; .01 is the classifier's own softmax.

    Returns:
        Shape (N,), at most 0.

    Raises:
        Skip: The method leaves no logits of the validation samples.
    """
    cross_entropy = -product(probabilities(logits, T=T), log_typical(val, T=T)).max(axis=1)
    return -(negative_entropies(logits, T=T) + cross_entropy).clip(min=0)  # rounding may leave -1e-15 of a distance 0


@shared
def log_typical(val: Bank, *, T: float) -> np.ndarray:
    """Return log d_c for each of the C classes that are predicted, shape (C, K)."""
    logits = val.own_logits()
    return log_means(logits, logits.argmax(axis=1), T=T)
