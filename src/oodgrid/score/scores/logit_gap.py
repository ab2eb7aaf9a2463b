"""LogitGap: how far the largest logit stands above the next ones."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import Skip, ranked


@score(
    title="LogitGap",
    needs=("logits",),
    family="logits",
    paper="Liang et al. 2025 (NeurIPS), LogitGap of the top N; github.com/GIT-LJc/LogitGap (score logitgap_topN)",
)
def logit_gap(logits: np.ndarray, *, N: PositiveInt | None = None) -> np.ndarray:
    """LogitGap: the mean over n = 2 ... N + 1 of z_1 - z_n, logits z in descending order.

    There is no temperature: one would scale all scores alike.

    Args:
        logits: Shape (N, K), on the cosine scale.
        N: How many logits next to the largest, at most K - 1; by default 20 % of K. The authors' scripts for
            ImageNet-1k take 88, and their LogitGap* chooses N with the help of a few samples.

    Returns:
        Shape (N,), at least 0.

    Raises:
        Skip: There is one class only.
    """
    classes = logits.shape[1]
    if classes == 1:
        raise Skip("a gap between logits needs at least 2 classes")
    count = min(N or max(1, round(0.2 * classes)), classes - 1)
    ascending = ranked(logits)
    return (ascending[:, -1:] - ascending[:, -count - 1 : -1]).mean(axis=1)
