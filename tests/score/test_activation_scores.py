"""Scores of shaped activations and perturbed heads against their formulas, in loops over plain Python floats."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from oodgrid import manifests, registry
from oodgrid.config import Choice
from oodgrid.errors import OodgridError
from oodgrid.score import run
from oodgrid.score.compute import compute
from oodgrid.score.contract import Bank, Head, Skip, normalise
from oodgrid.score.perturbation import counts, densities, moving_mean
from oodgrid.score.scores.dice import sparse_weights
from oodgrid.score.scores.react import ceiling
from oodgrid.score.scores.vra import bounds
from oodgrid.score.shaping import kept, sharpening

SHAPED = ["react", "ash_b", "ash_p", "ash_s", "scale", "dice", "vra", "ras"]
WEIPERS = ["weiper", "weiper_kld"]
ALL = [*SHAPED, "gradnorm", *WEIPERS]
FEW = {"repeats": 3, "bins": 10, "smoothing": 4, "smoothing_perturbed": 3}  # what makes WeiPer's references quick


@dataclass(frozen=True)
class World:
    """Samples, a classifier, shots and validation samples, as the stage hands them to a score."""

    features: np.ndarray
    head: Head
    bank: Bank
    val: Bank

    @property
    def logits(self):
        return self.head.logits(self.features)


def world(samples=12, width=9, classes=5, shots=3, bias=0.0, seed=0):
    rng = np.random.default_rng(seed)
    head = Head(normalise(rng.normal(size=(classes, width))), bias * rng.normal(size=classes))

    def known(count, shots):
        labels = rng.permutation(np.resize(np.arange(classes), count))
        return Bank(normalise(head.weights[labels] + 0.6 * rng.normal(size=(count, width))), labels, shots)

    features = normalise(0.3 + rng.normal(size=(samples, width)))
    return World(features, head, known(classes * shots, shots), known(classes * 2, shots))


def with_features(features, **more):
    return replace(world(width=np.shape(features)[1], **more), features=np.asarray(features, dtype=np.float64))


RANDOM = world()
HALVES = np.round(np.random.default_rng(1).normal(size=(12, 9)))
WORLDS = {
    "random": RANDOM,
    "with a bias": world(bias=0.2, seed=1),
    "many ties": with_features(normalise(HALVES), seed=2),
    "one class": world(classes=1, seed=3),
    "one sample": world(samples=1, seed=4),
    "one shot": world(shots=1, seed=5),
    "duplicated rows": with_features(np.repeat(world(seed=6).features[:4], 3, axis=0), seed=6),
    "constant features": with_features(np.full((3, 9), 1 / 3), seed=7),
    "zero rows": with_features(np.concatenate([np.zeros((2, 9)), RANDOM.features]), seed=8, bias=0.1),
    "huge and tiny norms": with_features(normalise(RANDOM.features * np.logspace(-150, 150, 12)[:, None]), seed=9),
    "negative features": with_features(-np.abs(RANDOM.features), seed=10),
    "one dimension": world(width=1, seed=11),
    "many classes": world(classes=23, width=4, seed=12),
}


def score(name, given, **params):
    entry = registry.find("score", name)
    return entry.make(*(getattr(given, need.split("|")[0]) for need in entry.needs), **params)


def few(name):
    """Parameters under which both WeiPer scores are quick; none for the others."""
    return {key: value for key, value in FEW.items() if key in registry.find("score", name).params}


# ------------------------------------------------------------------------------------------- the formulas, naive


def naive_logits(x, weights, bias):
    return [math.fsum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weights, bias, strict=True)]


def naive_energy(logits, T=0.01):
    top = max(logits)
    return top + T * math.log(math.fsum(math.exp((value - top) / T) for value in logits))


def naive_softmax(logits, T):
    shares = [math.exp((value - max(logits)) / T) for value in logits]
    return [share / math.fsum(shares) for share in shares]


def energy_of(x, head, T=0.01):
    return naive_energy(naive_logits(x, head.weights.tolist(), head.bias.tolist()), T)


def percentile_of(values, p):
    """With linear interpolation between the values at both sides."""
    ordered = sorted(values)
    place = p / 100 * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def naive_react(given, percentile=90, T=0.01):
    c = percentile_of(given.val.features.ravel().tolist(), percentile)
    return [energy_of([min(v, c) for v in x], given.head, T) for x in given.features.tolist()]


def naive_kept(x, percentile):
    """The k largest values, and what ties with the least of them."""
    k = max(len(x) - round(len(x) * percentile / 100), 1)
    least = sorted(x, reverse=True)[k - 1]
    return [v >= least for v in x]


def naive_ash_p(given, percentile=60, T=0.01):
    rows = [(x, naive_kept(x, percentile)) for x in given.features.tolist()]
    return [energy_of([v * keep for v, keep in zip(x, mask, strict=True)], given.head, T) for x, mask in rows]


def naive_ash_b(given, percentile=65, T=0.01):
    rows = [(x, naive_kept(x, percentile)) for x in given.features.tolist()]
    return [energy_of([math.fsum(x) / sum(mask) * keep for keep in mask], given.head, T) for x, mask in rows]


def naive_ratio(x, percentile):
    s1 = math.fsum(x)
    s2 = math.fsum(v for v, keep in zip(x, naive_kept(x, percentile), strict=True) if keep)
    if s2 == 0:
        return 0 if s1 == 0 else math.copysign(100, s1)
    return max(-100, min(100, s1 / s2))


def naive_ash_s(given, percentile=90, T=0.01):
    found = []
    for x in given.features.tolist():
        factor, mask = math.exp(naive_ratio(x, percentile)), naive_kept(x, percentile)
        found.append(energy_of([v * factor * keep for v, keep in zip(x, mask, strict=True)], given.head, T))
    return found


def naive_scale(given, percentile=85, T=0.01):
    rows = given.features.tolist()
    return [energy_of([v * math.exp(naive_ratio(x, percentile)) for v in x], given.head, T) for x in rows]


def naive_dice(given, p=90, T=0.01):
    weights = given.head.weights.tolist()
    mean = [math.fsum(column) / len(column) for column in given.bank.features.T.tolist()]
    contributions = [[w * m for w, m in zip(row, mean, strict=True)] for row in weights]
    threshold = percentile_of([value for row in contributions for value in row], p)
    masked = [
        [w if value >= threshold else 0 for w, value in zip(row, values, strict=True)]
        for row, values in zip(weights, contributions, strict=True)
    ]
    logits = [naive_logits(x, masked, given.head.bias.tolist()) for x in given.features.tolist()]
    return [naive_energy(row, T) for row in logits]


def naive_vra(given, low=60, high=95, T=0.01):
    columns = given.bank.features.T.tolist()
    a, b = ([percentile_of(column, p) for column in columns] for p in (low, high))
    found = []
    for x in given.features.tolist():
        shaped = [0 if v < a[d] else b[d] if v > b[d] else v for d, v in enumerate(x)]
        found.append(energy_of(shaped, given.head, T))
    return found


def naive_gradnorm(given, T=0.01):
    """The gradient of -1/K sum_k log p_k by w_kd is (p_k - 1/K) x_d."""
    found = []
    for x, logits in zip(given.features.tolist(), given.logits.tolist(), strict=True):
        p = naive_softmax(logits, T)
        found.append(math.fsum(abs((share - 1 / len(p)) * v) for share in p for v in x))
    return found


def naive_heads(head, delta, repeats, seed):
    """Weights of every perturbed head, row after row."""
    heads = []
    for repeat in range(repeats):
        draws = np.random.default_rng([seed, repeat]).standard_normal(head.weights.shape).tolist()
        weights = []
        for row, e in zip(head.weights.tolist(), draws, strict=True):
            length = delta * math.hypot(*row) / math.hypot(*e)
            weights.append([w + length * v for w, v in zip(row, e, strict=True)])
        heads.append(weights)
    return heads


def naive_perturbed(x, head, heads):
    return [naive_logits(x, weights, head.bias.tolist()) for weights in heads]


def naive_weiper(given, delta=2.0, repeats=100, seed=0, T=0.01):
    heads = naive_heads(given.head, delta, repeats, seed)
    found = []
    for x in given.features.tolist():
        best = [max(naive_softmax(logits, T)) for logits in naive_perturbed(x, given.head, heads)]
        found.append(math.fsum(best) / repeats)
    return found


def naive_histogram(values, low, high, bins):
    edges = [low + (high - low) * i / bins for i in range(bins + 1)]
    return [sum(edges[i] <= v < edges[i + 1] for v in values) / len(values) for i in range(bins)]


def naive_kld(p, q, window, floor):
    """Symmetric, after smoothing of q: i - (window - 1) // 2 is the first of the bins that are averaged for bin i."""
    bins, first = len(p), -((window - 1) // 2)
    q = [math.fsum(q[min(max(i + first + j, 0), bins - 1)] for j in range(window)) / window for i in range(bins)]
    p, q = [v + floor for v in p], [v + floor for v in q]
    p, q = [v / math.fsum(p) for v in p], [v / math.fsum(q) for v in q]
    pairs = list(zip(p, q, strict=True))
    return math.fsum(a * math.log(a / b) for a, b in pairs) + math.fsum(b * math.log(b / a) for a, b in pairs)


def naive_density(samples, bins):
    """Range and mean histogram of samples, each a list of values."""
    low, high = min(map(min, samples)), max(map(max, samples))
    margin = 1e-8 * max(1, abs(low), abs(high))
    low, high = low - margin, high + margin
    each = [naive_histogram(values, low, high, bins) for values in samples]
    return low, high, [math.fsum(column) / len(each) for column in zip(*each, strict=True)]


def naive_weiper_kld(
    given, delta=2.0, repeats=100, seed=0, bins=80, lambda_1=2.5, lambda_2=0.1, smoothing=40, smoothing_perturbed=15,
    T=0.01,
):  # fmt: skip
    heads = naive_heads(given.head, delta, repeats, seed)

    def flat(x):
        return [value for logits in naive_perturbed(x, given.head, heads) for value in logits]

    low, high, latent = naive_density(given.bank.features.tolist(), bins)
    low_w, high_w, perturbed = naive_density([flat(x) for x in given.bank.features.tolist()], bins)
    found = []
    for x, msp in zip(given.features.tolist(), naive_weiper(given, delta, repeats, seed, T), strict=True):
        kld = naive_kld(latent, naive_histogram(x, low, high, bins), smoothing, 0.01)
        kld_w = naive_kld(perturbed, naive_histogram(flat(x), low_w, high_w, bins), smoothing_perturbed, 0.025)
        found.append(-(kld + lambda_1 * kld_w - lambda_2 * msp))
    return found


def naive_ras(given, T=0.01):
    ordered = [sorted(z) for z in given.bank.features.tolist()]
    profile = [math.fsum(column) / len(ordered) for column in zip(*ordered, strict=True)]
    found = []
    for x in given.features.tolist():
        places = sorted(range(len(x)), key=lambda d: (x[d], d))
        shifted = {d: profile[rank] for rank, d in enumerate(places)}
        found.append(energy_of([shifted[d] for d in range(len(x))], given.head, T))
    return found


NAIVE = {
    "react": naive_react, "ash_b": naive_ash_b, "ash_p": naive_ash_p, "ash_s": naive_ash_s, "scale": naive_scale,
    "dice": naive_dice, "vra": naive_vra, "ras": naive_ras, "gradnorm": naive_gradnorm, "weiper": naive_weiper,
    "weiper_kld": naive_weiper_kld,
}  # fmt: skip


@pytest.mark.parametrize("case", WORLDS)
@pytest.mark.parametrize("name", ALL)
def test_against_the_formula(name, case):
    given = WORLDS[case]
    got = score(name, given, **few(name))
    assert got.shape == (len(given.features),)
    assert got.dtype == np.float64
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, NAIVE[name](given, **few(name)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        *(("react", {"percentile": p}) for p in (0.0, 50.0, 99.5, 100.0)),
        *((name, {"percentile": p}) for name in ("ash_b", "ash_p", "ash_s", "scale") for p in (0.0, 37.0, 95.0, 100.0)),
        *(("dice", {"p": p}) for p in (0.0, 50.0, 99.0, 100.0)),
        *(("vra", {"low": low, "high": high}) for low, high in ((0.0, 100.0), (0.0, 50.0), (40.0, 100.0))),
        *((name, {"T": T}) for name in [*SHAPED, "gradnorm"] for T in (0.1, 1.0)),
        *(("weiper", {"delta": delta, "repeats": 4, "seed": 7, "T": 0.3}) for delta in (0.0, 0.5, 10.0)),
        *(("weiper_kld", {**FEW, "lambda_1": a, "lambda_2": b}) for a, b in ((0.0, 0.0), (1.0, 0.0), (0.0, 3.0))),
        *(("weiper_kld", {**FEW, "delta": 0.7, "seed": 4, "bins": bins}) for bins in (1, 2, 33)),
        *(("weiper_kld", {**FEW, "smoothing": a, "smoothing_perturbed": b}) for a, b in ((1, 1), (2, 5), (40, 15))),
    ],
)  # fmt: skip
def test_parameters_against_the_formula(name, params):
    for given in (RANDOM, WORLDS["with a bias"]):
        np.testing.assert_allclose(score(name, given, **params), NAIVE[name](given, **params), rtol=1e-10, atol=1e-12)


