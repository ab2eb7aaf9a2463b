"""Means and differences of made-up metrics, in the columns of summary.parquet and comparisons.parquet: a mean is within
0.02, and two rows differ by no more than chance where their means are within 0.02 of each other."""

from __future__ import annotations

import polars as pl

from oodgrid.report.evaluated import Evaluated

HALF = 0.02
UNTOLD = ("se", "lo", "hi", "p", "p_corrected", "distinguishable", "in_best_set", "optimism")  # of a rate that jumps
RATES = ("auroc", "fpr95_id_pos", "fpr95_ood_pos")
PAIR = ["experiment", "backbone", "id_dataset"]
ROW = ["method", "base_method", "shots", "largest", "score", "base_score", "transductive"]
COLUMN = ["scope", "ood_dataset", "metric"]


def evaluated_of(metrics, overlaps=frozenset(), transductive=(), tied=0.0, fits="seeds", across=False):
    """Return what evaluate would leave beside these metrics; with `across`, the means over ID sets too."""
    summary = summary_of(metrics, overlaps, transductive, tied, fits)
    if across:
        summary = pl.concat([summary, over_sets(summary)], how="vertical_relaxed")
    return Evaluated(metrics, summary, comparisons_of(summary), set(overlaps), list(transductive), [])


def summary_of(metrics, overlaps=frozenset(), transductive=(), tied=0.0, fits="seeds"):
    ok = pl.col("status") == "ok"
    largest = pl.coalesce(pl.col("shots").filter(ok).max(), pl.col("shots").max()).over([*PAIR, "method"])
    frame = metrics.with_columns(largest=pl.col("shots") == largest, transductive=pl.col("score").is_in(transductive))
    frame = frame.filter(ok).cast({"shots": pl.Int32})
    pairs = [{"id_dataset": id_dataset, "ood_dataset": ood} for id_dataset, ood in overlaps]
    overlapping = pl.struct("id_dataset", "ood_dataset").is_in(pairs)
    averaged = frame.filter(~overlapping) if overlaps else frame
    parts = [frame.with_columns(scope=pl.lit("set"))]
    for scope, kinds in {"near": ["near"], "far": ["far"], "overall": ["near", "far"]}.items():
        of = averaged.filter(pl.col("ood_kind").is_in(kinds))
        count = of["ood_dataset"].n_unique()
        whole = pl.col("ood_dataset").n_unique().over([*PAIR, "method", "shots", "seed", "score"]) == count
        parts.append(of.filter(whole).with_columns(scope=pl.lit(scope), ood_dataset=pl.lit(None, pl.String)))
    keys = [*PAIR, *ROW, "scope", "ood_dataset"]
    long = pl.concat(parts).unpivot(RATES, index=[*keys, "seed"], variable_name="metric", value_name="value")
    accuracy = frame.filter(pl.col("id_accuracy").is_not_null()).unique([*PAIR, "method", "shots", "seed"],
                                                                        maintain_order=True)  # fmt: skip
    none = pl.lit(None, pl.String)
    accuracy = accuracy.with_columns(score=none, base_score=none, ood_dataset=none, scope=pl.lit("id"))
    long = pl.concat([long, accuracy.select(*keys, "seed", metric=pl.lit("id_accuracy"), value="id_accuracy")])
    by_seed = long.group_by(*keys, "metric", "seed", maintain_order=True).agg(pl.col("value").mean(), sets=pl.len())
    means = by_seed.group_by(*keys, "metric", maintain_order=True).agg(
        mean=pl.col("value").mean(), seed_sd=pl.col("value").std(), seeds=pl.len(), sets=pl.col("sets").first()
    )
    return certain(means, tied, fits)


def certain(means, tied=0.0, fits="seeds"):
    return means.with_columns(
        orders=pl.lit(1), se=pl.lit(HALF / 2), fits=pl.lit(fits), tied=pl.lit(tied),
        lo=(pl.col("mean") - HALF).clip(0), hi=(pl.col("mean") + HALF).clip(None, 1),
    )  # fmt: skip


def over_sets(summary):
    """Return the means over ID sets, for the averages and the accuracy."""
    frame = summary.filter(pl.col("scope") != "set").with_columns(id_dataset=pl.lit(None, pl.String))
    by = [*PAIR, *ROW, *COLUMN]
    means = frame.group_by(by, maintain_order=True).agg(
        pl.col("mean").mean(), pl.col("seed_sd", "seeds", "sets").first()
    )
    return certain(means.select(summary.columns[: len(means.columns)])).select(summary.columns)


def comparisons_of(summary):
    lower = pl.col("metric").str.starts_with("fpr")
    better = pl.when(lower).then(-pl.col("mean")).otherwise("mean")
    where = [*PAIR, *COLUMN, "transductive"]
    of_largest = summary.filter("largest")
    parts = []
    for against, by in {"best": [], "best_of_score": ["score"], "best_of_method": ["method"]}.items():
        rows = of_largest if against == "best" else of_largest.filter(pl.col("metric") != "id_accuracy")
        first = rows.with_columns(rank=better).sort("rank", descending=True, maintain_order=True)
        reference = first.group_by([*where, *by], maintain_order=True).first()
        parts.append(_compared(rows, reference, [*where, *by], against))
    zero = summary.filter(pl.col("base_method") == "zero_shot")
    mcm = zero.filter(pl.col("score").eq_missing("mcm"), pl.col("metric") != "id_accuracy")
    parts.append(_compared(summary.filter(pl.col("metric") != "id_accuracy"), mcm, where, "zero_shot_mcm"))
    parts.append(_compared(summary, zero, [*where, "score"], "zero_shot"))
    return pl.concat(parts, how="vertical_relaxed")


def _compared(rows, reference, by, against):
    names = {f"reference_{name}": name for name in ("method", "shots", "score", "mean")}
    reference = reference.select(*by, **{new: pl.col(old) for new, old in names.items()})
    found = rows.join(reference, on=by, how="inner", nulls_equal=True, maintain_order="left")
    same = pl.all_horizontal(
        pl.col(f"reference_{name}").eq_missing(pl.col(name)) for name in ("method", "shots", "score")
    )
    diff, best = pl.col("mean") - pl.col("reference_mean"), against.startswith("best")
    within = (diff.abs() <= HALF) | same
    return found.select(
        *PAIR, *ROW, *COLUMN, "reference_method", "reference_shots", "reference_score", "fits",
        against=pl.lit(against), rows=pl.len().over(by), diff=diff, se=pl.lit(HALF / 2), lo=diff - HALF, hi=diff + HALF,
        p=pl.lit(0.5), p_corrected=pl.lit(0.5), distinguishable=~within,
        in_best_set=within if best else pl.lit(None, pl.Boolean), is_best=same if best else pl.lit(None, pl.Boolean),
        tied_best=pl.lit(None, pl.Boolean), optimism=pl.when(same).then(0.01) if best else pl.lit(None, pl.Float64),
    )  # fmt: skip
