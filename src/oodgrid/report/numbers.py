"""The numbers of tables: rows joined with what the summary and the comparisons say of them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from oodgrid.report import render
from oodgrid.report.evaluated import ROW, Evaluated
from oodgrid.report.render import Column


def numbers(pair: Evaluated, rows: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    """Return rows with the numbers of all columns: means, the ends of intervals, deviations and the best set.

    Args:
        pair: Whose numbers.
        rows: Columns method, shots, score, and `against`: the family among which the best set is sought.
        columns: Which numbers.
    """
    for column in columns:
        of_score = column.metric != "id_accuracy"
        keys = list(ROW if of_score else ROW[:2])
        means = pair.means(column.metric, column.scope, column.ood_dataset)
        parts = [pl.col(part).alias(f"{column.key}.{part}") for part in render.PARTS]
        rows = rows.join(
            means.select(*keys, pl.col("mean").alias(column.key), *parts), on=keys, how="left", maintain_order="left"
        )
        if column.ranked:
            keys = [*keys, "against"] if of_score else keys
            rows = rows.join(_best_sets(pair, column, keys), on=keys, how="left", maintain_order="left")
    return rows


def _best_sets(pair: Evaluated, column: Column, keys: list[str]) -> pl.DataFrame:
    """Return which rows of a column are in the best set of each family, where there is more than one row to compare."""
    families = ("best", "best_of_score") if "against" in keys else ("best",)
    of_families = [pair.differences(family, column.metric, column.scope, column.ood_dataset) for family in families]
    best = pl.col("in_best_set") & (pl.col("rows") > 1)
    return pl.concat(of_families).select(*keys, best.alias(f"{column.key}.best"))
