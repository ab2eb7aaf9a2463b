"""Readers of the layouts of real datasets: each from a place and a split to images with labels of the catalogue."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from oodgrid.catalogue import real
from oodgrid.catalogue.real import Split
from oodgrid.config import ListFile, Torchvision
from oodgrid.encode.real.flat_labels import flat_labels, is_validation, stem_of, text_lines
from oodgrid.encode.real.places import Location, folder_keys, idx_files, spelt
from oodgrid.encode.sources import arrays, libraries
from oodgrid.encode.sources.files import files_below, reading
from oodgrid.encode.sources.image_set import ImageSet
from oodgrid.encode.sources.lists import listed
from oodgrid.encode.sources.passing_over import sort_out
from oodgrid.errors import OodgridError, one_line
from oodgrid.labels import NO_CLASS, plain_name

SPLITS: tuple[Split, ...] = ("train", "val", "test")
SIDE = 32  # pixels of an image of CIFAR and SVHN


def folders(location: Location, split: str) -> ImageSet:
    """Return the images of a split in the folders of the classes."""
    folder = existing(location, split)
    passed_over: Counter[str] = Counter()
    paths: list[str] = []
    labels: list[int] = []
    for key, label in folder_keys(location).items():
        if (folder / key).is_dir():
            files = sort_out(files_below(folder / key, passed_over))
            passed_over += files.passed_over
            paths += [f"{key}/{name}" for name in sorted(files.images)]
            labels += [label] * len(files.images)
    if strange := next((path for path in paths if is_validation(path) and not _is_part_of_imagenet(location)), None):
        raise location.mistake(f"{folder} holds {strange}, an image of ImageNet's own validation: mend root")
    return _images(location, folder, paths, labels, passed_over)


def _is_part_of_imagenet(location: Location) -> bool:
    return "imagenet" in (location.name, real.real_set(location.name).parent)


def flat(location: Location, split: str) -> ImageSet:
    """Return the images of a split whose test images lie in one folder, with the labels of a file beside it."""
    if split != "test":
        return folders(location, split)
    folder = existing(location, split)
    files = sort_out(files_below(folder))
    key_of = flat_labels(location, folder, sorted(files.images))
    paths = sorted(path for path in files.images if key_of.get(stem_of(path)) in real.class_keys(location.name))
    label_of = folder_keys(location)
    labels = [label_of[key_of[stem_of(path)]] for path in paths]
    return _images(location, folder, paths, labels, files.passed_over)


def tree(location: Location, split: str) -> ImageSet:
    """Return all images below a folder; they have no class."""
    folder = existing(location, split)
    passed_over: Counter[str] = Counter()
    files = sort_out(files_below(folder, passed_over))
    paths = sorted(files.images)
    return _images(location, folder, paths, [NO_CLASS] * len(paths), passed_over + files.passed_over)


def coop(location: Location, split: str) -> ImageSet:
    """Return the images of a split of CoOp's `split_zhou_*.json`, those that are there."""
    folders = [location.base / images for images in location.layout.images]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise location.mistake(f"{folders[0]} does not exist, and its images would lie there")
    file = location.base / location.layout.file
    there = _splits_of(file)
    if split not in there:
        raise location.mistake(f"{file} has no {split} split: get the published file")
    images = listed(ListFile(file=str(file), root=str(folder), splits=there))
    rows = [row for row, of in enumerate(images.splits or ()) if of == split]
    return _there(_by_name(location, images.subset(np.asarray(rows, dtype=np.int64))), folder)


