"""DICE: energy through the weights that contribute most."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Bank, Head, log_normaliser, product
from oodgrid.score.shaping import ON_SIGNED, Percentile
from oodgrid.score.sharing import shared


@score(
    title="DICE",
    needs=("features", "head", "bank"),
    family="activations",
    paper="Sun & Li 2022 (ECCV), DICE, masked contributions; github.com/deeplearning-wisc/dice (models/route.py)",
    adapted=ON_SIGNED + "a negative weight on a dimension whose mean is negative contributes, too",
)
def dice(features: np.ndarray, head: Head, bank: Bank, *, p: Percentile = 90.0, T: PositiveFloat = 0.01) -> np.ndarray:
    """DICE: the energy T logsumexp(s / T) of the logits s = (M ∘ W) x + b.

    M is 1 where the contribution w_kd · mean x_d, the mean being that of the shots, is at or above the percentile p of
    all K·D contributions, else 0. (In the authors' code: above it; they differ in weights that lie on the percentile.)

    Args:
        features: Shape (N, D), normalised.
        head: The classifier.
        bank: The labelled shots.
        p: How many percent of the weights are set to 0: 90 as published for CIFAR-10 and in OpenOOD, 70 for ImageNet.
        T: Temperature on cosines.

    Returns:
        Shape (N,).
    """
    return log_normaliser(product(features, sparse_weights(head, bank, p=p)) + head.bias, T=T)


@shared
def sparse_weights(head: Head, bank: Bank, *, p: float) -> np.ndarray:
    """Return the weights M ∘ W, shape (K, D)."""
    contributions = head.weights * bank.features.mean(axis=0)
    return np.where(contributions >= np.percentile(contributions, p), head.weights, 0)
