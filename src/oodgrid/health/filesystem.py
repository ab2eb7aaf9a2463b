"""The file system of the results: what it can do, tried on a small probe, and how much room there is."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from oodgrid.health.findings import NOTE, OK, UNFIT, Finding
from oodgrid.unlock import NETWORK

MOST_SKEW = 10.0  # seconds between its clock and ours
SPARE = 0.5e9  # bytes that should stay free


def existing(folder: Path) -> Path:
    """Return a folder, or of those above it the nearest that exists."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())


def of_folder(results: Path) -> Iterator[Finding]:
    """Yield what the file system of the results folder can do; a probe is written there, and removed."""
    place = existing(results)
    kind = _kind(place)
    on = f"{place} ({kind})" if kind else str(place)
    if not place.is_dir():
        yield Finding("file system", UNFIT, f"{place} is no folder", "move it, or use --results")
        return
    try:
        with tempfile.TemporaryDirectory(prefix=".oodgrid-doctor-", dir=place) as probe:
            yield from _tried(Path(probe), on)
    except OSError as error:
        yield Finding("file system", UNFIT, f"{on} cannot be written to: {error.strerror}", "mend its permissions")
        return
    if kind.startswith(NETWORK):
        text = f"{on} is shared: machines that write to it must have one clock, and many small files are slow there"
        yield Finding("file system", NOTE, text, "docs/machines.md, Scratch")


def _tried(probe: Path, on: str) -> Iterator[Finding]:
    """Yield what the file system does with a probe folder."""
    refused = [name for name, attempt in _ATTEMPTS.items() if not _does(attempt, probe)]
    if "atomic renames" in refused:
        text = f"{on} does not rename over a file: a killed job would leave half a file"
        yield Finding("file system", UNFIT, text, "put results on another file system (--results)")
        return
    if refused:
        text = f"{on} refuses {', '.join(refused)}: done without"
        yield Finding("file system", NOTE, text, _WITHOUT.get(refused[0], ""))
    else:
        yield Finding("file system", OK, f"{on}: {', '.join(_ATTEMPTS)}")
    skew = (probe / "renamed").stat().st_mtime - time.time()
    if skew > MOST_SKEW:
        text = f"the clock of {on} is {skew:.0f} s ahead of this machine's: Snakemake would stop jobs"
        yield Finding("file system", UNFIT, text, "set both clocks by one server (NTP)")


def _does(attempt: Callable[[Path], None], probe: Path) -> bool:
    try:
        attempt(probe)
    except (OSError, NotImplementedError, RuntimeError):
        return False
    return True


def _rename(probe: Path) -> None:
    for name in ("renamed", "beside"):
        (probe / name).write_text(name, encoding="utf-8")
    (probe / "beside").replace(probe / "renamed")
    if (probe / "renamed").read_text(encoding="utf-8") != "beside" or (probe / "beside").exists():
        raise OSError("it did not replace the file")


def _sync(probe: Path) -> None:
    for path in (probe / "renamed", probe):  # the file, and the name of it in its folder
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _link(probe: Path) -> None:
    os.link(probe / "renamed", probe / "linked")


def _lock(probe: Path) -> None:
    import fcntl

    with (probe / "renamed").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _hdf5(probe: Path) -> None:
    import h5py
    import numpy as np

    with h5py.File(probe / "probe.h5", "w", locking=True) as file:
        file["numbers"] = np.arange(10)
    with h5py.File(probe / "probe.h5", locking=True) as file:
        if file["numbers"][-1] != 9:
            raise OSError("it reads other numbers than were written")


_ATTEMPTS: dict[str, Callable[[Path], None]] = {
    "atomic renames": _rename,
    "fsync": _sync,
    "hard links": _link,
    "locks": _lock,
    "HDF5 with its locks": _hdf5,
}
_WITHOUT = {
    "fsync": "after a crash of the machine run oodgrid verify",
    "hard links": "kept work takes its room twice",
    "locks": "start no two runs of one experiment at once",
    "HDF5 with its locks": "export HDF5_USE_FILE_LOCKING=FALSE",
}


def of_space(results: Path, needed: float, unknown: str) -> Iterator[Finding]:
    """Yield whether there is room for what is still to be written.

    Args:
        results: The results folder.
        needed: Bytes.
        unknown: What is not in that number; "" where nothing is.
    """
    free = shutil.disk_usage(existing(results)).free
    text = f"{free / 1e9:.1f} GB free; about {_size(needed)} needed"
    text += f", without {unknown}" if unknown else ""
    if needed > free:
        yield Finding("disk", UNFIT, text, "free some room, or put results elsewhere (--results)")
    elif needed + SPARE > free:
        yield Finding("disk", NOTE, text, "free some room")
    else:
        yield Finding("disk", OK, text)


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _kind(place: Path) -> str:
    """Return the type of a file system, as nfs4; "" where the system does not say."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    mounts = [line.split() for line in lines]
    resolved = place.resolve()
    of_place = [(each[1].replace("\\040", " "), each[2]) for each in mounts if len(each) > 2]
    above = [(point, kind) for point, kind in of_place if resolved.is_relative_to(point)]
    return max(above, key=lambda each: len(each[0]))[1].lower() if above else ""
