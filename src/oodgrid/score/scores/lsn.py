"""LSN's score: matching a positive prompt, and not matching the negative ones."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score


@score(
    title="LSN",
    needs=("logits", "negative_logits"),
    family="vision-language",
    paper="Nie et al. 2024 (ICLR), section 3.3; github.com/junz-debug/lsn",
)
def lsn(
    logits: np.ndarray, negative_logits: np.ndarray, *, T: PositiveFloat = 1.0, T_negative: PositiveFloat = 5.0
) -> np.ndarray:
    """LSN: max_k softmax(s / T)_k + mean_j max_k softmax((1 - n_j) / T_negative)_k of cosines s and n.

    n_jk is the cosine with negative prompt j of class k; both temperatures as in the code of record.

    Args:
        logits: Shape (N, K), on the cosine scale.
        negative_logits: Shape (N, K, n), likewise.
        T: Temperature of the positive part; alone, it is MCM.
        T_negative: Temperature of the negative part.

    Returns:
        Shape (N,), in [2/K, 2].
    """
    from scipy.special import softmax

    unlike = softmax((1 - negative_logits) / T_negative, axis=1).max(axis=1).mean(axis=1)
    return softmax(logits / T, axis=1).max(axis=1) + unlike
