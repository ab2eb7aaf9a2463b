"""The second rule of adapt: apply every fit to the test splits; a new OOD set needs no new fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from oodgrid import manifests, paths, registry, store
from oodgrid.adapt.combining import Part, PartLogits, applied_parts, matching
from oodgrid.adapt.contract import Arrays, Classifier, Combination, Diverged, Method, Skip, check_finite
from oodgrid.adapt.data import FitFiles
from oodgrid.config import Experiment
from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.identity import code_fingerprint
from oodgrid.kept import Kept
from oodgrid.manifests import Applied, AppliedFit, Fitted, LearnedFit
from oodgrid.progress import progress

BATCH = 4096
LOCAL_ROWS = 256  # of patches: a multiple of every method's batch
Leaves = Literal["prototypes", "features", "logits"]
# Which labelled samples a method is applied to as well, for scores that compare with the shots or are calibrated.
LABELLED: dict[Leaves, tuple[str, ...]] = {"prototypes": (), "features": ("bank", "val"), "logits": ("val",)}


def apply(results: Path, experiment: Experiment, backbone_name: str, id_dataset: str, variant: str) -> Path:
    """Apply every fit of a variant of a method to the test splits of the ID set and its OOD sets; write the manifest.

    Of each fit it leaves the least that is enough for scores: prototypes where logits are features · prototypes,
    changed features where the method changes them, logits where neither is enough.

    Raises:
        OodgridError: A file that is needed is missing or damaged; finished parts stay.
    """
    choice = experiment.method(variant)
    entry = registry.find("method", choice.name)
    files = FitFiles(results, experiment.backbone(backbone_name), experiment.id_dataset(id_dataset))
    names = [id_dataset, *(ood.name for _, ood in files.dataset.pairs())]
    features = {name: store.read_features(paths.features(results, backbone_name, name, "test")) for name in names}
    fitted = manifests.read(paths.fitted(results, experiment.experiment, backbone_name, id_dataset, variant), Fitted)
    application = _Application(entry.make(**choice.params), entry, files, features)
    if parts := applied_parts(results, experiment, backbone_name, id_dataset, variant):
        application = _Combination(application, parts)
    fits = progress(fitted.fits, desc=f"apply {variant} on {id_dataset} ({backbone_name})", unit="fit")
    applied = Applied(
        method=choice.name, leaves=application.leaves, normalises=entry.normalises,
        fits=[application.run(fit) for fit in fits],
    )  # fmt: skip
    path = paths.applied(results, experiment.experiment, backbone_name, id_dataset, variant)
    manifests.write(path, applied)
    return path


class _Application:
    """One method applied to one set of feature files."""

    def __init__(
        self, method: Method, entry: registry.Entry, files: FitFiles, features: dict[str, store.Features]
    ) -> None:
        self.method, self.files, self.features = method, files, features
        self.leaves: Leaves = next(leaves for leaves in LABELLED if leaves == entry.leaves)
        self.normalises = entry.normalises
        self.text_cosines = entry.text_cosines and files.texts is not None  # else visual prototypes replace the texts
        self.kept = Kept(files.results, "apply")
        self.text = files.text_side()  # one for all fits, so that its tower is loaded once
        self.code = [registry.fit_code(entry.name), code_fingerprint("oodgrid.adapt.apply")]

    def run(self, fit: LearnedFit) -> AppliedFit:
        """Return one fit's line in the manifest, computing the parts that are not there yet."""
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
        """Return the names of the files that one fit leaves for the scores.

        Raises:
            Skip: It needs the norm of features, and an import has lost it.
        """
        if lost := [name for name, features in self.features.items() if features.normalised and not self.normalises]:
            raise Skip(
                f"the features of {lost[0]} were normalised before they were imported, and the head needs their norm"
            )
        classifier = cache(lambda: self._classifier(fit))  # made by the first part that is not there yet, if any is not
        parts: dict[str, Any] = {"classifier": self._part(fit, "classifier", lambda: _classifier_arrays(classifier()))}
        if self.leaves != "prototypes":
            parts["sets"] = {
                name: self._part(fit, features.digest, partial(self._set, classifier, name))
                for name, features in self.features.items()
            }
        for part in LABELLED[self.leaves]:
            parts[part] = self._part(fit, part, partial(self._labelled, classifier, fit, part))
        return parts

    def _classifier(self, fit: LearnedFit) -> Classifier:
        if fit.file is None:
            raise OodgridError(
                f"the manifest of fits of {self.files.dataset.name} names no file of the fit of "
                f"{counted(fit.shots, 'shot')} and "
                f"seed {fit.seed}: run adapt fit again"
            )
        arrays, _ = store.read_arrays(self.files.results / fit.file)
        return self.method.classifier(arrays, self.text)

    def _part(
        self, fit: LearnedFit, part: str, compute: Callable[[], Arrays], made_of: Sequence[str | None] = ()
    ) -> str:
        """Return the name of the file of one part; `made_of` are the files that other methods left, if it reads any."""
        identity = {"fit": fit.file, "what": part, "code": self.code} | ({"made_of": made_of} if made_of else {})
        return self.kept.name(self.kept.get(identity, ".safetensors", lambda path: store.write_arrays(path, compute())))

    def _set(self, classifier: Callable[[], Classifier], name: str) -> Arrays:
        """Return the changed features or the logits of a test split."""
        features = self.features[name].image_features
        width, expected = features.shape[1], classifier().prototypes.shape[1]
        if width != expected:
            raise OodgridError(
                f"{name} has features of {counted(width, 'dimension')} but the prototypes have {expected}: "
                "they come from different backbones; import or encode them again under one"
            )
        local = None
        if classifier().local_logits is not None:
            local = store.read_local_features(self._with_local_features(name, "test"))
        return applied(classifier(), self.leaves, features, local, self.features[name].text_features)

    def _labelled(self, classifier: Callable[[], Classifier], fit: LearnedFit, part: str) -> Arrays:
        """Return changed features or logits of the shots ("bank") or the validation images ("val"), with labels."""
        drawn = self.files.draw(fit.shots, fit.seed)
        samples = {"bank": drawn.bank, "val": drawn.val}[part]
        if not samples:
            return {"labels": samples.labels}
        local = None
        if classifier().local_logits is not None:
            path = self._with_local_features(self.files.dataset.name, self.files.dataset.file_of(samples.split))
            local = _blocks(store.open_local_rows(path, samples.rows))
        left = applied(classifier(), self.leaves, samples.features, local, samples.text_features)
        return {**left, "labels": samples.labels}

    def _with_local_features(self, name: str, split: str) -> Path:
        """Return the feature file of a split.

        Raises:
            Skip: It holds no local features.
        """
        path = paths.features(self.files.results, self.files.backbone.name, name, split)
        if "local_features" not in store.array_shapes(path):
            raise Skip(f"there are no local features of {name}: write local_features: true for the backbone")
        return path


