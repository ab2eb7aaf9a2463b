"""Labels of ImageNet's validation images that lie flat in one folder: of the devkit, of Kaggle, or of a list."""

from __future__ import annotations

import re
from pathlib import Path

from oodgrid.catalogue import real
from oodgrid.counts import counted
from oodgrid.encode.real.places import Location
from oodgrid.errors import OodgridError

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"  # of the devkit
VALIDATION = r"ILSVRC2012_val_\d{8}"  # names of ImageNet's validation images


def flat_labels(location: Location, folder: Path, images: list[str]) -> dict[str, str]:
    """Return the class folder of every flat image, by its name without folders and suffix.

    Raises:
        OodgridError: No file of labels is there, or it is of other images.
    """
    files = _label_files(location)
    named = " and ".join(map(str, files))
    if strange := next((path for path in images if not is_validation(path)), None):
        raise OodgridError(f"{folder}: {strange} is no name of the validation images of ILSVRC2012: take it out")
    rows = [row for file in files for row in text_lines(file)]
    is_listed = len(files) > 1 or re.search(VALIDATION, rows[-1] if rows else "")
    key_of = _listed_labels(rows, named) if is_listed else _in_order(rows, files[0].name == GROUND_TRUTH)
    known = real.class_keys("imagenet")
    if wrong := next((stem for stem, key in key_of.items() if key not in known), None):  # also of images not here
        raise OodgridError(
            f"{named}: what it says of {wrong} is none of ImageNet's classes, from 0 beside names of images, from 1 in "
            f"{GROUND_TRUTH}: get it anew"
        )
    if strange := next((path for path in images if not key_of.get(stem_of(path))), None):
        raise OodgridError(
            f"{named} has {counted(len(rows), 'label')}, which do not fit the images in {folder}, "
            f"as {strange}: get it anew"
        )
    return key_of


def _in_order(rows: list[str], is_devkit: bool) -> dict[str, str]:
    """Return classes of a text with one a line, by the folder or the devkit's number, in the order of the images.

    Numbers are the devkit's in the devkit's file alone: in another they may count by other rules, and from 0.
    """
    devkit = real.devkit_numbers() if is_devkit else {}
    keys = [devkit.get(int(row), row) if row.isdecimal() else row for row in rows]
    return {f"ILSVRC2012_val_{number:08}": key for number, key in enumerate(keys, 1)}


def _listed_labels(rows: list[str], named: str) -> dict[str, str]:
    """Return classes of a text that names image and class in each line.

    These are Kaggle's `ILSVRC2012_val_00000001,n01751748 85 1 499 272`, and Caffe's, Paddle's and OpenOOD's
    `val/ILSVRC2012_val_00000001.JPEG 65`, where classes are numbers from 0 in the order of their folders.
    """
    keys = list(real.class_keys("imagenet"))
    key_of: dict[str, str] = {}
    for row in rows:
        image, *words = re.split(r"[\s,]+", row)
        if not words or not is_validation(image):  # as a header
            continue
        number = int(words[0]) if words[0].isdecimal() else len(keys)
        key = keys[number] if number < len(keys) else words[0]
        if key_of.setdefault(stem_of(image), key) != key:
            raise OodgridError(f"{named} gives {stem_of(image)} two classes: get it anew")
    return key_of


def _label_files(location: Location) -> list[Path]:
    """Return the files of labels beside flat images; torchvision's meta.bin is a pickle, and never opened."""
    for names in location.layout.labels:
        files = [location.base / name for name in names.split()]
        if all(file.is_file() for file in files):
            return files
    pickled = (
        " (meta.bin is a pickle, which can run code and is not read)" if (location.base / "meta.bin").exists() else ""
    )
    raise location.mistake(
        f"the images in {location.path('test')} lie in no class folders, and no labels are beside "
        f"them{pickled}: unpack ILSVRC2012_devkit_t12.tar.gz in {location.base}, or put "
        f"{GROUND_TRUTH}, LOC_val_solution.csv or val.txt there"
    )


def text_lines(file: Path) -> list[str]:
    """Return the lines of a text that hold something, without blanks at their ends.

    Raises:
        OodgridError: It cannot be read.
    """
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise OodgridError(f"{file} cannot be read as text: {error}") from error


def is_validation(path: str) -> bool:
    """Return whether a path is named as an image of ImageNet's validation is."""
    return bool(re.fullmatch(VALIDATION, stem_of(path)))


def stem_of(path: str) -> str:
    """Return the name of an image without its folders and all its suffixes."""
    return Path(path).stem.partition(".")[0]
