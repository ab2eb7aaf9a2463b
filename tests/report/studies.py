"""Made-up results of any size for tests of the page: what evaluate leaves, with the columns of all four tables."""

from __future__ import annotations

from itertools import product

import numpy as np
import polars as pl

FULL = ("auroc", "fpr95_id_pos", "fpr95_ood_pos")
BARE = ("aupr_in", "aupr_out", "aupr_in_balanced", "aupr_out_balanced", "oscr", "auroc_fs", "fpr95_id_pos_fs", "tied")
AGAINST = ("zero_shot_mcm", "zero_shot", "best", "best_of_score", "best_of_method")


def metrics_of(methods, scores, sets, fits=((16, 1),), backbone="tiny", id_dataset="concepts", seed=0):
    """Return metrics of every method, fit, score and (set, kind), with numbers drawn at random."""
    keys = [
        {"method": method, "shots": shots, "seed": number, "score": score, "ood_dataset": ood, "ood_kind": kind}
        for method, (shots, number), score, (ood, kind) in product(methods, fits, scores, sets.items())
    ]
    frame = pl.DataFrame(keys, schema_overrides={"shots": pl.Int32, "seed": pl.Int32})
    rng, count = np.random.default_rng(seed), len(frame)
    lit = {"experiment": "made-up", "backbone": backbone, "id_dataset": id_dataset, "params": "{}", "status": "ok"}
    frame = frame.with_columns(
        **{name: pl.lit(value) for name, value in lit.items()}, reason=pl.lit(""), base_method=pl.col("method"),
        base_score=pl.col("score"), n_id=pl.lit(1000), n_ood=pl.lit(800),
    )  # fmt: skip
    for name in FULL:
        middle, half = rng.beta(8, 2, count), rng.uniform(0.005, 0.03, (2, count))
        ends = {f"{name}_lo": np.maximum(0, middle - half[0]), f"{name}_hi": np.minimum(1, middle + half[1])}
        frame = frame.with_columns(pl.Series(name, middle), *(pl.Series(end, values) for end, values in ends.items()))
    near = np.clip(frame["fpr95_id_pos"].to_numpy() + rng.normal(0, 0.002, count), 0, 1)
    frame = frame.with_columns(pl.Series("fpr95_id_pos_mcm", near))
    for name in BARE:
        frame = frame.with_columns(pl.Series(name, rng.beta(8, 2, count)))
    return frame.with_columns(pl.Series("id_accuracy", rng.beta(8, 2, count)))


def curves_of(metrics):
    """Return curves of the largest shots and first seed of every method."""
    metrics = metrics.filter(pl.col("status") == "ok")
    first = metrics.filter(pl.col("shots") == pl.col("shots").max(), pl.col("seed") == pl.col("seed").min())
    keys = ["backbone", "id_dataset", "ood_dataset", "ood_kind", "method", "base_method", "shots", "seed", "score",
            "base_score", "auroc", "fpr95_id_pos"]  # fmt: skip
    grid, rng = np.linspace(0, 1, 128), np.random.default_rng(0)
    bins = np.linspace(-4, 6, 101)
    rows = []
    for auroc in first["auroc"]:
        power = max(1e-3, 1 / max(auroc, 0.01) - 1)
        centre = 3 * auroc
        noise = rng.uniform(0.9, 1.1, (2, 100))
        rows.append({
            "roc_fpr": grid.tolist(), "roc_tpr": (grid**power).tolist(), "hist_edges": bins.tolist(),
            "threshold95": centre - 1.6,
            "hist_id": (np.exp(-((bins[1:] - centre) ** 2) / 2) * noise[0]).tolist(),
            "hist_ood": (np.exp(-(bins[1:] ** 2) / 2) * noise[1]).tolist(),
        })  # fmt: skip
    samples = {
        "mistaken_id": [{"path": f"</script>/{row}.jpg", "score": row / 7} for row in range(4)],
        "mistaken_ood": [{"path": "x.jpg", "score": 1.0}],
    }
    shown = first.select(keys).with_columns(*(pl.Series(name, [value] * len(first)) for name, value in samples.items()))
    return pl.concat([shown, pl.DataFrame(rows, infer_schema_length=None)], how="horizontal")


def summary_of(metrics):
    """Return the means of a study, as summary.parquet has them."""
    keys = ["experiment", "backbone", "id_dataset", "method", "base_method", "shots", "score", "base_score"]
    averaged = metrics.filter(pl.col("ood_kind") != "covariate")
    scopes = [
        metrics.with_columns(scope=pl.lit("set")),
        metrics.with_columns(scope="ood_kind", ood_dataset=None),
        averaged.with_columns(scope=pl.lit("overall"), ood_dataset=None),
    ]
    long = [
        part.unpivot(FULL, index=[*keys, "seed", "scope", "ood_dataset"], variable_name="metric")
        for part in (scope.cast({"ood_dataset": pl.String}) for scope in scopes)
    ]
    by = [*keys, "scope", "ood_dataset", "metric"]
    means = pl.concat(long).group_by(by, maintain_order=True).agg(
        mean=pl.col("value").mean(), seed_sd=pl.col("value").std(), seeds=pl.col("seed").n_unique(), sets=pl.lit(1)
    )  # fmt: skip
    return means.with_columns(
        largest=pl.col("shots") == pl.col("shots").max().over("method"), transductive=False, orders=pl.lit(1),
        lo=(pl.col("mean") - 0.02).clip(0), hi=(pl.col("mean") + 0.02).clip(None, 1), fits=pl.lit("seeds"),
    )  # fmt: skip


def comparisons_of(summary):
    """Return differences to the first row of each column, as comparisons.parquet has them."""
    column = ["backbone", "id_dataset", "scope", "ood_dataset", "metric"]
    diff = pl.col("mean") - pl.col("mean").first().over(column)
    parts = [
        summary.filter(pl.col("largest") | pl.lit(against.startswith("zero"))).with_columns(
            against=pl.lit(against), diff=diff, lo=diff - 0.02, hi=diff + 0.02, p_corrected=(diff.abs() * 4).clip(0, 1),
            is_best=diff == 0, distinguishable=diff.abs() > 0.02, in_best_set=diff.abs() < 0.02,
            reference_method=pl.col("method").first().over(column), optimism=pl.lit(None, pl.Float64),
            reference_shots=pl.col("shots").first().over(column), reference_score=pl.col("score").first().over(column),
        )
        for against in AGAINST
    ]  # fmt: skip
    of_best = pl.col("against").str.starts_with("best")
    return pl.concat(parts).with_columns(pl.when(of_best).then(name).alias(name) for name in ("is_best", "in_best_set"))


def sets_of(count):
    """Return that many OOD sets, each with its kind."""
    kinds = ("near", "far", "far", "covariate")
    return {f"set-{number}": kinds[number % 4] for number in range(count)}
