"""The classification head of a network: weights and biases of an ID set's classes, in a file like those of texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from oodgrid import backbones, paths, store
from oodgrid.backbones import heads
from oodgrid.config import Backbone, Dataset
from oodgrid.config.backbone import BESIDE
from oodgrid.counts import counted, plural
from oodgrid.encode.sources import class_names
from oodgrid.errors import OodgridError, brief
from oodgrid.labels import plain_name
from oodgrid.plan import ENCODE_VERSION
from oodgrid.texts import HEAD


def encode_head(results: Path, backbone: Backbone, dataset: Dataset) -> Path:
    """Write the outputs of a backbone's head that stand for the classes of an ID set, and return the file.

    Raises:
        OodgridError: There is no head, it is no linear layer on the features, or a class of the set is none of its
            outputs.
    """
    if backbone.head is None:
        raise OodgridError(f"backbone {backbone.name} has no head: write head: {{classes: …}} under it")
    loaded = backbones.load(backbone) if backbone.head.file is None else None  # features of others may be imported
    weights, bias = heads.read(backbone, loaded)
    encoder, outputs = (loaded.identity if loaded else backbone.identity), backbone.head.classes
    names = _classes(results, backbone, dataset)
    rows = _by_order(backbone, dataset, names, len(weights)) if outputs == "by_order" else None
    if rows is None:
        rows = chosen_outputs(names, list(outputs), f"backbone {backbone.name}, head")
    if (left := len(weights) - len(rows)) > 0:
        print(
            f"oodgrid: {dataset.name} has {len(rows):,} of the {counted(len(weights), 'class', 'classes')} of the head "
            f"of {backbone.name}: the other {counted(left, 'output')} count nowhere"
        )
    provenance = {
        "encode_version": ENCODE_VERSION,
        "backbone": encoder,
        "head": backbone.head.identity,
        "text": {"own_head": True, "classnames": names, "outputs": len(weights)},
        "normalised": False,
    }
    path = HEAD.path(results, backbone.name, dataset.name)
    store.write_texts(path, store.NewTexts(weights[rows][None], names, ["{}"], provenance, bias=bias[rows]))
    return path


def chosen_outputs(names: list[str], outputs: list[str], what: str) -> np.ndarray:
    """Return which output of a head stands for each class of a set, shape (K,).

    Args:
        names: Of the K classes.
        outputs: What each output is called; its folder and its name where both are known.
        what: The head, for messages.

    Raises:
        OodgridError: A class is none of the outputs, or could be several; or two classes are one output.
    """
    words = [{plain_name(word) for word in output.split(BESIDE)} for output in outputs]
    plain = [plain_name(name) for name in names]
    if len(plain) == len(words) and all(name in of_output for name, of_output in zip(plain, words, strict=True)):
        return np.arange(len(words))  # also where a name stands twice in both, as in older lists of ImageNet's classes
    places: dict[str, list[int]] = {}
    for row, of_output in enumerate(words):
        for word in of_output:
            places.setdefault(word, []).append(row)
    if missing := [name for name, word in zip(names, plain, strict=True) if word not in places]:
        raise OodgridError(
            f"{what}: {len(missing):,} of {counted(len(names), 'class', 'classes')} "
            f"{plural(len(missing), 'is', 'are')} none of its outputs, the first: {brief(missing[0])}: give the set "
            "classnames as the head has them, or choose classes that it has"
        )
    if double := next((name for name, word in zip(names, plain, strict=True) if len(places[word]) > 1), None):
        raise OodgridError(f"{what}: several outputs are called {brief(double)}: call them by other words")
    rows = [places[word][0] for word in plain]
    if len(set(rows)) < len(rows):
        again = next(name for name, row in zip(names, rows, strict=True) if rows.count(row) > 1)
        raise OodgridError(f"{what}: two classes are one output, that of {brief(again)}: join them, or rename one")
    return np.asarray(rows)


def _by_order(backbone: Backbone, dataset: Dataset, names: list[str], outputs: int) -> np.ndarray:
    if len(names) != outputs:
        raise OodgridError(
            f"backbone {backbone.name}, head: classes: by_order is for sets with as many classes as it has outputs, "
            f"{outputs}, and {dataset.name} has {len(names)}: name the outputs"
        )
    return np.arange(outputs)


def _classes(results: Path, backbone: Backbone, dataset: Dataset) -> list[str]:
    """Return the class names of a set; of an imported one as its files have them."""
    if not dataset.imported or dataset.classnames:
        return class_names(dataset)
    names = store.read_provenance(paths.features(results, backbone.name, dataset.name, "test")).get("classnames")
    if not names:
        raise OodgridError(f"dataset {dataset.name} was imported without class names: give it classnames")
    return list(names)
