"""The most mistaken samples in the page, with small pictures of those whose images are at hand."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Sequence

import polars as pl

Pictures = Callable[[str, Sequence[str]], dict[str, bytes]]  # of a dataset and paths: JPEG files, by path
SIDES = {"mistaken_id": "id_dataset", "mistaken_ood": "ood_dataset"}
MOST = 4  # samples of each side of a pair of sets
MANY = 2000  # pairs of sets: past it, half as many samples of each
MOST_PICTURES = 300  # in a page, those that are mistaken most often


def samples_of(curves: pl.DataFrame) -> pl.DataFrame | None:
    """Return path, dataset and score of the most mistaken samples: for each row of curves some of ID, as many of OOD.

    Where a set has fewer, the rest is null. Returns None for results of before such samples were kept.
    """
    if not set(SIDES) <= set(curves.columns):
        return None
    most = MOST if len(curves) <= MANY else MOST // 2
    rows = []
    for pair in curves.select(*SIDES, *SIDES.values()).iter_rows(named=True):
        for side, dataset in SIDES.items():
            samples = (pair[side] or [])[:most]
            rows += [(pair[dataset], sample["path"], sample["score"]) for sample in samples]
            rows += [(None, None, None)] * (most - len(samples))
    schema = {"dataset": pl.String, "path": pl.String, "score": pl.Float32}
    return pl.DataFrame(rows, schema=schema, orient="row")


def no_pictures(dataset: str, paths: Sequence[str]) -> dict[str, bytes]:
    """Return no pictures: what is shown where no images are at hand."""
    return {}


def pictured(samples: pl.DataFrame, pictures: Pictures) -> pl.DataFrame:
    """Return pictures as data URIs, of the samples that are mistaken most often: columns dataset, path, picture."""
    often = Counter(samples.drop_nulls("path").select("dataset", "path").iter_rows())
    by_set: dict[str, list[str]] = {}
    for (dataset, path), _ in often.most_common(MOST_PICTURES):  # of equal ones the first
        by_set.setdefault(dataset, []).append(path)
    rows = [
        (dataset, path, f"data:image/jpeg;base64,{b64encode(picture).decode()}")
        for dataset, paths in by_set.items()
        for path, picture in pictures(dataset, paths).items()
    ]
    schema = dict.fromkeys(("dataset", "path", "picture"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")
