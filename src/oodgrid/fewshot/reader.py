"""The reader of few-shot sets: the samples for fitting, for selection, and for the calibration of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from oodgrid import paths, store
from oodgrid.config import IdDataset
from oodgrid.counts import counted, plural
from oodgrid.errors import OodgridError
from oodgrid.fewshot.draws import NoDraw, draw
from oodgrid.identity import digest
from oodgrid.labels import NO_CLASS, check_classes, has_class
from oodgrid.texts import CLASSES, HEAD

BROKEN_ROWS = "broken_rows"  # of the whole split, in the provenance of what draws alone take of it
ABOUT = ("encode_version", "backbone", "dataset", "classnames", "local_features")  # of a provenance: whose features


@dataclass(frozen=True)
class Rows:
    """Some samples of one split, with their features and labels.

    Attributes:
        split: Name of the split; "" where there are no samples.
        of: The whole split; None where there are no samples.
        rows: Shape (n,), row numbers into the split.
    """

    split: str = ""
    of: store.Features | None = None
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def features(self) -> np.ndarray:
        """Shape (n, D), float32, as cached; (0, 0) where there is no split."""
        return np.empty((0, 0), np.float32) if self.of is None else self.of.image_features[self.rows]

    @property
    def text_features(self) -> np.ndarray | None:
        """Of pairs, shape (n, D), float32: those of their texts; None where the samples are no pairs."""
        whole = None if self.of is None else self.of.text_features
        return None if whole is None else whole[self.rows]

    @property
    def labels(self) -> np.ndarray:
        """Shape (n,), none of them -1."""
        return np.empty(0, np.int32) if self.of is None else self.of.labels[self.rows]


@dataclass(frozen=True)
class Drawn:
    """The samples of one (shots, seed); none is of the test split.

    Attributes:
        bank: The shots, from which a method learns, and with which scores of a bank compare.
        val: The few-shot validation samples, none of them among the shots; maybe none.
    """

    bank: Rows = field(default_factory=Rows)
    val: Rows = field(default_factory=Rows)


@dataclass(frozen=True)
class FewShot:
    """The labelled splits of one ID dataset under one backbone, as cached, and the draws of them.

    Calibration of a score uses the shots and the few-shot validation samples, always. Selection of hyper-parameters
    by a fit uses the validation samples, or the whole test split where the configuration says
    `leaky_selection_on_test`: that option changes `selection` and nothing else.

    Attributes:
        results: The results folder.
        backbone: Name.
        dataset: The ID dataset.
    """

    results: Path
    backbone: str
    dataset: IdDataset

    @cached_property
    def train(self) -> store.Features | None:
        """The train split, or None where the dataset has none."""
        return self._checked("train")

    @cached_property
    def val(self) -> store.Features | None:
        """The val split, or None where the dataset has none, or none of its samples has a class."""
        split = self._checked("val")
        return split if split is not None and has_class(split.labels).any() else None

    @cached_property
    def leaked(self) -> store.Features | None:
        """The test split where the configuration allows selection on it, else None."""
        return self._checked("test") if self.dataset.leaky_selection_on_test else None

    def digests(self, shots: int, seed: int) -> dict[str, str | None]:
        """Return digests of what a draw is taken from: of whole splits, so that they are those of all draws.

        Of a training split that is encoded for some draws alone, it is that of the samples of the draw itself: more
        seeds change no draw that was there.
        """
        digests = {name: split.digest if split else None for name, split in (("train", self.train), ("val", self.val))}
        if self.train is not None and self.train.rows is not None:
            digests["train"] = self._digest_of(shots, seed)
        return digests

    def _digest_of(self, shots: int, seed: int) -> str | None:
        try:
            drawn = self.draw(shots, seed)
        except NoDraw:
            return None
        parts = [rows for rows in (drawn.bank, drawn.val) if rows.split == "train" and rows.of is not None]
        arrays = [(rows.features, rows.labels, rows.of.sha256[rows.rows]) for rows in parts if rows.of]
        about = {name: rows.of.provenance.get(name) for rows in parts[:1] if rows.of for name in ABOUT}
        return digest([about, [store.checksum(array) for of_part in arrays for array in of_part]]) if parts else None

    @cached_property
    def classes(self) -> int | None:
        """Number of classes K: by class texts or head, else the class names, else the training labels; None without."""
        for source in (CLASSES, HEAD):
            file = source.path(self.results, self.backbone, self.dataset.name)
            if self.dataset.text_under(self.backbone) == source.stands and file.exists():
                return store.array_shapes(file)["text_features"][0][1]
        if not self.file("train").exists():  # or another job is still to make it
            return None
        labels, _, provenance = store.read_labels(self.file("train"))
        return len(provenance.get("classnames") or ()) or int(labels.max(initial=-1)) + 1

    def draw(self, shots: int, seed: int) -> Drawn:
        """Return the shots and the validation samples of a draw; neither for methods without shots (0).

        Raises:
            NoDraw: There is no training split, or an import holds no such draw.
        """
        if not shots:
            return Drawn()
        if self.train is None:
            raise NoDraw(f"{self.dataset.name} has no training split")
        val_labels = None if self.val is None else self.val.labels
        labels, broken = self._train_labels(self.train), self.train.provenance.get(BROKEN_ROWS, ())
        rows = draw(labels, val_labels, shots, seed, self.train.draws, broken)
        bank = Rows("train", self.train, self._places(self.train, rows.train))
        if rows.val_from_train:
            return Drawn(bank, Rows("train", self.train, self._places(self.train, rows.val)))
        return Drawn(bank, Rows() if self.val is None else Rows("val", self.val, rows.val))

    def selection(self, drawn: Drawn) -> Rows:
        """Return the samples on which a fit selects: those for validation, or the test split where that is allowed."""
        return self._labelled("test", self.leaked) if self.leaked and len(drawn.bank) else drawn.val

    def whole_train(self) -> Rows:
        """Return every training sample that has a class.

        Raises:
            OodgridError: Not all of them were encoded.
        """
        if self.train is not None and self.train.rows is not None:
            raise OodgridError(
                f"{self.file('train')} holds what draws take alone, and the whole training split is asked for: take "
                f"train: drawn out of {self.dataset.name}"
            )
        return self._labelled("train", self.train)

    def remarks(self, shots: int, seeds: Sequence[int]) -> list[str]:
        """Return the remarks for tables on the draws of so many shots: classes with fewer, seeds that are all alike."""
        if not shots or self.train is None:
            return []
        labels = self._train_labels(self.train).copy()
        labels[self.train.provenance.get(BROKEN_ROWS, [])] = NO_CLASS
        return count_remarks(labels, self.train.draws, shots, seeds)

    def file(self, split: str) -> Path:
        """Return the feature file of a split, the training split's of the draws where these alone are encoded."""
        return paths.features(self.results, self.backbone, self.dataset.name, self.dataset.file_of(split))

    def split_rows(self, rows: np.ndarray) -> np.ndarray:
        """Return which rows of the whole training split some rows of its feature file are."""
        return rows if self.train is None or self.train.rows is None else self.train.rows[rows]

    def check_labels(self, labels: np.ndarray, split: str) -> None:
        """Refuse labels of a split that are none of this dataset's classes.

        Raises:
            OodgridError: A label is none; the message names file and row.
        """
        if self.classes is not None:
            check_classes(labels, self.classes, self.file(split))

    def _is_there(self, split: str) -> bool:
        """Whether there is such a split: the configuration names it, or it was imported."""
        return (not self.dataset.imported and split in self.dataset.split_names) or self.file(split).exists()

    def _checked(self, split: str) -> store.Features | None:
        if not self._is_there(split):
            return None
        features = store.read_features(self.file(split))
        self.check_labels(features.labels, split)
        if features.text_features is not None and split != "test" and not has_class(features.labels).any():
            return replace(features, labels=np.zeros_like(features.labels))  # captions alone: drawn as of one class
        return features

    @staticmethod
    def _train_labels(train: store.Features) -> np.ndarray:
        """Return the labels of the whole training split, from which draws are taken."""
        return train.labels if train.split_labels is None else train.split_labels

    def _places(self, train: store.Features, rows: np.ndarray) -> np.ndarray:
        """Return where rows of the whole training split stand in its feature file."""
        if train.rows is None:
            return rows
        if not np.isin(rows, train.rows).all():
            raise OodgridError(
                f"{self.file('train')} lacks images that a draw takes: delete it, and the next run makes it again"
            )
        return np.searchsorted(train.rows, rows)

    @staticmethod
    def _labelled(split: str, features: store.Features | None) -> Rows:
        return Rows() if features is None else Rows(split, features, np.flatnonzero(has_class(features.labels)))


def count_remarks(labels: np.ndarray, draws: np.ndarray | None, shots: int, seeds: Sequence[int]) -> list[str]:
    """Return the remarks for tables on the draws of so many shots from training labels, shape (N,).

    Args:
        labels: Of the training split.
        draws: The shots of the fixed draw of each row, as `draw` takes them, or None.
        shots: Images per class.
        seeds: The seeds of the draws.
    """
    if draws is not None:
        labels = labels[draws == shots]
    counts = np.unique(labels[has_class(labels)], return_counts=True)[1]
    fewer = counts[counts < shots]
    remarks = []
    if len(fewer):
        remarks.append(
            f"{len(fewer):,} of {counted(len(counts), 'class', 'classes')} {plural(len(fewer), 'has', 'have')} "
            f"fewer than {counted(shots, 'training sample')} (the fewest: {min(fewer)})"
        )
    if len(set(seeds)) > 1 and draws is not None:
        remarks.append(f"all seeds have the same shots: the import brought one draw of {shots}")
    elif len(set(seeds)) > 1 and len(counts) and max(counts) <= shots:
        remarks.append(f"all seeds draw the same shots: no class has more than {counted(shots, 'training sample')}")
    return remarks
