"""How far estimates are off on a bench: errors and rank correlations, by the share of OOD samples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata

from oodgrid.evaluate.estimate.bench import SHARES
from oodgrid.evaluate.estimate.predictions import RATES
from oodgrid.evaluate.estimate.regression import LINES, left_out
from oodgrid.manifests import EstimateError

DIRECT = {
    "auroc": ("unmixed", "alone", "known", "clusters", "pseudo_labels"),
    "fpr95_id_pos": ("unmixed", "alone", "known", "clusters"),
    "fpr95_ood_pos": ("unmixed", "alone", "known", "clusters"),
}
BOUNDS = (0.0, 0.1, 0.2, 0.4, 0.6, 1.0)  # of estimated shares
By = Literal["all", "share", "estimated"]
FEWEST = 3  # values for a rank correlation


def predicted(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a bench with what every line predicts of sets that it never saw, as `<estimator>_<rate>`."""
    lines = {
        f"{name}_{rate}": left_out(frame, of, f"true_{rate}")
        for name, of in LINES.items()
        for rate in RATES
    }  # fmt: skip
    return frame.with_columns(pl.Series(name, values, pl.Float64) for name, values in lines.items())


def errors(frame: pl.DataFrame) -> Iterator[EstimateError]:
    """Yield the errors of every estimator: over all sets, by true and by estimated share.

    Args:
        frame: What `predicted` returns.
    """
    for rate in RATES:
        for estimator in (*DIRECT[rate], *LINES):
            for by, low, high, rows in _groups(frame, estimator):
                yield from _error(rows, rate, estimator, by, low, high)


def share_of(estimator: str) -> str:
    """Return the column with the share that an estimator goes by: that of its own score, or that of all of the pool."""
    return "own_share" if estimator in ("alone", "regression_alone") else "common_share"


def _groups(frame: pl.DataFrame, estimator: str) -> Iterator[tuple[By, float, float, pl.DataFrame]]:
    """Yield what the rows are chosen by, the bounds of a share, and the rows."""
    yield "all", 0.0, 1.0, frame
    for share in SHARES:
        yield "share", share, share, frame.filter(pl.col("planned_share") == share)
    estimated = pl.col(share_of(estimator))
    for low, high in pairwise(BOUNDS):
        below = estimated <= high if high == BOUNDS[-1] else estimated < high
        yield "estimated", low, high, frame.filter(estimated >= low, below)


def _error(rows: pl.DataFrame, rate: str, estimator: str, by: By, low: float, high: float) -> Iterator[EstimateError]:
    """Yield the errors over some rows, if there are any."""
    rows = rows.filter(pl.col(f"{estimator}_{rate}").is_not_nan())
    if rows.is_empty():
        return
    values, truth = rows[f"{estimator}_{rate}"].to_numpy(), rows[f"true_{rate}"].to_numpy()
    off = values - truth
    sets = rows.select("backbone", "id_dataset", "number").rows()
    detectors = rows.select("backbone", "id_dataset", "method", "score").rows()
    yield EstimateError(
        rate=rate,
        estimator=estimator,
        by=by,
        low=low,
        high=high,
        rows=len(rows),
        sets=len(set(sets)),
        bias=float(off.mean()),
        mae=float(np.abs(off).mean()),
        rmse=float(np.sqrt(np.mean(off**2))),
        within95=float(np.quantile(np.abs(off), 0.95)),
        rank_scores=_mean_correlation(values, truth, sets),
        rank_sets=_mean_correlation(values, truth, detectors),
    )


def _mean_correlation(values: NDArray[np.float64], truth: NDArray[np.float64], groups: list) -> float | None:
    """Return the mean of Spearman's correlations within groups; None where no group has three values that differ."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(groups))}
    of_row = np.array([numbers[key] for key in groups])
    order = np.argsort(of_row, kind="stable")
    correlations = []
    for rows in np.split(order, np.flatnonzero(np.diff(of_row[order])) + 1):
        if len(rows) >= FEWEST and np.ptp(truth[rows]) > 0:
            ranks = rankdata(values[rows]), rankdata(truth[rows])
            # an estimate that is the same for all ranks none of them
            correlations.append(float(np.corrcoef(*ranks)[0, 1]) if np.ptp(ranks[0]) > 0 else 0.0)
    return float(np.mean(correlations)) if correlations else None
