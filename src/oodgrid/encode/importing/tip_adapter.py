"""Caches in Tip-Adapter's format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import paths
from oodgrid.backbones.array_files import load_array
from oodgrid.config.sources import PairTexts
from oodgrid.counts import counted
from oodgrid.encode.importing import checks
from oodgrid.encode.importing.pairs import texts_of_images
from oodgrid.encode.importing.writing import write_split
from oodgrid.errors import OodgridError

TipSplit = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # features (N, D), labels (N,), fixed draws (N,) or None


def import_tip_adapter(
    results: Path,
    backbone: str,
    dataset: str,
    folder: Path,
    test: str = "test",
    classnames: list[str] | None = None,
    pair_texts: PairTexts | None = None,
) -> list[Path]:
    """Import a cache in Tip-Adapter's format and return the files written.

    The format: `{test,val}_f.pt` (N, D) and `{test,val}_l.pt` (N,); `keys_{K}shots.pt` (D, C*K) with one-hot
    `values_{K}shots.pt` (C*K, C). Keys become the train split, every shot count a fixed draw. Where values are
    missing, keys are taken class by class, K rows each, as Tip-Adapter's code lists them.

    Args:
        results: The results folder.
        backbone: The name under which configurations know the encoder of this cache.
        dataset: The name under which configurations know the dataset.
        folder: The cache.
        test: What becomes the test split: "test", "val" or "keys_4shots".
        classnames: K names, for checks and tables.
        pair_texts: The texts of the images, where pairs are to be made of them.

    Raises:
        OodgridError: A file is missing or unreadable, or counts do not match; nothing is written for that split.
    """
    if not folder.is_dir():
        raise OodgridError(f"folder {folder} does not exist: give the folder that holds test_f.pt and keys_16shots.pt")
    splits: dict[str, TipSplit | None] = {"test": _tip_split(folder, test), "val": None, "train": None}
    if test != "val" and (folder / "val_f.pt").exists():
        splits["val"] = _tip_split(folder, "val")
    if not test.startswith("keys"):
        splits["train"] = _tip_keys(folder)
    for split in [split for split, arrays in splits.items() if arrays is None]:  # of an earlier import; it may overlap
        paths.features(results, backbone, dataset, split).unlink(missing_ok=True)
    source: dict[str, Any] = {"format": "tip-adapter", "test": test}
    source |= {} if pair_texts is None else {"pair_texts": {**pair_texts.model_dump(), **pair_texts.identity}}
    texts = texts_of_images(pair_texts) if pair_texts else lambda labels, split: {}
    return [
        write_split(
            results,
            backbone,
            dataset,
            split,
            *arrays,
            source=source,
            classnames=classnames,
            **texts(arrays[1], split),
        )
        for split, arrays in splits.items()
        if arrays is not None
    ]


def _tip_split(folder: Path, name: str) -> TipSplit:
    if keys := re.fullmatch(r"keys_(\d+)shots", name):
        return (*_tip_shots(folder, int(keys[1])), None)
    if name not in ("test", "val"):
        raise OodgridError(f"test: {name} is none of test, val, keys_1shots, keys_2shots, …")
    if not (folder / f"{name}_f.pt").exists():
        there = sorted(p.name.removesuffix("_f.pt") for p in folder.glob("*_f.pt")) + sorted(
            p.stem for p in folder.glob("keys_*shots.pt")
        )
        raise OodgridError(f"{folder} has no {name}_f.pt: choose another split with --test (there: {', '.join(there)})")
    return load_array(folder / f"{name}_f.pt"), load_array(folder / f"{name}_l.pt"), None


def _tip_keys(folder: Path) -> TipSplit | None:
    names = [re.fullmatch(r"keys_(\d+)shots", path.stem) for path in folder.glob("keys_*shots.pt")]
    shots = sorted({int(name[1]) for name in names if name and int(name[1])})
    if not shots:
        return None
    parts = [_tip_shots(folder, k) for k in shots]
    draws = np.repeat(shots, [len(labels) for _, labels in parts])
    keys = checks.joined([keys for keys, _ in parts], f"keys in {folder}")
    return keys, np.concatenate([labels for _, labels in parts]), draws


def _tip_shots(folder: Path, shots: int) -> tuple[np.ndarray, np.ndarray]:
    keys = load_array(folder / f"keys_{shots}shots.pt").T
    if keys.ndim != 2:
        raise OodgridError(
            f"{folder}: keys of {counted(shots, 'shot')} have {counted(keys.ndim, 'axis', 'axes')}: they must "
            "be (dimensions, samples)"
        )
    values = folder / f"values_{shots}shots.pt"
    if values.exists():
        return keys, _classes(load_array(values), len(keys), values)
    if shots == 0 or len(keys) % shots:
        raise OodgridError(
            f"{values} is missing, and {counted(len(keys), 'key is', 'keys are')} no multiple of "
            f"{counted(shots, 'shot')}"
        )
    return keys, np.arange(len(keys)) // shots


def _classes(one_hot: np.ndarray, count: int, file: Path) -> np.ndarray:
    """Return the class of each key, shape (count,), from one-hot values, shape (count, K)."""
    if one_hot.ndim != 2 or len(one_hot) != count:
        raise OodgridError(f"{file}: {counted(count, 'key')} but values of shape {one_hot.shape}")
    if strange := np.flatnonzero((one_hot != 0).sum(axis=1) != 1).tolist():
        raise OodgridError(
            f"{file}: {counted(len(strange), 'row is', 'rows are')} not one-hot, the first is row {strange[0]}"
        )
    return one_hot.argmax(axis=1)
