"""Features as directions: what adapt and score both do with rows of numbers."""

from __future__ import annotations

import numpy as np


def normalise(features: np.ndarray) -> np.ndarray:
    """Return rows of unit L2 norm along the last axis, the shape and precision of the features; zero rows stay zero."""
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.where(norms == 0, 1, norms)


def filled(values: np.ndarray, rows: int) -> np.ndarray:
    """Return values (n, …) with copies of their last row behind them, so that n is a multiple of `rows`.

    Products of matrices take odd rows at the end another way than the rest, which shows in their last bits. Filled up,
    a block gives a sample the same numbers whatever other samples it is computed with.
    """
    lacking = -len(values) % rows if len(values) else 0
    return np.concatenate([values, np.repeat(values[-1:], lacking, axis=0)]) if lacking else values
