"""Influence values beside float64 arithmetic over all pairs of samples, and beside the variance of many draws."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from oodgrid.evaluate import intervals, metrics
from oodgrid.evaluate.influence import RATES, Layout, deviations, influence, of_mean, variance
from oodgrid.evaluate.rows import Row, Scope
from oodgrid.evaluate.spreads import Spreads
from oodgrid.evaluate.summary import Column, _compared


def draw(kind, n, sizes, seed=0):
    rng = np.random.default_rng(seed)
    round_ = {"continuous": lambda x: x, "tied": lambda x: np.rint(1.5 * x), "equal": np.zeros_like}[kind]
    return round_(rng.normal(1.2, 1, n)), [round_(rng.normal(0.3 * j, 1, m)) for j, m in enumerate(sizes)]


def values_of(id_scores, ood_scores, dtype=np.float64):
    layout = Layout(len(id_scores), tuple(map(len, ood_scores)))
    vectors = np.zeros((len(RATES), layout.size), dtype)
    influence(id_scores, ood_scores, vectors)
    return dict(zip(RATES, vectors, strict=True)), layout


def rates_of(id_scores, ood_scores):
    """Each of RATES of every set, shape (J,)."""
    of_sets = [metrics.detection_metrics(id_scores, scores) for scores in ood_scores]
    return {name: np.array([each[name] for each in of_sets]) for name in RATES}


def variance_of(vector, layout, sets):
    return variance(deviations(of_mean([vector[where] for where in layout.slices(sets)], len(sets))))


SHAPES = [(1, (1,)), (2, (3,)), (7, (5, 2)), (20, (20, 30)), (41, (12, 9, 33)), (300, (100,))]


@pytest.mark.parametrize("kind", ["continuous", "tied", "equal"])
@pytest.mark.parametrize(("n", "sizes"), SHAPES)
def test_the_values_of_the_counted_side_are_the_metrics_on_average(kind, n, sizes):
    id_scores, ood_scores = draw(kind, n, sizes)
    vectors, layout = values_of(id_scores, ood_scores)
    for name, expected in rates_of(id_scores, ood_scores).items():
        in_id, in_oods = layout.split(vectors[name])
        counted = in_id if name == "fpr95_ood_pos" else in_oods
        assert [each.mean() for each in counted] == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.parametrize("kind", ["continuous", "tied", "equal"])
@pytest.mark.parametrize(("n", "sizes"), SHAPES)
def test_auroc_has_delongs_placements(kind, n, sizes):
    id_scores, ood_scores = draw(kind, n, sizes)
    vectors, layout = values_of(id_scores, ood_scores)
    in_id, in_oods = layout.split(vectors["auroc"])
    for j, scores in enumerate(ood_scores):
        wins = (id_scores[:, None] > scores) + 0.5 * (id_scores[:, None] == scores)
        assert in_id[j] == pytest.approx(wins.mean(axis=1), abs=1e-12)
        assert in_oods[j] == pytest.approx(wins.mean(axis=0), abs=1e-12)
        found = variance_of(vectors["auroc"], layout, [j])
        expected = intervals.delong_variance(metrics.count_scores(id_scores, scores))
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-20)


@pytest.mark.parametrize("kind", ["continuous", "tied"])
def test_false_positive_rates_have_both_sides(kind):
    """Indicators of the counted side, and of the side of the threshold times the slope of the ROC curve there."""
    id_scores, (scores,) = draw(kind, 400, (300,))
    vectors, layout = values_of(id_scores, [scores])
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
        pairs = [(id_scores, ood_scores), (noisy[0], noisy[1:])]
        rates = [rates_of(*pair) for pair in pairs]
        (vectors, layout), (others, _) = (values_of(*pair) for pair in pairs)
        sets = range(len(sizes))
        found.append([rates[0][name].mean() for name in RATES])
        differences.append([rates[0][name].mean() - rates[1][name].mean() for name in RATES])
        expected.append([[variance_of(vector, layout, sets) for vector in (
            vectors[name], vectors[name] - others[name])] for name in RATES])  # fmt: skip
    errors = np.sqrt(np.mean(expected, axis=0))  # (3, 2)
    assert errors[:, 0] == pytest.approx(np.std(found, axis=0), rel=0.15 if n == 400 else 0.3)
    assert errors[:, 1] == pytest.approx(np.std(differences, axis=0), rel=0.15 if n == 400 else 0.3)


def test_means_over_sets_know_that_they_share_the_id_samples():
    id_scores, ood_scores = draw("continuous", 50, (40, 70, 10))
    vectors, layout = values_of(id_scores, ood_scores)
    for name, sets in product(RATES, ([0], [1, 2], [0, 1, 2])):
        in_id, in_oods = layout.split(vectors[name])
        of_id = np.var(in_id[sets].mean(axis=0), ddof=1) / 50
        of_ood = sum(np.var(in_oods[j], ddof=1) / len(in_oods[j]) for j in sets) / len(sets) ** 2
        assert variance_of(vectors[name], layout, sets) == pytest.approx(of_id + of_ood, rel=1e-12, abs=1e-20)


def test_a_set_of_one_sample_has_no_variance_that_is_known():
    for n, sizes in ((1, (5, 4)), (5, (1, 4))):
        vectors, layout = values_of(*draw("continuous", n, sizes))
        assert variance_of(vectors["auroc"], layout, [0]) == np.inf
        assert (variance_of(vectors["auroc"], layout, [1]) == np.inf) == (n == 1)


def test_values_of_several_fits_add_up():
    id_scores, ood_scores = draw("tied", 30, (20, 10))
    once, layout = values_of(id_scores, ood_scores)
    twice = np.zeros((len(RATES), layout.size))
    for _ in range(2):
        influence(id_scores, ood_scores, twice)
    assert twice / 2 == pytest.approx(np.array(list(once.values())))


SHAPED = {
    "continuous": lambda x: x,
    "saturated": lambda x: np.minimum(x, 1.7),  # of the OOD 4.5 % are equal, beside the highest threshold
    "five values": lambda x: np.clip(np.rint(x), -2, 2),
    "fine grid": lambda x: np.rint(x / 0.01) * 0.01,
    "equal": np.zeros_like,
}


@pytest.mark.parametrize(
    ("shape", "size", "id_pos", "ood_pos"),
    [
        ("continuous", 199, True, True),
        ("continuous", 200, False, False),
        ("continuous", 5000, False, False),
        ("fine grid", 1000, False, False),
        ("saturated", 1000, False, True),  # the thresholds of ID samples are far from those that tie
        ("five values", 300, True, True),
        ("equal", 199, True, True),
        ("equal", 300, False, False),  # a threshold of other samples can be no other
    ],
)
def test_which_rates_jump_with_their_threshold(shape, size, id_pos, ood_pos):
    evenly = norm.ppf((np.arange(size) + 0.5) / size)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        id_scores, other = (SHAPED[shape](rng.permutation(evenly) + shift) for shift in (1.2, 0))
        for scores, sizes in (([other], [size]), ([other, rng.normal(0, 1, 40)], [size, 40])):
            jumps = influence(id_scores, scores, np.zeros((3, Layout(size, tuple(sizes)).size)))
            assert jumps.tolist() == [[False] * len(sizes), [id_pos] * len(sizes), [ood_pos, True][: len(sizes)]]
            flipped = influence(-scores[0], [-id_scores], np.zeros((3, 2 * size)))
            assert flipped[1:, 0].tolist() == [ood_pos, id_pos]


@pytest.mark.parametrize("shape", list(SHAPED))
@pytest.mark.parametrize(("n", "m"), [(60, 40), (230, 200), pytest.param(400, 300, marks=pytest.mark.slow)])
def test_where_no_rate_jumps_equal_rows_are_told_apart_as_rarely_as_is_said(shape, n, m):
    """Also that most draws of continuous scores are compared at all, from 200 samples on."""
    told = {rate: [] for rate in RATES[1:]}
    draws = 150
    for seed in range(draws):
        rng = np.random.default_rng([seed, n])
        common, rows = [rng.normal(size=size) for size in (n, m)], []
        for _ in range(2):
            own = [0.9 * each + rng.normal(0, 0.19**0.5, each.size) for each in common]
            pair = SHAPED[shape](own[0] + 1.2), [SHAPED[shape](own[1])]
            vectors = np.zeros((3, n + m))
            rows.append((rates_of(*pair), vectors, influence(*pair, vectors)[:, 0]))
        for k, rate in enumerate(told, 1):
            if not any(jumps[k] for *_, jumps in rows):
                noise = variance_of(rows[0][1][k] - rows[1][1][k], Layout(n, (m,)), [0])
                told[rate].append(abs(float(rows[0][0][rate][0] - rows[1][0][rate][0])) > 1.96 * noise**0.5)
    assert all(sum(each) <= 0.07 * draws + 6 for each in told.values()), {k: sum(v) for k, v in told.items()}
    if shape == "continuous":
        assert [len(each) for each in told.values()] == [draws * (size >= 200) for size in (n, m)]


def null_study(rng, rows=8, seeds=3, n=150, sizes=(120, 90)):
    """A column of rows that are all equal in truth: what all see in an image, what each does, and noise of the fit."""
    layout = Layout(n, sizes)
    common = [rng.normal(size=size) for size in (n, *sizes)]
    values, vectors = {rate: np.zeros((rows, seeds, 1)) for rate in RATES}, []
    for row in range(rows):
        own = [rng.normal(0, 0.5**0.5, size) for size in (n, *sizes)]
        vector = np.zeros((len(RATES), layout.size))
        for seed in range(seeds):
            shift = 1.2 + rng.normal(0, 0.08)  # how well this fit tells them apart
            sides = [a + b + rng.normal(0, 0.3, len(a)) for a, b in zip(common, own, strict=True)]
            influence(sides[0] + shift, sides[1:], vector)
            for rate, of_sets in rates_of(sides[0] + shift, sides[1:]).items():
                values[rate][row, seed, 0] = of_sets.mean()
        vectors.append(vector / seeds)
    return values, vectors, layout


def p_values(values, vectors, layout, rate):
    """The p of all rows against the first, as comparisons.parquet has it."""
    rows = [Row(f"m{r}", 16, "mcm") for r in range(len(vectors))]
    column = Column.__new__(Column)  # of metrics that were computed elsewhere
    column.pair = SimpleNamespace(drawn=lambda row: (True, False), transductive=frozenset())
    column.rows, column.place = rows, {row: r for r, row in enumerate(rows)}
    column.values, column.means, column.metric = values[rate], values[rate].mean(axis=(1, 2)), rate
    column.scope = Scope("overall", None, (0, 1))
    k = RATES.index(rate)
    sets = column.scope.sets
    column.spreads = Spreads(
        {
            (rate, sets, row, rows[0]): variance_of(vectors[r][k] - vectors[0][k], layout, sets)
            for r, row in enumerate(rows)
        }
    )
    return _compared(column, rows[1:], [rows[0]] * (len(rows) - 1))["p"]


@pytest.mark.parametrize(
    ("studies", "low", "high"), [(60, 0.0, 0.1), pytest.param(1500, 0.025, 0.065, marks=pytest.mark.slow)]
)
def test_equal_rows_are_told_apart_as_rarely_as_is_said(studies, low, high):
    """The type-I error of paired differences at 5 %: samples and fits are drawn anew in each study."""
    errors = {rate: [] for rate in RATES}
    for seed in range(studies):
        study = null_study(np.random.default_rng(seed))
        for rate in RATES:
            errors[rate].append(np.mean(p_values(*study, rate) < 0.05))
    shares = {rate: float(np.mean(each)) for rate, each in errors.items()}
    assert all(low <= share <= high for share in shares.values()), shares
