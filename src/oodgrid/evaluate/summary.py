"""Means over seeds and OOD sets with their certainty, and paired differences: the rows of two tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import beta

from oodgrid.evaluate import certainty
from oodgrid.evaluate.intervals import auroc_ends, logit_ends
from oodgrid.evaluate.rows import ACCURACY, BEST, CERTAIN, Pair, Row, Scope, Sizes, families, lower_is_better, over_fits
from oodgrid.evaluate.spreads import Spreads

KEY: dict[str, Any] = {
    **dict.fromkeys(("experiment", "backbone", "id_dataset", "method", "base_method"), pl.String),
    **{"shots": pl.Int32, "largest": pl.Boolean, "score": pl.String, "base_score": pl.String},
    **{"transductive": pl.Boolean, "scope": pl.String, "ood_dataset": pl.String, "metric": pl.String},
}
SUMMARY: dict[str, Any] = {
    **{name: KEY[name] for name in list(KEY)[:-1]},
    **{"sets": pl.Int32, "metric": pl.String, "mean": pl.Float64, "seeds": pl.Int32, "orders": pl.Int32},
    **dict.fromkeys(("seed_sd", "order_sd", "se_samples", "se_fits"), pl.Float64),
    "fits": pl.String,
    **dict.fromkeys(("se", "df", "lo", "hi", "lo_samples", "hi_samples", "lo_fits", "hi_fits", "tied"), pl.Float64),
}
COMPARISONS: dict[str, Any] = {
    **KEY,
    **{"against": pl.String, "reference_method": pl.String, "reference_shots": pl.Int32, "reference_score": pl.String},
    "rows": pl.Int32,
    **dict.fromkeys(("diff", "se", "df", "lo", "hi", "p", "p_corrected"), pl.Float64),
    **dict.fromkeys(("distinguishable", "in_best_set", "is_best", "tied_best"), pl.Boolean),
    **{"optimism": pl.Float64, "fits": pl.String, "reason": pl.String},
}
UNTOLD = ("se", "df", "lo", "hi", "p", "p_corrected", "distinguishable", "in_best_set", "optimism")  # if it jumps
JUMPS = "the rate jumps with its threshold: fewer than 200 samples on that side, or many tied there"
NORMAL = float(certainty.quantile(np.array([np.inf]))[0])
NOT_SUMMARISED = ("shots", "seed", "order", "n_id", "n_ood", "tied")


@dataclass
class Column:
    """One column of a pair: the rows of a metric over a scope, with the variance of each.

    Attributes:
        pair: The metrics.
        metric: Which.
        scope: Over what.
        spreads: Sampling variances of rows and of differences.
        known: The mean of every row that has one.
    """

    pair: Pair
    metric: str
    scope: Scope
    spreads: Spreads

    def __post_init__(self) -> None:
        self.rows = self.pair.rows_of(self.metric)
        self.values = self.pair.fits(self.metric, self.scope)  # (R, S, O)
        self.place = {row: r for r, row in enumerate(self.rows)}
        self.means = over_fits(self.values)

    @cached_property
    def known(self) -> dict[Row, float]:
        """The mean of every row that has one."""
        return {row: float(mean) for row, mean in zip(self.rows, self.means, strict=True) if np.isfinite(mean)}

    @cached_property
    def sizes(self) -> Sizes:
        """How many samples are behind it."""
        return self.pair.sizes(self.scope)

    @cached_property
    def ends(self) -> list[NDArray[np.float64]]:
        """Lower and upper ends of the intervals of single fits, their means by row, shapes (R,)."""
        return [over_fits(self.pair.fits(f"{self.metric}_{end}", self.scope)) for end in ("lo", "hi")]

    @property
    def sets(self) -> int:
        """How many OOD sets are in it."""
        return len(self.scope.sets)

    def variance(self, row: Row, other: Row | None = None) -> float:
        """Return the sampling variance of a row, or of its difference to another; 0 to itself, NaN where unknown."""
        key = self.metric, self.scope.sets, row, other
        return 0.0 if row == other else self.spreads.variances.get(key, np.nan)

    def jumps(self, row: Row) -> bool:
        """Return whether a rate jumps with its threshold, so that its influence values tell no difference."""
        return (self.metric, self.scope.sets, row) in self.spreads.jumps

    def fits(self, rows: Sequence[Row], others: Sequence[Row] | None = None) -> tuple[certainty.Fits, NDArray[np.int_]]:
        """Return how much the fits of rows vary, or the differences to other rows; and what they vary by."""
        values = self.values[[self.place[row] for row in rows]]
        drawn = np.array([self.pair.drawn(row) for row in rows])  # (R, 2): whether there are seeds, and orders
        if others is not None:
            values = values - self.values[[self.place[row] for row in others]]
            drawn |= np.array([self.pair.drawn(row) for row in others])
        seeds, orders = drawn.T
        varied = np.where(seeds, certainty.SEEDS, np.where(orders, certainty.ORDERS, certainty.NOTHING))
        return _by_kind(values, seeds, orders), varied


def _by_kind(values: NDArray[np.float64], seeds: NDArray[np.bool_], orders: NDArray[np.bool_]) -> certainty.Fits:
    """Return how fits vary, where what has no seeds or no orders repeats its value along them."""
    whole_fits = certainty.Fits(*(np.zeros(len(values)) for _ in range(3)))
    for has_seeds in (False, True):
        for has_orders in (False, True):
            those = (seeds == has_seeds) & (orders == has_orders)
            if those.any():
                part = values[those][:, : None if has_seeds else 1, : None if has_orders else 1]
                for whole, of_part in zip(whole_fits, certainty.fits_of(part, has_seeds), strict=True):
                    whole[those] = of_part
    return whole_fits


def columns(pair: Pair, metrics: Sequence[str], spreads: Spreads) -> Iterator[Column]:
    """Yield every column of a pair."""
    for metric in metrics:
        for scope in pair.scopes(metric):
            yield Column(pair, metric, scope, spreads)


def metrics_of(frame: pl.DataFrame) -> list[str]:
    """Return the metrics that metrics.parquet has, those with a standard error first."""
    ends = ("_lo", "_hi")
    numeric = [name for name, kind in frame.schema.items() if kind.is_numeric() and not name.endswith(ends)]
    return [*CERTAIN, *(name for name in numeric if name not in (*CERTAIN, *NOT_SUMMARISED))]


# ------------------------------------------------------------------------------------------------------- means


def summary(column: Column, key: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of summary.parquet of one column."""
    rows = list(column.known)
    if not rows:
        return []
    fits, varied = column.fits(rows)
    variance, df = certainty.own_or_pooled(fits, varied)
    samples = np.array([column.variance(row) for row in rows])
    whole, degrees = certainty.satterthwaite(samples, variance, df)
    quantiles = certainty.quantile(degrees), certainty.quantile(df)
    tied = column.pair.fits("tied", column.scope) if column.scope.sets else None
    lines = []
    for r, row in enumerate(rows):
        values = column.values[column.place[row]]
        about = _keys(column, row, key) | _spread_of_fits(column, row, values)
        about |= {"mean": column.known[row], "sets": column.sets, "metric": column.metric}
        if tied is not None:
            about["tied"] = _mean(tied[column.place[row]])
        if column.metric in CERTAIN and np.isfinite(samples[r]):
            of_fits = float(np.nan_to_num(variance[r]))
            about |= {
                "se_samples": samples[r] ** 0.5,
                "se_fits": None if np.isnan(variance[r]) else of_fits**0.5,
                "fits": _kind_of_fits(int(varied[r]), float(fits.df[r]), bool(np.isfinite(variance[r]))),
                "se": whole[r] ** 0.5,
                "df": _finite(degrees[r]),
                **_ends(column, row, samples[r], of_fits, *(float(each[r]) for each in quantiles)),
            }
        lines.append(about)
    return lines


