"""Pairs of imported features: the texts that images get, and the scenarios that are made of pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from oodgrid import paths, store
from oodgrid.backbones.array_files import load_array
from oodgrid.config import Derived, expand
from oodgrid.config.pairs import WITHOUT_CLASS
from oodgrid.config.sources import PairTexts
from oodgrid.counts import counted
from oodgrid.encode.importing.writing import write_split
from oodgrid.encode.lines import read_json, read_names
from oodgrid.encode.scenarios import noisy_features, texts_of_others
from oodgrid.encode.text_lists.tables import read_table
from oodgrid.errors import OodgridError
from oodgrid.labels import NO_CLASS

OfImages = Callable[[np.ndarray, str], dict[str, Any]]  # labels (N,) and split to what pairs have beside images


def texts_of_images(source: PairTexts) -> OfImages:
    """Return what gives imported images the features, and the text, that make pairs of them.

    Raises:
        OodgridError: A file is missing or unreadable, or counts do not match.
    """
    file = expand(source.features)
    values = load_array(file)
    if values.ndim != 2 or not len(values):
        raise OodgridError(f"{file} has shape {values.shape}: texts of pairs must be (texts, dimensions), not empty")
    names = _names(expand(source.names)) if source.names else None
    if names is not None and len(names) != len(values):
        raise OodgridError(
            f"{file} holds {counted(len(values), 'text feature')} but {source.names} {counted(len(names), 'name')}"
        )

    def of_images(labels: np.ndarray, split: str) -> dict[str, Any]:
        rows = _rows(source, np.asarray(labels).reshape(-1), split, len(values), file)
        return {
            "text_features": np.asarray(values)[rows],
            "texts": None if names is None else [names[row] for row in rows.tolist()],
        }

    return of_images


def _names(file: Path) -> list[str]:
    """Return texts: what label lists take, as LVIS's categories, or an object from index to name."""
    return read_names(file) if file.suffix == ".json" and isinstance(read_json(file), dict) else read_table(file).names


def _rows(source: PairTexts, labels: np.ndarray, split: str, count: int, file: Path) -> np.ndarray:
    """Return the row of the text of each image, shape (N,)."""
    if source.row == "any":
        return np.random.default_rng([source.seed, crc32(split.encode())]).integers(count, size=len(labels))
    rows = labels.astype(np.int64) if source.row == "label" else np.full(len(labels), source.row)
    if len(wrong := rows[(rows < 0) | (rows >= count)]):
        raise OodgridError(
            f"{file} holds {counted(count, 'text')}, and row {wrong[0]} is asked for ({split}, pair_texts, row: "
            f"{source.row}): give texts of all classes, or row: any"
        )
    return rows


def import_derived(results: Path, backbone: str, dataset: str, scenario: Derived) -> list[Path]:
    """Make a scenario of imported pairs, and return the files written, one for train, where there is one, and test.

    Raises:
        OodgridError: The pairs are not there, or are none, or are of one class.
    """
    written = []
    for split in ("train", "test"):
        file = paths.features(results, backbone, scenario.of, split)
        if split == "train" and not file.exists():
            paths.features(results, backbone, dataset, split).unlink(missing_ok=True)  # of an earlier import
            continue
        pairs = store.read_features(file, as_stored=True)
        if pairs.text_features is None:
            raise OodgridError(f"{file} holds no pairs to make {scenario.scenario} ones of: import text_features too")
        written.append(_write(results, backbone, dataset, split, pairs, scenario))
    return written


def _write(results: Path, backbone: str, dataset: str, split: str, pairs: store.Features, scenario: Derived) -> Path:
    images, texts, names = pairs.image_features, pairs.text_features, pairs.texts
    assert texts is not None  # who calls has seen it
    if scenario.scenario == "misaligned":
        words = [row.tobytes() for row in texts] if names is None else names
        rows = texts_of_others(pairs.labels, words, scenario.seed, f"{scenario.of}/{split}")
        texts, names = texts[rows], None if names is None else [names[row] for row in rows.tolist()]
    elif scenario.scenario == "noisy":
        images = noisy_features(images, scenario.strength, scenario.seed, split)
    of_class = scenario.scenario not in WITHOUT_CLASS
    return write_split(
        results,
        backbone,
        dataset,
        split,
        images,
        pairs.labels if of_class else np.full(len(pairs.labels), NO_CLASS),
        source={"format": "pairs", **scenario.model_dump(), "origin": pairs.digest},
        names=list(pairs.paths),
        classnames=pairs.classnames if of_class else None,
        text_features=texts,
        texts=None if names is None else list(names),
        pair_kinds=[scenario.scenario] * len(images),
    )
