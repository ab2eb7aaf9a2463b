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

>>> values, skipped = scores.all_scores(features, method=tip, names=["msp", "knn", "vim"])
>>> sorted(values), skipped["vim"]
(['knn', 'msp'], 'it needs head: give weights')

A method that is trained needs torch: `pip install 'oodgrid[encode]'`. Prompt learners need `classnames` and a
`backbone` of the catalogue, or an entry as a configuration has it, whose text tower they train through. `dir(methods)`
lists the methods; `help(methods.tip_adapter)` describes the arguments of one. They are those of the stage `adapt`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter, Signature
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import cache, catalogue, registry, store
from oodgrid.adapt import text_tower
from oodgrid.adapt.apply import Leaves, applied
from oodgrid.adapt.contract import (
    Classifier,
    Diverged,
    FitData,
    Learned,
    Outliers,
    TextSide,
    check_finite,
    text_prototypes,
)
from oodgrid.config import Backbone, build
from oodgrid.counts import counted
from oodgrid.edge import Shapes, attribute, bound, whole_number
from oodgrid.errors import OodgridError, Skip, brief, lacking
from oodgrid.labels import has_class
from oodgrid.score.references import scaled
from oodgrid.vectors import normalise

__all__ = ["Fitted", "fit"]
TEXT = {"text", "text_tower", "prototypes"}
ARGUMENTS = {
    "head_weights": "Shape (K, D). Of the network's last layer: its logits are features · weights + bias.",
    "head_bias": "Shape (K,). Default: zeros.",
    "train_features": "Shape (M, D). The shots, as cached: not normalised.",
    "train_labels": "Shape (M,). Their classes; samples without a class, -1, are left out.",
    "text_features": "Shape (K, D) or (T, K, D). Embeddings of the class names, under one or T templates.",
    "classnames": "K names, in the order of the labels.",
    "backbone": "The backbone whose text tower is trained through: a name of the catalogue, or an entry as a mapping.",
    "train_local": "Shape (M, V, P, D). Local features of the shots; V = 1 without views.",
    "train_texts": "Shape (M, D). Of pairs: features of the text of each shot.",
    "outlier_features": "Shape (O, D). Of pairs that are labelled OOD: features of their images.",
    "outlier_texts": "Shape (O, D). Of the same: features of their texts.",
    "val_features": "Shape (V, D). Few-shot validation samples, on which hyper-parameters are chosen.",
    "val_labels": "Shape (V,). Their classes.",
    "train_views": "Shape (M, V, D). Augmented views of the shots.",
    "shots": "Images per class; default: the most that a class has.",
    "seed": "Seed of everything random in the fit.",
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
    if not isinstance(name, str):
        raise OodgridError(f"a method is given by its name, not by {brief(name)}")
    return _function(name)(*arrays, **options)


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


@functools.cache
def _function(name: str) -> Callable[..., Fitted]:
    """Return a registered method as a function of arrays.

    Raises:
        OodgridError: There is none of that name.
    """
    entry = registry.find("method", name)
    signature = _signature(entry)

    def method(*positional: Any, **named: Any) -> Fitted:
        arguments = bound(signature, f"method {name}", positional, named)
        arrays = {key: value for key, value in arguments.items() if key in ARGUMENTS and value is not None}
        params = {key: value for key, value in arguments.items() if key not in ARGUMENTS}
        for key, parameter in signature.parameters.items():
            if parameter.default is Parameter.empty and key not in arrays:
                raise OodgridError(f"method {name}: {key} is None, and it is needed: {ARGUMENTS[key]}")
        return _fitted(entry, arrays, registry.check_params("method", name, params))

    method.__name__ = method.__qualname__ = name
    args = "\n".join(f"    {each}: {ARGUMENTS[each]}" for each in signature.parameters if each in ARGUMENTS)
    method.__doc__ = f"{inspect.getdoc(entry.make)}\n\nArgs:\n{args}\n\nSee {entry.paper}."
    method.__signature__ = signature  # type: ignore[attr-defined]
    return method


def _signature(entry: registry.Entry) -> Signature:
    needs = set(entry.needs)
    positional = [
        *(("head_weights",) if "own_head" in needs else ()),
        *(("train_features", "train_labels") if "shots" in needs else ()),
        *(("text_features",) if TEXT & needs else ()),
    ]
    required = [
        *(("classnames", "backbone") if "text_tower" in needs else ()),
        *(("train_local",) if "local_features" in needs else ()),
        *(("train_texts",) if "pairs" in needs else ()),
        *(("outlier_features", "outlier_texts") if "outliers" in needs else ()),
    ]
    optional: dict[str, Any] = dict.fromkeys(("val_features", "val_labels", "shots") if entry.learns else ())
    optional |= {"head_bias": None} if "own_head" in needs else {}
    optional |= {"train_views": None} if "views" in entry.params else {}
    optional |= {"seed": 1} | {name: default for name, default in entry.params.items() if name != "views"}
    parameters = [
        *(Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in positional),
        *(Parameter(name, Parameter.KEYWORD_ONLY) for name in required),
        *(Parameter(name, Parameter.KEYWORD_ONLY, default=default) for name, default in optional.items()),
    ]
    return Signature(parameters, return_annotation=Fitted)


def _fitted(entry: registry.Entry, arrays: Mapping[str, Any], params: Mapping[str, Any]) -> Fitted:
    what = f"method {entry.name}"
    try:
        data, method = _data(what, arrays), entry.make(**params)
        if data.classes == 1 and not entry.makes_of_one:
            raise OodgridError(f"{what}: one class only, where two or more are needed")
        learned = method.fit(data)
        check_finite(learned.arrays, "that training left")
        classifier = method.classifier(learned.arrays, data.text)
    except (Skip, Diverged) as reason:
        raise OodgridError(f"{what}: {reason}") from None
    except ModuleNotFoundError as error:
        if message := lacking(error):
            raise OodgridError(f"{what}: {message}") from None
        raise
    return Fitted(entry.name, entry.leaves, learned, data, classifier, entry.text_cosines)


def _data(what: str, arrays: Mapping[str, Any]) -> FitData:
    """Return what a fit may see, checked.

    Raises:
        OodgridError: An argument is not what it should be, or does not fit another.
    """
    shapes = Shapes(what)
    if "train_features" in arrays:  # first, so that of two widths that differ the text's is the one refused
        features = shapes.features("train_features", cache.of_images(arrays["train_features"]), "MD")
        arrays = {**arrays, "train_features": features}
    text = _text_side(shapes, arrays)
    head = _head(shapes, arrays)
    train, train_labels, kept = _labelled(shapes, "train", "M", arrays)
    val, val_labels, _ = _labelled(shapes, "val", "V", arrays)
    present = np.unique(train_labels)
    classes = text.embeddings.shape[1] if head is None else len(head["weights"])
    if not classes:  # then the labels alone name the classes
        classes = len(present)
        if len(gaps := np.flatnonzero(present != np.arange(classes))):
            raise OodgridError(f"{what}: class {gaps[0]} has no training sample: labels run from 0 to K - 1")
    if len(beyond := np.flatnonzero(val_labels >= classes)):
        raise OodgridError(
            f"{what}: val_labels: {val_labels[beyond[0]]} is none of the {counted(classes, 'class', 'classes')}"
        )
    views = {
        name: shapes.features(name, arrays[name], shape)[kept]
        for name, shape in {"train_views": "MvD", "train_local": "MvpD"}.items()
        if name in arrays
    }
    most = int(np.bincount(train_labels, minlength=1).max())
    shots = whole_number(arrays["shots"], f"{what}: shots", 1) if "shots" in arrays else most
    seed = whole_number(arrays.get("seed", 1), f"{what}: seed")
    texts = shapes.features("train_texts", arrays["train_texts"], "MD")[kept] if "train_texts" in arrays else None
    outliers = _outliers(shapes, arrays)
    return FitData(
        text, classes, train, train_labels, val, val_labels, shots, seed, head=head, train_texts=texts,
        outliers=outliers, **views,
    )  # fmt: skip


def _head(shapes: Shapes, arrays: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
    """Return weights and bias of a network's last layer, where they are given."""
    if "head_weights" not in arrays:
        return None
    weights = shapes.numbers("head_weights", arrays["head_weights"], "KD")
    bias = arrays.get("head_bias")
    bias = np.zeros(len(weights)) if bias is None else shapes.numbers("head_bias", bias, "K")
    return {"weights": weights.astype(np.float32), "bias": bias.astype(np.float32)}


def _outliers(shapes: Shapes, arrays: Mapping[str, Any]) -> tuple[Outliers, ...]:
    """Return the pairs that are labelled OOD, as one set."""
    if "outlier_features" not in arrays:
        return ()
    images, texts = (shapes.features(name, arrays[name], "OD") for name in ("outlier_features", "outlier_texts"))
    return (Outliers("outliers", images, texts),)


def _text_side(shapes: Shapes, arrays: Mapping[str, Any]) -> TextSide:
    if "text_features" not in arrays:
        return TextSide(np.empty((0, 0), np.float32), (), lambda: _tower(shapes.what, None, 0))
    texts = cache.of_texts(arrays["text_features"])
    try:
        templates = np.ndim(texts) == 3
    except Exception:  # no array at all, as the next line says
        templates = False
    embeddings = shapes.features("text_features", texts, "tKD" if templates else "KD")
    embeddings = embeddings if templates else embeddings[None]
    names = arrays.get("classnames", ())
    names = list(names) if isinstance(names, Iterable) and not isinstance(names, str) else [None]
    if not all(isinstance(name, str) for name in names):
        raise OodgridError(f"{shapes.what}: classnames is a list of names, not {brief(arrays['classnames'])}")
    if names and len(names) != embeddings.shape[1]:
        raise OodgridError(
            f"{shapes.what}: {counted(len(names), 'classname')} beside text_features of shape {embeddings.shape}"
        )
    tower = functools.cache(lambda: _tower(shapes.what, arrays.get("backbone"), embeddings.shape[2]))
    return TextSide(text_prototypes(embeddings), names, tower, embeddings)


def _labelled(
    shapes: Shapes, side: str, axis: str, arrays: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, classes and row numbers of the samples with a class; empty arrays without samples."""
    names = [name for name in (f"{side}_features", f"{side}_labels") if name in arrays]
    if len(names) == 1:
        raise OodgridError(f"{shapes.what}: {names[0]} alone: labelled samples are features and their classes")
    if not names:
        return np.empty((0, 0), np.float32), np.empty(0, np.int64), np.empty(0, np.int64)
    features = shapes.features(names[0], cache.of_images(arrays[names[0]]), f"{axis}D")
    labels = shapes.labels(names[1], arrays[names[1]], axis)
    kept = np.flatnonzero(has_class(labels))
    if not len(kept):
        raise OodgridError(f"{shapes.what}: {names[1]}: no sample has a class, all are -1")
    return features[kept], labels[kept], kept


def _tower(what: str, backbone: Any, width: int) -> text_tower.TextTower:
    if isinstance(backbone, str):
        backbone = {"name": backbone, **catalogue.entry("backbone", backbone)}
    if not isinstance(backbone, Mapping) or not all(isinstance(key, str) for key in backbone):
        raise OodgridError(f"{what}: backbone is a name of the catalogue or a mapping, not {brief(backbone)}")
    tower = text_tower.load(build(Backbone, **backbone))
    dimensions = tower.loaded.encode_text(tower.loaded.tokenize([""]).to(tower.device)).shape[1]
    if dimensions != width:
        raise OodgridError(
            f"{what}: text_features have {counted(width, 'dimension')}, and the texts of backbone {tower.loaded.name} "
            f"{dimensions}: give the backbone that encoded them"
        )
    return tower


def _stored(values: np.ndarray) -> np.ndarray:
    """Return numbers as scores see them: stored as float32, computed with as float64."""
    return values.astype(np.float32).astype(np.float64)
