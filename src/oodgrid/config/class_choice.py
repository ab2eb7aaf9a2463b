"""A part of a dataset's classes, as a user writes it: one of two halves by a seed, or a list."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from oodgrid.config.base import Seed, Strict, collected
from oodgrid.counts import counted
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


def _pattern(pattern: str) -> str:
    """Return a regular expression that has one group.

    Raises:
        OodgridError: It is none, or has another number of groups.
    """
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise OodgridError(f"class_pattern is no regular expression: {error}") from None
    if groups != 1:
        raise OodgridError(
            f"class_pattern has {counted(groups, 'group')}: put brackets around the class, and no others"
        )
    return pattern


ClassPattern = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(collected(_pattern))]


def mark_of(data: dict[str, Any]) -> str:
    """Return what a part of a dataset adds to its name, so that no file, table or figure shows a part as the whole."""
    limit, half = data.get("limit"), data.get("classes")
    if isinstance(half, dict):  # as it is written; a mistake in it has its own line
        number, seed = half.get("half"), half.get("seed", 0)
        half = Half.model_construct(half=number, seed=seed) if number in (1, 2) and isinstance(seed, int) else None
    return (
        (half.mark if isinstance(half, Half) and not data.get("of") else "")
        + ("-partial" if data.get("partial") is True else "")
        + (f"-limit-{limit}" if isinstance(limit, int) and limit > 0 else "")
    )


def without_limit(name: str) -> str:
    """Return the name of a dataset without the mark of a limit, which changes no class of it."""
    return re.sub(r"-limit-[0-9]+$", "", name)


def chosen(choice: ClassChoice, names: Sequence[str], keys: Sequence[str], what: str) -> list[int]:
    """Return the labels of the classes that are taken, ascending.

    Args:
        choice: What the configuration says.
        names: The K names of all classes.
        keys: K other words for them, as folders of ImageNet; or none.
        what: The dataset, for messages.

    Raises:
        OodgridError: A class of a list is none of these, may be two of them, or is named twice.
    """
    if isinstance(choice, Half):
        order = list(range(len(names)))
        random.Random(f"{choice.seed}/{len(names)}").shuffle(order)
        middle = len(order) // 2
        return sorted(order[:middle] if choice.half == 1 else order[middle:])
    words = [*enumerate(names), *enumerate(keys)]
    as_written, plain = _by_word(words), _by_word((label, plain_name(word)) for label, word in words)
    labels = []
    for name in choice:
        meant = sorted(as_written[name] or plain[plain_name(name)])
        if not meant:
            raise unknown(f"class of {what}", name, names)
        if len(meant) > 1:
            mend = f"write {' or '.join(keys[label] for label in meant)}" if keys else "give each a name of its own"
            raise OodgridError(f"{what}: '{name}' of classes stands for {len(meant)} of its classes: {mend}")
        labels += meant
    if len(set(labels)) < len(labels):
        twice = next(name for place, name in enumerate(choice) if labels.index(labels[place]) < place)
        raise OodgridError(f"{what}: classes names {twice} twice: leave it once")
    return sorted(labels)


def _by_word(words: Iterable[tuple[int, str]]) -> defaultdict[str, set[int]]:
    labels = defaultdict(set)
    for label, word in words:
        labels[word].add(label)
    return labels


def disjoint(one: ClassChoice | None, other: ClassChoice | None) -> bool:
    """Return whether two parts of a dataset whose labels are not known here surely share no class."""
    if isinstance(one, Half) and isinstance(other, Half):
        return one.seed == other.seed and one.half != other.half
    if isinstance(one, list) and isinstance(other, list):
        return not {plain_name(name) for name in one} & {plain_name(name) for name in other}
    return False
