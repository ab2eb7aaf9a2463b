"""EOE: maximum concept matching among classes and envisioned outliers."""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import LabelList, by_rows, product


@score(
    title="EOE",
    needs=("features", "logits"),
    family="vision-language",
    paper="Cao et al. 2024 (ICML); github.com/tmlr-group/EOE (utils/detection_util.py)",
)
def eoe(
    features: np.ndarray,
    logits: np.ndarray,
    *,
    labels: LabelList,
    beta: NonNegativeFloat = 0.25,
    T: PositiveFloat = 1.0,
) -> np.ndarray:
    """Envisioning outlier exposure: max_k p_k - beta max_j p_j of one softmax over classes k and outlier texts j.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        labels: Outliers, which a language model envisioned; with none of them this is MCM.
        beta: Weight of the outliers.
        T: Temperature on cosines.

    Returns:
        Shape (N,), in (-beta, 1].
    """

    def difference(rows: np.ndarray, of_classes: np.ndarray) -> np.ndarray:
        together = np.hstack([of_classes, product(rows, labels.features)])
        shares = np.exp((together - together.max(axis=1, keepdims=True)) / T)
        classes, outliers = np.split(shares, [logits.shape[1]], axis=1)
        return (classes.max(axis=1) - beta * outliers.max(axis=1, initial=0)) / shares.sum(axis=1)

    return by_rows(difference, features, logits, rows=1024)
