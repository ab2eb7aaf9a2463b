"""What was run: the rows of metrics.parquet with their settings, as far as a configuration says them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import polars as pl

from oodgrid import catalogue, registry
from oodgrid.config import Backbone, Experiment, IdDataset, build

ROW = ("backbone", "id_dataset", "method", "base_method", "shots", "score", "base_score")
INTERVAL_OF = {"fpr95_id_pos_mcm": "fpr95_id_pos"}  # whose interval stands in for that of a metric, moved to it


class Row(NamedTuple):
    """One method at one number of shots under one score, its seeds and orders of a stream together."""

    backbone: str
    id_dataset: str
    method: str
    base_method: str
    shots: int
    score: str
    base_score: str


class Number(NamedTuple):
    """One of our numbers: the mean over seeds, orders and OOD sets, with its 95 % interval where there is one."""

    mean: float
    lo: float | None
    hi: float | None
    seeds: int


@dataclass(frozen=True)
class Ours:
    """The results of one experiment.

    Attributes:
        metrics: Rows of metrics.parquet.
        summary: Rows of summary.parquet, for intervals; None where there is none.
        experiment: What was run; None where only the names in metrics.parquet are known.
    """

    metrics: pl.DataFrame
    summary: pl.DataFrame | None = None
    experiment: Experiment | None = None

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The metrics, all orders of a stream under one name, with the names that methods and scores are known by."""
        frame = self.metrics
        for name in ("method", "score"):  # results of before December 2026 lack the second name
            if f"base_{name}" not in frame.columns:
                frame = frame.with_columns(pl.col(name).str.split("@").list.first().alias(f"base_{name}"))
        names = {}
        for score, base, params in frame.select("score", "base_score", "params").unique().rows():
            stated = json.loads(params or "{}")
            if "order" in stated:
                others = {name: value for name, value in stated.items() if name != "order"}
                names[score] = registry.variant(base, others, registry.find("score", base).params)
        return frame.with_columns(pl.col("score").replace(names)) if names else frame

    @cached_property
    def rows(self) -> list[Row]:
        """Every row, in the order of the configuration."""
        return [Row(*key) for key in self.frame.select(ROW).unique(maintain_order=True).rows()]

    @cached_property
    def sizes(self) -> dict[tuple[str, str], tuple[int | None, dict[str, int | None]]]:
        """The number of ID samples, and of the samples of each OOD set, of every backbone and ID set."""
        sizes: dict[tuple[str, str], tuple[int | None, dict[str, int | None]]] = {}
        of = self.frame.group_by("backbone", "id_dataset", "ood_dataset", maintain_order=True)
        for backbone, id_dataset, ood, n_id, n_ood in of.agg(pl.col("n_id").max(), pl.col("n_ood").max()).rows():
            known, oods = sizes.get((backbone, id_dataset), (None, {}))
            sizes[backbone, id_dataset] = (known or n_id, {**oods, ood: n_ood})
        return sizes

    def backbone(self, name: str) -> Backbone | None:
        """Return a backbone as the configuration has it, or without one the catalogue; None where neither knows it."""
        if self.experiment is not None:
            return next((each for each in self.experiment.backbones if each.name == name), None)
        if name not in catalogue.entries("backbone"):
            return None
        return build(Backbone, name=name, **catalogue.entry("backbone", name))

    def id_set(self, name: str) -> IdDataset | None:
        """Return an ID set as the configuration has it; None where it does not know it."""
        sets = self.experiment.id_datasets if self.experiment is not None else []
        return next((each for each in sets if each.name == name), None)

    def whole_name(self, id_dataset: str, name: str) -> tuple[str, int | None]:
        """Return the name of a dataset without the mark of a limit, and the limit.

        What is one of the catalogue under another name, as with other prompts, has the name that the catalogue has.
        """
        its = self.id_set(id_dataset)
        sets = [] if its is None else [its, *(dataset for _, dataset in its.pairs())]
        for dataset in sets:
            if dataset.name == name:
                is_other_name = dataset.of is not None and dataset.classes is None
                return dataset.real_name if is_other_name else dataset.whole_name, dataset.limit
        whole, mark, limit = name.rpartition("-limit-")
        return (whole, int(limit)) if mark and limit.isdigit() and its is None else (name, None)

    def is_leaky(self, row: Row) -> bool:
        """Return whether hyper-parameters of a row were chosen on the test set."""
        if not row.shots:
            return False
        if (its := self.id_set(row.id_dataset)) is not None:
            return its.leaky_selection_on_test
        reasons = self._of(row)["reason"].drop_nulls()
        return bool(reasons.str.contains("leaky_selection_on_test", literal=True).any())

    def number(self, row: Row, oods: Sequence[str], metric: str) -> Number | None:
        """Return a number of a row, over some OOD sets or, of a metric of the ID set, over none.

        None where a set has no number, or not all sets have numbers of the same seeds.
        """
        of_row = self._of(row) if oods else self._of_method(row)
        if metric not in of_row.columns:
            return None
        known = of_row.filter(pl.col(metric).is_not_null())
        if oods:
            known = known.filter(pl.col("status") == "ok", pl.col("ood_dataset").is_in(list(oods)))
            if set(known["ood_dataset"].unique()) != set(oods):
                return None
            if known.select("ood_dataset", "seed").unique().height != len(set(oods)) * known["seed"].n_unique():
                return None
        if not len(known):
            return None
        by = ["ood_dataset"] if oods else ["seed"]
        mean = float(known.group_by(by).agg(pl.col(metric).mean())[metric].to_numpy().mean())
        lo, hi = self._interval(row, oods, metric, mean)
        return Number(mean, lo, hi, known["seed"].n_unique())

    def why_not(self, row: Row, oods: Sequence[str]) -> str:
        """Return why a row has no number on some OOD sets."""
        reasons = self._of(row).filter(pl.col("ood_dataset").is_in(list(oods)))["reason"].drop_nulls().unique()
        return "; ".join(reasons.sort()[:2].to_list()) or "it has none"

    def _of(self, row: Row) -> pl.DataFrame:
        return self.frame.filter(*(pl.col(name) == value for name, value in zip(ROW, row, strict=True)))

    def _of_method(self, row: Row) -> pl.DataFrame:
        named = zip(ROW[:5], row[:5], strict=True)
        return self.frame.filter(*(pl.col(name) == value for name, value in named))

    def _interval(
        self, row: Row, oods: Sequence[str], metric: str, mean: float
    ) -> tuple[float, float] | tuple[None, None]:
        """Return the 95 % interval of a mean, of samples and fits, from summary.parquet."""
        if self.summary is None:
            return None, None
        source = INTERVAL_OF.get(metric, metric)
        score = pl.col("score").is_null() if not oods else pl.col("score") == row.score
        named = {"backbone": row.backbone, "id_dataset": row.id_dataset, "method": row.method, "shots": row.shots}
        rows = self.summary.filter(
            *(pl.col(name) == value for name, value in named.items()), score, pl.col("metric") == source
        )
        rows = rows.filter(self._scope(row, oods)).filter(pl.col("lo").is_not_null())
        if not len(rows):
            return None, None
        its = rows.row(0, named=True)
        lo, hi = (min(1.0, max(0.0, its[end] + mean - its["mean"])) for end in ("lo", "hi"))
        return lo, hi

    def _scope(self, row: Row, oods: Sequence[str]) -> pl.Expr:
        """Return which rows of the summary are over exactly these OOD sets."""
        if len(oods) == 1:
            return (pl.col("scope") == "set") & (pl.col("ood_dataset") == oods[0])
        if not oods:
            return pl.col("scope") == "id"
        of = self._of(row).select("ood_dataset", "ood_kind").unique().rows()
        kinds = {kind: {name for name, its in of if its == kind} for _, kind in of}
        kinds["overall"] = kinds.get("near", set()) | kinds.get("far", set())
        scopes = [kind for kind, names in kinds.items() if names == set(oods)]
        return pl.col("scope").is_in(scopes) & (pl.col("sets") == len(oods))
