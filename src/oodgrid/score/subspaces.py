"""Principal spaces of the bank, and what of a feature lies inside and outside of them."""

from __future__ import annotations

import numpy as np

from oodgrid.score.contract import ROUNDING, Bank, Head, Skip
from oodgrid.score.sharing import shared


def eigen(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of a symmetric matrix, rising, shape (D,), and the eigenvectors as columns, (D, D)."""
    from scipy.linalg import eigh

    return eigh(matrix, driver="evd")


@shared
def origin(head: Head) -> np.ndarray:
    """Return u = -W⁺ b, shape (D,): where the logits are nearest to zero, of all such points that of least norm."""
    from scipy.linalg import lstsq

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
    variances, vectors = eigen(values.T @ values)
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
    variances, vectors = eigen(deviations.T @ deviations)
    rank = np.sum(variances > max(variances[-1], ROUNDING) * len(variances) * np.finfo(float).eps)
    kept = min(100, len(variances) // 2, rank) if dim is None else dim
    if not 0 < kept <= rank:
        raise Skip(f"{kept} principal axes are more than the {rank} that the bank spans, or none")
    return scale, vectors[:, -kept:]
