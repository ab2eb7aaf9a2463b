"""The one method and score whose curves are drawn: the most accurate on ID, a choice that sees no OOD."""

from __future__ import annotations

from typing import Any

import polars as pl

from oodgrid.report.figures.study import Pair, Study

Curve = dict[str, Any]  # a row of curves.parquet


def curves_of(study: Study) -> tuple[Pair | None, dict[str, Curve]]:
    """Return the most accurate method under the first listed score that worked for it, and its curve of every set."""
    shown = study.curves.filter(pl.col("ood_dataset").is_in(list(study.sets)))
    of_best = shown.filter(pl.col("method").eq_missing(pl.lit(study.most_accurate)))
    rows = of_best if len(of_best) else shown
    scores = rows["score"].unique(maintain_order=True).to_list()
    if not scores:
        return None, {}
    score = study.default_score if study.default_score in scores else scores[0]
    pair = (rows.filter(pl.col("score") == score)["method"][0], score)
    return pair, curves_by_set(study, pair)


def curves_by_set(study: Study, pair: Pair | None) -> dict[str, Curve]:
    """Return the curve of a method and score of every OOD set that has one, in order."""
    if pair is None:
        return {}
    rows = study.curves.filter(pl.col("method") == pair[0], pl.col("score") == pair[1])
    curves = {row["ood_dataset"]: row for row in rows.iter_rows(named=True)}
    return {name: curves[name] for name in study.sets if name in curves}


def choice(study: Study, pair: Pair) -> str:
    """Return how the pair was chosen, in words."""
    most = " is the most accurate on ID; no OOD result was looked at" if pair[0] == study.most_accurate else ""
    return f"{study.title(pair)}{most}. Largest number of shots, first seed."
