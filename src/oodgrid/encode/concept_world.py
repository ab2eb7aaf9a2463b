"""Concept World: seeded 48 x 48 images with captions, composed of shape, colour, texture and background.

Nothing is shipped and nothing is downloaded: every image follows from (seed, group, split, class, index).
Because the world is made, two truths are known that no photograph tells: how far an image's meaning is from
the in-distribution (ID) classes, and how far its looks are.

Semantic distance from the ID classes, by what an image shares with them:

=====================  ========  ======================================================
set                    distance  shares with the ID classes
=====================  ========  ======================================================
`id`                   0         everything
`unseen_combinations`  1         its colour and its shape, each with another partner
`unseen_shapes`        2         its colour
`unseen_both`          3         only that there is one object
`textures` (far)       4         nothing: there is no object
=====================  ========  ======================================================

Covariate distance: `blur`, `noise` and `contrast` have severities 0 to 5 and change the same underlying
image, so a shifted set is paired with its clean one, image by image.

The world of `concepts` differs a little from that of `captioned`, on which the tiny CLIP is trained, as a
benchmark differs from the web: backgrounds are cluttered more often, textured objects are commoner and the
light is warm. This leaves something for few-shot fine-tuning to learn.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Iterator
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from itertools import accumulate
from zlib import crc32

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from oodgrid.errors import OodgridError, unknown

SIZE = 48
SPLITS = ("train", "val", "test")
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "hexagon", "arrow", "crescent")
COLOURS = ("red", "orange", "brown", "green", "blue", "purple", "yellow", "pink", "cyan", "white")
TEXTURES = ("plain", "striped", "dotted", "checkered")
BACKGROUNDS = ("grey", "dark", "light", "gradient", "noisy", "cluttered")

_ID_SHAPES, _NEW_SHAPES = SHAPES[:6], SHAPES[6:]
_ID_COLOURS, _NEW_COLOURS = COLOURS[:6], COLOURS[6:]


def _pairs(shapes: tuple[str, ...], colours: tuple[str, ...], rests: tuple[int, ...] = (0, 1, 2)) -> tuple[str, ...]:
    """Name the pairs whose indices add up to one of `rests` modulo 3: every word stays equally frequent."""
    return tuple(
        f"{colour} {shape}"
        for i, shape in enumerate(shapes)
        for j, colour in enumerate(colours)
        if (i + j) % 3 in rests
    )


GROUPS: dict[str, tuple[str, ...]] = {
    "id": _pairs(_ID_SHAPES, _ID_COLOURS, (1, 2)),
    "unseen_combinations": _pairs(_ID_SHAPES, _ID_COLOURS, (0,)),
    "unseen_shapes": _pairs(_NEW_SHAPES, _ID_COLOURS),
    "unseen_both": _pairs(_NEW_SHAPES, _NEW_COLOURS),
}

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

_YX = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) - (SIZE - 1) / 2
_SUPERSAMPLING = 4


@dataclass(frozen=True)
class Concepts:
    """Images with what is known about them.

    Attributes:
        images: (N, 48, 48, 3) uint8.
        labels: (N,) int32 index into the group's class names, the digit for digits, -1 without a class.
        captions: One true sentence an image.
        names: One stable name an image, unique in its set, as "id/test/red-circle/0007".
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    captions: list[str]
    names: list[str]


@dataclass(frozen=True)
class _World:
    """How a world looks: the shares of its textures and backgrounds, and the colour of its light."""

    textures: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    backgrounds: tuple[float, ...] = (1 / 6,) * 6
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)


_WEB = _World()
_BENCHMARK = _World((0.1, 0.3, 0.3, 0.3), (0.1, 0.1, 0.1, 0.1, 0.2, 0.4), (1.15, 1.0, 0.72))


