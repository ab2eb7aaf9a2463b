"""The seal of an HDF5 file: which of its bytes are as they were written.

The first 4,096 bytes, which HDF5 leaves to its user, hold a JSON text with the place and the XXH3-128 checksum of the
bytes of every array, and one checksum of all bytes between them. So a file is checked before the HDF5 library, which
may hang on damage, parses it, at the speed of memory, and damage is named by the array that it hit.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from oodgrid.store.files import UNREADABLE, Binary, add_range, damaged, open_sealed, opened, unsealed

USER_BLOCK = 4096
SEAL = "xxh3-128 of the bytes from:to of each array, and of the rest behind this seal"


@dataclass(frozen=True)
class Seal:
    """The checksum of what is no array, and of every array where it begins and ends and its checksum."""

    rest: str
    arrays: dict[str, tuple[int, int, str]]


def check(path: Path) -> None:
    """Compare every byte of a file of results with its seal.

    Raises:
        OodgridError: It is missing, without a seal or damaged; of an HDF5 file the line names the array that was hit.
    """
    if path.suffix == ".h5":
        check_hdf5(path)
    else:
        open_sealed(path).close()


def check_hdf5(path: Path) -> None:
    """Compare every byte of an HDF5 file, whatever its name, with its seal.

    Raises:
        OodgridError: As of `check`.
    """
    with opened(path) as raw:
        seal = read_seal(path, raw)
        check_rest(path, raw, seal)
        for name, (start, stop, text) in seal.arrays.items():
            hasher = xxhash.xxh3_128()
            add_range(raw, start, stop, hasher)
            if hasher.hexdigest() != text:
                raise damaged(path, f"the checksum of /{name} does not match")


def checksum(values: np.ndarray | memoryview) -> str:
    """Return the XXH3-128 of the bytes of an array, as 32 hexadecimal digits."""
    if isinstance(values, np.ndarray):
        values = bytes_of(values)
    return xxhash.xxh3_128_hexdigest(values)


def bytes_of(values: np.ndarray) -> memoryview:
    """Return the bytes of an array, without copying them where they lie in one piece."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def write_seal(path: Path, places: dict[str, tuple[int, int]], checksums: dict[str, str]) -> None:
    """Write the seal of a finished file into the room that it left for it."""
    with path.open("r+b") as file:
        arrays = {name: (*places[name], checksums[name]) for name in places}
        block = _block(Seal(_checksum_of_rest(file, arrays), arrays))
        file.seek(0)
        file.write(block)


def read_seal(path: Path, raw: Binary) -> Seal:
    """Return the seal of an open file.

    Raises:
        OodgridError: It has none, or one that is not in every byte as it is written.
    """
    head = raw.read(USER_BLOCK)
    try:
        entries = json.loads(head)
        places = {name: (int(start), int(stop), text) for name, (start, stop, text) in entries["arrays"].items()}
        seal = Seal(entries["rest"], places)
        whole = _block(seal) == head
    except UNREADABLE as error:
        raise unsealed(path) from error
    if not whole:
        raise damaged(path, "its seal is not as it was written")
    return seal


def _block(seal: Seal) -> bytes:
    """Return a seal as it is written, in the first bytes of a file, which HDF5 does not read."""
    text = json.dumps({"oodgrid": SEAL, "rest": seal.rest, "arrays": seal.arrays}).encode()
    return text.ljust(USER_BLOCK - 1) + b"\n"


def check_rest(path: Path, raw: Binary, seal: Seal) -> None:
    """Compare all bytes outside of arrays with the seal.

    Raises:
        OodgridError: It differs.
    """
    if _checksum_of_rest(raw, seal.arrays) != seal.rest:
        raise damaged(path, "the checksum of its structure does not match")


def _checksum_of_rest(raw: Binary, arrays: dict[str, tuple[int, int, str]]) -> str:
    """Return the checksum of all that lies behind the user block and in no array, and of where the arrays lie."""
    hasher, here = xxhash.xxh3_128(json.dumps(arrays).encode()), USER_BLOCK
    for start, stop in sorted((start, stop) for start, stop, _ in arrays.values()):
        add_range(raw, here, start, hasher)
        here = max(here, stop)
    add_range(raw, here, os.fstat(raw.fileno()).st_size, hasher)
    return hasher.hexdigest()
