"""Prompts with learned vectors in them, as the text tower takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Position = Literal["end", "middle", "front"]  # of the class name among the context vectors


@dataclass(frozen=True, eq=False)
class Prompts:
    """The tokens of "name." for every class, and where the context goes.

    Attributes:
        ids: For every class the tokens of name, full stop and end token.
        name_lengths: For every class how many of them belong to the name.
        position: Of the name: after the context, in the middle of it, or in front, as CoOp's CLASS_TOKEN_POSITION.
        start: The start token.
    """

    ids: list[list[int]]
    name_lengths: list[int]
    position: Position
    start: int

    def __len__(self) -> int:
        """Return the number of classes K."""
        return len(self.ids)

    def layout(self, tokens: int, specific: bool) -> Layout:
        """Return where every token comes from.

        Args:
            tokens: Context vectors M.
            specific: Whether every class has M of its own, or all share them.
        """
        first = 1 + sum(map(len, self.ids))  # in the pool: start token, all fixed tokens, then context vectors
        before = {"end": tokens, "middle": tokens // 2, "front": 0}[self.position]
        classes, fixed = [], 1
        for number, (ids, named) in enumerate(zip(self.ids, self.name_lengths, strict=True)):
            own = list(range(fixed, fixed + len(ids)))
            vectors = [first + number * tokens * specific + place for place in range(tokens)]
            named = 0 if before == tokens else named
            shared = [] if not specific else vectors[:before]
            classes.append(shared + own[:named] + vectors[before:] + own[named:])
            fixed += len(ids)
        front = [0] if specific else [0, *range(first, first + before)]
        return Layout(front, classes, tokens, mixed=specific or before < tokens)


@dataclass(frozen=True)
class Layout:
    """Rows of a pool of vectors (start token, fixed tokens, context vectors), in the order of the prompts.

    Attributes:
        front: What stands in front of all classes alike.
        classes: What follows for every class, up to the end token.
        context: Context vectors of a prompt.
        mixed: Whether context vectors are among what follows.
    """

    front: list[int]
    classes: list[list[int]]
    context: int
    mixed: bool

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return len(self.front) + max(map(len, self.classes))


def end_of(ids: list[int], end: int | None) -> int:
    """Return the place of the end token: `end`, or where None, the highest id, which it is in CLIP's vocabulary."""
    return ids.index(max(ids) if end is None else end)
