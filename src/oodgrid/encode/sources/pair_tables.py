"""Pairs of an image and a text that a table names: a row for each, with a label and a kind where it has them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from oodgrid.config import PairTable, expand
from oodgrid.config.pairs import is_without_class, plain_kind
from oodgrid.counts import counted, plural, some
from oodgrid.encode.sources.archives import open_members, refuse_twice
from oodgrid.encode.sources.files import reading
from oodgrid.encode.sources.image_set import ImageSet, classes_by_value, file_stamp, label_text
from oodgrid.encode.sources.text_tables import SHOWN, Table, read_files
from oodgrid.errors import OodgridError, printable, unknown

PLACE = "#"  # between the path of an image and the row of the table, in the name of a pair
Reader = tuple[Callable[[int], bytes], Callable[[int], tuple[int, int]]]


def open_pairs(source: PairTable) -> ImageSet:
    """Return the pairs of a table, of all splits that it has.

    Raises:
        OodgridError: A file is missing or in no such format, a column is not there, or a text or path is none.
    """
    table = read_files(source)
    where = ", ".join(source.files)
    kinds = _kinds(source, table, where)
    images = [str(row.values[source.image]) for row in table.rows]
    labels = [None if is_without_class(kind) else label for kind, label in zip(kinds, table.labels, strict=True)]
    if dropped := sum(
        is_without_class(kind) and bool(label_text(label, where))
        for kind, label in zip(kinds, table.labels, strict=True)
    ):
        table.remarks.append(f"{counted(dropped, 'pair')} of a kind that is out-of-distribution by itself: no class")
    numbers, names = classes_by_value(labels, where)
    root = _root(source)
    images, remarks = _slashes(root, images)
    read, stamp = _of_archive(root, images) if root.is_file() else reading(root, images, str(root))
    return ImageSet(
        [f"{printable(image)}{PLACE}{place}" for image, place in zip(images, _places(table), strict=True)],
        numbers,
        names,
        read,
        stamp,
        str(root),
        table.splits,
        remarks=(*table.remarks, *remarks),
        captions=table.texts,
        kinds=kinds if any(kinds) else None,
    )


def with_copies(opened: dict[str, ImageSet]) -> dict[str, ImageSet]:
    """Return the splits of a dataset of pairs with remarks on pairs that stand in them more than once.

    An image may have several texts; one whose texts are in two splits is said, for its pairs are alike.
    """
    first: dict[tuple[str, str], str] = {}
    of_image: defaultdict[str, set[str]] = defaultdict(set)
    with_remarks = {}
    for split, pairs in opened.items():
        images = [name.rpartition(PLACE)[0] for name in pairs.paths]
        whole = list(zip(images, pairs.captions or (), strict=True))
        counts = Counter(whole)
        remarks = []
        if more := len(whole) - len(counts):
            copy = next(pair for pair, count in counts.items() if count > 1)
            remarks.append(f"{counted(more, f'{split} pair repeats', f'{split} pairs repeat')} another, as {copy[0]}")
        if copies := [pair for pair in counts if pair in first]:
            are = plural(len(copies), "pair is", "pairs are")
            remarks.append(f"{len(copies):,} {split} {are} of another split too, as {copies[0][0]}")
        elif shared := sorted({image for image in images if of_image[image] - {split}}):
            have = plural(len(shared), "image of it has", "images of it have")
            remarks.append(f"{split}: {len(shared):,} {have} texts in another split too, as {shared[0]}")
        first |= {pair: split for pair in counts if pair not in first}
        for image in images:
            of_image[image].add(split)
        with_remarks[split] = replace(pairs, remarks=(*pairs.remarks, *remarks))
    return with_remarks


def _places(table: Table) -> list[str]:
    """Return file and line of each row, as `pairs.csv:12`."""
    return [
        name.removesuffix(f" {printable(text, SHOWN)}") for name, text in zip(table.names, table.texts, strict=True)
    ]


def _kinds(source: PairTable, table: Table, where: str) -> list[str]:
    """Return the kind of each pair, "" where none is said, and leave pairs of the kinds asked for in the table."""
    kinds = [_kind(row.values.get(source.kind)) for row in table.rows]
    there = Counter(kinds)
    if source.kind not in (None, "kind") and not any(source.kind in row.values for row in table.rows):
        columns = {str(name): name for row in table.rows for name in row.values}
        raise unknown(f"column of kinds of {where}", str(source.kind), columns)
    if source.kinds is None:
        if len(there) > 1:
            listed = ", ".join(f"{count:,} {kind or 'without a kind'}" for kind, count in there.most_common(5))
            table.remarks.append(f"pairs of several kinds are taken ({listed}): kinds: [aligned] takes some alone")
        return kinds
    known, wanted = set(map(plain_kind, there)), set(map(plain_kind, source.kinds))
    if strange := [kind for kind in source.kinds if plain_kind(kind) not in known]:
        has = some([kind or "(none)" for kind in there], 5)
        raise OodgridError(f"pairs of {where}: no pair is of the kind {strange[0]!r}; there are {has}: mend kinds:")
    rows = [row for row, kind in enumerate(kinds) if plain_kind(kind) in wanted]
    if others := len(kinds) - len(rows):
        table.remarks.append(f"passed over {counted(others, 'pair of another kind', 'pairs of other kinds')}")
    for name in ("names", "texts", "labels", "splits", "rows"):
        if (column := getattr(table, name)) is not None:
            setattr(table, name, [column[row] for row in rows])
    return [kinds[row] for row in rows]


def _kind(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _root(source: PairTable) -> Path:
    """Return where the images lie.

    Raises:
        OodgridError: It is not there.
    """
    root = expand(source.root) if source.root else expand(source.files[0]).parent
    if not root.exists():
        raise OodgridError(f"pairs: root {root} does not exist: mend the path in the config")
    return root


def _slashes(root: Path, images: list[str]) -> tuple[list[str], list[str]]:
    """Return the paths with / between folders, where Windows has another sign, and the remarks on it."""
    strange = [image for image in images if "\\" in image]
    if not strange or (root.is_dir() and (root / strange[0]).exists()):
        return images, []
    remark = f"{counted(len(strange), 'path is', 'paths are')} written with \\ between folders, and read as with /"
    return [image.replace("\\", "/") for image in images], [remark]


def _of_archive(path: Path, images: Sequence[str]) -> Reader:
    """Return how an image in an archive is read, and how its size and time are found."""
    members = open_members(path)
    refuse_twice(members, images, f"archive {path}")
    _, time = file_stamp(path)

    def read(row: int) -> bytes:
        if images[row] not in members.sizes:
            raise OodgridError(f"archive {path} holds no {printable(images[row])}, which the table of pairs names")
        return members.read(images[row])

    return read, lambda row: (members.sizes.get(images[row], -1), time)
