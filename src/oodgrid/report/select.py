"""What tables, figures and the page show of the metrics: which rows, in what order, averaged and rounded how.

The frames have the columns of metrics.parquet. The order of their rows is the order of the config ("paper
order") and is kept throughout.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import polars as pl

from oodgrid import registry
from oodgrid.config import ANY

AVERAGED = ("near", "far")  # covariate-shifted ID asks another question and is in no average
DIGITS = 2


def pairs(metrics: pl.DataFrame) -> list[tuple[str, str]]:
    """Return the (backbone, id_dataset) pairs, in order."""
    return metrics.select("backbone", "id_dataset").unique(maintain_order=True).rows()


def one_pair(frame: pl.DataFrame, backbone: str, id_dataset: str, overlaps: set[tuple[str, str]]) -> pl.DataFrame:
    """Return the rows of one pair, with a column `overlap`: whether the OOD set shares classes with the ID set.

    Args:
        frame: Metrics or curves.
        backbone: Name.
        id_dataset: Name.
        overlaps: The (id_dataset, ood_dataset) pairs that overlap.
    """
    overlapping = [ood for name, ood in overlaps if name == id_dataset]
    rows = frame.filter(pl.col("backbone") == backbone, pl.col("id_dataset") == id_dataset)
    return rows.with_columns(overlap=pl.col("ood_dataset").is_in(overlapping))


def only(rows: pl.DataFrame, scores: Sequence[str]) -> pl.DataFrame:
    """Return the rows of some scores."""
    return rows.filter(pl.col("score").is_in(list(scores)))


def without(rows: pl.DataFrame, scores: Sequence[str]) -> pl.DataFrame:
    """Return the rows of all scores but some."""
    return rows.filter(~pl.col("score").is_in(list(scores)))


def bases(rows: pl.DataFrame, column: str) -> dict[str, str]:
    """Return the names in a column, method or score, in order, each with the name that it is registered by.

    Results of before December 2026 lack that column: there it is what comes before the parameters.
    """
    before = pl.col(column).str.split("@").list.first()
    base = f"base_{column}"
    found = rows.select(column, pl.col(base) if base in rows.columns else before.alias(base))
    return dict(found.unique(maintain_order=True).rows())


def orders_as_seeds(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of transductive scores under one name for all orders of the stream, which become seeds."""
    base, names = bases(rows, "score"), {}
    for score, params in rows.select("score", "params").unique().rows():
        others = {name: value for name, value in json.loads(params).items() if name != "order"}
        names[score] = registry.variant(base[score], others, registry.find("score", base[score]).params)
    order = pl.col("params").str.json_path_match("$.order").cast(pl.Int64)
    return rows.with_columns(score=pl.col("score").replace(names), seed=pl.col("seed") * 10**6 + order)


def names(frame: pl.DataFrame, column: str) -> list[str]:
    """Return the different values of a column, in order."""
    return frame[column].unique(maintain_order=True).to_list()


def shown_sets(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that averages and figures may show: near and far OOD sets that do not overlap."""
    return rows.filter(~pl.col("overlap"), pl.col("ood_kind").is_in(AVERAGED))


def of_kind(rows: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Return the rows of near, far or covariate OOD sets."""
    return rows.filter(pl.col("ood_kind") == kind)


def ok(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that hold numbers."""
    return rows.filter(pl.col("status") == "ok")


def at_largest_shots(rows: pl.DataFrame) -> pl.DataFrame:
    """Return each method's rows at the largest number of shots at which anything of it worked."""
    worked = pl.col("shots").filter(pl.col("status") == "ok").max()
    largest = rows.group_by("method").agg(shots=pl.coalesce(worked, pl.col("shots").max()))
    return rows.join(largest, on=["method", "shots"], how="semi", maintain_order="left")


def default_score(rows: pl.DataFrame) -> str:
    """Return the score under which methods are compared where one must do, a choice that sees no OOD result.

    That is MCM, which zero-shot CLIP is known by; failing that, the first listed that worked for some method.
    """
    worked = ok(rows)
    base = pl.col("base_score") if "base_score" in rows.columns else pl.col("score").str.split("@").list.first()
    of_methods = worked.filter(pl.col("method") != ANY)
    mcm = of_methods.filter(base == "mcm")
    for candidates in (mcm.filter(pl.col("score") == "mcm"), mcm, of_methods, worked, rows):
        if len(candidates):
            return candidates["score"][0]
    raise ValueError("no rows")


def why_score(score: str) -> str:
    """Return why `default_score` took a score, as part of a sentence."""
    return "the study's own score" if score.split("@")[0] == "mcm" else "the first listed that worked"


def id_accuracies(rows: pl.DataFrame) -> pl.DataFrame:
    """Return ID accuracy, which no score and no OOD set changes: columns method, shots, seed, id_accuracy."""
    known = rows.filter(pl.col("id_accuracy").is_not_null())
    return known.select("method", "shots", "seed", "id_accuracy").unique(
        subset=["method", "shots", "seed"], keep="first", maintain_order=True
    )


def below_zero_shot(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the fits that classify ID worse than zero-shot does: columns method, shots, seed, id_accuracy.

    Empty where the experiment has no zero_shot.
    """
    accuracies = id_accuracies(rows)
    given = accuracies.filter(pl.col("method") == "zero_shot")["id_accuracy"]
    floor = given[0] if len(given) else 0.0
    return accuracies.filter(pl.col("id_accuracy") < floor)


def percent(fraction: float | None, digits: int = DIGITS, signed: bool = False) -> str:
    """Return a fraction as percent with fixed decimals, a sign before a difference, or `--` where there is none."""
    if fraction is None:
        return "--"
    text = f"{100 * fraction:{'+' if signed else ''}.{digits}f}"
    return text if float(text) else text.lstrip("+-")
