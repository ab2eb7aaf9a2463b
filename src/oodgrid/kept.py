"""Finished pieces of work, kept where Snakemake cannot delete them, and found by what decides their content.

Snakemake deletes a job's declared outputs before it runs the job again. What lies in results/kept survives that, so
that adding a seed, a shot count or an OOD set computes only what is new. A stage keeps a file by its identity
(`Kept.get`), or a folder of pieces that become one file (`Kept.place`). Every file is sealed, and what is not as sealed
counts as not there. `oodgrid kept gc` removes what nobody uses any more (`oodgrid.usage`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oodgrid import paths
from oodgrid.errors import OodgridError
from oodgrid.identity import digest
from oodgrid.services import without
from oodgrid.store import atomic, check

JOINED = "whole.h5"  # in a folder of pieces: the file that they became


class Kept:
    """The finished work of one stage.

    The manifests of adapt point into it: remove them too when removing it by hand, and all is computed again.
    """

    def __init__(self, results: Path, stage: str) -> None:
        self.results = results
        self.folder = paths.kept(results, stage)

    def get(self, identity: dict[str, Any], suffix: str, make: Callable[[Path], None]) -> Path:
        """Return the file of this identity, calling `make(path)` to write it where it is missing or damaged."""
        path = self.path(identity, suffix)
        if not is_whole(path):
            with atomic(path) as beside:
                make(beside)
        return path

    def path(self, identity: dict[str, Any], suffix: str) -> Path:
        """Return where the file of this identity lies, whether it is there or not."""
        key = digest(identity)
        return self.folder / key[:2] / f"{key}{suffix}"

    def place(self, identity: dict[str, Any]) -> Path:
        """Return the folder of this identity, for work that is done piece by piece and may be joined in one file."""
        return self.folder / digest(identity)[:32]

    def name(self, path: Path) -> str:
        """Return how manifests name a kept file: relative to the results folder, which may move."""
        return path.relative_to(self.results).as_posix()


def is_whole(path: Path) -> bool:
    """Return whether a file is there and as it was sealed."""
    try:
        check(path)
    except OodgridError:
        return False
    return True


def link(kept: Path, path: Path) -> None:
    """Give a kept file its second name, or a copy where the file system has no hard links.

    Either is newer than the inputs of the job that asks, as Snakemake wants outputs to be. All names of one file share
    one time: where equal work has a second name already, as the prompts of two sets with the same classes have, this is
    a copy. A link would set the time of the first, and run again what was computed from that.
    """
    with atomic(path) as beside:
        beside.unlink()
        others = kept.stat().st_nlink - 1 - (path.exists() and path.samefile(kept))
        linked = not others and without("hard links", path.parent, lambda: os.link(kept, beside))
        if not (linked and without("new times", path.parent, lambda: os.utime(beside))):  # of another user's file
            beside.unlink(missing_ok=True)
            shutil.copyfile(kept, beside)
