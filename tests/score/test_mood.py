"""MOOD's estimator against its formula in NumPy, and against scikit-learn's where S has full rank."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance

from oodgrid import scores


def data(width, count, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = 3 * rng.normal(size=(classes, width))
    bank = (centres[labels] + rng.normal(size=(count, width))).astype(np.float32)
    x = np.concatenate([bank[:5] + 0.1, 4 * rng.normal(size=(7, width))]).astype(np.float32)
    return x, bank, labels


def as_published(x, bank, labels, by):
    """The code of record in our own words: features normalised in float32, np.cov with bias, np.linalg.pinv."""
    x, bank = (v / (np.linalg.norm(v, axis=-1, keepdims=True) + np.float32(1e-10)) for v in (x, bank))
    groups = [bank] if by == "whole" else [bank[labels == c] for c in np.unique(labels)]
    distances = []
    for group in groups:
        inverse, away = np.linalg.pinv(np.cov(group.T, bias=True)), x - group.mean(axis=0, keepdims=True)
        distances.append((away * (inverse @ away.T).T).sum(axis=-1))
    return -(np.min(distances, axis=0) if by == "nearest" else np.mean(distances, axis=0))


@pytest.mark.parametrize("by", ["whole", "nearest", "mean"])
@pytest.mark.parametrize(("width", "count"), [(6, 60), (8, 300), (12, 61)])
def test_it_is_the_published_estimator(by, width, count):
    x, bank, labels = data(width, count)
    ours = scores.mood(x, bank, labels, by=by)
    np.testing.assert_allclose(ours, as_published(x, bank, labels, by), rtol=2e-3)


def test_of_full_rank_it_is_scikit_learns_and_the_single_gaussian():
    x, bank, labels = data(6, 80)
    unit, known = (v / np.linalg.norm(v.astype(np.float64), axis=1, keepdims=True) for v in (x, bank))
    ours = scores.mood(x, bank, labels)
    np.testing.assert_allclose(ours, -EmpiricalCovariance().fit(known).mahalanobis(unit), rtol=1e-4)
    np.testing.assert_allclose(ours, scores.single_gaussian(x, bank, labels, covariance="empirical"), rtol=1e-4)


def test_almost_empty_directions_count_as_in_its_code():
    """A direction with 1e-14 of the largest variance: the cut of single_gaussian at this width leaves it out."""
    rng = np.random.default_rng(1)
    bank = rng.normal(size=(300, 200))
    bank[:, -1] *= 1e-7
    x, labels = bank[:4].copy(), np.zeros(300, int)
    x[:, -1] += 0.1
    ours, single = scores.mood(x, bank, labels), scores.single_gaussian(x, bank, labels, covariance="empirical")
    assert (ours < 1000 * single).all()
