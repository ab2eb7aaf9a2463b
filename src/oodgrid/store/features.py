"""Feature files: what they hold, writing and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.store import hdf5
from oodgrid.store.attributes import content_digest
from oodgrid.store.floats import as_floats, check_finite, optional
from oodgrid.store.local_features import ARRAYS, local_blocks
from oodgrid.store.rows import StoredRows

LARGE = ("local_features", "layer_features")  # read by functions of their own
SAMPLES = ("image_features", "texts")  # a feature file holds one of them, and a text file neither


@dataclass(frozen=True)
class NewFeatures:
    """One split of one dataset under one backbone, to be written.

    Attributes:
        image_features: Shape (N, D), float16 or float32, not normalised unless `provenance["normalised"]`; where they
            are too many for memory, blocks of them. Those of texts, where the samples are texts: who reads features
            need not know.
        labels: Shape (N,), int32; -1 where a sample has no class.
        paths: N names.
        sha256: Shape (N, 32), uint8: digests of the source bytes; zeros where an import does not know them.
        provenance: What decides the numbers.
        draws: Shape (N,), int32: the shots of the fixed draw a row belongs to; None unless imported so.
        stamps: Shape (N, 2), int64: size in bytes and time of change in nanoseconds of what held each image when it was
            encoded, -1 where unknown; None for imports.
        local_features: Shape (N, P, D); read them with `read_local_features`.
        rows: Shape (N,), int64: where only some images of a split were encoded, their rows in the whole, rising.
        split_labels: Shape (M,), int32: likewise, the labels of the whole split.
        texts: N texts where the samples are texts, or pairs of an image and a text; None where they are images, or
            where an import of pairs did not bring them.
        text_features: Of pairs, shape (N, D), float16 or float32: of the text of each, as `image_features` are of its
            image; None elsewhere. Blocks where they are too many for memory.
        pair_kinds: Of pairs: N words as "aligned" and "misaligned", "" where the kind is unknown; or None.
        layer_features: Of texts, shape (N, 1 + layers, D): of every layer, where asked for; read them with
            `open_layer_features`.
    """

    image_features: np.ndarray | hdf5.Blocks
    labels: np.ndarray
    paths: Sequence[str]
    sha256: np.ndarray
    provenance: dict[str, Any]
    draws: np.ndarray | None = None
    stamps: np.ndarray | None = None
    local_features: np.ndarray | hdf5.Blocks | None = None
    rows: np.ndarray | None = None
    split_labels: np.ndarray | None = None
    texts: Sequence[str] | None = None
    text_features: np.ndarray | hdf5.Blocks | None = None
    pair_kinds: Sequence[str] | None = None
    layer_features: np.ndarray | hdf5.Blocks | None = None


@dataclass(frozen=True)
class Features(NewFeatures):
    """One split of one dataset under one backbone, as read: in memory, but for local features.

    Attributes:
        image_features: Shape (N, D), float16 or float32, not normalised unless `provenance["normalised"]`.
        digest: Digest of the data, for finding work done on them.
    """

    image_features: np.ndarray
    text_features: np.ndarray | None = None
    digest: str = ""

    @property
    def normalised(self) -> bool:
        """Whether the features were normalised before they were imported, so that their norms are lost."""
        return bool(self.provenance.get("normalised"))

    @property
    def classnames(self) -> list[str] | None:
        """Class names in the order of the labels, where they are known."""
        return self.provenance.get("classnames")


@dataclass(frozen=True)
class Sources:
    """What a feature file was made from: its fields are those of `Features`."""

    labels: np.ndarray
    paths: Sequence[str]
    sha256: np.ndarray
    stamps: np.ndarray | None
    provenance: dict[str, Any]


def write_features(path: Path, features: NewFeatures) -> None:
    """Write a feature file.

    Raises:
        OodgridError: Shapes do not fit each other or a feature is not finite; nothing is written.
    """
    values = as_floats(features.image_features)
    if len(values.shape) != 2:
        raise OodgridError(f"{path.name}: features of shape {values.shape} are not (samples, dimensions)")
    of_texts: dict[str, hdf5.Array] = {} if features.texts is None else {"texts": hdf5.LongTexts(features.texts)}
    of_texts |= _of_pairs(path, features, values)
    arrays: dict[str, hdf5.Array] = {
        "text_features" if of_texts and features.text_features is None else "image_features": values,
        **of_texts,
        "labels": np.asarray(features.labels, dtype=np.int32),
        "sha256": np.asarray(features.sha256, dtype=np.uint8),
        "paths": features.paths,
        **optional(
            draws=(features.draws, np.int32),
            stamps=(features.stamps, np.int64),
            rows=(features.rows, np.int64),
            split_labels=(features.split_labels, np.int32),
        ),
    }
    if features.layer_features is not None:
        arrays["layer_features"] = as_floats(features.layer_features)
    if features.local_features is not None:
        arrays["local_features"], arrays["local_features_blocks"] = local_blocks(features.local_features)
    rows = {name: len(array) for name, array in arrays.items() if name not in ("local_features_blocks", "split_labels")}
    if len(set(rows.values())) != 1:
        raise OodgridError(f"{path.name}: counts do not match: {', '.join(f'{n} {name}' for name, n in rows.items())}")
    for each in (values, arrays.get("text_features")):
        if isinstance(each, np.ndarray):
            check_finite(each, f"{path.parent.name}/{path.name}", features.paths)
    hdf5.write(path, arrays, features.provenance)


def _of_pairs(path: Path, features: NewFeatures, values: np.ndarray | hdf5.Blocks) -> dict[str, hdf5.Array]:
    """Return the arrays that pairs have beside the features (N, D) of their images."""
    if features.text_features is None:
        return {}
    text_features = as_floats(features.text_features)
    if text_features.shape != values.shape:
        raise OodgridError(
            f"{path.name}: image features of shape {values.shape} and text features of shape {text_features.shape}: a "
            "pair has one row in each, of one joint space"
        )
    kinds: dict[str, hdf5.Array] = {} if features.pair_kinds is None else {"pair_kinds": list(features.pair_kinds)}
    return {"text_features": text_features, **kinds}


def read_features(path: Path, as_stored: bool = False) -> Features:
    """Read a feature file without its local features, checking its checksums.

    Args:
        path: The file.
        as_stored: Leave float16 as it is; else it becomes float32, which changes no value.

    Raises:
        OodgridError: The file is missing, damaged, holds no sample or holds features that are not finite.
    """
    content = hdf5.read(path, SAMPLES, leave=LARGE)
    labels, image_features = content.array("labels"), content.array(_name_of_features(content))
    if not len(labels):
        raise OodgridError(f"{path} holds no sample: give the dataset some, or take it out of the config")
    if len(labels) != len(image_features):
        raise OodgridError(
            f"{path}: {counted(len(image_features), 'feature')} but {counted(len(labels), 'label')}: make the "
            "file again"
        )
    text_features = content.arrays.get("text_features") if "image_features" in content.arrays else None
    if text_features is not None and not as_stored:
        text_features = text_features.astype(np.float32, copy=False)
    return Features(
        image_features if as_stored else image_features.astype(np.float32, copy=False),
        labels,
        content.names("paths"),
        content.array("sha256"),
        content.provenance,
        content.arrays.get("draws"),
        content.arrays.get("stamps"),
        rows=content.arrays.get("rows"),
        split_labels=content.arrays.get("split_labels"),
        texts=content.texts.get("texts"),
        text_features=text_features,
        pair_kinds=content.texts.get("pair_kinds"),
        digest=content_digest(content),
    )


def _name_of_features(content: hdf5.Content) -> str:
    """Return what the features of a file are called: of texts alone, they lie beside these."""
    return "image_features" if "image_features" in content.checksums else "text_features"


def open_features(path: Path) -> tuple[Sources, StoredRows]:
    """Return what a feature file was made from, and its features (N, D), of which rows are read when asked for.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    content = hdf5.read(path, SAMPLES, leave=LARGE, by_rows=("image_features", "text_features"))
    labels, names, sha256 = content.array("labels"), content.names("paths"), content.array("sha256")
    sources = Sources(labels, names, sha256, content.arrays.get("stamps"), content.provenance)
    return sources, content.stored[_name_of_features(content)]


