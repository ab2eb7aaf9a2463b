"""Prompts with learned vectors in them, and the order of their tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Position = Literal["end", "middle", "front"]  # of the class name among the context vectors


@dataclass(frozen=True, eq=False)
class Prompts:
    """The tokens of "name." for every class, and the place of the context.

    Attributes:
        ids: For every class the ids of name, full stop and end token.
        name_lengths: For every class how many of these belong to the name.
        position: Of the name: after the context, in the middle of it, or in front, as CoOp's CLASS_TOKEN_POSITION.
        start: The id of the start token.
    """

    ids: list[list[int]]
    name_lengths: list[int]
    position: Position
    start: int

    def __len__(self) -> int:
        """Return the number of classes K."""
        return len(self.ids)

    def layout(self, tokens: int, specific: bool) -> Layout:
        """Return the order of the tokens of all prompts.

        Args:
            tokens: Number of context vectors M.
            specific: Whether every class has M vectors of its own, or all share them.
        """
        # The pool: row 0 is the start token, then come the tokens of all names, then the context vectors.
        first_vector = 1 + sum(map(len, self.ids))
        before = context_before(self.position, tokens)
        classes, next_row = [], 1
        for number, (ids, name_length) in enumerate(zip(self.ids, self.name_lengths, strict=True)):
            rows = list(range(next_row, next_row + len(ids)))
            next_row += len(ids)
            vectors = [first_vector + number * tokens * specific + place for place in range(tokens)]
            # The context before the name belongs to the shared front, unless every class has its own. What comes after
            # the name stands between the name and its full stop.
            split = name_length if before < tokens else 0
            classes.append((vectors[:before] if specific else []) + rows[:split] + vectors[before:] + rows[split:])
        front = [0] if specific else [0, *range(first_vector, first_vector + before)]
        return Layout(front, classes, tokens, mixed=specific or before < tokens)


@dataclass(frozen=True)
class Layout:
    """Rows of a pool of vectors (start token, fixed tokens, context vectors), in the order of the prompts.

    Attributes:
        front: The rows with which the prompts of all classes begin.
        classes: For every class the rows that follow, up to the end token.
        context: Number of context vectors of a prompt.
        mixed: Whether there are context vectors in `classes`.
    """

    front: list[int]
    classes: list[list[int]]
    context: int
    mixed: bool

    @property
    def longest(self) -> int:
        """Number of tokens of the longest prompt."""
        return len(self.front) + max(map(len, self.classes))


def context_before(position: Position, tokens: int) -> int:
    """Return how many of the context vectors stand before the name."""
    return {"end": tokens, "middle": tokens // 2, "front": 0}[position]


def end_of(ids: list[int], end: int | None) -> int:
    """Return the place of the end token: `end`, or where None, the highest id, which it is in CLIP's vocabulary."""
    return ids.index(max(ids) if end is None else end)
