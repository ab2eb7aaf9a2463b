from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, chi2_contingency, kurtosis, logistic

from oodgrid.evaluate import intervals, metrics

Z = 1.959963984540054


def draw(kind, n_id, n_ood, seed=0):
    rng = np.random.default_rng(seed)
    id_scores, ood_scores = rng.normal(1, 1, n_id), rng.normal(0, 1, n_ood)
    if kind == "tied":
        return np.floor(1.5 * id_scores), np.floor(1.5 * ood_scores)
    if kind == "two values":
        return (id_scores > -0.6).astype(float), (ood_scores > 0.2).astype(float)
    return id_scores, ood_scores


def naive_fpr95_id_pos(id_scores, ood_scores):
    thresholds, counts = np.unique(id_scores, return_counts=True)
    recall = np.cumsum(counts[::-1])[::-1]
    gap = np.abs(20 * recall - 19 * id_scores.size)
    return np.mean(ood_scores >= thresholds[np.flatnonzero(gap == gap.min())[0]])


def naive_fpr95_ood_pos(id_scores, ood_scores):
    kth = next(k for k in range(ood_scores.size + 1) if 20 * k >= 19 * ood_scores.size)
    return np.mean(id_scores <= np.sort(ood_scores)[kth - 1])


def resampled(metric, id_scores, ood_scores, repeats, seed):
    rng = np.random.default_rng(seed)
    return np.array(
        [metric(rng.choice(id_scores, id_scores.size), rng.choice(ood_scores, ood_scores.size)) for _ in range(repeats)]
    )


def delong_by_pairs(id_scores, ood_scores):
    wins = (id_scores[:, None] > ood_scores) + 0.5 * (id_scores[:, None] == ood_scores)
    return np.var(wins.mean(1), ddof=1) / id_scores.size + np.var(wins.mean(0), ddof=1) / ood_scores.size


BOOTSTRAPS = {
    "id_pos": (intervals.bootstrap_id_pos, naive_fpr95_id_pos),
    "ood_pos": (intervals.bootstrap_ood_pos, naive_fpr95_ood_pos),
}


def sorted_draws(which, id_scores, ood_scores, repeats, seed=7):
    counts, rng = metrics.count_scores(id_scores, ood_scores), np.random.default_rng(seed)
    side = counts.n_ood if which == "id_pos" else counts.n_id
    return rng.binomial(side, BOOTSTRAPS[which][0](counts, repeats, rng) / side) / side


# n_id of 10 and 30: recalls tie around .95; 7 and 1: the k-th sample is the lowest; 23 and 41: no tie, a true "nearest"
@pytest.mark.parametrize("which", BOOTSTRAPS)
@pytest.mark.parametrize("kind", ["continuous", "tied", "two values"])
@pytest.mark.parametrize(("n_id", "n_ood"), [(1, 5), (7, 3), (10, 6), (23, 9), (30, 8), (41, 12), (64, 1)])
def test_bootstrap_has_the_distribution_of_resampling(which, kind, n_id, n_ood):
    """Small sets have few outcomes, so both samples of outcomes can be compared whole, by a chi-square test."""
    id_scores, ood_scores = draw(kind, n_id, n_ood)
    fast = sorted_draws(which, id_scores, ood_scores, 4000)
    slow = resampled(BOOTSTRAPS[which][1], id_scores, ood_scores, 4000, seed=8)
    side = n_ood if which == "id_pos" else n_id
    table = np.array([np.bincount(np.rint(x * side).astype(int), minlength=side + 1) for x in (fast, slow)])
    common = table.sum(0) >= 20
    pooled = np.column_stack([table[:, common], table[:, ~common].sum(1)])
    pooled = pooled[:, pooled.sum(0) > 0]
    if pooled.shape[1] == 1:
        assert np.array_equal(np.unique(fast), np.unique(slow))
    else:
        assert chi2_contingency(pooled).pvalue > 1e-3


