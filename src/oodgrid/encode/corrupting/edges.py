"""Edges of a grey image, the distance to them, and filters of nine pixels: what `spatter` takes from OpenCV.

Borders are mirrored without their last pixel, as OpenCV's by default; those of the slopes in `edges` are repeated.
"""

from __future__ import annotations

import numpy as np

FIXED = 1 << 16  # distances are in units of 1/65536 pixel
ACROSS, DIAGONAL, KNIGHT = FIXED, round(1.4 * FIXED), round(2.1969 * FIXED)  # of steps, by chamfers of 5 x 5
FAR = 1 << 40
STEEP = 13573  # tan(22.5 degrees), times 2^15


def edges(grey: np.ndarray, low: int, high: int) -> np.ndarray:
    """Return which pixels of a grey image, uint8, (H, W), are on an edge: Canny's algorithm on Sobel's slopes.

    Thresholds are of the sum of both absolute slopes. An edge has a pixel above `high`, and goes on through those above
    `low` that are steepest across it.
    """
    from scipy.ndimage import label

    dx, dy = _slopes(grey)
    size = np.abs(dx) + np.abs(dy)
    around = np.pad(size, 1)

    def beside(down: int, right: int) -> np.ndarray:
        return around[1 + down : around.shape[0] - 1 + down, 1 + right : around.shape[1] - 1 + right]

    flat, steep = np.abs(dx) * STEEP, np.abs(dy) << 15
    horizontal, vertical = steep < flat, steep > flat + (np.abs(dx) << 16)
    rising = (dx ^ dy) >= 0
    along = (size > beside(0, -1)) & (size >= beside(0, 1))
    upright = (size > beside(-1, 0)) & (size >= beside(1, 0))
    diagonal = np.where(
        rising, (size > beside(-1, -1)) & (size > beside(1, 1)), (size > beside(-1, 1)) & (size > beside(1, -1))
    )
    steepest = (size > low) & np.where(horizontal, along, np.where(vertical, upright, diagonal))
    parts, count = label(steepest, structure=np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[parts[steepest & (size > high)]] = True
    strong[0] = False
    return strong[parts]


def _slopes(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Sobel's slopes to the right and downwards, int64, (H, W)."""
    wide = np.pad(grey.astype(np.int64), 1, mode="edge")
    right, down = wide[:, 2:] - wide[:, :-2], wide[2:] - wide[:-2]
    return right[:-2] + 2 * right[1:-1] + right[2:], down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]


def distances_to(marked: np.ndarray) -> np.ndarray:
    """Return the distance, float32, (H, W), of every pixel to the nearest marked one, by steps of a 5 x 5 chamfer."""
    far = np.where(marked, 0, FAR)
    once = _swept(far)
    return (_swept(once[::-1, ::-1])[::-1, ::-1] / FIXED).astype(np.float32)


def _swept(far: np.ndarray) -> np.ndarray:
    """Return distances, given what they are at most, when steps come from above and from the left."""
    height, width = far.shape
    grown = np.pad(far, ((2, 0), (2, 2)), constant_values=FAR)
    steps = [(-1, 0, ACROSS), (-1, -1, DIAGONAL), (-1, 1, DIAGONAL)]
    steps += [(-1, -2, KNIGHT), (-1, 2, KNIGHT), (-2, -1, KNIGHT), (-2, 1, KNIGHT)]
    walk = ACROSS * np.arange(width)
    for row in range(2, height + 2):
        here = grown[row, 2 : width + 2]
        for down, right, cost in steps:
            np.minimum(here, grown[row + down, 2 + right : 2 + right + width] + cost, out=here)
        here[:] = np.minimum.accumulate(here - walk) + walk  # the left neighbour's distance, and one step
    return grown[2:, 2 : width + 2]


def box(values: np.ndarray) -> np.ndarray:
    """Return means over 3 x 3 pixels, (H, W), rounded where the values are uint8."""
    means = _summed(values.astype(np.float64), np.ones((3, 3))) * (1 / 9)
    return np.rint(means).astype(np.uint8) if values.dtype == np.uint8 else means.astype(np.float32)


def sharpened(values: np.ndarray) -> np.ndarray:
    """Return a relief of values, uint8, (H, W), lit from the lower right."""
    lit = _summed(values.astype(np.float64), np.array([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    return np.clip(lit, 0, 255).astype(np.uint8)


def equalised(values: np.ndarray) -> np.ndarray:
    """Return values, uint8, (H, W), spread so that all levels are about as frequent."""
    counts = np.bincount(values.ravel(), minlength=256)
    first = int(np.flatnonzero(counts)[0])
    rest = values.size - int(counts[first])
    if not rest:
        return values
    above = np.cumsum(counts) - np.cumsum(counts)[first]
    levels = np.rint(above.astype(np.float32) * (np.float32(255) / np.float32(rest)))
    return np.clip(levels, 0, 255).astype(np.uint8)[values]


def _summed(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    from scipy.ndimage import correlate

    return correlate(values, weights, mode="mirror")
