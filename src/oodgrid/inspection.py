"""Looking at one file of results: what it holds, where it comes from, whether it is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from oodgrid import store
from oodgrid.errors import OodgridError


def describe(path: Path) -> str:
    """Return what a results file holds, as text for a person.

    Raises:
        OodgridError: It is missing, damaged or of no kind that oodgrid writes.
    """
    what = _read(path)
    lines = [f"{path}"] + [f"  {name:16} {value}" for name, value in what["holds"].items()]
    return "\n".join([*lines, json.dumps(what["about"], indent=2)])


def verify(path: Path) -> None:
    """Read a results file whole, checking its checksums where it has them.

    Raises:
        OodgridError: It is missing, damaged or of no kind that oodgrid writes.
    """
    _read(path)


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise OodgridError(f"{path} does not exist")
    readers = {".h5": _hdf5, ".safetensors": _safetensors, ".parquet": _parquet, ".json": _json}
    if path.suffix not in readers:
        raise OodgridError(f"{path} is none of {', '.join(readers)}")
    return readers[path.suffix](path)


def _hdf5(path: Path) -> dict[str, Any]:
    provenance = store.read_provenance(path)
    if "text" in provenance:
        texts = store.read_texts(path)
        holds = {"text_features": texts.text_features.shape, "classnames": len(texts.classnames)}
    else:
        features = store.read_features(path)
        holds = {"image_features": features.image_features.shape, "classes": len(set(features.labels.tolist()))}
    return {"holds": {**holds, "checksums": "match"}, "about": provenance}


def _safetensors(path: Path) -> dict[str, Any]:
    arrays, info = store.read_arrays(path)
    return {"holds": {name: values.shape for name, values in arrays.items()}, "about": info}


def _parquet(path: Path) -> dict[str, Any]:
    table, metadata = store.read_table(path)
    return {"holds": {"rows": len(table), **{n: str(t) for n, t in table.schema.items()}}, "about": metadata}


def _json(path: Path) -> dict[str, Any]:
    return {"holds": {}, "about": store.read_json(path)}
