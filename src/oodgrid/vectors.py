"""Features as directions: what adapt and score both do with rows of numbers."""

from __future__ import annotations

import numpy as np


def normalise(features: np.ndarray) -> np.ndarray:
    """Return rows of unit L2 norm along the last axis, the shape and precision of the features; zero rows stay zero."""
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.where(norms == 0, 1, norms)
