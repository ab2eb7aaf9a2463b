"""What the page's tables keep: tests/report/test_explore.py reads the same text in a browser."""

from __future__ import annotations

import gzip
import json
from base64 import b64decode

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oodgrid.report import packed


def header(text):
    content = gzip.decompress(b64decode(text))
    return json.loads(content[4 : 4 + int.from_bytes(content[:4], "little")])


@pytest.mark.parametrize(
    "values, kind",
    [
        (["a", None, "ü</script>"], "words"),
        ([3, 1, None], "words"),
        ([True, None], "words"),
        ([None, None], "words"),
        ([], "words"),
        ([0.5, None, -1.0], "fraction"),
        ([0.5, 1.5], "number"),
        ([float("nan"), 0.5], "number"),
        ([float("inf")], "number"),
    ],
)
def test_each_kind_of_column_is_kept_and_the_text_has_no_sign_of_markup(values, kind):
    text = packed.pack(pl.DataFrame({"x": pl.Series(values)}))
    assert header(text)["columns"][0]["kind"] == kind
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    assert packed.pack(pl.DataFrame({"x": pl.Series(values)})) == text


def test_scores_are_no_metrics_and_keep_their_digits():
    """MCM at T=1 over 1000 classes spans .00105 to .00127."""
    assert (
        header(packed.pack(pl.DataFrame({"x": pl.Series([0.00105, 0.00127], dtype=pl.Float32)})))["columns"][0]["kind"]
        == "number"
    )


def test_more_words_than_a_byte_counts_take_two():
    assert header(packed.pack(pl.DataFrame({"x": list(range(257))})))["columns"][0]["width"] == 2


rates = st.lists(st.floats(0, 1), min_size=0, max_size=60).map(lambda inner: np.array([0.0, *sorted(inner), 1.0]))


@given(rates, rates, st.integers(16, 200))
def test_a_thinned_roc_curve_lies_on_the_curve_it_came_from(fpr, tpr, points):
    length = min(len(fpr), len(tpr))
    fpr, tpr = np.append(fpr[: length - 1], 1.0), np.append(tpr[: length - 1], 1.0)
    steps = packed.steps_of_roc(fpr, tpr, points)
    assert len(steps) == points - 1 and all(0 <= step <= 255 for step in steps)
    along = np.linspace(0, 2, points)
    kept = np.append(0, np.cumsum(steps)) * 2 / (points - 1) / 255
    whole = fpr + tpr
    places, first = np.unique(whole, return_index=True)
    exact = np.interp(along, places, tpr[first])
    assert np.abs(kept - exact).max() <= 2 * 2 / (points - 1) / 255  # what rounding to bytes costs
    assert (np.diff(along - kept) >= -1e-9).all() and kept[-1] == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("bins, left", [(100, 100), (50, 50), (25, 25), (33, 100)])
def test_histograms_keep_their_shape_in_fewer_bins(bins, left):
    first, second = np.linspace(0, 3, 100), np.zeros(100)
    heights, none = packed.heights(first, second, bins)
    assert len(heights) == left and max(heights) == 255 and not any(none) and heights == sorted(heights)
    assert packed.heights(second, second, 50) == ([0] * 50, [0] * 50)
