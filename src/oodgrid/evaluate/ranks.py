"""Do rows rank alike over ID sets? Friedman's test with Nemenyi's critical difference, from ten ID sets on.

ID sets are replicates where OOD sets are not: OOD sets of one ID set share its samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from oodgrid.evaluate.certainty import LEVEL
from oodgrid.manifests import Ranks
from oodgrid.measures import MEASURES

FEWEST = 10  # ID sets: at five the critical difference of 20 methods is 13 of 19 ranks
MEANS = ("near", "far", "overall")


def ranks(summary: pl.DataFrame) -> Iterator[Ranks]:
    """Yield the rank tests of every backbone, scope and metric: of all rows, and of the rows of each score.

    Args:
        summary: The rows of summary.parquet. Rows that some ID set lacks are left out.
    """
    summary = summary.filter(pl.col("id_dataset").is_not_null())  # the mean over ID sets is none
    shown = summary.filter("largest", ~pl.col("transductive"), pl.col("scope").is_in(MEANS), pl.col("se").is_not_null())
    for (backbone, scope, metric), column in shown.group_by("backbone", "scope", "metric", maintain_order=True):
        if column["id_dataset"].n_unique() < FEWEST:
            continue
        for score in (None, *column["score"].unique(maintain_order=True)):
            rows = column if score is None else column.filter(score=score)
            if test := _test(rows, str(metric)):
                yield Ranks(backbone=str(backbone), scope=str(scope), metric=str(metric), score=score, **test)


def _test(rows: pl.DataFrame, metric: str) -> dict | None:
    """Return the test of some rows of a column; None of fewer than three rows that all ID sets have."""
    wide = rows.pivot("id_dataset", index=["method", "score"], values="mean").drop_nulls()
    values = wide.drop("method", "score").to_numpy()  # (K, N)
    count, sets = values.shape
    if count < 3 or sets < FEWEST:
        return None
    sign = 1 if MEASURES[metric].better == "lower" else -1
    mean_ranks = rankdata(sign * values, axis=0).mean(axis=1)
    order = np.argsort(mean_ranks, kind="stable")
    difference = studentized_range.ppf(1 - LEVEL, count, np.inf) / 2**0.5 * np.sqrt(count * (count + 1) / (6 * sets))
    equal = bool((values == values[:1]).all())
    return {
        "id_datasets": sets,
        "names": [wide.select("method", "score").row(int(k)) for k in order],
        "mean_ranks": mean_ranks[order].tolist(),
        "friedman_p": 1.0 if equal else float(friedmanchisquare(*values).pvalue),
        "critical_difference": float(difference),
        "groups": _groups(mean_ranks[order], float(difference)),
    }


def _groups(ascending: np.ndarray, difference: float) -> list[tuple[int, int]]:
    """Return first and last of the longest runs of ranks that lie within the critical difference, of two or more."""
    ends = np.searchsorted(ascending, ascending + difference, "right") - 1
    runs = [(k, int(end)) for k, end in enumerate(ends) if end > k]
    return [run for k, run in enumerate(runs) if not any(other[1] >= run[1] for other in runs[:k])]
