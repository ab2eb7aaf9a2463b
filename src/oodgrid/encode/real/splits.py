"""A split of a real dataset, and whether it is whole: no image less or other than was published."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from oodgrid.catalogue import real
from oodgrid.counts import counted
from oodgrid.encode.real.places import Location, folder_keys
from oodgrid.encode.real.readers import READERS, existing
from oodgrid.encode.real.text_files import texts
from oodgrid.encode.sources.image_set import ImageSet
from oodgrid.encode.sources.passing_over import is_image
from oodgrid.errors import OodgridError


@dataclass(frozen=True)
class Expected:
    """What a split has where it is whole.

    Attributes:
        images: How many; None where the number is not known.
        names_sha256: Digest of the sorted file names, "" where none was published.
    """

    images: int | None
    names_sha256: str = ""

    def missing(self, count: int) -> str:
        """Return what a split of so many images lacks, in words; nothing where it lacks none."""
        return f"has {count:,} of {self.images:,} samples" if self.images is not None and count < self.images else ""

    def wrong(self, images: ImageSet) -> str:
        """Return how images are others than were published, which nothing excuses; nothing where they are not."""
        count = len(images)
        if more := self.too_many(count):
            return more
        if self.names_sha256 and count == self.images and names_digest(images.paths) != self.names_sha256:
            return f"has {counted(count, 'sample')}, as it should, but others than were published: their names differ"
        return ""

    def too_many(self, count: int) -> str:
        """Return that so many images are more than were published, in words; nothing where they are not."""
        if self.images is None or count <= self.images:
            return ""
        return f"has {counted(count, 'sample')}, more than the {self.images:,} that were published"


def names_digest(paths: Iterable[str]) -> str:
    """Return the digest of the sorted names of files, without their folders."""
    names = sorted(path.rpartition("/")[2] for path in paths)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def read_split(location: Location, split: str, incomplete: bool = False) -> ImageSet:
    """Return the images of a split with the labels and class names of the catalogue.

    Args:
        location: Where the dataset lies.
        split: Its name.
        incomplete: Whether images may be missing; what is missing is then a remark. Other images than were published
            are refused all the same.

    Raises:
        OodgridError: Something is missing, broken, or not what was published.
    """
    part = real.real_set(location.name).names.get(split)  # type: ignore[call-overload]
    read = texts if location.layout.reader == "texts" else READERS[location.layout.reader]
    images = read(location, part.of if part else split)
    if part:
        images = _listed_part(images, part.only, part.without)
    published = _expected(location, split)
    if wrong := published.wrong(images):
        raise _other_images(location, split, wrong)
    if not len(images):
        raise _not_whole(location, split, "; ".join(["has no sample", *images.remarks]), excusable=False)
    lacks = published.missing(len(images))
    if classes := _without_images(images):
        lacks = f"{lacks or 'is not whole'}, and none of {classes}" if split != "val" else lacks
    if not lacks:
        return images
    if not incomplete:
        raise _not_whole(location, split, "; ".join([lacks, *images.remarks]))
    return replace(images, remarks=(*images.remarks, f"{location.path(split)}: the {split} split {lacks}"))


LOOKED_THROUGH = 120_000  # images of a split that are looked through while a user waits


def is_looked_through(location: Location) -> bool:
    """Return whether `check_split` sees what is missing: not where torchvision reads, which takes torch to import."""
    return location.layout.reader != "torchvision"


def check_split(location: Location, split: str, incomplete: bool = False, skip_broken: bool = False) -> ImageSet | None:
    """Refuse a split that is not whole, as `read_split` does; of large ones count the files, and no more.

    Args:
        location: Where the dataset lies.
        split: Its name.
        incomplete: Whether images may be missing.
        skip_broken: Whether broken images will be left out, so that empty files do not matter.

    Returns:
        The images, where they were looked through.

    Raises:
        OodgridError: As `read_split`.
    """
    if not is_looked_through(location):
        return None
    expected, by_class = _expected(location, split).images, location.layout.reader in ("folders", "flat")
    if (expected or 0) <= LOOKED_THROUGH and (expected or not by_class or incomplete):
        images = read_split(location, split, incomplete)
        if not skip_broken and (empty := _empty(images)):
            wrong = f"has empty files, as {empty}, which on_error: skip would leave out"
            raise _not_whole(location, split, wrong, excusable=False)
        return images
    if location.layout.splits:
        existing(location, split)
    if by_class:
        _count_files(location, split, incomplete)
    return None


SIZES_SEEN = 200  # images of a split whose files are looked at


def _empty(images: ImageSet) -> str:
    """Return an image whose file has no byte, as a full disk leaves them, among some of all parts; else nothing."""
    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), SIZES_SEEN)).astype(np.int64))
    return next((images.paths[row] for row in rows if images.stamp(int(row))[0] == 0), "")


def _count_files(location: Location, split: str, incomplete: bool) -> None:
    """Refuse a large split in class folders of which folders or files are missing, or too many."""
    keys, expected = folder_keys(location), _expected(location, split)
    empty = [key for key in keys if not _holds_something(location.path(split) / key)]
    if empty and (not incomplete or len(empty) == len(keys)):
        lacks = f"lacks {len(empty):,} of {counted(len(keys), 'class folder')}, as {empty[0]}"
        raise _not_whole(location, split, lacks, excusable=not incomplete)
    if incomplete:
        return
    count = sum(map(is_image, chain.from_iterable(_names_in(location.path(split) / key) for key in keys)))
    if more := expected.too_many(count):
        raise _other_images(location, split, more)
    if lacks := expected.missing(count):
        raise _not_whole(location, split, lacks)


def _expected(location: Location, split: str) -> Expected:
    entry = real.real_set(location.name)
    return Expected(entry.splits.get(split), entry.names_sha256.get(split, ""))  # type: ignore[call-overload]


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(_names_in(folder))


def _names_in(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _not_whole(location: Location, split: str, lacks: str, excusable: bool = True) -> OodgridError:
    partial = f", or write partial: true under it (files and tables then call it {location.name}-partial)"
    return location.mistake(
        f"{location.path(split)}: the {split} split {lacks}. Finish the download{partial * excusable}"
    )


def _other_images(location: Location, split: str, wrong: str) -> OodgridError:
    return location.mistake(
        f"{location.path(split)}: the {split} split {wrong}. Take out what does not belong to it, or get it anew"
    )


def _listed_part(images: ImageSet, only: str, without: str) -> ImageSet:
    names = real.file_names(only or without)
    listed = np.array([path.rpartition("/")[2] in names for path in images.paths], dtype=bool)
    return images.subset(np.flatnonzero(listed if only else ~listed))


def _without_images(images: ImageSet) -> str:
    """Return the classes of which there is no image, in words; nothing where there are none or no classes."""
    present = set(images.labels.tolist())
    empty = [name for label, name in enumerate(images.classnames or ()) if label not in present]
    if not empty:
        return ""
    return f"{len(empty):,} of {counted(len(images.classnames or ()), 'class', 'classes')}, as {empty[0]}"
