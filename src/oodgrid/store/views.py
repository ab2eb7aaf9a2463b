"""Files of augmented views: too many for memory, so written in blocks, and read by rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.store import hdf5
from oodgrid.store.attributes import content_digest
from oodgrid.store.floats import as_floats, check_finite
from oodgrid.store.rows import StoredRows


@dataclass(frozen=True)
class NewViews:
    """Augmented views of those training images that the few-shot draws use, to be written.

    Attributes:
        index: Shape (M,), int64: rows of the split, rising.
        image_features: Shape (M, V, D), float32, not normalised; where they are too many for memory, blocks of them.
        provenance: What decides the numbers.
        local_features: Shape (M, V, P, D), where asked for.
    """

    index: np.ndarray
    image_features: np.ndarray | hdf5.Blocks
    provenance: dict[str, Any]
    local_features: np.ndarray | hdf5.Blocks | None = None


@dataclass(frozen=True)
class Views:
    """Augmented views of those training images that the few-shot draws use: in their file, of which rows are read.

    Attributes:
        index: Shape (M,), int64: rows of the split, rising.
        image_features: Shape (M, V, D), float32, not normalised.
        provenance: What decides the numbers.
        local_features: Shape (M, V, P, D), where there are any.
        digest: Digest of the data.
    """

    index: np.ndarray
    image_features: StoredRows
    provenance: dict[str, Any]
    local_features: StoredRows | None = None
    digest: str = ""


def write_views(path: Path, views: NewViews) -> None:
    """Write a file of augmented views.

    Raises:
        OodgridError: Shapes do not fit each other or a feature is not finite; nothing is written.
    """
    values, local = as_floats(views.image_features), views.local_features
    if len(values.shape) != 3 or len(values) != len(views.index):
        raise OodgridError(
            f"{path.name}: views of shape {values.shape} do not fit an index of {counted(len(views.index), 'row')}"
        )
    if isinstance(values, np.ndarray):
        rows = [str(row) for row in views.index.tolist() for _ in range(values.shape[1])]
        check_finite(values.reshape(-1, values.shape[-1]), path.name, rows)
    arrays: dict[str, hdf5.Array] = {"index": np.asarray(views.index, dtype=np.int64), "image_features": values}
    if local is not None:
        arrays["local_features"] = local if isinstance(local, hdf5.Blocks) else np.asarray(local, np.float32)
    hdf5.write(path, arrays, views.provenance)


def read_views(path: Path, local: bool = True) -> Views:
    """Open a file of augmented views, checking its checksums.

    Args:
        path: The file.
        local: Whether local features are wanted; they are many, and take their time to be checked.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    many = ("image_features", "local_features")
    content = hdf5.read(path, "image_features", leave=() if local else ("local_features",), by_rows=many)
    stored = content.stored
    return Views(
        content.array("index"), stored["image_features"], content.provenance, stored.get("local_features"),
        content_digest(content),
    )  # fmt: skip
