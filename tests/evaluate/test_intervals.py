from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import chi2_contingency, kurtosis

from oodgrid.evaluate import intervals, metrics

NORMAL = NormalDist()


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
    "id_pos": (intervals.bootstrap_fpr95_id_pos, naive_fpr95_id_pos),
    "ood_pos": (intervals.bootstrap_fpr95_ood_pos, naive_fpr95_ood_pos),
}


def sorted_draws(which, id_scores, ood_scores, repeats, seed=7):
    counts = metrics.count_scores(id_scores, ood_scores)
    return BOOTSTRAPS[which][0](counts, repeats, np.random.default_rng(seed))


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


def test_auroc_interval_is_the_wald_interval():
    id_scores, ood_scores = draw("continuous", 80, 60)
    lo, hi = intervals.auroc_interval(metrics.count_scores(id_scores, ood_scores))
    half = 1.959963984540054 * np.sqrt(delong_by_pairs(id_scores, ood_scores))
    area = np.mean(id_scores[:, None] > ood_scores)
    assert (lo, hi) == pytest.approx((area - half, area + half), abs=1e-12)


def test_intervals_are_the_percentiles_of_the_bootstrap():
    counts = metrics.count_scores(*draw("continuous", 200, 100))
    rng = np.random.default_rng(5)
    id_pos = intervals.bootstrap_fpr95_id_pos(counts, 300, rng)
    ood_pos = intervals.bootstrap_fpr95_ood_pos(counts, 300, rng)
    got = intervals.intervals(counts, repeats=300, seed=5)
    assert [got["fpr95_id_pos_lo"], got["fpr95_id_pos_hi"]] == np.quantile(id_pos, [0.025, 0.975]).tolist()
    assert [got["fpr95_ood_pos_lo"], got["fpr95_ood_pos_hi"]] == np.quantile(ood_pos, [0.025, 0.975]).tolist()


def test_equal_seeds_give_equal_intervals():
    counts = metrics.count_scores(*draw("continuous", 300, 200))
    again = metrics.count_scores(*[side[::-1] for side in draw("continuous", 300, 200)])
    first = intervals.intervals(counts, seed=3)
    assert intervals.intervals(again, seed=3) == first
    other = intervals.intervals(counts, seed=4)
    assert other["fpr95_id_pos_lo"] != first["fpr95_id_pos_lo"] or other["fpr95_id_pos_hi"] != first["fpr95_id_pos_hi"]
    assert other["auroc_lo"] == first["auroc_lo"]


def test_coverage_is_near_95_percent():
    """Two normals one standard deviation apart: the true AUROC and both FPRs are known in closed form."""
    truth = {
        "auroc": NORMAL.cdf(1 / np.sqrt(2)),
        "fpr95_id_pos": 1 - NORMAL.cdf(1 + NORMAL.inv_cdf(0.05)),
        "fpr95_ood_pos": NORMAL.cdf(NORMAL.inv_cdf(0.95) - 1),
    }
    trials, hits = 400, dict.fromkeys(truth, 0)
    for seed in range(trials):
        got = intervals.intervals(metrics.count_scores(*draw("continuous", 300, 200, seed)), repeats=400, seed=seed)
        for name, value in truth.items():
            hits[name] += got[f"{name}_lo"] <= value <= got[f"{name}_hi"]
    # four standard errors of a share of 400 trials around .95, on either side
    assert all(0.905 <= hit / trials <= 0.99 for hit in hits.values()), hits


def test_one_sample_on_each_side_has_no_auroc_interval():
    got = intervals.intervals(metrics.count_scores([1.0], [0.0]), repeats=50)
    assert list(got.values()) == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def test_one_id_sample_leaves_only_the_ood_side_to_vary():
    got = intervals.intervals(metrics.count_scores([0.5], np.arange(-5, 5)), repeats=2000)
    assert (got["auroc_lo"], got["auroc_hi"]) == (0.0, 1.0)
    assert got["fpr95_id_pos_lo"] < 0.4 < got["fpr95_id_pos_hi"]


def test_all_tied_has_zero_width():
    got = intervals.intervals(metrics.count_scores(np.zeros(30), np.zeros(10)), repeats=50)
    assert list(got.values()) == [0.5, 0.5, 1.0, 1.0, 1.0, 1.0]


def test_perfectly_separated_has_zero_width():
    got = intervals.intervals(metrics.count_scores(np.arange(10, 40), np.arange(-9, 1)), repeats=200)
    assert list(got.values()) == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", ["continuous", "tied", "two values"])
@pytest.mark.parametrize(("n_id", "n_ood"), [(1, 1), (2, 1), (1, 2), (3, 3), (19, 20), (20, 19), (21, 5000)])
def test_intervals_are_ordered_fractions(kind, n_id, n_ood):
    got = intervals.intervals(metrics.count_scores(*draw(kind, n_id, n_ood, seed=11)), repeats=200)
    for name in ("auroc", "fpr95_id_pos", "fpr95_ood_pos"):
        assert 0 <= got[f"{name}_lo"] <= got[f"{name}_hi"] <= 1
