"""GL-MCM: maximum concept matching of the image and of its patches."""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import largest_probability
from oodgrid.score.scores.l_mcm import local_matching


@score(
    title="GL-MCM",
    needs=("logits", "local_logits"),
    family="vision-language",
    paper="Miyai et al. 2025 (IJCV); github.com/AtsuMiyai/GL-MCM (utils/detection_util.py)",
)
def gl_mcm(
    logits: np.ndarray, local_logits: np.ndarray, *, weight: NonNegativeFloat = 1.0, T: PositiveFloat = 1.0
) -> np.ndarray:
    """Global and local MCM: max_k softmax(s / T)_k + weight max_i max_k softmax(s_i / T)_k over patches i.

    The code's default weight is 1; its script for ImageNet takes .5 (`gl_mcm@weight=0.5`). Weight 0 is MCM.

    Args:
        logits: Shape (N, K), on the cosine scale.
        local_logits: Shape (N, P, K), likewise.
        weight: Of the local part, the paper's lambda.
        T: Temperature of both parts, on cosines.

    Returns:
        Shape (N,), in [(1 + weight) / K, 1 + weight].
    """
    return largest_probability(logits, T=T) + weight * local_matching(local_logits, T=T)
