"""The table grades.parquet: how detection changes with the semantic and with the covariate shift of OOD samples.

OOD samples are put in cells, a level of semantic by a level of covariate shift: by two scores that measure these
(`grades` in the configuration), each cut at the quantiles of all near and far OOD samples; or by the names of OOD sets
that are cells themselves, as those of IS-OOD. Each cell is compared with all ID samples. Then, as IS-OOD has it
(Long et al. 2024, arXiv 2406.09867; github.com/qqwsad5/IS-OOD, `analyze_metrics.py`):

* the mean of a level of one axis is over the cells of the other that are there;
* sensitivity is the slope of a least-squares line through these means, its sign dropped, over levels 1, 2, …;
* correlation is Pearson's, of the same points.

There a rate of exactly 0 counts as a cell that is not there. Here it is a rate.

Fits of the largest shots count; cells are means over their seeds.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oodgrid import manifests, store
from oodgrid.config import ANY
from oodgrid.config.grades import FEWEST, Grades, named_cell
from oodgrid.evaluate.metrics import Counts, auroc, count_scores, fpr95_id_pos, fpr95_ood_pos
from oodgrid.evaluate.score_table import ScoreTable
from oodgrid.progress import progress

RATES = {"auroc": auroc, "fpr95_id_pos": fpr95_id_pos, "fpr95_ood_pos": fpr95_ood_pos}
AXES = ("semantic", "covariate")
GRADES: dict[str, Any] = {
    **dict.fromkeys(("experiment", "backbone", "id_dataset", "method", "base_method"), pl.String),
    **{"shots": pl.Int32, "score": pl.String, "base_score": pl.String, "what": pl.String, "axis": pl.String},
    **{"semantic": pl.Int32, "covariate": pl.Int32, "n_ood": pl.Int64, "seeds": pl.Int32},
    **dict.fromkeys(RATES, pl.Float64),
}
_SUMMARISED = {name: GRADES[name] for name in ("what", "axis", "semantic", "covariate", "n_ood", *RATES)}


@dataclass(frozen=True)
class Cells:
    """Where the OOD samples of one (backbone, ID set) are.

    Attributes:
        levels: By OOD set, the semantic and the covariate level of each sample from 0, shape (2, M).
        counts: How many levels there are of each.
    """

    levels: Mapping[str, NDArray[np.int64]]
    counts: tuple[int, int]


def graded(
    tables: Sequence[ScoreTable], grades: Grades, overlaps: Collection[tuple[str, str]], experiment: str
) -> pl.DataFrame:
    """Return every cell, the means of the levels of both axes, and what they add up to, of every row.

    Args:
        tables: Of scores of single samples.
        grades: What the configuration asks for.
        overlaps: Pairs of an ID and an OOD set that share classes: in no cell.
        experiment: Name.

    A pair of backbone and ID set whose samples cannot be placed is left out, and a line says why.

    Raises:
        OodgridError: A table is damaged.
    """
    frames = [pl.DataFrame(schema=GRADES)]
    by_pair: dict[tuple[str, str], list[ScoreTable]] = {}
    for table in tables:
        by_pair.setdefault((table.names["backbone"], table.names["id_dataset"]), []).append(table)
    for pair, of_pair in by_pair.items():
        cells = _cells(of_pair, grades, [name for _, name in _oods(of_pair[0], overlaps)])
        if isinstance(cells, str):
            print(f"oodgrid: no graded shifts of {', '.join(pair)}: {cells}", file=sys.stderr)
            continue
        for table in progress(of_pair, desc="grades", unit="table"):
            shared = {"experiment": experiment, **table.names}
            frames += [_row_of(rows, shared) for rows in _of_table(table, cells, {grades.semantic, grades.covariate})]
    return pl.concat(frames)


def _cells(tables: Sequence[ScoreTable], grades: Grades, names: Sequence[str]) -> Cells | str:
    """Return where the samples of some OOD sets are, or why that is not known."""
    if not names:
        return "it has no near or far OOD set that shares no class with it"
    return _named(names, grades.sets) if grades.sets else _measured(tables, grades, names)


def _oods(table: ScoreTable, overlaps: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return kind and name of the near and far OOD sets that share no class with the ID set."""
    of_id = table.names["id_dataset"]
    return [(kind, name) for kind, name in table.oods() if kind != "covariate" and (of_id, name) not in overlaps]


def _named(names: Sequence[str], pattern: str) -> Cells | str:
    """Return the cells that OOD sets are by their names; sets of other names are in none."""
    found = {name: cell for name in names if (cell := named_cell(name, pattern))}
    if not found:
        return f"none of its OOD sets has a name as {pattern}: {', '.join(names)}"
    lowest, highest = np.min(list(found.values()), axis=0), np.max(list(found.values()), axis=0)
    levels = {name: (np.array(level) - lowest)[:, None] for name, level in found.items()}
    count_semantic, count_covariate = (highest - lowest + 1).tolist()
    return Cells(levels, (count_semantic, count_covariate))


