"""What one (method, shots, seed) gives to the scores: read from the files that encode and adapt left."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import paths, sampling, store
from oodgrid.config import ANY, Experiment, IdDataset
from oodgrid.errors import OodgridError
from oodgrid.grid import units
from oodgrid.score.contract import Bank, Head, normalise


@dataclass(frozen=True)
class UnitFiles:
    """One fit, as its files say it.

    Attributes:
        shots, seed, status, reason: As in metrics.parquet.
        classifier: File with prototypes and bias; None for `any`.
        leaves: What apply left of every set: "prototypes" (nothing more), "features" or "logits".
        sets: Files with changed features or logits, by dataset.
        bank: File with the changed shots; None where features are as cached.
        val: File with changed features or logits of the validation images, likewise.
    """

    shots: int
    seed: int
    status: str
    reason: str | None = None
    classifier: str | None = None
    leaves: str = "prototypes"
    sets: dict[str, str] = field(default_factory=dict)
    bank: str | None = None
    val: str | None = None


Rows = tuple[store.Features, np.ndarray]  # a split, and row numbers of it


@dataclass(frozen=True)
class Labelled:
    """The train and val splits of one ID set, as cached, and the draws of them."""

    name: str
    train: store.Features | None
    val: store.Features | None

    @property
    def digests(self) -> list[str | None]:
        """Digests of both."""
        return [part.digest if part else None for part in (self.train, self.val)]

    def draw(
        self, shots: int, seed: int
    ) -> tuple[tuple[store.Features, np.ndarray], tuple[store.Features, np.ndarray]]:
        """Return the split and the rows of the shots, and of the validation images (maybe none).

        Raises:
            sampling.NoDraw: There is no such draw.
        """
        if self.train is None:
            raise sampling.NoDraw(f"{self.name} has no training split")
        drawn = sampling.draw(self.train.labels, self.val and self.val.labels, shots, seed, self.train.draws)
        return (self.train, drawn.train), (self.train if drawn.val_from_train or not self.val else self.val, drawn.val)


class UnitInputs:
    """One fit with everything that its scores may ask for; what all sets share is made once.

    Attributes:
        files: What apply left.
    """

    def __init__(self, results: Path, files: UnitFiles, labelled: Labelled) -> None:
        self.results, self.files, self.labelled = results, files, labelled

    def inputs(self, name: str, features: store.Features) -> dict[str, Any]:
        """Return what there is, by the names of `oodgrid.score.contract`, for one dataset."""
        left = self._left(self.files.sets.get(name))
        given: dict[str, Any] = {"features": normalise(left.get("features", features.image_features))}
        width = given["features"].shape[1]
        if "logits" in left:
            given["logits"] = left["logits"].astype(np.float64)
        elif self._head is not None:
            self._check_width(width, self._head.weights.shape[1], name, "prototypes")
            given |= {"head": self._head, "logits": self._head.logits(given["features"])}
        if self._negatives is not None:
            given["negative_logits"] = np.einsum("nd,kjd->nkj", given["features"], self._negatives, optimize=True)
        for need, samples in self._samples.items():
            self._check_width(width, samples.features.shape[1], name, "training features")
            given[need] = samples
        return given

    @cached_property
    def _classifier(self) -> dict[str, np.ndarray]:
        return self._left(self.files.classifier)

    @cached_property
    def _head(self) -> Head | None:
        if "prototypes" not in self._classifier or self.files.leaves == "logits":
            return None
        weights = self._classifier["prototypes"].astype(np.float64)
        return Head(weights, self._classifier.get("bias", np.zeros(len(weights), np.float32)).astype(np.float64))

    @cached_property
    def _negatives(self) -> np.ndarray | None:
        found = self._classifier.get("negatives")
        return None if found is None else found.astype(np.float64)

    @cached_property
    def _samples(self) -> dict[str, Bank]:
        """The shots and the validation images, as far as there are any."""
        if not self.files.shots:
            return {}
        try:
            drawn = dict(zip(("bank", "val"), self.labelled.draw(self.files.shots, self.files.seed), strict=True))
        except sampling.NoDraw:
            return {}
        return {need: self._bank(need, *rows) for need, rows in drawn.items() if len(rows[1])}

    def _bank(self, need: str, split: store.Features, rows: np.ndarray) -> Bank:
        left = self._left(getattr(self.files, need))
        features = normalise(left.get("features", split.image_features[rows]))
        logits = left.get("logits")
        if logits is None and self._head is not None:
            logits = self._head.logits(features)
        logits = None if logits is None else logits.astype(np.float64)
        return Bank(features, left.get("labels", split.labels[rows]), self.files.shots, logits)

    def _left(self, name: str | None) -> dict[str, np.ndarray]:
        return {} if name is None else store.read_arrays(self.results / name)[0]

    @staticmethod
    def _check_width(found: int, wanted: int, name: str, what: str) -> None:
        if found != wanted:
            raise OodgridError(
                f"{name} has features of {found} dimensions but the {what} have {wanted}: "
                "they come from different backbones; import or encode them again under one"
            )


def read_units(
    results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str
) -> tuple[list[UnitFiles], Labelled]:
    """Return every fit of one method, and the splits from which its shots and validation images come."""
    dataset = experiment.id_dataset(id_dataset)
    labelled = Labelled(dataset.name, *(_split(results, backbone, dataset, split) for split in ("train", "val")))
    if method == ANY:
        return [_any(labelled, unit.shots, unit.seed) for unit in units(experiment, ANY)], labelled
    manifest = store.read_json(paths.applied(results, experiment.experiment, backbone, id_dataset, method))
    return [UnitFiles(**unit, leaves=manifest["leaves"]) for unit in manifest["units"]], labelled


def _any(labelled: Labelled, shots: int, seed: int) -> UnitFiles:
    try:
        labelled.draw(shots, seed)
    except sampling.NoDraw as none:
        return UnitFiles(shots, seed, "skipped", str(none))
    return UnitFiles(shots, seed, "ok")


def _split(results: Path, backbone: str, dataset: IdDataset, split: str) -> store.Features | None:
    path = paths.features(results, backbone, dataset.name, split)
    expected = not dataset.imported and split in dataset.split_names
    return store.read_features(path) if expected or path.exists() else None
