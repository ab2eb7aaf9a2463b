"""Named arrays and the identity that decides them, in a sealed HDF5 file."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.store.files import READ, UNREADABLE, Binary, add_range, atomic, damaged, no_memory, opened, run_record
from oodgrid.store.rows import StoredRows
from oodgrid.store.seal import USER_BLOCK, bytes_of, check_hdf5, check_rest, checksum, read_seal, write_seal

if TYPE_CHECKING:
    import h5py  # imported where a file is opened: most verbs read tables and manifests alone

FORMAT = "oodgrid-1"


@dataclass(frozen=True)
class Blocks:
    """An array that is written block after block, so that it need never be in memory whole.

    Attributes:
        shape: Of the whole array.
        dtype: Of its elements.
        blocks: Its rows in order, in blocks of any size.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Iterable[np.ndarray]

    def __len__(self) -> int:
        return self.shape[0]


class Names(Sequence[str]):
    """Texts as they lie in a file, fixed-width UTF-8, each decoded when it is read."""

    def __init__(self, raw: np.ndarray) -> None:
        self._raw = raw

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, row: int | slice) -> Any:
        if isinstance(row, slice):
            return Names(self._raw[row])
        return bytes(self._raw[row]).decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("utf-8", "surrogateescape") for name in self._raw.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as Python asks of what is equal but not hashable


Array = np.ndarray | Sequence[str] | Blocks


