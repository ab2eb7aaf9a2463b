"""ASH-B: energy of binarised activations."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Head, log_normaliser
from oodgrid.score.shaping import ON_SIGNED, Percentile, kept


@score(
    title="ASH-B",
    needs=("features", "head"),
    family="activations",
    paper="Djurisic et al. 2023 (ICLR), ASH-B; github.com/andrijazz/ash (ash.py)",
    adapted=ON_SIGNED + "the most positive values become an equal share of the signed sum, which may be negative",
)
def ash_b(features: np.ndarray, head: Head, *, percentile: Percentile = 65.0, T: PositiveFloat = 0.01) -> np.ndarray:
    """ASH-B: the energy T logsumexp(s / T) of the logits s of x, its k largest values set to sum(x) / k, others to 0.

    Args:
        features: Shape (N, D), normalised.
        head: The classifier.
        percentile: How many percent of a sample's values are set to 0; 65 as published for ImageNet.
        T: Temperature on cosines.

    Returns:
        Shape (N,).
    """
    mask = kept(features, percentile=percentile)
    shares = features.sum(axis=1) / mask.sum(axis=1)
    return log_normaliser(head.logits(mask * shares[:, None]), T=T)
