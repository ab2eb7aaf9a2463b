"""How a real dataset lies below a folder: one of its layouts in one place, or a line that says which would be read."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from oodgrid.catalogue import real
from oodgrid.catalogue.real import Layout
from oodgrid.counts import counted
from oodgrid.encode.real.places import Location, first_names, folder_of_images, places, spelt, without_outer
from oodgrid.encode.sources.passing_over import printable
from oodgrid.errors import OodgridError

MOST_LISTED = 6
WITH_NEEDS = ("folders", "flat", "torchvision", "cub", "texts")  # readers of layouts of which a part may be there
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz")


class NotThere(OodgridError):
    """A dataset is in none of its layouts; `hints` are lines on what is there of it."""

    def __init__(self, message: str, hints: tuple[str, ...]) -> None:
        super().__init__(message)
        self.hints = hints


def find(name: str, root: Path) -> Location:
    """Return how a dataset lies below a folder.

    Raises:
        OodgridError: It does not, in no layout that is known, or in two places.
    """
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        what = "is a link that leads nowhere" if root.is_symlink() and not root.exists() else what
        # without the name of the dataset, so that it is one line for all that are looked for there
        message = f"{root} {what}: root names the folder of your datasets: mend root"
        raise NotThere(message, (message,))
    try:
        there = without_outer(list(places(name, root)))
    except OSError as error:
        raise OodgridError(f"dataset {name}: {error.filename or root} cannot be read: {error.strerror}") from error
    if len(there) > 1:
        folders = _joined(printable(str(place.base)) for place in there)
        raise OodgridError(f"dataset {name} lies in {folders}: write one of them as root")
    if not there:
        raise _not_there(name, root)
    return there[0]


# ----------------------------------------------------------------------------------------------------- not there


def _not_there(name: str, root: Path) -> NotThere:
    """Return what to say of a dataset that is in none of its layouts: what is there, would be read, and gets it."""
    inside = sorted(map(printable, first_names(root)))
    there = f"it holds {_joined(inside)}" if inside else "it is empty"
    hints = list(_elsewhere(name, root))
    if not hints:
        hints = list(dict.fromkeys([*_refused(name, root), *_lacking(name, root), *_packed(name, root)]))
        layouts = " or ".join(_where(layout, root) for layout in real.layouts(name))
        others = [f"would be read: {layouts}", f"to get it: {_how_to_get(name, root)}"]
    else:
        others = []
    return NotThere(f"dataset {name} is not in {root} ({there}): {'; '.join([*hints, *others])}", tuple(hints))


def _how_to_get(name: str, root: Path) -> str:
    entry = real.real_set(name)
    command = f"oodgrid fetch {name} --root {root}"
    if entry.get and not (entry.fetch and folder_of_images(name, root)):  # of images that are there, splits are fetched
        return entry.get[0]
    return command


def _elsewhere(name: str, root: Path) -> Iterator[str]:
    """Yield where it lies all the same: above the folder, a folder deeper, or under almost its name."""
    deeper = [root / inside for inside in sorted(first_names(root)) if (root / inside).is_dir()]
    for other in (*root.absolute().parents[:3], *deeper):
        try:
            location = next(places(name, other), None)
        except (OodgridError, OSError):  # a folder that is nobody's business here
            continue
        is_split = other.name in ("train", "val", "test") and location and location.base == other  # of another set
        if location and not is_split:
            yield f"it lies in {location.base}: write root: {other}"
            return
    layouts = real.layouts(name)
    wanted = [root / path for layout in layouts for path in _first_looked_at(layout)]
    coop = [layout for layout in layouts if layout.reader == "coop"]
    images = [root / at / folder for layout in coop for at in filter(None, layout.at) for folder in layout.images]
    for path in (*wanted, *images):  # of CoOp's folders, images may be there without the file of splits
        similar = spelt(root, path.relative_to(root).as_posix())
        if similar and similar not in (*wanted, *images):
            yield f"{similar} is there, and {path} would be read: rename it, or link it by that name"
            return


def _first_looked_at(layout: Layout) -> Iterator[str]:
    """Yield a path below the root for each place of a layout: its file of splits, its test images, or what it needs."""
    test = layout.splits.get("test")
    place = layout.file or (test if isinstance(test, str) and layout.reader not in ("cifar", "idx") else "")
    for at in layout.at:
        if path := "/".join(filter(None, (at, place or (*layout.needs, "")[0]))):
            yield path


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
    if base := folder_of_images(name, root):
        file = next(layout.file for layout in real.layouts(name) if layout.file)
        get = f"oodgrid fetch {name} --root {root} gets it{_official(name)}"
        yield f"{base} has images but not {file}, CoOp's splits ({get})"
    for layout in real.layouts(name):
        for at in layout.at:
            base = root / at
            test = layout.splits.get("test")
            if layout.reader == "folders" and isinstance(test, str) and test and (base / test).is_dir():
                inside, key = (
                    _joined(map(printable, sorted(first_names(base / test)))),
                    next(iter(real.class_keys(name))),
                )
                yield f"{base / test} holds {inside or 'nothing'}, and no class folder as {key}"
                continue
            places = [place for place in layout.splits.values() if isinstance(place, str) and place]
            needed = list(dict.fromkeys([*layout.needs, *places])) if layout.reader in WITH_NEEDS else []
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
    for folder in sorted(filter(Path.is_dir, folders)):
        similar = {file: 0 for file in first_names(folder) if file.endswith(ARCHIVES) and _is_called(name, file)}
        for file, size in (similar | known).items():
            if (folder / file).is_file():
                yield f"{folder / file} {cut_off(folder / file, size) or 'lies there packed: unpack it'}"


def _is_called(name: str, file: str) -> bool:
    """Return whether a file may be of a set by its name, as ssb_hard.zip."""
    own, its = (re.sub("[^a-z0-9]+", "", text.lower()) for text in (name, file))
    return own in its


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


def _joined(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:MOST_LISTED]) + ", …" * (len(shown) > MOST_LISTED)
