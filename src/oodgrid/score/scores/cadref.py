"""CADRef: relative distance to the mean of the predicted class, decoupled by the signs of its weights."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import ROUNDING, Bank, Head, log_normaliser
from oodgrid.score.fitted import bank_energies, means_by_prediction


@score(
    title="CADRef",
    needs=("features", "logits", "head", "bank"),
    family="features",
    paper="Ling et al. 2025 (CVPR), section 3, CADRef; github.com/LingAndZero/CADRef",
    adapted="made for rectified features of any norm; energies of cosines at T = .01",
)
def cadref(features: np.ndarray, logits: np.ndarray, head: Head, bank: Bank, *, T: PositiveFloat = 0.01) -> np.ndarray:
    """Class-aware decoupled relative feature: -(e⁺ / E(x) + e⁻ / mean_i E(z_i)), E the energy.

    With d = x - mu_y as in `caref`, e⁺ is the L1 norm of where d has the sign of the weights w_y, e⁻ of where it has
    the other, both over ||x||_1: without a zero weight, e⁺ + e⁻ is minus `caref`. On cosines, E = T logsumexp(s / T)
    at T = .01 is one hundredth of the energy of CLIP's 100 s: the same ranking. Energies are meant to be positive: a
    negative one turns its term around, as in the published code.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        head: Of the weights, only the signs count.
        bank: The labelled shots, with the logits of the same method.
        T: Temperature on cosines.

    Returns:
        Shape (N,).

    Raises:
        Skip: The method leaves no logits of its shots.
    """
    top = logits.argmax(axis=1)
    signed = (features - means_by_prediction(bank, correct=False)[top]) * np.sign(head.weights[top])
    alike, against = signed.clip(min=0).sum(axis=1), -signed.clip(max=0).sum(axis=1)
    parts = alike / _nonzero(log_normaliser(logits, T=T)) + against / _nonzero(bank_energies(bank, T=T).mean())
    return -parts / np.abs(features).sum(axis=1).clip(min=ROUNDING)


def _nonzero(energies: np.ndarray) -> np.ndarray:
    """Return energies to divide by: that of a zero feature under one class is zero."""
    return np.where(energies == 0, ROUNDING, energies)