class _Combination(_Application):
    """A method that combines others, made of what these left of each set."""

    def __init__(self, application: _Application, parts: Mapping[str, Applied]) -> None:
        vars(self).update(vars(application))
        self.parts = parts

    def _parts(self, fit: LearnedFit) -> dict[str, Any]:
        """Return the names of the files that one fit leaves: logits of each set, and of the validation images.

        Raises:
            Skip: A part was skipped or failed.
        """
        fits = matching({name: part.fits for name, part in self.parts.items()}, fit.shots, fit.seed)
        parts = [Part(self.files.results, name, self.parts[name], each) for name, each in fits.items()]
        heads = [each.classifier for each in fits.values()]
        left = {name: [*heads, *(each.sets.get(name) for each in fits.values())] for name in self.features}
        of_val = [*heads, *(each.val for each in fits.values())]
        sets = {
            name: self._part(fit, features.digest, partial(self._of_set, parts, name), left[name])
            for name, features in self.features.items()
        }
        return {"sets": sets, "val": self._part(fit, "val", partial(self._of_validation, parts, fit), of_val)}

    def _of_set(self, parts: Sequence[Part], name: str) -> Arrays:
        features = self.features[name].image_features
        return self._combined([part.of_set(name, features) for part in parts], len(features))

    def _of_validation(self, parts: Sequence[Part], fit: LearnedFit) -> Arrays:
        """Return the logits of the validation images with their labels; without, where a part left none of these."""
        samples = self.files.draw(fit.shots, fit.seed).val
        logits = [part.of_validation(samples.labels, samples.features) for part in parts] if samples else [None]
        known = [each for each in logits if each is not None]
        combined = self._combined(known, len(samples.labels)) if len(known) == len(logits) else {}
        return {**combined, "labels": samples.labels}

    def _combined(self, logits: Sequence[PartLogits], count: int) -> Arrays:
        method = cast("Combination", self.method)
        blocks = [slice(start, start + BATCH) for start in range(0, max(count, 1), BATCH)]
        parts = [method.combine([of_part(rows) for of_part in logits]) for rows in blocks]
        arrays = {"logits": np.concatenate(parts).astype(np.float32)}
        check_finite(arrays, "of the combined methods")
        return arrays


