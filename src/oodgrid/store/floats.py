"""Arrays as files of features and texts take them: floats that are finite, and arrays that may be absent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oodgrid.counts import counted, plural
from oodgrid.errors import OodgridError
from oodgrid.store import hdf5

FLOATS = (np.float16, np.float32)


def check_finite(values: np.ndarray, where: str, names: Sequence[str]) -> None:
    """Raise if any row of `values`, shape (N, D), is not finite, naming the first one and how many there are."""
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise OodgridError(
            f"{where}: {len(bad):,} of {counted(len(values), 'feature row')} {plural(len(bad), 'is', 'are')} "
            "NaN or infinite, "
            f"the first is row {bad[0]} ({names[bad[0]]}): encode or import them again"
        )


def as_floats(values: np.ndarray | hdf5.Blocks) -> np.ndarray | hdf5.Blocks:
    """Return float16 and float32 as they are and everything else as float32; blocks are their maker's to see to."""
    return values if isinstance(values, hdf5.Blocks) else _in_memory(values)


def _in_memory(values: np.ndarray) -> np.ndarray:
    """Return float16 and float32 as they are and everything else as float32."""
    values = np.asarray(values)
    return np.ascontiguousarray(values, dtype=values.dtype if values.dtype in FLOATS else np.float32)


def optional(**arrays: tuple[np.ndarray | None, type]) -> dict[str, np.ndarray]:
    """Return those arrays that there are, each as its type."""
    return {name: np.asarray(values, dtype) for name, (values, dtype) in arrays.items() if values is not None}
