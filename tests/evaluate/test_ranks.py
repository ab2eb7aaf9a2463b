"""Rank tests over ID sets beside scipy and printed tables."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import friedmanchisquare

from oodgrid.evaluate.ranks import ranks


def table(values, metric="auroc"):
    """A summary of K methods on N ID sets, values (K, N)."""
    rows = [
        {"backbone": "b", "id_dataset": f"d{n}", "method": f"m{k}", "score": "mcm", "largest": True, "se": 0.1,
         "transductive": False, "scope": "near", "metric": metric, "mean": float(values[k, n])}
        for k in range(values.shape[0]) for n in range(values.shape[1])
    ]  # fmt: skip
    return pl.DataFrame(rows)


def test_below_ten_id_sets_there_is_none():
    assert not list(ranks(table(np.random.default_rng(0).random((4, 9)))))
    assert list(ranks(table(np.random.default_rng(0).random((4, 10)))))


@pytest.mark.parametrize(("metric", "sign"), [("auroc", 1), ("fpr95_id_pos", -1)])
def test_ranks_are_friedmans_and_nemenyis(metric, sign):
    values = np.random.default_rng(1).random((5, 14)) / 4 + sign * np.linspace(0.4, 0, 5)[:, None] + 0.5
    found = next(iter(ranks(table(values, metric))))
    assert [method for method, _ in found.names] == ["m0", "m1", "m2", "m3", "m4"]
    assert found.friedman_p == pytest.approx(friedmanchisquare(*values).pvalue)
    assert found.critical_difference == pytest.approx(2.728 * np.sqrt(5 * 6 / (6 * 14)), rel=1e-3)  # Demšar 2006
    for first, last in found.groups:
        assert found.mean_ranks[last] - found.mean_ranks[first] <= found.critical_difference


def test_equal_rows_share_all_ranks():
    found = next(iter(ranks(table(np.ones((3, 10))))))
    assert (found.mean_ranks, found.friedman_p, found.groups) == ([2, 2, 2], 1, [(0, 2)])
