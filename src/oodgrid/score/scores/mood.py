"""MOOD: Gaussians of normalised features, exactly as its code estimates them."""

from __future__ import annotations

from typing import Literal

import numpy as np

from oodgrid.registry import score
from oodgrid.score.contract import Bank, directions, of_directions
from oodgrid.score.sharing import shared

By = Literal["whole", "nearest", "mean"]
RCOND = 1e-15  # numpy.linalg.pinv's default: singular values below so much of the largest count as none


@score(
    title="MOOD",
    needs=("features", "bank"),
    family="features",
    paper="Li et al. 2023 (CVPR), section 3; github.com/dvlab-research/MOOD 06be45f (MOODv1/ood_utils.py, mahalanobis)",
)
def mood(features: np.ndarray, bank: Bank, *, by: By = "whole") -> np.ndarray:
    """MOOD: -(x - mu)ᵀ S⁺ (x - mu) of normalised features; S = mean of d dᵀ over the bank, its pseudo-inverse NumPy's.

    It is `single_gaussian` with covariance "empirical" but for the cut below which a direction counts as empty: NumPy's
    1e-15 of the largest singular value, where that of `single_gaussian` grows with D. Features are rounded to float32,
    in which its code normalises them.

    Args:
        features: Shape (N, D); normalised here where they are not.
        bank: In the paper, the whole training split: bank: train.
        by: "whole": one Gaussian of all, the paper's; "nearest": the least distance to Gaussians of each class (its
            option --cc); "mean": the mean of these distances (--avgcc). The latter have a covariance for each class.

    Returns:
        Shape (N,), at most 0 but for rounding.
    """
    x = _rounded(directions(features))
    distances = [_distance(x, mean, inverse) for mean, inverse in _gaussians(of_directions(bank), by=by)]
    return -(np.min(distances, axis=0) if by == "nearest" else np.mean(distances, axis=0))


@shared
def _gaussians(bank: Bank, *, by: By) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return mean (D,) and pseudo-inverse (D, D) of the covariance, of all samples or of those of each class."""
    _, index = bank.classes
    known = _rounded(bank.features)
    groups = [known] if by == "whole" else [known[index == c] for c in range(index.max() + 1)]
    return [(x.mean(axis=0), _inverse(x - x.mean(axis=0))) for x in groups]


def _rounded(features: np.ndarray) -> np.ndarray:
    """Return features as float32 has them."""
    return features.astype(np.float32).astype(np.float64)


def _inverse(deviations: np.ndarray) -> np.ndarray:
    return np.linalg.pinv(deviations.T @ deviations / len(deviations), rcond=RCOND)


def _distance(features: np.ndarray, mean: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    deviations = features - mean
    return np.einsum("nd,nd->n", deviations @ inverse, deviations)
