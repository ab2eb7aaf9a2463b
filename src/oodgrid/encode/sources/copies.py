"""Whether an OOD set holds images of its ID set: each of them would be asked for as ID and as OOD.

Encoded images are compared by the digests that their files hold. Of others only those are read that have the size of
one on the other side, as long as a user waits; the rest is compared at a later start, if one comes between encoding and
metrics: a run that goes through at once compares no more than was read before its first job. Nothing is compared where
there are metrics, which every start of a finished experiment would do again, nor images that are generated: what they
are follows from their entry, and the same one under two names is refused by its identity.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from oodgrid import paths, plan, store
from oodgrid.config import Dataset, Experiment, IdDataset
from oodgrid.counts import counted, plural
from oodgrid.encode.sources.image_set import ImageSet
from oodgrid.errors import Mistakes, printable

READ = 100_000_000  # bytes of images that are read while a user waits
Opened = Mapping[str, Mapping[str, ImageSet]]  # by dataset and split


@dataclass
class Contents:
    """What the images of one split are, as far as it is known.

    Attributes:
        paths: Their N names.
        sizes: Shape (N,), bytes of each; -1 where unknown.
        keys: Shape (N,), uint64, the first eight bytes of each digest, enough to tell images apart; 0 where unknown.
        images: The samples, of which more may be read; None where no more is to be read.
    """

    paths: Sequence[str]
    sizes: np.ndarray
    keys: np.ndarray
    images: ImageSet | None = None

    @cached_property
    def rows_of_size(self) -> dict[int, list[int]]:
        """The rows by their size, without those of unknown size."""
        rows: dict[int, list[int]] = {}
        for row, size in enumerate(self.sizes.tolist()):
            if size >= 0:
                rows.setdefault(size, []).append(row)
        return rows


def check_copies(results: Path, experiment: Experiment, opened: Opened) -> None:
    """Refuse OOD sets that hold images of their ID set, or say so where the configuration allows an overlap.

    Args:
        results: The results folder.
        experiment: The experiment.
        opened: The splits of datasets that are still to be encoded, as far as they were opened.

    Raises:
        OodgridError: `Mistakes` has a line for each such OOD set.
    """
    if paths.metrics(results, experiment.experiment).exists():
        return
    contents = {dataset.name: _contents(results, experiment, dataset, opened) for dataset in experiment.datasets()}
    left, mistakes = READ, []
    for dataset in experiment.id_datasets:
        for ood in (ood for kind, ood in dataset.pairs() if kind != "covariate"):
            for own in contents[dataset.name]:
                for other in contents[ood.name]:
                    left -= _read_alike(own, other, left)
            line = _line(dataset, ood, contents[dataset.name], contents[ood.name])
            if line and dataset.allow_overlap:
                print(f"oodgrid: {line}", file=sys.stderr)
            elif line:
                mistakes.append(f"{line}. Take them out, or write allow_overlap: true under {dataset.name}")
    if mistakes:
        raise Mistakes(mistakes)


def _contents(results: Path, experiment: Experiment, dataset: Dataset, opened: Opened) -> list[Contents]:
    """Return what is known of the splits of a dataset: from its feature files, else as they were opened."""
    if dataset.concept_world or dataset.generated:
        return []
    for backbone in experiment.backbones:
        files = plan.split_files(results, backbone.name, dataset)
        if files and all(file.exists() for file in files):
            return [_encoded(store.read_sources(file)) for file in files]
    return [_of_images(images) for images in opened.get(dataset.name, {}).values()]


def _encoded(sources: store.Sources) -> Contents:
    sizes = np.full(len(sources.paths), -1) if sources.stamps is None else sources.stamps[:, 0]
    return Contents(sources.paths, sizes, _keys(sources.sha256))


def _of_images(images: ImageSet) -> Contents:
    sizes = np.array([images.stamp(row)[0] for row in range(len(images))], np.int64)
    return Contents(images.paths, sizes, np.zeros(len(images), np.uint64), images)


def _keys(digests: np.ndarray) -> np.ndarray:
    """Return the first eight bytes of digests, shape (N, 32), as numbers, shape (N,)."""
    return np.ascontiguousarray(digests[:, :8]).view(np.uint64)[:, 0]


def _read_alike(one: Contents, other: Contents, most: int) -> int:
    """Read the images of two sets that are alike in size, up to so many bytes, and return how many were read."""
    if one.images is None and other.images is None:
        return 0
    total = 0
    for size in one.rows_of_size.keys() & other.rows_of_size.keys():
        for contents in (one, other):
            for row in contents.rows_of_size[size] if contents.images else ():
                if not contents.keys[row] and total < most:
                    total += _read(contents, row)
    return total


def _read(contents: Contents, row: int) -> int:
    assert contents.images is not None  # who calls has seen it
    try:
        source = contents.images.read(row)
    except Exception:  # encoding says what is wrong with it
        return 0
    contents.keys[row] = _keys(np.frombuffer(contents.images.sha256(row, source), np.uint8)[None])[0]
    return len(source) if isinstance(source, bytes) else source.nbytes


def _line(dataset: IdDataset, ood: Dataset, own: list[Contents], others: list[Contents]) -> str | None:
    """Return what to say of an OOD set that holds images of the ID set; None where no such is known."""
    keys = np.concatenate([np.zeros(0, np.uint64), *(each.keys for each in own)])
    rows = [np.flatnonzero(np.isin(each.keys, keys) & (each.keys != 0)) for each in others]
    count = sum(map(len, rows))
    if not count:
        return None
    first, row = next((each, each_rows[0]) for each, each_rows in zip(others, rows, strict=True) if len(each_rows))
    here = next(each.paths[k] for each in own for k in np.flatnonzero(each.keys == first.keys[row])[:1])
    there, here = printable(first.paths[row]), printable(here)
    return (
        f"OOD set {ood.name} overlaps ID set {dataset.name}: {count:,} of its "
        f"{counted(sum(len(each.paths) for each in others), 'sample')} {plural(count, 'is a sample', 'are samples')} "
        f"of the ID set too, the first {there if there == here else f'{there}, there {here}'}"
    )