def _measured(tables: Sequence[ScoreTable], grades: Grades, names: Sequence[str]) -> Cells | str:
    """Return the cells by two scores that depend on no method, of the fit that figures show."""
    table = next((each for each in tables if each.names["method"] == ANY), None)
    axes = [grades.semantic, grades.covariate]
    if table is None or not set(axes) <= table.scores.keys():
        return f"there are no scores {' and '.join(axes)} that depend on no method"
    with manifests.open_table(table.path, manifests.ScoreTable) as (opened, about):
        fit = table.shown(about.fits)
        if fit is None or (skipped := fit.skipped.keys() & set(axes)):
            why = fit.skipped[min(skipped)] if fit else "no fit of these worked"
            return f"{' and '.join(axes)} cannot be measured: {why}"
        shifts = _columns(opened, fit, axes)
    pooled = np.concatenate([shifts[name] for name in names], axis=1)
    edges = [np.quantile(shift, np.arange(1, grades.levels) / grades.levels) for shift in pooled]
    levels = {
        name: np.stack(
            [np.searchsorted(edge, shift, side="right") for edge, shift in zip(edges, shifts[name], strict=True)]
        )
        for name in names
    }
    return Cells(levels, (grades.levels, grades.levels))


def _columns(
    opened: store.OpenTable, fit: manifests.ScoredFit, scores: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Return minus some scores, the shifts, of every set, shape (S, N)."""
    rows = opened.read(["dataset", *scores], shots=fit.shots, seed=fit.seed)
    groups = rows.partition_by("dataset", as_dict=True, include_key=False)
    return {str(key[0]): -values.to_numpy().T for key, values in groups.items()}


def _of_table(table: ScoreTable, cells: Cells, axes: Collection[str]) -> Iterator[pl.DataFrame]:
    """Yield the rows of each score at the largest shots: cells, means over seeds, and what they add up to."""
    with manifests.open_table(table.path, manifests.ScoreTable) as (opened, about):
        worked = [fit for fit in about.fits if fit.status == "ok"] if table.scores else []
        largest = max((fit.shots for fit in worked), default=0)
        by_score: dict[str, list[pl.DataFrame]] = {}
        for fit in (fit for fit in worked if fit.shots == largest):
            scores = [name for name in table.scores if name not in axes and name not in fit.skipped]
            values = _columns(opened, fit, scores) if scores else {}
            for place, score in enumerate(scores):
                one = {name: -each[place] for name, each in values.items()}
                rates = of_cells(one[table.names["id_dataset"]], one, cells)
                by_score.setdefault(score, []).append(rates)
    for score, of_seeds in by_score.items():
        means = pl.concat(of_seeds).group_by("semantic", "covariate", "n_ood", maintain_order=True).mean()
        rows = pl.DataFrame(list(summarised(means)), schema=_SUMMARISED)
        about_score = {"shots": largest, "score": score, "base_score": table.scores[score], "seeds": len(of_seeds)}
        yield rows.with_columns(pl.lit(value).alias(name) for name, value in about_score.items())


def of_cells(id_scores: NDArray[np.float64], scores: Mapping[str, NDArray[np.float64]], cells: Cells) -> pl.DataFrame:
    """Return the rates of every cell that has more than ten samples, against all ID samples.

    Args:
        id_scores: Shape (N,).
        scores: By OOD set, shape (M,).
        cells: Where the samples are.
    """
    levels = [np.broadcast_to(level, (2, len(scores[name]))) for name, level in cells.levels.items()]
    cell = np.ravel_multi_index(tuple(np.concatenate(levels, axis=1)), cells.counts)
    ood = np.concatenate([scores[name] for name in cells.levels])
    pooled = count_scores(id_scores, ood)
    places = np.searchsorted(pooled.values, ood)
    rows = []
    numbers, sizes = np.unique(cell, return_counts=True)
    for number in numbers[sizes >= FEWEST]:
        of_cell = np.bincount(places[cell == number], minlength=len(pooled.values))
        counts = Counts(pooled.values, pooled.id_counts, of_cell)
        semantic, covariate = map(int, np.unravel_index(number, cells.counts))
        rates = {name: rate(counts) for name, rate in RATES.items()}
        rows.append({"semantic": semantic + 1, "covariate": covariate + 1, "n_ood": counts.n_ood} | rates)
    return pl.DataFrame(rows, schema={name: GRADES[name] for name in ("semantic", "covariate", "n_ood", *RATES)})


def summarised(cells: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the rows of cells, of the means of levels, and of sensitivity and correlation along each axis.

    Both are null where fewer than two levels have a mean; a correlation also where all means are equal.
    """
    for row in cells.iter_rows(named=True):
        yield {"what": "cell", "axis": None} | row
    for axis, other in zip(AXES, reversed(AXES), strict=True):
        means = cells.group_by(axis).agg(pl.col("n_ood").sum(), *(pl.col(name).mean() for name in RATES)).sort(axis)
        for row in means.iter_rows(named=True):
            yield {"what": "mean", "axis": axis, other: None} | row
        level = means[axis].to_numpy().astype(float)
        lines = {name: line(level, means[name].to_numpy()) for name in RATES}
        for place, what in enumerate(("sensitivity", "correlation")):
            values = {name: both[place] for name, both in lines.items()}
            yield {"what": what, "axis": axis, **dict.fromkeys((*AXES, "n_ood"))} | values


def line(levels: NDArray[np.float64], means: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Return the size of the slope of means over levels, and Pearson's correlation; None where there is none."""
    if len(levels) < 2:
        return None, None
    x, y = levels - levels.mean(), means - means.mean()
    slope, spread = float(x @ y / (x @ x)), float(np.sqrt((x @ x) * (y @ y)))
    return abs(slope), (None if np.abs(y).max() < 1e-12 else min(max(float(x @ y) / spread, -1.0), 1.0))


def _row_of(rows: pl.DataFrame, shared: Mapping[str, str]) -> pl.DataFrame:
    """Return rows with what all of their table share."""
    rows = rows.with_columns(pl.lit(value).alias(name) for name, value in shared.items())
    return rows.select(pl.col(name).cast(kind) for name, kind in GRADES.items())
