"""One column of a file of scores: which one it is, that it holds finite numbers, what to say of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oodgrid.counts import counted, plural
from oodgrid.errors import OodgridError, unknown

INDEX_NAMES = ("", "Unnamed: 0", "__index_level_0__")  # what pandas calls the column of its row names


class Column(NamedTuple):
    """The scores of one set as a file has them.

    Attributes:
        scores: Finite numbers, shape (N,).
        name: Name of the column; "" where the file gives none.
        remark: What was passed over or understood on the way; "" where nothing was.
    """

    scores: NDArray[np.float64]
    name: str = ""
    remark: str = ""

    def said(self, path: str | Path) -> str:
        """Return the line that says what was read from a file."""
        column = f" of column '{self.name}'" if self.name else ""
        return f"read {counted(len(self.scores), 'row')}{column} from {path}{self.remark and f' ({self.remark})'}"


def choose(names: list[str], column: str | None, path: Path) -> int:
    """Return the position of the column to read.

    Args:
        names: Names of the columns; "" where the file gives none.
        column: The one that is wanted; needed where there are several, ignored where the only one has no name.
        path: The file, for the message.

    Raises:
        OodgridError: It is left open, unknown, or there twice.
    """
    if len(names) == 1 and (column is None or not names[0]):
        return 0
    known = [name for name in names if name]
    if column is None:
        index = " (the first looks like an index)" if names[0] in INDEX_NAMES else ""
        commas = "; or say --decimal , where these are decimal commas" if len(names) == 2 and not index else ""
        raise OodgridError(
            f"{path}: has {counted(len(names), 'column')}{index}, choose one with --score: {', '.join(known)}{commas}"
        )
    if names.count(column) > 1:
        raise OodgridError(f"{path}: has {counted(names.count(column), 'column')} named '{column}'; rename all but one")
    if column not in known:
        raise OodgridError(f"{path}: {unknown('column', column, known)}")
    return names.index(column)


def finite(scores: NDArray[np.float64], path: Path, unit: str, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the scores (N,) if there are any and all are finite.

    Args:
        scores: Numbers, NaN where one is missing, shape (N,).
        path: The file, for the message.
        unit: What the file counts: "line", "row" or "index".
        places: Where each score stands, shape (N,).

    Raises:
        OodgridError: There is none, or one is missing, NaN or infinite; the message names the first.
    """
    if scores.size == 0:
        raise OodgridError(f"{path}: holds no scores")
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        where = f"the first at {unit} {places[bad[0]]}"
        raise OodgridError(
            f"{path}: {bad.size:,} of {counted(scores.size, 'score')} {plural(bad.size, 'is', 'are')} missing, "
            f"NaN or infinite, {where}"
        )
    return scores
