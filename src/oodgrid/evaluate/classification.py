"""Metrics that look at the predicted class too: open-set classification, selective classification, calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oodgrid.labels import has_class

BINS = 15
PROBABILITIES = ("msp", "mcm")  # scores that are the largest of the classes' probabilities
REDRAWS = 20  # of the predictions of a calibrated model
Rates = dict[str, float | None]


def oscr(id_scores: NDArray, right: NDArray[np.bool_], ood_scores: NDArray) -> float:
    """Return the area under the open-set classification rate (Dhamija et al. 2018).

    At each threshold the correct classification rate is the share of ID samples at or above it that are classified
    right, and the false-positive rate that of OOD samples. Between thresholds the curve is a straight line, so that
    a tied pair counts half: the area is the mean over (ID, OOD) pairs of "ID above OOD and right".

    Args:
        id_scores: Of ID samples with a class, shape (N,).
        right: Whether each is classified right, shape (N,).
        ood_scores: Shape (M,).
    """
    ascending = np.sort(ood_scores)
    below = np.searchsorted(ascending, id_scores, "left") + np.searchsorted(ascending, id_scores, "right")
    return float(np.sum(below[right]) / (2 * len(ascending) * len(id_scores)))


def aurc(scores: NDArray, right: NDArray[np.bool_]) -> float:
    """Return the area under the risk-coverage curve (Geifman & El-Yaniv 2017): the mean risk over all coverages.

    The risk at coverage k / N is the error rate of the k samples of the highest scores. Samples that tie come in any
    order: each has the errors of its ties in equal parts, which is the mean over all orders.

    Args:
        scores: Of ID samples with a class, shape (N,).
        right: Whether each is classified right, shape (N,).
    """
    _, place, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    errors = np.bincount(place, weights=~right) / counts
    risks = np.cumsum(np.repeat(errors, counts)) / np.arange(1, len(scores) + 1)
    return float(risks.mean())


def ece(confidence: NDArray, right: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the expected calibration error in 15 bins of equal width (Guo et al. 2017), and its floor.

    An ECE of finite samples is above zero even of a calibrated model: the floor is the mean ECE of predictions redrawn
    right with the probability that they say.

    Args:
        confidence: The probability of the predicted class, in [0, 1], shape (N,).
        right: Whether each is classified right, shape (N,).
    """
    rng = np.random.default_rng(0)
    redrawn = [_ece(confidence, rng.random(len(confidence)) < confidence) for _ in range(REDRAWS)]
    return _ece(confidence, right), float(np.mean(redrawn))


def _ece(confidence: NDArray, right: NDArray[np.bool_]) -> float:
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)  # each holds its upper end
    gaps = np.bincount(bins, weights=confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def of_predictions(
    score: str, id_scores: NDArray, labels: NDArray, predicted: NDArray, ood_scores: NDArray, alone: Rates | None = None
) -> Rates:
    """Return all metrics of this module for one score against one OOD set, None where they cannot be told.

    Args:
        score: The name that the score is registered by.
        id_scores: Shape (N,).
        labels: Shape (N,), −1 for none.
        predicted: Predicted classes, −1 where nothing was predicted, shape (N,).
        ood_scores: Shape (M,).
        alone: What `of_id` returns of the same samples, where it is known.
    """
    alone = of_id(score, id_scores, labels, predicted) if alone is None else alone
    known = has_class(labels) & (predicted >= 0)
    if not known.any():
        return {"oscr": None, **alone}
    return {"oscr": oscr(id_scores[known], predicted[known] == labels[known], ood_scores), **alone}


def of_id(score: str, id_scores: NDArray, labels: NDArray, predicted: NDArray) -> Rates:
    """Return the metrics that no OOD set changes, as `of_predictions` does."""
    known = has_class(labels) & (predicted >= 0)
    if not known.any():
        return dict.fromkeys(("aurc", "ece", "ece_floor"))
    scores, right = id_scores[known], predicted[known] == labels[known]
    probable = score in PROBABILITIES and scores.min() >= 0 and scores.max() <= 1
    calibration = ece(scores, right) if probable else (None, None)
    return {"aurc": aurc(scores, right), **dict(zip(("ece", "ece_floor"), calibration, strict=True))}
