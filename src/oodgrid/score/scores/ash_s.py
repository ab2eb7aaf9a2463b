"""ASH-S: energy of pruned and sharpened activations."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Head, log_normaliser
from oodgrid.score.shaping import ON_SIGNED, Percentile, pruned, sharpening


@score(
    title="ASH-S",
    needs=("features", "head"),
    family="activations",
    paper="Djurisic et al. 2023 (ICLR), ASH-S; github.com/andrijazz/ash (ash.py)",
    adapted=ON_SIGNED + "the most positive values are kept, and the ratio of signed sums may be negative",
)
def ash_s(features: np.ndarray, head: Head, *, percentile: Percentile = 90.0, T: PositiveFloat = 0.01) -> np.ndarray:
    """ASH-S: the energy T logsumexp(s / T) of the logits s of exp(s_1 / s_2) x', x' being x pruned as in ASH-P.

    s_1 is the sum of x, s_2 that of x'; s_1 / s_2 is held to [-100, 100], and 0 for a row of zeros.

    Args:
        features: Shape (N, D), normalised.
        head: The classifier.
        percentile: How many percent of a sample's values are set to 0; 90 as published for ImageNet.
        T: Temperature on cosines.

    Returns:
        Shape (N,).
    """
    x = pruned(features, percentile=percentile) * sharpening(features, percentile=percentile)
    return log_normaliser(head.logits(x), T=T)
