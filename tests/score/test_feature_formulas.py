"""Every score of features against its formula in loops, in ordinary worlds and in odd ones."""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid.errors import OodgridError
from oodgrid.registry import check_params
from oodgrid.score.contract import Skip, normalise
from tests.score import feature_formulas
from tests.score.feature_world import NAMES, score, world, world_of


def constant_feature():
    small = world(samples=9, classes=4)
    bank = small.bank.features.copy()
    bank[:, 2] = 0
    bank = normalise(bank) * np.sqrt(1 - 0.3**2)
    bank[:, 2] = 0.3
    return small.with_bank(bank, small.bank.labels)


def duplicated_rows():
    small = world(samples=6)
    twice = np.repeat(small.bank.features, 2, axis=0)
    return world_of(np.repeat(small.features, 2, axis=0), small.head.weights, twice, np.repeat(small.bank.labels, 2), 8)


def names_twice():
    """Two classes have one prototype, as "missile" and "sunglasses" in ImageNet's public list of names."""
    small = world(samples=12)
    weights = small.head.weights.copy()
    weights[3] = weights[1]
    return world_of(small.features, weights, small.bank.features, small.bank.labels, 4)


def class_without_shots():
    small = world(samples=20, classes=4)
    kept = small.bank.labels != 2
    return small.with_bank(small.bank.features[kept], small.bank.labels[kept])


def zero_rows():
    small = world(samples=8)
    features = small.features.copy()
    features[[2, 5]] = 0
    return world_of(features, small.head.weights, small.bank.features, small.bank.labels, 4)


def bank_rows_as_samples():
    small = world()
    return world_of(small.bank.features, small.head.weights, small.bank.features, small.bank.labels, 4)


def one_image():
    """All shots are one image: nothing that needs a spread can be estimated."""
    small = world(samples=5)
    return small.with_bank(np.repeat(small.bank.features[:1], 20, axis=0), small.bank.labels)


WORLDS = {
    "ordinary": lambda: world(),
    "wide, with more shots": lambda: world(shots=16, classes=3, width=24, seed=3),
    "a bias": lambda: world(bias=np.array([0.1, -0.2, 0.05, 0.0, 0.3]), seed=5),
    "a bias, fewer classes than dimensions": lambda: world(classes=3, bias=np.array([0.1, -0.2, 0.05]), seed=6),
    "much noise, so that classes are confused": lambda: world(noise=1.5, classes=7, shots=2, seed=8),
    "one sample": lambda: world(samples=1),
    "one class": lambda: world(classes=1, shots=6),
    "one shot a class": lambda: world(shots=1, classes=6),
    "bank smaller than the dimensions": lambda: world(shots=3, classes=2, width=16),
    "two samples in the bank": lambda: world(shots=1, classes=2),
    "constant feature": constant_feature,
    "duplicated rows": duplicated_rows,
    "two names alike": names_twice,
    "class without shots": class_without_shots,
    "zero rows": zero_rows,
    "bank rows as samples": bank_rows_as_samples,
    "one image": one_image,
}


def expect(name, made, **params):
    formula = getattr(feature_formulas, name)
    expected = [formula(made, i, **params) for i in range(len(made.features))]
    if expected[0] is None:
        with pytest.raises(Skip):
            score(name, made, **params)
        return
    got = score(name, made, **params)
    assert got.shape == (len(made.features),)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", WORLDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_score_against_its_formula(name, kind):
    expect(name, WORLDS[kind]())


PARAMS = {
    "mahalanobis": [{"covariance": "empirical"}],
    "relative_mahalanobis": [{"covariance": "empirical"}, {"covariance": "ledoit_wolf"}],
    "single_gaussian": [{"covariance": "empirical"}],
    "knn": [{"k": k} for k in (1, 3, 20, 21)],
    "nnguide": [{"k": 1}, {"k": 20}, {"k": 500}, {"T": 1.0}],
    "ora": [{"boundary": "sphere"}],
    "nci": [{"alpha": 0.0}, {"alpha": 0.1}],
    "neco": [{"dim": d} for d in (1, 3, 8, 9)],
    "cadref": [{"T": 1.0}, {"T": 0.1}],
    "residual": [{"dim": d} for d in (1, 7, 8)],
    "vim": [{"dim": 1}, {"dim": 7}, {"dim": 8}, {"T": 1.0}],
    "relation": [{"power": 4.0}, {"threshold": 0.0}, {"threshold": 0.5}, {"T": 1.0}, {"T": 1.0, "threshold": 0.0}],
}


@pytest.mark.parametrize("kind", ["ordinary", "a bias", "one sample", "bank smaller than the dimensions"])
@pytest.mark.parametrize(("name", "params"), [(name, params) for name, many in PARAMS.items() for params in many])
def test_parameters_against_the_formula(name, params, kind):
    expect(name, WORLDS[kind](), **check_params("score", name, params))


def test_which_scores_are_skipped_where():
    assert skipped(WORLDS["one shot a class"]()) == {"mahalanobis", "relative_mahalanobis"}
    assert skipped(WORLDS["one class"]()) == {"fdbd", "ora"}
    assert skipped(WORLDS["ordinary"]()) == set()
    assert skipped(WORLDS["one image"]()) == {
        *("mahalanobis", "relative_mahalanobis", "single_gaussian", "neco", "vim")
    }


def skipped(made):
    found = set()
    for name in NAMES:
        try:
            score(name, made)
        except Skip:
            found.add(name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_norms_before_normalising_change_nothing(name):
    raw = np.random.default_rng(3).normal(size=(12, 8)).astype(np.float32)
    raw *= np.logspace(-18, 18, 12, dtype=np.float32)[:, None]
    small = world()
    made = world_of(normalise(raw), small.head.weights, small.bank.features, small.bank.labels, 4)
    level = raw.astype(np.float64) / np.abs(raw).max(axis=1, keepdims=True)
    same = world_of(normalise(level), small.head.weights, small.bank.features, small.bank.labels, 4)
    np.testing.assert_allclose(score(name, made), score(name, same), rtol=1e-9)
    expect(name, made)


@pytest.mark.parametrize("name", ["she", "nnguide", "caref", "cadref", "vim", "relation"])
def test_methods_without_logits_of_their_shots_are_skipped(name):
    made = world()
    object.__setattr__(made.bank, "logits", None)
    with pytest.raises(Skip, match="no logits of its shots"):
        score(name, made)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("mahalanobis", {"covariance": "oas"}),
        ("knn", {"k": 0}),
        ("knn", {"k": -3}),
        ("nnguide", {"T": 0}),
        ("vim", {"dim": 0}),
        ("relation", {"threshold": -0.1}),
        ("nci", {"alpha": -1e-4}),
    ],
)
def test_parameters_out_of_range_are_refused(name, params):
    with pytest.raises(OodgridError, match=f"score {name}: {next(iter(params))} = .* does not fit"):
        check_params("score", name, params)
