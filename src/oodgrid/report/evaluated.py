"""What the stage evaluate leaves of an experiment, and the numbers of it that a report shows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import polars as pl

from oodgrid.manifests import Ranks
from oodgrid.report import select

ROW = ("method", "shots", "score")  # what names a row, its seeds averaged


@dataclass(frozen=True)
class Evaluated:
    """The tables of evaluate, of an experiment or of one pair of it.

    Attributes:
        metrics: Rows of metrics.parquet; of one pair, with the column `overlap`.
        summary: Rows of summary.parquet.
        comparisons: Rows of comparisons.parquet.
        overlaps: The (id_dataset, ood_dataset) pairs whose classes overlap: marked, and in no average.
        transductive: The scores whose values depend on other samples, by their names in metrics.parquet.
        ranks: Rank tests over ID sets.
        generated: The ID sets whose images are drawn by a program.
        settings: By backbone and ID set, what its numbers depend on that no row says: its prompts.
    """

    metrics: pl.DataFrame
    summary: pl.DataFrame
    comparisons: pl.DataFrame
    overlaps: set[tuple[str, str]] = field(default_factory=set)
    transductive: list[str] = field(default_factory=list)
    ranks: list[Ranks] = field(default_factory=list)
    generated: list[str] = field(default_factory=list)
    settings: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def pair(self, backbone: str, id_dataset: str) -> Evaluated:
        """Return what there is of one pair."""
        of_pair = pl.col("backbone") == backbone, pl.col("id_dataset") == id_dataset
        rows = select.one_pair(self.metrics, backbone, id_dataset, self.overlaps)
        return replace(
            self, metrics=rows, summary=self.summary.filter(of_pair), comparisons=self.comparisons.filter(of_pair)
        )

    def across(self, backbone: str) -> Evaluated:
        """Return the means over all ID sets of a backbone; empty where it has one."""
        means = pl.col("backbone") == backbone, pl.col("id_dataset").is_null()
        rows = self.metrics.filter(means[0]).with_columns(overlap=pl.lit(False))
        return replace(
            self, metrics=rows, summary=self.summary.filter(means), comparisons=self.comparisons.filter(means)
        )

    def samples(self) -> Evaluated:
        """Return what there is of scores of single samples."""
        single = ~pl.col("transductive")
        return replace(
            self,
            metrics=select.without(self.metrics, self.transductive),
            summary=self.summary.filter(single),
            comparisons=self.comparisons.filter(single),
        )

    def streams(self) -> Evaluated:
        """Return what there is of transductive scores, their orders under one name."""
        rows = select.only(self.metrics, self.transductive)
        return replace(
            self,
            metrics=select.orders_as_seeds(rows) if len(rows) else rows,
            summary=self.summary.filter("transductive"),
            comparisons=self.comparisons.filter("transductive"),
        )

    def rows(self) -> pl.DataFrame:
        """Return every row at its method's largest shots, in order, with the seeds at which it worked."""
        largest = select.at_largest_shots(self.metrics)
        worked = pl.col("seed").filter(pl.col("status") == "ok").n_unique()
        return largest.group_by(*ROW, maintain_order=True).agg(seeds=worked).cast({"shots": pl.Int32})

    def means(self, metric: str, scope: str, ood_dataset: str | None = None) -> pl.DataFrame:
        """Return one column of the summary, at the largest shots."""
        return self.every_mean(metric, scope, ood_dataset).filter("largest")

    def every_mean(self, metric: str, scope: str, ood_dataset: str | None = None) -> pl.DataFrame:
        """Return one column of the summary, at all shots."""
        return self.summary.filter(*_column(metric, scope, ood_dataset))

    def differences(self, against: str, metric: str, scope: str, ood_dataset: str | None = None) -> pl.DataFrame:
        """Return one column of one comparison, at the largest shots."""
        column = _column(metric, scope, ood_dataset)
        return self.comparisons.filter(*column, pl.col("against") == against, "largest")


def _column(metric: str, scope: str, ood_dataset: str | None) -> tuple[pl.Expr, ...]:
    of_set = pl.col("ood_dataset").eq_missing(pl.lit(ood_dataset, pl.String))
    return pl.col("metric") == metric, pl.col("scope") == scope, of_set
