"""Softmax of logits under a temperature, and what scores take of it, in blocks that a core's cache holds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oodgrid.score.sharing import shared

CACHED = 2**16  # numbers of a block, 512 kB: what is made of it is in a core's cache, too


@shared
def probabilities(logits: np.ndarray, *, T: float) -> np.ndarray:
    """Return softmax(s / T) over the last axis, the shape of the logits."""
    shares = np.empty_like(logits, order="C")
    for _, _, powers in _shifted(logits, T, shares):
        np.exp(powers, out=powers)
        powers /= powers.sum(axis=1, keepdims=True)
    return shares


@shared
def largest_probability(logits: np.ndarray, *, T: float) -> np.ndarray:
    """Return max_k softmax(s / T)_k over the last axis, shape (N,) of logits (N, K)."""
    return 1 / _summed_powers(logits, T=T)[1]  # the power of the largest logit is 1


@shared
def log_probabilities(logits: np.ndarray, *, T: float) -> np.ndarray:
    """Return log softmax(s / T) over the last axis, the shape of the logits; finite where the probability is 0."""
    logs = np.empty_like(logits, order="C")
    for _, _, shifted in _shifted(logits, T, logs):
        shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


@shared
def negative_entropies(logits: np.ndarray, *, T: float) -> np.ndarray:
    """Return sum_k p_k log p_k of p = softmax(s / T), shape (N,) of logits (N, K)."""
    entropies = np.empty(len(logits), logits.dtype)
    for rows, _, logs in _shifted(logits, T):
        shares = np.exp(logs)
        sums = shares.sum(axis=1, keepdims=True)
        shares /= sums
        logs -= np.log(sums)
        shares *= logs
        entropies[rows] = shares.sum(axis=1)
    return entropies


@shared
def log_normaliser(logits: np.ndarray, *, T: float) -> np.ndarray:
    """Return T logsumexp(s / T) over the last axis, shape (N,) of logits (N, K)."""
    highest, sums = _summed_powers(logits, T=T)
    return highest + T * np.log(sums)


@shared
def _summed_powers(logits: np.ndarray, *, T: float) -> tuple[np.ndarray, np.ndarray]:
    """Return max s and sum_k exp((s_k - max s) / T) over the last axis, each of shape (N,), of logits (N, K)."""
    highest, sums = (np.empty(logits.shape[:-1], logits.dtype) for _ in range(2))
    for rows, top, powers in _shifted(logits, T):
        highest.reshape(-1)[rows] = top[:, 0]
        sums.reshape(-1)[rows] = np.exp(powers, out=powers).sum(axis=1)
    return highest, sums


def _shifted(
    logits: np.ndarray, T: float, out: np.ndarray | None = None
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield where some rows of logits (…, K) are, their max s, shape (n, 1), and (s - max s) / T, shape (n, K).

    A softmax is passes over memory, so there are as many rows as a core's cache holds. Without `out`, an array like the
    logits, the next rows overwrite them.
    """
    values = logits.reshape(-1, logits.shape[-1])
    step = max(CACHED // values.shape[1], 1)
    work = np.empty_like(values[:step], order="C") if out is None else out.reshape(values.shape)
    for start in range(0, len(values), step):
        rows = slice(start, start + step)
        block = values[rows]
        shifted = work[: len(block)] if out is None else work[rows]
        highest = block.max(axis=1, keepdims=True)
        np.subtract(block, highest, out=shifted)
        shifted /= T
        yield rows, highest, shifted
