"""Parameters as safetensors, manifests as JSON, tables as Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodgrid.store.files import UNREADABLE, UNSEALED, atomic, check, damaged, seal

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
    from safetensors import SafetensorError, safe_open

    check(path)
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            return arrays, _unsealed(file.metadata())
    except (*UNREADABLE, SafetensorError) as error:
        raise damaged(path, str(error)) from error


def write_json(path: Path, thing: dict[str, Any]) -> None:
    """Write a manifest, or a record of numbers."""
    with atomic(path) as beside:
        beside.write_text(json.dumps({**thing, "seal": UNSEALED}, indent=1) + "\n", encoding="utf-8")
        seal(beside)


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    check(path)
    try:
        return _without_seal(json.loads(path.read_text(encoding="utf-8")))
    except UNREADABLE as error:
        raise damaged(path, str(error)) from error


def write_table(path: Path, table: pl.DataFrame, metadata: dict[str, Any] | None = None) -> None:
    """Write a frame as Parquet, with one JSON text of metadata."""
    with atomic(path) as beside:
        table.write_parquet(beside, metadata=_sealed(metadata))
        seal(beside)


def read_table(path: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the frame and the metadata of a Parquet file.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    import polars as pl

    check(path)
    try:
        return pl.read_parquet(path), _unsealed(pl.read_parquet_metadata(path))
    except (*UNREADABLE, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise damaged(path, str(error).split("\n")[0]) from error


def _sealed(metadata: dict[str, Any] | None) -> dict[str, str]:
    return {"oodgrid": json.dumps({**(metadata or {}), "seal": UNSEALED})}


def _unsealed(found: dict[str, str] | None) -> dict[str, Any]:
    return _without_seal(json.loads((found or {}).get("oodgrid", "{}")))


def _without_seal(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "seal"}
