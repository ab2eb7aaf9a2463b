"""The second rule of adapt: what a fitted method makes of the splits; adding an OOD set never refits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from oodgrid import manifests, paths, registry, store
from oodgrid.adapt.contract import Classifier, Diverged, Method, Skip, check_finite
from oodgrid.adapt.data import FitFiles
from oodgrid.config import Experiment
from oodgrid.errors import OodgridError
from oodgrid.identity import code_fingerprint
from oodgrid.kept import Kept
from oodgrid.manifests import Applied, AppliedFit, Fitted, LearnedFit

BATCH = 4096


def apply(results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str) -> Path:
    """Apply every fit to the test split of the ID set and of every OOD set; write the manifest.

    What is left is the smallest sufficient thing: prototypes where logits are features · prototypes, changed
    features where the method changes them, logits where neither is enough.

    Raises:
        OodgridError: A file that is needed is missing or damaged; finished parts stay.
    """
    choice = experiment.method(method)
    entry = registry.find("method", choice.name)
    files = FitFiles(results, experiment.backbone(backbone), experiment.id_dataset(id_dataset))
    names = [id_dataset, *(ood.name for _, ood in files.dataset.pairs())]
    features = {name: store.read_features(paths.features(results, backbone, name, "test")) for name in names}
    fitted = manifests.read(paths.fitted(results, experiment.experiment, backbone, id_dataset, method), Fitted)
    one = _Application(entry.make(**choice.params), entry, files, features)
    fits = tqdm(fitted.fits, desc=f"apply {method} on {id_dataset} ({backbone})", unit="fit", delay=5)
    applied = Applied(method=choice.name, leaves=entry.leaves, fits=[one.run(fit) for fit in fits])
    path = paths.applied(results, experiment.experiment, backbone, id_dataset, method)
    manifests.write(path, applied)
    return path


class _Application:
    """One method applied to one set of feature files."""

    def __init__(
        self, method: Method, entry: registry.Entry, files: FitFiles, features: dict[str, store.Features]
    ) -> None:
        self.method, self.leaves, self.files, self.features = method, entry.leaves, files, features
        self.text_cosines = entry.text_cosines and files.texts is not None  # else visual prototypes stand in for texts
        self.kept = Kept(files.results, "apply")
        self.text = files.text_side()  # loads its tower at most once
        self.code = [registry.fit_code(entry.name), code_fingerprint("oodgrid.adapt.apply")]

    def run(self, fit: LearnedFit) -> AppliedFit:
        """Return what the manifest says of one fit, making what is not there yet."""
        outcome = partial(AppliedFit, shots=fit.shots, seed=fit.seed)
        if fit.status != "ok":
            return outcome(status=fit.status, reason=fit.reason)
        try:
            parts = self._parts(fit)
        except Skip as skip:
            return outcome(status="skipped", reason=str(skip))
        except Diverged as failure:
            return outcome(status="failed", reason=str(failure))
        return outcome(status="ok", reason=fit.reason, text_cosines=self.text_cosines, **parts)

    def _parts(self, fit: LearnedFit) -> dict[str, Any]:
        """Return the names of the files that one fit leaves for the scores."""
        classifier = cache(lambda: self._classifier(fit))
        parts: dict[str, Any] = {"classifier": self._part(fit, "classifier", lambda: _classifier_arrays(classifier()))}
        if self.leaves != "prototypes":
            parts["sets"] = {
                name: self._part(fit, features.digest, lambda n=name, f=features: self._set(classifier(), n, f))
                for name, features in self.features.items()
            }
        for what in {"prototypes": (), "features": ("bank", "val"), "logits": ("val",)}[self.leaves]:
            parts[what] = self._part(fit, what, lambda what=what: self._labelled(classifier(), fit, what))
        return parts

    def _classifier(self, fit: LearnedFit) -> Classifier:
        arrays, _ = store.read_arrays(self.files.results / fit.file)
        return self.method.classifier(arrays, self.text)

    def _part(self, fit: LearnedFit, what: str, make: Callable[[], dict[str, np.ndarray]]) -> str:
        identity = {"fit": fit.file, "what": what, "code": self.code}
        return self.kept.name(self.kept.get(identity, ".safetensors", lambda path: store.write_arrays(path, make())))

    def _set(self, classifier: Classifier, name: str, features: store.Features) -> dict[str, np.ndarray]:
        found, wanted = features.image_features.shape[1], classifier.prototypes.shape[1]
        if found != wanted:
            raise OodgridError(
                f"{name} has features of {found} dimensions but the prototypes have {wanted}: "
                "they come from different backbones; import or encode them again under one"
            )
        local = None if classifier.local_logits is None else store.read_local_features(self._file(name))
        return applied(classifier, self.leaves, features.image_features, local)

    def _file(self, name: str, split: str = "test") -> Path:
        """Return the feature file of a split that must hold local features.

        Raises:
            Skip: It holds none.
        """
        path = paths.features(self.files.results, self.files.backbone.name, name, split)
        if "local_features" not in store.array_shapes(path):
            raise Skip(f"there are no local features of {name}: write local_features: true for the backbone")
        return path

    def _labelled(self, classifier: Classifier, fit: LearnedFit, what: str) -> dict[str, np.ndarray]:
        """Return what becomes of the shots ("bank") or of the validation images ("val"), for scores that learn."""
        samples = getattr(self.files.draw(fit.shots, fit.seed), what)
        if not len(samples):
            return {"labels": samples.labels}
        local = None
        if classifier.local_logits is not None:
            path = self._file(self.files.dataset.name, samples.split)
            local = [(0, store.read_local_rows(path, samples.rows))]
        return {**applied(classifier, self.leaves, samples.features, local), "labels": samples.labels}


def applied(
    classifier: Classifier, leaves: str, features: np.ndarray, local: Iterable[tuple[int, np.ndarray]] | None = None
) -> dict[str, np.ndarray]:
    """Return the "features" (N, D) or "logits" (N, K), float32, that a method `leaves` of features (N, D) as cached.

    Args:
        classifier: Of the method, which leaves more than prototypes.
        leaves: Which of the two.
        features: Of the images.
        local: Their local features (n, P, D) where the method looks at patches, in blocks behind their first rows.

    Raises:
        Diverged: A number is not finite.
    """
    if classifier.local_logits is not None:
        parts = [classifier.local_logits(features[start : start + len(block)], block) for start, block in local or ()]
    else:
        make = classifier.change or classifier.logits
        parts = [make(features[start : start + BATCH]) for start in range(0, len(features), BATCH)]
    made = {leaves: np.concatenate(parts).astype(np.float32, copy=False)}
    check_finite(made, "of the fitted method")
    return made


def _classifier_arrays(classifier: Classifier) -> dict[str, np.ndarray]:
    arrays = {"prototypes": classifier.prototypes.astype(np.float32)}
    if classifier.bias is not None:
        arrays["bias"] = classifier.bias.astype(np.float32)
    if classifier.negatives is not None:
        arrays["negatives"] = classifier.negatives.astype(np.float32)
    check_finite(arrays, "of the fitted method")
    return arrays
