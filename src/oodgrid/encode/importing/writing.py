"""Writing what was imported, once it is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import paths, store
from oodgrid.errors import OodgridError

UNIT_NORM = 1e-2  # rows whose norms stay within this of 1 were normalised (float16 rounding stays well below)
KEPT = (np.float16, np.float32)


def write_split(
    results: Path,
    backbone: str,
    dataset: str,
    split: str,
    values: np.ndarray,
    labels: np.ndarray,
    draws: np.ndarray | None = None,
    *,
    source: dict[str, Any],
    names: list[str] | None = None,
    classnames: list[str] | None = None,
    **more: np.ndarray,
) -> Path:
    """Write one imported split, features (N, D) and labels (N,), and return the file.

    Args:
        results: The results folder.
        backbone: The name under which configurations know the encoder.
        dataset: The name under which configurations know the dataset.
        split: train, val or test.
        values: Shape (N, D).
        labels: Shape (N,); -1 where an image has no class.
        draws: Shape (N,): the shots of the fixed draw of each row, or None.
        source: What the provenance is to say of where they come from.
        names: N names; default: their number.
        classnames: K names.
        more: Further fields of `store.Features`.

    Raises:
        OodgridError: Shapes, counts or labels do not fit; nothing is written.
    """
    where = f"{dataset}/{split}"
    values, labels = np.asarray(values), _labels(labels, where)
    if values.ndim != 2 or not len(values):
        raise OodgridError(f"{where}: features of shape {values.shape}; they must be (samples, dimensions), not empty")
    if len(labels) != len(values):
        raise OodgridError(f"{where}: {len(values)} features but {len(labels)} labels: the counts must match")
    if classnames and labels.max() >= len(classnames):
        raise OodgridError(f"{where}: label {labels.max()} but only {len(classnames)} classnames")
    provenance = {
        "imported": source if values.dtype in KEPT else {**source, "dtype": str(values.dtype)},
        "backbone": {"name": backbone},
        "split": split,
        "classnames": classnames,
        "normalised": is_normalised(values),
        "fixed_draw": draws is not None,
    }
    names = names or [f"{where}/{row}" for row in range(len(values))]
    digests = more.pop("sha256", np.zeros((len(values), 32), np.uint8))
    path = paths.features(results, backbone, dataset, split)
    store.write_features(path, store.Features(values, labels, names, digests, provenance, draws, **more))
    return path


def is_normalised(values: np.ndarray) -> bool:
    """Say whether rows, shape (N, D), have unit norm."""
    norms = np.sqrt(np.einsum("nd,nd->n", values, values, dtype=np.float64))
    return bool(np.all(np.abs(norms - 1) < UNIT_NORM))


def _labels(labels: np.ndarray, where: str) -> np.ndarray:
    labels = np.asarray(labels).reshape(-1)
    if labels.dtype.kind not in "iuf" or not np.array_equal(labels, labels.round()):
        raise OodgridError(f"{where}: labels must be whole numbers, the index of the class")
    return labels.astype(np.int32)