def concepts(
    group: str, split: str, per_class: int, *, blur: int = 0, noise: int = 0, contrast: int = 0, seed: int = 0
) -> Concepts:
    """Return `per_class` images of every class of a group, class by class.

    An image depends on (seed, group, split, class, index) alone: a larger `per_class` only adds images.

    Args:
        group: A key of `GROUPS`.
        split: train, val or test: three disjoint streams.
        per_class: Images a class.
        blur: Severity 0 to 5 of a Gaussian blur.
        noise: Severity 0 to 5 of added Gaussian noise.
        contrast: Severity 0 to 5 of lost contrast.
        seed: Another seed is another world of the same kind.

    Raises:
        OodgridError: Where a group, a split or a severity does not exist.
    """
    if group not in GROUPS:
        raise unknown("concept group", group, GROUPS)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    for name, severity in (("blur", blur), ("noise", noise), ("contrast", contrast)):
        if severity not in range(6):
            raise OodgridError(f"{name} severity {severity} does not exist: use a whole number from 0 to 5")
    images, labels, captions, names = [], [], [], []
    for label, classname in enumerate(GROUPS[group]):
        for index in range(per_class):
            name = f"{group}/{split}/{classname.replace(' ', '-')}/{index:04d}"
            rng = _generator(seed, name)
            scene = _scene(rng, _BENCHMARK, *classname.split())
            clean = _render(rng, scene, _BENCHMARK)
            images.append(_shifted(clean, rng, blur, noise, contrast))
            labels.append(label)
            captions.append(f"a {scene.phrase} on a {scene.background} background")
            names.append(name)
    return _gathered(images, labels, captions, names)


def captioned(n: int, seed: int = 0) -> Concepts:
    """Return `n` images of any shape and colour with captions of many forms, as the web would give them.

    No image is one of `concepts`, and none is a texture, noise or a digit. Labels are -1.
    """
    images, captions, names = [], [], []
    for index in range(n):
        name = f"captioned/{index:06d}"
        rng = _generator(seed, name)
        scene = _scene(rng, _WEB, COLOURS[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))])
        captions.append(_caption(rng, scene))
        images.append(_render(rng, scene, _WEB))
        names.append(name)
    return _gathered(images, [-1] * n, captions, names)


def textures(n: int, seed: int = 0) -> Concepts:
    """Return `n` patterns without an object: stripes, checks, waves, clouds, cells and rings."""
    kinds = {
        "striped": _stripes,
        "checkered": _checks,
        "wavy": _waves,
        "cloudy": _clouds,
        "cellular": _cells,
        "ringed": _rings,
    }

    def draw(rng: Generator, kind: str) -> NDArray[np.float32]:
        low, high = rng.random((2, 3), dtype=np.float32)
        return low + (high - low) * kinds[kind](rng)[..., None] + _grain(rng, 0.03)

    return _filled("textures", "texture", tuple(kinds), draw, n, seed)


def noise(n: int, seed: int = 0) -> Concepts:
    """Return `n` images of noise: uniform, Gaussian, salt and pepper, grey, low-frequency and blocky."""
    kinds: dict[str, Callable[[Generator], NDArray[np.float32]]] = {
        "uniform": lambda rng: rng.random((SIZE, SIZE, 3), dtype=np.float32),
        "gaussian": lambda rng: 0.5 + _grain(rng, rng.uniform(0.1, 0.4)),
        "salt-and-pepper": lambda rng: rng.integers(0, 2, (SIZE, SIZE, 1)).repeat(3, 2).astype(np.float32),
        "grey": lambda rng: rng.random((SIZE, SIZE, 1), dtype=np.float32).repeat(3, 2),
        "low-frequency": lambda rng: np.stack([_clouds(rng) for _ in range(3)], axis=2),
        "blocky": lambda rng: np.kron(rng.random((8, 8, 3)), np.ones((6, 6, 1))).astype(np.float32),
    }
    return _filled("noise", "noise", tuple(kinds), lambda rng, kind: kinds[kind](rng), n, seed)


def digits() -> Concepts:
    """Return the 1,797 real handwritten digits that scikit-learn carries, enlarged from 8 x 8, white on black.

    Source: UCI ML hand-written digits (Alpaydin & Kaynak 1998), test part, by `sklearn.datasets.load_digits`.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images = []
    for small in data.images:
        grey = Image.fromarray((small * (255 / 16)).astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        images.append(np.asarray(grey.convert("RGB")))
    labels = [int(digit) for digit in data.target]
    captions = [f"a handwritten {digit}" for digit in labels]
    return _gathered(images, labels, captions, [f"digits/{i:04d}" for i in range(len(labels))])


def _generator(seed: int, name: str) -> Generator:
    """Seed from the image's own name, so that it can be drawn again alone."""
    return np.random.default_rng([seed, crc32(name.encode())])


