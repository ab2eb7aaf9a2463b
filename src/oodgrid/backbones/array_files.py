"""Arrays in other people's files, of which nothing is unpickled but tensors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid.backbones.weights import load_tensors, read_state, refuse_no_weights
from oodgrid.errors import OodgridError, one_line
from oodgrid.services import REFUSALS
from oodgrid.store import existing, no_memory, parse_json, read_bytes

TEXTS = ("paths", "classnames", "templates", "texts", "pair_kinds")  # what `oodgrid export` leaves as JSON in metadata


def load_array(file: Path) -> np.ndarray:
    """Return the one array of a .npy file, mapped and not read, or of a .pt file; only tensors are unpickled.

    Raises:
        OodgridError: It is missing or holds anything else.
        MemoryError: It does not fit into the memory at hand.
    """
    return _load_npy(file) if file.suffix == ".npy" else _load_pt(file)


def _load_npy(file: Path) -> np.ndarray:
    refuse_no_weights(existing(file))
    with _guarded(file, "a readable .npy file without pickles"):
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except OSError as error:  # a file system that maps nothing
            if error.errno not in REFUSALS:
                raise
            array = np.load(file, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise TypeError("it is an .npz archive: rename it")
        return array


def _load_pt(file: Path) -> np.ndarray:
    import torch

    tensor = load_tensors(file)
    if not isinstance(tensor, torch.Tensor):
        raise OodgridError(f"{file} holds no tensor, but a {type(tensor).__name__}: save the tensor of features alone")
    with _guarded(file, "a tensor that NumPy can hold"):
        return _as_numpy(tensor)


def read_checkpoint(file: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a checkpoint, .pt or .safetensors, as arrays.

    Raises:
        OodgridError: It holds no state dict, or tensors that NumPy cannot hold.
        MemoryError: It does not fit into the memory at hand.
    """
    with _guarded(file, "a file of tensors that NumPy can hold"):
        return {name: _as_numpy(tensor) for name, tensor in read_state(file).items()}


def read_npz(file: Path) -> dict[str, Any]:
    """Return the arrays of an .npz file.

    Raises:
        OodgridError: It is missing, unreadable or holds pickles.
        MemoryError: It does not fit into the memory at hand.
    """
    refuse_no_weights(existing(file))
    with _guarded(file, "a readable .npz file without pickles"), np.load(file, allow_pickle=False) as archive:
        _refuse_what_no_memory_holds(archive)
        return {name: archive[name] for name in archive.files}


def _refuse_what_no_memory_holds(archive: Any) -> None:
    """Refuse arrays whose headers promise more than their bytes: NumPy would ask for that much memory first."""
    for info in archive.zip.infolist():
        with archive.zip.open(info) as opened:
            version = np.lib.format.read_magic(opened)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = header(opened)
            if math.prod(shape) * kind.itemsize > info.file_size:
                raise ValueError(f"{info.filename} ends before its shape {shape} does")


def read_safetensors(file: Path) -> dict[str, Any]:
    """Return the arrays of a .safetensors file, with the texts that `oodgrid export` leaves in its metadata.

    Raises:
        OodgridError: It is missing or unreadable.
        MemoryError: It does not fit into the memory at hand.
    """
    from safetensors.torch import load

    refuse_no_weights(existing(file))
    data = read_bytes(file)
    with _guarded(file, "a readable .safetensors file"):
        arrays: dict[str, Any] = {name: _as_numpy(tensor) for name, tensor in load(data).items()}
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__") or {}
    lists = {name: parse_json(metadata[name], f"{name} in {file}") for name in TEXTS if name in metadata}
    return arrays | lists | ({"provenance": metadata["provenance"]} if "provenance" in metadata else {})


@contextmanager
def _guarded(file: Path, what: str) -> Iterator[None]:
    """Turn what readers of zip, zlib, npy and tensors fail with, each in its own way, into one line."""
    try:
        yield
    except MemoryError as error:
        raise no_memory(file) from error
    except OodgridError:
        raise
    except Exception as error:
        raise OodgridError(f"{file} is not {what}: {one_line(error)}") from error


def _as_numpy(tensor: Any) -> np.ndarray:
    """Return a tensor as it is; bfloat16, which NumPy does not have, as float32, which holds its values exactly."""
    import torch

    values = tensor.detach()  # a parameter is one that NumPy refuses
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
