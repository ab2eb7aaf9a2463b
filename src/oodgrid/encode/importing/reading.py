"""Labels as other people write them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from oodgrid.backbones.array_files import load_array
from oodgrid.encode.lines import read_lines
from oodgrid.encode.sources.image_set import label_text
from oodgrid.errors import OodgridError

LABEL_COLUMNS = {"label", "labels"}


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
        reason = str(error)[:100]
        raise OodgridError(f"{file}: {reason}: one whole number a line is expected, the index of the class") from error


def _label_column(lines: list[str], file: Path) -> list[str]:
    rows = [row for row in csv.reader(lines) if row]
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    place = next((column for column, name in enumerate(header) if name in LABEL_COLUMNS), None)
    if place is None and any(len(row) > 1 for row in rows):
        raise OodgridError(f"{file} has several columns: name the one of the labels 'label' in its first line")
    column, body = (0, rows) if place is None else (place, rows[1:])
    return ["".join(row[column : column + 1]) for row in body]
