"""Texts of datasets of the catalogue: the files that a layout names, read as `texts:` of a configuration reads them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from oodgrid.catalogue import real
from oodgrid.config import TextTable
from oodgrid.encode.real.places import Location
from oodgrid.encode.sources.image_set import ImageSet
from oodgrid.encode.sources.text_tables import open_texts
from oodgrid.labels import NO_CLASS


def texts(location: Location, split: str) -> ImageSet:
    """Return the texts of a split with the labels and class names of the catalogue.

    Raises:
        OodgridError: A file is not as it should be, or names a class that is none.
    """
    samples = open_texts(_table(location, split), split)
    if samples.splits is not None:
        samples = replace(samples.subset(np.flatnonzero([of == split for of in samples.splits])), splits=None)
    classes = real.class_keys(location.name)
    if not classes:
        return replace(samples, labels=np.full(len(samples), NO_CLASS, np.int32), classnames=None)
    keys = {word: label for label, key in enumerate(classes) for word in (key, key.replace("_", " "))}
    words = samples.classnames or [str(label) for label in range(int(samples.labels.max(initial=-1)) + 1)]
    if strange := next((word for word in words if word not in keys), None):
        raise location.mistake(f"{samples.where} has the class {strange!r}, which is none of its: get the file anew")
    label_of = np.array([*(keys[word] for word in words), NO_CLASS], dtype=np.int32)  # -1 takes the last
    return replace(samples, labels=label_of[samples.labels], classnames=list(classes.values()))


def _table(location: Location, split: str) -> TextTable:
    """Return what `texts:` would say of the file of a split, which may hold all splits."""
    places = dict(location.layout.splits)
    file = str(location.path(split))
    shared = list(places.values()).count(places[split]) > 1  # type: ignore[index]
    by_split = {} if shared or location.layout.table.get("splits") else {"file": {split: file}}
    return TextTable.model_validate({"file": file, **location.layout.table, **by_split})
