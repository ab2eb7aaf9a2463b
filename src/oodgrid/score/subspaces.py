"""Principal spaces of the bank, and the parts of features inside and outside of them."""

from __future__ import annotations

import numpy as np

from oodgrid.counts import counted
from oodgrid.score.contract import ROUNDING, Bank, Head, Skip
from oodgrid.score.sharing import shared


def principal_axes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of sum_i x_i x_iᵀ of rows (M, D), rising, and their eigenvectors as columns.

    With fewer rows than dimensions all but M eigenvalues are 0, and only the M others are returned: shapes (R,) and
    (D, R), R = min(M, D). What lies outside of these columns is in the space of the eigenvalue 0.
    """
    from scipy.linalg import eigh, svd

    if len(values) >= values.shape[1]:
        return eigh(values.T @ values, driver="evd")
    _, sizes, axes = svd(values, full_matrices=False)
    return sizes[::-1] ** 2, axes[::-1].T


def determined(variances: np.ndarray, width: int) -> np.ndarray:
    """Return which of rising eigenvalues are not 0, the cut of scipy.linalg.pinvh for matrices of a width."""
    return variances > variances[-1] * width * np.finfo(float).eps


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


def principal_space(bank: Bank, *head: Head, dim: int | None) -> np.ndarray:
    """Return an orthonormal basis, shape (D, dim), of the principal space of the bank: see `_spaces`."""
    return _spaces(bank, *head, dim=dim)[0]


@shared
def _spaces(bank: Bank, *head: Head, dim: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return orthonormal bases of the principal space of the bank, shape (D, dim), and of what it leaves out.

    The latter, shape (D, D - dim), is None where the bank has fewer samples than dimensions. The principal space is
    spanned by the `dim` first eigenvectors of sum_i (x_i - u)(x_i - u)ᵀ, u of the head, or 0.

    Raises:
        Skip: The bank does not determine so many eigenvectors, or they leave nothing out.
    """
    values = bank.features - origin(*head) if head else bank.features
    variances, vectors = principal_axes(values)
    width, rank = values.shape[1], int(determined(variances, values.shape[1]).sum())
    kept = principal_dim(width, rank) if dim is None else dim
    if not 0 < kept <= min(rank, width - 1):
        raise Skip(
            f"a principal space of {counted(kept, 'dimension')}, of {rank} that the bank spans, leaves nothing "
            "to measure"
        )
    left_out, space = np.split(vectors, [vectors.shape[1] - kept], axis=1)
    return space, left_out if vectors.shape[1] == width else None


@shared
def residual_norms(features: np.ndarray, bank: Bank, *head: Head, dim: int | None) -> np.ndarray:
    """Return ||(x - u) outside the principal space||, shape (N,); see `principal_space`."""
    values = features - origin(*head) if head else features
    space, left_out = _spaces(bank, *head, dim=dim)
    outside = values - values @ space @ space.T if left_out is None else values @ left_out
    return np.sqrt(np.einsum("nd,nd->n", outside, outside))


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
    variances, vectors = principal_axes(deviations)
    width = deviations.shape[1]
    rank = np.sum(variances > max(variances[-1], ROUNDING) * width * np.finfo(float).eps)
    kept = min(100, width // 2, rank) if dim is None else dim
    if not 0 < kept <= rank:
        raise Skip(
            f"{counted(kept, 'principal axis is', 'principal axes are')} more than the {rank} that the bank "
            "spans, or none"
        )
    return scale, vectors[:, vectors.shape[1] - kept :]
