"""Images that a list names: a table, a text with `path label` a line, or a file of CoOp's splits."""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from oodgrid.config import SPLITS, ListFile, expand
from oodgrid.counts import counted
from oodgrid.encode.sources.files import reading
from oodgrid.encode.sources.image_set import ImageSet, classes_by_value, existing, whole_labels
from oodgrid.encode.sources.layout import split_named
from oodgrid.encode.sources.passing_over import SUFFIXES, UNREADABLE
from oodgrid.errors import OodgridError, unknown
from oodgrid.store import frames

if TYPE_CHECKING:
    import polars as pl

# `path label` or a path alone: a path ends in the suffix of an image, whatever spaces are in it or in the label
LINE = re.compile(rf"(.*(?:{'|'.join(map(re.escape, sorted(SUFFIXES | UNREADABLE)))}))(?:\s+(.+))?", re.IGNORECASE)
SEPARATED = re.compile(rf"({'|'.join(map(re.escape, sorted(SUFFIXES)))})[\"']?\s*([,;|:])", re.IGNORECASE)


@dataclass
class Table:
    """The content of a list, one entry per image."""

    paths: list[str]
    labels: list[Any]
    splits: list[str] | None = None
    remarks: list[str] = field(default_factory=list)


def listed(source: ListFile) -> ImageSet:
    """Return the images that a list names, with their splits where it says them.

    Raises:
        OodgridError: The list is missing or in none of the formats, or names a split or a path that cannot be meant.
    """
    file = existing(expand(source.file), "list")
    root = expand(source.root) if source.root else file.parent
    if source.is_coop:
        return _coop(file, root, source.own_splits)
    table = _read_text(file) if file.suffix.lower() == ".txt" else _read_table(file, source)
    if "" in table.paths:
        raise OodgridError(f"list {file} has a line without a path: fill it in, or take the line out")
    labels, classnames = classes_by_value(table.labels, str(file))
    return _images(file, root, table, labels, classnames)


def _images(file: Path, root: Path, table: Table, labels: np.ndarray, classnames: list[str] | None) -> ImageSet:
    paths = _slashes(file, root, table)
    _refuse_twice(file, paths, table.splits)
    read, stamp = reading(root, paths, str(file))
    remarks = tuple(table.remarks)
    return ImageSet(paths, labels, classnames, read, stamp, str(file), splits=table.splits, remarks=remarks)


def _slashes(file: Path, root: Path, table: Table) -> list[str]:
    """Return the paths with / between folders: lists that were written on Windows have another sign."""
    strange = [path for path in table.paths if "\\" in path]
    if not strange or (root / strange[0]).exists():
        return table.paths
    if any(PureWindowsPath(path).anchor for path in strange):
        raise OodgridError(
            f"list {file} names {strange[0]}, a place on a Windows machine: write paths from the folder of the list, "
            "or from root:, with / between folders"
        )
    table.remarks.append(
        f"{counted(len(strange), 'path is', 'paths are')} written with \\ between folders, and read as with /"
    )
    return [path.replace("\\", "/") for path in table.paths]


def _refuse_twice(file: Path, paths: list[str], splits: list[str] | None) -> None:
    """Refuse an image that is listed twice: it could be in the training and in the test split, listed or drawn."""
    seen: dict[str, str] = {}
    for path, split in zip(map(posixpath.normpath, paths), splits or [""] * len(paths), strict=True):
        if path not in seen:
            seen[path] = split
        elif seen[path] != split:
            raise OodgridError(f"list {file} names {path} in the splits {seen[path]} and {split}: leave it in one")
        else:
            raise OodgridError(f"list {file} names {path} twice: leave one line of it")


# ------------------------------------------------------------------------------------------------------- texts


