"""What all methods share: unit norms, class means, accuracy, and the check for numbers that are none."""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid.adapt.contract import Diverged, Skip, accuracy, check_finite, class_means, normalise


def naive_class_means(features, labels, classes):
    means = []
    for c in range(classes):
        total = [0.0] * features.shape[1]
        for row, label in zip(features.tolist(), labels, strict=True):
            if label == c:
                norm = sum(value**2 for value in row) ** 0.5
                total = [t + value / norm for t, value in zip(total, row, strict=True)]
        norm = sum(value**2 for value in total) ** 0.5
        means.append([t / norm for t in total])
    return means


def test_class_means_against_loops():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(30, 5)) * rng.uniform(0.1, 50, size=(30, 1))).astype(np.float32)
    labels = rng.permutation(np.arange(30) % 4)
    got = class_means(features, labels, 4)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, naive_class_means(features, labels, 4), atol=1e-7)


def test_class_means_do_not_see_the_norms_of_images():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(8, 5)), np.arange(8) % 2
    scaled = features * rng.uniform(0.01, 100, size=(8, 1))
    np.testing.assert_allclose(class_means(scaled, labels, 2), class_means(features, labels, 2), atol=1e-7)


def test_class_means_name_a_class_without_sample():
    with pytest.raises(Skip, match="class 1 has no training sample"):
        class_means(np.ones((3, 2)), np.array([0, 2, 2]), 3)


def test_normalise_keeps_zero_rows():
    np.testing.assert_allclose(normalise(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])
    assert normalise(np.empty((0, 0), np.float32)).shape == (0, 0)
    assert normalise(np.ones((2, 3, 4), np.float32)).dtype == np.float32


def test_accuracy_takes_the_first_of_equals():
    assert accuracy(np.array([[1.0, 1.0], [0.0, 2.0], [3.0, 1.0]]), np.array([0, 1, 1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_named(value):
    check_finite({"keys": np.ones(3), "labels": np.arange(3)}, "that training left")
    with pytest.raises(Diverged, match="the keys that training left are not finite"):
        check_finite({"labels": np.arange(3), "keys": np.array([1.0, value])}, "that training left")
