"""The verbs of kept work: what it takes, and removing what nobody uses."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

from oodgrid.cli.common import print_table
from oodgrid.counts import counted

if TYPE_CHECKING:
    from oodgrid.usage import Piece


def run_kept_du(options: argparse.Namespace) -> None:
    """Print what kept work takes, by stage and by who uses it."""
    from oodgrid import paths, usage

    work = usage.look(options.results)
    pieces = work.pieces
    print(f"{options.results / paths.KEPT}: {counted(len(pieces), 'file')}, {readable(usage.size(pieces))}")
    if linked := usage.size(pieces) - usage.freed(pieces):
        print(f"of that {readable(linked)} have a name elsewhere too (hard links) and take no room of their own")
    stages = {stage: [p for p in pieces if p.stage == stage] for stage in dict.fromkeys(p.stage for p in pieces)}
    _table(("stage", "files", "size", "nobody's"), stages, lambda piece, _: not piece.users)
    users = sorted({user for piece in pieces for user in piece.users})
    used = {user: [p for p in pieces if user in p.users] for user in users}
    _table(("used by", "files", "size", "alone"), used, lambda piece, user: piece.users == {user})
    _remarks(work.remarks)


def run_kept_gc(options: argparse.Namespace) -> None:
    """Say what nobody uses, or remove it."""
    from oodgrid import paths, unlock, usage

    with unlock.alone(options.results) if (options.results / paths.KEPT).is_dir() else nullcontext():
        work = usage.look(options.results)
        unused = work.unused()
        if options.yes:
            usage.remove(unused)
    _remarks(work.remarks)
    freed = f"{counted(len(unused), 'file')} that nobody uses, {readable(usage.freed(unused))}"
    stages = ", ".join(dict.fromkeys(piece.stage for piece in unused))
    if not unused:
        print("nothing to remove: all kept work is in use")
    elif options.yes:
        print(f"removed {freed} ({stages})")
    else:
        print(f"would remove {freed} ({stages}); --yes removes them")


def readable(size: float) -> str:
    """Return a number of bytes for a person."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _table(header: tuple[str, ...], groups: dict[str, list[Piece]], apart: Callable[[Piece, str], bool]) -> None:
    """Print the size of groups of files, and of those files in each for which `apart` holds."""
    from oodgrid.usage import size

    lines = [(name, str(len(those)), readable(size(those)), readable(size(p for p in those if apart(p, name))))
             for name, those in groups.items()]  # fmt: skip
    if lines:
        print()
        print_table(header, lines, numbers=True)


def _remarks(lines: list[str]) -> None:
    for line in lines:
        print(f"oodgrid: {line}")
