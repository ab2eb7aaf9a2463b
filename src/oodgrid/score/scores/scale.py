"""SCALE: energy of scaled activations."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Head, by_rows, log_normaliser
from oodgrid.score.shaping import ON_SIGNED, Percentile, sharpening


@score(
    title="SCALE",
    needs=("features", "logits", "head"),
    family="activations",
    paper="Xu et al. 2024 (ICLR), SCALE, the factor exp(r); github.com/kai422/SCALE (scale_net.py)",
    adapted=ON_SIGNED + "the ratio of signed sums may be negative",
)
def scale(
    features: np.ndarray,
    logits: np.ndarray,
    head: Head,
    *,
    percentile: Percentile = 85.0,
    T: PositiveFloat = 0.01,
) -> np.ndarray:
    """SCALE: the energy T logsumexp(s / T) of the logits s of exp(s_1 / s_2) x.

    s_1 is the sum of x, s_2 that of its largest values; s_1 / s_2 is held to [-100, 100], and 0 for a row of zeros.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), what the head makes of them: scaling needs no second product of matrices.
        head: The classifier.
        percentile: How many percent of a sample's values s_2 leaves out; 85 as published for ImageNet.
        T: Temperature on cosines.

    Returns:
        Shape (N,).
    """

    def energy(block: np.ndarray, factors: np.ndarray) -> np.ndarray:
        return log_normaliser((block - head.bias) * factors + head.bias, T=T)

    return by_rows(energy, logits, sharpening(features, percentile=percentile))