@dataclass(frozen=True)
class Content:
    """The content of a file, as far as it was read.

    Attributes:
        path: The file.
        arrays: Its arrays of numbers, by name.
        texts: Its lists of texts, by name.
        stored: Its arrays of which rows are read when they are asked for, by name.
        provenance: What decides the numbers.
        checksums: Of all arrays and lists, also those that were left out, by name.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    texts: dict[str, Names]
    provenance: dict[str, Any]
    checksums: dict[str, str]
    stored: dict[str, StoredRows] = field(default_factory=dict)

    def array(self, name: str) -> np.ndarray:
        """Return an array of numbers.

        Raises:
            OodgridError: The file holds none of that name.
        """
        if name not in self.arrays:
            raise _lacks(self.path, name)
        return self.arrays[name]

    def names(self, name: str) -> Names:
        """Return a list of texts.

        Raises:
            OodgridError: The file holds none of that name.
        """
        if name not in self.texts:
            raise _lacks(self.path, name)
        return self.texts[name]


def write(path: Path, arrays: Mapping[str, Array], provenance: dict[str, Any]) -> None:
    """Write arrays and the identity that decides them, whole or not at all.

    Raises:
        OodgridError: The disk is full, or does not give back what was written.
    """
    import h5py

    with atomic(path) as beside:
        with h5py.File(beside, "w", userblock_size=USER_BLOCK, locking=False) as file:
            checksums = {name: _put(file, name, values) for name, values in arrays.items()}
            file.attrs["format"] = FORMAT
            file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)
            file.attrs["checksums"] = json.dumps(checksums)
            file.attrs["run"] = json.dumps(run_record())
            file.attrs["complete"] = True
            places = {name: place(file[name]) for name in arrays}
        write_seal(beside, places, checksums)
        check_hdf5(beside)  # HDF5 does not report every failed write


def read(path: Path, main: str, leave: Collection[str] = (), by_rows: Collection[str] = ()) -> Content:
    """Read a file whole, but for the arrays that are left out.

    Args:
        path: The file.
        main: An array that it must hold.
        leave: Arrays that are neither read nor checked.
        by_rows: Arrays that are checked, and stay in the file: their rows are read when they are asked for.

    Raises:
        OodgridError: The file is missing, damaged or of another kind.
    """
    with sealed(path) as (raw, file):
        checksums, provenance = attribute(path, file, "checksums"), attribute(path, file, "provenance")
        if main not in checksums:
            raise _lacks(path, main)
        content = Content(path, {}, {}, provenance, checksums)
        try:
            actual = {
                name: _leave(raw, file[name], name, content)
                if name in by_rows
                else _get(raw, file[name], name, content)
                for name in checksums
                if name not in leave
            }
        except UNREADABLE as error:
            raise damaged(path, str(error)) from error
    for name, text in actual.items():
        if text != checksums[name]:
            raise damaged(path, f"the checksum of /{name} does not match")
    return content


def _lacks(path: Path, name: str) -> OodgridError:
    return OodgridError(f"{path} holds no {name}: it is not the kind of file that is needed here")


@contextmanager
def sealed(path: Path) -> Iterator[tuple[io.FileIO, h5py.File]]:
    """Yield a file, open as bytes and as HDF5, whose structure is as sealed; its arrays are yet to be checked.

    Both look through one handle, without locks: files never change once in place, and NFS may have none.

    Raises:
        OodgridError: It is missing, damaged or not complete.
        MemoryError: It does not fit into the memory at hand.
    """
    import h5py

    with opened(path) as raw:
        check_rest(path, raw, read_seal(path, raw))
        try:
            with h5py.File(raw, "r") as file:
                if file.attrs.get("format") != FORMAT or "complete" not in file.attrs:
                    raise damaged(path, f"it is no complete file of format {FORMAT}")
                yield raw, file
        except MemoryError as error:
            raise no_memory(path) from error


def attribute(path: Path, file: h5py.File, name: str) -> dict[str, Any]:
    """Return a JSON attribute of an open file.

    Raises:
        OodgridError: It cannot be read.
    """
    try:
        return json.loads(file.attrs[name])
    except UNREADABLE as error:
        raise damaged(path, f"its {name} cannot be read") from error


# ------------------------------------------------------------------------------------------------------- parts


def _put(file: h5py.File, name: str, values: Array) -> str:
    """Write one array, contiguous, and return its checksum."""
    if isinstance(values, Blocks):
        return _put_blocks(file, name, values)
    if not isinstance(values, np.ndarray):
        raw = _encoded(values, name)
        file.create_dataset(name, data=raw)
        return checksum(raw)
    file.create_dataset(name, data=np.ascontiguousarray(values))
    return checksum(values)


def _put_blocks(file: h5py.File, name: str, values: Blocks) -> str:
    dataset = file.create_dataset(name, shape=values.shape, dtype=values.dtype)
    hasher, row = xxhash.xxh3_128(), 0
    for block in values.blocks:
        block = np.ascontiguousarray(block, dtype=values.dtype)
        dataset[row : row + len(block)] = block
        hasher.update(bytes_of(block))
        row += len(block)
    if row != len(values):
        raise OodgridError(f"{name}: {counted(row, 'row')} came where {len(values):,} were promised")
    return hasher.hexdigest()


def _encoded(names: Sequence[str], what: str) -> np.ndarray:
    """Return texts as fixed-width bytes; HDF5 pads them with NUL, which therefore may not stand in one."""
    import h5py

    if isinstance(names, Names):
        return names._raw
    encoded = [name.encode("utf-8", "surrogateescape") for name in names]
    if strange := next((name for name in encoded if b"\0" in name), None):
        raise OodgridError(f"{what}: the name {strange!r} holds a NUL character: rename it")
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", max([1, *map(len, encoded)])))


def _get(raw: Binary, item: h5py.Dataset, name: str, content: Content) -> str:
    """Read an array from its place in the file into `content`, and return the checksum of its bytes."""
    import h5py

    values = np.empty(item.shape, item.dtype)
    text = _fill(content.path, raw, place(item)[0], values)
    if h5py.check_string_dtype(item.dtype):
        content.texts[name] = Names(values)
    else:
        content.arrays[name] = values
    return text


def _leave(raw: io.FileIO, item: h5py.Dataset, name: str, content: Content) -> str:
    """Open an array in its place in the file for `content`, and return the checksum of its bytes."""
    start, stop = place(item)
    hasher = xxhash.xxh3_128()
    add_range(raw, start, stop, hasher)
    content.stored[name] = StoredRows(content.path, os.dup(raw.fileno()), start, item.shape, item.dtype)
    return hasher.hexdigest()


def _fill(path: Path, raw: Binary, start: int, values: np.ndarray) -> str:
    """Read an array from its place in the file, and return the checksum of its bytes, taken while they are in cache."""
    view, hasher = values.reshape(-1).view(np.uint8).data, xxhash.xxh3_128()
    raw.seek(start)
    for first in range(0, len(view), READ):
        block = view[first : first + READ]
        if raw.readinto(block) != len(block):
            raise damaged(path, "it ends before its arrays do")
        hasher.update(block)
    return hasher.hexdigest()


def place(item: h5py.Dataset) -> tuple[int, int]:
    """Return where the bytes of an array begin and end in its file."""
    start = item.id.get_offset() or USER_BLOCK  # an empty array has no place
    return start, start + item.nbytes
