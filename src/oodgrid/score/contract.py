"""What scores are given: logits on the cosine scale, features, and labelled samples to compare with.

All scores: higher = more in-distribution. Arguments by the name under which a score declares them in `needs`:

* `logits`: shape (N, K), float64, on the cosine scale.
* `negative_logits`: shape (N, K, n), likewise: with what a method learned that each class is not.
* `features`: shape (N, D), float64, L2-normalised.
* `head`: what makes logits of features, see `Head`.
* `bank`: the labelled shots of the method, see `Bank`.
* `val`: the few-shot validation samples, likewise.

A score of `features` that asks neither for logits nor for a head does not depend on the method, and stands under `any`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

ROUNDING = 1e-12  # what the mean of equal unit features leaves as residuals stays far below


class Skip(Exception):
    """A score that makes no sense here; its message is the reason that the results show."""


@dataclass(frozen=True)
class Head:
    """A linear classifier on normalised features.

    Attributes:
        weights: Shape (K, D), float64.
        bias: Shape (K,), zeros where there is none.
    """

    weights: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return logits on the cosine scale, shape (N, K), of normalised features, shape (N, D)."""
        return features @ self.weights.T + self.bias


@dataclass(frozen=True)
class Bank:
    """Labelled samples; what scores estimate from them is computed once, whoever asks.

    Attributes:
        features: Shape (M, D), float64, L2-normalised.
        labels: Shape (M,), int.
        shots: Images a class of the draw.
        logits: Shape (M, K), on the cosine scale; None where the method leaves none for these samples.
    """

    features: np.ndarray
    labels: np.ndarray
    shots: int
    logits: np.ndarray | None = None

    @cached_property
    def classes(self) -> tuple[np.ndarray, np.ndarray]:
        """The classes that occur, shape (C,), and for every sample its place among them, shape (M,)."""
        return np.unique(self.labels, return_inverse=True)

    @cached_property
    def means(self) -> np.ndarray:
        """Class means of the features, shape (C, D), not normalised."""
        classes, index = self.classes
        sums = np.zeros((len(classes), self.features.shape[1]))
        np.add.at(sums, index, self.features)
        return sums / np.bincount(index)[:, None]

    @cached_property
    def residuals(self) -> np.ndarray:
        """Features minus their class means, shape (M, D).

        Raises:
            Skip: There are none, for want of a class with two samples that differ.
        """
        residuals = self.features - self.means[self.classes[1]]
        if np.abs(residuals).max() < ROUNDING:
            raise Skip("the tied covariance needs at least 2 shots a class")
        return residuals

    def own_logits(self) -> np.ndarray:
        """Return the logits.

        Raises:
            Skip: The method leaves none for these samples.
        """
        if self.logits is None:
            raise Skip("the method leaves no logits of its shots")
        return self.logits


def normalise(features: np.ndarray) -> np.ndarray:
    """Return rows of unit L2 norm in float64, shape (N, D); zero rows stay zero."""
    values = features.astype(np.float64)
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(norms == 0, 1, norms)


def by_rows(function: Callable[[np.ndarray], np.ndarray], features: np.ndarray, rows: int = 4096) -> np.ndarray:
    """Apply a function of (n, D) that returns (n,) to blocks of rows, so that its temporaries stay small."""
    blocks = [function(features[start : start + rows]) for start in range(0, len(features), rows)]
    return np.concatenate(blocks) if blocks else np.empty(0)
