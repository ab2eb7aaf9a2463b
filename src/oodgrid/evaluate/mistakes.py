"""The samples that a score mistakes most: the ID samples of the lowest scores and the OOD samples of the highest."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

MOST = 4  # of each side of a pair of sets
SAMPLES = pl.List(pl.Struct({"path": pl.String, "score": pl.Float64}))


def mistaken(id_samples: pl.DataFrame, ood_samples: pl.DataFrame, score: str) -> dict[str, list[dict[str, Any]]]:
    """Return the most mistaken samples of both sides, the most mistaken first; of equal ones the first stored.

    Args:
        id_samples: The ID samples, with columns `path` and `score`.
        ood_samples: The OOD samples.
        score: Name of the score.
    """
    return {
        "mistaken_id": _extremes(id_samples, score, sign=1),
        "mistaken_ood": _extremes(ood_samples, score, sign=-1),
    }


def _extremes(samples: pl.DataFrame, score: str, sign: int) -> list[dict[str, Any]]:
    scores = samples[score].to_numpy()
    values, most = sign * scores, min(MOST, len(scores))
    within = np.flatnonzero(values <= np.partition(values, most - 1)[most - 1])  # to sort all would take minutes
    rows = within[np.argsort(values[within], kind="stable")][:most]
    return [{"path": samples["path"][int(row)], "score": float(scores[row])} for row in rows]
