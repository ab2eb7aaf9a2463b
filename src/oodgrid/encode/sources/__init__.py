"""Sources of samples: one reader for each source that a dataset can name in the configuration."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from oodgrid.config import Dataset, expand
from oodgrid.config.class_choice import chosen
from oodgrid.config.splits import Splits
from oodgrid.counts import counted
from oodgrid.encode.sources import archives, arrays, files, libraries, pair_tables, text_tables, webdataset
from oodgrid.encode.sources.derived import derived
from oodgrid.encode.sources.image_set import ImageSet
from oodgrid.encode.sources.layout import Rule
from oodgrid.encode.sources.limit import limited
from oodgrid.encode.sources.lists import listed
from oodgrid.encode.sources.naming import by_pattern, check_gaps, named, untrained
from oodgrid.encode.sources.passing_over import summary
from oodgrid.errors import OodgridError
from oodgrid.labels import has_class

COPIES = {"text": text_tables.with_copies, "pair": pair_tables.with_copies}  # remarks on samples that stand twice

__all__ = ["ImageSet", "class_names", "open_split", "open_splits"]


def open_split(dataset: Dataset, split: str) -> ImageSet:
    """Open one split of a dataset.

    Raises:
        OodgridError: The source is missing, unreadable or empty, its layout could mean two things, or its class names
            do not fit.
    """
    return _part(dataset, _source(dataset, split), split)


def open_splits(dataset: Dataset) -> dict[str, ImageSet]:
    """Open every split of a dataset; a source that holds them all is read once.

    Raises:
        OodgridError: One cannot be opened, or they differ in what a label means.
    """
    first = dataset.split_names[0]
    whole = _source(dataset, first)
    apart = _is_apart(dataset, whole)
    opened = {
        split: _part(dataset, _source(dataset, split) if apart and split != first else whole, split)
        for split in dataset.split_names
    }
    for split, images in opened.items():
        if images.classnames != opened[first].classnames:
            other = sorted(set(images.classnames or ()) ^ set(opened[first].classnames or ()))
            raise OodgridError(
                f"dataset {dataset.name}: its splits {first} and {split} differ in the names of their classes "
                f"({', '.join(other[:3]) or 'in another order'}), and so in what a label means: label them by numbers"
            )
    if dataset.thing in COPIES and not (dataset.derived or dataset.concept_world):
        opened = COPIES[dataset.thing](opened)
    if "train" in opened and opened["train"].classnames is None:
        check_gaps([images.labels for images in opened.values()], f"dataset {dataset.name}")
    if dataset.are_without_class:
        return opened
    return {split: images if split == "test" else untrained(images, split) for split, images in opened.items()}


def _source(dataset: Dataset, split: str) -> ImageSet:
    """Return the images of a source, of all splits that it holds, with their class names and labels from 0."""
    images = _read(dataset, split)
    if dataset.root:
        return _of_classes(
            dataset, images if dataset.classnames is None else replace(images, classnames=dataset.classnames)
        )
    matter = dataset.classnames is not None or "train" in dataset.split_names  # else nobody reads the labels
    renumber = matter and not _is_apart(dataset, images)
    return _of_classes(dataset, named(images, dataset.classnames, f"dataset {dataset.name}", renumber))


def _of_classes(dataset: Dataset, images: ImageSet) -> ImageSet:
    """Return the images of the classes that are taken, with labels from 0; all, where nothing is said of classes."""
    if dataset.classes is None:
        return images
    names = images.classnames
    if names is None:
        raise OodgridError(f"dataset {dataset.name}: its classes have no names: give classnames, or take classes out")
    taken = dataset.taken_labels  # of a dataset of the catalogue; of others the names are known only now
    if taken is None:
        taken = chosen(dataset.classes, names, (), f"dataset {dataset.name}")
    rows = np.flatnonzero(np.isin(images.labels, taken))
    part = images.subset(rows)
    labels = np.searchsorted(taken, part.labels).astype(np.int32)
    return replace(part, labels=labels, classnames=[names[label] for label in taken])


def _is_apart(dataset: Dataset, images: ImageSet) -> bool:
    """Return whether each split is a source of its own."""
    return images.splits is None and len(dataset.split_names) > 1 and not dataset.splits


def _part(dataset: Dataset, images: ImageSet, split: str) -> ImageSet:
    """Return the images of one split."""
    if images.splits is not None:
        images = images.subset(np.flatnonzero([of == split for of in images.splits]))
    if not len(images):
        why = summary(images.passed_over)
        if dataset.thing != "image":
            because = f" ({why})" if (why := "; ".join(filter(None, (why, *images.remarks)))) else ""
            raise OodgridError(f"dataset {dataset.name} holds no {dataset.thing} of its {split} split{because}")
        raise OodgridError(
            f"dataset {dataset.name} holds no image of its {split} split: give it class folders with .jpg, .png or "
            f"other images in it{f' ({why})' if why else ''}"
        )
    images = _drawn(f"dataset {dataset.name}", dataset.splits, images, split) if dataset.splits else images
    name = dataset.real_name if dataset.root else dataset.whole_name
    return limited(images, dataset.limit, f"{name}/{split}") if dataset.limit else images


def class_names(dataset: Dataset) -> list[str]:
    """Return the class names whose texts are to be encoded.

    Raises:
        OodgridError: The source has no names and the configuration gives none.
    """
    names = dataset.known_classes or open_split(dataset, "test").classnames
    if not names:
        raise OodgridError(f"dataset {dataset.name} has no class names: give classnames, or text: visual_prototypes")
    if strange := next((name for name in names if not _is_text(name)), None):
        raise OodgridError(
            f"dataset {dataset.name}: the class {strange!r} is no UTF-8 text: rename it, or give classnames"
        )
    return list(names)


def _is_text(name: str) -> bool:
    """Return whether a name is text: the name of a folder may hold bytes that are not, which a tokenizer would drop."""
    return not any("\udc80" <= character <= "\udcff" for character in name)


def _read(dataset: Dataset, split: str) -> ImageSet:
    rule = Rule("none" if dataset.class_pattern else dataset.class_folder, dataset.split_folders)
    readers: dict[str, Callable[[Any], ImageSet]] = {
        "concept_world": lambda source: arrays.concepts(source, split),
        "generated": arrays.generated,
        "folder": lambda source: files.folder(expand(source), rule),
        "list": listed,
        "archive": lambda source: archives.archive(expand(source), rule),
        "webdataset": lambda source: webdataset.webdataset(source, split),
        "idx": lambda source: arrays.idx(expand(source.images), expand(source.labels)),
        "numpy": arrays.numpy_arrays,
        "torchvision": lambda source: libraries.torchvision(source, split),
        "hf": lambda source: libraries.hugging_face(source, split),
        "texts": lambda source: text_tables.open_texts(source, split),
        "pairs": lambda source: _pairs(dataset, split),
        "root": lambda source: _real(dataset, split),
    }
    for name, reader in readers.items():
        if (source := dataset.source(name)) is not None:
            images = reader(source)
            return by_pattern(images, dataset.class_pattern, dataset.name) if dataset.class_pattern else images
    raise OodgridError(f"dataset {dataset.name} was imported and has no images: run oodgrid import for it")


def _pairs(dataset: Dataset, split: str) -> ImageSet:
    """Return the pairs of a table, of all splits that it has; of a scenario those of one split."""
    table, scenario, origin = dataset.pairs_, dataset.derived, dataset.origin
    assert table is not None  # who calls has seen it
    if scenario is None:
        return pair_tables.open_pairs(table)
    if origin is None:
        raise OodgridError(f"dataset {dataset.name} is made of pairs of {table.of}, which is not described beside it")
    return derived(open_split(origin, split), scenario, origin)


def _real(dataset: Dataset, split: str) -> ImageSet:
    """Return a split of a dataset of the catalogue, from where it lies below the root."""
    from oodgrid.encode import real  # it is made of the readers of this package

    location = real.find(dataset.real_name, expand(str(dataset.root)))
    return real.read_split(location, split, dataset.may_be_incomplete)


def _drawn(where: str, splits: Splits, images: ImageSet, split: str) -> ImageSet:
    """Return the images of one split of a source that has none of its own."""
    drawn = images.subset(_split_rows(where, splits, images, split))
    if not (without := int((~has_class(images.labels)).sum())):
        return drawn
    return replace(drawn, remarks=(*drawn.remarks, f"{without} without a class stay in the test split"))


def _split_rows(where: str, splits: Splits, images: ImageSet, split: str) -> np.ndarray:
    """Return the rows of one split: a seeded draw in each class, the same whatever the order of the files.

    Images without a class are for the test split: nothing can be learned from them or selected by them.
    """
    labels = images.labels
    known = has_class(labels)
    if not known.any():
        raise OodgridError(
            f"{where}: splits take {images.thing}s of every class, and no {images.thing} has one: leave out splits"
        )
    rows: list[int] = [] if split in ("train", "val") else np.flatnonzero(~known).tolist()
    for label in np.unique(labels[known]):
        members = np.flatnonzero(labels == label).tolist()
        if len(members) <= splits.train + splits.val:
            name = images.classnames[label] if images.classnames else label
            raise OodgridError(
                f"{where}: class {name} has {counted(len(members), images.thing)}, too few for "
                f"{splits.train} train + {splits.val} val and a test {images.thing}"
                + "".join(f" ({r})" for r in images.remarks)
            )
        seed = hashlib.sha256(f"{splits.seed}/{label}".encode()).digest()
        random.Random(seed).shuffle(members)
        cuts = {"train": slice(0, splits.train), "val": slice(splits.train, splits.train + splits.val)}
        rows += members[cuts.get(split, slice(splits.train + splits.val, None))]
    return np.sort(np.asarray(rows, dtype=np.int64))
