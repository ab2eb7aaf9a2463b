"""Shares of a softmax without the softmax itself: one exponential per entry, and no second array of that size.

Both functions subtract the largest logit first. The largest entry is then exp(0) = 1, sums cannot vanish, and what
underflows would not have counted.
"""

from __future__ import annotations

import numpy as np

from oodgrid.score.products import Block, exp, highest


def largest_share(logits: Block, *, T: float) -> Block:
    """Return max_k softmax(s / T)_k over the last axis, shape (N,) of logits (N, K)."""
    shares = logits - highest(logits)
    shares /= T
    return 1 / exp(shares).sum(axis=-1)


def id_share(logits: Block, others: Block, *, groups: int, T: float, mean: bool = False) -> Block:
    """Return the classes' share of a softmax over them and one group of others, averaged over the groups.

    The largest logit of the classes is subtracted from all, so that the classes' sum is in [1, K]. That of the others
    may overflow or vanish: the share is then 0 or 1, its right limit.

    Args:
        logits: Shape (N, K).
        others: Shape (N, groups n), group after group; overwritten.
        groups: Number of groups.
        T: Temperature.
        mean: Whether a group counts K times its mean in place of its sum, so that its size decides nothing.

    Returns:
        Shape (N,), in [0, 1].
    """
    top = highest(logits)
    classes = exp((logits - top) / T).sum(axis=1, keepdims=True)
    others -= top
    others /= T
    with np.errstate(over="ignore"):
        exp(others)
        of_groups = others.reshape(len(others), groups, others.shape[1] // groups)
        sums = of_groups.mean(axis=2) * logits.shape[1] if mean else of_groups.sum(axis=2)
        return (1 / (1 + sums / classes)).mean(axis=1)
