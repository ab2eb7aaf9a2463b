"""From metrics and tables of scores to summary.parquet and comparisons.parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from oodgrid import manifests
from oodgrid.evaluate.ranks import ranks
from oodgrid.evaluate.rows import CERTAIN, Pair, Row, families, pairs_of
from oodgrid.evaluate.score_table import ScoreTable
from oodgrid.evaluate.spreads import Columns, Spreads, spreads
from oodgrid.evaluate.summary import COMPARISONS, SUMMARY, columns, comparisons, metrics_of, summary
from oodgrid.identity import computing_fingerprint
from oodgrid.kept import Kept
from oodgrid.progress import progress


def compared(
    metrics: pl.DataFrame, tables: Sequence[ScoreTable], about: manifests.Metrics, results: Path
) -> tuple[pl.DataFrame, pl.DataFrame, list[manifests.Ranks]]:
    """Return the rows of summary.parquet and comparisons.parquet, and the rank tests over ID sets.

    Args:
        metrics: All rows of metrics.parquet.
        tables: The tables of scores that they are of.
        about: What metrics.parquet says beside its rows.
        results: The results folder.

    Raises:
        OodgridError: A table is damaged, or tables of one ID set hold different samples.
    """
    means, differences = [pl.DataFrame(schema=SUMMARY)], [pl.DataFrame(schema=COMPARISONS)]
    shown = metrics_of(metrics)
    every = list(pairs_of(metrics, about.transductive, about.overlaps))
    for backbone, id_dataset, pair in progress(every, desc="compare", unit="ID set"):
        if not (pair.frame["status"] == "ok").any():
            continue
        of_pair = [
            each for each in tables if (each.names["backbone"], each.names["id_dataset"]) == (backbone, id_dataset)
        ]
        variances = _spreads(pair, of_pair, results)
        key = {"experiment": pair.frame["experiment"][0], "backbone": backbone, "id_dataset": id_dataset}
        for column in columns(pair, shown, variances):
            means.append(pl.DataFrame(summary(column, key), schema=SUMMARY))
            if column.metric in CERTAIN:
                differences.append(pl.DataFrame(comparisons(column, key), schema=COMPARISONS))
    whole = pl.concat(means, rechunk=True)
    return whole, pl.concat(differences, rechunk=True), list(ranks(whole))


def _spreads(pair: Pair, tables: Sequence[ScoreTable], results: Path) -> Spreads:
    """Return the sampling variances of all rows of a pair and of all differences that are asked for."""
    references: dict[str, dict[Row, list[Row]]] = {metric: {} for metric in CERTAIN}
    stored: set[Row] = set()
    for column in columns(pair, CERTAIN, {}):
        for family in families(pair, column.metric, column.known):
            stored.update(family.references.values())
            for row, other in family.references.items():
                of_row = references[column.metric].setdefault(row, [])
                if other != row and other not in of_row:
                    of_row.append(other)
    stored |= {row for rows in references.values() for row in rows if pair.is_largest(row)}
    first = sorted(tables, key=lambda table: table.names["base_method"] != "zero_shot")
    return spreads(
        [Columns(table, _rows_of(pair, table)) for table in first],
        references,
        stored,
        Kept(results, "evaluate"),
        computing_fingerprint("oodgrid.evaluate"),
    )


def _rows_of(pair: Pair, table: ScoreTable) -> dict[Row, list[str]]:
    """Return the rows of one table, each with the columns of its score."""
    of_table = pair.frame.filter(pl.col("method") == table.names["method"], pl.col("listed").is_in(list(table.scores)))
    rows: dict[Row, list[str]] = {}
    for method, shots, score, listed in (
        of_table.select("method", "shots", "score", "listed").unique(maintain_order=True).iter_rows()
    ):
        rows.setdefault(Row(method, shots, score), []).append(listed)
    return rows
