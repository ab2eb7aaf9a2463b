"""Corrupted images: the functions of ImageNet-C (Hendrycks & Dietterich 2019), on NumPy, SciPy and Pillow alone.

Written from hendrycks/robustness (ImageNet-C/create_c/make_imagenet_c.py), and held against it pixel by pixel
(docs/verification.md). Its constants are in pixels of images of 224 x 224; on others they stay what they are, so that
a severity is relatively stronger on smaller ones.
"""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from oodgrid.corruptions import QUALITY, Corruption
from oodgrid.encode.corrupting import blur, digital, noise, weather
from oodgrid.encode.corrupting.digital import as_numbers, through_jpeg
from oodgrid.encode.corrupting.pixels import as_bytes

_MODULES = (noise, blur, weather, digital)


def corrupted(picture: Image.Image, corruption: Corruption, path: str) -> Image.Image:
    """Return an RGB picture corrupted, as it comes out of a JPEG file of quality 85, in which ImageNet-C keeps it.

    The noise depends on the corruption, its seed and the name of the image, and nothing else.
    """
    pixels = corrupt(picture, corruption.name, corruption.severity, generator(corruption, path))
    return through_jpeg(Image.fromarray(pixels), quality=QUALITY, optimize=True)


def corrupt(picture: Image.Image, name: str, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels, uint8, shape (H, W, 3), of a corrupted RGB picture."""
    function = next(function for module in _MODULES if (function := vars(module).get(name)))
    return as_bytes(np.clip(function(as_numbers(picture), severity, rng), 0, 1) * 255)


def generator(corruption: Corruption, path: str) -> np.random.Generator:
    """Return the generator of the noise on an image of that name."""
    text = f"{corruption.seed}/{corruption}/{path}".encode("utf-8", "surrogateescape")
    key = np.frombuffer(hashlib.sha256(text).digest()[:16], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
