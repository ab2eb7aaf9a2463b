"""LAID's semantic axis: how near the meaning of a sample is to an ID class."""

from __future__ import annotations

import numpy as np

from oodgrid.registry import score
from oodgrid.score.contract import Bank, LabelList
from oodgrid.score.laid import Share, Steps, semantic_similarity


@score(
    title="LAID, semantic",
    needs=("features", "bank"),
    family="vision-language",
    paper="Long et al. 2024, IS-OOD (NeurIPS Datasets and Benchmarks), arXiv 2406.09867",
    adapted="reconstructed: neither code nor formulas of LAID could be read",
)
def laid_semantic(
    features: np.ndarray,
    bank: Bank,
    *,
    texts: LabelList,
    share: Share = 0.95,
    steps: Steps = 50,
) -> np.ndarray:
    """Semantic axis: the largest cosine of the semantic part with that of a class mean; the shift is minus this.

    Args:
        features: Shape (N, D), normalised.
        bank: One shot per class is enough.
        texts: Words under at least two templates: the words are what varies in meaning, the templates in looks.
        share: Of what words vary by beyond what prompts do, the part that the semantic dimensions hold.
        steps: Of learning; 0 is the closed form.

    Returns:
        Shape (N,), in [-1, 1].

    Raises:
        Skip: The list has fewer than two words or templates, or does not vary with both.
    """
    return semantic_similarity(features, bank, texts, share=share, steps=steps)
