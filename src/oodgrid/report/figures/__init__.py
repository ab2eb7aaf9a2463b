"""The figures, each with its question: a module a figure, whose `draw` takes a `Study` and a width in inches.

`oodgrid.paths` has the list of their names; a figure is added by a name there and a module of that name here. No figure
shows an OOD set whose classes overlap the ID classes, and none shows covariate shift.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from oodgrid import paths
from oodgrid.manifests import EstimateError, Ranks
from oodgrid.progress import progress
from oodgrid.report import canvas, select
from oodgrid.report.figures.study import Study
from oodgrid.report.names import Legend

# Are drawn from tables of their own.
WITHOUT_MEANS = ("roc", "histograms", "geometry", *paths.FIGURES_IF_ASKED.values())
NO_MEANS = (
    "summary.parquet and comparisons.parquet hold no row. Where results are of before December 2026, "
    "snakemake --forcerun evaluate makes both from the scores."
)
COLUMNS = {
    **dict.fromkeys(("transductive", "largest", "is_best", "in_best_set"), pl.Boolean),
    **dict.fromkeys(("backbone", "id_dataset", "method", "score", "scope", "ood_dataset", "metric"), pl.String),
    **dict.fromkeys(("against", "reference_method", "reference_score"), pl.String),
    **{"shots": pl.Int32, "mean": pl.Float64},
}  # of a table that is not there
MEAN = None  # in place of an ID dataset: the mean over all of a backbone


@canvas.styled
def write_figures(
    metrics: pl.DataFrame,
    curves: pl.DataFrame,
    results: Path,
    experiment: str,
    overlaps: set[tuple[str, str]],
    summary: pl.DataFrame | None = None,
    comparisons: pl.DataFrame | None = None,
    ranks: Sequence[Ranks] = (),
    **others: Any,
) -> None:
    """Draw every figure in both widths, to <backbone>/<id_dataset>/<figure>{,-column}.{pdf,svg,png}.

    Those of a mean over ID datasets, and of ranks over them, lie in <backbone>/.

    Args:
        metrics: The rows of metrics.parquet, but for those of transductive scores.
        curves: The rows of curves.parquet.
        results: The results folder.
        experiment: Name.
        overlaps: The (id_dataset, ood_dataset) pairs whose classes overlap: in no figure.
        summary: The rows of summary.parquet.
        comparisons: The rows of comparisons.parquet. Without these two, figures of means say what they need.
        ranks: The rank tests over ID datasets.
        others: `geometry`, `temperatures`, `grades`, `estimates` and `curves_wanted`, as of `studies`.
    """
    folder = paths.report(results, experiment, "figures")
    drawn = list(studies(metrics, curves, overlaps, summary, comparisons, ranks, **others))
    _tell_letters(metrics)
    jobs = [(place, study, name, width) for place, study, names in drawn for name in names for width in canvas.WIDTHS]
    for place, study, name, suffix in progress(jobs, desc="figures", unit="figure"):
        canvas.save(draw(name, study, canvas.WIDTHS[suffix]), folder / place / f"{name}{suffix}")


def _tell_letters(metrics: pl.DataFrame) -> None:
    """Say once which letters of names no font has."""
    legend = Legend.of(metrics)
    names = [name for column in ("ood_dataset", "id_dataset") for name in select.names(metrics, column)]
    if lacking := canvas.missing([*legend.methods.values(), *legend.scores.values(), *names]):
        some = lacking[:12] + "…" * (len(lacking) > 12)
        print(
            f"oodgrid: no font of this machine has the letters {some}: figures spell or number them; "
            "install Noto Sans CJK, or another font that matplotlib can use",
            file=sys.stderr,
        )


@canvas.styled
def draw(name: str, study: Study, width: float = canvas.TEXT) -> canvas.Figure:
    """Return one figure of a study, so many inches wide."""
    if study.summary.is_empty() and study.comparisons.is_empty() and name not in WITHOUT_MEANS:
        return canvas.sentence(f"No figure of {name}: {NO_MEANS}", width)
    return import_module(f"{__name__}.{name}").draw(study, width)


def studies(
    metrics: pl.DataFrame,
    curves: pl.DataFrame,
    overlaps: set[tuple[str, str]],
    summary: pl.DataFrame | None = None,
    comparisons: pl.DataFrame | None = None,
    ranks: Sequence[Ranks] = (),
    geometry: pl.DataFrame | None = None,
    temperatures: pl.DataFrame | None = None,
    curves_wanted: tuple[str, str | None] | None = None,
    grades: pl.DataFrame | None = None,
    estimates: tuple[pl.DataFrame, Sequence[EstimateError]] | None = None,
) -> Iterator[tuple[Path, Study, tuple[str, ...]]]:
    """Yield every ID dataset of every backbone, and their mean: folder, study, and the names of its figures.

    Args: as of `write_figures`, and
        geometry: The rows of geometry.parquet, where it is there.
        temperatures: The rows of temperatures.parquet, where the config asks for temperatures.
        curves_wanted: The method and score whose curves are drawn, where the config asks for one.
        grades: The rows of grades.parquet, where the config asks for grades.
        estimates: The rows of estimates.parquet and their errors, where the config asks for estimates.
    """
    legend = Legend.of(metrics)
    certain = [pl.DataFrame(schema=COLUMNS) if frame is None else frame for frame in (summary, comparisons)]
    certain = [frame.filter(~pl.col("transductive")) for frame in certain]
    asked = {"temperatures": temperatures, "grades": grades, "estimate": estimates}
    names_of_pair = paths.FIGURES + tuple(paths.FIGURES_IF_ASKED[key] for key, it in asked.items() if it is not None)
    tried, tried_errors = estimates or (None, ())
    for backbone in select.names(metrics, "backbone"):
        frames = [frame.filter(pl.col("backbone") == backbone) for frame in (metrics, curves, *certain)]
        of_backbone = tuple(each for each in ranks if each.backbone == backbone)
        id_datasets = select.names(frames[0], "id_dataset")
        for id_dataset in id_datasets:
            study = replace(
                _study(frames, backbone, id_dataset, overlaps, legend),
                curves_wanted=curves_wanted,
                geometry=_of_pair(geometry, backbone, id_dataset),
                temperatures=_of_pair(temperatures, backbone, id_dataset),
                grades=_of_pair(grades, backbone, id_dataset),
                estimates=_of_pair(tried, backbone, id_dataset),
                estimate_errors=tried_errors,
            )
            yield Path(backbone, id_dataset), study, names_of_pair
        if names := paths.figures_of_backbone(len(id_datasets)):
            yield Path(backbone), _study(frames, backbone, MEAN, overlaps, legend, of_backbone), names


def _of_pair(frame: pl.DataFrame | None, backbone: str, id_dataset: str) -> pl.DataFrame:
    """Return the rows of one ID dataset of a backbone; an empty table where there is none."""
    if frame is None or frame.is_empty():
        return pl.DataFrame()
    return frame.filter(pl.col("backbone") == backbone, pl.col("id_dataset") == id_dataset)


def _study(
    frames: list[pl.DataFrame],
    backbone: str,
    id_dataset: str | None,
    overlaps: set[tuple[str, str]],
    legend: Legend,
    ranks: Sequence[Ranks] = (),
) -> Study:
    metrics, curves, summary, comparisons = frames
    summary, comparisons = (
        frame.filter(pl.col("id_dataset").eq_missing(id_dataset)) for frame in (summary, comparisons)
    )
    if id_dataset is MEAN:
        return Study(summary, comparisons, curves.clear(), {}, legend, select.default_score(metrics), ranks)
    rows, drawn = (select.one_pair(frame, backbone, id_dataset, overlaps) for frame in (metrics, curves))
    sets = dict(select.shown_sets(rows).select("ood_dataset", "ood_kind").unique(maintain_order=True).rows())
    return Study(summary, comparisons, drawn, sets, legend, select.default_score(rows))
