"""Shares of a softmax, without the softmax: one exponential an entry, and no second array as large as the first."""

from __future__ import annotations

import numpy as np


def largest_share(logits: np.ndarray, *, T: float) -> np.ndarray:
    """Return max_k softmax(s / T)_k over the last axis, shape (N,) of logits (N, K)."""
    shares = logits - logits.max(axis=-1, keepdims=True)
    shares /= T
    return 1 / np.exp(shares, out=shares).sum(axis=-1)


def id_share(logits: np.ndarray, others: np.ndarray, *, groups: int, T: float) -> np.ndarray:
    """Return how much of a softmax over the classes and one group of others is the classes', the mean over the groups.

    The largest logit of a class is subtracted, so that the classes' sum is in [1, K]: the others' may then overflow or
    vanish, and both have the right limit.

    Args:
        logits: Shape (N, K).
        others: Shape (N, groups n), group after group; overwritten.
        groups: Number of groups.
        T: Temperature.

    Returns:
        Shape (N,), in [0, 1].
    """
    top = logits.max(axis=1, keepdims=True)
    classes = np.exp((logits - top) / T).sum(axis=1, keepdims=True)
    others -= top
    others /= T
    with np.errstate(over="ignore"):
        np.exp(others, out=others)
        sums = others.reshape(len(others), groups, others.shape[1] // groups).sum(axis=2)
        return (1 / (1 + sums / classes)).mean(axis=1)