def _splits_of(file: Path) -> list[Split]:
    """Return the splits of a file as CoOp's; all three where it cannot be read, which its reader then says."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        splits: list[Split] = [split for split in SPLITS if content.get(split)]
    except (OSError, ValueError, AttributeError, RecursionError):
        return list(SPLITS)
    return splits or list(SPLITS)


def lines(location: Location, split: str) -> ImageSet:
    """Return the images of a split that a text names, `1514522 707-320` a line."""
    file = existing(location, split)
    keys, paths, labels = folder_keys(location), [], []
    for number, line in enumerate(text_lines(file), 1):
        image, _, key = line.partition(" ")
        if key not in keys:
            raise OodgridError(f"{file}, line {number}: {line[:60]!r} names no class of {location.name}: mend the file")
        paths.append(location.layout.images[0].replace("{}", image))
        labels.append(keys[key])
    return _there(_images(location, location.base, paths, labels), location.base)


def cub(location: Location, split: str) -> ImageSet:
    """Return the images of a split of CUB-200-2011, by its three texts of `number value` a line."""
    names, classes, trained = (
        dict(line.split(" ", 1) for line in text_lines(location.base / file) if " " in line)
        for file in ("images.txt", "image_class_labels.txt", "train_test_split.txt")
    )
    if not names.keys() == classes.keys() == trained.keys():
        raise location.mistake(f"the texts in {location.base} are not of the same images: unpack it again")
    rows = [image for image, is_train in trained.items() if (is_train == "1") == (split == "train")]
    try:
        labels = [int(classes[image]) - 1 for image in rows]
    except ValueError as error:
        raise location.mistake(f"image_class_labels.txt holds no numbers: {error}") from error
    return _there(
        _images(location, location.base / "images", [names[image] for image in rows], labels), location.base / "images"
    )


def cifar(location: Location, split: str) -> ImageSet:
    """Return the images of a split of the binary version of CIFAR: a label or two, then 32 x 32 red, green, blue."""
    classes = real.class_keys(location.name)
    ahead = 2 if location.name == "cifar100" else 1  # whose coarse label comes first
    record = ahead + 3 * SIDE * SIDE
    parts = []
    for name in str(location.layout.splits[split]).split():  # type: ignore[index]
        file = location.base / name
        if not file.is_file() or file.stat().st_size % record:
            why = "is broken off" if file.is_file() else "is missing"
            raise location.mistake(f"{file} {why}: unpack the archive again")
        parts.append(np.fromfile(file, np.uint8).reshape(-1, record))
    table = np.concatenate(parts)
    pixels = table[:, ahead:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    labels = table[:, ahead - 1].astype(np.int64)
    if labels.max(initial=0) >= len(classes):
        raise location.mistake(f"{location.base} has labels above {len(classes) - 1}: it is another set")
    names = [f"{split}/{row:05}" for row in range(len(table))]
    return arrays.from_arrays(names, labels.tolist(), pixels, list(classes.values()), location.path("test"))


def svhn(location: Location, split: str) -> ImageSet:
    """Return the images of a split of SVHN's .mat files, X of shape (32, 32, 3, N); they have no class here."""
    from scipy.io import loadmat  # only here: the command line reads this module

    file = existing(location, split)
    try:
        pixels = np.asarray(loadmat(file, variable_names=["X"])["X"])
    except Exception as error:  # a broken file fails in many ways
        raise location.mistake(f"{file} cannot be read ({one_line(error)}): get it anew") from error
    if pixels.ndim != 4 or pixels.shape[:3] != (SIDE, SIDE, 3) or pixels.dtype != np.uint8:
        raise location.mistake(f"{file} holds no images of 32 x 32: it is something else")
    images = np.ascontiguousarray(pixels.transpose(3, 0, 1, 2))
    names = [f"{file.name}#{row}" for row in range(len(images))]
    return arrays.from_arrays(names, [NO_CLASS] * len(names), images, None, file)


def idx(location: Location, split: str) -> ImageSet:
    """Return the images of a split of MNIST's format; they have no class."""
    files = idx_files(location, split)
    if not files:
        raise location.mistake(f"{location.base} has no idx files of its {split} split")
    images = arrays.idx(*files)
    return replace(images, labels=np.full(len(images), NO_CLASS, np.int32), classnames=None)


