"""Parameters as safetensors, manifests as JSON, tables as Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodgrid.store import frames
from oodgrid.store.files import (
    SEAL,
    UNREADABLE,
    UNSEALED,
    atomic,
    damaged,
    existing,
    no_memory,
    open_sealed,
    read_bytes,
    read_sealed,
    seal,
)

if TYPE_CHECKING:
    import polars as pl


def write_arrays(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, Any] | None = None) -> None:
    """Write named arrays as safetensors, with one JSON text of metadata."""
    from safetensors.numpy import save

    data = save({name: np.ascontiguousarray(values) for name, values in arrays.items()}, metadata=_sealed(metadata))
    with atomic(path) as beside:
        beside.write_bytes(data)
        seal(beside)


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the named arrays and the metadata of a safetensors file.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_sealed(path)
    try:
        arrays = load(data)
        size = int.from_bytes(data[:8], "little")
        return arrays, _unsealed(json.loads(data[8 : 8 + size]).get("__metadata__"))
    except MemoryError as error:
        raise no_memory(path) from error
    except (*UNREADABLE, SafetensorError) as error:
        raise damaged(path, str(error)) from error


def write_json(path: Path, entries: dict[str, Any]) -> None:
    """Write a manifest, or a record of numbers."""
    with atomic(path) as beside:
        beside.write_text(json.dumps({**_without_seal(entries), "seal": UNSEALED}, indent=1) + "\n", encoding="utf-8")
        seal(beside)


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    data = read_sealed(path)
    try:
        return _without_seal(json.loads(data))
    except UNREADABLE as error:
        raise damaged(path, str(error)) from error


def write_table(path: Path, table: pl.DataFrame, metadata: dict[str, Any] | None = None) -> None:
    """Write a frame as Parquet, with one JSON text of metadata."""
    with atomic(path) as beside:
        frames.write_parquet(beside, table, metadata=_sealed(metadata))
        seal(beside)


def read_table(path: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the frame and the metadata of a Parquet file.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    table, metadata = frames.parse_parquet(path, read_sealed(path))
    try:
        return table, _unsealed(metadata)
    except UNREADABLE as error:
        raise damaged(path, str(error)) from error


class OpenTable:
    """A table of ours, as sealed, and open for reading a part at a time. Close it, or use `with`.

    Attributes:
        path: The file.
        columns: The names of its columns.
        metadata: What `write_table` was given.

    Raises:
        OodgridError: The file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, open_sealed(path)
        try:
            self.columns, metadata = frames.parquet_head(path, self._file)
            self.metadata = _unsealed(metadata)
        except UNREADABLE as error:
            self.close()
            raise damaged(path, str(error)) from error

    def read(self, columns: Sequence[str], **where: Any) -> pl.DataFrame:
        """Return some columns of the rows that have these values in others."""
        return frames.parquet_rows(self.path, self._file, columns, where)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> OpenTable:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a table, checking all of it and decoding no row.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    with OpenTable(path) as table:
        return table.metadata


def check_ours(path: Path) -> None:
    """Compare a Parquet file with its seal if it is one of ours, by its seal or its metadata; anybody else's is passed.

    Raises:
        OodgridError: It is missing or unreadable, or ours and not as sealed.
    """
    data = read_bytes(existing(path))
    if SEAL.encode() in data or "oodgrid" in frames.parse_parquet(path, data, [])[1]:
        read_sealed(path)


def _sealed(metadata: dict[str, Any] | None) -> dict[str, str]:
    return {"oodgrid": json.dumps({**(metadata or {}), "seal": UNSEALED})}


def _unsealed(metadata: dict[str, str] | None) -> dict[str, Any]:
    return _without_seal(json.loads((metadata or {}).get("oodgrid", "{}")))


def _without_seal(entries: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if name != "seal"}
