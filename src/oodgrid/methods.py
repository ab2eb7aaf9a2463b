"""Fine-tuning methods on arrays of features, by their names: NumPy in, a fitted classifier out.

>>> import numpy as np
>>> from oodgrid import methods, scores
>>> rng = np.random.default_rng(0)
>>> text_features = np.eye(3, 8) + 0.3 * rng.normal(size=(3, 8))  # of three classes; (T, K, D) under T templates
>>> train_labels = np.arange(12) % 3
>>> train_features = np.eye(3, 8)[train_labels] + 0.1 * rng.normal(size=(12, 8))
>>> tip = methods.tip_adapter(train_features, train_labels, text_features, alpha=1.0, beta=5.5)
>>> features = np.vstack([train_features[:2] + 0.05, rng.normal(size=(2, 8))])
>>> tip.predict(features[:2])
array([0, 1])
>>> scores.mcm(tip.logits(features)).round(3)  # logits are on the cosine scale, as every score wants them
array([0.587, 0.442, 0.429, 0.367])

What was fitted goes to `scores.all_scores` whole, with the samples that it learned from:

>>> found, skipped = scores.all_scores(features, method=tip, names=["msp", "knn", "vim"])
>>> sorted(found), skipped["vim"]
(['knn', 'msp'], 'it needs head: give weights')

A method that is trained needs torch: `pip install 'oodgrid[encode]'`. Prompt learners need `classnames` and a
`backbone` of the catalogue, or an entry as a configuration has it, whose text tower they train through. `dir(methods)`
lists the methods; `help(methods.tip_adapter)` says what each takes. They are those of the stage `adapt`, found by
their registration.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter, Signature
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import cache, catalogue, registry, store
from oodgrid.adapt import text_tower
from oodgrid.adapt.apply import applied
from oodgrid.adapt.contract import Classifier, Diverged, FitData, Learned, TextSide, check_finite, text_prototypes
from oodgrid.config import Backbone, build
from oodgrid.edge import Shapes, attribute
from oodgrid.errors import OodgridError, Skip, lacking
from oodgrid.labels import has_class
from oodgrid.vectors import normalise

__all__ = ["Fitted", "fit"]
TEXT = {"text", "text_tower", "prototypes"}
SAID = {
    "train_features": "Shape (M, D). The shots, as cached: not normalised.",
    "train_labels": "Shape (M,). Their classes; samples of none, -1, are left out.",
    "text_features": "Shape (K, D) or (T, K, D). Of the classes, maybe under T templates.",
    "classnames": "K names, in the order of the labels.",
    "backbone": "Whose text tower is trained through: a name of the catalogue, or an entry as a mapping.",
    "train_local": "Shape (M, V, P, D). Local features of the shots; V = 1 without views.",
    "val_features": "Shape (V, D). Few-shot validation samples, on which hyper-parameters are chosen.",
    "val_labels": "Shape (V,). Their classes.",
    "train_views": "Shape (M, V, D). Augmented views of the shots.",
    "shots": "Images a class; default: the most that a class has.",
    "seed": "Of everything random in the fit.",
}


def __getattr__(name: str) -> Callable[..., Fitted]:
    """Return the method of that name as a function of arrays."""
    return attribute(_function, name)


def __dir__() -> list[str]:
    return sorted([*__all__, *registry.entries("method")])


def fit(name: str, *arrays: Any, **options: Any) -> Fitted:
    """Fit a method by its name: `fit("tip_adapter", …)` is `tip_adapter(…)`.

    Raises:
        OodgridError: There is none of that name; or as the method itself.
    """
    return _function(name)(*arrays, **options)


@dataclass(frozen=True)
class Fitted:
    """A fitted method.

    Attributes:
        name: Of the method.
        leaves: What it leaves for scores: "prototypes" (weights and bias), changed "features", or "logits" alone.
        learned: Its arrays, what was chosen (`info`), and what tables must say of it (`remarks`).
        data: What it learned from.
        classifier: What makes logits.
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
        """Shape (K, D), float64: logits are normalised features · weights + bias; None where a method leaves logits."""
        return None if self.leaves == "logits" else _stored(self.classifier.prototypes)

    @cached_property
    def bias(self) -> np.ndarray | None:
        """Shape (K,), float64, or None."""
        return None if self.classifier.bias is None else _stored(self.classifier.bias)

    def transform(self, features: Any) -> np.ndarray:
        """Return what the method makes of features (N, D), shape (N, D), float32; most leave them as they are.

        Raises:
            OodgridError: They are no such array.
        """
        found = self._features(features)
        return found if self.classifier.change is None else self._applied("features", found)

    def logits(self, features: Any, local_features: Any = None) -> np.ndarray:
        """Return logits on the cosine scale, shape (N, K), float64.

        Args:
            features: Shape (N, D), as cached; or a feature file, read or by its path.
            local_features: Shape (N, P, D), where the method looks at patches; a file by its path brings its own.

        Raises:
            OodgridError: They are no such arrays.
        """
        if self.weights is not None:
            made = normalise(self.transform(features).astype(np.float64)) @ self.weights.T
            return made if self.bias is None else made + self.bias
        found = self._features(features)
        if self.classifier.logits is not None:
            return self._applied("logits", found).astype(np.float64)
        blocks = self._local_blocks(features, local_features)
        return self._applied("logits", found, blocks).astype(np.float64)

    def predict(self, features: Any, local_features: Any = None) -> np.ndarray:
        """Return the class of the largest logit of each sample, shape (N,)."""
        return self.logits(features, local_features).argmax(axis=1)

    def arrays(self, features: Any) -> dict[str, Any]:
        """Return what `scores.all_scores` needs of samples (N, D) under this method, as the stage `adapt` leaves it."""
        data, text_cosines = self.data, {"text_cosines": self.text_cosines}
        found: dict[str, Any] = {"features": self.transform(features), "weights": self.weights, "bias": self.bias}
        if self.leaves == "logits":
            found["logits"] = self.logits(features)
        if self.classifier.negatives is not None:
            unit = normalise(found["features"].astype(np.float64))
            found["negative_logits"] = np.einsum("nd,kjd->nkj", unit, _stored(self.classifier.negatives), optimize=True)
        for side, samples, labels in (("train", data.train, data.train_labels), ("val", data.val, data.val_labels)):
            if len(samples):
                found |= {f"{side}_features": self.transform(samples), f"{side}_labels": labels, "shots": data.shots}
                if side == "val" and self.leaves == "logits" and self.classifier.local_logits is None:
                    found["val_logits"] = self.logits(samples)
        return {key: value for key, value in found.items() if value is not None} | text_cosines

    def _applied(self, leaves: str, features: np.ndarray, local: Any = None) -> np.ndarray:
        try:
            return applied(self.classifier, leaves, features, local)[leaves]
        except Diverged as error:
            raise OodgridError(f"method {self.name}: {error}") from None

    def _features(self, given: Any) -> np.ndarray:
        shapes = Shapes(f"method {self.name}")
        shapes.numbers("prototypes", self.classifier.prototypes, "KD")
        return shapes.numbers("features", cache.of_images(given), "ND").astype(np.float32)

    def _local_blocks(self, features: Any, local: Any) -> Any:
        if local is None and isinstance(features, str | PathLike):
            return store.read_local_features(Path(features))
        if local is None:
            raise OodgridError(f"method {self.name} looks at patches: give local_features, shape (N, P, D)")
        return [(0, Shapes(f"method {self.name}").numbers("local_features", local, "NPD").astype(np.float32))]


