"""Permutations as PyTorch draws them on a CPU, without PyTorch: those that shuffle texts in published code."""

from __future__ import annotations

import numpy as np


class TorchDraws:
    """What `torch.randperm` returns, call after call, under a generator with one seed.

    It is Fisher and Yates' shuffle from the front, by numbers of the Mersenne Twister that NumPy has too
    (`tests/score/test_draws.py` compares the two).
    """

    def __init__(self, seed: int) -> None:
        self._twister = np.random.RandomState(seed % 2**32)._bit_generator  # it has no way to a raw number of its own

    def permutation(self, count: int) -> np.ndarray:
        """Return a permutation of that many numbers, shape (count,)."""
        numbers = list(range(count))
        draws = self._twister.random_raw(max(count - 1, 0)).astype(np.int64) % np.arange(count, 1, -1)
        for place, step in enumerate(draws.tolist()):
            numbers[place], numbers[place + step] = numbers[place + step], numbers[place]
        return np.array(numbers, dtype=np.intp)