def _read_text(file: Path) -> Table:
    try:
        # utf-8-sig: Windows begins a text with a mark; only line ends, and not the rarer separators of splitlines
        lines = re.split(r"\r\n|\r|\n", file.read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise OodgridError(f"list {file} cannot be read as UTF-8 text: {error}") from error
    rows = [_path_and_label(file, number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    return Table([path for path, _ in rows], [label for _, label in rows])


def _path_and_label(file: Path, number: int, line: str) -> tuple[str, str | None]:
    """Return the path of a line and its label, None where it has none."""
    if separated := SEPARATED.search(line):
        raise OodgridError(
            f"list {file}, line {number}: {line[:60]!r} has {separated[2]!r} behind the path: a .txt has `path label` "
            "a line, with a space; a table with commas is a .csv whose first line names its columns, path,label"
        )
    path, *labels = line.rsplit(maxsplit=1)
    label = labels[0] if labels else None
    if match := LINE.fullmatch(line):
        path, label = match[1], match[2]
    if label and re.fullmatch(r"-?\d+(\s+-?\d+)+", label):
        raise OodgridError(
            f"list {file}, line {number}: {label!r} behind the path are several numbers: leave that of the class"
        )
    return path, label


# ------------------------------------------------------------------------------------------------------ tables


def _read_table(file: Path, source: ListFile) -> Table:
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        table = frames.read_parquet(file)[0]
    else:
        table = frames.read_csv(file, infer_schema=False, separator="\t" if suffix == ".tsv" else ",")
    _refuse_unread_splits(file, source, table)
    column_of = {"path": source.path, "label": source.label, **({"split": source.split} if source.split else {})}
    for name, column in column_of.items():
        if column not in table.columns and (name, column) != ("label", "label"):  # that one is only looked for
            raise _no_column(file, column, table.columns)
    columns = {
        name: table[column].to_list() if column in table.columns else [None] * len(table)
        for name, column in column_of.items()
    }
    paths = ["" if path is None else str(path) for path in columns["path"]]
    splits = _splits(file, source.split, columns["split"], source.own_splits) if source.split else None
    return Table(paths, columns["label"], splits)


def _refuse_unread_splits(file: Path, source: ListFile, table: pl.DataFrame) -> None:
    """Refuse a column of splits of which the configuration says nothing: its training images would be tested."""
    if not source.says_nothing_of_splits:
        return
    for column in set(table.columns) - {source.path, source.label}:
        values = {str(value) for value in table[column].unique().to_list()}
        splits = {split_named(value) for value in values}
        if None not in splits and (len(splits) > 1 or column.strip().casefold() == "split"):
            there = ", ".join(split for split in SPLITS if split in splits)
            raise OodgridError(
                f"list {file}: the column {column} says {' and '.join(sorted(values))}: write split: {column} and "
                f"splits: [{there}] under list, or split: null where all images are of the test split"
            )


def _no_column(file: Path, column: str, there: list[str]) -> OodgridError:
    if len(there) == 1 and (sign := next((sign for sign in (";", "\t", "|") if sign in there[0]), None)):
        return OodgridError(f"list {file} has {sign!r} between its columns: a .csv has commas, a .tsv tabs")
    if len(there) < 3 and any(LINE.fullmatch(name) for name in there):
        return OodgridError(f"list {file} begins with an image: its first line is to name the columns, as path,label")
    return unknown(f"column of {file}", column, there)


def _splits(file: Path, column: str, values: list[Any], expected: tuple[str, ...]) -> list[str]:
    """Return train, val or test for what a column says, which has one word for each.

    Raises:
        OodgridError: A word is none of theirs, two are for one split, or a split is not there.
    """
    meanings = {value: split_named(str(value)) for value in dict.fromkeys(values)}
    words = {value: split for value, split in meanings.items() if split}
    if strange := [value for value in meanings if value not in words]:
        count = sum(value in strange for value in values)
        raise OodgridError(
            f"list {file}: the column {column} says {strange[0]!r} ({counted(count, 'row is', 'rows are')} "
            "neither train, val nor test): "
            "write these, or take the rows out"
        )
    for split in SPLITS:
        spelt = sorted({str(value).strip().casefold() for value, meant in words.items() if meant == split})
        if len(spelt) > 1:
            raise OodgridError(f"list {file}: {' and '.join(spelt)} in the column {column} both mean {split}: use one")
    _check_splits(file, set(words.values()), expected)
    return [words[value] for value in values]


def _check_splits(file: Path, splits: set[str | None], expected: tuple[str, ...]) -> None:
    there = [split for split in SPLITS if split in splits]
    if there != [*expected]:
        raise OodgridError(
            f"list {file} has images for {', '.join(there) or 'no split'}, and {', '.join(expected)} are wanted: write "
            f"splits: [{', '.join(there)}] under list" + (", and give it a test split" * ("test" not in there))
        )


# -------------------------------------------------------------------------------------------------------- CoOp


def _coop(file: Path, root: Path, expected: tuple[str, ...]) -> ImageSet:
    """Read a file of splits as CoOp's `split_zhou_*.json`: of each split a list of [path, label, class name].

    Format: Zhou, CoOp (github.com/KaiyangZhou/CoOp), datasets/oxford_pets.py, `read_split`.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise OodgridError(f"list {file} cannot be read as JSON: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise OodgridError(f"list {file} cannot be read as JSON: {str(error)[:200]}") from error
    if not isinstance(content, dict) or not content or not all(_is_coop_split(rows) for rows in content.values()):
        raise OodgridError(
            f"list {file} is no file of splits as CoOp's, {{train: [[path, label, class name], …], val: …, test: …}}: "
            "give a .csv, .parquet or .txt"
        )
    if strange := content.keys() - set(SPLITS):
        raise OodgridError(f"list {file} has the split {min(strange)!r}: it must be train, val or test")
    rows = [(split, *row) for split in SPLITS for row in content.get(split, ())]
    _check_splits(file, {split for split, *_ in rows}, expected)
    labels = whole_labels([label for _, _, label, _ in rows], str(file))
    classnames = _coop_names(file, labels, [name for *_, name in rows])
    table = Table([path for _, path, _, _ in rows], [], [split for split, *_ in rows])
    return _images(file, root, table, labels, classnames)


def _is_coop_split(rows: Any) -> bool:
    return isinstance(rows, list) and all(
        isinstance(row, list) and len(row) == 3 and isinstance(row[0], str) and row[0]
        and type(row[1]) is int and row[1] >= 0 and isinstance(row[2], str)
        for row in rows
    )  # fmt: skip


def _coop_names(file: Path, labels: np.ndarray, names: list[str]) -> list[str]:
    """Return the names of the classes 0 to K-1, one per class."""
    pairs = sorted(set(zip(labels.tolist(), names, strict=True)))
    for (label, name), (other, wrong) in pairwise(pairs):
        if label == other:
            raise OodgridError(f"list {file} names class {label} both {name} and {wrong}: mend it")
    if [label for label, _ in pairs] != list(range(len(pairs))):
        raise OodgridError(
            f"list {file}: labels must run from 0 to the number of classes less one, and "
            f"{counted(len(pairs), 'class has', 'classes have')} "
            f"labels up to {pairs[-1][0]}: number them anew"
        )
    return [name for _, name in pairs]
