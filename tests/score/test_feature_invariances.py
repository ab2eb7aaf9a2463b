"""What must not change a score of features, and how the scores hang together."""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid.registry import find
from oodgrid.score.contract import Bank, Head, log_normaliser
from oodgrid.score.gaussians import whitening
from oodgrid.score.sharing import frozen
from tests.score.feature_world import NAMES, World, score, world, world_of

UNROTATED = {"nci", "neco", "caref", "cadref"}  # L1 norms, signs, or a scale of every dimension
VARIANTS = [(name, {}) for name in NAMES] + [
    (name, {"covariance": "empirical"}) for name in ("mahalanobis", "relative_mahalanobis", "single_gaussian")
]
VARIANTS.append(("ora", {"boundary": "sphere"}))


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11)


@pytest.fixture
def made():
    """Classes that are confused now and then, a head with a bias, more shots than dimensions."""
    return world(shots=6, classes=7, width=10, samples=40, seed=2, noise=0.6, bias=0.01 * np.arange(7.0))


@pytest.mark.parametrize(("name", "params"), VARIANTS)
def test_one_sample_at_a_time_gives_the_same(name, params, made):
    alone = np.concatenate([score(name, made.rows(slice(i, i + 1)), **params) for i in range(40)])
    close(alone, score(name, made, **params))


@pytest.mark.parametrize("name", NAMES)
def test_more_samples_than_a_block_of_rows(name, made):
    rows = np.random.default_rng(0).integers(0, 40, 300)
    close(score(name, made.rows(rows)), score(name, made)[rows])


@pytest.mark.parametrize("name", NAMES)
def test_no_samples_have_no_scores(name, made):
    assert score(name, made.rows(slice(0, 0))).shape == (0,)


@pytest.mark.parametrize(("name", "params"), VARIANTS)
def test_the_order_of_samples_and_of_the_bank_does_not_matter(name, params, made):
    rng = np.random.default_rng(1)
    rows, others = rng.permutation(40), rng.permutation(42)
    shuffled = made.rows(rows).with_bank(made.bank.features[others], made.bank.labels[others])
    close(score(name, shuffled, **params), score(name, made, **params)[rows])


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_classes_does_not_matter(name, made):
    order = np.random.default_rng(4).permutation(7)
    head = made.head
    other = world_of(
        made.features, head.weights[order], made.bank.features, np.argsort(order)[made.bank.labels], 6, head.bias[order]
    )
    close(score(name, other), score(name, made))


@pytest.mark.parametrize(("name", "params"), VARIANTS)
def test_a_rotation_of_the_feature_space(name, params, made):
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(10, 10)))
    head, bank = made.head, made.bank
    turned = world_of(made.features @ turn, head.weights @ turn, bank.features @ turn, bank.labels, 6, head.bias)
    same = np.allclose(score(name, turned, **params), score(name, made, **params), rtol=1e-8, atol=1e-10)
    assert same == (name not in UNROTATED)


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_the_classes_score_higher_than_random_directions(name):
    made = world(shots=8, classes=5, width=32, samples=60, noise=0.1)
    far = np.random.default_rng(6).normal(size=(200, 32))
    far /= np.linalg.norm(far, axis=1, keepdims=True)
    values = score(name, made), score(name, World(far, made.head.logits(far), made.head, made.bank))
    assert np.mean(values[0][:, None] > values[1]) > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shared_is_what_is_computed(name, made):
    """The stage hands out arrays that cannot be written to, and only of those anything is remembered."""
    for array in (made.features, made.logits, made.bank.features, made.bank.logits):
        frozen(array)
    frozen(made.head.weights)
    for other in NAMES:
        score(other, made)
    bank = made.bank
    fresh = World(
        made.features.copy(),
        made.logits.copy(),
        Head(made.head.weights.copy(), made.head.bias),
        Bank(bank.features.copy(), bank.labels, bank.shots, bank.logits.copy()),
    )
    np.testing.assert_array_equal(score(name, made), score(name, fresh))


@pytest.mark.parametrize("name", NAMES)
def test_scores_that_need_no_head_and_no_logits_stand_under_any(name):
    alone = {"mahalanobis", "relative_mahalanobis", "single_gaussian", "knn", "residual"}
    assert find("score", name).on_features == (name in alone)
    assert find("score", name).family == "features"
    assert "github.com" in find("score", name).paper or "gitlab.com" in find("score", name).paper


# ----------------------------------------------------------------------------------------------- identities


@pytest.mark.parametrize("covariance", ["ledoit_wolf", "empirical"])
def test_relative_mahalanobis_is_mahalanobis_less_single_gaussian(covariance, made):
    parts = score("mahalanobis", made, covariance=covariance) - score("single_gaussian", made, covariance=covariance)
    close(score("relative_mahalanobis", made, covariance=covariance), parts)


