"""Local features, shape (N, P, D), of a feature file: too many for memory, so in blocks with sums of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from oodgrid.store import hdf5
from oodgrid.store.files import damaged
from oodgrid.store.rows import StoredRows, recut
from oodgrid.store.seal import checksum

LOCAL_ROWS = 256  # they are read and checked in blocks of so many images
# what else a feature file holds
ARRAYS = (
    *("image_features", "text_features", "texts", "pair_kinds"),
    *("labels", "sha256", "paths", "draws", "stamps", "rows", "split_labels", "layer_features"),
)


def read_local_features(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the local features of a feature file, shape (rows, P, D), behind the row where each block begins.

    At most `LOCAL_ROWS` images are in memory at a time; every block is checked.

    Raises:
        OodgridError: The file is missing or damaged, or holds no local features.
    """
    yield from _checked_blocks(path)


def _checked_blocks(path: Path, numbers: set[int] | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the blocks of these numbers, or all, as `read_local_features` does."""
    content = hdf5.read(path, "local_features_blocks", leave=(*ARRAYS, "local_features"))
    with hdf5.sealed(path) as (_, file):
        for block, expected in enumerate(content.array("local_features_blocks")):
            if numbers is not None and block not in numbers:
                continue
            row = block * LOCAL_ROWS
            values = file["local_features"][row : row + LOCAL_ROWS]
            if checksum(values) != expected.tobytes().hex():
                raise damaged(path, f"the checksum of /local_features does not match at row {row}")
            yield row, values


def open_local_rows(path: Path, rows: np.ndarray) -> StoredRows | None:
    """Return the local features of some rows, shape (n, P, D), in the file still.

    The blocks that hold them are checked now; None where the file holds none.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    with hdf5.sealed(path) as (raw, file):
        if "local_features" not in file:
            return None
        item = file["local_features"]
        shape, dtype, start = item.shape, item.dtype, hdf5.place(item)[0]
        handle = os.dup(raw.fileno())
    stored = StoredRows(path, handle, start, shape, dtype, rows)
    for _ in _checked_blocks(path, set((rows // LOCAL_ROWS).tolist())):
        pass
    return stored


def read_local_rows(path: Path, rows: np.ndarray) -> np.ndarray | None:
    """Return the local features of some rows, shape (n, P, D), as stored; None where the file holds none.

    Only the blocks that hold them are read, and checked.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    stored = open_local_rows(path, rows)
    return None if stored is None else stored[:]


def local_blocks(values: np.ndarray | hdf5.Blocks) -> tuple[hdf5.Blocks, hdf5.Blocks]:
    """Return local features, written in blocks of `LOCAL_ROWS`, and the checksums of those, known once they are."""
    sums: list[bytes] = []

    def blocks() -> Iterator[np.ndarray]:
        for block in recut(values.blocks if isinstance(values, hdf5.Blocks) else [values], LOCAL_ROWS):
            sums.append(bytes.fromhex(checksum(block)))
            yield block

    count = -(-len(values) // LOCAL_ROWS)
    digests = (np.frombuffer(sums[row], np.uint8)[None] for row in range(count))  # read after all blocks are written
    return (
        hdf5.Blocks(values.shape, values.dtype, blocks()),
        hdf5.Blocks((count, 16), np.dtype(np.uint8), digests),
    )
