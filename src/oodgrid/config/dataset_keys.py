"""Which keys of a dataset go together: each rule refuses, in one line, what does not go with its source or samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oodgrid.catalogue import real
from oodgrid.config.class_choice import Half
from oodgrid.counts import counted
from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    from oodgrid.config.dataset import Dataset


def check_keys(dataset: Dataset, source: str) -> None:
    """Raise OodgridError for the first key that does not go with others.

    Args:
        dataset: As it is written.
        source: The name of its one source.
    """
    _check_samples(dataset)
    if source == "root":
        _check_root(dataset)
    else:
        _check_no_root(dataset, source)
    _check_layout(dataset, source)
    _check_splits(dataset, source)
    if wrong := [template for template in dataset.templates if "{}" not in template]:
        raise OodgridError(f"dataset {dataset.name}: template {wrong[0]!r} lacks {{}}, the place of the class name")


def _check_samples(dataset: Dataset) -> None:
    """Refuse what is for samples of another kind: images, texts, pairs, or what was imported."""
    what = f"dataset {dataset.name}"
    if dataset.limit and dataset.imported:
        raise OodgridError(f"{what}: limit is for samples that are to be encoded; imports are whole")
    if dataset.classes == []:
        raise OodgridError(f"{what}: classes is empty: name some, or take it out")
    keys = () if dataset.may_have_views else ("views",) if "image" in dataset.parts else ("views", "exif_rotation")
    if key := _first(dataset, *keys):
        raise OodgridError(f"{what}: {key} is for images, and its samples are {dataset.thing}s: take it out")
    if dataset.derived and (key := _first(dataset, "classnames", "classes", "splits")):
        raise OodgridError(f"{what}: {key} are those of {dataset.derived.of}: take {key} out")


def _check_no_root(dataset: Dataset, source: str) -> None:
    """Refuse what goes with nothing but a dataset of the catalogue."""
    if wrong := _first(dataset, "of", "only", "partial"):
        raise OodgridError(f"dataset {dataset.name}: {wrong} is for a dataset of root, not for {source}")
    if dataset.classes and dataset.imported:
        raise OodgridError(f"dataset {dataset.name}: classes are of samples to be encoded; imports are whole")


def _check_root(dataset: Dataset) -> None:
    """Refuse what does not go with a dataset of the catalogue."""
    what, entry = f"dataset {dataset.name}", real.real_set(dataset.real_name)
    if dataset.splits:
        raise OodgridError(f"{what} has splits of its own: take splits out")
    if strange := [split for split in dataset.only or () if split not in entry.splits]:
        raise OodgridError(f"{what} has no {strange[0]} split: it has {', '.join(entry.splits)}")
    if dataset.only and "test" not in dataset.only:
        raise OodgridError(f"{what}: only names no test split: add test")
    keys = real.class_keys(dataset.real_name)
    if dataset.classes and not keys:
        raise OodgridError(f"{what} has no classes: take classes out")
    if dataset.classnames and len(dataset.classnames) != len(keys):
        raise OodgridError(
            f"{what}: {counted(len(dataset.classnames), 'classname')} for {counted(len(keys), 'class', 'classes')}: "
            "give one for each, in the order of the catalogue"
        )
    _check_name_of_part(dataset)


def _check_name_of_part(dataset: Dataset) -> None:
    """Refuse that tables show a part of a dataset, or another, by the name of a whole one."""
    whole, real_name = dataset.whole_name, dataset.real_name
    is_part = dataset.taken_labels is not None  # a half without `of` has a mark in its name
    is_marked = isinstance(dataset.classes, Half) and not dataset.of
    if whole in real.names() and (real_name != whole or (is_part and not is_marked)):
        raise OodgridError(
            f"dataset {dataset.name}: tables would show {'a part of ' * is_part}{real_name} as {whole}: "
            f"write another name and what it is of, as {{name: {real_name}-part, of: {real_name}}}"
        )


def _check_layout(dataset: Dataset, source: str) -> None:
    """Refuse keys that say where in a folder or an archive classes and splits lie, elsewhere or against each other."""
    if dataset.class_pattern and dataset.class_folder not in (None, "none"):
        raise OodgridError(f"dataset {dataset.name}: class_pattern and class_folder both say the class: take one out")
    key = _first(dataset, "class_folder", "class_pattern", "split_folders")
    if key and source not in ("folder", "archive"):
        raise OodgridError(f"dataset {dataset.name}: {key} is for folder and archive, not for {source}")


def _check_splits(dataset: Dataset, source: str) -> None:
    """Refuse a source whose splits lack test, and splits of a source that has its own."""
    splits = dataset.own_splits(source)
    if splits and "test" not in splits:
        names = "split_folders" if dataset.split_folders else source
        raise OodgridError(f"dataset {dataset.name}: {names} names the splits {', '.join(splits)} but no test split")
    if dataset.splits and (dataset.concept_world or dataset.imported or len(splits) > 1):
        raise OodgridError(f"dataset {dataset.name}: splits are for a source without; {source} has its own")


def _first(dataset: Dataset, *keys: str) -> str | None:
    """Return the first of these keys that has a value, or None."""
    return next((key for key in keys if getattr(dataset, key)), None)
