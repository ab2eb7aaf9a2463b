"""Checking sources before the first job, for layouts and labels that would stop one later."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from oodgrid.catalogue import real
from oodgrid.config import Dataset, Draws, expand
from oodgrid.encode.sources import open_splits
from oodgrid.encode.sources.arrays import count_generated
from oodgrid.encode.sources.files import files_below
from oodgrid.encode.sources.image_set import ImageSet
from oodgrid.encode.sources.passing_over import printable, summary
from oodgrid.encode.sources.webdataset import brace_expand
from oodgrid.errors import OodgridError, all_of
from oodgrid.fewshot import VALIDATION_SHOTS, NoDraw, drawn_rows
from oodgrid.labels import has_class

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
    """Return how many images each dataset has to encode, as far as that is known: of draws at most so many.

    It is known of those that were opened, are generated, or are whole as the catalogue knows them.
    """
    numbers: dict[str, int] = {}
    for dataset in datasets:
        splits = _split_counts(dataset, opened)
        if all(count is not None for count in splits.values()):
            numbers[dataset.name] = sum(count or 0 for count in splits.values())
            if dataset.draws and (taken := count_drawn(dataset, dataset.draws, opened)):
                numbers[dataset.name] -= taken.whole - taken.drawn
    return numbers


class Taken(NamedTuple):
    """How many images a training split has, and how many of them draws take, at most."""

    whole: int
    drawn: int


def count_drawn(dataset: Dataset, draws: Draws, opened: Mapping[str, Mapping[str, ImageSet]]) -> Taken | None:
    """Return how many images draws take of a training split; None where there is none, or its size is not known.

    Exact where the images were opened, else at most so many: draws of several seeds may share images.
    """
    whole = _split_counts(dataset, opened).get("train")
    if whole is None:
        return None
    splits = opened.get(dataset.name)
    if splits is not None:
        val = splits["val"].labels if "val" in splits and has_class(splits["val"].labels).any() else None
        with suppress(NoDraw):
            return Taken(whole, len(drawn_rows(splits["train"].labels, val, *draws)))
        return None
    of_class = [shots + (0 if "val" in dataset.split_names else min(shots, VALIDATION_SHOTS)) for shots in draws.shots]
    return Taken(whole, min(whole, sum(of_class) * len(draws.seeds) * len(dataset.known_classes)))


def _split_counts(dataset: Dataset, opened: Mapping[str, Mapping[str, ImageSet]]) -> dict[str, int | None]:
    """Return how many images the splits of a dataset have, None where that is not known."""
    if dataset.name in opened:
        return {split: len(images) for split, images in opened[dataset.name].items()}
    if dataset.generated:
        count = count_generated(dataset.generated)
        return {"test": min(count, dataset.limit or count)}
    is_whole = dataset.root and dataset.taken_labels is None and not dataset.may_be_incomplete
    splits = real.real_set(dataset.real_name).splits if is_whole else {}
    return {split: splits.get(split) for split in dataset.split_names}  # type: ignore[call-overload]


def _check_real(dataset: Dataset, opened: dict[str, dict[str, ImageSet]]) -> None:
    """Refuse a dataset of the catalogue that is not where it is said to be, or not whole; open one that is small."""
    from oodgrid.encode import real as real_images

    location = real_images.find(dataset.real_name, expand(str(dataset.root)))
    checked: dict[str, ImageSet | None] = {}

    def check(split: str) -> None:
        skip = dataset.on_error == "skip"
        checked[split] = real_images.check_split(location, split, dataset.may_be_incomplete, skip)

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
            return bool(dataset.concept_world or dataset.pairs_)
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
    places += dataset.texts.files if dataset.texts else []
    places += [*dataset.pairs_.files, dataset.pairs_.root] if dataset.pairs_ else []
    for pair in (dataset.numpy, dataset.idx):
        places += [pair.images, pair.labels] if pair else []
    return [expand(place) for place in places if place]
