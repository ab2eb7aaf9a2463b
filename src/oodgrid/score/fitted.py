"""What several scores estimate from the bank and the head, once for all samples."""

from __future__ import annotations

import numpy as np

from oodgrid.config import Precision
from oodgrid.score.contract import Bank, Head, Skip, by_rows, group_means, log_normaliser, probabilities
from oodgrid.score.sharing import shared

ALIKE = 1e-6  # how far apart float32 can put two encodings of one name


@shared
def means_by_prediction(bank: Bank, *, correct: bool) -> np.ndarray:
    """Return the mean of the samples predicted as each of the K classes, shape (K, D); only correct ones if `correct`.

    A class without such samples has the mean of its shots instead, one without shots the mean of the bank.

    Raises:
        Skip: The method leaves no logits of its shots.
    """
    logits = bank.own_logits()
    count, predicted = logits.shape[1], logits.argmax(axis=1)
    right = predicted == bank.labels if correct else slice(None)
    means = np.tile(bank.centre, (count, 1))
    for classes, rows in ((bank.labels, slice(None)), (predicted, right)):
        present = np.unique(classes[rows])
        means[present] = group_means(bank.features[rows], classes[rows], count)[present]
    return means


@shared
def bank_energies(bank: Bank, *, T: float) -> np.ndarray:
    """Return T logsumexp(s / T) of the bank's logits, shape (M,).

    Raises:
        Skip: The method leaves no logits of its shots.
    """
    return by_rows(lambda logits: log_normaliser(logits, T=T), bank.own_logits(), rows=1024)


@shared
def bank_probabilities(bank: Bank, *, T: float, precision: Precision) -> np.ndarray:
    """Return softmax(s / T) of the bank's logits, shape (M, K), rounded to a precision.

    Raises:
        Skip: The method leaves no logits of its shots.
    """
    return probabilities(bank.own_logits(), T=T).astype(precision, copy=False)


@shared
def inverse_boundary_gaps(head: Head) -> np.ndarray:
    """Return 1 / ||w_k - w_c||, shape (K, K), divided by the number of such c for k; raises as `inverse_gaps` does."""
    inverse = inverse_gaps(head)
    return inverse / (inverse > 0).sum(axis=1, keepdims=True)


@shared
def inverse_gaps(head: Head) -> np.ndarray:
    """Return 1 / ||w_k - w_c||, shape (K, K).

    Zero where there is no boundary: on the diagonal, and between classes whose weights are alike, as two of one name.

    Raises:
        Skip: A class has no boundary with any other.
    """
    from scipy.spatial.distance import pdist, squareform

    gaps = squareform(pdist(head.weights))
    apart = gaps > ALIKE * np.linalg.norm(head.weights, axis=1).max()
    if not apart.any(axis=1).all():
        raise Skip("a class has no decision boundary: it is alone, or all have the same weights")
    return np.divide(1, gaps, out=np.zeros_like(gaps), where=apart)
