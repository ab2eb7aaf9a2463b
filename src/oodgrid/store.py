"""The files in which the stages meet: written whole or not at all, checked when read, never unpickled.

Feature and text files are HDF5, learned parameters safetensors, tables Parquet, manifests JSON. Every file is
written beside its place, synced and renamed, so a killed job leaves the old file or none.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import platform
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from oodgrid import __version__
from oodgrid.errors import OodgridError
from oodgrid.identity import digest

if TYPE_CHECKING:
    import polars as pl

FORMAT = "oodgrid-1"
SEAL = "oodgrid-sha256:"  # stands in a file before the digest of the whole file, which takes its own place as zeros
UNSEALED = SEAL + 64 * "0"
# How libraries fail on files that are damaged or not ours; polars reports some damage as a Rust panic.
_UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, MemoryError)


# ---------------------------------------------------------------------------------------------- whole files


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it into place, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        _sync(beside)
        beside.chmod(0o666 & ~_umask())  # mkstemp makes private files; results are meant to be shared
        beside.replace(path)
        _sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def run_record() -> dict[str, str]:
    """Return when, where and with what versions a file was made: what does not decide its numbers."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "oodgrid": __version__,
        "numpy": np.__version__,
    }


def _seal(path: Path) -> None:
    """Write the digest of a finished file into the place that it holds for it."""
    place, _, whole = _digests(path)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(whole)


def _check(path: Path) -> None:
    """Raise if a file is missing or not as sealed, before a library parses it: some hang or abort on damage."""
    if not path.is_file():
        raise OodgridError(f"{path} is missing: run snakemake, or oodgrid import where the features were imported")
    place, said, whole = _digests(path)
    if place and said != whole:
        raise _damaged(path, "its checksum does not match")


def _digests(path: Path) -> tuple[int, bytes, bytes]:
    """Return where the digest of a file stands, what stands there, and what should; place 0 where it has no seal."""
    if not path.stat().st_size:
        return 0, b"", b""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place = data.rfind(SEAL.encode()) + len(SEAL)
        if place < len(SEAL):
            return 0, b"", b""
        with memoryview(data) as view:
            hasher = hashlib.sha256(view[:place])
            hasher.update(64 * b"0")
            hasher.update(view[place + 64 :])
        return place, data[place : place + 64], hasher.hexdigest().encode()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# ---------------------------------------------------------------------------------------- features and texts


@dataclass(frozen=True)
class Features:
    """One split of one dataset under one backbone.

    Attributes:
        image_features: Shape (N, D), float32, not normalised unless `provenance["normalised"]`.
        labels: Shape (N,), int32; -1 where an image has no class.
        paths: N names.
        sha256: Shape (N, 32), uint8: digests of the source bytes; zeros where an import does not know them.
        draws: Shape (N,), int32: the shots of the fixed draw a row belongs to; None unless imported so.
        provenance: What decides the numbers.
        digest: Digest of the data, for finding work done on them.
    """

    image_features: np.ndarray
    labels: np.ndarray
    paths: list[str]
    sha256: np.ndarray
    provenance: dict[str, Any]
    draws: np.ndarray | None = None
    digest: str = ""

    @property
    def normalised(self) -> bool:
        """Whether the norms of the features were lost before they came here."""
        return bool(self.provenance.get("normalised"))

    @property
    def classnames(self) -> list[str] | None:
        """Class names in the order of the labels, where they are known."""
        return self.provenance.get("classnames")


@dataclass(frozen=True)
class Texts:
    """The text side of one class list under one backbone.

    Attributes:
        text_features: Shape (T, K, D), float32, one embedding a template and class, not normalised unless
            `provenance["normalised"]`.
        classnames: K names.
        templates: T templates, with `{}` for the name.
    """

    text_features: np.ndarray
    classnames: list[str]
    templates: list[str]
    provenance: dict[str, Any]
    digest: str = ""