def test_vim_without_bias_is_energy_less_alpha_residual():
    made = world(seed=4)
    energies = log_normaliser(made.logits, T=0.01)
    virtual = energies - score("vim", made)
    ratio = virtual / -score("residual", made)
    own = world_of(made.bank.features, made.head.weights, made.bank.features, made.bank.labels, 4)
    close(ratio, np.full(30, own.logits.max(axis=1).mean() / -score("residual", own).mean()))


def test_vim_of_a_bias_is_that_of_moved_features():
    """Logits W x + b are W (x - u) where b lies in the range of W: the same without bias about another origin."""
    made = world(seed=4, classes=3, bias=np.array([0.2, -0.1, 0.05]))
    origin = -np.linalg.pinv(made.head.weights) @ made.head.bias
    moved = world_of(made.features - origin, made.head.weights, made.bank.features - origin, made.bank.labels, 4)
    close(score("vim", made), score("vim", moved))


def test_cadref_of_one_energy_is_caref_over_it():
    """Every logit 0.3 makes every energy one number; then both parts are divided by it."""
    made = world(seed=9)
    logits, bank = np.full_like(made.logits, 0.3), made.bank
    level = World(made.features, logits, made.head, Bank(bank.features, bank.labels, 4, np.full((20, 5), 0.3)))
    close(score("cadref", level), score("caref", level) / (0.3 + 0.01 * np.log(5)))


def test_relation_without_threshold_under_one_class_is_the_sum_of_positive_cosines():
    made = world(classes=1, shots=9)
    cosines = made.features @ made.bank.features.T
    close(score("relation", made, threshold=0.0), cosines.clip(min=0).sum(axis=1))


def test_nnguide_of_the_nearest_under_one_class():
    made = world(classes=1, shots=1)
    energies = made.logits[:, 0] * made.bank.logits[0, 0]
    close(score("nnguide", made), energies * (made.features @ made.bank.features[0]))


def test_she_of_a_bank_that_is_classified_well_is_the_cosine_with_the_class_mean():
    made = world(noise=0.05)
    assert (made.bank.logits.argmax(axis=1) == made.bank.labels).all()
    means = made.bank.means[made.logits.argmax(axis=1)]
    close(score("she", made), (made.features * means).sum(axis=1))


def test_all_scores_of_cosines_rank_like_those_of_a_hundredfold():
    """T = .01 on cosines is T = 1 on CLIP's 100 cos: the same order of samples."""
    made = world(seed=11)
    head = Head(100 * made.head.weights, made.head.bias)
    bank = Bank(made.bank.features, made.bank.labels, 4, 100 * made.bank.logits)
    scaled = World(made.features, 100 * made.logits, head, bank)
    close(score("nnguide", scaled, T=1.0), 1e4 * score("nnguide", made))
    close(score("vim", scaled, T=1.0), 1e2 * score("vim", made))
    close(score("cadref", scaled, T=1.0), 1e-2 * score("cadref", made))
    close(score("relation", scaled, T=1.0), score("relation", made))
    close(score("nci", scaled, alpha=0.01), 1e2 * score("nci", made))
    close(score("fdbd", scaled), score("fdbd", made))
    close(score("ora", scaled), score("ora", made))
    close(score("neco", scaled), 1e2 * score("neco", made))


def test_fdbd_is_a_ratio_of_the_sines_of_two_angles_of_which_ora_is_one():
    """The law of sines in the triangle of x, mu and the boundary of two classes, as ORA's paper has it."""
    made = world(classes=2, seed=12)
    gap = made.head.weights[0] - made.head.weights[1]
    off = ((made.logits[:, 0] - made.logits[:, 1]) / (gap @ gap))[:, None] * gap
    to_mean = made.bank.centre - (made.features - off)
    cosine = np.einsum("nd,nd->n", off, to_mean) / np.linalg.norm(off, axis=1) / np.linalg.norm(to_mean, axis=1)
    close(score("fdbd", made), np.sin(np.pi * score("ora", made)) / np.sqrt(1 - cosine**2))


@pytest.mark.parametrize(("mean", "angle"), [([0.5, -0.5], 0.25), ([0.8, 0.2], 1.0), ([0.0, 1.0], 0.0)])
def test_ora_by_hand(mean, angle):
    """Of (1, 0) under the axes as weights the boundary is at (.5, .5): seen from mu at 45°, opposite, and in line."""
    made = world_of(np.array([[1.0, 0.0], [0.6, 0.6]]), np.eye(2), np.array([mean, mean]), np.array([0, 1]), 1)
    np.testing.assert_allclose(score("ora", made), [angle, 0], atol=1e-7)


def test_in_whitened_coordinates_the_covariance_is_the_identity():
    made = world(shots=20)
    white = whitening(made.bank, tied=True, covariance="empirical").coordinates(made.bank.residuals)
    np.testing.assert_allclose(white.T @ white / 100, np.eye(8), atol=1e-12)
