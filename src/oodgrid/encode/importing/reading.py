"""Reading other people's files, of which nothing is unpickled but tensors."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid.encode.lines import existing, read_lines
from oodgrid.encode.sources.image_set import label_text
from oodgrid.errors import OodgridError

TEXTS = ("paths", "classnames", "templates")  # what `oodgrid export` leaves as JSON in metadata
LABEL_COLUMNS = {"label", "labels"}


def load_array(file: Path) -> np.ndarray:
    """Return the one array of a .npy file, mapped and not read, or of a .pt file; only tensors are unpickled.

    Raises:
        OodgridError: It is missing or holds anything else.
    """
    existing(file)
    try:
        return _load_npy(file) if file.suffix == ".npy" else _load_pt(file)
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise OodgridError(f"{file} holds no readable tensor ({type(error).__name__}: {reason[:100]})") from error


def _load_npy(file: Path) -> np.ndarray:
    found = np.load(file, mmap_mode="r", allow_pickle=False)
    if not isinstance(found, np.ndarray):
        raise TypeError("it is an .npz archive: rename it")
    return found


def _load_pt(file: Path) -> np.ndarray:
    import torch

    return _as_numpy(torch.load(file, map_location="cpu", weights_only=True).detach())


def read_npz(file: Path) -> dict[str, Any]:
    """Return the arrays of an .npz file.

    Raises:
        OodgridError: It is missing, unreadable or holds pickles.
    """
    existing(file)
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zip, zlib and npy readers each fail in their own ways
        raise OodgridError(f"{file} is not a readable .npz file without pickles: {error}") from error


def read_safetensors(file: Path) -> dict[str, Any]:
    """Return the arrays of a .safetensors file, with the texts that `oodgrid export` leaves in its metadata.

    Raises:
        OodgridError: It is missing or unreadable.
    """
    import torch  # noqa: F401 (before safetensors' reader for torch; numpy has no bfloat16)
    from safetensors import safe_open

    existing(file)
    try:
        with safe_open(file, framework="pt") as opened:
            arrays: dict[str, Any] = {name: _as_numpy(opened.get_tensor(name)) for name in opened.keys()}  # noqa: SIM118
            metadata = opened.metadata() or {}
        lists = {name: json.loads(metadata[name]) for name in TEXTS if name in metadata}
    except Exception as error:
        raise OodgridError(f"{file} is not a readable .safetensors file: {error}") from error
    return arrays | lists | ({"provenance": metadata["provenance"]} if "provenance" in metadata else {})


def _as_numpy(tensor: Any) -> np.ndarray:
    """Return a tensor as it is; bfloat16, which NumPy does not have, as float32, which holds its values exactly."""
    import torch

    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def read_labels(file: Path) -> np.ndarray:
    """Return labels from .npy or .pt, from text with one a line, or from .csv: its only column, or the one named label.

    Raises:
        OodgridError: It is missing or holds anything but whole numbers.
    """
    if file.suffix in (".npy", ".pt"):
        return load_array(file)
    lines = read_lines(file)
    cells = _label_column(lines, file) if file.suffix == ".csv" else [line for line in lines if line.strip()]
    try:
        return np.array([int(label_text(cell, str(file))) for cell in cells], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        said = str(error)[:100]
        raise OodgridError(f"{file}: {said}: one whole number a line is expected, the index of the class") from error


def _label_column(lines: list[str], file: Path) -> list[str]:
    rows = [row for row in csv.reader(lines) if row]
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    place = next((column for column, name in enumerate(header) if name in LABEL_COLUMNS), None)
    if place is None and any(len(row) > 1 for row in rows):
        raise OodgridError(f"{file} has several columns: name the one of the labels 'label' in its first line")
    column, body = (0, rows) if place is None else (place, rows[1:])
    return ["".join(row[column : column + 1]) for row in body]
