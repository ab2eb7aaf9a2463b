"""Contrast, colours, compression and warps. Images are float64 in [0, 1], shape (H, W, 3)."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from oodgrid.encode.corrupting.pixels import smoothed, to_hsv, to_rgb

PART = 32  # of a pixel, to which OpenCV rounds the places that it interpolates at


def contrast(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Draw every channel towards its mean."""
    means = image.mean(axis=(0, 1), keepdims=True)
    return (image - means) * (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1] + means


def brightness(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Raise the value of every colour."""
    hsv = to_hsv(image)
    hsv[..., 2] = np.clip(hsv[..., 2] + (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1], 0, 1)
    return to_rgb(hsv)


def saturate(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Change the saturation of every colour: less at severities 1 and 2, more from 3 on."""
    times, plus = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))[severity - 1]
    hsv = to_hsv(image)
    hsv[..., 1] = np.clip(hsv[..., 1] * times + plus, 0, 1)
    return to_rgb(hsv)


def jpeg_compression(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Compress as a JPEG file of low quality."""
    return as_numbers(through_jpeg(as_picture(image), quality=(25, 18, 15, 10, 7)[severity - 1]))


def pixelate(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Make the image smaller, then as large as before."""
    picture, share = as_picture(image), (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    small = picture.resize(tuple(int(side * share) for side in picture.size), Image.Resampling.BOX)
    return as_numbers(small.resize(picture.size, Image.Resampling.BOX))


def elastic_transform(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Stretch by a random affine map, then by a field of random steps, smoothed."""
    from scipy.ndimage import map_coordinates

    reach, sigma, corners = (
        (244 * 2, 244 * 0.7, 244 * 0.1),
        (244 * 2, 244 * 0.08, 244 * 0.2),
        (244 * 0.05, 244 * 0.01, 244 * 0.02),
        (244 * 0.07, 244 * 0.01, 244 * 0.02),
        (244 * 0.12, 244 * 0.01, 244 * 0.02),
    )[severity - 1]
    image, shape = image.astype(np.float32), image.shape[:2]
    middle, side = np.array(shape, np.float32) // 2, min(shape) // 3
    before = np.array([middle + side, [middle[0] + side, middle[1] - side], middle - side], np.float32)
    after = before + rng.uniform(-corners, corners, size=before.shape).astype(np.float32)
    image = _warped(image, before.astype(np.float64), after.astype(np.float64))
    right, down = (
        (smoothed(rng.uniform(-1, 1, size=shape), sigma, 3, "reflect") * reach).astype(np.float32) for _ in range(2)
    )
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    places = [rows + down, columns + right]
    channels = [map_coordinates(image[..., channel], places, order=1, mode="reflect") for channel in range(3)]
    return np.stack(channels, axis=2)


def _warped(image: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) moved by the affine map that takes three points (x, y) to three others.

    Linear interpolation at 1/32 of a pixel, borders mirrored: OpenCV's warpAffine.
    """
    height, width = image.shape[:2]
    homogeneous = np.concatenate([before, np.ones((3, 1))], axis=1)
    forward = np.linalg.solve(homogeneous, after).T
    back = np.linalg.inv(forward[:, :2])
    back = np.concatenate([back, -back @ forward[:, 2:]], axis=1)
    fine = 1 << 10
    columns, rows = np.arange(width), np.arange(height)[:, None]
    x, y = (
        (np.rint(a * columns * fine).astype(np.int64) + np.rint((b * rows + c) * fine).astype(np.int64) + 16) >> 5
        for a, b, c in back
    )
    right, down = ((axis & (PART - 1)).astype(np.float32)[..., None] / PART for axis in (x, y))
    left, top = x >> 5, y >> 5

    def at(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return image[_mirrored(row, height), _mirrored(column, width)]

    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return upper * (1 - down) + lower * down


def _mirrored(places: np.ndarray, length: int) -> np.ndarray:
    """Return places within 0 to length - 1: the image goes on as in a mirror on its last pixel."""
    if length == 1:
        return np.zeros_like(places)
    around = places % (2 * length - 2)
    return np.minimum(around, 2 * length - 2 - around)


def as_picture(image: np.ndarray) -> Image.Image:
    """Return a picture of an image that is one of bytes."""
    return Image.fromarray(np.round(image * 255).astype(np.uint8))


def as_numbers(picture: Image.Image) -> np.ndarray:
    """Return the pixels of a picture in [0, 1], float64, shape (H, W, 3)."""
    return np.asarray(picture, dtype=np.float64) / 255.0


def through_jpeg(picture: Image.Image, **options: int | bool) -> Image.Image:
    """Return a picture as it comes out of a JPEG file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return Image.open(file).convert("RGB")
