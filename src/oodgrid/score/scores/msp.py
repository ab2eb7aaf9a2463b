"""MSP: maximum softmax probability."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import largest_probability


@score(
    title="MSP",
    needs=("logits",),
    family="logits",
    paper="Hendrycks & Gimpel 2017 (ICLR), section 2",
)
def msp(logits: np.ndarray, *, T: PositiveFloat = 0.01) -> np.ndarray:
    """Maximum softmax probability: max_k softmax(s / T)_k; T = .01 is the classifier's own softmax.

    On cosines s, T = .01 gives softmax(100 s), CLIP's (and every method's here) own prediction.

    Args:
        logits: Shape (N, K), on the cosine scale.
        T: Temperature on cosines.

    Returns:
        Shape (N,), in [1/K, 1].
    """
    return largest_probability(logits, T=T)
