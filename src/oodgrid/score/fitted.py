"""What scores of features learn from the bank and the head, once for all samples."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh, lstsq
from scipy.spatial.distance import pdist, squareform

from oodgrid.score.contract import ROUNDING, Bank, Head, Skip, by_rows, group_means, log_normaliser, probabilities
from oodgrid.score.sharing import shared

ALIKE = 1e-6  # how far apart float32 can put two encodings of one name


@shared
def means_by_prediction(bank: Bank, *, correct: bool) -> np.ndarray:
    """Return the mean of the samples predicted as each of the K classes, shape (K, D); only correct ones if `correct`.

    A class that the method predicts of no such sample has the mean of its own shots in place; one without shots, the
    mean of the bank.

    Raises:
        Skip: The method leaves no logits of its shots.
    """
    logits = bank.own_logits()
    count, predicted = logits.shape[1], logits.argmax(axis=1)
    means = np.tile(bank.centre, (count, 1))
    for rows, classes in (
        (slice(None), bank.labels),
        (predicted == bank.labels if correct else slice(None), predicted),
    ):
        found = np.unique(classes[rows])
        means[found] = group_means(bank.features[rows], classes[rows], count)[found]
    return means


@shared
def bank_energies(bank: Bank, *, T: float) -> np.ndarray:
    """Return T logsumexp(s / T) of the bank's logits, shape (M,).

    Raises:
        Skip: The method leaves no logits of its shots.
    """
    return by_rows(lambda logits: log_normaliser(logits, T=T), bank.own_logits(), rows=1024)


@shared
def bank_probabilities(bank: Bank, *, T: float) -> np.ndarray:
    """Return softmax(s / T) of the bank's logits, shape (M, K).

    Raises:
        Skip: The method leaves no logits of its shots.
    """
    return probabilities(bank.own_logits(), T=T)


@shared
def inverse_boundary_gaps(head: Head) -> np.ndarray:
    """Return 1 / ||w_k - w_c||, shape (K, K), divided by the number of such c for k.

    Zero where there is no boundary: on the diagonal, and between classes whose weights are alike, as two of one name.

    Raises:
        Skip: A class has no boundary with any other.
    """
    gaps = squareform(pdist(head.weights)) if len(head.weights) > 1 else np.zeros((1, 1))
    apart = gaps > ALIKE * np.linalg.norm(head.weights, axis=1).max()
    if not apart.any(axis=1).all():
        raise Skip("a class has no decision boundary: it is alone, or all have the same weights")
    return np.divide(1, gaps, out=np.zeros_like(gaps), where=apart) / apart.sum(axis=1, keepdims=True)


@shared
def origin(head: Head) -> np.ndarray:
    """Return u = -W⁺ b, shape (D,): where the logits are nearest to zero, of all such points that of least norm."""
    return lstsq(head.weights, -head.bias)[0]


def principal_dim(width: int, rank: int) -> int:
    """Return ViM's dimension of the principal space for features of a width, if the bank spans it.

    A bank that spans less has the same share of its rank, at least 1.
    """
    published = 1000 if width >= 2048 else 512 if width >= 768 else width // 2
    return max(published * rank // width, 1)


@shared
def complement(bank: Bank, *head: Head, dim: int | None) -> np.ndarray:
    """Return an orthonormal basis, shape (D, D - dim), of what the principal space of the bank leaves out.

    The principal space is spanned by the `dim` first eigenvectors of sum_i (x_i - u)(x_i - u)ᵀ, u of the head, or 0.

    Raises:
        Skip: The bank does not determine so many eigenvectors, or they leave nothing out.
    """
    values = bank.features - origin(*head) if head else bank.features
    variances, vectors = eigh(values.T @ values, driver="evd")
    width, rank = len(variances), np.sum(variances > variances[-1] * len(variances) * np.finfo(float).eps)
    kept = principal_dim(width, rank) if dim is None else dim
    if not 0 < kept <= min(rank, width - 1):
        raise Skip(f"a principal space of {kept} dimensions, of {rank} that the bank spans, leaves nothing to measure")
    return vectors[:, : width - kept]


@shared
def residual_norms(features: np.ndarray, bank: Bank, *head: Head, dim: int | None) -> np.ndarray:
    """Return ||(x - u) outside the principal space||, shape (N,); see `complement`."""
    values = features - origin(*head) if head else features
    return np.linalg.norm(values @ complement(bank, *head, dim=dim), axis=1)


@shared
def virtual_weight(bank: Bank, *head: Head, dim: int | None) -> float:
    """Return ViM's alpha: the bank's mean largest logit over its mean residual norm.

    Raises:
        Skip: The bank has no residuals, or the method leaves no logits of its shots.
    """
    norm = residual_norms(bank.features, bank, *head, dim=dim).mean()
    if norm < ROUNDING:
        raise Skip("the principal space holds all of the bank: there are no residuals to match with logits")
    return float(bank.own_logits().max(axis=1).mean() / norm)


@shared
def principal_projection(bank: Bank, *, dim: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return standard deviations of the bank, shape (D,), 1 where there is none, and its first PCA axes, (D, dim).

    The axes are those of the standardised bank.

    Raises:
        Skip: The bank does not determine so many axes.
    """
    deviations = bank.features - bank.centre
    spread = deviations.std(axis=0)
    scale = np.where(spread < ROUNDING, 1, spread)
    deviations /= scale
    variances, vectors = eigh(deviations.T @ deviations, driver="evd")
    rank = np.sum(variances > max(variances[-1], ROUNDING) * len(variances) * np.finfo(float).eps)
    kept = min(100, len(variances) // 2, rank) if dim is None else dim
    if not 0 < kept <= rank:
        raise Skip(f"{kept} principal axes are more than the {rank} that the bank spans, or none")
    return scale, vectors[:, -kept:]
