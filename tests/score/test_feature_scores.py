"""Mahalanobis, KNN and what scores of features are made of: edge cases, and scikit-learn's same quantities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from oodgrid import registry
from oodgrid.errors import OodgridError
from oodgrid.score.contract import Bank, Skip, by_rows, group_means, normalise
from oodgrid.score.gaussians import whole_bank
from oodgrid.score.subspaces import principal_dim
from tests.score import feature_world
from tests.score.feature_formulas import class_residuals
from tests.score.feature_world import bank_of, sample, world

QUERIES = sample(0, 30)


def score(name, features, bank, **params):
    return registry.find("score", name).make(features, bank, **params)


# ------------------------------------------------------------------------------------------------------- knn


@pytest.mark.parametrize(("shots", "k"), [(1, 1), (4, 4), (10, 10), (16, 10)])
def test_knn_by_default_takes_the_tenth_neighbour_but_at_most_the_shots(shots, k):
    bank = bank_of(shots=shots)
    np.testing.assert_array_equal(score("knn", QUERIES, bank), score("knn", QUERIES, bank, k=k))
    assert not np.array_equal(score("knn", QUERIES, bank), score("knn", QUERIES, bank, k=k + 1))


def test_knn_agrees_with_scikit_learn():
    bank = bank_of(shots=12)
    distances, _ = NearestNeighbors(n_neighbors=7, algorithm="brute").fit(bank.features).kneighbors(QUERIES)
    np.testing.assert_allclose(score("knn", QUERIES, bank, k=7), -distances[:, -1], rtol=0, atol=1e-12)


def test_knn_of_a_bank_row_itself_is_exactly_zero_alone_or_not():
    bank = bank_of()
    np.testing.assert_array_equal(score("knn", bank.features, bank, k=1), np.zeros(20))
    assert score("knn", bank.features[3:4], bank, k=1)[0] == 0


def test_knn_keeps_all_digits_of_a_twin():
    """2 - 2 cos has no digit of a distance of 1e-9."""
    bank = bank_of()
    twins = bank.features.copy()
    twins[:, 0] += 1e-9
    np.testing.assert_allclose(score("knn", twins, bank, k=1), np.full(20, -1e-9), rtol=1e-6)


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


# ------------------------------------------------------------------------------------------------- Gaussians


def fitted(estimator, deviations):
    return estimator(assume_centered=True).fit(deviations)


@pytest.mark.parametrize(("covariance", "estimator"), [("ledoit_wolf", LedoitWolf), ("empirical", EmpiricalCovariance)])
@pytest.mark.parametrize(("shots", "width"), [(6, 8), (3, 20)])
def test_gaussians_agree_with_scikit_learn(covariance, estimator, shots, width):
    """The second bank has fewer samples than dimensions."""
    bank, queries = bank_of(shots=shots, width=width), sample(0, 30, width)
    means, residuals = class_residuals(bank)
    near = -np.min([fitted(estimator, residuals).mahalanobis(queries - mean) for mean in means.values()], axis=0)
    centre = bank.features.mean(axis=0)
    whole = -fitted(estimator, bank.features - centre).mahalanobis(queries - centre)
    names = ("mahalanobis", "single_gaussian", "relative_mahalanobis")
    got = [score(name, queries, bank, covariance=covariance) for name in names]
    for values, expected in zip(got, (near, whole, near - whole), strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-8)


def test_mahalanobis_nears_the_published_estimator_with_many_shots():
    """Ledoit-Wolf shrinks less the more shots there are; the empirical covariance is what Lee et al. take."""
    bank = bank_of(shots=3000, classes=3)
    published = score("mahalanobis", QUERIES, bank, covariance="empirical")
    np.testing.assert_allclose(score("mahalanobis", QUERIES, bank), published, rtol=0.03)
    few = bank_of(shots=3, classes=3)
    assert not np.allclose(
        score("mahalanobis", QUERIES, few), score("mahalanobis", QUERIES, few, covariance="empirical")
    )


@pytest.mark.parametrize("covariance", ["ledoit_wolf", "empirical"])
def test_mahalanobis_is_zero_at_a_class_mean(covariance):
    """To the square of the rounding, and not to the rounding of a squared norm."""
    bank = bank_of()
    means, _ = class_residuals(bank)
    np.testing.assert_allclose(
        score("mahalanobis", np.array(list(means.values())), bank, covariance=covariance), 0, atol=1e-25
    )


@pytest.mark.parametrize("covariance", ["ledoit_wolf", "empirical"])
def test_a_covariance_of_a_thin_direction_keeps_its_digits(covariance):
    """One direction varies a thousand times less than the others: rounding must not spread there."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(4000, 4)) * np.array([1, 1, 1, 1e-3]) + 5
    bank = Bank(values, np.repeat(np.arange(4), 1000), 1000)
    queries = values[:5] + np.array([0, 0, 0, 0.01])
    means, residuals = class_residuals(bank)
    estimator = fitted(LedoitWolf if covariance == "ledoit_wolf" else EmpiricalCovariance, residuals)
    expected = -np.min([estimator.mahalanobis(queries - mean) for mean in means.values()], axis=0)
    np.testing.assert_allclose(score("mahalanobis", queries, bank, covariance=covariance), expected, rtol=1e-8)


