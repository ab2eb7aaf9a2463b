"""Scores of logits against their formulas, written out with loops in plain Python floats."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oodgrid import registry
from oodgrid.errors import OodgridError
from oodgrid.score.contract import Bank, Skip

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


def naive_variance(row, T):
    p = softmax_of(row, T)
    return math.fsum((share - 1 / len(p)) ** 2 for share in p) / len(p)


def naive_gen(row, T, gamma=0.1, M=100):
    """The chances of the other classes, summed one by one, stand for 1 - p."""
    p = sorted(softmax_of(row, T), reverse=True)
    terms = [(p[j] * math.fsum(p[:j] + p[j + 1 :])) ** gamma for j in range(min(M, len(p)))]
    return -math.fsum(terms)


def naive_gap(row, N):
    z = sorted(row, reverse=True)
    return math.fsum(z[0] - z[n] for n in range(1, N + 1)) / N


NAIVE = {
    "mcm": naive_mcm, "msp": naive_mcm, "entropy": naive_entropy, "energy": naive_energy,
    "variance": naive_variance, "gen": naive_gen,
}  # fmt: skip
DEFAULT_T = {"mcm": 1.0, "msp": 0.01, "entropy": 0.01, "energy": 0.01, "variance": 1.0, "gen": 0.01}
ALL = [*NAIVE, "max_logit", "logit_gap"]


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


@pytest.mark.parametrize("name", ["mcm", "msp", "entropy", "variance", "gen", "logit_gap"])
def test_scores_of_a_softmax_do_not_see_a_shift_of_all_logits(name):
    np.testing.assert_allclose(score(name, COSINES + 3.25), score(name, COSINES), rtol=1e-10)


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
    ("name", "value"),
    [("mcm", 1), ("msp", 1), ("entropy", 0), ("energy", 0.3), ("max_logit", 0.3), ("variance", 0), ("gen", 0)],
)
def test_one_class_only(name, value):
    np.testing.assert_allclose(score(name, [[0.3], [0.3]]), [value, value], atol=1e-15)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mcm", 0.2), ("msp", 0.2), ("entropy", -math.log(5)), ("energy", 0.1 + 0.01 * math.log(5)), ("max_logit", 0.1),
        ("variance", 0), ("gen", -5 * (0.2 * 0.8) ** 0.1), ("logit_gap", 0),
    ],
)  # fmt: skip
def test_ties_between_all_classes(name, value):
    np.testing.assert_allclose(score(name, np.full((3, 5), 0.1)), value, rtol=1e-14, atol=1e-30)


@pytest.mark.parametrize("size", [1e-30, 1e4, 1e30])
@pytest.mark.parametrize("name", ALL)
def test_huge_and_tiny_logits_stay_finite(name, size):
    got = score(name, [[size, -size, 0.0], [-size, -size, -size]])
    assert np.isfinite(got).all()
    if size >= 1e4:
        expected = {
            "mcm": (1, 1 / 3), "msp": (1, 1 / 3), "entropy": (0, -math.log(3)), "variance": (2 / 9, 0),
            "gen": (0, -3 * (2 / 9) ** 0.1), "logit_gap": (size, 0),
        }.get(name, (size, -size))  # fmt: skip
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
    with pytest.raises(
        OodgridError, match=rf"score {name}: T = .* does not fit: (greater than 0|a finite number) is wanted"
    ):
        registry.check_params("score", name, {"T": T})


# ------------------------------------------------------------------------------------- variance, gen, logit_gap


def test_variance_is_that_of_the_probabilities():
    np.testing.assert_allclose(score("variance", [[0.0, math.log(3.0)]]), [0.0625], rtol=1e-14)
    np.testing.assert_allclose(score("variance", [[50.0, 0, 0, 0]]), [3 / 16], rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("M", [1, 3, 7, 100])
def test_gen_against_the_formula(gamma, M):
    expected = [naive_gen(row.tolist(), 0.05, gamma, M) for row in COSINES]
    np.testing.assert_allclose(score("gen", COSINES, gamma=gamma, M=M, T=0.05), expected, rtol=1e-12)


def test_gen_tells_sure_predictions_apart_beyond_the_rounding_of_a_probability():
    """At T = .01 the others have a chance of e^-50 and e^-60, which 1 - p would lose."""
    got = score("gen", [[0.6, 0.1], [0.7, 0.1]])
    np.testing.assert_allclose(got, [-2 * math.exp(-5), -2 * math.exp(-6)], rtol=1e-12)


def test_gen_of_the_top_1_with_gamma_1_is_the_variance_of_one_bernoulli():
    p = score("msp", COSINES)
    np.testing.assert_allclose(score("gen", COSINES, M=1, gamma=1.0), -p * (1 - p), rtol=1e-9)


@pytest.mark.parametrize("N", [1, 2, 5, 6])
def test_logit_gap_against_the_formula(N):
    expected = [naive_gap(row.tolist(), N) for row in COSINES]
    np.testing.assert_allclose(score("logit_gap", COSINES, N=N), expected, rtol=1e-13)


@pytest.mark.parametrize(("classes", "N"), [(2, 1), (3, 1), (8, 2), (10, 2), (37, 7), (1000, 200)])
def test_logit_gap_takes_a_fifth_of_the_classes(classes, N):
    logits = np.random.default_rng(3).normal(size=(5, classes))
    expected = [naive_gap(row.tolist(), N) for row in logits]
    np.testing.assert_allclose(score("logit_gap", logits), expected, rtol=1e-12)


def test_logit_gap_of_more_than_all_classes_is_that_of_all():
    np.testing.assert_array_equal(score("logit_gap", COSINES, N=88), score("logit_gap", COSINES, N=6))


def test_logit_gap_of_all_other_classes_is_the_largest_logit_above_the_mean():
    expected = (COSINES.max(axis=1) - COSINES.mean(axis=1)) * 7 / 6
    np.testing.assert_allclose(score("logit_gap", COSINES, N=6), expected, rtol=1e-12)


def test_logit_gap_grows_with_the_scale_of_the_logits():
    np.testing.assert_allclose(score("logit_gap", 100 * COSINES), 100 * score("logit_gap", COSINES), rtol=1e-12)


def test_logit_gap_needs_two_classes():
    with pytest.raises(Skip, match="at least 2 classes"):
        score("logit_gap", [[0.3]])


# --------------------------------------------------------------------------------------------------- kl_matching


def validation(logits):
    logits = np.asarray(logits, dtype=np.float64)
    return Bank(np.ones((len(logits), 2)), np.zeros(len(logits), int), 4, logits)


def matching(logits, val, **params):
    return registry.find("score", "kl_matching").make(np.asarray(logits, dtype=np.float64), val, **params)


def naive_matching(row, val, T):
    known = {}
    for logits in val.logits.tolist():
        known.setdefault(logits.index(max(logits)), []).append(softmax_of(logits, T))
    p, divergences = softmax_of(row, T), []
    for members in known.values():
        d = [math.fsum(chances) / len(members) for chances in zip(*members, strict=True)]
        divergences.append(math.fsum(a * math.log(a / b) for a, b in zip(p, d, strict=True) if a > 0))
    return -min(divergences)


VAL = validation(np.clip(np.random.default_rng(8).normal(0.2, 0.05, size=(25, 7)), -1, 1))


@pytest.mark.parametrize("T", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("count", [1, 2, 25])
def test_kl_matching_against_the_formula(count, T):
    val = validation(VAL.logits[:count])
    got = matching(COSINES, val, T=T)
    assert got.dtype == np.float64
    assert got.max() <= 0
    np.testing.assert_allclose(got, [naive_matching(row.tolist(), val, T) for row in COSINES], rtol=1e-9, atol=1e-13)


def test_kl_matching_by_default_is_of_the_classifiers_own_softmax():
    np.testing.assert_array_equal(matching(COSINES, VAL), matching(COSINES, VAL, T=0.01))


def test_kl_matching_of_a_typical_prediction_is_zero():
    val = validation([[0.3, 0.1, 0.1], [0.3, 0.1, 0.1], [0.1, 0.25, 0.2]])
    np.testing.assert_allclose(matching(val.logits, val), 0, atol=1e-14)
    assert matching([[0.1, 0.1, 0.3]], val)[0] < -5


def test_kl_matching_does_not_see_labels_nor_the_order_of_the_validation_samples():
    order = np.random.default_rng(5).permutation(25)
    shuffled = Bank(np.ones((25, 2)), np.arange(25), 4, VAL.logits[order])
    np.testing.assert_allclose(matching(COSINES, shuffled), matching(COSINES, VAL), rtol=1e-10, atol=1e-13)


def test_kl_matching_does_not_see_the_order_of_samples_and_classes():
    rows, columns = np.random.default_rng(6).permutation(40), np.random.default_rng(7).permutation(7)
    got = matching(COSINES[rows][:, columns], validation(VAL.logits[:, columns]))
    np.testing.assert_allclose(got, matching(COSINES, VAL)[rows], rtol=1e-10, atol=1e-13)


def test_kl_matching_of_one_sample_at_a_time_gives_the_same():
    alone = np.concatenate([matching(row[None], VAL) for row in COSINES])
    np.testing.assert_allclose(alone, matching(COSINES, VAL), rtol=1e-11, atol=1e-13)


def test_kl_matching_of_duplicated_validation_samples_is_the_same():
    twice = validation(np.repeat(VAL.logits, 2, axis=0))
    np.testing.assert_allclose(matching(COSINES, twice), matching(COSINES, VAL), rtol=1e-10, atol=1e-13)


def test_kl_matching_is_finite_where_chances_underflow():
    """e^-4000 is no number, but the divergence of it is: 4000."""
    got = matching([[40.0, 0.0], [0.0, 40.0]], validation([[40.0, 0.0]]))
    np.testing.assert_allclose(got, [0, -4000], rtol=1e-12)
    assert np.isfinite(matching([[1e30, -1e30]], validation([[-1e30, 1e30]]))).all()


def test_kl_matching_of_one_class_is_zero():
    np.testing.assert_array_equal(matching([[0.3], [-0.2]], validation([[0.1]])), [0, 0])


def test_kl_matching_needs_logits_of_the_validation_samples():
    with pytest.raises(Skip, match="no logits"):
        matching(COSINES, Bank(np.ones((3, 2)), np.arange(3), 1))


# --------------------------------------------------------------------------------------------------- pytorch-ood


def other(name):
    """pytorch-ood's detector of that name: its scores are higher for outliers."""
    return getattr(pytest.importorskip("pytorch_ood.detector"), name)


