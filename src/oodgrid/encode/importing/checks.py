"""Turning what a file held into what the store keeps: values unchanged, or one line that says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from oodgrid.counts import counted
from oodgrid.errors import OodgridError

UNIT_NORM = 1e-2  # rows whose norms stay within this of 1 were normalised (float16 rounding stays well below)
HASH = 32  # bytes of a SHA-256


def floats(values: Any, where: str) -> tuple[np.ndarray, str | None]:
    """Return float16 and float32 bit for bit, other real numbers as float32 with the name of what they were.

    Raises:
        OodgridError: They are no real numbers, or too large for float32.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "fiu":
        raise OodgridError(f"{where}: features are of type {values.dtype}: give real numbers, float16 or float32")
    native = values.dtype.newbyteorder("=")
    if native in (np.float16, np.float32):
        return values.astype(native, copy=False), None
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if np.isfinite(values).all() and not np.isfinite(single).all():
        raise OodgridError(f"{where}: features of type {native} are too large for float32: divide them by their norms")
    return single, str(native)


def whole_numbers(values: Any, where: str, what: str, least: int) -> np.ndarray:
    """Return whole numbers, shape (N,), as int32.

    Raises:
        OodgridError: They are not whole, not of one axis, below `least` or too large.
    """
    values = np.asarray(values)
    if values.size != max(values.shape, default=1):
        raise OodgridError(f"{where}: {what} of shape {values.shape}: there must be one a sample")
    values = values.reshape(-1)
    if values.dtype.kind == "f":
        values = values.astype(np.float64)  # in which the limits below are exact
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all() or not np.array_equal(values, values.round()):
        raise OodgridError(f"{where}: {what} must be whole numbers" + (", the index of the class" * (what == "labels")))
    wrong = values[(values < least) | (values > np.iinfo(np.int32).max)]
    if len(wrong):
        none = ", -1 where an image has no class" if what == "labels" else ""
        raise OodgridError(f"{where}: {what} hold {wrong[0]:.0f}: they must be {least} to 2147483647{none}")
    return values.astype(np.int32)


def texts(values: Any, where: str, what: str) -> list[str]:
    """Return a list of texts; bytes are UTF-8, whole numbers become their digits.

    Raises:
        OodgridError: They are anything else.
    """
    if isinstance(values, np.ndarray):
        values = np.char.mod("%d", values) if values.dtype.kind in "iu" else values
        values = [_decoded(text) for text in values.tolist()] if values.ndim == 1 else None
    if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
        raise OodgridError(f"{where}: {what} must be a list of texts, none of them missing")
    return values


def _decoded(text: Any) -> Any:
    return text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text


def digests(values: Any, count: int, where: str) -> np.ndarray:
    """Return SHA-256 digests, shape (N, 32), uint8; zeros, which stand for unknown, where there are none.

    Raises:
        OodgridError: They are of another shape or type.
    """
    if values is None:
        return np.zeros((count, HASH), np.uint8)
    values = np.asarray(values)
    if values.dtype != np.uint8 or values.shape != (count, HASH):
        raise OodgridError(
            f"{where}: sha256 is {values.dtype} of shape {values.shape}: it must be uint8, (samples, 32)"
        )
    return values


def local_features(values: Any, features: np.ndarray, where: str) -> np.ndarray:
    """Return local features, shape (N, P, D), of the samples and dimensions of `features`, shape (N, D).

    Raises:
        OodgridError: They do not fit or are not finite.
    """
    values, _ = floats(values, f"{where}, local")
    if values.ndim != 3 or (values.shape[0], values.shape[2]) != features.shape:
        raise OodgridError(f"{where}: local features of shape {values.shape} do not fit features of {features.shape}")
    if bad := sum(not np.isfinite(row).all() for row in values):
        raise OodgridError(
            f"{where}: the local features of {bad:,} of {counted(len(values), 'sample')} are NaN or infinite"
        )
    return values


def stamps(values: Any, count: int, where: str) -> np.ndarray:
    """Return sizes and times of change, shape (N, 2), int64.

    Raises:
        OodgridError: They are of another shape or type.
    """
    values = np.asarray(values)
    if values.dtype != np.int64 or values.shape != (count, 2):
        raise OodgridError(
            f"{where}: stamps are {values.dtype} of shape {values.shape}: they must be int64, (samples, 2)"
        )
    return values


def is_normalised(values: np.ndarray) -> bool:
    """Return whether rows, shape (..., D), have unit norm."""
    norms = np.sqrt(np.einsum("...d,...d->...", values, values, dtype=np.float64))
    return bool(np.all(np.abs(norms - 1) < UNIT_NORM))


def normalised(values: np.ndarray, original: dict[str, Any]) -> bool:
    """Return whether features are normalised: what their file says of them, or else what their norms say."""
    recorded = original.get("normalised")
    return recorded if isinstance(recorded, bool) else is_normalised(values)


def joined(parts: Sequence[np.ndarray], where: str) -> np.ndarray:
    """Return parts, each of shape (n, D), one after another.

    Raises:
        OodgridError: They differ in D, or one has another number of axes.
    """
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) != 1:
        differing = ", ".join(sorted(map(str, shapes)))
        raise OodgridError(f"{where}: parts differ in dimensions, {differing}: they come from different encoders")
    return np.concatenate(parts) if len(parts) > 1 else parts[0]
