"""Of a large training split, the images that the draws take: which they are is known from labels alone.

The draws are those of the whole split, and so are the features, to the last bit. What other files of the same split
hold is taken from there, so that more seeds or shots encode only what is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import backbones, paths, store
from oodgrid.config import Backbone, IdDataset
from oodgrid.encode.chunks import Chunks
from oodgrid.encode.images import describe
from oodgrid.encode.kinds import KINDS
from oodgrid.encode.sources import ImageSet, open_splits
from oodgrid.encode.sources.checking import report_remarks
from oodgrid.encode.work import WHOLE, Work, is_unchanged
from oodgrid.errors import OodgridError
from oodgrid.fewshot import BROKEN_ROWS, drawn_rows
from oodgrid.identity import digest
from oodgrid.kept import JOINED, Kept, link
from oodgrid.labels import has_class

ROWS = 256  # gathered at a time


def encode_drawn(results: Path, backbone: Backbone, dataset: IdDataset) -> Path:
    """Encode what the draws of an experiment take of a training split, and return the file.

    A broken image stops it, or with `on_error: skip` the draws that take it are made again without it; no others.

    Raises:
        OodgridError: The source or the backbone cannot be read, or an image is broken; what was finished stays.
        NoDraw: No training image has a class.
    """
    draws = dataset.draws
    if draws is None:
        raise OodgridError(f"the whole training split of {dataset.name} is encoded: write train: drawn under it")
    loaded = backbones.load(backbone)
    opened = open_splits(dataset)
    kind = KINDS[dataset.thing]
    images, prepare = kind.remarked(loaded, opened["train"]), kind.prepare(loaded)
    report_remarks(dataset, {"train": images})
    about = describe(loaded, backbone, dataset, "train", images)
    provenance = {**about, "draws": {"shots": list(draws.shots), "seeds": list(draws.seeds)}}
    whole = Kept(results, "encode").place(provenance) / JOINED
    path = paths.features(results, backbone.name, dataset.name, dataset.file_of("train"))
    whole_split = [path.with_name("train.h5"), Kept(results, "encode").place(about) / JOINED]
    files = [whole, *sorted(path.parent.glob("train.drawn-*.h5")), *whole_split]
    donors = Donors(images, about, files)
    val_labels = opened["val"].labels if "val" in opened and has_class(opened["val"].labels).any() else None
    skip, local = dataset.on_error == "skip", backbone.local_features
    rounds = []
    skipped: list[list[str]] = []
    if skip:
        work = Work(loaded, images, upright=dataset.exif_rotation, prepare=prepare)
        skipped = donors.still_broken(whole, work)
    broken = donors.rows_of(skipped)
    while len(missing := donors.lacking(rows := drawn_rows(images.labels, val_labels, *draws, broken))):
        names = digest([images.paths[row] for row in missing])
        part = images.subset(missing)
        identity = {**about, "images": names, "draws": provenance["draws"]}  # or two jobs would share these chunks
        rounds.append(chunks := Chunks(results, identity, loaded, part, skip=skip, local=local, prepare=prepare))
        title = f"encode {backbone.name}/{dataset.name}/train, {len(missing):,} of {len(rows):,} drawn"
        file = chunks.joined(partial(kind.encode, chunks, WHOLE, title), may_be_empty=skip)
        donors.add(file)
        skipped += donors.skipped(file)
        broken = donors.rows_of(skipped)
        if left := [row for row in donors.lacking(missing).tolist() if row not in broken]:
            raise OodgridError(
                f"{images.place(left[0])} is no more what it was when it was encoded a moment ago: run again, when "
                "nobody changes the images"
            )
    account = {"skipped": skipped, BROKEN_ROWS: broken, "parity": donors.parity, **images.account}
    provenance |= {name: value for name, value in account.items() if value}
    store.write_features(whole, donors.gathered(rows, provenance))
    link(whole, path)
    for chunks in rounds:
        chunks.remove()
    return path


class Donors:
    """Feature files of images of one split, encoded alike."""

    def __init__(self, images: ImageSet, about: dict[str, Any], files: list[Path]) -> None:
        """Open those of some files that are there, undamaged, and of the same backbone and images."""
        self.images, self.about = images, about
        self.files: list[Path] = []
        self.opened: list[tuple[store.Sources, store.StoredRows]] = []
        self.where: dict[int, tuple[int, int]] = {}  # row of the split: number of the file, place in it
        for file in filter(Path.exists, files):
            self.add(file)

    @property
    def parity(self) -> dict[str, float] | None:
        """How far features in less than fp32 are from those in it, where a file says so."""
        return next((parity for sources, _ in self.opened if (parity := sources.provenance.get("parity"))), None)

    @cached_property
    def position(self) -> dict[str, int]:
        """The row of every image in the split, by its path."""
        return {path: row for row, path in enumerate(self.images.paths)}

    def skipped(self, file: Path) -> list[list[str]]:
        """Return path and reason of the images that were broken when a file was made; none where it was not taken."""
        opened = dict(zip(self.files, self.opened, strict=True))
        return opened[file][0].provenance.get("skipped", []) if file in opened else []

    def still_broken(self, file: Path, work: Work) -> list[list[str]]:
        """Return the same, as far as they are broken now as well."""
        return [[name, why] for name, why in self.skipped(file) if work.is_broken(self.position[name])]

    def rows_of(self, skipped: list[list[str]]) -> list[int]:
        """Return the rows of some images, given by path and reason, rising."""
        return sorted(self.position[name] for name, _ in skipped)

    def add(self, file: Path) -> None:
        """Take another file into account; not where it is damaged: then its images are encoded again."""
        with suppress(OodgridError):
            sources, features = store.open_features(file)
            if digest({name: sources.provenance.get(name) for name in self.about}) == digest(self.about):
                self.files.append(file)
                self.opened.append((sources, features))

    def lacking(self, rows: np.ndarray) -> np.ndarray:
        """Return those of some rows of the split whose images, as they are now, no file holds."""
        for number, (sources, _) in enumerate(self.opened):
            left = [row for row in rows.tolist() if row not in self.where]
            places = {name: place for place, name in enumerate(sources.paths)} if left else {}
            for row in left:
                place = places.get(self.images.paths[row])
                if place is None or sources.stamps is None:
                    continue
                if is_unchanged(self.images, row, sources.stamps[place], sources.sha256[place]):
                    self.where[row] = number, place
        return np.array([row for row in rows.tolist() if row not in self.where], dtype=np.int64)

    def gathered(self, rows: np.ndarray, provenance: dict[str, Any]) -> store.NewFeatures:
        """Return the features of some rows, which rise, in blocks."""
        numbers, places = np.array([self.where[row] for row in rows.tolist()]).T
        of_rows = [(self.opened[number][0], place) for number, place in zip(numbers, places, strict=True)]
        local = None
        if "local_features" in self.about:
            used = [places[numbers == number] for number in range(len(self.files))]
            rows_of = [_local(*each) for each in zip(self.files, used, strict=True) if len(each[1])]
            files = np.unique(numbers)  # that are used, in the order of those above
            local = _gather(rows_of, np.searchsorted(files, numbers), _counted(numbers))
        return store.NewFeatures(
            _gather([features for _, features in self.opened], numbers, places),
            self.images.labels[rows],
            [self.images.paths[row] for row in rows],
            np.stack([sources.sha256[place] for sources, place in of_rows]),
            provenance,
            stamps=np.stack([sources.stamps[place] for sources, place in of_rows if sources.stamps is not None]),
            local_features=local,
            rows=rows,
            split_labels=self.images.labels,
            texts=None if self.images.texts is None else [self.images.texts[row] for row in rows.tolist()],
            layer_features=_gather([_layers(file) for file in self.files], numbers, places)
            if "layer_features" in self.about
            else None,
        )


def _local(file: Path, places: np.ndarray) -> store.StoredRows:
    stored = store.open_local_rows(file, places)
    if stored is None:
        raise OodgridError(f"{file} has no local features, though it says so: delete it")
    return stored


def _layers(file: Path) -> store.StoredRows:
    stored = store.open_layer_features(file)
    if stored is None:
        raise OodgridError(f"{file} has no layer features, though it says so: delete it")
    return stored


def _counted(numbers: np.ndarray) -> np.ndarray:
    """Return how many entries before each are the same, shape (n,)."""
    before = np.empty(len(numbers), np.int64)
    for number in np.unique(numbers):
        before[numbers == number] = np.arange((numbers == number).sum())
    return before


def _gather(arrays: list[store.StoredRows], numbers: np.ndarray, places: np.ndarray) -> store.Blocks:
    """Return rows (n, …), each at a place in one of some arrays, in blocks."""

    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, len(numbers), ROWS):
            some, where = numbers[first : first + ROWS], places[first : first + ROWS]
            block = np.empty((len(some), *arrays[0].shape[1:]), arrays[0].dtype)
            for number in np.unique(some):
                block[some == number] = arrays[number][where[some == number]]
            yield block

    return store.Blocks((len(numbers), *arrays[0].shape[1:]), arrays[0].dtype, blocks())
