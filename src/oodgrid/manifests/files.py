"""Manifests as files: JSON, or the metadata of tables and of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from oodgrid import store
from oodgrid.errors import OodgridError, printable
from oodgrid.manifests.base import VERSION, Manifest

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

MOST_NAMED = 3  # mistakes of one manifest in a line

M = TypeVar("M", bound=Manifest)


def write(path: Path, manifest: Manifest) -> None:
    """Write a manifest as JSON."""
    store.write_json(path, _dumped(manifest))


def read(path: Path, model: type[M]) -> M:
    """Return a manifest: of a JSON file, or of a table, whose rows are not read.

    Raises:
        OodgridError: The file is missing or damaged, or says something else than `model`, naming the fields.
    """
    return checked(path, store.read_metadata(path) if path.suffix == ".parquet" else store.read_json(path), model)


def write_table(path: Path, table: pl.DataFrame, manifest: Manifest) -> None:
    """Write a table with its manifest as metadata."""
    store.write_table(path, table, _dumped(manifest))


def write_arrays(path: Path, arrays: dict[str, np.ndarray], manifest: Manifest) -> None:
    """Write arrays with their manifest as metadata."""
    store.write_arrays(path, arrays, _dumped(manifest))


def read_table(path: Path, model: type[M]) -> tuple[pl.DataFrame, M]:
    """Return a table and its manifest.

    Raises:
        OodgridError: As of `read`.
    """
    table, metadata = store.read_table(path)
    return table, checked(path, metadata, model)


@contextmanager
def open_table(path: Path, model: type[M]) -> Iterator[tuple[store.OpenTable, M]]:
    """Yield an open table, for reading parts of it, and its manifest.

    Raises:
        OodgridError: As of `read`.
    """
    with store.OpenTable(path) as table:
        yield table, checked(path, table.metadata, model)


def checked(path: Path, fields: dict[str, Any], model: type[M]) -> M:
    """Return the fields of a file as a manifest.

    Raises:
        OodgridError: It is none, or of a later version; the line names the file, the fields and the mend.
    """
    try:
        return model.model_validate(_brought_up(fields))
    except ValidationError as error:
        why = _described(error)
    if isinstance(version := fields.get("version"), int) and version > VERSION:
        why = f"it is of version {version}, which a later oodgrid wrote: update oodgrid, or let this one make it again"
    raise OodgridError(f"{path} is no {model.what}: {why}. {store.mend(path)}")


def _brought_up(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a manifest of an older version under their names of today."""
    if "version" in fields:
        return fields
    return {"fits" if name == "units" else name: value for name, value in fields.items()}  # version 1


def _dumped(manifest: Manifest) -> dict[str, Any]:
    return {"version": manifest.version, **manifest.model_dump(exclude_defaults=True)}


def _described(error: ValidationError) -> str:
    """Return the mistakes in a manifest as part of a line."""
    mistakes, lacking = [], []
    for detail in error.errors(include_url=False, include_input=False):
        name = printable(".".join(map(str, detail["loc"])), 100)
        if detail["type"] == "missing":
            lacking.append(name)
        elif detail["type"] == "extra_forbidden":
            mistakes.append(f"{name} is no field of it")
        else:
            mistakes.append(f"{name}: {detail['msg'][:1].lower()}{detail['msg'][1:]}")
    if lacking:
        mistakes.insert(0, f"it lacks {', '.join(lacking[:MOST_NAMED])}")
    return "; ".join(mistakes[:MOST_NAMED])