def _gathered(images: list, labels: list[int], captions: list[str], names: list[str]) -> Concepts:
    stacked = np.stack(images) if images else np.empty((0, SIZE, SIZE, 3), np.uint8)
    return Concepts(stacked, np.array(labels, np.int32), captions, names)


def _filled(
    folder: str,
    noun: str,
    kinds: tuple[str, ...],
    draw: Callable[[Generator, str], NDArray[np.float32]],
    n: int,
    seed: int,
) -> Concepts:
    """Draw `n` images without an object, the kinds taking turns."""
    chosen = [kinds[index % len(kinds)] for index in range(n)]
    names = [f"{folder}/{kind}/{index:04d}" for index, kind in enumerate(chosen)]
    images = [_bytes(draw(_generator(seed, name), kind)) for name, kind in zip(names, chosen, strict=True)]
    return _gathered(images, [-1] * n, [f"a {kind} {noun}" for kind in chosen], names)


@dataclass(frozen=True)
class _Scene:
    colour: str
    shape: str
    texture: str
    background: str
    radius: float

    @property
    def phrase(self) -> str:
        """The object as one says it; a plain texture is not mentioned."""
        texture = "" if self.texture == "plain" else f"{self.texture} "
        return f"{texture}{self.colour} {self.shape}"


def _picked(rng: Generator, words: tuple[str, ...], shares: tuple[float, ...]) -> str:
    """Pick a word by its share; ten times as fast as `Generator.choice`."""
    return words[min(bisect(list(accumulate(shares)), rng.random()), len(words) - 1)]


def _scene(rng: Generator, world: _World, colour: str, shape: str) -> _Scene:
    texture = _picked(rng, TEXTURES, world.textures)
    background = _picked(rng, BACKGROUNDS, world.backgrounds)
    return _Scene(colour, shape, texture, background, rng.uniform(13, 21))


_FORMS = (
    "a photo of a {name}.",
    "a {name}",
    "a {phrase}",
    "a {phrase} on a {background} background",
    "a photo of the {size} {name}.",
    "a photo of a {size} {phrase} on a {background} background.",
    "a {medium} of a {name}.",
    "a {medium} of the {phrase}.",
    "itap of a {name}.",
    "a bad photo of the {name}.",
    "a origami {name}.",
    "a {name} in a video game.",
    "art of the {name}.",
    "there is a {texture} {shape} here and its colour is {colour}",
    "this is a {medium} of a {shape} that is {colour} and {texture}, and its background is {background}.",
)
_MEDIA = (
    "photo",
    "picture",
    "image",
    "drawing",
    "painting",
    "blurry photo",
    "low resolution photo",
    "rendering",
)


def _caption(rng: Generator, scene: _Scene) -> str:
    """Say something true about the scene; a third of the captions are CLIP's own plain template."""
    form = _FORMS[0] if rng.random() < 0.3 else _FORMS[rng.integers(len(_FORMS))]
    return form.format(
        name=f"{scene.colour} {scene.shape}",
        phrase=scene.phrase,
        size="small" if scene.radius < 17 else "large",
        medium=_MEDIA[rng.integers(len(_MEDIA))],
        colour=scene.colour,
        shape=scene.shape,
        texture=scene.texture,
        background=scene.background,
    )


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
    return np.asarray(canvas.reduce(_SUPERSAMPLING), np.float32) / 255


def _ramp(rng: Generator) -> NDArray[np.float32]:
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


def _stripes(rng: Generator) -> NDArray[np.float32]:
    return _sharpened(_crossed(rng)[0])


def _dots(rng: Generator) -> NDArray[np.float32]:
    first, second = _crossed(rng)
    return _sharpened(first + second - 0.8)


