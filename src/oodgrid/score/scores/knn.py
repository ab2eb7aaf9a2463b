"""KNN: distance to the k-th nearest labelled feature."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import Bank, by_similarities, directions
from oodgrid.score.products import place_of


@score(
    title="KNN",
    needs=("features", "bank"),
    family="features",
    paper="Sun et al. 2022 (ICML), equation 3; github.com/deeplearning-wisc/knn-ood",
)
def knn(features: np.ndarray, bank: Bank, *, k: PositiveInt | None = None) -> np.ndarray:
    """Deep nearest neighbours: minus the Euclidean distance to the k-th nearest bank feature, all normalised.

    Args:
        features: Shape (N, D), normalised.
        bank: The labelled shots.
        k: Which neighbour; by default 10, the published choice for 1 % of ImageNet, but at most the shots per
            class: with fewer shots than k every k-th neighbour is of another class. In an experiment a
            larger k than the bank is its size.

    Returns:
        Shape (N,), in [-2, 0].
    """
    rank = min(min(10, bank.shots) if k is None else k, len(bank.features))
    # Similarities find the neighbour; 2 - 2 cos in place of its distance would be off by 1e-8 for near twins.
    neighbour = by_similarities(lambda cosines: place_of(cosines, rank), features, bank)
    return -np.linalg.norm(directions(features) - bank.directions[neighbour], axis=1)
