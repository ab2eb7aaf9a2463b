"""Patterns that fill an image: surfaces of objects, backgrounds, and textures without an object.

Each is drawn at random and returned as (48, 48) float32 in [0, 1], where nothing else is said.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

SIZE = 48
_YX = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) - (SIZE - 1) / 2


def ramp(rng: Generator) -> NDArray[np.float32]:
    """Return (48, 48) distances in pixels along a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    return _YX[1] * np.float32(math.cos(angle)) + _YX[0] * np.float32(math.sin(angle))


def _crossed(rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return two perpendicular waves of one random wavelength and phase, (48, 48) each in [-1, 1]."""
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi, 2)
    step = 2 * np.pi / rng.uniform(5, 9)
    u = _YX[1] * np.float32(math.cos(angle) * step) + _YX[0] * np.float32(math.sin(angle) * step)
    v = _YX[0] * np.float32(math.cos(angle) * step) - _YX[1] * np.float32(math.sin(angle) * step)
    return np.sin(u + np.float32(phase[0])), np.sin(v + np.float32(phase[1]))


def _sharpened(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn a wave in [-1, 1] into a pattern in [0, 1] with soft edges."""
    return np.clip(0.5 + 1.5 * wave, 0, 1)


def stripes(rng: Generator) -> NDArray[np.float32]:
    """Return parallel stripes of one random direction and width."""
    return _sharpened(_crossed(rng)[0])


def dots(rng: Generator) -> NDArray[np.float32]:
    """Return dots at the crossings of a grid."""
    first, second = _crossed(rng)
    return _sharpened(first + second - 0.8)


def checks(rng: Generator) -> NDArray[np.float32]:
    """Return a chessboard, turned at random."""
    first, second = _crossed(rng)
    return _sharpened(2 * first * second)


def waves(rng: Generator) -> NDArray[np.float32]:
    """Return stripes that are bent by a grid."""
    first, second = _crossed(rng)
    return _sharpened(np.sin(np.float32(rng.uniform(0.3, 0.7)) * ramp(rng) + 2 * first + second))


def clouds(rng: Generator) -> NDArray[np.float32]:
    """Return light and dark patches without edges."""
    cells = int(rng.integers(4, 10))
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    return np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), np.float32) / np.float32(255)


def cells(rng: Generator) -> NDArray[np.float32]:
    """Return the borders between the areas nearest to twelve random points, dark on light."""
    points = rng.uniform(-SIZE / 2, SIZE / 2, (12, 2)).astype(np.float32)
    squares = (_YX[0] - points[:, 0, None, None]) ** 2 + (_YX[1] - points[:, 1, None, None]) ** 2
    nearest, second = np.sqrt(np.partition(squares, 1, axis=0)[:2])
    return np.clip((second - nearest) / 4, 0, 1)


def rings(rng: Generator) -> NDArray[np.float32]:
    """Return circles around one random centre."""
    centre = rng.uniform(-SIZE / 2, SIZE / 2, 2).astype(np.float32)
    distance = np.hypot(_YX[0] - centre[0], _YX[1] - centre[1])
    return _sharpened(np.sin(distance * np.float32(rng.uniform(0.5, 1.2))))


def grain(rng: Generator, sigma: float) -> NDArray[np.float32]:
    """Return (48, 48, 3) Gaussian noise of this standard deviation."""
    return rng.standard_normal((SIZE, SIZE, 3), dtype=np.float32) * np.float32(sigma)