def write_features(path: Path, features: Features) -> None:
    """Write a feature file.

    Raises:
        OodgridError: Shapes do not fit each other or a feature is not finite; nothing is written.
    """
    arrays: dict[str, Any] = {
        "image_features": np.ascontiguousarray(features.image_features, dtype=np.float32),
        "labels": np.asarray(features.labels, dtype=np.int32),
        "sha256": np.asarray(features.sha256, dtype=np.uint8),
        "paths": list(features.paths),
    }
    if features.draws is not None:
        arrays["draws"] = np.asarray(features.draws, dtype=np.int32)
    if arrays["image_features"].ndim != 2:
        shape = arrays["image_features"].shape
        raise OodgridError(f"{path.name}: features of shape {shape} are not (samples, dimensions)")
    rows = {name: len(values) for name, values in arrays.items()}
    if len(set(rows.values())) != 1:
        raise OodgridError(f"{path.name}: counts do not match: {', '.join(f'{n} {name}' for name, n in rows.items())}")
    check_finite(arrays["image_features"], f"{path.parent.name}/{path.name}", features.paths)
    _write_hdf5(path, arrays, features.provenance)


def read_features(path: Path) -> Features:
    """Read a feature file, checking its checksums.

    Raises:
        OodgridError: The file is missing, damaged, holds no sample or holds features that are not finite.
    """
    arrays, provenance, data_digest = _read_hdf5(path, "image_features")
    labels, image_features = arrays["labels"], arrays["image_features"]
    if not len(labels):
        raise OodgridError(f"{path} holds no sample: give the dataset images, or take it out of the config")
    if len(labels) != len(image_features):
        raise OodgridError(f"{path}: {len(image_features)} features but {len(labels)} labels: make the file again")
    check_finite(image_features, str(path), arrays["paths"])
    return Features(
        image_features,
        labels,
        arrays["paths"],
        arrays["sha256"],
        provenance,
        arrays.get("draws"),
        data_digest,
    )


def write_texts(path: Path, texts: Texts) -> None:
    """Write a text file.

    Raises:
        OodgridError: Shapes do not fit each other or an embedding is not finite; nothing is written.
    """
    values = np.ascontiguousarray(texts.text_features, dtype=np.float32)
    if values.ndim != 3 or values.shape[:2] != (len(texts.templates), len(texts.classnames)):
        raise OodgridError(
            f"{path.name}: text features of shape {values.shape} do not fit "
            f"{len(texts.templates)} templates and {len(texts.classnames)} class names"
        )
    check_finite(values.reshape(-1, values.shape[-1]), path.name, texts.classnames * len(texts.templates))
    arrays = {"text_features": values, "classnames": texts.classnames, "templates": texts.templates}
    _write_hdf5(path, arrays, texts.provenance)


