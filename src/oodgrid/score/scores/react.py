"""ReAct: energy of clipped activations."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Bank, Head, log_normaliser
from oodgrid.score.shaping import ON_SIGNED, Percentile
from oodgrid.score.sharing import shared


@score(
    title="ReAct",
    needs=("features", "head", "val|bank"),
    family="activations",
    paper="Sun et al. 2021 (NeurIPS), ReAct(x; c) with energy; github.com/deeplearning-wisc/react",
    adapted=ON_SIGNED + "large positive values are clipped, negative ones never",
)
def react(
    features: np.ndarray, head: Head, known: Bank, *, percentile: Percentile = 90.0, T: PositiveFloat = 0.01
) -> np.ndarray:
    """ReAct: T logsumexp((W min(x, c) + b) / T), c a percentile of all activations of known samples.

    On cosines, T = .01 is one hundredth of the published score of 100 s at T = 1: the same ranking.

    Args:
        features: Shape (N, D), normalised.
        head: The classifier.
        known: The validation samples, as published; the shots where there are none.
        percentile: Of the M·D activations of the known samples; 90 as published.
        T: Temperature on cosines.

    Returns:
        Shape (N,).
    """
    clipped = np.minimum(features, ceiling(known, percentile=percentile))
    return log_normaliser(head.logits(clipped), T=T)


@shared
def ceiling(known: Bank, *, percentile: float) -> float:
    """Return the percentile of all activations together."""
    return float(np.percentile(known.features, percentile))
