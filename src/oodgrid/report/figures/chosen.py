"""The one method and score whose curves are drawn: what the config asks for, else the most accurate method on ID.

The latter is a choice that sees no OOD result.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from oodgrid.report.figures.study import NOTHING, Pair, Study

Curve = dict[str, Any]  # a row of curves.parquet


def curves_of(study: Study) -> tuple[Pair | None, dict[str, Curve]]:
    """Return the method and score to draw, and their curve of every set; None where there are no curves at all.

    Without a score asked for it is that of the main table, or the first that worked for the method.
    """
    method, score = study.curves_wanted or (study.most_accurate or "", None)  # "": no ID accuracy is known
    shown = study.curves.filter(pl.col("ood_dataset").is_in(list(study.sets)))
    of_method = shown.filter(pl.col("method") == method)
    rows = of_method if len(of_method) or study.curves_wanted else shown
    scores = rows["score"].unique(maintain_order=True).to_list()
    if score is None and not scores:
        return (method, study.default_score) if study.curves_wanted else None, {}
    score = score or (study.default_score if study.default_score in scores else scores[0])
    worked = rows.filter(pl.col("score") == score)["method"]
    pair = (worked[0] if len(worked) else method, score)
    return pair, curves_by_set(study, pair)


def curves_by_set(study: Study, pair: Pair | None) -> dict[str, Curve]:
    """Return the curve of a method and score of every OOD set that has one, in order."""
    if pair is None:
        return {}
    rows = study.curves.filter(pl.col("method") == pair[0], pl.col("score") == pair[1])
    curves = {row["ood_dataset"]: row for row in rows.iter_rows(named=True)}
    return {name: curves[name] for name in study.sets if name in curves}


def why_none(study: Study, pair: Pair | None) -> str:
    """Return why there are no curves, as the end of a sentence."""
    if study.curves_wanted is None or pair is None:
        return NOTHING
    method, score = (titles.get(name, name) for titles, name in zip(study.titles, pair, strict=True))
    return f"{method} under {score}, which the config asks for, has no result that may be shown."


def choice(study: Study, pair: Pair) -> str:
    """Return how the pair was chosen, in words."""
    most = " is the most accurate on ID; no OOD result was looked at" if pair[0] == study.most_accurate else ""
    why = ", chosen in the config" if study.curves_wanted else most
    return f"{study.title(pair)}{why}. Largest number of shots, first seed."
