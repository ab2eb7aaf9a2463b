"""How a real dataset lies below a folder: one of its layouts in one place, or a line that says which would be read."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from oodgrid.catalogue import real
from oodgrid.catalogue.real import Layout
from oodgrid.counts import counted
from oodgrid.encode.sources.passing_over import is_image, printable
from oodgrid.errors import OodgridError

MOST_LISTED = 6
LOOKED_AT = 50  # entries of a folder, to tell class folders from images
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz")


class NotThere(OodgridError):
    """A dataset is in none of its layouts; `hints` are lines on what is there of it."""

    def __init__(self, message: str, hints: tuple[str, ...]) -> None:
        super().__init__(message)
        self.hints = hints


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


def find(name: str, root: Path) -> Location:
    """Return how a dataset lies below a folder.

    Raises:
        OodgridError: It does not, in no layout that is known, or in two places.
    """
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        # without the name of the dataset, so that it is one line for all that are looked for there
        message = f"{root} {what}: root names the folder of your datasets: mend root"
        raise NotThere(message, (message,))
    places = _without_outer(list(_places(name, root)))
    if len(places) > 1:
        folders = _joined(printable(str(place.base)) for place in places)
        raise OodgridError(f"dataset {name} lies in {folders}: write one of them as root")
    if not places:
        raise _not_there(name, root)
    return places[0]


def _places(name: str, root: Path) -> Iterator[Location]:
    """Yield every layout that is there, each folder once however many names lead to it."""
    seen: set[tuple[int, int]] = set()
    for layout in real.layouts(name):
        itself = [""] * any(_ends_in(root, at) for at in layout.at)  # root may be the set's own folder
        for at in dict.fromkeys([*layout.at, *itself]):
            location = Location(name, layout, root / at)
            if location.base.is_dir() and _fits(location):
                status = location.base.stat()
                if (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    yield location


def _ends_in(root: Path, at: str) -> bool:
    """Return whether root is the set's own folder, by all its names: one called images may hold anything."""
    names = tuple(at.split("/"))
    return root.absolute().parts[-len(names) :] == names


def _without_outer(places: list[Location]) -> list[Location]:
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
        return test.is_dir() and not _has_classes(location, test) and any(map(is_image, _first(test)))
    if layout.reader == "tree":
        return test.is_dir() and any(_first(test))
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
    return any(name in keys for name in _first(folder))


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


def _first(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, LOOKED_AT)]
    except OSError as error:
        raise OodgridError(f"folder {folder} cannot be read: {error.strerror}") from error


# ----------------------------------------------------------------------------------------------------- not there


def _not_there(name: str, root: Path) -> NotThere:
    """Return what to say of a dataset that is in none of its layouts: what is there, would be read, and gets it."""
    entry = real.real_set(name)
    hints = [*_refused(name, root), *_lacking(name, root), *_packed(name, root)]
    layouts = " or ".join(_where(layout, root) for layout in real.layouts(name))
    get = f"oodgrid fetch {name} --root {root}" if entry.fetch and not entry.get else ""
    get = get or (entry.get[0] if entry.get else "")
    there = f"it holds {_joined(printable(entry) for entry in sorted(_first(root)))}" if _first(root) else "it is empty"
    parts = "; ".join([*hints, f"would be read: {layouts}", f"to get it: {get}"])
    return NotThere(f"dataset {name} is not in {root} ({there}): {parts}", tuple(hints))


def _where(layout: Layout, root: Path) -> str:
    """Return a layout in words, with the folders where it is looked for."""
    at = [at or "." for at in layout.at]
    return f"{layout.name} (in {', '.join(at[:MOST_LISTED])}{', …' * (len(at) > MOST_LISTED)} of {root})"


def _refused(name: str, root: Path) -> Iterator[str]:
    """Yield what lies there in place of it and is not read."""
    for refused in real.real_set(name).refuses:
        for at in ("", name):
            if (root / at / refused.path).exists():
                yield f"{root / at / refused.path} {refused.why}"


def _lacking(name: str, root: Path) -> Iterator[str]:
    """Yield layouts of which a part is there."""
    for layout in real.layouts(name):
        for at in layout.at:
            base = root / at
            if (
                layout.reader == "coop"
                and at
                and any((base / images).is_dir() for images in filter(None, layout.images))
            ):
                yield (
                    f"{base} has images but not {layout.file}, CoOp's splits"
                    + (f" (oodgrid fetch {name} gets it" + _official(name) + ")")
                )
            test = layout.splits.get("test")
            if layout.reader == "folders" and isinstance(test, str) and test and (base / test).is_dir():
                inside, key = _joined(map(printable, sorted(_first(base / test)))), next(iter(real.class_keys(name)))
                yield f"{base / test} holds {inside or 'nothing'}, and no class folder as {key}"
                continue
            places = [place for place in layout.splits.values() if isinstance(place, str) and place]
            needed = [*layout.needs, *places] if layout.reader in ("folders", "flat", "torchvision", "cub") else []
            there = [need for need in needed if (base / need).exists()]
            if there and (missing := [need for need in needed if need not in there]):
                yield f"{base} has {_joined(there)} but not {_joined(missing)}"


def _official(name: str) -> str:
    return f"; its own splits are {name}-official" if f"{name}-official" in real.names() else ""


def _packed(name: str, root: Path) -> Iterator[str]:
    """Yield archives that lie there: to be unpacked, or broken off."""
    entry = real.real_set(name)
    known = {archive.file: archive.bytes for archive in entry.archives}
    known |= {download.file: download.bytes or 0 for download in entry.fetch if download.file.endswith(ARCHIVES)}
    folders = {root, *(root / download.to for download in entry.fetch), root / name}
    for folder in sorted(folders):
        for file, size in known.items():
            if (folder / file).is_file():
                yield f"{folder / file} {cut_off(folder / file, size) or 'lies there packed: unpack it'}"


def cut_off(archive: Path, size: int) -> str:
    """Return that an archive is broken off, as far as its size or its end tells; else nothing."""
    there = archive.stat().st_size
    if size and there < size:
        return f"is broken off, {there:,} of {counted(size, 'byte')}: go on with the download"
    if archive.suffix == ".zip" and not zipfile.is_zipfile(archive):
        return "is broken off, for its end is missing: download it again"
    if archive.suffix == ".tar" and not _ends(archive):
        return "is broken off, for its end is missing: download it again"
    return ""


def _ends(archive: Path) -> bool:
    """Return whether a tar file ends with two empty blocks, as it does where it is whole."""
    with archive.open("rb") as file:
        file.seek(max(archive.stat().st_size - 1024, 0))
        end = file.read()
    return len(end) == 1024 and not any(end)


def _joined(names: Iterator[str] | list[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:MOST_LISTED]) + ", …" * (len(shown) > MOST_LISTED)
