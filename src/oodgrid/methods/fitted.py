"""A fitted method: what it makes of features, and what scores need of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import cache, registry, store
from oodgrid.adapt.apply import Leaves, applied
from oodgrid.adapt.contract import Classifier, Diverged, FitData, Learned
from oodgrid.edge import Shapes
from oodgrid.errors import OodgridError
from oodgrid.score.references import scaled
from oodgrid.vectors import normalise


@dataclass(frozen=True)
class Fitted:
    """A fitted method.

    Attributes:
        name: The method's name.
        leaves: What it leaves for scores: "prototypes" (weights and bias), changed "features", or "logits" alone.
        learned: Its arrays, what was chosen (`info`), and remarks for tables (`remarks`).
        data: What it learned from.
        classifier: Computes the logits.
        text_cosines: Whether the logits are cosines with texts, and so compare with those of other texts.
    """

    name: str
    leaves: str
    learned: Learned
    data: FitData
    classifier: Classifier
    text_cosines: bool

    @cached_property
    def weights(self) -> np.ndarray | None:
        """Shape (K, D), float64: logits are features, `scaled`, · weights + bias; None where a method leaves logits."""
        return None if self.leaves == "logits" else _stored(self.classifier.prototypes)

    @cached_property
    def bias(self) -> np.ndarray | None:
        """Shape (K,), float64, or None."""
        return None if self.classifier.bias is None else _stored(self.classifier.bias)

    @property
    def normalises(self) -> bool:
        """Whether logits are of normalised features; else, as of `own_head`, of features by their own norm."""
        return registry.find("method", self.name).normalises

    def of_pairs(self, features: Any, texts: Any) -> dict[str, np.ndarray]:
        """Return what scores of pairs need, of features of images and of their texts, (N, D) each.

        Returns:
            `features` and `pair_texts` (N, D), as the method changes them, and `pair_logits` (N,) where it has any.

        Raises:
            OodgridError: They are no such arrays, or the method is none on pairs.
        """
        if self.classifier.of_pairs is None:
            raise OodgridError(f"method {self.name} is none on pairs: call transform or logits with features alone")
        shapes = Shapes(f"method {self.name}")
        images = shapes.features("features", cache.of_images(features), "ND")
        try:
            return applied(self.classifier, "features", images, None, shapes.features("texts", texts, "ND"))
        except Diverged as failure:
            raise OodgridError(f"method {self.name}: {failure}") from None

    def transform(self, features: Any) -> np.ndarray:
        """Return features (N, D) as the method changes them, shape (N, D), float32; most do not change them.

        Raises:
            OodgridError: They are no such array, or the method is one on pairs.
        """
        if self.classifier.of_pairs is not None:
            raise OodgridError(f"method {self.name} changes both sides of pairs: call of_pairs(features, texts)")
        array = self._features(features)
        return array if self.classifier.change is None else self._applied("features", array)

    def logits(self, features: Any, local_features: Any = None) -> np.ndarray:
        """Return logits on the cosine scale, shape (N, K), float64.

        Args:
            features: Shape (N, D), as cached; or a feature file, read or by its path.
            local_features: Shape (N, P, D), for methods that look at patches; not needed beside the path of a file that
                has them.

        Raises:
            OodgridError: They are no such arrays.
        """
        if self.weights is not None:
            logits = scaled(self.transform(features), self.normalises) @ self.weights.T
            return logits if self.bias is None else logits + self.bias
        array = self._features(features)
        local = None if self.classifier.local_logits is None else self._local_blocks(features, array, local_features)
        return self._applied("logits", array, local).astype(np.float64)

    def predict(self, features: Any, local_features: Any = None) -> np.ndarray:
        """Return the class of the largest logit of each sample, shape (N,)."""
        return self.logits(features, local_features).argmax(axis=1)

    def arrays(self, features: Any) -> dict[str, Any]:
        """Return what `scores.all_scores` needs of samples (N, D) under this method, as the stage `adapt` leaves it."""
        data = self.data
        arrays: dict[str, Any] = {"features": self.transform(features), "weights": self.weights, "bias": self.bias}
        if self.leaves == "logits":
            arrays["logits"] = self.logits(features)
        if self.classifier.negatives is not None:
            unit, negatives = normalise(arrays["features"].astype(np.float64)), _stored(self.classifier.negatives)
            arrays["negative_logits"] = np.einsum("nd,kjd->nkj", unit, negatives, optimize=True)
        for side, samples, labels in (("train", data.train, data.train_labels), ("val", data.val, data.val_labels)):
            if len(samples):
                arrays |= {f"{side}_features": self.transform(samples), f"{side}_labels": labels, "shots": data.shots}
                if side == "val" and self.leaves == "logits" and self.classifier.local_logits is None:
                    arrays["val_logits"] = self.logits(samples)
        arrays |= {"text_cosines": self.text_cosines, "normalises": self.normalises}
        return {name: value for name, value in arrays.items() if value is not None}

    def _applied(self, leaves: Leaves, features: np.ndarray, local: Any = None) -> np.ndarray:
        try:
            return applied(self.classifier, leaves, features, local)[leaves]
        except Diverged as failure:
            raise OodgridError(f"method {self.name}: {failure}") from None

    def _features(self, features: Any) -> np.ndarray:
        shapes = Shapes(f"method {self.name}")
        shapes.numbers("prototypes", self.classifier.prototypes, "KD")
        return shapes.features("features", cache.of_images(features), "ND")

    def _local_blocks(self, features: Any, array: np.ndarray, local: Any) -> Iterable[tuple[int, np.ndarray]]:
        if local is None and isinstance(features, str | PathLike):
            return store.read_local_features(Path(features))
        if local is None:
            raise OodgridError(f"method {self.name} looks at patches: give local_features, shape (N, P, D)")
        shapes = Shapes(f"method {self.name}")
        shapes.numbers("features", array, "ND")
        return [(0, shapes.features("local_features", local, "NPD"))]


def _stored(values: np.ndarray) -> np.ndarray:
    """Return numbers as scores see them: stored as float32, row after row, computed with as float64."""
    return values.astype(np.float32, order="C").astype(np.float64)
