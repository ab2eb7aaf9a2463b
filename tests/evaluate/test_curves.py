from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from oodgrid.errors import OodgridError
from oodgrid.evaluate import curves, metrics


def normals(n_id=3000, n_ood=2000, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(1, 1, n_id), rng.normal(0, 1, n_ood)


def full_curve(id_scores, ood_scores):
    is_id = np.r_[np.ones(len(id_scores)), np.zeros(len(ood_scores))]
    fpr, tpr, _ = roc_curve(is_id, np.concatenate([id_scores, ood_scores]), drop_intermediate=False)
    return fpr, tpr


def vertical_gap(curve, thinned):
    """The largest vertical distance over all rates at which either bends, taken just left and just right of each."""
    x = np.unique(np.concatenate([curve[0], thinned[0]]))
    x = np.unique(np.concatenate([x, (x[1:] + x[:-1]) / 2, x[1:] - 1e-9, x[:-1] + 1e-9]).clip(0, 1))
    inside = ~np.isin(x, np.concatenate([curve[0], thinned[0]]))  # on a vertical rise the value is not unique
    return np.max(np.abs(np.interp(x[inside], *curve) - np.interp(x[inside], *thinned)))


def test_short_curve_is_exact():
    id_scores, ood_scores = normals(40, 30)
    got = curves.roc_points(metrics.count_scores(id_scores, ood_scores))
    np.testing.assert_allclose(got, full_curve(id_scores, ood_scores))


@pytest.mark.parametrize("most", [4, 10, 64, 256])
def test_long_curve_is_thinned_within_its_bound(most):
    id_scores, ood_scores = normals()
    fpr, tpr = curves.roc_points(metrics.count_scores(id_scores, ood_scores), most)
    assert fpr.size == tpr.size <= most
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(fpr) >= 0)
    assert np.all(np.diff(tpr) >= 0)
    assert vertical_gap(full_curve(id_scores, ood_scores), (fpr, tpr)) <= 1 / (most - 3) + 1e-6


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=300),
    st.lists(st.integers(0, 60), min_size=1, max_size=300),
    st.integers(4, 30),
)
@settings(max_examples=150, deadline=None)
def test_any_curve_keeps_its_bound_and_its_order(id_scores, ood_scores, most):
    fpr, tpr = curves.roc_points(metrics.count_scores(id_scores, ood_scores), most)
    assert fpr.size <= most
    assert np.all(np.diff(fpr) >= 0)
    assert np.all(np.diff(tpr) >= 0)
    assert vertical_gap(full_curve(id_scores, ood_scores), (fpr, tpr)) <= 1 / (most - 3) + 1e-4


def test_curve_with_a_long_step_keeps_its_corner():
    """Separated sets rise at once to (0, 1); the flat top must not be cut into a slope that starts early."""
    id_scores, ood_scores = np.arange(1000, 2000.0), np.arange(1000.0)
    fpr, tpr = curves.roc_points(metrics.count_scores(id_scores, ood_scores), 50)
    assert (0.0, 1.0) in set(zip(fpr.tolist(), tpr.tolist(), strict=True))


@pytest.mark.parametrize("most", [4, 20, 256])
@pytest.mark.parametrize("decimals", [1, 2, 12])
def test_operating_point_is_kept(most, decimals):
    id_scores, ood_scores = (side.round(decimals) for side in normals(1237, 911))
    counts = metrics.count_scores(id_scores, ood_scores)
    points = np.stack(curves.roc_points(counts, most))
    threshold = curves.id_threshold95(counts)
    operating = [[metrics.fpr95_id_pos(counts)], [np.mean(id_scores >= threshold)]]
    assert np.min(np.abs(points - operating).max(0)) < 1e-12


def test_area_under_the_thinned_curve():
    counts = metrics.count_scores(*normals())
    fpr, tpr = curves.roc_points(counts)
    assert np.trapezoid(tpr, fpr) == pytest.approx(metrics.auroc(counts), abs=1e-4)


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="at least 4"):
        curves.roc_points(metrics.count_scores([1], [0]), 3)


def test_threshold_is_the_id_score_nearest_95_percent():
    assert curves.id_threshold95(metrics.count_scores(np.arange(100.0), [50.5])) == 5.0


def test_histograms_are_densities_on_one_grid():
    id_scores, ood_scores = normals(500, 300)
    edges, in_id, in_ood = curves.histograms(id_scores, ood_scores)
    both = np.concatenate([id_scores, ood_scores])
    assert (edges.shape, in_id.shape, in_ood.shape) == ((101,), (100,), (100,))
    assert (edges[0], edges[-1]) == (both.min(), both.max())
    for side, density in ((id_scores, in_id), (ood_scores, in_ood)):
        expected, _ = np.histogram(side, edges, density=True)
        np.testing.assert_allclose(density, expected, rtol=1e-9)
        assert np.sum(density * np.diff(edges)) == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 7.5, -3e-9, 1e300, -1e300, 0.00112])
def test_constant_scores_fill_one_bin(value):
    edges, in_id, in_ood = curves.histograms(np.full(5, value), np.full(3, value), bins=10)
    assert np.all(np.diff(edges) > 0)
    assert edges[0] < value < edges[-1]
    for density in (in_id, in_ood):
        assert np.count_nonzero(density) == 1
        assert np.sum(density * np.diff(edges)) == pytest.approx(1)


@pytest.mark.parametrize(
    "pair",
    [
        ([1.0], [np.nextafter(1.0, 2)]),
        ([1e308], [-1e308]),
        ([1.7e308], [1.6e308]),
        ([0.00105, 0.00127], [0.0011]),
        ([1e-300], [0.0]),
        ([5], [7]),
    ],
)
def test_extreme_ranges_keep_every_sample(pair):
    edges, in_id, in_ood = curves.histograms(*pair)
    assert np.all(np.diff(edges) > 0)
    for density in (in_id, in_ood):
        assert np.all(np.isfinite(density))
        assert np.sum(density * np.diff(edges)) == pytest.approx(1)


def test_histograms_refuse_nan():
    with pytest.raises(OodgridError, match="OOD scores: 1 of 2 numbers is NaN"):
        curves.histograms([1.0], [1.0, np.nan])
