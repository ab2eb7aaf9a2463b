"""Finished pieces of work, kept where Snakemake cannot delete them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from oodgrid import paths
from oodgrid.errors import OodgridError
from oodgrid.identity import digest
from oodgrid.store import atomic, check


class Kept:
    """Finished pieces of work in a folder that Snakemake is not told of, found by what decides their content.

    Snakemake deletes a job's declared outputs before it runs the job again. What lies here survives that, so
    that adding a seed, a shot count or an OOD set computes only what is new. The manifests of adapt point
    into it, so whoever removes it must remove them too; that loses nothing but time.
    """

    def __init__(self, results: Path, stage: str) -> None:
        self.results = results
        self.folder = paths.kept(results, stage)

    def get(self, identity: dict[str, Any], suffix: str, make: Callable[[Path], None]) -> Path:
        """Return the file of this identity, calling `make(path)` to write it where it is missing or damaged."""
        key = digest(identity)
        path = self.folder / key[:2] / f"{key}{suffix}"
        if not _is_whole(path):
            with atomic(path) as beside:
                make(beside)
        return path

    def name(self, path: Path) -> str:
        """Return how manifests name a kept file: relative to the results folder, which may move."""
        return path.relative_to(self.results).as_posix()


def _is_whole(path: Path) -> bool:
    try:
        check(path)
    except OodgridError:
        return False
    return True
