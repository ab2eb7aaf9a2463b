"""Pairs that are made of those of another dataset: misaligned, of a new domain, or with noise on the images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from oodgrid.config import Dataset, Derived
from oodgrid.encode.decode import decode
from oodgrid.encode.scenarios import noisy_pixels, texts_of_others
from oodgrid.encode.sources.image_set import ImageSet
from oodgrid.errors import OodgridError
from oodgrid.labels import NO_CLASS


def derived(pairs: ImageSet, scenario: Derived, origin: Dataset) -> ImageSet:
    """Return a scenario of the pairs of one split.

    Pairs that are misaligned or noisy have no class, whatever the dataset that they are made of.

    Raises:
        OodgridError: The dataset has no pairs, or too few classes.
    """
    if pairs.captions is None:
        raise OodgridError(f"dataset {origin.name} has no pairs to make {scenario.scenario} ones of")
    kinds = [scenario.scenario] * len(pairs)
    if scenario.scenario == "new_domain":
        return replace(pairs, kinds=kinds)
    make = _misaligned if scenario.scenario == "misaligned" else _noisy
    no_class = np.full(len(pairs), NO_CLASS, np.int32)
    return replace(make(pairs, scenario, origin), labels=no_class, classnames=None, kinds=kinds)


def _misaligned(pairs: ImageSet, scenario: Derived, origin: Dataset) -> ImageSet:
    captions = list(pairs.captions or ())
    rows = texts_of_others(pairs.labels, captions, scenario.seed, f"dataset {origin.name}")
    return replace(pairs, captions=[captions[row] for row in rows.tolist()])


def _noisy(pairs: ImageSet, scenario: Derived, origin: Dataset) -> ImageSet:
    def read(row: int) -> np.ndarray:
        picture = decode(pairs.read(row), pairs.place(row), origin.exif_rotation)
        return noisy_pixels(np.asarray(picture), scenario.strength, scenario.seed, pairs.paths[row])

    return replace(pairs, read=read)
