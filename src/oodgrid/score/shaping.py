"""Shaping of activations: what ASH and SCALE share, on signed features.

They were designed for rectified activations, of which the largest by value are also the largest in size. Of signed
features the largest by value are the most positive ones; every strongly negative one is pruned, and sums have signs.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from oodgrid.score.sharing import shared

__all__ = ["ON_SIGNED", "Percentile", "kept", "pruned", "sharpening"]

Percentile = Annotated[float, Field(ge=0, le=100)]
ON_SIGNED = "made for rectified activations; here on signed, L2-normalised features: "  # how `adapted` begins
LARGEST_EXPONENT = 100.0


@shared
def kept(features: np.ndarray, *, percentile: float) -> np.ndarray:
    """Return where the largest (100 - percentile) % of a row's values are, shape (N, D).

    At least one is, and all values that tie with the smallest of them are, too (torch.topk keeps any of them).
    """
    width = features.shape[1]
    cut = min(round(width * percentile / 100), width - 1)
    return features >= np.partition(features, cut, axis=1)[:, cut, None]


@shared
def pruned(features: np.ndarray, *, percentile: float) -> np.ndarray:
    """Return the features with zeros where they are not kept, shape (N, D)."""
    return np.where(kept(features, percentile=percentile), features, 0)


@shared
def sharpening(features: np.ndarray, *, percentile: float) -> np.ndarray:
    """Return exp(s_1 / s_2), shape (N, 1): s_1 the sum of a row's values, s_2 of those that are kept.

    s_1 / s_2 is at least 1 for rectified activations. Signed ones can make it negative, and s_2 small: it is held to
    [-100, 100], so that no score overflows, and a row of zeros has 0.
    """
    before, after = (x.sum(axis=1, keepdims=True) for x in (features, pruned(features, percentile=percentile)))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.nan_to_num(before / after, nan=0, posinf=np.inf, neginf=-np.inf)
    return np.exp(ratio.clip(-LARGEST_EXPONENT, LARGEST_EXPONENT))
