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
    "BACKGROUNDS", "COLOURS", "GROUPS", "LIGHTS", "SHAPES", "SIZE", "SPLITS", "TEXTURES",
    "Concepts", "captioned", "concepts", "digits", "noise", "textures",
]  # fmt: skip


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


_WEB = World()
# Red, green and blue of the light in which a benchmark shows its scenes.
LIGHTS = {"warm": (1.15, 1.0, 0.72), "moon": (0.55, 0.7, 1.1)}


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
    images, labels, captions, names = [], [], [], []
    for label, classname in enumerate(GROUPS[group]):
        for index in range(per_class):
            name = f"{group}/{split}/{classname.replace(' ', '-')}/{index:04d}"
            rng = _generator(seed, name)
            scene = draw_scene(rng, world, *classname.split())
            clean = render(rng, scene, world)
            images.append(shifted(clean, rng, blur, noise, contrast))
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
        scene = draw_scene(rng, _WEB, COLOURS[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))])
        captions.append(write_caption(rng, scene))
        images.append(render(rng, scene, _WEB))
        names.append(name)
    return _gathered(images, [-1] * n, captions, names)


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
    images = [to_bytes(draw(_generator(seed, name), kind)) for name, kind in zip(names, chosen, strict=True)]
    return _gathered(images, [-1] * n, [f"a {kind} {noun}" for kind in chosen], names)