@functools.cache
def _function(name: str) -> Callable[..., Fitted]:
    """Return a registered method as a function of arrays.

    Raises:
        OodgridError: There is none of that name.
    """
    entry = registry.find("method", name)
    signature = _signature(entry)

    def method(*positional: Any, **named: Any) -> Fitted:
        given = signature.bind(*positional, **named).arguments
        arrays = {key: value for key, value in given.items() if key in SAID and value is not None}
        params = {key: value for key, value in given.items() if key not in SAID}
        return _fitted(entry, arrays, registry.check_params("method", name, params))

    method.__name__ = method.__qualname__ = name
    args = "\n".join(f"    {each}: {SAID[each]}" for each in signature.parameters if each in SAID)
    method.__doc__ = f"{inspect.getdoc(entry.make)}\n\nArgs:\n{args}\n\nSee {entry.paper}."
    method.__signature__ = signature  # type: ignore[attr-defined]
    return method


def _signature(entry: registry.Entry) -> Signature:
    needs = set(entry.needs)
    must = [
        *(("train_features", "train_labels") if "shots" in needs else ()),
        *(("text_features",) if TEXT & needs else ()),
    ]
    by_name = [
        *(("classnames", "backbone") if "text_tower" in needs else ()),
        *(("train_local",) if "local_features" in needs else ()),
    ]
    may = dict.fromkeys(("val_features", "val_labels", "shots") if entry.learns else ())
    may |= {"train_views": None} if "views" in entry.params else {}
    return Signature(
        [
            *(Parameter(each, Parameter.POSITIONAL_OR_KEYWORD) for each in must),
            *(Parameter(each, Parameter.KEYWORD_ONLY) for each in by_name),
            *(
                Parameter(each, Parameter.KEYWORD_ONLY, default=default)
                for each, default in (
                    may | {"seed": 1} | {k: v for k, v in entry.params.items() if k != "views"}
                ).items()
            ),
        ],
        return_annotation=Fitted,
    )