def open_layer_features(path: Path) -> StoredRows | None:
    """Return the features of every layer, shape (N, 1 + layers, D), of which rows are read when asked for.

    None where the file holds none.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    others = [name for name in ARRAYS if name != "layer_features"]
    with hdf5.sealed(path) as (_, file):
        if "layer_features" not in file:
            return None
    content = hdf5.read(path, "layer_features", leave=(*others, "local_features"), by_rows=("layer_features",))
    return content.stored["layer_features"]


def read_sources(path: Path) -> Sources:
    """Return what a feature file was made from, without reading a feature.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    content = hdf5.read(path, SAMPLES, leave=("image_features", "text_features", "texts", "pair_kinds", *LARGE))
    labels, names, sha256 = content.array("labels"), content.names("paths"), content.array("sha256")
    return Sources(labels, names, sha256, content.arrays.get("stamps"), content.provenance)


def read_labels(path: Path) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
    """Return labels (N,), the fixed draws (N,) or None, and the provenance of a feature file, reading nothing else.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    others = [name for name in ARRAYS if name not in ("labels", "draws")]
    content = hdf5.read(path, "labels", leave=(*others, "local_features", "local_features_blocks"))
    return content.array("labels"), content.arrays.get("draws"), content.provenance


def read_split_labels(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the labels (M,) of the split of which a feature file holds all or some images, and the fixed draws.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    others = [name for name in ARRAYS if name not in ("labels", "draws", "split_labels")]
    content = hdf5.read(path, "labels", leave=(*others, "local_features", "local_features_blocks"))
    return content.arrays.get("split_labels", content.array("labels")), content.arrays.get("draws")