def read_texts(path: Path) -> Texts:
    """Read a text file, checking its checksums.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    arrays, provenance, data_digest = _read_hdf5(path, "text_features")
    return Texts(arrays["text_features"], arrays["classnames"], arrays["templates"], provenance, data_digest)


def read_provenance(path: Path) -> dict[str, Any]:
    """Return the identity of a feature or text file without reading its data."""
    with _open_hdf5(path) as file:
        return _attribute(path, file, "provenance")


def check_finite(values: np.ndarray, where: str, names: list[str]) -> None:
    """Raise if any row of `values`, shape (N, D), is not finite, naming the first one and how many there are."""
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise OodgridError(
            f"{where}: {len(bad)} of {len(values)} feature rows are NaN or infinite, "
            f"the first is row {bad[0]} ({names[bad[0]]}): encode or import them again"
        )


def _write_hdf5(path: Path, arrays: dict[str, Any], provenance: dict[str, Any]) -> None:
    with atomic(path) as beside:
        with h5py.File(beside, "w") as file:
            for name, values in arrays.items():
                dtype = h5py.string_dtype("utf-8") if isinstance(values, list) else None
                file.create_dataset(name, data=values, dtype=dtype)
            file.attrs["format"] = FORMAT
            file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)
            file.attrs["checksums"] = json.dumps({name: _checksum(values) for name, values in arrays.items()})
            file.attrs["run"] = json.dumps(run_record())
            file.attrs["complete"] = True
            file.attrs["seal"] = UNSEALED
        _seal(beside)


def _read_hdf5(path: Path, main: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    _check(path)
    with _open_hdf5(path) as file:
        checksums, provenance = _attribute(path, file, "checksums"), _attribute(path, file, "provenance")
        if main not in checksums:
            raise OodgridError(f"{path} holds no {main}: it is not the kind of file that is needed here")
        try:
            arrays = {name: _array(file[name]) for name in checksums}
        except _UNREADABLE as error:
            raise _damaged(path, str(error)) from error
    wrong = [name for name in checksums if _checksum(arrays[name]) != checksums[name]]
    if wrong:
        raise _damaged(path, f"the checksum of /{wrong[0]} does not match")
    return arrays, provenance, digest(checksums)


def _open_hdf5(path: Path) -> h5py.File:
    if not path.exists():
        raise OodgridError(f"{path} is missing: run snakemake, or oodgrid import where the features were imported")
    try:
        file = h5py.File(path, "r", locking=False)  # files never change once in place, and NFS may have no locks
        whole = file.attrs.get("format") == FORMAT and "complete" in file.attrs
    except _UNREADABLE as error:
        raise _damaged(path, "it is not a readable HDF5 file") from error
    if not whole:
        file.close()
        raise _damaged(path, f"it is no complete file of format {FORMAT}")
    return file


def _attribute(path: Path, file: h5py.File, name: str) -> dict[str, Any]:
    try:
        return json.loads(file.attrs[name])
    except _UNREADABLE as error:
        raise _damaged(path, f"its {name} cannot be read") from error


def _array(item: h5py.Dataset) -> np.ndarray | list[str]:
    return list(item.asstr()[:]) if h5py.check_string_dtype(item.dtype) else item[:]


def _damaged(path: Path, why: str) -> OodgridError:
    said = " ".join(why.split())[:200]
    return OodgridError(f"{path} is damaged: {said}. Delete it, and the next run makes it again")


def _checksum(values: Any) -> str:
    data = "\0".join(values).encode() if isinstance(values, list) else np.ascontiguousarray(values).tobytes()
    return hashlib.sha256(data).hexdigest()


# ------------------------------------------------------------------------------- parameters, manifests, tables


def write_arrays(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, Any] | None = None) -> None:
    """Write named arrays as safetensors, with one JSON text of metadata."""
    from safetensors.numpy import save

    data = save({name: np.ascontiguousarray(values) for name, values in arrays.items()}, metadata=_sealed(metadata))
    with atomic(path) as beside:
        beside.write_bytes(data)
        _seal(beside)


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the named arrays and the metadata of a safetensors file.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    _check(path)
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            return arrays, _unsealed(file.metadata())
    except (*_UNREADABLE, SafetensorError) as error:
        raise _damaged(path, str(error)) from error


def write_json(path: Path, thing: Any) -> None:
    """Write a manifest."""
    with atomic(path) as beside:
        beside.write_text(json.dumps(thing, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a manifest.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    _check(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def write_table(path: Path, table: pl.DataFrame, metadata: dict[str, Any] | None = None) -> None:
    """Write a frame as Parquet, with one JSON text of metadata."""
    with atomic(path) as beside:
        table.write_parquet(beside, metadata=_sealed(metadata))
        _seal(beside)


def read_table(path: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the frame and the metadata of a Parquet file.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    import polars as pl

    _check(path)
    try:
        return pl.read_parquet(path), _unsealed(pl.read_parquet_metadata(path))
    except (*_UNREADABLE, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _damaged(path, str(error).split("\n")[0]) from error


def _sealed(metadata: dict[str, Any] | None) -> dict[str, str]:
    return {"oodgrid": json.dumps({**(metadata or {}), "seal": UNSEALED})}


def _unsealed(found: dict[str, str] | None) -> dict[str, Any]:
    metadata = json.loads((found or {}).get("oodgrid", "{}"))
    return {name: value for name, value in metadata.items() if name != "seal"}
