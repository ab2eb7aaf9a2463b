"""Giving features away: as .npz, .safetensors or Parquet, from which `oodgrid import` has them back.

Values keep every bit. What decided them travels along as the JSON text `provenance`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import store
from oodgrid.errors import OodgridError


def export(file: Path, out: Path, force: bool = False) -> Path:
    """Write a feature or text file of results/ in another format, by the suffix of `out`, and return that file.

    Raises:
        OodgridError: The file is missing or damaged, the format is unknown or cannot hold it, or `out` is there.
    """
    writers: dict[str, Callable] = {".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}
    if out.suffix not in writers:
        raise OodgridError(f"{out} is none of {', '.join(writers)}: the suffix says the format")
    if out.exists() and not force:
        raise OodgridError(f"{out} is there already: choose another name, or add --force")
    arrays, texts, provenance = _read(file)
    with store.atomic(out) as beside:
        writers[out.suffix](beside, arrays, texts, json.dumps(provenance, sort_keys=True))
    return out


def _read(file: Path) -> tuple[dict[str, np.ndarray], dict[str, list[str]], dict[str, Any]]:
    """Return the arrays of numbers, the lists of texts and the provenance of a file."""
    provenance = store.read_provenance(file)
    if "text" in provenance:
        texts = store.read_texts(file, as_stored=True)
        named = {"classnames": list(texts.classnames), "templates": list(texts.templates)}
        return {"text_features": texts.text_features}, named, provenance
    found = store.read_features(file, as_stored=True)
    arrays = {
        "image_features": found.image_features,
        "labels": found.labels,
        "sha256": found.sha256,
        "draws": found.draws,
        "stamps": found.stamps,
    }
    if "local_features" in store.array_shapes(file):
        arrays["local_features"] = np.concatenate([values for _, values in store.read_local_features(file)])
    return {k: v for k, v in arrays.items() if v is not None}, {"paths": list(found.paths)}, provenance


def _npz(path: Path, arrays: dict[str, np.ndarray], texts: dict[str, list[str]], provenance: str) -> None:
    with path.open("wb") as file:
        named = {name: np.array(values, dtype=np.str_) for name, values in texts.items()}
        np.savez(file, **arrays, **named, provenance=np.array(provenance))


def _safetensors(path: Path, arrays: dict[str, np.ndarray], texts: dict[str, list[str]], provenance: str) -> None:
    from safetensors.numpy import save_file

    metadata = {name: json.dumps(values) for name, values in texts.items()}
    whole = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    save_file(whole, path, metadata={**metadata, "provenance": provenance})


def _parquet(path: Path, arrays: dict[str, np.ndarray], texts: dict[str, list[str]], provenance: str) -> None:
    """Write one row an image, or one a template and class."""
    import polars as pl

    if "local_features" in arrays:
        raise OodgridError("local features do not fit into a table: export to .npz or .safetensors")
    name = "image_features" if "image_features" in arrays else "text_features"
    metadata = {"provenance": provenance, "dtype": str(arrays[name].dtype)}
    if name == "text_features":
        count = len(texts["templates"])
        metadata["templates"] = json.dumps(texts["templates"])
        texts = {"classnames": texts["classnames"] * count}
        arrays = {name: arrays[name].reshape(-1, arrays[name].shape[-1])}
    columns: dict[str, Any] = {**texts, **{k: v for k, v in arrays.items() if v.ndim == 1}}
    if "sha256" in arrays:
        columns["sha256"] = pl.Series([row.tobytes() for row in arrays["sha256"]], dtype=pl.Binary)
    if "stamps" in arrays:
        columns["stamps"] = pl.Series(values=arrays["stamps"], dtype=pl.Array(pl.Int64, 2))
    values = arrays[name].astype(np.float32, copy=False)
    columns[name] = pl.Series(values=values, dtype=pl.Array(pl.Float32, values.shape[1]))
    pl.DataFrame(columns).write_parquet(path, metadata=metadata)
