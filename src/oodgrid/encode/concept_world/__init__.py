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

The world of `concepts` differs from that of `captioned`, on which the tiny CLIP is trained, as a benchmark
differs from the web: backgrounds are cluttered more often, textured objects are commoner, and the light has a
colour. The warm light is close to what the CLIP has seen, so that little is left for few-shot fine-tuning to
learn; moonlight makes it mistake colours, and a few images a class show it how they look there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from oodgrid.encode.concept_world.painting import render, shifted, to_bytes
from oodgrid.encode.concept_world.patterns import SIZE, cells, checks, clouds, grain, rings, stripes, waves
from oodgrid.encode.concept_world.scenes import World, draw_scene, write_caption
from oodgrid.encode.concept_world.words import BACKGROUNDS, COLOURS, GROUPS, SHAPES, SPLITS, TEXTURES
from oodgrid.errors import OodgridError, unknown

__all__ = [
    "BACKGROUNDS", "COLOURS", "DIGITS", "GROUPS", "LIGHTS", "SHAPES", "SIZE", "SPLITS", "TEXTURES",
    "Concepts", "captioned", "concepts", "digits", "noise", "textures",
]  # fmt: skip


@dataclass(frozen=True)
class Concepts:
    """Images with what is known about them; each is painted when it is asked for.

    Attributes:
        names: One stable name per image, unique in its set, as "id/test/red-circle/0007".
        labels: (N,) int32 index into the group's class names, the digit for digits, -1 without a class.
        paint: Row number to image, (48, 48, 3) uint8, and caption. Any number of threads may call it.
    """

    names: list[str]
    labels: NDArray[np.int32]
    paint: Callable[[int], tuple[NDArray[np.uint8], str]]

    @cached_property
    def _painted(self) -> list[tuple[NDArray[np.uint8], str]]:
        return [self.paint(row) for row in range(len(self.names))]

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """All images, (N, 48, 48, 3) uint8."""
        images = [image for image, _ in self._painted]
        return np.stack(images) if images else np.empty((0, SIZE, SIZE, 3), np.uint8)

    @property
    def captions(self) -> list[str]:
        """One true sentence per image."""
        return [caption for _, caption in self._painted]


_WEB = World()
# Red, green and blue of the light in which a benchmark shows its scenes.
LIGHTS = {"warm": (1.15, 1.0, 0.72), "moon": (0.55, 0.7, 1.1)}
DIGITS = 1797  # images of handwritten digits that scikit-learn carries


def concepts(
    group: str,
    split: str,
    per_class: int,
    *,
    light: str = "warm",
    blur: int = 0,
    noise: int = 0,
    contrast: int = 0,
    seed: int = 0,
) -> Concepts:
    """Return `per_class` images of every class of a group, class by class.

    An image depends on (seed, group, split, class, index) alone: a larger `per_class` only adds images, and another
    light or severity shows the same scene.

    Args:
        group: A key of `GROUPS`.
        split: train, val or test: three disjoint streams.
        per_class: Images a class.
        light: A key of `LIGHTS`.
        blur: Severity 0 to 5 of a Gaussian blur.
        noise: Severity 0 to 5 of added Gaussian noise.
        contrast: Severity 0 to 5 of lost contrast.
        seed: Another seed is another world of the same kind.

    Raises:
        OodgridError: Where a group, a split, a light or a severity does not exist.
    """
    if group not in GROUPS:
        raise unknown("concept group", group, GROUPS)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if light not in LIGHTS:
        raise unknown("light", light, LIGHTS)
    for name, severity in (("blur", blur), ("noise", noise), ("contrast", contrast)):
        if severity not in range(6):
            raise OodgridError(f"{name} severity {severity} does not exist: use a whole number from 0 to 5")
    world = World((0.1, 0.3, 0.3, 0.3), (0.1, 0.1, 0.1, 0.1, 0.2, 0.4), LIGHTS[light])
    classes = GROUPS[group]
    names = [f"{group}/{split}/{name.replace(' ', '-')}/{index:04d}" for name in classes for index in range(per_class)]

    def paint(row: int) -> tuple[NDArray[np.uint8], str]:
        rng = _generator(seed, names[row])
        scene = draw_scene(rng, world, *classes[row // per_class].split())
        clean = render(rng, scene, world)
        return shifted(clean, rng, blur, noise, contrast), f"a {scene.phrase} on a {scene.background} background"

    return Concepts(names, np.repeat(np.arange(len(classes), dtype=np.int32), per_class), paint)


def captioned(n: int, seed: int = 0) -> Concepts:
    """Return `n` images of any shape and colour with captions of many forms, as the web would give them.

    No image is one of `concepts`, and none is a texture, noise or a digit. Labels are -1.
    """
    names = [f"captioned/{index:06d}" for index in range(n)]

    def paint(row: int) -> tuple[NDArray[np.uint8], str]:
        rng = _generator(seed, names[row])
        scene = draw_scene(rng, _WEB, COLOURS[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))])
        caption = write_caption(rng, scene)
        return render(rng, scene, _WEB), caption

    return Concepts(names, np.full(n, -1, np.int32), paint)


