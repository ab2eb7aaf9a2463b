"""KNN: distance to the k-th nearest labelled feature."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import Bank, by_rows


@score(
    needs=("features", "bank"),
    family="features",
    paper="Sun et al. 2022 (ICML), equation 3; github.com/deeplearning-wisc/knn-ood",
)
def knn(features: np.ndarray, bank: Bank, *, k: PositiveInt | None = None) -> np.ndarray:
    """Deep nearest neighbours: minus the Euclidean distance to the k-th nearest bank feature, all normalised.

    Args:
        features: Shape (N, D), normalised.
        bank: The labelled shots.
        k: Which neighbour; by default 10, the published choice for 1 % of ImageNet, but at most the shots a
            class: with fewer shots than k every k-th neighbour is of another class. A larger k than the bank
            has is its size.

    Returns:
        Shape (N,), in [-2, 0].
    """
    kth = min(10, bank.shots) if k is None else k
    kth = min(kth, len(bank.features))

    def kth_distance(block: np.ndarray) -> np.ndarray:
        # Similarities find the neighbour; 2 - 2 cos in place of its distance would be off by 1e-8 for near twins.
        neighbour = np.argpartition(-(block @ bank.features.T), kth - 1, axis=1)[:, kth - 1]
        return np.linalg.norm(block - bank.features[neighbour], axis=1)

    return -by_rows(kth_distance, features)
