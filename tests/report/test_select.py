from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl
import pytest

from oodgrid.report import select


def one(metrics, overlaps=frozenset()):
    return select.one_pair(metrics, "tiny", "concepts", set(overlaps))


def test_pairs_keep_the_order_of_the_file(metrics_of):
    pairs = (("zeta", "pets"), ("alpha", "pets"), ("zeta", "cars"))
    metrics = metrics_of(methods=("zero_shot",), scores=("mcm",), features=(), pairs=pairs)
    assert select.pairs(metrics) == list(pairs)


def test_overlap_belongs_to_the_pair_and_not_to_the_set_alone(metrics):
    marked = one(metrics, {("concepts", "digits"), ("other", "noise")})
    assert marked.filter(pl.col("overlap"))["ood_dataset"].unique().to_list() == ["digits"]


def test_largest_shots_are_those_at_which_something_worked(metrics_of):
    def skip(method, shots, seed, score, ood):
        return "too few images" if method == "coop" and shots == 16 else "no text" if method == "prototype" else None

    rows = one(metrics_of(methods=("zero_shot", "coop", "prototype"), skip=skip))
    largest = dict(select.at_largest_shots(rows).select("method", "shots").unique().rows())
    assert largest == {"zero_shot": 0, "coop": 8, "prototype": 16, "any": 16}


def test_default_score_is_the_first_that_worked_for_a_method(metrics_of):
    def skip(method, shots, seed, score, ood):
        return "no text" if score == "mcm" else None

    assert select.default_score(one(metrics_of(skip=skip))) == "msp"
    assert select.default_score(one(metrics_of(skip=lambda *_: "nothing works"))) == "mcm"


def test_kind_means_are_the_mean_over_the_sets_of_the_kind(metrics):
    means = select.kind_means(one(metrics), ["auroc", "fpr95_id_pos"])
    found = defaultdict(list)
    for row in metrics.iter_rows(named=True):
        key = tuple(row[name] for name in ("method", "score", "shots", "seed", "ood_kind"))
        found[key].append((row["auroc"], row["fpr95_id_pos"]))
    worked = {
        key: np.mean(rows, axis=0) for key, rows in found.items() if rows[0][0] is not None and key[4] != "covariate"
    }
    assert len(means.drop_nulls()) == len(worked)
    for *key, auroc, fpr in means.drop_nulls().rows():
        assert (auroc, fpr) == pytest.approx(tuple(worked[tuple(key)]), abs=1e-15)


def test_no_mean_holds_covariate_shift_or_an_overlap(metrics):
    without = one(metrics.filter(~pl.col("ood_dataset").is_in(["digits", "blurred_3"])))
    marked = one(metrics, {("concepts", "digits")})
    expected = select.kind_means(without, ["auroc"])
    assert select.kind_means(marked, ["auroc"]).equals(expected)
    assert set(expected["ood_kind"]) == {"near", "far"}


def test_a_mean_over_fewer_sets_than_the_others_is_no_mean(metrics_of):
    def skip(method, shots, seed, score, ood):
        return "corrupt file" if method == "coop" and ood == "digits" and seed == 2 else None

    means = select.kind_means(one(metrics_of(methods=("coop", "prototype"), skip=skip)), ["auroc"])
    lost = means.filter(pl.col("auroc").is_null())
    assert set(lost.select("method", "seed", "ood_kind").rows()) == {("coop", 2, "far")}


def test_over_seeds_is_mean_and_sample_deviation():
    values = [0.5, 0.7, 0.9]
    frame = pl.DataFrame({"method": ["a"] * 3 + ["b"], "value": [*values, 0.4]})
    a, b = select.over_seeds(frame, ["method"]).rows()
    assert a == ("a", pytest.approx(0.7), pytest.approx(np.std(values, ddof=1)), 3)
    assert b == ("b", 0.4, None, 1)


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.5, "50.00"), (0.99996, "100.00"), (0.0, "0.00"), (0.123449, "12.34"), (None, "--")]
)
def test_percent(fraction, text):
    assert select.percent(fraction) == text


@pytest.mark.parametrize(
    ("values", "better", "expected"),
    [
        ([0.1, 0.3, 0.2], "↑", ["", "best", "second"]),
        ([0.1, 0.3, 0.2], "↓", ["best", "", "second"]),
        ([0.3, 0.3, 0.2, 0.1], "↑", ["best", "best", "second", ""]),
        ([0.3, 0.2, 0.2], "↑", ["best", "second", "second"]),
        ([0.300001, 0.3, 0.2], "↑", ["best", "best", "second"]),  # equal as printed
        ([None, 0.3, 0.2], "↑", ["", "best", "second"]),
        ([None, 0.3], "↑", ["", ""]),  # one number is not the best of anything
        ([0.1, 0.3, 0.2], "", ["", "", ""]),
        ([], "↑", []),
    ],
)
def test_marks(values, better, expected):
    assert select.marks(values, better) == expected
