"""Names and words as published values are compared by."""

from __future__ import annotations

import re

UNSTATED = "unstated"  # in place of what a source does not say
LEARNED = "learned"  # in place of a prompt that has no say


def plain(name: str) -> str:
    """Return a name of a dataset without case, dashes and underscores."""
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def architecture(model: str) -> str:
    """Return the architecture of an open_clip model: without the mark of its activation, which its weights decide."""
    return plain(model.removesuffix("-quickgelu"))