@pytest.mark.parametrize("which", BOOTSTRAPS)
@pytest.mark.parametrize("kind", ["continuous", "tied"])
def test_bootstrap_of_larger_sets_matches_resampling(which, kind):
    id_scores, ood_scores = draw(kind, 700, 400, seed=3)
    fast = sorted_draws(which, id_scores, ood_scores, 40000)
    slow = resampled(BOOTSTRAPS[which][1], id_scores, ood_scores, 4000, seed=9)
    error = slow.std() / np.sqrt(slow.size)
    assert fast.mean() == pytest.approx(slow.mean(), abs=4 * error)
    # the standard error of a standard deviation grows with the kurtosis, which ties make large
    spread_error = fast.std() * np.sqrt((kurtosis(fast, fisher=False) - 1) / (4 * slow.size))
    assert fast.std() == pytest.approx(slow.std(), abs=4 * spread_error)
    # the standard error of a 2.5 % quantile is 2.7 times that of the mean under a normal
    for q in (0.025, 0.25, 0.5, 0.75, 0.975):
        assert np.quantile(fast, q) == pytest.approx(np.quantile(slow, q), abs=4 * 2.7 * error + 1 / 400)


@pytest.mark.parametrize("kind", ["continuous", "tied", "two values"])
@pytest.mark.parametrize(("n_id", "n_ood"), [(2, 2), (5, 40), (60, 33)])
def test_delong_variance_matches_all_pairs(kind, n_id, n_ood):
    id_scores, ood_scores = draw(kind, n_id, n_ood, seed=1)
    counts = metrics.count_scores(id_scores, ood_scores)
    expected = delong_by_pairs(id_scores, ood_scores)
    assert intervals.delong_variance(counts) == pytest.approx(expected, rel=1e-12, abs=1e-18)


def test_delong_variance_is_the_same_from_either_side():
    id_scores, ood_scores = draw("tied", 50, 70, seed=2)
    variance = intervals.delong_variance(metrics.count_scores(id_scores, ood_scores))
    swapped = intervals.delong_variance(metrics.count_scores(-ood_scores, -id_scores))
    mirrored = intervals.delong_variance(metrics.count_scores(-id_scores, -ood_scores))
    assert swapped == pytest.approx(variance, rel=1e-12)
    assert mirrored == pytest.approx(variance, rel=1e-12)


def test_delong_variance_of_one_id_value_is_binomial():
    """All ID scores equal and no ties with OOD: AUROC is a plain share of OOD, with variance p (1 - p) / (n - 1)."""
    counts = metrics.count_scores(np.full(50, 0.5), np.r_[np.zeros(30), np.ones(10)])
    assert metrics.auroc(counts) == 0.75
    assert intervals.delong_variance(counts) == pytest.approx(0.75 * 0.25 / 39)


def test_auroc_interval_is_delongs_on_the_logit_scale():
    id_scores, ood_scores = draw("continuous", 80, 60)
    area, error = np.mean(id_scores[:, None] > ood_scores), np.sqrt(delong_by_pairs(id_scores, ood_scores))
    expected = logistic.cdf(logistic.ppf(area) + np.array([-1, 1]) * Z * error / (area * (1 - area)))
    assert intervals.auroc_interval(metrics.count_scores(id_scores, ood_scores)) == pytest.approx(expected, abs=1e-12)


def newcombe_by_grid(area, n, m):
    """Every area that a score test with Newcombe's variance does not reject, on a grid."""
    theta = np.linspace(0, 1, 2_000_001)
    shape = 1 + ((n + m) / 2 - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    kept = theta[(area - theta) ** 2 <= Z**2 * theta * (1 - theta) * shape / (n * m)]
    return kept[0], kept[-1]


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 3), (20, 20), (20, 960), (100, 7), (5000, 5000)])
@pytest.mark.parametrize("area", [0.0, 0.3, 0.5, 0.97, 0.9999, 1.0])
def test_newcombes_interval_is_all_that_is_not_rejected(area, n, m):
    assert intervals.newcombe_ends(area, n, m) == pytest.approx(newcombe_by_grid(area, n, m), abs=2e-6)


