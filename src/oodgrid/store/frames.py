"""Tables of anybody, in and out: the one place where polars meets files.

Polars takes a name for a pattern ([ ] * ? { }), a home folder (~) or an address (s3://). So a file is read here, by its
own name and one handle, and polars is given its bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from oodgrid.errors import OodgridError, one_line
from oodgrid.services import silenced
from oodgrid.store.files import existing, no_memory, read_bytes

if TYPE_CHECKING:
    import polars as pl

LONE_CR = re.compile(rb'"[^"]*"|\r(?!\n)')  # outside of quotes: the end of a line, as old spreadsheets write it


def read_csv(path: Path, raw: bytes | None = None, **options: Any) -> pl.DataFrame:
    """Return the table in a file of separated values.

    Args:
        path: The file.
        raw: Its text, where that is not its bytes, as of a compressed file.
        options: Those of `polars.read_csv`.

    Raises:
        OodgridError: It is missing, no UTF-8 text, or no such table.
        MemoryError: It does not fit into the memory at hand.
    """
    import polars as pl

    raw = read_bytes(existing(path)) if raw is None else raw
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise OodgridError(
            f"{path} cannot be read: it is not UTF-8 text (byte {error.start}): save it as UTF-8"
        ) from error
    if b"\0" in raw:
        raise OodgridError(f"{path} is no text: it holds NUL characters. Save it as UTF-8 (and not as UTF-16)")
    if re.search(rb"\r(?!\n)", raw):
        raw = LONE_CR.sub(lambda match: match[0] if match[0] != b"\r" else b"\n", raw)
    return _guarded(path, lambda: pl.read_csv(raw, **options))


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return the table in a Parquet file, or some columns of it, and its metadata.

    Raises:
        OodgridError: It is missing or unreadable, or lacks a column.
        MemoryError: It does not fit into the memory at hand.
    """
    return parse_parquet(path, read_bytes(existing(path)), columns)


def parse_parquet(path: Path, raw: bytes, columns: Sequence[str] | None = None) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return what `read_parquet` does, of bytes that were read already."""
    import polars as pl

    def parse() -> tuple[pl.DataFrame, dict[str, str]]:
        table = pl.read_parquet(io.BytesIO(raw), columns=None if columns is None else list(columns))
        return table, pl.read_parquet_metadata(io.BytesIO(raw))

    return _guarded(path, parse)


def parquet_columns(path: Path) -> list[str]:
    """Return the names of the columns of a Parquet file.

    Raises:
        OodgridError: It is missing or unreadable.
    """
    import polars as pl

    raw = read_bytes(existing(path))
    return _guarded(path, lambda: list(pl.read_parquet_schema(io.BytesIO(raw))))


def scan_parquet(path: Path) -> pl.LazyFrame:
    """Return the table in a Parquet file, of which polars is to decode what it is asked for; that may fail later.

    Raises:
        OodgridError: It is missing or cannot be read.
    """
    import polars as pl

    return pl.scan_parquet(io.BytesIO(read_bytes(existing(path))))


def parquet_head(path: Path, file: BinaryIO) -> tuple[list[str], dict[str, str]]:
    """Return the names of the columns of an open Parquet file, and its metadata.

    Raises:
        OodgridError: It cannot be read.
    """
    import polars as pl

    return _guarded(path, lambda: (list(pl.read_parquet_schema(file)), pl.read_parquet_metadata(file)))


def parquet_rows(path: Path, file: BinaryIO, columns: Sequence[str], where: Mapping[str, Any]) -> pl.DataFrame:
    """Return some columns of the rows with some values of an open Parquet file, decoding not much more than those.

    Raises:
        OodgridError: It cannot be read, or lacks a column.
        MemoryError: They do not fit into the memory at hand.
    """
    import polars as pl

    conditions = [pl.col(name) == value for name, value in where.items()]
    return _guarded(path, lambda: pl.scan_parquet(file).filter(*conditions).select(columns).collect())


def write_parquet(path: Path, table: pl.DataFrame, **options: Any) -> None:
    """Write a table as Parquet; `options` are those of polars."""
    with path.open("wb") as file:
        table.write_parquet(file, **options)


def write_csv(path: Path, table: pl.DataFrame) -> None:
    """Write a table as separated values."""
    with path.open("wb") as file:
        table.write_csv(file)


def texts(names: Sequence[str]) -> list[str]:
    """Return names as a table can hold them: with hexadecimal numbers for bytes that are no UTF-8."""
    return [name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for name in names]


def _guarded(path: Path, parse: Callable[[], Any]) -> Any:
    import polars as pl

    try:
        with silenced():
            return parse()
    except MemoryError as error:
        raise no_memory(path) from error
    except (Exception, pl.exceptions.PanicException) as error:  # polars reports some damage as a Rust panic
        reason = one_line(error).split(" Consider setting ")[0]  # polars' own options are none of ours
        raise OodgridError(f"{path} cannot be read as a table: {reason}") from error
