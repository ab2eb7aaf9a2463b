"""Folders as clip-retrieval leaves them: `img_emb/img_emb_0.npy` beside `metadata/metadata_0.parquet`, and so on.

Format: Beaumont, clip-retrieval (github.com/rom1504/clip-retrieval), clip_inference/writer.py. Embeddings are of unit
norm, in float16; the numbers of the parts may have leading zeros; further columns hold what img2dataset knew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodgrid.backbones.array_files import load_array
from oodgrid.counts import counted
from oodgrid.encode.importing import checks
from oodgrid.encode.importing.writing import write_split
from oodgrid.encode.sources.image_set import classes_by_folder, classes_by_value
from oodgrid.errors import OodgridError
from oodgrid.store import frames

if TYPE_CHECKING:
    import polars as pl

BY_FOLDER = "folder"
NAMES = ("image_path", "key")  # the columns that may name an image, the best first


def import_clip_retrieval(
    results: Path, backbone: str, dataset: str, folder: Path, split: str, label: str | None = None
) -> list[Path]:
    """Import the image embeddings of a clip-retrieval folder as one split; those of captions are left.

    Args:
        results: The results folder.
        backbone: The name under which configurations know the encoder.
        dataset: The name under which configurations know the dataset.
        folder: Parts are taken in the order of their numbers, 2 before 10.
        split: train, val or test.
        label: The column of metadata with labels, whole numbers or names; "folder": the folder of each image is its
            class; None: images have no class.

    Raises:
        OodgridError: A part is missing or unreadable, or counts do not match.
    """
    parts, tables = _parts(folder / "img_emb", "npy"), _parts(folder / "metadata", "parquet")
    if not parts:
        raise OodgridError(f"{folder} holds no img_emb/img_emb_0.npy: give the output folder of clip-retrieval")
    if tables and tables.keys() != parts.keys():
        odd = min(tables.keys() ^ parts.keys())
        raise OodgridError(f"{folder}: part {odd} is there as embedding or as metadata, but not as both")
    numbers = sorted(parts)
    arrays = [load_array(parts[number]) for number in numbers]
    metadata = _metadata([tables[number] for number in numbers if tables], label, arrays, folder)
    values = checks.joined(arrays, str(folder))
    labels, classnames = _labels(metadata, label, len(values), folder)
    where = (results, backbone, dataset, split)
    source = {"format": "clip-retrieval"}
    return [write_split(*where, values, labels, source=source, names=_names(metadata), classnames=classnames)]


def _parts(folder: Path, suffix: str) -> dict[int, Path]:
    """Return the files whose names end in a number, by that number."""
    parts: dict[int, Path] = {}
    for path in sorted(folder.glob(f"*.{suffix}")):
        if match := re.fullmatch(r"(?:.*_)?(\d+)", path.stem):
            if other := parts.get(int(match[1])):
                raise OodgridError(f"{folder}: {other.name} and {path.name} are both part {int(match[1])}: remove one")
            parts[int(match[1])] = path
    return parts


def _metadata(tables: list[Path], label: str | None, arrays: Sequence[np.ndarray], folder: Path) -> pl.DataFrame:
    """Return what the parts say of names and labels, one row an embedding."""
    import polars as pl

    read = [_read_metadata(path, {*NAMES, label}) for path in tables]
    for path, table, values in zip(tables, read, arrays, strict=bool(tables)):
        if values.ndim != 2 or len(table) != len(values):
            raise OodgridError(
                f"{path}: {counted(len(table), 'row')} of metadata but embeddings of shape {values.shape}"
            )
    try:
        return pl.concat(read, how="diagonal_relaxed") if read else pl.DataFrame()
    except pl.exceptions.PolarsError as error:
        raise OodgridError(f"{folder}/metadata: the parts differ: {str(error).splitlines()[0]}") from error


def _read_metadata(path: Path, columns: set[str | None]) -> pl.DataFrame:
    there = frames.parquet_columns(path)
    return frames.read_parquet(path, [name for name in there if name in columns] or there[:1])[0]


def _names(metadata: pl.DataFrame) -> list[str] | None:
    column = next((name for name in NAMES if name in metadata.columns), None)
    return None if column is None else _texts(metadata[column])


def _texts(column: pl.Series) -> list[str]:
    import polars as pl

    return column.cast(pl.String).fill_null("").to_list()


def _labels(metadata: pl.DataFrame, label: str | None, count: int, folder: Path) -> tuple[Any, list[str] | None]:
    if label is None:
        return np.full(count, -1), None
    column = NAMES[0] if label == BY_FOLDER else label
    if column not in metadata.columns:
        raise OodgridError(f"{folder}: metadata has no column {column}: choose another with --label, or none")
    if label == BY_FOLDER:
        return classes_by_folder(_texts(metadata[column]))
    values = metadata[label]
    if values.dtype.is_numeric():  # whole numbers of which some are missing come as floats from pandas
        return values.fill_nan(None).fill_null(-1).to_numpy(), None
    return classes_by_value(values.to_list(), str(folder))