def test_weiper_kld_with_the_published_parameters():
    """80 bins, windows of 40 and 15, and 100 heads of the few classes and dimensions that a loop can bear."""
    given = world(samples=3, width=5, classes=3, shots=2, seed=20)
    np.testing.assert_allclose(score("weiper_kld", given), naive_weiper_kld(given), rtol=1e-10)
    np.testing.assert_allclose(score("weiper", given), naive_weiper(given), rtol=1e-10)


# -------------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", ALL)
def test_one_sample_at_a_time_gives_the_same(name):
    for given in (RANDOM, replace(RANDOM, features=RANDOM.bank.features)):
        each = [score(name, replace(given, features=x[None]), **few(name)) for x in given.features]
        np.testing.assert_allclose(np.concatenate(each), score(name, given, **few(name)), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ALL)
def test_more_samples_than_a_block_of_rows(name):
    many = with_features(normalise(np.random.default_rng(30).normal(size=(2100, 9))))
    picked = [0, 1023, 1024, 2047, 2048, 2099]
    got = score(name, many, **few(name))
    assert got.shape == (2100,)
    some = score(name, replace(many, features=many.features[picked]), **few(name))
    np.testing.assert_allclose(got[picked], some, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ALL)
def test_no_samples(name):
    assert score(name, replace(RANDOM, features=np.empty((0, 9))), **few(name)).shape == (0,)


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_samples_and_of_the_known_ones_does_not_matter(name):
    rng = np.random.default_rng(31)

    def shuffled(bank):
        order = rng.permutation(len(bank.labels))
        return Bank(bank.features[order], bank.labels[order], bank.shots)

    rows = rng.permutation(12)
    other = World(RANDOM.features[rows], RANDOM.head, shuffled(RANDOM.bank), shuffled(RANDOM.val))
    np.testing.assert_allclose(
        score(name, other, **few(name)), score(name, RANDOM, **few(name))[rows], rtol=1e-11, atol=1e-13
    )


