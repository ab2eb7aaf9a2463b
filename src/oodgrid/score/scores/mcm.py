"""MCM: maximum concept matching."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import largest_probability


@score(
    title="MCM",
    needs=("logits",),
    family="vision-language",
    paper="Ming et al. 2022 (NeurIPS), equation 3; github.com/deeplearning-wisc/MCM",
)
def mcm(logits: np.ndarray, *, T: PositiveFloat = 1.0) -> np.ndarray:
    """Maximum concept matching: max_k softmax(s / T)_k of cosines s; published default T = 1.

    Args:
        logits: Shape (N, K), on the cosine scale.
        T: Temperature on cosines; T = .01 is MSP of CLIP's 100 cos.

    Returns:
        Shape (N,), in [1/K, 1].
    """
    return largest_probability(logits, T=T)
