"""Lines from indicators to rates, learned on the sets of a bench, and what they predict of sets that they never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

ALONE = ("auroc_pool", "flagged", "clusters", "wasserstein", "own_share", "alone_auroc")
# By estimator, what its line is of; the first is the mean of all other sets, which every line should beat.
LINES: dict[str, tuple[str, ...]] = {
    "mean": (),
    "line_auroc_pool": ("auroc_pool",),
    "line_flagged": ("flagged",),
    "line_clusters": ("clusters",),
    "line_wasserstein": ("wasserstein",),
    "regression_alone": ALONE,
    "regression": (*ALONE, "common_share", "unmixed_auroc"),
}
PENALTY = 1e-6  # of a coefficient's square, for each row: columns may be equal


def coefficients(moments: NDArray[np.float64], targets: NDArray[np.float64], rows: float) -> NDArray[np.float64]:
    """Return intercept and coefficients of least squares, shape (P + 1,), from sums over rows.

    Args:
        moments: Sums of products of the columns, the first all ones, shape (P + 1, P + 1).
        targets: Sums of products of the columns with what is predicted, shape (P + 1,).
        rows: How many rows are behind them.
    """
    penalty = PENALTY * rows * np.eye(len(moments))
    penalty[0, 0] = 0
    return np.asarray(np.linalg.solve(moments + penalty, targets), np.float64)


def predict(line: Mapping[str, float], values: Mapping[str, float]) -> float:
    """Return a rate by a line, in [0, 1].

    Args:
        line: Coefficients by indicator, and the `intercept`.
        values: The indicators.
    """
    sums = line["intercept"] + sum(weight * values[name] for name, weight in line.items() if name != "intercept")
    return min(max(sums, 0.0), 1.0)


def fitted(frame: pl.DataFrame, names: Sequence[str], target: str) -> dict[str, float]:
    """Return the line through all rows of a bench."""
    columns, wanted = _columns(frame, names), frame[target].to_numpy()
    weights = coefficients(columns.T @ columns, columns.T @ wanted, len(columns))
    return dict(zip(("intercept", *names), map(float, weights), strict=True))


def left_out(frame: pl.DataFrame, names: Sequence[str], target: str) -> NDArray[np.float64]:
    """Return what each row is predicted by the line through the rows that share nothing with it, shape (N,).

    Rows are left out that share a set with it, whatever the backbone: an OOD set, and of an experiment with several ID
    sets also the ID set, as OOD set too: what is OOD here and ID there are the same images. NaN where none is left.

    Args:
        frame: Rows of a bench, with `id_dataset` and `ood_datasets`.
        names: The indicators.
        target: The column that is predicted.
    """
    columns, wanted = _columns(frame, names), frame[target].to_numpy()
    keys = frame.select("id_dataset", "ood_datasets").rows()
    groups = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    of_row = np.array([groups[key] for key in keys])
    several = frame["id_dataset"].n_unique() > 1
    sets = [{*oods.split(JOIN), *([of_id] if several else [])} for of_id, oods in groups]
    moments, targets, counts = [], [], np.bincount(of_row, minlength=len(groups))
    for number in range(len(groups)):
        rows = of_row == number
        moments.append(columns[rows].T @ columns[rows])
        targets.append(columns[rows].T @ wanted[rows])
    predicted = np.full(len(frame), np.nan)
    for number in range(len(groups)):
        seen = [other for other in range(len(groups)) if not sets[other] & sets[number]]
        if seen:
            sums = sum(moments[i] for i in seen), sum(targets[i] for i in seen), float(counts[seen].sum())
            rows = of_row == number
            predicted[rows] = np.clip(columns[rows] @ coefficients(*sums), 0, 1)
    return predicted


JOIN = " + "  # between the names of the OOD sets of a pool


def _columns(frame: pl.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    """Return a column of ones and those of the indicators, shape (N, P + 1)."""
    return np.column_stack([np.ones(len(frame)), *(frame[name].to_numpy() for name in names)])
