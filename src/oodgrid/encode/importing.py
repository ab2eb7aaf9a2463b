"""Bringing in features that somebody else computed: what `oodgrid import` does.

An import says of itself what it has lost: `normalised` where the norms are gone, `draws` where the shots are
one fixed draw, and that no image stands behind a row. No workflow rule makes these files, so none deletes them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import paths, store
from oodgrid.config import Dataset, Experiment, expand
from oodgrid.errors import OodgridError

SPLITS = ("train", "val", "test")
UNIT_NORM = 1e-2  # rows whose norms stay within this of 1 were normalised (float16 rounding stays well below)


def import_experiment(results: Path, experiment: Experiment) -> list[Path]:
    """Import every dataset that the experiment describes with `imported:`, under every backbone of it.

    Raises:
        OodgridError: It names none, or one of them cannot be read; those before it stay.
    """
    written = []
    for dataset in {dataset.name: dataset for dataset in experiment.datasets() if dataset.imported}.values():
        for backbone in experiment.backbones:
            written += _import_described(results, backbone.name, dataset)
    if not written:
        raise OodgridError(f"experiment {experiment.experiment} imports nothing: no dataset of it has imported:")
    return written


def _import_described(results: Path, backbone: str, dataset: Dataset) -> list[Path]:
    described = dataset.imported
    written = []
    if described.tip_adapter:
        folder = expand(described.tip_adapter)
        written += import_tip_adapter(results, backbone, dataset.name, folder, described.test, dataset.classnames)
    if described.text:
        names = expand(described.classnames) if described.classnames else None
        written.append(
            import_text(results, backbone, dataset.name, expand(described.text), names, dataset.templates[0])
        )
    return written


def import_tip_adapter(
    results: Path,
    backbone: str,
    dataset: str,
    folder: Path,
    test: str = "test",
    classnames: list[str] | None = None,
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

    Raises:
        OodgridError: A file is missing or unreadable, or counts do not match; nothing is written for that split.
    """
    if not folder.is_dir():
        raise OodgridError(f"folder {folder} does not exist: give the folder that holds test_f.pt and keys_16shots.pt")
    found = {"test": _tip_split(folder, test), "val": None, "train": None}
    if test != "val" and (folder / "val_f.pt").exists():
        found["val"] = _tip_split(folder, "val")
    if not test.startswith("keys"):
        found["train"] = _tip_keys(folder)
    for split in [split for split, arrays in found.items() if arrays is None]:  # of an earlier import; it may overlap
        paths.features(results, backbone, dataset, split).unlink(missing_ok=True)
    source = {"format": "tip-adapter", "test": test}
    return [
        _write(results, backbone, dataset, split, *arrays, source=source, classnames=classnames)
        for split, arrays in found.items()
        if arrays is not None
    ]


def import_arrays(results: Path, backbone: str, dataset: str, file: Path, split: str) -> list[Path]:
    """Import one split from an .npz or .safetensors file that holds `image_features` (N, D) and `labels` (N,).

    Optional: `paths` (N,) texts (.npz only) and `draws` (N,), the shots of the fixed draw of each row.

    Raises:
        OodgridError: The file or one of the two arrays is missing or unreadable, or counts do not match.
    """
    arrays = _read_npz(file) if file.suffix == ".npz" else _read_safetensors(file)
    missing = {"image_features", "labels"} - set(arrays)
    if missing:
        raise OodgridError(f"{file} holds {', '.join(sorted(arrays))} but no {min(missing)}: rename its arrays")
    names = [str(name) for name in arrays["paths"]] if "paths" in arrays else None
    source = {"format": file.suffix.removeprefix(".")}
    values = arrays["image_features"], arrays["labels"], arrays.get("draws")
    return [_write(results, backbone, dataset, split, *values, source=source, names=names)]


def import_text(results: Path, backbone: str, dataset: str, file: Path, classnames: Path | None, template: str) -> Path:
    """Import text features, (K, D) of one template, and return the file written.

    Args:
        results: The results folder.
        backbone: The name under which configurations know the encoder.
        dataset: The ID dataset whose classes these are.
        file: .pt or .npy.
        classnames: A JSON list, a JSON object from index to name, or a text file with one name a line.
        template: The prompt with {} for the name.

    Raises:
        OodgridError: A file is missing or unreadable, or counts do not match.
    """
    if "{}" not in template:
        raise OodgridError(f"template {template!r} lacks {{}}, the place of the class name")
    values = np.asarray(_load(file), dtype=np.float32)
    if values.ndim != 2:
        raise OodgridError(f"{file} has shape {values.shape}: text features must be (classes, dimensions)")
    names = _read_names(classnames) if classnames else [f"class {k}" for k in range(len(values))]
    if len(names) != len(values):
        raise OodgridError(f"{file} holds {len(values)} text features but {classnames} {len(names)} names")
    provenance = {
        "imported": {"format": "text"},
        "backbone": {"name": backbone},
        "text": {"templates": [template], "classnames": names},
        "normalised": _is_normalised(values),
    }
    path = paths.texts(results, backbone, dataset)
    store.write_texts(path, store.Texts(values[None], names, [template], provenance))
    return path


