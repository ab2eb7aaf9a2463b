"""Folders as clip-retrieval leaves them: `img_emb/img_emb_0.npy` beside `metadata/metadata_0.parquet`, and so on."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from oodgrid.encode.importing.reading import load_array
from oodgrid.encode.importing.writing import write_split
from oodgrid.encode.sources.image_set import classes_by_folder, classes_by_value
from oodgrid.errors import OodgridError

BY_FOLDER = "folder"


def import_clip_retrieval(
    results: Path, backbone: str, dataset: str, folder: Path, split: str, label: str | None = None
) -> list[Path]:
    """Import the image embeddings of a clip-retrieval folder as one split.

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
    parts = _parts(folder / "img_emb", "npy")
    tables = _parts(folder / "metadata", "parquet")
    if not parts:
        raise OodgridError(f"{folder} holds no img_emb/img_emb_0.npy: give the output folder of clip-retrieval")
    if tables and tables.keys() != parts.keys():
        odd = min(tables.keys() ^ parts.keys())
        raise OodgridError(f"{folder}: part {odd} is there as embedding or as metadata, but not as both")
    values = np.concatenate([load_array(parts[number]) for number in sorted(parts)])
    metadata = _metadata([tables[number] for number in sorted(tables)])
    names = metadata.get("image_path")
    if names is not None and len(names) != len(values):
        raise OodgridError(f"{folder}: {len(values)} embeddings but {len(names)} rows of metadata")
    labels, classnames = _labels(metadata, label, len(values), folder)
    more = {"source": {"format": "clip-retrieval"}, "names": names, "classnames": classnames}
    return [write_split(results, backbone, dataset, split, values, labels, **more)]


def _parts(folder: Path, suffix: str) -> dict[int, Path]:
    found = {path: re.fullmatch(r"\D*(\d+)", path.stem) for path in folder.glob(f"*.{suffix}")}
    return {int(number[1]): path for path, number in found.items() if number}


def _metadata(tables: list[Path]) -> dict[str, list]:
    import polars as pl

    try:
        whole = pl.concat([pl.read_parquet(path) for path in tables], how="diagonal") if tables else pl.DataFrame()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise OodgridError(f"{tables[0].parent}: metadata cannot be read: {str(error).splitlines()[0]}") from error
    return {name: whole[name].to_list() for name in whole.columns}


def _labels(
    metadata: dict[str, list], label: str | None, count: int, folder: Path
) -> tuple[np.ndarray, list[str] | None]:
    if label is None:
        return np.full(count, -1), None
    column = "image_path" if label == BY_FOLDER else label
    if column not in metadata:
        raise OodgridError(f"{folder}: metadata has no column {column} (there: {', '.join(metadata) or 'none'})")
    if label == BY_FOLDER:
        return classes_by_folder(metadata["image_path"])
    return classes_by_value(metadata[label], str(folder))
