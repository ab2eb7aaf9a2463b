"""The class and the split of an image, by the folder in which it lies: one rule for folders and archives.

Nothing is guessed: a layout that could mean two things is refused, with the line of the configuration that says which.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from oodgrid.counts import counted
from oodgrid.encode.sources.passing_over import UNREADABLE, Sorted, folder_parts, printable, sort_out
from oodgrid.errors import OodgridError

Parts = tuple[str, ...]  # the folders of a path, outermost first
Split = Literal["train", "val", "test"]
SPLIT_WORDS: dict[Split, set[str]] = {
    "train": {"train", "training", "trn"},
    "val": {"val", "valid", "validation", "validate", "dev"},
    "test": {"test", "testing", "tst"},
}
FILLERS = {"image", "images", "img", "imgs", "set", "sets", "data", "dataset", "split", "folder", "files", "samples"}


@dataclass(frozen=True)
class Rule:
    """The part of the configuration that decides folders that could mean two things.

    Attributes:
        class_folder: "top", "innermost" or "none"; None: there is one level of class folders, else it is refused.
        split_folders: The folder of each split, which may have several parts, as `images/train`.
    """

    class_folder: str | None = None
    split_folders: Mapping[Split, str] | None = None


@dataclass(frozen=True)
class Layout:
    """The images of a tree of folders.

    Attributes:
        paths: N names below the source, sorted.
        labels: Shape (N,), int32; -1 where an image has no class.
        classnames: K names in the order of the labels; None where there are no classes.
        splits: The split of each image where the rule names folders of splits, else None.
        passed_over: How many files of each kind were left out; `passing_over.summary` makes a line of it.
        remarks: What else is to be said, a line each.
    """

    paths: list[str]
    labels: np.ndarray
    classnames: list[str] | None
    splits: list[str] | None = None
    passed_over: Counter[str] = field(default_factory=Counter)
    remarks: tuple[str, ...] = ()


def arrange(names: Iterable[str], where: str, rule: Rule) -> Layout:
    """Return the images among the files of a tree, with their classes.

    The class of an image is the folder in which it lies; images beside no folder at all have none. Folders around all
    classes do not count.

    Args:
        names: The files below the source, with / between folders, in any order; what ends in / is a folder without.
        where: The source, for messages.
        rule: What the configuration says of folders that could mean two things.

    Raises:
        OodgridError: The layout could mean two things and the rule does not say which, or a class would vanish.
    """
    files = sort_out(names)
    splits = None
    folders = {path: folder_parts(path.rpartition("/")[0]) for path in sorted(files.images)}
    remarks = _without_images(files, set(folders.values()), where)
    if rule.split_folders:
        splits, folders = _take_out_splits(folders, rule.split_folders, where)
        files.passed_over["outside the split folders"] += len(files.images) - len(folders)
    elif rule.class_folder is None:
        _refuse_splits(set(folders.values()), where)
    class_of, around = _classes(set(folders.values()), where, rule)
    classnames = in_order(set(class_of.values()) - {""})
    _refuse_negative(classnames, where)
    remarks += twins(classnames, where)
    index = {"": -1, **{name: label for label, name in enumerate(classnames)}}
    labels = np.asarray([index[class_of[folder]] for folder in folders.values()], dtype=np.int32)
    remarks += [f"the classes are the folders in {around}"] * bool(around)
    return Layout(list(folders), labels, classnames or None, splits, +files.passed_over, tuple(remarks))


def in_order(names: Iterable[str]) -> list[str]:
    """Return class names in the order of their labels.

    Names that differ by one whole number alone, as 0, 1, 10 or class2, class10, are ordered by its value; others as
    texts.
    """
    names = sorted(names)
    matches = [match for name in names if (match := re.fullmatch(r"(\D*)(\d{1,300})(\D*)", name))]
    if len(matches) == len(names) and len({(match[1], match[3]) for match in matches}) == 1:
        return [match[0] for match in sorted(matches, key=lambda match: int(match[2]))]
    return names


def split_named(text: str) -> str | None:
    """Return train, val or test for a name of a split, such as Training, valid or test_images; None for any other."""
    text = text.strip().casefold()
    if not re.fullmatch(r"[a-z0-9 _.-]+", text):
        return None
    words = [word for word in re.findall(r"[a-z]+", text) if word not in FILLERS]
    if len(words) != 1:
        return None
    word = re.sub(rf"(?<=.)({'|'.join(sorted(FILLERS, key=len, reverse=True))})$", "", words[0])
    return next((split for split, known in SPLIT_WORDS.items() if word in known), None)


# ------------------------------------------------------------------------------------------------------ splits


def _refuse_splits(folders: set[Parts], where: str) -> None:
    """Refuse folders of splits inside a source, which would become classes."""
    for depth in range(max(map(len, folders), default=0)):
        named = {parts: split_named(parts[depth]) for parts in folders if len(parts) > depth}
        kinds = {split for split in named.values() if split}
        if len(kinds) > 1 and _are_splits(named, folders, depth):
            first = {split: parts[depth] for parts, split in sorted(named.items(), reverse=True) if split}
            if "test" not in first:  # as of ImageNet, whose images for validation are everybody's test set
                first["test"] = first.pop("val")
            keys = ", ".join(f"{split}: {first[split]}" for split in SPLIT_WORDS if split in first)
            raise OodgridError(
                f"{where} holds folders of splits, {' and '.join(sorted(map(printable, first.values())))}: write "
                f"split_folders: {{{keys}}}, or name one of them as the source, or write class_folder: top where they "
                "are classes"
            )


def _are_splits(named: Mapping[Parts, str | None], folders: set[Parts], depth: int) -> bool:
    """Return whether folders at this depth that are called like splits are splits, and not classes with such names.

    They are splits where all folders are called so, where two of them hold class folders, or where a class holds two.
    """
    if len(named) == len(folders) and all(named.values()):
        return True
    with_classes = {split for parts, split in named.items() if split and len(parts) > depth + 1}
    in_class: dict[Parts, set[str]] = {}
    for parts, split in named.items():
        if split and depth and len(folders) > len(named):
            in_class.setdefault(parts[:depth], set()).add(split)
    return len(with_classes) > 1 or any(len(kinds) > 1 for kinds in in_class.values())


def _take_out_splits(
    folders: Mapping[str, Parts], split_folders: Mapping[Split, str], where: str
) -> tuple[list[str], dict[str, Parts]]:
    """Return the split of every image that has one, and by its path its folder without that of the split.

    The folders of splits lie around the classes or within each: at the first depth where all of them are found.
    """
    split_parts = {split: folder_parts(name) for split, name in split_folders.items()}
    for depth in range(max(map(len, folders.values()), default=0)):
        split_of = {path: split for path, parts in folders.items() if (split := _split_at(parts, depth, split_parts))}
        if set(split_of.values()) == set(split_parts):
            cut = {
                p: folders[p][:depth] + folders[p][depth + len(split_parts[split]) :] for p, split in split_of.items()
            }
            return [*split_of.values()], cut
    there = sorted({printable(part) for parts in folders.values() for part in parts})
    raise OodgridError(
        f"{where}: no images in all of the split_folders {', '.join(split_folders.values())} side by side: "
        f"its folders are {', '.join(there[:6]) or 'none'}"
    )


def _split_at(parts: Parts, depth: int, split_parts: Mapping[Split, Parts]) -> Split | None:
    return next((split for split, name in split_parts.items() if parts[depth : depth + len(name)] == name), None)


# ----------------------------------------------------------------------------------------------------- classes


def _classes(folders: set[Parts], where: str, rule: Rule) -> tuple[dict[Parts, str], str]:
    """Return the class of every folder, "" for none, and the folder around all classes where there is one."""
    if rule.class_folder == "none":
        return dict.fromkeys(folders, ""), ""
    if () in folders and len(folders) > 1:
        raise OodgridError(
            f"{where}: images lie beside the folders {_some(folders)}: move them into one, take them out, or write "
            "class_folder: none where no image has a class"
        )
    if rule.class_folder == "top":
        return {parts: parts[0] if parts else "" for parts in folders}, ""
    around = _common(folders)
    deep = [parts[around:] for parts in folders]
    if rule.class_folder is None and {len(parts) for parts in deep} - {1}:
        example = max(sorted(folders), key=len)
        if example:
            raise OodgridError(
                f"{where}: class folders lie within others, as {printable('/'.join(example))}: write class_folder: "
                f"innermost (its class is {printable(example[-1])}) or top (it is {printable(example[0])}), or none"
            )
    last = [parts[-1] if parts else "" for parts in folders]
    unique = len(set(last)) == len(last)
    names = {parts: (parts[-1:] or ("",))[0] if unique else "/".join(parts) for parts in folders}
    return names, "/".join(next(iter(folders))[:around]) if len(folders) > 1 else ""


def _common(folders: set[Parts]) -> int:
    """Return how many folders lie around all classes."""
    shortest = min((len(parts) for parts in folders), default=0)
    if len(folders) == 1:
        return max(shortest - 1, 0)
    return next((d for d in range(shortest) if len({parts[d] for parts in folders}) > 1), shortest)


def _some(folders: set[Parts]) -> str:
    names = sorted({printable(parts[0]) for parts in folders if parts})
    return ", ".join(names[:3]) + " …" * (len(names) > 3)


def _refuse_negative(classnames: Sequence[str], where: str) -> None:
    if negative := [name for name in classnames if re.fullmatch(r"-\d+", name)]:
        raise OodgridError(
            f"{where}: the class folder {negative[0]} is a number below 0, which stands for no class: rename it, or "
            "take it out"
        )


def twins(classnames: Sequence[str], where: str) -> list[str]:
    """Return a remark on classes whose names differ in case alone, which some disks cannot tell apart.

    Raises:
        OodgridError: Names differ in their Unicode signs alone, as é of one sign or of two, which look alike.
    """
    seen: dict[str, str] = {}
    folded: dict[str, str] = {}
    for name in classnames:
        if seen.setdefault(unicodedata.normalize("NFC", name), name) != name:
            raise OodgridError(f"{where}: two classes are called {printable(name)}, in other Unicode signs: join them")
        folded.setdefault(name.casefold(), name)
    pairs = [(folded[name.casefold()], name) for name in classnames if folded[name.casefold()] != name]
    return [f"the classes {printable(one)} and {printable(other)} differ in case alone" for one, other in pairs[:3]]


def _without_images(files: Sorted, with_images: set[Parts], where: str) -> list[str]:
    """Name the folders that hold files but no image; refuse where those are images that cannot be read."""
    inner = {parts[:depth] for parts in with_images for depth in range(len(parts) + 1)}
    empty = {parts: suffixes for parts, suffixes in files.others.items() if parts and parts not in inner}
    names = [printable("/".join(parts)) for parts in sorted(empty)]
    for name, parts in zip(names, sorted(empty), strict=True):
        if unreadable := sorted(empty[parts] & UNREADABLE):
            raise OodgridError(
                f"{where}: all images in the folder {name} are of kinds that cannot be read ({', '.join(unreadable)}): "
                "convert them to PNG or JPEG, or take the folder out"
            )
    more = f" and {counted(len(names) - 5, 'more folder')}" * (len(names) > 5)
    return [f"no image in {', '.join(names[:5])}{more}"] * bool(names)
