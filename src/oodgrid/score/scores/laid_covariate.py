"""LAID's covariate axis: how near the looks of a sample are to those of the ID samples."""

from __future__ import annotations

import numpy as np

from oodgrid.registry import score
from oodgrid.score.contract import Bank, LabelList
from oodgrid.score.laid import Share, Steps, covariate_distance


@score(
    title="LAID, covariate",
    needs=("features", "bank"),
    family="vision-language",
    paper="Long et al. 2024, IS-OOD (NeurIPS Datasets and Benchmarks), arXiv 2406.09867",
    adapted="reconstructed: neither code nor formulas of LAID could be read",
)
def laid_covariate(
    features: np.ndarray,
    bank: Bank,
    *,
    texts: LabelList,
    share: Share = 0.95,
    steps: Steps = 50,
) -> np.ndarray:
    """Covariate axis: minus the squared Mahalanobis distance of the covariate part to all shots.

    The shift is minus this. The covariance of the shots is shrunk (Ledoit-Wolf), as for `single_gaussian`.

    Args:
        features: Shape (N, D), normalised.
        bank: One shot per class is enough.
        texts: Words under at least two templates: the words are what varies in meaning, the templates in looks.
        share: Of what words vary by beyond what prompts do, the part that the semantic dimensions hold.
        steps: Of learning; 0 is the closed form.

    Returns:
        Shape (N,), at most 0.

    Raises:
        Skip: The list has fewer than two words or templates, or does not vary with both; or the bank has no two
            samples that differ.
    """
    return -covariate_distance(features, bank, texts, share=share, steps=steps)
