"""The table geometry.parquet: the angles that the stage score left, averaged over seeds and over the sets of a kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from oodgrid import manifests
from oodgrid.config import ANY, IdDataset
from oodgrid.evaluate.rows import over_scopes, over_seeds
from oodgrid.manifests import Geometry, ScoredFit

CENTRES = ("means", "prototypes")
MEASURES = ("dispersion", "compactness", "id_angle", "ood_angle", "separation", "mmd")
GEOMETRY: dict[str, Any] = {
    **dict.fromkeys(("experiment", "backbone", "id_dataset", "method", "base_method"), pl.String),
    **{"shots": pl.Int32, "centres": pl.String, "status": pl.String, "reason": pl.String},
    **{"scope": pl.String, "ood_dataset": pl.String, "sets": pl.Int32, "seeds": pl.Int32, "classes": pl.Int32},
    **dict.fromkeys(MEASURES, pl.Float64),
    **dict.fromkeys((f"{name}_sd" for name in MEASURES), pl.Float64),
}
ROW = ("backbone", "id_dataset", "method", "base_method", "shots", "centres", "status", "reason")


def geometry(
    tables: Sequence[tuple[Path, Mapping[str, str], IdDataset]], overlaps: Sequence[tuple[str, str]], experiment: str
) -> pl.DataFrame:
    """Return the angles of every method, over OOD sets and over the means of their kinds, in degrees, and linear MMDs.

    Features as cached stand under `any`, once a (backbone, ID set).

    Args:
        tables: The files of the tables of scores, with what their rows share, and their ID set.
        overlaps: Pairs of an ID and an OOD set that share classes: in no mean.
        experiment: Name.
    """
    rows: list[dict[str, Any]] = []
    seen: set[tuple[str, str]] = set()
    for path, names, dataset in tables:
        about = manifests.read(path, manifests.ScoreTable)
        pair = names["backbone"], names["id_dataset"]
        if about.cached is not None and pair not in seen:
            seen.add(pair)
            shared = {**names, "method": ANY, "base_method": ANY, "shots": 0, "seed": 0, "centres": "means"}
            rows += _of_sets(about.cached, shared, dataset)
        for fit in about.fits:
            rows += _of_fit(fit, names, dataset)
    frame = pl.DataFrame(rows, schema={**_SETS, **dict.fromkeys(MEASURES, pl.Float64)})
    worked, measures = frame.filter(pl.col("status") == "ok"), ("classes", *MEASURES)
    of_kinds = over_scopes(worked, overlaps, ROW, measures)
    of_sets = over_seeds(worked.with_columns(scope=pl.lit("set")), [*ROW, "scope", "ood_dataset"], measures)
    means = pl.concat([of_kinds, of_sets], how="diagonal")
    skipped = frame.filter(pl.col("status") != "ok").unique([*ROW], keep="first", maintain_order=True)
    whole = pl.concat([means, skipped.select(ROW)], how="diagonal")
    whole = whole.with_columns(experiment=pl.lit(experiment))
    lacking = [pl.lit(None, kind).alias(name) for name, kind in GEOMETRY.items() if name not in whole.columns]
    return whole.with_columns(lacking).select(pl.col(name).cast(kind) for name, kind in GEOMETRY.items())


_SETS: dict[str, Any] = {name: GEOMETRY[name] for name in (*ROW, "ood_dataset", "classes")} | {
    "seed": pl.Int32,
    "ood_kind": pl.String,
}


def _of_fit(fit: ScoredFit, names: Mapping[str, str], dataset: IdDataset) -> Iterator[dict[str, Any]]:
    """Yield the rows of one fit: of its centres and the OOD sets, or why there are none."""
    for centres in CENTRES:
        shared = {**names, "shots": fit.shots, "seed": fit.seed, "centres": centres}
        if centres in fit.geometry:
            yield from _of_sets(fit.geometry[centres], shared, dataset)
        elif centres in fit.no_geometry:
            yield {**shared, "status": "skipped", "reason": fit.no_geometry[centres]}


def _of_sets(angles: Geometry, shared: Mapping[str, Any], dataset: IdDataset) -> Iterator[dict[str, Any]]:
    known = {**shared, "status": "ok", "classes": angles.classes, "dispersion": angles.dispersion}
    known |= {"compactness": angles.compactness, "id_angle": angles.id_angle}
    for kind, ood in dataset.pairs():
        angle = angles.ood_angles.get(ood.name)
        apart = None if angle is None or angles.id_angle is None else angle - angles.id_angle
        yield {**known, "ood_dataset": ood.name, "ood_kind": kind, "ood_angle": angle, "separation": apart,
               "mmd": angles.ood_mmd.get(ood.name)}  # fmt: skip
