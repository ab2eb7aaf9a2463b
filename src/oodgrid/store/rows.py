"""Rows of an array that stays in its file: for what is too large for memory, as local features of views."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from oodgrid.errors import OodgridError
from oodgrid.store.files import damaged
from oodgrid.store.seal import bytes_of

BLOCK = 1 << 26  # bytes of rows that are held at a time where all of them pass
PIECE = 1 << 22  # bytes of one read


class StoredRows:
    """Some rows of an array (N, V, …) in an open file, read when they are asked for and at no other time.

    Whoever opens it has checked the bytes: files never change once in place, and the handle outlives their names. It is
    read, not mapped, since touching a mapped page that cannot be had kills the process.

    Attributes:
        shape: Of the rows together: (n, V, …).
        dtype: Of the elements.
    """

    def __init__(
        self, path: Path, file: int, start: int, shape: tuple[int, ...], dtype: np.dtype, rows: np.ndarray | None = None
    ) -> None:
        """Take over an open file.

        Args:
            path: Its name, for messages.
            file: Its descriptor, closed with the last of those who read from it.
            start: Where the array begins in it, in C order.
            shape: Of the whole array.
            dtype: Of its elements.
            rows: Shape (n,), which rows of it these are; default: all.
        """
        self._handle = _Handle(path, file)
        self._start, self._whole, self.dtype = start, shape, dtype
        self._rows = np.arange(shape[0]) if rows is None else rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (n, V, …)."""
        return (len(self._rows), *self._whole[1:])

    @property
    def nbytes(self) -> int:
        """The bytes of all rows together."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, rows: np.ndarray) -> StoredRows:
        """Return some of these rows, shape (m,), still unread."""
        part = object.__new__(StoredRows)
        part.__dict__.update(self.__dict__, _rows=self._rows[rows])
        return part

    def as_one_view(self) -> StoredRows:
        """Return rows (n, …) as those of one view each, (n, 1, …)."""
        part = self.of(np.arange(len(self)))
        part._whole = (self._whole[0], 1, *self._whole[1:])
        return part

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read rows: `[rows]` has shape (m, V, …); `[rows, views]`, one view of each row, has shape (m, …).

        Each may be a number or an array; the first a slice, too.
        """
        rows, views = key if isinstance(key, tuple) else (key, None)
        places, item = np.asarray(self._rows[rows]), self._whole[1:]
        if views is not None:
            places, item = places * item[0] + np.arange(item[0])[views], item[1:]
        return self._read(places.reshape(-1), item).reshape(*places.shape, *item)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all rows in order, some at a time."""
        size = max(1, BLOCK // max(1, self.nbytes // max(1, len(self))))
        for first in range(0, len(self), size):
            yield self[first : first + size]

    def checksum(self) -> str:
        """Return what `seal.checksum` says of an array of these rows."""
        hasher = xxhash.xxh3_128()
        for block in self.blocks():
            hasher.update(bytes_of(block))
        return hasher.hexdigest()

    def _read(self, places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the items at some places, shape (m, *shape): runs of neighbours at once."""
        values = np.empty((len(places), *shape), self.dtype)
        size = int(np.prod(shape)) * self.dtype.itemsize
        if not values.nbytes:
            return values
        target = values.reshape(-1).view(np.uint8).data
        cuts = np.flatnonzero(np.diff(places) != 1) + 1
        for first, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), len(places)], strict=True):
            self._handle.read(target[first * size : stop * size], self._start + int(places[first]) * size)
        return values


class _Handle:
    """An open file, closed when nobody reads from it any more."""

    def __init__(self, path: Path, file: int) -> None:
        self.path, self.file = path, file
        weakref.finalize(self, os.close, file)

    def read(self, target: memoryview, start: int) -> None:
        """Fill `target` with the bytes from `start` on."""
        while len(target):
            try:
                part = os.pread(self.file, min(len(target), PIECE), start)
            except OSError as error:
                raise OodgridError(f"{self.path} cannot be read: {error.strerror or error}") from error
            if not part:
                raise damaged(self.path, "it ends before its arrays do")
            target[: len(part)] = part
            target, start = target[len(part) :], start + len(part)


def recut(blocks: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """Yield the same rows in blocks of `rows`, the last one perhaps shorter."""
    rest: list[np.ndarray] = []
    held = 0
    for block in blocks:
        while held + len(block) >= rows:
            yield np.concatenate([*rest, block[: rows - held]])
            block, rest, held = block[rows - held :], [], 0
        rest, held = [*rest, block], held + len(block)
    if held:
        yield np.concatenate(rest)
