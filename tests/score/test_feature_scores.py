"""Scores of features against their formulas in loops, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.neighbors import NearestNeighbors

from oodgrid import registry
from oodgrid.errors import OodgridError
from oodgrid.score.contract import Bank, Skip, by_rows, normalise


def score(name, features, bank, **params):
    return registry.find("score", name).make(features, bank, **params)


def sample(seed, count, width=8):
    return normalise(np.random.default_rng(seed).normal(size=(count, width)) + 0.5)


def bank_of(shots=4, classes=5, width=8, seed=7):
    """Shots scattered around class centres, their rows in no order of classes."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), shots))
    centres = rng.normal(size=(classes, width))
    return Bank(normalise(centres[labels] + 0.4 * rng.normal(size=(len(labels), width))), labels, shots)


QUERIES = sample(0, 30)


# ------------------------------------------------------------------------------------------------------- knn


def naive_knn(x, bank, k):
    distances = sorted(math.dist(x, row) for row in bank.features.tolist())
    return -distances[k - 1]


@pytest.mark.parametrize("k", [1, 2, 3, 19, 20])
def test_knn_against_the_formula(k):
    bank = bank_of()
    expected = [naive_knn(x, bank, k) for x in QUERIES.tolist()]
    got = score("knn", QUERIES, bank, k=k)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("shots", "k"), [(1, 1), (4, 4), (10, 10), (16, 10)])
def test_knn_by_default_takes_the_tenth_neighbour_but_at_most_the_shots(shots, k):
    bank = bank_of(shots=shots)
    np.testing.assert_array_equal(score("knn", QUERIES, bank), score("knn", QUERIES, bank, k=k))
    assert not np.array_equal(score("knn", QUERIES, bank), score("knn", QUERIES, bank, k=k + 1))


def test_knn_agrees_with_scikit_learn():
    bank = bank_of(shots=12)
    distances, _ = NearestNeighbors(n_neighbors=7, algorithm="brute").fit(bank.features).kneighbors(QUERIES)
    np.testing.assert_allclose(score("knn", QUERIES, bank, k=7), -distances[:, -1], rtol=0, atol=1e-12)


def test_knn_of_a_k_beyond_the_bank_is_the_farthest_neighbour():
    bank = bank_of(shots=1, classes=3)
    np.testing.assert_allclose(
        score("knn", QUERIES, bank, k=50), [naive_knn(x, bank, 3) for x in QUERIES.tolist()], atol=1e-13
    )


def test_knn_of_a_bank_row_itself_is_exactly_zero_alone_or_not():
    bank = bank_of()
    np.testing.assert_array_equal(score("knn", bank.features, bank, k=1), np.zeros(20))
    assert score("knn", bank.features[3:4], bank, k=1)[0] == 0


def test_knn_counts_a_duplicated_row_as_two_neighbours():
    one = bank_of()
    twice = Bank(np.repeat(one.features, 2, axis=0), np.repeat(one.labels, 2), 8)
    np.testing.assert_allclose(score("knn", QUERIES, twice, k=6), score("knn", QUERIES, one, k=3), rtol=0, atol=1e-12)


def test_knn_with_ties_at_the_kth_place():
    bank = Bank(np.eye(4), np.array([0, 0, 1, 1]), 2)
    x = np.full((1, 4), 0.5)
    for k in (1, 2, 3, 4):
        np.testing.assert_allclose(score("knn", x, bank, k=k), [-1.0], rtol=1e-15)


def test_knn_is_near_two_for_opposite_directions():
    bank = Bank(np.array([[1.0, 0.0]]), np.array([0]), 1)
    np.testing.assert_allclose(score("knn", np.array([[-1.0, 0.0], [0.0, 1.0]]), bank), [-2, -math.sqrt(2)])


