"""RAS: energy of activations whose values are a profile's, in their own order."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Bank, Head, log_normaliser
from oodgrid.score.shaping import ON_SIGNED
from oodgrid.score.sharing import shared


@score(
    title="RAS",
    needs=("features", "head", "bank"),
    family="activations",
    paper="Guglielmo & Masana 2026 (ECCV), arXiv 2604.08572; github.com/gigug/RAS 313d8e0 (src/ras_net.py)",
    adapted=ON_SIGNED + "values are sorted with their signs, as in the authors' code, whose profile is of all training",
)
def ras(features: np.ndarray, head: Head, bank: Bank, *, T: PositiveFloat = 0.01) -> np.ndarray:
    """Ranked activation shift: the energy T logsumexp(s / T) of the logits s of x', x'_d = m_r, r the rank of x_d in x.

    m_r is the mean over the bank of each sample's r-th smallest value. Of equal values the first has the lower rank
    (the authors' sort takes them in any order). Nothing but the order of its values is left of a sample.

    Args:
        features: Shape (N, D), normalised.
        head: The classifier.
        bank: The shots; their labels do not count. As published the whole training split: bank: train.
        T: Temperature on cosines.

    Returns:
        Shape (N,).
    """
    shifted = np.empty_like(features)
    np.put_along_axis(shifted, features.argsort(axis=1, kind="stable"), profile(bank)[None], axis=1)
    return log_normaliser(head.logits(shifted), T=T)


@shared
def profile(bank: Bank) -> np.ndarray:
    """Return the mean of the samples, each with its values in rising order, shape (D,)."""
    return np.sort(bank.features, axis=1).mean(axis=0)
