"""Noise on pixels. Images are float64 in [0, 1], shape (H, W, 3), and may leave that range."""

from __future__ import annotations

import numpy as np


def gaussian_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Add normal noise."""
    return image + rng.normal(size=image.shape, scale=(0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1])


def shot_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Count photons, the fewer the more severe."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return rng.poisson(image * photons) / photons


def impulse_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Set a share of all values to 0 or 1, each in one half of the cases."""
    struck = rng.random(image.shape) <= (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    salt = rng.random(image.shape) <= 0.5
    return np.where(struck, salt.astype(float), image)


def speckle_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Add normal noise in proportion to the value."""
    return image + image * rng.normal(size=image.shape, scale=(0.15, 0.2, 0.35, 0.45, 0.6)[severity - 1])
