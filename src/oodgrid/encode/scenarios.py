"""Scenarios of out-of-distribution pairs of an image and a text, seeded: whose text an image gets, and what noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np

from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.labels import has_class

ROUNDS = 100  # of drawing another text where one is equal to the image's own


def texts_of_others(labels: np.ndarray, texts: Sequence[Any], seed: int, where: str) -> np.ndarray:
    """Return for each pair the row of a pair of another class, whose text it gets: misaligned pairs, shape (N,).

    Drawn evenly from all pairs of other classes; a text may be drawn more than once. A pair without a class gets the
    text of any other. None gets a text that is equal to its own.

    Args:
        labels: Shape (N,), -1 for no class.
        texts: N of them, or what stands for them.
        seed: Of the draw.
        where: The dataset, for messages.

    Raises:
        OodgridError: All pairs are of one class, or all of other classes have the same text.
    """
    count, rng = len(labels), np.random.default_rng(seed)
    groups = np.where(has_class(labels), labels, labels.max(initial=0) + 1 + np.arange(count))
    order = np.argsort(groups, kind="stable")
    starts, stops = (np.searchsorted(groups[order], groups, side) for side in ("left", "right"))
    if (others := count - (stops - starts)).min(initial=1) < 1:
        raise OodgridError(f"{where}: all pairs are of one class, and no text is of another: give several classes")
    numbers: dict[Any, int] = {}
    words = np.array([numbers.setdefault(text, len(numbers)) for text in texts])
    rows, left = np.empty(count, np.int64), np.arange(count)
    for _ in range(ROUNDS):
        place = rng.integers(others[left])
        rows[left] = order[np.where(place < starts[left], place, place + (stops - starts)[left])]
        left = left[words[rows[left]] == words[left]]
        if not len(left):
            return rows
    raise OodgridError(
        f"{where}: {counted(len(left), 'pair has', 'pairs have')} the text of pairs of other classes too, so that none "
        "is misaligned: give texts that say the class"
    )


def noisy_pixels(pixels: np.ndarray, strength: float, seed: int, name: str) -> np.ndarray:
    """Return an image (H, W, 3), uint8, with Gaussian noise of this standard deviation, of pixels from 0 to 1.

    Args:
        pixels: The image.
        strength: The standard deviation.
        seed: Of the noise.
        name: Of the image: its noise is its own, whatever stands beside it.
    """
    rng = np.random.default_rng([seed, crc32(name.encode())])
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * (255 * strength)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def noisy_features(features: np.ndarray, strength: float, seed: int, split: str) -> np.ndarray:
    """Return features (N, D) with Gaussian noise whose norm is about so many times that of each, float32.

    Args:
        features: The features.
        strength: The norm of the noise, relative to that of the feature.
        seed: Of the noise.
        split: Its noise is its own: what a fit learns of training pairs stands in no test pair.
    """
    rng = np.random.default_rng([seed, crc32(split.encode())])
    noise = rng.standard_normal(features.shape) / np.sqrt(features.shape[1])
    values = features.astype(np.float64)
    return (values + strength * np.linalg.norm(values, axis=1, keepdims=True) * noise).astype(np.float32)
