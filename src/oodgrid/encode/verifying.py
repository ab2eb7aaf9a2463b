"""Comparing the images behind a feature file with those that it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from oodgrid import store
from oodgrid.config import Dataset
from oodgrid.counts import counted, plural
from oodgrid.encode.preprocessing import open_picture
from oodgrid.encode.sources import ImageSet, open_split
from oodgrid.errors import OodgridError
from oodgrid.identity import digest
from oodgrid.plan import ENCODE_VERSION
from oodgrid.progress import progress


def check_sources(path: Path, deep: bool = False) -> str:
    """Compare the images of a feature file with what they were when it was made, and return what was compared.

    Names, labels, class names, and whether images that were skipped are still broken, always; sizes and times of change
    of the source files, or with `deep` the SHA-256 of their bytes, whatever their times.

    Raises:
        OodgridError: They differ, naming the first one and how many there are.
    """
    about = store.read_provenance(path) if path.suffix == ".h5" else {}
    if "views" in about:
        return "views of images of the training split: compare that one"
    if "pseudo_ood" in about:
        return "made of texts of the training split: compare that one"
    if "files_sha256" not in about:
        return "no samples stand behind it"
    if about.get("encode_version", ENCODE_VERSION) != ENCODE_VERSION:
        raise _differs(path, f"its encoding is of version {about['encode_version']}, and now of {ENCODE_VERSION}")
    sources = store.read_sources(path)
    dataset = Dataset.model_validate(sources.provenance["dataset"])
    images = open_split(dataset, sources.provenance["split"])
    if "draws" in sources.provenance:  # a part of the split was encoded
        names = {*sources.paths, *(name for name, _ in sources.provenance.get("skipped", []))}
        images = images.subset(np.flatnonzero([path in names for path in images.paths]))
    rows = _matching_rows(path, sources, images)
    _check_skipped(path, sources, dataset, images)
    thing = images.thing
    if images.captions is not None and digest(images.captions) != sources.provenance.get("texts_sha256"):
        raise _differs(path, "the texts of its pairs are others")
    if deep or images.texts is not None:  # texts are read whole anyway
        same = [sources.sha256[k].tobytes() == _sha256(images, row) for k, row in _bar(rows)]
        _compare(path, sources, thing, "content", same)
        return f"{counted(len(rows), f'{thing} has', f'{thing}s have')} the SHA-256 of before"
    if sources.stamps is None or (sources.stamps < 0).all():
        return (
            f"{counted(len(rows), f'{thing} is', f'{thing}s are')} listed as before (their source has no sizes or "
            "times; --deep compares bytes)"
        )
    _compare(
        path,
        sources,
        thing,
        "size or time",
        [tuple(sources.stamps[k].tolist()) == images.stamp(row) for k, row in _bar(rows)],
    )
    return f"{counted(len(rows), f'{thing} has', f'{thing}s have')} the size and time of before"


def _matching_rows(path: Path, sources: store.Sources, images: ImageSet) -> list[int]:
    """Return the row in the source of every row in the file, or raise if the lists differ."""
    skipped = {name for name, _ in sources.provenance.get("skipped", [])}
    rows = [row for row, name in enumerate(images.paths) if name not in skipped]
    was, now = set(sources.paths), {images.paths[row] for row in rows}
    for names, what in ((was - now, "gone"), (now - was, "new")):
        if names:
            raise _differs(
                path,
                f"{len(names):,} of its {images.thing}s {plural(len(names), 'is', 'are')} {what}, the first: "
                f"{min(names)}",
            )
    if list(sources.paths) != [images.paths[row] for row in rows]:
        raise _differs(path, f"its {images.thing}s are listed in another order")
    if images.classnames != sources.provenance["classnames"]:
        raise _differs(path, f"its classes were {sources.provenance['classnames']} and are {images.classnames}")
    _compare(path, sources, images.thing, "label", (sources.labels == images.labels[rows]).tolist())
    return rows


def _check_skipped(path: Path, sources: store.Sources, dataset: Dataset, images: ImageSet) -> None:
    skipped = {name for name, _ in sources.provenance.get("skipped", [])}
    if not skipped:
        return
    preprocessing = sources.provenance["backbone"]["preprocessing"]
    for row, name in enumerate(images.paths):
        if name in skipped:
            try:
                open_picture(images.read(row), name, preprocessing, dataset.exif_rotation)
            except OodgridError:
                continue
            raise _differs(path, f"of its images that were broken one is mended: {name}")


def _compare(path: Path, sources: store.Sources, thing: str, what: str, same: list[bool]) -> None:
    other = np.flatnonzero(~np.asarray(same, dtype=bool))
    if len(other):
        raise _differs(
            path,
            f"{len(other):,} of its {thing}s {plural(len(other), 'has', 'have')} another {what}, the first: "
            f"{sources.paths[int(other[0])]}",
        )


def _sha256(images: ImageSet, row: int) -> bytes:
    return images.sha256(row, images.read(row))


def _bar(rows: list[int]) -> tqdm:
    return progress(list(enumerate(rows)), desc="compare sources", unit="img")


def _differs(path: Path, how: str) -> OodgridError:
    return OodgridError(
        f"{path} is not what its sources are now: {how}. Delete it to encode them again, or restore them"
    )
