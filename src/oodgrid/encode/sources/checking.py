"""Checking sources before the first job, for layouts and labels that would stop one later."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from oodgrid.config import Dataset, expand
from oodgrid.encode.sources import open_splits
from oodgrid.encode.sources.arrays import count_generated
from oodgrid.encode.sources.files import files_below
from oodgrid.encode.sources.image_set import ImageSet
from oodgrid.encode.sources.passing_over import printable, summary
from oodgrid.encode.sources.webdataset import brace_expand
from oodgrid.errors import OodgridError, all_of

FILES = 20_000  # of a folder, and
SIZE = 100_000_000  # bytes of a file, that are looked through while a user waits


def check_sources(datasets: Sequence[Dataset], opened: dict[str, dict[str, ImageSet]]) -> None:
    """Refuse sources that are not here; open those that are small, say how they are read, and refuse what cannot be.

    Large ones are left to the jobs.

    Args:
        datasets: The datasets.
        opened: Is given, by their names, the splits of those that were opened.

    Raises:
        OodgridError: A source cannot be read, or its labels do not fit; a line for each.
    """
    all_of(*(partial(_check_source, dataset, opened) for dataset in datasets))


def _check_source(dataset: Dataset, opened: dict[str, dict[str, ImageSet]]) -> None:
    if dataset.root:
        _check_real(dataset, opened)
        return
    for place in map(Path, _places(dataset)):
        if not place.exists():
            raise OodgridError(f"dataset {dataset.name}: {place} does not exist: mend the path in the config")
        if dataset.folder and not place.is_dir():
            raise OodgridError(f"dataset {dataset.name}: {place} is no folder: an archive is named under archive:")
    if _is_small(dataset):
        opened[dataset.name] = open_splits(dataset)
        report_remarks(dataset, opened[dataset.name])


def counts(datasets: Sequence[Dataset], opened: Mapping[str, Mapping[str, ImageSet]]) -> dict[str, int]:
    """Return how many images each dataset has that was opened, or that is generated: of those the config says it."""
    generated = {each.name: count_generated(each.generated) for each in datasets if each.generated}
    return generated | {name: sum(map(len, splits.values())) for name, splits in opened.items()}


def _check_real(dataset: Dataset, opened: dict[str, dict[str, ImageSet]]) -> None:
    """Refuse a dataset of the catalogue that is not where it is said to be, or not whole; open one that is small."""
    from oodgrid.encode import real

    location = real.find(dataset.real_name, expand(str(dataset.root)))
    checked: dict[str, ImageSet | None] = {}

    def check(split: str) -> None:
        skip = dataset.on_error == "skip"
        checked[split] = real.check_split(location, split, dataset.may_be_incomplete, skip)

    all_of(*(partial(check, split) for split in dataset.split_names))
    images = [each for each in checked.values() if each is not None]
    if len(images) == len(checked) and sum(map(len, images)) <= FILES:
        opened[dataset.name] = open_splits(dataset)
        report_remarks(dataset, opened[dataset.name])
    else:
        report_remarks(dataset, {split: each for split, each in checked.items() if each is not None})


def report_remarks(dataset: Dataset, opened: dict[str, ImageSet]) -> None:
    """Print what was passed over and all remarks on how a source was read, each once."""
    lines = [line for images in opened.values() for line in (summary(images.passed_over), *images.remarks) if line]
    for line in dict.fromkeys(lines):
        print(f"oodgrid: {dataset.name}: {printable(line)}", file=sys.stderr)


def _is_small(dataset: Dataset) -> bool:
    """Return whether a source is here, and small enough to be looked through now."""
    try:
        places = [Path(place) for place in _places(dataset)]
        if not places:  # nothing is wrong with what is generated, and what other libraries know is theirs to open
            return bool(dataset.concept_world)
        if dataset.folder:
            return places[0].is_dir() and len(list(islice(files_below(places[0]), FILES + 1))) <= FILES
        return sum(place.stat().st_size for place in places) <= SIZE
    except OSError:  # the jobs will say it
        return False


def _places(dataset: Dataset) -> list[str | Path]:
    """Return the files or the folder of a source, none of those whose images are made or known to other libraries."""
    if dataset.webdataset:
        shards = dataset.webdataset.shards
        patterns = [shards] if isinstance(shards, str) else shards.values()
        return [place for pattern in patterns for place in brace_expand(str(expand(pattern)))]
    places = [dataset.folder, dataset.archive, dataset.list_ and dataset.list_.file]
    for pair in (dataset.numpy, dataset.idx):
        places += [pair.images, pair.labels] if pair else []
    return [expand(place) for place in places if place]
