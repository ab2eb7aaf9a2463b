"""Describing and verifying one file of results: its content, its provenance, its checksums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from oodgrid import digests, paths, store
from oodgrid.errors import OodgridError
from oodgrid.labels import has_class

WIDTH = 120
MOST = 6  # entries of a list that are shown


def describe(path: Path) -> str:
    """Return a description of a results file, as text; long lists are shortened.

    Raises:
        OodgridError: It is missing, damaged or of no kind that oodgrid writes.
    """
    content = _read(path)
    lines = [f"{path}"] + [f"  {name:22} {value}" for name, value in content["holds"].items()]
    about = yaml.safe_dump(_shortened(content["about"]), default_flow_style=None, allow_unicode=True, width=WIDTH)
    return "\n".join([*lines, *(f"  {line}" for line in about.splitlines())])


def verify(path: Path) -> None:
    """Read a results file whole, checking its checksums where it has them, and the files whose digests it holds.

    Raises:
        OodgridError: It is missing, damaged or of no kind that oodgrid writes.
    """
    _read(path)
    if path.name.endswith(digests.DIGESTS):
        digests.check(path)


def checkable(path: Path) -> list[Path]:
    """Return what `verify` can check at a path: a file itself; of a folder of results, every file with checksums.

    Tables, figures and pages have theirs in the `*.digests.json` beside them.

    Raises:
        OodgridError: A folder holds nothing of the kind, or a part of a report without its digests.
    """
    if not path.is_dir():
        return [path]
    for part in paths.REPORT:
        manifest, report = (of(path.parent, path.name, part) for of in (paths.digests, paths.report))
        if report.exists() and not manifest.exists():
            raise OodgridError(f"{manifest} is missing, which says what {report.name} is: snakemake makes both again")
    files = sorted(file for file in path.rglob("*") if file.suffix in READERS and not file.name.startswith("."))
    if not files:
        raise OodgridError(f"{path} holds no results: name {paths.RESULTS}/EXPERIMENT, or files")
    return files


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shortened(entry) for key, entry in value.items()}
    if isinstance(value, list) and len(value) > MOST:
        return [*map(_shortened, value[: MOST - 1]), f"… {len(value)} in all"]
    return [*map(_shortened, value)] if isinstance(value, list) else value


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise OodgridError(f"{path} does not exist")
    if path.suffix not in READERS:
        raise OodgridError(f"{path} is none of {', '.join(READERS)}")
    return READERS[path.suffix](path)


def _hdf5(path: Path) -> dict[str, Any]:
    store.check(path)
    about = store.read_provenance(path)
    shapes = store.array_shapes(path)
    holds: dict[str, Any] = {name: " x ".join(map(str, shape)) + f" {kind}" for name, (shape, kind) in shapes.items()}
    # the readers check more than checksums: counts, and which arrays there are
    if "text" in about:
        store.read_texts(path)
    elif "views" in about:
        store.read_views(path)
    elif "pseudo_ood" in about:
        store.read_pseudo_ood(path)
    else:
        labels = store.read_features(path).labels
        holds["classes"] = len(set(labels[has_class(labels)].tolist()))
    return {"holds": {**holds, "checksums": "match"}, "about": {**about, "run": store.read_attribute(path, "run")}}


def _safetensors(path: Path) -> dict[str, Any]:
    arrays, info = store.read_arrays(path)
    return {"holds": {name: values.shape for name, values in arrays.items()}, "about": info}


def _parquet(path: Path) -> dict[str, Any]:
    table, metadata = store.read_table(path)
    return {"holds": {"rows": len(table), **{n: str(t) for n, t in table.schema.items()}}, "about": metadata}


def _json(path: Path) -> dict[str, Any]:
    return {"holds": {}, "about": store.read_json(path)}


READERS = {".h5": _hdf5, ".safetensors": _safetensors, ".parquet": _parquet, ".json": _json}
