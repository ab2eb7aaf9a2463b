"""Fog, snow and what spatters the lens. Images are float64 in [0, 1], shape (H, W, 3)."""

from __future__ import annotations

import numpy as np

from oodgrid.encode.corrupting.blur import magnified, moved
from oodgrid.encode.corrupting.edges import box, distances_to, edges, equalised, sharpened
from oodgrid.encode.corrupting.pixels import as_bytes, grey, smoothed


def fog(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Lay a cloud over the image, a fractal of the diamond-square algorithm."""
    thick, decay = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[severity - 1]
    height, width = image.shape[:2]
    brightest = image.max()
    side = 1 << (max(height, width) - 1).bit_length()
    cloud = thick * plasma(side, decay, rng)[:height, :width, None]
    return (image + cloud) * brightest / (brightest + thick)


def plasma(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Return a fractal, shape (side, side), in [0, 1]; the side is a power of 2.

    Squares are halved: a middle is the mean of four corners and noise, whose size is divided by `decay` each time. The
    noise is drawn within the square of its size, as in the published code.
    """
    height = np.zeros((side, side))
    step, noise = side, 100.0

    def wobbling(total: np.ndarray) -> np.ndarray:
        return total / 4 + noise * rng.uniform(-noise, noise, total.shape)

    while step >= 2:
        half = step // 2
        corners = height[::step, ::step]
        across = corners + np.roll(corners, -1, axis=0)
        height[half::step, half::step] = wobbling(across + np.roll(across, -1, axis=1))
        centres, corners = height[half::step, half::step], height[::step, ::step]
        above, beside = centres + np.roll(centres, 1, axis=0), corners + np.roll(corners, -1, axis=1)
        height[::step, half::step] = wobbling(above + beside)
        left, below = centres + np.roll(centres, 1, axis=1), corners + np.roll(corners, -1, axis=0)
        height[half::step, ::step] = wobbling(left + below)
        step, noise = half, noise / decay
    height -= height.min()
    return height / height.max()


def snow(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Brighten the image and lay flakes over it that fall in two directions."""
    mean, spread, zoom, least, radius, sigma, share = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    image = image.astype(np.float32)
    flakes = magnified(rng.normal(size=(*image.shape[:2], 1), loc=mean, scale=spread), zoom)[..., 0]
    flakes = as_bytes(np.clip(np.where(flakes < least, 0, flakes), 0, 1) * 255)
    fallen = moved(flakes, radius, sigma, rng.uniform(-135, -45))[..., None] / 255.0
    bright = share * image + (1 - share) * np.maximum(image, grey(image)[..., None] * 1.5 + 0.5)
    return bright + fallen + np.rot90(fallen, k=2)


def spatter(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Lay drops of water over the image, from severity 4 on spots of mud."""
    mean, spread, sigma, least, strength = (
        (0.65, 0.3, 4, 0.69, 0.6),
        (0.65, 0.3, 3, 0.68, 0.6),
        (0.65, 0.3, 2, 0.68, 0.5),
        (0.65, 0.3, 1, 0.65, 1.5),
        (0.67, 0.4, 1, 0.65, 1.5),
    )[severity - 1]
    image = image.astype(np.float32)
    liquid = smoothed(rng.normal(size=image.shape[:2], loc=mean, scale=spread), sigma)
    liquid = np.where(liquid < least, 0, liquid)
    return _water(image, liquid, strength) if severity < 4 else _mud(image, liquid > least, strength)


def _water(image: np.ndarray, liquid: np.ndarray, strength: float) -> np.ndarray:
    """Add drops, brightest at their edges, in pale turquoise."""
    drops = as_bytes(liquid * 255)
    near = np.minimum(distances_to(edges(drops, 50, 150)), np.float32(20))
    relief = box(sharpened(equalised(as_bytes(box(near))))).astype(np.float32)
    shine = drops * relief
    brightest = shine.max()
    shine = shine / brightest * np.float32(strength) if brightest else shine
    return image + shine[..., None] * (np.array([175, 238, 238]) / 255.0).astype(np.float32)


def _mud(image: np.ndarray, spots: np.ndarray, sigma: float) -> np.ndarray:
    """Put brown in place of the image where spots, softened, are dense."""
    dense = smoothed(spots.astype(np.float32), sigma)
    dense = np.where(dense < 0.8, np.float32(0), dense)[..., None]
    return image * (1 - dense) + (np.array([63, 42, 20]) / 255.0).astype(np.float32) * dense
