"""ASH-P: energy of pruned activations."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Head, log_normaliser
from oodgrid.score.shaping import ON_SIGNED, Percentile, pruned


@score(
    title="ASH-P",
    needs=("features", "head"),
    family="activations",
    paper="Djurisic et al. 2023 (ICLR), ASH-P; github.com/andrijazz/ash (ash.py)",
    adapted=ON_SIGNED + "the most positive values are kept, all others are 0",
)
def ash_p(features: np.ndarray, head: Head, *, percentile: Percentile = 60.0, T: PositiveFloat = 0.01) -> np.ndarray:
    """ASH-P: the energy T logsumexp(s / T) of the logits s of x, pruned to its largest values.

    Args:
        features: Shape (N, D), normalised.
        head: The classifier.
        percentile: How many percent of a sample's values are set to 0; 60 as published for ImageNet.
        T: Temperature on cosines.

    Returns:
        Shape (N,).
    """
    return log_normaliser(head.logits(pruned(features, percentile=percentile)), T=T)
