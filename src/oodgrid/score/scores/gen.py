"""GEN: generalised entropy of the largest probabilities."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import ranked


@score(
    title="GEN",
    needs=("logits",),
    family="logits",
    paper="Liu et al. 2023 (CVPR), generalised entropy of the top M; github.com/XixiLiu95/GEN (benchmark.py)",
)
def gen(logits: np.ndarray, *, gamma: PositiveFloat = 0.1, M: PositiveInt = 100, T: PositiveFloat = 0.01) -> np.ndarray:
    """GEN: -sum over the M largest p_k of p_k^gamma (1 - p_k)^gamma, p = softmax(s / T).

    With a small gamma a chance of 1e-20 still counts .01, so that 1 - p_k of a sure prediction is the sum of the
    other chances, and not what rounding leaves of 1 - p_k.

    Args:
        logits: Shape (N, K), on the cosine scale.
        gamma: The power, .1 as published.
        M: How many classes, 100 as published for the 1000 of ImageNet; all where there are fewer.
        T: Temperature on cosines; .01 is the classifier's own softmax.

    Returns:
        Shape (N,), in [-min(M, K) / 4^gamma, 0].
    """
    ascending = ranked(logits)
    shares = np.exp((ascending - ascending[:, -1:]) / T)
    others = shares[:, :-1].sum(axis=1)
    p = shares[:, -M:] / (1 + others)[:, None]
    complement = 1 - p
    complement[:, -1] = others / (1 + others)
    return -((p * complement) ** gamma).sum(axis=1)