def _fitted(entry: registry.Entry, arrays: Mapping[str, Any], params: Mapping[str, Any]) -> Fitted:
    what = f"method {entry.name}"
    try:
        data, method = _data(what, arrays), entry.make(**params)
        learned = method.fit(data)
        check_finite(learned.arrays, "that training left")
        classifier = method.classifier(learned.arrays, data.text)
    except (Skip, Diverged) as reason:
        raise OodgridError(f"{what}: {reason}") from None
    except ModuleNotFoundError as error:
        if said := lacking(error):
            raise OodgridError(f"{what}: {said}") from None
        raise
    return Fitted(entry.name, entry.leaves, learned, data, classifier, entry.text_cosines)


def _data(what: str, arrays: Mapping[str, Any]) -> FitData:
    """Return what a fit may see, checked.

    Raises:
        OodgridError: An array is none, or does not fit another; or there is one class only.
    """
    shapes = Shapes(what)
    texts = cache.of_texts(arrays.get("text_features"))
    if texts is not None:
        texts = shapes.numbers("text_features", texts, "tKD" if np.ndim(texts) == 3 else "KD").astype(np.float32)
        texts = texts if texts.ndim == 3 else texts[None]
    train, train_labels, kept = _labelled(shapes, "train", "M", arrays)
    val, val_labels, _ = _labelled(shapes, "val", "V", arrays)
    names = None if arrays.get("classnames") is None else list(arrays["classnames"])
    if texts is not None and names is not None and len(names) != texts.shape[1]:
        raise OodgridError(f"{what}: {len(names)} classnames beside text_features of shape {texts.shape}")
    classes = texts.shape[1] if texts is not None else int(train_labels.max(initial=-1)) + 1
    if classes == 1:
        raise OodgridError(f"{what}: one class only, where two or more are needed")
    counts = np.bincount(train_labels, minlength=1)
    local = {"train_views": "MvD", "train_local": "MvpD"}
    views = {
        name: shapes.numbers(name, arrays[name], shape).astype(np.float32)[kept]
        for name, shape in local.items()
        if arrays.get(name) is not None
    }
    prototypes = None if texts is None else text_prototypes(texts)
    text = TextSide(prototypes, names, functools.cache(lambda: _tower(arrays["backbone"])), texts)
    shots = arrays.get("shots") or int(counts.max())
    return FitData(text, classes, train, train_labels, val, val_labels, shots, arrays.get("seed", 1), **views)


def _labelled(
    shapes: Shapes, side: str, axis: str, arrays: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, classes and which rows they are, of the samples that have a class; none where none are given."""
    names = [name for name in (f"{side}_features", f"{side}_labels") if arrays.get(name) is not None]
    if len(names) == 1:
        raise OodgridError(f"{shapes.what}: {names[0]} alone: labelled samples are features and their classes")
    if not names:
        return np.empty((0, 0), np.float32), np.empty(0, np.int32), np.empty(0, np.int64)
    features = shapes.numbers(names[0], cache.of_images(arrays[names[0]]), f"{axis}D").astype(np.float32)
    labels = shapes.labels(names[1], arrays[names[1]], axis)
    kept = np.flatnonzero(has_class(labels))
    return features[kept], labels[kept].astype(np.int32), kept


def _tower(backbone: str | Mapping[str, Any]) -> text_tower.TextTower:
    entry = {"name": backbone, **catalogue.entry("backbone", backbone)} if isinstance(backbone, str) else dict(backbone)
    return text_tower.load(build(Backbone, **entry))


def _stored(values: np.ndarray) -> np.ndarray:
    """Return numbers as scores see them: stored as float32, computed with as float64."""
    return values.astype(np.float32).astype(np.float64)