def _keys(column: Column, row: Row, key: Mapping[str, Any]) -> dict[str, Any]:
    pair, scope = column.pair, column.scope
    return {
        **key,
        **{"method": row.method, "base_method": pair.bases[row.method], "shots": row.shots},
        **{"largest": pair.is_largest(row), "score": row.score, "base_score": pair.bases[row.score]},
        **{"transductive": row.score in pair.transductive, "scope": scope.name, "ood_dataset": scope.ood_dataset},
        "metric": column.metric,
    }


def _spread_of_fits(column: Column, row: Row, values: NDArray[np.float64]) -> dict[str, Any]:
    """Return numbers and standard deviations of the seeds and orders of a row, from its values (S, O)."""
    there = np.isfinite(values)
    seeds, orders = there.any(axis=1), there.any(axis=0)
    has_seeds, has_orders = column.pair.drawn(row)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_seed = np.where(there, values, 0).sum(axis=1) / there.sum(axis=1)
        by_order = np.where(there, values, 0).sum(axis=0) / there.sum(axis=0)
    return {
        "seeds": int(seeds.sum()) if has_seeds else 1,
        "orders": int(orders.sum()) if has_orders else 1,
        "seed_sd": _sd(by_seed[seeds]) if has_seeds else None,
        "order_sd": _sd(by_order[orders]) if has_orders else None,
    }


