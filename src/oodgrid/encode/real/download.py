"""Files over plain HTTP: with resume, checksum, and a line for everything that can go wrong.

torchvision's downloads begin anew after every break, and huggingface_hub's are for its own server, so this is the
standard library's urllib with ranges. Nothing here runs unless `oodgrid fetch` is typed.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from oodgrid import __version__
from oodgrid.catalogue.real import Download
from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.progress import progress

PIECE = 1 << 20  # bytes that are read at once
ATTEMPTS = 5  # without a byte more, before giving up
PATIENCE = 60.0  # seconds without an answer
AGAIN = (408, 425, 429, 500, 502, 503, 504)  # answers of a server that may do better soon
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class _Part:
    """What has arrived of a file, and the name that the server gave to this version of it."""

    path: Path
    total: int | None = None

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version_file(self) -> Path:
        return self.path.with_name(f"{self.path.name}.version")

    @property
    def version(self) -> str:
        return self.version_file.read_text(encoding="utf-8") if self.version_file.exists() else ""

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.version_file.unlink(missing_ok=True)


def fetch_file(download: Download, folder: Path, wait: Callable[[float], None] = time.sleep) -> Path:
    """Return a file, having downloaded what of it was not there; it has its name only when it is whole and right.

    Args:
        download: What and from where.
        folder: Where to.
        wait: How to wait before another attempt.

    Raises:
        OodgridError: The server does not give it, the disk is full, or its checksum is wrong.
    """
    target = folder / download.file
    folder.mkdir(parents=True, exist_ok=True)
    if target.exists():
        if not wrong_checksum(target, download):
            return target
        raise OodgridError(f"{target} is there and {wrong_checksum(target, download)}: remove it, and run again")
    if not os.access(folder, os.W_OK):  # before the server is asked
        raise OodgridError(f"{folder} is read-only to you: take another root, or ask whoever owns it")
    part = _Part(target.with_name(f"{target.name}.part"))
    resumed = part.size > 0
    _whole(download, part, wait)
    if (wrong := wrong_checksum(part.path, download)) and resumed:  # its beginning may be of another version
        part.remove()
        _whole(download, part, wait)
        wrong = wrong_checksum(part.path, download)
    if wrong:
        part.remove()
        raise OodgridError(f"{download.url} {wrong}: it was removed; run again, or get the file by hand")
    part.path.replace(target)
    part.version_file.unlink(missing_ok=True)
    return target


def wrong_checksum(file: Path, download: Download) -> str:
    """Return how a file differs from what was published; nothing where it does not, or nothing was published."""
    if download.bytes is not None and file.stat().st_size != download.bytes:
        return f"has {counted(file.stat().st_size, 'byte')} in place of {download.bytes:,}"
    if download.md5:
        with file.open("rb") as opened:
            was = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        return "" if was == download.md5 else f"has the MD5 {was} in place of {download.md5}"
    if download.git_blob:
        digest = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
        with file.open("rb") as opened:
            while piece := opened.read(PIECE):
                digest.update(piece)
        was = digest.hexdigest()
        return "" if was == download.git_blob else f"is the git object {was} in place of {download.git_blob}"
    return ""


def _whole(download: Download, part: _Part, wait: Callable[[float], None]) -> None:
    """Let a file arrive, over as many transfers as it takes while it becomes longer than it ever was."""
    failed, most = 0, part.size
    while True:
        why = _transfer(download, part)
        if not why:
            return
        failed = 0 if part.size > most else failed + 1
        most = max(most, part.size)
        if failed >= ATTEMPTS:
            raise OodgridError(
                f"{download.url}: {why} ({ATTEMPTS} attempts); {counted(part.size, 'byte')} are kept in "
                f"{part.path}, and "
                "another run goes on there"
            )
        wait(min(2.0**failed, 30.0) if failed else 0.0)


def _transfer(download: Download, part: _Part) -> str:
    """Make one transfer; return why it ended before the file was whole, nothing where it is."""
    headers = {"User-Agent": f"oodgrid/{__version__}", "Accept-Encoding": "identity"}
    try:
        if start := part.size:
            headers["Range"] = f"bytes={start}-"
            headers |= {"If-Range": part.version} if part.version else {}
        request = urllib.request.Request(download.url, headers=headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return _receive(answer, part, start, download)
    except urllib.error.HTTPError as error:
        return _refused(error, part, download)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise _full(part, error) from error
        if isinstance(error, OSError) and error.filename is not None:  # of a file here: a connection has no name
            raise OodgridError(f"{error.filename}: {error.strerror}: mend that, and run again") from error
        return f"the transfer broke off ({getattr(error, 'reason', None) or error or type(error).__name__})"


def _receive(answer: Any, part: _Part, start: int, download: Download) -> str:
    """Write what a server sends behind what is there, or from the beginning where it cannot go on."""
    goes_on = answer.status == 206 and start and _first_byte(answer) == start
    if answer.status == 206 and not goes_on:
        part.remove()
        return "the server sent another range than was asked for"
    length = answer.headers.get("Content-Length")
    rest = int(length) if length and length.isdecimal() else None
    part.total = None if rest is None else rest + (start if goes_on else 0)
    _check_room(part, rest)
    version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    part.version_file.write_text("" if version.startswith("W/") else version, encoding="utf-8")
    with (
        part.path.open("ab" if goes_on else "wb") as file,
        progress(
            total=part.total, initial=start if goes_on else 0, desc=download.file, unit="B", unit_scale=True
        ) as bar,
    ):
        _copy(answer, file, bar.update)
    if part.total is not None and part.size < part.total:
        return f"the transfer broke off at {part.size:,} of {counted(part.total, 'byte')}"
    return ""


def _copy(answer: Any, file: BinaryIO, count: Callable[[int], Any]) -> None:
    while piece := answer.read(PIECE):
        file.write(piece)
        count(len(piece))
    file.flush()
    os.fsync(file.fileno())


def _refused(error: urllib.error.HTTPError, part: _Part, download: Download) -> str:
    """Return why to try again after an answer that is no file; raise where that would not help."""
    if error.code == 416:  # nothing is left of the range: the file is whole, or another one than before
        total = re.search(r"/(\d+)$", error.headers.get("Content-Range") or "")
        if total and int(total[1]) == part.size:
            return ""
        part.remove()
        return "the server has another file than before"
    if error.code in AGAIN:
        return f"the server answers {error.code} {error.reason}"
    raise OodgridError(
        f"{download.url}: the server answers {error.code} {error.reason}: the file may have moved; get it by hand"
    ) from error


def _first_byte(answer: Any) -> int | None:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
    return int(match[1]) if match else None


def _check_room(part: _Part, rest: int | None) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if rest is not None and rest > free:
        raise OodgridError(
            f"{part.path.parent}: {rest:,} bytes are to come and {free:,} are free: free space, and run again"
        )


def _full(part: _Part, error: OSError) -> OodgridError:
    return OodgridError(
        f"{part.path}: {error.strerror}: free space, and run again; {counted(part.size, 'byte')} are kept"
    )
