"""What a feature, text or view file says of itself, read without its data: provenance, run, shapes, digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oodgrid.identity import digest
from oodgrid.store import hdf5


def read_provenance(path: Path) -> dict[str, Any]:
    """Return the identity of a feature, text or view file, checked, without reading its data.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    return read_attribute(path, "provenance")


def read_attribute(path: Path, name: str) -> dict[str, Any]:
    """Return the `provenance` (what decides the numbers) or the `run` (when, where) of a file.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    with hdf5.sealed(path) as (_, file):
        return hdf5.attribute(path, file, name)


def array_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the shape and the type of every array that a file holds.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    with hdf5.sealed(path) as (_, file):
        return {
            name: (file[name].shape, "text" if file[name].dtype.kind in "SO" else str(file[name].dtype))
            for name in hdf5.attribute(path, file, "checksums")
        }


def read_digest(path: Path) -> str:
    """Return the digest of what a feature, text or view file holds, as reading it whole gives it, without its data.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    return _digest_of(read_attribute(path, "checksums"))


def content_digest(content: hdf5.Content) -> str:
    """Return the digest of what a file holds, but for the times at which its sources were last changed."""
    return _digest_of(content.checksums)


def _digest_of(checksums: dict[str, str]) -> str:
    return digest({name: text for name, text in checksums.items() if name != "stamps"})
