"""The words of Concept World: what there is to see, and which pairs of them are in-distribution (ID) classes."""

from __future__ import annotations

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
