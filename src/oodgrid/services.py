"""Services that some file systems refuse, as FUSE, CIFS, NFS and exFAT do: permissions, syncing, hard links.

A refused service is done without, and reported once: no result depends on it.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import RLock

REFUSALS = frozenset(
    {
        errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS,
        errno.ENOTTY, errno.EMLINK, errno.EXDEV, errno.ENODEV, errno.EBADF, errno.EISDIR,
    }
)  # fmt: skip


def without(service: str, folder: Path, attempt: Callable[[], object]) -> bool:
    """Try what the file system of a folder may refuse, and return whether it did it.

    Args:
        service: What it is, in a word or two.
        folder: Where.
        attempt: Does it.

    Raises:
        OSError: It failed for another reason, as a full or a broken disk.
    """
    try:
        attempt()
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        _report(service, str(folder), os.strerror(error.errno))
        return False
    return True


ALONE = RLock()  # held while stderr is away: of two threads, each would take the other's for the terminal


@cache
def _refused(service: str) -> list[str]:
    return []


def _report(service: str, folder: str, reason: str) -> None:
    if not _refused(service):
        _refused(service).append(folder)
        print(f"oodgrid: the file system of {folder} refuses {service} ({reason}): done without", file=sys.stderr)


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what polars prints of a panic, a backtrace in Rust, off the terminal; the error itself is raised.

    One thread at a time: the others wait.
    """
    with ALONE:
        yield from _silently()


def _silently() -> Iterator[None]:
    sys.stderr.flush()
    try:
        terminal = os.dup(2)
    except OSError:  # it is closed: nothing can be printed there
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
