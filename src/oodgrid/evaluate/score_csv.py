"""One column of numbers from a .csv or .csv.gz file that anybody may have written.

Nothing of its dialect is guessed. A first line that may be names or scores, decimal commas, other separators and
rows of another length are refused with the option that settles them. Lines before the table that begin with # are
passed over, and said.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.evaluate.columns import Column, choose, finite

LARGEST = 1 << 31  # bytes of text, unpacked: about 100 million scores
SEPARATORS = {"tab": "\t", r"\t": "\t", "space": " "}
WORDS_FOR_NONE = {"na", "n/a", "nan", "null", "none", "nil", "missing", "undefined", "inf", "infinity"}
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+", re.ASCII)

Rows = list[tuple[int, list[str]]]  # the line on which each row ends, and its cells


@dataclass(frozen=True)
class Dialect:
    """How a file writes its numbers; what is None is read off the file where it leaves no doubt.

    Attributes:
        header: Whether the first line holds names of columns.
        decimal: "." (the default) or ",".
        separator: Between cells: a character, "tab" or "space"; by default a comma, or a semicolon with decimal commas.

    Raises:
        OodgridError: Decimal or separator is no such sign.
    """

    header: bool | None = None
    decimal: str | None = None
    separator: str | None = None

    def __post_init__(self) -> None:
        if self.decimal not in (None, ".", ","):
            raise OodgridError(f"--decimal {self.decimal!r}: write --decimal . or --decimal ,")
        sign = self.delimiter
        if len(sign) != 1 or (not sign.isprintable() and sign != "\t") or sign.isalnum() or sign in '".+-':
            raise OodgridError(
                f"--separator {self.separator!r}: give one sign that no number has, as ';' or '|', or tab or space"
            )

    @property
    def delimiter(self) -> str:
        """The separator as one character."""
        default = ";" if self.decimal == "," else ","
        return default if self.separator is None else SEPARATORS.get(self.separator, self.separator)

    @property
    def given(self) -> bool:
        """Whether anything was said of the file."""
        return self != Dialect()


def read_csv(path: Path, column: str | None, dialect: Dialect) -> Column:
    """Read one column of a .csv or .csv.gz file.

    Args:
        path: The file.
        column: Its name; needed where there are several columns, ignored where the only one has no name.
        dialect: What is known of how the file is written.

    Raises:
        OodgridError: It is empty, no text, no table, in doubt, or holds anything but finite numbers; the message
            names the line.
        OSError, EOFError, zlib.error, csv.Error: It cannot be unpacked or taken apart.
    """
    text = _text(path)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    comments = next((number for number, line in enumerate(lines) if not line.lstrip().startswith("#")), len(lines))
    rows = _rows("\n".join(lines[comments:]), comments, dialect, path)
    if not rows:
        raise OodgridError(f"{path}: {'holds no scores' if comments else 'is empty'}")
    has_header = _has_header(rows, column, dialect, path)
    names = rows[0][1] if has_header else _unnamed(len(rows[0][1]))
    chosen = choose(names, column, path)
    cells = [(line, cells[chosen]) for line, cells in rows[int(has_header) :]]
    decimal, remark = _decimal([cell for _, cell in cells], dialect)
    scores = _numbers(cells, decimal, dialect, path)
    places = np.array([line for line, _ in cells], dtype=np.int64)
    remarks = [f"comment lines passed over: {comments}" if comments else "", remark]
    return Column(finite(scores, path, "line", places), names[chosen], "; ".join(filter(None, remarks)))


def _text(path: Path) -> str:
    """Return the file as text: UTF-8, or UTF-16 where its first bytes say so."""
    with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as file:
        raw = file.read(LARGEST + 1)  # to its end, where gzip compares length and checksum
    if len(raw) > LARGEST:
        raise OodgridError(f"{path}: holds more than {LARGEST >> 30} GiB of text: save the scores as .npy")
    try:
        text = raw.decode("utf-16" if raw[:2] in (BOM_UTF16_BE, BOM_UTF16_LE) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise OodgridError(f"{path}: is no text in UTF-8 (byte {error.start}): save it as UTF-8") from error
    if "\0" in text:
        raise OodgridError(f"{path}: holds NUL bytes, as no text in UTF-8 does: save it as UTF-8")
    return text


def _rows(text: str, offset: int, dialect: Dialect, path: Path) -> Rows:
    """Return the rows, each of as many cells as the first; blank lines are empty rows, but at the end none."""
    reader = csv.reader(io.StringIO(text), delimiter=dialect.delimiter, skipinitialspace=True, strict=True)
    rows = [(reader.line_num + offset, [cell.strip(" \t") for cell in row]) for row in reader]
    while rows and not rows[-1][1]:
        rows.pop()
    first = next((cells for _, cells in rows if cells), [])
    for line, cells in rows:
        if cells and len(cells) != len(first):
            mend = ""
            if dialect.delimiter == "," and dialect.decimal is None:
                mend = "; if its commas are decimal ones, say --decimal , (and --separator, if that is no semicolon)"
            raise OodgridError(
                f"{path}: line {line} has {counted(len(cells), 'cell')} and the first row {len(first)}{mend}"
            )
    return [(line, cells or [""] * len(first)) for line, cells in rows]


def _unnamed(count: int) -> list[str]:
    """Return names of columns without a header line, by which one of several can be chosen."""
    return [f"column_{number}" for number in range(1, count + 1)] if count > 1 else [""]


def _has_header(rows: Rows, column: str | None, dialect: Dialect, path: Path) -> bool:
    """Return whether the first row holds names.

    It does where a cell is a word, or the first alone is empty, as pandas writes the head of its index. Numbers are
    scores, unless pandas may have counted its columns (0, 1, …), or one whole number stands above fractions.

    Raises:
        OodgridError: It may be either.
    """
    line, first = rows[0]
    if dialect.header is not None:
        return dialect.header
    if column in first or any(map(_is_name, first)) or (len(first) > 1 and not first[0] and all(first[1:])):
        return True
    others = [cells[0] for _, cells in rows[1:]]
    alone = len(first) == 1 and _WHOLE.fullmatch(first[0]) and others and not any(map(_WHOLE.fullmatch, others))
    counted = first == [str(number) for number in range(len(first))]
    if alone or counted or not all(_is_number(cell, dialect) for cell in first if cell):
        shown = ", ".join(first)[:40]
        raise OodgridError(f"{path}: line {line}, {shown!r}, may be names or scores: say --header or --no-header")
    return False


def _is_name(cell: str) -> bool:
    return bool(cell) and (cell[0].isalpha() or cell[0] == "_") and cell.lower() not in WORDS_FOR_NONE


def _is_number(cell: str, dialect: Dialect) -> bool:
    return any(_to_float(cell, decimal) is not None for decimal in {".", dialect.decimal or "."})


def _to_float(cell: str, decimal: str) -> float | None:
    """Return the number that a cell holds, None if it is none. Python's float takes 1_000 and ١ for numbers too."""
    if decimal == ",":
        cell = "" if "." in cell else cell.replace(",", ".")
    return float(cell) if _NUMBER.fullmatch(cell) else None


