"""Images that belong to no dataset: files, folders, archives and lists by their paths, or pictures in memory."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from oodgrid.config import ListFile
from oodgrid.encode.sources import archives, files
from oodgrid.encode.sources.image_set import UNKNOWN_STAMP, ImageSet, file_stamp
from oodgrid.encode.sources.layout import Rule
from oodgrid.encode.sources.lists import listed
from oodgrid.encode.sources.passing_over import SUFFIXES, printable, summary
from oodgrid.encode.sources.reading import read_image
from oodgrid.encode.sources.tars import is_tar, packed_by
from oodgrid.errors import OodgridError

LISTS = (".csv", ".tsv", ".parquet", ".txt", ".json")
WITHOUT_CLASSES = Rule("none")


def open_images(sources: Any) -> ImageSet:
    """Return all images of some places as one set without classes; its paths say where each image lies.

    Args:
        sources: Paths of image files, folders, archives and lists of images, or pictures: Pillow's, or pixels (H, W) or
            (H, W, 3), uint8; or one of these alone.

    Raises:
        OodgridError: A place does not exist, holds no image, or cannot be read; or something is no picture. A single
            image that cannot be read is none of these: reading its row says what is wrong.
    """
    if (
        isinstance(sources, np.ndarray)
        and sources.ndim == 3
        and sources.shape[2] != 3
        and sources.shape[0] in (1, 3, 4)
    ):
        raise OodgridError(
            f"pixels of shape {sources.shape} may be one image with its channels first, or several grey ones: give "
            "(H, W, 3), or a list of images"
        )
    is_pixels = isinstance(sources, np.ndarray) and (sources.ndim == 2 or sources.shape[2:] == (3,))
    alone = is_pixels or isinstance(sources, str | os.PathLike | Image.Image | bytes)
    if not (alone or isinstance(sources, Iterable)):
        raise OodgridError(f"no image is {sources!r}: give paths, Pillow images or pixels")
    things = [sources] if alone else list(sources)
    if not things:
        raise OodgridError("no image was named: name image files, folders, archives or lists")
    return _joined([_opened(thing, number) for number, thing in enumerate(things, 1)])


def _opened(thing: Any, number: int) -> ImageSet:
    if not isinstance(thing, str | os.PathLike):
        return _picture(thing, number)
    path = Path(thing)
    if not os.path.lexists(path):
        raise OodgridError(f"{printable(str(path))} does not exist: name an image, a folder, an archive or a list")
    suffix = path.suffix.lower()
    if path.is_dir():
        images, root = files.folder(path, WITHOUT_CLASSES), path
    elif suffix in LISTS:
        unread = {} if suffix == ".json" else {"split": None}  # of a list all images are meant, whatever their split
        images, root = listed(ListFile(file=str(path), **unread)), path.parent
    elif suffix not in SUFFIXES and _is_archive(path):
        images, root = archives.archive(path, WITHOUT_CLASSES), path
    else:
        return _one(str(path), lambda _: read_image(path, printable(str(path))), lambda _: file_stamp(path))
    if not len(images):
        why = summary(images.passed_over)
        raise OodgridError(f"{printable(str(path))} holds no image{f' ({why})' if why else ''}: name another place")
    return ImageSet(
        [str(root / name) for name in images.paths], _unlabelled(len(images)), None, images.read, images.stamp,
        passed_over=images.passed_over, remarks=tuple(f"{printable(str(path))}: {line}" for line in images.remarks),
    )  # fmt: skip


def _is_archive(path: Path) -> bool:
    """Return whether a file is an archive, by its name or its first bytes."""
    if path.suffix.lower() in archives.PACKED:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return False
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06")) or is_tar(head) or bool(packed_by(head))


def _picture(thing: Any, number: int) -> ImageSet:
    name = f"picture {number}"
    if isinstance(thing, Image.Image):
        name = str(getattr(thing, "filename", "") or name)
        thing = np.asarray(thing.convert("RGB"))
    is_pixels = isinstance(thing, np.ndarray) and thing.dtype == np.uint8 and thing.size
    if not isinstance(thing, bytes) and not (is_pixels and (thing.ndim == 2 or thing.shape[2:] == (3,))):
        what = f"{thing.dtype} of shape {thing.shape}" if isinstance(thing, np.ndarray) else f"a {type(thing).__name__}"
        raise OodgridError(f"{name} is {what}: give paths, Pillow images, or uint8 of shape (H, W) or (H, W, 3)")
    return _one(name, lambda _: thing, lambda _: UNKNOWN_STAMP)


def _one(name: str, read: Any, stamp: Any) -> ImageSet:
    return ImageSet([name], _unlabelled(1), None, read, stamp)


def _unlabelled(count: int) -> np.ndarray:
    return np.full(count, -1, dtype=np.int32)


def _joined(parts: Sequence[ImageSet]) -> ImageSet:
    if len(parts) == 1:
        return parts[0]
    stops = list(accumulate(map(len, parts)))

    def of(row: int) -> tuple[ImageSet, int]:
        number = bisect_right(stops, row)
        return parts[number], row - (stops[number - 1] if number else 0)

    def read(row: int) -> bytes | np.ndarray:
        part, inner = of(row)
        return part.read(inner)

    def stamp(row: int) -> tuple[int, int]:
        part, inner = of(row)
        return part.stamp(inner)

    passed_over: Counter[str] = Counter()
    for part in parts:
        passed_over.update(part.passed_over)
    names = [name for part in parts for name in part.paths]
    remarks = tuple(dict.fromkeys(line for part in parts for line in part.remarks))
    return ImageSet(names, _unlabelled(stops[-1]), None, read, stamp, passed_over=passed_over, remarks=remarks)
