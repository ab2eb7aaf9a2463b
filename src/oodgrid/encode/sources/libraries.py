"""Images that other libraries know: torchvision's datasets and those of Hugging Face, by name.

Neither downloads anything unless the configuration says `download: true`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid.config import HuggingFace, Torchvision, expand
from oodgrid.encode.sources.image_set import ImageSet, classes_by_value
from oodgrid.encode.sources.reading import read_image
from oodgrid.errors import OodgridError, first_line, unknown
from oodgrid.progress import progress

_REFUSED: ContextVar[str | None] = ContextVar("refused", default=None)


@contextmanager
def unpickling_refused(why: str) -> Iterator[None]:
    """Refuse whatever a library unpickles meanwhile: Python says it of every name that a pickle wants to call.

    Raises:
        OodgridError: `why`, where the library lets it through.
    """
    _listen()
    token = _REFUSED.set(why)
    try:
        yield
    finally:
        _REFUSED.reset(token)


@cache
def _listen() -> None:
    def heard(event: str, _: tuple[Any, ...]) -> None:
        if event == "pickle.find_class" and (why := _REFUSED.get()):
            raise OodgridError(why)

    sys.addaudithook(heard)


def torchvision(source: Torchvision, split: str) -> ImageSet:
    """Return a dataset of torchvision; its source bytes are the decoded pixels.

    Raises:
        OodgridError: It is unknown, not there, or can be read by unpickling alone.
    """
    from torchvision import datasets

    if source.dataset not in datasets.__all__:
        raise unknown("torchvision dataset", source.dataset, datasets.__all__)
    dataset_class = getattr(datasets, source.dataset)
    root = expand(source.root)
    of_split: dict[str, dict[str, Any]] = dict(source.arguments.items())
    arguments = {**_split_arguments(dataset_class, split), **(of_split.get(split) or {})}
    if "download" in inspect.signature(dataset_class).parameters:
        arguments["download"] = source.download
    refused = (
        f"torchvision unpickles the files of {source.dataset}, which can run code: use folder, numpy or hf instead"
    )
    try:
        with unpickling_refused(refused):
            samples = dataset_class(str(root), **arguments)
    except OodgridError:
        raise
    except Exception as error:  # each dataset fails in its own way
        raise OodgridError(
            f"torchvision dataset {source.dataset} in {root}: {first_line(error)} (download: true fetches it)"
        ) from error
    labels, named = classes_by_value(_targets(samples), source.dataset)
    # ImageNet's names are tuples of synonyms, of which the first is the usual one
    classes = getattr(samples, "classes", None) or named or ()
    names = [str(name[0] if isinstance(name, tuple) else name) for name in classes] or None
    paths = [f"{source.dataset}/{split}/{row:07}" for row in range(len(samples))]

    def read(row: int) -> np.ndarray:
        try:
            with unpickling_refused(refused):
                return np.asarray(samples[row][0].convert("RGB"))
        except OodgridError:
            raise
        except Exception as error:  # files are opened and decoded only here, and fail in as many ways
            raise OodgridError(f"{root}: {paths[row]} is a broken image ({error}): replace or remove it") from error

    return ImageSet(paths, labels, names, read, where=str(root))


def hugging_face(source: HuggingFace, split: str) -> ImageSet:
    """Return a dataset of Hugging Face's library `datasets`, from its cache, a folder, or the hub where asked.

    Raises:
        OodgridError: The library or the dataset is not there, or lacks a column.
    """
    name_of: dict[str, str] = dict(source.splits.items())
    table = _load_hugging_face(source, name_of[split])
    for column in (source.image, source.label):
        if column and column not in table.column_names:
            raise unknown(f"column of {source.dataset}", column, table.column_names)
    values = table[source.label] if source.label else [None] * len(table)
    labels, named = classes_by_value(list(values), source.dataset)
    names = getattr(table.features.get(source.label), "names", None) or named
    images = table.select_columns([source.image])

    def read(row: int) -> bytes:
        held = images[row][source.image]
        try:
            return held["bytes"] if held["bytes"] is not None else read_image(Path(held["path"]), paths[row])
        except TypeError as error:  # the row holds no image, or the place of a file that is gone
            raise OodgridError(f"{paths[row]} cannot be read: {error}") from error

    paths = [f"{source.dataset}/{name_of[split]}/{row:07}" for row in range(len(table))]
    return ImageSet(paths, labels, names, read, where=source.dataset)


def _split_arguments(dataset_class: type, split: str) -> dict[str, Any]:
    """Return how a dataset of torchvision is told a split: most take `split`, those of MNIST's kind `train`."""
    parameters = inspect.signature(dataset_class).parameters
    if "split" in parameters:
        return {"split": split}
    return {"train": split == "train"} if "train" in parameters else {}


def _targets(samples: Any) -> list[Any]:
    """Return the labels without decoding images where the dataset has them at hand."""
    for name in ("targets", "_labels", "labels", "y"):
        values = getattr(samples, name, None)
        if values is not None and len(values) == len(samples):
            return np.asarray(values).tolist()
    if pairs := getattr(samples, "samples", None) or getattr(samples, "_samples", None):
        return [label for _, label in pairs]
    return [samples[row][1] for row in progress(range(len(samples)), desc="read labels")]


def load_hugging_face(name: str, subset: str | None, split: str, revision: str | None, download: bool) -> Any:
    """Return a split of a dataset of Hugging Face's library `datasets`: from a folder, its cache, or the hub.

    Raises:
        OodgridError: The library or the dataset is not there.
    """
    try:
        import datasets
    except ImportError as error:
        raise OodgridError(f"dataset {name} needs the library of Hugging Face: pip install 'oodgrid[hf]'") from error
    datasets.config.HF_DATASETS_OFFLINE = not download
    datasets.config.HF_HUB_OFFLINE = not download
    folder = expand(name)
    try:
        if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
            whole = datasets.load_from_disk(str(folder))
            return whole[split] if isinstance(whole, datasets.DatasetDict) else whole
        return datasets.load_dataset(name, subset, split=split, revision=revision)
    except Exception as error:  # the library and the hub fail in many ways
        raise _hugging_face_failed(name, split, error) from error


def _hugging_face_failed(name: str, split: str, error: Exception) -> OodgridError:
    return OodgridError(f"Hugging Face dataset {name}, split {split}: {first_line(error)} (download: true fetches it)")


def _load_hugging_face(source: HuggingFace, split: str) -> Any:
    """Return a split whose images are not decoded yet."""
    table = load_hugging_face(source.dataset, source.subset, split, source.revision, source.download)
    try:
        import datasets

        return table.cast_column(source.image, datasets.Image(decode=False))
    except Exception as error:  # the column is not there, or holds no images
        raise _hugging_face_failed(source.dataset, split, error) from error
