"""Writing a file whole or not at all, and sealing it with a checksum of all its bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from oodgrid import __version__
from oodgrid.errors import OodgridError

SEAL = "oodgrid-sha256:"  # stands in a file before the digest of the whole file, which takes its own place as zeros
UNSEALED = SEAL + 64 * "0"
MAKERS = ("torch", "open_clip", "timm", "PIL")  # where a file was made with them, their versions are recorded
NO_ROOM = {
    errno.ENOSPC: "the disk is full. Free some room and run again",
    errno.EDQUOT: "the disk quota is used up. Free some room and run again",
    errno.EROFS: "its disk is mounted read-only. Write elsewhere, or mount it anew",
}
# How libraries fail on files that are damaged or not ours; polars reports some damage as a Rust panic.
UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, MemoryError)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it into place, else remove it.

    Raises:
        OodgridError: The disk is full, or nothing may be written there; what stood at `path` before still does.
    """
    beside = None
    try:
        beside = _beside(path)
        yield beside
        _sync(beside)
        beside.chmod(0o666 & ~_umask())  # mkstemp makes private files; results are meant to be shared
        beside.replace(path)
        _sync(path.parent)
    except (OSError, RuntimeError) as error:  # HDF5 gives the reason in words alone
        for number, mend in NO_ROOM.items():
            if os.strerror(number) in str(error):
                raise OodgridError(f"{path} cannot be written: {mend}") from error
        raise
    finally:
        if beside:
            beside.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise OodgridError(f"{path} cannot be written: {error.strerror}: {error.filename}") from error
    os.close(handle)
    return Path(name)


def run_record() -> dict[str, str]:
    """Return when, where and with what versions a file was made: what does not decide its numbers."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "oodgrid": __version__,
        "numpy": np.__version__,
        **{name: sys.modules[name].__version__ for name in MAKERS if name in sys.modules},
    }


def seal(path: Path) -> None:
    """Write the digest of a finished file into the place that it holds for it."""
    place, _, whole = _digests(path)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(whole)


def check(path: Path) -> bool:
    """Compare a file with its seal, before a library parses it: some hang or abort on damage; False without one.

    Raises:
        OodgridError: It is missing or not as sealed.
    """
    if not path.is_file():
        raise missing(path)
    place, said, whole = _digests(path)
    if place and said != whole:
        raise damaged(path, "its checksum does not match")
    return bool(place)


def _digests(path: Path) -> tuple[int, bytes, bytes]:
    """Return where the digest of a file stands, what stands there, and what should; place 0 where it has no seal."""
    data = memoryview(path.read_bytes())  # not mapped: touching a mapped page that cannot be had kills the process
    place = data.obj.rfind(SEAL.encode()) + len(SEAL)
    if place < len(SEAL):
        return 0, b"", b""
    hasher = hashlib.sha256(data[:place])
    hasher.update(64 * b"0")
    hasher.update(data[place + 64 :])
    return place, bytes(data[place : place + 64]), hasher.hexdigest().encode()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def damaged(path: Path, why: str) -> OodgridError:
    """Return the error that names a damaged file and the mend."""
    said = " ".join(why.split())[:200]
    return OodgridError(f"{path} is damaged: {said}. {_remake(path) or 'Delete it, and the next run makes it again'}")


def missing(path: Path) -> OodgridError:
    """Return the error that names a missing file and the mend."""
    mend = _remake(path) or "run snakemake, or oodgrid import where the features were imported"
    return OodgridError(f"{path} is missing: {mend}")


def _remake(path: Path) -> str | None:
    """Return the mend of a kept file that a manifest names, or of that manifest: Snakemake sees no loss of either."""
    name = path.as_posix()
    stages = [part for part in ("fit", "apply") if f"/kept/{part}/" in name or name.endswith(f"/{part}.json")]
    stage = next(iter(stages), None)
    return stage and f"snakemake --forcerun {stage} makes it again"