def _tip_split(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, None]:
    if keys := re.fullmatch(r"keys_(\d+)shots", name):
        return (*_tip_shots(folder, int(keys[1])), None)
    if name not in ("test", "val"):
        raise OodgridError(f"test: {name} is none of test, val, keys_1shots, keys_2shots, …")
    if not (folder / f"{name}_f.pt").exists():
        there = sorted(p.name.removesuffix("_f.pt") for p in folder.glob("*_f.pt")) + sorted(
            p.stem for p in folder.glob("keys_*shots.pt")
        )
        raise OodgridError(f"{folder} has no {name}_f.pt: choose another split with --test (there: {', '.join(there)})")
    return _load(folder / f"{name}_f.pt"), _load(folder / f"{name}_l.pt"), None


def _tip_keys(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    names = [re.fullmatch(r"keys_(\d+)shots", path.stem) for path in folder.glob("keys_*shots.pt")]
    shots = sorted(int(name[1]) for name in names if name)
    if not shots:
        return None
    parts = [_tip_shots(folder, k) for k in shots]
    draws = np.repeat(shots, [len(labels) for _, labels in parts])
    return np.concatenate([f for f, _ in parts]), np.concatenate([labels for _, labels in parts]), draws


def _tip_shots(folder: Path, shots: int) -> tuple[np.ndarray, np.ndarray]:
    keys = _load(folder / f"keys_{shots}shots.pt").T
    values = folder / f"values_{shots}shots.pt"
    if values.exists():
        one_hot = _load(values)
        if one_hot.ndim != 2 or len(one_hot) != len(keys):
            raise OodgridError(f"{folder}: {len(keys)} keys but values of shape {one_hot.shape} of {shots} shots")
        return keys, one_hot.argmax(axis=1)
    if len(keys) % shots:
        raise OodgridError(f"{values} is missing, and {len(keys)} keys are no multiple of {shots} shots")
    return keys, np.arange(len(keys)) // shots


def _write(
    results: Path,
    backbone: str,
    dataset: str,
    split: str,
    values: np.ndarray,
    labels: np.ndarray,
    draws: np.ndarray | None,
    *,
    source: dict[str, Any],
    names: list[str] | None = None,
    classnames: list[str] | None = None,
) -> Path:
    where = f"{dataset}/{split}"
    values, labels = np.asarray(values, dtype=np.float32), np.asarray(labels).reshape(-1)
    if values.ndim != 2 or not len(values):
        raise OodgridError(f"{where}: features of shape {values.shape}; they must be (samples, dimensions), not empty")
    if len(labels) != len(values):
        raise OodgridError(f"{where}: {len(values)} features but {len(labels)} labels: the counts must match")
    if labels.dtype.kind not in "iuf" or not np.array_equal(labels, labels.round()):
        raise OodgridError(f"{where}: labels must be whole numbers, the index of the class")
    labels = labels.astype(np.int32)
    if classnames and labels.max() >= len(classnames):
        raise OodgridError(f"{where}: label {labels.max()} but only {len(classnames)} classnames")
    provenance = {
        "imported": source,
        "backbone": {"name": backbone},
        "split": split,
        "classnames": classnames,
        "normalised": _is_normalised(values),
        "fixed_draw": draws is not None,
    }
    names = names or [f"{where}/{row}" for row in range(len(values))]
    unknown_bytes = np.zeros((len(values), 32), np.uint8)
    path = paths.features(results, backbone, dataset, split)
    store.write_features(path, store.Features(values, labels, names, unknown_bytes, provenance, draws))
    return path


def _is_normalised(values: np.ndarray) -> bool:
    norms = np.linalg.norm(values.astype(np.float64), axis=1)
    return bool(np.all(np.abs(norms - 1) < UNIT_NORM))


def _existing(file: Path) -> Path:
    if not file.exists():
        raise OodgridError(f"file {file} does not exist: mend the path")
    return file


def _load(file: Path) -> np.ndarray:
    """Return the one array of a .pt or .npy file, without unpickling anything but tensors."""
    try:
        if _existing(file).suffix == ".npy":
            return np.load(file, allow_pickle=False)
        import torch

        return torch.load(file, map_location="cpu", weights_only=True).detach().float().numpy()
    except OodgridError:
        raise
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise OodgridError(f"{file} holds no readable tensor ({type(error).__name__}: {reason[:100]})") from error


def _read_npz(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(_existing(file), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OodgridError:
        raise
    except Exception as error:  # zip, zlib and npy readers each fail in their own ways
        raise OodgridError(f"{file} is not a readable .npz file without pickles: {error}") from error


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    import torch  # before safetensors' reader for torch; numpy has no bfloat16
    from safetensors.torch import load_file

    try:
        arrays = load_file(_existing(file))
    except OodgridError:
        raise
    except Exception as error:
        raise OodgridError(f"{file} is not a readable .safetensors file: {error}") from error
    return {name: (v.float() if v.dtype == torch.bfloat16 else v).numpy() for name, v in arrays.items()}


def _read_names(file: Path) -> list[str]:
    text = _existing(file).read_text(encoding="utf-8")
    if file.suffix != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        names = json.loads(text)
    except ValueError as error:
        raise OodgridError(f"{file} is not valid JSON: {error}") from error
    if isinstance(names, dict):
        names = [names.get(str(k)) for k in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise OodgridError(f'{file} must hold a list of names, or an object from "0", "1", … to names')
    return names
