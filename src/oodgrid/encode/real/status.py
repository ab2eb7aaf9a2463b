"""Which real datasets lie below a folder, whole or in part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oodgrid.catalogue import real
from oodgrid.encode.real.finding import NotThere, find
from oodgrid.encode.real.splits import check_split
from oodgrid.errors import OodgridError


@dataclass(frozen=True)
class Status:
    """How a dataset lies below a folder.

    Attributes:
        name: What the catalogue calls it.
        state: "whole", "in part" or "missing".
        where: The folder in which it lies, "" where it does not.
        layout: How it lies there, in words.
        lacks: What it lacks, a line for each split; of one that is missing, what is there of it.
    """

    name: str
    state: str
    where: str = ""
    layout: str = ""
    lacks: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return self.state == "whole"


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
        return Status(name, "missing", lacks=error.hints)
    except OodgridError as error:
        return Status(name, "missing", lacks=(str(error),))
    lacks = []
    for split in splits or real.real_set(name).splits:
        try:
            check_split(location, split)
        except OodgridError as error:
            lacks.append(str(error))
    return Status(name, "in part" if lacks else "whole", str(location.base), location.layout.name, tuple(lacks))


def how_to_get(name: str, root: Path | None = None) -> str:
    """Return how a dataset is had: a command, or the first step by hand."""
    entry = real.real_set(name)
    command = f"oodgrid fetch {name}" + (f" --root {root}" if root else "")
    if entry.fetch and not entry.get:
        return command
    return f"by hand: {entry.get[0]}" + (f" (then {command})" if entry.fetch else "")