def test_mahalanobis_does_not_see_the_names_of_the_classes():
    bank = bank_of()
    renamed = Bank(bank.features, np.array([900, 3, 17, 5, 0])[bank.labels], 4)
    np.testing.assert_allclose(score("mahalanobis", QUERIES, renamed), score("mahalanobis", QUERIES, bank), rtol=1e-10)


def test_the_total_covariance_is_the_empirical_one_where_nothing_is_shrunk():
    """With many shots Ledoit-Wolf shrinks hardly, and both forms of RMD near each other."""
    bank = bank_of(shots=4000, classes=3)
    published = score("relative_mahalanobis", QUERIES, bank, covariance="empirical")
    np.testing.assert_allclose(score("relative_mahalanobis", QUERIES, bank), published, rtol=0.03, atol=0.3)


def test_relative_mahalanobis_is_blind_to_directions_of_which_the_shots_say_nothing():
    """With covariances shrunk each for itself, the farther along them the higher the score, or the lower."""
    bank = bank_of(shots=3, classes=4, width=20)
    unseen = np.linalg.svd(bank.features)[2][-1]
    moved = sample(3, 10, 20) + np.linspace(0, 2, 10)[:, None] * unseen
    seen = moved - np.outer(moved @ unseen, unseen)
    np.testing.assert_allclose(
        score("relative_mahalanobis", moved, bank), score("relative_mahalanobis", seen, bank), rtol=1e-9
    )
    each = score("relative_mahalanobis", moved, bank, covariance="ledoit_wolf")
    assert np.abs(each - score("relative_mahalanobis", seen, bank, covariance="ledoit_wolf")).max() > 1


def test_single_gaussian_does_not_see_labels():
    bank = bank_of()
    other = Bank(bank.features, np.zeros(20, int), 20)
    np.testing.assert_array_equal(score("single_gaussian", QUERIES, other), score("single_gaussian", QUERIES, bank))


def test_single_gaussian_of_standardised_features_is_the_same():
    """SSD's code standardises first; a full covariance undoes that."""
    bank = bank_of(shots=8)
    scaler = StandardScaler().fit(bank.features)
    standard = Bank(scaler.transform(bank.features), bank.labels, 8)
    got = whole_bank(scaler.transform(QUERIES), standard, covariance="empirical")  # the score normalises what is not
    np.testing.assert_allclose(-got, score("single_gaussian", QUERIES, bank, covariance="empirical"), rtol=1e-9)


@pytest.mark.parametrize("name", ["mahalanobis", "relative_mahalanobis"])
def test_a_tied_covariance_needs_two_shots(name):
    with pytest.raises(Skip, match="at least 2 shots a class"):
        score(name, QUERIES, bank_of(shots=1))


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
    published = score("mahalanobis", QUERIES, bank, covariance="empirical")
    np.testing.assert_allclose(published, -((QUERIES[:, 3] / 0.25) ** 2), rtol=1e-9)


def test_single_gaussian_needs_two_samples_that_differ():
    bank = Bank(np.repeat(sample(5, 1), 3, axis=0), np.arange(3), 1)
    with pytest.raises(Skip, match="at least 2 samples that differ"):
        score("single_gaussian", QUERIES, bank)


# ------------------------------------------------------------------------------------------------ subspaces


