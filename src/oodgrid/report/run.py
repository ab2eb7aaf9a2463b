"""The stage report: tables, figures and a page from what evaluate left, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from oodgrid import digests, grid, manifests, paths, plan
from oodgrid.config import Experiment
from oodgrid.errors import OodgridError
from oodgrid.report.mistakes import Pictures
from oodgrid.report.select import without

RATES = ("auroc", "fpr95_id_pos", "fpr95_ood_pos", "id_accuracy")  # without which nothing can be shown
PARTS = tuple(paths.REPORT)
CERTAINTY: dict[Any, Any] = {paths.summary: manifests.Summary, paths.comparisons: manifests.Comparisons}


def report(results: Path, experiment: Experiment, part: str, pictures: Pictures | None = None) -> Path:
    """Write one part of the report, "tables", "figures" or "page", and return its folder or file.

    Args:
        results: The results folder.
        experiment: The experiment.
        part: Which part.
        pictures: Makes small pictures of samples for the page: names in, JPEG files out. Default: none are shown.

    Raises:
        OodgridError: metrics.parquet is missing, damaged, or lacks rows that the experiment wants.
    """
    metrics, about = manifests.read_table(paths.metrics(results, experiment.experiment), manifests.Metrics)
    check_complete(metrics, experiment)
    overlaps, place = set(about.overlaps), (results, experiment.experiment)
    manifest = paths.digests(*place, part)
    manifest.unlink(missing_ok=True)  # written last, it vouches for all files of the part
    if part == "tables":
        from oodgrid.report.tables import write_tables

        write_tables(metrics, *place, overlaps, about.transductive)
    elif part == "figures":
        from oodgrid.report.figures import write_figures  # late: matplotlib takes longer to import than tables to write

        metrics = without(metrics, about.transductive)
        curves, _ = manifests.read_table(paths.curves(*place), manifests.Curves)
        read = {path.__name__: manifests.read_table(path(*place), kind) for path, kind in _certainty(*place).items()}
        frames = {name: frame for name, (frame, _) in read.items()}
        ranks = read["comparisons"][1].ranks if read else []
        write_figures(metrics, curves, *place, overlaps, ranks=ranks, **frames)
    else:
        from oodgrid.report.page import write_page

        tables = {"curves": manifests.read_table(paths.curves(*place), manifests.Curves)[0]}
        for path, kind in _certainty(*place).items():
            tables[path.__name__] = manifests.read_table(path(*place), kind)[0]
        optional = {} if pictures is None else {"pictures": pictures}
        write_page(metrics, *place, overlaps, about.broken_images, about.transductive, **tables, **optional)
    digests.write(manifest, plan.report_parts(results, experiment)[part], _sources(results, experiment, part))
    return paths.report(*place, part)


def _certainty(results: Path, experiment: str) -> dict[Any, Any]:
    """Return the tables of means and comparisons; none for results of before December 2026, which have neither."""
    return CERTAINTY if all(path(results, experiment).exists() for path in CERTAINTY) else {}


def _sources(results: Path, experiment: Experiment, part: str) -> list[Path]:
    """Return the files from which a part of the report is made."""
    metrics, curves = (path(results, experiment.experiment) for path in (paths.metrics, paths.curves))
    certainty = [path(results, experiment.experiment) for path in _certainty(results, experiment.experiment)]
    figures = [file for file in plan.figure_files(results, experiment) if file.suffix == ".svg"]
    return [metrics, *{"tables": [], "figures": [curves, *certainty], "page": [curves, *certainty, *figures]}[part]]


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
            f"metrics.parquet lacks {len(lacking)} of the {len(wanted)} rows that the config wants, first: {first}. "
            f"It was made from another config: run snakemake --forcerun evaluate"
        )
