"""Scores of logits against their formulas, written out with loops in plain Python floats."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oodgrid import registry
from oodgrid.errors import OodgridError

RNG = np.random.default_rng(0)
COSINES = np.clip(RNG.normal(0.2, 0.05, size=(40, 7)), -1, 1)


def softmax_of(row, T):
    top = max(row)
    shares = [math.exp((value - top) / T) for value in row]
    return [share / math.fsum(shares) for share in shares]


def naive_mcm(row, T):
    return max(softmax_of(row, T))


def naive_entropy(row, T):
    return math.fsum(p * math.log(p) for p in softmax_of(row, T) if p > 0)


def naive_energy(row, T):
    top = max(row)
    return top + T * math.log(math.fsum(math.exp((value - top) / T) for value in row))


NAIVE = {"mcm": naive_mcm, "msp": naive_mcm, "entropy": naive_entropy, "energy": naive_energy}
DEFAULT_T = {"mcm": 1.0, "msp": 0.01, "entropy": 0.01, "energy": 0.01}
ALL = [*NAIVE, "max_logit"]


def score(name, logits, **params):
    return registry.find("score", name).make(np.asarray(logits, dtype=np.float64), **params)


@pytest.mark.parametrize("T", [None, 0.01, 0.1, 1.0, 20.0])
@pytest.mark.parametrize("name", NAIVE)
def test_against_the_formula(name, T):
    expected = [NAIVE[name](row.tolist(), DEFAULT_T[name] if T is None else T) for row in COSINES]
    got = score(name, COSINES, **({} if T is None else {"T": T}))
    assert got.shape == (40,)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


def test_max_logit_against_the_formula():
    assert score("max_logit", COSINES).tolist() == [max(row) for row in COSINES.tolist()]


def test_numbers_done_by_hand():
    logits = [[0.0, math.log(3.0)], [0.5, 0.5]]
    np.testing.assert_allclose(score("mcm", logits), [0.75, 0.5], rtol=1e-15)
    np.testing.assert_allclose(score("msp", logits, T=1.0), [0.75, 0.5], rtol=1e-15)
    entropies = [0.25 * math.log(0.25) + 0.75 * math.log(0.75), -math.log(2)]
    np.testing.assert_allclose(score("entropy", logits, T=1.0), entropies, rtol=1e-14)
    np.testing.assert_allclose(score("energy", logits, T=1.0), [math.log(4), 0.5 + math.log(2)], rtol=1e-15)
    np.testing.assert_allclose(score("energy", logits, T=2.0)[1], 0.5 + 2 * math.log(2), rtol=1e-15)


@pytest.mark.parametrize("name", ALL)
def test_a_sure_prediction_scores_higher_than_an_unsure_one(name):
    sure, unsure = score(name, [[0.35, 0.1, 0.1, 0.1], [0.2, 0.2, 0.2, 0.2]])
    assert sure > unsure


@pytest.mark.parametrize("name", ALL)
def test_one_sample_at_a_time_gives_the_same(name):
    together = score(name, COSINES)
    alone = np.concatenate([score(name, row[None]) for row in COSINES])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_samples_and_of_classes_does_not_matter(name):
    rows, columns = RNG.permutation(40), RNG.permutation(7)
    np.testing.assert_allclose(score(name, COSINES[rows][:, columns]), score(name, COSINES)[rows], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["mcm", "msp", "entropy"])
def test_scores_of_a_softmax_do_not_see_a_shift_of_all_logits(name):
    np.testing.assert_allclose(score(name, COSINES + 3.25), score(name, COSINES), rtol=1e-11)


@pytest.mark.parametrize("name", ["max_logit", "energy"])
def test_scores_of_magnitude_move_with_a_shift_of_all_logits(name):
    np.testing.assert_allclose(score(name, COSINES + 3.25), score(name, COSINES) + 3.25, rtol=1e-13)


def test_energy_lies_between_the_largest_logit_and_log_k_above_it():
    largest = COSINES.max(axis=1)
    for T in (0.01, 0.3, 1.0):
        energy = score("energy", COSINES, T=T)
        assert np.all(energy > largest - 1e-15)
        assert np.all(energy <= largest + T * math.log(7))
    np.testing.assert_allclose(score("energy", np.full((2, 7), 0.25), T=0.3), 0.25 + 0.3 * math.log(7), rtol=1e-15)


def test_mcm_and_msp_are_one_formula_at_two_temperatures():
    np.testing.assert_array_equal(score("mcm", COSINES, T=0.01), score("msp", COSINES))
    np.testing.assert_array_equal(score("msp", COSINES, T=1.0), score("mcm", COSINES))


def test_temperature_on_cosines_is_that_of_a_hundred_times_larger_logits():
    np.testing.assert_allclose(score("msp", COSINES), score("msp", 100 * COSINES, T=1.0), rtol=1e-12)
    np.testing.assert_allclose(score("energy", COSINES), score("energy", 100 * COSINES, T=1.0) / 100, rtol=1e-12)


def test_bounds_of_the_softmax_scores():
    assert np.all((score("mcm", COSINES) > 1 / 7) & (score("mcm", COSINES) < 1))
    assert np.all((score("entropy", COSINES) >= -math.log(7)) & (score("entropy", COSINES) <= 0))


@pytest.mark.parametrize(
    ("name", "value"), [("mcm", 1), ("msp", 1), ("entropy", 0), ("energy", 0.3), ("max_logit", 0.3)]
)
def test_one_class_only(name, value):
    np.testing.assert_allclose(score(name, [[0.3], [0.3]]), [value, value], atol=1e-15)


@pytest.mark.parametrize(
    ("name", "value"),
    [("mcm", 0.2), ("msp", 0.2), ("entropy", -math.log(5)), ("energy", 0.1 + 0.01 * math.log(5)), ("max_logit", 0.1)],
)
def test_ties_between_all_classes(name, value):
    np.testing.assert_allclose(score(name, np.full((3, 5), 0.1)), value, rtol=1e-14)


@pytest.mark.parametrize("size", [1e-30, 1e4, 1e30])
@pytest.mark.parametrize("name", ALL)
def test_huge_and_tiny_logits_stay_finite(name, size):
    got = score(name, [[size, -size, 0.0], [-size, -size, -size]])
    assert np.isfinite(got).all()
    if size >= 1e4:
        expected = {"mcm": (1, 1 / 3), "msp": (1, 1 / 3), "entropy": (0, -math.log(3))}.get(name, (size, -size))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-12)


def test_mcm_at_t_1_over_1000_classes_keeps_its_distinct_values():
    """In float16 there would be some hundred values left; the order of all samples must survive."""
    cosines = np.random.default_rng(1).normal(0.2, 0.03, size=(2000, 1000))
    got = score("mcm", cosines)
    assert 0.00100 < got.min() < got.max() < 0.00130
    assert len(np.unique(got)) == 2000


@pytest.mark.parametrize("name", NAIVE)
@pytest.mark.parametrize("T", [0, -1.0, float("nan")])
def test_a_temperature_must_be_positive(name, T):
    with pytest.raises(OodgridError, match=rf"score {name}: T = .* does not fit: Input should be greater than 0"):
        registry.check_params("score", name, {"T": T})
