"""From metrics and tables of scores to summary.parquet and comparisons.parquet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from oodgrid import manifests
from oodgrid.evaluate.across import Across, mean_columns, spreads_across
from oodgrid.evaluate.ranks import ranks
from oodgrid.evaluate.rows import CERTAIN, Pair, Row, families, pairs_of
from oodgrid.evaluate.score_table import ScoreTable
from oodgrid.evaluate.spreads import Columns, Sets, Spreads, spreads
from oodgrid.evaluate.summary import COMPARISONS, SUMMARY, Column, columns, comparisons, metrics_of, summary
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
    lines = _Lines()
    shown = metrics_of(metrics)
    every = list(pairs_of(metrics, about.transductive, about.overlaps))
    by_backbone: dict[str, dict[str, Pair]] = {}
    for backbone, id_dataset, pair in progress(every, desc="compare", unit="ID set"):
        if not (pair.frame["status"] == "ok").any():
            continue
        by_backbone.setdefault(backbone, {})[id_dataset] = pair
        variances = _spreads(pair, _tables_of(tables, backbone, id_dataset), results)
        lines.add(columns(pair, shown, variances), pair, id_dataset)
    for backbone, pairs in by_backbone.items():
        if len(pairs) > 1 and len(pairs) == sum(other == backbone for other, _, _ in every):  # no ID set failed
            across = Across(pairs)
            variances = _spreads_across(across, tables, backbone, results)
            lines.add(mean_columns(across, shown, variances), across, None)
    whole = pl.concat(lines.means, rechunk=True)
    return whole, pl.concat(lines.differences, rechunk=True), list(ranks(whole))


class _Lines:
    """The rows of both tables so far."""

    def __init__(self) -> None:
        self.means, self.differences = [pl.DataFrame(schema=SUMMARY)], [pl.DataFrame(schema=COMPARISONS)]

    def add(self, of_pair: Iterable[Column], pair: Pair, id_dataset: str | None) -> None:
        """Add the rows of some columns."""
        key = {name: pair.frame[name][0] for name in ("experiment", "backbone")} | {"id_dataset": id_dataset}
        for column in of_pair:
            self.means.append(pl.DataFrame(summary(column, key), schema=SUMMARY))
            if column.metric in CERTAIN:
                self.differences.append(pl.DataFrame(comparisons(column, key), schema=COMPARISONS))


def _tables_of(tables: Sequence[ScoreTable], backbone: str, id_dataset: str) -> list[ScoreTable]:
    """Return the tables of one (backbone, ID set), zero-shot first: others are compared with it at all shots."""
    names = {"backbone": backbone, "id_dataset": id_dataset}
    of_pair = [table for table in tables if names.items() <= table.names.items()]
    return sorted(of_pair, key=lambda table: table.names["base_method"] != "zero_shot")


def _spreads(pair: Pair, tables: Sequence[ScoreTable], results: Path) -> Spreads:
    """Return the sampling variances of all rows of a pair and of all differences that are asked for."""
    references = _references(columns(pair, CERTAIN, Spreads()))
    stored = {row for rows in references.values() for row in rows if pair.is_largest(row)}
    stored |= {other for rows in references.values() for of_row in rows.values() for other in of_row}
    return spreads(
        [Columns(table, _rows_of(pair, table)) for table in tables],
        references,
        stored,
        Kept(results, "evaluate"),
        computing_fingerprint("oodgrid.evaluate"),
    )


def _spreads_across(across: Across, tables: Sequence[ScoreTable], backbone: str, results: Path) -> Spreads:
    """Return the same of the means over ID sets."""
    of_sets = {}
    for id_dataset, pair in across.pairs.items():
        of_tables = [(table, _rows_of(pair, table)) for table in _tables_of(tables, backbone, id_dataset)]
        of_sets[id_dataset] = [
            Columns(table, {row: names for row, names in rows.items() if row in set(across.rows)})
            for table, rows in of_tables
        ]
    references = _references(mean_columns(across, CERTAIN, Spreads()))
    code = computing_fingerprint("oodgrid.evaluate")
    return spreads_across(across, of_sets, references, Kept(results, "evaluate"), code)


def _references(of_pair: Iterable[Column]) -> dict[tuple[str, Sets], dict[Row, list[Row]]]:
    """Return what every row is compared with, by metric and OOD sets."""
    references: dict[tuple[str, Sets], dict[Row, list[Row]]] = {}
    for column in of_pair:
        rows = references.setdefault((column.metric, column.scope.sets), {})
        for family in families(column.pair, column.metric, column.known):
            for row, other in family.references.items():
                of_row = rows.setdefault(row, [])
                if other != row and other not in of_row:
                    of_row.append(other)
    return references


def _rows_of(pair: Pair, table: ScoreTable) -> dict[Row, list[str]]:
    """Return the rows of one table, each with the columns of its score."""
    of_table = pair.frame.filter(pl.col("method") == table.names["method"], pl.col("listed").is_in(list(table.scores)))
    rows: dict[Row, list[str]] = {}
    for method, shots, score, listed in (
        of_table.select("method", "shots", "score", "listed").unique(maintain_order=True).iter_rows()
    ):
        rows.setdefault(Row(method, shots, score), []).append(listed)
    return rows