def test_few_misplaced_samples_have_the_outer_ends_of_both_intervals():
    counts = metrics.count_scores(np.r_[np.arange(1, 100), -0.5], np.r_[np.arange(-99, 0), 0.5])
    area, variance = metrics.auroc(counts), intervals.delong_variance(counts)
    both = intervals.logit_ends(area, variance), intervals.newcombe_ends(area, 100, 100)
    assert intervals.auroc_interval(counts) == (min(both[0][0], both[1][0]), max(both[0][1], both[1][1]))
    assert both[0] != both[1]


@pytest.mark.parametrize("positive", ["id", "ood"])
def test_fpr_intervals_are_percentiles_of_jeffreys_draws_given_the_threshold(positive):
    counts = metrics.count_scores(*draw("continuous", 400, 300))
    place = {"id": intervals.bootstrap_id_pos, "ood": intervals.bootstrap_ood_pos}[positive]
    rng, side = np.random.default_rng([5, positive == "ood"]), {"id": 300, "ood": 400}[positive]
    beyond = place(counts, 300, rng)
    drawn = np.array([rng.beta(x + 0.5, side - x + 0.5) for x in beyond])
    assert intervals.fpr_interval(counts, positive, 300, 5) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def test_the_fiducial_threshold_is_one_of_the_two_order_statistics_around_it():
    """Beyond the k-th highest of n ID scores lie exactly k OOD samples here, so the draw is the place itself."""
    n = 60
    counts = metrics.count_scores(np.arange(n) * 2.0, np.arange(n) * 2.0 + 1)  # k - th highest ID: k OOD above it
    drawn = intervals.fiducial_id_pos(counts, 200_000, np.random.default_rng(0))
    places = np.arange(n + 2)
    share = (binom.pmf(places, n, 0.95) + binom.pmf(places - 1, n, 0.95)) / 2
    expected = np.append(share[:n], share[n:].sum())  # beyond the lowest every OOD sample counts, as at it
    assert np.bincount(drawn, minlength=n + 1) / drawn.size == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("sizes", [(30, 50), (300, 250)])
def test_both_conventions_are_mirror_images(sizes):
    """But for the threshold: nearest to the recall, and the first that reaches it."""
    id_scores, ood_scores = draw("continuous", *sizes)
    counts = metrics.count_scores(id_scores, ood_scores)
    mirror = metrics.count_scores(-ood_scores, -id_scores)
    assert intervals.mirrored(counts).id_counts.tolist() == mirror.id_counts.tolist()
    assert metrics.fpr_ood_pos(counts) == pytest.approx(metrics.fpr_id_pos(mirror), abs=0.1)
    of_both = intervals.fpr_interval(counts, "ood", 4000), intervals.fpr_interval(mirror, "id", 4000)
    assert of_both[0] == pytest.approx(of_both[1], abs=0.06)


def test_equal_seeds_give_equal_intervals():
    counts = metrics.count_scores(*draw("continuous", 300, 200))
    again = metrics.count_scores(*[side[::-1] for side in draw("continuous", 300, 200)])
    first = intervals.intervals(counts, seed=3)
    assert intervals.intervals(again, seed=3) == first
    other = intervals.intervals(counts, seed=4)
    assert other["fpr95_id_pos_lo"] != first["fpr95_id_pos_lo"] or other["fpr95_id_pos_hi"] != first["fpr95_id_pos_hi"]
    assert other["auroc_lo"] == first["auroc_lo"]


FAMILIES = {  # of scores whose ID set is better by `shift`: how ID and OOD are drawn
    "binormal": lambda rng, n, m, shift: (rng.normal(shift, 1, n), rng.normal(0, 1, m)),
    "skewed": lambda rng, n, m, shift: (-rng.exponential(np.exp(-shift), n), -rng.exponential(1, m)),
    "heavy": lambda rng, n, m, shift: (rng.standard_t(3, n) + shift, rng.standard_t(3, m)),
    "rounded": lambda rng, n, m, shift: (np.rint(rng.normal(shift, 1, n)), np.rint(rng.normal(0, 1, m))),
    "saturated": lambda rng, n, m, shift: (np.minimum(rng.normal(shift, 1, n), shift),
                                           np.minimum(rng.normal(0, 1, m), shift)),
    "uniform": lambda rng, n, m, shift: (rng.random(n) + shift / 4, rng.random(m)),
}  # fmt: skip