def test_gen_agrees_with_pytorch_ood():
    """It clamps probabilities to 1e-7 ... 1 - 1e-7, which at this temperature are none, and takes the mean."""
    detector, torch = other("GEN"), pytest.importorskip("torch")
    for M in (3, 7):
        theirs = detector.score(torch.from_numpy(COSINES / 0.05), gamma=0.1, M=M).numpy()
        np.testing.assert_allclose(score("gen", COSINES, M=M, T=0.05), -M * theirs, rtol=1e-10)


def test_kl_matching_agrees_with_pytorch_ood():
    detector, torch = other("KLMatching"), pytest.importorskip("torch")
    fitted = detector(None).fit_logits(torch.from_numpy(VAL.logits / 0.05))
    theirs = fitted.predict_logits(torch.from_numpy(COSINES / 0.05)).detach().numpy()
    np.testing.assert_allclose(matching(COSINES, VAL, T=0.05), -theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("msp", "MaxSoftmax"), ("energy", "EnergyBased"), ("entropy", "Entropy"), ("max_logit", "MaxLogit")],
)
def test_the_softmax_scores_agree_with_pytorch_ood(name, theirs):
    """At T = .05: its entropy clamps probabilities to 1e-7."""
    detector, torch = other(theirs), pytest.importorskip("torch")
    params, size = ({}, 1) if name == "max_logit" else ({"T": 0.05}, 20)
    expected = -detector.score(torch.from_numpy(size * COSINES)).numpy() / (size if name == "energy" else 1)
    np.testing.assert_allclose(score(name, COSINES, **params), expected, rtol=1e-10, atol=1e-13)
