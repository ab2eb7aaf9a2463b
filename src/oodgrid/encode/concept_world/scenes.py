"""What an image of Concept World shows, before it is painted, and how a caption says it."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate

from numpy.random import Generator

from oodgrid.encode.concept_world.words import BACKGROUNDS, TEXTURES


@dataclass(frozen=True)
class World:
    """How a world looks: the shares of its textures and backgrounds, and the colour of its light."""

    textures: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    backgrounds: tuple[float, ...] = (1 / 6,) * 6
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Scene:
    """One object on a background; the radius is in pixels."""

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


def draw_scene(rng: Generator, world: World, colour: str, shape: str) -> Scene:
    """Draw texture, background and size of an object whose colour and shape are given."""
    texture = _picked(rng, TEXTURES, world.textures)
    background = _picked(rng, BACKGROUNDS, world.backgrounds)
    return Scene(colour, shape, texture, background, rng.uniform(13, 21))


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


def write_caption(rng: Generator, scene: Scene) -> str:
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
