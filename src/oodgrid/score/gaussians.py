"""Gaussians fitted to the bank, and squared Mahalanobis distances to them.

Two estimators of a covariance from M deviations: "empirical", S = sum_i d_i d_iᵀ / M with its pseudo-inverse, which
most papers take, and "ledoit_wolf", which shrinks S towards a multiple of the identity (Ledoit & Wolf 2004, Journal of
Multivariate Analysis). Both have the eigenvectors of S, so that one decomposition serves both.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from oodgrid.score.contract import ROUNDING, Bank, Skip
from oodgrid.score.sharing import shared
from oodgrid.score.subspaces import eigen

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
    points = (features - bank.centre) @ whitening(bank, tied=True, covariance=covariance)
    points -= means[(halves - points @ means.T).argmin(axis=1)]
    return np.einsum("nd,nd->n", points, points)


@shared
def whole_bank(features: np.ndarray, bank: Bank, *, covariance: Covariance | Literal["total"]) -> np.ndarray:
    """Return (x - mu)ᵀ S⁻¹ (x - mu), shape (N,): mean and covariance of the bank without its classes.

    "total" is the shrunk covariance within the classes plus that of their means: the law by which the empirical
    covariance of the bank is made of its parts.

    Raises:
        Skip: The bank has no two samples that differ, or of one class for "total"; or S is singular though shrunk.
    """
    total = covariance == "total"
    factor = _total_whitening(bank) if total else whitening(bank, tied=False, covariance=covariance)
    points = (features - bank.centre) @ factor
    return np.einsum("nd,nd->n", points, points)


@shared
def whitening(bank: Bank, *, tied: bool, covariance: Covariance) -> np.ndarray:
    """Return a factor F of S⁻¹ = F Fᵀ, shape (D, R), R the rank of S: in coordinates x F, S is the identity.

    S is of the residuals about the class means where `tied`, else of the deviations from the mean of the bank.
    """
    empirical, shrunk, vectors = _axes(bank, tied=tied)
    variances = shrunk if covariance == "ledoit_wolf" else empirical
    kept = variances > variances[-1] * len(variances) * np.finfo(float).eps  # the cut of scipy.linalg.pinvh
    if covariance == "ledoit_wolf" and not kept.all():  # deviations that are all plus or minus one vector
        raise Skip("the covariance of these shots is singular")
    return vectors[:, kept] / np.sqrt(variances[kept])


@shared
def _total_whitening(bank: Bank) -> np.ndarray:
    """Return such a factor, shape (D, D), for the shrunk covariance within the classes plus that of their means."""
    inverse_root = whitening(bank, tied=True, covariance="ledoit_wolf")
    _, index = bank.classes
    between = (bank.means - bank.centre) * np.sqrt(np.bincount(index) / len(index))[:, None] @ inverse_root
    ratios, vectors = eigen(between.T @ between)  # S_0 = S + B is 1 + B where S is the identity
    return inverse_root @ vectors / np.sqrt(1 + ratios)


@shared
def _axes(bank: Bank, *, tied: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return variances along the axes of S, empirical and shrunk, shape (D,) each, rising; and the axes as columns."""
    deviations = bank.residuals if tied else _deviations(bank)
    covariance = deviations.T @ deviations / len(deviations)
    variances, vectors = eigen(covariance)
    fourth = np.mean(np.einsum("md,md->m", deviations, deviations) ** 2)
    error = (fourth - np.sum(covariance**2)) / len(deviations)  # mean over i of ||d_i d_iᵀ - S||², over M
    mean = variances.mean()
    spread = np.sum((variances - mean) ** 2)
    share = min(max(error, 0) / spread, 1) if spread > 0 else 0
    return variances, (1 - share) * variances + share * mean, vectors


def _deviations(bank: Bank) -> np.ndarray:
    deviations = bank.features - bank.centre
    if np.abs(deviations).max() < ROUNDING:
        raise Skip("a Gaussian needs at least 2 samples that differ")
    return deviations


@shared
def _whitened_means(bank: Bank, *, covariance: Covariance) -> tuple[np.ndarray, np.ndarray]:
    """Return the class means in coordinates where S is the identity, shape (C, R), and half their squared norms."""
    means = (bank.means - bank.centre) @ whitening(bank, tied=True, covariance=covariance)
    return means, np.einsum("cr,cr->c", means, means) / 2
