"""Writing a file whole or not at all, sealing it with a checksum of all its bytes, and reading it by one handle."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import platform
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from oodgrid import __version__, environment, paths
from oodgrid.errors import OodgridError, one_line
from oodgrid.services import without

SEAL = "oodgrid-sha256:"  # stands in a file before the digest of the whole file, which takes its own place as zeros
UNSEALED = SEAL + 64 * "0"
READ = 1 << 18  # bytes at a time, so that they are still in cache when they are hashed
WAIT = "OODGRID_WAIT"  # seconds; set by the workflow, which has seen all inputs of a job before it starts
MAKERS = ("torch", "open_clip", "timm", "PIL")  # where a file was made with them, their versions are recorded
NO_ROOM = {
    errno.ENOSPC: "the disk is full. Free some room and run again",
    errno.EDQUOT: "the disk quota is used up. Free some room and run again",
    errno.EROFS: "its disk is mounted read-only. Write elsewhere, or mount it anew",
}
Binary = io.RawIOBase | io.BufferedIOBase  # an open file, with `readinto`
# How libraries fail on files that are damaged or not ours. MemoryError is no damage, and none of them.
UNREADABLE = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)


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
        without("fsync", path.parent, lambda: sync(beside))
        _put(beside, path)
        without("fsync of folders", path.parent, lambda: sync(path.parent))
    except (OSError, RuntimeError) as error:  # HDF5 gives the reason in words alone
        for number, mend in NO_ROOM.items():
            if os.strerror(number) in str(error):
                raise OodgridError(f"{path} cannot be written: {mend}") from error
        raise
    finally:
        if beside:
            with suppress(OSError):  # what went wrong before is what counts
                beside.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Create a temporary file beside `path`, with the rights that the umask gives to any new file, and return it."""
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch(exist_ok=False)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise OodgridError(f"{path} cannot be written: {error.strerror}: {error.filename}") from error
    return beside


def _put(beside: Path, path: Path) -> None:
    try:
        beside.replace(path)
    except PermissionError as error:
        raise OodgridError(
            f"{path} cannot be written: {error.strerror}: give yourself the right to replace it"
        ) from error


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
    with path.open("r+b") as file:
        place, _, actual = _digests(file)
        file.seek(place)
        file.write(actual)


def read_sealed(path: Path) -> bytes:
    """Return the bytes of a file that are as sealed, before a library parses them: some hang or abort on damage.

    Raises:
        OodgridError: It is missing, without a seal, or not as sealed.
    """
    data = read_bytes(path)
    _compare(path, io.BytesIO(data))
    return data


def open_sealed(path: Path) -> io.FileIO:
    """Return a file that is as sealed, open for reading: for what is too large to be held as bytes.

    Raises:
        OodgridError: It is missing, without a seal, or not as sealed.
    """
    with opened(path) as file:
        _compare(path, file)
        return os.fdopen(os.dup(file.fileno()), "rb", buffering=0)


def _compare(path: Path, file: Binary) -> None:
    place, sealed, actual = _digests(file)
    if not place:
        raise unsealed(path)
    if sealed != actual:
        raise damaged(path, "its checksum does not match")


def read_bytes(path: Path) -> bytes:
    """Return all bytes of a file: by one handle, so that the file may be replaced or deleted meanwhile.

    Raises:
        OodgridError: It is missing, or cannot be read.
    """
    with opened(path) as file:
        try:
            # not mapped: touching a mapped page that cannot be had kills the process
            return file.readall()
        except MemoryError as error:
            raise no_memory(path) from error


@contextmanager
def opened(path: Path) -> Iterator[io.FileIO]:
    """Yield a regular file open for reading.

    Raises:
        OodgridError: It is missing, or nothing that could be read: a pipe, for one, would never end.
    """
    try:
        if not path.exists():
            _await(path)
        if not path.is_file():
            raise _strange(path)
        with path.open("rb", buffering=0) as file:
            yield file
    except FileNotFoundError as error:
        raise missing(path) from error
    except OSError as error:
        if error.errno == errno.ESTALE:  # NFS: deleted on another machine
            raise missing(path) from error
        raise OodgridError(f"{path} cannot be read: {error.strerror or error}") from error


def _await(path: Path) -> None:
    """Wait for a file that was there when a job was planned, as `OODGRID_WAIT` seconds say: it may come back.

    Snakemake deletes what a job is to make. Two clones whose results/features are one folder may both plan to encode a
    set; then the later one deletes what the earlier one reads, and has it back from results/kept in a moment.

    Raises:
        OodgridError: It does not.
    """
    seconds = 0.0 if paths.KEPT in path.parts else environment.seconds(WAIT, 0)
    end, announced = time.monotonic() + seconds, False
    while not path.exists():
        if time.monotonic() >= end:
            raise missing(path)
        if not announced:
            what = "it was there before, so another run that shares the folder may make it again"
            print(f"oodgrid: {path} is missing: {what}: waiting up to {seconds:g} s", file=sys.stderr)
        announced = True
        time.sleep(min(0.2, seconds))


