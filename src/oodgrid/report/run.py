"""The stage report: tables, figures and a page from what evaluate left, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from oodgrid import digests, grid, manifests, paths, plan
from oodgrid.config import Experiment
from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.published import Ours
from oodgrid.report import published, select, settings
from oodgrid.report.evaluated import Evaluated
from oodgrid.report.mistakes import Pictures, no_pictures

RATES = ("auroc", "fpr95_id_pos", "fpr95_ood_pos", "id_accuracy")  # without which nothing can be shown
PARTS = tuple(paths.REPORT)


def report(results: Path, experiment: Experiment, part: str, pictures: Pictures | None = None) -> Path:
    """Write one part of the report, "tables", "figures" or "page", and return its folder or file.

    Args:
        results: The results folder.
        experiment: The experiment.
        part: Which part.
        pictures: Makes small pictures of samples for the page: names in, JPEG files out. Default: none are shown.

    Raises:
        OodgridError: A table of evaluate is missing or damaged, or lacks rows that the experiment wants.
    """
    metrics, about = manifests.read_table(paths.metrics(results, experiment.experiment), manifests.Metrics)
    check_complete(metrics, experiment)
    overlaps, place = set(about.overlaps), (results, experiment.experiment)
    manifest = paths.digests(*place, part)
    manifest.unlink(missing_ok=True)  # written last, it vouches for all files of the part
    if part == "tables":
        from oodgrid.report.tables import write_tables

        evaluated = _evaluated(*place, metrics, about, experiment)
        of_grades = _others(*place, experiment).get("grades")
        write_tables(evaluated, *place, experiment.report.spread, of_grades)
        published.write(published.matching(Ours(metrics, evaluated.summary, experiment)), metrics, *place)
    elif part == "figures":
        from oodgrid.report.figures import write_figures  # late: matplotlib takes longer to import than tables to write

        curves, _ = manifests.read_table(paths.curves(*place), manifests.Curves)
        known = _evaluated(*place, metrics, about, experiment) if _has_certainty(*place) else None
        frames = {"summary": known.summary, "comparisons": known.comparisons, "ranks": known.ranks} if known else {}
        others = _others(*place, experiment)
        write_figures(select.without(metrics, about.transductive), curves, *place, overlaps, **frames, **others)
    else:
        from oodgrid.report.page import write_page

        curves = manifests.read_table(paths.curves(*place), manifests.Curves)[0]
        spread, asked = experiment.report.spread, plan.asked_figures(experiment)
        evaluated = _evaluated(*place, metrics, about, experiment)
        beside = published.matching(Ours(metrics, evaluated.summary, experiment))
        told = settings.facts(experiment)
        write_page(evaluated, curves, *place, about.broken_images, spread, pictures or no_pictures, asked, beside, told)
    digests.write(manifest, plan.report_parts(results, experiment)[part], _sources(results, experiment, part))
    return paths.report(*place, part)


def _others(results: Path, experiment_name: str, experiment: Experiment) -> dict[str, Any]:
    """Return what some figures are drawn from besides; results of before December 2026 have none of it."""
    optional: dict[str, tuple[Callable[[Path, str], Path], type[manifests.Manifest]]]
    optional = {"geometry": (paths.geometry, manifests.GeometryTable)}
    if experiment.temperatures:
        optional["temperatures"] = (paths.temperatures, manifests.Temperatures)
    if experiment.grades:
        optional["grades"] = (paths.grades, manifests.GradesTable)
    files = {name: (path(results, experiment_name), model) for name, (path, model) in optional.items()}
    others: dict[str, Any] = {
        name: manifests.read_table(file, model)[0] if file.exists() else pl.DataFrame()
        for name, (file, model) in files.items()
    }
    if experiment.estimate:
        others["estimates"] = _estimates(paths.estimates(results, experiment_name))
    wanted = experiment.report.curves
    return others | {"curves_wanted": (wanted.method, wanted.score) if wanted else None}


def _estimates(file: Path) -> tuple[pl.DataFrame, Sequence[manifests.EstimateError]]:
    """Return the estimates and their errors; none where evaluate was last run without them."""
    if not file.exists():
        return pl.DataFrame(), ()
    frame, about = manifests.read_table(file, manifests.Estimates)
    return frame, about.errors


def _has_certainty(results: Path, experiment: str) -> bool:
    """Return whether there are means and comparisons; results of before December 2026 have neither."""
    return all(path(results, experiment).exists() for path in (paths.summary, paths.comparisons))


def _sources(results: Path, experiment: Experiment, part: str) -> list[Path]:
    """Return the files from which a part of the report is made."""
    files = (path(results, experiment.experiment) for path in plan.evaluated(experiment))
    metrics, curves, summary, comparisons, *others = files
    certainty, others = [summary, comparisons], [file for file in others if file.exists()]
    certainty = certainty if _has_certainty(results, experiment.experiment) else []
    figures = [file for file in plan.figure_files(results, experiment) if file.suffix == ".svg"]
    sources = {
        "tables": [*certainty, *others],
        "figures": [curves, *certainty, *others],
        "page": [curves, *certainty, *figures],
    }
    return [metrics, *sources[part]]


def _evaluated(
    results: Path, name: str, metrics: pl.DataFrame, about: manifests.Metrics, experiment: Experiment
) -> Evaluated:
    """Return what tables and page show."""
    summary, _ = manifests.read_table(paths.summary(results, name), manifests.Summary)
    comparisons, of_comparisons = manifests.read_table(paths.comparisons(results, name), manifests.Comparisons)
    known = set(about.overlaps), about.transductive, of_comparisons.ranks, about.generated
    return Evaluated(metrics, summary, comparisons, *known, settings.of_pairs(experiment))


def check_complete(metrics: pl.DataFrame, experiment: Experiment) -> None:
    """Raise unless the metrics hold every row that the experiment wants, naming the first that is not there."""
    keys = list(grid.KEYS)
    wanted = pl.DataFrame(list(grid.rows(experiment)), schema=keys, orient="row")
    if columns := [name for name in (*keys, "status", "reason", *RATES) if name not in metrics.columns]:
        raise OodgridError(
            f"metrics.parquet lacks the columns {', '.join(columns)}: it is no table that oodgrid evaluate wrote. "
            "Delete it, and the next run makes it again"
        )
    lacking = wanted.join(metrics.select(keys).cast(wanted.schema), on=keys, how="anti", maintain_order="left")
    if len(lacking):
        first = ", ".join(f"{key} {value}" for key, value in lacking.row(0, named=True).items())
        raise OodgridError(
            f"metrics.parquet lacks {len(lacking)} of the {counted(len(wanted), 'row')} that the config wants, "
            f"first: {first}. "
            f"It was made from another config: run snakemake --forcerun evaluate"
        )
