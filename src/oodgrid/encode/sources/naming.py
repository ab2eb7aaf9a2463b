"""Class names of the configuration laid over the classes of a source, and labels that are numbers of another kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from oodgrid.counts import counted
from oodgrid.encode.sources.image_set import ImageSet
from oodgrid.encode.sources.layout import in_order, twins
from oodgrid.encode.sources.passing_over import printable
from oodgrid.errors import OodgridError
from oodgrid.labels import NO_CLASS, has_class


def named(images: ImageSet, classnames: Sequence[str] | None, where: str, renumber: bool) -> ImageSet:
    """Return the images with the class names of the configuration, and with labels from 0 without gaps.

    Where the source has names itself, those given stand for them by position. Where its labels are numbers, they are
    the positions; numbers that cannot be are put in the place of 0, 1, … by value, and that is said.

    Args:
        images: The images.
        classnames: Class names, or None.
        where: The dataset, for messages.
        renumber: Whether labels may be numbered anew: not where other splits are read apart from these.

    Raises:
        OodgridError: Names cannot belong to the classes in number or order.
    """
    if images.classnames is None:
        images = _numbered(images, classnames, where, renumber)
    elif classnames is not None:
        images = replace(images, remarks=(*images.remarks, *_check_names(images.classnames, classnames, where)))
    return images if classnames is None else replace(images, classnames=list(classnames))


def _numbered(images: ImageSet, classnames: Sequence[str] | None, where: str, renumber: bool) -> ImageSet:
    numbers = np.unique(images.labels[has_class(images.labels)])
    if classnames is None:
        fits = not renumber or np.array_equal(numbers, np.arange(len(numbers)))
    else:
        fits = not len(numbers) or numbers[-1] < len(classnames)
        if not fits and not (renumber and np.array_equal(numbers, np.arange(1, len(classnames) + 1))):
            raise OodgridError(
                f"{where}: {counted(len(classnames), 'classname')} for labels up to {numbers[-1]}: labels are "
                "positions in "
                f"classnames, from 0 to {len(classnames) - 1}, and here {_run(numbers)}: give all names, or number "
                "the labels anew"
            )
    if fits:
        present = set(numbers.tolist())
        empty = [name for label, name in enumerate(classnames or ()) if renumber and label not in present]
        return replace(images, remarks=(*images.remarks, *[f"no {images.thing} of {_some(empty)}"] * bool(empty)))
    labels = np.where(has_class(images.labels), np.searchsorted(numbers, images.labels), NO_CLASS).astype(np.int32)
    remark = f"labels run from 0: {_run(numbers)} in the source became 0 to {len(numbers) - 1}, by value"
    return replace(images, labels=labels, remarks=(*images.remarks, remark))


def by_pattern(images: ImageSet, pattern: str, name: str) -> ImageSet:
    """Return the images with the classes that their names say, by a regular expression with one group.

    Raises:
        OodgridError: A name says none.
    """
    found = [re.search(pattern, path) for path in images.paths]
    for path, match in zip(images.paths, found, strict=True):
        if match is None or not match[1]:
            raise OodgridError(
                f"dataset {name}: class_pattern finds no class in {printable(path)}: mend it, or take the image out"
            )
    words = [match[1] for match in found if match]
    classnames = in_order(set(words))
    index = {word: label for label, word in enumerate(classnames)}
    remarks = (*images.remarks, *twins(classnames, f"dataset {name}"))
    labels = np.asarray([index[word] for word in words], dtype=np.int32)
    return replace(images, labels=labels, classnames=classnames, remarks=remarks)


def check_gaps(labels: Sequence[np.ndarray], where: str) -> None:
    """Refuse labels of all splits that do not run from 0 without gaps, where splits are read apart from each other.

    Raises:
        OodgridError: They do not.
    """
    numbers = np.unique(np.concatenate(labels))
    numbers = numbers[has_class(numbers)]
    if len(numbers) and numbers[-1] != len(numbers) - 1:
        raise OodgridError(
            f"{where}: labels must run from 0 to the number of classes less one, and here are {_run(numbers)}: "
            "number the classes anew, or give classnames for all numbers"
        )


def untrained(images: ImageSet, split: str) -> ImageSet:
    """Return the images of train or val with a remark on classes without any, and on images without a class."""
    known = images.labels[has_class(images.labels)]
    remarks = []
    with_images = set(known.tolist())
    if missing := [name for label, name in enumerate(images.classnames or ()) if label not in with_images]:
        remarks.append(f"no {split} {images.thing} of {_some(missing)}")
    if without := len(images) - len(known):
        what = f"{split} {images.thing}"
        remarks.append(f"{counted(without, f'{what} has', f'{what}s have')} no class")
    return replace(images, remarks=(*images.remarks, *remarks))


def _check_names(classes: Sequence[str], classnames: Sequence[str], where: str) -> list[str]:
    """Refuse names whose number or order cannot be right for the classes found, and return what is to be said."""
    if len(classnames) != len(classes):
        raise OodgridError(
            f"{where}: {counted(len(classnames), 'classname')} for {counted(len(classes), 'class', 'classes')} "
            f"of images ({_some(classes)}): "
            "give one for each"
        )
    places: dict[str, set[int]] = {}  # a list of classes may hold a name twice, as ImageNet's
    for position, name in enumerate(classes):
        places.setdefault(_plain(name), set()).add(position)
    for position, name in enumerate(classnames):
        if position not in places.get(_plain(name), {position}):
            raise OodgridError(
                f"{where}: classnames stand for the classes found by position, and '{name}' stands at that of "
                f"{printable(classes[position])}: write them in the order {_some(classes)}, or leave them out"
            )
    if all(name.isdecimal() for name in classes):
        values = [int(name) for name in classes]
        if len(set(values)) < len(values):
            raise OodgridError(f"{where}: two classes are the same number ({_some(classes)}): join or rename them")
        if values not in (list(range(len(values))), list(range(1, len(values) + 1))):
            return [f"classnames stand for the classes {_some(classes)}, by value"]
    elif list(classes) != sorted(classes, key=_natural) and not _one_number(classes):
        raise OodgridError(
            f"{where}: classnames stand for the classes found by position, and the order of {_some(classes)} is not "
            "sure: give their numbers leading zeros, or leave classnames out"
        )
    return []


def _one_number(names: Sequence[str]) -> bool:
    """Return whether names differ by one whole number alone, by which they are in order."""
    return len({re.sub(r"\d+", "0", name, count=1) for name in names}) == 1


def _plain(name: str) -> str:
    return " ".join(re.findall(r"\w+", name.casefold().replace("_", " "))) or name


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which people order names: numbers within them by value."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)]


def _run(labels: np.ndarray) -> str:
    values = labels.tolist()
    if len(values) > 1 and len(values) == values[-1] - values[0] + 1:
        return f"{values[0]} to {values[-1]}"
    return _some([str(value) for value in values])


def _some(names: Sequence[str]) -> str:
    shown = [printable(name) for name in names]
    return ", ".join(shown if len(shown) < 6 else [*shown[:4], "…", shown[-1]])
