"""What one (method, shots, seed) gives to the scores: read from the files that encode and adapt left."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import paths, sampling, store
from oodgrid.config import ANY, Experiment, IdDataset
from oodgrid.errors import OodgridError
from oodgrid.grid import units
from oodgrid.score.contract import Bank, normalise


@dataclass(frozen=True)
class UnitFiles:
    """One fit, as its files say it.

    Attributes:
        shots, seed, status, reason: As in metrics.parquet.
        classifier: File with prototypes and bias; None for `any`.
        leaves: What apply left of every set: "prototypes" (nothing more), "features" or "logits".
        sets: Files with changed features or logits, by dataset.
        bank: File with the changed shots; None where features are as cached.
        rows: Rows of the train split that make the bank, for `any`.
    """

    shots: int
    seed: int
    status: str
    reason: str | None = None
    classifier: str | None = None
    leaves: str = "prototypes"
    sets: dict[str, str] = field(default_factory=dict)
    bank: str | None = None
    rows: tuple[int, ...] | None = None

    def inputs(
        self, results: Path, name: str, features: store.Features, train: store.Features | None
    ) -> dict[str, Any]:
        """Return what there is of `logits`, `negative_logits`, `features` and `bank` for one dataset."""
        given: dict[str, Any] = {}
        left = store.read_arrays(results / self.sets[name])[0] if name in self.sets else {}
        if self.leaves == "logits":
            return {"logits": left["logits"].astype(np.float64)}
        given["features"] = normalise(left.get("features", features.image_features))
        if self.classifier is not None:
            classifier = store.read_arrays(results / self.classifier)[0]
            _check_width(given["features"], classifier["prototypes"], name, "prototypes")
            logits = given["features"] @ classifier["prototypes"].astype(np.float64).T
            given["logits"] = logits + classifier.get("bias", np.float32(0)).astype(np.float64)
            if "negatives" in classifier:
                negatives = classifier["negatives"].astype(np.float64)
                given["negative_logits"] = np.einsum("nd,kjd->nkj", given["features"], negatives, optimize=True)
        if self.bank is not None:
            shots = store.read_arrays(results / self.bank)[0]
            given["bank"] = Bank(normalise(shots["features"]), shots["labels"], self.shots)
        if self.rows is not None:
            rows = np.asarray(self.rows)
            _check_width(given["features"], train.image_features, name, "training features")
            given["bank"] = Bank(normalise(train.image_features[rows]), train.labels[rows], self.shots)
        return given


def read_units(
    results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str
) -> tuple[list[UnitFiles], store.Features | None]:
    """Return every fit of one method, and the train split for `any`, whose banks are drawn from it."""
    if method == ANY:
        dataset = experiment.id_dataset(id_dataset)
        train = _train(results, backbone, dataset)
        return [_any(dataset, train, unit.shots, unit.seed) for unit in units(experiment, ANY)], train
    manifest = store.read_json(paths.applied(results, experiment.experiment, backbone, id_dataset, method))
    return [UnitFiles(**unit, leaves=manifest["leaves"]) for unit in manifest["units"]], None


def _any(dataset: IdDataset, train: store.Features | None, shots: int, seed: int) -> UnitFiles:
    if train is None:
        return UnitFiles(shots, seed, "skipped", f"{dataset.name} has no training split")
    try:
        drawn = sampling.draw(train.labels, None, shots, seed, train.draws)
    except sampling.NoDraw as none:
        return UnitFiles(shots, seed, "skipped", str(none))
    return UnitFiles(shots, seed, "ok", rows=tuple(drawn.train.tolist()))


def _train(results: Path, backbone: str, dataset: IdDataset) -> store.Features | None:
    path = paths.features(results, backbone, dataset.name, "train")
    expected = not dataset.imported and "train" in dataset.split_names
    return store.read_features(path) if expected or path.exists() else None


def _check_width(features: np.ndarray, other: np.ndarray, name: str, what: str) -> None:
    if features.shape[1] != other.shape[1]:
        raise OodgridError(
            f"{name} has features of {features.shape[1]} dimensions but the {what} have {other.shape[1]}: "
            "they come from different backbones; import or encode them again under one"
        )
