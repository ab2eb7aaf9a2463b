"""Paint a scene of Concept World: outlines, colours, backgrounds and light; and what shifts an image afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from colorsys import hsv_to_rgb

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from oodgrid.encode.concept_world.patterns import SIZE, checks, dots, grain, ramp, stripes
from oodgrid.encode.concept_world.scenes import Scene, World

_SUPERSAMPLING = 4

# Hue in turns, saturation, value. Red, orange and brown are neighbours on purpose; so are blue and purple.
_HSV = {
    "red": (0.00, 0.85, 0.85),
    "orange": (0.075, 0.90, 0.95),
    "brown": (0.065, 0.70, 0.50),
    "green": (0.35, 0.75, 0.65),
    "blue": (0.61, 0.80, 0.80),
    "purple": (0.77, 0.70, 0.65),
    "yellow": (0.155, 0.85, 0.95),
    "pink": (0.93, 0.45, 0.95),
    "cyan": (0.50, 0.70, 0.85),
    "white": (0.10, 0.05, 0.97),
}


def _polygon(corners: int, radius: float | tuple[float, ...] = 1.0, turn: float = 0.0) -> NDArray[np.float64]:
    angles = 2 * np.pi * (np.arange(corners) / corners + turn) - np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], 1) * np.resize(radius, corners)[:, None]


def _heart() -> NDArray[np.float64]:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) - 2.5
    return np.stack([x, y], 1) / 16


# Outlines of unit radius: the first polygon is filled, a second one is cut out of it.
_OUTLINES: dict[str, tuple[NDArray[np.float64], ...]] = {
    "circle": (_polygon(40, 0.9),),
    "square": (_polygon(4, 1.1, 1 / 8),),
    "triangle": (_polygon(3, 1.15),),
    "star": (_polygon(10, (1.15, 0.48)),),
    "cross": (_polygon(12, (1.05, 1.05, 0.42), -1 / 24),),
    "ring": (_polygon(40, 0.95), _polygon(40, 0.52)),
    "heart": (_heart(),),
    "hexagon": (_polygon(6),),
    "arrow": (np.array([(0, -1.1), (0.9, -0.1), (0.32, -0.1), (0.32, 1), (-0.32, 1), (-0.32, -0.1), (-0.9, -0.1)]),),
    "crescent": (_polygon(40, 1.05), _polygon(40, 0.9) + np.array([0.5, -0.2])),
}


def _mask(rng: Generator, shape: str, radius: float) -> NDArray[np.float32]:
    """Return (48, 48) coverage in [0, 1] of a shape at a random place, a little turned and stretched."""
    angle = rng.uniform(-0.25, 0.25)
    stretch = rng.uniform(0.9, 1.1)
    centre = SIZE / 2 + rng.uniform(-4, 4, 2)
    cos, sin = math.cos(angle) * radius, math.sin(angle) * radius
    to_pixels = np.array([[cos * stretch, sin * stretch], [-sin / stretch, cos / stretch]])
    canvas = Image.new("L", (SIZE * _SUPERSAMPLING,) * 2)
    pen = ImageDraw.Draw(canvas)
    for fill, outline in zip((255, 0), _OUTLINES[shape], strict=False):
        pen.polygon(((outline @ to_pixels + centre) * _SUPERSAMPLING).ravel().tolist(), fill=fill)
    return np.asarray(canvas.reduce(_SUPERSAMPLING), np.float32) / np.float32(255)


def _object_colour(rng: Generator, colour: str) -> NDArray[np.float32]:
    """Return RGB in [0, 1] of a colour word, jittered in hue, saturation and value."""
    hue, saturation, value = _HSV[colour]
    hue += rng.normal(0, 0.025)
    saturation = min(max(saturation + rng.normal(0, 0.08), 0), 1)
    value = min(max(value * rng.uniform(0.75, 1.15), 0), 1)
    return np.array(hsv_to_rgb(hue % 1, saturation, value), np.float32)


def _backdrop(rng: Generator, background: str) -> NDArray[np.float32]:
    """Return (48, 48, 3) in [0, 1]: a background of the named kind, faintly tinted."""
    low, high = {"dark": (0.05, 0.25), "light": (0.75, 0.95), "grey": (0.4, 0.6)}.get(background, (0.15, 0.85))
    flat = np.float32(rng.uniform(low, high)) + rng.uniform(-0.08, 0.08, 3).astype(np.float32)
    if background == "gradient":
        return flat + ramp(rng)[..., None] * rng.uniform(-0.012, 0.012, 3).astype(np.float32)
    if background == "noisy":
        return flat + grain(rng, 0.13)
    if background == "cluttered":
        return _cluttered(rng, flat)
    return np.broadcast_to(flat, (SIZE, SIZE, 3))


def _cluttered(rng: Generator, flat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Strew bars and blobs of any colour over a flat background."""
    canvas = Image.new("RGB", (SIZE, SIZE), tuple(to_bytes(flat).tolist()))
    pen = ImageDraw.Draw(canvas)
    for corners, ink in zip(_strewn(rng), rng.integers(0, 256, (6, 3)).tolist(), strict=True):
        pen.polygon(corners, fill=tuple(ink))
    return np.asarray(canvas, np.float32) / np.float32(255)


def _strewn(rng: Generator) -> Iterator[list[float]]:
    for centre in rng.uniform(0, SIZE, (6, 2)):
        yield (centre + rng.uniform(-6, 6, (4, 2))).ravel().tolist()


_PATTERNS = {"striped": stripes, "dotted": dots, "checkered": checks}


def render(rng: Generator, scene: Scene, world: World) -> NDArray[np.uint8]:
    """Paint a scene: background, object with texture, light that falls off to one side, grain."""
    paint = _object_colour(rng, scene.colour)
    surface = np.broadcast_to(paint, (SIZE, SIZE, 3))
    if scene.texture in _PATTERNS:
        depth = np.float32(rng.uniform(0.2, 0.45))
        surface = surface * (1 - depth * _PATTERNS[scene.texture](rng)[..., None])
    backdrop = _backdrop(rng, scene.background)
    image = backdrop + _mask(rng, scene.shape, scene.radius)[..., None] * (surface - backdrop)
    light = np.float32(rng.uniform(0.85, 1.1)) + ramp(rng) * np.float32(rng.uniform(0, 0.008))
    image *= light[..., None] * np.array(world.light, np.float32)
    image += grain(rng, rng.uniform(0.02, 0.06))
    return to_bytes(image)


def to_bytes(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round an image in [0, 1], cut off where it is brighter or darker, to uint8."""
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def shifted(image: NDArray[np.uint8], rng: Generator, blur: int, noise: int, contrast: int) -> NDArray[np.uint8]:
    """Apply blur, then noise, then loss of contrast; severity 0 leaves the bytes as they are."""
    if blur:
        image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(0.9 * blur)))
    if noise or contrast:
        changed = image.astype(np.float32) / np.float32(255) + grain(rng, 0.06 * noise)
        keep = np.float32(1 - 0.17 * contrast)
        image = to_bytes(np.float32(0.5) + keep * (changed - np.float32(0.5)))
    return image
