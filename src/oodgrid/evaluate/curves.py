"""What figures need of a pair of sets: a thinned ROC curve, histograms on one grid, the operating point."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oodgrid.edge import numbers
from oodgrid.evaluate.metrics import Counts, id_threshold_cell


def id_threshold95(counts: Counts) -> float:
    """Return the score threshold of `fpr95_id_pos`: the ID score whose ID recall is nearest to .95."""
    return float(counts.values[id_threshold_cell(counts)])


def roc_points(counts: Counts, most: int = 256) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ROC curve with ID as the positive class, from (0, 0) to (1, 1), in at most `most` points.

    A curve of few enough vertices comes back exact. A longer one is cut at equal steps of the true-positive
    rate, each cut a point of the curve, so linear interpolation between them is never off by more than 1 /
    (most - 3) vertically. The operating point of `fpr95_id_pos` is always among the points.

    Args:
        counts: The sorted scores of the pair of sets.
        most: The largest number of points wanted, at least 4.

    Returns:
        False-positive and true-positive rates, both ascending, each of shape (P,) with P <= most.
    """
    if most < 4:
        raise ValueError(f"most is {most}: a thinned ROC curve needs at least 4 points")
    fpr = np.append(0.0, counts.ood_from[::-1] / counts.n_ood)
    tpr = np.append(0.0, counts.id_from[::-1] / counts.n_id)
    if fpr.size <= most:
        return fpr, tpr
    steps = np.arange(1, most - 2) / (most - 3)
    at_steps = _leftmost_crossing(fpr, tpr, steps)
    operating = fpr.size - 1 - id_threshold_cell(counts)
    x = np.concatenate([[0.0, 1.0, fpr[operating]], at_steps])
    y = np.concatenate([[0.0, 1.0, tpr[operating]], steps])
    return np.sort(x), np.sort(y)


def _leftmost_crossing(fpr: NDArray, tpr: NDArray, steps: NDArray) -> NDArray[np.float64]:
    """Return the lowest false-positive rate at which the curve (V,), (V,) reaches each of the steps (S,)."""
    after = np.searchsorted(tpr, steps)
    climbed = (steps - tpr[after - 1]) / (tpr[after] - tpr[after - 1])
    return fpr[after - 1] + climbed * (fpr[after] - fpr[after - 1])


def histograms(
    id_scores: ArrayLike, ood_scores: ArrayLike, bins: int = 100
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the densities of both sets on one common grid from the lowest score to the highest.

    Scores without a spread (all equal, up to a relative 1e-12) get a grid of width max(1, |score|) around
    them.

    Args:
        id_scores: Scores of the ID samples, shape (N,).
        ood_scores: Scores of the OOD samples, shape (M,).
        bins: Number of bins B.

    Returns:
        Bin edges (B + 1,), ID density (B,), OOD density (B,); each density integrates to one over the grid.

    Raises:
        OodgridError: If a side is not one-dimensional, numeric, non-empty and finite.
    """
    sides = numbers(id_scores, "ID scores", "N"), numbers(ood_scores, "OOD scores", "N")
    lowest, highest = (float(f([f(side) for side in sides])) for f in (np.min, np.max))
    edges = _grid(lowest, highest, bins)
    in_id, in_ood = (np.histogram(side, edges)[0] / side.size / np.diff(edges) for side in sides)
    return edges, in_id, in_ood


def _grid(lowest: float, highest: float, bins: int) -> NDArray[np.float64]:
    """Return equal bin edges (bins + 1,) that hold both ends."""
    # halves first: the sum or difference of two huge scores would overflow
    middle, half = lowest / 2 + highest / 2, highest / 2 - lowest / 2
    largest = max(abs(lowest), abs(highest))
    if half <= 1e-12 * largest:
        return middle + max(1.0, largest) / 2 * np.linspace(-1, 1, bins + 1)
    edges = middle + half * np.linspace(-1, 1, bins + 1)
    edges[0], edges[-1] = lowest, highest
    return edges
