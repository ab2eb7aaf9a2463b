"""Features as named arrays: .npz, .safetensors and Parquet files, what `oodgrid export` writes, and bare .npy files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid.backbones.array_files import load_array, read_npz, read_safetensors
from oodgrid.counts import counted
from oodgrid.encode.importing import checks
from oodgrid.encode.importing.reading import read_labels
from oodgrid.encode.importing.tables import read_parquet
from oodgrid.encode.importing.writing import write_split, write_texts
from oodgrid.encode.lines import parse_json, read_lines
from oodgrid.errors import OodgridError

READERS = {".npz": read_npz, ".safetensors": read_safetensors, ".parquet": read_parquet}


def import_arrays(results: Path, backbone: str, dataset: str, file: Path, split: str) -> list[Path]:
    """Import one split, `image_features` (N, D) and `labels` (N,), or texts, `text_features` (T, K, D).

    Pairs have both, `text_features` (N, D) for the text of each image, and maybe `texts` (N,) and `pair_kinds` (N,).

    Optional beside features: `paths` (N,), `sha256` (N, 32), `draws` (N,), the shots of the fixed draw of each row,
    `local_features` (N, P, D), `classnames` (K,) and `provenance`, as `oodgrid export` writes them. Beside texts:
    `classnames` (K,) and `templates` (T,).

    Raises:
        OodgridError: The file or an array is missing or unreadable, or counts do not match.
    """
    if file.suffix not in READERS:
        raise OodgridError(f"{file} is none of {', '.join(READERS)}")
    arrays = READERS[file.suffix](file)
    original = _provenance(arrays, file)
    source = {"format": file.suffix.removeprefix("."), **({} if original is None else {"original": original})}
    if "text_features" in arrays and "image_features" not in arrays:
        return [_write_texts((results, backbone, dataset), arrays, source, file)]
    if "image_features" not in arrays:
        raise OodgridError(f"{file} holds {', '.join(sorted(arrays))} but no image_features: rename its arrays")
    if "labels" not in arrays:
        arrays["labels"] = _without_labels(arrays, file)
    path = write_split(
        results,
        backbone,
        dataset,
        split,
        arrays["image_features"],
        arrays["labels"],
        arrays.get("draws"),
        source=source,
        names=arrays.get("paths"),
        classnames=arrays.get("classnames", (original or {}).get("classnames")),
        sha256=arrays.get("sha256"),
        stamps=arrays.get("stamps"),
        local_features=arrays.get("local_features"),
        text_features=arrays.get("text_features"),
        texts=arrays.get("texts"),
        pair_kinds=arrays.get("pair_kinds"),
    )
    return [path]


def import_npy(
    results: Path, backbone: str, dataset: str, file: Path, labels: Path | None, names: Path | None, split: str
) -> list[Path]:
    """Import one split from a .npy file (N, D), which is mapped and not read whole.

    Args:
        results: The results folder.
        backbone: The name under which configurations know the encoder.
        dataset: The name under which configurations know the dataset.
        file: The features.
        labels: .npy, .pt, text with one a line, or .csv; without, no image has a class.
        names: Text with the name of each image, one a line.
        split: train, val or test.

    Raises:
        OodgridError: A file is missing or unreadable, or counts do not match.
    """
    values = load_array(file)
    if values.ndim != 2:
        raise OodgridError(f"{file} has shape {values.shape}: features must be (samples, dimensions)")
    classes = read_labels(labels) if labels else np.full(len(values), -1)
    listed = read_lines(names) if names else None
    if listed is not None and len(listed) != len(values):
        raise OodgridError(f"{file} holds {counted(len(values), 'feature')} but {names} {counted(len(listed), 'name')}")
    return [write_split(results, backbone, dataset, split, values, classes, source={"format": "npy"}, names=listed)]


def _without_labels(arrays: dict[str, Any], file: Path) -> np.ndarray:
    """Return labels for a set of which no image has a class, as OOD sets; refuse where another array may be meant.

    Raises:
        OodgridError: Another array looks like labels.
    """
    count = np.asarray(arrays["image_features"]).shape[:1]
    like = [
        name
        for name, values in arrays.items()
        if name != "draws" and np.asarray(values).shape == count and np.asarray(values).dtype.kind in "iufb"
    ]
    if like or not count:
        mend = f"is {like[0]} what is meant? Rename it" if like else "rename its arrays"
        raise OodgridError(f"{file} holds {', '.join(sorted(arrays))} but no labels: {mend}")
    print(f"oodgrid: {file} holds no labels: none of its images has a class, as in OOD sets", file=sys.stderr)
    return np.full(count, -1)


def _provenance(arrays: dict[str, Any], file: Path) -> dict[str, Any] | None:
    """Take out and return the provenance that `oodgrid export` left, if it did."""
    if "provenance" not in arrays:
        return None
    provenance = parse_json(str(arrays.pop("provenance")), f"the provenance in {file}")
    if not isinstance(provenance, dict):
        raise OodgridError(f"{file}: its provenance is no JSON object: rename that array or metadata entry")
    return provenance


def _write_texts(where: tuple[Path, str, str], arrays: dict[str, Any], source: dict[str, Any], file: Path) -> Path:
    if missing := {"classnames", "templates"} - set(arrays):
        raise OodgridError(f"{file} holds text_features but no {min(missing)}: add them")
    names, templates = (checks.texts(arrays[name], str(file), name) for name in ("classnames", "templates"))
    return write_texts(*where, arrays["text_features"], names, templates, source)
