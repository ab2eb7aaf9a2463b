"""What several corruptions make of pixels."""

from __future__ import annotations

import numpy as np


def as_bytes(values: np.ndarray) -> np.ndarray:
    """Return values in [0, 255] as uint8, cut off as ImageNet-C does, not rounded."""
    return values.astype(np.uint8)


def smoothed(image: np.ndarray, sigma: float, truncate: float = 4.0, mode: str = "nearest") -> np.ndarray:
    """Return an image (H, W) or (H, W, 3), each channel averaged with normal weights."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, (sigma, sigma, 0)[: image.ndim], mode=mode, truncate=truncate)


def to_hsv(rgb: np.ndarray) -> np.ndarray:
    """Return hue, saturation and value of an image (H, W, 3), all in [0, 1]; hue and saturation of grey are 0."""
    red, green, blue = np.moveaxis(rgb, 2, 0)
    value, chroma = rgb.max(axis=2), np.ptp(rgb, axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        saturation = np.where(chroma == 0, 0.0, chroma / value)
        sixth = [(green - blue) / chroma, 2.0 + (blue - red) / chroma, 4.0 + (red - green) / chroma]
    # where channels are equally large, the last one counts
    hue = np.select([blue == value, green == value], [sixth[2], sixth[1]], sixth[0])
    hue = np.where(chroma == 0, 0.0, hue / 6.0 % 1.0)
    return np.stack([hue, saturation, value], axis=2)


def to_rgb(hsv: np.ndarray) -> np.ndarray:
    """Return the colours of hue, saturation and value, shape (H, W, 3)."""
    hue, saturation, value = np.moveaxis(hsv, 2, 0)
    sector = np.floor(hue * 6)
    within = hue * 6 - sector
    low, falling, rising = (
        value * (1 - saturation), value * (1 - within * saturation), value * (1 - (1 - within) * saturation)
    )  # fmt: skip
    by_sector = [
        (value, rising, low), (falling, value, low), (low, value, rising),
        (low, falling, value), (rising, low, value), (value, low, falling),
    ]  # fmt: skip
    which = sector.astype(int) % 6
    return np.stack([np.choose(which, channel) for channel in zip(*by_sector, strict=True)], axis=2)


def grey(rgb: np.ndarray) -> np.ndarray:
    """Return the brightness of colours (H, W, 3), shape (H, W), float32."""
    red, green, blue = np.moveaxis(rgb.astype(np.float32), 2, 0)
    return red * np.float32(0.299) + green * np.float32(0.587) + blue * np.float32(0.114)
