"""Features in Parquet: one row per image, or one per template and class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from polars.exceptions import PanicException, PolarsError

from oodgrid.counts import counted, plural
from oodgrid.encode.lines import existing, parse_json
from oodgrid.errors import OodgridError, one_line
from oodgrid.store import frames

if TYPE_CHECKING:
    import polars as pl

VECTORS = ("image_features", "text_features", "stamps")


def read_parquet(file: Path) -> dict[str, Any]:
    """Return the columns of a Parquet file as arrays, with the metadata that `oodgrid export` leaves.

    Raises:
        OodgridError: It is missing or unreadable, or a column is of the wrong kind.
    """
    table, metadata = frames.read_parquet(existing(file))
    try:
        arrays = {column.name: _values(column) for column in table.iter_columns()}
        if "text_features" in arrays and "image_features" not in arrays:
            templates = parse_json(metadata["templates"], f"templates of {file}")
            arrays |= _by_template(arrays["text_features"], arrays.get("classnames"), templates)
        elif "classnames" in metadata:
            arrays["classnames"] = parse_json(metadata["classnames"], f"classnames of {file}")
    except KeyError as error:
        raise OodgridError(f"{file}: its metadata lack {error}: text features need the templates, as JSON") from error
    except (ValueError, TypeError, RuntimeError, AttributeError, PolarsError, PanicException) as error:
        raise OodgridError(f"{file} holds no features: {one_line(error)}") from error
    return arrays | ({"provenance": metadata["provenance"]} if "provenance" in metadata else {})


def _values(column: pl.Series) -> Any:
    import polars as pl

    if column.name in VECTORS:
        return _vectors(column)
    if column.dtype == pl.Binary:
        return np.array([np.frombuffer(row, np.uint8) for row in column])
    return column.to_list() if column.dtype == pl.String else column.to_numpy()


def _vectors(column: pl.Series) -> np.ndarray:
    """Return a column of lists as an array, shape (N, D).

    Raises:
        ValueError: It holds anything else, or lists of several lengths.
    """
    import polars as pl

    if column.null_count():
        raise ValueError(
            f"{counted(column.null_count(), 'row')} of {column.name} {plural(column.null_count(), 'is', 'are')} empty"
        )
    if isinstance(column.dtype, pl.List):
        lengths = column.list.len().unique().to_list()
        if len(lengths) != 1:
            raise ValueError(f"the rows of {column.name} differ in length")
        column = column.list.to_array(lengths[0])
    if not isinstance(column.dtype, pl.Array):
        raise ValueError(f"{column.name} is a column of {column.dtype}, not of lists of numbers")
    return column.to_numpy()


def _by_template(rows: np.ndarray, names: list[str] | None, templates: list[str]) -> dict[str, Any]:
    """Return text features, shape (T, K, D), from rows that run through the classes of one template after another."""
    classes = len(rows) // max(1, len(templates))
    if names is None or names != names[:classes] * len(templates):
        raise ValueError(f"its rows are not the same classnames for each of {counted(len(templates), 'template')}")
    values = rows.reshape(len(templates), classes, rows.shape[-1])
    return {"text_features": values, "classnames": names[:classes], "templates": templates}
