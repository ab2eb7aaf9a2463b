"""A part of a split, for trials: as many images as asked for, drawn from all classes alike."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from oodgrid.counts import counted
from oodgrid.encode.sources.image_set import ImageSet


def limited(images: ImageSet, limit: int, name: str) -> ImageSet:
    """Return at most `limit` images of a split, in their order, with a remark on how many there were.

    Args:
        images: The whole split.
        limit: How many to take.
        name: Of the split; another name is another draw.
    """
    if len(images) <= limit:
        return images
    part = images.subset(drawn_rows(images.labels, limit, name))
    return replace(part, remarks=(*images.remarks, f"limit: {limit:,} of {counted(len(images), images.thing)}"))


def drawn_rows(labels: NDArray[np.int32], limit: int, name: str) -> NDArray[np.int64]:
    """Return the rows that a limit leaves, ascending, shape (limit,).

    Each class, and the images without one, gives its share of `limit` to within one image, since the first of all its
    images in a random order are those nearest to even steps through it. A smaller limit takes a part of a larger one's
    images, and never a slice: the first images of many sets are of a few classes.

    Args:
        labels: Shape (N,), N > limit; -1 for no class.
        limit: How many to take.
        name: What the draw is seeded by.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # by class, in random order within each
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    place = np.arange(len(labels)) - np.repeat(starts, counts)
    step = (place + np.repeat(rng.random(len(counts)), counts)) / np.repeat(counts, counts)
    return np.sort(order[np.argsort(step, kind="stable")[:limit]])
