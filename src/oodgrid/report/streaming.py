"""What stands under the table of transductive scores: what each sees of the test stream, and how its orders differ."""

from __future__ import annotations

import json
from collections.abc import Sequence

import polars as pl

from oodgrid import streams
from oodgrid.counts import counted
from oodgrid.measures import of_first
from oodgrid.report.evaluated import Evaluated
from oodgrid.report.names import Legend
from oodgrid.report.render import Table
from oodgrid.report.select import percent

MOST_NAMED = 8  # rows, in one note
COMES = {
    streams.MIXED: "ID and OOD samples come mixed",
    streams.ID_FIRST: "all ID samples come before the OOD samples",
    streams.OOD_FIRST: "all OOD samples come before the ID samples",
    streams.TEMPORAL: "mixed streams of the OOD sets come one after the other, in the order of the configuration, and "
    "what it remembers stays",
}


def peeking(rows: pl.DataFrame, legend: Legend) -> list[str]:
    """Return, for each score of rows of metrics.parquet, that it looks at the test stream, and in what order."""
    lines, ood_sets = {}, rows["ood_dataset"].unique(maintain_order=True).to_list()
    for score, params in rows.select("score", "params").unique(maintain_order=True).rows():
        stream = json.loads(params).get("stream", streams.MIXED)
        sets = ", then ".join(streams.sequence(stream, ood_sets))  # those that it does not name, too
        then = f"mixed streams of {sets}, and what it remembers stays"
        lines[score] = f"{legend.scores[score]}: it peeks at the unlabelled test stream; {COMES.get(stream, then)}."
    return list(lines.values())


def first_samples(columns: Sequence[str]) -> list[str]:
    """Return what the columns of first samples are; nothing where there are none."""
    counts = sorted({count for name in columns if (count := of_first(name)) is not None})
    return [
        f"First {' and '.join(f'{count:,}' for count in counts)}: of the ID and OOD samples that come first in a "
        "stream; in one that goes on from another OOD set, first of their set. No number where one side is missing."
    ] * bool(counts)


def orders(pair: Evaluated, table: Table) -> list[str]:
    """Return how much the orders of the stream differ, of the rows that differ most; nothing where each has one."""
    aurocs = [column for column in table.columns if column.metric == "auroc"]
    means = [
        pair.means(column.metric, column.scope).select(
            "method", "score", "orders", "order_sd", kind=pl.lit(column.scope)
        )
        for column in aurocs
    ]
    spread = pl.concat(means).drop_nulls("order_sd") if means else pl.DataFrame()
    if spread.is_empty():
        return []
    by_row = spread.group_by("method", "score", maintain_order=True).agg("kind", "order_sd", most=pl.max("order_sd"))
    rows = by_row.sort("most", descending=True, maintain_order=True)
    listed = [
        f"{table.legend.methods[method]}, {table.legend.scores[score]} "
        + ", ".join(f"{kind} {percent(sd)}" for kind, sd in zip(kinds, deviations, strict=True))
        for method, score, kinds, deviations, _ in rows.head(MOST_NAMED).iter_rows()
    ]
    rest = [f"{len(rows) - MOST_NAMED:,} more, none of which differs more"] * (len(rows) > MOST_NAMED)
    orders_of_row = max(spread["orders"].to_list())
    return [
        f"Standard deviation of AUROC over {counted(orders_of_row, 'order')} of the stream: "
        f"{'; '.join([*listed, *rest])}."
    ]
