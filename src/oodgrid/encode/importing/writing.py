"""Writing what was imported, once it is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import paths, store
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
    **more: Any,
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
        more: `sha256`, `stamps` and `local_features` of `store.Features`, where they are known.

    Raises:
        OodgridError: Shapes, counts or labels do not fit; nothing is written.
    """
    where = f"{dataset}/{split}"
    values, was = checks.floats(values, where)
    labels = checks.whole_numbers(labels, where, "labels", least=-1)
    if values.ndim != 2 or not len(values):
        raise OodgridError(f"{where}: features of shape {values.shape}; they must be (samples, dimensions), not empty")
    if len(labels) != len(values):
        raise OodgridError(f"{where}: {len(values)} features but {len(labels)} labels: the counts must match")
    classnames = None if classnames is None else checks.texts(classnames, where, "classnames")
    if classnames and labels.max() >= len(classnames):
        raise OodgridError(f"{where}: label {labels.max()} but only {len(classnames)} classnames")
    provenance = {
        "imported": {**source, "dtype": was} if was else source,
        "backbone": {"name": backbone},
        "split": split,
        "classnames": classnames,
        "normalised": checks.normalised(values, source.get("original", {})),
        "fixed_draw": draws is not None,
    }
    names = _names(names, len(values), where)
    sha256 = checks.digests(more.get("sha256"), len(values), where)
    draws = None if draws is None else checks.whole_numbers(draws, where, "draws", least=0)
    path = paths.features(results, backbone, dataset, split)
    further = _further(more, values, where)
    store.write_features(path, store.Features(values, labels, names, sha256, provenance, draws, **further))
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

    With K `kinds` they are those of a label list, of which `dataset` is the name.

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
    store.write_texts(path, store.Texts(values, names, templates, provenance, kinds=kinds))
    return path


def _names(names: Any, count: int, where: str) -> list[str]:
    return [f"{where}/{row}" for row in range(count)] if names is None else checks.texts(names, where, "paths")


def _further(more: dict[str, Any], values: np.ndarray, where: str) -> dict[str, np.ndarray]:
    found = {}
    if "stamps" in more:
        found["stamps"] = checks.stamps(more["stamps"], len(values), where)
    if "local_features" in more:
        found["local_features"] = checks.local_features(more["local_features"], values, where)
    return found