@pytest.mark.parametrize("k", [0, -3])
def test_knn_refuses_a_k_below_one(k):
    with pytest.raises(OodgridError, match=f"score knn: k = {k} does not fit: Input should be greater than 0"):
        registry.check_params("score", "knn", {"k": k})


# ----------------------------------------------------------------------------------------------- mahalanobis


def naive_ledoit_wolf(residuals):
    """The shrunk covariance of Ledoit & Wolf 2004, section 3, for residuals whose mean is zero by construction."""
    count, width = residuals.shape
    empirical = sum(np.outer(r, r) for r in residuals) / count
    target = np.trace(empirical) / width * np.eye(width)
    spread = np.sum((empirical - target) ** 2)
    error = sum(np.sum((np.outer(r, r) - empirical) ** 2) for r in residuals) / count**2
    share = min(error, spread) / spread
    return share * target + (1 - share) * empirical


def residuals_of(bank):
    means = {c: bank.features[bank.labels == c].mean(axis=0) for c in set(bank.labels.tolist())}
    return means, np.array([x - means[c] for x, c in zip(bank.features, bank.labels.tolist(), strict=True)])


def naive_mahalanobis(features, bank, covariance=naive_ledoit_wolf):
    means, residuals = residuals_of(bank)
    inverse = np.linalg.inv(covariance(residuals))
    return [-min(float((x - mean) @ inverse @ (x - mean)) for mean in means.values()) for x in features]


@pytest.mark.parametrize(("shots", "classes"), [(2, 5), (4, 5), (16, 3), (3, 2)])
def test_mahalanobis_against_the_formula(shots, classes):
    bank = bank_of(shots, classes)
    got = score("mahalanobis", QUERIES, bank)
    assert got.dtype == np.float64
    assert got.max() < 0
    np.testing.assert_allclose(got, naive_mahalanobis(QUERIES, bank), rtol=1e-8)


def test_mahalanobis_agrees_with_scikit_learn():
    bank = bank_of(shots=6)
    means, residuals = residuals_of(bank)
    fitted = LedoitWolf(assume_centered=True).fit(residuals)
    expected = -np.min([fitted.mahalanobis(QUERIES - mean) for mean in means.values()], axis=0)
    np.testing.assert_allclose(score("mahalanobis", QUERIES, bank), expected, rtol=1e-9)


def test_mahalanobis_nears_the_published_estimator_with_many_shots():
    """Ledoit-Wolf shrinks less the more shots there are; the empirical covariance is what Lee et al. take."""
    bank = bank_of(shots=3000, classes=3)
    means, residuals = residuals_of(bank)
    fitted = EmpiricalCovariance(assume_centered=True).fit(residuals)
    expected = -np.min([fitted.mahalanobis(QUERIES - mean) for mean in means.values()], axis=0)
    np.testing.assert_allclose(score("mahalanobis", QUERIES, bank), expected, rtol=0.03)


def test_mahalanobis_is_zero_at_a_class_mean():
    bank = bank_of()
    means, _ = residuals_of(bank)
    np.testing.assert_allclose(score("mahalanobis", np.array(list(means.values())), bank), 0, atol=1e-9)


def test_mahalanobis_does_not_see_the_names_of_the_classes():
    bank = bank_of()
    renamed = Bank(bank.features, np.array([900, 3, 17, 5, 0])[bank.labels], 4)
    np.testing.assert_allclose(score("mahalanobis", QUERIES, renamed), score("mahalanobis", QUERIES, bank), rtol=1e-10)


def test_mahalanobis_with_a_constant_feature():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(20, 5))
    values[:, 2] = 0.3
    bank = Bank(values, np.repeat(np.arange(5), 4), 4)
    queries = rng.normal(size=(9, 5))
    np.testing.assert_allclose(score("mahalanobis", queries, bank), naive_mahalanobis(queries, bank), rtol=1e-8)