def test_neco_agrees_with_scikit_learn():
    made = world(shots=12, width=20)
    scaler = StandardScaler().fit(made.bank.features)
    axes = PCA(n_components=5).fit(scaler.transform(made.bank.features))
    standard = scaler.transform(made.features)
    ratio = np.linalg.norm(axes.transform(standard), axis=1) / np.linalg.norm(standard, axis=1)
    np.testing.assert_allclose(feature_world.score("neco", made, dim=5), ratio * made.logits.max(axis=1), rtol=1e-10)


def test_residual_agrees_with_the_reconstruction_of_scikit_learn():
    """PCA of a bank with every sample's negative beside it is about 0."""
    bank = bank_of(shots=12)
    axes = PCA(n_components=3).fit(np.concatenate([bank.features, -bank.features]))
    outside = QUERIES - axes.inverse_transform(axes.transform(QUERIES))
    np.testing.assert_allclose(score("residual", QUERIES, bank, dim=3), -np.linalg.norm(outside, axis=1), rtol=1e-9)


@pytest.mark.parametrize(
    ("width", "rank", "dim"),
    [(2048, 2048, 1000), (1024, 1024, 512), (768, 768, 512), (512, 512, 256), (512, 100, 50), (768, 3, 2), (512, 1, 1)],
)
def test_default_dimension_of_the_principal_space(width, rank, dim):
    """Published by width; a bank that spans less has the same share of what it spans."""
    assert principal_dim(width, rank) == dim


@pytest.mark.parametrize(("shots", "dim"), [(30, 64), (10, 25), (2, 5)])
def test_the_default_dimension_counts_what_the_bank_spans(shots, dim):
    bank = bank_of(shots=shots, width=128)
    queries = sample(2, 3, 128)
    np.testing.assert_array_equal(score("residual", queries, bank), score("residual", queries, bank, dim=dim))


def test_vim_of_a_principal_space_that_holds_the_bank_is_skipped_and_residual_is_not():
    made = world(shots=1, classes=4, width=16)
    assert feature_world.score("residual", made, dim=4).max() < -0.01
    with pytest.raises(Skip, match="no residuals"):
        feature_world.score("vim", made, dim=4)
    for name in ("residual", "vim"):
        with pytest.raises(Skip, match="principal space of 5 dimensions, of 4"):
            feature_world.score(name, made, dim=5)


# -------------------------------------------------------------------------------------------------- contract


@pytest.mark.parametrize("groups", [[0, 1, 0, 2, 2, 2], [2, 2, 2, 2, 2, 2], [3, 0, 3, 0, 3, 0]])
def test_means_of_groups(groups):
    values = sample(4, 6)
    got = group_means(values, np.array(groups), 4)
    for group in range(4):
        rows = [value for value, of in zip(values, groups, strict=True) if of == group]
        np.testing.assert_allclose(got[group], np.mean(rows, axis=0) if rows else np.zeros(8), rtol=1e-15, atol=1e-16)


def test_the_mean_of_one_sample_is_that_sample():
    bank = Bank(sample(6, 5), np.array([4, 2, 9, 0, 1]), 1)
    np.testing.assert_array_equal(bank.means, bank.features[[3, 4, 1, 0, 2]])


def test_by_rows_joins_blocks_in_order():
    seen = []
    got = by_rows(lambda block: seen.append(len(block)) or block.sum(axis=1), np.arange(14.0).reshape(7, 2), rows=3)
    assert seen == [3, 3, 1]
    assert got.tolist() == [1, 5, 9, 13, 17, 21, 25]
    assert by_rows(lambda block: block.sum(axis=1), np.empty((0, 2))).shape == (0,)
    with pytest.raises(OodgridError, match="by_rows takes arrays, and 3 is none: write rows=3"):
        by_rows(lambda block: block.sum(axis=1), np.ones((7, 2)), 3)  # as plugins wrote it before


def test_normalise_from_tiny_to_huge_norms():
    rows = np.array([[3, 4], [3e-30, 4e-30], [3e37, 4e37], [0, 0]], dtype=np.float32)
    np.testing.assert_allclose(normalise(rows), [[0.6, 0.8]] * 3 + [[0, 0]], rtol=1e-6)
    assert normalise(rows).dtype == np.float64


def test_normalise_does_not_write_into_what_it_is_given():
    rows = np.array([[3.0, 4.0]])
    normalise(rows)
    assert rows.tolist() == [[3, 4]]