@cache
def truth(family, shift):
    """AUROC and the ID scores' 5 % and OOD's 95 % points, with the rates beyond them, of three million samples."""
    id_scores, ood_scores = FAMILIES[family](np.random.default_rng(99), 1_500_000, 1_500_000, shift)
    counts = metrics.count_scores(id_scores, ood_scores)
    return {
        "auroc": metrics.auroc(counts),
        "fpr95_id_pos": np.mean(ood_scores >= np.quantile(id_scores, 0.05, method="lower")),
        "fpr95_ood_pos": np.mean(id_scores <= np.quantile(ood_scores, 0.95, method="higher")),
    }


def coverage(family, shift, n, m, draws):
    """How often each interval holds the truth."""
    hits = dict.fromkeys(truth(family, shift), 0)
    for seed in range(draws):
        counts = metrics.count_scores(*FAMILIES[family](np.random.default_rng(seed), n, m, shift))
        got = intervals.intervals(counts, repeats=400, seed=seed)
        for name, value in truth(family, shift).items():
            hits[name] += got[f"{name}_lo"] - 1e-4 <= value <= got[f"{name}_hi"] + 1e-4
    return {name: hit / draws for name, hit in hits.items()}


@pytest.mark.parametrize("cell", [("binormal", 3.6, 100, 100), ("skewed", 3.0, 20, 300), ("saturated", 2.0, 300, 60)])
def test_intervals_hold_the_truth(cell):
    assert min(coverage(*cell, draws=200).values()) >= 0.88  # four standard errors below .95


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_intervals_hold_the_truth_in_every_family_and_size(family):
    lowest: dict[str, float] = {}
    for shift, (n, m) in product((0.5, 1.8, 3.6), ((20, 20), (20, 500), (500, 20), (100, 100), (500, 500))):
        found = coverage(family, shift, n, m, 400)
        lowest = {name: min(found[name], lowest.get(name, 1.0)) for name in found}
    print(family, lowest)
    assert lowest["auroc"] >= 0.90
    assert min(lowest.values()) >= 0.86  # a few of 2,000 cells of 400 draws lie three standard errors low


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 10), (10, 1), (30, 10), (400, 300)])
@pytest.mark.parametrize("what", ["tied", "apart"])
def test_what_shows_no_variation_has_an_interval_all_the_same(what, n, m):
    sides = (np.zeros(n), np.zeros(m)) if what == "tied" else (np.arange(1, n + 1), -np.arange(m))
    got = intervals.intervals(metrics.count_scores(*sides), repeats=400)
    assert got["auroc_hi"] - got["auroc_lo"] > 0.5 / min(n, m)
    for name in ("fpr95_id_pos", "fpr95_ood_pos"):
        side, ends = (m if name == "fpr95_id_pos" else n), (got[f"{name}_lo"], got[f"{name}_hi"])
        assert ends[1] - ends[0] > 1 / (side + 10)
        assert ends[1] == 1.0 if what == "tied" else ends[0] == 0.0


@pytest.mark.parametrize("kind", ["continuous", "tied", "two values"])
@pytest.mark.parametrize(("n_id", "n_ood"), [(1, 1), (2, 1), (1, 2), (3, 3), (19, 20), (20, 19), (21, 5000)])
def test_intervals_are_ordered_fractions(kind, n_id, n_ood):
    got = intervals.intervals(metrics.count_scores(*draw(kind, n_id, n_ood, seed=11)), repeats=200)
    for name in ("auroc", "fpr95_id_pos", "fpr95_ood_pos"):
        assert 0 <= got[f"{name}_lo"] <= got[f"{name}_hi"] <= 1
