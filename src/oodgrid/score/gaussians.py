"""Gaussians fitted to the bank, and squared Mahalanobis distances to them.

Two estimators of a covariance from M deviations: "empirical", S = sum_i d_i d_iᵀ / M with its pseudo-inverse, which
most papers take, and "ledoit_wolf", which shrinks S towards a multiple of the identity (Ledoit & Wolf 2004, Journal of
Multivariate Analysis). Both have the eigenvectors of S, so that one decomposition serves both. Fewer deviations than
dimensions vary in few directions: outside of these S is 0 or, shrunk, a multiple of the identity, and no matrix (D, D)
is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from oodgrid.score.contract import ROUNDING, Bank, Skip, product
from oodgrid.score.sharing import shared
from oodgrid.score.subspaces import determined, principal_axes

Covariance = Literal["ledoit_wolf", "empirical"]


@shared
def nearest_class(features: np.ndarray, bank: Bank, *, covariance: Covariance) -> np.ndarray:
    """Return min_c (x - mu_c)ᵀ S⁻¹ (x - mu_c), shape (N,): class means of the bank, one covariance for all.

    Raises:
        Skip: No class has two shots that differ, or S is singular though shrunk.
    """
    means, halves = _whitened_means(bank, covariance=covariance)
    # Where S is the identity the distance is Euclidean. The product finds the nearest mean; its distance is then taken
    # of the difference, which loses no digits near a mean.
    points = whitening(bank, tied=True, covariance=covariance).coordinates(features - bank.centre)
    points -= means[(halves - product(points, means)).argmin(axis=1)]
    return np.einsum("nd,nd->n", points, points)


@shared
def whole_bank(features: np.ndarray, bank: Bank, *, covariance: Covariance | Literal["total"]) -> np.ndarray:
    """Return (x - mu)ᵀ S⁻¹ (x - mu), shape (N,): mean and covariance of the bank without its classes.

    "total" is the shrunk covariance within the classes plus that of their means: the law by which the empirical
    covariance of the bank is made of its parts.

    Raises:
        Skip: The bank has no two samples that differ, or of one class for "total"; or S is singular though shrunk.
    """
    if covariance == "total":
        points = whitening(bank, tied=True, covariance="ledoit_wolf").coordinates(features - bank.centre)
        points = _between(bank).coordinates(points)
    else:
        points = whitening(bank, tied=False, covariance=covariance).coordinates(features - bank.centre)
    return np.einsum("nd,nd->n", points, points)


@dataclass(frozen=True, eq=False)
class Root:
    """A factor F of an inverse covariance, S⁻¹ = F Fᵀ, by directions: in coordinates x F, S is the identity.

    Attributes:
        axes: Shape (D, R), orthonormal directions with a deviation of their own.
        inside: Shape (R,), one over the standard deviation along each.
        outside: The same in all other directions; 0 where S⁻¹ leaves them out, or there are none.
    """

    axes: np.ndarray
    inside: np.ndarray
    outside: float

    def coordinates(self, values: np.ndarray) -> np.ndarray:
        """Return x F of rows (N, D): shape (N, R) where nothing lies outside of the axes, else (N, D)."""
        along = values @ self.axes
        if not self.outside:
            return along * self.inside
        return self.outside * values + (along * (self.inside - self.outside)) @ self.axes.T


@shared
def whitening(bank: Bank, *, tied: bool, covariance: Covariance) -> Root:
    """Return how to make S the identity.

    S is of the residuals about the class means where `tied`, else of the deviations from the mean of the bank.

    Raises:
        Skip: There are no such deviations, or S is singular though shrunk.
    """
    empirical, share, vectors = _axes(bank, tied=tied)
    width, count = vectors.shape
    if covariance == "empirical":
        kept = determined(empirical, width)
        return Root(vectors[:, kept], 1 / np.sqrt(empirical[kept]), 0.0)
    mean = empirical.sum() / width
    shrunk = (1 - share) * empirical + share * mean
    lowest = share * mean if count < width else shrunk[0]
    if not determined(np.array([lowest, shrunk[-1]]), width).all():  # deviations that are all plus or minus one vector
        raise Skip("the covariance of these shots is singular")
    return Root(vectors, 1 / np.sqrt(shrunk), 1 / np.sqrt(share * mean) if count < width else 0.0)


@shared
def _between(bank: Bank) -> Root:
    """Return how to make S + B the identity where S is: S shrunk and within the classes, B of their means."""
    _, index = bank.classes
    deviations = (bank.means - bank.centre) * np.sqrt(np.bincount(index) / len(index))[:, None]
    whitened = whitening(bank, tied=True, covariance="ledoit_wolf").coordinates(deviations)
    ratios, axes = principal_axes(whitened)
    return Root(axes, 1 / np.sqrt(1 + ratios), 1.0 if axes.shape[1] < axes.shape[0] else 0.0)


@shared
def _axes(bank: Bank, *, tied: bool) -> tuple[np.ndarray, float, np.ndarray]:
    """Return the empirical variances along the axes of S, rising, shape (R,); Ledoit-Wolf's share; the axes, (D, R).

    R = min(M, D): in other directions the variance is 0.
    """
    deviations = bank.residuals if tied else _deviations(bank)
    count, width = deviations.shape
    squares, vectors = principal_axes(deviations)
    variances = squares / count
    fourth = np.mean(np.einsum("md,md->m", deviations, deviations) ** 2)
    error = (fourth - np.sum(variances**2)) / count  # mean over i of ||d_i d_iᵀ - S||², over M
    mean = variances.sum() / width
    spread = np.sum((variances - mean) ** 2) + (width - len(variances)) * mean**2
    share = min(max(error, 0) / spread, 1) if spread > 0 else 0
    return variances, float(share), vectors


def _deviations(bank: Bank) -> np.ndarray:
    deviations = bank.features - bank.centre
    if np.abs(deviations).max() < ROUNDING:
        raise Skip("a Gaussian needs at least 2 samples that differ")
    return deviations


@shared
def _whitened_means(bank: Bank, *, covariance: Covariance) -> tuple[np.ndarray, np.ndarray]:
    """Return the class means in coordinates where S is the identity, and half their squared norms, shape (C,)."""
    means = whitening(bank, tied=True, covariance=covariance).coordinates(bank.means - bank.centre)
    return means, np.einsum("cr,cr->c", means, means) / 2