def renamed(given, order):
    """The same world, its classes in another order."""
    head = Head(given.head.weights[order], given.head.bias[order])
    banks = (Bank(b.features, np.argsort(order)[b.labels], b.shots) for b in (given.bank, given.val))
    return World(given.features, head, *banks)


@pytest.mark.parametrize("name", [*SHAPED, "gradnorm"])
def test_the_order_of_classes_does_not_matter(name):
    for case in ("random", "with a bias", "many classes"):
        given = WORLDS[case]
        other = renamed(given, np.random.default_rng(32).permutation(len(given.head.bias)))
        np.testing.assert_allclose(score(name, other), score(name, given), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", [*SHAPED, "gradnorm"])
def test_the_order_of_dimensions_does_not_matter(name):
    order = np.random.default_rng(33).permutation(9)
    banks = (Bank(b.features[:, order], b.labels, b.shots) for b in (RANDOM.bank, RANDOM.val))
    other = World(RANDOM.features[:, order], Head(RANDOM.head.weights[:, order], RANDOM.head.bias), *banks)
    np.testing.assert_allclose(score(name, other), score(name, RANDOM), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", SHAPED)
def test_temperature_on_cosines_is_that_of_a_hundred_times_larger_weights(name):
    hundred = replace(RANDOM, head=Head(100 * RANDOM.head.weights, 100 * RANDOM.head.bias))
    np.testing.assert_allclose(score(name, hundred, T=1.0), 100 * score(name, RANDOM), rtol=1e-11)


@pytest.mark.parametrize("name", ALL)
def test_what_is_said_of_it(name):
    entry = registry.find("score", name)
    assert entry.family == "activations"
    assert "github.com/" in entry.paper
    assert entry.adapted
    assert not entry.on_features


@pytest.mark.parametrize(
    ("name", "params"),
    [
        *((name, {"percentile": p}) for name in ("react", "ash_b", "ash_p", "ash_s", "scale") for p in (-1, 100.5)),
        ("dice", {"p": 101}), ("vra", {"low": -2}), ("vra", {"high": 200}), ("weiper", {"delta": -1}),
        ("weiper", {"repeats": 0}), ("weiper", {"seed": -1}), ("weiper_kld", {"bins": 0}),
        ("weiper_kld", {"smoothing": 0}), ("gradnorm", {"T": 0}),
    ],
)  # fmt: skip
def test_parameters_out_of_range_are_refused(name, params):
    with pytest.raises(OodgridError, match=f"score {name}: {next(iter(params))} = .* does not fit"):
        registry.check_params("score", name, params)


def test_what_is_estimated_from_known_samples_is_estimated_once():
    head, bank = RANDOM.head, RANDOM.bank
    draws = {"bins": 10, "delta": 2.0, "repeats": 2, "seed": 0}
    assert ceiling(bank, percentile=90.0) is ceiling(bank, percentile=90.0)
    assert bounds(bank, low=60.0, high=95.0) is bounds(bank, low=60.0, high=95.0)
    assert sparse_weights(head, bank, p=90.0) is sparse_weights(head, bank, p=90.0)
    assert densities(head, bank, **draws) is densities(head, bank, **draws)
    assert sparse_weights(head, bank, p=90.0) is not sparse_weights(head, bank, p=80.0)


# ------------------------------------------------------------------------------------------------- react and vra


def energies(given, T=0.01):
    return [energy_of(x, given.head, T) for x in given.features.tolist()]


def bounding(given):
    """The same world, its samples among those that are known."""
    bank = Bank(np.concatenate([given.bank.features, given.features]), np.arange(27) % 5, 3)
    return replace(given, bank=bank, val=bank)


def test_react_and_vra_within_bounds_that_hold_all_samples_are_energy():
    given = bounding(RANDOM)
    np.testing.assert_allclose(score("react", given, percentile=100.0), energies(given), rtol=1e-12)
    np.testing.assert_allclose(score("vra", given, low=0.0, high=100.0), energies(given), rtol=1e-12)


def test_react_takes_the_validation_samples_or_else_the_shots():
    inputs = {need: getattr(RANDOM, need) for need in ("features", "head", "bank", "val")}
    choice = Choice(name="react")
    np.testing.assert_array_equal(compute(choice, inputs), score("react", RANDOM))
    without = {need: given for need, given in inputs.items() if need != "val"}
    np.testing.assert_array_equal(compute(choice, without), score("react", replace(RANDOM, val=RANDOM.bank)))
    assert not np.array_equal(compute(choice, without), compute(choice, inputs))
    del without["bank"]
    with pytest.raises(Skip, match="it needs val or bank"):
        compute(choice, without)


def test_vra_by_hand():
    """Of five shots the percentiles 25 and 75 are the second and the fourth: 0.2 and 0.6."""
    bank = Bank(np.array([[0.0], [0.2], [0.4], [0.6], [0.8]]), np.arange(5), 1)
    given = World(np.array([[-0.9], [0.1], [0.2], [0.5], [0.7]]), Head(np.ones((1, 1)), np.zeros(1)), bank, bank)
    np.testing.assert_allclose(score("vra", given, low=25.0, high=75.0), [0, 0, 0.2, 0.5, 0.6], atol=1e-15)


# ------------------------------------------------------------------------------------------------------------ ras


def test_ras_of_a_bank_of_one_profile_is_energy():
    """A sample whose values are those of every shot, in another order, is not changed."""
    rng = np.random.default_rng(21)
    turned = np.array([rng.permutation(RANDOM.features[0]) for _ in range(12)])
    given = replace(RANDOM, features=turned[:5], bank=Bank(turned[5:], np.arange(7) % 5, 1))
    np.testing.assert_allclose(score("ras", given), energies(given), rtol=1e-12)


def test_ras_looks_at_the_order_of_values_alone():
    rising = replace(RANDOM, features=np.sinh(3 * RANDOM.features) - 1)
    np.testing.assert_array_equal(score("ras", rising), score("ras", RANDOM))
    np.testing.assert_array_equal(score("ras", replace(RANDOM, bank=RANDOM.val)) == score("ras", RANDOM), False)


def test_ras_by_hand():
    """Sorted shots (-1, 2) and (0, 6) have the profile (-.5, 4), which falls on smaller and larger values."""
    bank = Bank(np.array([[2.0, -1.0], [0.0, 6.0]]), np.arange(2), 1)
    given = World(np.array([[0.3, 0.2], [-5.0, 0.1]]), Head(np.array([[1.0, 0.0]]), np.zeros(1)), bank, bank)
    np.testing.assert_allclose(score("ras", given), [4, -0.5], atol=1e-15)


# ------------------------------------------------------------------------------------------------- ash and scale


def test_nothing_pruned_is_energy():
    np.testing.assert_allclose(score("ash_p", RANDOM, percentile=0.0), energies(RANDOM), rtol=1e-12)


def test_ash_s_and_scale_of_everything_multiply_by_e():
    """s_1 / s_2 is 1 then."""
    larger = replace(RANDOM, features=math.e * RANDOM.features)
    for name in ("ash_s", "scale"):
        np.testing.assert_allclose(score(name, RANDOM, percentile=0.0), energies(larger), rtol=1e-12)


def test_ash_by_hand():
    """Of 0.6, 0.5, -0.1, -0.2 half is pruned: 0.6 and 0.5 stay, s_1 = 0.8 and s_2 = 1.1."""
    head = Head(np.eye(4), np.zeros(4))
    given = World(np.array([[0.5, -0.1, 0.6, -0.2]]), head, RANDOM.bank, RANDOM.val)
    factor = math.exp(0.8 / 1.1)
    half = {"percentile": 50.0}
    np.testing.assert_allclose(score("ash_p", given, **half), naive_energy([0.5, 0, 0.6, 0]), rtol=1e-14)
    np.testing.assert_allclose(score("ash_b", given, **half), naive_energy([0.4, 0, 0.4, 0]), rtol=1e-14)
    shaped = [0.5 * factor, 0, 0.6 * factor, 0]
    np.testing.assert_allclose(score("ash_s", given, **half), naive_energy(shaped), rtol=1e-14)
    scaled = [0.5 * factor, -0.1 * factor, 0.6 * factor, -0.2 * factor]
    np.testing.assert_allclose(score("scale", given, **half), naive_energy(scaled), rtol=1e-14)


def test_at_least_one_value_is_kept_and_ties_are_kept_together():
    assert kept(np.array([[1.0, 3.0, 2.0]]), percentile=100.0).tolist() == [[False, True, False]]
    assert kept(np.array([[2.0, 1.0, 2.0, 2.0]]), percentile=50.0).tolist() == [[True, False, True, True]]
    assert kept(np.full((2, 4), 0.5), percentile=90.0).all()


@pytest.mark.parametrize(
    ("row", "exponent"),
    [
        ([0.0, 0.0, 0.0, 0.0], 0),
        ([0.5, 0.5, -0.5, -0.5], 0),  # nothing is left of s_1
        ([0.0, 0.0, -0.5, -0.5], -100),  # s_2 is 0, s_1 is not
        ([1e-9, -1e-9, -0.5, -0.5], -100),  # s_2 nearly
        ([-0.1, -0.1, -0.5, -0.5], 6),  # both are negative
        ([0.5, 0.5, -0.25, -0.25], 0.5),
    ],
)
def test_the_ratio_of_sums_is_held(row, exponent):
    np.testing.assert_allclose(sharpening(np.array([row]), percentile=50.0), [[math.exp(exponent)]], rtol=1e-12)


def test_ash_and_scale_stay_finite_where_sums_cancel():
    rows = np.array([[0.0, 0.0, -0.6, -0.8], [1e-300, 0, -0.6, -0.8], [1e-9, -1e-9, 0.6, -0.6], [-0.1, -0.1, -0.1, -1]])
    for name in ("ash_b", "ash_p", "ash_s", "scale"):
        for percentile in (0.0, 50.0, 75.0, 100.0):
            given = with_features(rows, bias=0.1)
            got = score(name, given, percentile=percentile)
            np.testing.assert_allclose(got, NAIVE[name](given, percentile=percentile), rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------------------------------------------------- dice


def test_dice_that_masks_nothing_is_energy():
    np.testing.assert_allclose(score("dice", RANDOM, p=0.0), energies(RANDOM), rtol=1e-12)


def test_dice_keeps_the_share_of_weights():
    given = world(width=50, classes=40)
    for p, left in ((50.0, 1000), (90.0, 200), (99.0, 20), (100.0, 1)):
        assert np.count_nonzero(sparse_weights(given.head, given.bank, p=p)) == left


def test_dice_of_shots_without_a_mean_masks_nothing():
    """Contributions are all 0, and none is below their percentile."""
    bank = Bank(np.array([[1.0] * 9, [-1.0] * 9]) / 3, np.array([0, 1]), 1)
    np.testing.assert_allclose(score("dice", replace(RANDOM, bank=bank)), energies(RANDOM), rtol=1e-12)


# ------------------------------------------------------------------------------------------------------ gradnorm


def test_gradnorm_grows_with_the_features():
    entry = registry.find("score", "gradnorm")
    got = entry.make(3 * RANDOM.features, RANDOM.logits, RANDOM.head)
    np.testing.assert_allclose(got, 3 * score("gradnorm", RANDOM), rtol=1e-13)


def test_gradnorm_of_a_uniform_and_of_a_sure_prediction():
    entry, features = registry.find("score", "gradnorm"), np.array([[0.6, -0.8], [0.6, -0.8]])
    head = Head(np.zeros((4, 2)), np.zeros(4))
    got = entry.make(features, np.array([[0.2] * 4, [9.0, 0, 0, 0]]), head)
    np.testing.assert_allclose(got, [0, 1.4 * 1.5], atol=1e-14)


def test_gradnorm_is_the_gradient_that_torch_finds():
    torch = pytest.importorskip("torch")
    given, got = WORLDS["with a bias"], score("gradnorm", WORLDS["with a bias"])
    for x, expected in zip(given.features, got, strict=True):
        weights = torch.tensor(100 * given.head.weights, requires_grad=True)
        logits = weights @ torch.tensor(x) + 100 * torch.tensor(given.head.bias)
        (-logits.log_softmax(dim=0).mean()).backward()
        assert weights.grad.abs().sum().item() == pytest.approx(expected, rel=1e-11)


# -------------------------------------------------------------------------------------------------------- weiper


def test_weiper_without_a_perturbation_is_msp():
    for given in WORLDS.values():
        msp = registry.find("score", "msp").make(given.logits)
        np.testing.assert_allclose(score("weiper", given, delta=0.0), msp, rtol=1e-13)


def test_weiper_of_the_same_seed_is_the_same_and_heads_do_not_depend_on_how_many_there_are():
    np.testing.assert_array_equal(score("weiper", RANDOM, seed=3), score("weiper", RANDOM, seed=3))
    assert not np.allclose(score("weiper", RANDOM, seed=3), score("weiper", RANDOM, seed=4))
    first, both = (score("weiper", RANDOM, repeats=count) for count in (1, 2))
    second = 2 * both - first
    np.testing.assert_allclose(
        second, [naive_weiper_of_head(RANDOM, x, 1) for x in RANDOM.features.tolist()], rtol=1e-11
    )


def naive_weiper_of_head(given, x, repeat):
    logits = naive_perturbed(x, given.head, naive_heads(given.head, 2.0, repeat + 1, 0)[repeat:])[0]
    return max(naive_softmax(logits, 0.01))


def test_weiper_nears_an_expectation_that_does_not_know_the_order_of_classes():
    """Draws belong to places, so that another order has other draws: alike up to the error of the mean."""
    given = world(samples=8, width=16, classes=6, seed=40)
    other = renamed(given, np.array([3, 1, 5, 0, 2, 4]))
    near, nearer = (
        np.abs(score("weiper", other, repeats=count, T=0.2) - score("weiper", given, repeats=count, T=0.2)).max()
        for count in (10, 4000)
    )
    assert nearer < 0.01 < near


def test_weiper_lengths_follow_the_weights_of_each_class():
    """A class of weight 0 is not perturbed, and its logit stays the bias."""
    head = Head(np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([0.01, 0.0]))
    given = World(normalise(np.ones((3, 2))), head, RANDOM.bank, RANDOM.val)
    np.testing.assert_allclose(score("weiper", given), math.e / (1 + math.e), rtol=1e-13)


# ---------------------------------------------------------------------------------------------------- weiper_kld


def test_weiper_kld_is_a_sum_of_its_parts():
    def part(**weights):
        return score("weiper_kld", RANDOM, **FEW, **{"lambda_1": 0.0, "lambda_2": 0.0, **weights})

    latent, msp = part(), score("weiper", RANDOM, repeats=3)
    np.testing.assert_allclose(part(lambda_2=0.7), latent + 0.7 * msp, rtol=1e-11)
    both = part(lambda_1=1.5, lambda_2=0.7)
    np.testing.assert_allclose(both, latent + 1.5 * (part(lambda_1=1.0) - latent) + 0.7 * msp, rtol=1e-11)


def test_weiper_kld_without_a_perturbation_repeats_the_logits():
    once, thrice = (score("weiper_kld", RANDOM, **{**FEW, "repeats": n, "delta": 0.0}) for n in (1, 3))
    np.testing.assert_allclose(once, thrice, rtol=1e-12)


def test_weiper_kld_of_the_only_shot_is_nothing_but_msp():
    """Without smoothing its own densities are those of the shots."""
    x = RANDOM.features[:1]
    given = replace(RANDOM, features=x, bank=Bank(x, np.array([0]), 1))
    got = score("weiper_kld", given, **{**FEW, "smoothing": 1, "smoothing_perturbed": 1})
    np.testing.assert_allclose(got, 0.1 * score("weiper", given, repeats=3), atol=1e-14)


def test_weiper_kld_finds_features_spread_unlike_the_shots():
    """All values of a sample are plus or minus one number, where those of shots have every size."""
    given = world(width=64, classes=4, shots=16, seed=41)
    unlike = np.sign(np.random.default_rng(42).normal(size=(40, 64))) / 8
    near, far = (
        score("weiper_kld", replace(given, features=x), repeats=5, smoothing=8) for x in (given.bank.features, unlike)
    )
    assert near.min() > far.max()


def test_counts_against_numpy():
    rng = np.random.default_rng(43)
    values = rng.normal(size=(6, 200))
    for bins in (1, 7, 80):
        expected = [np.histogram(row, bins=bins, range=(-1.3, 1.1))[0] for row in values]
        np.testing.assert_array_equal(counts(values, -1.3, 1.1, bins), expected)


def test_densities_hold_every_value_of_the_shots():
    for given in WORLDS.values():
        draws = {"bins": 12, "delta": 2.0, "repeats": 2, "seed": 0}
        for low, high, density in densities(given.head, given.bank, **draws):
            assert low < high
            assert density.min() >= 0
            assert density.sum() == pytest.approx(1, abs=1e-14)
        assert counts(given.bank.features, *densities(given.head, given.bank, **draws)[0][:2], 12).sum() == (
            given.bank.features.size
        )


def test_the_moving_mean_is_that_of_torch():
    torch = pytest.importorskip("torch")
    q = np.random.default_rng(44).dirichlet(np.ones(80), size=3)
    for window in (1, 2, 3, 15, 40):
        layer = torch.nn.Conv1d(1, 1, window, padding="same", padding_mode="replicate", bias=False).double()
        torch.nn.init.constant_(layer.weight, 1 / window)
        expected = layer(torch.from_numpy(q)[:, None])[:, 0].detach().numpy()
        np.testing.assert_allclose(q @ moving_mean(80, window).T, expected, rtol=1e-12)


# ------------------------------------------------------------------------------------------------ as a stage


def stage(mini, method):
    path = run.score(mini.results, mini.experiment([*ALL, "msp"], methods=[method]), "mini", "pets", method)
    return manifests.read_table(path, manifests.ScoreTable)


def test_all_run_where_a_method_leaves_prototypes(mini):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    table, about = stage(mini, "prototype")
    assert about.fits[0].skipped == {}
    assert all(table[name].null_count() == 0 and table[name].n_unique() > 10 for name in ALL)


def test_all_are_skipped_with_the_reason_where_a_method_leaves_logits_alone(mini):
    sizes = {"pets": 10, "noise": 5, "cars": 7}
    sets = {name: mini.kept(f"logits-{name}", logits=np.ones((n, 3), np.float32)) for name, n in sizes.items()}
    mini.applied("tip_adapter", "logits", [mini.prototypes().fit.model_copy(update={"sets": sets})])
    table, about = stage(mini, "tip_adapter")
    skipped = about.fits[0].skipped
    assert set(skipped) == set(ALL)
    assert all(why.startswith("it needs head: a linear head on the features") for why in skipped.values())
    assert all(table[name].null_count() == len(table) for name in ALL)
    assert table["msp"].null_count() == 0


# -------------------------------------------------------------------------------------------- real CLIP features


@pytest.fixture(scope="module")
def real(shared):
    """Two validation images of DTD under the 1000 classes of ImageNet, one ImageNet shot a class: all ViT-B/32."""
    torch = pytest.importorskip("torch")
    folder = shared / "data" / "clip_vitb32_features"

    def read(name):
        return torch.load(folder / name, map_location="cpu", weights_only=True).float().numpy()

    bank = Bank(normalise(read("tip_adapter_caches/imagenet/keys_1shots.pt").T), np.arange(1000), 1)
    head = Head(normalise(read("imagenet_text/text_features2.pt")), np.zeros(1000))
    return World(normalise(read("tip_adapter_caches/dtd/val_f.pt"))[[0, 700]], head, bank, bank)


@pytest.mark.parametrize("name", [*SHAPED, "gradnorm"])
def test_real_features_against_the_formula(real, name):
    np.testing.assert_allclose(score(name, real), NAIVE[name](real), rtol=1e-10)


@pytest.mark.parametrize("name", WEIPERS)
def test_real_features_under_one_perturbed_head_against_the_formula(real, name):
    few_shots = replace(real, bank=Bank(real.bank.features[:2], np.arange(2), 1))
    np.testing.assert_allclose(score(name, few_shots, repeats=1), NAIVE[name](few_shots, repeats=1), rtol=1e-10)


# ---------------------------------------------------------------------------------------------------- pytorch-ood


def linear(given, scale=100):
    """The classifier as a layer of torch, at the temperature of 100 times larger logits."""
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(given.features.shape[1], len(given.head.bias)).double()
    layer.weight.data, layer.bias.data = (
        torch.from_numpy(scale * values) for values in (given.head.weights, given.head.bias)
    )
    return torch, layer


def of_maps(layer):
    return lambda maps: layer(maps.flatten(1))


@pytest.fixture
def theirs():
    return pytest.importorskip("pytorch_ood.detector")


GIVEN = world(samples=20, width=40, classes=6, shots=8, bias=0.1, seed=50)
MAPS = GIVEN.features[:, :, None, None]


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0])
def test_react_agrees_with_pytorch_ood(theirs, percentile):
    torch, layer = linear(GIVEN)
    threshold = float(np.percentile(GIVEN.val.features, percentile))
    detector = theirs.ReAct(None, of_maps(layer), threshold=threshold)
    expected = -detector.predict_feature_maps(torch.from_numpy(MAPS)).numpy() / 100
    np.testing.assert_allclose(score("react", GIVEN, percentile=percentile), expected, rtol=1e-11)


@pytest.mark.parametrize("percentile", [0.0, 40.0, 65.0, 90.0])
@pytest.mark.parametrize("variant", ["b", "p", "s"])
def test_ash_agrees_with_pytorch_ood(theirs, variant, percentile):
    torch, layer = linear(GIVEN)
    detector = theirs.ASH(None, of_maps(layer), variant=f"ash-{variant}", percentile=percentile / 100)
    expected = -detector.predict_feature_maps(torch.from_numpy(MAPS)).numpy() / 100
    np.testing.assert_allclose(score(f"ash_{variant}", GIVEN, percentile=percentile), expected, rtol=1e-11)


@pytest.mark.parametrize("percentile", [0.0, 65.0, 85.0])
def test_scale_agrees_with_pytorch_ood(theirs, percentile):
    torch, layer = linear(GIVEN)
    detector = theirs.SCALE(None, of_maps(layer), percentile=percentile / 100)
    expected = -detector.predict_feature_maps(torch.from_numpy(MAPS)).numpy() / 100
    np.testing.assert_allclose(score("scale", GIVEN, percentile=percentile), expected, rtol=1e-11)


@pytest.mark.parametrize("p", [50.0, 70.0, 90.0])
def test_dice_agrees_with_pytorch_ood(theirs, p):
    """It fits in float32."""
    torch, layer = linear(GIVEN)
    detector = theirs.DICE(None, layer.weight, layer.bias, p / 100)
    detector.fit_features(torch.from_numpy(GIVEN.bank.features), torch.from_numpy(GIVEN.bank.labels))
    expected = -detector.predict_features(torch.from_numpy(GIVEN.features)).detach().numpy() / 100
    np.testing.assert_allclose(score("dice", GIVEN, p=p), expected, rtol=2e-5)


def test_gradnorm_agrees_with_pytorch_ood(theirs):
    torch, layer = linear(GIVEN)
    detector = theirs.GradNorm(layer, param_filter=lambda name: name == "weight")
    expected = -detector.predict(torch.from_numpy(GIVEN.features)).numpy()
    np.testing.assert_allclose(score("gradnorm", GIVEN), expected, rtol=1e-10)