def torchvision(location: Location, split: str) -> ImageSet:
    """Return the images of a split as torchvision reads it, with the labels of the catalogue."""
    keywords = location.layout.splits[split]  # type: ignore[index]
    arguments = {split: dict(keywords) if isinstance(keywords, Mapping) else {}}
    source = Torchvision(dataset=location.layout.dataset, root=str(location.base), splits=["test"], arguments=arguments)
    images = libraries.torchvision(source, split)
    if not real.class_keys(location.name):
        return replace(images, labels=np.full(len(images), NO_CLASS, np.int32), classnames=None)
    return _by_name(location, images)


READERS: dict[str, Callable[[Location, str], ImageSet]] = {
    "folders": folders, "flat": flat, "tree": tree, "coop": coop, "lines": lines, "cub": cub, "cifar": cifar,
    "svhn": svhn, "idx": idx, "torchvision": torchvision,
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------- parts


def _images(
    location: Location,
    folder: Path,
    paths: list[str],
    labels: list[int],
    passed_over: Counter[str] | None = None,
) -> ImageSet:
    names = list(real.class_keys(location.name).values()) or None
    read, stamp = reading(folder, paths, str(folder))
    return ImageSet(
        paths, np.asarray(labels, dtype=np.int32), names, read, stamp, str(folder),
        passed_over=passed_over or {},
    )  # fmt: skip


def existing(location: Location, split: str) -> Path:
    """Return the folder or file of a split.

    Raises:
        OodgridError: It is not there.
    """
    place = location.path(split)
    if split not in location.layout.splits or not place.exists():
        similar = spelt(location.base, place.relative_to(location.base).as_posix())
        get = f"rename {similar}" if similar else "get it"
        raise location.mistake(
            f"{place} does not exist, and its {split} split would lie there: {get}, or write "
            f"only: [test] under {location.name} where nothing is to be learned"
        )
    return place


def _there(images: ImageSet, folder: Path) -> ImageSet:
    """Return those images whose files are there, with a remark on the others."""
    files = set(files_below(folder))
    rows = [row for row, path in enumerate(images.paths) if path in files or _leads_out(path, folder)]
    if len(rows) == len(images):
        return images
    first = next(path for path in images.paths if path not in files)
    remark = f"{len(images) - len(rows):,} of {len(images):,} listed images are not in {folder}, as {first}"
    return replace(images.subset(np.asarray(rows, dtype=np.int64)), remarks=(*images.remarks, remark))


def _leads_out(path: str, folder: Path) -> bool:
    """Return whether a listed path is there though it is written in another way than folders list it."""
    return bool(re.search(r"(^|/)\.{0,2}(/|$)|//", path)) and (folder / path).is_file()


def _by_name(location: Location, images: ImageSet) -> ImageSet:
    """Return images with the labels of the catalogue in place of their own, class by class of the same name.

    Raises:
        OodgridError: A class is none of the catalogue's.
    """
    keys = real.class_keys(location.name)
    label_of = {_letters(key): label for label, key in enumerate(keys)}
    label_of |= {_letters(name): label for label, name in enumerate(keys.values())}
    names = images.classnames or []
    if strange := next((name for name in names if _letters(name) not in label_of), None):
        raise location.mistake(
            f"{images.where} has the class {strange!r}, which is none of the {len(keys)} that "
            "were published: it is another dataset, or another version of this one"
        )
    new = np.asarray([label_of[_letters(name)] for name in names], dtype=np.int32)
    known = images.labels != NO_CLASS
    labels = np.where(known, new[np.where(known, images.labels, 0)], NO_CLASS).astype(np.int32)
    return replace(images, labels=labels, classnames=list(keys.values()), splits=None)


def _letters(name: str) -> str:
    """Return a name as libraries and lists agree on it: its letters and digits, words in any order."""
    return " ".join(sorted(re.findall(r"[a-z0-9]+", plain_name(name))))