def _checks(rng: Generator) -> NDArray[np.float32]:
    first, second = _crossed(rng)
    return _sharpened(2 * first * second)


def _waves(rng: Generator) -> NDArray[np.float32]:
    first, second = _crossed(rng)
    return _sharpened(np.sin(np.float32(rng.uniform(0.3, 0.7)) * _ramp(rng) + 2 * first + second))


def _clouds(rng: Generator) -> NDArray[np.float32]:
    cells = int(rng.integers(4, 10))
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    return np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), np.float32) / 255


def _cells(rng: Generator) -> NDArray[np.float32]:
    points = rng.uniform(-SIZE / 2, SIZE / 2, (12, 2)).astype(np.float32)
    squares = (_YX[0] - points[:, 0, None, None]) ** 2 + (_YX[1] - points[:, 1, None, None]) ** 2
    nearest, second = np.sqrt(np.partition(squares, 1, axis=0)[:2])
    return np.clip((second - nearest) / 4, 0, 1)


def _rings(rng: Generator) -> NDArray[np.float32]:
    centre = rng.uniform(-SIZE / 2, SIZE / 2, 2).astype(np.float32)
    distance = np.hypot(_YX[0] - centre[0], _YX[1] - centre[1])
    return _sharpened(np.sin(distance * np.float32(rng.uniform(0.5, 1.2))))


def _grain(rng: Generator, sigma: float) -> NDArray[np.float32]:
    return rng.standard_normal((SIZE, SIZE, 3), dtype=np.float32) * np.float32(sigma)


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
        return flat + _ramp(rng)[..., None] * rng.uniform(-0.012, 0.012, 3).astype(np.float32)
    if background == "noisy":
        return flat + _grain(rng, 0.13)
    if background == "cluttered":
        return _cluttered(rng, flat)
    return np.broadcast_to(flat, (SIZE, SIZE, 3))


def _cluttered(rng: Generator, flat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Strew bars and blobs of any colour over a flat background."""
    canvas = Image.new("RGB", (SIZE, SIZE), tuple(_bytes(flat).tolist()))
    pen = ImageDraw.Draw(canvas)
    for corners, ink in zip(_strewn(rng), rng.integers(0, 256, (6, 3)).tolist(), strict=True):
        pen.polygon(corners, fill=tuple(ink))
    return np.asarray(canvas, np.float32) / 255


def _strewn(rng: Generator) -> Iterator[list[float]]:
    for centre in rng.uniform(0, SIZE, (6, 2)):
        yield (centre + rng.uniform(-6, 6, (4, 2))).ravel().tolist()


_PATTERNS = {"striped": _stripes, "dotted": _dots, "checkered": _checks}


def _render(rng: Generator, scene: _Scene, world: _World) -> NDArray[np.uint8]:
    """Paint a scene: background, object with texture, light that falls off to one side, grain."""
    paint = _object_colour(rng, scene.colour)
    surface = np.broadcast_to(paint, (SIZE, SIZE, 3))
    if scene.texture in _PATTERNS:
        depth = np.float32(rng.uniform(0.2, 0.45))
        surface = surface * (1 - depth * _PATTERNS[scene.texture](rng)[..., None])
    backdrop = _backdrop(rng, scene.background)
    image = backdrop + _mask(rng, scene.shape, scene.radius)[..., None] * (surface - backdrop)
    light = np.float32(rng.uniform(0.85, 1.1)) + _ramp(rng) * np.float32(rng.uniform(0, 0.008))
    image *= light[..., None] * np.array(world.light, np.float32)
    image += _grain(rng, rng.uniform(0.02, 0.06))
    return _bytes(image)


def _bytes(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _shifted(image: NDArray[np.uint8], rng: Generator, blur: int, noise: int, contrast: int) -> NDArray[np.uint8]:
    """Apply blur, then noise, then loss of contrast; severity 0 leaves the bytes as they are."""
    if blur:
        image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(0.9 * blur)))
    if noise or contrast:
        changed = image / np.float32(255) + _grain(rng, 0.06 * noise)
        keep = np.float32(1 - 0.17 * contrast)
        image = _bytes(0.5 + keep * (changed - 0.5))
    return image
