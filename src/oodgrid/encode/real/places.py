"""Where a real dataset may lie below a folder, and whether one of its layouts is there, by a few names only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from oodgrid.catalogue import real
from oodgrid.catalogue.real import Layout
from oodgrid.encode.sources.passing_over import is_image
from oodgrid.errors import OodgridError

LOOKED_AT = 50  # entries of a folder, to tell class folders from images
MOST_NAMES = 1000  # entries of a folder, among which one of almost the same name is looked for


@dataclass(frozen=True)
class Location:
    """A dataset where it lies.

    Attributes:
        name: What the catalogue calls it.
        layout: How it lies.
        base: The folder to which the layout's paths belong.
    """

    name: str
    layout: Layout
    base: Path

    def mistake(self, text: str) -> OodgridError:
        """Return the error that says something of this dataset."""
        return OodgridError(f"dataset {self.name}: {text}")

    def path(self, split: str) -> Path:
        """Return the folder or file of a split, of layouts whose splits are places."""
        place = self.layout.splits.get(split, "")  # type: ignore[call-overload]
        return self.base / (place if isinstance(place, str) else "")


def places(name: str, root: Path) -> Iterator[Location]:
    """Yield every layout that is there, each folder once however many names lead to it."""
    seen: set[tuple[int, int]] = set()
    for layout in real.layouts(name):
        itself = [""] * any(_ends_in(root, at) for at in layout.at)  # root may be the set's own folder
        for at in dict.fromkeys([*layout.at, *itself]):
            location = Location(name, layout, root / at)
            if not at and layout.reader == "folders" and _is_of_another(name, root):
                continue
            if location.base.is_dir() and _fits(location):
                status = location.base.stat()
                if (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    yield location


def _ends_in(root: Path, at: str) -> bool:
    """Return whether root is the set's own folder, by all its names: one called images may hold anything."""
    names = tuple(at.split("/"))
    return root.absolute().parts[-len(names) :] == names


def _is_of_another(name: str, root: Path) -> bool:
    """Return whether root is called as another set's folder: ImageNet's kin all have the same class folders."""
    own = {at for layout in real.layouts(name) for at in layout.at}
    kin = (layout for other in real.names() for layout in real.layouts(other) if layout.reader == "folders")
    return any(_ends_in(root, at) for at in {at for layout in kin for at in layout.at} - own - {""})


def without_outer(places: list[Location]) -> list[Location]:
    """Return the places without those that only hold another one, where all below a folder is read."""
    inner = [place.base for place in places]
    return [
        place
        for place in places
        if place.layout.reader != "tree" or not any(place.base in base.parents for base in inner)
    ]


def _fits(location: Location) -> bool:
    """Return whether a layout is there, looking at a few names only."""
    layout, base, test = location.layout, location.base, location.path("test")
    if not all((base / need).exists() for need in layout.needs):
        return False
    if layout.reader == "folders":
        return test.is_dir() and _has_classes(location, test)
    if layout.reader == "flat":
        return test.is_dir() and not _has_classes(location, test) and any(map(is_image, first_names(test)))
    if layout.reader == "tree":
        return test.is_dir() and any(first_names(test))
    if layout.reader == "coop":
        return (base / layout.file).is_file()
    if layout.reader == "idx":
        return any(idx_files(location, "test"))
    if layout.reader in ("lines", "cifar", "svhn"):
        return test.is_file()
    return True  # what it needs is there


def _has_classes(location: Location, folder: Path) -> bool:
    keys = folder_keys(location)
    if any((folder / key).is_dir() for key in islice(keys, LOOKED_AT)):
        return True
    return any(name in keys for name in first_names(folder))


def folder_of_images(name: str, root: Path) -> Path | None:
    """Return where CoOp's file of splits belongs: the folder in which images are as it names them, if there is one."""
    for layout in real.layouts(name):
        for at in filter(None, layout.at) if layout.reader == "coop" else ():
            if any(_has_images(root / at / images) for images in layout.images):
                return root / at
    return None


def _has_images(folder: Path) -> bool:
    """Return whether images, or folders that are not empty, lie in a folder: no list, mark or part of a download."""
    names = [name for name in first_names(folder) if name[0] not in "._"] if folder.is_dir() else []
    return any(is_image(name) or ((folder / name).is_dir() and any(first_names(folder / name))) for name in names)


def spelt(folder: Path, path: str) -> Path | None:
    """Return a path below a folder as it is there, where that differs in capitals and dashes only."""
    there = folder
    for part in filter(None, path.split("/")):
        if not (there / part).exists():
            names = first_names(there, MOST_NAMES) if there.is_dir() else []
            similar = [name for name in names if _letters(name) == _letters(part)]
            if len(similar) != 1:
                return None
            part = similar[0]
        there = there / part
    return there if there != folder / path else None


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]+", "", name.lower())


def folder_keys(location: Location) -> dict[str, int]:
    """Return the label of every class folder of a layout of class folders, by its name."""
    keys = real.class_keys(location.name)
    if location.layout.keys == "numbers":
        return {str(label): label for label in range(len(keys))}
    return {key: label for label, key in enumerate(keys)}


def idx_files(location: Location, split: str) -> tuple[Path, Path] | tuple[()]:
    """Return the idx files of images and labels of a split, gzip or not; nothing where they are not there."""
    stem = location.layout.splits.get(split)  # type: ignore[call-overload]
    for dash in "-.":
        for end in ("", ".gz"):
            images = location.base / f"{stem}-images{dash}idx3-ubyte{end}"
            labels = location.base / f"{stem}-labels{dash}idx1-ubyte{end}"
            if images.is_file() and labels.is_file():
                return images, labels
    return ()


def first_names(folder: Path, most: int = LOOKED_AT) -> list[str]:
    """Return the names of some entries of a folder.

    Raises:
        OodgridError: It cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, most)]
    except OSError as error:
        raise OodgridError(f"folder {folder} cannot be read: {error.strerror}") from error
