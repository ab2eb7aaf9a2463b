"""Reads what scores are given of one fit, from the files that encode and adapt left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import grid, manifests, paths, store, texts
from oodgrid.config import ANY, Experiment, Precision
from oodgrid.corruptions import Corruption
from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.fewshot import FewShot, NoDraw, Rows
from oodgrid.manifests import Applied, AppliedFit
from oodgrid.registry.banks import MOST, TRAIN, bank_of
from oodgrid.score.contract import Bank, Head
from oodgrid.score.references import Inputs, References, scaled
from oodgrid.score.sharing import frozen
from oodgrid.score.texts import Texts

NO_CORRUPTED = "corrupted versions of the images, under a method that leaves prototypes and features as they are"


@dataclass(frozen=True)
class Samples:
    """The samples of one set: features as cached, and where their local features are.

    Attributes:
        corrupted: Features (N, D) of corrupted versions of its images, in their files still, by `Corruption.split`.
        corrupted_digests: Digests of these files.
    """

    name: str
    features: store.Features
    file: Path
    corrupted: dict[str, store.StoredRows] = field(default_factory=dict)
    corrupted_digests: dict[str, str] = field(default_factory=dict)


class FitInputs:
    """One fit with everything that its scores may need; what all sets share is read once.

    Attributes:
        fit: What apply left of it.
        leaves: What the method leaves: "prototypes", "features" or "logits".
        normalises: Whether scores are given normalised features.
        precision: Of the products of features with weights and with the bank.
        carried: Of scores whose stream comes to one OOD set after the other: by variant and set, values, or why none.
    """

    def __init__(
        self, results: Path, fit: AppliedFit, of_method: Applied, few_shot: FewShot, texts: Texts, precision: Precision
    ) -> None:
        self.results, self.fit, self.few_shot, self.texts = results, fit, few_shot, texts
        self.leaves, self.normalises, self.precision = of_method.leaves, of_method.normalises, precision
        self.carried: dict[tuple[str, str], tuple[np.ndarray | None, str | None]] = {}
        self._no_draw = ""
        self._layered: dict[str, Bank] = {}
        self._of_splits: dict[str, Bank | None] = {}
        self._no_draw_of: dict[str, str] = {}

    def blocks(self, samples: Samples, needs: Collection[str]) -> Iterator[tuple[Inputs, int]]:
        """Yield what makes the inputs of scores in blocks of samples, as `References.blocks`.

        Args:
            samples: One set.
            needs: Of the scores that are to be computed; local and negative logits are made only if they are needed.
        """
        references = self.references(needs)
        if "local_logits" in needs and references.head is not None and self._has_local(samples):
            local = store.read_local_features(samples.file)
            return references.local_blocks(samples.name, samples.features.image_features, local, references.head, needs)
        more = self.pairs_of(samples) | (self.layers_of(samples) if "layer_features" in needs else {})
        corrupted = samples.corrupted if references.head is not None and self.leaves == "prototypes" else {}
        asked = corrupted if {"corrupted_logits", "corrupted_features"} & set(needs) else {}
        return references.blocks(samples.name, *self.left_of(samples), needs, more, asked)

    def references(self, needs: Collection[str]) -> References:
        """Return what scores of these needs are given beside the samples."""
        banks = self._samples | {need: bank for need in needs if (bank := self._of_split(need)) is not None}
        if "layer_features" in needs:
            banks = {need: self._with_layers(need, bank) for need, bank in banks.items()}
        return References(self._head, self._negatives, banks, self.texts, self.fit.text_cosines, self.normalises)

    def stream(self, parts: list[Samples], order: np.ndarray, needs: Collection[str]) -> dict[str, Any]:
        """Return the inputs of scores for all samples of several sets, in this order."""
        names = " and ".join(part.name for part in parts)
        left = [self.left_of(part) for part in parts]
        features = np.concatenate([features for features, _ in left])[order]
        logits = None if left[0][1] is None else np.concatenate([logits for _, logits in left])[order]
        pairs = [self.pairs_of(part) for part in parts]
        everywhere = set.intersection(*map(set, pairs))
        of_pairs = {need: np.concatenate([each[need] for each in pairs])[order] for need in everywhere}
        return self.references(needs).inputs(names, features, logits, needs, of_pairs)

    def lacking(self, need: str) -> str:
        """Return why a need is not met."""
        if bank_of(need):
            return self._no_draw_of.get(need, "draws of the train split as cached, and the method changes it")
        return {
            "bank": self._no_draw
            or "the shots of a fit, and there are none; bank: train takes the whole train split, bank: 16 a draw of it",
            "val": "validation samples of a fit with shots, and there are none",
            "train": "the train split as cached, and there is none or the method changes it",
            "head": "a linear head on the features, and the method leaves logits only",
            "negative_logits": "negative prompts, as neg_prompt and lsn learn them and fa has them",
            "local_negative_logits": "negative prompts, and local features of every set",
            "pair_texts": "pairs of an image and a text, and the samples are none",
            "layer_features": "what every layer gives of every set of texts (layer_features: true for a backbone of "
            "transformers), and a method that leaves features alone",
            **dict.fromkeys(("corrupted_logits", "corrupted_features"), NO_CORRUPTED),
            "pair_logits": "a classifier of pairs, as wood learns it",
            "text_tower": "the text tower that encoded the class texts, and they are imported or there are none",
            "local_logits": "local features of every set (local_features: true for the backbone) under a method that "
            "leaves prototypes",
            **{need: f"{source.what}, and there are none" for need, source in texts.needs().items()},
        }.get(need, f"{need}, and the method leaves none")

    def left_of(self, samples: Samples) -> tuple[np.ndarray, np.ndarray | None]:
        """Return features as the method leaves them, shape (N, D), and logits where those are what it leaves."""
        left = self._left(self.fit.sets.get(samples.name))
        return left.get("features", samples.features.image_features), left.get("logits")

    def pairs_of(self, samples: Samples) -> dict[str, np.ndarray]:
        """Return what there is of pairs: `pair_texts` (N, D) as the method leaves them, and its `pair_logits` (N,)."""
        left = self._left(self.fit.sets.get(samples.name))
        texts = left.get("pair_texts", samples.features.text_features)
        of_pairs = {"pair_texts": texts, "pair_logits": left.get("pair_logits")}
        return {need: values for need, values in of_pairs.items() if values is not None}

    def layers_of(self, samples: Samples) -> dict[str, store.StoredRows]:
        """Return `layer_features` (N, 1 + layers, D), where there are any and the method leaves features alone."""
        layers = None if self.leaves == "features" else store.open_layer_features(samples.file)
        return {} if layers is None else {"layer_features": layers}

    def _has_local(self, samples: Samples) -> bool:
        """Whether there are local features that the method leaves as they are."""
        return self.leaves == "prototypes" and self.normalises and "local_features" in store.array_shapes(samples.file)

    @cached_property
    def _classifier(self) -> dict[str, np.ndarray]:
        return self._left(self.fit.classifier)

    @cached_property
    def _head(self) -> Head | None:
        if not len(self._classifier.get("prototypes", ())) or self.leaves == "logits":
            return None
        weights = self._classifier["prototypes"].astype(np.float64)
        bias = self._classifier.get("bias", np.zeros(len(weights), np.float32)).astype(np.float64)
        return Head(frozen(weights), frozen(bias), self.precision)

    @cached_property
    def _negatives(self) -> np.ndarray | None:
        negatives = self._classifier.get("negatives")
        return None if negatives is None else negatives.astype(np.float64)

    @cached_property
    def _samples(self) -> dict[str, Bank]:
        """The shots and the validation samples, where there are any."""
        try:
            drawn = self.few_shot.draw(self.fit.shots, self.fit.seed)
        except NoDraw as none:
            self._no_draw = str(none)
            return {}
        return {need: self._bank(need, rows) for need in ("bank", "val") if len(rows := getattr(drawn, need))}

    def _of_split(self, need: str) -> Bank | None:
        """Return the bank of a need that is of no fit: of the whole train split, or of a draw that a score names.

        None where it is of the fit, or the method changes features, or there is no such draw.
        """
        drawn = bank_of(need)
        if self.leaves == "features" or (need != TRAIN and drawn is None):
            return None
        if need not in self._of_splits:
            rows = self._rows(need)
            fewest = np.unique(rows.labels, return_counts=True)[1].min(initial=MOST)
            shots = int(fewest) if drawn is None else drawn.shots
            features = frozen(scaled(rows.features, self.normalises))
            bank = Bank(features, rows.labels, shots, None, self._head, self.precision)
            self._of_splits[need] = bank if len(rows) else None
        return self._of_splits[need]

    def _rows(self, need: str) -> Rows:
        """Return the samples of a bank, by its need; none where it is of a draw that cannot be made."""
        if need == TRAIN:
            return self.few_shot.whole_train()
        try:
            drawn = self.few_shot.draw(*(bank_of(need) or (self.fit.shots, self.fit.seed)))
        except NoDraw as none:
            self._no_draw_of[need] = str(none)
            return Rows()
        rows: Rows = getattr(drawn, need.partition("@")[0])
        if not len(rows):
            self._no_draw_of[need] = "samples of a draw, and it has none for validation"
        return rows

    def _with_layers(self, need: str, bank: Bank) -> Bank:
        """Return the same samples with what every layer gives of them, where their file holds it."""
        if need not in self._layered:
            rows = self._rows(need)
            stored = store.open_layer_features(self.few_shot.file(rows.split))
            self._layered[need] = bank if stored is None else replace(bank, layers=frozen(stored[rows.rows]))
        return self._layered[need]

    def _bank(self, need: str, rows: Rows) -> Bank:
        """Return shots or validation samples, as the method leaves them.

        Raises:
            OodgridError: What it left is of other samples.
        """
        left = self._left(getattr(self.fit, need))
        if not np.array_equal(left.get("labels", rows.labels), rows.labels):
            raise OodgridError(
                f"{getattr(self.fit, need)} is not of the {need} that {counted(self.fit.shots, 'shot')} and seed "
                f"{self.fit.seed} of {self.few_shot.dataset.name} draw: run oodgrid adapt apply again"
            )
        features = frozen(scaled(left.get("features", rows.features), self.normalises))
        logits = frozen(left["logits"].astype(np.float64)) if "logits" in left else None
        return Bank(features, rows.labels, self.fit.shots, logits, self._head, self.precision)

    def _left(self, name: str | None) -> dict[str, np.ndarray]:
        return {} if name is None else store.read_arrays(self.results / name)[0]


def read_samples(name: str, file: Path, corruptions: Iterable[Corruption] = (), made: Collection[Path] = ()) -> Samples:
    """Return a set, with those corrupted versions of its images that there are.

    Args:
        name: Of the set.
        file: Its test split.
        corruptions: Which versions scores name.
        made: The files of corrupted images that must be there.

    Raises:
        OodgridError: A file is damaged, one of corrupted images is missing or is not of the images of the set.
    """
    features = store.read_features(file)
    corrupted: dict[str, store.StoredRows] = {}
    digests: dict[str, str] = {}
    for split in (corruption.split for corruption in corruptions):
        path = file.with_name(f"{split}.h5")
        if path.exists():
            sources, corrupted[split] = store.open_features(path)
            if list(sources.paths) != list(features.paths) or not np.array_equal(sources.sha256, features.sha256):
                raise OodgridError(f"{path} is not of the images of {file}: delete it, and the next run makes it again")
            digests[split] = store.read_digest(path)
        elif path in made:
            raise OodgridError(f"{path} is missing: oodgrid encode corrupted makes it")
    return Samples(name, features, file, corrupted, digests)


def read_fits(
    results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str, draws: bool = True
) -> tuple[Applied, FewShot]:
    """Return what apply left of every fit of one method, and the reader of its shots and validation samples.

    A fit of `any` whose shots cannot be drawn is skipped as a whole if all scores need `draws` of shots.
    """
    few_shot = FewShot(results, backbone, experiment.id_dataset(id_dataset))
    if method != ANY:
        path = paths.applied(results, experiment.experiment, backbone, id_dataset, method)
        return manifests.read(path, Applied), few_shot
    fits = [_any(few_shot if draws else None, fit, experiment.seeds) for fit in grid.fits(experiment, ANY)]
    return Applied(method=ANY, leaves="prototypes", fits=fits), few_shot


def _any(few_shot: FewShot | None, fit: grid.Fit, seeds: list[int]) -> AppliedFit:
    """Return a fit of `any`; without a reader no score needs its shots, and the fit is never skipped."""
    outcome = partial(AppliedFit, shots=fit.shots, seed=fit.seed)
    if few_shot is None:
        return outcome(status="ok", reason=None)
    try:
        few_shot.draw(fit.shots, fit.seed)
    except NoDraw as none:
        return outcome(status="skipped", reason=str(none))
    return outcome(status="ok", reason="; ".join(few_shot.remarks(fit.shots, seeds)) or None)