def existing(path: Path) -> Path:
    """Return the path of a file that a person named.

    Raises:
        OodgridError: It is not there, or no file.
    """
    if not path.is_file():
        what = "does not exist" if not path.exists() else f"is {_kind(path)}, not a file"
        raise OodgridError(f"file {path} {what}: mend the path")
    return path


def parse_json(text: str, where: str) -> Any:
    """Return what a JSON text says.

    Raises:
        OodgridError: It is no JSON, or nested deeper than anything sensible.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise OodgridError(f"{where} is JSON nested too deeply to be read: lay it flat") from error
    except ValueError as error:
        raise OodgridError(f"{where} is not valid JSON ({one_line(error)}): mend it, or name another file") from error


def refuse_to_replace(out: Path, force: bool) -> None:
    """Refuse a file that a person named for writing where something is there that must not be replaced.

    Raises:
        OodgridError: It is a folder; or a file, and nothing says `force`.
    """
    if out.is_dir() or (out.exists() and not force):
        instead = "choose another name" + ("" if out.is_dir() else ", or add --force")
        raise OodgridError(f"{out} is there already: {instead}")


def _digests(file: Binary) -> tuple[int, bytes, bytes]:
    """Return where the digest of a file stands, what stands there, and what should; place 0 where it has no seal."""
    place, size = _place(file), file.seek(0, os.SEEK_END)
    if not place:
        return 0, b"", b""
    hasher = hashlib.sha256()
    add_range(file, 0, place, hasher)
    hasher.update(64 * b"0")
    add_range(file, place + 64, size, hasher)
    return place, _bytes(file, place, place + 64), hasher.hexdigest().encode()


def _place(file: Binary) -> int:
    """Return where the digest stands, behind the last mark of a seal; 0 where there is none."""
    mark = SEAL.encode()  # looked for from the end, where tables have it
    start = file.seek(0, os.SEEK_END)
    while start > 0:
        stop, start = start + len(mark), max(0, start - READ)
        if (offset := _bytes(file, start, stop).rfind(mark)) >= 0:
            return start + offset + len(mark)
    return 0


def add_range(file: Binary, start: int, stop: int, hasher: Any) -> None:
    """Add the bytes from start to stop of a file to a checksum of `hashlib` or `xxhash`."""
    for piece in _pieces(file, start, stop):
        hasher.update(piece)


def _bytes(file: Binary, start: int, stop: int) -> bytes:
    return b"".join(map(bytes, _pieces(file, start, stop)))


def _pieces(file: Binary, start: int, stop: int) -> Iterator[memoryview]:
    """Yield bytes of a file, valid until the next. Read, not mapped: a mapped page that cannot be had kills us."""
    file.seek(start)
    block = memoryview(bytearray(min(READ, max(0, stop - start))))
    while start < stop and (count := file.readinto(block[: min(READ, stop - start)])):
        yield block[:count]
        start += count


def sync(path: Path) -> None:
    """Have what was written into a file or folder on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def damaged(path: Path, why: str) -> OodgridError:
    """Return the error that names a damaged file and the mend."""
    return OodgridError(f"{path} is damaged: {' '.join(why.split())[:200]}. {mend(path)}")


def mend(path: Path) -> str:
    """Return what a person must do to have a file made again that cannot be used."""
    if again := _remake(path):
        return again
    of_a_run = {paths.FEATURES, paths.TEXTS, paths.KEPT, paths.ADAPTED, paths.SCORES} & set(path.parts)
    names = {of(Path(), "").name for of in paths.EVALUATED + paths.EVALUATED_IF_ASKED}
    if of_a_run or path.name in names or path.name.endswith(paths.DIGESTS):
        return "Delete it, and the next run makes it again"
    return "If a run made it, delete it, and the next run makes it again"  # it may be the user's own


def unsealed(path: Path) -> OodgridError:
    """Return the error that names a file without a seal."""
    return damaged(path, "it has no seal: damage took it, or another tool wrote the file")


def missing(path: Path) -> OodgridError:
    """Return the error that names a missing file and the mend."""
    mend = _remake(path) or "run snakemake, or oodgrid import where the features were imported"
    return OodgridError(f"{path} is missing: {mend}")


def no_memory(path: Path) -> MemoryError:
    """Return the error that names a file for which there is too little memory; the file itself is whole."""
    return MemoryError(f"{path} does not fit into the memory at hand")


def _strange(path: Path) -> OodgridError:
    return OodgridError(f"{path} is {_kind(path)}, not a file: take it away, and the next run makes it")


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "a pipe, a socket or a device"


def _remake(path: Path) -> str | None:
    """Return the mend of a kept file that a manifest names, or of that manifest: Snakemake sees no loss of either."""
    name = path.as_posix()
    stages = [part for part in ("fit", "apply") if f"/{paths.KEPT}/{part}/" in name or name.endswith(f"/{part}.json")]
    stage = next(iter(stages), None)
    return stage and f"snakemake --forcerun {stage} makes it again"
