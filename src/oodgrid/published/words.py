"""Names and words as published values are compared by."""

from __future__ import annotations

import re

UNSTATED = "unstated"  # in place of what a source does not say
LEARNED = "learned"  # in place of a prompt that has no say


def plain(name: str) -> str:
    """Return a name of a dataset without case, dashes and underscores."""
    return re.sub(r"[^a-z0-9]+", "", name.lower())


SIZES = {"RN50x4": 288, "RN50x16": 384, "RN50x64": 448}  # pixels a side, of models whose names do not say it


def size_of(model: str) -> int | None:
    """Return how many pixels a side a CLIP of open_clip sees, by its name; None where that says nothing."""
    name = model.removesuffix("-quickgelu")
    if at_end := re.search(r"-(\d{3})$", name):
        return int(at_end[1])
    return SIZES.get(name, 224 if re.match(r"ViT-|RN|EVA", name) else None)


def architecture(model: str) -> str:
    """Return the architecture of an open_clip model: without the mark of its activation, which its weights decide."""
    return plain(model.removesuffix("-quickgelu"))
