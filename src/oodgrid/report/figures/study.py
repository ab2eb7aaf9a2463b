"""What a figure is drawn from: the rows of one backbone and ID dataset, and which of them answer a question.

No statistic is computed here: means, intervals and best sets stand in summary.parquet and comparisons.parquet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import polars as pl

from oodgrid.manifests import EstimateError, Ranks
from oodgrid.report import canvas, select
from oodgrid.report.names import KINDS, Legend

Pair = tuple[str, str]  # a method and a score
Row = dict[str, Any]  # a row of summary.parquet
OVERALL = "overall"
SHOWN = (*select.AVERAGED, OVERALL)
TITLES = {**KINDS, OVERALL: "Near and far OOD"}
NOTHING = "no near or far OOD set has a result that may be shown."


@dataclass(frozen=True)
class Study:
    """The rows of one backbone and ID dataset, none of them of transductive scores.

    Attributes:
        summary: Of summary.parquet.
        comparisons: Of comparisons.parquet.
        curves: Of curves.parquet; empty for a mean over ID datasets.
        sets: The OOD sets to show, near and far ones that do not overlap, each with its kind.
        legend: Titles and looks.
        default_score: The score of `select.default_score`, by which main tables compare methods too.
        ranks: Rank tests over the ID datasets of the backbone.
        curves_wanted: The method and score, or None for the default, whose curves the config asks for.
        geometry: Of geometry.parquet.
        temperatures: Of temperatures.parquet.
        grades: Of grades.parquet.
        estimates: Of estimates.parquet.
        estimate_errors: How far these are off, over all ID datasets.
    """

    summary: pl.DataFrame
    comparisons: pl.DataFrame
    curves: pl.DataFrame
    sets: dict[str, str]
    legend: Legend
    default_score: str
    ranks: Sequence[Ranks] = ()
    curves_wanted: tuple[str, str | None] | None = None
    geometry: pl.DataFrame = field(default_factory=pl.DataFrame)
    temperatures: pl.DataFrame = field(default_factory=pl.DataFrame)
    grades: pl.DataFrame = field(default_factory=pl.DataFrame)
    estimates: pl.DataFrame = field(default_factory=pl.DataFrame)
    estimate_errors: Sequence[EstimateError] = ()
    _rows: dict[tuple[str, str, str | None], dict[Pair, Row]] = field(default_factory=dict)

    @cached_property
    def largest(self) -> pl.DataFrame:
        """The means of each method at its largest shots."""
        return self.summary.filter("largest")

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of OOD that have a mean: near, far or both; or overall, where some ID sets have near sets alone."""
        scopes = set(self.largest["scope"])
        return [kind for kind in select.AVERAGED if kind in scopes] or [kind for kind in (OVERALL,) if kind in scopes]

    def rows(self, scope: str, metric: str = "auroc", ood_dataset: str | None = None) -> dict[Pair, Row]:
        """Return the row of each method, at its largest shots, and score."""
        key = (scope, metric, ood_dataset)
        if key not in self._rows:
            rows = self.largest.filter(
                pl.col("scope") == scope, pl.col("metric") == metric, pl.col("ood_dataset").eq_missing(ood_dataset)
            )
            self._rows[key] = {(row["method"], row["score"]): row for row in rows.iter_rows(named=True)}
        return self._rows[key]

    def compared(self, against: str, scope: str, metric: str = "auroc") -> pl.DataFrame:
        """Return the rows of one family of comparisons."""
        return self.comparisons.filter(
            pl.col("against") == against, pl.col("scope") == scope, pl.col("metric") == metric
        )

    def best_of(self, what: Literal["method", "score"]) -> list[Pair]:
        """Return each method at its best score, or each score at its best method, by overall AUROC, best first."""
        winners = self.compared(f"best_of_{what}", OVERALL).filter("is_best").select("method", "score").rows()
        means = self.rows(OVERALL)
        return sorted(dict.fromkeys(winners), key=lambda pair: -means[pair]["mean"])

    def best_set(self, scope: str, against: str = "best") -> set[Pair]:
        """Return the rows that are not distinguishable from the best of their family."""
        return set(self.compared(against, scope).filter("in_best_set").select("method", "score").rows())

    @cached_property
    def reference(self) -> Pair | None:
        """Zero-shot with MCM, where the experiment has it."""
        rows = self.comparisons.filter(pl.col("against") == "zero_shot_mcm", pl.col("metric") == "auroc")
        return rows.select("reference_method", "reference_score").row(0) if len(rows) else None

    @cached_property
    def winning_score(self) -> str:
        """The score that is the best of the most methods by overall AUROC; of as many, the better one's."""
        scores = [score for method, score in self.best_of("method") if method != select.ANY]
        return max(scores, key=scores.count) if scores else self.default_score

    @cached_property
    def most_accurate(self) -> str | None:
        """The method of the highest ID accuracy at its largest shots: a choice that sees no OOD."""
        rows = self.largest.filter(pl.col("metric") == "id_accuracy").drop_nulls("mean")
        return rows.sort("mean", descending=True, maintain_order=True)["method"][0] if len(rows) else None

    @property
    def titles(self) -> tuple[dict[str, str], dict[str, str]]:
        """What a reader sees for methods, and for scores."""
        return self.legend.methods, self.legend.scores

    def title(self, pair: Pair) -> str:
        """Return the words for a method and a score."""
        return f"{self.legend.methods[pair[0]]}{canvas.BETWEEN}{self.legend.scores[pair[1]]}"
