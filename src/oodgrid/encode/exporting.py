"""Exporting features: as .npz, .safetensors or Parquet, from which `oodgrid import` has them back.

Values keep every bit. What decided them travels along as the JSON text `provenance`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import store
from oodgrid.errors import OodgridError

ROWS = 16384  # of a Parquet file are compressed at a time, which bounds the memory that takes


def export(file: Path, out: Path, force: bool = False) -> Path:
    """Write a feature or text file of results/ in another format, by the suffix of `out`, and return that file.

    Raises:
        OodgridError: The file is missing or damaged, the format is unknown or cannot hold it, or `out` is there.
    """
    writers: dict[str, Callable] = {".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}
    if out.suffix not in writers:
        raise OodgridError(f"{out} is none of {', '.join(writers)}: the suffix says the format")
    store.refuse_to_replace(out, force)
    arrays, texts, provenance = _read(file)
    with store.atomic(out) as beside:
        writers[out.suffix](beside, arrays, texts, json.dumps(provenance, sort_keys=True))
    return out


def _read(file: Path) -> tuple[dict[str, np.ndarray], dict[str, list[str]], dict[str, Any]]:
    """Return the arrays of numbers, the lists of texts and the provenance of a file."""
    shapes = store.array_shapes(file)
    if "index" in shapes:
        raise OodgridError(f"{file} holds views or pseudo-OOD texts: only feature and text files can be exported")
    if "text_features" in shapes and not {"texts", "image_features"} & shapes.keys():
        texts = store.read_texts(file, as_stored=True)
        named = {"classnames": list(texts.classnames), "templates": list(texts.templates)}
        if texts.kinds is not None:
            named["kinds"] = list(texts.kinds)
        return {"text_features": texts.text_features}, named, texts.provenance
    features = store.read_features(file, as_stored=True)
    names = ("image_features", "text_features", "labels", "sha256", "draws", "stamps")
    arrays = {name: getattr(features, name) for name in names}
    if "local_features" in shapes:
        arrays["local_features"] = _local_features(file, *shapes["local_features"])
    named = {"paths": list(features.paths)}
    if features.texts is not None:
        named["texts"] = list(features.texts)
    if features.pair_kinds is not None:
        named["pair_kinds"] = list(features.pair_kinds)
    if features.classnames is not None:
        named["classnames"] = list(features.classnames)
    return {name: values for name, values in arrays.items() if values is not None}, named, features.provenance


def _local_features(file: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return local features, shape (N, P, D), filled block after block so that one copy of them is in memory."""
    whole = np.empty(shape, dtype)
    for row, values in store.read_local_features(file):
        whole[row : row + len(values)] = values
    return whole


def _npz(path: Path, arrays: dict[str, np.ndarray], texts: dict[str, list[str]], provenance: str) -> None:
    with path.open("wb") as file:
        lists: dict[str, Any] = {name: np.array(values, dtype=np.str_) for name, values in texts.items()}
        np.savez(file, **{**lists, **arrays}, provenance=np.array(provenance))


def _safetensors(path: Path, arrays: dict[str, np.ndarray], texts: dict[str, list[str]], provenance: str) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    metadata = {"provenance": provenance, **{name: json.dumps(values) for name, values in texts.items()}}
    try:
        save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, path, metadata=metadata)
    except SafetensorError as error:
        if "header" not in str(error):
            raise
        size = sum(map(len, metadata.values())) >> 20
        raise OodgridError(f"{size} MiB of names are more than a .safetensors file may hold: export to .npz") from error


def _parquet(path: Path, arrays: dict[str, np.ndarray], texts: dict[str, list[str]], provenance: str) -> None:
    """Write one row per image, or one per template and class."""
    import polars as pl

    _check_table(arrays, texts)
    texts, arrays = dict(texts), dict(arrays)
    name = "image_features" if "image_features" in arrays else "text_features"
    metadata = {"provenance": provenance}
    apart = "templates" if name == "text_features" else "classnames"  # as many as there are rows of neither
    if apart in texts:
        metadata[apart] = json.dumps(texts.pop(apart))
    if name == "text_features":
        texts = {column: names * len(arrays[name]) for column, names in texts.items()}
        arrays[name] = arrays[name].reshape(-1, arrays[name].shape[-1])
    table = pl.DataFrame({**texts, **{name: _column(name, values) for name, values in arrays.items()}})
    store.frames.write_parquet(path, table, metadata=metadata, row_group_size=ROWS)


def _check_table(arrays: Mapping[str, np.ndarray], texts: Mapping[str, list[str]]) -> None:
    """Refuse what Parquet cannot hold."""
    if "local_features" in arrays:
        raise OodgridError("local features do not fit into a table: export to .npz or .safetensors")
    for name, values in texts.items():
        if strange := next((text for text in values if not text.isascii() and _is_no_utf8(text)), None):
            raise OodgridError(f"{name}: {strange!a} is no UTF-8, which Parquet needs: export to .npz")


def _is_no_utf8(text: str) -> bool:
    return text.encode("utf-8", "ignore").decode("utf-8") != text


def _column(name: str, values: np.ndarray) -> Any:
    import polars as pl

    if name == "sha256":
        return pl.Series([row.tobytes() for row in values], dtype=pl.Binary)
    return pl.Series(values=values)  # of two axes: a column of fixed-size lists
