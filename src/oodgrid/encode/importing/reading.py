"""Reading other people's files, of which nothing is unpickled but tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid.errors import OodgridError


def existing(file: Path) -> Path:
    """Return a path that is there.

    Raises:
        OodgridError: It is not.
    """
    if not file.exists():
        raise OodgridError(f"file {file} does not exist: mend the path")
    return file


def load_array(file: Path) -> np.ndarray:
    """Return the one array of a .pt or .npy file, without unpickling anything but tensors.

    Raises:
        OodgridError: It is missing or holds anything else.
    """
    try:
        if existing(file).suffix == ".npy":
            return np.load(file, allow_pickle=False)
        import torch

        return _as_numpy(torch.load(file, map_location="cpu", weights_only=True).detach())
    except OodgridError:
        raise
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise OodgridError(f"{file} holds no readable tensor ({type(error).__name__}: {reason[:100]})") from error


def read_npz(file: Path) -> dict[str, Any]:
    """Return the arrays of an .npz file.

    Raises:
        OodgridError: It is missing, unreadable or holds pickles.
    """
    try:
        with np.load(existing(file), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OodgridError:
        raise
    except Exception as error:  # zip, zlib and npy readers each fail in their own ways
        raise OodgridError(f"{file} is not a readable .npz file without pickles: {error}") from error


def read_safetensors(file: Path) -> dict[str, Any]:
    """Return the arrays of a .safetensors file, with the texts that `oodgrid export` leaves in its metadata.

    Raises:
        OodgridError: It is missing or unreadable.
    """
    import torch  # noqa: F401 (before safetensors' reader for torch; numpy has no bfloat16)
    from safetensors import safe_open

    try:
        with safe_open(existing(file), framework="pt") as opened:
            arrays: dict[str, Any] = {name: _as_numpy(opened.get_tensor(name)) for name in opened.keys()}  # noqa: SIM118
            metadata = opened.metadata() or {}
        lists = {name: json.loads(metadata[name]) for name in ("paths", "classnames", "templates") if name in metadata}
    except OodgridError:
        raise
    except Exception as error:
        raise OodgridError(f"{file} is not a readable .safetensors file: {error}") from error
    return arrays | lists | ({"provenance": metadata["provenance"]} if "provenance" in metadata else {})


def _as_numpy(tensor: Any) -> np.ndarray:
    """Return a tensor as it is; bfloat16, which NumPy does not have, as float32, which holds its values exactly."""
    import torch

    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def read_names(file: Path) -> list[str]:
    """Return class names: a JSON list, a JSON object from index to name, or a text file with one a line.

    Raises:
        OodgridError: It is missing or holds anything else.
    """
    text = existing(file).read_text(encoding="utf-8")
    if file.suffix != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        names = json.loads(text)
    except ValueError as error:
        raise OodgridError(f"{file} is not valid JSON: {error}") from error
    if isinstance(names, dict):
        names = [names.get(str(k)) for k in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise OodgridError(f'{file} must hold a list of names, or an object from "0", "1", … to names')
    return names


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file that are not empty.

    Raises:
        OodgridError: It is missing or no UTF-8 text.
    """
    try:
        return [line.strip() for line in existing(file).read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise OodgridError(f"{file} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error


def read_parquet(file: Path) -> dict[str, Any]:
    """Return the columns of a Parquet file as arrays, with the metadata that `oodgrid export` leaves.

    Raises:
        OodgridError: It is missing or unreadable.
    """
    import polars as pl

    try:
        table = pl.read_parquet(existing(file))
        metadata = pl.read_parquet_metadata(file)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise OodgridError(f"{file} is not a readable Parquet file: {str(error).splitlines()[0]}") from error
    arrays: dict[str, Any] = {name: _column(table[name]) for name in table.columns}
    for name in ("image_features", "text_features"):
        if name in arrays and "dtype" in metadata:  # Parquet knows no half precision that all readers know
            arrays[name] = arrays[name].astype(metadata["dtype"])
    if "text_features" in arrays:
        templates = json.loads(metadata["templates"])
        arrays["text_features"] = arrays["text_features"].reshape(len(templates), -1, arrays["text_features"].shape[-1])
        arrays |= {"templates": templates, "classnames": arrays["classnames"][: arrays["text_features"].shape[1]]}
    if "provenance" in metadata:
        arrays["provenance"] = metadata["provenance"]
    return arrays


def _column(column: Any) -> Any:
    import polars as pl

    if column.dtype == pl.Binary:
        return np.frombuffer(b"".join(column.to_list()), np.uint8).reshape(len(column), -1)
    if isinstance(column.dtype, pl.List):
        widths = column.list.len().unique().to_list()
        if len(widths) == 1:
            return column.list.to_array(widths[0]).to_numpy()
    return column.to_list() if column.dtype == pl.String else column.to_numpy()
