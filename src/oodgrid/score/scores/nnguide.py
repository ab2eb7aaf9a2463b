"""NNGuide: energy, guided by the energies of the nearest neighbours."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import Bank, by_similarities, log_normaliser
from oodgrid.score.fitted import bank_energies
from oodgrid.score.products import Block, beside, largest


@score(
    title="NNGuide",
    needs=("features", "logits", "bank"),
    bank_logits=True,
    family="features",
    paper="Park et al. 2023 (ICCV), section 3; github.com/roomo7time/nnguide",
    adapted="energies of cosines at T = .01; the bank is the shots",
)
def nnguide(
    features: np.ndarray, logits: np.ndarray, bank: Bank, *, k: PositiveInt | None = None, T: PositiveFloat = 0.01
) -> np.ndarray:
    """Nearest neighbour guidance: E(x) · mean of the k largest E(z_i) cos(x, z_i) over the bank, E the energy.

    On cosines, E = T logsumexp(s / T) at T = .01 is one hundredth of the energy of CLIP's 100 s: the same ranking.
    The published bank is 1 % of ImageNet's training set, about 12,800 images: here it is all shots, without a draw.
    Energies are meant to be positive: a negative one turns the guidance around, as in the published code.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        bank: The labelled shots, with the logits of the same method.
        k: Neighbours; by default 10 as published, but at most the shots per class. In an experiment a
            larger k than the bank is its size.
        T: Temperature on cosines.

    Returns:
        Shape (N,).

    Raises:
        Skip: The method leaves no logits of its shots.
    """
    energies = bank_energies(bank, T=T)
    neighbours = min(min(10, bank.shots) if k is None else k, len(energies))

    def guidance(cosines: Block) -> Block:
        return largest(cosines * beside(energies, cosines), neighbours).mean(axis=1)

    return log_normaliser(logits, T=T) * by_similarities(guidance, features, bank)
