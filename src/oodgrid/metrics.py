"""Metrics of a pair of sets of scores, in-distribution (ID) and out-of-distribution (OOD); higher = more ID.

>>> from oodgrid import metrics
>>> id_scores, ood_scores = [0.9, 0.8, 0.7, 0.4], [0.6, 0.3, 0.2, 0.1]
>>> metrics.auroc(id_scores, ood_scores)
0.9375
>>> row = metrics.all_metrics(id_scores, ood_scores)  # every column of metrics.parquet
>>> row["n_id"], row["fpr95_id_pos"], row["fpr95_ood_pos"]
(4, 0.25, 0.25)
>>> round(row["auroc_lo"], 3), round(row["auroc_hi"], 3)  # 95 %: docs/conventions.md
(0.438, 0.997)

A mistake is one line, an `oodgrid.OodgridError`:

>>> metrics.auroc([[0.9, 0.8]], ood_scores)
Traceback (most recent call last):
oodgrid.errors.OodgridError: ID scores: shape (1, 2) where (N,) is needed

All rates are fractions in [0, 1]. What each convention means: docs/conventions.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from oodgrid.edge import mapping
from oodgrid.errors import OodgridError
from oodgrid.evaluate import metrics as rates
from oodgrid.evaluate.intervals import COLUMNS, all_metrics
from oodgrid.measures import exact_recall

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "COLUMNS",
    "all_metrics",
    "aupr_in",
    "aupr_in_balanced",
    "aupr_out",
    "aupr_out_balanced",
    "auroc",
    "fpr95_id_pos",
    "fpr95_id_pos_mcm",
    "fpr95_ood_pos",
    "fpr_id_pos",
    "fpr_ood_pos",
    "table",
    "tied",
]


def _of_scores(rate: Callable[[rates.Counts], float]) -> Callable[[ArrayLike, ArrayLike], float]:
    """Return a rate of two sets of scores, shapes (N,) and (M,), made of the same of their sorted counts."""

    @wraps(rate)
    def of_scores(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
        return rate(rates.count_scores(id_scores, ood_scores))

    del of_scores.__wrapped__  # whose signature help() would show
    of_scores.__annotations__ = {"id_scores": "ArrayLike", "ood_scores": "ArrayLike", "return": "float"}
    of_scores.__module__ = __name__
    return of_scores


auroc = _of_scores(rates.auroc)
fpr95_id_pos = _of_scores(rates.fpr95_id_pos)
fpr95_id_pos_mcm = _of_scores(rates.fpr95_id_pos_mcm)
fpr95_ood_pos = _of_scores(rates.fpr95_ood_pos)


def fpr_id_pos(id_scores: ArrayLike, ood_scores: ArrayLike, recall: float = 0.95) -> float:
    """Return the share of OOD at or above the ID score whose ID recall is nearest the one asked, as .9 or .99.

    >>> fpr_id_pos([0.9, 0.8, 0.7, 0.4], [0.6, 0.3, 0.2, 0.1], recall=0.75)
    0.0
    """
    return rates.fpr_id_pos(rates.count_scores(id_scores, ood_scores), exact_recall(recall))


def fpr_ood_pos(id_scores: ArrayLike, ood_scores: ArrayLike, recall: float = 0.95) -> float:
    """Return the share of ID at or below the first threshold that catches the asked share of the OOD.

    >>> fpr_ood_pos([0.9, 0.8, 0.7, 0.4], [0.6, 0.3, 0.2, 0.1], recall=0.75)
    0.0
    """
    return rates.fpr_ood_pos(rates.count_scores(id_scores, ood_scores), exact_recall(recall))


aupr_in = _of_scores(rates.aupr_in)
aupr_out = _of_scores(rates.aupr_out)
aupr_in_balanced = _of_scores(rates.aupr_in_balanced)
aupr_out_balanced = _of_scores(rates.aupr_out_balanced)
tied = _of_scores(rates.tied)


def table(
    id_scores: Mapping[str, ArrayLike], ood_scores: Mapping[str, Mapping[str, ArrayLike]], **options: Any
) -> pl.DataFrame:
    """Return `all_metrics` of several scores against several OOD sets, a row each.

    >>> from oodgrid import metrics
    >>> rows = metrics.table({"mcm": [3.0, 2.0], "knn": [2.0, 1.0]}, {"noise": {"mcm": [1.0], "knn": [1.5]}})
    >>> rows.select("score", "ood_dataset", "auroc").rows()
    [('mcm', 'noise', 1.0), ('knn', 'noise', 0.5)]

    Args:
        id_scores: The scores of the ID samples by name, each of shape (N,), as `scores.all_scores` returns them.
        ood_scores: The same of each OOD set, by its name. A score that one side lacks has no row.
        options: `repeats`, `seed` and `recalls` of `all_metrics`.

    Raises:
        OodgridError: As `all_metrics`, naming score and OOD set; or no score is there on both sides.
    """
    import polars as pl

    rows = []
    by_ood = {ood: mapping(scores, f"OOD set {ood}") for ood, scores in mapping(ood_scores, "ood_scores").items()}
    for name, of_id in mapping(id_scores, "id_scores").items():
        for ood, scores in by_ood.items():
            if name in scores:
                try:
                    rates = all_metrics(of_id, scores[name], **options)
                except OodgridError as error:
                    raise OodgridError(f"score {name}, OOD set {ood}: {error}") from error
                rows.append({"score": name, "ood_dataset": ood, **rates})
    if not rows:
        raise OodgridError(f"no score of {', '.join(id_scores) or 'none'} is there for an OOD set too")
    return pl.DataFrame(rows)
