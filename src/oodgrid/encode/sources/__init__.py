"""Where images come from: one reader for each source that a dataset can name in the configuration."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

import numpy as np

from oodgrid.config import Dataset, expand
from oodgrid.encode.sources import archives, arrays, files, libraries
from oodgrid.encode.sources.image_set import SUFFIXES, ImageSet
from oodgrid.errors import OodgridError
from oodgrid.labels import has_class

__all__ = ["ImageSet", "class_names", "open_split"]


def open_split(dataset: Dataset, split: str) -> ImageSet:
    """Open one split of a dataset.

    Raises:
        OodgridError: The source is missing, unreadable or empty, or its class names do not fit.
    """
    images = _read(dataset, split)
    if not len(images):
        raise OodgridError(
            f"dataset {dataset.name} holds no image of its {split} split: look for class folders with "
            f"{', '.join(sorted(SUFFIXES))} in it"
        )
    images = _named(dataset, images)
    return images.subset(_split_rows(dataset, images.labels, split)) if dataset.splits else images


def class_names(dataset: Dataset) -> list[str]:
    """Return the class names whose texts are to be encoded.

    Raises:
        OodgridError: The source has no names and the configuration gives none.
    """
    names = dataset.classnames or open_split(dataset, "test").classnames
    if not names:
        raise OodgridError(f"dataset {dataset.name} has no class names: give classnames, or text: visual_prototypes")
    if "" in names:
        raise OodgridError(
            f"dataset {dataset.name}: a class has no name, as that of images which lie beside the class folders: "
            "move them into one, or give classnames"
        )
    if strange := next((name for name in names if not _is_text(name)), None):
        raise OodgridError(
            f"dataset {dataset.name}: the class {strange!r} is no UTF-8 text: rename it, or give classnames"
        )
    return list(names)


def _is_text(name: str) -> bool:
    """Say whether a name is text throughout: folders may have bytes in theirs that are not, which a tokenizer drops."""
    return not any("\udc80" <= character <= "\udcff" for character in name)


def _read(dataset: Dataset, split: str) -> ImageSet:
    readers = {
        "concept_world": lambda source: arrays.concepts(dataset, split),
        "generated": lambda source: arrays.generated(dataset),
        "folder": lambda source: files.folder(expand(source)),
        "list": lambda source: files.listed(source, split),
        "archive": lambda source: archives.archive(expand(source)),
        "webdataset": lambda source: archives.webdataset(source, split),
        "idx": lambda source: arrays.idx(expand(source.images), expand(source.labels)),
        "numpy": arrays.numpy_arrays,
        "torchvision": lambda source: libraries.torchvision(source, split),
        "hf": lambda source: libraries.hugging_face(source, split),
    }
    for name, reader in readers.items():
        if (source := dataset.source(name)) is not None:
            return reader(source)
    raise OodgridError(f"dataset {dataset.name} was imported and has no images: run oodgrid import for it")


def _named(dataset: Dataset, images: ImageSet) -> ImageSet:
    if dataset.classnames is None:
        return images
    # where labels are numbers, a split may lack the last classes; where they are names, every name is there
    found = len(images.classnames) if images.classnames else int(images.labels.max()) + 1
    if len(dataset.classnames) < found or (images.classnames and len(dataset.classnames) > found):
        raise OodgridError(
            f"dataset {dataset.name}: {len(dataset.classnames)} classnames for {found} classes of images"
        )
    return replace(images, classnames=list(dataset.classnames))


def _split_rows(dataset: Dataset, labels: np.ndarray, split: str) -> np.ndarray:
    """Return the rows of one split: a seeded draw in each class, the same whatever the order of the files.

    Images without a class are for the test split: nothing can be learned from them or selected by them.
    """
    wanted, known = dataset.splits, has_class(labels)
    if not known.any():
        raise OodgridError(
            f"dataset {dataset.name}: splits take images of every class, and no image has one: leave out splits"
        )
    rows: list[int] = [] if split in ("train", "val") else np.flatnonzero(~known).tolist()
    for label in np.unique(labels[known]):
        members = np.flatnonzero(labels == label).tolist()
        if len(members) <= wanted.train + wanted.val:
            raise OodgridError(
                f"dataset {dataset.name}: class {label} has {len(members)} images, too few for "
                f"{wanted.train} train + {wanted.val} val and a test image"
            )
        seed = hashlib.sha256(f"{wanted.seed}/{label}".encode()).digest()
        random.Random(seed).shuffle(members)
        cuts = {"train": slice(0, wanted.train), "val": slice(wanted.train, wanted.train + wanted.val)}
        rows += members[cuts.get(split, slice(wanted.train + wanted.val, None))]
    return np.sort(np.asarray(rows, dtype=np.int64))
