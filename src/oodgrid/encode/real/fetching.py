"""Fetching real datasets: every file that can be had without asking anybody, unpacked where it is looked for."""

from __future__ import annotations

import errno
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from oodgrid.catalogue import real
from oodgrid.catalogue.real import Download
from oodgrid.encode.real.download import FULL, PIECE, fetch_file
from oodgrid.encode.real.finding import cut_off
from oodgrid.encode.real.places import folder_of_images
from oodgrid.encode.real.status import UNCLEAR, UNREAD, Status, status_of
from oodgrid.errors import OodgridError, one_line

# A damaged stream, a method or a password that zipfile does not have: each says it in its own way.
BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
    ValueError, OSError,
)  # fmt: skip
UNPACKED = ".unpacked"  # behind the name of an archive: it was fetched and unpacked here, and removed


def fetch(name: str, root: Path, keep: bool = False, say: Callable[[str], None] = print) -> Status:
    """Fetch what of a dataset is not there, and return how it lies there then.

    Args:
        name: What the catalogue calls it.
        root: The folder of datasets.
        keep: Whether archives stay beside what was in them.
        say: Receives a line for each step.

    Raises:
        OodgridError: It comes by hand, lies in two places, or a file cannot be had, checked or unpacked.
    """
    entry = real.real_set(name)
    if not entry.fetch:
        raise OodgridError(f"dataset {name} comes by hand: {'; '.join(entry.get)}")
    root.mkdir(parents=True, exist_ok=True)
    status = status_of(name, root)
    if status.is_whole:
        say(f"{name} is whole in {status.where}: nothing to fetch")
        return status
    if status.state == UNCLEAR:
        raise OodgridError("; ".join(status.lacks))
    images = folder_of_images(name, root)  # whoever has them needs CoOp's splits only, and beside them
    for download in entry.fetch:
        there = next((root / path for path in download.gives if (root / path).is_dir()), None)
        there = there or (images if download.unpack else None)
        folder = root / download.to if download.unpack or not images else images
        file = root / download.to / download.file
        if (
            file.exists() or file.with_name(f"{file.name}.part").exists()
        ):  # it may not have come, or been unpacked, whole
            _fetch_one(download, root / download.to, keep, say)
        elif status.state == UNREAD:
            say(f"{name} is there, as far as is seen before its first job reads it: {download.file} is not fetched")
        elif there:
            say(f"{there} is there: {download.file} is not fetched (remove the folder where it is not whole)")
        else:
            _fetch_one(download, folder, keep, say)
    status = status_of(name, root)
    if entry.get:
        say(f"by hand: {'; '.join(entry.get)}")
    return status


def _fetch_one(download: Download, folder: Path, keep: bool, say: Callable[[str], None]) -> None:
    mark = folder / f"{download.file}{UNPACKED}"
    if mark.exists():
        say(f"{download.file} was unpacked in {folder} already (remove {mark} to fetch it again)")
        return
    file = fetch_file(download, folder)
    if not download.unpack:
        say(f"{file}: fetched")
        return
    unpack(file, folder)
    if download.inner:
        inner = folder / download.inner
        if not inner.is_file():
            raise OodgridError(f"{file} holds no {download.inner}: it is another archive than was published")
        unpack(inner, inner.parent)
    if not keep:
        if download.inner:
            (folder / download.inner).unlink()
        file.unlink()
        mark.write_text("fetched and unpacked by oodgrid\n", encoding="utf-8")
    say(f"{download.file}: unpacked in {folder}")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar file; nothing of it lands outside the folder.

    Raises:
        OodgridError: It is broken, the disk is full, or it holds a path that leads elsewhere.
    """
    if broken := cut_off(archive, 0):  # tarfile takes a file that ends between two members for a whole one
        raise OodgridError(f"{archive} {broken}")
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(folder)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
                while tar.fileobj and tar.fileobj.read(PIECE):  # the checksum of a compressed one is at its very end
                    pass
    except tarfile.FilterError as error:
        raise OodgridError(f"{archive} holds a path that leads out of {folder}: {one_line(error)}") from error
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise OodgridError(f"{folder}: {error.strerror}: free space, and run again") from error
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise OodgridError(f"{archive} cannot be unpacked ({one_line(error)}): remove it, and run again") from error


def fetchable() -> Iterator[str]:
    """Yield the names of the datasets that can be fetched as a whole."""
    yield from (name for name in real.names() if real.real_set(name).fetch and not real.real_set(name).get)
