"""Images that are files: in a folder a class, or named by a list."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from oodgrid.config import ListFile, expand
from oodgrid.encode.sources.image_set import (
    SUFFIXES,
    ImageSet,
    classes_by_folder,
    classes_by_value,
    existing,
    file_stamp,
    is_image,
)
from oodgrid.errors import OodgridError, unknown
from oodgrid.store import frames


def folder(root: Path) -> ImageSet:
    """Return the images below a folder, by the folder in which each lies.

    Raises:
        OodgridError: There is no such folder, or one in it cannot be read.
    """
    if not root.is_dir():
        raise OodgridError(f"folder {root} does not exist: mend the path in the config")
    paths = sorted(filter(is_image, (path.relative_to(root).as_posix() for path in _files_below(root))))
    labels, classnames = classes_by_folder(paths)
    return _files(root, paths, labels, classnames, str(root))


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
    return _files(root, paths, labels[list(rows)], classnames, str(file))


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


def _files(root: Path, paths: list[str], labels: np.ndarray, classnames: list[str] | None, where: str) -> ImageSet:
    def read(row: int) -> bytes:
        try:
            return (root / paths[row]).read_bytes()
        except OSError as error:
            raise OodgridError(f"{where}: {paths[row]} cannot be read: {error.strerror}") from error

    return ImageSet(paths, labels, classnames, read, lambda row: file_stamp(root / paths[row]), where)


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
    table = frames.read_parquet(file)[0] if file.suffix == ".parquet" else frames.read_csv(file, infer_schema=False)
    wanted = {"path": source.path, "label": source.label, **({"split": source.split} if source.split else {})}
    for name, column in wanted.items():
        if column not in table.columns and (name, column) != ("label", "label"):  # that one is only looked for
            raise unknown(f"column of {file}", column, table.columns)
    return {
        name: table[column].to_list() if column in table.columns else [None] * len(table)
        for name, column in wanted.items()
    }
