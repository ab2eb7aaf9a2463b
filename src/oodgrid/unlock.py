"""Removing the lock that a killed Snakemake leaves, only where no Snakemake works in the folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from oodgrid.errors import OodgridError


def remove_stale_lock(folder: Path) -> None:
    """Remove `.snakemake/locks` of a folder, unless a Snakemake process has it as its working directory.

    Raises:
        OodgridError: One is running there.
    """
    locks = folder / ".snakemake" / "locks"
    if not locks.exists() or not any(locks.iterdir()):
        return
    running = _snakemake_in(folder)
    if running:
        raise OodgridError(f"snakemake is still running in {folder} (process {running}): wait for it, or stop it")
    shutil.rmtree(locks)


def _snakemake_in(folder: Path) -> int | None:
    import psutil

    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        command = [Path(word).name for word in (process.info["cmdline"] or [])[:4]]  # python -m snakemake, …
        here = process.info["cwd"] and Path(process.info["cwd"]) == folder
        if here and "snakemake" in command and process.info["pid"] != os.getpid():
            return process.info["pid"]
    return None
