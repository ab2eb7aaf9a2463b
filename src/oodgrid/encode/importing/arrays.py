"""Features as named arrays: .npz, .safetensors and Parquet files, what `oodgrid export` writes, and bare .npy files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import paths, store
from oodgrid.encode.importing.reading import load_array, read_lines, read_npz, read_parquet, read_safetensors
from oodgrid.encode.importing.writing import write_split
from oodgrid.errors import OodgridError

READERS = {".npz": read_npz, ".safetensors": read_safetensors, ".parquet": read_parquet}


def import_arrays(results: Path, backbone: str, dataset: str, file: Path, split: str) -> list[Path]:
    """Import one split, `image_features` (N, D) and `labels` (N,), or texts, `text_features` (T, K, D).

    Optional beside features: `paths` (N,), `sha256` (N, 32), `draws` (N,), the shots of the fixed draw of each row,
    `local_features` (N, P, D), and `provenance`, as `oodgrid export` writes them. Beside texts: `classnames` and
    `templates`.

    Raises:
        OodgridError: The file or an array is missing or unreadable, or counts do not match.
    """
    if file.suffix not in READERS:
        raise OodgridError(f"{file} is none of {', '.join(READERS)}")
    arrays = READERS[file.suffix](file)
    original = _provenance(arrays, file)
    source = {"format": file.suffix.removeprefix("."), **({"original": original} if original else {})}
    if "text_features" in arrays:
        return [_write_texts(results, backbone, dataset, arrays, source, file)]
    if missing := {"image_features", "labels"} - set(arrays):
        raise OodgridError(f"{file} holds {', '.join(sorted(arrays))} but no {min(missing)}: rename its arrays")
    names = [str(name) for name in arrays["paths"]] if "paths" in arrays else None
    more = {name: arrays[name] for name in ("sha256", "stamps", "local_features") if name in arrays}
    values = arrays["image_features"], arrays["labels"], arrays.get("draws")
    classnames = (original or {}).get("classnames")
    where = (results, backbone, dataset, split)
    return [write_split(*where, *values, source=source, names=names, classnames=classnames, **more)]


def import_npy(
    results: Path, backbone: str, dataset: str, file: Path, labels: Path | None, names: Path | None, split: str
) -> list[Path]:
    """Import one split from a .npy file (N, D) with labels in .npy or in text, one a line; without, all are -1.

    Raises:
        OodgridError: A file is missing or unreadable, or counts do not match.
    """
    values = load_array(file)
    if labels is None:
        found = np.full(len(values), -1)
    elif labels.suffix in (".npy", ".pt"):
        found = load_array(labels)
    else:
        found = _whole_numbers(read_lines(labels), labels)
    listed = read_lines(names) if names else None
    if listed is not None and len(listed) != len(values):
        raise OodgridError(f"{file} holds {len(values)} features but {names} {len(listed)} names")
    return [write_split(results, backbone, dataset, split, values, found, source={"format": "npy"}, names=listed)]


def _whole_numbers(lines: list[str], file: Path) -> np.ndarray:
    try:
        return np.array([int(line) for line in lines])
    except ValueError as error:
        raise OodgridError(f"{file}: {error}: one whole number a line is expected, the index of the class") from error


def _provenance(arrays: dict[str, Any], file: Path) -> dict[str, Any] | None:
    text = arrays.pop("provenance", None)
    if text is None:
        return None
    try:
        return json.loads(str(text))
    except ValueError as error:
        raise OodgridError(f"{file}: its provenance is no JSON: {error}") from error


def _write_texts(
    results: Path, backbone: str, dataset: str, arrays: dict[str, Any], source: dict[str, Any], file: Path
) -> Path:
    if missing := {"classnames", "templates"} - set(arrays):
        raise OodgridError(f"{file} holds text_features but no {min(missing)}: add them")
    names, templates = ([str(text) for text in arrays[name]] for name in ("classnames", "templates"))
    original = source.get("original", {})
    provenance = {
        "imported": source,
        "backbone": {"name": backbone},
        "text": {"templates": templates, "classnames": names},
        "normalised": bool(original.get("normalised")),
    }
    path = paths.texts(results, backbone, dataset)
    store.write_texts(path, store.Texts(arrays["text_features"], names, templates, provenance))
    return path
