"""Images that are files: in a folder a class, or named by a list."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from oodgrid.config import ListFile, expand
from oodgrid.encode.sources.image_set import ImageSet, classes_by_value, existing, file_stamp, of_layout
from oodgrid.encode.sources.layout import Rule, arrange
from oodgrid.encode.sources.passing_over import SUFFIXES
from oodgrid.encode.sources.reading import read_image
from oodgrid.errors import OodgridError, unknown


def folder(root: Path, rule: Rule) -> ImageSet:
    """Return the images below a folder, by the folder in which each lies.

    Raises:
        OodgridError: There is no such folder, one in it cannot be read, or its layout could mean two things.
    """
    if not root.is_dir():
        raise OodgridError(f"folder {root} does not exist: mend the path in the config")
    layout = arrange((path.relative_to(root).as_posix() for path in _files_below(root)), str(root), rule)
    read, stamp = _reading(root, layout.paths, str(root))
    return of_layout(layout, read, stamp, str(root))


def listed(source: ListFile, split: str) -> ImageSet:
    """Return the images that a list names, of one split where it has a column of splits.

    A text list has one `path label` a line, split at the last white space; a line may be a path alone.

    Raises:
        OodgridError: The list is missing or lacks a column.
    """
    file = existing(expand(source.file), "list")
    root = expand(source.root) if source.root else file.parent
    table = _read_text(file) if file.suffix == ".txt" else _read_table(file, source)
    rows = range(len(table["path"]))
    if source.split:
        rows = [row for row in rows if str(table["split"][row]) == split]
    if None in table["path"] or "" in table["path"]:
        raise OodgridError(f"list {file} has a line without a path: fill it in, or take the line out")
    # labels of the whole list, so that every split numbers the classes alike
    labels, classnames = classes_by_value(table["label"], str(file))
    paths = [str(table["path"][row]) for row in rows]
    return ImageSet(paths, labels[list(rows)], classnames, *_reading(root, paths, str(file)), str(file))


def _files_below(root: Path) -> Iterator[Path]:
    # os.walk and not rglob: class folders are often links into a larger set
    for place, folders, names in os.walk(root, onerror=_unreadable, followlinks=True):
        folders[:] = [name for name in folders if not _leads_back(Path(place, name))]
        yield from (Path(place, name) for name in names)


def _unreadable(error: OSError) -> None:
    raise OodgridError(f"folder {error.filename} cannot be read: {error.strerror}") from error


def _leads_back(folder: Path) -> bool:
    """Say whether a folder is a link to one in which it lies, so that following it would never end."""
    return folder.is_symlink() and any(folder.samefile(outer) for outer in folder.parents)


def _reading(
    root: Path, paths: list[str], where: str
) -> tuple[Callable[[int], bytes], Callable[[int], tuple[int, int]]]:
    """Return how a row is read, and how its size and time are found."""

    def read(row: int) -> bytes:
        return read_image(root / paths[row], f"{where}: {paths[row]}")

    return read, lambda row: file_stamp(root / paths[row])


def _read_text(file: Path) -> dict[str, list[Any]]:
    try:
        # utf-8-sig: Windows begins a text with a mark; split and not splitlines: names may hold rarer separators
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise OodgridError(f"list {file} cannot be read as UTF-8 text: {error}") from error
    parts = [[line] if _is_path(line) else line.rsplit(maxsplit=1) for line in lines]
    return {
        "path": [part[0] for part in parts],
        "label": [part[1] if len(part) > 1 else None for part in parts],
    }


def _is_path(line: str) -> bool:
    return PurePosixPath(line).suffix.lower() in SUFFIXES


def _read_table(file: Path, source: ListFile) -> dict[str, list[Any]]:
    import polars as pl

    try:
        table = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise OodgridError(f"list {file} cannot be read: {str(error).splitlines()[0]}") from error
    wanted = {"path": source.path, "label": source.label, **({"split": source.split} if source.split else {})}
    for name, column in wanted.items():
        if column not in table.columns and (name, column) != ("label", "label"):  # that one is only looked for
            raise unknown(f"column of {file}", column, table.columns)
    return {
        name: table[column].to_list() if column in table.columns else [None] * len(table)
        for name, column in wanted.items()
    }
