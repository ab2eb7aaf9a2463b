"""Which real datasets lie below a folder, whole or in part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oodgrid.catalogue import real
from oodgrid.encode.real.finding import NotThere, find
from oodgrid.encode.real.splits import check_split, is_looked_through
from oodgrid.errors import OodgridError

WHOLE, IN_PART, UNREAD, MISSING, UNCLEAR = "whole", "in part", "not looked through", "missing", "unclear"


@dataclass(frozen=True)
class Status:
    """How a dataset lies below a folder.

    Attributes:
        name: What the catalogue calls it.
        state: "whole", "in part", "missing"; "not looked through" where it is there and only its first job, which may
            import torch, will see whether it is whole; "unclear" where it cannot be said, as of one in two places.
        where: The folder in which it lies, "" where it does not.
        layout: How it lies there, in words.
        lacks: What it lacks, a line for each split; of one that is missing, what is there of it; of one that is
            unclear, why.
    """

    name: str
    state: str
    where: str = ""
    layout: str = ""
    lacks: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return self.state == WHOLE

    @property
    def is_there(self) -> bool:
        """Whether nothing is known to be missing."""
        return self.state in (WHOLE, UNREAD)


def status_of(name: str, root: Path, splits: Sequence[str] | None = None) -> Status:
    """Return how a dataset lies below a folder; of large splits only the number of files is looked at.

    Args:
        name: What the catalogue calls it.
        root: The folder of datasets.
        splits: Those that count; default: all.
    """
    try:
        location = find(name, root)
    except NotThere as error:
        return Status(name, MISSING, lacks=error.hints)
    except OodgridError as error:
        return Status(name, UNCLEAR, lacks=(str(error),))
    lacks = []
    for split in splits or real.real_set(name).splits:
        try:
            check_split(location, split)
        except OodgridError as error:
            lacks.append(str(error))
    state = IN_PART if lacks else WHOLE if is_looked_through(location) else UNREAD
    return Status(name, state, str(location.base), location.layout.name, tuple(lacks))


def how_to_get(name: str, root: Path | None = None) -> str:
    """Return how a dataset is had: a command, or the first step by hand."""
    entry = real.real_set(name)
    command = f"oodgrid fetch {name}" + (f" --root {root}" if root else "")
    if entry.fetch and not entry.get:
        return command
    return f"by hand: {entry.get[0]}" + (f" (then {command})" if entry.fetch else "")
