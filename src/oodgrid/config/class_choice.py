"""A part of a dataset's classes, as a user writes it: one of two halves by a seed, or a list."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from oodgrid.config.base import Seed, Strict
from oodgrid.errors import OodgridError, unknown
from oodgrid.labels import plain_name


class Half(Strict):
    """One of the two halves into which a seeded draw divides the classes; a class more in the second if K is odd."""

    half: Literal[1, 2] = Field(description="The other half, with the same seed, shares no class with this one.")
    seed: Seed = 0

    @property
    def mark(self) -> str:
        """What it adds to the name of the dataset."""
        return f"-half-{self.half}-seed-{self.seed}"


ClassChoice = Half | list[str]


def chosen(choice: ClassChoice, names: Sequence[str], keys: Sequence[str], what: str) -> list[int]:
    """Return the labels of the classes that are taken, ascending.

    Args:
        choice: What the configuration says.
        names: The K names of all classes.
        keys: K other words for them, as folders of ImageNet; or none.
        what: The dataset, for messages.

    Raises:
        OodgridError: A class of a list is none of these, or is named twice.
    """
    if isinstance(choice, Half):
        order = list(range(len(names)))
        random.Random(f"{choice.seed}/{len(names)}").shuffle(order)
        middle = len(order) // 2
        return sorted(order[:middle] if choice.half == 1 else order[middle:])
    label_of = {plain_name(name): label for label, name in enumerate(names)}
    label_of |= {plain_name(key): label for label, key in enumerate(keys)}
    if strange := next((name for name in choice if plain_name(name) not in label_of), None):
        raise unknown(f"class of {what}", strange, names)
    labels = [label_of[plain_name(name)] for name in choice]
    if len(set(labels)) < len(labels):
        twice = next(name for place, name in enumerate(choice) if labels.index(labels[place]) < place)
        raise OodgridError(f"{what}: classes names {twice} twice: leave it once")
    return sorted(labels)


def disjoint(one: ClassChoice | None, other: ClassChoice | None) -> bool:
    """Return whether two parts of one dataset surely share no class."""
    if isinstance(one, Half) and isinstance(other, Half):
        return one.seed == other.seed and one.half != other.half
    if isinstance(one, list) and isinstance(other, list):
        return not {plain_name(name) for name in one} & {plain_name(name) for name in other}
    return False
