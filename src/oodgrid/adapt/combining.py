"""What methods that combine others are made of: the fits of their parts, and what these left of each set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from oodgrid import manifests, paths, store
from oodgrid.config import Experiment
from oodgrid.counts import counted
from oodgrid.errors import OodgridError, Skip
from oodgrid.grid import parts
from oodgrid.manifests import Applied, AppliedFit, Fitted, LearnedFit
from oodgrid.vectors import normalise

OfFit = TypeVar("OfFit", LearnedFit, AppliedFit)
PartLogits = Callable[[slice], np.ndarray]  # of some rows, shape (n, K), float64


def fitted_parts(
    results: Path, experiment: Experiment, backbone: str, id_dataset: str, variant: str
) -> dict[str, Fitted]:
    """Return the manifests of the fits of the methods that a variant combines, by their names; none for the others."""
    place = (results, experiment.experiment, backbone, id_dataset)
    return {name: manifests.read(paths.fitted(*place, name), Fitted) for name in parts(experiment, variant)}


def applied_parts(
    results: Path, experiment: Experiment, backbone: str, id_dataset: str, variant: str
) -> dict[str, Applied]:
    """Return the manifests of what these methods left of each set, by their names; none for the others."""
    place = (results, experiment.experiment, backbone, id_dataset)
    return {name: manifests.read(paths.applied(*place, name), Applied) for name in parts(experiment, variant)}


def matching(fits: Mapping[str, Sequence[OfFit]], shots: int, seed: int) -> dict[str, OfFit]:
    """Return of each part the fit of these shots and this seed, or of a part that learns nothing its only one.

    Raises:
        Skip: A part was skipped or failed.
        OodgridError: A part has no such fit.
    """
    found = {}
    for name, listed in fits.items():
        fit = next((each for each in listed if (each.shots, each.seed) in ((shots, seed), (0, 0))), None)
        if fit is None:
            raise OodgridError(
                f"{name} has no fit of {counted(shots, 'shot')} and seed {seed}: run oodgrid adapt fit --method {name}"
            )
        if fit.status != "ok":
            raise Skip(f"its part {name} is {fit.status}: {fit.reason}")
        found[name] = fit
    return found


@dataclass(frozen=True)
class Part:
    """What one part left of one fit.

    Attributes:
        results: The results folder.
        name: By which the experiment lists its method.
        of_method: What its method leaves.
        fit: The names of the files.
    """

    results: Path
    name: str
    of_method: Applied
    fit: AppliedFit

    def of_set(self, name: str, features: np.ndarray) -> PartLogits:
        """Return the logits of a test split of features (N, D) as cached.

        Raises:
            OodgridError: The part has not been applied to it.
        """
        if self.of_method.leaves != "prototypes" and name not in self.fit.sets:
            raise OodgridError(f"{self.name} is not applied to {name}: run oodgrid adapt apply --method {self.name}")
        return self._logits(self._left(self.fit.sets.get(name)), features)

    def of_validation(self, labels: np.ndarray, features: np.ndarray) -> PartLogits | None:
        """Return the logits of validation images; None where the part left nothing of these.

        Args:
            labels: Shape (V,), by which the images are told from others.
            features: Shape (V, D), as cached.
        """
        left = self._left(self.fit.val)
        if self.of_method.leaves == "prototypes":
            return self._logits({}, features)
        of_these = self.of_method.leaves in left and np.array_equal(left["labels"], labels)
        return self._logits(left, features) if of_these else None

    def _left(self, file: str | None) -> dict[str, np.ndarray]:
        return {} if file is None else store.read_arrays(self.results / file)[0]

    def _logits(self, left: Mapping[str, np.ndarray], features: np.ndarray) -> PartLogits:
        if "logits" in left:
            return lambda rows: left["logits"][rows].astype(np.float64)
        changed, classifier = left.get("features", features), self._left(self.fit.classifier)
        weights, bias = classifier["prototypes"].astype(np.float64), classifier.get("bias", np.float32(0))

        def logits(rows: slice) -> np.ndarray:
            block = changed[rows].astype(np.float64)
            return (normalise(block) if self.of_method.normalises else block) @ weights.T + bias

        return logits
