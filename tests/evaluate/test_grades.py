"""Detection by graded shifts: cells, means, sensitivity and correlation, against naive arithmetic."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import linregress, pearsonr

from oodgrid.config.grades import named_cell
from oodgrid.evaluate.grades import RATES, Cells, _named, line, of_cells, summarised
from oodgrid.evaluate.metrics import detection_metrics


def world(seed, sets=3, levels=(4, 5), size=400):
    """Scores with many ties, and levels of which the last has few samples."""
    rng = np.random.default_rng(seed)
    id_scores = rng.integers(0, 30, 150).astype(float)
    names = [f"set-{number}" for number in range(sets)]
    scores = {name: rng.integers(-10, 25, size).astype(float) for name in names}
    shares = [np.r_[np.full(count - 1, 1.0), 0.04] / (count - 0.96) for count in levels]
    in_levels = {name: np.stack([rng.choice(len(p), size, p=p) for p in shares]) for name in names}
    return id_scores, scores, Cells(in_levels, levels)


@pytest.mark.parametrize("seed", range(5))
def test_cells_have_the_metrics_of_their_samples_alone_and_small_ones_are_left_out(seed):
    id_scores, scores, cells = world(seed)
    rows = {
        (row["semantic"], row["covariate"]): row for row in of_cells(id_scores, scores, cells).iter_rows(named=True)
    }
    ood = np.concatenate(list(scores.values()))
    levels = np.concatenate([cells.levels[name] for name in scores], axis=1)
    sizes = []
    for semantic in range(4):
        for covariate in range(5):
            inside = ood[(levels[0] == semantic) & (levels[1] == covariate)]
            row = rows.pop((semantic + 1, covariate + 1), None)
            sizes.append(len(inside))
            assert (row is None) == (len(inside) <= 10)
            if row:
                known = detection_metrics(id_scores, inside)
                assert {name: row[name] for name in ("n_ood", *RATES)} == {n: known[n] for n in ("n_ood", *RATES)}
    assert not rows and min(sizes) <= 10 < max(sizes)


def test_means_slopes_and_correlations_are_those_of_plain_arithmetic():
    cells = of_cells(*world(9))
    summary = pl.DataFrame(list(summarised(cells)), infer_schema_length=None)
    table = {(r["semantic"], r["covariate"]): r for r in cells.iter_rows(named=True)}
    for place, axis in enumerate(("semantic", "covariate")):
        for rate in RATES:
            by_level = {}
            for key, row in table.items():
                by_level.setdefault(key[place], []).append(row[rate])
            means = {level: sum(values) / len(values) for level, values in sorted(by_level.items())}
            rows = summary.filter(what="mean", axis=axis).sort(axis)
            assert rows[axis].to_list() == list(means)
            np.testing.assert_allclose(rows[rate].to_numpy(), list(means.values()), rtol=1e-12)
            known = linregress(list(means), list(means.values()))
            one = {what: summary.filter(what=what, axis=axis)[rate].item() for what in ("sensitivity", "correlation")}
            assert one["sensitivity"] == pytest.approx(abs(known.slope))
            assert one["correlation"] == pytest.approx(pearsonr(list(means), list(means.values()))[0])


def test_a_rate_of_nothing_is_a_rate_and_a_cell_that_is_not_there_is_none():
    """The published script takes a rate of 0 for a missing cell: an FPR of 0 would count for nothing."""
    full = Cells({"a": np.stack([np.repeat([0, 0, 1], 20), np.repeat([0, 1, 0], 20)])}, (2, 2))
    cells = of_cells(np.arange(100.0) + 50, {"a": np.repeat([0.0, 200.0, 0.0], 20)}, full)
    assert cells["fpr95_id_pos"].to_list() == [0, 1, 0]
    means = pl.DataFrame(list(summarised(cells)), infer_schema_length=None).filter(what="mean", axis="semantic")
    assert means["fpr95_id_pos"].to_list() == [0.5, 0]


@pytest.mark.parametrize(
    ("levels", "means", "both"),
    [
        ([1], [0.5], (None, None)),
        ([], [], (None, None)),
        ([1, 2, 3], [0.5] * 3, (0, None)),
        ([1, 3], [0.9, 0.5], (0.2, -1)),
    ],
)
def test_a_line_through_few_or_equal_means(levels, means, both):
    assert line(np.array(levels, float), np.array(means)) == pytest.approx(both)


def test_sets_that_are_cells_by_their_names():
    cells = _named(["cov_0_sem_2", "cov_3_sem_7", "noise"], "cov_{covariate}_sem_{semantic}")
    assert {name: level.ravel().tolist() for name, level in cells.levels.items()} == {
        "cov_0_sem_2": [0, 0], "cov_3_sem_7": [5, 3],
    }  # fmt: skip
    assert cells.counts == (6, 4)
    assert "has a name as s{semantic}.c{covariate}: s1xc2" in _named(["s1xc2"], "s{semantic}.c{covariate}")
    assert named_cell("c_20240101_3", "c_{semantic}_{covariate}") is None  # no place for each of so many levels
