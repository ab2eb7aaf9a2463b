"""VRA: energy of activations without their extremes."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Bank, Head, log_normaliser
from oodgrid.score.shaping import ON_SIGNED, Percentile
from oodgrid.score.sharing import shared


@score(
    title="VRA",
    needs=("features", "head", "bank"),
    family="activations",
    paper="Xu et al. 2023 (NeurIPS), VRA, the piecewise function; github.com/zeroQiaoba/VRA (quick_ood.py)",
    adapted=ON_SIGNED + "low values become 0 as published, which raises those that were negative",
)
def vra(
    features: np.ndarray,
    head: Head,
    bank: Bank,
    *,
    low: Percentile = 60.0,
    high: Percentile = 95.0,
    T: PositiveFloat = 0.01,
) -> np.ndarray:
    """VRA: the energy T logsumexp(s / T) of the logits s of x with x_d = 0 below a_d, and x_d = b_d above b_d.

    a_d and b_d are percentiles of dimension d among the shots, as in the authors' code. (OpenOOD and pytorch-ood set
    low values to a_d.)

    Args:
        features: Shape (N, D), normalised.
        head: The classifier.
        bank: The labelled shots.
        low: Percentile of a; 60 as published for CIFAR.
        high: Percentile of b; 95 as published for CIFAR-100.
        T: Temperature on cosines.

    Returns:
        Shape (N,).
    """
    floor, ceiling = bounds(bank, low=low, high=high)
    shaped = np.minimum(features, ceiling)
    shaped *= features >= floor
    return log_normaliser(head.logits(shaped), T=T)


@shared
def bounds(bank: Bank, *, low: float, high: float) -> np.ndarray:
    """Return both percentiles of every dimension, shape (2, D)."""
    return np.percentile(bank.features, [low, high], axis=0)