def _decimal(cells: list[str], dialect: Dialect) -> tuple[str, str]:
    """Return the decimal sign of a column, and a remark where it is another than was said.

    One `--decimal ,` is for two files, of which one may have decimal points: where it has no comma, and a number
    whose point can be no thousands separator, they are points.
    """
    if dialect.decimal != "," or any("," in cell for cell in cells):
        return dialect.decimal or ".", ""
    fractions = [cell for cell in cells if "." in cell and not _THOUSANDS.fullmatch(cell)]
    return (".", "with decimal points: it has no comma") if fractions else (",", "")


def _numbers(cells: list[tuple[int, str]], decimal: str, dialect: Dialect, path: Path) -> NDArray[np.float64]:
    """Return the cells as numbers, shape (N,), NaN where one is empty."""
    numbers = np.full(len(cells), np.nan)
    for place, (line, cell) in enumerate(cells):
        if cell:
            number = _to_float(cell, decimal)
            if number is None:
                raise OodgridError(
                    f"{path}: line {line} holds {cell[:40]!r}, which is no number{_mend(cell, decimal, dialect)}"
                )
            numbers[place] = number
    return numbers


def _mend(cell: str, decimal: str, dialect: Dialect) -> str:
    """Return what may be done about a cell that is no number, beginning with a colon; "" where nothing is known."""
    other = next((sign for sign in ";\t|" if sign in cell), None)
    if other:
        comma = " --decimal ," if "," in cell and dialect.decimal is None else ""
        return f": if cells end there, say --separator {'tab' if other == chr(9) else repr(other)}{comma}"
    if decimal == "." and _to_float(cell, ",") is not None:
        return ": say --decimal , if that is a decimal comma; take it out if it separates thousands"
    if re.fullmatch(r"[+-]?\d{1,3}(?:[.,'\s]\d{3})+(?:[.,]\d+)?", cell):
        return ": take out what separates thousands"
    return ""
