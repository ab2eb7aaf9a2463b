"""Images that are files, each in the folder of its class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from oodgrid.encode.sources.image_set import ImageSet, file_stamp, of_layout
from oodgrid.encode.sources.layout import Rule, arrange
from oodgrid.encode.sources.passing_over import printable
from oodgrid.encode.sources.reading import read_image
from oodgrid.errors import OodgridError

READ_ALREADY = "links to folders read already"
NO_FILES = "pipes, sockets or devices"


def folder(root: Path, rule: Rule) -> ImageSet:
    """Return the images below a folder, by the folder in which each lies.

    Raises:
        OodgridError: There is no such folder, one in it cannot be read, or its layout could mean two things.
    """
    if not root.is_dir():
        raise OodgridError(f"folder {root} does not exist: mend the path in the config")
    left_out: Counter[str] = Counter()
    layout = arrange(files_below(root, left_out), str(root), rule)
    layout.passed_over.update(left_out)
    return of_layout(layout, *reading(root, layout.paths, str(root)), str(root))


def reading(
    root: Path, paths: list[str], where: str
) -> tuple[Callable[[int], bytes], Callable[[int], tuple[int, int]]]:
    """Return how a row is read, and how its size and time are found."""

    def read(row: int) -> bytes:
        return read_image(root / paths[row], f"{where}: {printable(paths[row])}")

    return read, lambda row: file_stamp(root / paths[row])


def files_below(root: Path, left_out: Counter[str] | None = None) -> Iterator[str]:
    """Yield the names of files below a folder, each real folder once, and count what else is there.

    A folder without anything in it is yielded too, with / behind its name.

    Links are followed once all that lies here itself is read, those on top first: so the names of images do not depend
    on which way leads to a folder first, and a web of links never multiplies what it leads to.
    """
    left_out = Counter() if left_out is None else left_out
    seen: set[str] = set()
    waiting: list[str] = [""]
    while waiting:
        links: list[str] = []
        for start in sorted(waiting, key=lambda name: (name.count("/"), name)):
            if start and _leads_back(root / start):
                left_out[READ_ALREADY] += 1
            else:
                yield from _files_in(root, start, seen, links, left_out)
        waiting = links


def _files_in(root: Path, start: str, seen: set[str], links: list[str], left_out: Counter[str]) -> Iterator[str]:
    """Yield the names of files below a folder that no link leads to, and gather those links."""
    waiting = [start]
    while waiting:
        name = waiting.pop()
        real = os.path.realpath(root / name)
        if real in seen:
            left_out[READ_ALREADY] += 1
            continue
        seen.add(real)
        empty = True
        with _entries(root / name) as entries:
            for entry in entries:
                empty = False
                inside = f"{name}/{entry.name}" if name else entry.name
                kind = _kind(entry)
                if kind == "folder":
                    waiting.append(inside)
                elif kind == "link to a folder":
                    links.append(inside)
                elif kind == "file":
                    yield inside
                else:
                    left_out[kind] += 1
        if empty:
            yield f"{name}/"


def _kind(entry: os.DirEntry[str]) -> str:
    """Return what stands in a folder; a link that leads to nothing is a file, of which reading says that it is gone."""
    try:
        if entry.is_dir(follow_symlinks=False):
            return "folder"
        if entry.is_symlink() and entry.is_dir():
            return "link to a folder"
        if entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists()):
            return "file"
    except OSError:  # a link that leads to itself, or into what may not be looked at
        return "file"
    return NO_FILES


def _entries(folder: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    try:
        return os.scandir(folder)
    except OSError as error:
        raise OodgridError(f"folder {folder} cannot be read: {error.strerror}") from error


def _leads_back(link: Path) -> bool:
    """Return whether a link leads to a folder in which it lies, on the way here or really: it would never end."""
    really = Path(os.path.realpath(link.parent))
    return any(link.samefile(outer) for outer in (*link.parents, really, *really.parents))
