"""Influence values beside float64 arithmetic over all pairs of samples, and beside the variance of many draws."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from oodgrid.evaluate import intervals, metrics
from oodgrid.evaluate.influence import RATES, Layout, influence, spread


def draw(kind, n, sizes, seed=0):
    rng = np.random.default_rng(seed)
    round_ = {"continuous": lambda x: x, "tied": lambda x: np.rint(1.5 * x), "equal": np.zeros_like}[kind]
    return round_(rng.normal(1.2, 1, n)), [round_(rng.normal(0.3 * j, 1, m)) for j, m in enumerate(sizes)]


def values_of(id_scores, ood_scores, dtype=np.float64):
    layout = Layout(len(id_scores), tuple(map(len, ood_scores)))
    vectors = np.zeros((len(RATES), layout.size), dtype)
    return influence(id_scores, ood_scores, vectors), dict(zip(RATES, vectors, strict=True)), layout


SHAPES = [(1, (1,)), (2, (3,)), (7, (5, 2)), (20, (20, 30)), (41, (12, 9, 33)), (300, (100,))]


@pytest.mark.parametrize("kind", ["continuous", "tied", "equal"])
@pytest.mark.parametrize(("n", "sizes"), SHAPES)
def test_rates_are_those_of_the_metrics(kind, n, sizes):
    id_scores, ood_scores = draw(kind, n, sizes)
    rates, _, _ = values_of(id_scores, ood_scores)
    for j, scores in enumerate(ood_scores):
        expected = metrics.detection_metrics(id_scores, scores)
        assert {name: rates[name][j] for name in RATES} == pytest.approx({name: expected[name] for name in RATES})


@pytest.mark.parametrize("kind", ["continuous", "tied", "equal"])
@pytest.mark.parametrize(("n", "sizes"), SHAPES)
def test_auroc_has_delongs_placements(kind, n, sizes):
    id_scores, ood_scores = draw(kind, n, sizes)
    _, vectors, layout = values_of(id_scores, ood_scores)
    in_id, in_oods = layout.split(vectors["auroc"])
    for j, scores in enumerate(ood_scores):
        wins = (id_scores[:, None] > scores) + 0.5 * (id_scores[:, None] == scores)
        assert in_id[j] == pytest.approx(wins.mean(axis=1), abs=1e-12)
        assert in_oods[j] == pytest.approx(wins.mean(axis=0), abs=1e-12)
        variance = sum(spread(vectors["auroc"], layout).parts([j]))
        assert variance == pytest.approx(intervals.delong_variance(metrics.count_scores(id_scores, scores)), rel=1e-12)


@pytest.mark.parametrize("kind", ["continuous", "tied"])
def test_false_positive_rates_have_both_sides(kind):
    """Indicators of the counted side, and of the side of the threshold times the slope of the ROC curve there."""
    id_scores, (scores,) = draw(kind, 400, (300,))
    _, vectors, layout = values_of(id_scores, [scores])
    for name, own, other, sign in (("fpr95_id_pos", id_scores, scores, 1), ("fpr95_ood_pos", scores, id_scores, -1)):
        side, counted = sign * own, sign * other  # higher is kept
        values = np.unique(side)
        recalls = np.array([np.mean(side >= value) for value in values])
        reach = values[np.flatnonzero(recalls >= 0.95)[-1]]
        nearest = values[np.argmin(np.abs(np.rint(2000 * 20 * recalls) - 2000 * 19))]
        threshold = nearest if sign > 0 else reach
        in_id, in_oods = layout.split(vectors[name])
        of_counted, of_side = (in_oods[0], in_id[0]) if sign > 0 else (in_id[0], in_oods[0])
        assert of_counted.tolist() == (counted >= threshold).tolist()
        step = 1.5 * np.sqrt(0.05 * 0.95 / side.size)
        high = min(0.95 + step, 1)
        at = [np.sort(side)[::-1][int(np.ceil(r * side.size - 1e-9)) - 1] for r in (0.95 - step, high)]
        slope = (np.mean(counted >= at[1]) - np.mean(counted >= at[0])) / (high - 0.95 + step)
        assert of_side == pytest.approx(slope * (side < threshold), abs=1e-12)


@pytest.mark.parametrize("shape", [(400, (300, 200)), (60, (500,))])
def test_variances_are_those_of_many_draws(shape):
    """Of the mean over sets, of differences of two scores on the same samples, and of sets that share ID samples."""
    n, sizes = shape
    found, expected, differences = [], [], []
    for seed in range(300):
        id_scores, ood_scores = draw("continuous", n, sizes, seed)
        rng = np.random.default_rng(1000 + seed)
        noisy = [side + rng.normal(0, 0.5, side.size) for side in (id_scores, *ood_scores)]
        both = [values_of(id_scores, ood_scores), values_of(noisy[0], noisy[1:])]
        layout, sets = both[0][2], range(len(sizes))
        found.append([both[0][0][name].mean() for name in RATES])
        differences.append([both[0][0][name].mean() - both[1][0][name].mean() for name in RATES])
        expected.append([[sum(spread(vector, layout).parts(sets)) for vector in (
            both[0][1][name], both[0][1][name] - both[1][1][name])] for name in RATES])  # fmt: skip
    errors = np.sqrt(np.mean(expected, axis=0))  # (3, 2)
    assert errors[:, 0] == pytest.approx(np.std(found, axis=0), rel=0.15 if n == 400 else 0.3)
    assert errors[:, 1] == pytest.approx(np.std(differences, axis=0), rel=0.15 if n == 400 else 0.3)


def test_means_over_sets_know_that_they_share_the_id_samples():
    id_scores, ood_scores = draw("continuous", 50, (40, 70, 10))
    _, vectors, layout = values_of(id_scores, ood_scores)
    for name, sets in product(RATES, ([0], [1, 2], [0, 1, 2])):
        in_id, in_oods = layout.split(vectors[name])
        of_id = np.var(in_id[sets].mean(axis=0), ddof=1) / 50
        of_ood = sum(np.var(in_oods[j], ddof=1) / len(in_oods[j]) for j in sets) / len(sets) ** 2
        assert spread(vectors[name], layout).parts(sets) == pytest.approx((of_id, of_ood), rel=1e-12, abs=1e-18)


def test_values_of_several_fits_add_up():
    id_scores, ood_scores = draw("tied", 30, (20, 10))
    _, once, layout = values_of(id_scores, ood_scores)
    twice = np.zeros((len(RATES), layout.size))
    for _ in range(2):
        influence(id_scores, ood_scores, twice)
    assert twice / 2 == pytest.approx(np.array(list(once.values())))
