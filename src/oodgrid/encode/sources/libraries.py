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
from oodgrid.errors import OodgridError, unknown
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
    made = getattr(datasets, source.dataset)
    root = expand(source.root)
    arguments = {**_split_arguments(made, split), **(source.arguments.get(split) or {})}
    if "download" in inspect.signature(made).parameters:
        arguments["download"] = source.download
    refused = (
        f"torchvision unpickles the files of {source.dataset}, which can run code: use folder, numpy or hf instead"
    )
    try:
        with unpickling_refused(refused):
            found = made(str(root), **arguments)
    except OodgridError:
        raise
    except Exception as error:  # each dataset fails in its own way
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OodgridError(
            f"torchvision dataset {source.dataset} in {root}: {said} (download: true fetches it)"
        ) from error
    labels, named = classes_by_value(_targets(found), source.dataset)
    # ImageNet's names are tuples of synonyms, of which the first is the usual one
    classes = getattr(found, "classes", None) or named or ()
    names = [str(name[0] if isinstance(name, tuple) else name) for name in classes] or None
    paths = [f"{source.dataset}/{split}/{row:07}" for row in range(len(found))]

    def read(row: int) -> np.ndarray:
        try:
            with unpickling_refused(refused):
                return np.asarray(found[row][0].convert("RGB"))
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
    found = _load_hugging_face(source, source.splits[split])
    for column in (source.image, source.label):
        if column and column not in found.column_names:
            raise unknown(f"column of {source.dataset}", column, found.column_names)
    values = found[source.label] if source.label else [None] * len(found)
    labels, named = classes_by_value(list(values), source.dataset)
    names = getattr(found.features.get(source.label), "names", None) or named
    images = found.select_columns([source.image])

    def read(row: int) -> bytes:
        held = images[row][source.image]
        try:
            return held["bytes"] if held["bytes"] is not None else read_image(Path(held["path"]), paths[row])
        except TypeError as error:  # the row holds no image, or the place of a file that is gone
            raise OodgridError(f"{paths[row]} cannot be read: {error}") from error

    paths = [f"{source.dataset}/{source.splits[split]}/{row:07}" for row in range(len(found))]
    return ImageSet(paths, labels, names, read, where=source.dataset)


def _split_arguments(made: type, split: str) -> dict[str, Any]:
    """Return how a dataset of torchvision is told a split: most take `split`, those of MNIST's kind `train`."""
    parameters = inspect.signature(made).parameters
    if "split" in parameters:
        return {"split": split}
    return {"train": split == "train"} if "train" in parameters else {}


def _targets(found: Any) -> list[Any]:
    """Return the labels without decoding images where the dataset has them at hand."""
    for name in ("targets", "_labels", "labels", "y"):
        values = getattr(found, name, None)
        if values is not None and len(values) == len(found):
            return np.asarray(values).tolist()
    if samples := getattr(found, "samples", None) or getattr(found, "_samples", None):
        return [label for _, label in samples]
    return [found[row][1] for row in progress(range(len(found)), desc="read labels")]


def _load_hugging_face(source: HuggingFace, split: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise OodgridError(
            f"dataset {source.dataset} needs the library of Hugging Face: pip install 'oodgrid[hf]'"
        ) from error
    datasets.config.HF_DATASETS_OFFLINE = not source.download
    datasets.config.HF_HUB_OFFLINE = not source.download
    folder = expand(source.dataset)
    try:
        if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
            whole = datasets.load_from_disk(str(folder))
            found = whole[split] if isinstance(whole, datasets.DatasetDict) else whole
        else:
            found = datasets.load_dataset(source.dataset, source.subset, split=split, revision=source.revision)
        return found.cast_column(source.image, datasets.Image(decode=False))
    except Exception as error:  # the library and the hub fail in many ways
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OodgridError(
            f"Hugging Face dataset {source.dataset}, split {split}: {said} (download: true fetches it)"
        ) from error
