"""Made-up studies of any size, as evaluate leaves them: metrics, curves, summary and comparisons that agree.

ID scores are N(d, 1) and OOD scores N(0, 1.3²), so that all rates have a closed form; d depends on method, shots,
score and set. Nothing here is a statistic: intervals have made-up widths and the best set is what lies within them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
import polars as pl
from scipy.stats import norm

SPREAD, Z95 = 1.3, norm.ppf(0.95)
PAIR = ("backbone", "id_dataset")
COLUMN = (*PAIR, "scope", "ood_dataset", "metric")
ROW = ("experiment", *PAIR, "method", "base_method", "shots", "score", "base_score")
FULL = ("auroc", "fpr95_id_pos", "fpr95_ood_pos")
FAMILIES = {"best": (), "best_of_score": ("score",), "best_of_method": ("method",)}


@dataclass(frozen=True)
class Made:
    """The four tables of a made-up study, and what is said beside comparisons.parquet."""

    metrics: pl.DataFrame
    curves: pl.DataFrame
    summary: pl.DataFrame
    comparisons: pl.DataFrame
    ranks: list[dict] = field(default_factory=list)
    geometry: pl.DataFrame = field(default_factory=pl.DataFrame)
    temperatures: pl.DataFrame = field(default_factory=pl.DataFrame)
    grades: pl.DataFrame = field(default_factory=pl.DataFrame)


def made(
    methods=("zero_shot", "coop", "tip_adapter"), scores=("mcm", "msp", "max_logit"), features=("knn",),
    near=("unseen",), far=("digits", "noise"), shots=(1, 4, 16), seeds=(1, 2, 3), id_datasets=("concepts",), seed=0,
    experiment="made-up", backbone="tiny", perfect=(), interplay=0.0,
):  # fmt: skip
    """Return a study; detection of the OOD sets in `perfect` makes no mistake.

    With `interplay` other methods and scores are good at near than at far OOD.
    """
    kinds = {**dict.fromkeys(near, "near"), **dict.fromkeys(far, "far")}
    listed = [(method, score) for method in methods for score in scores] + [("any", score) for score in features]
    learned = [(shot, number) for shot in shots for number in seeds]
    keys = [
        (id_dataset, method, shot, number, score, ood, kind)
        for id_dataset, (method, score) in product(id_datasets, listed)
        for shot, number in ([(0, 0)] if method == "zero_shot" else learned)
        for ood, kind in kinds.items()
    ]
    names = ("id_dataset", "method", "shots", "seed", "score", "ood_dataset", "ood_kind")
    frame = pl.DataFrame(keys, schema=names, orient="row").cast({"shots": pl.Int32, "seed": pl.Int32})
    metrics = _rates(frame, np.random.default_rng(seed), perfect, interplay).with_columns(
        experiment=pl.lit(experiment), backbone=pl.lit(backbone), params=pl.lit("{}"), status=pl.lit("ok"),
        reason=pl.lit(""), n_id=1000, n_ood=800, base_method=_base("method"), base_score=_base("score"),
    )  # fmt: skip
    summary = _summary(metrics, len(id_datasets))
    ranks = [_ranks(summary, scope) for scope in ("near", "far", "overall")] if len(id_datasets) >= 10 else []
    others = _geometry(metrics, seed), _temperatures(metrics), _grades(metrics)
    return Made(metrics, _curves(metrics), summary, _comparisons(summary), ranks, *others)


LONG = "a-name-of-sixty-letters-that-somebody-will-surely-give-to-it-"  # less two: a number stands behind it
OWN = ("zero_shot", "prototype", "linear_probe", "coop", "clip_adapter", "tip_adapter", "tip_adapter_f", "cocoop",
       "kgcoop", "prograd", "locoop", "gallop", "zs_lp", "lp_plus_plus", "clap", "sct", "prompt_src", "opsupcon",
       "neg_prompt", "lsn")  # fmt: skip
BASE_SCORES = ("mcm", "msp", "max_logit", "energy", "entropy")


def sized(methods, scores, sets, long_names=False, features=("knn", "mahalanobis"), **options):
    """Return a study of that many methods, scores and OOD sets, its names sixty letters long where asked."""
    listed = [*BASE_SCORES, *(f"mcm@T={number}" for number in range(2, 2 + scores))][: scores - len(features)]
    half = max(1, sets // 2)
    near, far = (
        [f"{kind}-{number}" for number in range(count)] for kind, count in (("near", half), ("far", sets - half))
    )
    names = list(OWN[:methods])
    if long_names:
        names = ["zero_shot", *(f"{LONG[:58]}{number:02}" for number in range(1, methods))]
        near, far = ([f"{name}-{LONG}"[:60] for name in group] for group in (near, far))
        listed = ["mcm", *(f"{name}-{LONG}"[:60] for name in listed[1:])]
    return made(names, listed, features, near, far, **options)


def _base(name):
    return pl.col(name).str.split("@").list.first()


def _effect(frame, columns, rng, scale):
    """Return a normal effect (N,) for each distinct combination of columns."""
    codes = frame.select(pl.struct(columns).rank("dense")).to_series().to_numpy() - 1
    return scale * rng.normal(size=codes.max() + 1)[codes]


def _rates(frame, rng, perfect, interplay):
    log_shots = np.log2(frame["shots"].to_numpy() + 1.0)
    d = np.where(frame["ood_kind"] == "near", 1.3, 2.2) + 0.12 * log_shots * (1 + _effect(frame, ["method"], rng, 0.5))
    for columns, scale in ((["method"], 0.15), (["score"], 0.35), (["ood_dataset"], 0.5), (["method", "score"], 0.15),
                           (["id_dataset", "method", "shots", "seed"], 0.08)):  # fmt: skip
        d = d + _effect(frame, columns, rng, scale)
    if interplay:
        d = d + _effect(frame, ["method", "score", "ood_kind"], rng, interplay)
    d = np.where(frame["ood_dataset"].is_in(list(perfect)), 60.0, d)
    accuracy = 0.62 + 0.05 * log_shots * (0.6 + _effect(frame, ["method"], rng, 0.3))
    accuracy = np.clip(accuracy + _effect(frame, ["id_dataset", "method", "shots", "seed"], rng, 0.01), 0.02, 0.99)
    rates = {
        "auroc": norm.cdf(d / np.hypot(1, SPREAD)), "fpr95_id_pos": norm.cdf((Z95 - d) / SPREAD),
        "fpr95_ood_pos": norm.cdf(SPREAD * Z95 - d),
    }  # fmt: skip
    ends = {f"{name}_lo": np.clip(rate - 0.02, 0, 1) for name, rate in rates.items()}
    ends |= {f"{name}_hi": np.clip(rate + 0.02, 0, 1) for name, rate in rates.items()}
    frame = frame.with_columns(pl.Series(name, values) for name, values in (rates | ends).items())
    return frame.with_columns(
        d=pl.Series(d), aupr_in="auroc", aupr_out="auroc",
        id_accuracy=pl.when(pl.col("method") != "any").then(pl.Series(accuracy)),
    )  # fmt: skip


def _curves(metrics):
    """Return curves of the largest shots and first seed of every method, under the first scores of each."""
    first = metrics.filter(pl.col("score").is_in(metrics["score"].unique(maintain_order=True)[:2].to_list()))
    first = first.filter(
        pl.col("shots") == pl.col("shots").max().over("method"), pl.col("seed") == pl.col("seed").min().over("method")
    )
    keys = [*ROW, "seed", "ood_dataset", "ood_kind", "auroc", "fpr95_id_pos"]
    lists = {name: [] for name in ("roc_fpr", "roc_tpr", "hist_edges", "hist_id", "hist_ood")}
    for d in first["d"]:
        threshold, edges = np.linspace(d + 5, -5, 60), np.linspace(-4, d + 4, 101)
        lists["roc_fpr"].append(norm.sf(threshold / SPREAD).tolist())
        lists["roc_tpr"].append(norm.sf(threshold - d).tolist())
        lists["hist_edges"].append(edges.tolist())
        lists["hist_id"].append((np.diff(norm.cdf(edges - d)) / np.diff(edges)).tolist())
        lists["hist_ood"].append((np.diff(norm.cdf(edges / SPREAD)) / np.diff(edges)).tolist())
    threshold = (first["d"] - Z95).alias("threshold95")
    return first.select(keys).with_columns(*(pl.Series(name, rows) for name, rows in lists.items()), threshold)


def _summary(metrics, id_datasets):
    null = pl.lit(None, pl.String)
    parts = [metrics.with_columns(scope=pl.lit("set")), metrics.with_columns(scope="ood_kind", ood_dataset=null)]
    parts.append(metrics.with_columns(scope=pl.lit("overall"), ood_dataset=null))
    if id_datasets > 1:
        parts += [part.with_columns(id_dataset=null) for part in parts[1:]]
    by = [*ROW, "seed", "scope", "ood_dataset"]
    long = [part.unpivot(FULL, index=by, variable_name="metric") for part in parts]
    own = metrics.filter(pl.col("method") != "any").with_columns(
        scope=pl.lit("id"), ood_dataset=null, score=null, base_score=null
    )
    for part in (own, own.with_columns(id_dataset=null)) if id_datasets > 1 else (own,):
        long.append(part.unpivot(["id_accuracy"], index=by, variable_name="metric"))
    per_seed = pl.concat(long).group_by([*by, "metric"], maintain_order=True).agg(pl.col("value").mean())
    means = per_seed.group_by([*ROW, "scope", "ood_dataset", "metric"], maintain_order=True).agg(
        mean=pl.col("value").mean(), seed_sd=pl.col("value").std(), seeds=pl.len().cast(pl.Int32)
    )
    fits = (pl.col("seed_sd") / pl.col("seeds").sqrt()).fill_null(0.0)
    samples = 0.004 + 0.02 * (1 - pl.col("mean")) * pl.col("mean").sqrt()
    means = means.with_columns(
        largest=pl.col("shots") == pl.col("shots").max().over("method"), transductive=pl.lit(False), sets=pl.lit(1),
        orders=pl.lit(1), order_sd=pl.lit(None, pl.Float64), se_samples=samples, tied=pl.lit(0.0),
        se_fits=fits, fits=pl.when(pl.col("shots") > 0).then(pl.lit("seeds")).otherwise(pl.lit("none")),
    )  # fmt: skip
    both = (pl.col("se_samples") ** 2 + pl.col("se_fits") ** 2).sqrt()
    means = means.with_columns(se=both, df=pl.lit(None, pl.Float64))
    for suffix, part in (("", "se"), ("_samples", "se_samples"), ("_fits", "se_fits")):
        reach = pl.when((pl.col("shots") > 0) | pl.lit(part != "se_fits")).then(2 * pl.col(part))
        means = means.with_columns(
            (pl.col("mean") - reach).clip(0, 1).alias(f"lo{suffix}"),
            (pl.col("mean") + reach).clip(0, 1).alias(f"hi{suffix}"),
        )
    return means


def _comparisons(summary):
    sign = pl.when(pl.col("metric").str.starts_with("fpr")).then(-1.0).otherwise(1.0)
    shown = summary.with_columns(better=sign * pl.col("mean"))
    parts = []
    for against, of in FAMILIES.items():
        rows = shown.filter("largest", pl.lit(against == "best") | (pl.col("metric") != "id_accuracy"))
        parts.append(_against(rows, against, [*COLUMN, *of], rows))
    for against, of in {"zero_shot_mcm": (), "zero_shot": ("score",)}.items():
        reference = pl.col("method") == "zero_shot"
        if against == "zero_shot_mcm":
            reference &= pl.col("score").is_null() | (pl.col("score") == "mcm")
        rows = shown if against == "zero_shot" else shown.filter(pl.col("metric") != "id_accuracy")
        parts.append(_against(rows, against, [*COLUMN, *of], rows.filter(reference)))
    return pl.concat(parts)


def _against(rows, against, family, candidates):
    """Return the differences to the best candidate of each family."""
    best = candidates.sort("better", descending=True, maintain_order=True).group_by(family, maintain_order=True).first()
    best = best.select(*family, reference_method="method", reference_shots="shots", reference_score="score",
                       reference="mean", reference_se="se")  # fmt: skip
    joined = rows.join(best, on=family, nulls_equal=True, maintain_order="left")
    diff, se = pl.col("mean") - pl.col("reference"), 0.7 * (pl.col("se") ** 2 + pl.col("reference_se") ** 2).sqrt()
    keys = ("method", "shots", "score")
    is_best = pl.all_horizontal(pl.col(key).eq_missing(pl.col(f"reference_{key}")) for key in keys)
    within = diff.abs() <= 2 * se
    to_best = pl.lit(against in FAMILIES)
    return joined.select(
        *ROW, "largest", "transductive", "scope", "ood_dataset", "metric", "reference_method", "reference_shots",
        "reference_score", "fits", "df", against=pl.lit(against), rows=pl.len().over(family).cast(pl.Int32), diff=diff,
        se=se, lo=diff - 2 * se, hi=diff + 2 * se, p=0.5, p_corrected=pl.when(within).then(0.5).otherwise(0.01),
        distinguishable=~within, in_best_set=pl.when(to_best).then(within), is_best=is_best,
        tied_best=(diff == 0) & ~is_best, optimism=pl.when(is_best & to_best).then(0.008),
    )  # fmt: skip


UNMOVED = ("tip_adapter", "tip_adapter_f", "cocoop", "gallop")  # leave logits
CHANGE_FEATURES = ("clip_adapter", "opsupcon")


def _geometry(metrics, seed):
    """Return angles of every method: what it moves, by its name, or why nothing."""
    rng, rows = np.random.default_rng(seed), []
    scopes = metrics["ood_kind"].unique(maintain_order=True).to_list()
    for backbone, id_dataset in metrics.select(PAIR).unique(maintain_order=True).rows():
        for method in metrics["method"].unique(maintain_order=True):
            for centres in ("means", "prototypes"):
                key = {"backbone": backbone, "id_dataset": id_dataset, "method": method, "base_method": method,
                       "shots": 16, "centres": centres, "seeds": 3}  # fmt: skip
                has_means = method in CHANGE_FEATURES or method == "any"
                if (method in UNMOVED) if centres == "prototypes" else not has_means:
                    rows.append(key | {"status": "skipped", "reason": "nothing moves"})
                elif centres == "means" or method != "any":
                    moved = rng.normal(0, 2, 2 + len(scopes)) * (method not in ("any", "zero_shot"))
                    angles = {"dispersion": 42 + moved[0], "compactness": 55 + moved[1]}
                    rows += [key | angles | {"status": "ok", "scope": scope, "separation": 6 + change}
                             for scope, change in zip(scopes, moved[2:], strict=True)]  # fmt: skip
    types = dict.fromkeys(("scope", "status", "reason"), pl.String)
    return pl.DataFrame(rows, schema_overrides=types, infer_schema_length=None)


TEMPERATURES = (0.001, 0.01, 0.1, 1.0, 10.0)
DEFAULTS = {"mcm": 1.0, "msp": 0.01, "energy": 0.01, "entropy": 0.01}


def _temperatures(metrics):
    """Return a smooth curve for each method, kind and score with a temperature; MSP's is MCM's."""
    shown = metrics.filter(pl.col("base_score").is_in(DEFAULTS), pl.col("score") == pl.col("base_score"))
    overall = shown.with_columns(ood_kind=pl.lit("overall"))
    means = pl.concat([shown, overall]).group_by(
        *PAIR, "method", "base_method", "base_score", "ood_kind", maintain_order=True
    ).agg(pl.col("auroc").mean(), pl.col("shots").max())  # fmt: skip
    mcm = means.filter(base_score="mcm").select(*PAIR, "method", "ood_kind", of_mcm="auroc")
    means = means.join(mcm, on=[*PAIR, "method", "ood_kind"], how="left", maintain_order="left")
    level = pl.when(pl.col("base_score") == "msp").then(pl.col("of_mcm")).otherwise("auroc")
    frames = [means.with_columns(T=pl.lit(T), auroc=level - 0.03 * abs(np.log10(T) + 1)) for T in TEMPERATURES]
    return pl.concat(frames).rename({"ood_kind": "scope"}).with_columns(
        curve="base_score", seeds=pl.lit(3),
        is_default=pl.col("T") == pl.col("base_score").replace_strict(DEFAULTS),
    )  # fmt: skip


def _grades(metrics, levels=8):
    """Return cells that rise with both shifts, but for two corners, and what they add up to."""
    rows = metrics.select("experiment", *PAIR, "method", "base_method", "score", "base_score").unique(
        maintain_order=True
    )
    semantic, covariate = (axis.ravel() + 1 for axis in np.meshgrid(range(levels), range(levels), indexing="ij"))
    kept = abs(semantic - covariate) < levels - 1
    cells = pl.DataFrame({"semantic": semantic[kept], "covariate": covariate[kept]}).with_columns(
        what=pl.lit("cell"), axis=pl.lit(None, pl.String), n_ood=20,
        auroc=(0.5 + 0.05 * pl.col("semantic") + 0.01 * pl.col("covariate")).clip(0, 1),
    )  # fmt: skip
    slopes = pl.DataFrame(
        {"what": ["sensitivity", "correlation"] * 2, "axis": ["semantic"] * 2 + ["covariate"] * 2,
         "auroc": [0.05, 0.98, 0.01, None]}
    )  # fmt: skip
    frame = rows.join(pl.concat([cells, slopes], how="diagonal_relaxed"), how="cross")
    return frame.with_columns(fpr95_id_pos=1 - pl.col("auroc"), fpr95_ood_pos=1 - pl.col("auroc"), seeds=3, shots=16)


def _ranks(summary, scope):
    """Return one entry of manifests.Comparisons.ranks: methods under MCM over all ID sets."""
    rows = summary.filter("largest", scope=scope, metric="auroc", score="mcm").filter(
        pl.col("id_dataset").is_not_null()
    )
    ranked = rows.with_columns(rank=pl.col("mean").rank(descending=True).over("id_dataset"))
    means = ranked.group_by("method", maintain_order=True).agg(pl.col("rank").mean()).sort("rank")
    ranks, distance = means["rank"].to_list(), 1.4
    groups = [(first, max(i for i, rank in enumerate(ranks) if rank - ranks[first] <= distance))
              for first in range(len(ranks))]  # fmt: skip
    groups = [g for n, g in enumerate(groups) if g[1] > g[0] and all(g[1] > other[1] for other in groups[:n])]
    return {
        "backbone": "tiny", "scope": scope, "metric": "auroc", "score": "mcm",
        "names": [(method, "mcm") for method in means["method"]], "mean_ranks": ranks, "friedman_p": 0.001,
        "id_datasets": rows["id_dataset"].n_unique(), "critical_difference": distance, "groups": groups,
    }  # fmt: skip
