"""Angles between samples and the centres of classes: how a method moved ID and OOD apart.

Of unit features x and unit centres c, in degrees, with arithmetic in float64:

* dispersion: the mean angle between two centres, over all pairs; larger is better.
* compactness: the mean angle of a sample to the centre of its class, over the samples of a class and then over classes;
  smaller is better.
* angle to the nearest centre: its mean over the samples of a set; what it is larger by for OOD than for ID is the
  separation.
* linear MMD: ‖mean of ID x - mean of OOD x‖², the squared maximum mean discrepancy under the linear kernel; no centre
  of a class comes into it.

The first two are those by which CIDER (Ming et al., ICLR 2023) describes its features; the separation and the MMD are
those of Uppaal, Hu & Li (ACL 2023), the separation in degrees too. Their centres are the class means; for the MMD their
code draws as many samples of the larger set as the smaller has, here all samples count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from oodgrid.identity import computing_fingerprint, digest
from oodgrid.labels import has_class
from oodgrid.manifests import Geometry
from oodgrid.score.contract import group_means, normalise
from oodgrid.score.inputs import FitInputs, Samples
from oodgrid.score.threads import on_threads

Features = dict[str, np.ndarray]  # of each set, the ID set first
ROWS = 4096  # samples, or centres, in a block
UNCHANGED = "the method leaves features as they are cached: their angles are those under any"
NO_PROTOTYPES = "its logits are no products of features with prototypes"


def geometry(
    sets: Mapping[str, np.ndarray], labels: np.ndarray, prototypes: np.ndarray | None = None, key: str = ""
) -> Geometry:
    """Return the angles of an ID set and its OOD sets.

    Args:
        sets: Features (N, D) of each set, of any norm; the ID set first.
        labels: Of the ID samples, shape (N,); -1 is no class: such samples count in the angle to the nearest centre.
        prototypes: The centres, shape (K, D), of any norm. Default: the means of the ID samples of each class.
        key: What decides the numbers.
    """
    id_set, *ood_sets = sets
    if prototypes is None:
        classes, centres = class_means(sets[id_set], labels)
    else:
        classes, centres = np.arange(len(prototypes)), normalise(prototypes)
    if not len(centres):
        return Geometry(key=key, classes=0)
    own = np.where(has_class(labels), np.searchsorted(classes, labels), -1)
    nearest, to_own = _angles(sets[id_set], centres, own)
    means = {name: _mean(features) for name, features in sets.items() if len(features)}
    return Geometry(
        key=key,
        classes=len(classes),
        dispersion=_dispersion(centres),
        compactness=_mean_of_classes(to_own, own),
        id_angle=float(nearest.mean()) if len(nearest) else None,
        ood_angles={name: float(_angles(sets[name], centres)[0].mean()) for name in ood_sets if len(sets[name])},
        ood_mmd={
            name: float(((means[name] - means[id_set]) ** 2).sum())
            for name in ood_sets
            if {name, id_set} <= means.keys()
        },
    )


class FitAngles:
    """The angles of the fits of one method; what features as cached have is computed once, and what is kept not at all.

    Args:
        sets: The ID set and its OOD sets.
        kept: Angles of earlier runs, by their keys.
    """

    def __init__(self, sets: Mapping[str, Samples], kept: Mapping[str, Geometry]) -> None:
        self.sets, self._known = sets, dict(kept)
        self.labels = next(iter(sets.values())).features.labels

    def of_cached(self) -> Geometry:
        """Return the angles of features as cached to their class means."""
        return self._get({}, self._cached)

    def of_fit(self, fit: FitInputs) -> tuple[dict[str, Geometry], dict[str, str]]:
        """Return the angles of one fit, by the centres, and by the same names why there are none."""
        changes, head = fit.leaves == "features", fit.references(()).head
        features = cache(partial(self._of_fit, fit)) if changes else self._cached  # read once for both centres
        angles, reasons = {}, {}
        if changes:
            angles["means"] = self._get({"sets": fit.fit.sets}, features)
        else:
            reasons["means"] = UNCHANGED
        if head is not None:
            angles["prototypes"] = self._get({"sets": fit.fit.sets, "head": fit.fit.classifier}, features, head.weights)
        else:
            reasons["prototypes"] = NO_PROTOTYPES
        return angles, reasons

    def _cached(self) -> Features:
        return {name: samples.features.image_features for name, samples in self.sets.items()}

    def _of_fit(self, fit: FitInputs) -> Features:
        return {name: fit.left_of(samples)[0] for name, samples in self.sets.items()}

    def _get(
        self, of_fit: Mapping[str, Any], features: Callable[[], Features], centres: np.ndarray | None = None
    ) -> Geometry:
        digests = [[name, samples.features.digest] for name, samples in self.sets.items()]
        key = digest({"features": digests, "fit": of_fit, "code": computing_fingerprint(__name__)})
        if key not in self._known:
            self._known[key] = geometry(features(), self.labels, centres, key)
        return self._known[key]


def class_means(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes that occur, shape (C,), and the directions of the means of their unit features, (C, D)."""
    rows = np.flatnonzero(has_class(labels))
    classes, index = np.unique(labels[rows], return_inverse=True)
    sums = np.zeros((len(classes), features.shape[1]))
    for start in range(0, len(rows), ROWS):
        part = slice(start, start + ROWS)
        counts = np.bincount(index[part], minlength=len(classes))
        sums += group_means(normalise(features[rows[part]]), index[part], len(classes)) * counts[:, None]
    return classes, normalise(sums)


def _angles(
    features: np.ndarray, centres: np.ndarray, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the angle of each sample to its nearest centre, and to the one of its class (any where `own` is -1)."""

    def of_block(start: int) -> tuple[np.ndarray, np.ndarray]:
        cosines = normalise(features[start : start + ROWS]) @ centres.T
        of_class = np.zeros(len(cosines), int) if own is None else own[start : start + ROWS]
        return _degrees(cosines.max(axis=1)), _degrees(cosines[np.arange(len(cosines)), of_class])

    blocks = list(on_threads(of_block, range(0, len(features), ROWS)))
    nearest, to_own = (np.concatenate([np.empty(0), *(block[part] for block in blocks)]) for part in (0, 1))
    return nearest, None if own is None else to_own


def _mean(features: np.ndarray) -> np.ndarray:
    """Return the mean of the unit features of a set, shape (D,), float64."""
    sums = [normalise(features[start : start + ROWS]).sum(axis=0) for start in range(0, len(features), ROWS)]
    return np.sum(sums, axis=0) / len(features)


def _dispersion(centres: np.ndarray) -> float | None:
    """Return the mean angle between two centres (K, D); None for one."""
    count, total = len(centres), 0.0
    for start in range(0, count, ROWS):
        angles = _degrees(centres[start : start + ROWS] @ centres.T)
        total += float(np.triu(angles, start + 1).sum())
    return total / (count * (count - 1) / 2) if count > 1 else None


def _mean_of_classes(angles: np.ndarray | None, own: np.ndarray) -> float | None:
    known = own >= 0
    if angles is None or not known.any():
        return None
    counts = np.bincount(own[known])
    sums = np.bincount(own[known], weights=angles[known])
    return float((sums[counts > 0] / counts[counts > 0]).mean())


def _degrees(cosines: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip(cosines, -1, 1)))
