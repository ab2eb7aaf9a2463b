"""Makes what a fit may see of the arrays that a user has: which arguments there are, and what they become."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from oodgrid import cache, text_tower
from oodgrid.adapt.contract import FitData, Outliers, PseudoTexts, TextSide, text_prototypes
from oodgrid.counts import counted
from oodgrid.edge import Shapes, whole_number
from oodgrid.errors import OodgridError, brief
from oodgrid.labels import has_class

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
    "pseudo_features": "Shape (P, D). Texts out of distribution that were made of the shots.",
    "pseudo_rows": "Shape (P,). Of which row of train_features each was made.",
    "train_views": "Shape (M, V, D). Augmented views of the shots.",
    "shots": "Images per class; default: the most that a class has.",
    "seed": "Seed of everything random in the fit.",
}


def fit_data(what: str, arrays: Mapping[str, Any]) -> FitData:
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
        outliers=outliers, pseudo_ood=_pseudo_ood(shapes, arrays, kept), **views,
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


def _pseudo_ood(shapes: Shapes, arrays: Mapping[str, Any], kept: np.ndarray) -> PseudoTexts | None:
    """Return the texts that were made of the shots, without those of shots that have no class."""
    if "pseudo_features" not in arrays:
        return None
    features = shapes.features("pseudo_features", arrays["pseudo_features"], "PD")
    numbers = shapes.numbers("pseudo_rows", arrays["pseudo_rows"], "P")
    shots = len(arrays["train_features"])
    if len(strange := numbers[(numbers != np.floor(numbers)) | (numbers < 0) | (numbers >= shots)]):
        raise OodgridError(
            f"{shapes.what}: pseudo_rows: {strange[0]:g} is no row of train_features, which has {counted(shots, 'row')}"
        )
    rows = numbers.astype(np.int64)
    taken = np.isin(rows, kept)
    return PseudoTexts(np.searchsorted(kept, rows[taken]), features[taken])


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
    tower = text_tower.load(cache.of_backbone(backbone, what))
    dimensions = tower.loaded.encode_text(tower.loaded.tokenize([""]).to(tower.device)).shape[1]
    if dimensions != width:
        raise OodgridError(
            f"{what}: text_features have {counted(width, 'dimension')}, and the texts of backbone {tower.loaded.name} "
            f"{dimensions}: give the backbone that encoded them"
        )
    return tower
