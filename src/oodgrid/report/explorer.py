"""What the explorable part of the page shows: the views of the results, and the tables behind them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from oodgrid.counts import counted
from oodgrid.measures import MEASURES
from oodgrid.report import names, packed, select
from oodgrid.report.names import Legend

MOST_ROWS = (
    60_000  # of means and of differences: past it, single sets and then fewer shots are left to the parquet file
)
CURVE_BYTES = 900_000  # that all curves may take before they are compressed
WORDS = {
    "backbone": "Backbone",
    "id_dataset": "ID set",
    "method": "Method",
    "shots": "Shots",
    "seed": "Seed",
    "score": "Score",
    "ood_dataset": "OOD set",
    "ood_kind": "Kind",
    "status": "Status",
    "overlap": "Shares classes with ID",
    "reason": "Reason",
    "scope": "Mean over",
    "metric": "Metric",
    "against": "Compared with",
    "reference": "Reference",
    "largest": "At the largest shots",
    "seeds": "Seeds",
    "sets": "OOD sets",
    "orders": "Orders",
    "fits": "Variance of fits from",
    "in_best_set": "In the best set",
    "distinguishable": "Distinguishable",
    "is_best": "Is the best",
    "params": "Parameters of the score",
    "n_id": "ID samples",
    "n_ood": "OOD samples",
    "base_method": "Method as registered",
    "base_score": "Score as registered",
}
AGAINST = {
    "zero_shot_mcm": "zero-shot + MCM",
    "zero_shot": "zero-shot, same score",
    "best": "the best of all",
    "best_of_score": "the best method of this score",
    "best_of_method": "the best score of this method",
}
SCOPES = {
    "near": "near sets",
    "far": "far sets",
    "overall": "near and far",
    "covariate": "covariate shift",
    "set": "one set",
    "id": "ID alone",
}


@dataclass(frozen=True)
class View:
    """One table of the page with the chart that follows it.

    Attributes:
        id: Its name in the page.
        title: What a reader chooses it by.
        caption: What its rows are.
        note: What its chart's caption adds.
        file: Where its rows stand.
        frame: The rows; `x_lo` and `x_hi` are the interval of `x`.
        words: The columns of names, in order; those of one value are not shown.
        numbers: The columns of numbers, with their formats.
        facets: The columns by which to filter.
        start: What is ticked at first, by column.
        colour: The column that colours its chart.
        zero: Whether its chart is of differences.
        best: The column that says which rows are bold.
        left_out: Which rows are left to the file, for the size of the page.
    """

    id: str
    title: str
    caption: str
    note: str
    file: str
    frame: pl.DataFrame
    words: Sequence[str]
    numbers: dict[str, str]
    facets: Sequence[str]
    start: dict[str, list[Any]] = field(default_factory=dict)
    colour: str = ""
    zero: bool = False
    best: str | None = None
    left_out: str = ""

    def about(self) -> dict[str, Any]:
        """Return what the page must know of it beside its rows, for JSON."""
        shown = [name for name in self.words if name in self.frame.columns]
        return {
            **{name: getattr(self, name) for name in ("id", "title", "note", "file", "colour", "zero", "best")},
            "caption": " ".join(filter(None, (self.caption, self.left_out))),
            "words": [{"name": name, "title": WORDS[name]} for name in shown],
            "numbers": [self._number(name, kind) for name, kind in self.numbers.items() if name in self.frame.columns],
            "facets": [name for name in self.facets if name in self.frame.columns],
            "start": {name: values for name, values in self.start.items() if name in self.frame.columns},
            "long": "metric" in shown,
        }

    def _number(self, name: str, kind: str) -> dict[str, Any]:
        bounds = {end: f"{name}_{end}" for end in ("lo", "hi")}
        low, high = (column if column in self.frame.columns else None for column in bounds.values())
        about = {"title": NUMBERS[name], "better": ""} if name in NUMBERS else titled(name)
        return {"name": name, "format": kind, **about, "low": low, "high": high}


NUMBERS = {
    "mean": "Mean", "seed_sd": "± over seeds", "diff": "Difference", "p_corrected": "Corrected p", "tied": "Tied pairs",
}  # fmt: skip


OF_STREAMS = ": transductive scores, which compare with no number of single samples."
OF_PAIRS = ", with 95 % intervals of the pair of sets."


def titled(metric: str) -> dict[str, str]:
    """Return how a metric is called, what it is, and "↑" or "↓" where one direction is better."""
    if metric in MEASURES:
        measure = MEASURES[metric]
        better = {"higher": "↑", "lower": "↓"}.get(measure.better, "")
        return {"title": measure.title, "better": better, "about": measure.definition}
    return {"title": metric, "better": "↓" if metric.startswith("fpr") else "↑", "about": metric}  # fpr90_id_pos


def views(
    metrics: pl.DataFrame,
    transductive: Sequence[str] = (),
    summary: pl.DataFrame | None = None,
    comparisons: pl.DataFrame | None = None,
    overlaps: Collection[tuple[str, str]] = (),
) -> list[View]:
    """Return the views that the results allow, the most telling first: means, differences, single rows, streams.

    Args:
        metrics: The rows of metrics.parquet.
        transductive: The scores whose values depend on other samples; they never stand beside others.
        summary: The rows of summary.parquet, where there are such.
        comparisons: The rows of comparisons.parquet, where there are such.
        overlaps: The (id_dataset, ood_dataset) pairs whose classes overlap.
    """
    legend = Legend.of(metrics)
    shown = []
    if summary is not None and comparisons is not None:
        of_samples, of_streams = (pl.col("transductive") == streams for streams in (False, True))
        shown += [_means(summary.filter(of_samples), comparisons), _differences(comparisons.filter(of_samples), legend)]
        if summary["transductive"].any():
            shown.append(_means(summary.filter(of_streams), comparisons, streams=True))
    names_of = dict.fromkeys(("id_dataset", "ood_dataset"), pl.String)
    overlapping = pl.DataFrame(list(overlaps), schema=names_of, orient="row").with_columns(overlap=pl.lit(True))
    metrics = metrics.join(overlapping, on=list(names_of), how="left", maintain_order="left")
    metrics = metrics.with_columns(pl.col("overlap").fill_null(False))
    single, streams = select.without(metrics, transductive), select.only(metrics, transductive)
    return [*shown, *(_rows(rows, rows is streams) for rows in (single, streams) if len(rows))]


def _rows(rows: pl.DataFrame, streams: bool) -> View:
    bounds = [name for name in rows.columns if name.endswith(("_lo", "_hi"))]
    numbers = [name for name, dtype in rows.schema.items() if dtype.is_float() and name not in bounds]
    order = sorted(numbers, key=lambda name: name not in names.METRICS)  # those of the tables first
    others = [name for name in rows.columns if name not in (*numbers, *bounds)]
    ends = [name for number in order for name in (number, f"{number}_lo", f"{number}_hi") if name in rows.columns]
    return View(
        "streams" if streams else "rows",
        "Every row of streams" if streams else "Every row",
        f"Every fit, score and OOD set, in percent{OF_STREAMS if streams else OF_PAIRS}",
        "",
        "metrics.parquet",
        rows.select(*others, *ends),
        ("method", "score", "shots", "seed", "ood_dataset", "ood_kind", "backbone", "id_dataset", "overlap", "status"),
        dict.fromkeys(order, "percent"),
        ("backbone", "id_dataset", "method", "score", "shots", "seed", "ood_dataset", "ood_kind", "overlap", "status"),
        colour="ood_kind",
    )  # fmt: skip


LONG_KEYS = ("backbone", "id_dataset", "method", "shots", "score", "scope", "ood_dataset", "metric", "largest")
LONG_WORDS = ("method", "score", "shots", "scope", "ood_dataset", "backbone", "id_dataset")
LONG_FACETS = ("backbone", "id_dataset", "against", "method", "score", "scope", "ood_dataset", "shots", "largest")


def _means(summary: pl.DataFrame, comparisons: pl.DataFrame, streams: bool = False) -> View:
    keys = list(LONG_KEYS)
    best = comparisons.filter(pl.col("against") == "best").select(*keys, "in_best_set")
    rows, left_out = _bounded(summary, "summary.parquet")
    rows = rows.join(best, on=keys, how="left", nulls_equal=True, maintain_order="left")
    interval = pl.col("lo").alias("mean_lo"), pl.col("hi").alias("mean_hi")
    frame = rows.select(*keys, "seeds", "orders", "sets", "fits", "in_best_set", "mean", *interval, "seed_sd")
    return View(
        "stream-means" if streams else "means",
        "Means of streams" if streams else "Means, with certainty",
        "Means over seeds and OOD sets, in percent, with 95 % intervals of both samples and fits. Bold: at the largest "
        "shots and not distinguishable from the best (one-sided, Šidák over the column).",
        "",
        "summary.parquet",
        frame,
        (*LONG_WORDS, "metric", "seeds", "sets"),
        {"mean": "percent", "seed_sd": "percent"},
        LONG_FACETS,
        start=_start(frame),
        colour="scope",
        best="in_best_set",
        left_out=left_out,
    )


def _differences(comparisons: pl.DataFrame, legend: Legend) -> View:
    shown = comparisons.filter(~pl.col("is_best").fill_null(False))  # null: not of a best
    parts = [
        pl.col("reference_method").replace(legend.methods),
        pl.when(pl.col("reference_shots") > 0).then(pl.format("{} shots", "reference_shots")),
        pl.col("reference_score").replace(legend.scores),
    ]
    rows, left_out = _bounded(shown, "comparisons.parquet")
    rows = rows.with_columns(reference=pl.concat_str(parts, separator=" · ", ignore_nulls=True))
    names_of = [*LONG_KEYS, "against", "reference", "fits", "distinguishable"]
    frame = rows.select(*names_of, "diff", pl.col("lo").alias("diff_lo"), pl.col("hi").alias("diff_hi"), "p_corrected")
    present = set(frame["against"])
    against = [name for name in AGAINST if name in present]
    return View(
        "differences",
        "Differences",
        "Paired differences on the same samples, in points, with 95 % intervals (uncorrected) and p corrected over the "
        "column; empty where an FPR jumps with its threshold: fewer than 200 samples on that side, or many that tie.",
        "Right of zero is more, which is worse for FPR.",
        "comparisons.parquet",
        frame,
        (*LONG_WORDS, "against", "reference", "metric", "distinguishable"),
        {"diff": "points", "p_corrected": "probability"},
        (*LONG_FACETS, "distinguishable"),
        start=_start(frame) | {"against": against[:1]},
        colour="distinguishable",
        zero=True,
        left_out=left_out,
    )


def _bounded(rows: pl.DataFrame, file: str) -> tuple[pl.DataFrame, str]:
    """Return rows without what would be too many for the page, and what that is: "" where nothing is.

    Single sets go first, then fewer shots than the largest.
    """
    kept = rows
    left_out: list[str] = []
    for what, keep in (("single OOD sets", pl.col("scope") != "set"), ("fewer shots than the largest", "largest")):
        if len(kept) > MOST_ROWS:
            kept, left_out = kept.filter(keep), [*left_out, what]
    if not left_out:
        return rows, ""
    missing = f"{len(rows) - len(kept):,} of {counted(len(rows), 'row')}"
    return kept, f"Left out for the size of the page: {missing}, of {' and of '.join(left_out)}; {file} has them."


def _start(frame: pl.DataFrame) -> dict[str, list[Any]]:
    """Return what is ticked at first: one mean, at the largest shots."""
    scopes = set(frame["scope"])
    first = next((name for name in ("overall", "near", "far") if name in scopes), None)
    return {"largest": [True]} | ({"scope": [first]} if first else {})


def curves_packed(curves: pl.DataFrame) -> pl.DataFrame:
    """Return the ROC curves and histograms of curves.parquet as bytes, fewer for each the more there are."""
    each = CURVE_BYTES // max(1, len(curves))
    points = min(128, max(32, each // 2))
    bins = 100 if each > 400 else 50 if each > 160 else 25
    rows = []
    for row in curves.iter_rows(named=True):
        first, second = packed.heights(row["hist_id"], row["hist_ood"], bins)
        edges = row["hist_edges"]
        steps = packed.steps_of_roc(row["roc_fpr"], row["roc_tpr"], points)
        rows.append(
            {"roc": steps, "id_heights": first, "ood_heights": second, "lowest": edges[0], "highest": edges[-1]}
        )
    lists = dict.fromkeys(("roc", "id_heights", "ood_heights"), pl.List(pl.UInt8))
    thinned = pl.DataFrame(rows, schema={**lists, "lowest": pl.Float32, "highest": pl.Float32})
    keys = [
        "backbone",
        "id_dataset",
        "ood_dataset",
        "ood_kind",
        "method",
        "shots",
        "seed",
        "score",
        "threshold95",
        "auroc",
    ]
    return pl.concat([curves.select(keys), thinned], how="horizontal")


def about(experiment: str, shown: Sequence[View], metrics: pl.DataFrame, curves: bool) -> dict[str, Any]:
    """Return what the page must know beside the tables, for JSON."""
    legend = Legend.of(metrics)
    metric_names = {name for view in shown for name in [*view.numbers, *view.frame.to_dict().get("metric", ())]}
    note = "of the largest shots and first seed of each method, in fewer points than curves.parquet has."
    return {
        "experiment": experiment,
        "views": [view.about() for view in shown],
        "words": WORDS,
        "metrics": {name: titled(name) for name in sorted(metric_names)},
        "titles": {
            "method": legend.methods,
            "score": legend.scores,
            "against": AGAINST,
            "metric": {name: titled(name)["title"] for name in sorted(metric_names)},
            "scope": SCOPES,
            "ood_kind": {"near": "near", "far": "far", "covariate": "covariate shift"},
        },
        "nothing": {"id_dataset": "mean of ID sets", "score": "–"},
        "curves": {"note": note} if curves else None,
    }
