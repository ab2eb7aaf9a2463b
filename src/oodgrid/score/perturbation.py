"""WeiPer's perturbed heads, and the densities of perturbed logits and of feature values.

A hundred heads of a thousand classes give 100,000 logits per sample, so two things keep the work small. The perturbed
heads, W + dW, are never made: logits W x + b are there already, and only dW x is added to them. And densities are
counted block by block, over a range that a first pass over the shots has found, so that no array of all logits exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from oodgrid.score.contract import Bank, Head, product
from oodgrid.score.products import Block
from oodgrid.score.sharing import shared

__all__ = ["counts", "densities", "divergence", "moving_mean", "perturbed_logits"]

Density = tuple[float, float, np.ndarray]  # from, to, and the share of values in each bin between, shape (bins,)
ROWS = 1024  # samples at a time, so that their logits under one head stay small
REMEMBERED = 2**30  # bytes
MARGIN = 1e-8  # of the range of the shots: its ends stay inside even if their products are rounded another way


def perturbed_logits(
    features: Block, logits: Block, head: Head, *, delta: float, repeats: int, seed: int
) -> Iterator[tuple[slice, Block]]:
    """Yield rows and their logits W_r x + b, shape (n, K): every row once with every head r.

    W_rk = W_k + delta ||W_k|| e / ||e|| with Gaussian e. Only the perturbation is multiplied, and added to the logits.
    Draws depend on seed and r alone. They are remembered up to a gigabyte (100 heads of 1000 classes and 512 dimensions
    fill 400 MB); more than that are drawn again for every block of samples.
    """
    fits = repeats * head.weights.nbytes <= REMEMBERED
    remembered = _all_steps(head, delta=delta, repeats=repeats, seed=seed) if fits else None
    for repeat in range(repeats):
        steps = _steps(head, delta, seed, repeat) if remembered is None else remembered[repeat]
        for start in range(0, max(len(features), 1), ROWS):
            rows = slice(start, start + ROWS)
            block = product(features[rows], steps)
            block += logits[rows]
            yield rows, block


@shared
def _all_steps(head: Head, *, delta: float, repeats: int, seed: int) -> list[np.ndarray]:
    return [_steps(head, delta, seed, repeat) for repeat in range(repeats)]


def _steps(head: Head, delta: float, seed: int, repeat: int) -> np.ndarray:
    """Return what perturbation r adds to the weights, shape (K, D)."""
    steps = np.random.default_rng([seed, repeat]).standard_normal(head.weights.shape)
    steps *= delta * np.linalg.norm(head.weights, axis=1, keepdims=True) / np.linalg.norm(steps, axis=1, keepdims=True)
    return steps


@shared
def densities(head: Head, bank: Bank, *, bins: int, delta: float, repeats: int, seed: int) -> tuple[Density, Density]:
    """Return the density of the shots' feature values, and that of their perturbed logits."""
    logits = head.logits(bank.features)
    latent = [bank.features[start : start + ROWS] for start in range(0, len(logits), ROWS)]

    def perturbed() -> Iterator[np.ndarray]:
        heads = perturbed_logits(bank.features, logits, head, delta=delta, repeats=repeats, seed=seed)
        return (block for _, block in heads)

    return _density(lambda: latent, bins), _density(perturbed, bins)


def _density(blocks: Callable[[], Iterable[np.ndarray]], bins: int) -> Density:
    """Return the density of values that come in blocks; `blocks` is called twice, for their range and to count them."""
    extremes = np.array([(block.min(), block.max()) for block in blocks()])
    low, high = extremes[:, 0].min(), extremes[:, 1].max()
    margin = MARGIN * max(1, abs(low), abs(high))
    low, high = float(low - margin), float(high + margin)
    total = sum(counts(block, low, high, bins).sum(axis=0) for block in blocks())
    return low, high, total / total.sum()


def counts(values: np.ndarray, low: float, high: float, bins: int) -> np.ndarray:
    """Return how many of a row's values (n, V) lie in each bin of equal width, shape (n, bins); others are left out."""
    places = values - low  # in place from here on: these are the many values of all heads
    places *= bins / (high - low)
    places += 1  # bin 0 takes what lies below, bin bins + 1 what lies above
    index = np.clip(places, 0, bins + 1, out=places).astype(np.int64)
    index += np.arange(len(values))[:, None] * (bins + 2)  # one bincount counts all rows: each has bins of its own
    total = np.bincount(index.ravel(), minlength=len(values) * (bins + 2))
    return total.reshape(len(values), bins + 2)[:, 1:-1]


def divergence(of_shots: np.ndarray, density: np.ndarray, window: int, floor: float) -> np.ndarray:
    """Return KL(p || q) + KL(q || p), shape (n,): p the density of the shots (bins,), q the smoothed ones (n, bins).

    The floor is added to every bin of both, which are then normalised.
    """
    p = of_shots + floor
    q = density @ moving_mean(len(of_shots), window).T + floor
    p /= p.sum()
    q /= q.sum(axis=1, keepdims=True)
    return ((p - q) * (np.log(p) - np.log(q))).sum(axis=1)


def moving_mean(bins: int, window: int) -> np.ndarray:
    """Return the matrix of a moving mean, shape (bins, bins): the first and last bin go on beyond the ends.

    A window of even width reaches one bin further up than down, as in torch's convolution with padding "same".
    """
    reach = np.arange(window) - (window - 1) // 2
    bin_index = np.arange(bins)[:, None]
    matrix = np.zeros((bins, bins))
    np.add.at(matrix, (bin_index, (bin_index + reach).clip(0, bins - 1)), 1 / window)
    return matrix
