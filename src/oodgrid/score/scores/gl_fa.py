"""GL-FA: FA's score of the image and of its patches."""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import LocalLogits, by_rows
from oodgrid.score.scores.fa import fa, share_of_prompts


@score(
    title="GL-FA",
    needs=("logits", "negative_logits", "local_logits", "local_negative_logits"),
    family="vision-language",
    paper="FA (ICCV 2025, arXiv 2507.04511); github.com/0xFAFA/FA at 9cf7f88 (main.py, id_conf_gl)",
)
def gl_fa(
    logits: np.ndarray,
    negative_logits: np.ndarray,
    local_logits: np.ndarray | LocalLogits,
    local_negative_logits: np.ndarray,
    *,
    weight: NonNegativeFloat = 1.0,
    T: PositiveFloat = 1.0,
) -> np.ndarray:
    """Global and local FA: FA's score plus weight times the largest one of the patches.

    Args:
        logits: Shape (N, K), on the cosine scale.
        negative_logits: Shape (N, K, n), likewise; with n = 0 this is GL-MCM.
        local_logits: Shape (N, P, K), of every patch.
        local_negative_logits: Shape (N, P, K, n), likewise.
        weight: Of the local part, 1 in the code of record; 0 is FA.
        T: Temperature of both parts, on cosines.

    Returns:
        Shape (N,), in [(1 + weight) / (K + K n), 1 + weight].
    """

    def largest(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
        return share_of_prompts(positive, negative, T=T).max(axis=-1)

    local = local_logits.array if isinstance(local_logits, LocalLogits) else local_logits
    return fa(logits, negative_logits, T=T) + weight * by_rows(largest, local, local_negative_logits, rows=16)
