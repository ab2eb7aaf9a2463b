"""Makes the inputs of scores of the arrays that a user has: which arguments there are, and what they become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from oodgrid.cache import of_backbone, of_images, of_texts
from oodgrid.counts import counted, plural
from oodgrid.edge import Shapes, check_directions, whole_number
from oodgrid.errors import OodgridError
from oodgrid.labels import has_class
from oodgrid.score.contract import Bank, Encoder, Head, TextList, normalise
from oodgrid.score.texts import class_texts, text_list, text_list_of
from oodgrid.store import Texts


class Argument(NamedTuple):
    """An array that a score takes.

    Attributes:
        name: Of the argument.
        about: What it is, for the documentation.
        shapes: A letter for each axis, small where its length fits anything; several where it may have more axes.
    """

    name: str
    about: str
    shapes: tuple[str, ...] = ()


class Need(NamedTuple):
    """The arguments that meet one need: those that must be there, in order, and those that may."""

    must: tuple[Argument, ...]
    may: tuple[Argument, ...] = ()


_LABELLED = Need(
    (
        Argument("train_features", "Labelled samples to compare with, normalised here.", ("MD",)),
        Argument("train_labels", "Their classes; samples of none, -1, are left out.", ("M",)),
    ),
    (
        Argument("train_logits", "Their logits, where no weights make them.", ("MK",)),
        Argument("shots", "Samples per class of them; default: the fewest that a class has."),
    ),
)
NEEDS = {
    "features": Need((Argument("features", "Features of the samples, normalised here.", ("ND",)),)),
    "layer_features": Need(
        (
            Argument("layer_features", "Of texts: what every layer gives, the embeddings first.", ("NHD",)),
            Argument("train_layer_features", "The same of the labelled samples.", ("MHD",)),
        )
    ),
    "pair_texts": Need((Argument("pair_texts", "Of pairs: features of their texts, normalised here.", ("ND",)),)),
    "pair_logits": Need((Argument("pair_logits", "Of pairs: logits of a classifier, higher = more ID.", ("N",)),)),
    "logits": Need((Argument("logits", "On the cosine scale: cosines with class texts, or CLIP's / 100.", ("NK",)),)),
    "negative_logits": Need((Argument("negative_logits", "Likewise, with what each class is not.", ("NKn",)),)),
    "local_logits": Need((Argument("local_logits", "Likewise, of every patch of the image.", ("NPK",)),)),
    "local_negative_logits": Need(
        (Argument("local_negative_logits", "Likewise, with what each class is not.", ("NPKn",)),)
    ),
    "corrupted_logits": Need(
        (Argument("corrupted_logits", "Likewise, of v corrupted versions of each image.", ("NvK",)),)
    ),
    "corrupted_features": Need(
        (Argument("corrupted_features", "Likewise, their features, normalised here.", ("NvD",)),)
    ),
    "head": Need(
        (Argument("weights", "Logits, on the cosine scale, are normalised features · weights + bias.", ("KD",)),),
        (Argument("bias", "Default: zeros.", ("K",)),),
    ),
    "bank": _LABELLED,
    "val|bank": _LABELLED,
    "val": Need((Argument("val_logits", "Logits of validation samples, on the cosine scale.", ("VK",)),)),
    "class_texts": Need(
        (Argument("class_texts", "Text features of the classes, maybe under t templates.", ("KD", "tKD")),)
    ),
    "prompt_variants": Need(
        (Argument("prompt_variants", "Text features of the classes, under v prompts with shuffled words.", ("vKD",)),)
    ),
    "text_tower": Need(
        (Argument("backbone", "What encoded the texts: a name of the catalogue, or an entry as a mapping."),)
    ),
}
# arrays of logits of the samples
OF_SAMPLES = ("logits", "negative_logits", "local_logits", "local_negative_logits", "corrupted_logits")
VALIDATION = (
    Argument("val_features", "Validation samples, normalised here.", ("VD",)),
    Argument("val_labels", "Their classes.", ("V",)),
)
TEXT_LIST = ("lD", "tlD")  # of a parameter that is a list of texts beside the classes, maybe under t templates
MOST_OF_COSINES = 1.5  # what rounding and a bias leave of 1; CLIP's 100 cos of any image and its text is beyond it
EVERY = {each.name: each for need in NEEDS.values() for each in (*need.must, *need.may)} | {
    a.name: a for a in VALIDATION
}


def of_needs(needs: tuple[str, ...]) -> tuple[list[Argument], list[Argument]]:
    """Return the arguments that a score must and may be given, in the order of its needs.

    Where there is a classifier, it makes all logits.
    """
    has_head = "head" in needs
    asked = [NEEDS[need] for need in needs if not (has_head and need == "logits")]
    takes_logits = "logits" in needs and not has_head
    may = [each for need in asked for each in need.may if takes_logits or each.name != "train_logits"]
    return list(dict.fromkeys(each for need in asked for each in need.must)), list(dict.fromkeys(may))


def inputs(
    arrays: Mapping[str, Any], lists: Mapping[str, Any], what: str
) -> tuple[dict[str, Any], dict[str, TextList]]:
    """Return the inputs of scores by the names of `oodgrid.score.contract`, and the lists of texts beside the classes.

    Args:
        arrays: By the names of `EVERY`; None where there is none.
        lists: Of shape `TEXT_LIST`, or text files as read, by the names of parameters.
        what: What they are for, as "score mcm", for messages.

    Raises:
        OodgridError: One is no such array, or does not fit another; the message names it and its shape.
    """
    shapes = Shapes(what)
    checked = {
        name: _numbers(shapes, name, value, EVERY[name].shapes)
        for name, value in arrays.items()
        if value is not None and name in EVERY and EVERY[name].shapes and not name.endswith("labels")
    }
    texts = {name: _text_list(shapes, name, value) for name, value in lists.items()}
    inputs: dict[str, Any] = {name: checked[name] for name in (*OF_SAMPLES, "pair_logits") if name in checked}
    if "features" in checked:
        inputs["features"] = _scaled("features", checked, arrays, what)
    if "layer_features" in checked:
        inputs["layer_features"] = checked["layer_features"]
    if "corrupted_features" in checked:
        inputs["corrupted_features"] = _unit("corrupted_features", checked, what)
    if "pair_texts" in checked:
        inputs["pair_texts"] = _unit("pair_texts", checked, what)
    if "class_texts" in checked:
        _unit("class_texts", checked, what)
        inputs["class_texts"] = class_texts(checked["class_texts"])
    if "prompt_variants" in checked:
        inputs["prompt_variants"] = _unit("prompt_variants", checked, what)
    if arrays.get("backbone") is not None:
        inputs["text_tower"] = Encoder(of_backbone(arrays["backbone"], what), "class_texts")
        for name, given in lists.items():
            if not isinstance(given, Texts):
                raise OodgridError(f"{what}: {name}: beside backbone it needs words too: give a text file as read")
    if "weights" in checked:
        inputs["head"] = Head(checked["weights"], checked.get("bias", np.zeros(len(checked["weights"]))))
    elif "bias" in checked:
        raise OodgridError(f"{what}: bias: shape {checked['bias'].shape}, and no weights beside it")
    if any(arrays.get(name) is not None for name in ("train_features", "train_labels", "train_logits")):
        inputs["bank"] = inputs["train"] = _labelled("train", "M", arrays, checked, inputs, shapes)
    if any(arrays.get(name) is not None for name in ("val_features", "val_labels")):
        inputs["val"] = _labelled("val", "V", arrays, checked, inputs, shapes)
    elif "val_logits" in checked:
        logits = checked["val_logits"]
        inputs["val"] = Bank(np.empty((len(logits), 0)), logits.argmax(axis=1), 0, logits)
    return inputs, texts


def _labelled(
    side: str,
    axis: str,
    arrays: Mapping[str, Any],
    checked: Mapping[str, Any],
    inputs: Mapping[str, Any],
    shapes: Shapes,
) -> Bank:
    """Return the training or validation samples that have a class."""
    for name in (f"{side}_features", f"{side}_labels"):
        if arrays.get(name) is None:
            raise OodgridError(f"{shapes.what}: {name} is missing: labelled samples are features and their classes")
    labels = shapes.labels(f"{side}_labels", arrays[f"{side}_labels"], axis)
    known = has_class(labels)
    if not known.any():
        raise OodgridError(f"{shapes.what}: {side}_labels: shape {labels.shape}, and all are -1, of no class")
    fewest = int(np.unique(labels[known], return_counts=True)[1].min())
    shots = fewest if arrays.get("shots") is None else whole_number(arrays["shots"], f"{shapes.what}: shots", 1)
    logits = checked[f"{side}_logits"][known] if f"{side}_logits" in checked else None
    features = _scaled(f"{side}_features", checked, arrays, shapes.what)[known]
    layers = checked[name][known] if (name := f"{side}_layer_features") in checked else None
    return Bank(features, labels[known].astype(np.int32), shots, logits, inputs.get("head"), layers=layers)


def _text_list(shapes: Shapes, name: str, value: Any) -> TextList:
    embeddings = _numbers(shapes, name, value, TEXT_LIST)
    _unit(name, {name: embeddings}, shapes.what)
    if isinstance(value, Texts):
        return text_list_of(value)
    embeddings = embeddings if embeddings.ndim == 3 else embeddings[None]
    return text_list(embeddings, [str(row) for row in range(embeddings.shape[1])])


def _numbers(shapes: Shapes, name: str, value: Any, possible: tuple[str, ...]) -> np.ndarray:
    """Return an array, of the one of the possible shapes that has as many axes."""
    value = (of_images if name.endswith("features") else of_texts)(value)
    try:
        axes = np.ndim(value)
    except Exception:  # it is no array, and `numbers` says so
        axes = len(possible[0])
    return shapes.numbers(name, value, next((shape for shape in possible if len(shape) == axes), possible[0]))


def _scaled(name: str, checked: Mapping[str, np.ndarray], arrays: Mapping[str, Any], what: str) -> np.ndarray:
    """Return features as scores are given them: normalised, or by their own norm where the classifier wants it."""
    return _unit(name, checked, what) if arrays.get("normalises", True) else checked[name]


def _unit(name: str, arrays: Mapping[str, np.ndarray], what: str) -> np.ndarray:
    """Return one of some arrays, normalised along its last axis.

    Raises:
        OodgridError: A row is all zeros, which has no direction.
    """
    check_directions(arrays[name], f"{what}: {name}")
    return normalise(arrays[name])


def doubts(inputs: Mapping[str, Any], temperatures: Iterable[float], cosines_known: bool) -> Iterator[str]:
    """Yield what of arrays, each possible by itself, is hardly what their user means.

    Args:
        inputs: What `inputs` returned.
        temperatures: Of the scores that have one, each as a multiple of its default.
        cosines_known: Whether a method answers for the scale of the logits.
    """
    logits = {need: inputs[need] for need in OF_SAMPLES if need in inputs}
    banks = {side: inputs[need] for side, need in (("train", "bank"), ("val", "val")) if need in inputs}
    logits |= {f"{side}_logits": bank.logits for side, bank in banks.items() if bank.logits is not None}
    coldest = min(temperatures, default=None)
    if not cosines_known and coldest is not None:
        for name, values in logits.items():
            # logits × 100 under a hundred times the default temperature are right
            if (largest := np.abs(values).max()) > MOST_OF_COSINES * max(1, coldest):
                yield (
                    f"{name} go up to {largest:.3g} in size, and cosines to 1: temperatures here are on cosines, so "
                    "divide by 100 what CLIP multiplies by 100"
                )
    classes = len(inputs["head"].weights) if "head" in inputs else next((v.shape[1] for v in logits.values()), 0)
    labels = banks["train"].labels if "train" in banks else np.arange(classes)
    lacking = np.setdiff1d(np.arange(classes), labels)
    if len(lacking):
        yield (
            f"train_labels: {len(lacking):,} of {counted(classes, 'class', 'classes')} "
            f"{plural(len(lacking), 'has', 'have')} no sample, the first is {lacking[0]}: scores that "
            "compare with classes leave these out, or take the mean of all samples for them"
        )
