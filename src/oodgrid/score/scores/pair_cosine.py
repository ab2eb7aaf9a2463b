"""Cosine of the two sides of a pair."""

from __future__ import annotations

import numpy as np

from oodgrid.registry import score


@score(
    title="pair cosine",
    needs=("features", "pair_texts"),
    family="vision-language",
    paper="Radford et al. 2021 (ICML), CLIP; the floor of Duong et al. 2024 (TMLR), WOOD, and under it its contrastive "
    "module",
)
def pair_cosine(features: np.ndarray, pair_texts: np.ndarray) -> np.ndarray:
    """Cosine of image and text of a pair: as cached under `any`, as mapped under a method that changes both.

    Args:
        features: Shape (N, D), normalised, of images.
        pair_texts: Shape (N, D), normalised, of the text of each.

    Returns:
        Shape (N,), in [-1, 1].
    """
    return np.einsum("nd,nd->n", features, pair_texts)
