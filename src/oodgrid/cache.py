"""Reading what oodgrid has cached, checked against its seals: features, texts, and the tables of results.

>>> from oodgrid import cache
>>> metrics = cache.read_table("results/clip-b32-features/metrics.parquet")
>>> metrics.columns[:4]
['experiment', 'backbone', 'id_dataset', 'ood_dataset']

What stands in these files: docs/cache.md, and `oodgrid inspect FILE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from oodgrid import catalogue, edge, fewshot, store
from oodgrid.config import Backbone, build
from oodgrid.errors import OodgridError, brief
from oodgrid.fewshot import Draw
from oodgrid.store import Features, Texts

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Draw", "Features", "Texts", "draw", "read_features", "read_table", "read_texts"]


def read_features(path: str | PathLike[str]) -> Features:
    """Read a feature file: `image_features` (N, D), `labels` (N,), `paths`, `sha256`, `provenance`.

    Raises:
        OodgridError: It is missing, damaged, empty or of another kind.
    """
    return store.read_features(edge.path(path))


def read_texts(path: str | PathLike[str]) -> Texts:
    """Read a text file: `text_features` (T, K, D), `classnames`, `templates`, `provenance`.

    Raises:
        OodgridError: It is missing, damaged or of another kind.
    """
    return store.read_texts(edge.path(path))


def read_table(path: str | PathLike[str]) -> pl.DataFrame:
    """Read a table of scores, metrics.parquet or curves.parquet.

    Raises:
        OodgridError: It is missing, damaged or none of ours.
    """
    return store.read_table(edge.path(path))[0]


def draw(train_labels: Any, val_labels: Any, shots: int, seed: int, fixed: Any = None) -> Draw:
    """Draw `shots` training and min(shots, 4) validation images of every class, as CoOp does (docs/conventions.md).

    Args:
        train_labels: Shape (N,), -1 for no class.
        val_labels: Shape (V,), or None where there is no val split: then they are drawn from the training images too.
        shots: Images per class, at least 1.
        seed: Seed of the draw.
        fixed: Shape (N,), of imported draws: the shots of the draw to which each training image belongs.

    Raises:
        OodgridError: An argument is none of these, or there is no such draw.
    """
    shapes = edge.Shapes("draw")
    train_labels = shapes.labels("train_labels", train_labels, "N")
    val_labels = None if val_labels is None else shapes.labels("val_labels", val_labels, "V")
    fixed = None if fixed is None else shapes.numbers("fixed", fixed, "N").astype(np.int64)
    shots, seed = edge.whole_number(shots, "draw: shots", 1), edge.whole_number(seed, "draw: seed")
    return fewshot.draw(train_labels, val_labels, shots, seed, fixed)


def of_images(features: Any) -> Any:
    """Return the features (N, D) of a feature file, read or by its path; anything else as it is."""
    features = read_features(features) if isinstance(features, str | PathLike) else features
    return features.image_features if isinstance(features, Features) else features


def of_texts(texts: Any) -> Any:
    """Return the features (T, K, D) of a text file, read or by its path; anything else as it is."""
    texts = read_texts(texts) if isinstance(texts, str | PathLike) else texts
    return texts.text_features if isinstance(texts, Texts) else texts


def of_backbone(backbone: Any, what: str) -> Backbone:
    """Return a backbone as a configuration has it, of its name in the catalogue or of an entry.

    Raises:
        OodgridError: It is neither.
    """
    if isinstance(backbone, str):
        backbone = {"name": backbone, **catalogue.entry("backbone", backbone)}
    if not isinstance(backbone, Mapping) or not all(isinstance(key, str) for key in backbone):
        raise OodgridError(f"{what}: backbone is a name of the catalogue or a mapping, not {brief(backbone)}")
    return build(Backbone, **backbone)
