"""The table temperatures.parquet: what scores detect under other temperatures, for a figure and nothing else.

A temperature that is chosen here is chosen by OOD results, an oracle. So these variants are in no table of metrics,
means or differences; they have no intervals, and only the fits of the largest shots.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from oodgrid import registry
from oodgrid.evaluate.metrics import count_scores, metrics_from_counts
from oodgrid.evaluate.rows import over_scopes
from oodgrid.evaluate.score_table import Samples, ScoreTable

RATES = ("auroc", "fpr95_id_pos", "fpr95_ood_pos")
NAMES = ("experiment", "backbone", "id_dataset", "method", "base_method")
TEMPERATURES: dict[str, Any] = {
    **dict.fromkeys(NAMES, pl.String),
    **{"shots": pl.Int32, "curve": pl.String, "base_score": pl.String, "score": pl.String},
    **{"T": pl.Float64, "is_default": pl.Boolean, "scope": pl.String, "sets": pl.Int32, "seeds": pl.Int32},
    **dict.fromkeys(RATES, pl.Float64),
    **dict.fromkeys((f"{name}_sd" for name in RATES), pl.Float64),
}


class SweepTable(ScoreTable):
    """One table of scores under other temperatures."""

    drawn = False

    def measured(self) -> list[str]:
        """Return the rates, which no recall of the config changes."""
        return list(RATES)

    def rates(self, id_scores: np.ndarray, ood_scores: np.ndarray) -> dict[str, float]:
        """Return AUROC and both rates of false positives, without intervals."""
        metrics = metrics_from_counts(count_scores(id_scores, ood_scores))
        return {name: metrics[name] for name in RATES}

    def more(self, samples: Samples, ood: str, score: str) -> dict[str, float | None]:
        """Return nothing more."""
        return {}


def temperatures(tables: Iterable[SweepTable], overlaps: Sequence[tuple[str, str]], experiment: str) -> pl.DataFrame:
    """Return the mean over seeds of the mean over the near, the far, and all these OOD sets, at every temperature.

    Args:
        tables: The tables of scores under other temperatures.
        overlaps: Pairs of an ID and an OOD set that share classes: in no mean.
        experiment: Name.
    """
    frames = [pl.DataFrame(schema=TEMPERATURES)]
    for table in tables:
        rows = [row for row in table.measure()[0] if row["status"] == "ok" and row["ood_kind"] != "covariate"]
        if rows:
            frames.append(_means(pl.DataFrame(rows, infer_schema_length=None), overlaps, experiment))
    return pl.concat(frames)


def _means(rows: pl.DataFrame, overlaps: Sequence[tuple[str, str]], experiment: str) -> pl.DataFrame:
    described = rows.select("score", "base_score", "params").unique(maintain_order=True)
    about = pl.DataFrame([_described(*row) for row in described.iter_rows()])
    by = ["backbone", "id_dataset", "method", "base_method", "shots", "base_score", "score"]
    means = over_scopes(rows, overlaps, by, RATES)
    means = means.join(about, on="score", maintain_order="left").with_columns(experiment=pl.lit(experiment))
    return means.select(pl.col(name).cast(kind) for name, kind in TEMPERATURES.items())


def _described(score: str, base: str, params: str) -> dict[str, Any]:
    """Return the temperature of a variant, and the name of the curve that it is a point of: the variant without it."""
    given, defaults = json.loads(params), registry.find("score", base).params
    others = {name: value for name, value in given.items() if name != "T"}
    curve = registry.variant(base, others, defaults)
    return {"score": score, "curve": curve, "T": float(given["T"]), "is_default": given["T"] == defaults["T"]}
