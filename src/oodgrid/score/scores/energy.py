"""Energy: the negative free energy of the logits."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Skip, log_normaliser

ROUNDING = 1e-7  # of probabilities whose logarithms were stored in float32


@score(
    title="Energy",
    needs=("logits",),
    family="logits",
    paper="Liu et al. 2020 (NeurIPS), equation 4; github.com/wetliu/energy_ood",
)
def energy(logits: np.ndarray, *, T: PositiveFloat = 0.01) -> np.ndarray:
    """Energy: T logsumexp(s / T), the negative free energy (higher = ID).

    On cosines s, T = .01 is one hundredth of the published score of 100 s at T = 1: the same ranking.

    Args:
        logits: Shape (N, K), on the cosine scale.
        T: Temperature on cosines.

    Returns:
        Shape (N,), between max_k s_k and max_k s_k + T log K.

    Raises:
        Skip: It is 0 for every sample: the logits are T log p.
    """
    energies = log_normaliser(logits, T=T)
    if energies.size and np.abs(energies).max() < ROUNDING:
        raise Skip("its logits are logarithms of probabilities, as an ensemble leaves: the energy of every sample is 0")
    return energies
