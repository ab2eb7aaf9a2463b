"""MaxLogit: the largest logit."""

from __future__ import annotations

import numpy as np

from oodgrid.registry import score


@score(
    title="MaxLogit",
    needs=("logits",),
    family="logits",
    one_class=True,
    paper="Hendrycks et al. 2022 (ICML), Scaling OOD detection, section 4",
)
def max_logit(logits: np.ndarray) -> np.ndarray:
    """Maximum logit: max_k s_k; on cosines this is the maximum similarity (MS) of Ming & Li 2023.

    Args:
        logits: Shape (N, K), on the cosine scale.

    Returns:
        Shape (N,).
    """
    return logits.max(axis=1)
