"""Blur. Images are float64 in [0, 1], shape (H, W, 3)."""

from __future__ import annotations

import math

import numpy as np

from oodgrid.encode.corrupting.pixels import as_bytes, smoothed


def gaussian_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Average with normal weights."""
    return smoothed(image, (1, 2, 3, 4, 6)[severity - 1])


def glass_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Let every pixel take the value of one nearby, row by row from the last, between two weak blurs.

    The published code means to swap both pixels, but its views of one array make it a copy; so it is here.
    """
    sigma, reach, passes = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[severity - 1]
    pixels = as_bytes(smoothed(image, sigma) * 255)
    height, width = pixels.shape[:2]
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    places = (rows[:, None] * width + columns).ravel()
    source = list(range(height * width))
    for _ in range(passes):
        steps = rng.integers(-reach, reach, size=(len(places), 2))
        taken = places + steps[:, 1] * width + steps[:, 0]
        for place, other in zip(places.tolist(), taken.tolist(), strict=True):  # one reads what another has written
            source[place] = source[other]
    return smoothed(pixels.reshape(-1, 3)[source].reshape(pixels.shape) / 255.0, sigma)


def defocus_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Average over a disk, as a lens out of focus does."""
    from scipy.ndimage import correlate

    radius, soft = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1]
    kernel = _disk(radius, soft)
    return np.stack([correlate(image[..., channel], kernel, mode="mirror") for channel in range(3)], axis=2)


def motion_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Average along a line of 21 to 41 pixels, at an angle of up to 45 degrees."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    return moved(as_bytes(np.round(image * 255)), radius, sigma, rng.uniform(-45, 45)) / 255.0


def zoom_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Average over the image at rising magnifications."""
    last, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[severity - 1]
    image, factors = image.astype(np.float32), np.arange(1, last, step)
    total = np.zeros_like(image)
    for factor in factors:
        total += magnified(image, factor)
    return (image + total) / (len(factors) + 1)


def magnified(image: np.ndarray, factor: float) -> np.ndarray:
    """Return the centre of an image (H, W, C), enlarged to (H, W, C) by linear interpolation."""
    from scipy.ndimage import zoom

    height, width = image.shape[:2]
    parts = [int(np.ceil(side / float(factor))) for side in (height, width)]
    top, left = (height - parts[0]) // 2, (width - parts[1]) // 2
    large = zoom(image[top : top + parts[0], left : left + parts[1]], (factor, factor, 1), order=1)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return large[top : top + height, left : left + width]


def moved(pixels: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """Return pixels, uint8, (H, W) or (H, W, 3), blurred along one direction as ImageMagick 6 does.

    Half a normal density along the line, edges continued; rounded to 16 bits a value, then cut off to 8
    (MotionBlurImage of its effect.c, and what its PNG files keep).
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2.0 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
    weights /= weights.sum()
    along, across = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    wide, total = pixels.astype(np.float64) * 257, np.zeros(pixels.shape)
    rows, columns = np.arange(pixels.shape[0]), np.arange(pixels.shape[1])
    for step, weight in zip(steps, weights, strict=True):
        down, right = math.ceil(step * across - 0.5), math.ceil(step * along - 0.5)
        near = wide[np.clip(rows + down, 0, len(rows) - 1)][:, np.clip(columns + right, 0, len(columns) - 1)]
        total += weight * near
    return (np.floor(total + 0.5) // 257).astype(np.uint8)


def _disk(radius: int, soft: float) -> np.ndarray:
    """Return a disk of weights, float32, with its edge softened by a normal density of that deviation."""
    from scipy.ndimage import correlate1d

    side = np.arange(-max(radius, 8), max(radius, 8) + 1)
    disk = ((side[None] ** 2 + side[:, None] ** 2) <= radius**2).astype(np.float32)
    disk /= disk.sum()
    reach = 1 if radius <= 8 else 2
    density = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * soft**2))
    weights = density / density.sum()
    for axis in (1, 0):
        disk = correlate1d(disk.astype(np.float64), weights, axis=axis, mode="mirror")
    return disk.astype(np.float32)