def test_mahalanobis_with_a_class_of_one_shot_among_others():
    bank = Bank(sample(4, 9), np.array([0, 0, 0, 1, 1, 1, 1, 1, 2]), 5)
    np.testing.assert_allclose(score("mahalanobis", QUERIES, bank), naive_mahalanobis(QUERIES, bank), rtol=1e-8)


def test_mahalanobis_needs_two_shots():
    with pytest.raises(Skip, match="at least 2 shots a class"):
        score("mahalanobis", QUERIES, bank_of(shots=1))


def test_mahalanobis_of_shots_that_are_all_one_image_is_skipped_like_one_shot():
    """The mean of three equal numbers is not always that number: residuals of 1e-17 are none."""
    bank = Bank(np.repeat(sample(5, 4), 3, axis=0), np.repeat(np.arange(4), 3), 3)
    with pytest.raises(Skip, match="at least 2 shots a class"):
        score("mahalanobis", QUERIES, bank)


def test_mahalanobis_of_a_covariance_that_cannot_be_shrunk_is_skipped():
    """All residuals are plus or minus one vector: their outer products do not differ, so nothing is shrunk."""
    centre, step = np.eye(8)[0], 0.25 * np.eye(8)[3]
    bank = Bank(np.array([centre + step, centre - step, -centre + step, -centre - step]), np.array([0, 0, 1, 1]), 2)
    with pytest.raises(Skip, match="singular"):
        score("mahalanobis", QUERIES, bank)


# ------------------------------------------------------------------------------------------------------ both


@pytest.mark.parametrize("name", ["knn", "mahalanobis"])
def test_one_sample_at_a_time_gives_the_same(name):
    bank = bank_of()
    queries = np.concatenate([QUERIES, bank.features])
    alone = np.concatenate([score(name, x[None], bank) for x in queries])
    np.testing.assert_allclose(alone, score(name, queries, bank), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["knn", "mahalanobis"])
def test_the_order_of_samples_and_of_the_bank_does_not_matter(name):
    bank, rng = bank_of(), np.random.default_rng(2)
    rows, others = rng.permutation(30), rng.permutation(20)
    shuffled = Bank(bank.features[others], bank.labels[others], bank.shots)
    np.testing.assert_allclose(
        score(name, QUERIES[rows], shuffled), score(name, QUERIES, bank)[rows], rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("name", ["knn", "mahalanobis"])
def test_far_from_the_bank_scores_lower_than_near_it(name):
    bank = bank_of(shots=8)
    near, far = score(name, np.stack([residuals_of(bank)[0][0], -bank.features.mean(axis=0)]), bank)
    assert near > far


@pytest.mark.parametrize("name", ["knn", "mahalanobis"])
def test_more_samples_than_a_block_of_rows(name):
    queries = sample(1, 4100)
    picked = [0, 4095, 4096, 4099]
    bank = bank_of()
    np.testing.assert_allclose(
        score(name, queries, bank)[picked], score(name, queries[picked], bank), rtol=1e-12, atol=1e-12
    )


def test_by_rows_joins_blocks_in_order():
    seen = []
    got = by_rows(lambda block: seen.append(len(block)) or block.sum(axis=1), np.arange(14.0).reshape(7, 2), rows=3)
    assert seen == [3, 3, 1]
    assert got.tolist() == [1, 5, 9, 13, 17, 21, 25]
    assert by_rows(lambda block: block.sum(axis=1), np.empty((0, 2))).shape == (0,)


def test_normalise_from_tiny_to_huge_norms():
    rows = np.array([[3, 4], [3e-30, 4e-30], [3e37, 4e37], [0, 0]], dtype=np.float32)
    np.testing.assert_allclose(normalise(rows), [[0.6, 0.8]] * 3 + [[0, 0]], rtol=1e-6)
    assert normalise(rows).dtype == np.float64


def test_normalise_does_not_write_into_what_it_is_given():
    rows = np.array([[3.0, 4.0]])
    normalise(rows)
    assert rows.tolist() == [[3, 4]]
