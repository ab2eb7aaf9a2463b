"""Writing what was imported, once it is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import paths, store
from oodgrid.counts import counted
from oodgrid.encode.importing import checks
from oodgrid.errors import OodgridError


def write_split(
    results: Path,
    backbone: str,
    dataset: str,
    split: str,
    values: np.ndarray,
    labels: np.ndarray,
    draws: np.ndarray | None = None,
    *,
    source: dict[str, Any],
    names: Any = None,
    classnames: Any = None,
    sha256: Any = None,
    stamps: Any = None,
    local_features: Any = None,
    text_features: Any = None,
    texts: Any = None,
    pair_kinds: Any = None,
) -> Path:
    """Write one imported split, features (N, D) and labels (N,), and return the file.

    Args:
        results: The results folder.
        backbone: The name under which configurations know the encoder.
        dataset: The name under which configurations know the dataset.
        split: train, val or test.
        values: Shape (N, D).
        labels: Shape (N,); -1 where an image has no class.
        draws: Shape (N,): the shots of the fixed draw of each row, or None.
        source: What the provenance is to say of where they come from.
        names: N names; default: their number.
        classnames: K names.
        sha256: As in `store.Features`; None where it is unknown, as of the next two.
        stamps: As there.
        local_features: As there.
        text_features: Of pairs, shape (N, D), as there.
        texts: Of pairs: N texts, where they are known.
        pair_kinds: Of pairs: N words, as there.

    Raises:
        OodgridError: Shapes, counts or labels do not fit; nothing is written.
    """
    where = f"{dataset}/{split}"
    values, was = checks.floats(values, where)
    labels = checks.whole_numbers(labels, where, "labels", least=-1)
    if values.ndim != 2 or not len(values):
        raise OodgridError(f"{where}: features of shape {values.shape}; they must be (samples, dimensions), not empty")
    if len(labels) != len(values):
        raise OodgridError(
            f"{where}: {counted(len(values), 'feature')} but {counted(len(labels), 'label')}: the counts must match"
        )
    classnames = None if classnames is None else checks.texts(classnames, where, "classnames")
    if classnames and labels.max() >= len(classnames):
        raise OodgridError(f"{where}: label {labels.max()} but only {counted(len(classnames), 'classname')}")
    provenance = {
        "imported": {**source, "dtype": was} if was else source,
        "backbone": {"name": backbone},
        "split": split,
        "classnames": classnames,
        "normalised": checks.normalised(values, source.get("original", {})),
        "fixed_draw": draws is not None,
    }
    features = store.NewFeatures(
        values,
        labels,
        _names(names, len(values), where),
        checks.digests(sha256, len(values), where),
        provenance,
        draws=None if draws is None else checks.whole_numbers(draws, where, "draws", least=0),
        stamps=None if stamps is None else checks.stamps(stamps, len(values), where),
        local_features=None if local_features is None else checks.local_features(local_features, values, where),
        **_of_pairs(text_features, {"texts": texts, "pair_kinds": pair_kinds}, values, where),
    )
    path = paths.features(results, backbone, dataset, split)
    store.write_features(path, features)
    return path


def write_texts(
    results: Path,
    backbone: str,
    dataset: str,
    values: np.ndarray,
    names: list[str],
    templates: list[str],
    source: dict[str, Any],
    kinds: list[str] | None = None,
) -> Path:
    """Write imported text features, shape (T, K, D), of K names and T templates, and return the file.

    With K `kinds` they are a list of other texts, of which `dataset` is the name.

    Raises:
        OodgridError: Shapes or counts do not fit, or a template has no place for the name; nothing is written.
    """
    values, was = checks.floats(values, dataset)
    if wrong := next((template for template in templates if "{}" not in template), None):
        raise OodgridError(f"template {wrong!r} lacks {{}}, the place of the class name")
    provenance = {
        "imported": {**source, "dtype": was} if was else source,
        "backbone": {"name": backbone},
        "text": {"templates": templates, "classnames": names},
        "normalised": values.ndim == 3 and checks.normalised(values, source.get("original", {})),
    }
    path = (paths.texts if kinds is None else paths.label_texts)(results, backbone, dataset)
    store.write_texts(path, store.NewTexts(values, names, templates, provenance, kinds=kinds))
    return path


def _of_pairs(text_features: Any, lists: dict[str, Any], values: np.ndarray, where: str) -> dict[str, Any]:
    """Return what pairs have beside the features (N, D) of their images, checked; nothing where there are none."""
    if text_features is None:
        return {}
    of_texts, _ = checks.floats(text_features, f"{where}, text_features")
    if of_texts.shape != values.shape:
        raise OodgridError(
            f"{where}: image_features of shape {values.shape} and text_features of shape {of_texts.shape}: pairs have "
            "one row in each, of one joint space; class texts go into a file of their own"
        )
    named = {name: checks.texts(words, where, name) for name, words in lists.items() if words is not None}
    for name, words in named.items():
        if len(words) != len(values):
            raise OodgridError(f"{where}: {counted(len(values), 'pair')} but {counted(len(words), 'entry', name)}")
    if empty := [row for row, text in enumerate(named.get("texts", ())) if not text.strip()]:
        what = counted(len(empty), "pair has", "pairs have")
        raise OodgridError(f"{where}: {what} an empty text, the first in row {empty[0]}: take the rows out")
    return {"text_features": of_texts, **named}


def _names(names: Any, count: int, where: str) -> list[str]:
    return [f"{where}/{row}" for row in range(count)] if names is None else checks.texts(names, where, "paths")
