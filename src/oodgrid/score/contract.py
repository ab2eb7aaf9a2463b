"""What scores are given: logits on the cosine scale, or features with a bank of labelled ones.

All scores: higher = more in-distribution. Arguments by the name under which a score declares them in `needs`:

* `logits`: shape (N, K), float64, on the cosine scale.
* `negative_logits`: shape (N, K, n), likewise: with what a method learned that each class is not.
* `features`: shape (N, D), float64, L2-normalised.
* `bank`: the labelled shots of the method, see `Bank`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


class Skip(Exception):
    """A score that makes no sense here; its message is the reason that the results show."""


@dataclass(frozen=True)
class Bank:
    """Labelled features to compare with: a method's own few-shot set.

    Attributes:
        features: Shape (M, D), float64, L2-normalised.
        labels: Shape (M,), int.
        shots: Images a class of the draw.
    """

    features: np.ndarray
    labels: np.ndarray
    shots: int


def normalise(features: np.ndarray) -> np.ndarray:
    """Return rows of unit L2 norm in float64, shape (N, D); zero rows stay zero."""
    values = features.astype(np.float64)
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(norms == 0, 1, norms)


def by_rows(function: Callable[[np.ndarray], np.ndarray], features: np.ndarray, rows: int = 4096) -> np.ndarray:
    """Apply a function of (n, D) that returns (n,) to blocks of rows, so that its temporaries stay small."""
    blocks = [function(features[start : start + rows]) for start in range(0, len(features), rows)]
    return np.concatenate(blocks) if blocks else np.empty(0)