def textures(n: int, seed: int = 0) -> Concepts:
    """Return `n` patterns without an object: stripes, checks, waves, clouds, cells and rings."""
    kinds = {
        "striped": stripes,
        "checkered": checks,
        "wavy": waves,
        "cloudy": clouds,
        "cellular": cells,
        "ringed": rings,
    }

    def draw(rng: Generator, kind: str) -> NDArray[np.float32]:
        low, high = rng.random((2, 3), dtype=np.float32)
        return low + (high - low) * kinds[kind](rng)[..., None] + grain(rng, 0.03)

    return _filled("textures", "texture", tuple(kinds), draw, n, seed)


def noise(n: int, seed: int = 0) -> Concepts:
    """Return `n` images of noise: uniform, Gaussian, salt and pepper, grey, low-frequency and blocky."""
    kinds: dict[str, Callable[[Generator], NDArray[np.float32]]] = {
        "uniform": lambda rng: rng.random((SIZE, SIZE, 3), dtype=np.float32),
        "gaussian": lambda rng: 0.5 + grain(rng, rng.uniform(0.1, 0.4)),
        "salt-and-pepper": lambda rng: rng.integers(0, 2, (SIZE, SIZE, 1)).repeat(3, 2).astype(np.float32),
        "grey": lambda rng: rng.random((SIZE, SIZE, 1), dtype=np.float32).repeat(3, 2),
        "low-frequency": lambda rng: np.stack([clouds(rng) for _ in range(3)], axis=2),
        "blocky": lambda rng: np.kron(rng.random((8, 8, 3)), np.ones((6, 6, 1))).astype(np.float32),
    }
    return _filled("noise", "noise", tuple(kinds), lambda rng, kind: kinds[kind](rng), n, seed)


def digits() -> Concepts:
    """Return the 1,797 real handwritten digits that scikit-learn carries, enlarged from 8 x 8, white on black.

    Source: UCI ML hand-written digits (Alpaydin & Kaynak 1998), test part, by `sklearn.datasets.load_digits`.
    """
    from sklearn.datasets import load_digits

    data = load_digits()

    def paint(row: int) -> tuple[NDArray[np.uint8], str]:
        small = Image.fromarray((data.images[row] * (255 / 16)).astype(np.uint8))
        grey = small.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        return np.asarray(grey.convert("RGB")), f"a handwritten {data.target[row]}"

    return Concepts([f"digits/{row:04d}" for row in range(DIGITS)], data.target.astype(np.int32), paint)


def _generator(seed: int, name: str) -> Generator:
    """Seed from the image's own name, so that it can be drawn again alone."""
    return np.random.default_rng([seed, crc32(name.encode())])


def _filled(
    folder: str,
    noun: str,
    kinds: tuple[str, ...],
    draw: Callable[[Generator, str], NDArray[np.float32]],
    n: int,
    seed: int,
) -> Concepts:
    """Return `n` images without an object, the kinds taking turns."""
    chosen = [kinds[index % len(kinds)] for index in range(n)]
    names = [f"{folder}/{kind}/{index:04d}" for index, kind in enumerate(chosen)]

    def paint(row: int) -> tuple[NDArray[np.uint8], str]:
        return to_bytes(draw(_generator(seed, names[row]), chosen[row])), f"a {chosen[row]} {noun}"

    return Concepts(names, np.full(n, -1, np.int32), paint)
