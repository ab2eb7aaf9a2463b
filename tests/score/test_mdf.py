"""MDF: against loops and a plain solver of its support vector machine, its identities, and from texts to a score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oodgrid import scores
from oodgrid.errors import OodgridError, Skip
from oodgrid.registry import check_params, find
from oodgrid.score.contract import Bank
from oodgrid.score.scores.mdf import mdf, normal, of_layers
from oodgrid.score.scores.single_gaussian import single_gaussian
from tests.score.feature_formulas import empirical, ledoit_wolf, mean_of

optimize = pytest.importorskip("scipy.optimize")


def bank_of(shots=30, layers=3, width=5, seed=0):
    """Return a bank of one class, its layers of different scales and means, the embeddings first."""
    rng = np.random.default_rng(seed)
    scales, means = 10.0 ** rng.uniform(-1, 1, (1 + layers, width)), rng.normal(size=(1 + layers, width))
    values = means + scales * rng.normal(size=(shots, 1 + layers, width))
    return Bank(values[:, -1], np.zeros(shots, np.int32), shots, layers=values)


def samples_of(bank, count=12, seed=1):
    rng = np.random.default_rng(seed)
    return bank.layers.mean(axis=0) + 3 * bank.layers.std(axis=0) * rng.normal(size=(count, *bank.layers.shape[1:]))


def naive_distances(values, known, covariance):
    """Squared distances (N, layers) of samples from the Gaussian of each layer but the first, one at a time."""
    found = np.empty((len(values), known.shape[1] - 1))
    for layer in range(1, known.shape[1]):
        mean = mean_of(known[:, layer])
        off = known[:, layer] - mean
        inverse = np.linalg.inv(empirical(off) if covariance == "empirical" else ledoit_wolf(off))
        for i, x in enumerate(values[:, layer]):
            found[i, layer - 1] = (x - mean) @ inverse @ (x - mean)
    return found


def naive_normal(distances, nu):
    """The dual of the one-class SVM by a solver for anything smooth: min a K a / 2, 0 <= a <= 1 / (nu n), sum a = 1."""
    count = len(distances)
    kernel = distances @ distances.T / (distances**2).mean()
    found = optimize.minimize(
        lambda a: a @ kernel @ a / 2, np.full(count, 1 / count), jac=lambda a: kernel @ a, method="SLSQP",
        bounds=[(0, 1 / (nu * count))] * count, constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
        options={"ftol": 1e-15, "maxiter": 2000},
    )  # fmt: skip
    weights = found.x @ distances
    return weights / weights.sum()


@pytest.mark.parametrize("nu", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("covariance", ["ledoit_wolf", "empirical"])
@pytest.mark.parametrize(("shots", "layers"), [(20, 3), (12, 1), (16, 6)])
def test_against_the_formula(shots, layers, covariance, nu):
    bank = bank_of(shots, layers, seed=shots)
    values = samples_of(bank)
    weights = naive_normal(naive_distances(bank.layers, bank.layers, covariance), nu)
    expected = -(naive_distances(values, bank.layers, covariance) @ weights)
    got = mdf(values, bank, covariance=covariance, nu=nu)
    assert got.shape == (12,) and got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=2e-5)
    equal = -naive_distances(values, bank.layers, covariance).mean(axis=1)
    np.testing.assert_allclose(mdf(values, bank, covariance=covariance, combine="mean"), equal, rtol=1e-9)


def test_distances_are_those_of_scikit_learn():
    from sklearn.covariance import EmpiricalCovariance

    bank = bank_of(50, 4)
    values = samples_of(bank)
    theirs = [EmpiricalCovariance().fit(bank.layers[:, layer]).mahalanobis(values[:, layer]) for layer in range(1, 5)]
    got = mdf(values, bank, covariance="empirical", combine="mean")
    np.testing.assert_allclose(got, -np.mean(theirs, axis=0), rtol=1e-10)


def test_at_nu_1_weights_are_the_mean_distances_of_the_bank():
    bank = bank_of()
    own = naive_distances(bank.layers, bank.layers, "ledoit_wolf").mean(axis=0)
    np.testing.assert_allclose(normal(bank, covariance="ledoit_wolf", nu=1.0), own / own.sum(), rtol=1e-9)
    # of the empirical covariance they are the rank of each layer, whatever its scale
    np.testing.assert_allclose(normal(bank, covariance="empirical", nu=1.0), np.full(3, 1 / 3), rtol=1e-9)


def test_one_layer_alone_is_the_single_gaussian_of_it():
    bank = bank_of(layers=1)
    values = samples_of(bank)
    directions = bank.layers[:, 1] / np.linalg.norm(bank.layers[:, 1], axis=1, keepdims=True)
    layers = np.stack([bank.layers[:, 0], directions], axis=1)
    values[:, 1] /= np.linalg.norm(values[:, 1], axis=1, keepdims=True)
    got = mdf(values, replace(bank, layers=layers))
    np.testing.assert_allclose(got, single_gaussian(values[:, 1], Bank(directions, bank.labels, 30)), rtol=1e-10)


def test_the_sign_is_fixed_whatever_nu_is():
    """The plane of a linear one-class SVM takes what is far from 0 for the class: theirs turns it by test AUROC."""
    bank = bank_of(60, 4)
    for nu in (1e-9, 0.02, 0.5, 1.0):
        weights = normal(bank, covariance="empirical", nu=nu)
        assert (weights >= 0).all() and weights.sum() == pytest.approx(1)
        near, far = bank.layers.mean(axis=0), bank.layers.mean(axis=0) + 10
        assert np.diff(mdf(np.stack([near, far]), bank, covariance="empirical", nu=nu))[0] < 0


def test_what_does_not_matter():
    bank = bank_of()
    values, expected = samples_of(bank), mdf(samples_of(bank), bank)
    rng = np.random.default_rng(3)
    order = rng.permutation(30)
    shuffled = Bank(bank.features[order], rng.integers(0, 4, 30), 2, layers=bank.layers[order])
    np.testing.assert_allclose(mdf(values, shuffled), expected, rtol=1e-6)  # nor labels
    other = bank.layers.copy()
    other[:, 0] = 0  # the embeddings
    np.testing.assert_array_equal(mdf(values, replace(bank, layers=other)), expected)
    turn, scale = np.linalg.qr(rng.normal(size=(5, 5)))[0], np.array([1, 10, 0.1, 5])[:, None]
    turned = mdf((values * scale) @ turn, replace(bank, layers=(bank.layers * scale) @ turn))
    np.testing.assert_allclose(turned, expected, rtol=1e-6)
    rows = np.concatenate([mdf(values[i : i + 1], bank) for i in range(12)])
    np.testing.assert_allclose(rows, expected, rtol=1e-12)
    assert mdf(values[:0], bank).shape == (0,)
    assert of_layers(bank) is of_layers(bank)
    bent = rng.normal(size=(5, 5))  # any map that can be undone, where the covariance is not shrunk
    published = {"covariance": "empirical"}
    np.testing.assert_allclose(
        mdf(values @ bent, replace(bank, layers=bank.layers @ bent), **published), mdf(values, bank, **published),
        rtol=1e-5,
    )  # fmt: skip


def test_fewer_samples_than_dimensions():
    bank = bank_of(shots=4, width=40)
    assert np.isfinite(mdf(samples_of(bank), bank)).all()
    outside = samples_of(bank)
    assert (mdf(outside, bank) < mdf(outside, bank, covariance="empirical")).all()  # which sees nothing beyond the span


def test_what_makes_no_sense_is_skipped_or_refused():
    bank = bank_of()
    with pytest.raises(Skip, match="every layer gives of the labelled samples"):
        mdf(samples_of(bank), replace(bank, layers=None))
    for combine in ("svm", "mean"):
        with pytest.raises(Skip, match="a layer beside the embeddings"):
            mdf(samples_of(bank)[:, :1], replace(bank, layers=bank.layers[:, :1]), combine=combine)
    with pytest.raises(Skip, match="at least 2 samples that differ"):
        mdf(samples_of(bank), replace(bank, layers=np.ones_like(bank.layers)))
    for nu in (0, -0.1, 1.5):
        with pytest.raises(OodgridError, match=r"score mdf: nu = .* does not fit"):
            check_params("score", "mdf", {"nu": nu})
    assert find("score", "mdf").on_features and find("score", "mdf").makes_of_one


def test_of_arrays():
    bank = bank_of()
    values = samples_of(bank)
    train = {"train_features": bank.features, "train_labels": bank.labels, "train_layer_features": bank.layers}
    got = scores.mdf(layer_features=values, **train)
    np.testing.assert_array_equal(got, mdf(values, bank))
    mean = scores.mdf(layer_features=values, combine="mean", **train)
    np.testing.assert_array_equal(mean, mdf(values, bank, combine="mean"))
    found, _ = scores.all_scores(values[:, -1], layer_features=values, **train)
    np.testing.assert_array_equal(found["mdf"], got)
    assert "mdf" in scores.all_scores(values[:, -1])[1]
