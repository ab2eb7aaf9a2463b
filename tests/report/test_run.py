from __future__ import annotations

import polars as pl
import pytest

from oodgrid import grid
from oodgrid.config import parse
from oodgrid.errors import OodgridError
from oodgrid.report.run import RATES, check_complete


@pytest.fixture
def whole(experiment_of):
    """An experiment, and metrics that hold all of its rows in another order and in narrower types."""
    experiment = parse(experiment_of(seeds=[7, 8], scores=["mcm", {"name": "mcm", "T": 0.5}, "knn"]))
    rows = pl.DataFrame(list(grid.rows(experiment)), schema=list(grid.KEYS), orient="row").reverse()
    shown = dict.fromkeys(("status", "reason", *RATES), pl.lit(None))
    return experiment, rows.cast({"shots": pl.Int32, "seed": pl.Int32}).with_columns(**shown)


def test_metrics_of_all_rows_are_complete_and_rows_of_more_do_not_matter(whole):
    experiment, metrics = whole
    check_complete(metrics, experiment)
    check_complete(pl.concat([metrics, metrics.with_columns(score=pl.lit("msp"))]), experiment)


def test_rows_that_are_lacking_are_counted_and_the_first_is_named(whole):
    experiment, metrics = whole
    with pytest.raises(
        OodgridError, match=f"lacks 2 of the {len(metrics)} rows .* first: backbone tiny, .* score mcm,"
    ):
        check_complete(metrics[:-2], experiment)


def test_a_column_that_is_lacking_is_named(whole):
    experiment, metrics = whole
    with pytest.raises(OodgridError, match=r"lacks the columns seed, auroc: "):
        check_complete(metrics.drop("seed", "auroc"), experiment)
