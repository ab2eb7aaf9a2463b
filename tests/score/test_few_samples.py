"""Fewer samples than dimensions: what is computed in their span equals what the whole matrices give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import eigh, pinvh
from sklearn.covariance import ledoit_wolf

from oodgrid import registry
from oodgrid.score.contract import Bank, Head, normalise
from oodgrid.score.gaussians import whitening
from oodgrid.score.subspaces import principal_space

CASES = [(6, 2, 200), (20, 4, 64), (60, 3, 64), (63, 3, 64), (64, 4, 64), (150, 5, 64), (10, 5, 513)]


def made(count, classes, width):
    rng = np.random.default_rng([count, width])
    centres = normalise(rng.normal(size=(classes, width)))
    labels = np.arange(count) % classes
    shots = normalise(centres[labels] + 0.1 * rng.normal(size=(count, width)) * rng.uniform(0.2, 2, width))
    features = normalise(centres[rng.integers(0, classes, 30)] + 0.2 * rng.normal(size=(30, width)))
    return features, Bank(shots, labels, count // classes, head=Head(centres, 0.1 * rng.normal(size=classes)))


def inverse(deviations, covariance):
    if covariance == "empirical":
        return pinvh(deviations.T @ deviations / len(deviations))
    return np.linalg.inv(ledoit_wolf(deviations, assume_centered=True)[0])


def distances(differences, matrix):
    return np.einsum("nd,de,ne->n", differences, matrix, differences)


@pytest.mark.parametrize("covariance", ["ledoit_wolf", "empirical"])
@pytest.mark.parametrize("case", CASES)
def test_gaussians_are_those_of_whole_matrices(case, covariance):
    features, bank = made(*case)
    tied = inverse(bank.residuals, covariance)
    near = np.min([distances(features - mean, tied) for mean in bank.means], axis=0)
    whole = distances(features - bank.centre, inverse(bank.features - bank.centre, covariance))
    for name, expected in (("mahalanobis", -near), ("single_gaussian", -whole), ("relative_mahalanobis", whole - near)):
        found = registry.find("score", name).make(features, bank, covariance=covariance)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * np.abs(whole).max(), err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_relative_mahalanobis_of_a_total_is_that_of_whole_matrices(case):
    features, bank = made(*case)
    within = ledoit_wolf(bank.residuals, assume_centered=True)[0]
    between = (bank.means - bank.centre) * np.sqrt(np.bincount(bank.labels) / len(bank.labels))[:, None]
    near = np.min([distances(features - mean, np.linalg.inv(within)) for mean in bank.means], axis=0)
    whole = distances(features - bank.centre, np.linalg.inv(within + between.T @ between))
    found = registry.find("score", "relative_mahalanobis").make(features, bank)
    np.testing.assert_allclose(found, whole - near, rtol=1e-8, atol=1e-8 * np.abs(near).max())


@pytest.mark.parametrize("case", CASES)
def test_residuals_are_those_of_the_complement(case):
    features, bank = made(*case)
    axes = principal_space(bank, dim=None)
    _, vectors = eigh(bank.features.T @ bank.features)
    outside = vectors[:, : -axes.shape[1]]
    found = registry.find("score", "residual").make(features, bank)
    np.testing.assert_allclose(found, -np.linalg.norm(features @ outside, axis=1), rtol=1e-8)


def test_no_matrix_of_the_width_squared_is_made():
    _, bank = made(20, 4, 4096)
    assert whitening(bank, tied=True, covariance="ledoit_wolf").axes.shape == (4096, 20)
    assert len(principal_space(bank, bank.head, dim=None).T) < 20