def _sd(values: NDArray[np.float64]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _mean(values: NDArray[np.float64]) -> float | None:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _kind_of_fits(varied: int, df: float, known: bool) -> str:
    """Return where the variance of fits is from."""
    if varied == certainty.NOTHING or df >= 1:
        return ("none", "orders", "seeds")[varied]
    return "pooled" if known else "unknown"


def _ends(column: Column, row: Row, samples: float, fits: float, t: float, t_fits: float) -> dict[str, float | None]:
    """Return the ends of all intervals of a row, from both variances and Student's quantiles: of both, of the fits."""
    mean = column.known[row]
    ends: dict[str, float | None] = {}
    for name, (quantile, extra) in {"": (t, fits), "_samples": (NORMAL, 0.0)}.items():
        lo, hi = _interval(column, row, mean, samples, extra, quantile)
        ends |= {f"lo{name}": min(max(lo, 0.0), mean), f"hi{name}": max(min(hi, 1.0), mean)}
    if fits > 0:
        half = t_fits * fits**0.5
        ends |= {"lo_fits": max(mean - half, 0.0), "hi_fits": min(mean + half, 1.0)}
    return ends


def _interval(
    column: Column, row: Row, mean: float, samples: float, extra: float, quantile: float
) -> tuple[float, float]:
    """Return the interval of a mean over sets and fits; where few samples are misplaced, by what holds there too."""
    sizes = column.sizes
    if column.metric == "auroc":
        return auroc_ends(mean, samples, sizes.n_id, sizes.ood_together, quantile, extra)
    if column.metric == ACCURACY:
        return _share_ends(mean, samples, extra, quantile, sizes.n_id)
    count = sizes.ood_all if "id" in column.metric else sizes.n_id
    lo, hi = _share_ends(mean, samples, extra, quantile, count)
    if column.jumps(row):
        low, high = (float(ends[column.place[row]]) for ends in column.ends)
        lo, hi = min(lo, low), max(hi, high)
    return lo, hi


def _share_ends(share: float, samples: float, extra: float, quantile: float, count: float) -> tuple[float, float]:
    """Return the interval of a share, on the logit scale; where few samples are on a side, to Jeffreys' ends too."""
    ends = [logit_ends(share, samples + extra, quantile)] if 0 < share < 1 and samples + extra > 0 else []
    if not ends or count * min(share, 1 - share) < 10:
        hits, margin = share * count, quantile * extra**0.5
        lo = beta.ppf(0.025, hits + 0.5, count - hits + 0.5) - margin if share > 0 else 0.0
        hi = beta.ppf(0.975, hits + 0.5, count - hits + 0.5) + margin if share < 1 else 1.0
        ends.append((float(lo), float(hi)))
    return min(lo for lo, _ in ends), max(hi for _, hi in ends)


# ------------------------------------------------------------------------------------------------- differences


def comparisons(column: Column, key: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of comparisons.parquet of one column."""
    lines = []
    for family in families(column.pair, column.metric, column.known):
        rows = list(family.references)
        others = [family.references[row] for row in rows]
        compared = _compared(column, rows, others)
        best = family.against in BEST
        corrected = (_against_best if best else _against_zero_shot)(column, rows, others, compared, family.sizes)
        kinds = compared.pop("kinds")
        for r, row in enumerate(rows):
            other = others[r]
            untold = dict.fromkeys(UNTOLD) | {"reason": JUMPS} if column.jumps(row) or column.jumps(other) else {}
            lines.append(
                {
                    **_keys(column, row, key),
                    "against": family.against,
                    **{f"reference_{name}": value for name, value in zip(Row._fields, other, strict=True)},
                    "rows": family.sizes[row],
                    **{name: _finite(values[r]) for name, values in compared.items()},
                    **{name: values[r] for name, values in corrected.items()},
                    "is_best": row == other if best else None,
                    "tied_best": bool(column.known[row] == column.known[other]) if best else None,
                    "fits": kinds[r],
                    **untold,
                }
            )
    return lines


def _compared(column: Column, rows: list[Row], others: list[Row]) -> dict[str, Any]:
    """Return differences with standard errors, intervals and p."""
    fits, varied = column.fits(rows, others)
    same = np.array([row == other for row, other in zip(rows, others, strict=True)])
    varied = np.where(same, certainty.NOTHING, varied)
    variance, df = certainty.moderated(fits, varied)
    samples = np.array([column.variance(row, other) for row, other in zip(rows, others, strict=True)])
    whole, degrees = certainty.satterthwaite(samples, variance, df)
    diff = np.array([column.known[row] - column.known[other] for row, other in zip(rows, others, strict=True)])
    half = certainty.quantile(degrees) * np.sqrt(whole)
    known = np.isfinite(certainty.pools(fits, varied))
    kinds = [_kind_of_fits(int(v), float(n), bool(k)) for v, n, k in zip(varied, fits.df, known, strict=True)]
    p = np.where(diff == 0, 1.0, 2 * certainty.upper_tail(np.abs(diff), whole, degrees))
    lo, hi = np.maximum(diff - half, -1), np.minimum(diff + half, 1)
    return {"diff": diff, "se": np.sqrt(whole), "df": degrees, "lo": lo, "hi": hi, "p": p, "kinds": kinds}


def _against_best(
    column: Column, rows: list[Row], others: list[Row], compared: Mapping[str, Any], sizes: Mapping[Row, int]
) -> dict[str, list]:
    """Return which rows are not distinguishable from the best of their family, and how far picking overstates it."""
    sign = 1 if lower_is_better(column.metric) else -1
    df = np.where(np.isfinite(compared["df"]), compared["df"], np.inf)
    tail = certainty.upper_tail(sign * compared["diff"], compared["se"] ** 2, df)
    corrected = [float(certainty.sidak(tail[r : r + 1], sizes[row] - 1)[0]) for r, row in enumerate(rows)]
    inside = [bool(p >= certainty.LEVEL or row == other) for p, row, other in zip(corrected, rows, others, strict=True)]
    near: dict[Row, list[float]] = {}
    for r, other in enumerate(others):
        if inside[r] and rows[r] != other:
            near.setdefault(other, []).append(float(compared["se"][r] ** 2))
    return {
        "p_corrected": [1.0 if row == other else p for p, row, other in zip(corrected, rows, others, strict=True)],
        "distinguishable": [not each for each in inside],
        "in_best_set": inside,
        "optimism": [
            certainty.optimism(near.get(row, [])) if row == other else None
            for row, other in zip(rows, others, strict=True)
        ],
    }


def _against_zero_shot(
    column: Column, rows: list[Row], others: list[Row], compared: Mapping[str, Any], sizes: Mapping[Row, int]
) -> dict[str, list]:
    """Return p corrected for the rows of the column, those of the largest shots apart from the others."""
    corrected = np.ones(len(rows))
    for largest in (True, False):
        those = np.array([column.pair.is_largest(row) == largest and row != other
                          for row, other in zip(rows, others, strict=True)])  # fmt: skip
        if those.any():
            corrected[those] = certainty.holm(compared["p"][those])
    return {
        "p_corrected": corrected.tolist(),
        "distinguishable": (corrected < certainty.LEVEL).tolist(),
        "in_best_set": [None] * len(rows),
        "optimism": [None] * len(rows),
    }
