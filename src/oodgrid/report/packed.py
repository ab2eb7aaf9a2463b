"""A table packed for the page: columns of small whole numbers, gzipped, as text that no markup can break.

The text is base64 of gzip of: the length of the header (4 bytes, little endian), the header (JSON), and the columns,
one after another. `web/packed.js` reads it. Words are codes into a list of their own; numbers of [-1, 1] are kept to
.0001, which is as tables print them in percent. Ninety thousand rows of thirty numbers take about three megabytes.
"""

from __future__ import annotations

import gzip
import json
import zlib
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

STEPS = 10_000  # of a fraction: a number x is kept as round(x * STEPS) + STEPS
MISSING = 65_535  # the code of a number that is not there
WIDTHS: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32}


def pack(frame: pl.DataFrame) -> str:
    """Return a table as text for the page.

    Args:
        frame: Columns of words, whole numbers, truth values, numbers, or lists of bytes of one length.
            Float64 of [-1, 1] is taken for a metric; Float32, as of scores, is kept as it is.
    """
    columns: list[dict[str, Any]] = []
    parts: list[bytes] = []
    codes: dict[str, NDArray] = {}  # of fractions, by name: others may be kept as the difference to them
    for series in frame:
        about: dict[str, Any]
        if series.dtype == pl.List(pl.UInt8):
            width = len(series[0]) if len(series) else 0
            about, data = {"kind": "bytes", "width": width}, series.explode(empty_as_null=False).to_numpy().tobytes()
        elif not series.dtype.is_float():
            about, data = _words(series)
        elif series.dtype == pl.Float64 and _is_fraction(series):
            codes[series.name] = _codes(series)
            about, data = _fractions(series.name, codes)
        else:
            about, data = {"kind": "number"}, series.cast(pl.Float32).fill_null(float("nan")).to_numpy().tobytes()
        columns.append({"name": series.name, **about})
        parts.append(data)
    header = json.dumps({"rows": len(frame), "columns": columns}, separators=(",", ":")).encode()
    packed = gzip.compress(b"".join([len(header).to_bytes(4, "little"), header, *parts]), 9, mtime=0)
    return b64encode(packed).decode()


def _words(series: pl.Series) -> tuple[dict[str, Any], bytes]:
    values = series.unique(maintain_order=True).to_list()
    width = next(width for width in WIDTHS if len(values) <= 256**width)
    place = {value: code for code, value in enumerate(values)}
    codes = np.fromiter((place[value] for value in series), WIDTHS[width], len(series))
    return {"kind": "words", "values": values, "width": width}, _planes(codes)


def _is_fraction(series: pl.Series) -> bool:
    present = series.drop_nulls()
    return bool(present.is_between(-1, 1).all()) and not present.is_nan().any()


def _codes(series: pl.Series) -> NDArray[np.uint16]:
    codes = (series * STEPS).round().cast(pl.Int32) + STEPS
    return codes.fill_null(MISSING).to_numpy().astype(np.uint16)


def _fractions(name: str, codes: dict[str, NDArray]) -> tuple[dict[str, Any], bytes]:
    """Return the codes of a column, or their difference to the column whose name begins its own if that is smaller."""
    best = {"kind": "fraction"}, _planes(codes[name])
    base = max((other for other in codes if name.startswith(f"{other}_")), key=len, default=None)
    if base is not None:
        relative = _planes(codes[name] - codes[base])  # modulo 65536
        if len(zlib.compress(relative, 1)) < len(zlib.compress(best[1], 1)):
            return {"kind": "fraction", "base": base}, relative
    return best


def _planes(codes: NDArray) -> bytes:
    """Return all lowest bytes, then all second ones, and so on: gzip finds more in them."""
    return codes.astype(codes.dtype.newbyteorder("<")).view(np.uint8).reshape(-1, codes.itemsize).T.tobytes()


def steps_of_roc(fpr: Sequence[float], tpr: Sequence[float], points: int) -> list[int]:
    """Return an ROC curve as one byte a step: which share of the step, of 255, goes up rather than right.

    Steps are equal in FPR + TPR, from (0, 0) to (1, 1), so that curves that hug an axis are as exact as others. What
    one step is rounded by, the next one makes good.

    Args:
        fpr: Ascending, from 0 to 1.
        tpr: Ascending, at the same points.
        points: The number of points wanted, with both ends.
    """
    along = np.add(fpr, tpr)
    unit = 2 / (points - 1) / 255
    kept, first = np.unique(along, return_index=True)
    height = np.interp(np.linspace(0, 2, points), kept, np.asarray(tpr)[first])
    whole = np.floor(height / unit + 0.4999)  # short of one half, where floats would fall to this side and to that
    return np.clip(np.diff(whole), 0, 255).astype(int).tolist()


def heights(first: Sequence[float], second: Sequence[float], bins: int) -> tuple[list[int], list[int]]:
    """Return two densities over the same bins as bytes, 255 the highest, in fewer bins.

    Args:
        first: Densities over equal bins.
        second: The same.
        bins: How many are wanted: a divisor of how many there are, else those there are are kept.
    """
    both = np.asarray([first, second], float)
    if both.shape[1] % bins == 0:
        both = both.reshape(2, bins, -1).mean(axis=2)
    scaled = np.rint(both / (both.max() or 1) * 255).astype(int)
    return scaled[0].tolist(), scaled[1].tolist()