def applied(
    classifier: Classifier,
    leaves: Leaves,
    features: np.ndarray,
    local: Iterable[tuple[int, np.ndarray]] | None = None,
    texts: np.ndarray | None = None,
) -> Arrays:
    """Return the changed features (N, D) or the logits (N, K), float32, of features (N, D) as cached.

    Of a method on pairs, with them the changed features of texts and what its classifier of pairs makes.

    Args:
        classifier: Of a method that leaves more than prototypes.
        leaves: Which of the two the method leaves.
        features: The features.
        local: For methods that look at patches: local features (n, P, D) in blocks, each behind its first row.
        texts: Of pairs: the features of their texts, shape (N, D).

    Raises:
        OodgridError: The classifier does not compute what its method declares.
        Skip: The method is one on pairs, and the samples are none.
        Diverged: A result is not finite.
    """
    if classifier.of_pairs is not None:
        return _applied_to_pairs(classifier.of_pairs, features, texts)
    change = classifier.change or classifier.logits
    if classifier.local_logits is not None:
        parts = [classifier.local_logits(features[row : row + len(block)], block) for row, block in local or ()]
    elif change is not None:
        parts = [change(features[row : row + BATCH]) for row in range(0, len(features), BATCH)]
    else:
        raise OodgridError(f"a method is registered as one that leaves {leaves}, but its classifier has none")
    arrays: Arrays = {leaves: np.concatenate(parts).astype(np.float32, copy=False)}
    check_finite(arrays, "of the fitted method")
    return arrays


def _applied_to_pairs(
    of_pairs: Callable[[np.ndarray, np.ndarray], Arrays], features: np.ndarray, texts: np.ndarray | None
) -> Arrays:
    if texts is None:
        raise Skip("the method is one on pairs, and samples of a set are none: leave this set out, or give pairs")
    blocks = [of_pairs(features[row : row + BATCH], texts[row : row + BATCH]) for row in range(0, len(features), BATCH)]
    arrays = {name: np.concatenate([b[name] for b in blocks]).astype(np.float32, copy=False) for name in blocks[0]}
    check_finite(arrays, "of the fitted method")
    return arrays


def _blocks(rows: store.StoredRows | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield local features (n, P, D), each block behind its first row."""
    if rows is not None:
        for first in range(0, len(rows), LOCAL_ROWS):
            yield first, rows[first : first + LOCAL_ROWS]


def _classifier_arrays(classifier: Classifier) -> Arrays:
    arrays = {"prototypes": classifier.prototypes.astype(np.float32)}
    if classifier.bias is not None:
        arrays["bias"] = classifier.bias.astype(np.float32)
    if classifier.negatives is not None:
        arrays["negatives"] = classifier.negatives.astype(np.float32)
    check_finite(arrays, "of the fitted method")
    return arrays
