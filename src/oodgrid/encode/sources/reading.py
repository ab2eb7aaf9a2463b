"""Bytes of files: regular ones, of a bounded size, and the same as when they were first looked at."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from oodgrid.counts import counted
from oodgrid.errors import OodgridError

LARGEST = 2**29  # bytes of one image's file: the largest picture that is decoded takes as many uncompressed
Pieces = Callable[[int, int], bytes]  # start and size to bytes; any number of threads may call it


@dataclass(frozen=True)
class Members:
    """The files of an archive.

    Attributes:
        sizes: Bytes of each, by its name, with / between folders.
        read: Name to bytes; any number of threads may call it.
        folders: Names of those that it holds as such.
        twice: Names that the archive holds more than once.
        passed_over: How many members of each kind are no files.
    """

    sizes: dict[str, int]
    read: Callable[[str], bytes]
    folders: set[str]
    twice: set[str]
    passed_over: Counter[str]


def check_size(size: int, place: str) -> None:
    """Refuse the file of an image for its size, before memory is asked for it.

    Raises:
        OodgridError: It is larger than any picture that is decoded; the line names `place`.
    """
    if size > LARGEST:
        raise OodgridError(
            f"{place} is too large for an image ({counted(size, 'byte')}, more than {LARGEST:,}): remove it"
        )


def open_regular(path: Path, what: str) -> BinaryIO:
    """Open a file for reading; pipes and devices, on which reading may never end, are refused and not waited for.

    Raises:
        OodgridError: It is missing, cannot be opened or is no regular file; the line begins with `what`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        kind = os.fstat(descriptor).st_mode
    except OSError as error:
        if error.errno != errno.ENXIO:  # of a socket, which cannot be opened at all
            raise OodgridError(f"{what} cannot be read: {error.strerror}") from error
        kind = stat.S_IFSOCK
    except ValueError as error:  # of a NUL in its name
        raise OodgridError(f"{what!r} cannot be read: {error}") from error
    if stat.S_ISREG(kind):
        return os.fdopen(descriptor, "rb")
    if not stat.S_ISSOCK(kind):
        os.close(descriptor)
    kind_name = "a folder" if stat.S_ISDIR(kind) else "a pipe, a socket or a device"
    raise OodgridError(f"{what} is {kind_name} and no file: mend the path in the config")


def read_image(path: Path, place: str) -> bytes:
    """Return the bytes of an image file.

    Raises:
        OodgridError: It is no regular file, too large, or cannot be read; the line names `place`.
    """
    with open_regular(path, place) as file:
        check_size(os.fstat(file.fileno()).st_size, place)
        try:
            return file.read(LARGEST + 1)
        except OSError as error:
            raise OodgridError(f"{place} cannot be read: {error.strerror}") from error


def pieces_of(path: Path, what: str) -> Pieces:
    """Return what reads parts of a file, which is opened for each of them: a set may have thousands of shards.

    It raises OodgridError where the file has changed since or is too short.
    """
    with open_regular(path, what) as file:
        before = _state(file)

    def piece(start: int, size: int) -> bytes:
        with open_regular(path, what) as file:
            if _state(file) != before:
                raise OodgridError(f"{what} has changed while it was read: start again when it is complete")
            return piece_of(file, what, start, size)

    return piece


def piece_of(file: BinaryIO, what: str, start: int, size: int) -> bytes:
    """Return part of an open file, whatever other threads read of it.

    Raises:
        OodgridError: It cannot be read or is too short.
    """
    try:
        data = os.pread(file.fileno(), size, start)
    except OSError as error:
        raise OodgridError(f"{what} cannot be read: {error.strerror}") from error
    if len(data) != size:
        raise OodgridError(f"{what} ends before it should, at byte {start + len(data):,}: make or fetch it again")
    return data


def _state(file: BinaryIO) -> tuple[int, int, int]:
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns
