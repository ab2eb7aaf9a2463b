from __future__ import annotations

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


def test_default_score_is_mcm_and_else_the_first_that_worked_for_a_method(metrics_of):
    assert select.default_score(one(metrics_of(scores=("energy", "mcm@T=2", "mcm")))) == "mcm"
    assert select.default_score(one(metrics_of(scores=("energy", "mcm@T=2")))) == "mcm@T=2"
    assert select.default_score(one(metrics_of(scores=("energy", "msp")))) == "energy"

    def skip(method, shots, seed, score, ood):
        return "no text" if score == "mcm" else None

    assert select.default_score(one(metrics_of(skip=skip))) == "msp"
    assert select.default_score(one(metrics_of(skip=lambda *_: "nothing works"))) == "mcm"


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.5, "50.00"), (0.99996, "100.00"), (0.0, "0.00"), (0.123449, "12.34"), (None, "--")]
)
def test_percent(fraction, text):
    assert select.percent(fraction) == text
